//! The loop: looks at all partitions, again and again.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use model::{TenantId, TimeRange};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::deletes::Due;
use crate::partition::Visit;
use crate::retention::Retention;
use crate::{CompactError, Compactor};

/// Days before today that are looked at in every cycle: they change.
const RECENT_DAYS: i64 = 2;
/// The shortest interval: an interval of 0 must not keep a core busy.
const INTERVAL_MIN: Duration = Duration::from_millis(10);

/// Turns that a tenant gets in one cycle; the next one goes on.
const ROUNDS_MAX: usize = 16;

/// What one cycle is about.
#[derive(Clone, Copy, Debug)]
struct Cycle {
    /// All days, not only those that change.
    all_days: bool,
    sweeps: bool,
}

/// When something was last done.
#[derive(Clone, Copy, Debug, Default)]
struct Last {
    all_days_ns: Option<i64>,
    swept_ns: Option<i64>,
}

impl Last {
    fn next(&mut self, now_ns: i64, old_interval_ns: i64, sweep_interval_ns: i64) -> Cycle {
        let due = |last: &mut Option<i64>, interval_ns: i64| {
            // What was last done in a time to come was done before the clock was set back.
            let is_due =
                last.is_none_or(|last| last > now_ns || now_ns.saturating_sub(last) >= interval_ns);
            if is_due {
                *last = Some(now_ns);
            }
            is_due
        };
        Cycle {
            all_days: due(&mut self.all_days_ns, old_interval_ns),
            sweeps: due(&mut self.swept_ns, sweep_interval_ns),
        }
    }
}

/// A tenant's turn.
#[derive(Debug)]
struct Turn {
    tenant: TenantId,
    /// Days that turns before left unfinished; `None` in the first.
    days: Option<Vec<i64>>,
    /// Turns before.
    rounds: usize,
}

impl Turn {
    fn new(tenant: TenantId) -> Self {
        Self {
            tenant,
            days: None,
            rounds: 0,
        }
    }
}

/// What a cycle has looked at.
#[derive(Debug, Default)]
struct LookedAt {
    partitions: usize,
    /// Those that could not be compacted.
    failed: usize,
    /// Delete requests that cannot be read or make no sense.
    deletes_damaged: usize,
}

impl Compactor {
    /// Compacts until `stop`. What is under way then is left; the next run does it.
    pub async fn run(&self, stop: CancellationToken) {
        let interval = self.config.interval.as_std().max(INTERVAL_MIN);
        let mut last = Last::default();
        while stop
            .run_until_cancelled(tokio::time::sleep(interval))
            .await
            .is_some()
        {
            let config = &self.config;
            let (old, sweep) = (config.old_interval.0, config.sweep_interval.0);
            let cycle = last.next(self.now_ns(), old, sweep);
            if stop.run_until_cancelled(self.cycle(cycle)).await.is_none() {
                break;
            }
        }
    }

    /// Looks at all partitions and files once, whatever the intervals are.
    pub async fn run_once(&self) {
        self.cycle(Cycle {
            all_days: true,
            sweeps: true,
        })
        .await;
    }

    async fn cycle(&self, cycle: Cycle) {
        let tenants = match self.catalog.tenants_with_files().await {
            Ok(tenants) => tenants,
            Err(error) => {
                tracing::warn!(error = %error, "cannot list tenants");
                return;
            }
        };
        let mut looked_at = LookedAt::default();
        // Tenants with much to do get on a bit in each round, so that all get their turn.
        let mut turns: Vec<Turn> = tenants.into_iter().map(Turn::new).collect();
        while !turns.is_empty() {
            let mut next = Vec::new();
            for turn in turns {
                next.extend(self.turn(turn, cycle, &mut looked_at).await);
            }
            turns = next;
        }
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.metrics.partitions.set(count(looked_at.partitions));
        self.metrics.partitions_failed.set(count(looked_at.failed));
        let deletes_damaged = count(looked_at.deletes_damaged);
        self.metrics.deletes_damaged.set(deletes_damaged);
        self.metrics
            .damaged_objects
            .set(count(self.aside.damaged()));
        self.metrics
            .last_cycle_seconds
            .set(self.now_ns() / 1_000_000_000);
    }

