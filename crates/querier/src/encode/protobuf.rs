//! Answers as Loki's `QueryResponse`, for clients that send
//! `Accept: application/vnd.google.protobuf`. Field numbers are those of Loki's
//! `queryrange.proto`, `logproto.proto` and `stats.proto`.

use logql::metric::Series;
use model::{LabelSet, readable};
use prost::{Message, Oneof};
use proto::role::LogRow;

use super::{Answer, LabelStyle, group_rows};
use crate::metadata::Sum;
use crate::query::Answered;
use crate::stats::Report;
use crate::{Field, Pattern, VolumeSeries};

const SUCCESS: &str = "success";

#[derive(Clone, PartialEq, Message)]
struct QueryResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<Status>,
    #[prost(oneof = "Kind", tags = "2, 3, 4, 5, 6, 11, 12, 13")]
    response: Option<Kind>,
}

/// `google.rpc.Status`
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
}

#[derive(Clone, PartialEq, Oneof)]
enum Kind {
    #[prost(message, tag = "2")]
    Series(SeriesResponse),
    #[prost(message, tag = "3")]
    Labels(LabelNamesResponse),
    #[prost(message, tag = "4")]
    Stats(IndexStatsResponse),
    #[prost(message, tag = "5")]
    Prom(PromResponse),
    #[prost(message, tag = "6")]
    Streams(StreamsResponse),
    #[prost(message, tag = "11")]
    Fields(FieldsResponse),
    #[prost(message, tag = "12")]
    Patterns(PatternsResponse),
    #[prost(message, tag = "13")]
    DetectedLabels(DetectedLabelsResponse),
}

#[derive(Clone, PartialEq, Message)]
struct Pair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct SeriesResponse {
    #[prost(string, tag = "1")]
    status: String,
    #[prost(message, repeated, tag = "2")]
    data: Vec<SeriesIdentifier>,
    #[prost(uint32, tag = "3")]
    version: u32,
}

#[derive(Clone, PartialEq, Message)]
struct SeriesIdentifier {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Pair>,
}

#[derive(Clone, PartialEq, Message)]
struct LabelNamesResponse {
    #[prost(string, tag = "1")]
    status: String,
    #[prost(string, repeated, tag = "2")]
    data: Vec<String>,
    #[prost(uint32, tag = "3")]
    version: u32,
}

#[derive(Clone, PartialEq, Message)]
struct IndexStatsResponse {
    #[prost(message, optional, tag = "1")]
    response: Option<IndexStats>,
}

#[derive(Clone, PartialEq, Message)]
struct IndexStats {
    #[prost(uint64, tag = "1")]
    streams: u64,
    #[prost(uint64, tag = "2")]
    chunks: u64,
    #[prost(uint64, tag = "3")]
    bytes: u64,
    #[prost(uint64, tag = "4")]
    entries: u64,
}

#[derive(Clone, PartialEq, Message)]
struct PromResponse {
    #[prost(message, optional, tag = "1")]
    response: Option<PrometheusResponse>,
    #[prost(message, optional, tag = "2")]
    statistics: Option<Statistics>,
}

#[derive(Clone, PartialEq, Message)]
struct PrometheusResponse {
    #[prost(string, tag = "1")]
    status: String,
    #[prost(message, optional, tag = "2")]
    data: Option<PrometheusData>,
    #[prost(string, repeated, tag = "6")]
    warnings: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct PrometheusData {
    #[prost(string, tag = "1")]
    result_type: String,
    #[prost(message, repeated, tag = "2")]
    result: Vec<SampleStream>,
}

#[derive(Clone, PartialEq, Message)]
struct SampleStream {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Pair>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp_ms: i64,
}

#[derive(Clone, PartialEq, Message)]
struct StreamsResponse {
    #[prost(string, tag = "1")]
    status: String,
    #[prost(message, optional, tag = "2")]
    data: Option<StreamsData>,
    #[prost(uint32, tag = "7")]
    version: u32,
    #[prost(message, optional, tag = "8")]
    statistics: Option<Statistics>,
    #[prost(string, repeated, tag = "10")]
    warnings: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct StreamsData {
    #[prost(string, tag = "1")]
    result_type: String,
    #[prost(message, repeated, tag = "2")]
    result: Vec<Stream>,
}

#[derive(Clone, PartialEq, Message)]
struct Stream {
    #[prost(string, tag = "1")]
    labels: String,
    #[prost(message, repeated, tag = "2")]
    entries: Vec<Entry>,
    #[prost(uint64, tag = "3")]
    hash: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(message, optional, tag = "1")]
    timestamp: Option<Timestamp>,
    #[prost(string, tag = "2")]
    line: String,
    #[prost(message, repeated, tag = "3")]
    structured_metadata: Vec<Pair>,
    #[prost(message, repeated, tag = "4")]
    parsed: Vec<Pair>,
}

/// `google.protobuf.Timestamp`
#[derive(Clone, PartialEq, Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Statistics {
    #[prost(message, optional, tag = "1")]
    summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(int64, tag = "1")]
    bytes_processed_per_second: i64,
    #[prost(int64, tag = "2")]
    lines_processed_per_second: i64,
    #[prost(int64, tag = "3")]
    total_bytes_processed: i64,
    #[prost(int64, tag = "4")]
    total_lines_processed: i64,
    #[prost(double, tag = "5")]
    exec_time: f64,
    #[prost(double, tag = "6")]
    queue_time: f64,
}

