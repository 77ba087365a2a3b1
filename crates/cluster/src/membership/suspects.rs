//! Members that failed calls, until they are given another chance.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Members that failed calls. Bounded by the number of members that were ever called.
#[derive(Debug)]
pub(crate) struct Suspects {
    period: Duration,
    until: Mutex<HashMap<Arc<str>, Instant>>,
    changed: Notify,
}

impl Suspects {
    pub(crate) fn new(period: Duration) -> Self {
        Self {
            period,
            until: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// A call got no answer.
    pub(crate) fn failed(&self, id: &Arc<str>) {
        let until = Instant::now() + self.period;
        if self.until.lock().insert(Arc::clone(id), until).is_none() {
            tracing::warn!(member = %id, "does not answer, passed over for a while");
            self.changed.notify_one();
        }
    }

    /// A call was answered.
    pub(crate) fn answered(&self, id: &Arc<str>) {
        let mut until = self.until.lock();
        // The usual case, on every call: nobody is suspected.
        if !until.is_empty() && until.remove(id).is_some() {
            self.changed.notify_one();
        }
    }

    /// Who is suspected at `now`, and when the first suspicion ends.
    pub(super) fn at(&self, now: Instant) -> (HashSet<Arc<str>>, Option<Instant>) {
        let mut until = self.until.lock();
        until.retain(|_, end| *end > now);
        (
            until.keys().cloned().collect(),
            until.values().min().copied(),
        )
    }

    /// Waits until somebody became or ceased to be a suspect since the last wait.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn suspicion_lasts_for_its_period() {
        let suspects = Suspects::new(Duration::from_secs(5));
        suspects.failed(&"a".into());
        suspects.changed().await;
        let now = Instant::now();
        let (who, end) = suspects.at(now);
        assert!(who.contains("a") && end.is_some_and(|end| end > now));
        let (who, end) = suspects.at(now + Duration::from_secs(6));
        assert!(who.is_empty() && end.is_none());
    }
}
