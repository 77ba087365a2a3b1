//! The one task that changes the database: what waits is made in one transaction ([`transaction`]), and
//! all of it is acknowledged by one commit.

mod transaction;

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use sqlx::AnyPool;
use storage::Clock;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::cache::{Changes, Touched};
use super::change::{Change, Tx};
use super::connect::Engine;
use super::error::{Failure, unavailable};
use super::outage::Outage;
use super::project::NewProjects;
use crate::config::DatabaseConfig;
use crate::error::{Code, Error};
use crate::store::new_id;
use transaction::{Database, Unmade};

/// Denials that one transaction tells of: those who wait for each get an answer in their turn, and what
/// they cost those who wait for other changes has a bound.
const DENIALS_MAX: usize = 16;
/// The near end of the task.
#[derive(Clone)]
pub(super) struct Writer {
    jobs: mpsc::Sender<Box<dyn Job>>,
    denials: mpsc::Sender<Box<dyn Job>>,
    task: Arc<Mutex<Option<JoinHandle<()>>>>,
    stop: Arc<Notify>,
    told: Arc<Notify>,
    process: Arc<str>,
}

impl Writer {
    pub(super) fn start(
        pool: AnyPool,
        engine: Engine,
        config: &DatabaseConfig,
        clock: Clock,
        new_projects: NewProjects,
        changes: Arc<Changes>,
        outage: Arc<Outage>,
    ) -> Self {
        let (jobs, waiting) = mpsc::channel(config.queue_max.max(1));
        let (denials, denied) = mpsc::channel(DENIALS_MAX);
        let stop = Arc::new(Notify::new());
        let told = Arc::new(Notify::new());
        let process: Arc<str> = new_id().into();
        let far = Far {
            database: Database {
                pool,
                engine,
                clock,
                process: Arc::clone(&process),
                answer_max: engine.answer_max(config),
                new_projects,
                told: Arc::clone(&told),
            },
            batch_max: config.batch_max.max(1),
            changes,
            outage,
        };
        let task = tokio::spawn(far.run(Queues { waiting, denied }, Arc::clone(&stop)));
        Self {
            jobs,
            denials,
            task: Arc::new(Mutex::new(Some(task))),
            stop,
            told,
            process,
        }
    }

    /// What this process is called in the database.
    pub(super) fn process(&self) -> &str {
        &self.process
    }

    /// Ends when there are records for the log that were not there when it was called.
    pub(super) fn told(&self) -> impl Future<Output = ()> + use<> {
        Arc::clone(&self.told).notified_owned()
    }

    pub(super) async fn make<C: Change>(&self, change: C) -> Result<C::Out, Error> {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Pending {
            change,
            outcome: None,
            reply,
        });
        let stopping = || Error::new(Code::Unavailable, "the registry is stopping");
        if C::IS_DENIAL {
            // Who is refused waits until there is room, and so asks no more often than is told.
            self.denials.send(job).await.map_err(|_| stopping())?;
        } else {
            self.jobs.try_send(job).map_err(|error| match error {
                TrySendError::Closed(_) => stopping(),
                TrySendError::Full(_) => {
                    let message =
                        "registry.database.queue_max: too many changes wait for the database";
                    Error::new(Code::Unavailable, message)
                }
            })?;
        }
        answer.await.map_err(|_| stopping())?
    }

    /// Makes what waits, then no more.
    pub(super) async fn stop(&self) {
        self.stop.notify_one();
        let task = self.task.lock().take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the writer of the registry's database failed");
        }
    }
}

/// A change with who waits for it, whatever its type.
#[async_trait]
trait Job: Send {
    fn is_durable(&self) -> bool;
    async fn run(&mut self, tx: &mut Tx<'_>) -> Result<Ran, sqlx::Error>;
    fn committed(self: Box<Self>, changes: &Changes);
    fn failed(self: Box<Self>, error: &sqlx::Error, changes: &Changes);
}

/// What is to be done with the savepoint.
enum Ran {
    Keep,
    Undo,
}

struct Pending<C: Change> {
    change: C,
    outcome: Option<Result<C::Out, Error>>,
    reply: oneshot::Sender<Result<C::Out, Error>>,
}

#[async_trait]
impl<C: Change> Job for Pending<C> {
    fn is_durable(&self) -> bool {
        C::IS_DURABLE
    }

    async fn run(&mut self, tx: &mut Tx<'_>) -> Result<Ran, sqlx::Error> {
        match self.change.apply(tx).await {
            Ok(out) => {
                self.outcome = Some(Ok(out));
                Ok(Ran::Keep)
            }
            Err(Failure::Refused(error)) => {
                self.outcome = Some(Err(error));
                Ok(Ran::Undo)
            }
            Err(Failure::Database(error)) => Err(error),
        }
    }

