//! `timestamp`: an extracted value becomes the time of the entry.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::quality::RandomState;
use logql::template::gotime::Zone;
use serde::Deserialize;

use super::chain::{Flow, Stage};
use super::row::Row;
use super::time_format::TimeFormat;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum OnFailure {
    /// The last time that was read for the label set, plus a nanosecond.
    #[default]
    Fudge,
    /// The time stays as it was.
    Skip,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Options {
    source: String,
    format: String,
    #[serde(default)]
    fallback_formats: Vec<String>,
    location: Option<String>,
    #[serde(default)]
    action_on_failure: OnFailure,
}

impl Options {
    /// What `docker` and `cri` use.
    pub(super) fn rfc3339(source: &str) -> Self {
        Self {
            source: source.to_owned(),
            format: "RFC3339Nano".to_owned(),
            fallback_formats: Vec::new(),
            location: None,
            action_on_failure: OnFailure::default(),
        }
    }
}

#[derive(Clone)]
pub(crate) struct Timestamp {
    source: Arc<str>,
    formats: Arc<[TimeFormat]>,
    last: Option<LastTimes>,
}

impl Timestamp {
    pub(crate) fn new(options: Options) -> Result<Self, String> {
        if options.source.is_empty() {
            return Err("source must not be empty".to_owned());
        }
        if options.format.is_empty() {
            return Err("format must not be empty".to_owned());
        }
        let location = options.location.as_deref().unwrap_or_default();
        let zone = Zone::load(location).ok_or_else(|| format!("unknown location {location:?}"))?;
        let formats = std::iter::once(&options.format).chain(&options.fallback_formats);
        Ok(Self {
            source: options.source.into(),
            formats: formats
                .map(|format| TimeFormat::new(format, &zone))
                .collect(),
            last: (options.action_on_failure == OnFailure::Fudge).then(LastTimes::default),
        })
    }
}

impl Stage for Timestamp {
    fn process(&mut self, row: &mut Row, now_ns: i64) -> Flow {
        let text = row.get(&self.source).and_then(super::row::Found::text);
        let time_ns = text.and_then(|text| {
            self.formats
                .iter()
                .find_map(|format| format.read(&text, now_ns))
        });
        match &mut self.last {
            Some(last) => last.apply(row, time_ns),
            None => {
                if let Some(time_ns) = time_ns {
                    row.entry.set_time(time_ns);
                }
            }
        }
        Flow::On
    }

    fn fork(&self) -> Box<dyn Stage> {
        Box::new(Self {
            last: self.last.as_ref().map(|_| LastTimes::default()),
            ..self.clone()
        })
    }
}

/// The last time of each label set, for lines whose own time cannot be read.
#[derive(Clone, Default)]
pub(crate) struct LastTimes {
    hasher: RandomState,
    /// By the hash of the label set.
    young: BTreeMap<u64, Last>,
    old: BTreeMap<u64, Last>,
}

/// The last time of a label set, and where the line begins that it is of.
#[derive(Clone, Copy)]
struct Last {
    time_ns: i64,
    origin: u64,
}

impl LastTimes {
    /// How many label sets are remembered at least; twice as many at most.
    const LABEL_SETS: usize = 10_000;

    /// Sets the time of a row: the one that was read, else one that keeps the order of the lines.
    /// When the row was made before, and of an earlier line's time, it is the one that it had.
    pub(crate) fn apply(&mut self, row: &mut Row, time_ns: Option<i64>) {
        let key = self.hasher.hash_one(row.labels());
        let time_ns = match time_ns {
            Some(time_ns) => {
                row.entry.set_time(time_ns);
                time_ns
            }
            None => match self.made_up(key, row) {
                Some((time_ns, of)) => {
                    row.entry.set_time_of(time_ns, of);
                    time_ns
                }
                None => return,
            },
        };
        if self.young.len() >= Self::LABEL_SETS && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        let origin = row.entry.origin;
        self.young.insert(key, Last { time_ns, origin });
    }

    /// A time for a row that has none, and where the line begins of whose time it was made.
    fn made_up(&self, key: u64, row: &Row) -> Option<(i64, Option<u64>)> {
        if let Some(noted_ns) = row.entry.made.as_ref().and_then(|made| made.noted_ns) {
            // Of a line that is not read again.
            return Some((noted_ns, None));
        }
        let last = self.young.get(&key).or_else(|| self.old.get(&key))?;
        Some((last.time_ns.saturating_add(1), Some(last.origin)))
    }
}

#[cfg(test)]
mod tests {
    use crate::stages::testing::{NOW_NS, entries, entry, labelled, refused};

    const PARSE: &str = "- regex: {expression: '^(?P<t>\\S+)'}\n";

    fn times(options: &str, lines: &[&str]) -> Vec<i64> {
        let stages = format!("{PARSE}- timestamp: {options}");
        let entries = entries(&stages, lines.iter().map(entry));
        entries
            .iter()
            .map(|entry| entry.timestamp_ns - NOW_NS)
            .collect()
    }

    #[test]
    fn times_that_cannot_be_read_follow_the_last_one() {
        let lines = ["x", "1768435201", "x", "x", "1768435200", "x"];
        let s = 1_000_000_000;
        assert_eq!(
            times("{source: t, format: Unix}", &lines),
            [0, s, s + 1, s + 2, 0, 1]
        );
        let skip = "{source: t, format: Unix, action_on_failure: skip}";
        assert_eq!(times(skip, &lines), [0, s, 0, 0, 0, 0]);
        assert_eq!(times("{source: missing, format: Unix}", &lines), [0; 6]);
    }

    #[test]
    fn each_label_set_has_its_own_last_time() {
        let stages = format!("{PARSE}- timestamp: {{source: t, format: Unix}}");
        let lines = [("1768435205", "a"), ("x", "b"), ("x", "a")];
        let entries = entries(
            &stages,
            lines.map(|(line, app)| labelled(line, &[("app", app)])),
        );
        let times: Vec<_> = entries
            .iter()
            .map(|entry| entry.timestamp_ns - NOW_NS)
            .collect();
        assert_eq!(times, [5_000_000_000, 0, 5_000_000_001]);
    }

    #[test]
    fn fallback_formats_are_tried_in_order() {
        let options = "{source: t, format: RFC3339, fallback_formats: [UnixMs, '2006-01-02']}";
        let lines = ["2026-01-15T00:00:01Z", "1768435200002", "2026-01-16"];
        assert_eq!(
            times(options, &lines),
            [1_000_000_000, 2_000_000, 86_400_000_000_000]
        );
    }

    #[test]
    fn a_location_is_that_of_times_that_name_no_zone() {
        let hours = |options: &str, line: &str| times(options, &[line])[0] / 3_600_000_000_000;
        let there = "{source: t, format: '2006-01-02T15:04:05', location: America/New_York}";
        assert_eq!(hours(there, "2026-01-15T01:00:00"), 6);
        // In July there is one hour less between them.
        assert_eq!(hours(there, "2026-07-15T00:00:00"), 181 * 24 + 4);
        let zoned = "{source: t, format: RFC3339, location: America/New_York}";
        assert_eq!(hours(zoned, "2026-01-15T01:00:00Z"), 1);
        assert_eq!(
            hours(
                "{source: t, format: '2006-01-02T15:04:05'}",
                "2026-01-15T01:00:00"
            ),
            1
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (options, error) in [
            ("{format: Unix}", "missing field `source`"),
            ("{source: t}", "missing field `format`"),
            ("{source: t, format: ''}", "format must not be empty"),
            (
                "{source: t, format: Unix, location: Mars/North}",
                "unknown location \"Mars/North\"",
            ),
            (
                "{source: t, format: Unix, action_on_failure: guess}",
                "unknown variant `guess`",
            ),
        ] {
            let message = refused(&format!("- timestamp: {options}"));
            assert!(message.contains(error), "{message}");
        }
    }
}
