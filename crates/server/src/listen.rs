//! Listeners: bound first, served later, drained at the end.

mod opening;
mod stall;
mod tasks;
mod tls;
mod unsent;

use std::convert::Infallible;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use opening::Opening;
use stall::StallGuard;
use tasks::Tasks;
pub use tls::{ClientCertificates, TlsConfig, TlsError};

/// Bytes of the headers of one request.
const HEADER_BYTES_MAX: usize = 64 << 10;
/// How long to wait before accepting again after the process ran out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Window of one HTTP/2 stream: batches of lines are far larger than HTTP/2's 64 KiB.
const HTTP2_STREAM_WINDOW_BYTES: u32 = 2 << 20;
/// Window of one HTTP/2 connection.
const HTTP2_CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// What is spoken over TLS, by the names of ALPN.
const PROTOCOLS: [&str; 2] = ["h2", "http/1.1"];
/// How often an idle HTTP/2 peer is asked whether it is still there.
const HTTP2_KEEP_ALIVE: Duration = Duration::from_secs(30);

/// An address to listen on: `127.0.0.1:3100`, `[::]:3100`, `:3100` (all addresses) or
/// `localhost:3100`. Port 0 lets the system choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenAddr(pub SocketAddr);

impl ListenAddr {
    /// A port of the loopback address.
    #[must_use]
    pub const fn localhost(port: u16) -> Self {
        Self(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ListenAddr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(addr) = text.parse() {
            return Ok(Self(addr));
        }
        let wrong =
            || format!("`{text}` is not an address to listen on, such as 127.0.0.1:3100 or :3100");
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().map_err(|_| wrong())?;
        let ip = match host {
            "" => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            _ => return Err(wrong()),
        };
        Ok(Self(SocketAddr::new(ip, port)))
    }
}

impl Serialize for ListenAddr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ListenAddr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The bounds of one listener.
#[derive(Clone, Debug)]
pub struct ConnectionLimits {
    /// Connections at once; more wait in the kernel's backlog.
    pub connections_max: usize,
    /// How long a client may take for the handshake of TLS, and for the headers of the first request
    /// after it.
    pub header_timeout: Duration,
    /// How long a connection may wait for the headers of its next request.
    pub idle_timeout: Duration,
    /// How long a client may leave an answer unread.
    pub write_timeout: Duration,
    /// Streams of one HTTP/2 connection at once.
    pub http2_streams_max: u32,
    /// How long open requests may take to finish once the listener stops.
    pub drain_timeout: Duration,
}

/// The address cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr}")]
pub struct BindError {
    /// The address.
    pub addr: SocketAddr,
    /// Why.
    pub source: std::io::Error,
}

/// A bound port. Nothing is answered until it is served.
pub struct Listener {
    listener: TcpListener,
    addr: SocketAddr,
    tls: Option<TlsAcceptor>,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("addr", &self.addr)
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

impl Listener {
    /// Binds an address.
    ///
    /// # Errors
    /// If it is in use or not ours.
    pub async fn bind(addr: ListenAddr) -> Result<Self, BindError> {
        let failed = |source| BindError {
            addr: addr.0,
            source,
        };
        let listener = TcpListener::bind(addr.0).await;
        // `:3100` means all addresses; on a machine without IPv6 that is all of IPv4.
        let listener = match listener {
            Err(_) if addr.0.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) => {
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, addr.0.port())).await
            }
            other => other,
        }
        .map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        Ok(Self {
            listener,
            addr,
            tls: None,
        })
    }

    /// A port that was bound by other means. Must be called in a runtime.
    ///
    /// # Errors
    /// If the system does not let it be used without blocking.
    pub fn of_std(listener: std::net::TcpListener) -> std::io::Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        Ok(Self {
            addr: listener.local_addr()?,
            listener,
            tls: None,
        })
    }

    /// The same port, spoken to in TLS if the configuration has a certificate.
    ///
    /// # Errors
    /// If the certificate or its key cannot be used.
    pub fn with_tls(mut self, config: &TlsConfig) -> Result<Self, TlsError> {
        self.tls = config.acceptor(None, &PROTOCOLS)?;
        Ok(self)
    }

    /// As [`Self::with_tls`], for clients that show certificates of their own.
    ///
    /// # Errors
    /// If the certificate, its key or the authorities of clients cannot be used.
    pub fn with_mutual_tls(
        mut self,
        config: &TlsConfig,
        clients: &ClientCertificates,
    ) -> Result<Self, TlsError> {
        self.tls = config.acceptor(Some(clients), &PROTOCOLS)?;
        Ok(self)
    }

    /// The address that was bound, with the port that the system chose.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves HTTP/1 and HTTP/2 (by prior knowledge, so gRPC too) until `stop`; then refuses new
    /// connections, lets open requests finish within the drain timeout, and closes what is left.
    pub async fn serve(self, router: Router, limits: ConnectionLimits, stop: CancellationToken) {
        let Self {
            listener,
            addr,
            tls,
        } = self;
        let slots = Arc::new(Semaphore::new(limits.connections_max));
        let graceful = GracefulShutdown::new();
        let tasks = Tasks::default();
        let builder = Arc::new(connection_builder(&limits, tasks.clone()));
        loop {
            let accept = async {
                // The slot comes first: a connection that is accepted can be served.
                let slot = slots.clone().acquire_owned().await;
                (slot, listener.accept().await)
            };
            let (slot, accepted) = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                accepted = accept => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    // Answers are small and clients wait for them.
                    let _ = stream.set_nodelay(true);
                    if let Err(error) = unsent::bound(&stream) {
                        tracing::debug!(%peer, %error, "an answer may wait unsent");
                    }
                    let stream = StallGuard::new(stream, limits.write_timeout);
                    let connection = Connection {
                        builder: builder.clone(),
                        peer,
                        router: router.clone(),
                        watcher: graceful.watcher(),
                    };
                    let connection = connection.run(stream, tls.clone(), limits.header_timeout);
                    tasks.spawn(async move {
                        connection.await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(%addr, %error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        let open = graceful.count();
        if tokio::time::timeout(limits.drain_timeout, graceful.shutdown())
            .await
            .is_err()
        {
            tracing::warn!(%addr, connections = open, "requests were still open at the end of the drain");
        }
        tasks.end().await;
    }
}

fn connection_builder(limits: &ConnectionLimits, tasks: Tasks) -> auto::Builder<Tasks> {
    let mut builder = auto::Builder::new(tasks);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle_timeout)
        .max_buf_size(HEADER_BYTES_MAX * 4);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.http2_streams_max)
        .max_header_list_size(HEADER_BYTES_MAX as u32)
        .initial_stream_window_size(HTTP2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(HTTP2_KEEP_ALIVE)
        .keep_alive_timeout(limits.write_timeout.max(Duration::from_secs(1)));
    builder
}

/// What one connection is served with.
struct Connection {
    builder: Arc<auto::Builder<Tasks>>,
    peer: SocketAddr,
    router: Router,
    watcher: Watcher,
}

impl Connection {
    /// Serves a connection to its end; a handshake, where there is one, and what comes before the first
    /// request each take no longer than headers may.
    async fn run(
        self,
        stream: StallGuard<TcpStream>,
        tls: Option<TlsAcceptor>,
        header_timeout: Duration,
    ) {
        let Some(tls) = tls else {
            return self.serve(stream, header_timeout).await;
        };
        let peer = self.peer;
        match tokio::time::timeout(header_timeout, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.serve(stream, header_timeout).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
        }
    }

    async fn serve<S>(self, stream: S, header_timeout: Duration)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let stream = Opening::new(stream, header_timeout);
        let is_open = stream.is_open();
        let Self {
            builder,
            peer,
            router,
            watcher,
        } = self;
        let service = service_fn(move |mut request: Request<Incoming>| {
            is_open.store(true, Ordering::Relaxed);
            request.extensions_mut().insert(ConnectInfo(peer));
            let router = router.clone();
            async move {
                let answer: Result<_, Infallible> = router.oneshot(request.map(Body::new)).await;
                answer
            }
        });
        let connection = builder
            .serve_connection_with_upgrades(TokioIo::new(stream), service)
            .into_owned();
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(%peer, %error, "connection ended");
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn limits() -> ConnectionLimits {
        ConnectionLimits {
            connections_max: 2,
            header_timeout: Duration::from_millis(50),
            idle_timeout: Duration::from_secs(5),
            write_timeout: Duration::from_secs(5),
            http2_streams_max: 10,
            drain_timeout: Duration::from_secs(5),
        }
    }

    #[test]
    fn addresses_to_listen_on() {
        for (text, printed) in [
            ("127.0.0.1:3100", "127.0.0.1:3100"),
            (":3100", "[::]:3100"),
            ("localhost:0", "127.0.0.1:0"),
            ("[::1]:80", "[::1]:80"),
        ] {
            assert_eq!(text.parse::<ListenAddr>().unwrap().to_string(), printed);
        }
        for wrong in ["3100", "host:3100", "127.0.0.1", ":99999", ""] {
            assert!(wrong.parse::<ListenAddr>().is_err(), "{wrong}");
        }
    }

    /// Asks for what is not there, and reads the whole answer.
    async fn answered_404(client: &mut TcpStream) {
        let request = b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n";
        client.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(client.read_u8().await.unwrap());
        }
        assert!(answer.starts_with(b"HTTP/1.1 404"));
    }

    #[tokio::test]
    async fn clients_that_send_no_headers_are_dropped_and_an_open_request_is_drained() {
        let listener = Listener::bind(ListenAddr::localhost(0)).await.unwrap();
        let addr = listener.local_addr();
        let stop = CancellationToken::new();
        let (started, begun) = tokio::sync::oneshot::channel::<()>();
        let started = Arc::new(parking_lot::Mutex::new(Some(started)));
        let release = CancellationToken::new();
        let router = {
            let release = release.clone();
            Router::new().route(
                "/",
                get(async move || {
                    let _ = started.lock().take().map(|started| started.send(()));
                    release.cancelled().await;
                    "done"
                }),
            )
        };
        let serving = tokio::spawn(listener.serve(router, limits(), stop.clone()));

        // An idle connection stays for longer than a first request may take.
        let mut idle = TcpStream::connect(addr).await.unwrap();
        answered_404(&mut idle).await;

        // More than may be connected at once.
        for first in ["GET / HT", "", "PRI * HTTP/2.0"] {
            let mut silent = TcpStream::connect(addr).await.unwrap();
            silent.write_all(first.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            let _ = silent.read_to_end(&mut answer).await;
            assert!(!answer.starts_with(b"HTTP/1.1 200"));
        }

        // The silent ones were waited for meanwhile.
        answered_404(&mut idle).await;
        drop(idle);

        let mut client = TcpStream::connect(addr).await.unwrap();
        client
            .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        begun.await.unwrap();
        stop.cancel();
        release.cancel();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert!(
            answer.ends_with(b"done"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
        serving.await.unwrap();
        assert!(TcpStream::connect(addr).await.is_err());
    }
}
