//! The bytes of a request on their way to who takes them.
//!
//! A request's body comes in frames, as the kernel had them. They are gathered into pieces in the
//! task of the connection, which can so read into the same memory again, and in buffers that go
//! round: memory that is new each time costs more than the hash of what is put into it. Who takes
//! the pieces is a task of its own, since it shall come to its end also if the client goes away.

use std::sync::Arc;

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, Stream, StreamExt};
use http_body::Body as _;
use parking_lot::Mutex;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::store::buffer::{ALIGN_BYTES, Buffer, Buffers, DIRECT_BYTES_MIN};

/// Bytes that make a piece.
const PIECE_BYTES: usize = 256 << 10;
/// Pieces that wait while one is taken. With the one that is filled, that is all that a body has in
/// memory.
const WAITING_MAX: usize = 1;
/// A body is large that has so many bytes, or of which so many have come if that is not known.
const LARGE_BYTES_MIN: u64 = 1 << 20;

/// What the gatherer says.
enum Said {
    Piece(Bytes),
    Broken(axum::Error),
    End,
}

/// What both sides have, so that what came is not lost with the connection.
struct Shared {
    partial: Mutex<Partial>,
    /// Frames that the gatherer has not seen: the last ones may have come with the end of the
    /// connection, of which it hears nothing more.
    frames: Mutex<BodyDataStream>,
}

/// A piece that is not sent yet.
struct Partial {
    piece: Buffer,
    /// The end of a frame that belongs to the next piece.
    rest: Bytes,
}

impl Partial {
    /// Adds what is there of the frame; says whether that made the piece full.
    fn fill(&mut self) -> bool {
        self.piece.fill(&mut self.rest)
    }
}

impl Shared {
    async fn next_frame(&self) -> Option<Result<Bytes, axum::Error>> {
        std::future::poll_fn(|context| self.frames.lock().poll_next_unpin(context)).await
    }

    /// The piece, in whose place the next one is.
    fn replace(&self, next: Buffer) -> Bytes {
        let piece = std::mem::replace(&mut self.partial.lock().piece, next);
        piece.freeze()
    }
}

/// Bytes until their end, or until they break off, and why.
pub(crate) type Pieces = BoxStream<'static, Result<Bytes, String>>;

/// Divides a body in two: what must be run for pieces to come, in the task of its connection, and
/// the pieces. `direct` are buffers that may be written past the page cache, for a body that is
/// large; `begin` is where its first byte is in the file, as far as that is known.
pub(super) fn divide(
    body: Body,
    direct: &Buffers,
    begin: u64,
) -> (impl Future<Output = ()> + use<>, Pieces) {
    let (sender, receiver) = channel(WAITING_MAX);
    let mut supply = Supply::new(body.size_hint().upper(), direct.clone());
    let shared = Arc::new(Shared {
        partial: Mutex::new(Partial {
            piece: supply.first(begin),
            rest: Bytes::new(),
        }),
        frames: Mutex::new(body.into_data_stream()),
    });
    let gathering = gather(supply, sender, Arc::clone(&shared));
    (gathering, taken(receiver, shared).boxed())
}

/// Gathers a body until it ends or nobody wants more of it.
async fn gather(mut supply: Supply, sender: Sender<Said>, shared: Arc<Shared>) {
    let last = loop {
        match shared.next_frame().await {
            Some(Ok(frame)) => shared.partial.lock().rest = frame,
            Some(Err(error)) => break Said::Broken(error),
            None => break Said::End,
        }
        while shared.partial.lock().fill() {
            // Until there is room for it, the piece stays where it is not lost with the connection.
            let Ok(room) = sender.reserve().await else {
                return;
            };
            room.send(Said::Piece(shared.replace(supply.next())));
        }
    };
    // Nobody listens if more came than is wanted.
    if !shared.partial.lock().piece.is_empty() {
        let Ok(room) = sender.reserve().await else {
            return;
        };
        room.send(Said::Piece(shared.replace(supply.none())));
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
                let left = left(&shared);
                match left.is_empty() {
                    true => Some((Err("the client went away".to_owned()), None)),
                    false => Some((Ok(left), Some((receiver, shared)))),
                }
            }
        }
    })
}

