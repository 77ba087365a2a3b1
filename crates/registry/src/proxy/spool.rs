//! A blob that is on its way. Who asks for it reads what has come, each as fast as he can and from
//! where he wants, while the rest comes: from a file without a name, which is gone with its last
//! reader. The last byte is held back until all of them are what the digest says. All of them
//! together have a bound.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::spawn_blocking;

use super::Failed;
use super::shares::Shares;
use crate::error::{Code, Error};
use crate::logs::new_id;

/// Bytes that are read at once.
const READ_BYTES: u64 = 256 << 10;

/// For how long it may be that little comes.
const STALLED_AFTER: Duration = Duration::from_secs(60);
/// Bytes that room is given in.
const ROOM_BYTES: u64 = 64 << 10;

/// Room on the disk for all that is on its way, of which what comes from one registry may take a part.
pub(super) struct Room {
    all: Arc<Semaphore>,
    each: Shares,
    /// Pieces that one registry may take.
    each_max: u32,
}

/// Some of it, until it is dropped.
pub(super) struct Place {
    all: Held,
    share: Held,
}

/// Pieces of a room, or of a registry's share.
struct Held {
    free: Arc<Semaphore>,
    pieces: OwnedSemaphorePermit,
    /// The setting that says how many there are.
    setting: &'static str,
}

const ALL: &str = "spool_bytes_max";
const SHARE: &str = "upstream_spool_percent_max";

fn pieces_of(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(ROOM_BYTES)).unwrap_or(u32::MAX)
}

impl Room {
    /// Room for so many bytes, and the part of it that is for one registry at most.
    pub(super) fn new(bytes_max: u64, upstream_percent_max: u64) -> Self {
        let all = pieces_of(bytes_max).max(1);
        let each = u64::from(all) * upstream_percent_max.min(100) / 100;
        let each_max = u32::try_from(each).unwrap_or(u32::MAX).max(1);
        let permits = |pieces| usize::try_from(pieces).unwrap_or(usize::MAX);
        let permits_max = Semaphore::MAX_PERMITS;
        Self {
            all: Arc::new(Semaphore::new(permits(all).min(permits_max))),
            each: Shares::new(permits(each_max)),
            each_max,
        }
    }

    /// Waits for room for so many bytes of a registry, but not for ever.
    pub(super) async fn reserve(
        &self,
        upstream_id: i64,
        bytes: u64,
        wait_max: Duration,
    ) -> Result<Place, Failed> {
        let pieces = pieces_of(bytes);
        if pieces > self.each_max {
            let message = format!(
                "registry.proxy.{ALL}, registry.proxy.{SHARE}: there is no room for {bytes} bytes"
            );
            return Err(Failed::Own(Error::new(Code::Unavailable, message)));
        }
        let place = async {
            let share = Held::wait(self.each.of(upstream_id), pieces, SHARE).await;
            let all = Held::wait(Arc::clone(&self.all), pieces, ALL).await;
            Some(Place {
                share: share?,
                all: all?,
            })
        };
        match tokio::time::timeout(wait_max, place).await {
            Ok(Some(place)) => Ok(place),
            _ => Err(Failed::TooMany {
                message: full(self.narrow(upstream_id, pieces)),
                after: Duration::from_secs(1),
            }),
        }
    }

    /// The setting that is in the way of so many pieces now.
    fn narrow(&self, upstream_id: i64, pieces: u32) -> &'static str {
        let free = self.each.of(upstream_id).available_permits();
        match u32::try_from(free).is_ok_and(|free| free < pieces) {
            true => SHARE,
            false => ALL,
        }
    }
}

fn full(setting: &str) -> String {
    format!("registry.proxy.{setting}: too many bytes are on their way")
}

impl Held {
    async fn wait(free: Arc<Semaphore>, pieces: u32, setting: &'static str) -> Option<Self> {
        let held = Arc::clone(&free).acquire_many_owned(pieces).await;
        Some(Self {
            free,
            pieces: held.ok()?,
            setting,
        })
    }

