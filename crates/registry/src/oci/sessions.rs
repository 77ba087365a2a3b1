//! One request at a time continues an upload.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use parking_lot::Mutex;
use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

use crate::error::{Code, Error};

/// How long a request waits for the one before: its client may be gone and the server not know yet.
const WAIT_MAX: Duration = Duration::from_secs(20);

type Turns = Arc<Mutex<HashMap<String, Arc<Turn<()>>>>>;

/// Uploads that requests of this process are continuing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sessions(Turns);

/// The right to continue an upload.
#[derive(Debug)]
pub(super) struct Session {
    uuid: String,
    turns: Turns,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Sessions {
    /// Waits until nobody else continues the upload.
    pub(super) async fn enter(&self, uuid: &str) -> Result<Session, Error> {
        let turn = Arc::clone(self.0.lock().entry(uuid.to_owned()).or_default());
        let mut session = Session {
            uuid: uuid.to_owned(),
            turns: Arc::clone(&self.0),
            guard: None,
        };
        let entered = tokio::time::timeout(WAIT_MAX, turn.lock_owned()).await;
        let guard = entered.map_err(|_| {
            let message = "another request continues this upload; ask for its state, then go on";
            Error::new(Code::BlobUploadInvalid, message).with_status(StatusCode::CONFLICT)
        })?;
        session.guard = Some(guard);
        Ok(session)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut turns = self.turns.lock();
        self.guard = None;
        // What the map has is the last, unless others wait.
        if turns
            .get(&self.uuid)
            .is_some_and(|turn| Arc::strong_count(turn) == 1)
        {
            turns.remove(&self.uuid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_after_the_other_and_nothing_is_left() {
        let sessions = Sessions::default();
        let first = sessions.enter("a").await.unwrap();
        let _other = sessions.enter("b").await.unwrap();
        let second = tokio::spawn({
            let sessions = sessions.clone();
            async move { sessions.enter("a").await.map(drop) }
        });
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        drop(first);
        second.await.unwrap().unwrap();
        assert_eq!(sessions.0.lock().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_told() {
        let sessions = Sessions::default();
        let _first = sessions.enter("a").await.unwrap();
        let error = sessions.enter("a").await.unwrap_err();
        assert_eq!(error.status, StatusCode::CONFLICT);
    }
}
