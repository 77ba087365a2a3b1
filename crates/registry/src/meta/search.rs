//! Names that have a part, of what somebody may see.

use schemars::JsonSchema;
use serde::Serialize;
use sqlx::{AssertSqlSafe, Row};

use super::Meta;
use super::change::bound;
use super::content::is_listed;
use super::list::Reach;
use crate::error::Error;

/// A project that was found.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "SearchProject")]
pub(crate) struct FoundProject {
    pub(crate) project_id: i64,
    pub(crate) name: String,
    pub(crate) public: bool,
}

/// A repository that was found.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "SearchRepository")]
pub(crate) struct FoundRepo {
    pub(crate) repository_name: String,
    pub(crate) project_id: i64,
    pub(crate) project_name: String,
    pub(crate) project_public: bool,
    pub(crate) artifact_count: i64,
    pub(crate) pull_count: i64,
}

/// That the viewer at a place of the statement may see the project `p`: everybody may, or it has a
/// role there, of its own or of a group. The viewer is an account's number; 0 is nobody in particular,
/// and -1 sees all.
macro_rules! visible {
    ($viewer:literal) => {
        concat!(
            "(p.public = 1 OR ",
            $viewer,
            " < 0 OR EXISTS (SELECT 1 FROM member m WHERE m.project_id = p.id AND m.account_id = ",
            $viewer,
            ") OR EXISTS (SELECT 1 FROM member_group g \
             JOIN group_account a ON a.group_id = g.group_id \
             WHERE g.project_id = p.id AND a.account_id = ",
            $viewer,
            "))"
        )
    };
}
pub(super) use visible;

/// What finds texts with this part. Names have no capitals.
pub(super) fn pattern(part: &str) -> String {
    let mut pattern = "%".to_owned();
    for letter in part.to_lowercase().chars() {
        if matches!(letter, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(letter);
    }
    pattern.push('%');
    pattern
}

impl Meta {
    /// Projects within reach with this part in their names.
    pub(crate) async fn search_projects(
        &self,
        part: &str,
        reach: &Reach,
        limit: i64,
    ) -> Result<Vec<FoundProject>, Error> {
        let project = |row: &sqlx::any::AnyRow| {
            Ok(FoundProject {
                project_id: row.try_get(0)?,
                name: row.try_get(1)?,
                public: row.try_get::<i64, _>(2)? != 0,
            })
        };
        let (viewer, names, condition) = reach.condition();
        let sql = format!(
            "SELECT p.id, p.name, p.public FROM project p \
             WHERE p.name LIKE $1 ESCAPE '!' AND {condition} ORDER BY p.name LIMIT $3"
        );
        let query = bound!(AssertSqlSafe(sql), pattern(part), viewer, limit);
        let query = names.iter().fold(query, sqlx::query::Query::bind);
        self.long_rows(query, project).await
    }

    /// Repositories within reach with this part in their names.
    pub(crate) async fn search_repos(
        &self,
        part: &str,
        reach: &Reach,
        limit: i64,
    ) -> Result<Vec<FoundRepo>, Error> {
        let repo = |row: &sqlx::any::AnyRow| {
            Ok(FoundRepo {
                repository_name: row.try_get(0)?,
                project_name: row.try_get(1)?,
                project_public: row.try_get::<i64, _>(2)? != 0,
                artifact_count: row.try_get(3)?,
                project_id: row.try_get(4)?,
                pull_count: row.try_get(5)?,
            })
        };
        let (viewer, names, condition) = reach.condition();
        let sql = format!(
            "SELECT r.name, p.name, p.public, \
             (SELECT COUNT(*) FROM manifest m WHERE m.repo_id = r.id AND {}), p.id, r.pulls \
             FROM repo r JOIN project p ON p.id = r.project_id \
             WHERE r.name LIKE $1 ESCAPE '!' AND {condition} ORDER BY r.name LIMIT $3",
            is_listed!("m")
        );
        let query = bound!(AssertSqlSafe(sql), pattern(part), viewer, limit);
        let query = names.iter().fold(query, sqlx::query::Query::bind);
        self.long_rows(query, repo).await
    }
}
