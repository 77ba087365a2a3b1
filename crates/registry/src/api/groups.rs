//! Groups of accounts.

use axum::Json;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answers::{Created, Made, made};
use super::query::{Asks, PAGES, Page, Shorthand};
use super::{Admin, Body, Operations, Outcome, Path, answer, wrong};
use crate::auth::Caller;
use crate::error::Error;
use crate::meta::{CreateGroup, DeleteGroup, GROUP_COLUMNS, Group, RenameGroup, SetGroupAccount};

/// What Harbor calls groups that no directory looks after.
const HTTP: i64 = 2;
/// Bytes of the longest name.
const NAME_BYTES_MAX: usize = 128;

/// What can be done with groups.
pub(super) fn operations(all: Operations) -> Operations {
    let (groups, group) = ("/usergroups", "/usergroups/{id}");
    let members = "/usergroups/{id}/members";
    let member = "/usergroups/{id}/members/{account}";
    let (search_at, search_by) = (
        "/usergroups/search",
        "Groups with ?groupname= in their names",
    );
    let (list_members, accounts) = ("listUserGroupMembers", "The accounts of a group");
    let (put_in, take_out) = (
        "Put an account into a group",
        "Take an account out of a group",
    );
    let (other_name, gone) = ("Give a group another name", "Remove a group, and its roles");
    all.about("usergroup")
        .list(
            groups,
            "listUserGroups",
            "Groups of accounts",
            &GROUPS,
            list,
        )
        .list(search_at, "searchUserGroups", search_by, &SEARCH, search)
        .post(groups, "createUserGroup", "Make a group", create)
        .get(group, "getUserGroup", "A group", show)
        .put(group, "updateUserGroup", other_name, rename)
        .delete(group, "deleteUserGroup", gone, delete)
        .list(members, list_members, accounts, &PAGES, self::members)
        .post(members, "addUserGroupMember", put_in, add)
        .delete(member, "removeUserGroupMember", take_out, remove)
}

const GROUPS: Asks = Asks {
    columns: GROUP_COLUMNS,
    filters: &[Shorthand::Part("group_name", "group_name")],
    others: &[],
};

/// Who gives groups roles learns of names and numbers only.
const SEARCH: Asks = Asks {
    columns: GROUP_COLUMNS,
    filters: &[Shorthand::Part("groupname", "group_name")],
    others: &[],
};

/// A new group, or one that is to have another name.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "UserGroupReq")]
struct Request {
    group_name: String,
    /// 1 of LDAP, 2 of HTTP, 3 of OIDC: who says so wants to see it again. All are looked after here.
    group_type: Option<i64>,
}

impl Request {
    /// The name, if groups can have it.
    fn name(self) -> Result<String, Error> {
        let name = self.group_name;
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"._-@".contains(&b);
        match (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_plain) {
            true => Ok(name),
            false => Err(wrong(format!(
                "a group's name is 1 to {NAME_BYTES_MAX} letters, digits, `.`, `_`, `-` and `@`"
            ))),
        }
    }
}

async fn list(admin: Admin) -> Outcome<Page<Group>> {
    answer(&admin, async {
        admin.require_admin()?;
        let listing = admin.listing(&GROUPS)?;
        let groups = admin.registry.meta().groups(&listing).await?;
        Ok(admin.page(&listing, groups))
    })
    .await
}

/// Names and numbers, for who gives groups roles.
async fn search(admin: Admin) -> Outcome<Page<Group>> {
    answer(&admin, async {
        if !matches!(admin.caller, Caller::Account(_)) {
            admin.require_admin()?;
        }
        let listing = admin.listing(&SEARCH)?;
        let found = admin.registry.meta().groups(&listing).await?;
        Ok(admin.page(&listing, found))
    })
    .await
}

async fn create(admin: Admin, Body(request): Body<Request>) -> Outcome<Made> {
    answer(&admin, async {
        admin.require_admin()?;
        let kind = request.group_type.unwrap_or(HTTP);
        if !(1..=3).contains(&kind) {
            return Err(wrong(format!("group_type={kind}: it is 1, 2 or 3")));
        }
        let create = CreateGroup {
            who: admin.who(),
            name: request.name()?,
            kind,
        };
        let id = admin.registry.meta().change(create).await?;
        Ok(made("usergroups", id))
    })
    .await
}

async fn show(admin: Admin, Path(id): Path<i64>) -> Outcome<Json<Group>> {
    answer(&admin, async {
        admin.require_admin()?;
        Ok(Json(admin.registry.meta().group(id).await?))
    })
    .await
}

/// As in Harbor, its kind stays what it was.
async fn rename(admin: Admin, Path(id): Path<i64>, Body(request): Body<Request>) -> Outcome<()> {
    answer(&admin, async {
        admin.require_admin()?;
        let rename = RenameGroup {
            who: admin.who(),
            id,
            name: request.name()?,
        };
        admin.registry.meta().change(rename).await
    })
    .await
}

async fn delete(admin: Admin, Path(id): Path<i64>) -> Outcome<()> {
    answer(&admin, async {
        admin.require_admin()?;
        let who = admin.who();
        admin.registry.meta().change(DeleteGroup { who, id }).await
    })
    .await
}

async fn members(admin: Admin, Path(id): Path<i64>) -> Outcome<Page<Named>> {
    answer(&admin, async {
        admin.require_admin()?;
        let meta = admin.registry.meta();
        let group = meta.group(id).await?;
        let names = meta.group_accounts(group.id).await?;
        let named = names.into_iter().map(|username| Named { username });
        admin.listed(&PAGES, named.collect())
    })
    .await
}

async fn set(admin: &Admin, id: i64, account: String, is_in: bool) -> Result<(), Error> {
    admin.require_admin()?;
    let meta = admin.registry.meta();
    let set = SetGroupAccount {
        who: admin.who(),
        group: meta.group(id).await?,
        account,
        is_in,
    };
    meta.change(set).await
}

/// An account by its name.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "UserName")]
struct Named {
    username: String,
}

async fn add(
    admin: Admin,
    Path(id): Path<i64>,
    Body(account): Body<Named>,
) -> Outcome<Created<()>> {
    let done = set(&admin, id, account.username, true).await;
    admin.outcome(done.map(Created))
}

async fn remove(admin: Admin, Path((id, account)): Path<(i64, String)>) -> Outcome<()> {
    answer(&admin, set(&admin, id, account, false)).await
}
