//! Extraction of samples for range aggregations.

use std::sync::Arc;

use model::{LabelSet, MatchOp};

use super::compile::{Draft, Program};
use super::error::PipelineError;
use super::label_filter::{Condition, names_in};
use super::names::NameId;
use super::reduce::LineReader;
use super::results::Results;
use super::row::Row;
use super::runner::Runner;
use super::unwrap;
use super::wanted::{ERROR_DETAILS_LABEL, ERROR_LABEL, PRESERVE_ERROR_LABEL, Wanted};
use crate::syntax::ast::{Conversion, Grouping, LabelFilter, RangeAggregation, RangeOp, Stage};

/// What turns the rows of a range aggregation into samples, compiled.
#[derive(Clone, Debug)]
pub struct Extractor {
    program: Arc<Program>,
    sample: Arc<Sample>,
    reader: Option<LineReader>,
    /// A label that means a number and nothing else, and what is read where that is so.
    number: Option<(String, LineReader)>,
    known_by: Arc<str>,
}

/// What makes a sample of a row that passed the stages.
#[derive(Debug)]
struct Sample {
    value: SampleValue,
    /// Filters that come after the unwrapping.
    filters: Vec<Condition>,
    series: SeriesLabels,
}

#[derive(Debug)]
enum SampleValue {
    One,
    LineLength,
    Label(NameId, Option<Conversion>),
}

/// Which labels of a row tell its series.
#[derive(Debug)]
enum SeriesLabels {
    None,
    All,
    By(Vec<NameId>),
    Without(Vec<NameId>),
}

impl Extractor {
    /// Compiles what a range aggregation takes from each row. With `reduce_to` series are reduced
    /// to the labels that the aggregation around keeps, see [`crate::metric::Leaf::reduce_to`].
    /// Templates call `now_ns` now: nanoseconds since the Unix epoch.
    ///
    /// # Errors
    /// If a stage makes no sense or becomes too large.
    pub fn new(
        aggregation: &RangeAggregation,
        reduce_to: Option<&Grouping>,
        now_ns: i64,
    ) -> Result<Self, PipelineError> {
        let grouping = aggregation.grouping.as_ref().or(reduce_to);
        let is_by =
            grouping.is_some_and(|grouping| !grouping.without && !grouping.labels.is_empty());
        let mut draft = Draft::new(&aggregation.needed_stages(), !is_by)?;
        let unwrap = aggregation.unwrap.as_ref();
        let value = match unwrap {
            Some(unwrap) => {
                SampleValue::Label(draft.names.intern(&unwrap.label), unwrap.conversion)
            }
            None if is_of_bytes(aggregation.op) => SampleValue::LineLength,
            None => SampleValue::One,
        };
        let filters = unwrap.into_iter().flat_map(|unwrap| &unwrap.filters);
        let filters = filters.map(|filter| draft.condition(filter));
        let filters = filters.collect::<Result<Vec<_>, _>>()?;
        let series = series_labels(aggregation, grouping, &mut draft);
        let wanted = wanted(aggregation, grouping, &series, &mut draft);
        let reads_all = matches!(value, SampleValue::LineLength);
        let reader = LineReader::of(&aggregation.log.stages, &wanted).filter(|_| !reads_all);
        let number = number(aggregation, grouping);
        let number = number.zip(reader.clone());
        let (op, stages) = (aggregation.op, &aggregation.log.stages);
        Ok(Self {
            known_by: format!("{op:?} {stages:?} {unwrap:?} {grouping:?}").into(),
            number: number.map(|(label, reader)| (label.to_owned(), reader.with_number(label))),
            reader,
            program: Arc::new(draft.finish(wanted, now_ns)),
            sample: Arc::new(Sample {
                value,
                filters,
                series,
            }),
        })
    }

    /// What is read of the lines of a stream, unless it may be all of them. A row then is the sample
    /// that it is whatever its time.
    #[must_use]
    pub fn reader(&self, stream: &LabelSet) -> Option<&LineReader> {
        match &self.number {
            // Of labels of one name that of the stream is unwrapped.
            Some((label, reader)) if stream.get(label).is_none() => Some(reader),
            _ => self.reader.as_ref(),
        }
    }

