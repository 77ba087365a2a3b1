//! How much streams have.

use std::collections::BTreeMap;
use std::sync::Arc;

use index::{BlockRef, Stats};
use model::units::ByteSize;
use model::{Code, CodedError, LabelSet, Matcher, Parts, Reservation, TenantId, TimeRange};

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

/// How much each stream has in the parts of a range that it has rows in.
pub(super) type PartSizes = BTreeMap<LabelSet, BTreeMap<u32, Sum>>;

impl Context {
    /// How much each stream has in a range, see [`Self::part_sizes`].
    pub(super) async fn stream_sizes(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<BTreeMap<LabelSet, Sum>, CodedError> {
        let mut memory = self.memory.reservation();
        let parts = Parts::whole(range);
        let sizes = self.part_sizes(matchers, parts, &mut memory).await?;
        let whole = |parts: BTreeMap<u32, Sum>| parts.into_values().next().unwrap_or_default();
        let sizes = sizes.into_iter();
        Ok(sizes
            .map(|(labels, parts)| (labels, whole(parts)))
            .collect())
    }

    /// How much each stream has in the parts of a range. What several ingesters hold of a stream
    /// counts once, as the largest of them; blocks that are only partly in a part count in
    /// proportion, and stored blocks of which only some lines are deleted count whole. `memory` is
    /// that of the answer.
    pub(super) async fn part_sizes(
        &self,
        matchers: &[Matcher],
        parts: Parts,
        memory: &mut Reservation,
    ) -> Result<PartSizes, CodedError> {
        let range = parts.range;
        let deleting = self.deleting(range).await?;
        let (mut covered, recent) = self
            .recent_series(&[matchers.to_vec()], parts, &deleting)
            .await?;
        let mut streams = PartSizes::new();
        for series in recent {
            covered.add_stream(self, series.labels.fingerprint())?;
            memory
                .grow(stream_bytes(&series.labels, series.parts.len()))
                .map_err(|error| self.over_budget(&error))?;
            let sums = streams.entry(series.labels).or_default();
            for part in series.parts {
                let sum = sums.entry(part.number).or_default();
                sum.streams = 1;
                sum.chunks = sum.chunks.max(part.chunks);
                sum.bytes = sum.bytes.max(part.bytes);
                sum.rows = sum.rows.max(part.rows);
            }
        }
        let copies = self.querier.readers().copies;
        let units = self.units(matchers, range, &covered, &deleting.stored);
        for unit in units.await? {
            let numbers = parts.overlapping(unit.min_ts_ns, unit.max_ts_ns);
            memory
                .grow(stream_bytes(&unit.labels, numbers.len()))
                .map_err(|error| self.over_budget(&error))?;
            let sums = streams.entry(unit.labels.clone()).or_default();
            for number in numbers {
                let sum = sums.entry(number).or_default();
                *sum += size_of(&unit, parts.part(number), copies);
                sum.streams = 1;
            }
        }
        Ok(streams)
    }

    /// How much a selector matches.
    pub(crate) async fn total(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Sum, CodedError> {
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

    /// Refuses a query that would read more of storage than `max_chunks_per_query` or
    /// `max_querier_bytes_read`.
    ///
    /// # Errors
    /// If it would.
    pub(crate) fn check_stored(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        units: &[Unit],
    ) -> Result<(), CodedError> {
        let max = self.limits.max_chunks_per_query;
        let chunks: u64 = units.iter().map(|unit| unit.blocks.len() as u64).sum();
        if max > 0 && chunks > max {
            let matchers: Vec<String> = matchers.iter().map(ToString::to_string).collect();
            let error = CodedError::new(
                Code::InvalidArgument,
                format!(
                    "Query [{}] fetched too many chunks ({chunks} > {max})",
                    matchers.join(" ")
                ),
            );
            return Err(error.beyond("max_chunks_per_query", &max, &self.tenant));
        }
        let limit = self.limits.max_querier_bytes_read;
        if limit.0 == 0 {
            return Ok(());
        }
        let copies = self.querier.readers().copies;
        let of_units = units.iter().map(|unit| size_of(unit, range, copies).bytes);
        let bytes = of_units.fold(0, u64::saturating_add);
        if bytes <= limit.0 {
            return Ok(());
        }
        let error = CodedError::new(
            Code::InvalidArgument,
            format!(
                "query too large to execute on a single querier: (query: {}, limit: {limit}); consider adding more specific stream selectors, reduce the time range of the query, or adjust parallelization settings",
                ByteSize(bytes),
            ),
        );
        Err(error.beyond("max_querier_bytes_read", &limit, &self.tenant))
    }
}

/// Bytes of memory that a stream and its parts may take.
fn stream_bytes(labels: &LabelSet, parts: usize) -> u64 {
    const STREAM_BYTES: usize = 128;
    const PART_BYTES: usize = 64;
    (STREAM_BYTES + labels.text_len() + PART_BYTES * parts) as u64
}

/// Runs of a unit overlap because replicas wrote each row as often as there are copies, or because
/// rows came late, or both: what the unit has is a share of all, and at least the largest run.
fn size_of(unit: &Unit, part: TimeRange, copies: u64) -> Sum {
    let (mut all, mut largest) = (Sum::default(), Sum::default());
    for run in &unit.blocks {
        let block = BlockRef {
            min_ts_ns: run.min_ts_ns,
            max_ts_ns: run.max_ts_ns,
            object: 0,
            block: run.block,
            run: run.run,
            rows: run.rows,
            raw_bytes: run.raw_bytes,
        };
        let stats = Stats::of_block(&block, part);
        let sum = Sum {
            streams: 0,
            chunks: stats.blocks,
            bytes: stats.bytes,
            rows: stats.rows,
        };
        all += sum;
        if sum.rows > largest.rows {
            largest = sum;
        }
    }
    let share = |count: u64| count / copies.max(1);
    Sum {
        streams: 0,
        chunks: share(all.chunks).max(largest.chunks),
        bytes: share(all.bytes).max(largest.bytes),
        rows: share(all.rows).max(largest.rows),
    }
}
