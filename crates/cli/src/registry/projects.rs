//! Projects, their members and quotas.

use clap::{Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::json;

use super::asked::{Asked, ListArgs, encoded, project};

/// What can be done with projects.
#[derive(Clone, Debug, Subcommand)]
pub enum ProjectCommand {
    /// List projects
    Projects {
        /// What is printed
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show a project
    Project {
        /// Its name
        project: String,
    },
    /// Find projects and repositories by a part of their names
    Search {
        /// The part
        text: String,
    },
    /// Make a project
    CreateProject {
        /// Its name
        project: String,
        /// Everybody may pull from it
        #[arg(long)]
        public: bool,
        /// Bytes that it may have, -1 for no bound; without it as many as storage_per_project says, which
        /// `configuration` shows
        #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
        quota: Option<i64>,
        /// The number of another registry, of which it is a cache
        #[arg(long, value_name = "ID")]
        cache_of: Option<i64>,
    },
    /// Make a project public or private
    SetVisibility {
        /// Its name
        project: String,
        /// Which of the two
        visibility: Visibility,
    },
    /// Remove a project that has no repositories
    DeleteProject {
        /// Its name
        project: String,
    },
    /// Say what projects have and may have
    Quotas {
        /// What is printed
        #[command(flatten)]
        list: ListArgs,
    },
    /// Change what a project may have
    SetQuota {
        /// The project
        project: String,
        /// Bytes; -1 is no bound
        #[arg(allow_negative_numbers = true)]
        bytes: i64,
    },
    /// Give a project the room of what was deleted in it now; it cannot be brought back then
    Purge {
        /// The project
        project: String,
    },
    /// List the members of a project
    Members {
        /// The project
        project: String,
        /// What is printed
        #[command(flatten)]
        list: ListArgs,
    },
    /// Give an account or a group a role in a project
    SetMember {
        /// The project
        project: String,
        /// The account, or group:NAME
        account: String,
        /// The role
        role: Role,
    },
    /// Take the role of an account or a group in a project
    RemoveMember {
        /// The project
        project: String,
        /// The account, or group:NAME
        account: String,
    },
}

/// Who may pull from a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Visibility {
    /// Everybody.
    Public,
    /// Members.
    Private,
}

/// What a member of a project is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "camelCase")]
pub enum Role {
    /// Pulls.
    LimitedGuest,
    /// Pulls, and sees who else is there.
    Guest,
    /// Pushes.
    Developer,
    /// Deletes.
    Maintainer,
    /// Looks after members and robots.
    ProjectAdmin,
}

/// A value as it is typed.
pub(super) fn word(value: &impl ValueEnum) -> String {
    let value = value.to_possible_value();
    value
        .map(|value| value.get_name().to_owned())
        .unwrap_or_default()
}

impl ProjectCommand {
    pub(super) fn asked(self) -> Asked {
        match self {
            Self::Projects { list } => Asked::list("/projects", list),
            Self::Project { project: name } => Asked::get(project(&name)),
            Self::Search { text } => Asked::get(format!("/search?q={}", encoded(&text))),
            Self::CreateProject {
                project,
                public,
                quota,
                cache_of,
            } => {
                let body = json!({
                    "project_name": project,
                    "metadata": {"public": public.to_string()},
                    "storage_limit": quota,
                    "registry_id": cache_of,
                });
                Asked::post("/projects", body)
            }
            Self::SetVisibility {
                project,
                visibility,
            } => set_public(&project, visibility == Visibility::Public),
            Self::DeleteProject { project: name } => Asked::delete(project(&name)),
            Self::Quotas { list } => Asked::list("/quotas", list),
            Self::SetQuota { project, bytes } => set_quota(&project, bytes),
            Self::Purge { project: name } => {
                Asked::of(Method::POST, format!("{}/purge", project(&name)), None)
            }
            Self::Members {
                project: name,
                list,
            } => Asked::list(format!("{}/members", project(&name)), list),
            Self::SetMember {
                project,
                account,
                role,
            } => set_member(&project, &account, &word(&role)),
            Self::RemoveMember { project, account } => Asked::delete(member(&project, &account)),
        }
    }
}

pub(super) fn set_public(name: &str, public: bool) -> Asked {
    let body = json!({"metadata": {"public": public.to_string()}});
    Asked::put(project(name), body)
}

pub(super) fn set_quota(name: &str, bytes: i64) -> Asked {
    let body = json!({"hard": {"storage": bytes}});
    Asked::put(format!("/quotas/{}", encoded(name)), body)
}

/// Where a member is. Numbers there are those of members, whatever accounts are called.
pub(super) fn member(name: &str, account: &str) -> String {
    let is_number = account.bytes().all(|byte| byte.is_ascii_digit());
    let kind = if is_number { "user:" } else { "" };
    format!("{}/members/{kind}{}", project(name), encoded(account))
}

pub(super) fn set_member(name: &str, account: &str, role: &str) -> Asked {
    let body = json!({"role_name": role, "member_user": {"username": account}});
    Asked::post(format!("{}/members", project(name)), body)
}
