//! What a client is told is there, so that it need not push it, stays for its grace.

use async_trait::async_trait;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::Meta;
use super::change::{Change, Tx, bound};
use super::error::Failure;
use super::link::Kind;
use crate::error::Error;

impl Meta {
    /// Keeps a repository's link to a blob; gives whether it is still there.
    pub(crate) async fn keep_link(&self, link_id: i64, grace_ms: i64) -> Result<bool, Error> {
        self.keep(Kind::Link, link_id, grace_ms).await
    }

    /// Keeps a manifest; gives whether it is still there.
    pub(crate) async fn keep_manifest(&self, id: i64, grace_ms: i64) -> Result<bool, Error> {
        self.keep(Kind::Manifest, id, grace_ms).await
    }

    async fn keep(&self, kind: Kind, id: i64, grace_ms: i64) -> Result<bool, Error> {
        match self.review_due(kind, id).await? {
            Some((due_ms, is_expected))
                if due_ms < self.now_ms() + grace_ms / 2 || !is_expected =>
            {
                self.change(Keep { kind, id, grace_ms }).await
            }
            // What does not wait to be looked at is needed, or went and will be missed by who needs it.
            _ => Ok(true),
        }
    }

    /// When something is to be looked at, in milliseconds since 1970, if it is; and whether it is known
    /// that somebody counts on it, which is of interest for links only.
    async fn review_due(&self, kind: Kind, id: i64) -> Result<Option<(i64, bool)>, Error> {
        let found = bound!(
            "SELECT not_before_ms, never_tagged FROM gc_queue WHERE kind = $1 AND subject_id = $2",
            kind.name(),
            id,
        );
        let due = |row: &AnyRow| {
            let is_expected = kind != Kind::Link || row.try_get::<i64, _>(1)? != 0;
            Ok((row.try_get(0)?, is_expected))
        };
        self.row(found, due).await
    }
}

/// Has something that waits to be looked at wait for its whole grace again.
struct Keep {
    kind: Kind,
    id: i64,
    grace_ms: i64,
}

#[async_trait]
impl Change for Keep {
    /// Whether it is still there.
    type Out = bool;
    const NAME: &'static str = "keep";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<bool, Failure> {
        bound!(
            "UPDATE gc_queue SET not_before_ms = $1, \
             never_tagged = CASE WHEN kind = 'link' THEN 1 ELSE never_tagged END \
             WHERE kind = $2 AND subject_id = $3 AND not_before_ms <= $1",
            tx.now_ms + self.grace_ms,
            self.kind.name(),
            self.id,
        )
        .execute(&mut *tx.conn)
        .await?;
        let sql = match self.kind {
            Kind::Manifest => "SELECT 1 FROM manifest WHERE id = $1",
            Kind::Link => "SELECT 1 FROM repo_blob WHERE id = $1",
            Kind::Blob => "SELECT 1 FROM blob WHERE id = $1",
        };
        let found = bound!(sql, self.id).fetch_optional(&mut *tx.conn).await?;
        Ok(found.is_some())
    }
}
