//! A change of the facts, as a value.

use async_trait::async_trait;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::cache::Touched;
use super::error::Failure;
use super::project::NewProjects;

/// A change. It is made in a transaction with others, and undone alone if it is refused. It may be
/// made again when the transaction was lost to that of another process, so it keeps nothing of the
/// first time.
#[async_trait]
pub(crate) trait Change: Send + Sync + 'static {
    /// What it gives back once it is durable.
    type Out: Send + 'static;

    /// Its name in metrics.
    const NAME: &'static str;

    /// Whether it outlasts that the power fails once who asked has been told. One that need not is
    /// made without waiting for the disk; it is durable with the next one that is, and a process that
    /// is killed loses neither.
    const IS_DURABLE: bool = true;

    /// Whether it only tells of a refusal. Whoever may do nothing can have many of these made: they
    /// wait by themselves, and for each other, so that they are in nobody else's way.
    const IS_DENIAL: bool = false;

    /// What it makes untrue of what is kept in memory, once it is made.
    fn touches(&self, _out: &Self::Out) -> Touched<'_> {
        Touched::Nothing
    }

    /// Makes it.
    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Self::Out, Failure>;
}

/// The transaction that a change is made in.
pub(crate) struct Tx<'c> {
    pub(crate) conn: &'c mut AnyConnection,
    /// Milliseconds since 1970, the same for the whole change.
    pub(crate) now_ms: i64,
    /// The process that makes it.
    pub(super) process: &'c str,
    /// What projects are at first.
    pub(super) new_projects: NewProjects,
    /// Whether there are records for the log.
    pub(super) tells: bool,
}

/// The values of a statement, in order.
macro_rules! bound {
    ($sql:expr $(, $value:expr)* $(,)?) => {
        sqlx::query($sql)$(.bind($value))*
    };
}
pub(crate) use bound;

/// The first column of a row.
pub(crate) fn first(row: &AnyRow) -> Result<i64, sqlx::Error> {
    use sqlx::Row;
    row.try_get(0)
}
