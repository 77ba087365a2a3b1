//! What a request costs: how long it waits for the database and for the store. The handlers do not
//! know of it; [`Timer`]s find the request that they run for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prometheus_client::metrics::histogram::Histogram;

tokio::task_local! {
    static COST: Cost;
}

/// The cost of one request. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cost(Arc<Spent>);

#[derive(Debug, Default)]
struct Spent {
    meta_us: AtomicU64,
    store_us: AtomicU64,
    store_ops: AtomicU64,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The database.
    Meta,
    /// The store.
    Store,
}

impl Cost {
    /// The cost of the request that this task works for, if it does.
    pub(crate) fn current() -> Option<Self> {
        COST.try_with(Clone::clone).ok()
    }

    /// Runs what is done for the request.
    pub(crate) async fn of<F: Future>(self, work: F) -> F::Output {
        COST.scope(self, work).await
    }

    /// Adds an operation and what it took.
    pub(crate) fn add(&self, part: Part, took: Duration) {
        self.wait(part, took);
        if part == Part::Store {
            self.0.store_ops.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Adds what more was waited in an operation.
    pub(crate) fn wait(&self, part: Part, took: Duration) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let of = match part {
            Part::Meta => &self.0.meta_us,
            Part::Store => &self.0.store_us,
        };
        of.fetch_add(took_us, Ordering::Relaxed);
    }

    pub(crate) fn meta_ms(&self) -> f64 {
        self.0.meta_us.load(Ordering::Relaxed) as f64 / 1000.0
    }

    pub(crate) fn store_ms(&self) -> f64 {
        self.0.store_us.load(Ordering::Relaxed) as f64 / 1000.0
    }

    pub(crate) fn store_ops(&self) -> u64 {
        self.0.store_ops.load(Ordering::Relaxed)
    }
}

/// Measures one operation, from its making to its drop.
pub(crate) struct Timer {
    part: Part,
    begun: Instant,
    cost: Option<Cost>,
    histogram: Histogram,
}

impl Timer {
    /// Begins now, for the request of this task and a histogram of seconds.
    pub(crate) fn start(part: Part, histogram: Histogram) -> Self {
        Self {
            part,
            begun: Instant::now(),
            cost: Cost::current(),
            histogram,
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let took = self.begun.elapsed();
        self.histogram.observe(took.as_secs_f64());
        if let Some(cost) = &self.cost {
            cost.add(self.part, took);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_request_waits_for_is_added_up() {
        let cost = Cost::default();
        let histogram = Histogram::new([1.0]);
        drop(Timer::start(Part::Store, histogram.clone()));
        let work = async {
            let current = Cost::current().unwrap();
            current.add(Part::Meta, Duration::from_micros(1500));
            current.add(Part::Store, Duration::from_micros(250));
            drop(Timer::start(Part::Store, histogram.clone()));
        };
        cost.clone().of(work).await;
        assert_eq!(cost.store_ops(), 2, "the first was for nobody");
        assert!((cost.meta_ms() - 1.5).abs() < 1e-9);
        assert!(cost.store_ms() >= 0.25);
    }
}
