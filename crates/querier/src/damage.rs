//! What of storage, or of the logs of ingesters, is damaged or gone, so that trying again does not help. A query leaves it out and
//! its answer says so. What may be read later, as when the store does not answer, fails the query.

use std::collections::{BTreeMap, BTreeSet};

use chunk::ChunkError;
use index::IndexError;
use model::{Code, CodedError};
use parking_lot::Mutex;
use storage::{IndexFile, StorageError};

use crate::query::Context;

/// Damages that an answer names; of others it says how many there are.
const NAMED_MAX: usize = 20;

/// A part of storage that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{key} is damaged: {reason}")]
pub(crate) struct Damage {
    /// The file.
    pub(crate) key: String,
    /// Where in it, and what does not hold.
    pub(crate) reason: String,
}

impl Damage {
    pub(crate) fn of_log(ingester: &str, segment: u64) -> Self {
        Self {
            key: format!("segment {segment} of the write-ahead log of {ingester}"),
            reason: "it cannot be read as it was written".to_owned(),
        }
    }

    pub(crate) fn of_index(key: String, error: &IndexError) -> Self {
        let reason = error.to_string();
        Self { key, reason }
    }
}

/// Why stored rows cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReadError {
    /// They are damaged or gone.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// Something else, which fails the query.
    #[error(transparent)]
    Failed(#[from] CodedError),
}

impl ReadError {
    /// A block of an object cannot be read.
    pub(crate) fn of_block(key: &str, block: u32, error: &ChunkError) -> Self {
        let reason = match error {
            ChunkError::NoSuch { .. } => format!("block {block}: {error}"),
            _ => error.to_string(),
        };
        let key = key.to_owned();
        match error.is_damage() {
            true => Self::Damaged(Damage { key, reason }),
            false => Self::Failed(CodedError::new(Code::Internal, format!("{key}: {reason}"))),
        }
    }
}

impl From<StorageError> for ReadError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Corrupt { key, reason } => Self::Damaged(Damage { key, reason }),
            // What a manifest names stays for as long as a query may run.
            StorageError::NotFound { key } => Self::Damaged(Damage {
                key,
                reason: "it is not in the store".to_owned(),
            }),
            other => Self::Failed(other.into()),
        }
    }
}

impl From<ReadError> for CodedError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Damaged(damage) => Self::new(Code::Internal, damage.to_string()),
            ReadError::Failed(error) => error,
        }
    }
}

/// What an answer lacks because of a damage.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lost {
    /// The lines of a run.
    Run {
        /// Its id.
        object: u128,
        /// Of the object.
        block: u32,
        /// Of the block.
        run: u32,
        /// How many lines.
        rows: u64,
    },
    /// What an index file says of a stream, by its number there.
    Stream(u32),
    /// All that an index file says.
    File {
        /// Streams in it.
        streams: u64,
        /// Objects that it refers to.
        objects: u64,
    },
    /// Rows of a write-ahead log.
    Log {
        /// How many, as far as that is known.
        rows: u64,
        /// Pushes, or parts of some, of which it is not known.
        pushes: u64,
    },
}

impl Lost {
    /// All of an index file.
    pub(crate) fn file(file: &IndexFile) -> Self {
        Self::File {
            streams: file.series,
            objects: file.objects,
        }
    }
}

/// What an answer lacks.
#[derive(Debug, Default)]
pub(crate) struct Missing {
    /// Each part once, however often a query comes upon it.
    damaged: Mutex<BTreeMap<Damage, Parts>>,
    /// What was left out on purpose.
    left_out: Mutex<Vec<String>>,
}

#[derive(Debug, Default)]
struct Parts {
    /// Block, run, and the run's lines.
    runs: BTreeMap<(u32, u32), u64>,
    streams: BTreeSet<u32>,
    /// Streams and objects of a whole file.
    file: Option<(u64, u64)>,
    /// Rows of a log, and pushes of which it is not known how many they had.
    log: Option<(u64, u64)>,
}

