//! Answers as Loki's JSON.

mod pieces;
pub(crate) mod protobuf;

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use logql::metric::Series;
use model::{LabelSet, RowLabels, readable};
use proto::role::LogRow;

use crate::stats::Report;
pub(crate) use pieces::Pieces;

/// What a query gives.
#[derive(Debug)]
pub enum Answer {
    /// Lines, in the order in which they are to be shown.
    Streams(Vec<LogRow>),
    /// Series over time.
    Matrix(Vec<Series>),
    /// Series at one time, in the order in which they are to be shown.
    Vector(Vec<Series>),
    /// One number at one time.
    Scalar {
        /// When.
        timestamp_ns: i64,
        /// The number.
        value: f64,
    },
}

impl Answer {
    /// Lines or points in it.
    #[must_use]
    pub fn entries(&self) -> usize {
        match self {
            Self::Streams(rows) => rows.len(),
            Self::Matrix(series) | Self::Vector(series) => {
                series.iter().map(|series| series.points.len()).sum()
            }
            Self::Scalar { .. } => 1,
        }
    }
}

/// Whether labels are shown by where they come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelStyle {
    /// All together in `stream`.
    Merged,
    /// `X-Loki-Response-Encoding-Flags: categorize-labels`.
    Categorized,
}

/// How a client wants its answer, by `X-Loki-Response-Encoding-Flags`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Encoding {
    /// How labels are shown.
    pub(crate) style: LabelStyle,
    /// The flags as sent; lines come with them.
    pub(crate) flags: Vec<String>,
}

/// `"encodingFlags":[…]`
pub(crate) fn write_flags(out: &mut String, encoding: &Encoding) {
    out.push_str("\"encodingFlags\":");
    write_list(out, &encoding.flags, |out, flag| write_text(out, flag));
}

/// `,"stats":{…}`
pub(crate) fn write_report(out: &mut String, report: &Report) {
    // Numbers and names only: nothing in it cannot be written.
    let report = serde_json::to_string(report).unwrap_or_else(|_| "{}".to_owned());
    out.push_str(",\"stats\":");
    out.push_str(&report);
}

/// `,"warnings":[…]`, if there are any.
pub(crate) fn write_warnings(out: &mut String, warnings: &[String]) {
    if !warnings.is_empty() {
        out.push_str(",\"warnings\":");
        write_list(out, warnings, |out, warning| write_text(out, warning));
    }
}

/// `["ns","line"]`, with what is known of the labels as third where asked for.
pub(crate) fn write_row(out: &mut String, row: &LogRow, style: LabelStyle) {
    let _ = write!(out, "[\"{}\",", row.timestamp_ns);
    write_bytes(out, &row.line);
    if style == LabelStyle::Categorized {
        write_categories(out, &row.labels);
    }
    out.push(']');
}

fn write_categories(out: &mut String, labels: &RowLabels) {
    out.push_str(",{");
    let mut separator = "";
    let parts = [
        ("structuredMetadata", &labels.metadata),
        ("parsed", &labels.parsed),
    ];
    for (name, set) in parts.into_iter().filter(|(_, set)| !set.is_empty()) {
        let _ = write!(out, "{separator}\"{name}\":");
        write_labels(out, set);
        separator = ",";
    }
    out.push('}');
}

/// Rows by the labels that identify their stream in the answer.
#[must_use]
pub(crate) fn group_rows(rows: &[LogRow], style: LabelStyle) -> Vec<(LabelSet, Vec<&LogRow>)> {
    let mut streams: Vec<(LabelSet, Vec<&LogRow>)> = Vec::new();
    let mut places = std::collections::HashMap::<LabelSet, usize>::new();
    let mut newest: Option<(&Arc<RowLabels>, usize)> = None;
    for row in rows {
        let place = match newest {
            Some((labels, place)) if Arc::ptr_eq(labels, &row.labels) => place,
            _ => {
                let labels = match style {
                    LabelStyle::Merged => row.labels.merged(),
                    LabelStyle::Categorized => row.labels.stream.clone(),
                };
                *places.entry(labels).or_insert_with_key(|labels| {
                    streams.push((labels.clone(), Vec::new()));
                    streams.len() - 1
                })
            }
        };
        newest = Some((&row.labels, place));
        if let Some((_, rows)) = streams.get_mut(place) {
            rows.push(row);
        }
    }
    streams
}

