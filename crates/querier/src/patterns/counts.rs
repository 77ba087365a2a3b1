//! How many lines there are of each pattern, over time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;
use model::{BudgetError, Reservation};
use scan::PatternRows;

use super::miner::Miner;
use super::{PATTERNS_MAX, Pattern};
use crate::query::Context;

/// Patterns that are told apart before they are brought together. One that would be another is only
/// counted.
const TOLD_APART_MAX: usize = 50_000;
/// Bytes that a pattern holds besides its text, and those of a count.
const PATTERN_BYTES: u64 = 128;
const COUNT_BYTES: u64 = 40;

/// Lines by the beginning of their step.
pub(super) type Samples = BTreeMap<i64, u64>;

/// Lines of each level by pattern. Lines of different levels are of different kinds, even where their
/// texts are alike.
pub(super) struct Counts {
    levels: BTreeMap<String, HashMap<Box<[u8]>, Samples, RandomState>>,
    patterns: usize,
    /// Lines of patterns that are not told apart.
    others: u64,
    step_ns: i64,
    memory: Reservation,
}

impl Counts {
    pub(super) fn new(context: &Context, step_ns: i64) -> Self {
        Self {
            levels: BTreeMap::new(),
            patterns: 0,
            others: 0,
            step_ns,
            memory: context.memory.reservation(),
        }
    }

    /// Adds rows of a pattern.
    ///
    /// # Errors
    /// If the query has no memory left.
    pub(super) fn add(&mut self, rows: &PatternRows<'_>) -> Result<(), BudgetError> {
        if !self.levels.contains_key(rows.level) {
            self.memory.grow(PATTERN_BYTES)?;
            self.levels
                .insert(rows.level.to_owned(), HashMap::default());
        }
        let Some(patterns) = self.levels.get_mut(rows.level) else {
            return Ok(());
        };
        if !patterns.contains_key(rows.pattern) {
            if self.patterns >= TOLD_APART_MAX {
                self.others += rows.rows;
                return Ok(());
            }
            self.memory
                .grow(PATTERN_BYTES + rows.pattern.len() as u64)?;
            self.patterns += 1;
            patterns.insert(rows.pattern.into(), Samples::new());
        }
        let step = rows.timestamp_ns.div_euclid(self.step_ns);
        let at_ns = step.saturating_mul(self.step_ns);
        let Some(samples) = patterns.get_mut(rows.pattern) else {
            return Ok(());
        };
        match samples.get_mut(&at_ns) {
            Some(count) => *count += rows.rows,
            None => {
                self.memory.grow(COUNT_BYTES)?;
                samples.insert(at_ns, rows.rows);
            }
        }
        Ok(())
    }

    /// Adds what another part of the query counted.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub(super) fn merge(&mut self, other: &Self) -> Result<(), BudgetError> {
        self.others += other.others;
        for (level, patterns) in &other.levels {
            for (pattern, samples) in patterns {
                for (timestamp_ns, rows) in samples {
                    self.add(&PatternRows {
                        pattern,
                        level,
                        timestamp_ns: *timestamp_ns,
                        rows: *rows,
                        row_hash: None,
                    })?;
                }
            }
        }
        Ok(())
    }

    /// The most frequent patterns after those were brought together that belong together, and how
    /// many lines have others. Stops early if nobody waits for it.
    pub(super) fn mine(self, is_cancelled: &dyn Fn() -> bool) -> (Vec<Pattern>, u64) {
        let mut rarer = self.others;
        let mut found: Vec<Pattern> = Vec::new();
        for (level, patterns) in self.levels {
            let lines = |samples: &Samples| samples.values().sum::<u64>();
            let mut patterns: Vec<(Box<[u8]>, Samples)> = patterns.into_iter().collect();
            // The same ones in whatever order they were counted.
            patterns.sort_by_cached_key(|(text, samples)| (Reverse(lines(samples)), text.clone()));
            let mut miner = Miner::default();
            for (pattern, samples) in patterns {
                if is_cancelled() {
                    return (found, rarer);
                }
                let count = lines(&samples);
                if !miner.add(&pattern, samples) {
                    rarer += count;
                }
            }
            found.extend(miner.finish().into_iter().map(|(text, samples)| {
                Pattern {
                    text,
                    level: level.clone(),
                    samples: samples
                        .into_iter()
                        .map(|(at_ns, count)| (at_ns / 1_000_000_000, count))
                        .collect(),
                }
            }));
        }
        let lines =
            |pattern: &Pattern| pattern.samples.iter().map(|(_, count)| *count).sum::<u64>();
        found.sort_by_cached_key(|pattern| Reverse(lines(pattern)));
        rarer += found.iter().skip(PATTERNS_MAX).map(lines).sum::<u64>();
        found.truncate(PATTERNS_MAX);
        (found, rarer)
    }
}

