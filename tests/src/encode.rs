//! Bodies of pushes in the encodings that clients use.

use std::io::Write;

use prost::Message;
use proto::logproto::{EntryAdapter, LabelPairAdapter, PushRequest, StreamAdapter, Timestamp};

use crate::api::Line;
use crate::lines::SECOND_NS;

/// A push of Loki's protobuf, not compressed.
#[must_use]
pub fn protobuf(labels: &str, lines: &[Line], metadata: &[(&str, &str)]) -> Vec<u8> {
    let metadata: Vec<_> = metadata
        .iter()
        .map(|(name, value)| LabelPairAdapter {
            name: (*name).to_owned(),
            value: (*value).to_owned(),
        })
        .collect();
    let entry = |line: &Line| EntryAdapter {
        timestamp: Some(Timestamp {
            seconds: line.timestamp_ns.div_euclid(SECOND_NS),
            nanos: i32::try_from(line.timestamp_ns.rem_euclid(SECOND_NS)).unwrap_or_default(),
        }),
        line: line.text.clone().into(),
        structured_metadata: metadata.clone(),
        parsed: Vec::new(),
    };
    let stream = StreamAdapter {
        labels: labels.to_owned(),
        entries: lines.iter().map(entry).collect(),
        hash: 0,
    };
    let request = PushRequest {
        streams: vec![stream],
        format: String::new(),
    };
    request.encode_to_vec()
}

/// A block of snappy, as protobuf pushes are.
///
/// # Errors
/// If there is too much.
pub fn snappy(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    Ok(snap::raw::Encoder::new().compress_vec(bytes)?)
}

/// gzip.
///
/// # Errors
/// None that memory can have.
pub fn gzip(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

/// deflate without a header, as Go's `flate` has it.
///
/// # Errors
/// None that memory can have.
pub fn deflate(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

/// zstd.
///
/// # Errors
/// None that memory can have.
pub fn zstd(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    Ok(zstd::encode_all(bytes, 1)?)
}

/// The protobuf of an OTLP request that is given as JSON.
///
/// # Errors
/// If it is none.
pub fn otlp(json: &serde_json::Value) -> anyhow::Result<Vec<u8>> {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    let request: ExportLogsServiceRequest = serde_json::from_value(json.clone())?;
    Ok(request.encode_to_vec())
}
