//! Groups of accounts.

use clap::Subcommand;
use serde_json::json;

use super::asked::{Asked, ListArgs, encoded};

/// What can be done with groups.
#[derive(Clone, Debug, Subcommand)]
pub enum GroupCommand {
    /// List groups of accounts
    Groups {
        /// What is printed
        #[command(flatten)]
        list: ListArgs,
    },
    /// Make a group; as `group:NAME` it has roles in projects, as accounts do
    CreateGroup {
        /// Its name
        name: String,
    },
    /// Give a group another name
    RenameGroup {
        /// Its number
        id: i64,
        /// The name
        name: String,
    },
    /// Remove a group, and its roles
    DeleteGroup {
        /// Its number
        id: i64,
    },
    /// List the accounts of a group
    GroupMembers {
        /// The group's number
        id: i64,
        /// What is printed
        #[command(flatten)]
        list: ListArgs,
    },
    /// Put an account into a group
    AddToGroup {
        /// The group's number
        id: i64,
        /// The account
        account: String,
    },
    /// Take an account out of a group
    RemoveFromGroup {
        /// The group's number
        id: i64,
        /// The account
        account: String,
    },
}

impl GroupCommand {
    pub(super) fn asked(self) -> Asked {
        match self {
            Self::Groups { list } => Asked::list("/usergroups", list),
            Self::CreateGroup { name } => create(&name),
            Self::RenameGroup { id, name } => {
                Asked::put(format!("/usergroups/{id}"), json!({"group_name": name}))
            }
            Self::DeleteGroup { id } => Asked::delete(format!("/usergroups/{id}")),
            Self::GroupMembers { id, list } => {
                Asked::list(format!("/usergroups/{id}/members"), list)
            }
            Self::AddToGroup { id, account } => add(id, &account),
            Self::RemoveFromGroup { id, account } => remove(id, &account),
        }
    }
}

pub(super) fn create(name: &str) -> Asked {
    Asked::post("/usergroups", json!({"group_name": name}))
}

pub(super) fn add(id: i64, account: &str) -> Asked {
    let body = json!({"username": account});
    Asked::post(format!("/usergroups/{id}/members"), body)
}

pub(super) fn remove(id: i64, account: &str) -> Asked {
    Asked::delete(format!("/usergroups/{id}/members/{}", encoded(account)))
}
