//! What is remembered for a time only: the audit trail, where tags pointed, and repositories of which that
//! was the last.

use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::meta::{Excess, ForgetAudit, ForgetHistory, ForgetRepos, LongHistory};
use crate::registry::Registry;
use crate::who::Who;

/// Records that one transaction forgets, so that pushes need not wait long.
const RECORDS_MAX: i64 = 500;
/// Tags whose histories are cut at once.
const TAGS_MAX: i64 = 10_000;

fn number(max: u64) -> i64 {
    i64::try_from(max).unwrap_or(i64::MAX)
}

/// Forgets of the audit trail what is too old or too much: first of what was refused, so that only what
/// is left then counts.
pub(crate) async fn audit(registry: &Registry, stop: &CancellationToken) -> Result<(), Error> {
    let (config, meta) = (&registry.config().audit, registry.meta());
    let forget = async |excess| {
        let forget = || ForgetAudit {
            age_ms: config.lifetime.0 / 1_000_000,
            excess,
            limit: RECORDS_MAX,
        };
        while !stop.is_cancelled() && meta.change(forget()).await? > 0 {}
        Ok::<_, Error>(())
    };
    let refused_to = meta.refusals_excess(number(config.refusals_max)).await?;
    forget(Excess { to: 0, refused_to }).await?;
    let to = meta.records_excess(number(config.records_max)).await?;
    if to > 0 {
        forget(Excess { to, refused_to: 0 }).await?;
    }
    Ok(())
}

/// Forgets where tags pointed too long ago, and of tags that pointed to too many things the oldest; not
/// what may be brought back within the grace of manifests that lost their last tag.
pub(crate) async fn history(registry: &Registry, stop: &CancellationToken) -> Result<(), Error> {
    let (config, meta) = (&registry.config().gc, registry.meta());
    let grace_ms = registry.untagged_grace_ms();
    let forget = async |age_ms: i64, of: Option<LongHistory>| {
        let forget = || ForgetHistory {
            age_ms: age_ms.max(grace_ms),
            limit: RECORDS_MAX,
            of: of.clone(),
        };
        while !stop.is_cancelled() && meta.change(forget()).await? > 0 {}
        Ok::<_, Error>(())
    };
    forget(config.tag_history_lifetime.0 / 1_000_000, None).await?;
    let max = number(config.tag_history_max);
    for long in meta.long_histories(max, TAGS_MAX).await? {
        forget(grace_ms, Some(long)).await?;
    }
    Ok(())
}

/// Removes repositories that have nothing any more.
pub(crate) async fn repos(registry: &Registry, stop: &CancellationToken) -> Result<(), Error> {
    let forget = || ForgetRepos {
        who: Who::system("gc"),
        limit: RECORDS_MAX,
    };
    while !stop.is_cancelled() && registry.meta().change(forget()).await? > 0 {}
    Ok(())
}
