//! `multiline`: lines that belong together become one entry.

use std::collections::BTreeMap;
use std::hash::BuildHasher;

use foldhash::quality::RandomState;
use model::readable;
use model::units::DurationNs;
use regex::bytes::Regex;
use serde::Deserialize;

use super::JOINED_BYTES_MAX;
use super::chain::{Flow, Stage};
use super::expression;
use super::row::Row;
use crate::entry::Made;

/// How many label sets may have a block; one more lets the oldest go.
const BLOCKS_MAX: usize = 1_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Options {
    firstline: String,
    #[serde(default = "max_wait_time")]
    max_wait_time: DurationNs,
    /// Zero is no limit in lines.
    #[serde(default = "max_lines")]
    max_lines: u64,
}

fn max_wait_time() -> DurationNs {
    DurationNs::from_secs(3)
}

fn max_lines() -> u64 {
    128
}

pub(crate) struct Multiline {
    first: Regex,
    wait_ns: i64,
    lines_max: u64,
    hasher: RandomState,
    /// By the hash of the label set.
    blocks: BTreeMap<u64, Block>,
}

/// The lines of a label set since one that was a first line.
struct Block {
    /// The first line without its text. Blocks that go on after they were let go have its time.
    first: Row,
    text: Vec<u8>,
    lines: u64,
    /// The smallest of the lines that are held.
    origin: u64,
    /// The line that was added last.
    last: u64,
    /// What was noted of the first of the lines that are held.
    noted_ns: Option<i64>,
    /// Whether the time of the first line was made of that of an earlier one, and where that begins.
    time_of: Option<Option<u64>>,
    deadline_ns: i64,
}

/// Why lines are let go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// The lines say so.
    Lines,
    /// They have waited for long enough, or others need the room.
    Time,
}

impl Block {
    fn add(&mut self, line: &[u8], origin: u64, made: Made, deadline_ns: i64) {
        if self.lines > 0 {
            self.text.push(b'\n');
        } else {
            (self.origin, self.noted_ns) = (origin, made.noted_ns);
        }
        self.text.extend_from_slice(line);
        self.lines += 1;
        self.origin = self.origin.min(origin);
        (self.last, self.deadline_ns) = (made.last.unwrap_or(origin), deadline_ns);
    }

    fn take(&mut self, cause: Cause) -> Option<Row> {
        if self.lines == 0 {
            return None;
        }
        let mut row = self.first.clone();
        row.entry.line = std::mem::take(&mut self.text);
        row.entry.origin = self.origin;
        let begins = self.first.entry.origin;
        // The rest of a block has the time of the first line, which is read again with it.
        let is_first = begins == self.origin;
        let made = Made {
            noted_ns: self.noted_ns,
            is_time_made: is_first && self.time_of.is_some(),
            time_of: self.time_of.filter(|_| is_first).flatten(),
            rest_of: (!is_first).then_some(begins),
            last: (self.last != self.origin || cause == Cause::Time).then_some(self.last),
            is_cut: cause == Cause::Time,
            ..Made::default()
        };
        row.entry.made = (made != Made::default()).then(|| Box::new(made));
        self.lines = 0;
        Some(row)
    }
}

impl Multiline {
    pub(crate) fn new(options: &Options) -> Result<Self, String> {
        if options.firstline.is_empty() {
            return Err("firstline must not be empty".to_owned());
        }
        Ok(Self {
            first: expression::compile(&options.firstline)?,
            wait_ns: options.max_wait_time.0,
            lines_max: options.max_lines,
            hasher: RandomState::default(),
            blocks: BTreeMap::new(),
        })
    }

    /// Makes room for one more block; gives what was let go for it.
    fn make_room(&mut self) -> Option<Row> {
        if self.blocks.len() < BLOCKS_MAX {
            return None;
        }
        let oldest = self
            .blocks
            .iter()
            .min_by_key(|(_, block)| block.deadline_ns);
        let oldest = oldest.map(|(key, _)| *key)?;
        self.blocks.remove(&oldest)?.take(Cause::Time)
    }

    /// Lets go the blocks that are wanted, in the order of their lines.
    fn release(&mut self, wanted: impl Fn(&Block) -> bool) -> Vec<Row> {
        let blocks = self.blocks.values_mut().filter(|block| wanted(block));
        let taken = blocks.filter_map(|block| block.take(Cause::Time));
        let mut rows: Vec<Row> = taken.collect();
        rows.sort_by_key(|row| row.entry.origin);
        rows
    }
}

