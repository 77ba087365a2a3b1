//! Connections to the two engines.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use sqlx::any::AnyConnectOptions;
use sqlx::pool::PoolOptions;
use sqlx::{Any, AnyConnection, AnyPool, ConnectOptions, Connection};

use crate::config::DatabaseConfig;

/// How long a request may wait for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long it may take to open a file: a disk that is busy with other things is slow to make one.
const OPEN_TIMEOUT: Duration = Duration::from_secs(60);

/// Which engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
}

impl Engine {
    /// How long one is waited for, if it may go away without a word: a file does not.
    pub(super) fn answer_max(self, config: &DatabaseConfig) -> Option<Duration> {
        match self {
            Self::Sqlite => None,
            Self::Postgres => Some(config.answer_timeout.as_std()),
        }
    }
}

/// Where the database is.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// A file of SQLite.
    File(PathBuf),
    /// The URL of a PostgreSQL server.
    Server(String),
}

impl Place {
    pub(crate) fn engine(&self) -> Engine {
        match self {
            Self::File(_) => Engine::Sqlite,
            Self::Server(_) => Engine::Postgres,
        }
    }

    /// A connection of one's own, for a long look. What it makes that is temporary goes with it.
    pub(super) async fn own(&self) -> Result<AnyConnection, sqlx::Error> {
        let mut connection = AnyConnection::connect_with(&self.options()?).await?;
        if self.engine() == Engine::Sqlite {
            sqlx::raw_sql(SQLITE_LOOK).execute(&mut connection).await?;
        }
        Ok(connection)
    }

    fn options(&self) -> Result<AnyConnectOptions, sqlx::Error> {
        sqlx::any::install_default_drivers();
        let url = match self {
            Self::File(path) => sqlite_url(path),
            Self::Server(url) => url.clone(),
        };
        let options = AnyConnectOptions::from_str(&url)?;
        Ok(options.disable_statement_logging())
    }
}

fn sqlite_url(path: &Path) -> String {
    let mut url = "sqlite://".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(byte) {
            url.push(char::from(*byte));
        } else {
            // Writing into a string does not fail.
            let _ = write!(url, "%{byte:02X}");
        }
    }
    url.push_str("?mode=rwc");
    url
}

/// What every connection to SQLite is told. A commit is on the disk when it returns.
const SQLITE_WRITER: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
     PRAGMA foreign_keys = ON; PRAGMA busy_timeout = 10000; PRAGMA cache_size = -16384;";
const SQLITE_READER: &str = "PRAGMA busy_timeout = 10000; PRAGMA cache_size = -8192; \
     PRAGMA query_only = ON;";
const SQLITE_LOOK: &str = "PRAGMA busy_timeout = 10000; PRAGMA cache_size = -8192;";
/// What every connection to PostgreSQL is told, if its version knows of it. Lists are taken for larger
/// than what is read of them, and to compile a statement for that takes longer than the statement.
const POSTGRES: &str = "SELECT set_config(name, 'off', false) FROM pg_settings WHERE name = 'jit'";

async fn pool(
    place: &Place,
    connections: u32,
    setup: &'static str,
) -> Result<AnyPool, sqlx::Error> {
    let is_sqlite = place.engine() == Engine::Sqlite;
    let setup = if is_sqlite { setup } else { POSTGRES };
    let options = PoolOptions::<Any>::new()
        .max_connections(connections.max(1))
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // A file does not go away as a server may.
        .test_before_acquire(!is_sqlite)
        .after_connect(move |connection, _| {
            Box::pin(async move {
                sqlx::raw_sql(setup).execute(connection).await?;
                Ok(())
            })
        });
    let begun = Instant::now();
    loop {
        match options.clone().connect_with(place.options()?).await {
            Err(sqlx::Error::PoolTimedOut) if is_sqlite && begun.elapsed() < OPEN_TIMEOUT => {}
            Err(sqlx::Error::PoolTimedOut) => return Err(why_not(place).await),
            opened => return opened,
        }
    }
}

/// Why there is no connection, which a pool does not tell.
async fn why_not(place: &Place) -> sqlx::Error {
    let connect = async { place.options()?.connect().await };
    match tokio::time::timeout(ACQUIRE_TIMEOUT, connect).await {
        Ok(Err(cause)) => cause,
        Ok(Ok(_)) | Err(_) => sqlx::Error::PoolTimedOut,
    }
}

/// The one connection that changes are made with.
pub(super) async fn writer(place: &Place) -> Result<AnyPool, sqlx::Error> {
    pool(place, 1, SQLITE_WRITER).await
}

/// Connections to read with.
pub(super) async fn readers(place: &Place, connections: u32) -> Result<AnyPool, sqlx::Error> {
    pool(place, connections, SQLITE_READER).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_not_there_is_told_from_one_that_is_slow() {
        let place = Place::Server("postgres://u:p@127.0.0.1:1/x".to_owned());
        let error = writer(&place).await.unwrap_err();
        assert!(matches!(error, sqlx::Error::Io(_)), "{error}");
    }

    #[test]
    fn any_path_makes_a_url() {
        let url = sqlite_url(Path::new("/a b/ü?/x.db"));
        assert_eq!(url, "sqlite:///a%20b/%C3%BC%3F/x.db?mode=rwc");
    }
}
