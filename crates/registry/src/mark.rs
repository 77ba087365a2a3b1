//! Whose a store is.
//!
//! The sweep removes bytes that the database does not name. So a store belongs to one database: which
//! one, an object beside the bytes says, written at the first start. A registry whose store is marked
//! as another's does not start, and its sweep removes nothing.

use std::future::ready;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};

use crate::error::{Code, Error, StartError};
use crate::meta::{Identify, Meta};
use crate::store::{self, Keeper, MARK};

/// Objects that are looked up before a store without a mark is taken for the database's own.
const LOOKED_UP_MAX: usize = 100;
/// How long a start waits for the store; the sweep asks it again.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Why the store is not this database's; none if it is.
async fn stranger(meta: &Meta, store: &dyn Keeper) -> Result<Option<String>, Error> {
    let new = store::new_id();
    let ours = meta.change(Identify { new }).await?;
    if let Some(found) = store.mark().await? {
        return Ok((found != ours).then(|| {
            format!(
                "registry.storage: the store belongs to another database: its object {MARK} says \
                 {found}, this database is {ours}; give each registry a bucket or a prefix of its own"
            )
        }));
    }
    if is_strange(meta, store).await? {
        return Ok(Some(format!(
            "registry.storage: there are objects in the store, and this database names none of them; \
             if they shall be removed a day later all the same, put {ours} into its object {MARK}"
        )));
    }
    if is_elsewhere(meta, store).await? {
        return Ok(Some(format!(
            "registry.storage: the store has none of the bytes that this database names: they are in \
             another one, or lost; if they are, put {ours} into its object {MARK}"
        )));
    }
    store.set_mark(&ours).await?;
    tracing::info!(
        identity = ours,
        "the registry's store was marked as its own"
    );
    Ok(None)
}

/// Whether there are objects of which this database names none. That is so where the database is new
/// and the store is not.
async fn is_strange(meta: &Meta, store: &dyn Keeper) -> Result<bool, Error> {
    let keys = store.keys().await?;
    let ours = keys.try_filter_map(|(key, _)| ready(Ok(store::owner(&key).map(str::to_owned))));
    let some: Vec<String> = ours.take(LOOKED_UP_MAX).try_collect().await?;
    let known = meta.known_data(some.iter().map(String::as_str)).await?;
    Ok(!some.is_empty() && known.is_empty())
}

/// Whether the database names bytes that are in a store, and none of them is in this one. That is so
/// where each of several processes has a directory of its own.
async fn is_elsewhere(meta: &Meta, store: &dyn Keeper) -> Result<bool, Error> {
    let keys = meta.stored_keys(LOOKED_UP_MAX as i64).await?;
    for key in &keys {
        if store.size(key).await?.is_some() {
            return Ok(false);
        }
    }
    Ok(!keys.is_empty())
}

/// Refuses to go on unless the store is this database's.
pub(crate) async fn check(meta: &Meta, store: &dyn Keeper) -> Result<(), Error> {
    match stranger(meta, store).await? {
        Some(reason) => Err(Error::new(Code::Conflict, reason)),
        None => Ok(()),
    }
}

/// The same for a start. A store that does not answer is no reason not to: it may do so later.
pub(crate) async fn check_at_start(meta: &Meta, store: &dyn Keeper) -> Result<(), StartError> {
    match tokio::time::timeout(WAIT_MAX, stranger(meta, store)).await {
        Ok(Ok(None)) => {}
        Ok(Ok(Some(reason))) => return Err(StartError::Own(reason)),
        Ok(Err(error)) => tracing::warn!(%error, "it is not known whose the store is"),
        Err(_) => tracing::warn!("it is not known whose the store is: it does not answer"),
    }
    Ok(())
}
