//! The bytes of a request on their way to who takes them.
//!
//! A request's body comes in frames, as the kernel had them. They are gathered into pieces in the
//! task of the connection, which can so read into the same memory again, and in buffers that go
//! round: memory that is new each time costs more than the hash of what is put into it. Who takes
//! the pieces is a task of its own, since it shall come to its end also if the client goes away.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::body::{Body, BodyDataStream};
use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{FutureExt, Stream, StreamExt};
use http_body::Body as _;
use parking_lot::Mutex;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Bytes that make a piece. A frame is not divided, so a piece may have more.
const PIECE_BYTES: usize = 256 << 10;
/// Pieces that wait while one is taken.
const WAITING_MAX: usize = 1;
/// Buffers that go round: one is filled, one waits, one is taken.
const BUFFERS_MAX: usize = WAITING_MAX + 2;

/// What the gatherer says.
enum Said {
    Piece(Bytes),
    Broken(axum::Error),
    End,
}

/// What both sides have, so that what came is not lost with the connection.
struct Shared {
    /// A piece that is not full yet.
    partial: Mutex<BytesMut>,
    /// Frames that the gatherer has not seen: the last ones may have come with the end of the
    /// connection, of which it hears nothing more.
    frames: Mutex<BodyDataStream>,
}

impl Shared {
    async fn next_frame(&self) -> Option<Result<Bytes, axum::Error>> {
        std::future::poll_fn(|context| self.frames.lock().poll_next_unpin(context)).await
    }
}

/// Bytes until their end, or until they break off, and why.
pub(crate) type Pieces = BoxStream<'static, Result<Bytes, String>>;

/// Divides a body in two: what must be run for pieces to come, in the task of its connection, and
/// the pieces.
pub(super) fn divide(body: Body) -> (impl Future<Output = ()>, Pieces) {
    let (sender, receiver) = channel(WAITING_MAX);
    let buffers = Buffers::of(body.size_hint().upper());
    let shared = Arc::new(Shared {
        partial: Mutex::default(),
        frames: Mutex::new(body.into_data_stream()),
    });
    let gathering = gather(buffers, sender, Arc::clone(&shared));
    (gathering, taken(receiver, shared).boxed())
}

/// Gathers a body until it ends or nobody wants more of it.
async fn gather(mut buffers: Buffers, sender: Sender<Said>, shared: Arc<Shared>) {
    let partial = &shared.partial;
    *partial.lock() = buffers.next();
    let last = loop {
        match shared.next_frame().await {
            Some(Ok(frame)) => partial.lock().extend_from_slice(&frame),
            Some(Err(error)) => break Said::Broken(error),
            None => break Said::End,
        }
        if partial.lock().len() >= PIECE_BYTES {
            // Until there is room for it, the piece stays where it is not lost with the connection.
            let Ok(room) = sender.reserve().await else {
                return;
            };
            let piece = std::mem::take(&mut *partial.lock());
            room.send(Said::Piece(buffers.lend(piece)));
            *partial.lock() = buffers.next();
        }
    };
    // Nobody listens if more came than is wanted.
    if !partial.lock().is_empty() {
        let Ok(room) = sender.reserve().await else {
            return;
        };
        let piece = std::mem::take(&mut *partial.lock());
        room.send(Said::Piece(piece.freeze()));
    }
    let _ = sender.send(last).await;
}

/// The pieces that a gatherer sends.
fn taken(
    receiver: Receiver<Said>,
    shared: Arc<Shared>,
) -> impl Stream<Item = Result<Bytes, String>> {
    futures::stream::unfold(Some((receiver, shared)), async |taking| {
        let (mut receiver, shared) = taking?;
        match receiver.recv().await {
            Some(Said::Piece(bytes)) => Some((Ok(bytes), Some((receiver, shared)))),
            Some(Said::Broken(error)) => Some((Err(error.to_string()), None)),
            Some(Said::End) => None,
            // The gatherer went away with the connection that it worked for.
            None => {
                let mut rest = std::mem::take(&mut *shared.partial.lock());
                while rest.len() < PIECE_BYTES
                    && let Some(Some(Ok(frame))) = shared.next_frame().now_or_never()
                {
                    rest.extend_from_slice(&frame);
                }
                match rest.is_empty() {
                    true => Some((Err("the client went away".to_owned()), None)),
                    false => Some((Ok(rest.freeze()), Some((receiver, shared)))),
                }
            }
        }
    })
}

/// Buffers that are filled again once who took them has let go of them.
struct Buffers {
    bytes: usize,
    lent: VecDeque<Bytes>,
}

