//! Accounts of people, and robots.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::json;
use sqlx::Row;

use super::Meta;
use super::change::{Change, Tx, bound, first};
use super::error::Failure;
use super::outbox::{Event, tell};
use super::robots::Profile;
use crate::auth::{Permission, Role, Said};
use crate::error::{Code, Error};
use crate::who::Who;

/// An account.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) password: String,
    pub(crate) is_admin: bool,
    pub(crate) is_disabled: bool,
}

/// A robot.
#[derive(Clone, Debug)]
pub(crate) struct Robot {
    pub(crate) name: String,
    pub(crate) secret: String,
    pub(crate) permissions: Vec<Permission>,
    pub(crate) is_disabled: bool,
    pub(crate) expires_ms: Option<i64>,
}

/// How an account stands to a project.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Whether everybody may pull.
    pub(crate) is_public: bool,
    pub(crate) role: Option<Role>,
}

impl Meta {
    /// An account by its name.
    pub(crate) async fn account(&self, name: &str) -> Result<Option<Account>, Error> {
        let number = self.changes.of_people();
        if let Some(kept) = self.shelves.accounts.get(name, number) {
            return Ok(Some(kept));
        }
        let read = self.read_account(name).await?;
        if let Some(account) = &read {
            self.shelves.accounts.keep(name.to_owned(), number, account);
        }
        Ok(read)
    }

    async fn read_account(&self, name: &str) -> Result<Option<Account>, Error> {
        let found = bound!(
            "SELECT id, name, password, admin, disabled FROM account WHERE name = $1",
            name,
        );
        let account = |row: &sqlx::any::AnyRow| {
            Ok(Account {
                id: row.try_get(0)?,
                name: row.try_get(1)?,
                password: row.try_get(2)?,
                is_admin: row.try_get::<i64, _>(3)? != 0,
                is_disabled: row.try_get::<i64, _>(4)? != 0,
            })
        };
        self.row(found, account).await
    }

    /// Whether there is an administrator.
    pub(crate) async fn has_admin(&self) -> Result<bool, Error> {
        let found = bound!("SELECT 1 FROM account WHERE admin = 1 LIMIT 1");
        Ok(self.row(found, |_| Ok(())).await?.is_some())
    }

    /// How many projects everybody may pull from.
    pub(crate) async fn public_projects(&self) -> Result<i64, Error> {
        let counted = bound!("SELECT COUNT(*) FROM project WHERE public = 1");
        Ok(self.row(counted, first).await?.unwrap_or_default())
    }

    /// A robot by its name.
    pub(crate) async fn robot(&self, name: &str) -> Result<Option<Robot>, Error> {
        let number = self.changes.of_people();
        if let Some(kept) = self.shelves.robots.get(name, number) {
            return Ok(Some(kept));
        }
        let read = self.read_robot(name).await?;
        if let Some(robot) = &read {
            self.shelves.robots.keep(name.to_owned(), number, robot);
        }
        Ok(read)
    }

    async fn read_robot(&self, name: &str) -> Result<Option<Robot>, Error> {
        let found = bound!(
            "SELECT name, secret, permissions, disabled, expires_ms, access FROM robot \
             WHERE name = $1",
            name,
        );
        let robot = |row: &sqlx::any::AnyRow| {
            Ok(Robot {
                name: row.try_get(0)?,
                secret: row.try_get(1)?,
                permissions: permissions(row.try_get(2)?, row.try_get(5)?),
                is_disabled: row.try_get::<i64, _>(3)? != 0,
                expires_ms: row.try_get(4)?,
            })
        };
        self.row(found, robot).await
    }

