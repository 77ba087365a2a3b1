//! What runs in clusters, as they say: retention leaves the tags of it alone.

use std::collections::HashSet;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::{AssertSqlSafe, Row};

use super::Meta;
use super::administer::{Time, time};
use super::batch::{batches, places};
use super::change::{Change, Tx, bound, first};
use super::error::Failure;
use super::outbox::{Event, tell};
use crate::digest::Digest;
use crate::error::{Code, Error};
use crate::who::Who;

/// Clusters that can say what they run.
const CLUSTERS_MAX: i64 = 1000;

/// Images of a cluster that may be on its last list and not on the next, however few it has.
const LOST_ALWAYS_MAX: u64 = 5;

/// How much a cluster has said that it runs, and when.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Cluster {
    pub(crate) cluster: String,
    pub(crate) images: i64,
    pub(crate) update_time: Time,
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
    /// The part of what it said last that is not among these at most, in percent; none if any may be.
    pub(crate) lost_percent_max: Option<u64>,
    /// For how long counts what it said.
    pub(crate) lifetime_ms: i64,
}

impl SetRunning {
    /// Has what other clusters said go that counts no more, if there are too many of them.
    async fn make_room(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        let cluster = self.cluster.as_str();
        let count = "SELECT COUNT(DISTINCT cluster) FROM running WHERE cluster <> $1";
        let others = bound!(count, cluster).fetch_one(&mut *tx.conn).await?;
        if first(&others)? < CLUSTERS_MAX {
            return Ok(());
        }
        let sql = "DELETE FROM running WHERE cluster <> $1 AND seen_ms <= $2";
        let old = bound!(sql, cluster, tx.now_ms - self.lifetime_ms);
        old.execute(&mut *tx.conn).await?;
        let others = bound!(count, cluster).fetch_one(&mut *tx.conn).await?;
        if first(&others)? < CLUSTERS_MAX {
            return Ok(());
        }
        let message = format!("at most {CLUSTERS_MAX} clusters can say what they run");
        Err(Error::new(Code::Conflict, message).into())
    }

    /// Refuses a list that lacks much of what the last one had: what lists them may have seen only a
    /// part, and the rest would be no longer left alone.
    async fn refuse_losses(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        let Some(percent) = self.lost_percent_max else {
            return Ok(());
        };
        let cluster = self.cluster.as_str();
        let sql = "SELECT digest FROM running WHERE cluster = $1 AND seen_ms > $2";
        let last = bound!(sql, cluster, tx.now_ms - self.lifetime_ms);
        let last = last.fetch_all(&mut *tx.conn).await?;
        let listed: HashSet<&str> = self.images.iter().map(Digest::as_str).collect();
        let mut lost: u64 = 0;
        for row in &last {
            lost += u64::from(!listed.contains(row.try_get::<String, _>(0)?.as_str()));
        }
        let all = last.len() as u64;
        if lost <= LOST_ALWAYS_MAX || lost * 100 <= all * percent {
            return Ok(());
        }
        let message = format!(
            "registry.gc.running_lost_percent_max: {lost} of the {all} images that cluster {cluster} \
             said last are not among the {} of this list, and {percent} percent may be; if they are \
             not run any more, say that fewer are meant",
            listed.len()
        );
        Err(Error::new(Code::Conflict, message).into())
    }
}

#[async_trait]
impl Change for SetRunning {
    type Out = ();
    const NAME: &'static str = "set_running";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        let cluster = self.cluster.as_str();
        self.make_room(tx).await?;
        self.refuse_losses(tx).await?;
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

#[cfg(test)]
mod tests {
    use futures::future::try_join_all;

    use super::super::connect::Place;
    use super::super::open_for_tests;
    use super::*;
    use crate::digest::Algorithm;

    #[tokio::test]
    async fn clusters_that_are_gone_leave_their_places() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::File(directory.path().join("registry.db"));
        let meta = open_for_tests(&place).await;
        let says = |cluster: String, lifetime_ms| SetRunning {
            who: Who::system("test"),
            cluster,
            images: vec![Digest::of(Algorithm::Sha256, b"image")],
            lost_percent_max: None,
            lifetime_ms,
        };
        let hour_ms = 3_600_000;
        for begin in (0..CLUSTERS_MAX).step_by(100) {
            let some = (begin..begin + 100).map(|number| says(format!("c{number}"), hour_ms));
            try_join_all(some.map(|says| meta.change(says)))
                .await
                .unwrap();
        }
        let more = || "more".to_owned();
        let refused = meta.change(says(more(), hour_ms)).await.unwrap_err();
        assert_eq!(refused.code, Code::Conflict);
        // What was said a moment ago counts no more.
        meta.change(says(more(), 0)).await.unwrap();
        assert_eq!(meta.clusters().await.unwrap().len(), 1);
    }
}
