//! What each stage did to a line, for those who debug a pipeline.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::chain::{Flow, Stage};
use super::row::Row;

/// Who is told what stages do.
pub type Inspect = Arc<dyn Fn(&Inspection<'_>) + Send + Sync>;

/// What became of a line at a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes on.
    Passed,
    /// It was dropped, or is held back.
    Stopped,
    /// So many others go on in its place.
    Replaced(usize),
}

/// Something of a line that a stage changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it is: `line`, `time`, or `label`, `extracted` and `metadata` with a name.
    pub what: String,
    /// What it was, if it was there.
    pub before: Option<String>,
    /// What it is, if it is there still.
    pub after: Option<String>,
}

/// What a stage did to a line. Prints as text of several lines.
#[derive(Debug)]
pub struct Inspection<'a> {
    /// The place and name of the stage, such as `1 (match) / 2 (regex)`.
    pub stage: &'a str,
    /// What became of the line.
    pub fate: Fate,
    /// In the order of what they are.
    pub changes: Vec<Change>,
}

impl fmt::Display for Inspection<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[inspect: stage {}]", self.stage)?;
        match self.fate {
            Fate::Passed if self.changes.is_empty() => f.write_str(" no change")?,
            Fate::Passed => {}
            Fate::Stopped => f.write_str(" dropped or held back")?,
            Fate::Replaced(count) => write!(f, " {count} held back lines go on")?,
        }
        for change in &self.changes {
            write!(f, "\n  {}:", change.what)?;
            for (sign, text) in [('-', &change.before), ('+', &change.after)] {
                if let Some(text) = text {
                    write!(f, "\n    {sign} {text}")?;
                }
            }
        }
        Ok(())
    }
}

/// A stage that tells what it does.
pub(crate) struct Inspected {
    pub(crate) stage: Box<dyn Stage>,
    pub(crate) place: Arc<str>,
    pub(crate) inspect: Inspect,
}

impl Stage for Inspected {
    fn process(&mut self, row: &mut Row, now_ns: i64) -> Flow {
        let before = shown(row);
        let flow = self.stage.process(row, now_ns);
        let (fate, changes) = match &flow {
            Flow::On => (Fate::Passed, changes(before, shown(row))),
            Flow::Stop => (Fate::Stopped, Vec::new()),
            Flow::Instead(rows) => (Fate::Replaced(rows.len()), Vec::new()),
        };
        (self.inspect)(&Inspection {
            stage: &self.place,
            fate,
            changes,
        });
        flow
    }

    fn fork(&self) -> Box<dyn Stage> {
        Box::new(Self {
            stage: self.stage.fork(),
            place: Arc::clone(&self.place),
            inspect: Arc::clone(&self.inspect),
        })
    }

    fn idle(&mut self, now_ns: i64) -> Vec<Row> {
        self.stage.idle(now_ns)
    }

    fn finish(&mut self, now_ns: i64) -> Vec<Row> {
        self.stage.finish(now_ns)
    }

    fn next_deadline_ns(&self) -> Option<i64> {
        self.stage.next_deadline_ns()
    }

    fn oldest_held(&self) -> Option<u64> {
        self.stage.oldest_held()
    }

    fn joined_to(&self, origins: &mut Vec<u64>) {
        self.stage.joined_to(origins);
    }

    fn is_joining(&self, origins: &dyn Fn(u64) -> bool) -> bool {
        self.stage.is_joining(origins)
    }

    fn part_from(&mut self, origins: &dyn Fn(u64) -> bool) {
        self.stage.part_from(origins);
    }

    fn paused_until_ns(&self) -> Option<i64> {
        self.stage.paused_until_ns()
    }
}

/// Everything of a row, as texts.
fn shown(row: &Row) -> BTreeMap<String, String> {
    let mut shown = BTreeMap::new();
    let line = String::from_utf8_lossy(&row.entry.line);
    shown.insert("line".to_owned(), line.into_owned());
    let time = jiff::Timestamp::from_nanosecond(i128::from(row.entry.timestamp_ns));
    shown.insert("time".to_owned(), time.unwrap_or_default().to_string());
    for (name, value) in row.labels() {
        shown.insert(format!("label {name}"), value.clone());
    }
    for (name, value) in row.values() {
        let text = value.text().unwrap_or("null".into());
        shown.insert(format!("extracted {name}"), text.into_owned());
    }
    for (name, value) in &row.entry.metadata {
        shown.insert(format!("metadata {name}"), value.clone());
    }
    shown
}

fn changes(before: BTreeMap<String, String>, mut after: BTreeMap<String, String>) -> Vec<Change> {
    let mut changes = Vec::new();
    for (what, text) in before {
        let now = after.remove(&what);
        if now.as_ref() != Some(&text) {
            changes.push(Change {
                what,
                before: Some(text),
                after: now,
            });
        }
    }
    let added = after.into_iter().map(|(what, text)| Change {
        what,
        before: None,
        after: Some(text),
    });
    changes.extend(added);
    changes.sort_by(|left, right| left.what.cmp(&right.what));
    changes
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;
    use crate::stages::testing::{NOW_NS, entry};
    use crate::stages::{Metrics, Pipeline, StageConfig};

    #[test]
    fn each_stage_tells_what_it_did() {
        let yaml = "
- regex: {expression: '^(?P<level>\\w+) (?P<rest>.*)'}
- match:
    selector: '{}'
    stages:
    - output: {source: rest}
    - labels: {level: }
- labeldrop: [level]
- drop: {expression: bye}
";
        let told = Arc::new(Mutex::new(Vec::new()));
        let inspect: Inspect = {
            let told = Arc::clone(&told);
            Arc::new(move |inspection| told.lock().push(inspection.to_string()))
        };
        let stages: Vec<StageConfig> = serde_yaml::from_str(yaml).unwrap();
        let pipeline = Pipeline::inspected(&stages, "test", &Metrics::default(), inspect).unwrap();
        pipeline
            .fork()
            .process(entry("info bye"), NOW_NS, &mut Vec::new());
        let told = told.lock().join("\n");
        let expected = "\
[inspect: stage 1 (regex)]
  extracted level:
    + info
  extracted rest:
    + bye
[inspect: stage 2 (match) / 1 (output)]
  line:
    - info bye
    + bye
[inspect: stage 2 (match) / 2 (labels)]
  label level:
    + info
[inspect: stage 2 (match)]
  label level:
    + info
  line:
    - info bye
    + bye
[inspect: stage 3 (labeldrop)]
  label level:
    - info
[inspect: stage 4 (drop)] dropped or held back";
        assert_eq!(told, expected);
    }
}
