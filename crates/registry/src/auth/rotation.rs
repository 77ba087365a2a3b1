//! Keys that sign tokens come and go: the newest signs, those before check until nothing that they
//! signed can hold any more.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::token::SigningKey;
use crate::error::Error;
use crate::meta::RotateKey;
use crate::registry::Registry;
use crate::who::Who;

/// How often is looked whether it is time for a new key, and for those that others made.
const INTERVAL: Duration = Duration::from_secs(60);
/// Other processes sign with an old key until they look, and their clocks may be a little off.
const MARGIN_MS: i64 = 10 * 60 * 1000;
/// A token of an unknown key has the keys looked up again, not oftener than this.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(1);

/// When the keys were looked up last because of a token.
#[derive(Default)]
pub(super) struct Lookups(Mutex<Option<Instant>>);

impl Lookups {
    /// Whether the keys may be looked up now.
    pub(super) fn may(&self) -> bool {
        let mut last = self.0.lock();
        let may = last.is_none_or(|last| last.elapsed() >= LOOKUP_INTERVAL);
        if may {
            *last = Some(Instant::now());
        }
        may
    }
}

/// Runs until the stop.
pub(crate) async fn run(registry: &Registry, stop: &CancellationToken) {
    let lifetime_ms = registry.config().key_lifetime.0 / 1_000_000;
    loop {
        let rotated = async {
            if lifetime_ms > 0 {
                rotate(registry, Who::system("keys"), Some(lifetime_ms)).await?;
            }
            load(registry).await
        };
        if let Err(error) = rotated.await {
            tracing::warn!(%error, "the keys that sign tokens were not looked up");
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Makes a key that signs from now on, unless the newest is younger than this; gives its id.
pub(crate) async fn rotate(
    registry: &Registry,
    who: Who,
    age_ms_min: Option<i64>,
) -> Result<Option<String>, Error> {
    let (kid, pkcs8) = SigningKey::generate()?;
    let config = registry.config();
    let holds_ms = config.refresh_lifetime.0.max(registry.token_lifetime().0) / 1_000_000;
    let holds_ms = holds_ms.saturating_add(MARGIN_MS);
    let rotate = RotateKey {
        who,
        kid: kid.clone(),
        pkcs8,
        age_ms_min,
        holds_ms,
    };
    let is_made = registry.meta().change(rotate).await?;
    if is_made {
        load(registry).await?;
    }
    Ok(is_made.then_some(kid))
}

/// Takes the keys as they are in the database.
pub(super) async fn load(registry: &Registry) -> Result<(), Error> {
    let keys = registry.meta().signing_keys().await?;
    let keys = keys.iter().map(|pkcs8| SigningKey::read(pkcs8));
    registry.auth().keys.set(keys.collect::<Result<_, _>>()?);
    Ok(())
}
