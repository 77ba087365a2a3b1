//! Lists of names, by pages, each a range of an index.

use sqlx::{AssertSqlSafe, Row};

use super::Meta;
use super::batch::places;
use super::change::bound;
use super::search::visible;
use crate::digest::Digest;
use crate::error::Error;
use crate::name::RepoName;

/// The repositories that somebody may pull from, and their projects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    All,
    /// Those of public projects, and of projects where the account has a role.
    Account(i64),
    /// Those of public projects, and of these.
    Projects(Vec<String>),
    /// These.
    Repos(Vec<String>),
}

/// That a column is one of so many names, bound after three other values.
fn within(column: &str, count: usize) -> String {
    match count {
        0 => "1 = 0".to_owned(),
        count => format!("{column} IN ({})", places(3, count, 1)),
    }
}

impl Reach {
    /// What is bound second in a statement, what is bound from the fourth on, and the condition on its
    /// project `p` and its repository `r`.
    pub(super) fn condition(&self) -> (i64, &[String], String) {
        match self {
            Self::All => (-1, &[], visible!("$2").to_owned()),
            Self::Account(id) => (*id, &[], visible!("$2").to_owned()),
            Self::Projects(names) => {
                let named = within("p.name", names.len());
                (0, names, format!("({} OR {named})", visible!("$2")))
            }
            Self::Repos(names) => {
                // Every value has to be in the statement.
                let condition = format!("$2 = 0 AND {}", within("r.name", names.len()));
                (0, names, condition)
            }
        }
    }
}

impl Meta {
    /// Whether there is such a repository.
    pub(crate) async fn has_repo(&self, repo: &RepoName) -> Result<bool, Error> {
        let found = bound!("SELECT 1 FROM repo WHERE name = $1", repo.as_str());
        Ok(self.row(found, |_| Ok(())).await?.is_some())
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

    /// At most `limit` repositories within reach that follow `last`, in order.
    pub(crate) async fn repos(
        &self,
        reach: &Reach,
        last: &str,
        limit: u32,
    ) -> Result<Vec<String>, Error> {
        let (viewer, names, condition) = reach.condition();
        let sql = format!(
            "SELECT r.name FROM repo r JOIN project p ON p.id = r.project_id \
             WHERE r.name > $1 AND {condition} ORDER BY r.name LIMIT $3"
        );
        let query = bound!(AssertSqlSafe(sql), last, viewer, i64::from(limit));
        let query = names.iter().fold(query, sqlx::query::Query::bind);
        // Who may see few of many has all looked at.
        self.long_rows(query, |row| row.try_get(0)).await
    }

    /// At most `limit` repositories within reach that have a blob.
    pub(crate) async fn repos_with(
        &self,
        digest: &Digest,
        reach: &Reach,
        limit: u32,
    ) -> Result<Vec<RepoName>, Error> {
        let (viewer, names, condition) = reach.condition();
        let sql = format!(
            "SELECT r.name FROM blob b JOIN repo_blob l ON l.blob_id = b.id \
             JOIN repo r ON r.id = l.repo_id JOIN project p ON p.id = r.project_id \
             WHERE b.digest = $1 AND {condition} ORDER BY l.id LIMIT $3"
        );
        let query = bound!(
            AssertSqlSafe(sql),
            digest.as_str(),
            viewer,
            i64::from(limit)
        );
        let query = names.iter().fold(query, sqlx::query::Query::bind);
        let found = self.names(query).await?;
        found.iter().map(|name| RepoName::parse(name)).collect()
    }

    /// At most `limit` repositories of a repository's project that have a blob.
    pub(crate) async fn neighbours_with(
        &self,
        repo: &RepoName,
        digest: &Digest,
        limit: u32,
    ) -> Result<Vec<RepoName>, Error> {
        let sql = "SELECT r.name FROM blob b JOIN repo_blob l ON l.blob_id = b.id \
             JOIN repo r ON r.id = l.repo_id JOIN project p ON p.id = l.project_id \
             WHERE b.digest = $1 AND p.name = $2 ORDER BY l.id LIMIT $3";
        let found = bound!(sql, digest.as_str(), repo.project(), i64::from(limit));
        let found = self.names(found).await?;
        found.iter().map(|name| RepoName::parse(name)).collect()
    }

    async fn names(
        &self,
        query: sqlx::query::Query<'_, sqlx::Any, sqlx::any::AnyArguments>,
    ) -> Result<Vec<String>, Error> {
        self.rows(query, |row| row.try_get(0)).await
    }
}
