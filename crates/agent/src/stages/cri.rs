//! `cri`: lines as the container runtimes of Kubernetes write them,
//! `2026-01-02T03:04:05.6Z stdout F text`.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::quality::RandomState;
use serde::Deserialize;

use super::JOINED_BYTES_MAX;
use super::chain::{Flow, Stage};
use super::row::{Row, Value};
use super::time_format::rfc3339;
use super::timestamp::LastTimes;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Options {
    /// How many label sets may have an unfinished line.
    max_partial_lines: usize,
    /// How long a line may become by joining, in bytes; zero is no limit of its own.
    max_partial_line_size: usize,
    /// Whether longer lines are cut.
    max_partial_line_size_truncate: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_partial_lines: 100,
            max_partial_line_size: 0,
            max_partial_line_size_truncate: false,
        }
    }
}

/// The names of what is extracted.
#[derive(Clone)]
struct Names {
    time: Arc<str>,
    stream: Arc<str>,
    flags: Arc<str>,
    content: Arc<str>,
}

pub(crate) struct Cri {
    partials_max: usize,
    cut_at: Option<usize>,
    last: LastTimes,
    hasher: RandomState,
    /// The beginnings of lines by the hash of their label set, in the order in which they came.
    partials: Vec<(u64, Row)>,
    /// Set if someone may look at extracted values.
    names: Option<Names>,
}

/// The parts of a line.
#[derive(Debug, PartialEq)]
struct Parts<'a> {
    time: &'a str,
    stream: &'a str,
    flags: &'a [u8],
    /// Where in the line the rest begins.
    content: usize,
}

impl Cri {
    /// `last` says that no stage follows.
    pub(crate) fn new(options: &Options, last: bool) -> Result<Self, String> {
        if options.max_partial_lines == 0 {
            return Err("max_partial_lines must be above 0".to_owned());
        }
        let cuts = options.max_partial_line_size_truncate && options.max_partial_line_size > 0;
        let names = || Names {
            time: "time".into(),
            stream: "stream".into(),
            flags: "flags".into(),
            content: "content".into(),
        };
        Ok(Self {
            partials_max: options.max_partial_lines,
            cut_at: cuts.then_some(options.max_partial_line_size),
            last: LastTimes::default(),
            hasher: RandomState::default(),
            partials: Vec::new(),
            names: (!last).then(names),
        })
    }

    /// Reads the row's line. Whether it is a part that more follows; `None` if it is no CRI line.
    fn read(&mut self, row: &mut Row) -> Option<bool> {
        let parts = Parts::of(&row.entry.line)?;
        let time_ns = rfc3339(parts.time);
        let partial = parts.flags == b"P";
        let (stream, content) = (parts.stream.to_owned(), parts.content);
        let values = self.names.as_ref().map(|names| {
            let text = row.entry.line.get(content..).unwrap_or_default();
            [
                (&names.time, Value::Text(parts.time.to_owned())),
                (&names.stream, Value::Text(stream.clone())),
                (&names.flags, Value::from_bytes(parts.flags)),
                (&names.content, Value::from_bytes(text)),
            ]
        });
        for (name, value) in values.into_iter().flatten() {
            row.set(name, value);
        }
        row.entry.line.drain(..content);
        match &self.names {
            Some(_) => row.set_label("stream", stream),
            // Nobody asks any more what the label was.
            None => {
                row.entry.labels.insert("stream".to_owned(), stream);
            }
        }
        self.last.apply(row, time_ns);
        Some(partial)
    }

    /// Puts the beginning that is held in front of the row.
    fn join(&mut self, key: u64, row: &mut Row) {
        let Some(at) = self.partials.iter().position(|(held, _)| *held == key) else {
            return;
        };
        let (_, before) = self.partials.remove(at);
        let mut line = before.entry.line;
        line.append(&mut row.entry.line);
        row.entry.line = line;
        let made = row.entry.made.get_or_insert_default();
        made.last = Some(row.entry.origin);
        // What is noted of an entry is noted where it begins.
        made.noted_ns = before.entry.made.and_then(|made| made.noted_ns);
        (row.entry.origin, row.entry.read_ns) = (before.entry.origin, before.entry.read_ns);
    }

