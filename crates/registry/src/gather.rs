//! Bodies that are gathered in memory before they can be understood: manifests, and requests of the
//! management API. A client may take its time to send one, so what all have there together is bounded.

use std::sync::Arc;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use model::units::ByteSize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Code, Error};

/// Room for the bytes of all bodies. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct Room(Arc<Semaphore>);

/// A body, which takes room until it is dropped.
#[derive(Debug)]
pub(crate) struct Gathered {
    pub(crate) bytes: Bytes,
    _taken: OwnedSemaphorePermit,
}

/// Why there is no body.
#[derive(Debug)]
pub(crate) enum Missing {
    /// It has more bytes than one may have.
    TooLarge,
    /// There is no room beside the others.
    NoRoom,
    /// It did not arrive as a whole.
    Broken(axum::Error),
}

impl Missing {
    /// The same for the client, of `what` that has at most as many bytes as `setting` says.
    pub(crate) fn error(&self, what: &str, setting: &str, bytes_max: usize) -> Error {
        match self {
            Self::TooLarge => {
                let message = format!("{setting}: {what} has at most {bytes_max} bytes");
                let error = Error::new(Code::SizeInvalid, message);
                error.with_status(http::StatusCode::PAYLOAD_TOO_LARGE)
            }
            Self::NoRoom => {
                let message = "registry.limits.body_bytes_max: too much is being sent at once";
                Error::new(Code::TooManyRequests, message)
            }
            Self::Broken(cause) => {
                let message = format!("{what} did not arrive as a whole: {cause}");
                Error::new(Code::SizeInvalid, message)
            }
        }
    }
}

impl Room {
    pub(crate) fn new(bytes_max: ByteSize) -> Self {
        let bytes_max = bytes_max.as_usize().min(Semaphore::MAX_PERMITS);
        Self(Arc::new(Semaphore::new(bytes_max)))
    }

    /// All bytes of a body that has no more than so many. Room is taken as they come, and who finds
    /// none is refused: if it waited, all who have a part could wait for each other.
    pub(crate) async fn gather(&self, body: Body, bytes_max: usize) -> Result<Gathered, Missing> {
        let mut taken = self.take(0)?;
        let mut bytes = BytesMut::new();
        let mut pieces = body.into_data_stream();
        while let Some(piece) = pieces.try_next().await.map_err(Missing::Broken)? {
            if piece.len() > bytes_max - bytes.len() {
                return Err(Missing::TooLarge);
            }
            taken.merge(self.take(piece.len())?);
            bytes.extend_from_slice(&piece);
        }
        Ok(Gathered {
            bytes: bytes.freeze(),
            _taken: taken,
        })
    }

    fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Missing> {
        let bytes = u32::try_from(bytes).map_err(|_| Missing::NoRoom)?;
        let taken = Arc::clone(&self.0).try_acquire_many_owned(bytes);
        taken.map_err(|_| Missing::NoRoom)
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    fn body(pieces: &[&'static str]) -> Body {
        let pieces: Vec<_> = pieces
            .iter()
            .map(|piece| Ok::<_, axum::Error>(*piece))
            .collect();
        Body::from_stream(stream::iter(pieces))
    }

    #[tokio::test]
    async fn bodies_have_room_for_all_of_them_together() {
        let room = Room::new(ByteSize(10));
        let first = room.gather(body(&["abc", "def"]), 6).await.unwrap();
        assert_eq!(first.bytes, "abcdef");
        let refused = room.gather(body(&["abc", "de"]), 6).await;
        assert!(matches!(refused, Err(Missing::NoRoom)));
        let second = room.gather(body(&["a", "bcd"]), 6).await.unwrap();
        assert_eq!(second.bytes, "abcd");
        drop(first);
        // What was refused has left its room.
        let third = room.gather(body(&["abcdef"]), 6).await.unwrap();
        assert_eq!(third.bytes, "abcdef");
        drop((second, third));
        let large = room.gather(body(&["abcd", "efg"]), 6).await;
        assert!(matches!(large, Err(Missing::TooLarge)));
        assert_eq!(room.0.available_permits(), 10);
    }
}
