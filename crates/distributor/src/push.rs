//! A push from its body to its answer.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use model::units::ByteSize;
use model::{Budget, Limits, Reservation, StreamBatch, TenantId};
use proto::role::RefusalReason;
use server::Overrides;

use crate::body::{self, Encoding};
use crate::config::Config;
use crate::decode::otlp::{OtlpFormat, OtlpRulesCache};
use crate::decode::{Target, json, legacy, otlp, protobuf};
use crate::error::{PushOutcome, Rejection};
use crate::intake::{Decoded, Origin, Pair, Rules, counted_bytes};
use crate::metrics::Metrics;
use crate::replicate::{Cargo, Ingesters, RefusedRow, Sending, Shipment, replicate};
use crate::report::{Reason, Report, Tally};
use crate::stream::StreamCache;
use crate::tenants::Tenants;
use crate::time;

/// Bodies up to this size are decoded where they came; longer ones on threads that may block.
const INLINE_BYTES_MAX: usize = 64 << 10;
/// Refused rows of a stream that an answer names.
const NAMED_ROWS_MAX: usize = 10;

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Protobuf,
    Json,
    LegacyJson,
    Otlp(OtlpFormat),
}

/// Nanoseconds since the Unix epoch, now.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The clock of this machine.
#[must_use]
pub fn system_clock() -> Clock {
    Arc::new(|| {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    })
}

/// Takes pushes. Cloning shares it.
#[derive(Clone)]
pub struct Distributor(Arc<Inner>);

struct Inner {
    config: Config,
    ingesters: Arc<dyn Ingesters>,
    overrides: Overrides,
    clock: Clock,
    streams: StreamCache,
    otlp_rules: OtlpRulesCache,
    tenants: Tenants,
    budget: Arc<Budget>,
    metrics: Metrics,
}

/// Whether rows of a push may have been taken before, as those of a client that has no answer to an
/// earlier try, or was started again.
///
/// A row that comes again is known by stream, time and content as long as its stream is in memory;
/// once it was flushed, all that is known is that it is older than the newest. From such a push,
/// that is taken for a row that is there already: it is neither stored nor told. A client that
/// sends the rows of a stream in the order of their times, each with the time it had, thus has each
/// stored once. Of one that does not, rows that were never stored are passed over too; they are
/// counted with the others, and would have been refused in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Repeats {
    /// A row that is too old is refused.
    #[default]
    None,
    /// A row that is too old is there already.
    Possible,
}

impl Distributor {
    /// A distributor that ships to `ingesters` what the limits in `overrides` allow.
    #[must_use]
    pub fn new(
        config: &Config,
        ingesters: Arc<dyn Ingesters>,
        overrides: Overrides,
        clock: Clock,
        metrics: Metrics,
    ) -> Self {
        Self(Arc::new(Inner {
            streams: StreamCache::new(config.label_cache_size.0),
            otlp_rules: OtlpRulesCache::default(),
            tenants: Tenants::new(metrics.clone()),
            budget: Budget::new("distributor.max_inflight_size", config.max_inflight_size.0),
            config: config.clone(),
            ingesters,
            overrides,
            clock,
            metrics,
        }))
    }

    /// Takes rows from within this process, under the same rules as those that come by HTTP.
    pub async fn push(&self, tenant: &TenantId, batches: Vec<StreamBatch>) -> PushOutcome {
        let mut reservation = self.0.budget.reservation();
        let bytes = batches
            .iter()
            .map(|batch| batch.entries.heap_bytes())
            .sum::<usize>();
        if let Err(rejection) = body::reserve(&mut reservation, 2 * bytes) {
            return rejection.into();
        }
        let decode = move |target: &mut Target<'_>, _: &mut Reservation| rows(&batches, target);
        self.take(tenant, reservation, bytes, Repeats::None, decode)
            .await
    }

    /// Takes a message of Loki's push protocol, not compressed, from within this process.
    pub async fn push_message(
        &self,
        tenant: &TenantId,
        message: Bytes,
        repeats: Repeats,
    ) -> PushOutcome {
        let mut reservation = self.0.budget.reservation();
        if let Err(rejection) = body::reserve(&mut reservation, message.len()) {
            return rejection.into();
        }
        let kind = (Format::Protobuf, Encoding::Plain);
        self.push_body(tenant, kind, repeats, message, reservation)
            .await
    }

