//! Whether changes are made, or the disk is in the way.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;

use super::change::{Change, Tx, bound};
use super::error::Failure;

/// Bytes of the change that is tried: about those of a manifest, which need room of their own.
const TRIED_BYTES: usize = 64 << 10;

/// Noted when a change failed for a reason that others would fail for too, until one is made that
/// needs as much.
#[derive(Debug, Default)]
pub(super) struct Outage(AtomicBool);

impl Outage {
    /// A change failed so.
    pub(super) fn note(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_noted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// A [`Try`] was made.
    pub(super) fn is_over(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Writes something and takes it back.
pub(super) struct Try;

#[async_trait]
impl Change for Try {
    type Out = ();
    const NAME: &'static str = "try";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        for query in [
            bound!(
                "INSERT INTO small_data (data_key, bytes) VALUES ('try', $1)",
                vec![0_u8; TRIED_BYTES]
            ),
            bound!("DELETE FROM small_data WHERE data_key = 'try'"),
        ] {
            query.execute(&mut *tx.conn).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::change::first;
    use super::super::connect::Place;
    use super::super::open_for_tests;
    use super::*;

    /// Needs more room than there is.
    struct Fill;

    #[async_trait]
    impl Change for Fill {
        type Out = ();
        const NAME: &'static str = "fill";

        async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
            let pages = bound!("PRAGMA page_count").fetch_one(&mut *tx.conn).await?;
            let sql = format!("PRAGMA max_page_count = {}", first(&pages)?);
            let bound = sqlx::query(sqlx::AssertSqlSafe(sql));
            bound.fetch_all(&mut *tx.conn).await?;
            bound!(
                "INSERT INTO small_data (data_key, bytes) VALUES ('fill', $1)",
                vec![0_u8; 4 << 20]
            )
            .execute(&mut *tx.conn)
            .await?;
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_full_disk_is_said_until_there_is_room() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::File(directory.path().join("registry.db"));
        let meta = open_for_tests(&place).await;
        let refused = meta.change(Fill).await.unwrap_err();
        assert!(refused.message.contains("is full"), "{}", refused.message);
        assert!(meta.outage.is_noted());
        // The bound went with the connection.
        meta.probe().await.unwrap();
        assert!(!meta.outage.is_noted());
    }
}
