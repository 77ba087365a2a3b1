//! Questions for streams, and streams with their sizes.

use model::{CodedError, Parts};

use super::{
    deletions_from_wire, deletions_to_wire, labels_to_wire, option_labels_from_wire,
    range_from_wire, range_to_wire, shard_from_wire, shard_to_wire, tenant_from_wire,
};
use crate::role::{PartStats, SelectSeries, SeriesStats};
use crate::skald as wire;

pub(crate) fn select_series_to_wire(request: &SelectSeries) -> wire::SelectSeriesRequest {
    wire::SelectSeriesRequest {
        tenant: request.tenant.to_string(),
        selectors: request.selectors.clone(),
        range: Some(range_to_wire(request.parts.range)),
        deletions: deletions_to_wire(&request.deletions),
        shard: Some(shard_to_wire(request.shard)),
        step_ns: request.parts.step_ns,
    }
}

pub(crate) fn select_series_from_wire(
    request: wire::SelectSeriesRequest,
) -> Result<SelectSeries, CodedError> {
    Ok(SelectSeries {
        tenant: tenant_from_wire(&request.tenant)?,
        selectors: request.selectors,
        parts: Parts {
            range: range_from_wire(request.range)?,
            step_ns: request.step_ns,
        },
        deletions: deletions_from_wire(request.deletions)?,
        shard: shard_from_wire(request.shard),
    })
}

pub(crate) fn series_stats_to_wire(stats: &SeriesStats) -> wire::SeriesStats {
    wire::SeriesStats {
        labels: Some(labels_to_wire(&stats.labels)),
        parts: stats.parts.iter().map(part_to_wire).collect(),
    }
}

pub(crate) fn series_stats_from_wire(stats: wire::SeriesStats) -> SeriesStats {
    SeriesStats {
        labels: option_labels_from_wire(stats.labels),
        parts: stats.parts.into_iter().map(part_from_wire).collect(),
    }
}

fn part_to_wire(part: &PartStats) -> wire::PartStats {
    wire::PartStats {
        number: part.number,
        rows: part.rows,
        bytes: part.bytes,
        chunks: part.chunks,
    }
}

fn part_from_wire(part: wire::PartStats) -> PartStats {
    PartStats {
        number: part.number,
        rows: part.rows,
        bytes: part.bytes,
        chunks: part.chunks,
    }
}

#[cfg(test)]
mod tests {
    use model::{LabelSet, Shard, TenantId, TimeRange};

    use super::*;

    #[test]
    fn questions_and_sizes_survive_the_wire() {
        let request = SelectSeries {
            tenant: TenantId::single(),
            selectors: vec![r#"{app="web"}"#.to_owned()],
            parts: Parts {
                range: TimeRange::new(1, 9),
                step_ns: 3,
            },
            deletions: Vec::new(),
            shard: Shard { min: 1, max: 5 },
        };
        let wire = select_series_to_wire(&request);
        assert_eq!(select_series_from_wire(wire).unwrap(), request);
        let stats = SeriesStats {
            labels: LabelSet::from_pairs([("app", "web")]),
            parts: vec![PartStats {
                number: 2,
                rows: 3,
                bytes: 4,
                chunks: 5,
            }],
        };
        assert_eq!(series_stats_from_wire(series_stats_to_wire(&stats)), stats);
    }
}
