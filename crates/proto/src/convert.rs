//! Between wire types and model types. To the wire never fails; from the wire everything is checked.

mod patterns;
mod samples;
mod series;

use std::sync::Arc;

use bytes::Bytes;
use model::{
    Code, CodedError, Direction, Entries, Label, LabelSet, RowLabels, Shard, StreamBatch, TenantId,
    TimeRange,
};

use crate::role::{
    Coverage, Deletion, LogRow, LogRows, LostRows, Refusal, RefusalReason, SelectLogs, TailBatch,
    TailRequest,
};
use crate::skald as wire;

pub(crate) use patterns::{
    select_patterns_from_wire, select_patterns_to_wire, stream_patterns_from_wire,
    stream_patterns_to_wire,
};
pub(crate) use samples::{
    sample_rows_from_wire, sample_rows_to_wire, select_samples_from_wire, select_samples_to_wire,
};
pub(crate) use series::{
    select_series_from_wire, select_series_to_wire, series_stats_from_wire, series_stats_to_wire,
};

fn malformed(what: &str) -> CodedError {
    CodedError::new(Code::InvalidArgument, format!("malformed message: {what}"))
}

/// A gRPC status of the same kind and text.
#[must_use]
pub fn to_status(error: &CodedError) -> tonic::Status {
    tonic::Status::new(
        tonic::Code::from_i32(error.code.grpc_status()),
        error.message.clone(),
    )
}

/// The error behind a gRPC status.
#[must_use]
pub fn from_status(status: &tonic::Status) -> CodedError {
    CodedError::new(
        Code::from_grpc_status(status.code() as i32),
        status.message(),
    )
}

pub(crate) fn tenant_from_wire(id: &str) -> Result<TenantId, CodedError> {
    TenantId::new(id).map_err(|error| CodedError::new(Code::InvalidArgument, error.to_string()))
}

pub(crate) fn labels_to_wire(labels: &LabelSet) -> wire::LabelSet {
    let label = |label: &Label| wire::Label {
        name: label.name.to_string(),
        value: label.value.to_string(),
    };
    wire::LabelSet {
        labels: labels.iter().map(label).collect(),
    }
}

pub(crate) fn labels_from_wire(labels: wire::LabelSet) -> LabelSet {
    LabelSet::from_pairs(
        labels
            .labels
            .into_iter()
            .map(|label| (label.name, label.value)),
    )
}

fn option_labels_from_wire(labels: Option<wire::LabelSet>) -> LabelSet {
    labels.map(labels_from_wire).unwrap_or_default()
}

/// Labels that stages made, which may be empty.
fn parsed_from_wire(labels: Option<wire::LabelSet>) -> LabelSet {
    let labels = labels.into_iter().flat_map(|labels| labels.labels);
    LabelSet::keeping_empty(labels.map(|label| Label {
        name: label.name.into(),
        value: label.value.into(),
    }))
}

pub(crate) fn range_to_wire(range: TimeRange) -> wire::TimeRange {
    wire::TimeRange {
        start_ns: range.start_ns,
        end_ns: range.end_ns,
    }
}

pub(crate) fn range_from_wire(range: Option<wire::TimeRange>) -> Result<TimeRange, CodedError> {
    let range = range.ok_or_else(|| malformed("no time range"))?;
    Ok(TimeRange::new(range.start_ns, range.end_ns))
}

fn entries_to_wire(entries: &Entries) -> wire::Entries {
    wire::Entries {
        timestamps_ns: entries.timestamps_ns().to_vec(),
        line_ends: entries.line_ends().to_vec(),
        lines: entries.lines().to_vec(),
        metadata_ids: entries.metadata_ids().to_vec(),
        metadata_sets: entries
            .metadata_sets()
            .iter()
            .skip(1)
            .map(labels_to_wire)
            .collect(),
    }
}

fn entries_from_wire(entries: wire::Entries) -> Result<Entries, CodedError> {
    let sets = std::iter::once(LabelSet::default())
        .chain(entries.metadata_sets.into_iter().map(labels_from_wire))
        .collect();
    Entries::from_columns(
        entries.timestamps_ns,
        entries.line_ends,
        entries.lines,
        entries.metadata_ids,
        sets,
    )
    .ok_or_else(|| malformed("columns of entries disagree"))
}

pub(crate) fn batch_to_wire(batch: &StreamBatch) -> wire::StreamBatch {
    wire::StreamBatch {
        labels: Some(labels_to_wire(&batch.labels)),
        entries: Some(entries_to_wire(&batch.entries)),
    }
}

