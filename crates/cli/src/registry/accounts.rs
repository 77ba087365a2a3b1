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
        #[arg(
            long,
            value_enum,
            value_delimiter = ',',
            default_value = "pull",
            conflicts_with = "running"
        )]
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
        #[arg(required_unless_present = "running")]
        projects: Vec<String>,
        /// Whether it may say what clusters run
        #[arg(long)]
        running: bool,
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
    /// In none: all that it may is to say what clusters run, as set-running does
    #[arg(long)]
    pub running: bool,
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
            } => create_robot(&name, reach, &allow, days),
            Self::RenewRobot { id } => Asked::of(Method::PATCH, format!("/robots/{id}"), None),
            Self::SetPermissions {
                id,
                projects,
                running,
                allow,
            } => {
                let given = projects.iter().map(|project| permission(project, &allow));
                let given = given.chain(running.then(says_what_runs));
                let permissions: Vec<Value> = given.collect();
                Asked::put(format!("/robots/{id}"), json!({"permissions": permissions}))
            }
            Self::DisableRobot { id } => disable_robot(id, true),
            Self::EnableRobot { id } => disable_robot(id, false),
            Self::DeleteRobot { id } => Asked::delete(format!("/robots/{id}")),
        })
    }
}

/// What a robot may do in a project.
fn permission(project: &str, allow: &[Action]) -> Value {
    let actions: Vec<String> = allow.iter().map(word).collect();
    json!({"project": project, "actions": actions})
}

/// That a robot may say what clusters run.
fn says_what_runs() -> Value {
    let access = json!([{"resource": "running", "action": "update"}]);
    json!({"kind": "system", "namespace": "/", "access": access})
}

fn create_robot(name: &str, reach: Reach, allow: &[Action], days: Option<i64>) -> Asked {
    let project = reach.project;
    let given = match reach.running {
        true => says_what_runs(),
        false => permission(project.as_deref().unwrap_or("*"), allow),
    };
    let body = json!({
        "name": name,
        "project": project,
        // As many as the registry gives where nobody says anything.
        "duration": days.unwrap_or(0),
        "permissions": [given],
    });
    Asked::post("/robots", body)
}
