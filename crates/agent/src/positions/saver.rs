//! Saves positions as they change.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Book, PositionsFile};
use crate::discover::before_on_disk_ns;
use crate::metrics::Metrics;

/// How often positions are saved at most when nobody waits for it.
const INTERVAL_MIN: Duration = Duration::from_millis(250);

/// Saves positions as they change.
#[derive(Clone)]
pub(crate) struct Saver {
    file: Arc<Mutex<PositionsFile>>,
    book: Arc<Book>,
    metrics: Metrics,
    interval_max: Duration,
    wanted: Arc<Notify>,
    saved: watch::Sender<u64>,
}

/// Lets a courier wait until the book is saved.
#[derive(Clone)]
pub(crate) struct Saved {
    wanted: Arc<Notify>,
    saved: watch::Receiver<u64>,
}

impl Saved {
    /// Waits until a version of the book is saved, or could not be.
    pub(crate) async fn wait_for(&self, version: u64) {
        let mut saved = self.saved.clone();
        if *saved.borrow() < version {
            self.wanted.notify_one();
            // Nobody saves any more only when the agent stops.
            let _ = saved.wait_for(|saved| *saved >= version).await;
        }
    }
}

impl Saver {
    pub(crate) fn new(
        file: PositionsFile,
        book: Arc<Book>,
        metrics: Metrics,
        interval_max: Duration,
    ) -> Self {
        Self {
            file: Arc::new(Mutex::new(file)),
            book,
            metrics,
            interval_max: interval_max.max(INTERVAL_MIN),
            wanted: Arc::default(),
            saved: watch::Sender::new(0),
        }
    }

    /// What waits for this saver.
    pub(crate) fn saved(&self) -> Saved {
        Saved {
            wanted: self.wanted.clone(),
            saved: self.saved.subscribe(),
        }
    }

    /// Saves until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let (mut rest, mut rest_min) = (INTERVAL_MIN, Duration::ZERO);
        loop {
            let wanted = async {
                tokio::time::sleep(rest_min).await;
                self.wanted.notified().await;
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = wanted => {}
                () = tokio::time::sleep(rest) => {}
            }
            let began = Instant::now();
            self.save().await;
            // What takes long, as with many files on a slow disk, is done less often.
            rest = (began.elapsed() * 20).clamp(INTERVAL_MIN, self.interval_max);
            rest_min = (began.elapsed() * 2).min(rest);
        }
    }

    /// Saves what has changed.
    pub(crate) async fn save(&self) {
        let as_of_ns = before_on_disk_ns(SystemTime::now());
        let Some((version, records)) = self.book.take_changed() else {
            return;
        };
        let file = self.file.clone();
        let save = move || file.lock().save(&records, as_of_ns);
        let saved = tokio::task::spawn_blocking(save).await;
        let error = match saved {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        // A disk that is full must not hold up what is delivered.
        self.saved.send_replace(version);
        if let Some(error) = error {
            self.book.set_changed();
            self.metrics.positions_failed.inc();
            tracing::error!(error, "positions cannot be saved, trying again");
        }
    }
}
