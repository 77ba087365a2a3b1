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
    include_str!("schema/0007.sql"),
    include_str!("schema/0008.sql"),
    include_str!("schema/0009.sql"),
    include_str!("schema/0010.sql"),
    include_str!("schema/0011.sql"),
    include_str!("schema/0012.sql"),
    include_str!("schema/0013.sql"),
    include_str!("schema/0014.sql"),
    include_str!("schema/0015.sql"),
    include_str!("schema/0016.sql"),
    include_str!("schema/0017.sql"),
    include_str!("schema/0018.sql"),
    include_str!("schema/0019.sql"),
    include_str!("schema/0020.sql"),
    include_str!("schema/0021.sql"),
    include_str!("schema/0022.sql"),
    include_str!("schema/0023.sql"),
    include_str!("schema/0024.sql"),
    include_str!("schema/0025.sql"),
    include_str!("schema/0026.sql"),
    include_str!("schema/0027.sql"),
    include_str!("schema/0028.sql"),
    include_str!("schema/0029.sql"),
    include_str!("schema/0030.sql"),
    include_str!("schema/0031.sql"),
    include_str!("schema/0032.sql"),
    include_str!("schema/0033.sql"),
];

/// The lock that PostgreSQL's processes take turns with.
const POSTGRES_LOCK: &str = "SELECT pg_advisory_xact_lock(7206214)";

/// Words that the engines spell differently.
pub(super) fn in_words_of(engine: Engine, sql: &str) -> String {
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
    let mut found = None;
    loop {
        let from = begin(&mut connection, engine).await?;
        if from > known {
            run(&mut connection, "ROLLBACK").await?;
            return Err(MetaError::Newer { found: from, known });
        }
        let step = usize::try_from(from).ok().and_then(|at| STEPS.get(at));
        let Some(step) = step else {
            run(&mut connection, "COMMIT").await?;
            if let Some(found) = found {
                tracing::info!(
                    from = found,
                    schema = from,
                    "the registry's database was brought up to date"
                );
            }
            return Ok(());
        };
        found.get_or_insert(from);
        if let Err(source) = take(&mut connection, &in_words_of(engine, step), from + 1).await {
            run(&mut connection, "ROLLBACK").await?;
            let to = from + 1;
            return Err(MetaError::Migration { from, to, source });
        }
        tracing::debug!(
            schema = from + 1,
            "a step of the registry's database was taken"
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::connect::{Place, writer};
    use super::*;

    /// A project with a manifest, of a version that did not charge for it.
    const BEFORE: &str = "INSERT INTO project (id, name, public, created_ms) VALUES (1, 'p', 1, 0), (2, 'q', 1, 0); \
         INSERT INTO quota (project_id, hard, used) VALUES (1, -1, 1000), (2, -1, 0); \
         INSERT INTO repo (id, project_id, name, created_ms) VALUES (1, 1, 'p/a', 0), (2, 1, 'p/b', 0); \
         INSERT INTO manifest (repo_id, digest, media_type, size, bytes, pushed_ms) \
         VALUES (1, 'sha256:a', 'x', 30, x'00', 0), (2, 'sha256:a', 'x', 30, x'00', 0), \
         (2, 'sha256:b', 'x', 4, x'00', 0)";

    /// An index that names a blob, of a version that took all that it names for manifests.
    const CACHE_BEFORE: &str = "INSERT INTO project (id, name, public, created_ms) VALUES (1, 'p', 1, 0); \
         INSERT INTO repo (id, project_id, name, created_ms) VALUES (1, 1, 'p/a', 0), (2, 1, 'p/b', 0); \
         INSERT INTO blob (id, digest, size, data_key, created_ms) VALUES (5, 'sha256:l', 1, 'k', 0); \
         INSERT INTO repo_blob (id, repo_id, blob_id, project_id, linked_ms) VALUES (6, 1, 5, 1, 0); \
         INSERT INTO manifest (id, repo_id, digest, media_type, size, bytes, pushed_ms) \
         VALUES (7, 1, 'sha256:i', 'x', 30, x'00', 0), (8, 2, 'sha256:i', 'x', 30, x'00', 0); \
         INSERT INTO manifest_child (manifest_id, repo_id, digest) \
         VALUES (7, 1, 'sha256:l'), (7, 1, 'sha256:m'), (8, 2, 'sha256:l')";

    /// A database of an earlier version, with something in it, that is brought up to date.
    async fn migrated(directory: &Path, steps: usize, before: &'static str) -> AnyPool {
        let place = Place::File(directory.join("registry.db"));
        let pool = writer(&place).await.unwrap();
        let mut connection = pool.acquire().await.unwrap();
        for (at, step) in STEPS.iter().enumerate().take(steps) {
            begin(&mut connection, Engine::Sqlite).await.unwrap();
            let step = in_words_of(Engine::Sqlite, step);
            take(&mut connection, &step, at as i64 + 1).await.unwrap();
        }
        run(&mut connection, before).await.unwrap();
        drop(connection);
        migrate(&pool, Engine::Sqlite).await.unwrap();
        pool
    }

    #[tokio::test]
    async fn projects_are_charged_for_the_manifests_that_they_had() {
        let directory = tempfile::tempdir().unwrap();
        let pool = migrated(directory.path(), 5, BEFORE).await;
        let used = sqlx::query("SELECT used FROM quota ORDER BY project_id");
        let used = used.fetch_all(&pool).await.unwrap();
        let used: Vec<i64> = used.iter().map(|row| row.get(0)).collect();
        assert_eq!(used, [1064, 0]);
    }

    #[tokio::test]
    async fn what_had_manifests_may_have_loose_layers() {
        for (before, loose) in [(CACHE_BEFORE, 1), ("", 0)] {
            let directory = tempfile::tempdir().unwrap();
            let pool = migrated(directory.path(), 24, before).await;
            let sql = "SELECT COUNT(*) FROM setting WHERE name = 'loose_foreign_layers'";
            let found = sqlx::query(sql).fetch_one(&pool).await.unwrap();
            assert_eq!(found.get::<i64, _>(0), loose);
        }
    }

    #[tokio::test]
    async fn blobs_that_indexes_name_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let pool = migrated(directory.path(), 18, CACHE_BEFORE).await;
        let ties = sqlx::query("SELECT manifest_id, link_id FROM manifest_blob");
        let ties = ties.fetch_all(&pool).await.unwrap();
        let ties: Vec<(i64, i64)> = ties.iter().map(|row| (row.get(0), row.get(1))).collect();
        assert_eq!(ties, [(7, 6)]);
    }
}
