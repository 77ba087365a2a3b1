//! Members of projects: accounts and groups that have a role there.

use axum::Json;
use schemars::JsonSchema;
use serde::Deserialize;

use super::answers::{At, Created};
use super::projects::{found, owner};
use super::query::{Asks, Page};
use super::{Admin, Body, Operations, Outcome, Path, answer, wrong};
use crate::auth::Role;
use crate::error::{Code, Error};
use crate::meta::{Column, Holder, Kind, Member, SetMember};

/// What can be done with members.
pub(super) fn operations(all: Operations) -> Operations {
    let members = "/projects/{project}/members";
    let member = "/projects/{project}/members/{member}";
    let (all_of, give) = (
        "Members and their roles",
        "Give an account or a group a role",
    );
    all.about("member")
        .list(members, "listProjectMembers", all_of, &MEMBERS, list)
        .post(members, "createProjectMember", give, set)
        .get(member, "getProjectMember", "A member, by its number", show)
        .put(member, "updateProjectMember", "Change a role", change)
        .delete(member, "deleteProjectMember", "Take a role", remove)
}

const MEMBERS: Asks = Asks {
    columns: &[
        Column::shown("id", Kind::Number),
        Column::shown("entity_id", Kind::Number),
        Column::shown("entity_name", Kind::Text),
        Column::shown("entity_type", Kind::Text),
        Column::shown("role_id", Kind::Number),
        Column::shown("role_name", Kind::Text),
    ],
    filters: &[],
    others: &["entityname"],
};

/// The members of a project, for who may see them.
async fn members(admin: &Admin, project: String) -> Result<Vec<Member>, Error> {
    let project = owner(admin, project).await?;
    admin.require_role(&project, Some(Role::Guest)).await?;
    let project = found(admin, &project).await?;
    admin.registry.meta().members(project.id).await
}

async fn list(admin: Admin, Path(project): Path<String>) -> Outcome<Page<Member>> {
    answer(&admin, async {
        let mut members = members(&admin, project).await?;
        if let Some(part) = admin.param("entityname") {
            members.retain(|member| member.name.contains(part));
        }
        admin.listed(&MEMBERS, members)
    })
    .await
}

async fn show(admin: Admin, Path((project, number)): Path<(String, i64)>) -> Outcome<Json<Member>> {
    answer(&admin, async {
        let members = members(&admin, project).await?;
        let member = members.into_iter().find(|member| member.id == number);
        let message = format!("there is no member with the number {number}");
        let unknown = || Error::new(Code::NameUnknown, message);
        Ok(Json(member.ok_or_else(unknown)?))
    })
    .await
}

/// A role for an account or a group.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(rename = "ProjectMember")]
#[serde(default)]
struct Membership {
    member_user: MemberUser,
    member_group: MemberGroup,
    role_id: Option<i64>,
    #[schemars(with = "Option<Role>")]
    role_name: Option<String>,
}

/// An account by its name or number.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(rename = "UserEntity")]
#[serde(default)]
struct MemberUser {
    username: String,
    user_id: i64,
}

/// A group by its name or number. Harbor's clients send one without either with each account.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(rename = "UserGroupEntity")]
#[serde(default)]
struct MemberGroup {
    group_name: String,
    id: i64,
}

impl Membership {
    fn holder(&self) -> Result<Holder, Error> {
        let (user, group) = (&self.member_user, &self.member_group);
        Ok(match () {
            () if !group.group_name.is_empty() => Holder::Group(group.group_name.clone()),
            () if group.id > 0 => Holder::GroupNumber(group.id),
            () if !user.username.is_empty() => Holder::parse(&user.username),
            () if user.user_id > 0 => Holder::AccountNumber(user.user_id),
            () => return Err(wrong("member_user or member_group says who is meant")),
        })
    }

    fn role(&self) -> Result<Role, Error> {
        let by_name = self.role_name.as_deref().and_then(Role::parse);
        let by_number = self.role_id.and_then(Role::of_number);
        by_name.or(by_number).ok_or_else(|| {
            wrong("role_name is projectAdmin, maintainer, developer, guest or limitedGuest")
        })
    }
}

/// Gives a role or takes it. Gives the number of the member.
async fn put(
    admin: &Admin,
    project: String,
    holder: Holder,
    role: Option<Role>,
) -> Result<i64, Error> {
    let least = Some(Role::ProjectAdmin);
    admin.require_role(&project, least).await?;
    let set = SetMember {
        who: admin.who(),
        project,
        holder,
        role,
    };
    admin.registry.meta().change(set).await
}

async fn set(
    admin: Admin,
    Path(project): Path<String>,
    Body(member): Body<Membership>,
) -> Outcome<Created<At<()>>> {
    answer(&admin, async {
        let (project, role) = (owner(&admin, project).await?, member.role()?);
        let members = format!("/projects/{project}/members");
        let number = put(&admin, project, member.holder()?, Some(role)).await?;
        Ok(Created(At(Some(format!("{members}/{number}")), ())))
    })
    .await
}

async fn change(
    admin: Admin,
    Path((project, member)): Path<(String, String)>,
    Body(membership): Body<Membership>,
) -> Outcome<()> {
    answer(&admin, async {
        let (project, role) = (owner(&admin, project).await?, membership.role()?);
        let holder = Holder::parse_member(&member);
        put(&admin, project, holder, Some(role)).await.map(|_| ())
    })
    .await
}

async fn remove(admin: Admin, Path((project, member)): Path<(String, String)>) -> Outcome<()> {
    answer(&admin, async {
        let project = owner(&admin, project).await?;
        let holder = Holder::parse_member(&member);
        put(&admin, project, holder, None).await.map(|_| ())
    })
    .await
}
