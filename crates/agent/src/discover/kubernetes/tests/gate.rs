//! A port that can be closed with all its connections, and opened again, in front of a server.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use server::TlsAcceptor;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

pub(super) struct Gate {
    pub(super) addr: SocketAddr,
    behind: SocketAddr,
    tls: Option<Arc<TlsAcceptor>>,
    /// Holds the connections.
    open: Mutex<Option<JoinHandle<()>>>,
}

impl Gate {
    pub(super) async fn open(behind: SocketAddr, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gate = Self {
            addr: listener.local_addr().unwrap(),
            behind,
            tls: tls.map(Arc::new),
            open: Mutex::default(),
        };
        gate.accept(listener);
        gate
    }

    pub(super) async fn close(&self) {
        let open = self.open.lock().take();
        if let Some(open) = open {
            open.abort();
            // It ends as it was told to.
            let _ = open.await;
        }
    }

    pub(super) async fn listen(&self) {
        self.accept(TcpListener::bind(self.addr).await.unwrap());
    }

    fn accept(&self, listener: TcpListener) {
        let (behind, tls) = (self.behind, self.tls.clone());
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(pass(stream, behind, tls.clone()));
            }
        });
        *self.open.lock() = Some(accepting);
    }
}

/// Passes on all that is said on a connection.
async fn pass(mut stream: TcpStream, behind: SocketAddr, tls: Option<Arc<TlsAcceptor>>) {
    let mut server = TcpStream::connect(behind).await.unwrap();
    // A connection may end in any way.
    let _ = match tls {
        None => copy_bidirectional(&mut stream, &mut server).await,
        Some(tls) => match tls.accept(stream).await {
            Ok(mut stream) => copy_bidirectional(&mut stream, &mut server).await,
            Err(error) => Err(error),
        },
    };
}
