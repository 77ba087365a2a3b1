//! Runs of garbage collection and of retention: those under way, and those that are over as far as they
//! are remembered. Who runs one says again and again that he does, and is told then if it is to stop.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::Meta;
use super::administer::project_id;
use super::change::{Change, Tx, bound, first};
use super::error::Failure;
use super::listing::{Column, Kind, Listed, Listing, Operand, Source};
use crate::error::Error;

/// What was run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Gc,
    /// The retention of the project of this name.
    Retention(String),
}

impl Work {
    fn kind(&self) -> &'static str {
        match self {
            Self::Gc => "gc",
            Self::Retention(_) => "retention",
        }
    }
}

/// What a run of retention did to a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) repository: String,
    /// Tags that there were, and those that stayed.
    pub(crate) total: u64,
    pub(crate) retained: u64,
}

/// Why something is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// A request asked for it.
    Asked,
    /// It is the time that somebody said.
    Scheduled,
    /// Nobody said anything.
    Own,
}

/// How far a run is. The database has it as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Done,
    Failed,
    Running,
    /// It is to stop, and has not yet.
    Stopping,
    Stopped,
}

impl State {
    const ALL: [Self; 5] = [
        Self::Done,
        Self::Failed,
        Self::Running,
        Self::Stopping,
        Self::Stopped,
    ];

    fn number(self) -> i64 {
        self as i64
    }

    /// What a later version wrote went wrong, for all that is known here.
    fn read(number: i64) -> Self {
        let known = Self::ALL.into_iter().find(|state| state.number() == number);
        known.unwrap_or(Self::Failed)
    }
}

/// For how long it is believed that a run is under way of which nobody has said so again: its process
/// may have been killed.
const BELIEVED_MS: i64 = 60_000;

/// A run.
#[derive(Clone, Debug)]
pub(crate) struct Execution {
    pub(crate) id: i64,
    pub(crate) trigger: Trigger,
    /// Whether nothing came of it.
    pub(crate) is_nothing: bool,
    pub(crate) dry_run: bool,
    /// In milliseconds since 1970.
    pub(crate) began_ms: i64,
    /// When it ended, or was said last to be under way.
    pub(crate) ended_ms: i64,
    pub(crate) state: State,
    /// What the log has of it.
    pub(crate) line: String,
    pub(crate) tasks: Vec<Task>,
}

impl Execution {
    /// Runs that are counted apart: those that somebody wanted, those that were nobody's wish, and those
    /// of the latter of which nothing came. The database has it as a number.
    fn class(&self) -> i64 {
        match (self.trigger, self.is_nothing) {
            (Trigger::Asked | Trigger::Scheduled, _) => 0,
            (Trigger::Own, false) => 1,
            (Trigger::Own, true) => IDLE,
        }
    }
}

/// The class of runs of which the last is enough to see that there are such.
const IDLE: i64 = 2;

const EXECUTIONS: Source = Source {
    columns: "e.id, e.asked, e.dry_run, e.began_ms, e.ended_ms, e.failed, e.line, e.tasks, e.class",
    from: "FROM execution e WHERE e.kind = $1 AND e.project_id = $2",
    order: "e.id DESC",
};

const ID: Column = Column::new("id", Kind::Number, "e.id");
/// What runs can be filtered by.
pub(crate) const EXECUTION_COLUMNS: &[Column] = &[
    ID,
    Column::new(
        "job_kind",
        Kind::Text,
        "CASE WHEN e.asked = 1 THEN 'MANUAL' ELSE 'SCHEDULE' END",
    ),
    Column::new(
        "job_status",
        Kind::Text,
        "CASE e.failed WHEN 0 THEN 'Success' WHEN 2 THEN 'Running' WHEN 3 THEN 'Running' \
         WHEN 4 THEN 'Stopped' ELSE 'Error' END",
    ),
    Column::new("creation_time", Kind::Moment, "e.began_ms"),
    Column::new("update_time", Kind::Moment, "e.ended_ms"),
];

fn execution(row: &AnyRow) -> Result<Execution, sqlx::Error> {
    let tasks: String = row.try_get(7)?;
    let (asked, class): (i64, i64) = (row.try_get(1)?, row.try_get(8)?);
    Ok(Execution {
        id: row.try_get(0)?,
        trigger: match (asked, class) {
            (0, 0) => Trigger::Scheduled,
            (0, _) => Trigger::Own,
            _ => Trigger::Asked,
        },
        is_nothing: class == IDLE,
        dry_run: row.try_get::<i64, _>(2)? != 0,
        began_ms: row.try_get(3)?,
        ended_ms: row.try_get(4)?,
        state: State::read(row.try_get(5)?),
        line: row.try_get(6)?,
        // What a later version wrote is as if it had not been said.
        tasks: serde_json::from_str(&tasks).unwrap_or_default(),
    })
}

