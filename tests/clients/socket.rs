//! A client of live tails.

use std::time::Duration;

use anyhow::Context;
use futures::StreamExt;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::site::Site;

/// The longest that a frame may take to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// An open socket.
pub(crate) struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    /// Connects to a path with its query.
    pub(crate) async fn open(site: &Site, path_and_query: &str) -> anyhow::Result<Self> {
        let mut request = site.socket_url(path_and_query).into_client_request()?;
        let (name, value) = Site::tenant_header();
        request.headers_mut().insert(name, value.parse()?);
        let (socket, _) = connect_async(request).await?;
        Ok(Self(socket))
    }

    /// The next frame of lines.
    pub(crate) async fn frame(&mut self) -> anyhow::Result<Value> {
        loop {
            match self.next().await? {
                Message::Text(text) => return Ok(serde_json::from_str(&text)?),
                Message::Close(frame) => anyhow::bail!("closed: {frame:?}"),
                _ => {}
            }
        }
    }

    /// Waits for the server to ask whether the client is there, before there are any lines.
    pub(crate) async fn ping(&mut self) -> anyhow::Result<()> {
        match self.next().await? {
            Message::Ping(_) => Ok(()),
            other => anyhow::bail!("{other:?} came instead of a ping"),
        }
    }

    async fn next(&mut self) -> anyhow::Result<Message> {
        let next = tokio::time::timeout(PATIENCE, self.0.next());
        let message = next.await.context("no message in time")?;
        Ok(message.context("the socket was closed")??)
    }
}
