//! The positions file: a line with version, generation and checksum, then a time at which all that
//! had been collected is in it, then one record a line. The whole is YAML, so that people can read it
//! with what they read YAML with. Version 1 has no time.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Record;

/// What the file begins with.
const MAGIC: &str = "# skald-agent positions v";
/// What is written.
const VERSION: u32 = 2;
/// What the line with the time begins with.
const AS_OF: &str = "as_of_ns: ";
/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// The positions file and its second generation.
#[derive(Debug)]
pub(crate) struct PositionsFile {
    path: PathBuf,
    /// Counts what was saved, so that the later of two files is known.
    generation: u64,
}

/// What was found at the start.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) records: Vec<Record>,
    /// A time, in nanoseconds since 1970: what came before it had been met, and the records are of it.
    pub(crate) as_of_ns: Option<i64>,
    /// Offsets by path, if the file was promtail's.
    pub(crate) imported: BTreeMap<PathBuf, u64>,
    /// Files that are there but broken, and why.
    pub(crate) broken: Vec<(PathBuf, String)>,
}

impl PositionsFile {
    /// Reads what is there. Nothing that is found is an error.
    pub(crate) fn open(path: &Path) -> (Self, Loaded) {
        let mut loaded = Loaded::default();
        let mut generation = 0;
        for candidate in [path.to_owned(), backup_of(path)] {
            let read = match read(&candidate) {
                Ok(Some(text)) => parse(&text),
                Ok(None) => continue,
                Err(error) => Err(error.to_string()),
            };
            match read {
                Ok(Content::Ours(saved)) if saved.generation > generation => {
                    generation = saved.generation;
                    (loaded.records, loaded.as_of_ns) = (saved.records, saved.as_of_ns);
                }
                Ok(Content::Ours(..)) => {}
                Ok(Content::Promtail(offsets)) => loaded.imported = offsets,
                Err(reason) => loaded.broken.push((candidate, reason)),
            }
        }
        let file = Self {
            path: path.to_owned(),
            generation,
        };
        (file, loaded)
    }

    /// Saves `records`, which are of that time or later; what was saved before becomes the second
    /// generation.
    pub(crate) fn save(&mut self, records: &[Record], as_of_ns: i64) -> io::Result<()> {
        let directory = match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        fs::create_dir_all(directory)?;
        let next = with_ending(&self.path, ".tmp");
        let mut file = File::create(&next)?;
        file.write_all(print(self.generation + 1, records, as_of_ns)?.as_bytes())?;
        file.sync_all()?;
        // Whatever is at the path, whole or broken, a good file is at one of the two names at any time.
        let is_ours = read(&self.path).is_ok_and(|text| {
            text.is_some_and(|text| matches!(parse(&text), Ok(Content::Ours(..))))
        });
        if is_ours {
            fs::rename(&self.path, backup_of(&self.path))?;
        }
        fs::rename(&next, &self.path)?;
        File::open(directory)?.sync_all()?;
        self.generation += 1;
        Ok(())
    }
}

/// Whether `path` is the positions file, its second generation, or the next one being written.
pub(crate) fn is_positions_file(positions: &Path, path: &Path) -> bool {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let (positions, path) = (absolute(positions), absolute(path));
    ["", ".bak", ".tmp"]
        .iter()
        .any(|ending| with_ending(&positions, ending) == path)
}

fn backup_of(path: &Path) -> PathBuf {
    with_ending(path, ".bak")
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(ending);
    path.into()
}

fn read(path: &Path) -> io::Result<Option<String>> {
    use std::io::Read;
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "is not text"))
}

fn print(generation: u64, records: &[Record], as_of_ns: i64) -> io::Result<String> {
    let mut body = format!("{AS_OF}{as_of_ns}\npositions:\n");
    for record in records {
        body.push_str("- ");
        body.push_str(&serde_json::to_string(record)?);
        body.push('\n');
    }
    let crc = checksum(generation, &body);
    Ok(format!(
        "{MAGIC}{VERSION} generation={generation} crc32c={crc:08x}\n{body}"
    ))
}

fn checksum(generation: u64, body: &str) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&generation.to_le_bytes()), body.as_bytes())
}

/// What a file can be.
enum Content {
    Ours(Snapshot),
    Promtail(BTreeMap<PathBuf, u64>),
}

/// What was saved at once.
struct Snapshot {
    generation: u64,
    as_of_ns: Option<i64>,
    records: Vec<Record>,
}

fn parse(text: &str) -> Result<Content, String> {
    let Some(rest) = text.strip_prefix(MAGIC) else {
        return parse_promtail(text);
    };
    let parts = || {
        let (header, body) = rest.split_once('\n')?;
        let mut header = header.trim().split(' ');
        let version: u32 = header.next()?.parse().ok()?;
        let generation: u64 = header.next()?.strip_prefix("generation=")?.parse().ok()?;
        let crc = u32::from_str_radix(header.next()?.strip_prefix("crc32c=")?, 16).ok()?;
        Some((version, generation, crc, body))
    };
    let (version, generation, crc, body) = parts().ok_or("the first line is broken")?;
    if version > VERSION {
        return Err(format!("version {version} is not known"));
    }
    if checksum(generation, body) != crc {
        return Err("the checksum is wrong".to_owned());
    }
    let mut lines = body.lines().peekable();
    let as_of_ns = lines.next_if(|line| line.starts_with(AS_OF));
    let as_of_ns = as_of_ns.and_then(|line| line.strip_prefix(AS_OF)?.parse().ok());
    let records = lines.skip(1).map(|line| {
        let json = line.strip_prefix("- ").unwrap_or(line);
        serde_json::from_str(json).map_err(|error| error.to_string())
    });
    Ok(Content::Ours(Snapshot {
        generation,
        as_of_ns,
        records: records.collect::<Result<_, _>>()?,
    }))
}