    /// Makes it so many pieces, if they are free now. Who waited here could wait for somebody who
    /// waits for him.
    fn grow(&mut self, pieces: u32) -> io::Result<()> {
        let held = u32::try_from(self.pieces.num_permits()).unwrap_or(u32::MAX);
        let more = pieces.saturating_sub(held);
        if more > 0 {
            let more = Arc::clone(&self.free).try_acquire_many_owned(more);
            let more = more.map_err(|_| io::Error::other(full(self.setting)))?;
            self.pieces.merge(more);
        }
        Ok(())
    }
}

impl Place {
    /// Makes it one for so many bytes, if there is room now.
    fn grow(&mut self, bytes: u64) -> io::Result<()> {
        let pieces = pieces_of(bytes);
        self.all.grow(pieces)?;
        self.share.grow(pieces)
    }
}

/// A blob that is on its way.
pub(crate) struct Coming {
    file: Arc<File>,
    place: Mutex<Place>,
    /// Bytes, if the other registry has said how many.
    size: Option<u64>,
    progress: watch::Sender<Progress>,
    /// How many read it.
    readers: watch::Sender<usize>,
}

/// Somebody who reads it, or is about to.
pub(crate) struct Reader(Arc<Coming>);

impl Clone for Reader {
    fn clone(&self) -> Self {
        self.0.reader()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.readers.send_modify(|readers| *readers -= 1);
    }
}

/// How far it is.
#[derive(Clone, Debug, Default)]
struct Progress {
    received: u64,
    /// Whether all has come, or why it will not.
    ended: Option<Result<(), String>>,
}

impl Progress {
    /// How much may be read, or why no more will come.
    fn readable(&self) -> io::Result<u64> {
        match &self.ended {
            Some(Ok(())) => Ok(self.received),
            Some(Err(reason)) => Err(io::Error::other(reason.clone())),
            None => Ok(self.received.saturating_sub(1)),
        }
    }
}

impl Coming {
    /// One of which nothing has come, with its file in a directory.
    pub(super) fn open(directory: &Path, size: Option<u64>, place: Place) -> io::Result<Self> {
        let path = directory.join(new_id());
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        std::fs::remove_file(&path)?;
        Ok(Self {
            file: Arc::new(file),
            place: Mutex::new(place),
            size,
            progress: watch::Sender::new(Progress::default()),
            readers: watch::Sender::new(0),
        })
    }

    /// Adds what has come.
    pub(super) async fn write(&self, bytes: Vec<Bytes>) -> io::Result<()> {
        let at = self.progress.borrow().received;
        let more: u64 = bytes.iter().map(|bytes| bytes.len() as u64).sum();
        self.place.lock().grow(at + more)?;
        let file = Arc::clone(&self.file);
        let written = spawn_blocking(move || {
            let mut end = at;
            for bytes in bytes {
                file.write_all_at(&bytes, end)?;
                end += bytes.len() as u64;
            }
            Ok::<_, io::Error>(end)
        });
        let received = written.await.map_err(io::Error::other)??;
        self.progress
            .send_modify(|progress| progress.received = received);
        Ok(())
    }

    /// All has come, or no more will.
    pub(super) fn end(&self, outcome: Result<(), String>) {
        let ended = Some(outcome);
        self.progress.send_modify(|progress| progress.ended = ended);
    }

    /// One more who reads it.
    pub(super) fn reader(self: &Arc<Self>) -> Reader {
        self.readers.send_modify(|readers| *readers += 1);
        Reader(Arc::clone(self))
    }

    /// Ends once nobody has read it for so long.
    pub(super) async fn unread(&self, for_long: Duration) {
        let mut readers = self.readers.subscribe();
        // It has the other end itself, so there is always an answer.
        while readers.wait_for(|readers| *readers == 0).await.is_ok() {
            let again = readers.wait_for(|readers| *readers > 0);
            if tokio::time::timeout(for_long, again).await.is_err() {
                return;
            }
        }
    }

