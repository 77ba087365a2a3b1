//! What a reader has read and not yet delivered: entries in open batches, batches that are under
//! way, and how much all that is.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::batch::{Batch, BatchId, Batcher, From, SourceId, entry_bytes};
use crate::deliver::Outcome;
use crate::entry::Entry;
use crate::metrics::{ClientMetrics, DropReason};

/// Bounds of what goes out.
#[derive(Clone, Debug)]
pub(crate) struct OutboxLimits {
    /// Bytes of a line after its stages; 0 is no bound.
    pub(crate) line_bytes_max: usize,
    /// Whether a longer line is cut rather than dropped.
    pub(crate) is_line_cut: bool,
    /// Bytes in memory that are not acknowledged; above that, reading waits. Half of it for one
    /// tenant.
    pub(crate) owed_bytes_max: usize,
    /// Lines per second, if that is bounded.
    pub(crate) rate: Option<RateLimit>,
}

/// A bound on the rate of lines.
#[derive(Clone, Debug)]
pub(crate) struct RateLimit {
    pub(crate) lines_per_second: f64,
    pub(crate) burst: f64,
    /// Whether lines above it are dropped; else reading waits.
    pub(crate) drops: bool,
}

type Tenant = Option<Arc<str>>;

/// What is read and not yet delivered.
#[derive(Debug)]
pub(crate) struct Outbox {
    batcher: Batcher,
    limits: OutboxLimits,
    metrics: ClientMetrics,
    tokens: Tokens,
    sent: HashMap<BatchId, Sent>,
    owed: HashMap<Tenant, usize>,
    owed_bytes: usize,
}

#[derive(Debug)]
struct Sent {
    tenant: Tenant,
    memory_bytes: usize,
    sources: Vec<SourceId>,
}

/// A token bucket that may be overdrawn by what is read at once.
#[derive(Debug)]
struct Tokens {
    left: f64,
    at: Duration,
}

impl Outbox {
    pub(crate) fn new(batcher: Batcher, limits: OutboxLimits, metrics: ClientMetrics) -> Self {
        let left = limits.rate.as_ref().map_or(0.0, |rate| rate.burst);
        Self {
            batcher,
            limits,
            metrics,
            tokens: Tokens {
                left,
                at: Duration::ZERO,
            },
            sent: HashMap::new(),
            owed: HashMap::new(),
            owed_bytes: 0,
        }
    }

    /// Takes an entry. Which batch it is in and of what tenant; nothing if it was dropped.
    pub(crate) fn add(
        &mut self,
        mut entry: Entry,
        from: From<'_>,
        now: Duration,
    ) -> Option<(BatchId, Tenant)> {
        if let Some(rate) = &self.limits.rate {
            self.tokens.left -= 1.0;
            if rate.drops && self.tokens.left < 0.0 {
                self.tokens.left = 0.0;
                self.metrics
                    .dropped(None, DropReason::ReadRate, 1, entry.line.len());
                return None;
            }
        }
        let max = self.limits.line_bytes_max;
        if max > 0 && entry.line.len() > max {
            if !self.limits.is_line_cut {
                self.metrics
                    .dropped(None, DropReason::LineTooLong, 1, entry.line.len());
                return None;
            }
            self.metrics.cut(None, entry.line.len() - max);
            entry.line.truncate(max);
        }
        let bytes = entry_bytes(&entry);
        match self.batcher.add(entry, from, now) {
            Ok((batch, tenant)) => {
                let bytes = Batch::memory_bytes_of(1, bytes);
                *self.owed.entry(tenant.clone()).or_default() += bytes;
                self.owed_bytes += bytes;
                Some((batch, tenant))
            }
            Err(_) => {
                self.metrics
                    .dropped(None, DropReason::StreamLimited, 1, bytes);
                None
            }
        }
    }

    /// Lets time pass for the rate of lines.
    pub(crate) fn refill(&mut self, now: Duration) {
        if let Some(rate) = &self.limits.rate {
            let passed = now.saturating_sub(self.tokens.at).as_secs_f64();
            self.tokens.left = (self.tokens.left + passed * rate.lines_per_second).min(rate.burst);
            self.tokens.at = now;
        }
    }

    /// Whether more may be read of what lately had lines of `tenant`.
    pub(crate) fn has_room(&self, tenant: &Tenant) -> bool {
        let owed = self.owed.get(tenant).copied().unwrap_or(0);
        self.owed_bytes < self.limits.owed_bytes_max && owed <= self.limits.owed_bytes_max / 2
    }

    /// When the rate allows more lines.
    pub(crate) fn paused_until(&self) -> Option<Duration> {
        let rate = self.limits.rate.as_ref().filter(|rate| !rate.drops)?;
        if self.tokens.left > 0.0 {
            return None;
        }
        let wait = (1.0 - self.tokens.left) / rate.lines_per_second;
        Some(self.tokens.at + Duration::from_secs_f64(wait.clamp(0.0, 3600.0)))
    }

    /// Batches to send now.
    pub(crate) fn due(&mut self, now: Duration) -> Vec<Batch> {
        let due = self.batcher.due(now);
        self.note_sent(&due);
        due
    }

    /// All batches, to send now.
    pub(crate) fn finish(&mut self) -> Vec<Batch> {
        let rest = self.batcher.finish();
        self.note_sent(&rest);
        rest
    }

    fn note_sent(&mut self, batches: &[Batch]) {
        for batch in batches {
            let mut sources: Vec<SourceId> = batch.spans.iter().map(|span| span.source).collect();
            sources.sort_unstable();
            sources.dedup();
            let sent = Sent {
                tenant: batch.tenant.clone(),
                memory_bytes: batch.memory_bytes(),
                sources,
            };
            self.sent.insert(batch.id, sent);
        }
        self.metrics.owed(self.owed_bytes);
    }

    /// Takes in that a batch is done with; which sources it had lines of.
    pub(crate) fn done(&mut self, outcome: Outcome) -> Vec<SourceId> {
        let Some(sent) = self.sent.remove(&outcome.batch) else {
            return Vec::new();
        };
        self.owed_bytes = self.owed_bytes.saturating_sub(sent.memory_bytes);
        if let Some(owed) = self.owed.get_mut(&sent.tenant) {
            *owed = owed.saturating_sub(sent.memory_bytes);
            if *owed == 0 {
                self.owed.remove(&sent.tenant);
            }
        }
        self.metrics.owed(self.owed_bytes);
        sent.sources
    }

    /// Bytes in memory that are not acknowledged.
    pub(crate) fn owed_bytes(&self) -> usize {
        self.owed_bytes
    }

    /// When there is a batch to send.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.batcher.next_due()
    }
}