    fn committed(self: Box<Self>, changes: &Changes) {
        if let Some(Ok(out)) = &self.outcome {
            // Before anybody can know of it.
            changes.made(self.change.touches(out));
        }
        if let Some(outcome) = self.outcome {
            // Who asked may have gone away.
            let _ = self.reply.send(outcome);
        }
    }

    fn failed(self: Box<Self>, error: &sqlx::Error, changes: &Changes) {
        if error.as_database_error().is_none() {
            // A server that does not answer may have made it all the same.
            changes.made(Touched::Repos);
            changes.made(Touched::People);
        }
        tracing::warn!(change = C::NAME, "a change was not made");
        let _ = self.reply.send(Err(unavailable(error)));
    }
}

/// What waits to be made.
struct Queues {
    waiting: mpsc::Receiver<Box<dyn Job>>,
    denied: mpsc::Receiver<Box<dyn Job>>,
}

impl Queues {
    /// One that waits, once there is one; nothing once there never will be.
    async fn next(&mut self) -> Option<Box<dyn Job>> {
        tokio::select! {
            biased;
            Some(next) = self.waiting.recv() => Some(next),
            Some(next) = self.denied.recv() => Some(next),
            else => None,
        }
    }

    /// Takes what else waits, up to so many in all, and a few denials besides.
    fn fill(&mut self, batch: &mut Vec<Box<dyn Job>>, batch_max: usize) {
        while batch.len() < batch_max
            && let Ok(next) = self.waiting.try_recv()
        {
            batch.push(next);
        }
        for _ in 0..DENIALS_MAX {
            let Ok(next) = self.denied.try_recv() else {
                break;
            };
            batch.push(next);
        }
    }

    /// Takes no more than what waits.
    fn close(&mut self) {
        self.waiting.close();
        self.denied.close();
    }
}

/// The far end.
struct Far {
    database: Database,
    batch_max: usize,
    changes: Arc<Changes>,
    outage: Arc<Outage>,
}

impl Far {
    async fn run(self, mut queues: Queues, stop: Arc<Notify>) {
        loop {
            let first = tokio::select! {
                first = queues.next() => first,
                () = stop.notified() => {
                    queues.close();
                    queues.next().await
                }
            };
            let Some(first) = first else { break };
            let mut batch = vec![first];
            queues.fill(&mut batch, self.batch_max);
            self.make(batch).await;
        }
        self.database.close().await;
    }

    /// Makes a batch; if it may be one of it that the engine does not take, each of it alone, so that
    /// one bad change does not take others with it.
    async fn make(&self, mut batch: Vec<Box<dyn Job>>) {
        match self.database.commit(&mut batch).await {
            Ok(()) => self.committed(batch),
            Err(unmade) if batch.len() > 1 && unmade.may_be_one() => {
                for job in batch {
                    let mut alone = vec![job];
                    match self.database.commit(&mut alone).await {
                        Ok(()) => self.committed(alone),
                        Err(unmade) => self.failed(alone, &unmade),
                    }
                }
            }
            Err(unmade) => self.failed(batch, &unmade),
        }
    }

    fn committed(&self, batch: Vec<Box<dyn Job>>) {
        batch
            .into_iter()
            .for_each(|job| job.committed(&self.changes));
    }

    fn failed(&self, batch: Vec<Box<dyn Job>>, unmade: &Unmade) {
        if unmade.is_outage() {
            self.outage.note();
        }
        batch
            .into_iter()
            .for_each(|job| job.failed(&unmade.error, &self.changes));
    }
}

#[cfg(test)]
mod tests {
    use super::super::change::{Change, Tx, bound, first};
    use super::super::connect::{self, Place};
    use super::super::error::Failure;
    use super::super::outbox::{Event, Tell};
    use super::super::{open_for_tests, shared_for_tests};
    use super::transaction::execute;
    use crate::config::DatabaseConfig;
    use crate::error::Code;
    use crate::who::Who;

    /// Gives how its commit waits for the disk: 1 is not, 2 is until all is on it.
    struct Level<const IS_DURABLE: bool>;

    #[async_trait::async_trait]
    impl<const IS_DURABLE: bool> Change for Level<IS_DURABLE> {
        type Out = i64;
        const NAME: &'static str = "level";
        const IS_DURABLE: bool = IS_DURABLE;

        async fn apply(&self, tx: &mut Tx<'_>) -> Result<i64, Failure> {
            let asked = bound!("PRAGMA synchronous");
            Ok(first(&asked.fetch_one(&mut *tx.conn).await?)?)
        }
    }

    #[tokio::test]
    async fn only_who_must_waits_for_the_disk() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::File(directory.path().join("registry.db"));
        let meta = open_for_tests(&place).await;
        for _ in 0..2 {
            assert_eq!(meta.change(Level::<false>).await.unwrap(), 1);
            assert_eq!(meta.change(Level::<true>).await.unwrap(), 2);
        }
        // What is made together with one that must.
        let (first, second) = tokio::join!(meta.change(Level::<false>), meta.change(Level::<true>));
        assert_eq!((first.unwrap(), second.unwrap()), (2, 2));
    }

