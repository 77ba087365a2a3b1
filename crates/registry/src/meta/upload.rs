//! Uploads under way: what any replica needs to continue them.

use async_trait::async_trait;
use bytes::Bytes;
use http::StatusCode;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::Meta;
use super::cache::Touched;
use super::change::{Change, Tx, bound, first};
use super::data::bury;
use super::error::Failure;
use super::link;
use super::project::{ensure_repo, find_project, first_hard};
use super::quota::{self, Quota};
use super::small;
use crate::digest::{Algorithm, Digest};
use crate::error::{Code, Error};
use crate::name::RepoName;
use crate::who::Who;

/// An upload.
#[derive(Clone, Debug)]
pub(crate) struct Upload {
    pub(crate) uuid: String,
    pub(crate) repo: RepoName,
    pub(crate) algorithm: Algorithm,
    pub(crate) data_key: String,
    /// Bytes that are durable.
    pub(crate) received: u64,
    /// The hash of those, under way.
    pub(crate) hash_state: Vec<u8>,
    /// What the store needs to go on after them.
    pub(crate) written: String,
    /// Who continues it; empty if nobody does.
    pub(crate) turn: String,
    /// What its project has, if that bounds it.
    pub(crate) quota: Option<Quota>,
}

/// Sizes are far below 2^63.
fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// What who continues an upload is told when somebody else does.
pub(crate) fn taken_over(uuid: &str) -> Error {
    let message = "another request continues this upload; ask for its state, then go on";
    Error::new(Code::BlobUploadInvalid, message)
        .with_status(StatusCode::CONFLICT)
        .with_detail("upload_id", uuid)
}

/// What the client is told of an upload that is not there.
pub(crate) fn unknown(uuid: &str) -> Error {
    let message = "no such upload: it was finished, cancelled or has expired; begin a new one";
    Error::new(Code::BlobUploadUnknown, message).with_detail("upload_id", uuid)
}

fn upload(row: &AnyRow) -> Result<Upload, Failure> {
    let (repo, algorithm): (String, String) = (row.try_get(1)?, row.try_get(2)?);
    Ok(Upload {
        uuid: row.try_get(0)?,
        repo: RepoName::parse(&repo)?,
        algorithm: Algorithm::parse(&algorithm)?,
        data_key: row.try_get(3)?,
        received: row.try_get::<i64, _>(4)?.unsigned_abs(),
        hash_state: row.try_get(5)?,
        written: row.try_get(6)?,
        turn: row.try_get(7)?,
        quota: Some(Quota::read(row, 8)?),
    })
}

const UPLOAD: &str = concat!(
    "SELECT u.uuid, u.repo, u.algorithm, u.data_key, u.received, u.hash_state, u.written, \
     u.turn, ",
    quota::columns!(),
    " AND u.repo = $2"
);

impl Meta {
    /// An upload to a repository.
    pub(crate) async fn upload(&self, repo: &RepoName, uuid: &str) -> Result<Upload, Error> {
        let found = bound!(UPLOAD, uuid, repo.as_str());
        let found = self.row(found, |row| Ok(upload(row))).await?;
        Ok(found.ok_or_else(|| unknown(uuid))??)
    }

    /// An upload that was looked up, for a request that continues it, and whether another one may be
    /// doing that still: in a process that does not know yet that its client is gone. Where there is
    /// one process, that was ruled out by its own means. `turn` is a name of the request's own.
    pub(crate) async fn take_upload(
        &self,
        found: Upload,
        turn: String,
    ) -> Result<(Upload, bool), Error> {
        if !self.is_shared {
            return Ok((found, false));
        }
        let (repo, uuid) = (found.repo, found.uuid);
        self.change(Take { repo, uuid, turn }).await
    }
}

/// Gives an upload to who continues it from now on. What others write down of it is refused, whatever
/// they have been doing.
struct Take {
    repo: RepoName,
    uuid: String,
    turn: String,
}

#[async_trait]
impl Change for Take {
    /// The upload, and whether somebody had it.
    type Out = (Upload, bool);
    const NAME: &'static str = "take_upload";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(Upload, bool), Failure> {
        let found = bound!(UPLOAD, self.uuid.as_str(), self.repo.as_str());
        let row = found.fetch_optional(&mut *tx.conn).await?;
        let mut upload = upload(&row.ok_or_else(|| unknown(&self.uuid))?)?;
        bound!(
            "UPDATE upload SET turn = $1, seen_ms = $2 WHERE uuid = $3",
            self.turn.as_str(),
            tx.now_ms,
            self.uuid.as_str(),
        )
        .execute(&mut *tx.conn)
        .await?;
        let before = std::mem::replace(&mut upload.turn, self.turn.clone());
        Ok((upload, !before.is_empty()))
    }
}