impl Meta {
    /// Runs of garbage collection, or of the retention of the project with this number; newest first
    /// unless another order is asked for.
    pub(crate) async fn executions(
        &self,
        project: Option<i64>,
        listing: &Listing,
    ) -> Result<Listed<Execution>, Error> {
        let kind = project.map_or("gc", |_| "retention");
        let of = Operand::Number(project.unwrap_or(0));
        let fixed = vec![Operand::from(kind), of];
        let listed = self.list(&EXECUTIONS, fixed, listing, execution).await?;
        let silent_ms = self.now_ms() - BELIEVED_MS;
        Ok(listed.map(|mut run| {
            let is_open = matches!(run.state, State::Running | State::Stopping);
            if is_open && run.ended_ms < silent_ms {
                run.state = State::Failed;
            }
            run
        }))
    }

    /// One of them.
    pub(crate) async fn execution(
        &self,
        project: Option<i64>,
        id: i64,
    ) -> Result<Option<Execution>, Error> {
        let listing = Listing::one(&ID, Operand::Number(id));
        Ok(self.executions(project, &listing).await?.rows.pop())
    }
}

/// Remembers a run that begins or, without a number, that is over.
pub(crate) struct Remember {
    pub(crate) work: Work,
    /// Its number is made here if it is zero; else what is known of it becomes this.
    pub(crate) execution: Execution,
    /// Runs of this kind, or of this project, that are remembered: so many that somebody wanted, and so
    /// many others.
    pub(crate) executions_max: i64,
}

#[async_trait]
impl Change for Remember {
    /// Its number.
    type Out = i64;
    const NAME: &'static str = "remember_execution";
    /// The log has it in any case.
    const IS_DURABLE: bool = false;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<i64, Failure> {
        let project = match &self.work {
            Work::Gc => 0,
            Work::Retention(name) => project_id(tx, name).await?,
        };
        let run = &self.execution;
        // Texts and numbers can always be written.
        let tasks = serde_json::to_string(&run.tasks).unwrap_or_default();
        if run.id != 0 {
            let ended = bound!(
                "UPDATE execution SET dry_run = $1, ended_ms = $2, failed = $3, line = $4, tasks = $5, \
                 class = $6 WHERE id = $7",
                i64::from(run.dry_run),
                run.ended_ms,
                run.state.number(),
                run.line.as_str(),
                tasks,
                run.class(),
                run.id,
            );
            ended.execute(&mut *tx.conn).await?;
            self.forget(tx, project).await?;
            return Ok(run.id);
        }
        let made = bound!(
            "INSERT INTO execution (kind, project_id, asked, dry_run, began_ms, ended_ms, failed, \
             line, tasks, class) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING id",
            self.work.kind(),
            project,
            i64::from(run.trigger == Trigger::Asked),
            i64::from(run.dry_run),
            run.began_ms,
            run.ended_ms,
            run.state.number(),
            run.line.as_str(),
            tasks,
            run.class(),
        );
        let id = first(&made.fetch_one(&mut *tx.conn).await?)?;
        self.forget(tx, project).await?;
        Ok(id)
    }
}

impl Remember {
    /// Forgets the older ones of the class of this run.
    async fn forget(&self, tx: &mut Tx<'_>, project: i64) -> Result<(), sqlx::Error> {
        let class = self.execution.class();
        let kept = match class {
            IDLE => 1,
            _ => self.executions_max.max(1),
        };
        bound!(
            "DELETE FROM execution WHERE kind = $1 AND project_id = $2 AND class = $3 AND id <= \
             (SELECT id FROM execution WHERE kind = $1 AND project_id = $2 AND class = $3 \
             ORDER BY id DESC LIMIT 1 OFFSET $4)",
            self.work.kind(),
            project,
            class,
            kept,
        )
        .execute(&mut *tx.conn)
        .await?;
        Ok(())
    }
}

/// Says that a run is under way.
pub(crate) struct GoOn {
    pub(crate) id: i64,
}

#[async_trait]
impl Change for GoOn {
    /// Whether it is to stop.
    type Out = bool;
    const NAME: &'static str = "go_on_execution";
    const IS_DURABLE: bool = false;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<bool, Failure> {
        let sql = "UPDATE execution SET ended_ms = $1 WHERE id = $2 RETURNING failed";
        let row = bound!(sql, tx.now_ms, self.id)
            .fetch_optional(&mut *tx.conn)
            .await?;
        let state = row.as_ref().map(first).transpose()?;
        Ok(state == Some(State::Stopping.number()))
    }
}

/// Has a run of garbage collection, or of the retention of a project, stop. One that is over stays as
/// it is.
pub(crate) struct StopExecution {
    pub(crate) project: Option<i64>,
    pub(crate) id: i64,
}