    fn cut(&self, row: &mut Row) {
        if let Some(cut_at) = self.cut_at {
            row.entry.line.truncate(cut_at);
        }
    }
}

impl Stage for Cri {
    fn process(&mut self, row: &mut Row, _now_ns: i64) -> Flow {
        let Some(partial) = self.read(row) else {
            return Flow::On;
        };
        if !partial && self.partials.is_empty() {
            return Flow::On;
        }
        let key = self.hasher.hash_one(row.labels());
        self.join(key, row);
        self.cut(row);
        if !partial || row.entry.line.len() >= JOINED_BYTES_MAX {
            return Flow::On;
        }
        let flushed = if self.partials.len() >= self.partials_max {
            std::mem::take(&mut self.partials)
        } else {
            Vec::new()
        };
        self.partials.push((key, std::mem::take(row)));
        if flushed.is_empty() {
            return Flow::Stop;
        }
        Flow::Instead(flushed.into_iter().map(|(_, row)| row).collect())
    }

    fn finish(&mut self, _now_ns: i64) -> Vec<Row> {
        self.partials.drain(..).map(|(_, row)| row).collect()
    }

    fn oldest_held(&self) -> Option<u64> {
        self.partials.iter().map(|(_, row)| row.entry.origin).min()
    }

    fn fork(&self) -> Box<dyn Stage> {
        Box::new(Self {
            partials_max: self.partials_max,
            cut_at: self.cut_at,
            last: LastTimes::default(),
            hasher: self.hasher.clone(),
            partials: Vec::new(),
            names: self.names.clone(),
        })
    }
}

impl<'a> Parts<'a> {
    fn of(line: &'a [u8]) -> Option<Self> {
        let (time, rest) = word(line)?;
        let (stream, rest) = word(rest)?;
        let (flags, content) = word(rest)?;
        if stream != b"stdout" && stream != b"stderr" {
            return None;
        }
        Some(Self {
            time: std::str::from_utf8(time).unwrap_or_default(),
            stream: std::str::from_utf8(stream).ok()?,
            flags,
            content: line.len() - content.len(),
        })
    }
}

