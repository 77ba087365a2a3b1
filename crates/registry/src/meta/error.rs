//! What can go wrong with the database.

use http::StatusCode;
use sqlx::error::DatabaseError;

use crate::disk::Disk;
use crate::error::{Code, Error};

/// Why the database cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum MetaError {
    /// The engine said no.
    #[error("the database does not answer")]
    Database(#[from] sqlx::Error),
    /// A newer program has been here.
    #[error(
        "the database has schema {found}, and this program knows up to {known}: start the newer program again, or restore a backup from before"
    )]
    Newer {
        /// The schema that is there.
        found: i64,
        /// The newest that this program has.
        known: i64,
    },
    /// A migration did not work; nothing of it was kept.
    #[error("cannot bring the database from schema {from} to {to}: nothing was changed")]
    Migration {
        /// The schema that is there.
        from: i64,
        /// The one after.
        to: i64,
        /// Why.
        source: sqlx::Error,
    },
}

impl MetaError {
    /// Whether the engine is not there, or only just beginning.
    pub(crate) fn is_absence(&self) -> bool {
        let Self::Database(cause) = self else {
            return false;
        };
        let code = cause.as_database_error().and_then(DatabaseError::code);
        matches!(cause, sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut)
            || code.is_some_and(|code| code == "57P03")
    }
}

/// Why a change was not made.
#[derive(Debug)]
pub(crate) enum Failure {
    /// By its own rules; other changes of the transaction go on.
    Refused(Error),
    /// By the engine.
    Database(sqlx::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

/// What who asked is told.
impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(error) => error,
            Failure::Database(error) => unavailable(&error),
        }
    }
}

/// What PostgreSQL says of text that it does not keep: with a NUL in it.
const CHARACTER_NOT_IN_REPERTOIRE: &str = "22021";

/// What a client is told when the engine fails.
pub(super) fn unavailable(cause: &sqlx::Error) -> Error {
    let code = cause.as_database_error().and_then(DatabaseError::code);
    if code.as_deref() == Some(CHARACTER_NOT_IN_REPERTOIRE) {
        let message = "there is a NUL in what the request says, which no text here has";
        return Error::new(Code::Unsupported, message).with_status(StatusCode::BAD_REQUEST);
    }
    tracing::error!(error = %cause, "the registry's database failed");
    let message = "the registry's database does not answer; try again";
    disk(cause).map_or_else(
        || Error::new(Code::Unavailable, message),
        |disk| disk.error("the registry's database"),
    )
}

/// Whether it is the disk, or that the engine is not there at all, so that no change would be made.
pub(super) fn is_outage(cause: &sqlx::Error) -> bool {
    cause.as_database_error().is_none() || disk(cause).is_some()
}

/// What the engine says of its disk, if it does.
fn disk(cause: &sqlx::Error) -> Option<Disk> {
    let code = cause.as_database_error()?.code()?;
    match code.as_ref() {
        "53100" => Some(Disk::Full),
        "58030" => Some(Disk::Broken),
        // PostgreSQL's codes have five characters; those of SQLite are numbers with less, whose
        // lowest byte is the kind.
        code if code.len() < 5 => match code.parse::<u32>().ok()? & 0xff {
            13 => Some(Disk::Full),
            10 => Some(Disk::Broken),
            _ => None,
        },
        _ => None,
    }
}