impl Stage for Multiline {
    fn process(&mut self, row: &mut Row, now_ns: i64) -> Flow {
        let key = self.hasher.hash_one(row.labels());
        let is_first = self.first.is_match(readable(&row.entry.line).as_bytes());
        let mut rows = Vec::new();
        if !is_first && !self.blocks.contains_key(&key) {
            return Flow::On;
        }
        let (line, origin) = (std::mem::take(&mut row.entry.line), row.entry.origin);
        let made = row
            .entry
            .made
            .take()
            .map_or_else(Made::default, |made| *made);
        let time_of = made.is_time_made.then_some(made.time_of);
        if is_first {
            match self.blocks.get_mut(&key) {
                Some(block) => {
                    rows.extend(block.take(Cause::Lines));
                    (block.first, block.time_of) = (std::mem::take(row), time_of);
                }
                None => {
                    rows.extend(self.make_room());
                    let first = std::mem::take(row);
                    let block = Block {
                        first,
                        text: Vec::new(),
                        lines: 0,
                        origin,
                        last: origin,
                        noted_ns: None,
                        time_of,
                        deadline_ns: 0,
                    };
                    self.blocks.insert(key, block);
                }
            }
        }
        if let Some(block) = self.blocks.get_mut(&key) {
            block.add(&line, origin, made, now_ns.saturating_add(self.wait_ns));
            if block.lines == self.lines_max || block.text.len() >= JOINED_BYTES_MAX {
                rows.extend(block.take(Cause::Lines));
            } else if made.was_last {
                // As when it was read before.
                rows.extend(block.take(Cause::Time));
            }
        }
        if rows.is_empty() {
            Flow::Stop
        } else {
            Flow::Instead(rows)
        }
    }

    fn idle(&mut self, now_ns: i64) -> Vec<Row> {
        self.release(|block| block.deadline_ns <= now_ns)
    }

    fn finish(&mut self, _now_ns: i64) -> Vec<Row> {
        self.release(|_| true)
    }

    fn next_deadline_ns(&self) -> Option<i64> {
        let held = self.blocks.values().filter(|block| block.lines > 0);
        held.map(|block| block.deadline_ns).min()
    }

    fn oldest_held(&self) -> Option<u64> {
        let held = self.blocks.values().filter(|block| block.lines > 0);
        held.map(|block| block.origin).min()
    }

    fn joined_to(&self, origins: &mut Vec<u64>) {
        origins.extend(self.blocks.values().map(|block| block.first.entry.origin));
    }

    fn is_joining(&self, origins: &dyn Fn(u64) -> bool) -> bool {
        let mut held = self.blocks.values().filter(|block| block.lines > 0);
        held.any(|block| origins(block.first.entry.origin))
    }

    fn part_from(&mut self, origins: &dyn Fn(u64) -> bool) {
        let stays = |block: &Block| block.lines > 0 || !origins(block.first.entry.origin);
        self.blocks.retain(|_, block| stays(block));
    }

