//! A batch of changes in one transaction, each in a savepoint of its own.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use sqlx::{AnyConnection, AnyPool};
use storage::Clock;
use tokio::sync::Notify;

use super::{Job, Ran};
use crate::meta::change::Tx;
use crate::meta::connect::Engine;
use crate::meta::error::is_outage;
use crate::meta::lent::{Lent, within};
use crate::meta::project::NewProjects;

/// How often a transaction that was lost to another process is made again.
const REPETITIONS_MAX: u32 = 10;
/// The same if what it inserts is there, which may also be so the next time.
const DUPLICATES_MAX: u32 = 2;
/// The longest pause before that; the first is shorter, and each may be twice as long as the one before.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Begins a transaction of PostgreSQL. Processes that share the database take turns: as all of them
/// write the same rows, two that went on beside each other would undo one another most of the time. The
/// lock is that of a table, because such a transaction sees the database as it is after it has that,
/// and leaves it to who reads. One whose process is gone holds it no longer than 30 seconds.
macro_rules! postgres_begin {
    ($more:literal) => {
        concat!(
            "BEGIN ISOLATION LEVEL SERIALIZABLE; SET LOCAL lock_timeout = '10s'; \
             SET LOCAL idle_in_transaction_session_timeout = '30s'; ",
            $more,
            "LOCK TABLE schema_version IN EXCLUSIVE MODE"
        )
    };
}

/// Why a batch was not made.
pub(super) struct Unmade {
    pub(super) error: sqlx::Error,
    /// Whether its transaction had begun: somebody else may have the database locked.
    had_begun: bool,
}

impl Unmade {
    fn not_begun(error: sqlx::Error) -> Self {
        Self {
            error,
            had_begun: false,
        }
    }

    /// Whether it may be one of its changes that the engine does not take. Without an engine, or with
    /// one that does not begin, each alone would wait as long in vain, one after the other; and what an
    /// engine has made that went away is not to be made twice.
    pub(super) fn may_be_one(&self) -> bool {
        self.had_begun && self.error.as_database_error().is_some()
    }

    /// Whether others would not be made either.
    pub(super) fn is_outage(&self) -> bool {
        !self.had_begun || is_outage(&self.error)
    }
}

/// The database, as batches are made in it.
pub(super) struct Database {
    pub(super) pool: AnyPool,
    pub(super) engine: Engine,
    pub(super) clock: Clock,
    /// What this process is called there.
    pub(super) process: Arc<str>,
    /// How long a server has to make a batch.
    pub(super) answer_max: Option<Duration>,
    pub(super) new_projects: NewProjects,
    /// That there are records for the log.
    pub(super) told: Arc<Notify>,
}