#[derive(Clone, PartialEq, Message)]
struct FieldsResponse {
    #[prost(message, optional, tag = "1")]
    response: Option<Fields>,
}

#[derive(Clone, PartialEq, Message)]
struct Fields {
    #[prost(message, repeated, tag = "1")]
    fields: Vec<DetectedField>,
    #[prost(uint32, tag = "2")]
    limit: u32,
    #[prost(string, repeated, tag = "3")]
    values: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct DetectedField {
    #[prost(string, tag = "1")]
    label: String,
    #[prost(string, tag = "2")]
    kind: String,
    #[prost(uint64, tag = "3")]
    cardinality: u64,
    #[prost(string, repeated, tag = "4")]
    parsers: Vec<String>,
    #[prost(string, repeated, tag = "6")]
    json_path: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct PatternsResponse {
    #[prost(message, optional, tag = "1")]
    response: Option<Patterns>,
}

#[derive(Clone, PartialEq, Message)]
struct Patterns {
    #[prost(message, repeated, tag = "1")]
    series: Vec<PatternSeries>,
}

#[derive(Clone, PartialEq, Message)]
struct PatternSeries {
    #[prost(string, tag = "1")]
    pattern: String,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<PatternSample>,
    #[prost(string, tag = "3")]
    level: String,
}

#[derive(Clone, PartialEq, Message)]
struct PatternSample {
    #[prost(int64, tag = "1")]
    timestamp_ms: i64,
    #[prost(int64, tag = "2")]
    count: i64,
}

#[derive(Clone, PartialEq, Message)]
struct DetectedLabelsResponse {
    #[prost(message, optional, tag = "1")]
    response: Option<DetectedLabels>,
}

#[derive(Clone, PartialEq, Message)]
struct DetectedLabels {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<DetectedLabel>,
}

#[derive(Clone, PartialEq, Message)]
struct DetectedLabel {
    #[prost(string, tag = "1")]
    label: String,
    #[prost(uint64, tag = "2")]
    cardinality: u64,
}

fn encode(response: Kind) -> Vec<u8> {
    QueryResponse {
        status: Some(Status { code: 0 }),
        response: Some(response),
    }
    .encode_to_vec()
}

fn pairs(labels: &LabelSet) -> Vec<Pair> {
    let pair = |label: &model::Label| Pair {
        name: label.name.to_string(),
        value: label.value.to_string(),
    };
    labels.iter().map(pair).collect()
}

fn statistics(report: &Report) -> Option<Statistics> {
    let summary = &report.summary;
    Some(Statistics {
        summary: Some(Summary {
            bytes_processed_per_second: summary.bytes_processed_per_second as i64,
            lines_processed_per_second: summary.lines_processed_per_second as i64,
            total_bytes_processed: summary.total_bytes_processed as i64,
            total_lines_processed: summary.total_lines_processed as i64,
            exec_time: summary.exec_time,
            queue_time: summary.queue_time,
        }),
    })
}

/// Lines, series or a number.
pub(crate) fn query(answered: &Answered<Answer>, style: LabelStyle) -> Vec<u8> {
    match &answered.value {
        Answer::Streams(rows) => streams(rows, style, answered),
        Answer::Matrix(series) => samples("matrix", series.iter().map(sample_stream), answered),
        Answer::Vector(series) => samples("vector", series.iter().map(sample_stream), answered),
        Answer::Scalar {
            timestamp_ns,
            value,
        } => {
            let one = SampleStream {
                labels: Vec::new(),
                samples: vec![sample(*timestamp_ns, *value)],
            };
            samples("scalar", [one], answered)
        }
    }
}

fn streams<T>(rows: &[LogRow], style: LabelStyle, answered: &Answered<T>) -> Vec<u8> {
    let stream = |(labels, rows): (LabelSet, Vec<&LogRow>)| Stream {
        hash: labels.fingerprint(),
        labels: labels.to_string(),
        entries: rows.into_iter().map(entry).collect(),
    };
    encode(Kind::Streams(StreamsResponse {
        status: SUCCESS.to_owned(),
        data: Some(StreamsData {
            result_type: "streams".to_owned(),
            result: group_rows(rows, style).into_iter().map(stream).collect(),
        }),
        version: 1,
        statistics: statistics(&answered.report),
        warnings: answered.warnings.clone(),
    }))
}

/// Entries say where their labels are from, also where these are merged into those of the stream.
fn entry(row: &LogRow) -> Entry {
    Entry {
        timestamp: Some(Timestamp {
            seconds: row.timestamp_ns.div_euclid(1_000_000_000),
            nanos: row.timestamp_ns.rem_euclid(1_000_000_000) as i32,
        }),
        line: readable(&row.line).into_owned(),
        structured_metadata: pairs(&row.labels.metadata),
        parsed: pairs(&row.labels.parsed),
    }
}

fn sample(timestamp_ns: i64, value: f64) -> Sample {
    Sample {
        value,
        timestamp_ms: timestamp_ns.div_euclid(1_000_000),
    }
}

fn sample_stream(series: &Series) -> SampleStream {
    let points = series.points.iter();
    SampleStream {
        labels: pairs(&series.labels),
        samples: points
            .map(|(at_ns, value)| sample(*at_ns, *value))
            .collect(),
    }
}

fn samples<T>(
    kind: &str,
    result: impl IntoIterator<Item = SampleStream>,
    answered: &Answered<T>,
) -> Vec<u8> {
    encode(Kind::Prom(PromResponse {
        response: Some(PrometheusResponse {
            status: SUCCESS.to_owned(),
            data: Some(PrometheusData {
                result_type: kind.to_owned(),
                result: result.into_iter().collect(),
            }),
            warnings: answered.warnings.clone(),
        }),
        statistics: statistics(&answered.report),
    }))
}

/// Volumes, at one time or over time.
pub(crate) fn volumes(kind: &str, answered: &Answered<Vec<VolumeSeries>>) -> Vec<u8> {
    let stream = |series: &VolumeSeries| SampleStream {
        labels: series
            .labels
            .iter()
            .map(|(name, value)| Pair {
                name: name.clone(),
                value: value.clone(),
            })
            .collect(),
        samples: series
            .points
            .iter()
            .map(|(at_ns, bytes)| sample(*at_ns, *bytes as f64))
            .collect(),
    };
    samples(kind, answered.value.iter().map(stream), answered)
}

/// Names or values of labels.
pub(crate) fn labels(data: Vec<String>) -> Vec<u8> {
    encode(Kind::Labels(LabelNamesResponse {
        status: SUCCESS.to_owned(),
        data,
        version: 1,
    }))
}

/// Label sets of streams.
pub(crate) fn series(sets: &[LabelSet]) -> Vec<u8> {
    let identifier = |set| SeriesIdentifier { labels: pairs(set) };
    encode(Kind::Series(SeriesResponse {
        status: SUCCESS.to_owned(),
        data: sets.iter().map(identifier).collect(),
        version: 1,
    }))
}

/// How much a selector matches.
pub(crate) fn stats(sum: &Sum) -> Vec<u8> {
    encode(Kind::Stats(IndexStatsResponse {
        response: Some(IndexStats {
            streams: sum.streams,
            chunks: sum.chunks,
            bytes: sum.bytes,
            entries: sum.rows,
        }),
    }))
}

/// Fields found in lines.
pub(crate) fn fields(fields: &[Field], limit: usize) -> Vec<u8> {
    // Nothing is not limited.
    let limit = if fields.is_empty() { 0 } else { limit };
    let field = |field: &Field| DetectedField {
        label: field.name.clone(),
        kind: field.kind.as_str().to_owned(),
        cardinality: field.cardinality as u64,
        parsers: field.parsers.iter().map(ToString::to_string).collect(),
        json_path: field.json_path.clone(),
    };
    encode(Kind::Fields(FieldsResponse {
        response: Some(Fields {
            fields: fields.iter().map(field).collect(),
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
            values: Vec::new(),
        }),
    }))
}

/// Values of a field.
pub(crate) fn field_values(values: Vec<String>, limit: usize) -> Vec<u8> {
    encode(Kind::Fields(FieldsResponse {
        response: Some(Fields {
            fields: Vec::new(),
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
            values,
        }),
    }))
}

/// Patterns of lines.
pub(crate) fn patterns(patterns: &[Pattern]) -> Vec<u8> {
    let series = |pattern: &Pattern| PatternSeries {
        pattern: pattern.text.clone(),
        level: pattern.level.clone(),
        samples: pattern
            .samples
            .iter()
            .map(|(at_s, count)| PatternSample {
                timestamp_ms: at_s.saturating_mul(1000),
                count: *count as i64,
            })
            .collect(),
    };
    encode(Kind::Patterns(PatternsResponse {
        response: Some(Patterns {
            series: patterns.iter().map(series).collect(),
        }),
    }))
}

/// Names of labels, and how many values each has.
pub(crate) fn detected_labels<'a>(
    labels: impl IntoIterator<Item = (&'a String, &'a usize)>,
) -> Vec<u8> {
    let label = |(label, cardinality): (&String, &usize)| DetectedLabel {
        label: label.clone(),
        cardinality: *cardinality as u64,
    };
    encode(Kind::DetectedLabels(DetectedLabelsResponse {
        response: Some(DetectedLabels {
            labels: labels.into_iter().map(label).collect(),
        }),
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use model::RowLabels;

    use super::*;

    #[test]
    fn lines_are_read_back_with_the_numbers_of_lokis_fields() {
        let labels = Arc::new(RowLabels {
            stream: LabelSet::from_pairs([("app", "web")]),
            metadata: LabelSet::from_pairs([("trace", "t1")]),
            parsed: LabelSet::default(),
        });
        let row = LogRow {
            timestamp_ns: 1_500_000_000,
            line: Bytes::from_static(b"a\xff"),
            labels,
            row_hash: 0,
        };
        let answered = Answered::new(Answer::Streams(vec![row]), Report::default(), Vec::new());
        for (style, labels) in [
            (LabelStyle::Categorized, r#"{app="web"}"#),
            (LabelStyle::Merged, r#"{app="web", trace="t1"}"#),
        ] {
            let bytes = query(&answered, style);
            let response = QueryResponse::decode(bytes.as_slice()).unwrap();
            let Some(Kind::Streams(streams)) = response.response else {
                panic!("not streams: {response:?}");
            };
            let stream = &streams.data.unwrap().result[0];
            assert_eq!(stream.labels, labels);
            let entry = &stream.entries[0];
            assert_eq!(entry.line, "a\u{fffd}");
            assert_eq!(entry.structured_metadata[0].name, "trace");
            let time = entry.timestamp.as_ref().unwrap();
            assert_eq!((time.seconds, time.nanos), (1, 500_000_000));
            // Field 6 of the response, field 2 of the streams: what Loki's clients look for.
            assert_eq!(&bytes[..3], &[0x0a, 0x00, 0x32]);
        }
    }

    #[test]
    fn a_number_is_a_series_without_labels() {
        let value = Answer::Scalar {
            timestamp_ns: 4_000_000_000,
            value: 2.0,
        };
        let answered = Answered::new(value, Report::default(), Vec::new());
        let bytes = query(&answered, LabelStyle::Merged);
        let response = QueryResponse::decode(bytes.as_slice()).unwrap();
        let Some(Kind::Prom(prom)) = response.response else {
            panic!("not samples: {response:?}");
        };
        let data = prom.response.unwrap().data.unwrap();
        assert_eq!(data.result_type, "scalar");
        assert_eq!(data.result[0].samples[0].timestamp_ms, 4000);
    }
}
