//! A line on standard error that says how far a long query is. Only a terminal gets it.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Nothing is shown before a query has taken so long.
const PATIENCE: Duration = Duration::from_millis(700);

/// Shows progress until dropped.
pub(crate) struct Progress {
    began: Instant,
    shown: bool,
    enabled: bool,
}

impl Progress {
    pub(crate) fn new(quiet: bool) -> Self {
        let enabled = !quiet && std::io::stderr().is_terminal();
        Self {
            began: Instant::now(),
            shown: false,
            enabled,
        }
    }

    /// Waits for `work`, and shows `text` with the time it takes meanwhile.
    pub(crate) async fn during<T>(&mut self, text: &str, work: impl Future<Output = T>) -> T {
        if !self.enabled {
            return work.await;
        }
        tokio::pin!(work);
        let mut tick = tokio::time::interval(Duration::from_millis(200));
        loop {
            tokio::select! {
                result = &mut work => {
                    self.clear();
                    return result;
                }
                _ = tick.tick() => self.show(text),
            }
        }
    }

    fn show(&mut self, text: &str) {
        let elapsed = self.began.elapsed();
        if elapsed >= PATIENCE {
            let _ = write!(
                std::io::stderr(),
                "\r\x1b[K{text} {:.1} s",
                elapsed.as_secs_f64()
            );
            self.shown = true;
        }
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