#[async_trait]
impl Change for StopExecution {
    /// Whether there is such a run.
    type Out = bool;
    const NAME: &'static str = "stop_execution";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<bool, Failure> {
        let stopped = bound!(
            "UPDATE execution SET failed = CASE failed WHEN $1 THEN $2 ELSE failed END \
             WHERE id = $3 AND kind = $4 AND project_id = $5",
            State::Running.number(),
            State::Stopping.number(),
            self.id,
            self.project.map_or("gc", |_| "retention"),
            self.project.unwrap_or(0),
        );
        Ok(stopped.execute(&mut *tx.conn).await?.rows_affected() > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::connect::Place;
    use super::super::open_for_tests;
    use super::*;

    #[tokio::test]
    async fn runs_that_nobody_wanted_push_out_none_that_somebody_did() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::File(directory.path().join("registry.db"));
        let meta = open_for_tests(&place).await;
        let remember = |id, trigger, is_nothing| Remember {
            work: Work::Gc,
            execution: Execution {
                id,
                trigger,
                is_nothing,
                dry_run: false,
                began_ms: 1,
                ended_ms: 2,
                state: State::Done,
                line: String::new(),
                tasks: Vec::new(),
            },
            executions_max: 2,
        };
        let mut ids = Vec::new();
        for (trigger, is_nothing) in [
            (Trigger::Asked, true),
            (Trigger::Scheduled, true),
            (Trigger::Own, false),
            (Trigger::Own, true),
            (Trigger::Own, false),
            (Trigger::Own, true),
            (Trigger::Own, false),
        ] {
            // What comes of a run is known when it is over.
            let id = meta.change(remember(0, trigger, false)).await.unwrap();
            meta.change(remember(id, trigger, is_nothing))
                .await
                .unwrap();
            ids.push(id);
        }
        let all = Listing {
            limit: 10,
            ..Listing::default()
        };
        let listed = meta.executions(None, &all).await.unwrap().rows;
        let listed: Vec<_> = listed.iter().map(|run| (run.id, run.trigger)).collect();
        let expected = [
            (ids[6], Trigger::Own),
            (ids[5], Trigger::Own),
            (ids[4], Trigger::Own),
            (ids[1], Trigger::Scheduled),
            (ids[0], Trigger::Asked),
        ];
        assert_eq!(listed, expected);
    }

    #[tokio::test]
    async fn the_newest_runs_are_remembered() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::File(directory.path().join("registry.db"));
        let meta = open_for_tests(&place).await;
        let remember = |began_ms| Remember {
            work: Work::Gc,
            execution: Execution {
                id: 0,
                trigger: Trigger::Asked,
                is_nothing: false,
                dry_run: false,
                began_ms,
                ended_ms: began_ms + 1,
                state: State::Done,
                line: "{}".to_owned(),
                tasks: Vec::new(),
            },
            executions_max: 2,
        };
        let mut ids = Vec::new();
        for began_ms in 0..4 {
            ids.push(meta.change(remember(began_ms)).await.unwrap());
        }
        let all = Listing {
            limit: 10,
            ..Listing::default()
        };
        let listed = meta.executions(None, &all).await.unwrap();
        let listed: Vec<i64> = listed.rows.iter().map(|run| run.id).collect();
        assert_eq!(listed, [ids[3], ids[2]]);
        assert!(meta.execution(None, ids[0]).await.unwrap().is_none());
        let last = meta.execution(None, ids[3]).await.unwrap().unwrap();
        assert_eq!((last.began_ms, last.ended_ms), (3, 4));
        let stop = |id| StopExecution { project: None, id };
        assert!(meta.change(stop(last.id)).await.unwrap());
        let last = meta.execution(None, last.id).await.unwrap().unwrap();
        assert_eq!(last.state, State::Done, "it was over");
        assert!(
            meta.executions(Some(1), &all)
                .await
                .unwrap()
                .rows
                .is_empty()
        );
    }

    #[tokio::test]
    async fn a_run_is_told_to_stop_and_is_not_believed_to_go_on_for_ever() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::File(directory.path().join("registry.db"));
        let meta = open_for_tests(&place).await;
        let began_ms = meta.now_ms();
        let run = |ended_ms| Remember {
            work: Work::Gc,
            execution: Execution {
                id: 0,
                trigger: Trigger::Asked,
                is_nothing: false,
                dry_run: false,
                began_ms,
                ended_ms,
                state: State::Running,
                line: String::new(),
                tasks: Vec::new(),
            },
            executions_max: 10,
        };
        let state = async |id| {
            let found = meta.execution(None, id).await.unwrap();
            found.map(|run| run.state)
        };
        let silent = meta.change(run(began_ms - BELIEVED_MS - 1)).await.unwrap();
        assert_eq!(state(silent).await, Some(State::Failed));
        let id = meta.change(run(began_ms)).await.unwrap();
        assert_eq!(state(id).await, Some(State::Running));
        assert!(!meta.change(GoOn { id }).await.unwrap());
        let stop = |project, id| StopExecution { project, id };
        assert!(!meta.change(stop(Some(1), id)).await.unwrap());
        assert!(!meta.change(stop(None, id + 1)).await.unwrap());
        assert!(meta.change(stop(None, id)).await.unwrap());
        assert_eq!(state(id).await, Some(State::Stopping));
        assert!(meta.change(GoOn { id }).await.unwrap());
    }
}