    /// Takes the body of a request.
    pub(crate) async fn push_body(
        &self,
        tenant: &TenantId,
        (format, encoding): (Format, Encoding),
        repeats: Repeats,
        body: Bytes,
        reservation: Reservation,
    ) -> PushOutcome {
        self.0.metrics.body_bytes.inc_by(body.len() as u64);
        let (inner, bytes_max) = (Arc::clone(&self.0), self.0.config.max_decompressed_size);
        let len = body.len();
        let decode = move |target: &mut Target<'_>, reservation: &mut Reservation| {
            let sent = body.clone();
            let body = body::decompress(body, encoding, bytes_max.as_usize(), reservation)?;
            // The rows are copied out of the body into columns.
            body::reserve(reservation, body.len())?;
            if (format, encoding) == (Format::Protobuf, Encoding::Snappy) {
                target.intake.come_from(Origin::new(sent, &body));
            }
            match format {
                Format::Protobuf => protobuf::decode(&body, target),
                Format::Json => json::decode(&body::text(body, reservation)?, target),
                Format::LegacyJson => legacy::decode(&body, target),
                Format::Otlp(format) => {
                    let rules = inner.otlp_rules.get(target.intake.rules.limits);
                    otlp::decode(&body, format, &rules, target)
                }
            }
        };
        self.take(tenant, reservation, len, repeats, decode).await
    }

    /// An empty part of the memory that all pushes share.
    pub(crate) fn reservation(&self) -> Reservation {
        self.0.budget.reservation()
    }

    pub(crate) fn config(&self) -> &Config {
        &self.0.config
    }

    /// Decodes a push and stores what may be stored of it.
    async fn take<D>(
        &self,
        tenant: &TenantId,
        reservation: Reservation,
        bytes: usize,
        repeats: Repeats,
        decode: D,
    ) -> PushOutcome
    where
        D: FnOnce(&mut Target<'_>, &mut Reservation) -> Result<(), Rejection> + Send + 'static,
    {
        let (inner, limits) = (Arc::clone(&self.0), self.0.overrides.limits(tenant));
        let now_ns = (inner.clock)();
        if let Some(outcome) = inner.blocked(tenant, &limits, now_ns) {
            return outcome;
        }
        let decoded = if bytes <= INLINE_BYTES_MAX {
            inner.decode(tenant, &limits, now_ns, reservation, decode)
        } else {
            let (inner, tenant, limits) = (Arc::clone(&inner), tenant.clone(), limits.clone());
            let decoding = tokio::task::spawn_blocking(move || {
                inner.decode(&tenant, &limits, now_ns, reservation, decode)
            });
            decoding.await.unwrap_or_else(|error| {
                Err(Rejection::new(500, format!("decoding failed: {error}")))
            })
        };
        inner
            .metrics
            .inflight_bytes
            .set(signed(inner.budget.used_bytes()));
        let outcome = match decoded {
            Ok((decoded, reservation)) => {
                inner
                    .store(tenant, &limits, now_ns, decoded, repeats, reservation)
                    .await
            }
            Err(rejection) => rejection.into(),
        };
        inner
            .metrics
            .inflight_bytes
            .set(signed(inner.budget.used_bytes()));
        outcome
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Takes rows that are decoded already.
fn rows(batches: &[StreamBatch], target: &mut Target<'_>) -> Result<(), Rejection> {
    let mut pairs: Vec<Pair<'_>> = Vec::new();
    for batch in batches {
        let labels: Vec<Pair<'_>> = batch
            .labels
            .iter()
            .map(|l| ((*l.name).into(), (*l.value).into()))
            .collect();
        target.begin_pairs(&labels)?;
        for row in &batch.entries {
            pairs.clear();
            pairs.extend(
                row.metadata
                    .iter()
                    .map(|l| ((*l.name).into(), (*l.value).into())),
            );
            target.intake.row(row.timestamp_ns, row.line, &pairs, &[]);
        }
    }
    target.expect_streams()
}

impl Inner {
    /// The answer to tenants whose pushes are refused for some time.
    fn blocked(&self, tenant: &TenantId, limits: &Limits, now_ns: i64) -> Option<PushOutcome> {
        let until = limits
            .block_ingestion_until
            .as_deref()
            .filter(|until| !until.is_empty())?;
        if now_ns >= time::until_ns(until) {
            return None;
        }
        let status = limits.block_ingestion_status_code;
        if status == 200 {
            return Some(PushOutcome::default());
        }
        let rejection = Rejection::blocked(status, tenant, until);
        let value = until.to_owned();
        Some(
            rejection
                .beyond("block_ingestion_until", value, tenant)
                .into(),
        )
    }

    fn decode<D>(
        &self,
        tenant: &TenantId,
        limits: &Arc<Limits>,
        now_ns: i64,
        mut reservation: Reservation,
        decode: D,
    ) -> Result<(Decoded, Reservation), Rejection>
    where
        D: FnOnce(&mut Target<'_>, &mut Reservation) -> Result<(), Rejection>,
    {
        let rules = Rules {
            tenant,
            limits,
            now_ns,
            batch_bytes: self.config.ingester_batch_size.as_usize().max(1),
        };
        let mut target = Target::new(rules, &self.streams);
        decode(&mut target, &mut reservation)?;
        let decoded = target.intake.finish();
        // The decompressed body is gone; what is left are the columns, and perhaps the body as sent.
        let held = decoded.heap_bytes() as u64;
        match reservation.bytes().checked_sub(held) {
            Some(spare) => reservation.shrink(spare),
            None => {
                let more = held - reservation.bytes();
                body::reserve(
                    &mut reservation,
                    usize::try_from(more).unwrap_or(usize::MAX),
                )?;
            }
        }
        Ok((decoded, reservation))
    }

    async fn store(
        &self,
        tenant: &TenantId,
        limits: &Limits,
        now_ns: i64,
        decoded: Decoded,
        repeats: Repeats,
        reservation: Reservation,
    ) -> PushOutcome {
        let Decoded {
            taken,
            body,
            received,
            accepted,
            mut report,
        } = decoded;
        let state = self.tenants.get(tenant, now_ns);
        state.counters.lines_received.inc_by(received.rows as u64);
        state.counters.bytes_received.inc_by(received.bytes as u64);
        if accepted.rows == 0 {
            self.metrics.discarded(tenant, &report);
            return outcome(0, &report, None, limits, tenant);
        }
        let distributors = self.ingesters.distributors();
        if let Err(limit) = state.take(limits, distributors, accepted.bytes, now_ns) {
            report.discard(Reason::RateLimited, accepted.rows, accepted.bytes);
            self.metrics.discarded(tenant, &report);
            let rejection = rate_limited(tenant, limit, accepted);
            return Rejection {
                exceeded: report.exceeded(limits, tenant),
                ..rejection
            }
            .into();
        }
        let named: Vec<(Arc<crate::stream::Stream>, usize)> = taken
            .iter()
            .map(|taken| (Arc::clone(&taken.stream), taken.entries.len()))
            .collect();
        let shipments: Vec<Shipment> = taken
            .into_iter()
            .map(|taken| Shipment {
                key: taken.stream.key,
                batch: taken.into_batch(),
            })
            .collect();
        let sending = Sending {
            timeout: self.config.push_timeout.as_std(),
            message_bytes: self.config.ingester_batch_size.as_usize(),
            metrics: self.metrics.clone(),
        };
        let ingesters = &*self.ingesters;
        let cargo = Cargo {
            shipments: &shipments,
            received: body.map(Arc::new),
        };
        let sent = replicate(ingesters, tenant, &cargo, &sending, reservation).await;
        let mut refused = match sent {
            Ok(refused) => refused,
            Err(rejection) => {
                self.metrics.discarded(tenant, &report);
                return rejection.into();
            }
        };
        let stored = accepted.rows - refused.len();
        if repeats == Repeats::Possible {
            refused.retain(|row| !is_too_old(row.reason));
        }
        let repeated = accepted.rows - stored - refused.len();
        state.counters.lines_repeated.inc_by(repeated as u64);
        let fault = refusals(tenant, limits, &named, &shipments, &refused, &mut report);
        self.metrics.discarded(tenant, &report);
        state.counters.lines_stored.inc_by(stored as u64);
        outcome(stored, &report, fault, limits, tenant)
    }
}

fn rate_limited(tenant: &TenantId, limit: u64, wanted: Tally) -> Rejection {
    Rejection::new(
        429,
        format!(
            "ingestion rate limit exceeded for user {tenant} (limit: {limit} bytes/sec) while \
             attempting to ingest '{}' lines totaling '{}' bytes, reduce log volume or contact \
             your Loki administrator to see if the limit can be increased",
            wanted.rows, wanted.bytes
        ),
    )
}

/// The outcome of a push of which `stored` rows were stored. `fault` is what ingesters refused.
fn outcome(
    stored: usize,
    report: &Report,
    fault: Option<Rejection>,
    limits: &Limits,
    tenant: &TenantId,
) -> PushOutcome {
    let rejection = match (fault, report.text()) {
        (Some(mut fault), Some(text)) => {
            fault.message = format!("{}\n{text}", fault.message);
            Some(fault)
        }
        (Some(fault), None) => Some(fault),
        (None, Some(text)) => Some(Rejection::invalid(text)),
        // What is wrong with rows is more important than that others are not taken now.
        (None, None) => report.blocked(limits.block_ingestion_status_code),
    };
    PushOutcome {
        stored_rows: stored,
        refused_rows: report.refused_rows(),
        rejection: rejection.map(|rejection| Rejection {
            exceeded: report.exceeded(limits, tenant),
            ..rejection
        }),
    }
}

/// Counts what ingesters refused, and words it: as in Loki, the last stream's refusals.
fn refusals(
    tenant: &TenantId,
    limits: &Limits,
    named: &[(Arc<crate::stream::Stream>, usize)],
    shipments: &[Shipment],
    refused: &[RefusedRow],
    report: &mut Report,
) -> Option<Rejection> {
    for row in refused {
        let entry = shipments
            .get(row.shipment)
            .and_then(|s| s.batch.entries.get(row.row));
        let bytes = entry.map_or(0, |entry| entry.line.len() + counted_bytes(entry.metadata));
        report.discard(reason_of(row.reason), 1, bytes);
    }
    let last = refused.last()?;
    let (stream, rows) = named.get(last.shipment)?;
    let entries = &shipments.get(last.shipment)?.batch.entries;
    let of_stream: Vec<&RefusedRow> = refused
        .iter()
        .filter(|row| row.shipment == last.shipment)
        .collect();
    let text = &stream.text;
    if let Some(RefusalReason::StreamLimit { .. }) = of_stream.first().map(|row| row.reason) {
        let message = format!(
            "maximum active stream limit exceeded when trying to create stream {text}, reduce the \
             number of active streams (reduce labels or reduce label values), or contact your Loki \
             administrator to see if the limit can be increased, user: '{tenant}'"
        );
        return Some(Rejection::new(429, message));
    }
    if let Some(RefusalReason::StreamMemory) = of_stream.first().map(|row| row.reason) {
        let message = format!(
            "no memory for the new stream {text}: the ingester has as many as fit \
             ingester.stream_memory_max, user: '{tenant}'"
        );
        return Some(Rejection::new(429, message));
    }
    let mut message = String::new();
    for row in of_stream.iter().take(NAMED_ROWS_MAX) {
        let Some(entry) = entries.get(row.row) else {
            continue;
        };
        let bytes = entry.line.len() + counted_bytes(entry.metadata);
        let why = why(row.reason, limits, text, entry.timestamp_ns, bytes);
        let time = time::go_time(entry.timestamp_ns);
        message.push_str(&format!(
            "entry with timestamp {time} ignored, reason: '{why}',\n"
        ));
    }
    message.push_str(&format!(
        "user '{tenant}', total ignored: {} out of {rows} for stream: {text}",
        of_stream.len()
    ));
    let status = match last.reason {
        RefusalReason::StreamRateLimit { .. } => 429,
        _ => 400,
    };
    Some(Rejection::new(status, message))
}

fn is_too_old(reason: RefusalReason) -> bool {
    matches!(
        reason,
        RefusalReason::OutOfOrder { .. } | RefusalReason::TooFarBehind { .. }
    )
}

fn reason_of(reason: RefusalReason) -> Reason {
    match reason {
        RefusalReason::OutOfOrder { .. } => Reason::OutOfOrder,
        RefusalReason::TooFarBehind { .. } => Reason::TooFarBehind,
        RefusalReason::StreamLimit { .. } => Reason::StreamLimit,
        RefusalReason::StreamMemory => Reason::StreamMemory,
        RefusalReason::StreamRateLimit { .. } => Reason::PerStreamRateLimit,
    }
}

/// Why a row was refused, in Loki's words.
fn why(
    reason: RefusalReason,
    limits: &Limits,
    stream: &str,
    timestamp_ns: i64,
    bytes: usize,
) -> String {
    match reason {
        RefusalReason::OutOfOrder { .. } => "entry out of order".to_owned(),
        RefusalReason::TooFarBehind { newest_ns } => format!(
            "entry too far behind, entry timestamp is: {}, oldest acceptable timestamp is: {}",
            time::rfc3339_seconds(timestamp_ns),
            time::rfc3339_seconds(newest_ns.saturating_sub(limits.out_of_order_window.0))
        ),
        RefusalReason::StreamLimit { .. } => "maximum active stream limit exceeded".to_owned(),
        RefusalReason::StreamMemory => "no memory for more streams".to_owned(),
        RefusalReason::StreamRateLimit { limit } => format!(
            "Per stream rate limit exceeded (limit: {}/sec) while attempting to ingest for stream \
             '{stream}' totaling {}, consider splitting a stream via additional labels or contact \
             your Loki administrator to see if the limit can be increased",
            ByteSize(limit),
            ByteSize(bytes as u64)
        ),
    }
}
