//! Stands between a registry and where it keeps things, a PostgreSQL server or an object store, and
//! loses what is said as networks do: in the middle, with a connection that is cut or only silent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use tests::registry::Registry;
use tests::wait_for;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Who says what is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// The registry.
    Here,
    /// Who answers it.
    There,
}

/// What becomes of a connection whose words are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// It is closed.
    Cut,
    /// It stays open, and nothing is heard on it any more: the other side is gone without a word.
    Silent,
    /// It goes on once nothing is lost any more: the other side takes its time.
    Late,
}

/// What is lost: all that has this in it.
#[derive(Clone, Debug)]
struct Fault {
    said: Said,
    text: Vec<u8>,
    then: Then,
    /// How often.
    times: usize,
}

impl Fault {
    /// Whether the end of what was said has it in it, of which so much is new.
    fn hits(&self, said: Said, words: &[u8], new: usize) -> bool {
        let from = words.len().saturating_sub(new + self.text.len().max(1) - 1);
        let mut parts = words[from..].windows(self.text.len().max(1));
        self.said == said && (self.text.is_empty() || parts.any(|part| part == self.text))
    }
}

/// A port that leads to another.
#[derive(Clone)]
pub(crate) struct Tunnel {
    fault: Arc<watch::Sender<Option<Fault>>>,
    lost: Arc<AtomicUsize>,
}

impl Tunnel {
    /// Stands before the place that a variable of a registry leads to, which is started again.
    pub(crate) async fn before(registry: &mut Registry, variable: &str) -> anyhow::Result<Self> {
        let url = registry.env(variable).context("it is not set")?.to_owned();
        let (_, place) = url.split_once("://").context("no URL")?;
        let place = place.split('/').next().unwrap_or_default();
        let to = place.rsplit('@').next().unwrap_or_default();
        let (addr, tunnel) = Self::start(to.to_owned()).await?;
        registry.stop().await?;
        registry.set_env(variable, &url.replacen(to, &addr.to_string(), 1));
        registry.start_again().await?;
        Ok(tunnel)
    }

    async fn start(to: String) -> anyhow::Result<(SocketAddr, Self)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let tunnel = Self {
            fault: Arc::new(watch::Sender::new(None)),
            lost: Arc::default(),
        };
        let serving = tunnel.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(serve(connection, to.clone(), serving.clone()));
            }
        });
        Ok((addr, tunnel))
    }

    /// From now on all is lost that has this in it.
    pub(crate) fn lose(&self, said: Said, text: &[u8], then: Then) {
        self.lose_times(said, text, then, usize::MAX);
    }

    /// The same, but so often only.
    pub(crate) fn lose_times(&self, said: Said, text: &[u8], then: Then, times: usize) {
        self.lost.store(0, Ordering::SeqCst);
        let text = text.to_vec();
        self.fault.send_replace(Some(Fault {
            said,
            text,
            then,
            times,
        }));
    }

    /// Nothing more is lost. What is silent stays so.
    pub(crate) fn mend(&self) {
        self.fault.send_replace(None);
    }

    /// How often something was lost.
    pub(crate) fn lost(&self) -> usize {
        self.lost.load(Ordering::SeqCst)
    }

    /// Waits until something was lost so many times.
    pub(crate) async fn wait_for_lost(&self, times: usize) -> anyhow::Result<()> {
        let patience = Duration::from_secs(60);
        wait_for("something to be lost", patience, async || {
            (self.lost() >= times).then_some(())
        })
        .await
    }

    /// What becomes of the connection if the end of what was said is lost.
    fn meet(&self, said: Said, words: &[u8], new: usize) -> Option<Then> {
        let mut then = None;
        self.fault.send_if_modified(|fault| {
            let Some(hit) = fault.as_mut().filter(|fault| fault.hits(said, words, new)) else {
                return false;
            };
            then = Some(hit.then);
            self.lost.fetch_add(1, Ordering::SeqCst);
            hit.times -= 1;
            if hit.times == 0 {
                *fault = None;
            }
            fault.is_none()
        });
        then
    }
}

async fn serve(mut here: TcpStream, to: String, tunnel: Tunnel) -> std::io::Result<()> {
    let mut there = TcpStream::connect(to).await?;
    // The server of a database answers with small packets.
    here.set_nodelay(true)?;
    there.set_nodelay(true)?;
    let (reads, writes) = here.split();
    let (there_reads, there_writes) = there.split();
    let then = tokio::select! {
        then = carry(Said::Here, reads, there_writes, tunnel.clone()) => then?,
        then = carry(Said::There, there_reads, writes, tunnel) => then?,
    };
    if then == Then::Silent {
        // Until it is given up.
        let mut bytes = [0; 4096];
        while here.read(&mut bytes).await? > 0 {}
    }
    Ok(())
}

/// Carries what one side says to the other, to the end of the connection.
async fn carry(
    said: Said,
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    tunnel: Tunnel,
) -> std::io::Result<Then> {
    let (mut words, mut bytes) = (Vec::new(), [0; 1 << 14]);
    loop {
        let new = from.read(&mut bytes).await?;
        if new == 0 {
            return Ok(Then::Cut);
        }
        words.extend_from_slice(&bytes[..new]);
        if let Some(then) = tunnel.meet(said, &words, new) {
            if then != Then::Late {
                return Ok(then);
            }
            let mut faults = tunnel.fault.subscribe();
            // It does not end before.
            let _ = faults.wait_for(Option::is_none).await;
        }
        to.write_all(&bytes[..new]).await?;
        // What is looked for may begin in what came before.
        words.drain(..words.len().saturating_sub(256));
    }
}
