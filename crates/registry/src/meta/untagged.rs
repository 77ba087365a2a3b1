//! Manifests that were pushed by their digests only. A tag or an index is expected to follow; if none
//! does, as after a push that was broken off, they go once nobody has pulled them for long.

use async_trait::async_trait;
use sqlx::Row;

use super::cache::Touched;
use super::change::{Change, Tx, bound};
use super::delete;
use super::error::Failure;
use super::removed;
use super::review::Graces;
use super::tag::{self, Target};
use crate::digest::Digest;
use crate::name::RepoName;
use crate::who::Who;

/// Removes manifests that were put into a repository for something that was refused then: those that
/// nothing has had yet, and that nobody has pushed since.
pub(crate) struct GiveUp {
    pub(crate) who: Who,
    pub(crate) repo: RepoName,
    /// In the order in which they were put, with until when they waited for a tag or an index then.
    pub(crate) manifests: Vec<(Digest, i64)>,
    pub(crate) graces: Graces,
    /// Whether they were removed before, and can be brought back as they could then.
    pub(crate) can_come_back: bool,
}

#[async_trait]
impl Change for GiveUp {
    type Out = ();
    const NAME: &'static str = "give_up";

    fn touches(&self, _out: &Self::Out) -> Touched<'_> {
        Touched::Repo(&self.repo)
    }

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        // What goes has what it names wait anew.
        let mut waiting = Vec::new();
        for (digest, until_ms) in &self.manifests {
            if let Some((repo_id, id)) = self.waiting(tx, digest, *until_ms).await? {
                waiting.push((repo_id, id, digest));
            }
        }
        // What came last names what came before.
        for (repo_id, manifest_id, digest) in waiting.into_iter().rev() {
            let target = Target {
                repo_id,
                manifest_id,
                digest: digest.as_str(),
                who: &self.who,
                grace_ms: self.graces.untagged_ms,
            };
            self.remove(tx, &target).await?;
        }
        Ok(())
    }
}

impl GiveUp {
    /// The ids of the repository and of a manifest that waits as it did when it was put.
    async fn waiting(
        &self,
        tx: &mut Tx<'_>,
        digest: &Digest,
        until_ms: i64,
    ) -> Result<Option<(i64, i64)>, sqlx::Error> {
        let found = bound!(
            "SELECT r.id, m.id FROM repo r JOIN manifest m ON m.repo_id = r.id \
             JOIN gc_queue q ON q.kind = 'manifest' AND q.subject_id = m.id \
             WHERE r.name = $1 AND m.digest = $2 \
             AND q.never_tagged = 1 AND q.not_before_ms = $3",
            self.repo.as_str(),
            digest.as_str(),
            until_ms,
        );
        let row = found.fetch_optional(&mut *tx.conn).await?;
        row.map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
            .transpose()
    }

    /// Removes one that no tag and no index has.
    async fn remove(&self, tx: &mut Tx<'_>, target: &Target<'_>) -> Result<(), Failure> {
        if tag::is_had(tx, target).await? {
            return Ok(());
        }
        if self.can_come_back {
            removed::remember(tx, target, &self.graces).await?;
        }
        delete::remove(tx, &self.repo, target, &self.graces, delete::EVENT).await
    }
}

/// Manifests that no tag and no index has, and that nobody has pushed or pulled since a moment.
macro_rules! unclaimed {
    () => {
        "FROM manifest m WHERE m.pushed_ms <= $1 \
         AND NOT EXISTS (SELECT 1 FROM pull u WHERE u.manifest_id = m.id AND u.pulled_ms > $1) \
         AND NOT EXISTS (SELECT 1 FROM tag t WHERE t.manifest_id = m.id) \
         AND NOT EXISTS (SELECT 1 FROM manifest_child c \
             WHERE c.repo_id = m.repo_id AND c.digest = m.digest)"
    };
}
pub(super) use unclaimed;

/// Some manifests of all, which are to go if nothing has them, but for those that somebody has just
/// pushed or pulled. What lost a tag or an index waits as long as it did before.
pub(crate) struct Untag {
    /// Those after this one, in the order of their ids.
    pub(crate) after: i64,
    pub(crate) limit: i64,
    /// How long who pushed or pulled one has for a tag.
    pub(crate) grace_ms: i64,
}

