//! Robots and accounts, as who looks after them sees and changes them.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::Row;

use super::Meta;
use super::account::permissions;
use super::administer::{Time, project_id, time};
use super::cache::Touched;
use super::change::{Change, Tx, bound, first};
use super::diff::CHANGED;
use super::error::Failure;
use super::listing::{Column, Kind, Listed, Listing, Operand, Source};
use super::member::{self, roles};
use super::outbox::{Event, tell};
use super::revocation::{Subject, revoke};
use crate::auth::{Action, Permission, Said};
use crate::error::{Code, Error};
use crate::who::Who;

/// A robot, without its secret.
#[derive(Clone, Debug)]
pub(crate) struct RobotInfo {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) description: String,
    /// The project that it belongs to; none if it belongs to the system.
    pub(crate) project: Option<String>,
    pub(crate) permissions: Vec<Permission>,
    pub(crate) is_disabled: bool,
    /// When it expires, in milliseconds since 1970.
    pub(crate) expires_ms: Option<i64>,
    pub(crate) created_ms: i64,
    pub(crate) updated_ms: i64,
}

/// What an account says of whom it belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "UserProfile")]
#[serde(default)]
pub(crate) struct Profile {
    pub(crate) email: String,
    pub(crate) realname: String,
    pub(crate) comment: String,
}

impl RobotInfo {
    /// Whether there is anything that it may do now and would not as it is in `other`.
    fn may_more_than(&self, other: &Self) -> bool {
        let allows = |robot: &Self, project: &str, action: Action| {
            let mut given = robot.permissions.iter();
            given.any(|given| given.allows(project, action))
        };
        let mut permissions = self.permissions.iter();
        let ends_ms = |robot: &Self| robot.expires_ms.unwrap_or(i64::MAX);
        (other.is_disabled && !self.is_disabled)
            || ends_ms(other) < ends_ms(self)
            || permissions.any(|had| {
                let mut actions = had.actions.iter();
                actions.any(|action| !allows(other, &had.project, *action))
            })
    }
}

/// An account, without its password.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "UserResp")]
pub(crate) struct AccountInfo {
    pub(crate) user_id: i64,
    pub(crate) username: String,
    #[serde(flatten)]
    pub(crate) profile: Profile,
    pub(crate) sysadmin_flag: bool,
    pub(crate) disabled: bool,
    pub(crate) creation_time: Time,
    pub(crate) update_time: Time,
}

/// What is read of a robot.
macro_rules! robot_columns {
    () => {
        "r.id, r.name, p.name, r.permissions, r.disabled, r.expires_ms, r.created_ms, \
         r.description, COALESCE(r.updated_ms, r.created_ms), r.access"
    };
}

const ROBOT: &str = concat!(
    "SELECT ",
    robot_columns!(),
    " FROM robot r LEFT JOIN project p ON p.id = r.project_id WHERE r.id = $1"
);
const ROBOTS: Source = Source {
    columns: robot_columns!(),
    from: "FROM robot r LEFT JOIN project p ON p.id = r.project_id WHERE 1 = 1",
    order: "r.name",
};

const ROBOT_ID: Column = Column::new("id", Kind::Number, "r.id");
/// The project that a robot belongs to.
pub(crate) const ROBOT_PROJECT: Column = Column::new("project", Kind::Text, "COALESCE(p.name, '')");
/// What robots can be filtered by. Those of the system have no project, which is 0.
pub(crate) const ROBOT_COLUMNS: &[Column] = &[
    Column::new("name", Kind::Text, "r.name"),
    ROBOT_ID,
    Column::new(
        "level",
        Kind::Text,
        "CASE WHEN r.project_id IS NULL THEN 'system' ELSE 'project' END",
    ),
    Column::new("project_id", Kind::Number, "COALESCE(r.project_id, 0)"),
    ROBOT_PROJECT,
    Column::new("disable", Kind::Flag, "r.disabled"),
    Column::new("creation_time", Kind::Moment, "r.created_ms"),
    Column::new(
        "update_time",
        Kind::Moment,
        "COALESCE(r.updated_ms, r.created_ms)",
    ),
];

