//! A stream that fails when its client does not begin with a request.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// What HTTP/2 begins with; all else is HTTP/1.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Passes everything through, but reads fail once `timeout` has passed and there is no first request
/// yet, nor a connection of HTTP/2. From then on the version's own bounds hold.
pub(super) struct Opening<S> {
    stream: S,
    /// As long as nothing has begun.
    deadline: Option<Pin<Box<Sleep>>>,
    /// Bytes of the preface that have come.
    matched: usize,
    /// Whether it is HTTP/1.
    is_http1: bool,
    /// Whether there was a request.
    is_open: Arc<AtomicBool>,
}

impl<S> Opening<S> {
    /// The time begins now.
    pub(super) fn new(stream: S, timeout: Duration) -> Self {
        Self {
            stream,
            deadline: Some(Box::pin(tokio::time::sleep(timeout))),
            matched: 0,
            is_http1: false,
            is_open: Arc::default(),
        }
    }

    /// What is set at the first request.
    pub(super) fn is_open(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_open)
    }

    /// Takes note of bytes that came.
    fn came(&mut self, bytes: &[u8]) {
        if self.is_http1 {
            return;
        }
        let awaited = PREFACE.get(self.matched..).unwrap_or_default();
        let common = bytes.get(..awaited.len()).unwrap_or(bytes);
        self.matched += common.len();
        if !awaited.starts_with(common) {
            self.is_http1 = true;
        } else if self.matched == PREFACE.len() {
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
        if self.is_open.load(Ordering::Relaxed) {
            self.deadline = None;
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let Some(deadline) = &mut self.deadline else {
            return read;
        };
        if read.is_pending() && deadline.as_mut().poll(cx).is_ready() {
            let message = "the client does not begin with a request";
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
    async fn said(first: &[u8], is_request: bool) -> io::Result<usize> {
        let (near, mut far) = tokio::io::duplex(64);
        let mut opening = Opening::new(near, Duration::from_secs(1));
        opening.is_open().store(is_request, Ordering::Relaxed);
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
    async fn who_does_not_begin_with_a_request_is_dropped() {
        for first in [&b""[..], b"P", &PREFACE[..23], b"GET / HTTP/1.1", b"PRIx"] {
            let error = said(first, false).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{first:?}");
        }
        // What comes then is bounded elsewhere.
        let and_more = [PREFACE, b"more"].concat();
        for (first, is_request) in [(&b"G"[..], true), (PREFACE, false), (&and_more, false)] {
            assert_eq!(said(first, is_request).await.unwrap(), 0, "{first:?}");
        }
    }
}
