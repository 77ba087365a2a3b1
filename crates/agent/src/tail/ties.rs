//! What ties entries to lines before them, or to the moment at which they were made.
//!
//! Most entries are made of their own lines alone, and are made the same when these are read again
//! after a crash. These are not: one whose time was made of that of an earlier line, the rest of a
//! block of lines that was let go before it came, and whatever was let go because time had passed.
//! What they were made of is noted with the position, before they are sent: so they are made the
//! same again, and who keeps one copy of equal rows, as Skald does, keeps one.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::source::{origin, place};
use crate::entry::Made;

/// How far before the position reading may begin again, in bytes.
const BACK_BYTES_MAX: u64 = 1 << 20;
/// Entries whose ties are remembered; with more, the oldest are forgotten.
const TIES_MAX: usize = 65_536;

/// The ties of a source's entries that are not acknowledged. Lines are told by origins.
#[derive(Debug, Default)]
pub(super) struct Ties {
    /// Times that were made of those of other lines, and where these begin, if they are known.
    times: BTreeMap<u64, (i64, Option<u64>)>,
    /// Where the block begins that an entry is the rest of.
    rests: BTreeMap<u64, u64>,
    /// The last lines of entries that have several.
    spans: BTreeMap<u64, u64>,
    /// Last lines, after the position, of entries that begin before it and are done with.
    over: BTreeSet<u64>,
    /// Lines after which a block was let go because time had passed.
    lasts: BTreeSet<u64>,
    /// Files that are read again from before their position.
    again: Vec<Again>,
}

/// A file that is read again from before its position.
#[derive(Clone, Copy, Debug)]
struct Again {
    generation: u64,
    from: u64,
    /// The position: lines before it are only read for those after it.
    sent: u64,
}

/// What is noted of a file. Lines are told by offsets in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Tied {
    /// Where reading begins again: lines from there to the position are in blocks that go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<u64>,
    /// Lines whose times were made of those of lines before the position, and these times.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    times: Vec<(u64, i64)>,
    /// Last lines, after the position, of entries that begin before it and are done with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    over: Vec<u64>,
    /// Lines after which a block was let go because time had passed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lasts: Vec<u64>,
}

impl Tied {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Ties {
    /// Takes in what was noted of a file that is now this generation and is read again from before
    /// the position `sent`, or from there.
    pub(super) fn restore(&mut self, generation: u64, noted: &Tied, sent: u64) {
        let at = |offset: u64| origin(generation, offset);
        // They were made of lines that are not read again.
        let times = noted
            .times
            .iter()
            .map(|(line, ns)| (at(*line), (*ns, None)));
        self.times.extend(times);
        self.over.extend(noted.over.iter().map(|line| at(*line)));
        self.lasts.extend(noted.lasts.iter().map(|line| at(*line)));
        self.again.extend(noted.from.map(|from| Again {
            generation,
            from,
            sent,
        }));
    }

    /// What was noted of how the line at `origin` was made into an entry.
    pub(super) fn known(&self, origin: u64) -> Option<Box<Made>> {
        let made = Made {
            noted_ns: self.times.get(&origin).map(|(ns, _)| *ns),
            was_last: self.lasts.contains(&origin),
            ..Made::default()
        };
        (made != Made::default()).then(|| Box::new(made))
    }

    /// Whether an entry that begins at `origin`, with a last line at `last`, is done with and only made
    /// again for what follows.
    pub(super) fn is_sent(&self, origin: u64, last: u64) -> bool {
        let is_before = |line: u64| {
            let (generation, offset) = place(line);
            let again = self.again_in(generation);
            again.is_some_and(|again| offset < again.sent)
        };
        is_before(origin) && (is_before(last) || self.over.contains(&last))
    }

    /// Where the part of an entry that goes out begins which is not done with. One that begins before
    /// a position from before which reading began again is made of other lines than it was; that it
    /// begins there does not say that it is done with.
    fn owed_from(&self, first: u64) -> u64 {
        let (generation, _) = place(first);
        self.again_in(generation)
            .map_or(first, |again| first.max(origin(generation, again.sent)))
    }

