//! What was deleted in a project goes before its grace is over, for who needs the room.

use async_trait::async_trait;

use super::administer::project_id;
use super::change::{Change, Tx, bound};
use super::error::Failure;
use super::outbox::{Event, tell};
use crate::who::Who;

/// Has manifests that were removed from a project not come back any more.
pub(crate) struct Purge {
    pub(crate) who: Who,
    pub(crate) project: String,
}

#[async_trait]
impl Change for Purge {
    type Out = ();
    const NAME: &'static str = "purge";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        let project = project_id(tx, &self.project).await?;
        bound!(
            "UPDATE removed_manifest SET until_ms = $1 WHERE until_ms > $1 \
             AND repo_id IN (SELECT id FROM repo WHERE project_id = $2)",
            tx.now_ms,
            project,
        )
        .execute(&mut *tx.conn)
        .await?;
        let event = Event::new("purge_project", "project", &self.project);
        Ok(tell(tx, &self.who, &event.in_project(&self.project)).await?)
    }
}

/// Has some of what lost its last reference in a project looked at now; not what somebody counts on who
/// is about to refer to it.
pub(crate) struct Hasten {
    pub(crate) project: String,
    pub(crate) limit: i64,
}

#[async_trait]
impl Change for Hasten {
    /// How much.
    type Out = u64;
    const NAME: &'static str = "hasten";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<u64, Failure> {
        let project = project_id(tx, &self.project).await?;
        let hastened = bound!(
            "UPDATE gc_queue SET not_before_ms = $1 WHERE (kind, subject_id) IN \
             (SELECT q.kind, q.subject_id FROM gc_queue q \
             WHERE q.not_before_ms > $1 AND q.never_tagged = 0 \
             AND ((q.kind = 'link' AND EXISTS (SELECT 1 FROM repo_blob l \
                 WHERE l.id = q.subject_id AND l.project_id = $2)) \
             OR (q.kind = 'manifest' AND EXISTS (SELECT 1 FROM manifest m \
                 JOIN repo r ON r.id = m.repo_id \
                 WHERE m.id = q.subject_id AND r.project_id = $2))) LIMIT $3)",
            tx.now_ms,
            project,
            self.limit,
        );
        Ok(hastened.execute(&mut *tx.conn).await?.rows_affected())
    }
}
