//! Configuration of the compactor.

use model::units::{ByteSize, DurationNs};
use serde::{Deserialize, Serialize};

/// When and how partitions are compacted. How long tenants keep what is in [`model::Limits`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether `skald serve` compacts. One process of a cluster is enough, more do no harm.
    pub enabled: bool,
    /// How often partitions of the last days are looked at.
    pub interval: DurationNs,
    /// How often all others are.
    pub old_interval: DurationNs,
    /// How often files that nobody refers to are looked for.
    pub sweep_interval: DurationNs,
    /// Partitions that are compacted at once.
    pub max_concurrent: usize,
    /// The size of large objects. One is held in memory while it is written.
    pub target_object_size: ByteSize,
    /// Lines of a block that is written anew.
    pub block_size: ByteSize,
    /// What ingesters wrote is left alone until it is so old.
    pub min_age: DurationNs,
    /// So many objects of a day that still goes on are merged, or fewer if they are large enough.
    pub merge_objects: usize,
    /// After so long a day that has passed is expected to be complete.
    pub day_settle: DurationNs,
    /// Bytes of objects that are read for one commit.
    pub job_size: ByteSize,
    /// Memory for rows while they are merged, and for blocks that are open, for all jobs together.
    /// Less of it means that fewer objects are merged at a time.
    pub memory: ByteSize,
    /// An object that could not be read or merged is left out for so long, and each further time for
    /// twice as long, up to a day.
    pub retry_after: DurationNs,
    /// For so long a compactor claims a partition at a time; if it dies, another waits that long.
    pub claim_period: DurationNs,
    /// For so long a delete request waits before rows are taken out of the data; until then it can
    /// be cancelled without loss.
    pub delete_request_cancel_period: DurationNs,
    /// For so long after that rows are looked for that ingesters had not stored yet.
    pub delete_settle: DurationNs,
    /// Replaced files are deleted after so long: no query may take longer.
    pub removed_delay: DurationNs,
    /// Files that were never referred to are deleted after so long: no flush may take longer.
    pub orphan_delay: DurationNs,
}

/// Part of the memory that open blocks may take.
const OPEN_PART: u64 = 2;

/// Less could take the files of a flush that has not committed them yet.
const ORPHAN_DELAY_MIN: DurationNs = DurationNs::from_secs(3600);

impl Config {
    /// Bytes that the open blocks of one job may take.
    pub(crate) fn open_bytes(&self) -> u64 {
        self.memory.0 / OPEN_PART / self.max_concurrent.max(1) as u64
    }

    /// Checks what the types do not say.
    ///
    /// # Errors
    /// With the first key that does not hold.
    pub fn validate(&self) -> Result<(), String> {
        if self.orphan_delay < ORPHAN_DELAY_MIN {
            return Err(format!(
                "compactor.orphan_delay: {} is less than {ORPHAN_DELAY_MIN}, in which a flush may \
                 write its files",
                self.orphan_delay
            ));
        }
        if self.max_concurrent == 0 {
            return Err("compactor.max_concurrent: must not be 0".to_owned());
        }
        if self.block_size.0 == 0 || self.target_object_size.0 == 0 {
            return Err("compactor.block_size, target_object_size: must not be 0".to_owned());
        }
        Ok(())
    }
}

impl Default for Config {
    fn default() -> Self {
        let minutes = |minutes: i64| DurationNs::from_secs(60 * minutes);
        Self {
            enabled: true,
            interval: minutes(1),
            old_interval: minutes(60),
            sweep_interval: minutes(60),
            max_concurrent: 1,
            target_object_size: ByteSize::mib(32),
            block_size: ByteSize::mib(8),
            min_age: minutes(5),
            merge_objects: 8,
            day_settle: minutes(120),
            job_size: ByteSize::mib(1024),
            memory: ByteSize::mib(128),
            retry_after: minutes(10),
            claim_period: minutes(15),
            delete_request_cancel_period: minutes(15),
            delete_settle: minutes(60),
            removed_delay: minutes(120),
            orphan_delay: minutes(24 * 60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_lose_data_or_never_end_is_refused() {
        Config::default().validate().unwrap();
        let wrong = [
            Config {
                orphan_delay: DurationNs::from_secs(60),
                ..Config::default()
            },
            Config {
                max_concurrent: 0,
                ..Config::default()
            },
            Config {
                block_size: ByteSize(0),
                ..Config::default()
            },
        ];
        for config in wrong {
            let error = config.validate().unwrap_err();
            assert!(error.starts_with("compactor."), "{error}");
        }
    }
}
