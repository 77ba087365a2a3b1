//! Removes what nothing refers to, while pushes and pulls go on.
//!
//! Nothing is walked: what may have lost its last reference waits in the database's review queue
//! until its grace is over (`meta::Review`), and bytes that lost their row wait until nobody can be
//! reading them. As a key is never used twice, removing bytes cannot hit those of a later push.
//! Once a day the store is compared with the database, for what a crash left between the two.

use std::time::Duration;

use futures::TryStreamExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::meta::{Bury, ExpireUploads, Forget, Graces, Removed, Retain, Review};
use crate::registry::Registry;
use crate::who::Who;

/// Things that one transaction looks at, so that pushes need not wait long.
const REVIEWS_MAX: i64 = 64;
/// Uploads that one transaction gives up.
const UPLOADS_MAX: i64 = 64;
/// Objects that are removed before the database is told.
const REMOVALS_MAX: i64 = 100;
/// What a dry run looks at.
const DRY_RUN_MAX: i64 = 10_000;
/// How often tags are looked for that no retention keeps.
const RETENTION_INTERVAL: Duration = Duration::from_secs(3600);
/// The shortest pause between two rounds.
const PAUSE_MIN: Duration = Duration::from_millis(10);

/// Runs until the stop.
pub(crate) async fn run(registry: &Registry, stop: &CancellationToken) {
    let config = &registry.config().gc;
    let pause = config.interval.as_std().max(PAUSE_MIN);
    let (mut swept, mut retained) = (Instant::now(), Instant::now());
    loop {
        if let Err(error) = round(registry, stop).await {
            tracing::warn!(?error, "a round of garbage collection was broken off");
        }
        if retained.elapsed() >= RETENTION_INTERVAL {
            retained = Instant::now();
            if let Err(error) = retain(registry).await {
                tracing::warn!(?error, "retention was broken off");
            }
        }
        if config.enabled && swept.elapsed() >= config.sweep_interval.as_std() {
            swept = Instant::now();
            match sweep(registry).await {
                Ok(0) => {}
                Ok(orphans) => tracing::info!(orphans, "found bytes that no row names"),
                Err(error) => tracing::warn!(?error, "the sweep of the store was broken off"),
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Does what the rules of projects say.
async fn retain(registry: &Registry) -> Result<(), Error> {
    for project in registry.meta().projects_with_retention().await? {
        let retain = Retain {
            who: Who::system("retention"),
            project,
            untagged_grace_ms: registry.untagged_grace_ms(),
            dry_run: false,
        };
        registry.meta().change(retain).await?;
    }
    Ok(())
}

/// Does all that is due now; gives what was removed.
pub(crate) async fn round(registry: &Registry, stop: &CancellationToken) -> Result<Removed, Error> {
    let meta = registry.meta();
    let mut total = Removed::default();
    let age_ms = registry.config().upload.expiry.0 / 1_000_000;
    let expire = || ExpireUploads {
        age_ms,
        limit: UPLOADS_MAX,
    };
    while !stop.is_cancelled() && meta.change(expire()).await? > 0 {}
    while registry.config().gc.enabled && !stop.is_cancelled() {
        let removed = meta.change(review(registry)).await?;
        if removed.looked_at == 0 {
            break;
        }
        registry.metrics().removed(&removed);
        total.add(&removed);
        if removed.manifests + removed.links + removed.blobs > 0 {
            tracing::debug!(?removed, "removed what nothing refers to");
        }
    }
    while !stop.is_cancelled() && remove_dead(registry).await? {}
    registry
        .metrics()
        .backlog(&meta.backlog().await?, meta.now_ms());
    Ok(total)
}

/// What would be removed if all that waits were due.
pub(crate) async fn dry_run(registry: &Registry) -> Result<Removed, Error> {
    let review = Review {
        limit: DRY_RUN_MAX,
        dry_run_ahead_ms: Some(i64::MAX),
        ..review(registry)
    };
    registry.meta().change(review).await
}

fn review(registry: &Registry) -> Review {
    Review {
        graces: Graces {
            untagged_ms: registry.untagged_grace_ms(),
            blob_ms: registry.blob_grace_ms(),
            data_ms: registry.config().gc.data_grace.0 / 1_000_000,
        },
        limit: REVIEWS_MAX,
        dry_run_ahead_ms: None,
    }
}

/// Removes bytes that are dead; gives whether there may be more.
async fn remove_dead(registry: &Registry) -> Result<bool, Error> {
    let dead = registry.meta().dead(REMOVALS_MAX).await?;
    if dead.is_empty() {
        return Ok(false);
    }
    let mut data_keys = Vec::new();
    let mut failed = None;
    for object in dead {
        let written = object.written.as_deref();
        match registry.store().remove(&object.data_key, written).await {
            Ok(()) => {
                registry.metrics().freed(object.size);
                data_keys.push(object.data_key);
            }
            // Others may still work; this one is tried again in the next round.
            Err(error) => failed = Some(error),
        }
    }
    registry.meta().change(Forget { data_keys }).await?;
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(true),
    }
}

/// Finds bytes that no row names; gives how many. Those of a request that is under way are named by
/// its upload, and young ones are left alone all the same.
pub(crate) async fn sweep(registry: &Registry) -> Result<u64, Error> {
    let meta = registry.meta();
    let age_ms = registry.config().gc.sweep_interval.0 / 1_000_000;
    let old = meta.now_ms() - age_ms;
    let mut orphans = 0;
    let mut keys = registry.store().keys().await?;
    while let Some((key, changed_ms)) = keys.try_next().await? {
        let data_key = key.strip_prefix("tail/").unwrap_or(&key);
        if changed_ms > old || meta.knows_data(data_key).await? {
            continue;
        }
        orphans += 1;
        let data_key = data_key.to_owned();
        meta.change(Bury { data_key }).await?;
    }
    Ok(orphans)
}
