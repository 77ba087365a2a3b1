//! Several processes that serve one registry; only with PostgreSQL, see `postgres.sh`.

use std::time::Duration;

use anyhow::{Context, ensure};
use reqwest::Method;
use tests::registry::{Kind, Registry, RegistryClient, bytes, header, sha256, text};
use tests::wait_for;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const MIB: usize = 1 << 20;

/// A chunk whose client sends no more, and has not gone away as far as the registry knows.
struct Stuck {
    connection: TcpStream,
}

impl Stuck {
    /// Sends the beginning of a chunk, and waits until the registry has taken the upload for it.
    async fn send(
        registry: &mut Registry,
        location: &str,
        all: usize,
        sent: &[u8],
    ) -> anyhow::Result<Self> {
        let taken = async |registry: &mut Registry| {
            let metrics = registry.metrics().await?;
            let name = "registry_meta_query_seconds_count{op=\"take_upload\"}";
            let line = metrics.lines().find_map(|line| line.strip_prefix(name));
            anyhow::Ok(line.map_or("0", str::trim).to_owned())
        };
        let before = taken(registry).await?;
        let addr = registry.client().base().trim_start_matches("http://");
        let mut connection = TcpStream::connect(addr).await?;
        let head =
            format!("PATCH {location} HTTP/1.1\r\nhost: {addr}\r\ncontent-length: {all}\r\n\r\n");
        connection.write_all(head.as_bytes()).await?;
        connection.write_all(sent).await?;
        for _ in 0..2000 {
            if taken(registry).await? != before {
                return Ok(Self { connection });
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        anyhow::bail!("the upload was not taken")
    }

    /// Goes away, and waits until the registry has seen that.
    async fn go_away(mut self) -> anyhow::Result<()> {
        use tokio::io::AsyncReadExt;
        self.connection.shutdown().await?;
        // It hangs up once it has written what came.
        let _ = self.connection.read_to_end(&mut Vec::new()).await;
        Ok(())
    }
}

/// How many bytes an upload has.
async fn received(client: &RegistryClient, location: &str) -> anyhow::Result<usize> {
    let state = client.request(Method::GET, location).send().await?;
    ensure!(state.status() == 204, "{}", text(state).await);
    let range = header(&state, "range")?;
    let last: usize = range.trim_start_matches("0-").parse()?;
    Ok(if last == 0 { 0 } else { last + 1 })
}

async fn assert_stored(client: &RegistryClient, blob: &[u8]) -> anyhow::Result<()> {
    let path = format!("/v2/app/blobs/{}", sha256(blob));
    let found = client.get(&path).await?.context("it was acknowledged")?;
    assert!(found == blob, "{} bytes", found.len());
    Ok(())
}

/// What a request that is stuck in one process still writes harms nothing that another one does.
#[tokio::test]
async fn a_client_that_goes_on_at_another_process_pushes_what_it_sends() -> anyhow::Result<()> {
    for kind in Kind::ALL {
        let mut one = Registry::start(kind, &[]).await?;
        let Some(other) = one.start_replica().await? else {
            return Ok(());
        };
        let (client, other) = (one.client().clone(), other.client());
        for (seed, len, sent, again) in [
            (1, 5 * MIB, 3 * MIB, 5 * MIB),
            (2, 24 * MIB, 8 * MIB, 3 * MIB),
            (3, 24 * MIB, 12 * MIB, 12 * MIB),
            (4, 24 * MIB, 3 * MIB, 8 * MIB),
            (5, 24 * MIB, 20 * MIB, MIB),
        ] {
            let blob = bytes(seed, len);
            let location = client.begin("app").await?;
            let stuck = Stuck::send(&mut one, &location, len, &blob[..sent]).await?;
            // It goes on from where it is told to.
            let at = received(other, &location).await?;
            let end = again.max(at + 1);
            let patch = other.request(Method::PATCH, &location);
            let patch = patch.header("content-range", format!("{at}-{}", end - 1));
            let patch = patch.body(blob[at..end].to_vec()).send().await?;
            assert_eq!(patch.status(), 202, "{}", text(patch).await);
            stuck.go_away().await?;
            assert_eq!(received(&client, &location).await?, end);
            let digest = sha256(&blob);
            let put = other.finish(&location, &digest, blob[end..].to_vec());
            let put = put.await?;
            assert_eq!(put.status(), 201, "{kind:?} {seed}: {}", text(put).await);
            assert_stored(&client, &blob).await?;
        }
        let fsck = client.request(Method::POST, "/api/v2.0/system/fsck");
        let fsck = fsck.json(&serde_json::json!({"read_bytes": true}));
        let said = text(fsck.send().await?).await;
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    Ok(())
}

/// What was acknowledged stays as it is when the stuck request ends later.
#[tokio::test]
async fn a_request_that_ends_after_the_push_changes_nothing() -> anyhow::Result<()> {
    for kind in Kind::ALL {
        let mut one = Registry::start(kind, &[]).await?;
        let Some(other) = one.start_replica().await? else {
            return Ok(());
        };
        let (client, other) = (one.client().clone(), other.client());
        for (seed, len, sent) in [(1, 5 * MIB, 3 * MIB), (2, 24 * MIB, 20 * MIB)] {
            let blob = bytes(seed, len);
            let location = client.begin("app").await?;
            let stuck = Stuck::send(&mut one, &location, len, &blob[..sent]).await?;
            let at = received(other, &location).await?;
            let digest = sha256(&blob);
            let put = other.finish(&location, &digest, blob[at..].to_vec());
            let put = put.await?;
            assert_eq!(put.status(), 201, "{kind:?}: {}", text(put).await);
            assert_stored(other, &blob).await?;
            stuck.go_away().await?;
            let gone = || async {
                let status = client.status(Method::GET, &location).await.ok()?;
                (status == 404).then_some(())
            };
            wait_for("the request to end", Duration::from_secs(60), gone).await?;
            assert_stored(&client, &blob).await?;
        }
    }
    Ok(())
}
