//! Foreign layers that were pushed all the same. Versions up to schema 21 did not tie them to the
//! manifests that name them, so that garbage collection took them for nobody's.

use async_trait::async_trait;

use super::Meta;
use super::change::{Change, Tx, bound, first};
use super::error::Failure;
use super::link;
use super::manifest::{ManifestRow, manifest_row};
use super::setting;
use crate::error::Error;
use crate::manifest::Descriptor;

/// The name of what the schema says if there may be such.
const LOOSE: &str = "loose_foreign_layers";

impl Meta {
    /// Whether there may be some that are not tied.
    pub(crate) async fn has_loose_foreign(&self) -> Result<bool, Error> {
        Ok(self.setting(LOOSE).await?.is_some())
    }

    /// Some repositories that have blobs which no manifest has, in the order of their ids.
    pub(crate) async fn loose_repos(&self, after: i64, limit: i64) -> Result<Vec<i64>, Error> {
        let sql = "SELECT r.id FROM repo r WHERE r.id > $1 AND EXISTS (SELECT 1 FROM repo_blob l \
             WHERE l.repo_id = r.id AND NOT EXISTS \
             (SELECT 1 FROM manifest_blob e WHERE e.link_id = l.id)) ORDER BY r.id LIMIT $2";
        self.rows(bound!(sql, after, limit), first).await
    }

    /// Some manifests of a repository, in the order of their digests.
    pub(crate) async fn manifests_of(
        &self,
        repo_id: i64,
        after: &str,
        limit: i64,
    ) -> Result<Vec<ManifestRow>, Error> {
        let sql = "SELECT id, digest, media_type, size, data_key, bytes, damaged_ms FROM manifest \
             WHERE repo_id = $1 AND digest > $2 ORDER BY digest LIMIT $3";
        self.rows(bound!(sql, repo_id, after, limit), manifest_row)
            .await
    }
}

/// Ties the foreign layers of a manifest that is there.
pub(crate) struct TieForeign {
    pub(crate) repo_id: i64,
    pub(crate) digest: String,
    pub(crate) foreign: Vec<Descriptor>,
}

#[async_trait]
impl Change for TieForeign {
    type Out = ();
    const NAME: &'static str = "tie_foreign";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        let found = bound!(
            "SELECT id FROM manifest WHERE repo_id = $1 AND digest = $2",
            self.repo_id,
            self.digest.as_str(),
        );
        if let Some(row) = found.fetch_optional(&mut *tx.conn).await? {
            link::tie(tx, self.repo_id, first(&row)?, &self.foreign).await?;
        }
        Ok(())
    }
}

/// Says that all are tied.
pub(crate) struct ForeignIsTied;

#[async_trait]
impl Change for ForeignIsTied {
    type Out = ();
    const NAME: &'static str = "foreign_is_tied";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        Ok(setting::write(tx, LOOSE, None).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::connect::Place;
    use super::super::open_for_tests;
    use super::*;
    use crate::digest::Digest;

    const FACTS: &str = "INSERT INTO project (id, name, public, created_ms) VALUES (1, 'p', 1, 0); \
         INSERT INTO repo (id, project_id, name, created_ms) VALUES (1, 1, 'p/a', 0), (2, 1, 'p/b', 0); \
         INSERT INTO blob (id, digest, size, data_key, created_ms) \
             VALUES (1, 'sha256:{a}', 7, 'a', 0), (2, 'sha256:{b}', 7, 'b', 0); \
         INSERT INTO repo_blob (id, repo_id, blob_id, project_id, linked_ms) \
             VALUES (1, 1, 1, 1, 0), (2, 1, 2, 1, 0), (3, 2, 1, 1, 0); \
         INSERT INTO manifest (id, repo_id, digest, media_type, size, bytes, pushed_ms) \
             VALUES (1, 1, 'm', 'x', 1, x'00', 0), (2, 2, 'm', 'x', 1, x'00', 0); \
         INSERT INTO manifest_blob (manifest_id, link_id) VALUES (1, 1), (2, 3)";

    struct Facts;

    #[async_trait]
    impl Change for Facts {
        type Out = ();
        const NAME: &'static str = "facts";

        async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
            let facts = FACTS.replace("{a}", &"a".repeat(64));
            let facts = facts.replace("{b}", &"b".repeat(64));
            let facts = sqlx::raw_sql(sqlx::AssertSqlSafe(facts));
            facts.execute(&mut *tx.conn).await?;
            Ok(())
        }
    }

    #[tokio::test]
    async fn what_is_loose_is_found_and_tied() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::File(directory.path().join("registry.db"));
        let meta = open_for_tests(&place).await;
        meta.change(Facts).await.unwrap();
        assert_eq!(meta.loose_repos(0, 10).await.unwrap(), [1]);
        assert_eq!(meta.loose_repos(1, 10).await.unwrap(), [0; 0]);
        let found = meta.manifests_of(1, "", 10).await.unwrap();
        assert_eq!((found.len(), found[0].digest.as_str()), (1, "m"));
        let layer = |name: &str, size| Descriptor {
            digest: Digest::parse(&format!("sha256:{}", name.repeat(64))).unwrap(),
            size,
        };
        // One that never was pushed is waited for.
        let tie = |digest: &str| TieForeign {
            repo_id: 1,
            digest: digest.to_owned(),
            foreign: vec![layer("b", 7), layer("c", 7)],
        };
        meta.change(tie("gone")).await.unwrap();
        meta.change(tie("m")).await.unwrap();
        assert_eq!(meta.loose_repos(0, 10).await.unwrap(), [0; 0]);
        meta.change(ForeignIsTied).await.unwrap();
        assert!(!meta.has_loose_foreign().await.unwrap());
    }
}
