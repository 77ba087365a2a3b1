//! The schema and its history: steps that only go forward, each in a transaction.

use sqlx::{AnyConnection, AnyPool, AssertSqlSafe, Row};

use super::connect::Engine;
use super::error::MetaError;

/// The steps, in order. What was released is never changed: a new step follows.
const STEPS: &[&str] = &[
    include_str!("schema/0001.sql"),
    include_str!("schema/0002.sql"),
    include_str!("schema/0003.sql"),
    include_str!("schema/0004.sql"),
    include_str!("schema/0005.sql"),
    include_str!("schema/0006.sql"),
];

/// The lock that PostgreSQL's processes take turns with.
const POSTGRES_LOCK: &str = "SELECT pg_advisory_xact_lock(7206214)";

/// Words that the engines spell differently.
fn in_words_of(engine: Engine, sql: &str) -> String {
    let (id, bytes, text) = match engine {
        Engine::Sqlite => ("INTEGER PRIMARY KEY AUTOINCREMENT", "BLOB", "TEXT"),
        Engine::Postgres => (
            "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
            "BYTEA",
            // Names are compared by their bytes.
            "TEXT COLLATE \"C\"",
        ),
    };
    sql.replace("{id}", id)
        .replace("{bytes}", bytes)
        .replace("{text}", text)
}

/// Brings the database to the newest schema.
pub(super) async fn migrate(pool: &AnyPool, engine: Engine) -> Result<(), MetaError> {
    let mut connection = pool.acquire().await?;
    let known = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
    loop {
        let from = begin(&mut connection, engine).await?;
        if from > known {
            run(&mut connection, "ROLLBACK").await?;
            return Err(MetaError::Newer { found: from, known });
        }
        let step = usize::try_from(from).ok().and_then(|at| STEPS.get(at));
        let Some(step) = step else {
            run(&mut connection, "COMMIT").await?;
            return Ok(());
        };
        if let Err(source) = take(&mut connection, &in_words_of(engine, step), from + 1).await {
            run(&mut connection, "ROLLBACK").await?;
            let to = from + 1;
            return Err(MetaError::Migration { from, to, source });
        }
        tracing::info!(
            schema = from + 1,
            "the registry's database was brought up to date"
        );
    }
}

/// Begins a transaction in which nobody else migrates; gives the schema that is there.
async fn begin(connection: &mut AnyConnection, engine: Engine) -> Result<i64, sqlx::Error> {
    match engine {
        Engine::Sqlite => run(connection, "BEGIN IMMEDIATE").await?,
        Engine::Postgres => {
            run(connection, "BEGIN").await?;
            run(connection, POSTGRES_LOCK).await?;
        }
    }
    run(
        connection,
        "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)",
    )
    .await?;
    let newest = sqlx::query("SELECT MAX(version) FROM schema_version");
    let row = newest.fetch_one(&mut *connection).await?;
    Ok(row.try_get::<Option<i64>, _>(0)?.unwrap_or(0))
}

async fn take(connection: &mut AnyConnection, sql: &str, to: i64) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(&mut *connection)
        .await?;
    sqlx::query("INSERT INTO schema_version (version) VALUES ($1)")
        .bind(to)
        .execute(&mut *connection)
        .await?;
    run(connection, "COMMIT").await
}

async fn run(connection: &mut AnyConnection, sql: &'static str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(sql).execute(connection).await?;
    Ok(())
}