    fn again_in(&self, generation: u64) -> Option<&Again> {
        let mut again = self.again.iter();
        again.find(|again| again.generation == generation)
    }

    /// Takes in an entry that goes out: whether that must be noted before it is sent.
    pub(super) fn take(&mut self, origin: u64, timestamp_ns: i64, made: &Made) -> bool {
        if made.is_time_made {
            self.times.insert(origin, (timestamp_ns, made.time_of));
        }
        let owed = self.owed_from(origin);
        if let Some(first) = made.rest_of {
            self.rests.insert(owed, first);
        }
        if let Some(last) = made.last.filter(|last| *last != origin) {
            self.spans.insert(owed, last);
        }
        self.lasts.extend(made.last.filter(|_| made.is_cut));
        while self.spans.len() > TIES_MAX {
            self.spans.pop_first();
        }
        while self.times.len() > TIES_MAX {
            self.times.pop_first();
        }
        while self.rests.len() > TIES_MAX {
            self.rests.pop_first();
        }
        while self.lasts.len() > TIES_MAX {
            self.lasts.pop_first();
        }
        made.is_time_made || made.is_cut
    }

    /// What is to be noted of a generation that is done with up to `offset` and read up to `read`, and
    /// forgets what is not needed any more. `firsts` are lines that others to come may be joined to.
    pub(super) fn note(&mut self, generation: u64, offset: u64, read: u64, firsts: &[u64]) -> Tied {
        let done = origin(generation, offset);
        let is_done = |line: u64| place(line).0 == generation && line < done;
        self.rests.retain(|line, _| !is_done(*line));
        self.spans.retain(|_, last| !is_done(*last));
        self.over.retain(|last| !is_done(*last));
        let its = |line: u64| (place(line).0 == generation).then(|| place(line).1);
        let again = self.again_in(generation);
        let again = again.filter(|again| read < again.sent || self.needs_again(generation));
        let again = again.map(|again| origin(generation, again.from));
        let spans = self.spans.iter().filter(|(first, _)| is_done(**first));
        let from = self.rests.values().chain(firsts).copied();
        // All lines are read again from the first of an entry to its last, those of others among them.
        let begins_before = |first: &u64| place(*first).0 < generation;
        let rests = self.rests.iter().map(|(line, first)| (first, line));
        let is_within = rests
            .chain(&self.spans)
            .any(|(first, last)| begins_before(first) && *last >= done)
            || firsts.iter().any(begins_before);
        let from = from
            .chain(again)
            .chain(is_within.then(|| origin(generation, 0)))
            .chain(spans.map(|(first, _)| *first))
            .filter(|line| is_done(*line) && done - line <= BACK_BYTES_MAX);
        let from = from.min();
        let first_kept = from.unwrap_or(done);
        let is_kept = |line: u64| place(line).0 != generation || line >= first_kept;
        self.times.retain(|line, _| is_kept(*line));
        self.lasts.retain(|line| is_kept(*line));
        // An entry that begins in an earlier file and is not done with holds that one back.
        let is_elsewhere = |first: u64| its(first).is_none() || is_done(first);
        let over = self.spans.iter().filter(|(first, _)| is_elsewhere(**first));
        let over = over.map(|(_, last)| *last);
        let over: BTreeSet<u64> = over
            .chain(self.over.iter().copied())
            .filter_map(its)
            .collect();
        let is_before = |of: Option<u64>| of.is_none_or(|of| of < done);
        let times = self.times.iter().filter(|(_, (_, of))| is_before(*of));
        Tied {
            from: from.map(|line| place(line).1),
            times: times
                .filter_map(|(line, (ns, _))| Some((its(*line)?, *ns)))
                .collect(),
            over: over.into_iter().collect(),
            lasts: self.lasts.iter().filter_map(|line| its(*line)).collect(),
        }
    }

    /// Whether lines are not done with that belong to others in this generation, or before it.
    pub(super) fn needs(&self, generation: u64) -> bool {
        let mut firsts = self.rests.values().chain(self.spans.keys());
        firsts.any(|first| place(*first).0 <= generation) || self.needs_again(generation)
    }

