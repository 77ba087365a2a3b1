//! When garbage is collected, if that was said. Of all processes that serve a registry, the one that
//! first takes a turn whose time has come has it.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::change::{Change, Tx};
use super::error::Failure;
use super::outbox::{Event, tell};
use super::review::Untagged;
use super::{Meta, setting};
use crate::cron::Cron;
use crate::error::{Code, Error};
use crate::who::Who;

/// The name of the setting.
const NAME: &str = "gc_schedule";

/// When garbage is collected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GcSchedule {
    /// `Hourly`, `Daily`, `Weekly` or `Custom`.
    pub(crate) kind: String,
    pub(crate) cron: String,
    #[serde(default)]
    pub(crate) untagged: Untagged,
    #[serde(default)]
    pub(crate) workers: Option<i64>,
    /// In milliseconds since 1970, as all that follows.
    pub(crate) due_ms: i64,
    pub(crate) taken_ms: Option<i64>,
    pub(crate) made_ms: i64,
    pub(crate) set_ms: i64,
}

fn read(text: Option<String>) -> Option<GcSchedule> {
    // What a later version wrote is as if it had not been said.
    text.and_then(|text| serde_json::from_str(&text).ok())
}

async fn write(tx: &mut Tx<'_>, schedule: &GcSchedule) -> Result<(), Failure> {
    // Texts and numbers can always be written.
    let text = serde_json::to_string(schedule).unwrap_or_default();
    Ok(setting::write(tx, NAME, Some(&text)).await?)
}

/// Clocks of processes that share a database may be off by so much, and turns are taken once all the
/// same.
const CLOCKS_MS: i64 = 10 * 60 * 1000;

/// What was found out later than this was found out by a clock that was ahead.
pub(super) fn latest(now_ms: i64) -> i64 {
    now_ms.saturating_add(CLOCKS_MS)
}

/// The time after this one.
pub(super) fn after(cron: &str, now_ms: i64) -> Result<i64, Error> {
    let refused =
        |why: String| Error::new(Code::Unsupported, why).with_status(http::StatusCode::BAD_REQUEST);
    let at = Cron::parse(cron).map_err(refused)?.next(now_ms);
    at.ok_or_else(|| refused(format!("`{cron}` does not come any more")))
}

impl GcSchedule {
    /// Whether its turn can be taken, or has to be found out anew.
    pub(crate) fn is_open(&self, now_ms: i64) -> bool {
        let found_out_ms = self.taken_ms.unwrap_or(0).max(self.set_ms);
        self.due_ms <= now_ms || found_out_ms > latest(now_ms)
    }
}

impl Meta {
    /// When garbage is collected; if nothing was said, all the time.
    pub(crate) async fn gc_schedule(&self) -> Result<Option<GcSchedule>, Error> {
        Ok(read(self.setting(NAME).await?))
    }
}

/// Says when garbage is collected.
pub(crate) struct SetGcSchedule {
    pub(crate) who: Who,
    /// What Harbor calls it, and when; without it garbage is collected all the time.
    pub(crate) schedule: Option<(String, String)>,
    pub(crate) untagged: Untagged,
    /// A number that the client wants to read again.
    pub(crate) workers: Option<i64>,
}

#[async_trait]
impl Change for SetGcSchedule {
    type Out = ();
    const NAME: &'static str = "set_gc_schedule";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        let before = read(setting::read(tx, NAME).await?);
        let told = |kind: &str, cron: &str, untagged: Untagged| json!({"type": kind, "cron": cron, "delete_untagged": untagged.said()});
        let was = before.as_ref();
        let was = was.map(|was| told(&was.kind, &was.cron, was.untagged));
        let is = self.schedule.as_ref();
        let is = is.map(|(kind, cron)| told(kind, cron, self.untagged));
        let resource = match &self.schedule {
            None => {
                setting::write(tx, NAME, None).await?;
                "none"
            }
            Some((kind, cron)) => {
                let schedule = GcSchedule {
                    kind: kind.clone(),
                    cron: cron.clone(),
                    untagged: self.untagged,
                    workers: self.workers,
                    due_ms: after(cron, tx.now_ms)?,
                    taken_ms: before.as_ref().and_then(|before| before.taken_ms),
                    made_ms: before.map_or(tx.now_ms, |before| before.made_ms),
                    set_ms: tx.now_ms,
                };
                write(tx, &schedule).await?;
                cron
            }
        };
        let event = Event::new("gc_schedule_changed", "gc_schedule", resource);
        Ok(tell(tx, &self.who, &event.changed(was, is)).await?)
    }
}

