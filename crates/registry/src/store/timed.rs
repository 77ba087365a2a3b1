//! A store whose operations are measured.

use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{Stream, StreamExt};

use super::{Appender, Bodies, Store, StoreError};
use crate::cost::{Cost, Part, Timer};
use crate::metrics::{Metrics, StoreAction};

/// A write that took less only added to a buffer.
const WRITE_MIN: Duration = Duration::from_micros(50);

/// Measures another store.
pub(crate) struct TimedStore {
    store: Arc<dyn Store>,
    metrics: Metrics,
}

impl TimedStore {
    pub(crate) fn new(store: Arc<dyn Store>, metrics: Metrics) -> Self {
        Self { store, metrics }
    }

    fn timer(&self, action: StoreAction) -> Timer {
        Timer::start(Part::Store, self.metrics.store_seconds(action))
    }
}

#[async_trait]
impl Store for TimedStore {
    async fn append(
        &self,
        key: &str,
        written: &str,
        received: u64,
    ) -> Result<Box<dyn Appender>, StoreError> {
        let timer = self.timer(StoreAction::open);
        let appender = self.store.append(key, written, received).await?;
        drop(timer);
        Ok(Box::new(TimedAppender {
            appender,
            metrics: self.metrics.clone(),
        }))
    }

    async fn move_away(
        &self,
        key: &str,
        written: &str,
        received: u64,
        to: String,
    ) -> Result<(String, String), StoreError> {
        let _timer = self.timer(StoreAction::open);
        self.store.move_away(key, written, received, to).await
    }

    async fn read(&self, key: &str, range: Range<u64>) -> Result<Bodies, StoreError> {
        let timer = self.timer(StoreAction::read);
        let bodies = self.store.read(key, range).await?;
        drop(timer);
        let Some(cost) = Cost::current() else {
            return Ok(bodies);
        };
        Ok(TimedBodies {
            bodies,
            cost,
            waiting_since: None,
        }
        .boxed())
    }

    async fn size(&self, key: &str) -> Result<Option<u64>, StoreError> {
        self.store.size(key).await
    }

    async fn address(&self, key: &str, lifetime: Duration) -> Result<Option<String>, StoreError> {
        self.store.address(key, lifetime).await
    }

    async fn remove(&self, key: &str, written: Option<&str>) -> Result<(), StoreError> {
        let _timer = self.timer(StoreAction::remove);
        self.store.remove(key, written).await
    }
}

struct TimedAppender {
    appender: Box<dyn Appender>,
    metrics: Metrics,
}

#[async_trait]
impl Appender for TimedAppender {
    async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        let begun = Instant::now();
        let written = self.appender.write(bytes).await;
        let took = begun.elapsed();
        if took >= WRITE_MIN {
            self.metrics
                .store_seconds(StoreAction::write)
                .observe(took.as_secs_f64());
            if let Some(cost) = Cost::current() {
                cost.add(Part::Store, took);
            }
        }
        written
    }

    fn must_save(&self) -> bool {
        self.appender.must_save()
    }

    fn begun(&mut self) -> Result<String, StoreError> {
        self.appender.begun()
    }

    async fn save(&mut self) -> Result<String, StoreError> {
        let _timer = Timer::start(Part::Store, self.metrics.store_seconds(StoreAction::save));
        self.appender.save().await
    }

    async fn finish(&mut self) -> Result<(), StoreError> {
        let _timer = Timer::start(Part::Store, self.metrics.store_seconds(StoreAction::finish));
        self.appender.finish().await
    }
}

/// Bytes on their way out: the time that is waited for them belongs to their request, which may have
/// left the task where it began.
struct TimedBodies {
    bodies: Bodies,
    cost: Cost,
    waiting_since: Option<Instant>,
}

impl Stream for TimedBodies {
    type Item = Result<Bytes, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let since = self.waiting_since.take().unwrap_or_else(Instant::now);
        let polled = self.bodies.poll_next_unpin(cx);
        match &polled {
            Poll::Pending => self.waiting_since = Some(since),
            Poll::Ready(_) => self.cost.wait(Part::Store, since.elapsed()),
        }
        polled
    }
}
