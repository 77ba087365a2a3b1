//! Ties foreign layers that were pushed to the manifests that name them, once, for those that an earlier
//! version left loose. Garbage is collected after that.

use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::large;
use crate::manifest;
use crate::meta::{ForeignIsTied, ManifestRow, TieForeign};
use crate::registry::Registry;

/// Repositories that one look finds.
const REPOS_MAX: i64 = 1000;
/// Manifests whose bytes are in memory at once.
const MANIFESTS_MAX: i64 = 16;

/// Ties those that are not, and remembers that it is done.
pub(crate) async fn tie(registry: &Registry, stop: &CancellationToken) -> Result<(), Error> {
    let meta = registry.meta();
    if !meta.has_loose_foreign().await? {
        return Ok(());
    }
    let mut after = 0;
    loop {
        let repos = meta.loose_repos(after, REPOS_MAX).await?;
        let Some(last) = repos.last() else { break };
        after = *last;
        for repo_id in repos {
            tie_in(registry, repo_id, stop).await?;
        }
        if stop.is_cancelled() {
            return Ok(());
        }
    }
    meta.change(ForeignIsTied).await
}

async fn tie_in(registry: &Registry, repo_id: i64, stop: &CancellationToken) -> Result<(), Error> {
    let meta = registry.meta();
    let mut after = String::new();
    while !stop.is_cancelled() {
        let rows = meta.manifests_of(repo_id, &after, MANIFESTS_MAX).await?;
        let Some(last) = rows.last() else { break };
        after.clone_from(&last.digest);
        for row in rows {
            // Those whose bytes are lost are pushed again if anybody needs them.
            let named = match named(registry, &row).await {
                Ok(named) => named,
                Err(error) => {
                    tracing::warn!(digest = row.digest, %error, "a manifest cannot be read");
                    continue;
                }
            };
            if !named.foreign.is_empty() {
                let tie = TieForeign {
                    repo_id,
                    digest: row.digest,
                    foreign: named.foreign,
                };
                meta.change(tie).await?;
            }
        }
    }
    Ok(())
}

async fn named(registry: &Registry, row: &ManifestRow) -> Result<manifest::Manifest, Error> {
    let bytes = large::bytes(registry, row).await?;
    Ok(manifest::read(Some(&row.media_type), &bytes, usize::MAX)?.1)
}
