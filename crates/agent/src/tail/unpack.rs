//! Compressed files: what rotation has packed, and what a job says is packed.
//!
//! A packed file is unpacked once, into a file without a name, and then read like any other. A
//! position in it is one in what was unpacked, so that it also holds in the file as it was before.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

/// How a file is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    Gzip,
    Zlib,
    Bzip2,
    Zstd,
}

impl Packing {
    /// How a file of this name is packed.
    pub(crate) fn of_name(path: &Path) -> Option<Self> {
        Some(match path.extension()?.to_str()? {
            "gz" => Self::Gzip,
            "bz2" => Self::Bzip2,
            "zst" => Self::Zstd,
            _ => return None,
        })
    }

    /// As a configuration says it.
    pub(crate) fn of_format(format: &str) -> Option<Self> {
        Some(match format {
            "gz" => Self::Gzip,
            "z" => Self::Zlib,
            "bz2" => Self::Bzip2,
            "zst" => Self::Zstd,
            _ => return None,
        })
    }

    fn reader<'r>(self, file: &'r File) -> io::Result<Box<dyn Read + 'r>> {
        let file = BufReader::new(file);
        Ok(match self {
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
            Self::Zlib => Box::new(flate2::bufread::ZlibDecoder::new(file)),
            Self::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(file)),
            Self::Zstd => Box::new(zstd::Decoder::with_buffer(file)?),
        })
    }
}

/// Unpacks `file` into a file without a name in `scratch`. Of a file that ends early what there is
/// of it is taken.
pub(crate) fn unpack(
    file: &File,
    packing: Packing,
    scratch: &Path,
    bytes_max: u64,
) -> io::Result<File> {
    std::fs::create_dir_all(scratch)?;
    let unpacked = nameless(scratch)?;
    let mut out = BufWriter::new(&unpacked);
    let mut reader = packing.reader(file)?.take(bytes_max.saturating_add(1));
    let mut chunk = vec![0; 64 << 10];
    let mut total = 0;
    loop {
        let read = match reader.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if total > 0 => {
                tracing::warn!(%error, bytes = total, "a packed file ends early");
                break;
            }
            Err(error) => return Err(error),
        };
        total += read as u64;
        if total > bytes_max {
            let text = format!("it is longer than target_config.unpacked_size_max, {bytes_max}");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        out.write_all(chunk.get(..read).unwrap_or_default())?;
    }
    out.flush()?;
    drop(out);
    Ok(unpacked)
}

/// A file that is gone when it is closed.
fn nameless(directory: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags, open};
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    if let Ok(file) = open(directory, flags | OFlags::TMPFILE, mode) {
        return Ok(File::from(file));
    }
    // A file system that knows only files with names.
    let path = directory.join(format!(".unpacked-{:016x}", rand::random::<u64>()));
    let file = File::from(open(&path, flags | OFlags::CREATE | OFlags::EXCL, mode)?);
    std::fs::remove_file(&path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_packing_is_unpacked() {
        let directory = tempfile::tempdir().unwrap();
        let text = "line\n".repeat(10_000);
        let gzip = || {
            let mut packer = flate2::write::GzEncoder::new(Vec::new(), Default::default());
            packer.write_all(text.as_bytes()).unwrap();
            packer.finish().unwrap()
        };
        let zlib = || {
            let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), Default::default());
            packer.write_all(text.as_bytes()).unwrap();
            packer.finish().unwrap()
        };
        let bzip2 = || {
            let mut packer = bzip2::write::BzEncoder::new(Vec::new(), Default::default());
            packer.write_all(text.as_bytes()).unwrap();
            packer.finish().unwrap()
        };
        let zstd = zstd::encode_all(text.as_bytes(), 1).unwrap();
        for (packing, bytes) in [
            (Packing::Gzip, gzip()),
            (Packing::Zlib, zlib()),
            (Packing::Bzip2, bzip2()),
            (Packing::Zstd, zstd),
        ] {
            let path = directory.path().join("packed");
            std::fs::write(&path, &bytes).unwrap();
            let open = || File::open(&path).unwrap();
            let unpacked = unpack(&open(), packing, directory.path(), 1 << 20).unwrap();
            let mut read = vec![0; text.len() + 1];
            let len = crate::tail::identity::read_at(&unpacked, &mut read, 0).unwrap();
            assert!(read[..len] == *text.as_bytes(), "{packing:?}");
            assert!(unpack(&open(), packing, directory.path(), 100).is_err());
            // Nothing is left behind.
            assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
            std::fs::write(&path, "no such thing").unwrap();
            assert!(unpack(&open(), packing, directory.path(), 100).is_err());
        }
    }
}