fn robot(row: &sqlx::any::AnyRow) -> Result<RobotInfo, sqlx::Error> {
    Ok(RobotInfo {
        id: row.try_get(0)?,
        name: row.try_get(1)?,
        project: row.try_get(2)?,
        permissions: permissions(row.try_get(3)?, row.try_get(9)?),
        is_disabled: row.try_get::<i64, _>(4)? != 0,
        expires_ms: row.try_get(5)?,
        created_ms: row.try_get(6)?,
        description: row.try_get(7)?,
        updated_ms: row.try_get(8)?,
    })
}

/// What is read of an account.
macro_rules! account_columns {
    () => {
        "a.id, a.name, a.admin, a.disabled, a.created_ms, a.email, a.realname, a.comment, \
         COALESCE(a.updated_ms, a.created_ms)"
    };
}

const ACCOUNT: &str = concat!(
    "SELECT ",
    account_columns!(),
    " FROM account a WHERE a.id = $1"
);
const ACCOUNTS: Source = Source {
    columns: account_columns!(),
    from: "FROM account a WHERE 1 = 1",
    order: "a.name",
};

const ACCOUNT_ID: Column = Column::new("user_id", Kind::Number, "a.id");
/// What accounts can be found by, by who may not see more of them.
pub(crate) const ACCOUNT_NAMES: &[Column] = &[Column::new("username", Kind::Text, "a.name")];
/// What accounts can be filtered by.
pub(crate) const ACCOUNT_COLUMNS: &[Column] = &[
    Column::new("username", Kind::Text, "a.name"),
    Column::new("email", Kind::Text, "a.email"),
    Column::new("realname", Kind::Text, "a.realname"),
    ACCOUNT_ID,
    Column::new("sysadmin_flag", Kind::Flag, "a.admin"),
    Column::new("disabled", Kind::Flag, "a.disabled"),
    Column::new("creation_time", Kind::Moment, "a.created_ms"),
    Column::new(
        "update_time",
        Kind::Moment,
        "COALESCE(a.updated_ms, a.created_ms)",
    ),
];

fn account(row: &sqlx::any::AnyRow) -> Result<AccountInfo, sqlx::Error> {
    Ok(AccountInfo {
        user_id: row.try_get(0)?,
        username: row.try_get(1)?,
        sysadmin_flag: row.try_get::<i64, _>(2)? != 0,
        disabled: row.try_get::<i64, _>(3)? != 0,
        creation_time: time(row.try_get(4)?),
        update_time: time(row.try_get(8)?),
        profile: Profile {
            email: row.try_get(5)?,
            realname: row.try_get(6)?,
            comment: row.try_get(7)?,
        },
    })
}

impl Meta {
    /// Robots.
    pub(crate) async fn robots(&self, listing: &Listing) -> Result<Listed<RobotInfo>, Error> {
        self.list(&ROBOTS, Vec::new(), listing, robot).await
    }

    /// A robot by its number.
    pub(crate) async fn robot_info(&self, id: i64) -> Result<Option<RobotInfo>, Error> {
        let listing = Listing::one(&ROBOT_ID, Operand::Number(id));
        Ok(self.robots(&listing).await?.rows.pop())
    }

    /// An account by its number.
    pub(crate) async fn account_info(&self, id: i64) -> Result<Option<AccountInfo>, Error> {
        let listing = Listing::one(&ACCOUNT_ID, Operand::Number(id));
        Ok(self.accounts(&listing).await?.rows.pop())
    }

    /// Accounts.
    pub(crate) async fn accounts(&self, listing: &Listing) -> Result<Listed<AccountInfo>, Error> {
        self.list(&ACCOUNTS, Vec::new(), listing, account).await
    }
}

/// Makes a robot.
pub(crate) struct CreateRobot {
    pub(crate) who: Who,
    pub(crate) name: String,
    pub(crate) description: String,
    /// The hash.
    pub(crate) secret: String,
    pub(crate) project: Option<String>,
    pub(crate) permissions: Vec<Permission>,
    pub(crate) is_disabled: bool,
    pub(crate) lifetime_ms: Option<i64>,
}

