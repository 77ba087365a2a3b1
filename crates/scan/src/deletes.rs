//! Rows that a tenant has asked to delete and that are still there: left out before any stage of a
//! query sees them.
//!
//! A row is deleted if it is in the range of a deletion and passes its selector and pipeline, as it
//! was stored. Counters know nothing of that, so streams that a deletion touches are looked at row
//! by row ([`StreamDeletes::shape`]).

mod compiled;

use std::borrow::Cow;
use std::sync::Arc;

use logql::pipeline::{LineReader, Pipeline, StreamPipeline};
use logql::syntax;
use logql::syntax::ast::LogExpr;
use model::{LabelSet, Matcher, RowLabels, TimeRange};

use crate::{LogStages, SampleShape, SampleStages};
pub use compiled::CompiledDeletes;

/// Deletions of one tenant, compiled.
#[derive(Clone, Debug, Default)]
pub struct Deletes(Vec<Delete>);

#[derive(Clone, Debug)]
struct Delete {
    rows: Arc<Rows>,
    range: TimeRange,
}

/// Which rows a deletion is about, at any time.
#[derive(Debug)]
struct Rows {
    matchers: Vec<Matcher>,
    /// `None` if all rows of the streams are deleted.
    pipeline: Option<Pipeline>,
}

/// Those deletions that touch a stream.
#[derive(Debug, Default)]
pub struct StreamDeletes(Vec<(TimeRange, Option<StreamPipeline>)>);

impl Deletes {
    /// Compiles deletions: queries in LogQL, the times of their rows, and when they were asked for,
    /// which is what templates call now.
    ///
    /// # Errors
    /// If a query is wrong; the text says which.
    pub fn new<'a>(
        deletions: impl IntoIterator<Item = (&'a str, TimeRange, i64)>,
    ) -> Result<Self, String> {
        let compile = |(query, range, created_ns)| {
            let rows = Arc::new(Rows::new(query, created_ns)?);
            Ok(Delete { rows, range })
        };
        let deletes: Result<Vec<Delete>, String> = deletions.into_iter().map(compile).collect();
        deletes.map(Self)
    }

    /// How large a deletion is that has this query: bytes of its text, and states of its regular
    /// expressions, each of which takes about a hundred bytes when it is compiled.
    ///
    /// # Errors
    /// If the query is wrong.
    pub fn weight(query: &str) -> Result<u64, String> {
        let (_, states) = parse(query)?;
        Ok(states.saturating_add(query.len() as u64))
    }

    /// Adds other deletions of the tenant.
    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Whether nothing is deleted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether some row of a stream between two times, both included, may be deleted.
    #[must_use]
    pub fn touch(&self, labels: &LabelSet, min_ns: i64, max_ns: i64) -> bool {
        self.touching(labels, min_ns, max_ns).next().is_some()
    }

    /// Whether every row of a stream between two times, both included, is deleted, whatever it is.
    #[must_use]
    pub fn cover(&self, labels: &LabelSet, min_ns: i64, max_ns: i64) -> bool {
        self.touching(labels, min_ns, max_ns)
            .any(|delete| delete.rows.pipeline.is_none() && delete.range.covers(min_ns, max_ns))
    }

    /// As [`Self::cover`], of those rows that are in a range.
    #[must_use]
    pub fn cover_in(&self, labels: &LabelSet, range: TimeRange, min_ns: i64, max_ns: i64) -> bool {
        let last_ns = range.end_ns.saturating_sub(1);
        self.cover(labels, min_ns.max(range.start_ns), max_ns.min(last_ns))
    }

    /// What is deleted of a stream between two times, both included.
    #[must_use]
    pub fn for_stream(&self, labels: &LabelSet, min_ns: i64, max_ns: i64) -> StreamDeletes {
        let runner = |delete: &Delete| {
            let pipeline = delete.rows.pipeline.as_ref();
            (
                delete.range,
                pipeline.map(|pipeline| pipeline.for_stream(labels)),
            )
        };
        StreamDeletes(self.touching(labels, min_ns, max_ns).map(runner).collect())
    }

    /// What is deleted of a stream in a range.
    #[must_use]
    pub fn for_stream_in(&self, labels: &LabelSet, range: TimeRange) -> StreamDeletes {
        self.for_stream(labels, range.start_ns, range.end_ns.saturating_sub(1))
    }

    fn touching<'a>(
        &'a self,
        labels: &'a LabelSet,
        min_ns: i64,
        max_ns: i64,
    ) -> impl Iterator<Item = &'a Delete> {
        let touches = move |delete: &&Delete| {
            delete.range.overlaps(min_ns, max_ns)
                && delete
                    .rows
                    .matchers
                    .iter()
                    .all(|matcher| matcher.matches(labels))
        };
        self.0.iter().filter(touches)
    }
}

