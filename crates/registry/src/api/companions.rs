//! Tags that are about an artifact and say so by their names, as those of cosign's signatures: they are
//! copied and removed with it.

use crate::digest::Digest;
use crate::error::Error;
use crate::meta::{Condition, DeleteTag};
use crate::name::{RepoName, Tag};
use crate::registry::Registry;
use crate::rule::companion;
use crate::who::Who;

/// How many of one artifact are looked for.
const COMPANIONS_MAX: u32 = 100;

/// The tags that are about an artifact.
pub(super) async fn of(
    registry: &Registry,
    repo: &RepoName,
    digest: &Digest,
) -> Result<Vec<Tag>, Error> {
    let begin = digest.as_str().replacen(':', "-", 1);
    // What follows its beginning without the last character; few others do that.
    let before = begin.get(..begin.len().saturating_sub(1));
    let names = registry
        .meta()
        .tags(repo, before.unwrap_or_default(), COMPANIONS_MAX)
        .await?;
    let about = |name: &&String| companion::subject(name).as_ref() == Some(digest);
    names
        .iter()
        .filter(about)
        .map(|name| Tag::parse(name))
        .collect()
}

/// Removes what is about an artifact that is gone: that no tag and no index has any more. What a rule
/// holds stays.
pub(super) async fn remove(
    registry: &Registry,
    who: &Who,
    repo: &RepoName,
    digest: &Digest,
) -> Result<(), Error> {
    let meta = registry.meta();
    let left = meta.artifact(repo, digest).await?;
    if left.is_some_and(|artifact| !artifact.tags.is_empty()) || meta.is_part(repo, digest).await? {
        return Ok(());
    }
    for tag in of(registry, repo, digest).await? {
        let delete = DeleteTag {
            repo: repo.clone(),
            tag,
            condition: Condition::default(),
            who: who.clone(),
            grace_ms: registry.untagged_grace_ms(),
        };
        if let Err(error) = meta.change(delete).await {
            tracing::info!(%repo, %digest, %error, "a tag about what was removed stays");
        }
    }
    Ok(())
}
