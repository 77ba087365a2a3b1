//! A stream that fails when its client does not say which version of HTTP it speaks.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// What HTTP/2 begins with; all else is HTTP/1.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Passes everything through, but reads fail once `timeout` has passed and the first bytes do not
/// tell yet which version it is: what waits for those has no bound of its own. From then on the
/// version's own bounds hold.
pub(super) struct Opening<S> {
    stream: S,
    /// As long as the version is not known.
    deadline: Option<Pin<Box<Sleep>>>,
    /// Bytes of the preface that have come.
    matched: usize,
}

impl<S> Opening<S> {
    /// The time begins now.
    pub(super) fn new(stream: S, timeout: Duration) -> Self {
        Self {
            stream,
            deadline: Some(Box::pin(tokio::time::sleep(timeout))),
            matched: 0,
        }
    }

    /// Takes note of bytes that came.
    fn came(&mut self, bytes: &[u8]) {
        let awaited = PREFACE.get(self.matched..).unwrap_or_default();
        let is_open = bytes.len() < awaited.len() && awaited.starts_with(bytes);
        self.matched += bytes.len();
        if !is_open {
            self.deadline = None;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Opening<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let Some(deadline) = &mut self.deadline else {
            return read;
        };
        if read.is_pending() && deadline.as_mut().poll(cx).is_ready() {
            let message = "the client does not say which version of HTTP it speaks";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, message)));
        }
        self.came(buffer.filled().get(before..).unwrap_or_default());
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Opening<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// What comes of a client that says this and no more.
    async fn said(first: &[u8]) -> io::Result<usize> {
        let (near, mut far) = tokio::io::duplex(64);
        let mut opening = Opening::new(near, Duration::from_secs(1));
        far.write_all(first).await?;
        let mut read = vec![0; first.len()];
        opening.read_exact(&mut read).await?;
        assert_eq!(read, first);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(9)).await;
            drop(far);
        });
        opening.read(&mut [0]).await
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_say_which_version_is_dropped() {
        for first in [&b""[..], b"P", &PREFACE[..23]] {
            let error = said(first).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{first:?}");
        }
        // What comes then is bounded elsewhere.
        for first in [&b"G"[..], b"PRI / HTTP/1.1", PREFACE, b"PRIx"] {
            assert_eq!(said(first).await.unwrap(), 0, "{first:?}");
        }
    }
}
