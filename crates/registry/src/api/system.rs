//! Garbage collection: how it is doing, what it would do, and doing it now. The keys that sign
//! tokens. Comparing database and store.

use std::convert::Infallible;

use axum::Json;
use futures::stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answers::{Created, Lines};
use super::query::{PAGES, Page};
use super::{Admin, Body, Operations, Outcome, Path, answer, schedule};
use crate::auth::{self, Role};
use crate::error::Error;
use crate::gc::{self, Collected};
use crate::meta::{KeyInfo, Untagged};
use crate::{fsck, purge};

/// What can be done with the registry as a whole.
pub(super) fn operations(all: Operations) -> Operations {
    let (gc, backlog) = ("/system/gc", "/system/gc/backlog");
    let (fsck, keys) = ("/system/fsck", "/system/keys");
    let purge = "/projects/{project}/purge";
    let compare = "Compare database and store; a line of JSON per finding";
    let rotate = "Make a key that signs from now on; older ones still check";
    let (waits, collect, newest) = (
        "What waits for garbage collection",
        "Collect garbage now, or only look",
        "Keys that sign tokens, newest first",
    );
    let room =
        "Give a project the room of what was deleted in it now; it cannot be brought back then";
    all.about("gc")
        .get(backlog, "getGCBacklog", waits, self::backlog)
        .post(gc, "runGC", collect, run_gc)
        .post(purge, "purgeProject", room, self::purge)
        .about("system")
        .post(fsck, "runFsck", compare, self::fsck)
        .list(keys, "listKeys", newest, &PAGES, self::keys)
        .post(keys, "rotateKey", rotate, rotate_key)
}

/// What waits for garbage collection.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "GCBacklog")]
struct Backlog {
    enabled: bool,
    /// How often it is collected without a schedule.
    interval_seconds: i64,
    schedule: schedule::Shown,
    /// What may be garbage.
    candidates: i64,
    /// Bytes that nothing names any more.
    dead_objects: i64,
    dead_bytes: i64,
}

async fn backlog(admin: Admin) -> Outcome<Json<Backlog>> {
    answer(&admin, async {
        admin.require_admin()?;
        let meta = admin.registry.meta();
        let backlog = meta.backlog().await?;
        let schedule = meta.gc_schedule().await?;
        let config = &admin.registry.config().gc;
        Ok(Json(Backlog {
            enabled: config.enabled,
            interval_seconds: config.interval.0 / 1_000_000_000,
            schedule: schedule::Shown::of(&admin.registry, schedule.as_ref()),
            candidates: backlog.reviews,
            dead_objects: backlog.dead,
            dead_bytes: backlog.dead_bytes,
        }))
    })
    .await
}

/// A run of garbage collection.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "GCRun")]
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

/// What a run did, or would do.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "GCRunDone")]
struct Done {
    /// Its number, if it is remembered.
    id: Option<i64>,
    dry_run: bool,
    looked_at: u64,
    manifests: u64,
    manifest_bytes: u64,
    links: u64,
    blobs: u64,
    bytes: u64,
    freed_bytes: u64,
}

async fn run_gc(admin: Admin, Body(request): Body<Run>) -> Outcome<Json<Done>> {
    answer(&admin, async {
        admin.require_admin()?;
        let untagged = schedule::untagged(request.delete_untagged);
        let (collected, id) = collect(&admin, untagged, request.dry_run).await?;
        let removed = collected.removed;
        Ok(Json(Done {
            id,
            dry_run: request.dry_run,
            looked_at: removed.looked_at,
            manifests: removed.manifests,
            manifest_bytes: removed.manifest_bytes,
            links: removed.links,
            blobs: removed.blobs,
            bytes: removed.bytes,
            freed_bytes: collected.freed_bytes,
        }))
    })
    .await
}

/// What a purge removed.
#[derive(Debug, Serialize, JsonSchema)]
struct Purged {
    /// The number of its run, if it is remembered.
    id: Option<i64>,
    manifests: u64,
    links: u64,
    blobs: u64,
    bytes: u64,
}

async fn purge(admin: Admin, Path(project): Path<String>) -> Outcome<Json<Purged>> {
    answer(&admin, async {
        admin.require_role(&project, Some(Role::Maintainer)).await?;
        let purged = purge::purge(&admin.registry, admin.who(), &project).await?;
        let (Collected { removed, .. }, id) = purged;
        Ok(Json(Purged {
            id,
            manifests: removed.manifests,
            links: removed.links,
            blobs: removed.blobs,
            bytes: removed.bytes,
        }))
    })
    .await
}

/// A comparison of the database with the store.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Fsck {
    read_bytes: bool,
    repair: bool,
}

async fn fsck(admin: Admin, Body(request): Body<Fsck>) -> Outcome<Lines> {
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
        Ok(Lines(axum::body::Body::from_stream(lines)))
    });
    admin.outcome(begun)
}

async fn keys(admin: Admin) -> Outcome<Page<KeyInfo>> {
    answer(&admin, async {
        admin.require_admin()?;
        admin.listed(&PAGES, admin.registry.meta().keys().await?)
    })
    .await
}

/// The key that signs from now on.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "NewSigningKey")]
struct NewKey {
    kid: Option<String>,
}

async fn rotate_key(admin: Admin) -> Outcome<Created<Json<NewKey>>> {
    answer(&admin, async {
        admin.require_admin()?;
        let kid = auth::rotate(&admin.registry, admin.who(), None).await?;
        Ok(Created(Json(NewKey { kid })))
    })
    .await
}
