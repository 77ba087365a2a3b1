//! One file among those that bear, or bore, a name: read line by line to its end.

use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{SeekFrom, seek};

use super::identity::{FileId, Mark, Trail, WINDOW_BYTES, read_at};
use super::newline::Newline;
use super::unpack::{Packing, unpack};

/// Bytes of a file that are read at once.
const CHUNK_BYTES: usize = 256 << 10;
/// Lines that are given at once.
const CHUNK_LINES_MAX: usize = 8192;
/// How long a file that was rotated must not grow until it is closed.
const ROTATED_QUIET: Duration = Duration::from_secs(60);
/// How long ago the last write to a file that bears the name of a rotated one is, when nothing will
/// follow.
const WRITTEN_LONG_AGO_NS: i64 = 5_000_000_000;
/// The same for one that was deleted, and takes room on the disk as long as it is open.
const DELETED_QUIET: Duration = Duration::from_secs(5);
/// Chunks of NUL bytes that are looked through in one go for what follows them.
const NUL_CHUNKS_MAX: usize = 64;

/// A file that is read.
#[derive(Debug)]
pub(crate) struct Generation {
    /// Its place among the generations of its source, from 0.
    pub(crate) no: u64,
    pub(crate) id: FileId,
    /// Where it was seen last.
    pub(crate) path: PathBuf,
    file: File,
    trail: Trail,
    /// Where the line began of which the rest is skipped.
    skipping_from: Option<u64>,
    /// Where its end was at the last look.
    pub(crate) end: u64,
    /// When it was modified, as of the last look, in nanoseconds since 1970.
    pub(crate) mtime_ns: i64,
    /// When it last grew, by the reader's clock.
    pub(crate) grown_at: Duration,
    /// Whether another file has its name now, or none.
    pub(crate) is_rotated: bool,
    /// Whether there may be lines that were not read.
    pub(crate) may_have_more: bool,
    /// Whether nothing more is read of it: its bytes are gone, or it was given up.
    pub(crate) is_over: bool,
    /// The acknowledged position as it was noted last.
    pub(crate) noted: Mark,
    /// What ends its lines.
    pub(crate) newline: Newline,
    /// Whether reading began after lines that were done with, and nothing was read yet.
    pub(crate) is_resumed: bool,
    /// Whether it was packed: what is read of it is not what its name leads to.
    is_unpacked: bool,
}

/// Where packed files are unpacked, and how far.
#[derive(Clone, Debug)]
pub(crate) struct Unpacking {
    pub(crate) scratch: PathBuf,
    pub(crate) bytes_max: u64,
}

/// What reading has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Lines were read; there may be more.
    Advanced,
    /// There are no whole lines after the position.
    AtEnd,
    /// The bytes before the position are not those that were read: the file was truncated.
    Replaced,
}

/// A line of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line<'b> {
    pub(crate) offset: u64,
    pub(crate) bytes: &'b [u8],
    /// Whether the line was longer than what is kept of it.
    pub(crate) is_cut: bool,
}

/// What all reading of a thread goes through, one file after the other.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    /// Bytes of a line that are kept.
    line_max: usize,
}

impl Buffer {
    pub(crate) fn new(line_max: usize) -> Self {
        Self {
            bytes: Vec::new(),
            line_max,
        }
    }

    /// Room for a window and `data` bytes after it. Room for a long line is given back.
    fn room(&mut self, window: usize, data: usize) -> &mut [u8] {
        let len = window + data;
        if self.bytes.len() > CHUNK_BYTES + WINDOW_BYTES && len <= CHUNK_BYTES + WINDOW_BYTES {
            self.bytes = Vec::new();
        }
        if self.bytes.len() < len {
            self.bytes.resize(len, 0);
        }
        self.bytes.get_mut(..len).unwrap_or_default()
    }
}

impl Generation {
    pub(crate) fn open(no: u64, path: &Path, now: Duration) -> io::Result<Self> {
        let file = open_regular(path)?;
        Self::of_file(no, path, file, now)
    }

