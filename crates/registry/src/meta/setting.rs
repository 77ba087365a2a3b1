//! What was said while the registry ran: values by their names.

use sqlx::Row;

use super::Meta;
use super::change::{Tx, bound};
use crate::error::Error;

/// The value of a name, if something was said.
pub(super) async fn read(tx: &mut Tx<'_>, name: &str) -> Result<Option<String>, sqlx::Error> {
    let found = bound!("SELECT value FROM setting WHERE name = $1", name);
    let row = found.fetch_optional(&mut *tx.conn).await?;
    row.map(|row| row.try_get(0)).transpose()
}

/// Has a name have a value, or none.
pub(super) async fn write(
    tx: &mut Tx<'_>,
    name: &str,
    value: Option<&str>,
) -> Result<(), sqlx::Error> {
    let written = match value {
        Some(value) => bound!(
            "INSERT INTO setting (name, value, updated_ms) VALUES ($1, $2, $3) \
             ON CONFLICT (name) DO UPDATE \
             SET value = excluded.value, updated_ms = excluded.updated_ms",
            name,
            value,
            tx.now_ms,
        ),
        None => bound!("DELETE FROM setting WHERE name = $1", name),
    };
    written.execute(&mut *tx.conn).await?;
    Ok(())
}

impl Meta {
    /// The value of a name, if something was said.
    pub(crate) async fn setting(&self, name: &str) -> Result<Option<String>, Error> {
        let found = bound!("SELECT value FROM setting WHERE name = $1", name);
        Ok(self.rows(found, |row| row.try_get(0)).await?.pop())
    }
}