/// Why what an upload was to become was not written down.
async fn lost(tx: &mut Tx<'_>, uuid: &str) -> Result<Error, sqlx::Error> {
    let found = bound!("SELECT 1 FROM upload WHERE uuid = $1", uuid);
    Ok(match found.fetch_optional(&mut *tx.conn).await? {
        Some(_) => taken_over(uuid),
        None => unknown(uuid),
    })
}

/// Writes down that the bytes of an upload are elsewhere. Those that they were before go.
pub(crate) struct Move {
    pub(crate) uuid: String,
    pub(crate) turn: String,
    pub(crate) from: String,
    pub(crate) written_before: String,
    pub(crate) to: String,
    pub(crate) written: String,
}

#[async_trait]
impl Change for Move {
    type Out = ();
    const NAME: &'static str = "move_upload";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        let moved = bound!(
            "UPDATE upload SET data_key = $1, written = $2 \
             WHERE uuid = $3 AND turn = $4 AND data_key = $5 RETURNING received",
            self.to.as_str(),
            self.written.as_str(),
            self.uuid.as_str(),
            self.turn.as_str(),
            self.from.as_str(),
        );
        let Some(row) = moved.fetch_optional(&mut *tx.conn).await? else {
            return Err(lost(tx, &self.uuid).await?.into());
        };
        let (written, now_ms) = (Some(self.written_before.as_str()), tx.now_ms);
        bury(tx, &self.from, written, first(&row)?, now_ms).await?;
        Ok(())
    }
}

/// Begins an upload. A project that is not there yet is made once something of it is kept, so that of a
/// name that was mistyped nothing stays.
pub(crate) struct Begin {
    pub(crate) upload: Upload,
    pub(crate) who: Who,
    pub(crate) sessions_max: u32,
}

#[async_trait]
impl Change for Begin {
    /// What its project has.
    type Out = Quota;
    const NAME: &'static str = "begin_upload";
    /// Nothing has come yet: its client begins another one.
    const IS_DURABLE: bool = false;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Quota, Failure> {
        let upload = &self.upload;
        let name = upload.repo.project();
        let project = find_project(tx, &self.who, name).await?;
        let awaited = project.is_none().then_some(name);
        let hard = match awaited {
            Some(_) => Some(first_hard(tx).await?),
            None => None,
        };
        let open = match project {
            Some(project) => {
                bound!("SELECT COUNT(*) FROM upload WHERE project_id = $1", project)
            }
            None => bound!("SELECT COUNT(*) FROM upload WHERE awaited = $1", name),
        };
        let open = first(&open.fetch_one(&mut *tx.conn).await?)?;
        if open >= i64::from(self.sessions_max) {
            let message = format!(
                "registry.upload.sessions_max: project {name} has {open} uploads under way, and may have {}",
                self.sessions_max
            );
            return Err(Error::new(Code::TooManyRequests, message).into());
        }
        bound!(
            "INSERT INTO upload (uuid, project_id, repo, actor, algorithm, data_key, received, \
             hash_state, written, created_ms, seen_ms, turn, awaited, hard) \
             VALUES ($1, $2, $3, $4, $5, $6, 0, $7, $8, $9, $9, $10, $11, $12)",
            upload.uuid.as_str(),
            project,
            upload.repo.as_str(),
            self.who.name.as_str(),
            upload.algorithm.name(),
            upload.data_key.as_str(),
            upload.hash_state.clone(),
            upload.written.as_str(),
            tx.now_ms,
            upload.turn.as_str(),
            awaited,
            hard,
        )
        .execute(&mut *tx.conn)
        .await?;
        Ok(quota::of_upload(tx, &upload.uuid).await?)
    }
}

/// Writes down how far an upload has come.
pub(crate) struct Extend {
    pub(crate) uuid: String,
    pub(crate) turn: String,
    /// Whether who continued it will write no more.
    pub(crate) is_last: bool,
    /// How far it had come before. If that is not so, somebody else continued it.
    pub(crate) received_before: u64,
    pub(crate) received: u64,
    pub(crate) hash_state: Vec<u8>,
    pub(crate) written: String,
    /// Whether its project must have room for it.
    pub(crate) is_bounded: bool,
}