    pub(crate) fn of_file(no: u64, path: &Path, file: File, now: Duration) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            no,
            id: FileId::of(&metadata),
            path: path.to_owned(),
            file,
            trail: Trail::default(),
            skipping_from: None,
            end: metadata.len(),
            mtime_ns: mtime_ns(&metadata),
            grown_at: now,
            is_rotated: false,
            may_have_more: true,
            is_over: false,
            noted: Mark::default(),
            newline: Newline::default(),
            is_resumed: false,
            is_unpacked: false,
        })
    }

    /// Opens a file that rotation made, packed or not.
    pub(crate) fn open_rotated(
        path: &Path,
        unpacking: &Unpacking,
        now: Duration,
    ) -> io::Result<Self> {
        let mut opened = match Packing::of_name(path) {
            Some(packing) => Self::open_packed(path, packing, unpacking, now)?,
            None => Self::open(0, path, now)?,
        };
        opened.is_rotated = true;
        Ok(opened)
    }

    /// What a packed file holds.
    pub(crate) fn open_packed(
        path: &Path,
        packing: Packing,
        unpacking: &Unpacking,
        now: Duration,
    ) -> io::Result<Self> {
        let packed = open_regular(path)?;
        let of_packed = Self::of_file(0, path, packed, now)?;
        let file = unpack(
            &of_packed.file,
            packing,
            &unpacking.scratch,
            unpacking.bytes_max,
        )?;
        Ok(Self {
            end: file.metadata()?.len(),
            file,
            is_unpacked: true,
            is_rotated: true,
            ..of_packed
        })
    }

    /// Goes back to read again what was done with. Whether that could be done; if not, reading goes
    /// on where it was.
    pub(crate) fn go_back(&mut self, offset: u64) -> bool {
        match Trail::resume(&self.file, offset) {
            Ok(Some(trail)) if offset < self.trail.offset() => {
                self.trail = trail;
                true
            }
            _ => false,
        }
    }

    /// Goes on where `mark` is, if it holds here.
    pub(crate) fn resume(&mut self, mark: Mark) -> io::Result<bool> {
        let trail = Trail::resume(&self.file, mark.offset)?;
        let Some(trail) = trail.filter(|trail| trail.mark() == mark) else {
            return Ok(false);
        };
        (self.trail, self.noted) = (trail, mark);
        Ok(true)
    }

    /// Goes on at `offset`, of which nothing else is known. False if the file is shorter.
    pub(crate) fn resume_at(&mut self, offset: u64) -> io::Result<bool> {
        let Some(trail) = Trail::resume(&self.file, offset)? else {
            return Ok(false);
        };
        self.trail = trail;
        Ok(true)
    }

    /// Goes on in another file that has the bytes that were read: a copy.
    pub(crate) fn go_on_in(&mut self, copy: Self) {
        let (trail, skipping_from) = (self.trail.clone(), self.skipping_from);
        *self = Self {
            no: self.no,
            trail,
            skipping_from,
            noted: self.noted,
            is_rotated: true,
            newline: self.newline,
            ..copy
        };
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// What was read of it.
    pub(crate) fn mark(&self) -> Mark {
        self.trail.mark()
    }

    /// The mark at an earlier offset. Nothing if the bytes before it are no longer there.
    pub(crate) fn mark_at(&self, offset: u64) -> io::Result<Option<Mark>> {
        if offset == self.trail.offset() {
            return Ok(Some(self.trail.mark()));
        }
        let intact = self.trail.mark().holds_in(&self.file)?;
        if intact {
            Mark::take(&self.file, offset)
        } else {
            Ok(None)
        }
    }

    /// Where the next line begins, or the one of which the rest is skipped.
    pub(crate) fn next_line(&self) -> u64 {
        self.skipping_from.unwrap_or(self.trail.offset())
    }

    /// Bytes that were not read yet, as of the last look.
    pub(crate) fn unread(&self) -> u64 {
        if self.is_over {
            return 0;
        }
        self.end.saturating_sub(self.trail.offset())
    }

    /// Looks at size and time.
    pub(crate) fn look(&mut self, now: Duration) {
        if let Ok(metadata) = self.file.metadata() {
            self.observe(&metadata, now);
        }
    }

    /// Takes in size and time of the file.
    pub(crate) fn observe(&mut self, metadata: &Metadata, now: Duration) {
        if self.is_unpacked {
            return;
        }
        let (end, mtime_ns) = (metadata.len(), mtime_ns(metadata));
        if (end, mtime_ns) == (self.end, self.mtime_ns) {
            return;
        }
        (self.mtime_ns, self.grown_at, self.may_have_more) = (mtime_ns, now, true);
        // Of a truncated file the end it had is kept, since it says how much is lost.
        if end >= self.trail.offset() {
            self.end = end;
        }
    }

    /// Whether no name leads to it any more.
    pub(crate) fn is_deleted(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        if self.is_unpacked {
            return std::fs::metadata(&self.path).is_err();
        }
        self.file
            .metadata()
            .is_ok_and(|metadata| metadata.nlink() == 0)
    }

    /// Whether it was rotated, is read to its end, and has not grown for so long that it will not.
    pub(crate) fn is_quiet(&self, now: Duration) -> bool {
        if !self.is_rotated || self.may_have_more || self.unread() > 0 {
            return false;
        }
        let quiet = if self.is_deleted() {
            DELETED_QUIET
        } else {
            ROTATED_QUIET
        };
        now >= self.grown_at + quiet
    }

    /// Whether it is read to its end, and the last of it was written so long ago that the writer has
    /// gone on to another file. Counts also the time before this agent began, so that one that is
    /// killed again and again lets the end of a file go before the file is gone.
    pub(crate) fn was_written_long_ago(&self, wall_ns: i64) -> bool {
        let written_at = self.mtime_ns.saturating_add(WRITTEN_LONG_AGO_NS);
        !self.may_have_more && self.unread() == 0 && wall_ns >= written_at
    }

    /// The bytes of a second reader of this file, from its beginning.
    pub(crate) fn begin_again(&self, no: u64, now: Duration) -> io::Result<Self> {
        Self::of_file(no, &self.path, self.file.try_clone()?, now)
    }

    /// Reads a chunk and gives its lines.
    pub(crate) fn read(
        &mut self,
        buffer: &mut Buffer,
        line: &mut dyn FnMut(Line<'_>),
    ) -> io::Result<Progress> {
        let mut room = CHUNK_BYTES.min(buffer.line_max.max(WINDOW_BYTES));
        loop {
            let window = self.trail.window().len();
            let start = self.trail.offset() - window as u64;
            let line_max = buffer.line_max;
            let bytes = buffer.room(window, room);
            let read = read_at(&self.file, bytes, start)?;
            let (before, data) = bytes
                .get(..read)
                .unwrap_or_default()
                .split_at(window.min(read));
            if before != self.trail.window() {
                return Ok(Progress::Replaced);
            }
            self.end = self.end.max(start + read as u64);
            if data.is_empty() {
                return Ok(self.at_end());
            }
            if self.skipping_from.is_some() {
                return Ok(self.skip(data));
            }
            if let Some(end) = self.newline.last_end(data) {
                let whole = data.get(..end).unwrap_or_default();
                let lines = Lines {
                    newline: self.newline,
                    line_max,
                };
                let given = lines.give(self.trail.offset(), whole, line);
                self.trail.advance(whole.get(..given).unwrap_or_default());
                return Ok(Progress::Advanced);
            }
            if data.len() < room {
                return Ok(self.at_end());
            }
            if data.iter().all(|byte| *byte == 0) {
                return self.pass_nuls();
            }
            if room < line_max {
                room = room.saturating_mul(2).min(line_max);
                continue;
            }
            let offset = self.trail.offset();
            give_line(self.newline, offset, data, true, line);
            self.skipping_from = Some(offset);
            self.trail.advance(data);
            return Ok(Progress::Advanced);
        }
    }

    /// Passes over what is left of a line that is too long.
    fn skip(&mut self, data: &[u8]) -> Progress {
        let rest = match self.newline.first(data) {
            Some(at) => {
                self.skipping_from = None;
                data.get(..at + self.newline.len()).unwrap_or_default()
            }
            // Not half a character.
            None => data
                .get(..data.len() / self.newline.len() * self.newline.len())
                .unwrap_or_default(),
        };
        if rest.is_empty() {
            return self.at_end();
        }
        self.trail.advance(rest);
        Progress::Advanced
    }

    /// Passes over NUL bytes, and holes, that something follows. Those at the end of the file stay:
    /// they may be room that is still to be filled.
    fn pass_nuls(&mut self) -> io::Result<Progress> {
        let mut at = self.trail.offset();
        let mut chunk = vec![0; CHUNK_BYTES];
        for _ in 0..NUL_CHUNKS_MAX {
            at = match seek(&self.file, SeekFrom::Data(at)) {
                Ok(at) => at,
                Err(rustix::io::Errno::NXIO) => return Ok(self.at_end()),
                // A file system that knows no holes.
                Err(_) => at,
            };
            let read = read_at(&self.file, &mut chunk, at)?;
            if read == 0 {
                return Ok(self.at_end());
            }
            let data = chunk.get(..read).unwrap_or_default();
            if let Some(found) = data.iter().position(|byte| *byte != 0) {
                at += found as u64;
                break;
            }
            at += read as u64;
        }
        Ok(if self.resume_at(at)? {
            Progress::Advanced
        } else {
            self.at_end()
        })
    }

    fn at_end(&mut self) -> Progress {
        self.may_have_more = false;
        Progress::AtEnd
    }

    /// The rest of a file that grows no more, as a line although no line end follows.
    pub(crate) fn read_half_line(
        &mut self,
        buffer: &mut Buffer,
        line: &mut dyn FnMut(Line<'_>),
    ) -> io::Result<()> {
        let offset = self.trail.offset();
        let bytes = buffer.room(0, buffer.line_max.min(CHUNK_BYTES.max(self.unread_len())));
        let read = read_at(&self.file, bytes, offset)?;
        let data = bytes.get(..read).unwrap_or_default();
        if self.skipping_from.take().is_none() && !data.is_empty() {
            give_line(self.newline, offset, data, false, line);
        }
        self.trail.advance(data);
        Ok(())
    }

    fn unread_len(&self) -> usize {
        usize::try_from(self.unread()).unwrap_or(usize::MAX)
    }
}

/// Opens a file without waiting, as a FIFO that came in its place would make one.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags, open};
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = File::from(open(path, flags, Mode::empty())?);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ))
    }
}