    /// A text that only those have that take the same samples from the rows of a stream, but for what
    /// templates make of the time; where [`Self::reader`] has something there are no templates.
    #[must_use]
    pub fn known_by(&self) -> &Arc<str> {
        &self.known_by
    }

    /// A runner for the rows of one stream.
    #[must_use]
    pub fn for_stream(&self, stream: &LabelSet) -> StreamExtractor {
        StreamExtractor {
            runner: Runner::new(Arc::clone(&self.program), stream),
            sample: Arc::clone(&self.sample),
            results: Results::default(),
        }
    }
}

fn is_of_bytes(op: RangeOp) -> bool {
    matches!(op, RangeOp::Bytes | RangeOp::BytesRate)
}

/// The label whose value is the sample's, if it does not matter for anything else which number it
/// is.
fn number<'a>(aggregation: &'a RangeAggregation, grouping: Option<&Grouping>) -> Option<&'a str> {
    let unwrap = aggregation.unwrap.as_ref()?;
    let label = unwrap.label.as_str();
    let stages = aggregation.log.stages.iter();
    let is_fine = |stage: &Stage| match stage {
        Stage::Json(_) | Stage::Logfmt { .. } => true,
        Stage::LabelFilter(filter) => is_met_by_any_number(filter, label),
        _ => false,
    };
    let is_number = unwrap.conversion.is_none()
        && stages.into_iter().all(is_fine)
        && unwrap
            .filters
            .iter()
            .all(|filter| is_met_by_any_number(filter, label))
        && grouping.is_none_or(|grouping| !grouping.labels.iter().any(|name| name == label));
    is_number.then_some(label)
}

/// Whether a filter does not tell numbers apart, as values of the label.
fn is_met_by_any_number(filter: &LabelFilter, label: &str) -> bool {
    match filter {
        LabelFilter::And(left, right) | LabelFilter::Or(left, right) => {
            is_met_by_any_number(left, label) && is_met_by_any_number(right, label)
        }
        LabelFilter::Text(matcher) if matcher.name() == label => {
            matcher.op() == MatchOp::NotEqual && matcher.value().is_empty()
        }
        other => {
            let mut names = Vec::new();
            names_in(other, &mut names);
            !names.iter().any(|name| name == label)
        }
    }
}

fn series_labels(
    aggregation: &RangeAggregation,
    grouping: Option<&Grouping>,
    draft: &mut Draft,
) -> SeriesLabels {
    let unwrapped = aggregation.unwrap.as_ref().map(|unwrap| &unwrap.label);
    match grouping {
        _ if aggregation.op == RangeOp::Absent => SeriesLabels::None,
        Some(grouping) if grouping.labels.is_empty() && !grouping.without => SeriesLabels::None,
        Some(grouping) if !grouping.without => {
            let labels = grouping.labels.iter();
            SeriesLabels::By(labels.map(|label| draft.names.intern(label)).collect())
        }
        None if unwrapped.is_none() => SeriesLabels::All,
        _ => {
            let labels = grouping.into_iter().flat_map(|grouping| &grouping.labels);
            let labels = labels.chain(unwrapped);
            SeriesLabels::Without(labels.map(|label| draft.names.intern(label)).collect())
        }
    }
}

/// The labels that parsers have to find.
fn wanted(
    aggregation: &RangeAggregation,
    grouping: Option<&Grouping>,
    series: &SeriesLabels,
    draft: &mut Draft,
) -> Wanted {
    let mut reads = std::mem::take(&mut draft.reads);
    reads.extend(
        grouping
            .into_iter()
            .flat_map(|grouping| &grouping.labels)
            .cloned(),
    );
    reads.extend(aggregation.unwrap.iter().map(|unwrap| unwrap.label.clone()));
    // A minimum around may be taken before, too, but the reference does not: there the faults of
    // parsers are those of all labels.
    let reduced = aggregation.grouping.is_none()
        && grouping.is_some()
        && matches!(aggregation.op, RangeOp::Min | RangeOp::Max);
    let tells_all = matches!(series, SeriesLabels::All | SeriesLabels::Without(_));
    let nothing = matches!(series, SeriesLabels::None);
    let all = draft.reads_all || reduced || tells_all;
    Wanted::for_metric(&reads, all, nothing, &mut draft.names)
}