    /// Whether lines of this generation, or of one after it, are to be read again of which the entries
    /// that they are the last of may begin before the position in this one.
    fn needs_again(&self, generation: u64) -> bool {
        let mut over = self.over.iter();
        self.again_in(generation).is_some() && over.any(|last| place(*last).0 >= generation)
    }

    /// Whether lines of this generation are done with as the last of entries that begin before.
    pub(super) fn is_over_in(&self, generation: u64) -> bool {
        let mut over = self.over.iter();
        over.any(|last| place(*last).0 == generation)
    }

    /// Forgets a generation.
    pub(super) fn forget(&mut self, generation: u64) {
        let is_other = |line: u64| place(line).0 != generation;
        self.times.retain(|line, _| is_other(*line));
        self.rests
            .retain(|line, first| is_other(*line) && is_other(*first));
        self.spans
            .retain(|first, last| is_other(*first) && is_other(*last));
        self.over.retain(|line| is_other(*line));
        self.lasts.retain(|line| is_other(*line));
        self.again.retain(|again| again.generation != generation);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines from 0 on are read again for those from 30 on, and make another entry than before, up to
    /// the line at 50.
    #[test]
    fn an_entry_over_the_position_is_not_done_with_before_it_was_acknowledged() {
        let mut ties = Ties::default();
        let noted = Tied {
            from: Some(0),
            ..Tied::default()
        };
        ties.restore(0, &noted, 30);
        let made = Made {
            last: Some(50),
            ..Made::default()
        };
        assert!(!ties.is_sent(0, 50));
        ties.take(0, 1, &made);
        let saved = ties.note(0, 30, 70, &[]);
        let mut next = Ties::default();
        next.restore(0, &saved, 30);
        assert!(!next.is_sent(0, 50), "{saved:?}");
        assert_eq!(ties.note(0, 40, 70, &[]).over, [50]);
    }

    #[test]
    fn files_are_read_again_as_a_whole_between_the_first_and_the_last_line_of_an_entry() {
        let mut ties = Ties::default();
        let made = Made {
            last: Some(origin(2, 40)),
            ..Made::default()
        };
        ties.take(10, 1, &made);
        let from = |tied: Tied| (tied.from, tied.over);
        assert_eq!(from(ties.note(0, 30, 30, &[])), (Some(10), vec![]));
        assert_eq!(from(ties.note(1, 20, 20, &[])), (Some(0), vec![]));
        assert_eq!(from(ties.note(2, 5, 60, &[])), (Some(0), vec![40]));
        assert_eq!(from(ties.note(3, 5, 60, &[])), (None, vec![]));
        assert_eq!(from(ties.note(3, 5, 60, &[7])), (Some(0), vec![]));
        assert!(ties.needs(0) && ties.needs(1));
        ties.note(2, 60, 60, &[]);
        assert!(!ties.needs(0) && !ties.needs(1));
        let rest = Made {
            rest_of: Some(10),
            ..Made::default()
        };
        ties.take(origin(2, 70), 1, &rest);
        assert_eq!(from(ties.note(1, 20, 20, &[])), (Some(0), vec![]));
        assert!(ties.needs(1));
    }

    /// An entry that is done with begins before the position in one file and ends after that in the
    /// next, where lines before it are not done with.
    #[test]
    fn a_file_is_needed_for_an_entry_that_ends_in_the_next_also_after_a_second_crash() {
        let mut ties = Ties::default();
        let noted = |from: Option<u64>, over: &[u64]| Tied {
            from,
            over: over.into(),
            ..Tied::default()
        };
        ties.restore(0, &noted(Some(0), &[]), 30);
        ties.restore(1, &noted(None, &[50]), 0);
        assert!(ties.is_sent(0, origin(1, 50)));
        assert_eq!(ties.note(0, 30, 70, &[]), noted(Some(0), &[]));
        assert_eq!(ties.note(1, 0, 90, &[]), noted(None, &[50]));
        assert!(ties.needs(0));
        ties.note(1, 90, 90, &[]);
        assert!(!ties.needs(0));
        assert_eq!(ties.note(0, 30, 70, &[]), Tied::default());
    }
}