impl Database {
    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    /// Makes a batch, again if it was lost to another process.
    pub(super) async fn commit(&self, batch: &mut [Box<dyn Job>]) -> Result<(), Unmade> {
        let mut repetitions = 0;
        loop {
            match self.attempt(batch).await {
                Err(unmade) if repetitions < repetitions_max(&unmade.error) => {
                    repetitions += 1;
                    tokio::time::sleep(pause(repetitions)).await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn attempt(&self, batch: &mut [Box<dyn Job>]) -> Result<(), Unmade> {
        let connection = Lent::by(&self.pool, self.answer_max).await;
        let mut connection = connection.map_err(Unmade::not_begun)?;
        let made = within(self.answer_max, self.make_with(&mut connection, batch)).await;
        let (outcome, is_known) = made.unwrap_or_else(|error| {
            let had_begun = true;
            (Err(Unmade { error, had_begun }), false)
        });
        if !is_known {
            connection.give_up();
        }
        outcome
    }

    /// Makes a batch with a connection; says too whether that is in a known state.
    async fn make_with(
        &self,
        connection: &mut AnyConnection,
        batch: &mut [Box<dyn Job>],
    ) -> (Result<(), Unmade>, bool) {
        let is_durable = batch.iter().any(|job| job.is_durable());
        let is_lazy = self.engine == Engine::Sqlite && !is_durable;
        if is_lazy && let Err(error) = set(connection, "PRAGMA synchronous = NORMAL").await {
            return (Err(Unmade::not_begun(error)), false);
        }
        let begun = self.begin(connection, is_durable).await;
        let had_begun = begun.is_ok();
        let (outcome, mut is_known) = match begun {
            Ok(()) => self.transact(connection, batch).await,
            Err(error) => {
                // A server may have begun one all the same.
                let is_ended =
                    self.engine == Engine::Sqlite || execute(connection, "ROLLBACK").await.is_ok();
                (Err(error), is_ended)
            }
        };
        if is_lazy {
            let restored = set(connection, "PRAGMA synchronous = FULL").await;
            is_known &= restored.is_ok();
        }
        let outcome = outcome.map_err(|error| Unmade { error, had_begun });
        (outcome, is_known)
    }

    /// Makes a batch in a transaction that has begun and ends it; says too whether the connection is
    /// in a known state.
    async fn transact(
        &self,
        connection: &mut AnyConnection,
        batch: &mut [Box<dyn Job>],
    ) -> (Result<(), sqlx::Error>, bool) {
        let outcome = match self.run_all(connection, batch).await {
            Ok(tells) => {
                let committed = execute(connection, "COMMIT").await;
                if tells {
                    self.told.notify_one();
                }
                committed
            }
            Err(error) => Err(error),
        };
        let is_known = outcome.is_ok() || execute(connection, "ROLLBACK").await.is_ok();
        (outcome, is_known)
    }

    async fn run_all(
        &self,
        connection: &mut AnyConnection,
        batch: &mut [Box<dyn Job>],
    ) -> Result<bool, sqlx::Error> {
        let now_ms = self.clock.now_ns() / 1_000_000;
        let mut tells = false;
        for job in batch {
            execute(connection, "SAVEPOINT change").await?;
            let mut tx = Tx {
                conn: &mut *connection,
                now_ms,
                process: &self.process,
                new_projects: self.new_projects,
                tells: false,
            };
            let ran = job.run(&mut tx).await?;
            tells |= tx.tells;
            if matches!(ran, Ran::Undo) {
                execute(connection, "ROLLBACK TO SAVEPOINT change").await?;
            }
            execute(connection, "RELEASE SAVEPOINT change").await?;
        }
        Ok(tells)
    }

    /// Each transaction sees the database as if it were alone. Whether a commit waits for the disk is
    /// said in the transaction to a server, and before it to SQLite.
    async fn begin(
        &self,
        connection: &mut AnyConnection,
        is_durable: bool,
    ) -> Result<(), sqlx::Error> {
        match self.engine {
            Engine::Sqlite => execute(connection, "BEGIN IMMEDIATE").await,
            Engine::Postgres if is_durable => set(connection, postgres_begin!("")).await,
            Engine::Postgres => {
                let begin = postgres_begin!("SET LOCAL synchronous_commit = off; ");
                set(connection, begin).await
            }
        }
    }
}

pub(super) async fn execute(
    connection: &mut AnyConnection,
    sql: &'static str,
) -> Result<(), sqlx::Error> {
    sqlx::query(sql).execute(connection).await?;
    Ok(())
}

/// Runs what has its effect when it is read and not when it is executed, so that it cannot be kept
/// prepared; or several statements.
async fn set(connection: &mut AnyConnection, sql: &'static str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(sql).execute(connection).await?;
    Ok(())
}

/// How long to wait before a transaction is made again. Not as long as others that lost with it.
fn pause(repetitions: u32) -> Duration {
    let longest = Duration::from_millis(5 << repetitions.min(10)).min(PAUSE_MAX);
    longest.mul_f64(rand::rng().random())
}

/// How often a transaction is made again that PostgreSQL undid, perhaps in favour of another
/// (`serialization_failure`, `deadlock_detected`, and `unique_violation` by what the other inserted at the
/// same time).
fn repetitions_max(error: &sqlx::Error) -> u32 {
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    match code.as_deref() {
        Some("40001" | "40P01") => REPETITIONS_MAX,
        Some("23505") => DUPLICATES_MAX,
        _ => 0,
    }
}
