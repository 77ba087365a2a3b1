//! Bytes in the store that no row names: such as have lost theirs, and such as have none yet.
//!
//! Bytes that are about to be written for something that has no upload are reserved first: as if they
//! were dead, but not for a while. Who names them in a row claims them in the same transaction. So
//! whenever the process stops, they are either named or on their way out.

use std::collections::HashSet;

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Row};

use super::Meta;
use super::batch::{batches, places};
use super::change::{Change, Tx, bound};
use super::error::Failure;
use super::small;
use crate::error::{Code, Error};
use crate::small::is_small;
use crate::store::DATA;

/// How long bytes are reserved.
const RESERVED_MS: i64 = 2 * 3600 * 1000;
/// For how much longer they must be when they are claimed: another process whose clock is a little
/// ahead may be removing them already.
const CLAIMED_MS_MIN: i64 = RESERVED_MS / 2;

/// Has bytes removed that no row names.
pub(super) async fn bury(
    tx: &mut Tx<'_>,
    data_key: &str,
    written: Option<&str>,
    size: i64,
    not_before_ms: i64,
) -> Result<(), sqlx::Error> {
    bound!(
        "INSERT INTO dead_data (data_key, written, size, not_before_ms) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (data_key) DO NOTHING",
        data_key,
        written,
        size,
        not_before_ms,
    )
    .execute(&mut *tx.conn)
    .await?;
    Ok(())
}

/// Has the bytes removed of all uploads to a project, which are about to lose their rows.
pub(super) async fn bury_uploads(tx: &mut Tx<'_>, project_id: i64) -> Result<(), sqlx::Error> {
    bound!(
        "INSERT INTO dead_data (data_key, written, size, not_before_ms) \
         SELECT data_key, written, received, $2 FROM upload WHERE project_id = $1 \
         ON CONFLICT (data_key) DO NOTHING",
        project_id,
        tx.now_ms,
    )
    .execute(&mut *tx.conn)
    .await?;
    Ok(())
}

/// Reserves bytes that are about to be written, or says what of them is in the store meanwhile.
pub(crate) struct Reserve {
    pub(crate) data_key: String,
    pub(crate) written: String,
    pub(crate) size: u64,
}

#[async_trait]
impl Change for Reserve {
    type Out = ();
    const NAME: &'static str = "reserve";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        bound!(
            "INSERT INTO dead_data (data_key, written, size, not_before_ms) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (data_key) DO UPDATE SET written = excluded.written",
            self.data_key.as_str(),
            self.written.as_str(),
            i64::try_from(self.size).unwrap_or(i64::MAX),
            tx.now_ms + RESERVED_MS,
        )
        .execute(&mut *tx.conn)
        .await?;
        Ok(())
    }
}

/// Takes bytes that were reserved, to name them in a row.
pub(super) async fn claim(tx: &mut Tx<'_>, data_key: &str) -> Result<(), Failure> {
    let claimed = bound!(
        "DELETE FROM dead_data WHERE data_key = $1 AND not_before_ms > $2",
        data_key,
        tx.now_ms + CLAIMED_MS_MIN,
    );
    match claimed.execute(&mut *tx.conn).await?.rows_affected() {
        0 => {
            let message = "the store took too long for what was sent; send it again";
            Err(Error::new(Code::Unavailable, message).into())
        }
        _ => Ok(()),
    }
}

/// Gives up bytes that were reserved and that nobody will claim.
pub(crate) struct Release {
    pub(crate) data_key: String,
}

#[async_trait]
impl Change for Release {
    type Out = ();
    const NAME: &'static str = "release";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        Ok(release(tx, &self.data_key).await?)
    }
}

/// Gives up bytes that were reserved, unless they were claimed.
pub(super) async fn release(tx: &mut Tx<'_>, data_key: &str) -> Result<(), sqlx::Error> {
    bound!(
        "UPDATE dead_data SET not_before_ms = $1 WHERE data_key = $2",
        tx.now_ms,
        data_key,
    )
    .execute(&mut *tx.conn)
    .await?;
    Ok(())
}

/// Bytes that no row names any more.
#[derive(Clone, Debug)]
pub(crate) struct Dead {
    pub(crate) data_key: String,
    pub(crate) written: Option<String>,
    pub(crate) size: u64,
}

impl Meta {
    /// Bytes that may be removed now.
    pub(crate) async fn dead(&self, limit: i64) -> Result<Vec<Dead>, Error> {
        let found = bound!(
            "SELECT data_key, written, size FROM dead_data WHERE not_before_ms <= $1 \
             ORDER BY not_before_ms LIMIT $2",
            self.now_ms(),
            limit,
        );
        let dead = |row: &sqlx::any::AnyRow| {
            Ok(Dead {
                data_key: row.try_get(0)?,
                written: row.try_get(1)?,
                size: row.try_get::<i64, _>(2)?.unsigned_abs(),
            })
        };
        self.rows(found, dead).await
    }

