//! Tags that are about a manifest and say so by their names, as those of cosign's signatures: they go
//! with it.

use sqlx::Row;

use super::change::{Tx, bound};
use super::error::Failure;
use super::outbox::{Event, tell};
use super::rules::check_mutable;
use super::tag::{self, Target};
use crate::name::{RepoName, Tag};

/// That a tag `t` is about what has a digest. The same as [`crate::rule::companion::subject`] says: no
/// other digests than those of SHA-256 are short enough for the name of a tag.
macro_rules! is_about {
    ($digest:literal) => {
        concat!(
            "(t.name >= REPLACE(",
            $digest,
            ", ':', '-') AND t.name < REPLACE(",
            $digest,
            // What comes after the dot that may follow.
            ", ':', '-') || '/' AND SUBSTR(t.name, 72, 1) IN ('', '.'))"
        )
    };
}
pub(super) use is_about;

/// That a manifest `s` is what another one is about, as a tag `t` of that one says. Most tags say nothing
/// of the kind, so that nothing is looked up for them.
macro_rules! is_subject {
    ($manifest:literal) => {
        concat!(
            "SUBSTR(t.name, 1, 7) = 'sha256-' AND SUBSTR(t.name, 72, 1) IN ('', '.') \
             AND s.digest = REPLACE(SUBSTR(t.name, 1, 71), '-', ':') AND s.repo_id = ",
            $manifest,
            ".repo_id AND s.id <> ",
            $manifest,
            ".id"
        )
    };
}
pub(super) use is_subject;

/// Takes the tags that are about a manifest which goes. What a rule holds stays.
pub(super) async fn remove(
    tx: &mut Tx<'_>,
    repo: &RepoName,
    gone: &Target<'_>,
) -> Result<(), Failure> {
    let found = bound!(
        concat!(
            "SELECT t.name, t.manifest_id, m.digest FROM tag t \
             JOIN manifest m ON m.id = t.manifest_id WHERE t.repo_id = $1 AND ",
            is_about!("$2")
        ),
        gone.repo_id,
        gone.digest,
    );
    for row in found.fetch_all(&mut *tx.conn).await? {
        let (name, digest): (String, String) = (row.try_get(0)?, row.try_get(2)?);
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