    /// Ends once less than so many bytes per second have come for a while.
    pub(super) async fn stalled(&self, bytes_per_second_min: u64) {
        let bytes_min = bytes_per_second_min.saturating_mul(STALLED_AFTER.as_secs());
        loop {
            let before = self.progress.borrow().received;
            tokio::time::sleep(STALLED_AFTER).await;
            if self.progress.borrow().received - before < bytes_min {
                return;
            }
        }
    }

    async fn read_at(&self, range: Range<u64>) -> io::Result<Bytes> {
        let file = Arc::clone(&self.file);
        let read = spawn_blocking(move || {
            let length = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, range.start)?;
            Ok(bytes.into())
        });
        read.await.map_err(io::Error::other)?
    }
}

impl Reader {
    /// How many bytes it has; waits for all of them where that has not been said.
    pub(crate) async fn size(&self) -> io::Result<u64> {
        if let Some(size) = self.0.size {
            return Ok(size);
        }
        let mut progress = self.0.progress.subscribe();
        let ended = progress.wait_for(|progress| progress.ended.is_some()).await;
        ended.map_err(io::Error::other)?.readable()
    }

    /// Its bytes, as they come.
    pub(crate) fn read(self, range: Range<u64>) -> impl Stream<Item = io::Result<Bytes>> + Send {
        let progress = self.0.progress.subscribe();
        futures::stream::try_unfold(
            (self, progress, range),
            async |(reader, mut progress, range)| {
                if range.is_empty() {
                    return Ok(None);
                }
                let has_more = |progress: &Progress| {
                    progress.ended.is_some()
                        || progress.readable().is_ok_and(|end| end > range.start)
                };
                let more = progress.wait_for(has_more).await;
                let readable = more.map_err(io::Error::other)?.readable()?;
                let end = readable.min(range.end).min(range.start + READ_BYTES);
                if end <= range.start {
                    return Err(io::Error::other("it is shorter than was said"));
                }
                let bytes = reader.0.read_at(range.start..end).await?;
                Ok(Some((bytes, (reader, progress, end..range.end))))
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt, TryStreamExt};

    use super::*;

    async fn all(stream: impl Stream<Item = io::Result<Bytes>>) -> io::Result<Vec<u8>> {
        let bytes: Vec<Bytes> = stream.try_collect().await?;
        Ok(bytes.concat())
    }

    async fn coming_in(room: &Room, size: Option<u64>) -> Result<Arc<Coming>, Failed> {
        coming_from(1, room, size).await
    }

    async fn coming_from(
        upstream_id: i64,
        room: &Room,
        size: Option<u64>,
    ) -> Result<Arc<Coming>, Failed> {
        let directory = tempfile::tempdir().unwrap();
        let place = room.reserve(upstream_id, size.unwrap_or(0), Duration::ZERO);
        let place = place.await?;
        let coming = Arc::new(Coming::open(directory.path(), size, place).unwrap());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        Ok(coming)
    }

    async fn coming(size: Option<u64>) -> Arc<Coming> {
        coming_in(&Room::new(1 << 30, 100), size).await.unwrap()
    }

    #[tokio::test]
    async fn all_together_have_a_bound() {
        let room = Room::new(3 * ROOM_BYTES, 100);
        let first = coming_in(&room, Some(2 * ROOM_BYTES)).await.unwrap();
        let full = coming_in(&room, Some(2 * ROOM_BYTES)).await;
        assert!(matches!(full.err(), Some(Failed::TooMany { .. })));
        let never = coming_in(&room, Some(4 * ROOM_BYTES)).await;
        let never = never.err().unwrap().error(Code::BlobUnknown);
        assert!(never.message.contains("registry.proxy.spool_bytes_max"));

        // One whose size was not said takes room as it comes, and goes no further than that.
        let unsaid = coming_in(&room, None).await.unwrap();
        let piece = || vec![Bytes::from(vec![0; ROOM_BYTES as usize])];
        unsaid.write(piece()).await.unwrap();
        let refused = unsaid.write(piece()).await.unwrap_err();
        assert!(refused.to_string().contains("spool_bytes_max"), "{refused}");
        drop(first);
        unsaid.write(piece()).await.unwrap();
        drop(unsaid);
        coming_in(&room, Some(3 * ROOM_BYTES)).await.unwrap();
    }

    #[tokio::test]
    async fn one_registry_leaves_room_for_others() {
        let room = Room::new(4 * ROOM_BYTES, 50);
        let never = coming_in(&room, Some(3 * ROOM_BYTES)).await;
        let never = never.err().unwrap().error(Code::BlobUnknown);
        assert!(never.message.contains("upstream_spool_percent_max"));
        let slow = coming_in(&room, Some(2 * ROOM_BYTES)).await.unwrap();
        let full = coming_in(&room, Some(1)).await;
        let full = full.err().unwrap().error(Code::BlobUnknown);
        assert!(full.message.contains("upstream_spool_percent_max"));
        let well = coming_from(2, &room, Some(2 * ROOM_BYTES)).await.unwrap();
        let full = coming_from(3, &room, Some(1)).await;
        let full = full.err().unwrap().error(Code::BlobUnknown);
        assert!(full.message.contains("proxy.spool_bytes_max"));
        drop((slow, well));
        coming_from(3, &room, Some(1)).await.unwrap();
    }

    #[tokio::test]
    async fn everybody_gets_everything_while_it_comes() {
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|n| n as u8).collect();
        let coming = coming(Some(1_000_000)).await;
        let early = tokio::spawn(all(coming.reader().read(0..1_000_000)));
        for piece in bytes.chunks(70_001) {
            coming
                .write(vec![Bytes::copy_from_slice(piece)])
                .await
                .unwrap();
        }
        let part = all(coming.reader().read(500..999_999)).await.unwrap();
        assert!(part == bytes[500..999_999]);
        assert!(!early.is_finished());
        coming.end(Ok(()));
        assert!(early.await.unwrap().unwrap() == bytes);
        assert_eq!(
            all(coming.reader().read(999_998..1_000_000))
                .await
                .unwrap()
                .len(),
            2
        );
    }

    #[tokio::test]
    async fn nobody_gets_all_of_what_is_not_what_it_should_be() {
        let coming = coming(None).await;
        coming
            .write(vec![Bytes::from_static(b"wrong")])
            .await
            .unwrap();
        let mut reader = Box::pin(coming.reader().read(0..5));
        assert_eq!(reader.next().await.unwrap().unwrap(), "wron");
        coming.end(Err("it is another".to_owned()));
        assert_eq!(
            reader.next().await.unwrap().unwrap_err().to_string(),
            "it is another"
        );
        assert!(coming.reader().size().await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_stalled_once_little_has_come_for_a_while() {
        let coming = coming(None).await;
        let stalled = |rate: u64| {
            let coming = Arc::clone(&coming);
            tokio::spawn(async move { coming.stalled(rate).await })
        };
        let (slow, quick) = (stalled(1), stalled(100));
        let never = stalled(0);
        for _ in 0..6 {
            let bytes = Bytes::from(vec![0; STALLED_AFTER.as_secs() as usize]);
            coming.write(vec![bytes]).await.unwrap();
            tokio::time::sleep(STALLED_AFTER / 2).await;
        }
        assert!(quick.is_finished());
        assert!(!slow.is_finished());
        tokio::time::sleep(STALLED_AFTER * 2).await;
        assert!(slow.is_finished());
        assert!(!never.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_unread_once_the_last_reader_has_been_gone_for_long() {
        let coming = coming(Some(5)).await;
        let long = Duration::from_secs(30);
        let first = coming.reader();
        let second = first.clone();
        let unread = tokio::spawn({
            let coming = Arc::clone(&coming);
            async move { coming.unread(long).await }
        });
        drop(first);
        tokio::time::sleep(long * 2).await;
        assert!(!unread.is_finished());
        drop(second);
        tokio::time::sleep(long / 2).await;
        let third = coming.reader();
        tokio::time::sleep(long).await;
        assert!(!unread.is_finished());
        drop(third);
        tokio::time::sleep(long * 2).await;
        assert!(unread.is_finished());
    }
}