impl FromIterator<Self> for Deletes {
    fn from_iter<I: IntoIterator<Item = Self>>(parts: I) -> Self {
        Self(parts.into_iter().flat_map(|part| part.0).collect())
    }
}

impl Rows {
    fn new(query: &str, now_ns: i64) -> Result<Self, String> {
        let (log, _) = parse(query)?;
        let pipeline = match log.stages.is_empty() {
            true => None,
            false => {
                let pipeline = Pipeline::new(&log, now_ns);
                Some(pipeline.map_err(|error| wrong(query, &error))?)
            }
        };
        let matchers = log.matchers;
        Ok(Self { matchers, pipeline })
    }
}

/// The deletion's query, and how many states its regular expressions have.
fn parse(query: &str) -> Result<(LogExpr, u64), String> {
    syntax::parse_log_of_any_streams(query).map_err(|error| wrong(query, &error))
}

fn wrong(query: &str, error: &dyn std::fmt::Display) -> String {
    format!("deletion {query}: {error}")
}

impl StreamDeletes {
    /// Whether nothing of the stream is deleted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a row, as stored, is deleted.
    pub fn has(&mut self, timestamp_ns: i64, line: &[u8], metadata: &LabelSet) -> bool {
        self.0.iter_mut().any(|(range, pipeline)| {
            range.contains(timestamp_ns)
                && pipeline
                    .as_mut()
                    .is_none_or(|pipeline| pipeline.process(timestamp_ns, line, metadata).is_some())
        })
    }

    /// What a range aggregation of `shape` needs to see of the stream's rows.
    #[must_use]
    pub fn shape(&self, shape: SampleShape) -> SampleShape {
        if self.is_empty() {
            shape
        } else {
            SampleShape::UNKNOWN
        }
    }

    /// The stages, for rows that are not deleted.
    #[must_use]
    pub fn before<S>(self, stages: S) -> Undeleted<S> {
        Undeleted {
            deletes: self,
            stages,
        }
    }
}

/// Stages that deleted rows do not reach.
#[derive(Debug)]
pub struct Undeleted<S> {
    deletes: StreamDeletes,
    stages: S,
}

impl<S: LogStages> LogStages for Undeleted<S> {
    fn process<'a>(
        &'a mut self,
        timestamp_ns: i64,
        line: &'a [u8],
        metadata: &'a LabelSet,
    ) -> Option<(Cow<'a, [u8]>, &'a Arc<RowLabels>)> {
        if self.deletes.has(timestamp_ns, line, metadata) {
            return None;
        }
        self.stages.process(timestamp_ns, line, metadata)
    }
    fn reader(&self) -> Option<&LineReader> {
        self.stages.reader()
    }

    fn may_pass(&mut self, timestamp_ns: i64, reduced: &[u8]) -> bool {
        self.stages.may_pass(timestamp_ns, reduced)
    }
}

impl<S: SampleStages> SampleStages for Undeleted<S> {
    fn process<'a>(
        &'a mut self,
        timestamp_ns: i64,
        line: &'a [u8],
        metadata: &'a LabelSet,
    ) -> Option<Result<(f64, &'a LabelSet), String>> {
        if self.deletes.has(timestamp_ns, line, metadata) {
            return None;
        }
        self.stages.process(timestamp_ns, line, metadata)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_deleted_if_stream_time_and_line_fit() {
        let range = TimeRange::new(10, 20);
        let deletions = [
            (r#"{app="web"} |= "secret""#, range, 0),
            (r#"{app=~"(db)?"}"#, range, 0),
        ];
        let deletes = Deletes::new(deletions).unwrap();
        let of = |app: &str| LabelSet::from_pairs([("app", app)]);
        let has = |app: &str, time_ns: i64, line: &str| {
            let mut of_stream = deletes.for_stream(&of(app), time_ns, time_ns);
            of_stream.has(time_ns, line.as_bytes(), &LabelSet::default())
        };
        assert!(has("web", 10, "a secret"));
        assert!(!has("web", 10, "nothing"));
        assert!(!has("web", 20, "a secret"));
        assert!(!has("api", 10, "a secret"));
        assert!(has("db", 19, "anything"));
        assert!(deletes.cover(&of("db"), 10, 19));
        assert!(!deletes.cover(&of("db"), 10, 20));
        assert!(!deletes.cover(&of("web"), 10, 19));
    }

    #[test]
    fn wrong_queries_are_named() {
        let error = Deletes::new([("{", TimeRange::new(0, 1), 0)]).unwrap_err();
        assert!(error.starts_with("deletion {: "), "{error}");
    }
}
