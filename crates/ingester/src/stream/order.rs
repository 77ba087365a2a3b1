//! Which rows a stream accepts.
//!
//! A row that is newer than all before, or as new and different, is accepted. An older one is a
//! copy of a row that is still in memory, and dropped without a word, because a client that pushes
//! a batch again after a failure must not be told that it is out of order; or it lies within the
//! tenant's window, and is accepted; or it is refused.
//!
//! If the clock is set back, a stream may have rows of a time to come. Until that has come, rows must
//! be in order among those that were pushed since then.

use model::{Entries, EntryRef, row_hash};
use prometheus_client::metrics::gauge::Gauge;
use proto::role::RefusalReason;

use super::State;
use super::lookup::Lookup;
use super::newest::Newest;

/// How far in the future a stream's newest row is if the clock was set back. A clock that is only a
/// little ahead of this one gives no such rows.
const AHEAD_MIN_NS: i64 = 60 * 1_000_000_000;

/// What applies to a push.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// How far behind the newest a row may be.
    pub(crate) window_ns: i64,
    /// Bytes of lines per second; 0 is no limit.
    pub(crate) rate_bytes: u64,
    /// Bytes of lines above the rate; 0 is no limit.
    pub(crate) burst_bytes: u64,
    /// The time.
    pub(crate) now_ns: i64,
    /// The flush that takes the rows.
    pub(crate) epoch: u64,
}

/// Which rows were added.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Accepted {
    /// All of them.
    All,
    /// These.
    Some(Entries),
    /// None.
    None,
}

/// What became of the rows of a push.
#[derive(Debug)]
pub(crate) struct Appended {
    /// Which were added.
    pub(crate) accepted: Accepted,
    /// Which were refused.
    pub(crate) refused: Vec<(u32, RefusalReason)>,
    /// How many were there already.
    pub(crate) duplicates: u64,
    /// Bytes added to the head.
    pub(crate) bytes: usize,
    /// Bytes in the head now.
    pub(crate) head_bytes: usize,
}

/// A stream's newest rows, and its rate.
#[derive(Debug, Default)]
pub(super) struct Order {
    pub(super) newest: Newest,
    /// The newest time since the clock was set back behind that of the newest rows.
    set_back_ns: Option<i64>,
    bucket: Bucket,
}

impl Order {
    /// That of a stream without rows. `newest_bytes` are those of all streams' newest rows.
    pub(super) fn new(newest_bytes: Gauge) -> Self {
        Self {
            newest: Newest::new(newest_bytes),
            ..Self::default()
        }
    }

    /// Takes in a row that is older than the newest rows, which are of `newest_ns`, if it may be.
    fn take_late(
        &mut self,
        timestamp_ns: i64,
        newest_ns: i64,
        rules: &Rules,
    ) -> Result<(), RefusalReason> {
        let must_follow_ns = match self.set_back_ns {
            Some(set_back_ns) => set_back_ns,
            None if newest_ns.saturating_sub(rules.now_ns) > AHEAD_MIN_NS => i64::MIN,
            None => newest_ns,
        };
        if must_follow_ns.saturating_sub(timestamp_ns) > rules.window_ns {
            let newest_ns = must_follow_ns;
            return Err(match rules.window_ns {
                0 => RefusalReason::OutOfOrder { newest_ns },
                _ => RefusalReason::TooFarBehind { newest_ns },
            });
        }
        if must_follow_ns < newest_ns {
            self.set_back_ns = Some(must_follow_ns.max(timestamp_ns));
        }
        Ok(())
    }
}

/// Row numbers by what becomes of them.
#[derive(Default)]
struct Verdicts {
    /// In order, newer than the row before or as new.
    in_order: Vec<usize>,
    /// Late, within the window.
    late: Vec<usize>,
    refused: Vec<(u32, RefusalReason)>,
    duplicates: u64,
}

impl State {
    pub(super) fn append(&mut self, rows: &Entries, rules: &Rules) -> Appended {
        let bytes_before = self.live.bytes();
        let rate_limited = self.order.bucket.refuse(rows, rules);
        let verdicts = self.judge(rows, rules, rate_limited);
        let accepted = if verdicts.in_order.len() == rows.len() {
            self.live.append(rows);
            Accepted::All
        } else {
            self.add_some(rows, &verdicts)
        };
        let head_bytes = self.live.bytes();
        Appended {
            accepted,
            refused: verdicts.refused,
            duplicates: verdicts.duplicates,
            bytes: head_bytes - bytes_before,
            head_bytes,
        }
    }

    /// Adds the rows that were accepted in order; the late ones were added when they were judged.
    fn add_some(&mut self, rows: &Entries, verdicts: &Verdicts) -> Accepted {
        if !verdicts.in_order.is_empty() {
            self.live
                .append(&rows.select(verdicts.in_order.iter().copied()));
        }
        let mut all = verdicts.in_order.clone();
        all.extend_from_slice(&verdicts.late);
        if all.is_empty() {
            return Accepted::None;
        }
        if all.len() == rows.len() {
            return Accepted::All;
        }
        all.sort_unstable();
        Accepted::Some(rows.select(all))
    }

