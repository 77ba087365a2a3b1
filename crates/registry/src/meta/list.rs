//! Lists of names, by pages, each a range of an index.

use sqlx::Row;

use super::Meta;
use super::change::bound;
use super::error::unavailable;
use crate::digest::Digest;
use crate::error::Error;
use crate::name::RepoName;

impl Meta {
    /// Whether there is such a repository.
    pub(crate) async fn has_repo(&self, repo: &RepoName) -> Result<bool, Error> {
        let mut connection = self.read().await?;
        let found = bound!("SELECT 1 FROM repo WHERE name = $1", repo.as_str());
        let row = found.fetch_optional(&mut *connection).await;
        row.map(|row| row.is_some())
            .map_err(|error| unavailable(&error))
    }

    /// At most `limit` tags of a repository that follow `last`, in order.
    pub(crate) async fn tags(
        &self,
        repo: &RepoName,
        last: &str,
        limit: u32,
    ) -> Result<Vec<String>, Error> {
        let sql = "SELECT t.name FROM tag t \
             WHERE t.repo_id = (SELECT id FROM repo WHERE name = $1) AND t.name > $2 \
             ORDER BY t.name LIMIT $3";
        let found = bound!(sql, repo.as_str(), last, i64::from(limit));
        self.names(found).await
    }

    /// At most `limit` repositories that follow `last`, in order.
    pub(crate) async fn repos(&self, last: &str, limit: u32) -> Result<Vec<String>, Error> {
        let sql = "SELECT name FROM repo WHERE name > $1 ORDER BY name LIMIT $2";
        self.names(bound!(sql, last, i64::from(limit))).await
    }

    /// At most `limit` repositories that have a blob.
    pub(crate) async fn repos_with(
        &self,
        digest: &Digest,
        limit: u32,
    ) -> Result<Vec<RepoName>, Error> {
        let sql = "SELECT r.name FROM blob b JOIN repo_blob l ON l.blob_id = b.id \
             JOIN repo r ON r.id = l.repo_id WHERE b.digest = $1 ORDER BY l.id LIMIT $2";
        let names = self
            .names(bound!(sql, digest.as_str(), i64::from(limit)))
            .await?;
        names.iter().map(|name| RepoName::parse(name)).collect()
    }

    async fn names(
        &self,
        query: sqlx::query::Query<'_, sqlx::Any, sqlx::any::AnyArguments>,
    ) -> Result<Vec<String>, Error> {
        let mut connection = self.read().await?;
        let rows = query.fetch_all(&mut *connection).await;
        rows.and_then(|rows| rows.iter().map(|row| row.try_get(0)).collect())
            .map_err(|error| unavailable(&error))
    }
}
