//! Looks for files: at the start, when a name comes or goes, and from time to time.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::ScrapeConfig;
use crate::discover::{Groups, Scan, SharedTargets, Targets, Watch};
use crate::metrics::Metrics;
use crate::positions::is_positions_file;
use crate::reader::drive::Inbox;

/// The shortest time between two looks.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// Looks for files and tells the readers.
pub(crate) struct Scout {
    pub(crate) jobs: Vec<ScrapeConfig>,
    pub(crate) hostname: String,
    /// What is found while the agent runs.
    pub(crate) groups: Arc<Groups>,
    /// Where the targets are shown.
    pub(crate) shown: Arc<SharedTargets>,
    pub(crate) watch: Watch,
    /// Says that a name came or went.
    pub(crate) rescans: watch::Receiver<()>,
    pub(crate) inboxes: Vec<Arc<Inbox>>,
    pub(crate) files_max: usize,
    /// Where positions are kept.
    pub(crate) positions: PathBuf,
    /// The longest time between two looks.
    pub(crate) interval: Duration,
    pub(crate) metrics: Metrics,
}

impl Scout {
    /// Looks until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut was_too_many = false;
        let (mut special, mut version) = (0, 0);
        loop {
            let began = Instant::now();
            self.rescans.mark_unchanged();
            self.renew_targets(&mut version);
            if let Some(scan) = self.look().await {
                self.tell_limits(&scan, &mut was_too_many, &mut special);
                for inbox in &self.inboxes {
                    inbox.scanned(scan.clone());
                }
            }
            // What takes long is done less often.
            let rest_min = (began.elapsed() * 10).max(INTERVAL_MIN);
            let rest_max = self.interval.max(rest_min);
            let next = async {
                tokio::time::sleep(rest_min).await;
                let changed = self.rescans.changed();
                // The sender lives as long as the watch; an error would only mean no more notices.
                let _ = tokio::time::timeout(rest_max - rest_min, changed).await;
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = next => {}
            }
        }
    }

    /// Makes the targets anew if others were found than in `version`.
    fn renew_targets(&self, version: &mut u64) {
        let Some((newer, found)) = self.groups.newer_than(*version) else {
            return;
        };
        *version = newer;
        match Targets::with_found(&self.jobs, found, &self.hostname) {
            Ok(targets) => {
                let count = targets.active().len();
                let count = i64::try_from(count).unwrap_or(i64::MAX);
                self.metrics.targets_active.set(count);
                self.shown.set(Arc::new(targets));
            }
            Err(error) => tracing::error!(%error, "targets cannot be made"),
        }
    }

    async fn look(&mut self) -> Option<Arc<Scan>> {
        let (targets, files_max) = (self.shown.get(), self.files_max);
        let positions = self.positions.clone();
        let mut watch = std::mem::take(&mut self.watch);
        let looked = tokio::task::spawn_blocking(move || {
            let is_own = |path: &Path| is_positions_file(&positions, path);
            let scan = targets.scan(files_max, &is_own);
            // A name that came after the look and before the watch would go unnoticed.
            let again = watch.set(scan.directories.iter().cloned().collect());
            let scan = if again {
                targets.scan(files_max, &is_own)
            } else {
                scan
            };
            (scan, watch)
        });
        match looked.await {
            Ok((scan, watch)) => {
                self.watch = watch;
                Some(Arc::new(scan))
            }
            Err(error) => {
                tracing::error!(%error, "looking for files has failed");
                None
            }
        }
    }

    fn tell_limits(&self, scan: &Scan, was_too_many: &mut bool, special: &mut usize) {
        if scan.too_many && !*was_too_many {
            tracing::warn!(
                limit = "limits_config.tailed_files_max",
                value = self.files_max,
                "there are more files than may be tailed"
            );
            self.metrics.target_failed("too_many", 1);
        }
        if scan.special > *special {
            tracing::info!(
                count = scan.special,
                "matches that are no regular files are passed over"
            );
            self.metrics
                .target_failed("not_a_file", scan.special - *special);
        }
        (*was_too_many, *special) = (scan.too_many, scan.special);
    }
}