    /// Decides on each row. `refused` are the rows that the rate does not allow, ascending.
    fn judge(
        &mut self,
        rows: &Entries,
        rules: &Rules,
        refused: Vec<(u32, RefusalReason)>,
    ) -> Verdicts {
        let mut verdicts = Verdicts {
            in_order: Vec::with_capacity(rows.len()),
            ..Verdicts::default()
        };
        let mut over_rate = refused.iter().map(|(row, _)| *row as usize).peekable();
        let mut lookup = Lookup::default();
        // The last row in order whose hash is not among the newest yet: mostly nobody asks for it.
        let mut unhashed: Option<EntryRef<'_>> = None;
        for (i, row) in rows.iter().enumerate() {
            if over_rate.next_if_eq(&i).is_some() {
                continue;
            }
            let newest_ns = match self.order.newest.time_ns() {
                Some(newest_ns) if row.timestamp_ns <= newest_ns => newest_ns,
                _ => {
                    self.order.newest.begin(row.timestamp_ns);
                    self.order.set_back_ns = None;
                    unhashed = Some(row);
                    verdicts.in_order.push(i);
                    continue;
                }
            };
            if let Some(before) = unhashed.take() {
                self.order
                    .newest
                    .insert(row_hash(before.line, before.metadata));
            }
            if row.timestamp_ns == newest_ns {
                let hash = row_hash(row.line, row.metadata);
                if self.order.newest.insert(hash) {
                    verdicts.in_order.push(i);
                } else {
                    verdicts.duplicates += 1;
                }
                continue;
            }
            // Rows that were accepted in order are added when all are judged.
            if lookup.contains(self, row) || contains(rows, &verdicts.in_order, row) {
                verdicts.duplicates += 1;
                continue;
            }
            match self.order.take_late(row.timestamp_ns, newest_ns, rules) {
                Ok(()) => {
                    self.live.insert(row);
                    lookup.added(row);
                    verdicts.late.push(i);
                }
                Err(reason) => verdicts.refused.push((i as u32, reason)),
            }
        }
        if let Some(before) = unhashed {
            self.order
                .newest
                .insert(row_hash(before.line, before.metadata));
        }
        if !refused.is_empty() {
            verdicts.refused.extend(refused);
            verdicts.refused.sort_unstable_by_key(|(row, _)| *row);
        }
        verdicts
    }

    /// Adds rows of the log. They were accepted once, so their order is not judged; a row that is
    /// there already was pushed again while the log is replayed.
    pub(super) fn replay(&mut self, rows: &Entries) -> usize {
        let bytes_before = self.replayed.bytes();
        let mut lookup = Lookup::default();
        let mut in_order = Vec::with_capacity(rows.len());
        for (i, row) in rows.iter().enumerate() {
            let newest_ns = self.order.newest.time_ns();
            if newest_ns.is_none_or(|newest_ns| row.timestamp_ns > newest_ns) {
                self.order.newest.begin(row.timestamp_ns);
                self.order.newest.insert(row_hash(row.line, row.metadata));
                in_order.push(i);
            } else if newest_ns == Some(row.timestamp_ns) {
                let hash = row_hash(row.line, row.metadata);
                if self.order.newest.insert(hash) {
                    in_order.push(i);
                }
            } else if !lookup.contains(self, row) {
                self.replayed.insert(row);
                lookup.added(row);
            }
        }
        if in_order.len() == rows.len() {
            self.replayed.append(rows);
        } else if !in_order.is_empty() {
            self.replayed.append(&rows.select(in_order));
        }
        self.replayed.bytes() - bytes_before
    }
}

/// Whether one of the rows that `order` names, which are in time order, is the same.
fn contains(rows: &Entries, order: &[usize], row: EntryRef<'_>) -> bool {
    let time = |i: &usize| rows.timestamps_ns().get(*i).copied();
    let start = order.partition_point(|i| time(i) < Some(row.timestamp_ns));
    let same = order
        .iter()
        .skip(start)
        .take_while(|i| time(i) == Some(row.timestamp_ns));
    same.filter_map(|i| rows.get(*i))
        .any(|earlier| earlier == row)
}

/// A token bucket of bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    /// Bytes that may come at `at_ns`; meaningless before the first push.
    tokens: f64,
    at_ns: Option<i64>,
}

impl Bucket {
    /// The rows that the rate does not allow. If there is room for all, that is found without
    /// looking at each.
    fn refuse(&mut self, rows: &Entries, rules: &Rules) -> Vec<(u32, RefusalReason)> {
        if rules.rate_bytes == 0 || rules.burst_bytes == 0 {
            return Vec::new();
        }
        let (rate, burst) = (rules.rate_bytes as f64, rules.burst_bytes as f64);
        self.tokens = match self.at_ns {
            None => burst,
            Some(at_ns) => {
                let passed_ns = rules.now_ns.saturating_sub(at_ns).max(0);
                (self.tokens + passed_ns as f64 / 1e9 * rate).min(burst)
            }
        };
        self.at_ns = Some(rules.now_ns);
        let wanted = rows.lines().len() as f64;
        if wanted <= self.tokens {
            self.tokens -= wanted;
            return Vec::new();
        }
        let reason = RefusalReason::StreamRateLimit {
            limit: rules.rate_bytes,
        };
        let mut refused = Vec::new();
        for (i, row) in rows.iter().enumerate() {
            let wanted = row.line.len() as f64;
            if wanted <= self.tokens {
                self.tokens -= wanted;
            } else {
                refused.push((i as u32, reason));
            }
        }
        refused
    }
}
