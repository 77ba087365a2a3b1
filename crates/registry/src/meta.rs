//! The facts: one transactional database, SQLite by default, PostgreSQL where several processes
//! serve one registry.
//!
//! Reads go to a pool of connections. Changes are values that implement [`Change`]; one task makes
//! them, several in a transaction (`writer`), so that one `fsync` acknowledges many. SQL is the
//! subset that both engines have.

mod accessory;
mod account;
mod administer;
mod audit;
mod batch;
mod blob;
mod cache;
mod change;
mod check;
mod companion;
mod connect;
mod content;
mod data;
mod delete;
mod describe;
mod diff;
mod error;
mod execution;
mod expire;
mod foreign;
mod group;
mod history;
mod keep;
mod keys;
mod label;
mod lent;
mod link;
mod list;
mod listing;
mod lost;
mod manifest;
mod member;
mod missing;
mod outage;
mod outbox;
mod preview;
mod project;
mod pull;
mod purge;
mod quota;
mod referrer;
mod removed;
mod retention;
mod review;
mod revocation;
mod robots;
mod rules;
mod running;
mod schedule;
mod schema;
mod search;
mod setting;
mod small;
mod tag;
mod untagged;
mod upload;
mod upstream;
mod writer;

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use sqlx::AnyPool;
use storage::Clock;
use tokio::sync::Semaphore;

pub(crate) use accessory::Accessory;
pub(crate) use account::{Account, CreateAccount, Robot};
pub(crate) use administer::{
    CreateProject, DeleteProject, PROJECT_COLUMNS, Project, QUOTA_COLUMNS, Time, UpdateProject,
    time, unknown_project,
};
pub(crate) use audit::{AUDIT_COLUMNS, AUDIT_PROJECT, Excess, ForgetAudit, Record};
pub(crate) use blob::{BlobRow, DeleteLink, unknown as unknown_blob};
pub(crate) use change::Change;
pub(crate) use check::{BlobFact, ManifestFact, Recount, SetDamaged};
pub(crate) use connect::Place;
pub(crate) use content::{
    ARTIFACT_COLUMNS, Artifact, DeleteRepo, Link, REPO_COLUMNS, RepoInfo, TagInfo, unknown_repo,
};
pub(crate) use data::{Bury, Forget, Postpone, Release, Reserve};
pub(crate) use delete::DeleteManifest;
pub(crate) use describe::DescribeRepo;
pub use error::MetaError;
pub(crate) use execution::{
    EXECUTION_COLUMNS, Execution, GoOn, Remember, State, StopExecution, Task, Trigger, Work,
};
pub(crate) use expire::{Expire, Expired, Expiring, Part as ExpiredPart};
pub(crate) use foreign::{ForeignIsTied, TieForeign};
pub(crate) use group::{
    CreateGroup, DeleteGroup, GROUP_COLUMNS, Group, RenameGroup, SetGroupAccount,
};
pub(crate) use history::{ForgetHistory, HISTORY_COLUMNS, LongHistory, Moved, SetTag};
pub(crate) use keys::{EnsureKey, KeyInfo, RotateKey};
pub(crate) use label::{
    CreateLabel, LABEL_COLUMNS, Label, LabelFate, LabelText, SetLabel, UpdateLabel,
    unknown as unknown_label,
};
pub(crate) use link::Mount;
pub(crate) use list::Reach;
pub(crate) use listing::{Column, Kind, Listed, Listing, Operand, Test};
pub(crate) use manifest::{Content, ManifestRow, PutManifest, Stored, unknown as unknown_manifest};
pub(crate) use member::{Holder, Member, SetMember};
pub(crate) use outbox::{Acknowledge, Event, Tell};
pub(crate) use project::{ForgetRepos, NewProjects, UNLIMITED};
pub(crate) use purge::{Hasten, Purge};
pub(crate) use quota::Quota;
pub(crate) use referrer::{Referrer, ReferrersPage};
pub(crate) use retention::TakeRetentionTurn;
pub(crate) use review::{Backlog, ExpireUploads, Graces, Removed, Review, Untagged};
pub(crate) use revocation::Subject;
pub(crate) use robots::{
    ACCOUNT_COLUMNS, ACCOUNT_NAMES, AccountFate, AccountInfo, CreateRobot, Profile, ROBOT_COLUMNS,
    ROBOT_PROJECT, RobotFate, RobotInfo, UpdateAccount, UpdateRobot,
};
pub(crate) use rules::{
    AddRule, ChangeRule, DeleteRule, NumberedRule, ReplaceRetention, SwitchRule,
};
pub(crate) use running::{Cluster, SetRunning};
pub(crate) use schedule::{GcSchedule, SetGcSchedule, TakeGcTurn};
pub(crate) use search::{FoundProject, FoundRepo};
pub(crate) use setting::{ChangeSettings, Identify};
pub(crate) use tag::{Condition, DeleteTag};
pub(crate) use untagged::{GiveUp, Untag};
pub(crate) use upload::{
    Begin, Cancel, Commit, Extend, ExtendSmall, Move, Upload, taken_over, unknown,
};
pub(crate) use upstream::{DeleteUpstream, SetUpstream, UPSTREAM_COLUMNS, Upstream, UpstreamText};