impl Buffers {
    /// Buffers for so many bytes, as far as that is known.
    fn of(expected: Option<u64>) -> Self {
        let expected = expected.and_then(|bytes| usize::try_from(bytes).ok());
        Self {
            bytes: expected.map_or(PIECE_BYTES, |bytes| bytes.min(PIECE_BYTES)),
            lent: VecDeque::new(),
        }
    }

    fn next(&mut self) -> BytesMut {
        match self.lent.pop_front().map(Bytes::try_into_mut) {
            Some(Ok(mut buffer)) => {
                buffer.clear();
                return buffer;
            }
            Some(Err(busy)) if self.lent.len() + 1 < BUFFERS_MAX => self.lent.push_front(busy),
            _ => {}
        }
        BytesMut::with_capacity(self.bytes)
    }

    fn lend(&mut self, buffer: BytesMut) -> Bytes {
        let bytes = buffer.freeze();
        self.lent.push_back(bytes.clone());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn body(frames: Vec<io::Result<Bytes>>) -> Body {
        Body::from_stream(futures::stream::iter(frames))
    }

    async fn all(body: Body) -> (Vec<u8>, Option<String>) {
        let (gathering, mut pieces) = divide(body);
        let gathering = tokio::spawn(gathering);
        let (mut bytes, mut broken) = (Vec::new(), None);
        while let Some(piece) = pieces.next().await {
            match piece {
                Ok(piece) => bytes.extend_from_slice(&piece),
                Err(reason) => broken = Some(reason),
            }
        }
        gathering.await.unwrap();
        (bytes, broken)
    }

    #[tokio::test]
    async fn frames_that_came_with_the_end_of_the_connection_are_not_lost() {
        let piece = Bytes::from(vec![7; PIECE_BYTES]);
        let frames = vec![
            Ok(piece.clone()),
            Ok(piece.clone()),
            Ok(piece),
            Ok(Bytes::from_static(b"end")),
        ];
        let (gathering, pieces) = divide(body(frames));
        // It waits for room, and is gone.
        assert!(gathering.now_or_never().is_none());
        let taken: Vec<_> = pieces.collect().await;
        let bytes = taken.iter().flatten().map(Bytes::len).sum::<usize>();
        assert_eq!(bytes, 3 * PIECE_BYTES + 3);
        assert!(taken.last().unwrap().is_err());
    }

    #[tokio::test]
    async fn what_comes_is_what_was_sent_however_it_is_cut() {
        let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        for cut in [7_000, PIECE_BYTES, 300_000, 3_000_000] {
            let frames = sent.chunks(cut).map(Bytes::copy_from_slice).map(Ok);
            let (came, broken) = all(body(frames.collect())).await;
            assert!(came == sent, "{cut}");
            assert_eq!(broken, None);
        }
        assert_eq!(all(Body::empty()).await, (Vec::new(), None));
    }

    #[tokio::test]
    async fn what_came_before_a_body_broke_off_is_there() {
        let frames = vec![Ok(Bytes::from_static(b"abc")), Err(io::Error::other("cut"))];
        let (came, broken) = all(body(frames)).await;
        assert_eq!(came, b"abc");
        assert!(broken.unwrap().contains("cut"));

        // So it is if the connection goes away while more is waited for, or while a piece waits.
        let piece = Bytes::from(vec![7; PIECE_BYTES]);
        for sent in [vec![Bytes::from_static(b"abc")], vec![piece; 3]] {
            let frames = futures::stream::iter(sent.clone().into_iter().map(Ok::<_, io::Error>));
            let (gathering, mut pieces) =
                divide(Body::from_stream(frames.chain(futures::stream::pending())));
            assert!(gathering.now_or_never().is_none());
            for expected in &sent {
                assert_eq!(pieces.next().await.unwrap().unwrap(), expected);
            }
            assert!(pieces.next().await.unwrap().is_err(), "that is no end");
            assert!(pieces.next().await.is_none());
        }
    }

    #[tokio::test]
    async fn buffers_go_round() {
        let mut buffers = Buffers::of(None);
        let mut seen = Vec::new();
        let mut taken = VecDeque::new();
        for _ in 0..20 {
            let mut buffer = buffers.next();
            buffer.extend_from_slice(&[1; PIECE_BYTES]);
            seen.push(buffer.as_ptr());
            taken.push_back(buffers.lend(buffer));
            if taken.len() == BUFFERS_MAX {
                taken.pop_front();
            }
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), BUFFERS_MAX);
    }
}
