//! Garbage collection: how it is doing, what it would do, and doing it now.

use axum::Json;
use serde::Deserialize;
use serde_json::json;

use super::{Admin, Body, Outcome};
use crate::gc;

pub(super) async fn gc(admin: Admin) -> Outcome {
    let shown = async {
        admin.require_admin()?;
        let meta = admin.registry.meta();
        let backlog = meta.backlog().await?;
        Ok(Json(json!({
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
pub(super) struct Run {
    /// Look only, at all that waits, due or not.
    dry_run: bool,
}

pub(super) async fn run_gc(admin: Admin, Body(request): Body<Run>) -> Outcome {
    let done = async {
        admin.require_admin()?;
        let removed = match request.dry_run {
            true => gc::dry_run(&admin.registry).await?,
            false => gc::round(&admin.registry, &Default::default()).await?,
        };
        Ok(Json(json!({
            "dry_run": request.dry_run,
            "looked_at": removed.looked_at,
            "manifests": removed.manifests,
            "links": removed.links,
            "blobs": removed.blobs,
            "bytes": removed.bytes,
        })))
    };
    let done = done.await;
    admin.outcome(done)
}
