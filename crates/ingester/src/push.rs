//! The way of a push: room, log record, heads, durable.
//!
//! The record's body is made before any lock is taken, as if every row were accepted, which is so
//! but for retries and stragglers; if it is not, it is made again of the rows that were. It is the
//! body as it was received where that pays, or is compressed here.
//! Rows are added to heads, and their record to the queue of the log, while no flush can draw its
//! line, and in the same order for all pushes of a stream.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use model::{Code, CodedError, Entries, LabelSet, Limits, StreamBatch, TenantId};
use proto::role::{Ingest, Push, Received, Refusal, RefusalReason};
use tokio::sync::oneshot;

use crate::error::WalError;
use crate::head::size_of;
use crate::ingester::{Ingester, Inner};
use crate::metrics::Refused;
use crate::plan::split;
use crate::stream::{Accepted, Appended, Rules, Stream};
use crate::tenant::{StreamLimit, Tenant};
use crate::wal::{Append, Body, Part, RECORD_RAW_TARGET, ROW_BYTES_MAX, ReceivedBody, Reservation};

/// Above so many raw bytes compression leaves the runtime's worker.
const INLINE_BYTES_MAX: usize = 2 << 20;

/// A record whose streams have no refs yet: the positions of the streams and how many of their
/// rows, and the body.
type Prepared = (Vec<(usize, usize)>, Body);

#[async_trait]
impl Ingest for Ingester {
    async fn push(&self, tenant: &TenantId, push: Push) -> Result<Vec<Refusal>, CodedError> {
        let Push { streams, received } = push;
        let inner = self.inner();
        inner.admit(tenant)?;
        let raw_bytes = streams.iter().map(|batch| size_of(&batch.entries)).sum();
        check_sizes(&streams)?;
        let mut held = inner.push_memory.reservation();
        held.grow(raw_bytes as u64)
            .map_err(|error| CodedError::new(Code::Unavailable, error.to_string()))?;
        inner.memory.room_for_push().await?;
        let reservation = inner.wal.reserve(raw_bytes).await?;
        let received = received.filter(|_| raw_bytes <= RECORD_RAW_TARGET);
        let records = match received.and_then(|received| as_received(&streams, &received)) {
            Some(record) => vec![record],
            None => prepare(&streams, raw_bytes).await?,
        };
        let (refusals, durable) = inner.append(tenant, &streams, records, reservation)?;
        if let Some(durable) = durable {
            durable.await.unwrap_or(Err(WalError::Closed))?;
        }
        Ok(refusals)
    }
}

/// Rows that no record can hold are refused before anything is done.
fn check_sizes(streams: &[Arc<StreamBatch>]) -> Result<(), CodedError> {
    let is_too_long = |entries: &Entries| {
        let set_max = entries
            .metadata_sets()
            .iter()
            .map(LabelSet::text_len)
            .max()
            .unwrap_or(0);
        let line_max = ROW_BYTES_MAX.saturating_sub(set_max);
        entries.lines().len() > line_max && entries.iter().any(|row| row.line.len() > line_max)
            || set_max > ROW_BYTES_MAX
    };
    if streams.iter().any(|batch| is_too_long(&batch.entries)) {
        let text = format!("a line and its metadata may have {ROW_BYTES_MAX} bytes");
        return Err(CodedError::new(Code::TooLarge, text));
    }
    Ok(())
}

/// All rows in one record that has the body they came in, if that pays. It has fewer bytes than the
/// rows, for which the queue has room.
fn as_received(streams: &[Arc<StreamBatch>], received: &Received) -> Option<Prepared> {
    if received.line_starts.len() != streams.len() {
        return None;
    }
    let parts = streams.iter().zip(&received.line_starts).enumerate();
    let parts = parts.filter(|(_, (batch, _))| !batch.entries.is_empty());
    let (rows, parts): (Vec<_>, Vec<_>) = parts
        .map(|(number, (batch, starts))| {
            let entries = &batch.entries;
            ((number, entries.len()), (entries, starts.as_slice()))
        })
        .unzip();
    let body = ReceivedBody::new(&parts, received)?;
    Some((rows, Body::Received(body)))
}

async fn prepare(streams: &[Arc<StreamBatch>], bytes: usize) -> Result<Vec<Prepared>, CodedError> {
    let all = |streams: &[Arc<StreamBatch>]| {
        let entries: Vec<_> = streams
            .iter()
            .map(|batch| &batch.entries)
            .enumerate()
            .collect();
        records(&entries)
    };
    if bytes <= INLINE_BYTES_MAX {
        return Ok(all(streams));
    }
    let streams = streams.to_vec();
    let prepared = tokio::task::spawn_blocking(move || all(&streams)).await;
    prepared.map_err(|_| CodedError::new(Code::Internal, "a worker did not finish"))
}

