//! Samples between wire and model.

use model::{CodedError, TimeRange};

use super::{
    deletions_from_wire, deletions_to_wire, labels_to_wire, malformed, parsed_from_wire,
    range_from_wire, range_to_wire, shard_from_wire, shard_to_wire, tenant_from_wire,
};
use crate::role::{AddUp, SampleRows, SelectSamples};
use crate::skald as wire;

pub(crate) fn sample_rows_to_wire(rows: SampleRows) -> wire::Samples {
    wire::Samples {
        labels: Some(labels_to_wire(&rows.labels)),
        stream_fingerprint: rows.stream_fingerprint,
        timestamps_ns: rows.timestamps_ns,
        values: rows.values,
        row_hashes: rows.row_hashes,
        without_hashes: rows.without_hashes.map(range_to_wire),
    }
}

pub(crate) fn sample_rows_from_wire(message: wire::Samples) -> Result<SampleRows, CodedError> {
    let count = message.timestamps_ns.len();
    let hashes = match &message.without_hashes {
        Some(_) => 0,
        None => count,
    };
    if message.values.len() != count || message.row_hashes.len() != hashes {
        return Err(malformed("columns of samples disagree"));
    }
    let range = |range: wire::TimeRange| TimeRange::new(range.start_ns, range.end_ns);
    Ok(SampleRows {
        stream_fingerprint: message.stream_fingerprint,
        labels: parsed_from_wire(message.labels),
        timestamps_ns: message.timestamps_ns,
        values: message.values,
        row_hashes: message.row_hashes,
        without_hashes: message.without_hashes.map(range),
    })
}

pub(crate) fn select_samples_to_wire(request: &SelectSamples) -> wire::SelectSamplesRequest {
    wire::SelectSamplesRequest {
        tenant: request.tenant.to_string(),
        query: request.query.clone(),
        range: Some(range_to_wire(request.range)),
        deletions: deletions_to_wire(&request.deletions),
        shard: Some(shard_to_wire(request.shard)),
        add_up: request.add_up.map(add_up_to_wire),
    }
}

pub(crate) fn select_samples_from_wire(
    request: wire::SelectSamplesRequest,
) -> Result<SelectSamples, CodedError> {
    Ok(SelectSamples {
        tenant: tenant_from_wire(&request.tenant)?,
        query: request.query,
        range: range_from_wire(request.range)?,
        deletions: deletions_from_wire(request.deletions)?,
        shard: shard_from_wire(request.shard),
        add_up: request.add_up.map(add_up_from_wire),
    })
}

fn add_up_to_wire(add_up: AddUp) -> wire::AddUp {
    wire::AddUp {
        after_ns: add_up.after_ns,
        start_ns: add_up.start_ns,
        end_ns: add_up.end_ns,
        step_ns: add_up.step_ns,
    }
}

fn add_up_from_wire(add_up: wire::AddUp) -> AddUp {
    AddUp {
        after_ns: add_up.after_ns,
        start_ns: add_up.start_ns,
        end_ns: add_up.end_ns,
        step_ns: add_up.step_ns,
    }
}

#[cfg(test)]
mod tests {
    use model::{LabelSet, Shard, TenantId};

    use super::*;

    #[test]
    fn columns_that_disagree_are_refused() {
        let message = wire::Samples {
            timestamps_ns: vec![1],
            ..Default::default()
        };
        assert!(sample_rows_from_wire(message).is_err());
        let message = wire::Samples {
            timestamps_ns: vec![1],
            values: vec![1.0],
            ..Default::default()
        };
        assert!(sample_rows_from_wire(message).is_err());
    }

    #[test]
    fn samples_survive_the_wire_with_hashes_and_without() {
        let ways = [(vec![9], None), (vec![], Some(TimeRange::new(1, 5)))];
        for (row_hashes, without_hashes) in ways {
            let rows = SampleRows {
                stream_fingerprint: 1,
                labels: LabelSet::from_pairs([("app", "web")]),
                timestamps_ns: vec![4],
                values: vec![2.0],
                row_hashes,
                without_hashes,
            };
            let wire = sample_rows_to_wire(rows.clone());
            assert_eq!(sample_rows_from_wire(wire).unwrap(), rows);
        }
    }

    #[test]
    fn requests_survive_the_wire() {
        let add_up = AddUp {
            after_ns: 1,
            start_ns: 2,
            end_ns: 3,
            step_ns: 4,
        };
        for add_up in [None, Some(add_up)] {
            let request = SelectSamples {
                tenant: TenantId::single(),
                query: r#"rate({app="web"}[1m])"#.to_owned(),
                range: TimeRange::new(-5, 7),
                deletions: Vec::new(),
                shard: Shard::ALL,
                add_up,
            };
            let wire = select_samples_to_wire(&request);
            assert_eq!(select_samples_from_wire(wire).unwrap(), request);
        }
    }
}
