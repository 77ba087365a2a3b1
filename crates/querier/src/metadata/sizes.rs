//! How much streams have.

use std::collections::BTreeMap;
use std::sync::Arc;

use index::{BlockRef, Stats};
use model::units::ByteSize;
use model::{Code, CodedError, LabelSet, Matcher, TenantId, TimeRange};

use crate::Querier;
use crate::metrics::QueryKind;
use crate::query::{Answered, Context};
use crate::stored::Unit;
use crate::tenancy::shares;

/// How much something has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Streams.
    pub streams: u64,
    /// Runs of rows in blocks, and heads.
    pub chunks: u64,
    /// Bytes of lines and structured metadata.
    pub bytes: u64,
    /// Lines.
    pub rows: u64,
}

impl Sum {
    /// Whole KiB, which is what Loki's index keeps of each stream and its clients see.
    fn in_kib(self) -> Self {
        Self {
            bytes: (self.bytes + 512) >> 10 << 10,
            ..self
        }
    }
}

impl std::ops::AddAssign for Sum {
    fn add_assign(&mut self, other: Self) {
        self.streams += other.streams;
        self.chunks += other.chunks;
        self.bytes += other.bytes;
        self.rows += other.rows;
    }
}

impl Querier {
    /// How much a selector matches.
    ///
    /// # Errors
    /// If the range is too long for a tenant, or data cannot be read.
    pub async fn index_stats(
        self: &Arc<Self>,
        tenants: &[TenantId],
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Answered<Sum>, CodedError> {
        let range = self.allowed_range(tenants, range)?;
        self.run(QueryKind::Metadata, tenants, |context| async move {
            let mut total = Sum::default();
            for share in shares(matchers, tenants) {
                let sizes = context
                    .of(&share.tenant)
                    .stream_sizes(&share.matchers, range)
                    .await?;
                sizes.into_values().for_each(|sum| total += sum.in_kib());
            }
            Ok(total)
        })
        .await
    }
}

impl Context {
    /// How much each stream has in a range. What several ingesters hold of a stream counts once, as
    /// the largest of them; blocks that are only partly in the range count in proportion, and stored
    /// blocks of which only some lines are deleted count whole.
    pub(super) async fn stream_sizes(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<BTreeMap<LabelSet, Sum>, CodedError> {
        let deleting = self.deleting(range).await?;
        let (covered, recent) = self
            .recent_series(&[matchers.to_vec()], range, &deleting)
            .await?;
        let mut streams: BTreeMap<LabelSet, Sum> = BTreeMap::new();
        for series in recent {
            let sum = streams.entry(series.labels).or_default();
            sum.streams = 1;
            sum.chunks = sum.chunks.max(series.chunks);
            sum.bytes = sum.bytes.max(series.bytes);
            sum.rows = sum.rows.max(series.rows);
        }
        let units = self.units(matchers, range, &covered, &deleting.stored);
        for unit in units.await? {
            let largest = largest(&unit, range);
            let sum = streams.entry(unit.labels).or_default();
            sum.streams = 1;
            sum.chunks += largest.blocks;
            sum.bytes += largest.bytes;
            sum.rows += largest.rows;
        }
        Ok(streams)
    }

    async fn total(&self, matchers: &[Matcher], range: TimeRange) -> Result<Sum, CodedError> {
        let mut total = Sum::default();
        for sum in self.stream_sizes(matchers, range).await?.into_values() {
            total += sum;
        }
        Ok(total)
    }

    /// Refuses a query that would read more than `max_query_bytes_read`.
    ///
    /// # Errors
    /// If it would.
    pub(crate) async fn check_bytes(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<(), CodedError> {
        let limit = self.limits.max_query_bytes_read;
        if limit.0 == 0 {
            return Ok(());
        }
        let bytes = self.total(matchers, range).await?.bytes;
        if bytes <= limit.0 {
            return Ok(());
        }
        let error = CodedError::new(
            Code::InvalidArgument,
            format!(
                "the query would read too many bytes (query: {}, limit: {limit}); consider adding more specific stream selectors or reduce the time range of the query",
                ByteSize(bytes),
            ),
        );
        Err(error.beyond("max_query_bytes_read", &limit, &self.tenant))
    }
}

/// Copies on replicas overlap in time; the largest run of a unit stands for all.
fn largest(unit: &Unit, range: TimeRange) -> Stats {
    let of_run = |run: &crate::stored::RunRef| {
        let block = BlockRef {
            min_ts_ns: run.min_ts_ns,
            max_ts_ns: run.max_ts_ns,
            object: 0,
            block: run.block,
            run: run.run,
            rows: run.rows,
            raw_bytes: run.raw_bytes,
        };
        Stats::of_block(&block, range)
    };
    unit.blocks
        .iter()
        .map(of_run)
        .max_by_key(|stats| stats.rows)
        .unwrap_or_default()
}
