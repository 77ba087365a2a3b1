//! What was said while the registry ran: values by their names.

use async_trait::async_trait;
use serde_json::{Map, Value};
use sqlx::Row;

use super::Meta;
use super::change::{Change, Tx, bound};
use super::error::Failure;
use super::outbox::{Event, tell};
use crate::error::Error;
use crate::settings::Settings;
use crate::who::Who;

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
        self.row(found, |row| row.try_get(0)).await
    }
}

/// The name of what tells this database from all others.
const IDENTITY: &str = "identity";

/// Gives a database a name that no other has, if it has none; gives the one that it has.
pub(crate) struct Identify {
    pub(crate) new: String,
}

#[async_trait]
impl Change for Identify {
    type Out = String;
    const NAME: &'static str = "identify";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<String, Failure> {
        if let Some(identity) = read(tx, IDENTITY).await? {
            return Ok(identity);
        }
        write(tx, IDENTITY, Some(&self.new)).await?;
        Ok(self.new.clone())
    }
}

/// The name of what administrators say in general.
const CONFIGURATION: &str = "configuration";

fn settings(text: Option<String>) -> Settings {
    // What a later version wrote is as if it had not been said.
    text.and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default()
}

/// What administrators have said.
pub(super) async fn configuration(tx: &mut Tx<'_>) -> Result<Settings, sqlx::Error> {
    Ok(settings(read(tx, CONFIGURATION).await?))
}

impl Meta {
    /// What administrators have said.
    pub(crate) async fn settings(&self) -> Result<Settings, Error> {
        Ok(settings(self.setting(CONFIGURATION).await?))
    }
}

/// Changes what administrators say. Each name has a value, or none to be as if nothing had been said.
pub(crate) struct ChangeSettings {
    pub(crate) who: Who,
    pub(crate) values: Map<String, Value>,
}

#[async_trait]
impl Change for ChangeSettings {
    /// What holds from now on.
    type Out = Settings;
    const NAME: &'static str = "change_settings";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Settings, Failure> {
        let before = configuration(tx).await?;
        let failed = |error: serde_json::Error| Error::internal("writing the settings", &error);
        let mut all = serde_json::to_value(&before).map_err(failed)?;
        for (name, value) in &self.values {
            all[name.as_str()] = value.clone();
        }
        let changed: Settings = serde_json::from_value(all).map_err(failed)?;
        let text = serde_json::to_string(&changed).map_err(failed)?;
        write(tx, CONFIGURATION, Some(&text)).await?;
        let names: Vec<&str> = self.values.keys().map(String::as_str).collect();
        let event = Event::new("update_configuration", "configuration", &names.join(", "));
        tell(tx, &self.who, &event.changed(&before, &changed)).await?;
        Ok(changed)
    }
}
