//! What clients may pull that think that they ask another registry.

use super::{Action, Caller, allows};
use crate::error::Error;
use crate::name::RepoName;
use crate::registry::Registry;

/// The repository that has what `namespace/name` means: that of the first project, by its name, that is
/// a cache of the namespace and that the caller may pull from. Of others it learns nothing.
pub(crate) async fn mirrored(
    registry: &Registry,
    caller: &Caller,
    namespace: &str,
    name: &str,
) -> Result<Option<RepoName>, Error> {
    let upstreams = registry.meta().upstreams().await?;
    for project in upstreams.projects_of(namespace) {
        let Ok(repo) = RepoName::parse(&format!("{project}/{name}")) else {
            continue;
        };
        if allows(registry, caller, &repo, Action::Pull).await? {
            return Ok(Some(repo));
        }
    }
    Ok(None)
}
