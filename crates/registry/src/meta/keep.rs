//! What a client is told is there, so that it need not push it, stays for its grace.

use async_trait::async_trait;

use super::Meta;
use super::change::{Change, Tx, bound, first};
use super::error::{Failure, unavailable};
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
            Some(due_ms) if due_ms < self.now_ms() + grace_ms / 2 => {
                self.change(Keep { kind, id, grace_ms }).await
            }
            // What does not wait to be looked at is needed, or went and will be missed by who needs it.
            _ => Ok(true),
        }
    }

    /// When something is to be looked at, in milliseconds since 1970, if it is.
    async fn review_due(&self, kind: Kind, id: i64) -> Result<Option<i64>, Error> {
        let mut connection = self.read().await?;
        let found = bound!(
            "SELECT not_before_ms FROM gc_queue WHERE kind = $1 AND subject_id = $2",
            kind.name(),
            id,
        );
        let row = found.fetch_optional(&mut *connection).await;
        row.and_then(|row| row.as_ref().map(first).transpose())
            .map_err(|error| unavailable(&error))
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
            "UPDATE gc_queue SET not_before_ms = $1 \
             WHERE kind = $2 AND subject_id = $3 AND not_before_ms < $1",
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
