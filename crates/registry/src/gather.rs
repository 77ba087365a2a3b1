//! Bodies that are gathered in memory before they can be understood: manifests, and requests of the
//! management API. A client may take its time to send one, so what all have there together is bounded,
//! and nobody has more of it than is left to the others: whoever comes next finds room.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use model::units::ByteSize;
use parking_lot::Mutex;

use crate::error::{Code, Error};

/// Room for the bytes of all bodies. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    bytes_max: usize,
    taken: Arc<Mutex<Taken>>,
}

/// Bytes of a room that are taken.
#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_sender: HashMap<String, usize>,
}

/// Who sends a body, by what nobody else is called.
#[derive(Clone, Debug)]
pub(crate) struct Sender(pub(crate) String);

/// A body, which takes room until it is dropped.
#[derive(Debug)]
pub(crate) struct Gathered {
    pub(crate) bytes: Bytes,
    _share: Share,
}

/// What one body takes of a room, which it leaves when it is dropped.
#[derive(Debug)]
struct Share {
    room: Room,
    sender: Sender,
    bytes: usize,
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
        Self {
            bytes_max: bytes_max.as_usize(),
            taken: Arc::default(),
        }
    }

    /// All bytes of a body that has no more than so many. Room is taken as they come, and who finds
    /// none is refused: if it waited, all who have a part could wait for each other.
    pub(crate) async fn gather(
        &self,
        body: Body,
        bytes_max: usize,
        sender: Sender,
    ) -> Result<Gathered, Missing> {
        let mut share = Share {
            room: self.clone(),
            sender,
            bytes: 0,
        };
        let mut bytes = BytesMut::new();
        let mut pieces = body.into_data_stream();
        while let Some(piece) = pieces.try_next().await.map_err(Missing::Broken)? {
            if piece.len() > bytes_max - bytes.len() {
                return Err(Missing::TooLarge);
            }
            share.grow(piece.len())?;
            bytes.extend_from_slice(&piece);
        }
        Ok(Gathered {
            bytes: bytes.freeze(),
            _share: share,
        })
    }
}

impl Share {
    fn grow(&mut self, bytes: usize) -> Result<(), Missing> {
        let mut taken = self.room.taken.lock();
        let all = taken.all.saturating_add(bytes);
        let left = self.room.bytes_max.checked_sub(all);
        let left = left.ok_or(Missing::NoRoom)?;
        let Sender(sender) = &self.sender;
        let before = taken.by_sender.get(sender).copied().unwrap_or_default();
        if before + bytes > left {
            return Err(Missing::NoRoom);
        }
        taken.by_sender.insert(sender.clone(), before + bytes);
        taken.all = all;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.room.taken.lock();
        taken.all -= self.bytes;
        let Sender(sender) = &self.sender;
        if let Some(before) = taken.by_sender.get_mut(sender) {
            *before -= self.bytes;
            if *before == 0 {
                taken.by_sender.remove(sender);
            }
        }
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
        let room = Room::new(ByteSize(12));
        let mut senders = 0..;
        let mut gather = |pieces: &[&'static str]| {
            let sender = Sender(senders.next().unwrap_or_default().to_string());
            room.gather(body(pieces), 6, sender)
        };
        let first = gather(&["abc", "def"]).await.unwrap();
        assert_eq!(first.bytes, "abcdef");
        let refused = gather(&["abc", "de"]).await;
        assert!(matches!(refused, Err(Missing::NoRoom)));
        let second = gather(&["a", "bc"]).await.unwrap();
        assert_eq!(second.bytes, "abc");
        drop(first);
        // What was refused has left its room.
        let third = gather(&["abcd"]).await.unwrap();
        assert_eq!(third.bytes, "abcd");
        drop((second, third));
        let large = gather(&["abcd", "efg"]).await;
        assert!(matches!(large, Err(Missing::TooLarge)));
        assert_eq!(room.taken.lock().all, 0);
    }

    #[tokio::test]
    async fn nobody_has_more_than_is_left_to_others() {
        let room = Room::new(ByteSize(12));
        let gather = |name: &str, pieces: &[&'static str]| {
            room.gather(body(pieces), 12, Sender(name.to_owned()))
        };
        let first = gather("a", &["abc", "def"]).await.unwrap();
        assert!(matches!(gather("a", &["g"]).await, Err(Missing::NoRoom)));
        let refused = gather("b", &["ab", "cd"]).await;
        assert!(matches!(refused, Err(Missing::NoRoom)));
        let second = gather("b", &["abc"]).await.unwrap();
        let third = gather("c", &["a"]).await.unwrap();
        drop(first);
        // There is more room for all that are still there.
        let fourth = gather("b", &["d"]).await.unwrap();
        drop((second, third, fourth));
        let taken = room.taken.lock();
        assert_eq!((taken.all, taken.by_sender.len()), (0, 0));
    }
}