#[async_trait]
impl Change for CreateRobot {
    type Out = i64;
    const NAME: &'static str = "create_robot";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<i64, Failure> {
        let project = match &self.project {
            Some(name) => Some(project_id(tx, name).await?),
            None => None,
        };
        let permissions = written(&self.permissions);
        let made = bound!(
            "INSERT INTO robot (project_id, name, secret, permissions, disabled, expires_ms, \
             created_ms, description, access) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
             ON CONFLICT (name) DO NOTHING RETURNING id",
            project,
            self.name.as_str(),
            self.secret.as_str(),
            permissions,
            i64::from(self.is_disabled),
            self.lifetime_ms
                .map(|lifetime| tx.now_ms.saturating_add(lifetime)),
            tx.now_ms,
            self.description.as_str(),
            said(&self.permissions),
        );
        let Some(row) = made.fetch_optional(&mut *tx.conn).await? else {
            let message = format!("there is a robot {} already", self.name);
            return Err(Error::new(Code::Conflict, message).into());
        };
        let id = first(&row)?;
        let made = robot_in(tx, id).await?;
        let event = of_project("create_robot", &self.name, self.project.as_deref());
        let event = event.changed((), made.as_ref().map(told));
        tell(tx, &self.who, &event).await?;
        Ok(id)
    }
}

/// Permissions as they are kept.
fn written(permissions: &[Permission]) -> String {
    // Names, numbers and words can always be written.
    serde_json::to_string(permissions).unwrap_or_default()
}

/// How they were said, by project.
fn said(permissions: &[Permission]) -> String {
    let said = permissions.iter();
    let said: BTreeMap<&str, &[Said]> = said
        .map(|permission| (permission.project.as_str(), permission.access.as_slice()))
        .collect();
    // As above.
    serde_json::to_string(&said).unwrap_or_default()
}

/// Takes from robots of the system what they may do in a project that goes: another one of its name
/// is somebody else's.
pub(super) async fn forget_project(tx: &mut Tx<'_>, project: &str) -> Result<(), sqlx::Error> {
    let found = bound!("SELECT id, permissions FROM robot WHERE project_id IS NULL");
    for row in found.fetch_all(&mut *tx.conn).await? {
        let (id, text): (i64, String) = (row.try_get(0)?, row.try_get(1)?);
        let mut left = permissions(&text, None);
        let count = left.len();
        left.retain(|permission| permission.project != project);
        if left.len() == count {
            continue;
        }
        let taken = bound!(
            "UPDATE robot SET permissions = $2, updated_ms = $3 WHERE id = $1",
            id,
            written(&left),
            tx.now_ms,
        );
        taken.execute(&mut *tx.conn).await?;
    }
    Ok(())
}

/// What is to become of a robot.
#[derive(Clone, Debug)]
pub(crate) enum RobotFate {
    /// What is given changes; the lifetime is that since the robot was made, or none.
    Change {
        is_disabled: Option<bool>,
        permissions: Option<Vec<Permission>>,
        lifetime_ms: Option<Option<i64>>,
        description: Option<String>,
    },
    /// Another secret, by its hash.
    Secret(String),
    Delete,
}

/// Changes or removes a robot.
pub(crate) struct UpdateRobot {
    pub(crate) who: Who,
    pub(crate) id: i64,
    pub(crate) fate: RobotFate,
}

#[async_trait]
impl Change for UpdateRobot {
    type Out = ();
    const NAME: &'static str = "update_robot";

    fn touches(&self, _out: &Self::Out) -> Touched<'_> {
        Touched::People
    }

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        let before = robot_in(tx, self.id).await?.ok_or_else(unknown_robot)?;
        self.make(tx).await?;
        let after = robot_in(tx, self.id).await?;
        let is_secret = matches!(self.fate, RobotFate::Secret(_));
        if is_secret
            || after
                .as_ref()
                .is_none_or(|after| before.may_more_than(after))
        {
            revoke(tx, Subject::Robot(&before.name)).await?;
        }
        let event = match self.fate {
            RobotFate::Delete => "delete_robot",
            _ => "update_robot",
        };
        let event = of_project(event, &before.name, before.project.as_deref());
        let event = match self.fate {
            RobotFate::Secret(_) => event.changed((), json!({"secret": CHANGED})),
            _ => event.changed(told(&before), after.as_ref().map(told)),
        };
        Ok(tell(tx, &self.who, &event).await?)
    }
}