pub(crate) fn batch_from_wire(batch: wire::StreamBatch) -> Result<StreamBatch, CodedError> {
    Ok(StreamBatch {
        labels: option_labels_from_wire(batch.labels),
        entries: entries_from_wire(batch.entries.ok_or_else(|| malformed("no entries"))?)?,
    })
}

pub(crate) fn refusal_to_wire(refusal: &Refusal) -> wire::Refusal {
    let (reason, newest_ns, limit) = match refusal.reason {
        RefusalReason::OutOfOrder { newest_ns } => (wire::RefusalReason::OutOfOrder, newest_ns, 0),
        RefusalReason::TooFarBehind { newest_ns } => {
            (wire::RefusalReason::TooFarBehind, newest_ns, 0)
        }
        RefusalReason::StreamLimit { limit } => (wire::RefusalReason::StreamLimit, 0, limit),
        RefusalReason::StreamMemory => (wire::RefusalReason::StreamMemory, 0, 0),
        RefusalReason::StreamRateLimit { limit } => {
            (wire::RefusalReason::StreamRateLimit, 0, limit)
        }
    };
    wire::Refusal {
        stream: refusal.stream,
        row: refusal.row,
        reason: reason.into(),
        newest_ns,
        limit,
    }
}

pub(crate) fn refusal_from_wire(refusal: &wire::Refusal) -> Result<Refusal, CodedError> {
    let (newest_ns, limit) = (refusal.newest_ns, refusal.limit);
    let reason = match refusal.reason() {
        wire::RefusalReason::OutOfOrder => RefusalReason::OutOfOrder { newest_ns },
        wire::RefusalReason::TooFarBehind => RefusalReason::TooFarBehind { newest_ns },
        wire::RefusalReason::StreamLimit => RefusalReason::StreamLimit { limit },
        wire::RefusalReason::StreamMemory => RefusalReason::StreamMemory,
        wire::RefusalReason::StreamRateLimit => RefusalReason::StreamRateLimit { limit },
        wire::RefusalReason::Unspecified => return Err(malformed("no reason of a refusal")),
    };
    Ok(Refusal {
        stream: refusal.stream,
        row: refusal.row,
        reason,
    })
}

pub(crate) fn coverage_to_wire(coverage: &Coverage) -> wire::Coverage {
    let committed = |(day, sequence): &(i64, u64)| wire::Committed {
        day: *day,
        sequence: *sequence,
    };
    let lost = |lost: &LostRows| wire::LostRows {
        segment: lost.segment,
        rows: lost.rows,
        records: lost.records,
    };
    wire::Coverage {
        holding: coverage
            .holding
            .iter()
            .map(|id| format!("{id:032x}"))
            .collect(),
        committed: coverage.committed.iter().map(committed).collect(),
        ingester: coverage.ingester.clone(),
        lost: coverage.lost.iter().map(lost).collect(),
    }
}

pub(crate) fn coverage_from_wire(coverage: wire::Coverage) -> Result<Coverage, CodedError> {
    let id = |text: &String| {
        u128::from_str_radix(text, 16).map_err(|_| malformed("an object id is no number"))
    };
    let lost = |lost: &wire::LostRows| LostRows {
        segment: lost.segment,
        rows: lost.rows,
        records: lost.records,
    };
    Ok(Coverage {
        holding: coverage.holding.iter().map(id).collect::<Result<_, _>>()?,
        committed: coverage
            .committed
            .iter()
            .map(|c| (c.day, c.sequence))
            .collect(),
        ingester: coverage.ingester,
        lost: coverage.lost.iter().map(lost).collect(),
    })
}

pub(crate) fn log_rows_to_wire(rows: &LogRows) -> wire::LogRows {
    let mut message = wire::LogRows {
        stream_fingerprint: rows.stream_fingerprint,
        ..Default::default()
    };
    let mut lines = Vec::with_capacity(rows.rows.iter().map(|row| row.line.len()).sum());
    let mut newest: Option<&Arc<RowLabels>> = None;
    for row in &rows.rows {
        if !newest.is_some_and(|labels| Arc::ptr_eq(labels, &row.labels) || **labels == *row.labels)
        {
            message.label_sets.push(wire::RowLabels {
                stream: Some(labels_to_wire(&row.labels.stream)),
                metadata: Some(labels_to_wire(&row.labels.metadata)),
                parsed: Some(labels_to_wire(&row.labels.parsed)),
            });
            newest = Some(&row.labels);
        }
        message
            .label_ids
            .push((message.label_sets.len() - 1) as u32);
        message.timestamps_ns.push(row.timestamp_ns);
        lines.extend_from_slice(&row.line);
        message.line_ends.push(lines.len() as u32);
        message.row_hashes.push(row.row_hash);
    }
    message.lines = Bytes::from(lines);
    message
}