/// Promtail's file: offsets, as text, by path. Other keys, such as cursors of a journal, are left.
fn parse_promtail(text: &str) -> Result<Content, String> {
    #[derive(Deserialize)]
    struct Promtail {
        positions: BTreeMap<String, String>,
    }
    if text.trim().is_empty() {
        return Err("the file is empty".to_owned());
    }
    let parsed: Promtail =
        serde_yaml::from_str(text).map_err(|error| error.without_snippet().to_string())?;
    let offsets = parsed.positions.into_iter().filter_map(|(path, offset)| {
        let path = PathBuf::from(path);
        Some((path.is_absolute().then_some(path)?, offset.parse().ok()?))
    });
    Ok(Content::Promtail(offsets.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tail::identity::{FileId, Mark};

    fn record(name: &str, offset: u64) -> Record {
        Record {
            client: "c".to_owned(),
            job: "j".to_owned(),
            path: PathBuf::from(name),
            file: PathBuf::from(name),
            id: FileId { dev: 1, ino: 2 },
            no: 0,
            mark: Mark {
                offset,
                ..Mark::default()
            },
            mtime_ns: 5,
            is_done: false,
            stamps: Vec::new(),
            tied: Default::default(),
            cursor: None,
        }
    }

    fn saved(path: &Path, offsets: &[u64]) {
        let (mut file, _) = PositionsFile::open(path);
        for offset in offsets {
            file.save(&[record("/a", *offset)], 7).unwrap();
        }
    }

    fn offset_at(path: &Path) -> Option<u64> {
        let (_, loaded) = PositionsFile::open(path);
        Some(loaded.records.first()?.mark.offset)
    }

    #[test]
    fn what_is_saved_is_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/positions.yaml");
        assert_eq!(offset_at(&path), None);
        saved(&path, &[1, 2, 3]);
        saved(&path, &[4]);
        assert_eq!(offset_at(&path), Some(4));
        let text = fs::read_to_string(&path).unwrap();
        let yaml: serde_json::Value = serde_yaml::from_str(&text).unwrap();
        assert_eq!(yaml["positions"][0]["path"], "/a", "the file is YAML");
        assert_eq!(PositionsFile::open(&path).1.as_of_ns, Some(7));
    }

    #[test]
    fn what_the_first_version_saved_is_found_and_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("positions.yaml");
        fs::write(&path, include_str!("file/positions-v1.yaml")).unwrap();
        let (mut file, loaded) = PositionsFile::open(&path);
        assert_eq!(
            (&loaded.records[..], loaded.as_of_ns),
            (&[record("/a", 3)][..], None)
        );
        file.save(&[record("/a", 4)], 7).unwrap();
        assert_eq!(offset_at(&path), Some(4));
        fs::write(&path, "# skald-agent positions v3 generation=9 crc32c=0\n").unwrap();
        assert_eq!(
            offset_at(&path),
            Some(3),
            "and stays as the second generation"
        );
    }

    #[test]
    fn a_broken_file_gives_way_to_the_other_generation() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("positions.yaml");
        saved(&path, &[1, 2, 3]);
        let good = fs::read_to_string(&path).unwrap();
        for broken in [
            "",
            "garbage: [",
            &good[..good.len() - 3],
            &good.replace("3", "7"),
        ] {
            fs::write(&path, broken).unwrap();
            let (_, loaded) = PositionsFile::open(&path);
            assert_eq!(loaded.broken.len(), 1, "{broken}");
            assert_eq!(offset_at(&path), Some(2), "{broken}");
        }
        fs::write(&path, [0xff, 0xfe]).unwrap();
        fs::write(backup_of(&path), "").unwrap();
        let (mut file, loaded) = PositionsFile::open(&path);
        assert_eq!((loaded.records.len(), loaded.broken.len()), (0, 2));
        file.save(&[record("/a", 9)], 7).unwrap();
        assert_eq!(offset_at(&path), Some(9));
    }

    #[test]
    fn a_broken_file_never_replaces_the_good_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("positions.yaml");
        saved(&path, &[1, 2]);
        fs::write(&path, "broken").unwrap();
        saved(&path, &[3]);
        fs::write(&path, "broken again").unwrap();
        assert_eq!(
            offset_at(&path),
            Some(1),
            "the second generation is the last good one"
        );
    }

    #[test]
    fn positions_of_promtail_are_taken_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("positions.yaml");
        let text = "positions:\n  /var/log/a.log: \"123\"\n  /var/log/b.log: \"4\"\n  \
                    cursor-journal: abc\n";
        fs::write(&path, text).unwrap();
        let (_, loaded) = PositionsFile::open(&path);
        let expected = BTreeMap::from([
            (PathBuf::from("/var/log/a.log"), 123),
            (PathBuf::from("/var/log/b.log"), 4),
        ]);
        assert_eq!(loaded.imported, expected);
    }
}
