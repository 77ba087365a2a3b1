//! Manifests that were removed by their digests. They are not there for anybody, but for as long as their
//! blobs are a tag can be brought back to them, or to an index of which they are parts.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::Meta;
use super::change::{Tx, bound};
use super::data;
use super::manifest::{Content, ManifestRow};
use super::quota;
use super::review::Graces;
use super::tag::Target;
use crate::digest::Digest;
use crate::error::Error;
use crate::name::RepoName;

/// Remembers a manifest that is about to go, for as long as its blobs are there. Its bytes stay where
/// they are, and its project is charged for them until it is forgotten.
pub(super) async fn remember(
    tx: &mut Tx<'_>,
    target: &Target<'_>,
    graces: &Graces,
) -> Result<(), sqlx::Error> {
    if graces.blob_ms == 0 {
        return Ok(());
    }
    let until_ms = tx.now_ms + graces.blob_ms;
    let manifest_id = target.manifest_id;
    // A process of an earlier version may have pushed it again without forgetting it.
    let before = Forgotten::One {
        repo_id: target.repo_id,
        digest: target.digest,
    };
    forget(tx, before).await?;
    bound!(
        "INSERT INTO removed_manifest (repo_id, digest, media_type, size, bytes, data_key, until_ms) \
         SELECT repo_id, digest, media_type, size, bytes, data_key, CAST($1 AS BIGINT) \
         FROM manifest WHERE id = $2",
        until_ms,
        manifest_id,
    )
    .execute(&mut *tx.conn)
    .await?;
    let kept = bound!(
        "SELECT size, (SELECT project_id FROM repo WHERE id = repo_id), data_key \
         FROM manifest WHERE id = $1",
        manifest_id,
    );
    if let Some(row) = kept.fetch_optional(&mut *tx.conn).await? {
        let size = row.try_get(0)?;
        quota::add(tx, row.try_get(1)?, size).await?;
        if let Some(data_key) = row.try_get::<Option<String>, _>(2)? {
            // So that also a process of an earlier version takes them for known.
            data::bury(tx, &data_key, None, size, until_ms).await?;
        }
    }
    bound!(
        "UPDATE manifest SET data_key = NULL WHERE id = $1",
        manifest_id
    )
    .execute(&mut *tx.conn)
    .await?;
    Ok(())
}

/// Which are forgotten.
pub(super) enum Forgotten<'a> {
    /// Some of those whose time is over.
    Old { limit: i64 },
    /// One that is pushed again, or brought back.
    One { repo_id: i64, digest: &'a str },
    /// Those of a repository that goes.
    Repo { repo_id: i64 },
}

/// Forgets some, and gives their projects back what they were charged; gives whether there were any.
pub(super) async fn forget(tx: &mut Tx<'_>, forgotten: Forgotten<'_>) -> Result<bool, sqlx::Error> {
    macro_rules! sql {
        ($which:literal) => {
            concat!(
                "DELETE FROM removed_manifest WHERE ",
                $which,
                " RETURNING size, (SELECT project_id FROM repo WHERE id = repo_id), data_key"
            )
        };
    }
    let taken = match forgotten {
        Forgotten::Old { limit } => bound!(
            sql!(
                "(repo_id, digest) IN (SELECT repo_id, digest FROM removed_manifest \
                 WHERE until_ms <= $1 ORDER BY until_ms LIMIT $2)"
            ),
            tx.now_ms,
            limit,
        ),
        Forgotten::One { repo_id, digest } => {
            bound!(sql!("repo_id = $1 AND digest = $2"), repo_id, digest)
        }
        Forgotten::Repo { repo_id } => bound!(sql!("repo_id = $1"), repo_id),
    };
    let taken = taken.fetch_all(&mut *tx.conn).await?;
    for row in &taken {
        let size: i64 = row.try_get(0)?;
        quota::add(tx, row.try_get(1)?, -size).await?;
        if let Some(data_key) = row.try_get::<Option<String>, _>(2)? {
            data::bury(tx, &data_key, None, size, tx.now_ms).await?;
            data::release(tx, &data_key).await?;
        }
    }
    Ok(!taken.is_empty())
}

