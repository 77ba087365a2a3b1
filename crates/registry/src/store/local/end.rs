//! The end of a file that grows.
//!
//! What is large is written past the page cache, from the memory where it is: a copy of all bytes
//! less, and nothing that the kernel has to write later. The kernel wants memory, length and place
//! aligned for that, so the rest goes through the page cache, with the same descriptor. Both are
//! durable once the file is synced.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::store::buffer::{ALIGN_BYTES, DIRECT_BYTES_MIN};

/// Where a file is written on.
pub(super) struct End {
    file: File,
    at: u64,
    /// How much of it is durable.
    synced: u64,
    way: Way,
}

/// How bytes go to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Cached,
    Direct,
    /// Through the page cache only: the file system knows no other way.
    Refused,
}

impl End {
    /// Opens a file to write on at `received`, dropping what is behind it.
    pub(super) fn open(path: &Path, received: u64) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        if received == 0 {
            options.create(true).truncate(true);
        }
        let file = options.open(path)?;
        if received > 0 {
            if file.metadata()?.len() < received {
                return Err(io::ErrorKind::NotFound.into());
            }
            file.set_len(received)?;
        }
        Ok(Self {
            file,
            at: received,
            synced: received,
            way: Way::Cached,
        })
    }

    /// Gives back what the disk was asked for since the last sync: the rest may have found it full.
    pub(super) fn give_back(&self) {
        if let Err(error) = self.file.set_len(self.synced) {
            tracing::warn!(%error, "what was not written to its end stays on the disk until its upload ends");
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let done = match self.is_aligned(bytes) {
            true => self.write_direct(bytes)?,
            false => 0,
        };
        let rest = bytes.get(done..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(());
        }
        if self.way == Way::Direct {
            set_direct(&self.file, false)?;
            self.way = Way::Cached;
        }
        self.file.write_all_at(rest, self.at)?;
        self.at += rest.len() as u64;
        Ok(())
    }

    /// Makes what was written durable.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        self.synced = self.at;
        Ok(())
    }

    fn is_aligned(&self, bytes: &[u8]) -> bool {
        bytes.len() >= DIRECT_BYTES_MIN
            && bytes.as_ptr().addr().is_multiple_of(ALIGN_BYTES)
            && self.at.is_multiple_of(ALIGN_BYTES as u64)
    }

    /// Writes whole blocks past the page cache; says how many bytes of them were taken.
    fn write_direct(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.way == Way::Cached {
            self.way = match set_direct(&self.file, true) {
                Ok(()) => Way::Direct,
                Err(error) => refusal(error)?,
            };
        }
        let whole = bytes.len() - bytes.len() % ALIGN_BYTES;
        let mut done = 0;
        while self.way == Way::Direct
            && let Some(left) = bytes.get(done..whole).filter(|left| !left.is_empty())
        {
            match self.file.write_at(left, self.at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    done += count;
                    self.at += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let refused = refusal(error)?;
                    set_direct(&self.file, false)?;
                    self.way = refused;
                }
            }
        }
        Ok(done)
    }
}

/// Whether the file system only refuses the way.
fn refusal(error: io::Error) -> io::Result<Way> {
    use rustix::io::Errno;
    match Errno::from_io_error(&error) {
        Some(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Way::Refused),
        _ => Err(error),
    }
}

/// Whether writes go past the page cache.
#[cfg(target_os = "linux")]
fn set_direct(file: &File, is_direct: bool) -> io::Result<()> {
    use rustix::fs::{OFlags, fcntl_setfl};
    let flags = match is_direct {
        true => OFlags::DIRECT,
        false => OFlags::empty(),
    };
    Ok(fcntl_setfl(file, flags)?)
}