pub(crate) fn mtime_ns(metadata: &Metadata) -> i64 {
    use std::os::unix::fs::MetadataExt;
    metadata
        .mtime()
        .saturating_mul(1_000_000_000)
        .saturating_add(metadata.mtime_nsec())
}

/// What lines are.
struct Lines {
    newline: Newline,
    line_max: usize,
}

impl Lines {
    /// Gives whole lines; how many bytes they were.
    fn give(&self, offset: u64, whole: &[u8], line: &mut dyn FnMut(Line<'_>)) -> usize {
        let mut at = 0;
        for _ in 0..CHUNK_LINES_MAX {
            let rest = whole.get(at..).unwrap_or_default();
            let Some(end) = self.newline.first(rest) else {
                break;
            };
            let bytes = rest.get(..end).unwrap_or_default();
            let kept = bytes.get(..self.line_max).unwrap_or(bytes);
            let is_cut = kept.len() < bytes.len();
            give_line(self.newline, offset + at as u64, kept, is_cut, line);
            at += end + self.newline.len();
        }
        at
    }
}

/// Gives a line without the NUL bytes before it, which holes leave behind; nothing if it is all NUL.
fn give_line(
    newline: Newline,
    offset: u64,
    bytes: &[u8],
    is_cut: bool,
    line: &mut dyn FnMut(Line<'_>),
) {
    let bytes = match bytes.first() {
        Some(0) if newline == Newline::Byte => match bytes.iter().position(|byte| *byte != 0) {
            Some(first) => bytes.get(first..).unwrap_or_default(),
            None => return,
        },
        _ => bytes,
    };
    line(Line {
        offset,
        bytes,
        is_cut,
    });
}

#[cfg(test)]
mod tests;
