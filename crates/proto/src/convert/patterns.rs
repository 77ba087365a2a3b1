//! Questions for patterns, and patterns.

use bytes::Bytes;
use model::CodedError;

use super::{
    deletions_from_wire, deletions_to_wire, malformed, range_from_wire, range_to_wire,
    shard_from_wire, shard_to_wire, tenant_from_wire,
};
use crate::role::{PatternRows, SelectPatterns, StreamPatterns};
use crate::skald as wire;

pub(crate) fn select_patterns_to_wire(request: &SelectPatterns) -> wire::SelectPatternsRequest {
    wire::SelectPatternsRequest {
        tenant: request.tenant.to_string(),
        selector: request.selector.clone(),
        range: Some(range_to_wire(request.range)),
        deletions: deletions_to_wire(&request.deletions),
        shard: Some(shard_to_wire(request.shard)),
        step_ns: request.step_ns,
        lines_max: request.lines_max,
        hashes: request.hashes,
    }
}

pub(crate) fn select_patterns_from_wire(
    request: wire::SelectPatternsRequest,
) -> Result<SelectPatterns, CodedError> {
    Ok(SelectPatterns {
        tenant: tenant_from_wire(&request.tenant)?,
        selector: request.selector,
        range: range_from_wire(request.range)?,
        deletions: deletions_from_wire(request.deletions)?,
        shard: shard_from_wire(request.shard),
        step_ns: request.step_ns,
        lines_max: request.lines_max,
        hashes: request.hashes,
    })
}

pub(crate) fn stream_patterns_to_wire(stream: StreamPatterns) -> wire::StreamPatterns {
    let rows = |rows: PatternRows| wire::PatternRows {
        pattern: rows.pattern.into(),
        level: rows.level,
        timestamps_ns: rows.timestamps_ns,
        rows: rows.rows,
        row_hashes: rows.row_hashes,
    };
    wire::StreamPatterns {
        stream_fingerprint: stream.stream_fingerprint,
        patterns: stream.patterns.into_iter().map(rows).collect(),
        left_out: stream.left_out,
    }
}

pub(crate) fn stream_patterns_from_wire(
    stream: wire::StreamPatterns,
) -> Result<StreamPatterns, CodedError> {
    let patterns = stream.patterns.into_iter().map(rows_from_wire);
    Ok(StreamPatterns {
        stream_fingerprint: stream.stream_fingerprint,
        patterns: patterns.collect::<Result<_, _>>()?,
        left_out: stream.left_out,
    })
}

fn rows_from_wire(rows: wire::PatternRows) -> Result<PatternRows, CodedError> {
    let count = rows.timestamps_ns.len();
    let has_hashes = !rows.row_hashes.is_empty();
    if rows.rows.len() != count || (has_hashes && rows.row_hashes.len() != count) {
        return Err(malformed("columns of patterns disagree"));
    }
    Ok(PatternRows {
        pattern: Bytes::from(rows.pattern),
        level: rows.level,
        timestamps_ns: rows.timestamps_ns,
        rows: rows.rows,
        row_hashes: rows.row_hashes,
    })
}

#[cfg(test)]
mod tests {
    use model::{Shard, TenantId, TimeRange};

    use super::*;

    #[test]
    fn questions_and_patterns_survive_the_wire() {
        let request = SelectPatterns {
            tenant: TenantId::single(),
            selector: r#"{app="web"}"#.to_owned(),
            range: TimeRange::new(1, 9),
            deletions: Vec::new(),
            shard: Shard { min: 1, max: 5 },
            step_ns: 3,
            lines_max: 4,
            hashes: true,
        };
        let wire = select_patterns_to_wire(&request);
        assert_eq!(select_patterns_from_wire(wire).unwrap(), request);
        let stream = StreamPatterns {
            stream_fingerprint: 1,
            patterns: vec![PatternRows {
                pattern: Bytes::from_static(b"took \x01"),
                level: "info".to_owned(),
                timestamps_ns: vec![2, 3],
                rows: vec![1, 1],
                row_hashes: vec![7, 8],
            }],
            left_out: 5,
        };
        let wire = stream_patterns_to_wire(stream.clone());
        assert_eq!(stream_patterns_from_wire(wire).unwrap(), stream);
    }

    #[test]
    fn columns_that_disagree_are_refused() {
        for (rows, row_hashes) in [(vec![], vec![]), (vec![1], vec![1, 2])] {
            let rows = wire::PatternRows {
                timestamps_ns: vec![1],
                rows,
                row_hashes,
                ..Default::default()
            };
            assert!(rows_from_wire(rows).is_err());
        }
    }
}