#[cfg(test)]
mod tests {
    use model::Budget;

    use super::*;

    fn counts(bytes: u64) -> Counts {
        Counts {
            levels: BTreeMap::new(),
            patterns: 0,
            others: 0,
            step_ns: 2_000_000_000,
            memory: Budget::new("test", bytes).reservation(),
        }
    }

    fn rows<'a>(pattern: &'a str, level: &'a str, second: i64, rows: u64) -> PatternRows<'a> {
        PatternRows {
            pattern: pattern.as_bytes(),
            level,
            timestamp_ns: second * 1_000_000_000,
            rows,
            row_hash: None,
        }
    }

    /// Level, text and samples of a pattern.
    type Mined = (String, String, Vec<(i64, u64)>);

    fn mined(counts: Counts) -> (Vec<Mined>, u64) {
        let (patterns, rarer) = counts.mine(&|| false);
        let patterns = patterns.into_iter();
        let patterns = patterns.map(|found| (found.level, found.text, found.samples));
        (patterns.collect(), rarer)
    }

    #[test]
    fn patterns_come_together_with_their_counts_whatever_the_order() {
        let all = [
            rows("user al left the house", "info", 1, 2),
            rows("user bo left the house", "info", 5, 3),
            rows("took \u{1}", "", 4, 4),
            rows("took \u{1}", "", 5, 1),
            rows("user al left the house", "error", 0, 1),
        ];
        let expected = [
            ("", "took <_>", vec![(4, 5)]),
            ("info", "user <_> left the house", vec![(0, 2), (4, 3)]),
            ("error", "user al left the house", vec![(0, 1)]),
        ];
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(level, text, samples)| (level.to_owned(), text.to_owned(), samples))
            .collect();
        for split in 0..all.len() {
            let (mut one, mut other) = (counts(u64::MAX), counts(u64::MAX));
            all[..split].iter().for_each(|rows| one.add(rows).unwrap());
            all[split..]
                .iter()
                .rev()
                .for_each(|rows| other.add(rows).unwrap());
            one.merge(&other).unwrap();
            assert_eq!(mined(one), (expected.clone(), 0), "{split}");
        }
    }

    #[test]
    fn what_is_counted_takes_memory() {
        let mut counts = counts(2 * PATTERN_BYTES + COUNT_BYTES + 1);
        counts.add(&rows("a", "", 0, 1)).unwrap();
        counts.add(&rows("a", "", 1, 1)).unwrap();
        assert!(counts.add(&rows("a", "", 2, 1)).is_err());
    }

    #[test]
    fn lines_of_rarer_patterns_are_counted() {
        let mut counts = counts(u64::MAX);
        for number in 0..PATTERNS_MAX as u64 + 2 {
            let word: String = number
                .to_string()
                .bytes()
                .map(|b| (b + 49) as char)
                .collect();
            counts.add(&rows(&word, "", 0, number + 1)).unwrap();
        }
        let (patterns, rarer) = mined(counts);
        assert_eq!((patterns.len(), rarer), (PATTERNS_MAX, 3));
    }
}
