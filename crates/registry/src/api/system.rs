//! Garbage collection: how it is doing, what it would do, and doing it now. The keys that sign
//! tokens. Comparing database and store.

use std::convert::Infallible;

use axum::Json;
use futures::stream;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::json;

use super::query::PAGES;
use super::{Admin, Body, Operations, Outcome, Path, schedule};
use crate::auth::{self, Role};
use crate::error::Error;
use crate::gc::{self, Collected};
use crate::meta::Untagged;
use crate::{fsck, purge};

/// What can be done with the registry as a whole.
pub(super) fn operations(all: Operations) -> Operations {
    let (gc, backlog) = ("/system/gc", "/system/gc/backlog");
    let (fsck, keys) = ("/system/fsck", "/system/keys");
    let purge = "/projects/{project}/purge";
    let compare = "Compare database and store; a line of JSON per finding";
    let rotate = "Make a key that signs from now on; older ones still check";
    all.get(backlog, "What waits for garbage collection", self::backlog)
        .post(gc, "Collect garbage now, or only look", run_gc)
        .post(
            purge,
            "Give a project the room of what was deleted in it now; it cannot be brought back then",
            self::purge,
        )
        .post(fsck, compare, self::fsck)
        .list(
            keys,
            "Keys that sign tokens, newest first",
            &PAGES,
            self::keys,
        )
        .make(keys, rotate, rotate_key)
}

async fn backlog(admin: Admin) -> Outcome {
    let shown = async {
        admin.require_admin()?;
        let meta = admin.registry.meta();
        let backlog = meta.backlog().await?;
        let schedule = meta.gc_schedule().await?;
        let config = &admin.registry.config().gc;
        Ok(Json(json!({
            "enabled": config.enabled,
            // Without a schedule.
            "interval_seconds": config.interval.0 / 1_000_000_000,
            "schedule": schedule::shown(&admin.registry, schedule.as_ref()),
            "candidates": backlog.reviews,
            "dead_objects": backlog.dead,
            "dead_bytes": backlog.dead_bytes,
        })))
    };
    let shown = shown.await;
    admin.outcome(shown)
}

/// A run of garbage collection.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Run {
    /// Look only, at all that waits, due or not.
    dry_run: bool,
    /// Whether manifests without a tag go too, as they do if nothing is said.
    #[serde(default)]
    delete_untagged: Option<bool>,
}

/// Collects garbage because it was asked for, or only looks.
pub(super) async fn collect(
    admin: &Admin,
    untagged: Untagged,
    dry_run: bool,
) -> Result<(Collected, Option<i64>), Error> {
    let (registry, rid) = (admin.registry.clone(), admin.seen.rid.clone());
    let collected = async move { gc::asked(&registry, &rid, untagged, dry_run).await };
    admin.to_its_end("garbage collection", collected).await
}

async fn run_gc(admin: Admin, Body(request): Body<Run>) -> Outcome {
    let done = async {
        admin.require_admin()?;
        let untagged = schedule::untagged(request.delete_untagged);
        let (collected, id) = collect(&admin, untagged, request.dry_run).await?;
        let removed = collected.removed;
        Ok(Json(json!({
            "id": id,
            "dry_run": request.dry_run,
            "looked_at": removed.looked_at,
            "manifests": removed.manifests,
            "manifest_bytes": removed.manifest_bytes,
            "links": removed.links,
            "blobs": removed.blobs,
            "bytes": removed.bytes,
            "freed_bytes": collected.freed_bytes,
        })))
    };
    let done = done.await;
    admin.outcome(done)
}

async fn purge(admin: Admin, Path(project): Path<String>) -> Outcome {
    let done = async {
        admin.require_role(&project, Some(Role::Maintainer)).await?;
        let purged = purge::purge(&admin.registry, admin.who(), &project).await?;
        let (Collected { removed, .. }, id) = purged;
        Ok(Json(json!({
            "id": id,
            "manifests": removed.manifests,
            "links": removed.links,
            "blobs": removed.blobs,
            "bytes": removed.bytes,
        })))
    };
    let done = done.await;
    admin.outcome(done)
}

/// A comparison of the database with the store.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Fsck {
    read_bytes: bool,
    repair: bool,
}

async fn fsck(admin: Admin, Body(request): Body<Fsck>) -> Outcome {
    let begun = admin.require_admin().and_then(|()| {
        let options = fsck::Options {
            read_bytes: request.read_bytes,
            repair: request.repair,
        };
        let lines = fsck::begin(&admin.registry, admin.who(), options)?;
        let lines = stream::unfold(lines, async |mut lines| {
            let line = lines.recv().await?;
            Some((Ok::<_, Infallible>(line), lines))
        });
        let kind = [(CONTENT_TYPE, "application/x-ndjson")];
        Ok((kind, axum::body::Body::from_stream(lines)))
    });
    admin.outcome(begun)
}

async fn keys(admin: Admin) -> Outcome {
    let listed = async {
        admin.require_admin()?;
        admin.listed(&PAGES, admin.registry.meta().keys().await?)
    };
    let listed = listed.await;
    admin.outcome(listed)
}

async fn rotate_key(admin: Admin) -> Outcome {
    let rotated = async {
        admin.require_admin()?;
        let kid = auth::rotate(&admin.registry, admin.who(), None).await?;
        Ok((StatusCode::CREATED, Json(json!({"kid": kid}))))
    };
    let rotated = rotated.await;
    admin.outcome(rotated)
}