    /// Those of some bytes that a row names.
    pub(crate) async fn known_data(
        &self,
        data_keys: impl IntoIterator<Item = &str>,
    ) -> Result<HashSet<String>, Error> {
        let mut known = HashSet::new();
        for batch in batches(data_keys) {
            let places = places(0, batch.len(), 1);
            let named = [
                "blob",
                "manifest",
                "removed_manifest",
                "upload",
                "dead_data",
            ]
            .map(|table| format!("SELECT data_key FROM {table} WHERE data_key IN ({places})"));
            let found = sqlx::query(AssertSqlSafe(named.join(" UNION ALL ")));
            let found = batch.iter().fold(found, |found, key| found.bind(*key));
            known.extend(self.rows(found, |row| row.try_get::<String, _>(0)).await?);
        }
        Ok(known)
    }

    /// Some of the keys that blobs have in the store, those of the newest.
    pub(crate) async fn stored_keys(&self, limit: i64) -> Result<Vec<String>, Error> {
        let found = bound!(
            "SELECT data_key FROM blob WHERE data_key LIKE $1 ORDER BY id DESC LIMIT $2",
            format!("{DATA}/%"),
            limit,
        );
        self.rows(found, |row| row.try_get(0)).await
    }

    /// Whether somebody may continue an upload that writes these bytes, or is about to give it up.
    pub(crate) async fn knows_upload_of(&self, data_key: &str) -> Result<bool, Error> {
        let found = bound!(
            "SELECT 1 FROM upload WHERE data_key = $1 \
             UNION ALL SELECT 1 FROM dead_data WHERE data_key = $1 LIMIT 1",
            data_key,
        );
        Ok(self.row(found, |_| Ok(())).await?.is_some())
    }
}

/// Forgets bytes that were removed.
pub(crate) struct Forget {
    pub(crate) data_keys: Vec<String>,
}

#[async_trait]
impl Change for Forget {
    type Out = ();
    const NAME: &'static str = "forget";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        for key in &self.data_keys {
            if is_small(key) {
                small::forget(tx, key).await?;
            }
            bound!("DELETE FROM dead_data WHERE data_key = $1", key.as_str())
                .execute(&mut *tx.conn)
                .await?;
        }
        Ok(())
    }
}

/// Has bytes that could not be removed tried again later, so that they are in nobody's way.
pub(crate) struct Postpone {
    pub(crate) data_keys: Vec<String>,
    pub(crate) delay_ms: i64,
}

#[async_trait]
impl Change for Postpone {
    type Out = ();
    const NAME: &'static str = "postpone";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        for key in &self.data_keys {
            // Less than what is claimed has: nobody takes them for reserved.
            bound!(
                "UPDATE dead_data SET not_before_ms = $1 WHERE data_key = $2",
                tx.now_ms + self.delay_ms.min(CLAIMED_MS_MIN / 2),
                key.as_str(),
            )
            .execute(&mut *tx.conn)
            .await?;
        }
        Ok(())
    }
}

/// Has bytes removed that no row names, as a sweep of the store found.
pub(crate) struct Bury {
    pub(crate) data_key: String,
}

#[async_trait]
impl Change for Bury {
    type Out = ();
    const NAME: &'static str = "bury";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        bury(tx, &self.data_key, Some(""), 0, tx.now_ms).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::connect::Place;
    use super::super::open_for_tests;
    use super::*;

    /// Claims bytes as if it were so much later.
    struct Claim(&'static str, i64);

    #[async_trait]
    impl Change for Claim {
        type Out = ();
        const NAME: &'static str = "claim";

        async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
            tx.now_ms += self.1;
            claim(tx, self.0).await
        }
    }

    #[tokio::test]
    async fn what_is_reserved_is_named_or_goes() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::File(directory.path().join("registry.db"));
        let meta = open_for_tests(&place).await;
        let reserve = |data_key: &str| Reserve {
            data_key: data_key.to_owned(),
            written: String::new(),
            size: 7,
        };
        for data_key in ["claimed", "late", "released"] {
            meta.change(reserve(data_key)).await.unwrap();
        }
        let keys = ["claimed", "nothing", "late", "released"];
        let known = async || {
            let mut known: Vec<String> = meta.known_data(keys).await.unwrap().into_iter().collect();
            known.sort_unstable();
            known
        };
        assert_eq!(known().await, ["claimed", "late", "released"]);
        assert_eq!(meta.dead(10).await.unwrap().len(), 0);
        meta.change(Claim("claimed", 0)).await.unwrap();
        assert_eq!(known().await, ["late", "released"]);
        // Bytes that may be on their way out are not named any more.
        for (data_key, later_ms) in [("claimed", 0), ("late", RESERVED_MS / 2 + 1000)] {
            let late = meta.change(Claim(data_key, later_ms)).await.unwrap_err();
            assert_eq!(late.code, Code::Unavailable, "{data_key}");
        }
        for data_key in ["claimed", "released"] {
            let data_key = data_key.to_owned();
            meta.change(Release { data_key }).await.unwrap();
        }
        let dead = meta.dead(10).await.unwrap();
        let keys: Vec<&str> = dead.iter().map(|dead| dead.data_key.as_str()).collect();
        assert_eq!(keys, ["released"]);
    }
}
