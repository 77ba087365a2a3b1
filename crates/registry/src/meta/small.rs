//! Bytes of small blobs.

use bytes::Bytes;
use sqlx::Row;

use super::Meta;
use super::change::{Tx, bound};
use crate::error::Error;

impl Meta {
    /// The bytes that have this key.
    pub(crate) async fn small(&self, data_key: &str) -> Result<Option<Bytes>, Error> {
        let found = bound!("SELECT bytes FROM small_data WHERE data_key = $1", data_key);
        let read = |row: &sqlx::any::AnyRow| Ok(Bytes::from(row.try_get::<Vec<u8>, _>(0)?));
        self.row(found, read).await
    }
}

/// Keeps bytes.
pub(super) async fn keep(
    tx: &mut Tx<'_>,
    data_key: &str,
    bytes: &Bytes,
) -> Result<(), sqlx::Error> {
    let sql = "INSERT INTO small_data (data_key, bytes) VALUES ($1, $2)";
    bound!(sql, data_key, bytes.to_vec())
        .execute(&mut *tx.conn)
        .await?;
    Ok(())
}

/// Forgets bytes.
pub(super) async fn forget(tx: &mut Tx<'_>, data_key: &str) -> Result<(), sqlx::Error> {
    bound!("DELETE FROM small_data WHERE data_key = $1", data_key)
        .execute(&mut *tx.conn)
        .await?;
    Ok(())
}
