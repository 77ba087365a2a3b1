//! Groups of accounts. What role a group has in a project, all of its accounts have.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use sqlx::Row;

use super::Meta;
use super::administer::{Time, time};
use super::cache::Touched;
use super::change::{Change, Tx, bound, first};
use super::error::Failure;
use super::listing::{Column, Kind, Listed, Listing, Source};
use super::member::{ROLES_OF_GROUP, roles};
use super::outbox::{Event, tell};
use super::revocation::{Subject, revoke, revoke_group};
use crate::error::{Code, Error};
use crate::who::Who;

/// Groups that there can be, and accounts of one.
const GROUPS_MAX: i64 = 10_000;
const ACCOUNTS_MAX: i64 = 10_000;

/// A group.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "UserGroup")]
pub(crate) struct Group {
    pub(crate) id: i64,
    #[serde(rename = "group_name")]
    pub(crate) name: String,
    /// What its maker called it; it makes no difference.
    #[serde(rename = "group_type")]
    pub(crate) kind: i64,
    pub(crate) creation_time: Time,
}

fn group(row: &sqlx::any::AnyRow) -> Result<Group, sqlx::Error> {
    Ok(Group {
        id: row.try_get(0)?,
        name: row.try_get(1)?,
        creation_time: time(row.try_get(2)?),
        kind: row.try_get(3)?,
    })
}

fn unknown() -> Error {
    Error::new(Code::NameUnknown, "there is no such group")
}

fn taken(name: &str) -> Error {
    Error::new(Code::Conflict, format!("there is a group {name} already"))
}

const GROUPS: Source = Source {
    columns: "g.id, g.name, g.created_ms, g.kind",
    from: "FROM user_group g WHERE 1 = 1",
    order: "g.name",
};

/// The names of a group's accounts.
const ACCOUNTS: &str = "SELECT a.name FROM group_account g JOIN account a ON a.id = g.account_id \
     WHERE g.group_id = $1 ORDER BY a.name";

/// What groups can be filtered by.
pub(crate) const GROUP_COLUMNS: &[Column] = &[
    Column::new("group_name", Kind::Text, "g.name"),
    Column::new("id", Kind::Number, "g.id"),
    Column::new("creation_time", Kind::Moment, "g.created_ms"),
];

impl Meta {
    /// Groups.
    pub(crate) async fn groups(&self, listing: &Listing) -> Result<Listed<Group>, Error> {
        self.list(&GROUPS, Vec::new(), listing, group).await
    }

    /// A group by its number.
    pub(crate) async fn group(&self, id: i64) -> Result<Group, Error> {
        let sql = "SELECT id, name, created_ms, kind FROM user_group WHERE id = $1";
        let found = self.row(bound!(sql, id), group).await?;
        found.ok_or_else(unknown)
    }

    /// The names of a group's accounts.
    pub(crate) async fn group_accounts(&self, id: i64) -> Result<Vec<String>, Error> {
        self.rows(bound!(ACCOUNTS, id), |row| row.try_get(0)).await
    }
}

/// Makes a group.
pub(crate) struct CreateGroup {
    pub(crate) who: Who,
    pub(crate) name: String,
    pub(crate) kind: i64,
}

#[async_trait]
impl Change for CreateGroup {
    type Out = i64;
    const NAME: &'static str = "create_group";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<i64, Failure> {
        let count = bound!("SELECT COUNT(*) FROM user_group");
        if first(&count.fetch_one(&mut *tx.conn).await?)? >= GROUPS_MAX {
            let message = format!("there can be at most {GROUPS_MAX} groups");
            return Err(Error::new(Code::Conflict, message).into());
        }
        let made = bound!(
            "INSERT INTO user_group (name, created_ms, kind) VALUES ($1, $2, $3) \
             ON CONFLICT (name) DO NOTHING RETURNING id",
            self.name.as_str(),
            tx.now_ms,
            self.kind,
        );
        let Some(row) = made.fetch_optional(&mut *tx.conn).await? else {
            return Err(taken(&self.name).into());
        };
        let event = Event::new("create_group", "group", &self.name);
        tell(tx, &self.who, &event).await?;
        Ok(first(&row)?)
    }
}

/// Gives a group another name.
pub(crate) struct RenameGroup {
    pub(crate) who: Who,
    pub(crate) id: i64,
    pub(crate) name: String,
}

