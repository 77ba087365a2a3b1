//! Blobs as repositories see them.

use async_trait::async_trait;
use bytes::Bytes;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::Meta;
use super::cache::Touched;
use super::change::{Change, Tx, bound};
use super::error::Failure;
use super::link;
use super::outbox::{Event, tell};
use super::project::{find_repo, forget_empty_repo};
use crate::digest::Digest;
use crate::error::{Code, Error};
use crate::name::RepoName;
use crate::who::Who;

/// A blob that a repository has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlobRow {
    /// The repository's link to it.
    pub(crate) link_id: i64,
    /// Bytes.
    pub(crate) size: u64,
    /// Where its bytes are.
    pub(crate) data_key: String,
    /// Whether they were found not to be what the digest says.
    pub(crate) is_damaged: bool,
    /// The bytes themselves, if they are in the database.
    pub(crate) small: Option<Bytes>,
}

fn blob_row(row: &AnyRow) -> Result<BlobRow, sqlx::Error> {
    Ok(BlobRow {
        link_id: row.try_get(0)?,
        size: row.try_get::<i64, _>(1)?.unsigned_abs(),
        data_key: row.try_get(2)?,
        is_damaged: row.try_get::<Option<i64>, _>(3)?.is_some(),
        small: row.try_get::<Option<Vec<u8>>, _>(4)?.map(Bytes::from),
    })
}

const BLOB: &str = "SELECT l.id, b.size, b.data_key, b.damaged_ms, s.bytes FROM blob b \
     JOIN repo_blob l ON l.blob_id = b.id JOIN repo r ON r.id = l.repo_id \
     LEFT JOIN small_data s ON s.data_key = b.data_key \
     WHERE b.digest = $1 AND r.name = $2";

impl Meta {
    /// A blob of a repository.
    pub(crate) async fn blob(
        &self,
        repo: &RepoName,
        digest: &Digest,
    ) -> Result<Option<BlobRow>, Error> {
        let (name, number) = (format!("{repo}@{digest}"), self.changes.of_repo(repo));
        if let Some(kept) = self.shelves.blobs.get(&name, number) {
            return Ok(Some(kept));
        }
        let read = self.read_blob(repo, digest).await?;
        if let Some(blob) = &read {
            self.shelves.blobs.keep(name, number, blob);
        }
        Ok(read)
    }

    async fn read_blob(&self, repo: &RepoName, digest: &Digest) -> Result<Option<BlobRow>, Error> {
        let found = bound!(BLOB, digest.as_str(), repo.as_str());
        self.row(found, blob_row).await
    }
}

/// What the client is told of a blob that is not there.
pub(crate) fn unknown(repo: &RepoName, digest: &Digest) -> Error {
    Error::new(Code::BlobUnknown, format!("{repo} has no blob {digest}"))
        .with_detail("digest", digest.as_str())
}

/// Takes a blob from a repository. Its bytes go when no other has it.
pub(crate) struct DeleteLink {
    pub(crate) repo: RepoName,
    pub(crate) digest: Digest,
    pub(crate) who: Who,
}

#[async_trait]
impl Change for DeleteLink {
    type Out = ();
    const NAME: &'static str = "delete_blob";

    fn touches(&self, _out: &Self::Out) -> Touched<'_> {
        Touched::Repo(&self.repo)
    }

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        let Some(repo) = find_repo(tx, &self.repo).await? else {
            return Err(unknown(&self.repo, &self.digest).into());
        };
        let found = bound!(BLOB, self.digest.as_str(), self.repo.as_str());
        let Some(row) = found.fetch_optional(&mut *tx.conn).await? else {
            return Err(unknown(&self.repo, &self.digest).into());
        };
        let blob = blob_row(&row)?;
        if let Some(user) = link::user(tx, blob.link_id).await? {
            let message = format!(
                "manifest {user} of {} needs this blob; delete the manifest first",
                self.repo
            );
            return Err(Error::new(Code::Denied, message)
                .with_status(http::StatusCode::METHOD_NOT_ALLOWED)
                .with_detail("manifest", user)
                .into());
        }
        link::remove(tx, blob.link_id).await?;
        let event = Event {
            digest: Some(self.digest.as_str().to_owned()),
            ..Event::new("delete_blob", "blob", self.digest.as_str()).in_repo(&self.repo)
        };
        tell(tx, &self.who, &event).await?;
        forget_empty_repo(tx, &self.who, repo.repo).await
    }
}
