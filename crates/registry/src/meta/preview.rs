//! What a run of garbage collection would remove if all graces were over. Nothing is changed, and nobody
//! waits: facts are only read, a part after the other, and what would go is noted in a table that is this
//! connection's own and goes with it. While things change, some are counted as they were before.

use sqlx::{AnyConnection, AssertSqlSafe, Row};
use tokio_util::sync::CancellationToken;

use super::Meta;
use super::change::bound;
use super::companion::is_about;
use super::error::Failure;
use super::lent::within;
use super::link::Kind;
use super::review::{Graces, Removed, Untagged};
use super::rules;
use super::schema::in_words_of;
use super::untagged::unclaimed;
use crate::error::Error;
use crate::name::RepoName;

/// Things that one statement looks at.
const PART_MAX: i64 = 500;

/// What is looked at and how far that is: it `waits`, or is being `looked` at and `going` or not; then it
/// is `gone`, or `stays` unless it loses another reference. And the tags that would be taken.
const NOTES: &str = "CREATE TEMP TABLE look (kind TEXT NOT NULL, id BIGINT NOT NULL, \
         was_tagged BIGINT NOT NULL, state TEXT NOT NULL, PRIMARY KEY (kind, id)); \
     CREATE INDEX look_by_state ON look (kind, state, id); \
     CREATE TEMP TABLE taken (repo_id BIGINT NOT NULL, name {text} NOT NULL, \
         PRIMARY KEY (repo_id, name))";

const QUEUED: &str = "INSERT INTO look (kind, id, was_tagged, state) \
     SELECT kind, subject_id, 1 - never_tagged, 'waits' FROM gc_queue WHERE kind <> $1";
const UNCLAIMED: &str = concat!(
    "INSERT INTO look (kind, id, was_tagged, state) SELECT 'manifest', m.id, 1, 'waits' ",
    unclaimed!(),
    " ON CONFLICT (kind, id) DO UPDATE SET was_tagged = 1"
);

const LOOK: &str = "UPDATE look SET state = 'looked' WHERE kind = $1 AND id IN \
     (SELECT id FROM look WHERE kind = $1 AND state = 'waits' ORDER BY id LIMIT $2)";

/// A manifest goes unless a tag or an index has it, or it is about one that is there; one that never had
/// a tag may stay for ever.
const MANIFESTS_GO: &str = "UPDATE look SET state = 'going' \
     WHERE kind = 'manifest' AND state = 'looked' AND (was_tagged = 1 OR $1 = 1) \
     AND EXISTS (SELECT 1 FROM manifest m WHERE m.id = look.id \
     AND NOT EXISTS (SELECT 1 FROM tag t WHERE t.manifest_id = m.id AND NOT EXISTS \
         (SELECT 1 FROM taken x WHERE x.repo_id = t.repo_id AND x.name = t.name)) \
     AND NOT EXISTS (SELECT 1 FROM manifest_child c \
         WHERE c.repo_id = m.repo_id AND c.digest = m.digest AND NOT EXISTS \
         (SELECT 1 FROM look g \
         WHERE g.kind = 'manifest' AND g.id = c.manifest_id AND g.state = 'gone')) \
     AND NOT EXISTS (SELECT 1 FROM manifest s \
         WHERE s.repo_id = m.repo_id AND s.digest = m.subject AND NOT EXISTS \
         (SELECT 1 FROM look g WHERE g.kind = 'manifest' AND g.id = s.id AND g.state = 'gone')))";
/// A link goes unless a manifest needs it.
const LINKS_GO: &str = "UPDATE look SET state = 'going' WHERE kind = 'link' AND state = 'looked' \
     AND EXISTS (SELECT 1 FROM repo_blob l WHERE l.id = look.id) \
     AND NOT EXISTS (SELECT 1 FROM manifest_blob e WHERE e.link_id = look.id AND NOT EXISTS \
         (SELECT 1 FROM look g \
         WHERE g.kind = 'manifest' AND g.id = e.manifest_id AND g.state = 'gone'))";
/// A blob goes unless a repository has it.
const BLOBS_GO: &str = "UPDATE look SET state = 'going' WHERE kind = 'blob' AND state = 'looked' \
     AND EXISTS (SELECT 1 FROM blob b WHERE b.id = look.id) \
     AND NOT EXISTS (SELECT 1 FROM repo_blob l WHERE l.blob_id = look.id AND NOT EXISTS \
         (SELECT 1 FROM look g WHERE g.kind = 'link' AND g.id = l.id AND g.state = 'gone'))";