/// Distributes rows over records of a bounded size.
fn records(streams: &[(usize, &Entries)]) -> Vec<Prepared> {
    let mut all = Vec::new();
    let mut parts: Vec<(usize, Part<'_>)> = Vec::new();
    let mut bytes = 0;
    let close = |parts: &mut Vec<(usize, Part<'_>)>| {
        let rows = parts
            .iter()
            .map(|(stream, part)| (*stream, part.rows.len()))
            .collect();
        let columns: Vec<Part<'_>> = parts.drain(..).map(|(_, part)| part).collect();
        (rows, Body::rows(&columns))
    };
    for (stream, entries) in streams {
        for (rows, size) in ranges(entries) {
            if bytes > 0 && bytes + size > RECORD_RAW_TARGET {
                all.push(close(&mut parts));
                bytes = 0;
            }
            bytes += size;
            parts.push((*stream, Part { entries, rows }));
        }
    }
    if !parts.is_empty() {
        all.push(close(&mut parts));
    }
    all
}

fn ranges(entries: &Entries) -> Vec<(Range<usize>, usize)> {
    let size = size_of(entries);
    if entries.is_empty() {
        Vec::new()
    } else if size <= RECORD_RAW_TARGET {
        vec![(0..entries.len(), size)]
    } else {
        split(entries, RECORD_RAW_TARGET)
    }
}

/// What is told when the rows of a push are durable; `None` if there is nothing to wait for.
type Durable = Option<oneshot::Receiver<Result<(), WalError>>>;

/// What became of the streams of a push.
#[derive(Default)]
struct Outcome {
    refusals: Vec<Refusal>,
    /// Position, stream, and the accepted rows if they are not all.
    accepted: Vec<(usize, Arc<Stream>, Option<Entries>)>,
    duplicates: u64,
    bytes: usize,
    /// Streams whose heads have reached the size of a block.
    full: Vec<Arc<Stream>>,
}

/// Why rows of a new stream are refused, for metrics and for who pushes.
fn beyond(limit: StreamLimit) -> (Refused, RefusalReason) {
    match limit {
        StreamLimit::Count(limit) => (Refused::StreamLimit, RefusalReason::StreamLimit { limit }),
        StreamLimit::Memory => (Refused::StreamMemory, RefusalReason::StreamMemory),
    }
}

impl Inner {
    /// Whether a push of a tenant may come now.
    fn admit(&self, tenant: &TenantId) -> Result<(), CodedError> {
        if self.stopping.is_cancelled() {
            return Err(WalError::Closed.into());
        }
        if let Some(reason) = self.departures.refusal(tenant) {
            let text = format!("what was pushed before cannot be stored: {reason}");
            return Err(CodedError::new(Code::Unavailable, text));
        }
        Ok(self.wal.admit()?)
    }

    /// Adds rows to heads and their records to the log.
    fn append(
        &self,
        tenant: &TenantId,
        streams: &[Arc<StreamBatch>],
        prepared: Vec<Prepared>,
        reservation: Reservation,
    ) -> Result<(Vec<Refusal>, Durable), CodedError> {
        let limits = (self.limits)(tenant);
        let owner = self.tenants.get_or_add(tenant, self.clock.now_ns());
        let epoch = self.epochs.live();
        if self.stopping.is_cancelled() {
            return Err(WalError::Closed.into());
        }
        let rules = self.rules(&limits, *epoch);
        let outcome = self.append_streams(&owner, &limits, streams, &rules);
        let is_any = !outcome.accepted.is_empty();
        if !is_any && outcome.duplicates == 0 {
            return Ok((outcome.refusals, None));
        }
        let durable =
            self.wal
                .append(self.record(&owner, streams, prepared, &outcome, reservation));
        if is_any {
            self.note_oldest();
            self.last_push_ns.store(rules.now_ns, Ordering::Relaxed);
        }
        drop(epoch);
        for stream in &outcome.full {
            self.cutter.is_full(&owner, stream);
        }
        if self.memory.excess() > 0 {
            self.cutter.wake();
        }
        Ok((outcome.refusals, Some(durable)))
    }

    fn rules(&self, limits: &Limits, epoch: u64) -> Rules {
        Rules {
            window_ns: limits.out_of_order_window.0,
            rate_bytes: limits.per_stream_rate_limit.0,
            burst_bytes: limits.per_stream_rate_limit_burst.0,
            now_ns: self.clock.now_ns(),
            epoch,
        }
    }

    fn append_streams(
        &self,
        tenant: &Arc<Tenant>,
        limits: &Limits,
        streams: &[Arc<StreamBatch>],
        rules: &Rules,
    ) -> Outcome {
        let limit = (self.stream_limit)(limits);
        let mut outcome = Outcome::default();
        for (number, batch) in streams.iter().enumerate() {
            if batch.entries.is_empty() {
                continue;
            }
            let refuse = |(row, reason)| Refusal {
                stream: number as u32,
                row,
                reason,
            };
            match self.append_stream(tenant, limit, batch, rules) {
                Ok((stream, appended)) => {
                    self.count(batch, &appended);
                    outcome
                        .refusals
                        .extend(appended.refused.into_iter().map(refuse));
                    outcome.duplicates += appended.duplicates;
                    outcome.bytes += appended.bytes;
                    let block_bytes = self.config.block_bytes.as_usize();
                    let before = appended.head_bytes - appended.bytes;
                    if before < block_bytes && block_bytes <= appended.head_bytes {
                        outcome.full.push(Arc::clone(&stream));
                    }
                    match appended.accepted {
                        Accepted::All => outcome.accepted.push((number, stream, None)),
                        Accepted::Some(rows) => outcome.accepted.push((number, stream, Some(rows))),
                        Accepted::None => {}
                    }
                }
                Err(limit) => {
                    let rows = batch.entries.len() as u32;
                    let (refused, reason) = beyond(limit);
                    self.metrics.refused(refused, u64::from(rows));
                    outcome
                        .refusals
                        .extend((0..rows).map(|row| refuse((row, reason))));
                }
            }
        }
        self.memory.add_raw(outcome.bytes);
        outcome
    }

    fn append_stream(
        &self,
        tenant: &Arc<Tenant>,
        limit: u64,
        batch: &StreamBatch,
        rules: &Rules,
    ) -> Result<(Arc<Stream>, Appended), StreamLimit> {
        loop {
            let stream = self.stream(tenant, &batch.labels, Some(limit))?;
            // A stream that is forgotten at this very moment is made anew by the next look-up.
            if let Ok(appended) = stream.append(&batch.entries, rules) {
                return Ok((stream, appended));
            }
        }
    }

    fn count(&self, batch: &StreamBatch, appended: &Appended) {
        self.metrics.duplicates.inc_by(appended.duplicates);
        let (rows, bytes) = match &appended.accepted {
            Accepted::All => (batch.entries.len(), batch.entries.lines().len()),
            Accepted::Some(rows) => (rows.len(), rows.lines().len()),
            Accepted::None => (0, 0),
        };
        self.metrics.rows.inc_by(rows as u64);
        self.metrics.row_bytes.inc_by(bytes as u64);
        for (_, reason) in &appended.refused {
            let reason = match reason {
                RefusalReason::OutOfOrder { .. } => Refused::OutOfOrder,
                RefusalReason::TooFarBehind { .. } => Refused::TooFarBehind,
                RefusalReason::StreamLimit { .. } => Refused::StreamLimit,
                RefusalReason::StreamMemory => Refused::StreamMemory,
                RefusalReason::StreamRateLimit { .. } => Refused::StreamRate,
            };
            self.metrics.refused(reason, 1);
        }
    }

    /// What the log gets of a push. If nothing was accepted, it is a barrier: the rows are there
    /// since an earlier push, which may not be durable yet.
    fn record(
        &self,
        tenant: &Arc<Tenant>,
        streams: &[Arc<StreamBatch>],
        prepared: Vec<Prepared>,
        outcome: &Outcome,
        reservation: Reservation,
    ) -> Append {
        let accepted = &outcome.accepted;
        let is_all = accepted.iter().all(|(.., rows)| rows.is_none())
            && accepted.len()
                == streams
                    .iter()
                    .filter(|batch| !batch.entries.is_empty())
                    .count();
        let prepared = if is_all {
            prepared
        } else {
            let rows = accepted.iter().filter_map(|(number, _, rows)| {
                let batch = streams.get(*number)?;
                Some((*number, rows.as_ref().unwrap_or(&batch.entries)))
            });
            records(&rows.collect::<Vec<_>>())
        };
        let id_of = |number: usize| {
            let at = accepted.binary_search_by_key(&number, |(number, ..)| *number);
            at.ok()
                .and_then(|at| accepted.get(at))
                .map_or(0, |(_, stream, _)| stream.key.id)
        };
        let with_ids = |(parts, body): Prepared| {
            let parts = parts
                .into_iter()
                .map(|(number, rows)| (id_of(number), rows));
            (parts.collect(), body)
        };
        Append {
            tenant: tenant.id.clone(),
            records: prepared.into_iter().map(with_ids).collect(),
            streams: accepted
                .iter()
                .map(|(_, stream, _)| Arc::clone(&stream.key))
                .collect(),
            on_durable: self.feed_tails(tenant, streams, accepted),
            reservation: Some(reservation),
        }
    }
}
