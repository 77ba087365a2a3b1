//! Which objects of a partition become larger ones together.
//!
//! While a day goes on, what ingesters flush (level 0) is merged as soon as there is enough of it;
//! small results (level 1) are merged again when there are many, so that a row is written a few
//! times only. When the day has passed everything is merged once more (level 2): that is when the
//! last copies of replicas meet. What comes late joins small objects of that level.

use std::collections::BTreeSet;

use storage::ObjectFile;

use crate::Config;

/// Level of what was merged while its day went on.
pub(crate) const LEVEL_MERGED: u8 = 1;
/// Level of what was merged after its day.
pub(crate) const LEVEL_DAY: u8 = 2;

/// Objects to merge, and the level of what comes out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// By id.
    pub(crate) objects: BTreeSet<u128>,
    /// Of the result.
    pub(crate) level: u8,
}

/// What to merge of a partition's objects; nothing if they are as they should be.
pub(crate) fn plan<'a>(
    objects: impl Iterator<Item = &'a ObjectFile>,
    config: &Config,
    now_ns: i64,
    day_is_over: bool,
) -> Plan {
    let target = config.target_object_size.0;
    let is_small = |file: &&ObjectFile| file.size_bytes < target / 2;
    let ripe: Vec<&ObjectFile> = objects
        .filter(|file| is_ripe(file, config, now_ns))
        .collect();
    if day_is_over {
        let candidates = ripe
            .into_iter()
            .filter(|file| file.level < LEVEL_DAY || is_small(file));
        return chosen(candidates, LEVEL_DAY, config);
    }
    let of_level = |level: u8| ripe.iter().copied().filter(move |file| file.level == level);
    let flushed: u64 = of_level(0).map(|file| file.size_bytes).sum();
    if of_level(0).count() >= config.merge_objects || flushed >= target {
        return chosen(of_level(0), LEVEL_MERGED, config);
    }
    let merged = || of_level(LEVEL_MERGED).filter(is_small);
    if merged().count() >= config.merge_objects {
        return chosen(merged(), LEVEL_MERGED, config);
    }
    Plan::default()
}

/// Whether an object may be replaced: not a moment after an ingester wrote it, which may still give
/// the same rows.
pub(crate) fn is_ripe(file: &ObjectFile, config: &Config, now_ns: i64) -> bool {
    file.level > 0 || now_ns.saturating_sub(file.created_ns) >= config.min_age.0
}

/// What was merged after its day is not merged again with so much less than itself: what comes late
/// comes little by little.
const MUCH_LESS: u64 = 8;

/// The largest of what was merged after its day, if the others are not worth rewriting it.
fn too_large(objects: &[&ObjectFile]) -> Option<u128> {
    let bytes: u64 = objects.iter().map(|file| file.size_bytes).sum();
    let largest = objects.iter().max_by_key(|file| file.size_bytes)?;
    let others = bytes - largest.size_bytes;
    let is_much_larger = largest.size_bytes > others.saturating_mul(MUCH_LESS);
    (largest.level == LEVEL_DAY && is_much_larger).then_some(largest.id)
}

/// As many of the candidates, oldest first, as one job may read. One alone is left as it is.
fn chosen<'a>(
    candidates: impl Iterator<Item = &'a ObjectFile>,
    level: u8,
    config: &Config,
) -> Plan {
    let mut candidates: Vec<&ObjectFile> = candidates.collect();
    while let Some(large) = too_large(&candidates) {
        candidates.retain(|file| file.id != large);
    }
    candidates.sort_by_key(|file| (file.min_ts_ns, file.id));
    let (mut bytes, mut open) = (0u64, 0u64);
    let mut objects = BTreeSet::new();
    for file in candidates {
        bytes = bytes.saturating_add(file.size_bytes);
        // Streams are merged in one order, so of each object about a block is open at a time.
        open = open.saturating_add(file.raw_bytes.min(config.block_size.0));
        // Two at least, whatever their size, or nothing would ever come of it.
        let is_much = bytes > config.job_size.0 || open > config.open_bytes();
        if objects.len() >= 2 && is_much {
            break;
        }
        objects.insert(file.id);
    }
    if objects.len() < 2 {
        objects.clear();
    }
    Plan { objects, level }
}

#[cfg(test)]
mod tests {
    use storage::PartitionState;

    use super::*;

    const MINUTE: i64 = 60_000_000_000;
    const NOW: i64 = 1_000 * MINUTE;

    fn config() -> Config {
        Config {
            merge_objects: 3,
            target_object_size: model::units::ByteSize(1000),
            job_size: model::units::ByteSize(5000),
            ..Config::default()
        }
    }

    /// Objects by level and size; their ids count from 1.
    fn state(objects: &[(u8, u64)]) -> PartitionState {
        let mut state = PartitionState::default();
        for (id, (level, size_bytes)) in (1_u128..).zip(objects) {
            let file = ObjectFile {
                id,
                level: *level,
                size_bytes: *size_bytes,
                min_ts_ns: id as i64,
                created_ns: NOW - 10 * MINUTE,
                ..ObjectFile::default()
            };
            state.objects.insert(id, file);
        }
        state
    }

    fn chosen(objects: &[(u8, u64)], day_is_over: bool) -> Vec<u128> {
        let plan = plan(state(objects).objects.values(), &config(), NOW, day_is_over);
        plan.objects.into_iter().collect()
    }

    #[test]
    fn enough_flushes_are_merged_and_enough_small_results() {
        assert_eq!(chosen(&[(0, 10), (0, 10)], false), []);
        assert_eq!(
            chosen(&[(0, 10), (1, 10), (0, 10), (0, 10)], false),
            [1, 3, 4]
        );
        assert_eq!(chosen(&[(0, 600), (0, 600)], false), [1, 2]);
        assert_eq!(
            chosen(&[(1, 400), (1, 499), (1, 500), (1, 10)], false),
            [1, 2, 4]
        );
    }

    #[test]
    fn a_day_that_is_over_is_merged_once_and_small_rests_join() {
        assert_eq!(chosen(&[(0, 10), (1, 9000)], true), [1, 2]);
        assert_eq!(chosen(&[(2, 900), (2, 900), (2, 10)], true), []);
        assert_eq!(chosen(&[(2, 900), (0, 900), (2, 10)], true), [2, 3]);
        assert_eq!(chosen(&[(2, 400), (0, 10), (0, 20)], true), [2, 3]);
        assert_eq!(chosen(&[(2, 400), (2, 40), (0, 4)], true), []);
        assert_eq!(chosen(&[(2, 400), (2, 40), (0, 20)], true), [1, 2, 3]);
    }

    #[test]
    fn no_more_objects_are_merged_than_can_be_open() {
        let mut state = state(&[(0, 10); 8]);
        for file in state.objects.values_mut() {
            file.raw_bytes = 1 << 20;
        }
        let config = Config {
            memory: model::units::ByteSize::mib(8),
            ..config()
        };
        let plan = plan(state.objects.values(), &config, NOW, true);
        assert_eq!(plan.objects.len(), 4);
    }

    #[test]
    fn a_job_is_bounded_and_what_is_just_flushed_waits() {
        let many = [(0, 2000); 4];
        assert_eq!(chosen(&many, false), [1, 2]);
        assert_eq!(chosen(&[(0, 9000), (0, 9000), (0, 1)], false), [1, 2]);
        let soon = NOW - 6 * MINUTE;
        let of = |level| state(&[(level, 10); 4]).objects;
        let plan = |level| plan(of(level).values(), &config(), soon, false);
        assert!(plan(0).objects.is_empty());
        assert_eq!(plan(1).objects.len(), 4);
    }
}