/// Something happened to a robot, which its project's members see if it has one.
fn of_project(event: &'static str, robot: &str, project: Option<&str>) -> Event {
    Event {
        project: project.map(str::to_owned),
        ..Event::new(event, "robot", robot)
    }
}

fn unknown_robot() -> Error {
    Error::new(Code::NameUnknown, "there is no such robot")
}

async fn robot_in(tx: &mut Tx<'_>, id: i64) -> Result<Option<RobotInfo>, sqlx::Error> {
    let row = bound!(ROBOT, id).fetch_optional(&mut *tx.conn).await?;
    row.as_ref().map(robot).transpose()
}

/// What the records of a robot tell of it: among others what it may do, by project.
fn told(robot: &RobotInfo) -> Value {
    let mut permissions: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for given in &robot.permissions {
        let all = permissions.entry(&given.project).or_default();
        all.extend(given.actions.iter().map(|action| action.name().to_owned()));
        let system = given.access.iter().filter(|_| given.is_system());
        all.extend(system.map(
            |Said {
                 resource, action, ..
             }| format!("{resource}:{action}"),
        ));
    }
    json!({
        "permissions": permissions,
        "disable": robot.is_disabled,
        "expires_at": robot.expires_ms.map(time),
        "description": robot.description,
    })
}

impl UpdateRobot {
    async fn make(&self, tx: &mut Tx<'_>) -> Result<(), sqlx::Error> {
        let query = match &self.fate {
            RobotFate::Change {
                is_disabled,
                permissions,
                lifetime_ms,
                description,
            } => bound!(
                "UPDATE robot SET disabled = COALESCE($2, disabled), \
                 permissions = COALESCE($3, permissions), \
                 access = COALESCE($7, access), description = COALESCE($6, description), \
                 expires_ms = CASE WHEN $4 = 0 THEN expires_ms ELSE created_ms + $5 END \
                 WHERE id = $1",
                self.id,
                is_disabled.map(i64::from),
                permissions.as_deref().map(written),
                i64::from(lifetime_ms.is_some()),
                lifetime_ms.flatten(),
                description.as_deref(),
                permissions.as_deref().map(said),
            ),
            RobotFate::Secret(hash) => bound!(
                "UPDATE robot SET secret = $2 WHERE id = $1",
                self.id,
                hash.as_str(),
            ),
            RobotFate::Delete => bound!("DELETE FROM robot WHERE id = $1", self.id),
        };
        query.execute(&mut *tx.conn).await?;
        let changed = bound!(
            "UPDATE robot SET updated_ms = $2 WHERE id = $1",
            self.id,
            tx.now_ms,
        );
        changed.execute(&mut *tx.conn).await?;
        Ok(())
    }
}

/// What is to become of an account.
#[derive(Clone, Debug)]
pub(crate) enum AccountFate {
    /// Another password, by its hash.
    Password(String),
    Admin(bool),
    Disable(bool),
    Profile(Profile),
    Delete,
}

/// Changes or removes an account. There is always an administrator left.
pub(crate) struct UpdateAccount {
    pub(crate) who: Who,
    pub(crate) id: i64,
    pub(crate) fate: AccountFate,
}

#[async_trait]
impl Change for UpdateAccount {
    type Out = ();
    const NAME: &'static str = "update_account";