/// What stands before the first space, which must not be empty or contain other white space.
fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = text
        .iter()
        .position(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\x0c' | b'\r'))?;
    let (word, rest) = text.split_at(len);
    let rest = rest.strip_prefix(b" ")?;
    (len > 0).then_some((word, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stages::testing::{
        NOW_NS, entries, entry, extracted, label_text, labelled, lines, pipeline, refused,
    };

    const T: &str = "2026-01-15T00:00:01.5Z";

    #[test]
    fn a_line_is_taken_apart() {
        let entries = entries("- cri: {}", [entry(format!("{T} stderr F hello  world "))]);
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].line, b"hello  world ");
        assert_eq!(label_text(&entries[0].labels), "stream=stderr");
        assert_eq!(entries[0].timestamp_ns - NOW_NS, 1_500_000_000);
        let values = extracted(
            "- cri: {}\n- labels: {flags: }",
            &format!("{T} stdout F:x hi"),
        );
        assert_eq!(
            values,
            format!("content=hi flags=F:x stream=stdout time={T}")
        );
    }

    #[test]
    fn other_lines_pass_unchanged() {
        for line in [
            "",
            "plain",
            "a stdout F",
            "a stdout",
            "a stdin F x",
            " stdout F x",
            "a\tb stdout F x",
            "a stdout  x",
        ] {
            let out = entries("- cri: {}", [entry(line)]);
            assert_eq!(out, [entry(line)], "{line:?}");
        }
        // A time that cannot be read does not make it another line.
        assert_eq!(lines("- cri: {}", &["noon stdout F x"]), ["x"]);
        assert_eq!(lines("- cri: {}", &["a stdout F "]), [""]);
    }

    fn cri(options: &str, parts: &[&str]) -> Vec<String> {
        let parts: Vec<_> = parts.iter().map(|part| format!("{T} {part}")).collect();
        let parts: Vec<_> = parts.iter().map(String::as_str).collect();
        lines(&format!("- cri: {options}"), &parts)
    }

    #[test]
    fn parts_are_joined_per_label_set() {
        for (parts, expected) in [
            (
                vec!["stdout P a", "stdout P b", "stdout F c", "stdout F d"],
                vec!["abc", "d"],
            ),
            (
                vec![
                    "stdout P a",
                    "stderr F x",
                    "stderr P y",
                    "stdout F b",
                    "stderr F z",
                ],
                vec!["x", "ab", "yz"],
            ),
            (vec!["stdout P a", "stderr P b"], vec!["a", "b"]),
        ] {
            assert_eq!(cri("{}", &parts), expected);
        }
    }

    #[test]
    fn one_part_too_many_flushes_all() {
        let parts = ["stdout P a", "stderr P b", "stdout F c"];
        assert_eq!(cri("{max_partial_lines: 1}", &parts), ["a", "c", "b"]);
        let same = ["stdout P a", "stdout P b", "stdout F c"];
        assert_eq!(cri("{max_partial_lines: 1}", &same), ["abc"]);
    }

    #[test]
    fn joined_lines_are_cut_if_asked() {
        let parts = ["stdout P abc", "stdout P def", "stdout F ghi"];
        let options = "{max_partial_line_size: 4, max_partial_line_size_truncate: true}";
        assert_eq!(cri(options, &parts), ["abcd"]);
        assert_eq!(cri("{max_partial_line_size: 4}", &parts), ["abcdefghi"]);
    }

    #[test]
    fn an_endless_line_is_let_go_in_pieces() {
        let (mut pipeline, mut out) = (pipeline("- cri: {}"), Vec::new());
        let part = format!("{T} stdout P {}", "x".repeat(JOINED_BYTES_MAX / 2));
        for _ in 0..4 {
            pipeline.process(entry(&part), NOW_NS, &mut out);
        }
        let lengths: Vec<_> = out.iter().map(|entry| entry.line.len()).collect();
        assert_eq!(lengths, [JOINED_BYTES_MAX; 2]);
        assert_eq!(pipeline.oldest_held(), None);
    }

    #[test]
    fn a_held_part_shows_and_keeps_its_origin() {
        let (mut pipeline, mut out) = (pipeline("- cri: {}"), Vec::new());
        let at = |origin, part: &str| crate::Entry {
            origin,
            ..labelled(format!("{T} {part}"), &[])
        };
        pipeline.process(at(7, "stdout P a"), NOW_NS, &mut out);
        assert!(pipeline.oldest_held() == Some(7) && out.is_empty());
        let mut fork = pipeline.fork();
        assert_eq!(fork.oldest_held(), None);
        fork.process(at(9, "stdout F z"), NOW_NS, &mut out);
        assert_eq!(out.pop().unwrap().line, b"z");
        pipeline.process(at(20, "stdout F b"), NOW_NS, &mut out);
        assert_eq!(pipeline.oldest_held(), None);
        assert_eq!(
            (out[0].origin, out[0].line.as_slice()),
            (7, b"ab".as_slice())
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(refused("- cri: {max_partial_lines: 0}").contains("above 0"));
        assert!(refused("- cri: {partial: 1}").contains("unknown field `partial`"));
    }

    proptest! {
        #[test]
        fn any_lines_pass(lines in prop::collection::vec("[ PFstdou\\terZ0-9:é]{0,24}", 0..8)) {
            let count = lines.len();
            let out = entries("- cri: {}", lines.iter().map(entry));
            prop_assert!(out.len() <= count);
        }
    }
}