pub(crate) fn log_rows_from_wire(message: wire::LogRows) -> Result<LogRows, CodedError> {
    let count = message.timestamps_ns.len();
    let columns = [
        message.label_ids.len(),
        message.line_ends.len(),
        message.row_hashes.len(),
    ];
    if columns.iter().any(|len| *len != count) {
        return Err(malformed("columns of log rows disagree"));
    }
    let label_sets: Vec<Arc<RowLabels>> = message
        .label_sets
        .into_iter()
        .map(|labels| {
            Arc::new(RowLabels {
                stream: option_labels_from_wire(labels.stream),
                metadata: option_labels_from_wire(labels.metadata),
                parsed: parsed_from_wire(labels.parsed),
            })
        })
        .collect();
    let mut rows = Vec::with_capacity(count);
    let mut start = 0;
    let columns = message
        .label_ids
        .iter()
        .zip(&message.line_ends)
        .zip(&message.row_hashes);
    for (timestamp_ns, ((label_id, end), row_hash)) in message.timestamps_ns.iter().zip(columns) {
        let end = *end as usize;
        if start > end || end > message.lines.len() {
            return Err(malformed("a line ends outside the message"));
        }
        let labels = label_sets.get(*label_id as usize);
        rows.push(LogRow {
            timestamp_ns: *timestamp_ns,
            line: message.lines.slice(start..end),
            labels: Arc::clone(labels.ok_or_else(|| malformed("a row without labels"))?),
            row_hash: *row_hash,
        });
        start = end;
    }
    Ok(LogRows {
        stream_fingerprint: message.stream_fingerprint,
        rows,
    })
}

fn deletions_to_wire(deletions: &[Deletion]) -> Vec<wire::Deletion> {
    let to_wire = |deletion: &Deletion| wire::Deletion {
        query: deletion.query.clone(),
        range: Some(range_to_wire(deletion.range)),
        created_ns: deletion.created_ns,
    };
    deletions.iter().map(to_wire).collect()
}

fn deletions_from_wire(deletions: Vec<wire::Deletion>) -> Result<Vec<Deletion>, CodedError> {
    let from_wire = |deletion: wire::Deletion| {
        Ok(Deletion {
            query: deletion.query,
            range: range_from_wire(deletion.range)?,
            created_ns: deletion.created_ns,
        })
    };
    deletions.into_iter().map(from_wire).collect()
}

fn shard_to_wire(shard: Shard) -> wire::Shard {
    wire::Shard {
        min: shard.min,
        max: shard.max,
    }
}

fn shard_from_wire(shard: Option<wire::Shard>) -> Shard {
    shard.map_or(Shard::ALL, |wire::Shard { min, max }| Shard { min, max })
}

pub(crate) fn select_logs_to_wire(request: &SelectLogs) -> wire::SelectLogsRequest {
    wire::SelectLogsRequest {
        tenant: request.tenant.to_string(),
        query: request.query.clone(),
        range: Some(range_to_wire(request.range)),
        limit: request.limit,
        forward: request.direction == Direction::Forward,
        deletions: deletions_to_wire(&request.deletions),
        shard: Some(shard_to_wire(request.shard)),
    }
}

pub(crate) fn select_logs_from_wire(
    request: wire::SelectLogsRequest,
) -> Result<SelectLogs, CodedError> {
    Ok(SelectLogs {
        tenant: tenant_from_wire(&request.tenant)?,
        query: request.query,
        range: range_from_wire(request.range)?,
        limit: request.limit,
        direction: if request.forward {
            Direction::Forward
        } else {
            Direction::Backward
        },
        deletions: deletions_from_wire(request.deletions)?,
        shard: shard_from_wire(request.shard),
    })
}

pub(crate) fn tail_request_to_wire(request: &TailRequest) -> wire::TailRequest {
    wire::TailRequest {
        tenant: request.tenant.to_string(),
        query: request.query.clone(),
        start_ns: request.start_ns,
        deletions: deletions_to_wire(&request.deletions),
    }
}

pub(crate) fn tail_request_from_wire(
    request: wire::TailRequest,
) -> Result<TailRequest, CodedError> {
    Ok(TailRequest {
        tenant: tenant_from_wire(&request.tenant)?,
        query: request.query,
        start_ns: request.start_ns,
        deletions: deletions_from_wire(request.deletions)?,
    })
}