    fn touches(&self, _out: &Self::Out) -> Touched<'_> {
        Touched::People
    }

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        let before = account_in(tx, self.id).await?.ok_or_else(unknown_account)?;
        let lost = match self.fate {
            AccountFate::Delete => Some(lost(tx, self.id).await?),
            _ => None,
        };
        self.make(tx).await?;
        let admins = bound!("SELECT COUNT(*) FROM account WHERE admin = 1 AND disabled = 0");
        if first(&admins.fetch_one(&mut *tx.conn).await?)? == 0 {
            let message = "this is the last administrator; make another one first";
            return Err(Error::new(Code::Conflict, message).into());
        }
        let is_less = match self.fate {
            AccountFate::Password(_) | AccountFate::Delete => true,
            AccountFate::Admin(on) => before.sysadmin_flag && !on,
            AccountFate::Disable(on) => on && !before.disabled,
            AccountFate::Profile(_) => false,
        };
        if is_less {
            revoke(tx, Subject::Account(&before.username)).await?;
        }
        let event = match self.fate {
            AccountFate::Delete => "delete_user",
            _ => "update_user",
        };
        let event = Event::new(event, "user", &before.username);
        let event = match self.fate {
            AccountFate::Password(_) => event.changed((), json!({"password": CHANGED})),
            _ => {
                let after = account_in(tx, self.id).await?;
                let mut told = account_told(&before);
                if let Some(lost) = lost {
                    told["lost"] = lost;
                }
                event.changed(told, after.as_ref().map(account_told))
            }
        };
        Ok(tell(tx, &self.who, &event).await?)
    }
}

/// What goes with an account: its roles by project, and the groups that it is in.
async fn lost(tx: &mut Tx<'_>, account: i64) -> Result<Value, sqlx::Error> {
    let roles = roles(tx, member::ROLES_OF_ACCOUNT, account).await?;
    let groups = bound!(
        "SELECT g.name FROM group_account a JOIN user_group g ON g.id = a.group_id \
         WHERE a.account_id = $1 ORDER BY g.name",
        account,
    );
    let groups = groups.fetch_all(&mut *tx.conn).await?;
    let groups = groups.iter().map(|row| row.try_get::<String, _>(0));
    let groups: Vec<String> = groups.collect::<Result<_, _>>()?;
    Ok(json!({"roles": roles, "groups": groups}))
}

/// What the records of an account tell of it: not when they were written.
fn account_told(account: &AccountInfo) -> Value {
    let mut told = json!(account);
    if let Some(fields) = told.as_object_mut() {
        fields.remove("update_time");
    }
    told
}

fn unknown_account() -> Error {
    Error::new(Code::NameUnknown, "there is no such account")
}

async fn account_in(tx: &mut Tx<'_>, id: i64) -> Result<Option<AccountInfo>, sqlx::Error> {
    let row = bound!(ACCOUNT, id).fetch_optional(&mut *tx.conn).await?;
    row.as_ref().map(account).transpose()
}

impl UpdateAccount {
    async fn make(&self, tx: &mut Tx<'_>) -> Result<(), sqlx::Error> {
        let id = self.id;
        let query = match &self.fate {
            AccountFate::Password(hash) => bound!(
                "UPDATE account SET password = $2 WHERE id = $1",
                id,
                hash.as_str(),
            ),
            AccountFate::Admin(on) => bound!(
                "UPDATE account SET admin = $2 WHERE id = $1",
                id,
                i64::from(*on),
            ),
            AccountFate::Disable(on) => bound!(
                "UPDATE account SET disabled = $2 WHERE id = $1",
                id,
                i64::from(*on),
            ),
            AccountFate::Profile(profile) => bound!(
                "UPDATE account SET email = $2, realname = $3, comment = $4 WHERE id = $1",
                id,
                profile.email.as_str(),
                profile.realname.as_str(),
                profile.comment.as_str(),
            ),
            AccountFate::Delete => {
                let members = bound!("DELETE FROM member WHERE account_id = $1", id);
                members.execute(&mut *tx.conn).await?;
                bound!("DELETE FROM account WHERE id = $1", id)
            }
        };
        query.execute(&mut *tx.conn).await?;
        let changed = bound!(
            "UPDATE account SET updated_ms = $2 WHERE id = $1",
            id,
            tx.now_ms,
        );
        changed.execute(&mut *tx.conn).await?;
        Ok(())
    }
}
