//! A file of lines that never makes its writer wait.

use std::io;
use std::path::Path;

use prometheus_client::metrics::counter::Counter;

use super::file::RotatingFile;
use super::spool::Spool;

/// Takes lines and writes them on a thread of its own. What the disk is too slow for is dropped and
/// counted. Cloning shares it.
#[derive(Clone)]
pub struct LineFile(Spool);

impl LineFile {
    /// Opens a file as [`RotatingFile::open`] does; `name` is its thread's.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(name: &str, path: &Path, bytes_max: u64, old_max: usize) -> io::Result<Self> {
        let file = RotatingFile::open(path, bytes_max, old_max)?;
        Ok(Self(Spool::start(name, file)))
    }

    /// The same on what the process prints.
    #[must_use]
    pub fn to_stdout(name: &str) -> Self {
        Self(Spool::start(name, io::stdout()))
    }

    /// Adds a line, with its end.
    pub fn push(&self, line: &[u8]) {
        self.0.push(line);
    }

    /// What dropped lines are counted by.
    pub fn count_drops(&self, dropped: Counter<u64>) {
        self.0.count_drops(dropped);
    }

    /// Waits, not for long, until what was added is written.
    pub fn flush(&self) {
        self.0.flush();
    }
}
