//! Who has which role in a project.

use std::collections::BTreeMap;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::Meta;
use super::administer::project_id;
use super::cache::Touched;
use super::change::{Change, Tx, bound};
use super::error::Failure;
use super::outbox::{Event, tell};
use super::revocation::{Subject, revoke, revoke_group};
use crate::auth::Role;
use crate::error::{Code, Error};
use crate::who::Who;

/// A member of a project.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "ProjectMemberEntity")]
pub(crate) struct Member {
    /// Its number: twice that of the account, or one more than twice that of the group.
    pub(crate) id: i64,
    pub(crate) project_id: i64,
    /// The number of the account or of the group.
    pub(crate) entity_id: i64,
    #[serde(rename = "entity_name")]
    pub(crate) name: String,
    /// `u` for an account, `g` for a group.
    #[schemars(extend("enum" = ["u", "g"]))]
    pub(crate) entity_type: String,
    pub(crate) role_name: Role,
    pub(crate) role_id: i64,
}

const MEMBERS: &str = "SELECT m.project_id, a.id, a.name, m.role, 'u' FROM member m \
     JOIN account a ON a.id = m.account_id WHERE m.project_id = $1 \
     UNION ALL SELECT m.project_id, g.id, g.name, m.role, 'g' FROM member_group m \
     JOIN user_group g ON g.id = m.group_id WHERE m.project_id = $1 ORDER BY 5 DESC, 3";

fn member(row: &AnyRow) -> Result<Member, sqlx::Error> {
    let (entity_id, entity_type): (i64, String) = (row.try_get(1)?, row.try_get(4)?);
    let role: String = row.try_get(3)?;
    let role = Role::parse(&role).unwrap_or(Role::LimitedGuest);
    Ok(Member {
        id: number(entity_id, entity_type == "g"),
        project_id: row.try_get(0)?,
        entity_id,
        name: row.try_get(2)?,
        role_name: role,
        role_id: role.number(),
        entity_type,
    })
}

/// The number of a member.
fn number(entity: i64, is_group: bool) -> i64 {
    entity.saturating_mul(2).saturating_add(i64::from(is_group))
}

impl Meta {
    /// The members of a project.
    pub(crate) async fn members(&self, project: i64) -> Result<Vec<Member>, Error> {
        self.rows(bound!(MEMBERS, project), member).await
    }
}

/// Who can have a role in a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    Account(String),
    Group(String),
    /// Who is a member already, by its number.
    Member(i64),
    /// By the number of the account or of the group.
    AccountNumber(i64),
    GroupNumber(i64),
}

/// What the names of groups begin with where those of accounts may be too.
const GROUP_PREFIX: &str = "group:";
/// What names of accounts may begin with where numbers of members may be too.
const ACCOUNT_PREFIX: &str = "user:";

impl Holder {
    /// Reads `ann` or `group:team`.
    pub(crate) fn parse(text: &str) -> Self {
        match text.strip_prefix(GROUP_PREFIX) {
            Some(name) => Self::Group(name.to_owned()),
            None => Self::Account(text.to_owned()),
        }
    }

    /// The same, or the number of a member. An account whose name is a number is `user:7`.
    pub(crate) fn parse_member(text: &str) -> Self {
        match (text.parse(), text.strip_prefix(ACCOUNT_PREFIX)) {
            (Ok(number), _) if number >= 0 => Self::Member(number),
            (_, Some(name)) => Self::Account(name.to_owned()),
            _ => Self::parse(text),
        }
    }

    /// Whether it is a group, and which number or name it has.
    fn named(&self) -> (bool, i64, &str) {
        match self {
            Self::Account(name) => (false, 0, name),
            Self::Group(name) => (true, 0, name),
            Self::Member(number) => (number % 2 == 1, number / 2, ""),
            Self::AccountNumber(number) => (false, *number, ""),
            Self::GroupNumber(number) => (true, *number, ""),
        }
    }

    fn unknown(&self) -> Error {
        let message = match self {
            Self::Account(name) => format!("there is no account {name}"),
            Self::Group(name) => format!("there is no group {name}"),
            Self::Member(number) => format!("there is no member with the number {number}"),
            Self::AccountNumber(number) => {
                format!("there is no account with the number {number}")
            }
            Self::GroupNumber(number) => format!("there is no group with the number {number}"),
        };
        Error::new(Code::NameUnknown, message)
    }
}

pub(super) const PUT_ACCOUNT: &str = "INSERT INTO member (project_id, account_id, role) \
     VALUES ($1, $2, $3) ON CONFLICT (project_id, account_id) DO UPDATE SET role = excluded.role";
const PUT_GROUP: &str = "INSERT INTO member_group (project_id, group_id, role) \
     VALUES ($1, $2, $3) ON CONFLICT (project_id, group_id) DO UPDATE SET role = excluded.role";

/// Statements about who can have a role: finding it, and reading, changing and taking the role that it
/// has.
struct Statements {
    find: &'static str,
    read: &'static str,
    put: &'static str,
    change: &'static str,
    take: &'static str,
}

