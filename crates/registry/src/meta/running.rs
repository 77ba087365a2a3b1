//! What runs in clusters, as they say: retention leaves the tags of it alone.

use async_trait::async_trait;
use serde::Serialize;
use sqlx::{AssertSqlSafe, Row};

use super::Meta;
use super::administer::time;
use super::batch::{batches, places};
use super::change::{Change, Tx, bound, first};
use super::error::Failure;
use super::outbox::{Event, tell};
use crate::digest::Digest;
use crate::error::{Code, Error};
use crate::who::Who;

/// Clusters that can say what they run.
const CLUSTERS_MAX: i64 = 1000;

/// How much a cluster has said that it runs, and when.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Cluster {
    pub(crate) cluster: String,
    pub(crate) images: i64,
    pub(crate) update_time: String,
}

impl Meta {
    /// Clusters that have said what they run.
    pub(crate) async fn clusters(&self) -> Result<Vec<Cluster>, Error> {
        let sql = "SELECT cluster, COUNT(*), MAX(seen_ms) FROM running \
             GROUP BY cluster ORDER BY cluster";
        let cluster = |row: &sqlx::any::AnyRow| {
            Ok(Cluster {
                cluster: row.try_get(0)?,
                images: row.try_get(1)?,
                update_time: time(row.try_get(2)?),
            })
        };
        self.rows(bound!(sql), cluster).await
    }
}

/// A cluster says what it runs, and so what it does not run any more.
pub(crate) struct SetRunning {
    pub(crate) who: Who,
    pub(crate) cluster: String,
    pub(crate) images: Vec<Digest>,
}

#[async_trait]
impl Change for SetRunning {
    type Out = ();
    const NAME: &'static str = "set_running";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        let cluster = self.cluster.as_str();
        let others = bound!(
            "SELECT COUNT(DISTINCT cluster) FROM running WHERE cluster <> $1",
            cluster,
        );
        if first(&others.fetch_one(&mut *tx.conn).await?)? >= CLUSTERS_MAX {
            let message = format!("at most {CLUSTERS_MAX} clusters can say what they run");
            return Err(Error::new(Code::Conflict, message).into());
        }
        bound!("DELETE FROM running WHERE cluster = $1", cluster)
            .execute(&mut *tx.conn)
            .await?;
        for batch in batches(&self.images) {
            let sql = format!(
                "INSERT INTO running (cluster, digest, seen_ms) VALUES {} ON CONFLICT DO NOTHING",
                places(0, batch.len(), 3)
            );
            let made = batch
                .iter()
                .fold(sqlx::query(AssertSqlSafe(sql)), |made, image| {
                    made.bind(cluster).bind(image.as_str()).bind(tx.now_ms)
                });
            made.execute(&mut *tx.conn).await?;
        }
        let event = Event::new("running_changed", "cluster", cluster);
        Ok(tell(tx, &self.who, &event).await?)
    }
}
