//! The keys that sign tokens.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::Row;

use super::Meta;
use super::administer::{Time, time};
use super::change::{Change, Tx, bound, first};
use super::error::Failure;
use super::outbox::{Event, tell};
use crate::error::Error;
use crate::who::Who;

/// A key, without what is secret of it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "SigningKey")]
pub(crate) struct KeyInfo {
    pub(crate) kid: String,
    #[serde(rename = "creation_time")]
    pub(crate) created: Time,
}

impl Meta {
    /// The keys that sign tokens, newest first.
    pub(crate) async fn signing_keys(&self) -> Result<Vec<Vec<u8>>, Error> {
        let found = bound!("SELECT pkcs8 FROM signing_key ORDER BY created_ms DESC, kid");
        self.rows(found, |row| row.try_get(0)).await
    }

    /// The same, as they are shown.
    pub(crate) async fn keys(&self) -> Result<Vec<KeyInfo>, Error> {
        let found = bound!("SELECT kid, created_ms FROM signing_key ORDER BY created_ms DESC, kid");
        let key = |row: &sqlx::any::AnyRow| {
            Ok(KeyInfo {
                kid: row.try_get(0)?,
                created: time(row.try_get(1)?),
            })
        };
        self.rows(found, key).await
    }
}

/// Keeps a key that signs tokens, if there is none.
pub(crate) struct EnsureKey {
    pub(crate) kid: String,
    pub(crate) pkcs8: Vec<u8>,
}

#[async_trait]
impl Change for EnsureKey {
    type Out = ();
    const NAME: &'static str = "ensure_key";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        bound!(
            "INSERT INTO signing_key (kid, pkcs8, created_ms) SELECT $1, $2, $3 \
             WHERE NOT EXISTS (SELECT 1 FROM signing_key)",
            self.kid.as_str(),
            self.pkcs8.clone(),
            tx.now_ms,
        )
        .execute(&mut *tx.conn)
        .await?;
        Ok(())
    }
}

/// Adds a key, which signs from now on, and removes those that have nothing left to check.
pub(crate) struct RotateKey {
    pub(crate) who: Who,
    pub(crate) kid: String,
    pub(crate) pkcs8: Vec<u8>,
    /// Nothing is done if the newest key is younger than so many milliseconds.
    pub(crate) age_ms_min: Option<i64>,
    /// For how many milliseconds after its last signature a key has something to check.
    pub(crate) holds_ms: i64,
}

#[async_trait]
impl Change for RotateKey {
    /// Whether the key was added.
    type Out = bool;
    const NAME: &'static str = "rotate_key";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<bool, Failure> {
        // One that a clock made that was ahead would sign until that time has come.
        bound!(
            "UPDATE signing_key SET created_ms = $1 WHERE created_ms > $1",
            tx.now_ms,
        )
        .execute(&mut *tx.conn)
        .await?;
        // A key has nothing left to check once its successor has signed for long enough.
        bound!(
            "DELETE FROM signing_key WHERE EXISTS (SELECT 1 FROM signing_key next \
             WHERE next.created_ms > signing_key.created_ms AND next.created_ms < $1)",
            tx.now_ms.saturating_sub(self.holds_ms),
        )
        .execute(&mut *tx.conn)
        .await?;
        let newest = bound!("SELECT COALESCE(MAX(created_ms), 0) FROM signing_key");
        let newest_ms = first(&newest.fetch_one(&mut *tx.conn).await?)?;
        if let Some(age_ms_min) = self.age_ms_min
            && tx.now_ms.saturating_sub(newest_ms) < age_ms_min
        {
            return Ok(false);
        }
        bound!(
            "INSERT INTO signing_key (kid, pkcs8, created_ms) VALUES ($1, $2, $3)",
            self.kid.as_str(),
            self.pkcs8.clone(),
            // Of two in one millisecond, one would not be the newest.
            tx.now_ms.max(newest_ms.saturating_add(1)),
        )
        .execute(&mut *tx.conn)
        .await?;
        let event = Event::new("key_rotated", "key", &self.kid);
        tell(tx, &self.who, &event).await?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::super::connect::Place;
    use super::super::{open_ahead, open_for_tests};
    use super::*;

    const HOUR_MS: i64 = 3600 * 1000;

    fn rotate(kid: &str) -> RotateKey {
        RotateKey {
            who: Who::system("test"),
            kid: kid.to_owned(),
            pkcs8: Vec::new(),
            age_ms_min: Some(HOUR_MS),
            holds_ms: HOUR_MS,
        }
    }

    #[tokio::test]
    async fn a_key_of_a_clock_that_was_ahead_signs_no_longer_than_others() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::File(directory.path().join("registry.db"));
        let meta = open_for_tests(&place).await;
        let ahead = open_ahead(&place, 1000 * HOUR_MS).await;
        assert!(ahead.change(rotate("ahead")).await.unwrap());
        assert!(!meta.change(rotate("too soon")).await.unwrap());
        let later = open_ahead(&place, HOUR_MS + 1000).await;
        assert!(later.change(rotate("later")).await.unwrap());
        let keys = meta.keys().await.unwrap();
        let kids: Vec<&str> = keys.iter().map(|key| key.kid.as_str()).collect();
        assert_eq!(kids, ["later", "ahead"]);
    }
}