    fn fork(&self) -> Box<dyn Stage> {
        Box::new(Self {
            first: self.first.clone(),
            wait_ns: self.wait_ns,
            lines_max: self.lines_max,
            hasher: self.hasher.clone(),
            blocks: BTreeMap::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Entry;
    use crate::stages::testing::{NOW_NS, entry, labelled, lines, pipeline, refused};
    use proptest::prelude::*;

    const S: i64 = 1_000_000_000;

    #[test]
    fn lines_are_joined_up_to_the_next_first_line() {
        for (options, input, expected) in [
            (
                "{firstline: '^\\['}",
                vec!["[1", "a", "b", "[2", "[3", "c"],
                vec!["[1\na\nb", "[2", "[3\nc"],
            ),
            // What comes before the first first line passes alone.
            (
                "{firstline: '^\\['}",
                vec!["x", "y", "[1", "a"],
                vec!["x", "y", "[1\na"],
            ),
            (
                "{firstline: '^\\[', max_lines: 2}",
                vec!["[1", "a", "b", "c", "d"],
                vec!["[1\na", "b\nc", "d"],
            ),
            (
                "{firstline: '^$'}",
                vec!["", "a", "", "b"],
                vec!["\na", "\nb"],
            ),
        ] {
            assert_eq!(
                lines(&format!("- multiline: {options}"), &input),
                expected,
                "{options}"
            );
        }
    }

    fn texts(out: &mut Vec<Entry>) -> Vec<(String, i64, u64)> {
        let text = |entry: Entry| {
            (
                String::from_utf8(entry.line).unwrap(),
                entry.timestamp_ns - NOW_NS,
                entry.origin,
            )
        };
        out.drain(..).map(text).collect()
    }

    #[test]
    fn blocks_wait_for_so_long_after_each_line() {
        let mut pipeline = pipeline("- multiline: {firstline: '^f', max_wait_time: 2s}");
        let mut out = Vec::new();
        let mut at = |pipeline: &mut crate::stages::Pipeline, line: &str, s: i64| {
            let now_ns = NOW_NS + s * S;
            let origin = u64::try_from(s).unwrap() + 10;
            pipeline.process(
                Entry {
                    timestamp_ns: now_ns,
                    origin,
                    ..entry(line)
                },
                now_ns,
                &mut out,
            );
        };
        at(&mut pipeline, "f", 0);
        at(&mut pipeline, "a", 1);
        assert_eq!(
            (pipeline.next_deadline_ns(), pipeline.oldest_held()),
            (Some(NOW_NS + 3 * S), Some(10))
        );
        pipeline.idle(NOW_NS + 2 * S, &mut out);
        assert!(out.is_empty());
        pipeline.idle(NOW_NS + 3 * S, &mut out);
        assert_eq!(texts(&mut out), [("f\na".to_owned(), 0, 10)]);
        assert_eq!(
            (pipeline.next_deadline_ns(), pipeline.oldest_held()),
            (None, None)
        );
        // A late line has the time of the first line, but waits for its own place.
        let late = Entry {
            origin: 15,
            ..entry("b")
        };
        pipeline.process(late, NOW_NS + 5 * S, &mut out);
        assert_eq!(pipeline.oldest_held(), Some(15));
        pipeline.finish(&mut out);
        assert_eq!(texts(&mut out), [("b".to_owned(), 0, 15)]);
    }

    #[test]
    fn label_sets_are_apart() {
        let mut pipeline = pipeline("- multiline: {firstline: '^f'}");
        let mut out = Vec::new();
        for (origin, (line, app)) in [("f1", "a"), ("f2", "b"), ("x", "a"), ("y", "b")]
            .into_iter()
            .enumerate()
        {
            let entry = Entry {
                origin: origin as u64,
                ..labelled(line, &[("app", app)])
            };
            pipeline.process(entry, NOW_NS, &mut out);
        }
        pipeline.finish(&mut out);
        let lines: Vec<_> = texts(&mut out).into_iter().map(|(line, ..)| line).collect();
        assert_eq!(lines, ["f1\nx", "f2\ny"]);
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut pipeline = pipeline("- multiline: {firstline: '^f', max_lines: 0}");
        let mut out = Vec::new();
        for app in 0..BLOCKS_MAX + 5 {
            let app = app.to_string();
            pipeline.process(labelled("f", &[("app", &app)]), NOW_NS, &mut out);
        }
        assert_eq!(out.len(), 5);
        out.clear();
        let long = format!("f{}", "x".repeat(JOINED_BYTES_MAX / 2));
        pipeline.process(entry(&long), NOW_NS, &mut out);
        pipeline.process(entry(long.replace('f', "g")), NOW_NS, &mut out);
        assert_eq!(
            out.pop().map(|entry| entry.line.len()),
            Some(2 * long.len() + 1)
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (options, error) in [
            ("{}", "missing field `firstline`"),
            ("{firstline: ''}", "must not be empty"),
            ("{firstline: '['}", "missing closing ]"),
            (
                "{firstline: a, max_wait_time: long}",
                "not a valid duration",
            ),
        ] {
            let message = refused(&format!("- multiline: {options}"));
            assert!(message.contains(error), "{message}");
        }
    }

    proptest! {
        /// Whatever is joined, no text is lost and its order stays.
        #[test]
        fn nothing_is_lost(input in prop::collection::vec("[fa]{0,3}", 0..20), lines_max in 0..4) {
            let stages = format!("- multiline: {{firstline: '^f', max_lines: {lines_max}}}");
            let input: Vec<&str> = input.iter().map(String::as_str).collect();
            let joined = lines(&stages, &input).join("\n");
            prop_assert_eq!(joined, input.join("\n"));
        }
    }
}