    /// How an account, or nobody, stands to a project. A project that is not there is private.
    pub(crate) async fn standing(
        &self,
        account: Option<i64>,
        project: &str,
    ) -> Result<Standing, Error> {
        let name = format!("{}@{project}", account.unwrap_or(0));
        let number = self.changes.of_people();
        if let Some(kept) = self.shelves.standings.get(&name, number) {
            return Ok(kept);
        }
        let read = self.read_standing(account, project).await?;
        if let Some(standing) = &read {
            self.shelves.standings.keep(name, number, standing);
        }
        Ok(read.unwrap_or_default())
    }

    async fn read_standing(
        &self,
        account: Option<i64>,
        project: &str,
    ) -> Result<Option<Standing>, Error> {
        // Its own role, and those of its groups.
        let sql = "SELECT p.public, m.role FROM project p LEFT JOIN (\
             SELECT project_id, role FROM member WHERE account_id = $1 \
             UNION ALL SELECT g.project_id, g.role FROM member_group g \
             JOIN group_account a ON a.group_id = g.group_id WHERE a.account_id = $1\
             ) m ON m.project_id = p.id WHERE p.name = $2";
        let standing = |row: &sqlx::any::AnyRow| {
            let role: Option<String> = row.try_get(1)?;
            Ok(Standing {
                is_public: row.try_get::<i64, _>(0)? != 0,
                role: role.as_deref().and_then(Role::parse),
            })
        };
        let found = bound!(sql, account.unwrap_or(0), project);
        let all = self.rows(found, standing).await?;
        Ok(all.into_iter().max_by_key(|standing| standing.role))
    }
}

/// What a robot may do, and how that was said, by project. What cannot be read allows nothing.
pub(super) fn permissions(json: &str, said: Option<&str>) -> Vec<Permission> {
    let mut permissions: Vec<Permission> = serde_json::from_str(json).unwrap_or_default();
    let said = said.and_then(|json| serde_json::from_str(json).ok());
    let mut said: BTreeMap<String, Vec<Said>> = said.unwrap_or_default();
    for permission in &mut permissions {
        permission.access = said.remove(&permission.project).unwrap_or_default();
    }
    permissions
}

/// Makes an account.
pub(crate) struct CreateAccount {
    pub(crate) who: Who,
    pub(crate) name: String,
    /// The hash.
    pub(crate) password: String,
    pub(crate) is_admin: bool,
    pub(crate) profile: Profile,
    /// Whether nothing is done if there is an administrator already.
    pub(crate) only_first_admin: bool,
}

#[async_trait]
impl Change for CreateAccount {
    /// Its id; none if nothing was done.
    type Out = Option<i64>;
    const NAME: &'static str = "create_account";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Option<i64>, Failure> {
        if self.only_first_admin {
            let admins = bound!("SELECT COUNT(*) FROM account WHERE admin = 1");
            if first(&admins.fetch_one(&mut *tx.conn).await?)? > 0 {
                return Ok(None);
            }
        }
        let alike = bound!(
            "SELECT name FROM account WHERE LOWER(name) = LOWER($1)",
            self.name.as_str(),
        );
        if let Some(row) = alike.fetch_optional(&mut *tx.conn).await? {
            let message = format!(
                "there is an account {} already",
                row.try_get::<String, _>(0)?
            );
            return Err(Error::new(Code::Conflict, message).into());
        }
        let made = bound!(
            "INSERT INTO account (name, password, admin, disabled, created_ms, email, realname, \
             comment) VALUES ($1, $2, $3, 0, $4, $5, $6, $7) RETURNING id",
            self.name.as_str(),
            self.password.as_str(),
            i64::from(self.is_admin),
            tx.now_ms,
            self.profile.email.as_str(),
            self.profile.realname.as_str(),
            self.profile.comment.as_str(),
        );
        let row = made.fetch_one(&mut *tx.conn).await?;
        let told = json!({"sysadmin_flag": self.is_admin, "email": self.profile.email});
        let event = Event::new("create_user", "user", &self.name).changed((), told);
        tell(tx, &self.who, &event).await?;
        Ok(Some(first(&row)?))
    }
}
