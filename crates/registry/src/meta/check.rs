//! What a comparison of the database with the store asks for.

use async_trait::async_trait;
use serde_json::{Value, json};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::Meta;
use super::administer::project_id;
use super::cache::Touched;
use super::change::{Change, Tx, bound, first};
use super::error::Failure;
use super::manifest::Content;
use super::outbox::{Event, tell};
use crate::digest::Digest;
use crate::error::Error;
use crate::who::Who;

/// A blob as its row has it.
#[derive(Clone, Debug)]
pub(crate) struct BlobFact {
    pub(crate) id: i64,
    pub(crate) digest: String,
    pub(crate) size: u64,
    pub(crate) data_key: String,
    /// Whether its bytes were found not to be what the digest says.
    pub(crate) is_damaged: bool,
}

/// A manifest as its row has it.
#[derive(Clone, Debug)]
pub(crate) struct ManifestFact {
    pub(crate) id: i64,
    pub(crate) digest: String,
    pub(crate) repository: String,
    pub(crate) size: u64,
    pub(crate) content: Content,
    /// Whether bytes in the store were found not to be what the digest says.
    pub(crate) is_damaged: bool,
}

/// A project that is charged for another sum than its blobs and manifests have.
#[derive(Clone, Debug)]
pub(crate) struct WrongQuota {
    pub(crate) project: String,
    pub(crate) used: i64,
    pub(crate) counted: i64,
}

/// The bytes of a project's blobs, each counted once, and of its manifests, also of those that can be
/// brought back; `q` is its quota.
macro_rules! counted {
    () => {
        "(SELECT CAST(COALESCE(SUM(b.size), 0) AS BIGINT) FROM blob b WHERE EXISTS \
         (SELECT 1 FROM repo_blob l WHERE l.project_id = q.project_id AND l.blob_id = b.id)) \
         + (SELECT CAST(COALESCE(SUM(m.size), 0) AS BIGINT) FROM manifest m \
         JOIN repo r ON r.id = m.repo_id WHERE r.project_id = q.project_id) \
         + (SELECT CAST(COALESCE(SUM(x.size), 0) AS BIGINT) FROM removed_manifest x \
         JOIN repo r ON r.id = x.repo_id WHERE r.project_id = q.project_id)"
    };
}

fn blob_fact(row: &AnyRow) -> Result<BlobFact, sqlx::Error> {
    Ok(BlobFact {
        id: row.try_get(0)?,
        digest: row.try_get(1)?,
        size: row.try_get::<i64, _>(2)?.unsigned_abs(),
        data_key: row.try_get(3)?,
        is_damaged: row.try_get::<Option<i64>, _>(4)?.is_some(),
    })
}

impl Meta {
    /// Blobs in the order of their ids.
    pub(crate) async fn blobs_after(&self, id: i64, limit: i64) -> Result<Vec<BlobFact>, Error> {
        let sql = "SELECT id, digest, size, data_key, damaged_ms FROM blob WHERE id > $1 \
             ORDER BY id LIMIT $2";
        self.rows(bound!(sql, id, limit), blob_fact).await
    }

    /// A blob, whoever has it.
    pub(crate) async fn blob_fact(&self, digest: &Digest) -> Result<Option<BlobFact>, Error> {
        let sql = "SELECT id, digest, size, data_key, damaged_ms FROM blob WHERE digest = $1";
        self.row(bound!(sql, digest.as_str()), blob_fact).await
    }

    /// Whether a blob is still there.
    pub(crate) async fn has_blob(&self, id: i64) -> Result<bool, Error> {
        let found = bound!("SELECT 1 FROM blob WHERE id = $1", id);
        Ok(self.row(found, |_| Ok(())).await?.is_some())
    }

    /// Whether a manifest is still there.
    pub(crate) async fn has_manifest(&self, id: i64) -> Result<bool, Error> {
        let found = bound!("SELECT 1 FROM manifest WHERE id = $1", id);
        Ok(self.row(found, |_| Ok(())).await?.is_some())
    }

    /// Manifests in the order of their ids.
    pub(crate) async fn manifests_after(
        &self,
        id: i64,
        limit: i64,
    ) -> Result<Vec<ManifestFact>, Error> {
        let sql = "SELECT m.id, m.digest, r.name, m.size, m.data_key, m.bytes, \
             m.damaged_ms FROM manifest m JOIN repo r ON r.id = m.repo_id WHERE m.id > $1 ORDER BY m.id LIMIT $2";
        let fact = |row: &AnyRow| {
            Ok(ManifestFact {
                id: row.try_get(0)?,
                digest: row.try_get(1)?,
                repository: row.try_get(2)?,
                size: row.try_get::<i64, _>(3)?.unsigned_abs(),
                content: Content::read(row, 4)?,
                is_damaged: row.try_get::<Option<i64>, _>(6)?.is_some(),
            })
        };
        self.rows(bound!(sql, id, limit), fact).await
    }

    /// Projects that are charged for another sum than their blobs and manifests have.
    pub(crate) async fn wrong_quotas(&self) -> Result<Vec<WrongQuota>, Error> {
        let sql = concat!(
            "SELECT name, used, counted FROM (SELECT p.name, q.used, ",
            counted!(),
            " AS counted FROM quota q JOIN project p ON p.id = q.project_id) sums \
             WHERE used <> counted ORDER BY name"
        );
        let wrong = |row: &AnyRow| {
            Ok(WrongQuota {
                project: row.try_get(0)?,
                used: row.try_get(1)?,
                counted: row.try_get(2)?,
            })
        };
        self.rows(bound!(sql), wrong).await
    }
}

/// Says whether bytes of the store are what their digest says, after they were read.
pub(crate) struct SetDamaged {
    pub(crate) data_key: String,
    pub(crate) is_damaged: bool,
}

#[async_trait]
impl Change for SetDamaged {
    type Out = ();
    const NAME: &'static str = "set_damaged";

    fn touches(&self, _out: &Self::Out) -> Touched<'_> {
        Touched::Repos
    }

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        let damaged_ms = self.is_damaged.then_some(tx.now_ms);
        for sql in [
            "UPDATE blob SET damaged_ms = $1 WHERE data_key = $2",
            "UPDATE manifest SET damaged_ms = $1 WHERE data_key = $2",
        ] {
            bound!(sql, damaged_ms, self.data_key.as_str())
                .execute(&mut *tx.conn)
                .await?;
        }
        Ok(())
    }
}

/// Charges a project for the sum of its blobs and manifests.
pub(crate) struct Recount {
    pub(crate) who: Who,
    pub(crate) project: String,
}

#[async_trait]
impl Change for Recount {
    type Out = ();
    const NAME: &'static str = "recount_quota";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        let project = project_id(tx, &self.project).await?;
        let sql = concat!(
            "UPDATE quota SET used = (SELECT ",
            counted!(),
            " FROM quota q WHERE q.project_id = $1) WHERE project_id = $1"
        );
        let before = used(tx, project).await?;
        bound!(sql, project).execute(&mut *tx.conn).await?;
        let event = Event::new("quota_recounted", "project", &self.project);
        let event = event.changed(before, used(tx, project).await?);
        Ok(tell(tx, &self.who, &event.in_project(&self.project)).await?)
    }
}

/// What the record of a count tells: the bytes that a project is charged for.
async fn used(tx: &mut Tx<'_>, project: i64) -> Result<Value, sqlx::Error> {
    let sql = "SELECT used FROM quota WHERE project_id = $1";
    let used = first(&bound!(sql, project).fetch_one(&mut *tx.conn).await?)?;
    Ok(json!({"used": used}))
}