pub(crate) fn tail_batch_to_wire(batch: &TailBatch) -> wire::TailResponse {
    wire::TailResponse {
        streams: batch.streams.iter().map(log_rows_to_wire).collect(),
        dropped: batch.dropped,
    }
}

pub(crate) fn tail_batch_from_wire(message: wire::TailResponse) -> Result<TailBatch, CodedError> {
    Ok(TailBatch {
        streams: message
            .streams
            .into_iter()
            .map(log_rows_from_wire)
            .collect::<Result<_, _>>()?,
        dropped: message.dropped,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_survives_the_wire() {
        let mut entries = Entries::default();
        let trace = LabelSet::from_pairs([("trace_id", "7")]);
        assert!(entries.push(5, b"one", &trace) && entries.push(6, b"\xff\x00", &trace));
        let batch = StreamBatch {
            labels: LabelSet::from_pairs([("app", "web")]),
            entries,
        };
        assert_eq!(batch_from_wire(batch_to_wire(&batch)).unwrap(), batch);
    }

    #[test]
    fn log_rows_survive_the_wire() {
        let labels = |level: &'static str| {
            Arc::new(RowLabels {
                stream: LabelSet::from_pairs([("app", "web")]),
                metadata: LabelSet::default(),
                parsed: LabelSet::keeping_empty([("level", level), ("none", "")].map(
                    |(name, value)| Label {
                        name: name.into(),
                        value: value.into(),
                    },
                )),
            })
        };
        let row = |timestamp_ns, line: &'static str, level| LogRow {
            timestamp_ns,
            line: Bytes::from_static(line.as_bytes()),
            labels: labels(level),
            row_hash: 9,
        };
        let rows = LogRows {
            stream_fingerprint: 1,
            rows: vec![
                row(3, "c", "info"),
                row(2, "", "info"),
                row(1, "aa", "warn"),
            ],
        };
        let message = log_rows_to_wire(&rows);
        assert_eq!(message.label_sets.len(), 2);
        assert_eq!(log_rows_from_wire(message).unwrap(), rows);
    }

    #[test]
    fn columns_that_disagree_are_refused() {
        let message = wire::LogRows {
            timestamps_ns: vec![1],
            ..Default::default()
        };
        assert!(log_rows_from_wire(message).is_err());
        let message = wire::LogRows {
            timestamps_ns: vec![1],
            label_ids: vec![0],
            line_ends: vec![7],
            row_hashes: vec![0],
            ..Default::default()
        };
        assert!(log_rows_from_wire(message).is_err());
    }

    #[test]
    fn refusals_and_coverage_survive_the_wire() {
        for reason in [
            RefusalReason::OutOfOrder { newest_ns: -1 },
            RefusalReason::TooFarBehind { newest_ns: 7 },
            RefusalReason::StreamLimit { limit: 3 },
            RefusalReason::StreamMemory,
            RefusalReason::StreamRateLimit { limit: 4 },
        ] {
            let refusal = Refusal {
                stream: 1,
                row: 2,
                reason,
            };
            assert_eq!(
                refusal_from_wire(&refusal_to_wire(&refusal)).unwrap(),
                refusal
            );
        }
        let coverage = Coverage {
            holding: vec![u128::MAX, 1],
            committed: vec![(-3, 9)],
            ingester: "a".to_owned(),
            lost: vec![LostRows {
                segment: 3,
                rows: 500,
                records: 2,
            }],
        };
        assert_eq!(
            coverage_from_wire(coverage_to_wire(&coverage)).unwrap(),
            coverage
        );
    }
    #[test]
    fn requests_survive_the_wire() {
        let range = TimeRange::new(-5, 7);
        let deletion = Deletion {
            query: r#"{app=~".*"} |= "secret""#.to_owned(),
            range,
            created_ns: 9,
        };
        let request = SelectLogs {
            tenant: TenantId::single(),
            query: r#"{app="web"}"#.to_owned(),
            range,
            limit: 3,
            direction: Direction::Forward,
            deletions: vec![deletion.clone()],
            shard: Shard { min: 1, max: 5 },
        };
        let wire = select_logs_to_wire(&request);
        assert_eq!(select_logs_from_wire(wire).unwrap(), request);
        let request = TailRequest {
            tenant: TenantId::single(),
            query: request.query,
            start_ns: 4,
            deletions: vec![deletion],
        };
        let wire = tail_request_to_wire(&request);
        assert_eq!(tail_request_from_wire(wire).unwrap(), request);
    }
}