#[async_trait]
impl Change for RenameGroup {
    type Out = ();
    const NAME: &'static str = "rename_group";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        let found = bound!("SELECT name FROM user_group WHERE id = $1", self.id);
        let found = found.fetch_optional(&mut *tx.conn).await?;
        let before: String = found.ok_or_else(unknown)?.try_get(0)?;
        let other = bound!(
            "SELECT COUNT(*) FROM user_group WHERE name = $1 AND id <> $2",
            self.name.as_str(),
            self.id,
        );
        if first(&other.fetch_one(&mut *tx.conn).await?)? > 0 {
            return Err(taken(&self.name).into());
        }
        let rename = bound!(
            "UPDATE user_group SET name = $1 WHERE id = $2",
            self.name.as_str(),
            self.id,
        );
        rename.execute(&mut *tx.conn).await?;
        let event = Event::new("update_group", "group", &self.name);
        let event = event.changed(
            json!({"group_name": before}),
            json!({"group_name": self.name}),
        );
        Ok(tell(tx, &self.who, &event).await?)
    }
}

/// Removes a group, and with it its roles.
pub(crate) struct DeleteGroup {
    pub(crate) who: Who,
    pub(crate) id: i64,
}

#[async_trait]
impl Change for DeleteGroup {
    type Out = ();
    const NAME: &'static str = "delete_group";

    fn touches(&self, _out: &Self::Out) -> Touched<'_> {
        Touched::People
    }

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        revoke_group(tx, self.id).await?;
        let roles = roles(tx, ROLES_OF_GROUP, self.id).await?;
        let accounts = bound!(ACCOUNTS, self.id).fetch_all(&mut *tx.conn).await?;
        let accounts = accounts.iter().map(|row| row.try_get::<String, _>(0));
        let accounts: Vec<String> = accounts.collect::<Result<_, _>>()?;
        let sql = "DELETE FROM user_group WHERE id = $1 RETURNING name";
        let gone = bound!(sql, self.id).fetch_optional(&mut *tx.conn).await?;
        let name: String = gone.ok_or_else(unknown)?.try_get(0)?;
        let event = Event::new("delete_group", "group", &name);
        let event = event.changed(json!({"roles": roles, "accounts": accounts}), ());
        Ok(tell(tx, &self.who, &event).await?)
    }
}

/// Puts an account into a group, or takes it out.
pub(crate) struct SetGroupAccount {
    pub(crate) who: Who,
    pub(crate) group: Group,
    pub(crate) account: String,
    /// Whether it is to be in it.
    pub(crate) is_in: bool,
}

#[async_trait]
impl Change for SetGroupAccount {
    type Out = ();
    const NAME: &'static str = "set_group_account";

    fn touches(&self, _out: &Self::Out) -> Touched<'_> {
        Touched::People
    }

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        let sql = "SELECT id FROM account WHERE name = $1";
        let found = bound!(sql, self.account.as_str());
        let Some(row) = found.fetch_optional(&mut *tx.conn).await? else {
            let message = format!("there is no account {}", self.account);
            return Err(Error::new(Code::NameUnknown, message).into());
        };
        let account = first(&row)?;
        let event = match self.is_in {
            true => {
                self.put(tx, account).await?;
                "add_group_member"
            }
            false => {
                let sql = "DELETE FROM group_account WHERE group_id = $1 AND account_id = $2";
                let taken = bound!(sql, self.group.id, account);
                if taken.execute(&mut *tx.conn).await?.rows_affected() == 0 {
                    let message = format!("{} is not in {}", self.account, self.group.name);
                    return Err(Error::new(Code::NameUnknown, message).into());
                }
                revoke(tx, Subject::Account(&self.account)).await?;
                "remove_group_member"
            }
        };
        let event = Event {
            reference: Some(self.account.clone()),
            ..Event::new(event, "group", &self.group.name)
        };
        Ok(tell(tx, &self.who, &event).await?)
    }
}

impl SetGroupAccount {
    async fn put(&self, tx: &mut Tx<'_>, account: i64) -> Result<(), Failure> {
        let sql = "SELECT COUNT(*) FROM group_account WHERE group_id = $1";
        let count = bound!(sql, self.group.id).fetch_one(&mut *tx.conn).await?;
        if first(&count)? >= ACCOUNTS_MAX {
            let message = format!("a group has at most {ACCOUNTS_MAX} accounts");
            return Err(Error::new(Code::Conflict, message).into());
        }
        // The group may have gone since it was read.
        bound!(
            "INSERT INTO group_account (group_id, account_id) \
             SELECT id, $2 FROM user_group WHERE id = $1 \
             ON CONFLICT (group_id, account_id) DO NOTHING",
            self.group.id,
            account,
        )
        .execute(&mut *tx.conn)
        .await?;
        Ok(())
    }
}
