//! Brings audit records from the database to their file.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::meta::Acknowledge;
use crate::registry::Registry;

/// Records that are brought at once.
const RECORDS_MAX: i64 = 500;
/// How often is looked for records that another process wrote.
const POLL: Duration = Duration::from_secs(5);

/// Runs until the stop.
pub(crate) async fn ship(registry: &Registry, stop: &CancellationToken) {
    let mut brought = Vec::new();
    loop {
        // A record may have been written since this was looked at last.
        let told = registry.meta().told();
        match batch(registry, &mut brought).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "audit records wait in the database"),
        }
        tokio::select! {
            () = told => {}
            () = tokio::time::sleep(POLL) => {}
            () = stop.cancelled() => break,
        }
    }
    if let Err(error) = batch(registry, &mut brought).await {
        tracing::warn!(
            %error,
            "audit records are left in the database until the next start"
        );
    }
}

/// Brings what there is; gives whether there may be more. `brought` are records that are in the log, and
/// of which the database could not be told yet: they are not brought again. A crash in between brings
/// records twice.
async fn batch(registry: &Registry, brought: &mut Vec<i64>) -> Result<bool, Error> {
    acknowledge(registry, brought).await?;
    let records = registry.meta().outbox(RECORDS_MAX).await?;
    if records.is_empty() {
        return Ok(false);
    }
    let more = records.len() as i64 == RECORDS_MAX;
    let (ids, lines): (Vec<i64>, Vec<String>) = records.into_iter().unzip();
    let to = registry.clone();
    let written = tokio::task::spawn_blocking(move || {
        let mut sink = to.logs().audit.lock();
        let text: String = lines
            .into_iter()
            .flat_map(|line| [line, "\n".to_owned()])
            .collect();
        let added = sink.add(text.as_bytes());
        let lost_count = sink.take_lost();
        if lost_count > 0 {
            to.metrics().audit_files_lost(lost_count);
            tracing::error!(
                lost_count,
                "registry.log.audit_files_max: the oldest audit records left their files; if no agent \
                 has collected them, they are in the database only, for registry.audit.lifetime"
            );
        }
        added
    });
    let written = written.await.map_err(std::io::Error::other).flatten();
    written.map_err(|error| Error::internal("writing the audit log", &error))?;
    *brought = ids;
    acknowledge(registry, brought).await?;
    Ok(more)
}

async fn acknowledge(registry: &Registry, brought: &mut Vec<i64>) -> Result<(), Error> {
    if !brought.is_empty() {
        let ids = brought.clone();
        registry.meta().change(Acknowledge { ids }).await?;
        brought.clear();
    }
    Ok(())
}