#[cfg(not(target_os = "linux"))]
fn set_direct(_: &File, is_direct: bool) -> io::Result<()> {
    match is_direct {
        true => Err(rustix::io::Errno::INVAL.into()),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::store::buffer::Buffers;

    const PIECE: usize = 1 << 20;

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|n| (n % 251) as u8).collect()
    }

    /// `bytes` in aligned memory.
    fn aligned(bytes: &[u8]) -> Bytes {
        let mut buffer = Buffers::aligned(bytes.len(), 2 * PIECE as u64 + 1)
            .take()
            .unwrap();
        buffer.fill(&mut Bytes::copy_from_slice(bytes));
        buffer.freeze()
    }

    struct Rig {
        _directory: tempfile::TempDir,
        path: std::path::PathBuf,
        /// How large pieces go where the tests are run.
        way: Way,
    }

    impl Rig {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let probe = File::create(directory.path().join("probe")).unwrap();
            let way = match set_direct(&probe, true) {
                Ok(()) => Way::Direct,
                Err(error) => refusal(error).unwrap(),
            };
            Self {
                path: directory.path().join("file"),
                _directory: directory,
                way,
            }
        }

        fn end(&self, received: u64) -> End {
            End::open(&self.path, received).unwrap()
        }

        fn content(&self) -> Vec<u8> {
            std::fs::read(&self.path).unwrap()
        }
    }

    #[test]
    fn whole_blocks_go_past_the_cache_and_the_rest_through_it() {
        for length in [PIECE, PIECE + 1, PIECE + 4095, 2 * PIECE - 4096, 600_000] {
            let (rig, bytes) = (Rig::new(), pattern(length));
            let mut end = rig.end(0);
            let piece = aligned(&bytes);
            assert!(end.is_aligned(&piece));
            let direct = end.write_direct(&piece).unwrap();
            assert_eq!(end.way, rig.way);
            if rig.way == Way::Direct {
                assert_eq!(direct, length - length % ALIGN_BYTES);
            }
            end.write(&piece[direct..]).unwrap();
            end.write(b"end").unwrap();
            end.sync().unwrap();
            assert!(rig.content() == [&bytes[..], b"end"].concat(), "{length}");
        }
    }

    #[test]
    fn what_was_not_synced_is_given_back() {
        let rig = Rig::new();
        let mut end = rig.end(0);
        end.write(b"kept").unwrap();
        end.sync().unwrap();
        end.write(&aligned(&pattern(PIECE))).unwrap();
        end.give_back();
        assert_eq!(rig.content(), b"kept");
        let mut end = rig.end(4);
        end.write(b"more").unwrap();
        end.give_back();
        assert_eq!(rig.content(), b"kept");
    }

    #[test]
    fn both_ways_take_turns() {
        let (rig, bytes) = (Rig::new(), pattern(PIECE));
        let (mut end, piece) = (rig.end(0), aligned(&bytes));
        let mut expected = Vec::new();
        for round in 0..4 {
            end.write(&piece).unwrap();
            assert_eq!(end.way, rig.way, "{round}");
            let small = pattern(4096 * (round + 1));
            end.write(&small).unwrap();
            assert_ne!(end.way, Way::Direct, "{round}");
            expected.extend_from_slice(&bytes);
            expected.extend_from_slice(&small);
        }
        end.sync().unwrap();
        assert!(rig.content() == expected);
    }

    #[test]
    fn what_is_not_aligned_goes_through_the_cache() {
        let bytes = pattern(PIECE);
        let piece = aligned(&bytes);
        for (at, piece) in [(4095, &piece[..]), (4096, &piece[1..]), (0, &piece[..4096])] {
            let rig = Rig::new();
            let mut end = rig.end(0);
            end.write(&bytes[..at]).unwrap();
            end.write(piece).unwrap();
            assert_eq!(end.way, Way::Cached, "{at}");
            assert!(rig.content() == [&bytes[..at], piece].concat());
        }
    }

    /// As after a crash: what is behind the bytes that are known is dropped, wherever it ends.
    #[test]
    fn a_file_is_continued_at_any_byte() {
        let bytes = pattern(2 * PIECE);
        for received in [1, 4095, 4096, PIECE - 1, PIECE, PIECE + 1] {
            let rig = Rig::new();
            let mut end = rig.end(0);
            end.write(&aligned(&bytes[..PIECE])).unwrap();
            end.write(&aligned(&vec![0; PIECE])).unwrap();
            drop(end);
            let mut end = rig.end(received as u64);
            let known = received.min(PIECE);
            // The first byte that is aligned is reached through the cache.
            let begin = received.next_multiple_of(ALIGN_BYTES);
            end.write(&pattern(begin - received)).unwrap();
            end.write(&aligned(&bytes[..PIECE])).unwrap();
            assert_eq!(end.way, rig.way, "{received}");
            end.sync().unwrap();
            let mut expected = bytes[..known].to_vec();
            expected.resize(received, 0);
            expected.extend(pattern(begin - received));
            expected.extend(&bytes[..PIECE]);
            assert!(rig.content() == expected, "{received}");
        }
    }

    #[test]
    fn a_file_that_has_less_than_is_known_is_lost() {
        let rig = Rig::new();
        rig.end(0).write(b"abc").unwrap();
        let lost = End::open(&rig.path, 4).err().unwrap();
        assert_eq!(lost.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn where_direct_writes_are_refused_all_goes_through_the_cache() {
        // A file system that knows none.
        #[cfg(target_os = "linux")]
        {
            let file = File::open("/proc/self/stat").unwrap();
            let refused = set_direct(&file, true).unwrap_err();
            assert_eq!(refusal(refused).unwrap(), Way::Refused);
        }
        // One that knows them and refuses a write: here that of memory that is not aligned.
        let (rig, bytes) = (Rig::new(), pattern(PIECE + 1));
        let (mut end, piece) = (rig.end(0), aligned(&bytes));
        let done = end.write_direct(&piece[1..]).unwrap();
        assert!(end.way == Way::Refused || done == PIECE);
        end.write(&piece[1 + done..]).unwrap();
        let way = end.way;
        end.write(&piece).unwrap();
        assert!(way != Way::Refused || end.way == Way::Refused);
        assert!(rig.content() == [&bytes[1..], &bytes].concat());

        let full = refusal(rustix::io::Errno::NOSPC.into());
        assert!(full.is_err(), "what is no refusal is an error");
    }
}