/// What came and was not sent, a piece at a time.
fn left(shared: &Shared) -> Bytes {
    let mut is_full = shared.partial.lock().fill();
    while !is_full && let Some(Some(Ok(frame))) = shared.next_frame().now_or_never() {
        let mut partial = shared.partial.lock();
        partial.rest = frame;
        is_full = partial.fill();
    }
    shared.replace(Buffers::new(PIECE_BYTES).make(0))
}

/// Where buffers for a body come from.
struct Supply {
    /// Bytes that are still to come, if that is known.
    expected: Option<u64>,
    /// Bytes that there are buffers for so far.
    came: u64,
    plain: Buffers,
    direct: Buffers,
}

impl Supply {
    fn new(expected: Option<u64>, direct: Buffers) -> Self {
        Self {
            expected,
            came: 0,
            plain: Buffers::new(PIECE_BYTES),
            direct,
        }
    }

    /// The buffer for a body that begins there in its file, so that the next ones begin where a
    /// direct write may.
    fn first(&mut self, begin: u64) -> Buffer {
        let mut buffer = self.next();
        let align = ALIGN_BYTES as u64;
        buffer.shorten(usize::try_from(begin % align).unwrap_or_default());
        self.came = buffer.full() as u64;
        buffer
    }

    fn next(&mut self) -> Buffer {
        let left = self.expected.map(|bytes| bytes.saturating_sub(self.came));
        let is_worth_it = left.is_none_or(|left| left >= DIRECT_BYTES_MIN as u64);
        let direct = match self.is_large() && is_worth_it {
            true => self.direct.take(),
            false => None,
        };
        let buffer = direct.or_else(|| self.plain.take()).unwrap_or_else(|| {
            let bytes = left.and_then(|left| usize::try_from(left).ok());
            self.plain.make(bytes.unwrap_or(PIECE_BYTES))
        });
        self.came += buffer.full() as u64;
        buffer
    }

    fn is_large(&self) -> bool {
        self.expected.unwrap_or(self.came) >= LARGE_BYTES_MIN
    }

    /// One that holds nothing.
    fn none(&self) -> Buffer {
        self.plain.make(0)
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
        let (gathering, mut pieces) = divide(body, &Buffers::aligned(0, 0), 0);
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
        let (gathering, pieces) = divide(body(frames), &Buffers::aligned(0, 0), 0);
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
            let (gathering, mut pieces) = divide(
                Body::from_stream(frames.chain(futures::stream::pending())),
                &Buffers::aligned(0, 0),
                0,
            );
            assert!(gathering.now_or_never().is_none());
            for expected in &sent {
                assert_eq!(pieces.next().await.unwrap().unwrap(), expected);
            }
            assert!(pieces.next().await.unwrap().is_err(), "that is no end");
            assert!(pieces.next().await.is_none());
        }
    }

    #[tokio::test]
    async fn a_large_body_is_in_aligned_memory_as_long_as_there_is_any() {
        let sent: Vec<u8> = (0..5_000_000_u32).map(|n| (n % 251) as u8).collect();
        let frames = || sent.chunks(100_000).map(Bytes::copy_from_slice).map(Ok);
        for (mib, begin, expected) in [
            (0, 0, vec![]),
            // Its length is not known, so it is not large before so much has come.
            (8, 0, [4, 8, 12, 16].map(|at| at * PIECE_BYTES).to_vec()),
            (
                8,
                4095,
                [5, 9, 13, 17].map(|at| at * PIECE_BYTES - 4095).to_vec(),
            ),
            (1, 0, vec![1 << 20]),
        ] {
            let direct = Buffers::aligned(1 << 20, mib << 20);
            let (gathering, pieces) = divide(body(frames().collect()), &direct, begin);
            let (pieces, ()) =
                tokio::join!(pieces.map(Result::unwrap).collect::<Vec<_>>(), gathering);
            let (mut at, mut found) = (0, Vec::new());
            for piece in &pieces {
                let is_aligned = piece.as_ptr().addr() % ALIGN_BYTES == 0;
                if is_aligned && piece.len() > PIECE_BYTES {
                    assert!((begin + at as u64).is_multiple_of(ALIGN_BYTES as u64));
                    found.push(at);
                }
                at += piece.len();
            }
            assert!(pieces.concat() == sent);
            assert_eq!(found, expected, "{mib} {begin}");
        }
    }
}