/// The labels of a series.
#[derive(Clone, Debug, Default)]
struct Series {
    labels: LabelSet,
    /// Whether a stage failed on its rows and the query did not ask for that.
    failed: bool,
}

impl Series {
    fn new(labels: LabelSet) -> Self {
        let asked = labels.get(PRESERVE_ERROR_LABEL) == Some("true");
        Self {
            failed: labels.get(ERROR_LABEL).is_some() && !asked,
            labels,
        }
    }
}

/// Takes samples from the rows of one stream.
#[derive(Debug)]
pub struct StreamExtractor {
    runner: Runner,
    sample: Arc<Sample>,
    results: Results<Series>,
}

impl StreamExtractor {
    /// Value of a row that is a sample, and the labels of its series. Rows of one series share
    /// them.
    ///
    /// # Errors
    /// If a stage failed on the row and the query did not ask for such rows; the text is for its
    /// user.
    pub fn process<'a>(
        &'a mut self,
        timestamp_ns: i64,
        line: &[u8],
        metadata: &LabelSet,
    ) -> Option<Result<(f64, &'a LabelSet), String>> {
        if self.runner.begin(metadata) {
            self.results.clear();
        }
        if !self.runner.run(timestamp_ns, line) {
            return None;
        }
        let value = match &self.sample.value {
            SampleValue::One => 1.0,
            SampleValue::LineLength => self.runner.line(line).len() as f64,
            SampleValue::Label(name, conversion) => {
                let row = &mut self.runner.row;
                let text = row.get(*name).filter(|text| !text.is_empty())?;
                unwrap::value(text, *conversion).unwrap_or_else(|fault| {
                    row.set_error("SampleExtractionErr", Some(&fault.to_string()));
                    0.0
                })
            }
        };
        let row = &mut self.runner.row;
        if !self.sample.filters.iter().all(|filter| filter.pass(row)) {
            return None;
        }
        let row = &self.runner.row;
        // Grouping comes later if a stage failed: it would lose the error.
        let labels = if row.has_error() {
            &SeriesLabels::All
        } else {
            &self.sample.series
        };
        let write = |key: &mut Vec<u8>| {
            key.push(u8::from(row.has_error()));
            labels.write_key(row, key);
        };
        let series = self.results.get(write, || Series::new(labels.of(row)));
        if series.failed {
            return Some(Err(failure(&series.labels)));
        }
        Some(Ok((value, &series.labels)))
    }
}

impl SeriesLabels {
    /// Writes what tells the series of this row from others of the stream.
    fn write_key(&self, row: &Row, key: &mut Vec<u8>) {
        match self {
            Self::None => {}
            Self::All => row.write_key(key, &[]),
            Self::Without(names) => row.write_key(key, names),
            Self::By(names) => {
                for name in names {
                    // An empty label is not an absent one.
                    let value = row.get(*name);
                    let len = value.map_or(u32::MAX, |value| value.len() as u32);
                    key.extend_from_slice(&len.to_le_bytes());
                    key.extend_from_slice(value.unwrap_or_default().as_bytes());
                }
            }
        }
    }

    /// The labels of the series.
    fn of(&self, row: &Row) -> LabelSet {
        match self {
            Self::None => LabelSet::default(),
            Self::All => row.to_label_set(|_| true),
            Self::Without(names) => {
                let names: Vec<&str> = names.iter().map(|name| &**row.names.get(*name)).collect();
                row.to_label_set(|name| {
                    name != ERROR_LABEL && name != ERROR_DETAILS_LABEL && !names.contains(&name)
                })
            }
            Self::By(names) => {
                let label = |name: &NameId| Some(row.label(*name, row.get(*name)?));
                LabelSet::keeping_empty(names.iter().filter_map(label))
            }
        }
    }
}

/// The end of a query that came upon a row on which a stage failed.
fn failure(series: &LabelSet) -> String {
    let error = series.get(ERROR_LABEL).unwrap_or_default();
    format!(
        "pipeline error: '{error}' for series: '{series}'.\n\
         Use a label filter to intentionally skip this error. (e.g | __error__!=\"{error}\").\n\
         To skip all potential errors you can match empty errors.(e.g __error__=\"\")\n\
         The label filter can also be specified after unwrap. \
         (e.g | unwrap latency | __error__=\"\" )"
    )
}
