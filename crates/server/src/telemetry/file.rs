//! A file that begins anew when it is large.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Appends to a file; at its largest size renames it to `<name>.1` (`.1` to `.2` and so on, the last
/// is lost) and begins a new one. Whole writes only, so no line is cut.
#[derive(Debug)]
pub struct RotatingFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    bytes_max: u64,
    old_max: usize,
    lost_count: u64,
}

impl RotatingFile {
    /// Opens a file to append to, that is renamed at `bytes_max`; `old_max` renamed ones are kept.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(path: &Path, bytes_max: u64, old_max: usize) -> io::Result<Self> {
        let file = append_to(path)?;
        Ok(Self {
            path: path.to_owned(),
            bytes: file.metadata()?.len(),
            file,
            bytes_max: bytes_max.max(1),
            old_max,
            lost_count: 0,
        })
    }

    /// How many files were lost since this was asked last.
    pub fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost_count)
    }

    /// Makes durable what was written.
    ///
    /// # Errors
    /// If the disk does not.
    pub fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn rotate(&mut self) -> io::Result<()> {
        let old = |number: usize| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        if self.old_max == 0 {
            std::fs::remove_file(&self.path)?;
            self.lost_count += 1;
        } else {
            let is_full = old(self.old_max).exists();
            for number in (1..self.old_max).rev() {
                match std::fs::rename(old(number), old(number + 1)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            std::fs::rename(&self.path, old(1))?;
            self.lost_count += u64::from(is_full);
        }
        self.file = append_to(&self.path)?;
        self.bytes = 0;
        Ok(())
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

impl Write for RotatingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes > 0 && self.bytes + bytes.len() as u64 > self.bytes_max {
            self.rotate()?;
        }
        self.file.write_all(bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_files_move_up_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap_or_default();
        let mut file = RotatingFile::open(&path, 4, 2).unwrap();
        for line in ["a1\n", "a2\n", "a3\n"] {
            file.write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(file.take_lost(), 0);
        file.write_all(b"a4\n").unwrap();
        assert_eq!((file.take_lost(), file.take_lost()), (1, 0));
        assert_eq!(
            ["a.log", "a.log.1", "a.log.2", "a.log.3"].map(read),
            ["a4\n", "a3\n", "a2\n", ""]
        );
        drop(file);
        let mut file = RotatingFile::open(&path, 4, 2).unwrap();
        file.write_all(b"a5\n").unwrap();
        assert_eq!(["a.log", "a.log.1"].map(read), ["a5\n", "a4\n"]);
    }
}
