//! Tags that are about a manifest and say so by their names, as those of cosign's signatures: they are
//! copied with it, and go with it.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::Meta;
use super::change::{Tx, bound};
use super::error::Failure;
use super::rules::check_mutable;
use super::tag::{self, Target};
use crate::digest::Digest;
use crate::error::Error;
use crate::name::{RepoName, Tag};

/// How many of one artifact are looked for.
const COMPANIONS_MAX: i64 = 100;

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

/// That a manifest `s` is what another one is about, as a tag `t` of that one says: one that was there
/// before, as two cannot be about each other. Most tags say nothing of the kind, so that nothing is looked
/// up for them.
macro_rules! is_subject {
    ($manifest:literal) => {
        concat!(
            "SUBSTR(t.name, 1, 7) = 'sha256-' AND SUBSTR(t.name, 72, 1) IN ('', '.') \
             AND s.digest = REPLACE(SUBSTR(t.name, 1, 71), '-', ':') AND s.repo_id = ",
            $manifest,
            ".repo_id AND s.id < ",
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
        tag::take(tx, repo, &Tag::parse(&name)?, &target, "delete_tag").await?;
    }
    Ok(())
}

/// The same of a manifest that lost a tag, if no tag and no index has it any more, and it is about nothing
/// that is there, with which it stays.
pub(super) async fn remove_with_last(
    tx: &mut Tx<'_>,
    repo: &RepoName,
    lost: &Target<'_>,
) -> Result<(), Failure> {
    let subject = bound!(
        "SELECT 1 FROM manifest m JOIN manifest s ON s.repo_id = m.repo_id AND s.digest = m.subject \
         WHERE m.id = $1",
        lost.manifest_id,
    );
    let is_about = subject.fetch_optional(&mut *tx.conn).await?.is_some();
    if is_about || tag::is_had(tx, lost).await? {
        return Ok(());
    }
    remove(tx, repo, lost).await
}

impl Meta {
    /// The tags that are about a manifest, and to what they point; so many that few have more.
    pub(crate) async fn companions(
        &self,
        repo: &RepoName,
        subject: &Digest,
    ) -> Result<Vec<(Tag, Digest)>, Error> {
        let found = bound!(
            concat!(
                "SELECT t.name, m.digest FROM repo r JOIN tag t ON t.repo_id = r.id \
                 JOIN manifest m ON m.id = t.manifest_id WHERE r.name = $1 AND ",
                is_about!("$2"),
                " ORDER BY t.name LIMIT $3"
            ),
            repo.as_str(),
            subject.as_str(),
            COMPANIONS_MAX,
        );
        let pair = |row: &AnyRow| Ok((row.try_get(0)?, row.try_get(1)?));
        let found: Vec<(String, String)> = self.rows(found, pair).await?;
        let read =
            |(tag, digest): &(String, String)| Ok((Tag::parse(tag)?, Digest::parse(digest)?));
        found.iter().map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::super::change::{Change, first};
    use super::super::connect::Place;
    use super::super::open_for_tests;
    use super::super::tag::{Condition, DeleteTag};
    use super::*;
    use crate::who::Who;

    /// A manifest with two tags and two companions, one of which a rule holds, and others that are
    /// about something else or nothing.
    struct Signed(String);

    #[async_trait]
    impl Change for Signed {
        type Out = ();
        const NAME: &'static str = "signed";

        async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
            let (hex, signature) = (&self.0, "2".repeat(64));
            let sql = format!(
                "INSERT INTO project (id, name, public, created_ms) VALUES (1, 'p', 1, 0); \
                 INSERT INTO repo (id, project_id, name, created_ms) VALUES (1, 1, 'p/a', 0); \
                 INSERT INTO manifest (id, repo_id, digest, media_type, size, bytes, pushed_ms) \
                 VALUES (1, 1, 'sha256:{hex}', 'x', 1, x'00', 0), (2, 1, 'sha256:{signature}', 'x', 1, x'00', 0); \
                 INSERT INTO tag (repo_id, name, manifest_id, updated_ms) VALUES \
                 (1, 'v1', 1, 0), (1, 'v2', 1, 0), (1, 'sha256-{hex}', 2, 0), \
                 (1, 'sha256-{hex}.sig', 2, 0), (1, 'sha256-{hex}-sig', 2, 0), \
                 (1, 'sha256-{hex}0.sig', 2, 0), (1, 'sha256-0.sig', 2, 0); \
                 INSERT INTO project_rule (project_id, kind, rule) VALUES \
                 (1, 'immutable', '{{\"kind\":\"immutable\",\"tags\":\"sha256-{hex}\"}}')"
            );
            sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
                .execute(&mut *tx.conn)
                .await?;
            Ok(())
        }
    }

    #[tokio::test]
    async fn they_go_with_the_last_tag_in_the_same_change() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::File(directory.path().join("registry.db"));
        let meta = open_for_tests(&place).await;
        let hex = "1".repeat(64);
        meta.change(Signed(hex.clone())).await.unwrap();
        let repo = RepoName::parse("p/a").unwrap();
        let subject = Digest::parse(&format!("sha256:{hex}")).unwrap();
        let delete = async |tag: &str, takes_companions| {
            let delete = DeleteTag {
                repo: repo.clone(),
                tag: Tag::parse(tag).unwrap(),
                condition: Condition::default(),
                takes_companions,
                who: Who::system("test"),
                grace_ms: 1000,
            };
            meta.change(delete).await.unwrap();
            let count = "SELECT COUNT(*) FROM tag";
            meta.rows(bound!(count), first).await.unwrap()[0]
        };
        assert_eq!(delete("v1", true).await, 6, "v2 has it");
        assert_eq!(delete("sha256-0.sig", true).await, 5);
        let companions = meta.companions(&repo, &subject).await;
        let names = companions.unwrap().into_iter().map(|(tag, _)| tag);
        let names: Vec<String> = names.map(|tag| tag.as_str().to_owned()).collect();
        assert_eq!(
            names,
            ["", ".sig"].map(|ending| format!("sha256-{hex}{ending}"))
        );
        assert_eq!(delete("v2", true).await, 3);
        let left = meta.tags(&repo, "", 10).await.unwrap();
        let expected = ["", "-sig", "0.sig"].map(|ending| format!("sha256-{hex}{ending}"));
        assert_eq!(left, expected);
    }
}
