//! When retention is done. Of all processes that serve a registry, the one that first takes the turn
//! of a project whose time has come has it.

use async_trait::async_trait;
use sqlx::Row;

use super::Meta;
use super::administer::project_id;
use super::change::{Change, Tx, bound};
use super::error::Failure;
use super::execution::Trigger;
use super::schedule;
use crate::error::Error;

/// When it is done if nothing was said: every hour.
const HOURLY: &str = "0 0 * * * *";

impl Meta {
    /// When the retention of a project is done; an empty text is only when somebody asks for it.
    pub(crate) async fn retention_cron(&self, project: i64) -> Result<String, Error> {
        let sql = "SELECT cron FROM retention WHERE project_id = $1";
        let said = self.row(bound!(sql, project), |row| row.try_get(0)).await?;
        Ok(said.unwrap_or_else(|| HOURLY.to_owned()))
    }

    /// Projects whose retention is to be done now, or of which it is not known when, or only from a
    /// clock that was ahead.
    pub(crate) async fn due_retentions(&self) -> Result<Vec<String>, Error> {
        let sql = "SELECT DISTINCT p.name FROM project_rule u \
             JOIN project p ON p.id = u.project_id \
             LEFT JOIN retention r ON r.project_id = u.project_id \
             WHERE u.kind = 'retention' \
             AND (r.project_id IS NULL OR r.due_ms <= $1 OR r.set_ms > $2)";
        let now_ms = self.now_ms();
        let due = bound!(sql, now_ms, schedule::latest(now_ms));
        self.rows(due, |row| row.try_get(0)).await
    }
}

/// When the retention of a project is done, if that was said.
pub(super) async fn cron(tx: &mut Tx<'_>, project: i64) -> Result<Option<String>, sqlx::Error> {
    let said = bound!("SELECT cron FROM retention WHERE project_id = $1", project);
    let row = said.fetch_optional(&mut *tx.conn).await?;
    row.map(|row| row.try_get(0)).transpose()
}

/// Says when the retention of a project is done from now on.
pub(super) async fn set_cron(tx: &mut Tx<'_>, project: i64, cron: &str) -> Result<(), Failure> {
    let due_ms = match cron {
        "" => None,
        cron => Some(schedule::after(cron, tx.now_ms)?),
    };
    bound!(
        "INSERT INTO retention (project_id, cron, due_ms, set_ms) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (project_id) DO UPDATE \
         SET cron = excluded.cron, due_ms = excluded.due_ms, set_ms = excluded.set_ms",
        project,
        cron,
        due_ms,
        tx.now_ms,
    )
    .execute(&mut *tx.conn)
    .await?;
    Ok(())
}

/// Forgets what was said of when, once there is nothing to be done: rules that are made later do not
/// wait for a time that nobody remembers.
pub(super) async fn forget_unused_cron(tx: &mut Tx<'_>, project: i64) -> Result<(), sqlx::Error> {
    bound!(
        "DELETE FROM retention WHERE project_id = $1 AND NOT EXISTS \
         (SELECT 1 FROM project_rule WHERE project_id = $1 AND kind = 'retention')",
        project,
    )
    .execute(&mut *tx.conn)
    .await?;
    Ok(())
}

/// Takes a turn whose time has come; finds out anew when it comes if a clock said so that was ahead.
pub(crate) struct TakeRetentionTurn {
    pub(crate) project: String,
}

