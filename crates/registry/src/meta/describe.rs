//! What people say of a repository.

use async_trait::async_trait;
use serde_json::json;
use sqlx::Row;

use super::change::{Change, Tx, bound};
use super::content::unknown_repo;
use super::error::Failure;
use super::outbox::{Event, tell};
use crate::name::RepoName;
use crate::who::Who;

/// Says something of a repository.
pub(crate) struct DescribeRepo {
    pub(crate) who: Who,
    pub(crate) repo: RepoName,
    pub(crate) description: String,
}

#[async_trait]
impl Change for DescribeRepo {
    type Out = ();
    const NAME: &'static str = "describe_repository";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        let sql = "SELECT id, description FROM repo WHERE name = $1";
        let found = bound!(sql, self.repo.as_str());
        let Some(row) = found.fetch_optional(&mut *tx.conn).await? else {
            return Err(unknown_repo(&self.repo).into());
        };
        let (id, before): (i64, String) = (row.try_get(0)?, row.try_get(1)?);
        let sql = "UPDATE repo SET description = $1 WHERE id = $2";
        bound!(sql, self.description.as_str(), id)
            .execute(&mut *tx.conn)
            .await?;
        let told = |description: &str| json!({"description": description});
        let event = Event::new("update_repository", "repository", self.repo.as_str());
        let event = event.changed(told(&before), told(&self.description));
        Ok(tell(tx, &self.who, &event.in_repo(&self.repo)).await?)
    }
}
