//! The parts of the API's answers that are printed.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// Labels in name order.
pub(crate) type Labels = BTreeMap<String, String>;

/// `query` and `query_range`.
#[derive(Debug, Deserialize)]
pub(crate) struct QueryAnswer {
    pub(crate) data: QueryData,
}

/// What a query gave.
#[derive(Debug, Deserialize)]
pub(crate) struct QueryData {
    #[serde(flatten)]
    pub(crate) result: QueryResult,
    #[serde(default)]
    pub(crate) stats: Value,
}

/// By type.
#[derive(Debug, Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
pub(crate) enum QueryResult {
    Streams(Vec<Stream>),
    Matrix(Vec<Value>),
    Vector(Vec<Value>),
    Scalar(Value),
}

/// Lines of one stream.
#[derive(Debug, Deserialize)]
pub(crate) struct Stream {
    pub(crate) stream: Labels,
    pub(crate) values: Vec<Row>,
}

/// `["ns", "line"]`; a third element is passed over.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) timestamp_ns: i64,
    pub(crate) line: String,
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Row;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of time and line")
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Row, A::Error> {
                let missing = || serde::de::Error::custom("a line has no time or no text");
                let time: String = seq.next_element()?.ok_or_else(missing)?;
                let line = seq.next_element()?.ok_or_else(missing)?;
                while seq.next_element::<serde::de::IgnoredAny>()?.is_some() {}
                let timestamp_ns = time.parse().map_err(serde::de::Error::custom)?;
                Ok(Row { timestamp_ns, line })
            }
        }
        deserializer.deserialize_seq(Visitor)
    }
}

/// `labels` and `label/…/values`.
#[derive(Debug, Deserialize)]
pub(crate) struct ListAnswer {
    #[serde(default)]
    pub(crate) data: Option<Vec<String>>,
}

/// `series`.
#[derive(Debug, Deserialize)]
pub(crate) struct SeriesAnswer {
    #[serde(default)]
    pub(crate) data: Option<Vec<Labels>>,
}

/// `index/stats`.
#[derive(Debug, Deserialize)]
#[serde(default)]
#[derive(Default)]
pub(crate) struct StatsAnswer {
    pub(crate) streams: u64,
    pub(crate) chunks: u64,
    pub(crate) bytes: u64,
    pub(crate) entries: u64,
}

/// `detected_fields` and `detected_field/…/values`.
#[derive(Debug, Deserialize)]
pub(crate) struct FieldsAnswer {
    #[serde(default)]
    pub(crate) fields: Option<Vec<Field>>,
    #[serde(default)]
    pub(crate) values: Option<Vec<String>>,
}

/// A field of lines.
#[derive(Debug, Deserialize)]
pub(crate) struct Field {
    pub(crate) label: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) cardinality: u64,
}

/// One of `delete`; times in Unix seconds.
#[derive(Debug, Deserialize)]
pub(crate) struct DeleteRequest {
    #[serde(default)]
    pub(crate) request_id: String,
    pub(crate) query: String,
    pub(crate) start_time: f64,
    pub(crate) end_time: f64,
    pub(crate) status: String,
}

/// A frame of a tail.
#[derive(Debug, Deserialize)]
pub(crate) struct TailFrame {
    #[serde(default)]
    pub(crate) streams: Option<Vec<Stream>>,
    #[serde(default)]
    pub(crate) dropped_entries: Option<Vec<Value>>,
}

/// `{a="x", b="y"}`
pub(crate) fn print_labels(labels: &Labels) -> String {
    let pairs: Vec<String> = labels
        .iter()
        .map(|(name, value)| format!("{name}={}", model::units::quote(value)))
        .collect();
    format!("{{{}}}", pairs.join(", "))
}