#[async_trait]
impl Change for Extend {
    type Out = ();
    const NAME: &'static str = "extend_upload";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        let extended = bound!(
            "UPDATE upload SET received = $1, hash_state = $2, written = $3, seen_ms = $4, \
             turn = $7 WHERE uuid = $5 AND received = $6 AND turn = $8",
            signed(self.received),
            self.hash_state.clone(),
            self.written.as_str(),
            tx.now_ms,
            self.uuid.as_str(),
            signed(self.received_before),
            if self.is_last { "" } else { self.turn.as_str() },
            self.turn.as_str(),
        );
        if extended.execute(&mut *tx.conn).await?.rows_affected() == 0 {
            return Err(lost(tx, &self.uuid).await?.into());
        }
        let came = self.received.saturating_sub(self.received_before);
        if self.is_bounded && came > 0 {
            quota::check_upload(tx, &self.uuid, came).await?;
        }
        Ok(())
    }
}

/// The same of one that is small, all of which is with its row: if the power fails before the blob is
/// there, its client is told how little came, and sends it again.
pub(crate) struct ExtendSmall(pub(crate) Extend);

#[async_trait]
impl Change for ExtendSmall {
    type Out = ();
    const NAME: &'static str = Extend::NAME;
    const IS_DURABLE: bool = false;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        self.0.apply(tx).await
    }
}

/// Gives an upload up.
pub(crate) struct Cancel {
    pub(crate) repo: RepoName,
    pub(crate) uuid: String,
    /// Only if this one continues it.
    pub(crate) turn: Option<String>,
}

#[async_trait]
impl Change for Cancel {
    type Out = ();
    const NAME: &'static str = "cancel_upload";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        let taken = bound!(
            "DELETE FROM upload WHERE uuid = $1 AND repo = $2 AND turn = COALESCE($3, turn) \
             RETURNING data_key, written, received",
            self.uuid.as_str(),
            self.repo.as_str(),
            self.turn.as_deref(),
        );
        let Some(row) = taken.fetch_optional(&mut *tx.conn).await? else {
            return Err(unknown(&self.uuid).into());
        };
        let (key, written, size): (String, String, i64) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        bury(tx, &key, Some(&written), size, tx.now_ms).await?;
        Ok(())
    }
}

/// Makes the bytes of an upload a blob of its repository.
pub(crate) struct Commit {
    pub(crate) uuid: String,
    pub(crate) turn: String,
    pub(crate) repo: RepoName,
    pub(crate) digest: Digest,
    pub(crate) data_key: String,
    /// The bytes, if they are to be kept here.
    pub(crate) small: Option<Bytes>,
    /// Bytes of the same blob that are broken, in whose place these are.
    pub(crate) broken_key: Option<String>,
    pub(crate) size: u64,
    pub(crate) grace_ms: i64,
    pub(crate) who: Who,
}

#[async_trait]
impl Change for Commit {
    /// Whether broken bytes were replaced.
    type Out = bool;
    const NAME: &'static str = "commit_upload";

    fn touches(&self, is_healed: &Self::Out) -> Touched<'_> {
        match is_healed {
            true => Touched::Repos,
            false => Touched::Nothing,
        }
    }

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<bool, Failure> {
        let taken = bound!(
            "DELETE FROM upload WHERE uuid = $1 AND turn = $2",
            self.uuid.as_str(),
            self.turn.as_str(),
        );
        if taken.execute(&mut *tx.conn).await?.rows_affected() == 0 {
            return Err(lost(tx, &self.uuid).await?.into());
        }
        let size = signed(self.size);
        let made = bound!(
            "INSERT INTO blob (digest, size, data_key, created_ms) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (digest) DO NOTHING",
            self.digest.as_str(),
            size,
            self.data_key.as_str(),
            tx.now_ms,
        );
        let is_new = made.execute(&mut *tx.conn).await?.rows_affected() > 0;
        let is_healed = !is_new && self.heal(tx).await?;
        let mut unneeded = match &self.broken_key {
            Some(broken_key) if is_healed => Some(broken_key),
            _ => (!is_new).then_some(&self.data_key),
        };
        match (&self.small, is_new || is_healed) {
            (Some(bytes), true) => small::keep(tx, &self.data_key, bytes).await?,
            // They were nowhere yet.
            (Some(_), false) => unneeded = None,
            (None, _) => {}
        }
        if let Some(data_key) = unneeded {
            bury(tx, data_key, None, size, tx.now_ms).await?;
        }
        let found = bound!(
            "SELECT id FROM blob WHERE digest = $1",
            self.digest.as_str()
        );
        let blob_id = first(&found.fetch_one(&mut *tx.conn).await?)?;
        let repo = ensure_repo(tx, &self.who, &self.repo).await?;
        link::add(tx, repo, &self.digest, (blob_id, size), self.grace_ms).await?;
        Ok(is_healed)
    }
}