    /// Compacts some of a tenant. Returns what is left, until nothing is.
    async fn turn(&self, turn: Turn, cycle: Cycle, looked_at: &mut LookedAt) -> Option<Turn> {
        let tenant = &turn.tenant;
        let left = match self.compact_tenant(&turn, cycle, looked_at).await {
            Ok(left) => left,
            Err(error) => {
                warn(tenant, "cannot compact a tenant", &error);
                Vec::new()
            }
        };
        if turn.rounds == 0 {
            if let Err(error) = self.drop_excess(tenant).await {
                warn(tenant, "cannot drop what is more than may be kept", &error);
            }
            if cycle.sweeps
                && let Err(error) = self.sweep(tenant).await
            {
                warn(tenant, "cannot delete files that are not needed", &error);
            }
        }
        (!left.is_empty() && turn.rounds + 1 < ROUNDS_MAX).then_some(Turn {
            tenant: turn.tenant,
            days: Some(left),
            rounds: turn.rounds + 1,
        })
    }

    /// Visits partitions of a tenant. Returns the days on which more is to be done.
    async fn compact_tenant(
        &self,
        turn: &Turn,
        cycle: Cycle,
        looked_at: &mut LookedAt,
    ) -> Result<Vec<i64>, CompactError> {
        let tenant = &turn.tenant;
        let limits = self.overrides.limits(tenant);
        let retention = Retention::of(&limits).unwrap_or_else(|error| {
            tracing::error!(%tenant, error, "everything is kept until this is corrected");
            Retention::default()
        });
        let due = self.due_deletes(tenant).await?;
        let days = match &turn.days {
            Some(left) => left.clone(),
            None => {
                let recent = TimeRange::day_of(self.now_ns()) - RECENT_DAYS;
                let mut days = self.catalog.days(tenant).await?;
                days.retain(|day| cycle.all_days || *day >= recent || due.touches(*day));
                looked_at.partitions += days.len();
                looked_at.deletes_damaged += due.damaged;
                days
            }
        };
        let open = Mutex::new(BTreeMap::new());
        // By value: a closure over references would make the future not provably `Send`.
        futures::stream::iter(days)
            .for_each_concurrent(self.config.max_concurrent.max(1), |day| {
                let (retention, due, open) = (&retention, &due, &open);
                async move {
                    let visited = self.visited(tenant, day, retention, due).await;
                    if visited != Some(Visit::Done) {
                        open.lock().insert(day, visited);
                    }
                }
            })
            .await;
        let open = open.into_inner();
        looked_at.failed += open.values().filter(|visited| visited.is_none()).count();
        let open_days: Vec<i64> = open.keys().copied().collect();
        // What other rounds are about is looked at in the next cycle.
        if turn.days.is_none() {
            self.finish_deletes(tenant, &due, &open_days).await;
        }
        let is_left = |(day, visited): (i64, Option<Visit>)| {
            (visited == Some(Visit::Unfinished)).then_some(day)
        };
        Ok(open.into_iter().filter_map(is_left).collect())
    }

    /// How a visit to a partition ended; `None` if it failed. Why is logged.
    async fn visited(
        &self,
        tenant: &TenantId,
        day: i64,
        retention: &Retention,
        due: &Due,
    ) -> Option<Visit> {
        match self.visit(tenant, day, retention, due).await {
            Ok(visit) => Some(visit),
            Err(error) if error.is_conflict() => {
                tracing::debug!(%tenant, day, %error, "another compactor was faster");
                Some(Visit::Held)
            }
            Err(error) => {
                let what = format!("cannot compact {}", storage::key::day_text(day));
                warn(tenant, &what, &error);
                None
            }
        }
    }
}

/// Logs an error with its causes.
fn warn(tenant: &TenantId, what: &str, error: &CompactError) {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    tracing::warn!(%tenant, error = text, "{what}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_days_and_files_are_looked_at_first_and_then_seldom() {
        let mut last = Last::default();
        let mut next = |now_ns| {
            let cycle = last.next(now_ns, 100, 50);
            (cycle.all_days, cycle.sweeps)
        };
        assert_eq!(next(1000), (true, true));
        assert_eq!(next(1049), (false, false));
        assert_eq!(next(1050), (false, true));
        assert_eq!(next(1100), (true, true));
        // The clock was set back.
        assert_eq!(next(500), (true, true));
        assert_eq!(next(549), (false, false));
    }
}
