//! Stands between a registry and the one that it is a cache of, and does what networks and busy
//! registries do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What becomes of connections.
#[derive(Clone, Debug)]
pub(crate) enum Mode {
    /// They reach the other side.
    Open,
    /// They do, and are cut after so many bytes of answers.
    Cut(u64),
    /// This is the answer.
    Answer(String),
    /// They do, but for what has this in its path: that is not there.
    Without(&'static str),
    /// There is none.
    Silent,
}

/// An answer without a body.
pub(crate) fn status(status: &str, headers: &str) -> Mode {
    Mode::Answer(format!(
        "HTTP/1.1 {status}\r\ncontent-length: 0\r\n{headers}\r\n"
    ))
}

/// An answer with a body.
pub(crate) fn body(headers: &str, body: &str) -> Mode {
    let length = body.len();
    Mode::Answer(format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    ))
}

/// A port that leads to another.
pub(crate) struct Between {
    pub(crate) addr: SocketAddr,
    mode: Arc<watch::Sender<Mode>>,
    requests: Arc<AtomicUsize>,
}

impl Between {
    /// Leads to the registry at `base`, `http://127.0.0.1:port`.
    pub(crate) async fn start(base: &str) -> anyhow::Result<Self> {
        let to: SocketAddr = base.trim_start_matches("http://").parse()?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let mode = Arc::new(watch::Sender::new(Mode::Open));
        let requests = Arc::new(AtomicUsize::new(0));
        let (modes, count) = (Arc::clone(&mode), Arc::clone(&requests));
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let (mut changes, count) = (modes.subscribe(), Arc::clone(&count));
                tokio::spawn(async move {
                    let mode = changes.borrow_and_update().clone();
                    // Connections do not outlive the mode that they began in.
                    tokio::select! {
                        _ = serve(connection, to, mode, &count) => {}
                        _ = changes.changed() => {}
                    }
                });
            }
        });
        Ok(Self {
            addr,
            mode,
            requests,
        })
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Requests that were not let through.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

async fn serve(
    connection: TcpStream,
    to: SocketAddr,
    mode: Mode,
    count: &AtomicUsize,
) -> std::io::Result<()> {
    let (reads, writes) = connection.into_split();
    match mode {
        Mode::Open => lead(reads, writes, to, u64::MAX).await,
        Mode::Cut(bytes) => lead(reads, writes, to, bytes).await,
        Mode::Without(part) => without(reads, writes, to, part).await,
        Mode::Answer(answer) => say(reads, writes, &answer, count).await,
        Mode::Silent => {
            count.fetch_add(1, Ordering::SeqCst);
            std::future::pending().await
        }
    }
}

async fn lead(
    mut reads: OwnedReadHalf,
    mut writes: OwnedWriteHalf,
    to: SocketAddr,
    answer_bytes_max: u64,
) -> std::io::Result<()> {
    let (there_reads, mut there_writes) = TcpStream::connect(to).await?.into_split();
    let mut answers = there_reads.take(answer_bytes_max);
    tokio::select! {
        done = copy(&mut reads, &mut there_writes) => done?,
        done = copy(&mut answers, &mut writes) => done?,
    };
    Ok(())
}

/// Has one request answered, unless it is for what is not there.
async fn without(
    mut reads: OwnedReadHalf,
    mut writes: OwnedWriteHalf,
    to: SocketAddr,
    part: &str,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(reads.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head);
    let (first, rest) = head.split_once("\r\n").unwrap_or_default();
    if first.contains(part) {
        let none = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        return writes.write_all(none.as_bytes()).await;
    }
    let mut there = TcpStream::connect(to).await?;
    let asked = format!("{first}\r\nconnection: close\r\n{rest}");
    there.write_all(asked.as_bytes()).await?;
    copy(&mut there, &mut writes).await?;
    Ok(())
}

/// Gives the same answer to every request.
async fn say(
    mut reads: OwnedReadHalf,
    mut writes: OwnedWriteHalf,
    answer: &str,
    count: &AtomicUsize,
) -> std::io::Result<()> {
    let (mut head, mut bytes) = (Vec::new(), [0; 4096]);
    loop {
        let length = reads.read(&mut bytes).await?;
        if length == 0 {
            return Ok(());
        }
        head.extend_from_slice(&bytes[..length]);
        if head.ends_with(b"\r\n\r\n") {
            count.fetch_add(1, Ordering::SeqCst);
            writes.write_all(answer.as_bytes()).await?;
            head.clear();
        }
    }
}