#[async_trait]
impl Change for Untag {
    /// The last of them.
    type Out = Option<i64>;
    const NAME: &'static str = "untag";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Option<i64>, Failure> {
        let last = bound!(
            "SELECT MAX(id) FROM (SELECT id FROM manifest WHERE id > $1 ORDER BY id LIMIT $2) m",
            self.after,
            self.limit,
        );
        let last: Option<i64> = last.fetch_one(&mut *tx.conn).await?.try_get(0)?;
        let Some(last) = last else {
            return Ok(None);
        };
        bound!(
            concat!(
                "INSERT INTO gc_queue (kind, subject_id, not_before_ms) \
                 SELECT 'manifest', m.id, CAST($2 AS BIGINT) ",
                unclaimed!(),
                " AND m.id > $3 AND m.id <= $4 ON CONFLICT (kind, subject_id) DO UPDATE \
                 SET not_before_ms = excluded.not_before_ms, never_tagged = 0 \
                 WHERE gc_queue.never_tagged = 1"
            ),
            tx.now_ms.saturating_sub(self.grace_ms),
            tx.now_ms,
            self.after,
            last,
        )
        .execute(&mut *tx.conn)
        .await?;
        Ok(Some(last))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::Meta;
    use super::super::connect::Place;
    use super::super::manifest::PutManifest;
    use super::super::open_for_tests;
    use super::super::tag::Condition;
    use super::*;
    use crate::digest::Algorithm;
    use crate::manifest::{Descriptor, Manifest};
    use crate::name::{Reference, Tag};

    fn repo() -> RepoName {
        RepoName::parse("p/a").unwrap()
    }

    /// The digest of a manifest, and until when it waits.
    type Put = (Digest, Option<i64>);

    /// Puts a manifest that names others.
    async fn put(meta: &Meta, text: &'static str, parts: &[&Digest], tag: Option<&str>) -> Put {
        let part = |digest: &&Digest| Descriptor {
            digest: (*digest).clone(),
            size: 1,
        };
        let bytes = Bytes::from_static(text.as_bytes());
        let digest = Digest::of(Algorithm::Sha256, &bytes);
        let put = PutManifest {
            repo: repo(),
            digest: digest.clone(),
            media_type: "x".to_owned(),
            manifest: Manifest {
                manifests: parts.iter().map(part).collect(),
                ..Manifest::default()
            },
            bytes,
            data_key: None,
            broken_key: None,
            tags: tag
                .map(|tag| Tag::parse(tag).unwrap())
                .into_iter()
                .collect(),
            condition: Condition::default(),
            who: Who::system("test"),
            allow_missing_manifests: false,
            allow_missing_blobs: false,
            untagged_grace_ms: 60_000,
            is_copy: false,
        };
        (digest, meta.change(put).await.unwrap().waits_until_ms)
    }

    #[tokio::test]
    async fn what_others_count_on_is_not_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::File(directory.path().join("registry.db"));
        let meta = open_for_tests(&place).await;
        let part = put(&meta, "part", &[], None).await;
        let again = put(&meta, "again", &[], None).await;
        let named = put(&meta, "named", &[], None).await;
        let index = put(&meta, "index", &[&part.0, &again.0, &named.0], None).await;
        let about = part.0.as_str().replacen(':', "-", 1);
        let about = put(&meta, "about", &[], Some(&about)).await;
        let tagged = put(&meta, "tagged", &[], Some("v1")).await;
        let before = put(&meta, "again", &[], None).await;
        assert_eq!((about.1, tagged.1, before.1), (None, None, None));
        put(&meta, "other", &[&named.0], Some("other")).await;
        let give_up = GiveUp {
            who: Who::system("test"),
            repo: repo(),
            manifests: [&part, &again, &named, &index]
                .map(|(digest, until_ms)| (digest.clone(), until_ms.unwrap()))
                .to_vec(),
            graces: Graces {
                untagged_ms: 60_000,
                never_tagged_ms: 0,
                blob_ms: 60_000,
                data_ms: 60_000,
                running_ms: 0,
            },
            can_come_back: false,
        };
        meta.change(give_up).await.unwrap();
        for ((digest, _), is_there) in [
            (part, false),
            (again, true),
            (named, true),
            (index, false),
            (tagged, true),
        ] {
            let found = meta.manifest(&repo(), &Reference::Digest(digest)).await;
            assert_eq!(found.unwrap().is_some(), is_there);
        }
        let tags = meta.tags(&repo(), "", 10).await.unwrap();
        assert_eq!(tags, ["other", "v1"], "what is about a part went with it");
    }
}
