//! What nobody should send, to every endpoint: each gets a 4xx that names what is wrong, the
//! process stays up within its memory, and other tenants notice nothing.

mod bodies;
mod bombs;
mod connections;
mod hostile;
mod queries;

use anyhow::ensure;
use tests::api::Api;
use tests::lines;
use tests::load::Load;
use tests::server::Server;

/// What one push may weigh as it is sent.
const BODY_MAX: usize = 16 << 20;
/// Memory that the process may take on top of what it has when it starts: the pushes under way, of
/// which each is there as it was sent, decompressed and decoded, and what the allocator keeps.
const GROWTH_BYTES_MAX: u64 = 224 << 20;

/// A server with one tenant that misbehaves and one that does not.
struct Siege {
    server: Server,
    others: Load,
    memory_bytes: u64,
}

impl Siege {
    async fn start() -> anyhow::Result<Self> {
        Self::start_with(&[]).await
    }

    /// The same, with more of the environment.
    async fn start_with(more: &[(&str, &str)]) -> anyhow::Result<Self> {
        let mut env = vec![
            ("SKALD_AUTH_ENABLED", "true"),
            ("SKALD_DISTRIBUTOR_MAX_RECV_MSG_SIZE", "16MiB"),
            ("SKALD_DISTRIBUTOR_MAX_DECOMPRESSED_SIZE", "32MiB"),
            ("SKALD_DISTRIBUTOR_MAX_INFLIGHT_SIZE", "64MiB"),
        ];
        env.extend_from_slice(more);
        let mut server = Server::start(&env).await?;
        let memory_bytes = server.process().memory_peak_bytes()?;
        let api = server.api().of_tenant("other");
        let others = Load::start(&api, "others", 1, lines::now_ns());
        others.more(10).await?;
        Ok(Self {
            server,
            others,
            memory_bytes,
        })
    }

    /// The tenant that misbehaves.
    fn api(&self) -> Api {
        self.server.api().of_tenant("bad")
    }

    /// Ends it: the other tenant is served as ever, and memory is what it should be.
    async fn end(self) -> anyhow::Result<()> {
        self.end_within(0).await
    }

    /// The same, where the process may have taken some more memory.
    async fn end_within(mut self, more_bytes: u64) -> anyhow::Result<()> {
        ensure!(
            self.server.process().is_running(),
            "ended: {}",
            self.server.process().output()
        );
        self.others.more(10).await?;
        let failures = self.others.failures();
        ensure!(failures.is_empty(), "another tenant: {failures:?}");
        let written = self.others.stop().await?;
        written.check(&self.server.api().of_tenant("other")).await?;
        let peak_bytes = self.server.process().memory_peak_bytes()?;
        let growth_bytes = peak_bytes.saturating_sub(self.memory_bytes);
        ensure!(
            growth_bytes < GROWTH_BYTES_MAX + more_bytes,
            "{} MiB more than at the start",
            growth_bytes >> 20
        );
        Ok(())
    }
}

/// Checks that an answer is a 4xx that names what is wrong.
fn assert_refused(what: &str, answer: &(u16, String), part: &str) {
    let (status, text) = answer;
    assert!((400..500).contains(status), "{what}: {status} {text}");
    assert!(
        text.contains(part),
        "{what}: {part:?} is missing in: {status} {text}"
    );
}