use crate::config::{CacheConfig, DatabaseConfig};
use crate::cost::{Cost, Part, Timer};
use crate::error::Error;
use crate::metrics::Metrics;
use cache::{Changes, Shelves};
use change::bound;
use connect::Engine;
use lent::{Lent, within};
use outage::{Outage, Try};
use pull::Pulls;
use revocation::Revocations;
use writer::Writer;

/// The database.
#[derive(Clone)]
pub(crate) struct Meta {
    reads: AnyPool,
    writer: Writer,
    clock: Clock,
    metrics: Metrics,
    changes: Arc<Changes>,
    outage: Arc<Outage>,
    shelves: Arc<Shelves>,
    pulls: Arc<Pulls>,
    revocations: Arc<Revocations>,
    /// Whether other processes have the same database.
    is_shared: bool,
    place: Place,
    /// Turns of those who find out what may be made from very many rows.
    long_lists: Arc<Semaphore>,
    /// How long a server has to answer a question.
    answer_max: Option<Duration>,
}

/// A connection to read with. What passes until it is dropped counts as time of the database.
struct Reading {
    connection: Lent,
    _timer: Timer,
}

impl Deref for Reading {
    type Target = sqlx::AnyConnection;

    fn deref(&self) -> &Self::Target {
        &self.connection
    }
}

impl DerefMut for Reading {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.connection
    }
}

impl Meta {
    /// Opens the database and brings its schema up to date.
    pub(crate) async fn open(
        place: &Place,
        config: &DatabaseConfig,
        cache: &CacheConfig,
        clock: Clock,
        new_projects: NewProjects,
        metrics: Metrics,
    ) -> Result<Self, MetaError> {
        let writes = connect::writer(place).await?;
        schema::migrate(&writes, place.engine()).await?;
        let reads = connect::readers(place, config.readers).await?;
        let changes = Arc::new(Changes::default());
        let outage = Arc::new(Outage::default());
        let is_shared = place.engine() == Engine::Postgres;
        let writer = Writer::start(
            writes,
            place.engine(),
            config,
            clock.clone(),
            new_projects,
            Arc::clone(&changes),
            Arc::clone(&outage),
        );
        Ok(Self {
            reads,
            writer,
            clock,
            metrics,
            changes,
            outage,
            shelves: Arc::new(Shelves::new(cache, is_shared)),
            pulls: Arc::default(),
            revocations: Arc::default(),
            is_shared,
            place: place.clone(),
            long_lists: Arc::new(Semaphore::new((config.readers / 2).max(1) as usize)),
            answer_max: place.engine().answer_max(config),
        })
    }

    /// Makes a change. When this returns it is durable, or was refused as a whole.
    pub(crate) async fn change<C: Change>(&self, change: C) -> Result<C::Out, Error> {
        let _timer = Timer::start(Part::Meta, self.metrics.meta_seconds(C::NAME));
        self.writer.make(change).await
    }

    /// Ends when there are records for the log that were not there when it was called.
    pub(crate) fn told(&self) -> impl Future<Output = ()> + use<> {
        self.writer.told()
    }

    /// A connection to read with.
    async fn read(&self) -> Result<Reading, Error> {
        let timer = Timer::start(Part::Meta, self.metrics.meta_seconds("read"));
        let connection = Lent::by(&self.reads, self.answer_max).await;
        Ok(Reading {
            connection: connection.map_err(|error| error::unavailable(&error))?,
            _timer: timer,
        })
    }

    /// All rows that a query finds.
    async fn rows<T>(
        &self,
        query: sqlx::query::Query<'_, sqlx::Any, sqlx::any::AnyArguments>,
        read: impl Fn(&sqlx::any::AnyRow) -> Result<T, sqlx::Error>,
    ) -> Result<Vec<T>, Error> {
        let mut reading = self.read().await?;
        let rows = within(self.answer_max, query.fetch_all(&mut *reading)).await;
        let rows = rows.unwrap_or_else(|error| Err(self.lost(&mut reading, error)));
        rows.and_then(|rows| rows.iter().map(read).collect())
            .map_err(|error| error::unavailable(&error))
    }

    /// Notes that the server does not answer, and that nothing comes of a connection any more.
    fn lost(&self, reading: &mut Reading, error: sqlx::Error) -> sqlx::Error {
        self.outage.note();
        reading.connection.give_up();
        error
    }