#[async_trait]
impl Change for TakeRetentionTurn {
    /// Why it is done now, if the turn was taken here.
    type Out = Option<Trigger>;
    const NAME: &'static str = "take_retention_turn";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Option<Trigger>, Failure> {
        let project = project_id(tx, &self.project).await?;
        let found = bound!(
            "SELECT cron, due_ms, set_ms FROM retention WHERE project_id = $1",
            project
        );
        let Some(row) = found.fetch_optional(&mut *tx.conn).await? else {
            set_cron(tx, project, HOURLY).await?;
            return Ok(None);
        };
        let (cron, due_ms): (String, Option<i64>) = (row.try_get(0)?, row.try_get(1)?);
        let is_due = due_ms.is_some_and(|due_ms| due_ms <= tx.now_ms);
        if is_due || row.try_get::<i64, _>(2)? > schedule::latest(tx.now_ms) {
            // Turns that nobody was there to take are made up for once.
            set_cron(tx, project, &cron).await?;
        }
        if !is_due {
            return Ok(None);
        }
        // Who says that it is done every hour says nothing new.
        Ok(Some(match cron.as_str() {
            HOURLY => Trigger::Own,
            _ => Trigger::Scheduled,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::administer::CreateProject;
    use super::super::connect::Place;
    use super::super::rules::{AddRule, DeleteRule, ReplaceRetention};
    use super::super::{open_ahead, open_for_tests};
    use super::*;
    use crate::rule::Rule;
    use crate::who::Who;

    fn rule() -> Rule {
        serde_json::from_str(r#"{"kind":"retention","latestPushedK":1}"#).unwrap()
    }

    fn turn() -> TakeRetentionTurn {
        TakeRetentionTurn {
            project: "team".to_owned(),
        }
    }

    /// The numbers of the project, and of a rule of it.
    async fn team(meta: &Meta) -> (i64, i64) {
        let create = CreateProject {
            who: Who::system("test"),
            name: "team".to_owned(),
            is_public: false,
            hard: None,
            admin: None,
            upstream: None,
        };
        let id = meta.change(create).await.unwrap();
        assert!(meta.due_retentions().await.unwrap().is_empty());
        let add = AddRule {
            who: Who::system("test"),
            project: "team".to_owned(),
            rule: rule(),
        };
        (id, meta.change(add).await.unwrap())
    }

    #[tokio::test]
    async fn a_clock_that_was_ahead_delays_no_turn() {
        const HOUR_MS: i64 = 3600 * 1000;
        let directory = tempfile::tempdir().unwrap();
        let place = Place::File(directory.path().join("registry.db"));
        let meta = open_for_tests(&place).await;
        let ahead = open_ahead(&place, 1000 * HOUR_MS).await;
        team(&meta).await;
        assert_eq!(ahead.change(turn()).await.unwrap(), None);
        assert!(ahead.due_retentions().await.unwrap().is_empty());
        assert_eq!(meta.due_retentions().await.unwrap(), ["team"]);
        assert_eq!(meta.change(turn()).await.unwrap(), None);
        assert!(meta.due_retentions().await.unwrap().is_empty());
        // From now on it is due at a time that comes.
        let later = open_ahead(&place, HOUR_MS + 1000).await;
        assert_eq!(later.change(turn()).await.unwrap(), Some(Trigger::Own));
    }

    #[tokio::test]
    async fn a_turn_comes_when_it_was_said_and_is_taken_once() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::File(directory.path().join("registry.db"));
        let meta = open_for_tests(&place).await;
        let who = || Who::system("test");
        let project = || "team".to_owned();
        let (id, rule_id) = team(&meta).await;
        assert_eq!(meta.retention_cron(id).await.unwrap(), HOURLY);
        // The first look finds out when; an hour is to pass from there.
        assert_eq!(meta.due_retentions().await.unwrap(), ["team"]);
        assert_eq!(meta.change(turn()).await.unwrap(), None);
        assert!(meta.due_retentions().await.unwrap().is_empty());

        let replace = |cron: &str| ReplaceRetention {
            who: who(),
            project: project(),
            rules: vec![rule()],
            cron: cron.to_owned(),
        };
        meta.change(replace("")).await.unwrap();
        assert!(meta.due_retentions().await.unwrap().is_empty());
        assert_eq!(meta.change(turn()).await.unwrap(), None);
        assert_eq!(meta.retention_cron(id).await.unwrap(), "");
        assert!(meta.change(replace("every day")).await.is_err());
        meta.change(replace("* * * * * *")).await.unwrap();
        while meta.due_retentions().await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        let taken = meta.change(turn()).await.unwrap();
        assert_eq!(taken, Some(Trigger::Scheduled));

        meta.change(replace("")).await.unwrap();
        let rules = meta.rules(id).await.unwrap();
        assert!(rules.len() == 1 && rules[0].id != rule_id);
        let delete = DeleteRule {
            who: who(),
            project: project(),
            id: rules[0].id,
        };
        meta.change(delete).await.unwrap();
        assert_eq!(meta.retention_cron(id).await.unwrap(), HOURLY);
    }
}