impl Commit {
    /// Puts the bytes in the place of broken ones, unless others are there already.
    async fn heal(&self, tx: &mut Tx<'_>) -> Result<bool, sqlx::Error> {
        let Some(broken_key) = &self.broken_key else {
            return Ok(false);
        };
        let healed = bound!(
            "UPDATE blob SET data_key = $1, damaged_ms = NULL WHERE digest = $2 AND data_key = $3",
            self.data_key.as_str(),
            self.digest.as_str(),
            broken_key.as_str(),
        );
        Ok(healed.execute(&mut *tx.conn).await?.rows_affected() > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::connect::Place;
    use super::super::open_for_tests;
    use super::*;
    use crate::digest::Hasher;

    fn begun(repo: &RepoName) -> Upload {
        Upload {
            uuid: "one".to_owned(),
            repo: repo.clone(),
            algorithm: Algorithm::Sha256,
            data_key: "data/aa/1".to_owned(),
            received: 0,
            hash_state: Hasher::new(Algorithm::Sha256).save(),
            written: String::new(),
            turn: String::new(),
            quota: None,
        }
    }

    fn take(repo: &RepoName, turn: &str) -> Take {
        Take {
            repo: repo.clone(),
            uuid: "one".to_owned(),
            turn: turn.to_owned(),
        }
    }

    fn extend(turn: &str, is_last: bool) -> Extend {
        Extend {
            uuid: "one".to_owned(),
            turn: turn.to_owned(),
            is_last,
            received_before: 0,
            received: 7,
            hash_state: Vec::new(),
            written: format!("by {turn}"),
            is_bounded: false,
        }
    }

    /// What one who does not continue it any more says is refused, and nothing of it is kept.
    #[tokio::test]
    async fn an_upload_is_continued_by_who_began_last() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::File(directory.path().join("registry.db"));
        let meta = open_for_tests(&place).await;
        let (repo, who) = (RepoName::parse("team/app").unwrap(), Who::system("test"));
        let begin = Begin {
            upload: begun(&repo),
            who: who.clone(),
            sessions_max: 1,
        };
        meta.change(begin).await.unwrap();
        assert!(!meta.change(take(&repo, "stale")).await.unwrap().1);
        let (upload, is_contested) = meta.change(take(&repo, "new")).await.unwrap();
        assert!(is_contested && upload.turn == "new");
        let commit = |turn: &str, data_key: &str| Commit {
            uuid: "one".to_owned(),
            turn: turn.to_owned(),
            repo: repo.clone(),
            digest: Digest::of(Algorithm::Sha256, b"bytes"),
            data_key: data_key.to_owned(),
            small: None,
            broken_key: None,
            size: 7,
            grace_ms: 0,
            who: who.clone(),
        };
        let moves = |turn: &str| Move {
            uuid: "one".to_owned(),
            turn: turn.to_owned(),
            from: upload.data_key.clone(),
            written_before: String::new(),
            to: "data/aa/2".to_owned(),
            written: String::new(),
        };
        let refused = [
            meta.change(extend("stale", false)).await.unwrap_err(),
            meta.change(moves("stale")).await.unwrap_err(),
            meta.change(commit("stale", "data/aa/1")).await.unwrap_err(),
        ];
        assert!(
            refused
                .iter()
                .all(|error| error.status == StatusCode::CONFLICT)
        );
        let cancel = |turn: &str| Cancel {
            repo: repo.clone(),
            uuid: "one".to_owned(),
            turn: Some(turn.to_owned()),
        };
        meta.change(cancel("stale")).await.unwrap_err();

        meta.change(moves("new")).await.unwrap();
        let dead = meta.dead(10).await.unwrap();
        assert_eq!((dead.len(), dead[0].data_key.as_str()), (1, "data/aa/1"));
        meta.change(extend("new", true)).await.unwrap();
        let (upload, is_contested) = meta.change(take(&repo, "last")).await.unwrap();
        assert!(!is_contested, "who had it has ended");
        let standing = (upload.data_key.as_str(), upload.written.as_str());
        assert_eq!(standing, ("data/aa/2", "by new"));
        meta.change(commit("last", "data/aa/2")).await.unwrap();
        let gone = meta.change(commit("last", "data/aa/2")).await.unwrap_err();
        assert_eq!(gone.code, Code::BlobUploadUnknown);
    }
}
