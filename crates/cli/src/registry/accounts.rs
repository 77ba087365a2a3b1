//! Accounts of people, and robots.

use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Value, json};

use super::asked::{Asked, ListArgs, encoded};
use super::projects::word;
use super::secret;
use crate::error::CliError;

/// What can be done with accounts and robots.
#[derive(Clone, Debug, Subcommand)]
pub enum AccountCommand {
    /// Say who is logged in
    Whoami,
    /// List accounts
    Users {
        /// What is printed
        #[command(flatten)]
        list: ListArgs,
    },
    /// Make an account; the password is read from standard input
    CreateUser {
        /// Its name
        name: String,
        /// A system administrator
        #[arg(long)]
        admin: bool,
    },
    /// Change an account's password, read from standard input; one's own takes the old one in the
    /// next line
    SetPassword {
        /// The account's number
        id: i64,
    },
    /// Make an account a system administrator, or not
    SetAdmin {
        /// The account's number
        id: i64,
        /// Whether it is one
        admin: Switch,
    },
    /// Say who has an account; what is not given is empty from now on
    SetProfile {
        /// The account's number
        id: i64,
        /// The address
        #[arg(long, default_value = "")]
        email: String,
        /// The name
        #[arg(long, default_value = "")]
        realname: String,
        /// What else there is to say
        #[arg(long, default_value = "")]
        comment: String,
    },
    /// Forbid the use of an account
    DisableUser {
        /// Its number
        id: i64,
    },
    /// Allow the use of an account again
    EnableUser {
        /// Its number
        id: i64,
    },
    /// Remove an account
    DeleteUser {
        /// Its number
        id: i64,
    },
    /// List robots
    Robots {
        /// Of this project only
        #[arg(long)]
        project: Option<String>,
        /// What is printed
        #[command(flatten)]
        list: ListArgs,
    },
    /// Make a robot and print its secret
    CreateRobot {
        /// Its name
        name: String,
        /// Where it may do that
        #[command(flatten)]
        reach: Reach,
        /// What it may do
        #[arg(long, value_enum, value_delimiter = ',', default_value = "pull")]
        allow: Vec<Action>,
        /// Days until it expires, -1 for never; without it as many as robot_token_duration says, which
        /// `configuration` shows
        #[arg(long, allow_negative_numbers = true)]
        days: Option<i64>,
    },
    /// Give a robot another secret and print it
    RenewRobot {
        /// Its number
        id: i64,
    },
    /// Change what a robot may do
    SetPermissions {
        /// Its number
        id: i64,
        /// Where: a project, or * for all
        #[arg(required = true)]
        projects: Vec<String>,
        /// What it may do there
        #[arg(long, value_enum, value_delimiter = ',', default_value = "pull")]
        allow: Vec<Action>,
    },
    /// Forbid the use of a robot
    DisableRobot {
        /// Its number
        id: i64,
    },
    /// Allow the use of a robot again
    EnableRobot {
        /// Its number
        id: i64,
    },
    /// Remove a robot
    DeleteRobot {
        /// Its number
        id: i64,
    },
}

/// Where a robot may do what it may.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Reach {
    /// In this project, to which it belongs
    #[arg(long)]
    pub project: Option<String>,
    /// In every project, also in those that are made later
    #[arg(long)]
    pub all_projects: bool,
}

/// What a robot may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Action {
    /// Pull.
    Pull,
    /// Push.
    Push,
    /// Delete.
    Delete,
}

/// Whether something is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// It is.
    On,
    /// It is not.
    Off,
}

impl AccountCommand {
    pub(super) fn asked(self) -> Result<Asked, CliError> {
        let disable_user = |id: i64, disabled: bool| {
            Asked::put(
                format!("/users/{id}/disabled"),
                json!({"disabled": disabled}),
            )
        };
        let disable_robot = |id: i64, disable: bool| {
            Asked::put(format!("/robots/{id}"), json!({"disable": disable}))
        };
        Ok(match self {
            Self::Whoami => Asked::get("/users/current"),
            Self::Users { list } => Asked::list("/users", list),
            Self::CreateUser { name, admin } => Asked::post(
                "/users",
                json!({"username": name, "password": secret::password()?, "sysadmin_flag": admin}),
            ),
            Self::SetPassword { id } => {
                let new = secret::password()?;
                let old = secret::line("Old password, if it is one's own")?;
                let body = json!({"new_password": new, "old_password": old});
                Asked::put(format!("/users/{id}/password"), body)
            }
            Self::SetAdmin { id, admin } => Asked::put(
                format!("/users/{id}/sysadmin"),
                json!({"sysadmin_flag": admin == Switch::On}),
            ),
            Self::SetProfile {
                id,
                email,
                realname,
                comment,
            } => {
                let body = json!({"email": email, "realname": realname, "comment": comment});
                Asked::put(format!("/users/{id}"), body)
            }
            Self::DisableUser { id } => disable_user(id, true),
            Self::EnableUser { id } => disable_user(id, false),
            Self::DeleteUser { id } => Asked::delete(format!("/users/{id}")),
            Self::Robots { project, list } => {
                let path = match project {
                    Some(project) => format!("/robots?project={}", encoded(&project)),
                    None => "/robots".to_owned(),
                };
                Asked::list(path, list)
            }
            Self::CreateRobot {
                name,
                reach,
                allow,
                days,
            } => create_robot(&name, reach.project.as_deref(), &allow, days),
            Self::RenewRobot { id } => Asked::of(Method::PATCH, format!("/robots/{id}"), None),
            Self::SetPermissions {
                id,
                projects,
                allow,
            } => {
                let actions: Vec<String> = allow.iter().map(word).collect();
                let permission = |project: &String| json!({"project": project, "actions": actions});
                let permissions: Vec<Value> = projects.iter().map(permission).collect();
                Asked::put(format!("/robots/{id}"), json!({"permissions": permissions}))
            }
            Self::DisableRobot { id } => disable_robot(id, true),
            Self::EnableRobot { id } => disable_robot(id, false),
            Self::DeleteRobot { id } => Asked::delete(format!("/robots/{id}")),
        })
    }
}

fn create_robot(name: &str, project: Option<&str>, allow: &[Action], days: Option<i64>) -> Asked {
    let actions: Vec<String> = allow.iter().map(word).collect();
    let body = json!({
        "name": name,
        "project": project,
        // As many as the registry gives where nobody says anything.
        "duration": days.unwrap_or(0),
        "permissions": [{"project": project.unwrap_or("*"), "actions": actions}],
    });
    Asked::post("/robots", body)
}