/// Takes a turn whose time has come; finds out anew when it comes if a clock said so that was ahead.
pub(crate) struct TakeGcTurn;

#[async_trait]
impl Change for TakeGcTurn {
    /// Whether it was taken here.
    type Out = bool;
    const NAME: &'static str = "take_gc_turn";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<bool, Failure> {
        let Some(before) = read(setting::read(tx, NAME).await?) else {
            return Ok(false);
        };
        if !before.is_open(tx.now_ms) {
            return Ok(false);
        }
        let is_due = before.due_ms <= tx.now_ms;
        // Turns that nobody was there to take are made up for once.
        let schedule = GcSchedule {
            due_ms: after(&before.cron, tx.now_ms)?,
            taken_ms: match is_due {
                true => Some(tx.now_ms),
                false => before.taken_ms.map(|at_ms| at_ms.min(tx.now_ms)),
            },
            set_ms: before.set_ms.min(tx.now_ms),
            ..before
        };
        write(tx, &schedule).await?;
        Ok(is_due)
    }
}

#[cfg(test)]
mod tests {
    use super::super::connect::Place;
    use super::super::{open_ahead, open_for_tests};
    use super::*;

    fn set(cron: &str) -> SetGcSchedule {
        SetGcSchedule {
            who: Who::system("test"),
            schedule: Some(("Custom".to_owned(), cron.to_owned())),
            untagged: Untagged::Go,
            workers: None,
        }
    }

    #[tokio::test]
    async fn a_turn_is_taken_once() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::File(directory.path().join("registry.db"));
        let (one, other) = (open_for_tests(&place).await, open_for_tests(&place).await);
        assert!(!one.change(TakeGcTurn).await.unwrap());
        one.change(set("* * * * * *")).await.unwrap();
        let due_ms = other.gc_schedule().await.unwrap().unwrap().due_ms;
        while one.now_ms() < due_ms {
            tokio::task::yield_now().await;
        }
        // Both may be the first of a second each, not of the same.
        let taken = one.change(TakeGcTurn).await.unwrap();
        let at = one.gc_schedule().await.unwrap().unwrap();
        assert!(taken && at.due_ms > due_ms && at.taken_ms >= Some(due_ms));
        one.change(set("0 0 0 1 1 *")).await.unwrap();
        assert!(!other.change(TakeGcTurn).await.unwrap());
        let kept = other.gc_schedule().await.unwrap().unwrap();
        assert_eq!((kept.taken_ms, kept.made_ms), (at.taken_ms, at.made_ms));
        let none = SetGcSchedule {
            schedule: None,
            ..set("")
        };
        one.change(none).await.unwrap();
        assert_eq!(other.gc_schedule().await.unwrap(), None);
        let wrong = one.change(set("0 0 0 * *")).await.unwrap_err();
        assert_eq!(wrong.status, http::StatusCode::BAD_REQUEST);
    }

    #[tokio::test]
    async fn a_clock_that_was_ahead_delays_no_turn() {
        const YEAR_MS: i64 = 366 * 24 * 3600 * 1000;
        const YEARLY: &str = "0 0 0 1 1 *";
        let directory = tempfile::tempdir().unwrap();
        let place = Place::File(directory.path().join("registry.db"));
        let meta = open_for_tests(&place).await;
        let ahead = open_ahead(&place, 10 * YEAR_MS).await;
        let due_ms = async || meta.gc_schedule().await.unwrap().unwrap().due_ms;
        meta.change(set(YEARLY)).await.unwrap();
        assert!(ahead.change(TakeGcTurn).await.unwrap());
        assert!(due_ms().await > meta.now_ms() + 9 * YEAR_MS);
        // It has not come yet.
        assert!(!meta.change(TakeGcTurn).await.unwrap());
        assert!(due_ms().await <= meta.now_ms() + YEAR_MS);
        let schedule = meta.gc_schedule().await.unwrap().unwrap();
        assert!(!schedule.is_open(meta.now_ms()));
        ahead.change(set(YEARLY)).await.unwrap();
        assert!(!meta.change(TakeGcTurn).await.unwrap());
        assert!(due_ms().await <= meta.now_ms() + YEAR_MS);
        // A little is in nobody's way.
        let near = open_ahead(&place, 1000).await;
        near.change(set(YEARLY)).await.unwrap();
        let schedule = meta.gc_schedule().await.unwrap().unwrap();
        assert!(!schedule.is_open(meta.now_ms()));
    }
}
