//! Looking into lines one after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use logql::pipeline::{Pipeline, StreamPipeline};
use logql::syntax::ast::{LogExpr, Stage};
use model::{BudgetError, Code, CodedError, LabelSet, Reservation};
use proto::role::LogRow;

use super::json_path::json_paths;
use super::{Field, FieldKind};

/// Bytes that a value holds besides its text.
const VALUE_BYTES: u64 = 64;
const ERROR_LABEL: &str = "__error__";
/// Why; no field of the line either.
const ERROR_DETAILS_LABEL: &str = "__error_details__";
/// What a parsed field is called whose name the stream has as a label.
const EXTRACTED: &str = "_extracted";

/// What is known of a field.
struct Known {
    kind: FieldKind,
    values: BTreeSet<Arc<str>>,
    parsers: Vec<&'static str>,
    json_path: Vec<String>,
}

/// Fields of the lines seen so far.
pub(super) struct Detector {
    json: Pipeline,
    logfmt: Pipeline,
    /// The stream of the last line, and both parsers for it.
    stream: Option<(LabelSet, StreamPipeline, StreamPipeline)>,
    fields: BTreeMap<Arc<str>, Known>,
    fields_max: usize,
    memory: Reservation,
}

impl Detector {
    /// Keeps at most `fields_max` fields, those found first.
    pub(super) fn new(fields_max: usize, memory: Reservation) -> Result<Self, CodedError> {
        let compile = |stage| {
            let log = LogExpr {
                matchers: Vec::new(),
                stages: vec![stage],
            };
            // No template is in it that could ask for the time.
            Pipeline::new(&log, 0)
                .map_err(|error| CodedError::new(Code::Internal, error.to_string()))
        };
        let logfmt = Stage::Logfmt {
            strict: false,
            keep_empty: false,
            extractions: Vec::new(),
        };
        Ok(Self {
            json: compile(Stage::Json(Vec::new()))?,
            logfmt: compile(logfmt)?,
            stream: None,
            fields: BTreeMap::new(),
            fields_max,
            memory,
        })
    }

    /// Looks into a line.
    pub(super) fn add(&mut self, row: &LogRow) -> Result<(), BudgetError> {
        for label in &row.labels.metadata {
            self.field(&label.name, &label.value, None, &[])?;
        }
        let (parser, found) = self.parse(row);
        let paths = match parser {
            Some("json") => json_paths(&row.line),
            _ => Default::default(),
        };
        // What the query parsed counts as found by the parser that fits the line.
        let parsed = row
            .labels
            .parsed
            .iter()
            .filter(|label| found.get(&label.name).is_none());
        for label in parsed.chain(&found) {
            if [ERROR_LABEL, ERROR_DETAILS_LABEL].contains(&&*label.name) {
                continue;
            }
            let plain = label.name.strip_suffix(EXTRACTED).unwrap_or(&label.name);
            let path = paths.get(&*label.name).or_else(|| paths.get(plain));
            let path = path.map(Vec::as_slice).unwrap_or_default();
            self.field(&label.name, &label.value, parser, path)?;
        }
        Ok(())
    }

    /// What JSON finds in the line or, if it is none, logfmt.
    fn parse(&mut self, row: &LogRow) -> (Option<&'static str>, LabelSet) {
        let labels = &row.labels.stream;
        if self
            .stream
            .as_ref()
            .is_none_or(|(stream, ..)| stream != labels)
        {
            let json = self.json.for_stream(labels);
            self.stream = Some((labels.clone(), json, self.logfmt.for_stream(labels)));
        }
        let Some((_, json, logfmt)) = &mut self.stream else {
            return (None, LabelSet::default());
        };
        for (name, stages) in [("json", json), ("logfmt", logfmt)] {
            let none = LabelSet::default();
            if let Some((_, labels)) = stages.process(row.timestamp_ns, &row.line, &none)
                && labels.parsed.get(ERROR_LABEL).is_none()
            {
                return (Some(name), labels.parsed.clone());
            }
        }
        (None, LabelSet::default())
    }

    fn field(
        &mut self,
        name: &Arc<str>,
        value: &Arc<str>,
        parser: Option<&'static str>,
        json_path: &[String],
    ) -> Result<(), BudgetError> {
        let kind = FieldKind::of(value);
        let is_full = self.fields.len() >= self.fields_max;
        let known = match self.fields.get_mut(name) {
            Some(known) => known,
            None if is_full => return Ok(()),
            None => {
                self.memory.grow(VALUE_BYTES + name.len() as u64)?;
                self.fields.entry(Arc::clone(name)).or_insert(Known {
                    kind,
                    values: BTreeSet::new(),
                    parsers: Vec::new(),
                    json_path: Vec::new(),
                })
            }
        };
        known.kind = kind;
        if known.json_path.is_empty() {
            known.json_path = json_path.to_vec();
        }
        known
            .parsers
            .extend(parser.filter(|parser| !known.parsers.contains(parser)));
        if !known.values.contains(value) {
            self.memory.grow(VALUE_BYTES + value.len() as u64)?;
            known.values.insert(Arc::clone(value));
        }
        Ok(())
    }

    /// The fields by name.
    pub(super) fn fields(self) -> Vec<Field> {
        let field = |(name, known): (Arc<str>, Known)| Field {
            name: name.to_string(),
            kind: known.kind,
            cardinality: known.values.len(),
            parsers: known.parsers,
            json_path: known.json_path,
        };
        self.fields.into_iter().map(field).collect()
    }

    /// At most `limit` values of a field.
    pub(super) fn values(self, name: &str, limit: usize) -> BTreeSet<String> {
        let known = self.fields.get(name);
        let values = known.into_iter().flat_map(|known| &known.values);
        values.take(limit).map(ToString::to_string).collect()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use model::{Budget, RowLabels};

    use super::*;

    #[test]
    fn a_path_is_known_however_a_field_was_found_first() {
        let memory = Budget::new("test", u64::MAX).reservation();
        let mut detector = Detector::new(10, memory).unwrap();
        for line in ["msg=a", r#"{"msg": "b"}"#, "msg=c"] {
            let row = LogRow {
                timestamp_ns: 1,
                line: Bytes::from_static(line.as_bytes()),
                labels: Arc::new(RowLabels {
                    metadata: LabelSet::from_pairs([("span", "x")]),
                    ..RowLabels::default()
                }),
                row_hash: 0,
            };
            detector.add(&row).unwrap();
        }
        let fields = detector.fields();
        let found: Vec<_> = fields
            .iter()
            .map(|field| {
                (
                    field.name.as_str(),
                    field.parsers.len(),
                    field.json_path.len(),
                )
            })
            .collect();
        assert_eq!(found, [("msg", 2, 1), ("span", 0, 0)]);
    }
}
