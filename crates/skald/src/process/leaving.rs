//! How operators tell an ingester to leave: at Loki's paths, before the process is taken away.
//!
//! An ingester that stops moves its rows to storage within a short time, and leaves the rest in its
//! log for its next start. One that was told to prepare has no next start, so it takes the time that
//! it needs. It is remembered in a file, as the process may start again before it is taken away.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use cluster::{Cluster, MemberState};
use ingester::Ingester;
use serde::Deserialize;
use server::http::{ApiError, Auth, tenant_routes};
use tokio_util::sync::CancellationToken;

/// How long the last flush of an ingester may take. What it does not reach stays in the log.
const LAST_FLUSH_MAX: Duration = Duration::from_secs(20);
/// The same of one that does not come back.
const FINAL_FLUSH_MAX: Duration = Duration::from_secs(600);
/// The file that says so.
const MARKER: &str = "shutdown-prepared";

/// How the ingester of this process is to stop.
pub(super) struct Departure {
    marker: PathBuf,
    is_prepared: AtomicBool,
    /// Whether rows go to storage at the stop.
    flushes: AtomicBool,
    /// Ends the process.
    pub(super) stop: CancellationToken,
}

impl Departure {
    /// The longest that [`Self::flush_max`] can be.
    pub(super) const FLUSH_MAX: Duration = FINAL_FLUSH_MAX;

    /// As it was left in the data directory.
    pub(super) fn new(data_dir: &Path) -> Arc<Self> {
        let marker = data_dir.join(MARKER);
        Arc::new(Self {
            is_prepared: AtomicBool::new(marker.exists()),
            marker,
            flushes: AtomicBool::new(true),
            stop: CancellationToken::new(),
        })
    }

    /// How long the last flush may take.
    pub(super) fn flush_max(&self) -> Duration {
        if !self.flushes.load(Ordering::Relaxed) {
            Duration::ZERO
        } else if self.is_prepared() {
            FINAL_FLUSH_MAX
        } else {
            LAST_FLUSH_MAX
        }
    }

    fn is_prepared(&self) -> bool {
        self.is_prepared.load(Ordering::Relaxed)
    }

    fn prepare(&self, is_prepared: bool) -> std::io::Result<()> {
        if is_prepared {
            std::fs::write(&self.marker, "")?;
        } else if let Err(error) = std::fs::remove_file(&self.marker)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(error);
        }
        self.is_prepared.store(is_prepared, Ordering::Relaxed);
        Ok(())
    }

    /// The ingester has stopped. If everything was flushed, what was prepared is done.
    pub(super) fn stopped(&self, is_flushed: bool) {
        if is_flushed
            && self.is_prepared()
            && let Err(error) = self.prepare(false)
        {
            tracing::warn!(%error, "the mark of a prepared shutdown stays");
        }
    }
}

/// What the routes work on.
#[derive(Clone)]
struct Leaving {
    departure: Arc<Departure>,
    ingester: Ingester,
    cluster: Arc<Cluster>,
}

/// `/ingester/prepare_shutdown`, `/ingester/shutdown`, `/ingester/prepare_partition_downscale` and
/// `/flush/tenant`.
pub(super) fn routes(
    departure: Arc<Departure>,
    ingester: Ingester,
    cluster: Arc<Cluster>,
    auth: Auth,
) -> Router {
    let leaving = Leaving {
        departure,
        ingester,
        cluster,
    };
    let of_tenant = Router::new()
        .route("/flush/tenant", post(flush_tenant))
        .with_state(leaving.clone());
    // Loki answers so unless it reads from a queue in partitions, which is not done here.
    let no_partitions = || async { StatusCode::METHOD_NOT_ALLOWED };
    Router::new()
        .route(
            "/ingester/prepare_shutdown",
            get(prepared).post(prepare).delete(unprepare),
        )
        .route("/ingester/shutdown", get(shutdown).post(shutdown))
        .route(
            "/ingester/prepare_partition_downscale",
            get(no_partitions).post(no_partitions).delete(no_partitions),
        )
        .with_state(leaving)
        .merge(tenant_routes(of_tenant, auth))
}

/// Whether the shutdown is prepared, in Loki's words.
async fn prepared(State(leaving): State<Leaving>) -> &'static str {
    match leaving.departure.is_prepared() {
        true => "set\n",
        false => "unset\n",
    }
}

async fn prepare(State(leaving): State<Leaving>) -> Response {
    set_prepared(&leaving, true)
}

async fn unprepare(State(leaving): State<Leaving>) -> Response {
    set_prepared(&leaving, false)
}

fn set_prepared(leaving: &Leaving, is_prepared: bool) -> Response {
    if let Err(reason) = leaving.ingester.ready() {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response();
    }
    match leaving.departure.prepare(is_prepared) {
        Ok(()) => {
            tracing::info!(is_prepared, "shutdown prepared or not");
            StatusCode::NO_CONTENT.into_response()
        }
        Err(error) => {
            let marker = leaving.departure.marker.display();
            ApiError::internal(format!("{marker}: {error}")).into_response()
        }
    }
}

/// Flags of `/ingester/shutdown`.
#[derive(Deserialize)]
#[serde(default)]
struct ShutdownParams {
    /// Whether rows are moved to storage first.
    flush: bool,
    /// Of no meaning: places in the ring follow from names and are not kept.
    delete_ring_tokens: bool,
    /// Whether the process ends, too.
    terminate: bool,
}

impl Default for ShutdownParams {
    fn default() -> Self {
        Self {
            flush: true,
            delete_ring_tokens: false,
            terminate: true,
        }
    }
}

/// Takes the ingester out of the ring and, unless told not to, flushes it and ends the process.
async fn shutdown(
    State(leaving): State<Leaving>,
    Query(params): Query<ShutdownParams>,
) -> Result<StatusCode, ApiError> {
    let (flush, delete_ring_tokens) = (params.flush, params.delete_ring_tokens);
    let terminate = params.terminate;
    tracing::info!(flush, delete_ring_tokens, terminate, "told to shut down");
    leaving.cluster.set_state(MemberState::Leaving).await;
    if flush {
        leaving.ingester.flush_before_leaving().await?;
    }
    leaving.departure.flushes.store(flush, Ordering::Relaxed);
    if terminate {
        leaving.departure.stop.cancel();
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Flushes what a tenant has, and the others with it: rows of all tenants go to storage together.
async fn flush_tenant(State(leaving): State<Leaving>) -> Result<StatusCode, ApiError> {
    leaving.ingester.flush().await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_prepared_is_remembered_until_everything_was_flushed() {
        let dir = tempfile::tempdir().unwrap();
        let departure = Departure::new(dir.path());
        assert_eq!(departure.flush_max(), LAST_FLUSH_MAX);
        departure.prepare(true).unwrap();
        let again = Departure::new(dir.path());
        assert_eq!(again.flush_max(), FINAL_FLUSH_MAX);
        again.stopped(false);
        assert!(Departure::new(dir.path()).is_prepared());
        again.stopped(true);
        assert!(!Departure::new(dir.path()).is_prepared());
        // To take back what was not prepared is no fault.
        departure.prepare(false).unwrap();
        departure.flushes.store(false, Ordering::Relaxed);
        assert_eq!(departure.flush_max(), Duration::ZERO);
    }
}