/// How many go, and their bytes.
const MANIFESTS: &str = "SELECT COUNT(*), CAST(COALESCE(SUM(m.size), 0) AS BIGINT) \
     FROM look k JOIN manifest m ON m.id = k.id WHERE k.kind = 'manifest' AND k.state = 'going'";
const LINKS: &str = "SELECT COUNT(*), CAST(0 AS BIGINT) \
     FROM look WHERE kind = 'link' AND state = 'going'";
const BLOBS: &str = "SELECT COUNT(*), CAST(COALESCE(SUM(b.size), 0) AS BIGINT) \
     FROM look k JOIN blob b ON b.id = k.id WHERE k.kind = 'blob' AND k.state = 'going'";

/// What lost a reference waits again.
macro_rules! wait_again {
    () => {
        " ON CONFLICT (kind, id) DO UPDATE SET was_tagged = 1, state = 'waits' \
         WHERE look.state <> 'going' AND look.state <> 'gone'"
    };
}
/// What manifests that go name, and what is about them.
const AROUND: &str = concat!(
    "INSERT INTO look (kind, id, was_tagged, state) SELECT 'manifest', d.id, 1, 'waits' FROM ( \
         SELECT p.id FROM look k JOIN manifest_child c ON c.manifest_id = k.id \
         JOIN manifest p ON p.repo_id = c.repo_id AND p.digest = c.digest \
         WHERE k.kind = 'manifest' AND k.state = 'going' \
         UNION SELECT r.id FROM look k JOIN manifest m ON m.id = k.id \
         JOIN manifest r ON r.repo_id = m.repo_id AND r.subject = m.digest \
         WHERE k.kind = 'manifest' AND k.state = 'going') d WHERE true",
    wait_again!()
);
const UNTAGGED: &str = concat!(
    "INSERT INTO look (kind, id, was_tagged, state) VALUES ('manifest', $1, 1, 'waits')",
    wait_again!()
);
/// What they need.
const NEEDED: &str = concat!(
    "INSERT INTO look (kind, id, was_tagged, state) SELECT DISTINCT 'link', e.link_id, 1, 'waits' \
     FROM look k JOIN manifest_blob e ON e.manifest_id = k.id \
     WHERE k.kind = 'manifest' AND k.state = 'going'",
    wait_again!()
);
/// The blobs of links that go.
const LINKED: &str = concat!(
    "INSERT INTO look (kind, id, was_tagged, state) SELECT DISTINCT 'blob', l.blob_id, 1, 'waits' \
     FROM look k JOIN repo_blob l ON l.id = k.id WHERE k.kind = 'link' AND k.state = 'going'",
    wait_again!()
);
/// Tags that are about manifests that go.
const COMPANIONS: &str = concat!(
    "SELECT r.id, r.name, t.name, t.manifest_id \
     FROM look k JOIN manifest m ON m.id = k.id JOIN repo r ON r.id = m.repo_id \
     JOIN tag t ON t.repo_id = m.repo_id AND ",
    is_about!("m.digest"),
    " WHERE k.kind = 'manifest' AND k.state = 'going'"
);
const TAKEN: &str = "INSERT INTO taken (repo_id, name) VALUES ($1, $2) ON CONFLICT DO NOTHING";

const GONE: &str = "UPDATE look SET state = 'gone' WHERE kind = $1 AND state = 'going'";
const STAYS: &str = "UPDATE look SET state = 'stays' WHERE kind = $1 AND state = 'looked'";

impl Meta {
    /// What would be removed, or as much of it as is found out before the stop.
    pub(crate) async fn preview(
        &self,
        untagged: Untagged,
        graces: Graces,
        stop: &CancellationToken,
    ) -> Result<Removed, Error> {
        let stop = stop.clone();
        self.long(async move |meta| {
            let answer_max = meta.answer_max;
            let own = within(answer_max, meta.place.own()).await.flatten();
            let mut preview = Preview {
                connection: own.map_err(Failure::from)?,
                removed: Removed::default(),
                may_never_tagged_go: graces.never_tagged_ms > 0,
            };
            let notes = in_words_of(meta.place.engine(), NOTES);
            let before_ms = meta.now_ms().saturating_sub(graces.untagged_ms);
            let begun = within(answer_max, preview.begin(&notes, untagged, before_ms));
            begun.await.flatten().map_err(Failure::from)?;
            for kind in [Kind::Manifest, Kind::Link, Kind::Blob] {
                while !stop.is_cancelled() {
                    let part = within(answer_max, preview.part(kind)).await;
                    if !part.map_err(Failure::from)?? {
                        break;
                    }
                }
            }
            Ok(preview.removed)
        })
        .await
    }
}

