//! Saves positions as they change.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Book, PositionsFile};
use crate::metrics::Metrics;

/// How often positions are saved at most.
const INTERVAL_MIN: Duration = Duration::from_millis(250);

/// Saves positions as they change.
#[derive(Clone)]
pub(crate) struct Saver {
    file: Arc<Mutex<PositionsFile>>,
    book: Arc<Book>,
    metrics: Metrics,
    interval_max: Duration,
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
        }
    }

    /// Saves until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut rest = INTERVAL_MIN;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(rest) => {}
            }
            let began = Instant::now();
            self.save().await;
            // What takes long, as with many files on a slow disk, is done less often.
            rest = (began.elapsed() * 20).clamp(INTERVAL_MIN, self.interval_max);
        }
    }

    /// Saves what has changed.
    pub(crate) async fn save(&self) {
        let Some(records) = self.book.take_changed() else {
            return;
        };
        let file = self.file.clone();
        let saved = tokio::task::spawn_blocking(move || file.lock().save(&records)).await;
        let error = match saved {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        self.book.set_changed();
        self.metrics.positions_failed.inc();
        tracing::error!(error, "positions cannot be saved, trying again");
    }
}
