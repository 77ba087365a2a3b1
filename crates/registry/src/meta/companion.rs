//! Tags that are about a manifest and say so by their names, as those of cosign's signatures: they go
//! with it.

use sqlx::Row;

use super::change::{Tx, bound};
use super::error::Failure;
use super::outbox::{Event, tell};
use super::rules::check_mutable;
use super::tag::{self, Target};
use crate::name::{RepoName, Tag};
use crate::rule::companion::subject;

/// Takes the tags that are about a manifest which goes. What a rule holds stays.
pub(super) async fn remove(
    tx: &mut Tx<'_>,
    repo: &RepoName,
    gone: &Target<'_>,
) -> Result<(), Failure> {
    let begin = gone.digest.replacen(':', "-", 1);
    // What begins so, and goes on with a dot, comes before that.
    let end = format!("{begin}/");
    let found = bound!(
        "SELECT t.name, t.manifest_id, m.digest FROM tag t JOIN manifest m ON m.id = t.manifest_id \
         WHERE t.repo_id = $1 AND t.name >= $2 AND t.name < $3",
        gone.repo_id,
        begin.as_str(),
        end.as_str(),
    );
    for row in found.fetch_all(&mut *tx.conn).await? {
        let (name, digest): (String, String) = (row.try_get(0)?, row.try_get(2)?);
        if subject(&name).is_none_or(|subject| subject.as_str() != gone.digest) {
            continue;
        }
        match check_mutable(tx, repo, &[name.as_str()]).await {
            Ok(()) => {}
            Err(Failure::Refused(_)) => continue,
            Err(failure) => return Err(failure),
        }
        let target = Target {
            manifest_id: row.try_get(1)?,
            digest: &digest,
            ..*gone
        };
        tag::take(tx, &Tag::parse(&name)?, &target).await?;
        let event = Event {
            reference: Some(name.clone()),
            old_digest: Some(digest.clone()),
            ..Event::new("delete_tag", "tag", &name).in_repo(repo)
        };
        tell(tx, gone.who, &event).await?;
    }
    Ok(())
}