    #[tokio::test]
    async fn who_is_refused_takes_no_room_from_others() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::File(directory.path().join("registry.db"));
        let meta = open_for_tests(&place).await;
        let other = connect::writer(&place).await.unwrap();
        let mut lock = other.acquire().await.unwrap();
        execute(&mut lock, "BEGIN IMMEDIATE").await.unwrap();
        let more_than_wait = DatabaseConfig::default().queue_max + 100;
        let denied = (0..more_than_wait).map(|number| {
            let (who, meta) = (Who::system("test"), meta.clone());
            let event = Event::new("test", "test", &number.to_string());
            tokio::spawn(async move { meta.change(Tell { who, event }).await })
        });
        let denied: Vec<_> = denied.collect();
        tokio::task::yield_now().await;
        let change = tokio::spawn({
            let meta = meta.clone();
            async move { meta.change(Level::<true>).await }
        });
        tokio::task::yield_now().await;
        execute(&mut lock, "ROLLBACK").await.unwrap();
        change.await.unwrap().unwrap();
        for told in denied {
            told.await.unwrap().unwrap();
        }
    }

    /// Not one after the other, each after it has waited.
    #[tokio::test]
    async fn what_waits_for_a_locked_database_is_refused_together() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::File(directory.path().join("registry.db"));
        let meta = open_for_tests(&place).await;
        let other = connect::writer(&place).await.unwrap();
        let mut lock = other.acquire().await.unwrap();
        execute(&mut lock, "BEGIN IMMEDIATE").await.unwrap();
        let changes = (0..10).map(|_| {
            let meta = meta.clone();
            tokio::spawn(async move { meta.change(Level::<true>).await })
        });
        let changes: Vec<_> = changes.collect();
        // The first may have been taken alone.
        let mut waiting = changes.into_iter();
        for change in waiting.by_ref().take(2) {
            assert!(change.await.unwrap().is_err());
        }
        assert!(meta.outage.is_noted());
        let free = tokio::spawn(async move { execute(&mut lock, "ROLLBACK").await });
        for change in waiting {
            assert!(
                change.await.unwrap().is_err(),
                "it was refused with the others"
            );
        }
        free.await.unwrap().unwrap();
        meta.probe().await.unwrap();
        assert!(!meta.outage.is_noted());
    }

    /// Gives how often it was made before.
    struct Count;

    #[async_trait::async_trait]
    impl Change for Count {
        type Out = i64;
        const NAME: &'static str = "count";

        async fn apply(&self, tx: &mut Tx<'_>) -> Result<i64, Failure> {
            let now = bound!("SELECT COUNT(*) FROM setting WHERE name LIKE 'test%'");
            let now = first(&now.fetch_one(&mut *tx.conn).await?)?;
            bound!(
                "INSERT INTO setting (name, value, updated_ms) VALUES ($1, '', 0)",
                format!("test{now}")
            )
            .execute(&mut *tx.conn)
            .await?;
            Ok(now)
        }
    }

    /// Needs a PostgreSQL server: `tests/registry/postgres.sh`.
    #[tokio::test]
    async fn processes_that_share_a_database_take_turns() {
        let Some(place) = shared_for_tests().await else {
            return;
        };
        let (one, other) = tokio::join!(open_for_tests(&place), open_for_tests(&place));
        let changes = (0..200).map(|number| {
            let meta = if number % 2 == 0 { &one } else { &other };
            meta.change(Count)
        });
        let made = futures::future::join_all(changes).await;
        let mut made: Vec<i64> = made.into_iter().map(Result::unwrap).collect();
        made.sort_unstable();
        assert_eq!(made, (0..200).collect::<Vec<_>>());
    }

    /// Somebody else writes for longer than a change waits.
    #[tokio::test]
    async fn a_locked_database_is_read_and_refuses_changes_until_it_is_free() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::File(directory.path().join("registry.db"));
        let meta = open_for_tests(&place).await;
        let tell = || Tell {
            who: Who::system("test"),
            event: Event::new("test", "test", "test"),
        };
        let other = connect::writer(&place).await.unwrap();
        let mut lock = other.acquire().await.unwrap();
        execute(&mut lock, "BEGIN IMMEDIATE").await.unwrap();
        let refused = meta.change(tell()).await.unwrap_err();
        assert_eq!(
            (refused.code, refused.status.as_u16()),
            (Code::Unavailable, 503)
        );
        assert_eq!(meta.outbox(10).await.unwrap(), []);
        execute(&mut lock, "ROLLBACK").await.unwrap();
        meta.change(tell()).await.unwrap();
        assert_eq!(meta.outbox(10).await.unwrap().len(), 1);
    }
}