impl Missing {
    /// Takes in what is lost. Whether the damage is one that was not known.
    fn add(&self, damage: &Damage, lost: Lost) -> bool {
        let mut all = self.damaged.lock();
        let is_new = !all.contains_key(damage);
        let parts = all.entry(damage.clone()).or_default();
        match lost {
            Lost::Run {
                block, run, rows, ..
            } => _ = parts.runs.insert((block, run), rows),
            Lost::Stream(number) => _ = parts.streams.insert(number),
            Lost::File { streams, objects } => parts.file = Some((streams, objects)),
            Lost::Log { rows, pushes } => parts.log = parts.log.max(Some((rows, pushes))),
        }
        is_new
    }

    /// Takes in that something was not looked at.
    pub(crate) fn left_out(&self, what: String) {
        self.left_out.lock().push(what);
    }

    /// What to tell whoever gets the answer.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let all = self.damaged.lock();
        let named = all.iter().take(NAMED_MAX);
        let mut warnings: Vec<String> = named
            .map(|(damage, parts)| format!("{damage}; missing in this answer: {}", parts.text()))
            .collect();
        if let Some(more) = all.len().checked_sub(NAMED_MAX).filter(|more| *more > 0) {
            warnings.push(format!("{more} more parts of storage are damaged"));
        }
        warnings.extend(self.left_out.lock().iter().cloned());
        warnings
    }
}

impl Parts {
    fn text(&self) -> String {
        if let Some((streams, objects)) = self.file {
            return format!("what it lists, up to {streams} streams in {objects} objects");
        }
        match self.log {
            Some((0, 0)) => return "nobody knows how many lines".to_owned(),
            Some((rows, 0)) => return format!("up to {rows} lines"),
            Some((0, pushes)) => return format!("the lines of {pushes} pushes"),
            Some((rows, pushes)) => {
                return format!("up to {rows} lines, and those of {pushes} pushes");
            }
            None => {}
        }
        if !self.streams.is_empty() {
            return format!("up to {} streams", self.streams.len());
        }
        format!("up to {} lines", self.runs.values().sum::<u64>())
    }
}

impl Context {
    /// Leaves something out of the answer, which says so.
    pub(crate) fn leave_out(&self, damage: &Damage, lost: Lost) {
        if let Lost::Run { object, block, .. } = lost {
            // What is in memory may have been spoilt on its way here, each time that it was read.
            self.querier.catalog().objects().forget(object, block);
        }
        if self.missing.add(damage, lost) {
            self.querier.metrics().damaged.inc();
            tracing::warn!(tenant = %self.tenant, %damage, "an answer lacks what is damaged");
        }
    }

    /// What was read; none if it is damaged, and then the answer says what is lost.
    pub(crate) fn unless_damaged<T>(
        &self,
        read: Result<T, ReadError>,
        lost: Lost,
    ) -> Result<Option<T>, CodedError> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(ReadError::Damaged(damage)) => {
                self.leave_out(&damage, lost);
                Ok(None)
            }
            Err(ReadError::Failed(error)) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_counts_once_and_what_is_too_much_to_name_is_counted() {
        let missing = Missing::default();
        let damage = |number: usize| Damage {
            key: format!("data/{number:02}"),
            reason: "block 0 frame 2: checksum mismatch".to_owned(),
        };
        let run = |run, rows| Lost::Run {
            object: 0,
            block: 0,
            run,
            rows,
        };
        assert!(missing.add(&damage(0), run(0, 5)));
        assert!(!missing.add(&damage(0), run(0, 5)));
        assert!(!missing.add(&damage(0), run(1, 7)));
        let text = "data/00 is damaged: block 0 frame 2: checksum mismatch; missing in this answer: up to 12 lines";
        assert_eq!(missing.warnings(), [text]);
        for number in 1..NAMED_MAX + 3 {
            missing.add(&damage(number), Lost::Stream(1));
        }
        let warnings = missing.warnings();
        assert_eq!(warnings.len(), NAMED_MAX + 1);
        assert!(warnings[1].ends_with("up to 1 streams"), "{}", warnings[1]);
        assert_eq!(warnings[NAMED_MAX], "3 more parts of storage are damaged");
    }

    #[test]
    fn what_may_pass_is_no_damage() {
        let gone = StorageError::NotFound { key: "k".into() };
        assert!(matches!(ReadError::from(gone), ReadError::Damaged(_)));
        let busy = StorageError::Conflict {
            partition: "p".into(),
            reason: "r".into(),
        };
        assert!(matches!(ReadError::from(busy), ReadError::Failed(_)));
    }
}