    /// The row that a query finds, if it finds one.
    async fn row<T>(
        &self,
        query: sqlx::query::Query<'_, sqlx::Any, sqlx::any::AnyArguments>,
        read: impl Fn(&sqlx::any::AnyRow) -> Result<T, sqlx::Error>,
    ) -> Result<Option<T>, Error> {
        Ok(self.rows(query, read).await?.into_iter().next())
    }

    /// Finds something out that may be made from very many rows: who asks for such things leaves half of
    /// the connections to those who pull. The database answers also if nobody waits for that any more,
    /// so that a turn ends with the work, not with who asked for it.
    async fn long<T, W>(&self, work: impl FnOnce(Self) -> W) -> Result<T, Error>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let turns = Arc::clone(&self.long_lists);
        let turn = turns.acquire_owned().await;
        let work = Cost::current().unwrap_or_default().of(work(self.clone()));
        let work = tokio::spawn(async move {
            let _turn = turn;
            work.await
        });
        let done = work.await;
        done.unwrap_or_else(|error| Err(Error::internal("asking the database", &error)))
    }

    /// All rows that such a query finds.
    async fn long_rows<T: Send + 'static>(
        &self,
        query: sqlx::query::Query<'static, sqlx::Any, sqlx::any::AnyArguments>,
        read: impl Fn(&sqlx::any::AnyRow) -> Result<T, sqlx::Error> + Send + 'static,
    ) -> Result<Vec<T>, Error> {
        self.long(async move |meta| meta.rows(query, read).await)
            .await
    }

    /// Whether the database answers, and makes changes if it could not make one before.
    pub(crate) async fn probe(&self) -> Result<(), Error> {
        self.rows(bound!("SELECT 1"), |_| Ok(())).await?;
        if self.outage.is_noted() {
            self.change(Try).await?;
            self.outage.is_over();
        }
        Ok(())
    }

    /// Milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.now_ns() / 1_000_000
    }

    /// Waits until the changes that were accepted are made, and makes no more.
    pub(crate) async fn close(&self) {
        self.writer.stop().await;
        self.reads.close().await;
    }
}

/// A database with default settings.
#[cfg(test)]
async fn open_for_tests(place: &Place) -> Meta {
    open_at(place, Clock::system()).await
}

/// The same with this clock.
#[cfg(test)]
async fn open_at(place: &Place, clock: Clock) -> Meta {
    let metrics = Metrics::register(&mut prometheus_client::registry::Registry::default());
    let (config, cache) = (DatabaseConfig::default(), CacheConfig::default());
    let new_projects = NewProjects {
        on_push: true,
        hard: UNLIMITED,
    };
    let meta = Meta::open(place, &config, &cache, clock, new_projects, metrics);
    meta.await.unwrap()
}

/// An empty database that several can open; none without a PostgreSQL server, whose URL without a
/// database is in a variable.
#[cfg(test)]
async fn shared_for_tests() -> Option<Place> {
    use rand::RngExt;
    let server = std::env::var("REGISTRY_POSTGRES").ok()?;
    let name = format!("meta{:016x}", rand::rng().random::<u64>());
    let admin = Place::Server(format!("{server}/postgres"));
    let admin = connect::writer(&admin).await.unwrap();
    let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
    sqlx::raw_sql(create).execute(&admin).await.unwrap();
    Some(Place::Server(format!("{server}/{name}")))
}

/// The same with a clock that is ahead by so many milliseconds.
#[cfg(test)]
async fn open_ahead(place: &Place, ahead_ms: i64) -> Meta {
    let ahead = Clock::new(move || Clock::system().now_ns() + ahead_ms * 1_000_000);
    open_at(place, ahead).await
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_turn_ends_with_the_work_and_not_with_who_asked() {
        let directory = tempfile::tempdir().unwrap();
        let meta = open_for_tests(&Place::File(directory.path().join("registry.db"))).await;
        let turns = meta.long_lists.available_permits();
        let end = Arc::new(Semaphore::new(0));
        for _ in 0..turns {
            let begun = Arc::new(Semaphore::new(0));
            let (begins, ends) = (Arc::clone(&begun), Arc::clone(&end));
            let asked = meta.long(async move |_| {
                begins.add_permits(1);
                let _end = ends.acquire().await;
                Ok(())
            });
            tokio::select! {
                _ = asked => panic!("it was not to end yet"),
                _ = begun.acquire() => {}
            }
        }
        let mut waiting = std::pin::pin!(meta.long(async |_| Ok(())));
        assert!(waiting.as_mut().now_or_never().is_none());
        end.add_permits(turns);
        waiting.await.unwrap();
    }
}