/// A look that is under way.
struct Preview {
    connection: AnyConnection,
    removed: Removed,
    may_never_tagged_go: bool,
}

impl Preview {
    /// Notes what waits for a run.
    async fn begin(
        &mut self,
        notes: &str,
        untagged: Untagged,
        before_ms: i64,
    ) -> Result<(), sqlx::Error> {
        let connection = &mut self.connection;
        let notes = sqlx::raw_sql(AssertSqlSafe(notes.to_owned()));
        notes.execute(&mut *connection).await?;
        let spared = match untagged {
            Untagged::Go | Untagged::All => "",
            Untagged::Stay => Kind::Manifest.name(),
        };
        bound!(QUEUED, spared).execute(&mut *connection).await?;
        if untagged == Untagged::All {
            bound!(UNCLAIMED, before_ms).execute(connection).await?;
        }
        Ok(())
    }

    /// Looks at some of what waits; gives whether there was anything.
    async fn part(&mut self, kind: Kind) -> Result<bool, Failure> {
        let looked = bound!(LOOK, kind.name(), PART_MAX);
        let looked = looked.execute(&mut self.connection).await?.rows_affected();
        if looked == 0 {
            return Ok(false);
        }
        self.removed.looked_at += looked;
        match kind {
            Kind::Manifest => self.manifests().await?,
            Kind::Link => {
                bound!(LINKS_GO).execute(&mut self.connection).await?;
                bound!(LINKED).execute(&mut self.connection).await?;
                self.removed.links += self.counted(LINKS).await?.0;
            }
            Kind::Blob => {
                bound!(BLOBS_GO).execute(&mut self.connection).await?;
                let (blobs, bytes) = self.counted(BLOBS).await?;
                self.removed.blobs += blobs;
                self.removed.bytes += bytes;
            }
        }
        for sql in [GONE, STAYS] {
            let settled = bound!(sql, kind.name());
            settled.execute(&mut self.connection).await?;
        }
        Ok(true)
    }

    async fn manifests(&mut self) -> Result<(), Failure> {
        let go = bound!(MANIFESTS_GO, i64::from(self.may_never_tagged_go));
        go.execute(&mut self.connection).await?;
        for sql in [AROUND, NEEDED] {
            bound!(sql).execute(&mut self.connection).await?;
        }
        self.companions().await?;
        let (manifests, bytes) = self.counted(MANIFESTS).await?;
        self.removed.manifests += manifests;
        self.removed.manifest_bytes += bytes;
        Ok(())
    }

    /// Takes the tags that are about manifests which go, but for those that a rule holds.
    async fn companions(&mut self) -> Result<(), Failure> {
        let found = bound!(COMPANIONS).fetch_all(&mut self.connection).await?;
        for row in found {
            let (repo, tag): (String, String) = (row.try_get(1)?, row.try_get(2)?);
            let repo = RepoName::parse(&repo)?;
            match rules::hold_none(&mut self.connection, &repo, &[tag.as_str()]).await {
                Ok(()) => {}
                Err(Failure::Refused(_)) => continue,
                Err(failure) => return Err(failure),
            }
            let (repo_id, manifest_id): (i64, i64) = (row.try_get(0)?, row.try_get(3)?);
            let taken = bound!(TAKEN, repo_id, tag);
            taken.execute(&mut self.connection).await?;
            let untagged = bound!(UNTAGGED, manifest_id);
            untagged.execute(&mut self.connection).await?;
        }
        Ok(())
    }