const OF_ACCOUNT: Statements = Statements {
    find: "SELECT id, name FROM account WHERE id = $1 OR name = $2",
    read: "SELECT role FROM member WHERE project_id = $1 AND account_id = $2",
    put: PUT_ACCOUNT,
    change: "UPDATE member SET role = $3 WHERE project_id = $1 AND account_id = $2",
    take: "DELETE FROM member WHERE project_id = $1 AND account_id = $2",
};
const OF_GROUP: Statements = Statements {
    find: "SELECT id, name FROM user_group WHERE id = $1 OR name = $2",
    read: "SELECT role FROM member_group WHERE project_id = $1 AND group_id = $2",
    put: PUT_GROUP,
    change: "UPDATE member_group SET role = $3 WHERE project_id = $1 AND group_id = $2",
    take: "DELETE FROM member_group WHERE project_id = $1 AND group_id = $2",
};

pub(super) const ROLES_OF_ACCOUNT: &str = "SELECT p.name, m.role FROM member m \
     JOIN project p ON p.id = m.project_id WHERE m.account_id = $1";
pub(super) const ROLES_OF_GROUP: &str = "SELECT p.name, m.role FROM member_group m \
     JOIN project p ON p.id = m.project_id WHERE m.group_id = $1";

/// The roles of an account or a group, by project.
pub(super) async fn roles(
    tx: &mut Tx<'_>,
    sql: &'static str,
    holder: i64,
) -> Result<BTreeMap<String, String>, sqlx::Error> {
    let rows = bound!(sql, holder).fetch_all(&mut *tx.conn).await?;
    let role = |row: &AnyRow| Ok((row.try_get(0)?, row.try_get(1)?));
    rows.iter().map(role).collect()
}

/// Gives an account or a group a role.
pub(super) async fn put(
    tx: &mut Tx<'_>,
    put: &'static str,
    project: i64,
    holder: i64,
    role: Role,
) -> Result<u64, sqlx::Error> {
    let done = bound!(put, project, holder, role.name())
        .execute(&mut *tx.conn)
        .await?;
    Ok(done.rows_affected())
}

/// Gives an account or a group a role in a project, or takes it.
pub(crate) struct SetMember {
    pub(crate) who: Who,
    pub(crate) project: String,
    pub(crate) holder: Holder,
    pub(crate) role: Option<Role>,
}

#[async_trait]
impl Change for SetMember {
    /// The number of the member.
    type Out = i64;
    const NAME: &'static str = "set_member";

    fn touches(&self, _out: &Self::Out) -> Touched<'_> {
        Touched::People
    }

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<i64, Failure> {
        let project = project_id(tx, &self.project).await?;
        let (is_group, number_of, name) = self.holder.named();
        let statements = if is_group { OF_GROUP } else { OF_ACCOUNT };
        let found = bound!(statements.find, number_of, name);
        let Some(row) = found.fetch_optional(&mut *tx.conn).await? else {
            return Err(self.holder.unknown().into());
        };
        let (holder, name): (i64, String) = (row.try_get(0)?, row.try_get(1)?);
        let shown = if is_group {
            format!("{GROUP_PREFIX}{name}")
        } else {
            name.clone()
        };
        let before = bound!(statements.read, project, holder);
        let before = before.fetch_optional(&mut *tx.conn).await?;
        let before: Option<String> = before.map(|row| row.try_get(0)).transpose()?;
        let (event, changed) = match self.role {
            Some(role) => {
                let is_member = matches!(self.holder, Holder::Member(_));
                let sql = if is_member {
                    statements.change
                } else {
                    statements.put
                };
                ("update_member", put(tx, sql, project, holder, role).await?)
            }
            None => {
                let taken = bound!(statements.take, project, holder);
                let taken = taken.execute(&mut *tx.conn).await?;
                ("delete_member", taken.rows_affected())
            }
        };
        if changed == 0 {
            let message = format!("{shown} is no member of {}", self.project);
            return Err(Error::new(Code::NameUnknown, message).into());
        }
        if self.role < before.as_deref().and_then(Role::parse) {
            match is_group {
                true => revoke_group(tx, holder).await?,
                false => revoke(tx, Subject::Account(&name)).await?,
            }
        }
        let after = self.role.map(Role::name);
        let event = Event {
            reference: after.map(str::to_owned),
            ..Event::new(event, "member", &shown).in_project(&self.project)
        };
        let event = event.changed(json!({"role": before}), json!({"role": after}));
        tell(tx, &self.who, &event).await?;
        Ok(number(holder, is_group))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_known_by_number_or_by_name() {
        for (text, holder) in [
            ("ann", Holder::Account("ann".to_owned())),
            ("user:7", Holder::Account("7".to_owned())),
            ("group:devs", Holder::Group("devs".to_owned())),
            ("group:7", Holder::Group("7".to_owned())),
            ("7", Holder::Member(7)),
            ("-7", Holder::Account("-7".to_owned())),
        ] {
            assert_eq!(Holder::parse_member(text), holder, "{text}");
        }
        assert_eq!(Holder::Member(number(3, false)).named(), (false, 3, ""));
        assert_eq!(Holder::Member(number(3, true)).named(), (true, 3, ""));
    }
}
