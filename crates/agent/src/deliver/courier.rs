//! Tries until a batch is taken or refused for good.

mod told;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Deliver, DeliverError};
use crate::batch::{Batch, BatchId};
use crate::metrics::{ClientMetrics, DropReason};
use crate::positions::Saved;
use told::Told;

/// Waits between tries.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    pub(crate) min: Duration,
    pub(crate) max: Duration,
    /// Tries until a batch is dropped; 0 is no bound.
    pub(crate) tries_max: u32,
    /// Whether a batch that is refused for its rate is dropped at once.
    pub(crate) drops_rate_limited: bool,
}

/// A batch that is done with: taken, or dropped for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) batch: BatchId,
}

/// Brings the batches of one client.
pub(crate) struct Courier {
    pub(crate) client: Arc<str>,
    /// The tenant of batches for which no stage named one.
    pub(crate) tenant: Option<Arc<str>>,
    pub(crate) deliver: Arc<dyn Deliver>,
    pub(crate) backoff: Backoff,
    /// Waits for what the book has of a batch; not if nothing is saved.
    pub(crate) saved: Option<Saved>,
    pub(crate) metrics: ClientMetrics,
    /// What was told of losses.
    pub(crate) told: Told,
}

/// The tenant and the lane of batches that go one after the other.
type Line = (Option<Arc<str>>, usize);

impl Courier {
    /// Brings what comes until nothing more comes and all is done, or until `give_up`. Batches wait
    /// here without a bound of their own: who sends them bounds what is not done with.
    pub(crate) async fn run(
        self,
        mut batches: mpsc::Receiver<Batch>,
        done: impl Fn(Outcome),
        give_up: CancellationToken,
    ) {
        let mut waiting: HashMap<Line, VecDeque<Batch>> = HashMap::new();
        let mut under_way: FuturesUnordered<BoxFuture<'_, (Line, BatchId)>> =
            FuturesUnordered::new();
        let mut is_open = true;
        while is_open || !under_way.is_empty() {
            let (line, next) = tokio::select! {
                () = give_up.cancelled() => return,
                batch = batches.recv(), if is_open => match batch {
                    None => {
                        is_open = false;
                        continue;
                    }
                    Some(batch) => {
                        let line = (batch.tenant.clone(), batch.lane);
                        match waiting.get_mut(&line) {
                            Some(queue) => {
                                queue.push_back(batch);
                                continue;
                            }
                            None => {
                                waiting.insert(line.clone(), VecDeque::new());
                                (line, Some(batch))
                            }
                        }
                    }
                },
                Some((line, batch)) = under_way.next(), if !under_way.is_empty() => {
                    done(Outcome { batch });
                    let next = waiting.get_mut(&line).and_then(VecDeque::pop_front);
                    (line, next)
                }
            };
            // A line is in the map exactly while one of its batches is under way.
            match next {
                Some(batch) => under_way.push(Box::pin(self.bring(line, batch))),
                None => drop(waiting.remove(&line)),
            }
        }
    }

    async fn bring(&self, line: Line, batch: Batch) -> (Line, BatchId) {
        let tenant = batch.tenant.as_deref().or(self.tenant.as_deref());
        if let Some(saved) = &self.saved {
            saved.wait_for(batch.needs_version).await;
        }
        let mut tries = 0_u32;
        loop {
            let may_repeat = batch.may_repeat || tries > 0;
            let pushed = self.deliver.push(tenant, &batch.request, may_repeat).await;
            let error = match pushed {
                Ok(()) => {
                    self.metrics.sent(batch.entries, batch.bytes);
                    break;
                }
                Err(error) => error,
            };
            tries = tries.saturating_add(1);
            match self.verdict(&error, tries) {
                Verdict::Wait(wait) => {
                    self.metrics.retried(tenant);
                    // Each failure in turn would fill the log of a long outage.
                    if tries.is_power_of_two() {
                        tracing::warn!(
                            client = %self.client, tenant, tries, %error,
                            "a batch was not taken, trying again"
                        );
                    }
                    tokio::time::sleep(wait).await;
                }
                Verdict::Drop(reason, entries) => {
                    self.drop(&batch, tenant, reason, entries, &error);
                    break;
                }
            }
        }
        (line, batch.id)
    }

    fn verdict(&self, error: &DeliverError, tries: u32) -> Verdict {
        match error {
            DeliverError::Refused { entries, .. } => {
                Verdict::Drop(DropReason::IngesterError, *entries)
            }
            DeliverError::Later {
                is_rate_limited: true,
                ..
            } if self.backoff.drops_rate_limited => Verdict::Drop(DropReason::RateLimited, None),
            DeliverError::Later {
                is_rate_limited, ..
            } if self.backoff.tries_max > 0 && tries > self.backoff.tries_max => {
                let limited = [DropReason::IngesterError, DropReason::RateLimited];
                let [other, limited] = limited;
                Verdict::Drop(if *is_rate_limited { limited } else { other }, None)
            }
            DeliverError::Later { after, .. } => {
                let wait = self.backoff.wait(tries, rand::random());
                Verdict::Wait(wait.max(after.unwrap_or_default()))
            }
        }
    }

    /// Counts what is lost, and tells of each file now and then which lines.
    fn drop(
        &self,
        batch: &Batch,
        tenant: Option<&str>,
        reason: DropReason,
        entries: Option<usize>,
        error: &DeliverError,
    ) {
        let entries = entries.unwrap_or(batch.entries).min(batch.entries);
        let bytes = batch.bytes * entries / batch.entries.max(1);
        self.metrics.dropped(tenant, reason, entries, bytes);
        self.metrics
            .sent(batch.entries - entries, batch.bytes - bytes);
        for span in &batch.spans {
            let Some(untold) = self.told.tell(&span.path) else {
                continue;
            };
            tracing::error!(
                client = %self.client,
                tenant,
                file = %span.path.display(),
                from_offset = span.start,
                to_line_at_offset = span.last,
                dropped = entries,
                of = batch.entries,
                untold_before = untold,
                reason = reason.name(),
                %error,
                "lines between these offsets were refused and are dropped"
            );
        }
    }
}

enum Verdict {
    Wait(Duration),
    Drop(DropReason, Option<usize>),
}

impl Backoff {
    /// How long to wait after so many tries: doubled each time, and between half and all of it by
    /// `chance`.
    fn wait(&self, tries: u32, chance: f64) -> Duration {
        let doubled = self
            .min
            .saturating_mul(2_u32.saturating_pow(tries.saturating_sub(1).min(30)));
        doubled
            .min(self.max.max(self.min))
            .mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests;
