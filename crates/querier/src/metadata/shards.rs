//! How a selector's streams may be split into shards of about the same size.

use std::sync::Arc;

use model::{CodedError, Matcher, Shard, TenantId, TimeRange};

use super::Sum;
use crate::Querier;
use crate::metrics::QueryKind;
use crate::query::Answered;
use crate::tenancy::shares;

/// Shards that one answer may have.
const SHARDS_MAX: u64 = 1 << 16;

/// A shard and its size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SizedShard {
    /// Which streams.
    pub shard: Shard,
    /// How much they have.
    pub sum: Sum,
}

/// Shards in order, which together are all fingerprints.
pub type Shards = Vec<SizedShard>;

impl Querier {
    /// Splits the streams of a selector into shards of about `target_bytes`.
    ///
    /// # Errors
    /// If the range is too long for a tenant, or data cannot be read.
    pub async fn shards(
        self: &Arc<Self>,
        tenants: &[TenantId],
        matchers: &[Matcher],
        range: TimeRange,
        target_bytes: u64,
    ) -> Result<Answered<Shards>, CodedError> {
        let range = self.allowed_range(tenants, range)?;
        self.run(QueryKind::Metadata, tenants, |context| async move {
            let mut streams: Vec<(u64, Sum)> = Vec::new();
            for share in shares(matchers, tenants) {
                let sizes = context
                    .of(&share.tenant)
                    .stream_sizes(&share.matchers, range)
                    .await?;
                streams.extend(
                    sizes
                        .iter()
                        .map(|(labels, sum)| (labels.fingerprint(), *sum)),
                );
            }
            Ok(split(streams, target_bytes))
        })
        .await
    }
}

fn split(mut streams: Vec<(u64, Sum)>, target_bytes: u64) -> Shards {
    streams.sort_unstable_by_key(|(fingerprint, _)| *fingerprint);
    let total: u64 = streams.iter().map(|(_, sum)| sum.bytes).sum();
    let target_bytes = target_bytes.max(total / SHARDS_MAX);
    let mut shards = Shards::new();
    let (mut min, mut open) = (0, Sum::default());
    for (fingerprint, sum) in streams {
        if open.bytes >= target_bytes && fingerprint > min {
            let max = fingerprint - 1;
            shards.push(SizedShard {
                shard: Shard { min, max },
                sum: std::mem::take(&mut open),
            });
            min = fingerprint;
        }
        open += sum;
    }
    shards.push(SizedShard {
        shard: Shard { min, max: u64::MAX },
        sum: open,
    });
    shards
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_cover_all_fingerprints_and_cut_at_the_target() {
        let sum = |bytes| Sum {
            streams: 1,
            bytes,
            ..Sum::default()
        };
        let shards = split(vec![(30, sum(5)), (10, sum(6)), (20, sum(6))], 10);
        let bounds: Vec<_> = shards
            .iter()
            .map(|s| (s.shard.min, s.shard.max, s.sum.bytes))
            .collect();
        assert_eq!(bounds, [(0, 29, 12), (30, u64::MAX, 5)]);
        assert_eq!(split(Vec::new(), 10)[0].shard, Shard::ALL);
    }
}
