//! Uploads under way: what any replica needs to continue them.

use async_trait::async_trait;
use bytes::Bytes;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::Meta;
use super::cache::Touched;
use super::change::{Change, Tx, bound, first};
use super::data::bury;
use super::error::{Failure, unavailable};
use super::link;
use super::project::{ensure_project, ensure_repo};
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
    /// What its project has, if that bounds it.
    pub(crate) quota: Option<Quota>,
}

/// Sizes are far below 2^63.
fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
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
        quota: Some(Quota::read(row, 7)?),
    })
}

const UPLOAD: &str = concat!(
    "SELECT u.uuid, u.repo, u.algorithm, u.data_key, u.received, u.hash_state, u.written, ",
    quota::columns!(),
    " FROM upload u JOIN quota q ON q.project_id = u.project_id \
     JOIN project p ON p.id = u.project_id WHERE u.uuid = $1 AND u.repo = $2"
);

impl Meta {
    /// An upload to a repository.
    pub(crate) async fn upload(&self, repo: &RepoName, uuid: &str) -> Result<Upload, Error> {
        let mut connection = self.read().await?;
        let found = bound!(UPLOAD, uuid, repo.as_str(),);
        let row = found.fetch_optional(&mut *connection).await;
        let row = row.map_err(|error| unavailable(&error))?;
        let row = row.ok_or_else(|| unknown(uuid))?;
        upload(&row).map_err(|failure| match failure {
            Failure::Refused(error) => error,
            Failure::Database(error) => unavailable(&error),
        })
    }
}

/// Begins an upload.
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
        let project = ensure_project(tx, &self.who, upload.repo.project()).await?;
        let open = bound!("SELECT COUNT(*) FROM upload WHERE project_id = $1", project);
        let open = first(&open.fetch_one(&mut *tx.conn).await?)?;
        if open >= i64::from(self.sessions_max) {
            let message = format!(
                "registry.upload.sessions_max: project {} has {open} uploads under way, and may have {}",
                upload.repo.project(),
                self.sessions_max
            );
            return Err(Error::new(Code::TooManyRequests, message).into());
        }
        bound!(
            "INSERT INTO upload (uuid, project_id, repo, actor, algorithm, data_key, received, \
             hash_state, written, created_ms, seen_ms) \
             VALUES ($1, $2, $3, $4, $5, $6, 0, $7, $8, $9, $9)",
            upload.uuid.as_str(),
            project,
            upload.repo.as_str(),
            self.who.name.as_str(),
            upload.algorithm.name(),
            upload.data_key.as_str(),
            upload.hash_state.clone(),
            upload.written.as_str(),
            tx.now_ms,
        )
        .execute(&mut *tx.conn)
        .await?;
        Ok(quota::of(tx, project).await?)
    }
}

/// Writes down how far an upload has come.
pub(crate) struct Extend {
    pub(crate) uuid: String,
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
            "UPDATE upload SET received = $1, hash_state = $2, written = $3, seen_ms = $4 \
             WHERE uuid = $5 AND received = $6 RETURNING project_id",
            signed(self.received),
            self.hash_state.clone(),
            self.written.as_str(),
            tx.now_ms,
            self.uuid.as_str(),
            signed(self.received_before),
        );
        let Some(row) = extended.fetch_optional(&mut *tx.conn).await? else {
            return Err(unknown(&self.uuid).into());
        };
        let came = self.received.saturating_sub(self.received_before);
        if self.is_bounded && came > 0 {
            quota::check_upload(tx, first(&row)?, came).await?;
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
}

#[async_trait]
impl Change for Cancel {
    type Out = ();
    const NAME: &'static str = "cancel_upload";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        let taken = bound!(
            "DELETE FROM upload WHERE uuid = $1 AND repo = $2 RETURNING data_key, written, received",
            self.uuid.as_str(),
            self.repo.as_str(),
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
        let taken = bound!("DELETE FROM upload WHERE uuid = $1", self.uuid.as_str());
        if taken.execute(&mut *tx.conn).await?.rows_affected() == 0 {
            return Err(unknown(&self.uuid).into());
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
