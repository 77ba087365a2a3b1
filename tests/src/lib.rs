//! What the end-to-end suites share: real binaries started on ports of 127.0.0.1, an S3-compatible
//! store in this process, a client, and lines that can be told apart.
//!
//! *Invariants.* Nothing here looks inside a process: suites see what a user sees. No sleeps for
//! luck: [`wait_for`] waits on a condition with a deadline.

pub mod api;
pub mod binary;
pub mod cluster;
pub mod command;
pub mod encode;
pub mod lines;
pub mod load;
pub mod port;
pub mod process;
pub mod registry;
pub mod s3;
pub mod server;

use std::time::Duration;

use anyhow::bail;
use tokio::time::Instant;

/// Waits until `check` gives something, or fails with the name of what was waited for.
///
/// # Errors
/// If it did not come about within `limit`.
pub async fn wait_for<T, F>(
    what: &str,
    limit: Duration,
    mut check: impl FnMut() -> F,
) -> anyhow::Result<T>
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = check().await {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!("waited {limit:?} in vain for {what}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
