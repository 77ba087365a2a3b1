//! Syslog over TCP and UDP: one message a line or counted octets
//! (<https://www.rfc-editor.org/rfc/rfc6587>), one message a datagram.
//!
//! TCP is held up while no client has room; a datagram that comes then is lost, as datagrams are.

mod message;

use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;

use server::TlsAcceptor;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::access::with_causes;
use crate::config::{ScrapeConfig, SyslogConfig};
use crate::feed::{Intake, Received, relabelled};
use message::{Format, SyslogMessage};

/// Connections at once.
const CONNECTIONS_MAX: usize = 1024;
/// Bytes of a datagram.
const DATAGRAM_BYTES_MAX: usize = 64 << 10;

/// Takes syslog for one job.
pub(crate) struct Syslog {
    socket: Socket,
    taker: Arc<Taker>,
}

enum Socket {
    Tcp(TcpListener, Option<TlsAcceptor>),
    Udp(UdpSocket),
}

struct Taker {
    at: usize,
    job: ScrapeConfig,
    config: SyslogConfig,
    format: Format,
    intake: Intake,
}

impl Syslog {
    pub(crate) fn bind(
        at: usize,
        job: &ScrapeConfig,
        config: &SyslogConfig,
        intake: Intake,
    ) -> Result<Self, String> {
        let address = match config.listen_address.strip_prefix(':') {
            Some(port) => format!("0.0.0.0:{port}"),
            None => config.listen_address.clone(),
        };
        let wrong = |error: std::io::Error| format!("{address}: {error}");
        let socket = match config.listen_protocol.as_str() {
            "tcp" => {
                let listener = TcpListener::bind(&address).map_err(wrong)?;
                listener.set_nonblocking(true).map_err(wrong)?;
                let tls = config.tls_config.acceptor();
                let tls = tls.map_err(|error| format!("tls_config: {}", with_causes(&error)))?;
                Socket::Tcp(listener, tls)
            }
            _ => {
                let socket = UdpSocket::bind(&address).map_err(wrong)?;
                socket.set_nonblocking(true).map_err(wrong)?;
                Socket::Udp(socket)
            }
        };
        let format = match config.syslog_format.as_str() {
            "rfc3164" => Format::Rfc3164,
            _ => Format::Rfc5424,
        };
        let taker = Taker {
            at,
            job: job.clone(),
            config: config.clone(),
            format,
            intake,
        };
        Ok(Self {
            socket,
            taker: Arc::new(taker),
        })
    }

    pub(crate) async fn run(self, stop: CancellationToken) {
        let taker = self.taker;
        let served = async {
            match self.socket {
                Socket::Tcp(listener, tls) => taker.accept(listener, tls).await,
                Socket::Udp(socket) => taker.receive(socket).await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            served = served => {
                let error = served.err().map(|error| error.to_string());
                tracing::error!(error, "syslog is no longer taken");
            }
        }
    }
}

impl Taker {
    async fn accept(
        self: Arc<Self>,
        listener: TcpListener,
        tls: Option<TlsAcceptor>,
    ) -> std::io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let addr = listener.local_addr()?;
        tracing::info!(job = self.job.job_name, %addr, "takes syslog");
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let Ok(place) = places.clone().acquire_owned().await else {
                return Ok(());
            };
            let (stream, peer) = tokio::select! {
                accepted = listener.accept() => accepted?,
                Some(_) = connections.join_next() => continue,
            };
            let (taker, tls) = (self.clone(), tls.clone());
            connections.spawn(async move {
                let _place = place;
                if let Err(error) = taker.serve(stream, tls, &peer.ip().to_string()).await {
                    tracing::debug!(%peer, %error, "a connection of syslog has ended");
                }
            });
        }
    }

    async fn serve(
        &self,
        stream: TcpStream,
        tls: Option<TlsAcceptor>,
        peer: &str,
    ) -> std::io::Result<()> {
        let Some(tls) = tls else {
            return self.read(stream, peer).await;
        };
        let handshake = tls.accept(stream);
        let stream = tokio::time::timeout(self.config.idle_timeout.as_std(), handshake).await??;
        self.read(stream, peer).await
    }

    /// Reads messages: each counted, `12 <13>1 ...`, or each a line.
    async fn read(&self, stream: impl AsyncRead + Unpin, peer: &str) -> std::io::Result<()> {
        let mut input = BufReader::new(stream);
        loop {
            let mut first = [0];
            let idle =
                tokio::time::timeout(self.config.idle_timeout.as_std(), input.read(&mut first));
            if idle.await?? == 0 {
                return Ok(());
            }
            let mut message = Vec::new();
            match first[0] {
                b'1'..=b'9' => {
                    let mut count = first.to_vec();
                    (&mut input).take(10).read_until(b' ', &mut count).await?;
                    let text = std::str::from_utf8(&count).unwrap_or_default().trim();
                    let len = text.parse::<usize>().ok();
                    let len = len.filter(|len| *len <= self.config.max_message_length);
                    let wrong =
                        || std::io::Error::other("no length of a message, or too long a one");
                    message.resize(len.ok_or_else(wrong)?, 0);
                    input.read_exact(&mut message).await?;
                }
                b'\n' | b'\r' | 0 => continue,
                byte => {
                    message.push(byte);
                    let max = self.config.max_message_length as u64;
                    (&mut input)
                        .take(max)
                        .read_until(b'\n', &mut message)
                        .await?;
                }
            }
            self.take(&message, peer).await;
        }
    }

    async fn receive(self: Arc<Self>, socket: UdpSocket) -> std::io::Result<()> {
        let socket = tokio::net::UdpSocket::from_std(socket)?;
        tracing::info!(job = self.job.job_name, addr = %socket.local_addr()?, "takes syslog");
        let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            let (len, peer) = socket.recv_from(&mut datagram).await?;
            let message = datagram.get(..len).unwrap_or_default();
            self.take(message, &peer.ip().to_string()).await;
        }
    }

    async fn take(&self, bytes: &[u8], peer: &str) {
        if let Some(line) = self.received(bytes, peer) {
            self.intake.give(vec![line]).await;
        }
    }

    fn received(&self, bytes: &[u8], peer: &str) -> Option<Received> {
        let now = jiff::Timestamp::now();
        let message = SyslogMessage::parse(self.format, bytes, now);
        let mut labels = self.config.labels.clone();
        labels.insert("__syslog_connection_ip_address".to_owned(), peer.to_owned());
        let Some(message) = message else {
            tracing::warn!(peer, "a message is no syslog and is dropped");
            return None;
        };
        message.put_labels(&mut labels, self.config.label_structured_data);
        let whole = self.config.use_rfc5424_message;
        Some(Received {
            job: self.at,
            labels: relabelled(&self.job, labels)?,
            timestamp_ns: message
                .timestamp_ns
                .filter(|_| self.config.use_incoming_timestamp),
            line: if whole {
                bytes.trim_ascii_end().to_vec()
            } else {
                message.text
            },
            metadata: Vec::new(),
            cursor: None,
            may_repeat: false,
        })
    }
}
