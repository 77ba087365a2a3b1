//! One at a time: who continues an upload, or asks another registry about a tag.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Mutex as Lock, OwnedMutexGuard};

type Locks = Arc<Mutex<HashMap<String, Arc<Lock<()>>>>>;

/// What requests of this process are busy with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turns(Locks);

/// The right to be busy with a thing.
#[derive(Debug)]
pub(crate) struct Turn {
    key: String,
    locks: Locks,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits until nobody else is busy with it; none if that takes too long.
    pub(crate) async fn enter(&self, key: &str, wait_max: Duration) -> Option<Turn> {
        let (mut turn, lock) = self.wait_for(key);
        let entered = tokio::time::timeout(wait_max, lock.lock_owned()).await;
        turn.guard = Some(entered.ok()?);
        Some(turn)
    }

    /// None if somebody is busy with it.
    pub(crate) fn try_enter(&self, key: &str) -> Option<Turn> {
        let (mut turn, lock) = self.wait_for(key);
        turn.guard = Some(lock.try_lock_owned().ok()?);
        Some(turn)
    }

    fn wait_for(&self, key: &str) -> (Turn, Arc<Lock<()>>) {
        let lock = Arc::clone(self.0.lock().entry(key.to_owned()).or_default());
        let turn = Turn {
            key: key.to_owned(),
            locks: Arc::clone(&self.0),
            guard: None,
        };
        (turn, lock)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut locks = self.locks.lock();
        self.guard = None;
        // What the map has is the last, unless others wait.
        if locks
            .get(&self.key)
            .is_some_and(|lock| Arc::strong_count(lock) == 1)
        {
            locks.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn one_after_the_other_and_nothing_is_left() {
        let turns = Turns::default();
        let first = turns.enter("a", LONG).await.unwrap();
        let _other = turns.enter("b", LONG).await.unwrap();
        assert!(turns.try_enter("a").is_none());
        let second = tokio::spawn({
            let turns = turns.clone();
            async move { turns.enter("a", LONG).await.is_some() }
        });
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        drop(first);
        assert!(second.await.unwrap());
        assert_eq!(turns.0.lock().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_told() {
        let turns = Turns::default();
        let _first = turns.enter("a", LONG).await.unwrap();
        assert!(turns.enter("a", LONG).await.is_none());
        assert_eq!(turns.0.lock().len(), 1);
    }
}