    async fn counted(&mut self, sql: &'static str) -> Result<(u64, u64), sqlx::Error> {
        let row = bound!(sql).fetch_one(&mut self.connection).await?;
        let (count, bytes): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        Ok((count.unsigned_abs(), bytes.unsigned_abs()))
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::super::change::{Change, Tx};
    use super::super::connect::Place;
    use super::super::open_for_tests;
    use super::super::review::Review;
    use super::*;

    /// Blobs with and without links, and an index of which one part has a tag; the other has a signature
    /// and a referrer. More than a part has of all.
    const FACTS: &str = "INSERT INTO project (id, name, public, created_ms) VALUES (1, 'p', 1, 0); \
         INSERT INTO quota (project_id, hard, used) VALUES (1, -1, 0); \
         INSERT INTO repo (id, project_id, name, created_ms) VALUES (1, 1, 'p/a', 0), (2, 1, 'p/b', 0); \
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000) \
             INSERT INTO blob (id, digest, size, data_key, created_ms) \
             SELECT i, 'b' || i, i, 'k' || i, 0 FROM n; \
         INSERT INTO repo_blob (id, repo_id, blob_id, project_id, linked_ms) \
             SELECT id, 1, id, 1, 0 FROM blob WHERE id <= 2000; \
         INSERT INTO repo_blob (id, repo_id, blob_id, project_id, linked_ms) \
             SELECT 10000 + id, 2, id, 1, 0 FROM blob WHERE id > 1000 AND id <= 3000; \
         INSERT INTO gc_queue (kind, subject_id, not_before_ms) \
             SELECT 'link', id, 0 FROM repo_blob WHERE id < 1500 OR id > 11000; \
         INSERT INTO gc_queue (kind, subject_id, not_before_ms) \
             SELECT 'blob', id, 0 FROM blob WHERE id > 3000 AND id < 4000; \
         INSERT INTO manifest (id, repo_id, digest, media_type, subject, size, bytes, pushed_ms) \
             VALUES (1, 1, 'index', 'x', NULL, 10, x'00', 0), \
             (2, 1, 'kept', 'x', NULL, 20, x'00', 0), \
             (3, 1, 'sha256:{hex}', 'x', NULL, 40, x'00', 0), \
             (4, 1, 'signature', 'x', NULL, 80, x'00', 0), \
             (5, 1, 'referrer', 'x', 'sha256:{hex}', 160, x'00', 0), \
             (6, 1, 'never', 'x', NULL, 320, x'00', 0); \
         INSERT INTO manifest_child (manifest_id, repo_id, digest) \
             VALUES (1, 1, 'kept'), (1, 1, 'sha256:{hex}'); \
         INSERT INTO tag (repo_id, name, manifest_id, updated_ms) \
             VALUES (1, 'v1', 2, 0), (1, 'sha256-{hex}.sig', 4, 0); \
         INSERT INTO manifest_blob (manifest_id, link_id) \
             VALUES (2, 1), (3, 2), (3, 1600), (4, 3), (5, 4), (5, 1), (6, 5); \
         INSERT INTO gc_queue (kind, subject_id, not_before_ms, never_tagged) \
             VALUES ('manifest', 1, 0, 0), ('manifest', 6, 0, 1)";

    struct Facts;

    #[async_trait]
    impl Change for Facts {
        type Out = ();
        const NAME: &'static str = "facts";

        async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
            let facts = FACTS.replace("{hex}", &"0".repeat(64));
            let facts = sqlx::raw_sql(AssertSqlSafe(facts));
            facts.execute(&mut *tx.conn).await?;
            Ok(())
        }
    }

    #[tokio::test]
    async fn what_is_foretold_is_what_a_run_does() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::File(directory.path().join("registry.db"));
        let meta = open_for_tests(&place).await;
        meta.change(Facts).await.unwrap();
        let graces = Graces {
            untagged_ms: 0,
            never_tagged_ms: 1,
            blob_ms: 0,
            data_ms: 0,
            running_ms: 0,
        };
        let stop = CancellationToken::new();
        let preview = async |untagged| {
            let found = meta.preview(untagged, graces, &stop).await.unwrap();
            Removed {
                looked_at: 0,
                ..found
            }
        };
        let spared = preview(Untagged::Stay).await;
        assert_eq!((spared.manifests, spared.manifest_bytes), (0, 0));
        let foretold = preview(Untagged::Go).await;
        assert_eq!(preview(Untagged::Go).await, foretold);
        // All but the one with a tag.
        assert_eq!((foretold.manifests, foretold.manifest_bytes), (5, 610));
        assert!(foretold.blobs > spared.blobs && foretold.links > spared.links);
        let mut done = Removed::default();
        loop {
            let review = Review {
                graces,
                untagged: Untagged::Go,
                limit: 1000,
            };
            let some = meta.change(review).await.unwrap();
            if some.looked_at == 0 {
                break;
            }
            done.add(&some);
        }
        done.looked_at = 0;
        assert_eq!(done, foretold);
        stop.cancel();
        assert_eq!(preview(Untagged::Go).await, Removed::default());
    }
}