fn removed(row: &AnyRow) -> Result<ManifestRow, sqlx::Error> {
    Ok(ManifestRow {
        id: None,
        digest: row.try_get(0)?,
        media_type: row.try_get(1)?,
        size: row.try_get::<i64, _>(2)?.unsigned_abs(),
        content: Content::read(row, 3)?,
        is_damaged: false,
    })
}

impl Meta {
    /// A manifest that was removed from a repository and can be brought back.
    pub(crate) async fn removed_manifest(
        &self,
        repo: &RepoName,
        digest: &Digest,
    ) -> Result<Option<ManifestRow>, Error> {
        let sql = "SELECT x.digest, x.media_type, x.size, x.data_key, x.bytes \
             FROM removed_manifest x JOIN repo r ON r.id = x.repo_id \
             WHERE r.name = $1 AND x.digest = $2 AND x.until_ms > $3";
        let found = bound!(sql, repo.as_str(), digest.as_str(), self.now_ms());
        self.row(found, removed).await
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::super::change::{Change, first};
    use super::super::connect::Place;
    use super::super::delete::DeleteManifest;
    use super::super::error::Failure;
    use super::super::open_for_tests;
    use super::*;
    use crate::who::Who;

    const DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
    const REPO: &str = "INSERT INTO project (id, name, public, created_ms) VALUES (1, 'p', 1, 0); \
         INSERT INTO quota (project_id, hard, used) VALUES (1, -1, 0); \
         INSERT INTO repo (id, project_id, name, created_ms) VALUES (1, 1, 'p/a', 0)";
    /// A push by a version that does not know what was removed.
    const PUSH: &str = "INSERT INTO manifest (repo_id, digest, media_type, size, bytes, pushed_ms, data_key) \
         VALUES (1, 'sha256:0000000000000000000000000000000000000000000000000000000000000000', \
             'x', 30, x'00', 0, 'data/' || (SELECT used FROM quota)); \
         INSERT INTO tag (repo_id, name, manifest_id, updated_ms) SELECT 1, 'v1', id, 0 FROM manifest; \
         UPDATE quota SET used = used + 30";
    const REMOVE_REPO: &str =
        "DELETE FROM tag_history WHERE repo_id = 1; DELETE FROM repo WHERE id = 1";

    struct Run(&'static str);

    #[async_trait]
    impl Change for Run {
        type Out = ();
        const NAME: &'static str = "run";

        async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
            sqlx::raw_sql(self.0).execute(&mut *tx.conn).await?;
            Ok(())
        }
    }

    #[tokio::test]
    async fn what_earlier_versions_do_beside_this_one_is_in_nobodys_way() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::File(directory.path().join("registry.db"));
        let meta = open_for_tests(&place).await;
        let number = async |sql| {
            let found = meta.rows(bound!(sql), first).await;
            found.unwrap()[0]
        };
        meta.change(Run(REPO)).await.unwrap();
        for _ in 0..2 {
            meta.change(Run(PUSH)).await.unwrap();
            let delete = DeleteManifest {
                repo: RepoName::parse("p/a").unwrap(),
                digest: Digest::parse(DIGEST).unwrap(),
                spares_parts: false,
                who: Who::system("test"),
                graces: Graces {
                    untagged_ms: 1000,
                    never_tagged_ms: 0,
                    blob_ms: 60_000,
                    data_ms: 1000,
                    running_ms: 1000,
                },
            };
            meta.change(delete).await.unwrap();
            assert_eq!(number("SELECT COUNT(*) FROM removed_manifest").await, 1);
            assert_eq!(number("SELECT used FROM quota").await, 30);
        }
        let dead = meta.dead(10).await.unwrap();
        let dead: Vec<&str> = dead.iter().map(|dead| dead.data_key.as_str()).collect();
        assert_eq!(dead, ["data/0"]);
        meta.change(Run(REMOVE_REPO)).await.unwrap();
        assert_eq!(number("SELECT COUNT(*) FROM removed_manifest").await, 0);
    }
}