/// `[` items `]`
pub(crate) fn write_list<T>(out: &mut String, items: &[T], mut write: impl FnMut(&mut String, &T)) {
    out.push('[');
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        write(out, item);
    }
    out.push(']');
}

/// `{"name":"value",…}`
pub(crate) fn write_labels(out: &mut String, labels: &LabelSet) {
    out.push('{');
    for (i, label) in labels.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        write_text(out, &label.name);
        out.push(':');
        write_text(out, &label.value);
    }
    out.push('}');
}

/// `[seconds,"value"]`
pub(crate) fn write_point(out: &mut String, timestamp_ns: i64, value: f64) {
    let (seconds, ms) = (
        timestamp_ns.div_euclid(1_000_000_000),
        timestamp_ns.rem_euclid(1_000_000_000) / 1_000_000,
    );
    out.push('[');
    out.push_str(itoa::Buffer::new().format(seconds));
    if ms != 0 {
        let fraction = format!("{ms:03}");
        let _ = write!(out, ".{}", fraction.trim_end_matches('0'));
    }
    out.push_str(",\"");
    write_number(out, value);
    out.push_str("\"]");
}

/// A number as Go prints it with format `f` and the shortest exact precision.
pub(crate) fn write_number(out: &mut String, value: f64) {
    if value.is_nan() {
        out.push_str("NaN");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else {
        let mut shortest = zmij::Buffer::new();
        let shortest = shortest.format_finite(value);
        if shortest.contains('e') {
            let _ = write!(out, "{value}");
        } else {
            out.push_str(shortest.strip_suffix(".0").unwrap_or(shortest));
        }
    }
}

/// A line as a JSON string; each byte that is no UTF-8 becomes U+FFFD.
fn write_bytes(out: &mut String, line: &Bytes) {
    write_text(out, &readable(line));
}

/// A JSON string. Runs without anything to escape are copied whole.
pub(crate) fn write_text(out: &mut String, text: &str) {
    out.push('"');
    let mut clean_from = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(text.get(clean_from..at).unwrap_or_default());
        clean_from = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            _ => {
                let _ = write!(out, "\\u{byte:04x}");
            }
        }
    }
    out.push_str(text.get(clean_from..).unwrap_or_default());
    out.push('"');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::query::Answered;

    fn row(timestamp_ns: i64, line: &'static [u8], labels: &Arc<RowLabels>) -> LogRow {
        LogRow {
            timestamp_ns,
            line: Bytes::from_static(line),
            labels: Arc::clone(labels),
            row_hash: 0,
        }
    }

    fn pieces(answer: Answer, style: LabelStyle) -> Vec<Bytes> {
        let flags = match style {
            LabelStyle::Merged => Vec::new(),
            LabelStyle::Categorized => vec!["categorize-labels".to_owned()],
        };
        let answered = Answered::new(answer, Report::default(), Vec::new());
        Pieces::new(answered, Encoding { style, flags }).collect()
    }

    fn body(answer: Answer, style: LabelStyle) -> serde_json::Value {
        serde_json::from_slice(&pieces(answer, style).concat()).unwrap()
    }

    #[test]
    fn every_kind_of_answer_is_whole_json() {
        let series = |value: &'static str, points: &[(i64, f64)]| Series {
            labels: LabelSet::from_pairs([("a", value)]),
            points: points.to_vec(),
        };
        let (first, second) = (
            series("x", &[(1_000_000_000, 1.0), (2_000_000_000, 2.0)]),
            series("y", &[(1_000_000_000, 3.0)]),
        );
        let (one, two, three) = (json!([1, "1"]), json!([2, "2"]), json!([1, "3"]));
        let (x, y) = (json!({"a": "x"}), json!({"a": "y"}));
        let scalar = Answer::Scalar {
            timestamp_ns: 1_000_000_000,
            value: 1.0,
        };
        for (answer, kind, result) in [
            (Answer::Streams(Vec::new()), "streams", json!([])),
            (Answer::Matrix(Vec::new()), "matrix", json!([])),
            (
                Answer::Matrix(vec![first.clone(), second.clone()]),
                "matrix",
                json!([{"metric": x, "values": [one, two]}, {"metric": y, "values": [three]}]),
            ),
            (
                Answer::Vector(vec![first, second]),
                "vector",
                json!([{"metric": x, "value": one}, {"metric": y, "value": three}]),
            ),
            (scalar, "scalar", one.clone()),
        ] {
            let body = body(answer, LabelStyle::Merged);
            assert_eq!(body["status"], "success");
            assert_eq!(body["data"]["resultType"], kind);
            assert_eq!(body["data"]["result"], result);
            assert!(body["data"]["stats"]["summary"].is_object());
        }
    }

    #[test]
    fn a_large_answer_comes_in_pieces() {
        let labels = Arc::new(RowLabels::default());
        let line: &'static [u8] = &[b'x'; 1000];
        let rows = (0..1000).map(|at| row(at, line, &labels)).collect();
        let pieces = pieces(Answer::Streams(rows), LabelStyle::Merged);
        assert!(pieces.len() > 10);
        assert!(pieces.iter().all(|piece| piece.len() < 70_000));
        let body: serde_json::Value = serde_json::from_slice(&pieces.concat()).unwrap();
        assert_eq!(
            body["data"]["result"][0]["values"]
                .as_array()
                .unwrap()
                .len(),
            1000
        );
    }

    #[test]
    fn streams_are_grouped_by_all_labels_or_by_stream_labels() {
        let labels = |level: &'static str| {
            Arc::new(RowLabels {
                stream: LabelSet::from_pairs([("app", "web")]),
                metadata: LabelSet::from_pairs([("detected_level", level)]),
                parsed: LabelSet::default(),
            })
        };
        let (info, warn) = (labels("info"), labels("warn"));
        let rows = vec![
            row(3, b"a\"b", &info),
            row(2, b"\xe6\x97", &warn),
            row(1, b"c\n", &info),
        ];
        let merged = body(Answer::Streams(rows.clone()), LabelStyle::Merged);
        assert_eq!(merged["data"]["result"].as_array().unwrap().len(), 2);
        assert_eq!(
            merged["data"]["result"][0]["values"][1],
            serde_json::json!(["1", "c\n"])
        );
        let apart = body(Answer::Streams(rows), LabelStyle::Categorized);
        assert_eq!(apart["data"]["encodingFlags"][0], "categorize-labels");
        let streams = apart["data"]["result"].as_array().unwrap();
        assert_eq!(streams.len(), 1);
        assert_eq!(streams[0]["values"][1][1], "\u{fffd}\u{fffd}");
        assert_eq!(
            streams[0]["values"][1][2]["structuredMetadata"]["detected_level"],
            "warn"
        );
    }

    #[test]
    fn numbers_and_times_print_as_gos() {
        let mut out = String::new();
        for value in [
            1_442_722_652_326_825.0 + 0.25,
            1e21,
            0.1,
            f64::NAN,
            f64::INFINITY,
            -0.5,
            3.0,
        ] {
            write_number(&mut out, value);
            out.push(' ');
        }
        assert_eq!(
            out,
            "1442722652326825.2 1000000000000000000000 0.1 NaN +Inf -0.5 3 "
        );
        let mut out = String::new();
        write_point(&mut out, 1_500_000_000, 2.0);
        write_point(&mut out, 60_000_000_000, 2.0);
        assert_eq!(out, "[1.5,\"2\"][60,\"2\"]");
    }

    proptest::proptest! {
        #[test]
        fn numbers_have_no_exponent_and_no_digit_too_many(bits: u64, whole in -1_000_000..1_000_000i32) {
            for value in [f64::from_bits(bits), f64::from(whole), f64::from(whole) / 60.0] {
                if value.is_finite() {
                    let mut out = String::new();
                    write_number(&mut out, value);
                    // Of two texts that are as near, Go takes the one with the even last digit.
                    let other = format!("{value}");
                    proptest::prop_assert_eq!(out.len(), other.len(), "{} {}", out, other);
                    proptest::prop_assert_eq!(out.parse(), Ok(value));
                    proptest::prop_assert!(!out.contains('e'));
                }
            }
        }
    }
}
