//! `skald registry`: looks after an image registry, by its management API.

use std::io::Write;

use clap::{Args, Subcommand, ValueEnum};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::error::CliError;

/// Where the registry is and who asks.
#[derive(Clone, Debug, Args)]
pub struct RegistryArgs {
    /// Address of the registry
    #[arg(
        long,
        global = true,
        env = "SKALD_REGISTRY_ADDR",
        default_value = "http://127.0.0.1:5000",
        value_name = "URL"
    )]
    pub addr: String,
    /// Who logs in
    #[arg(
        long,
        global = true,
        env = "SKALD_REGISTRY_USERNAME",
        value_name = "NAME"
    )]
    pub username: Option<String>,
    /// The password; better given by the variable than typed
    #[arg(
        long,
        global = true,
        env = "SKALD_REGISTRY_PASSWORD",
        hide_env_values = true
    )]
    pub password: Option<String>,
    /// What to do
    #[command(subcommand)]
    pub command: RegistryCommand,
}

/// What can be done.
#[derive(Clone, Debug, Subcommand)]
pub enum RegistryCommand {
    /// List projects
    Projects,
    /// Make a project
    CreateProject {
        /// Its name
        project: String,
        /// Everybody may pull from it
        #[arg(long)]
        public: bool,
        /// Bytes that it may have
        #[arg(long, value_name = "BYTES")]
        quota: Option<i64>,
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
    Quotas,
    /// Change what a project may have
    SetQuota {
        /// The project
        project: String,
        /// Bytes; -1 is no bound
        #[arg(allow_negative_numbers = true)]
        bytes: i64,
    },
    /// List the members of a project
    Members {
        /// The project
        project: String,
    },
    /// Give an account a role in a project
    SetMember {
        /// The project
        project: String,
        /// The account
        account: String,
        /// The role
        role: Role,
    },
    /// Take an account's role in a project
    RemoveMember {
        /// The project
        project: String,
        /// The account
        account: String,
    },
    /// List accounts
    Users,
    /// Make an account; the password is read from standard input
    CreateUser {
        /// Its name
        name: String,
        /// A system administrator
        #[arg(long)]
        admin: bool,
    },
    /// Change an account's password, read from standard input
    SetPassword {
        /// The account's number
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
    },
    /// Make a robot and print its secret
    CreateRobot {
        /// Its name
        name: String,
        /// The project that it belongs to
        #[arg(long)]
        project: Option<String>,
        /// What it may do
        #[arg(long, value_enum, value_delimiter = ',', default_value = "pull")]
        allow: Vec<Action>,
        /// Days until it expires
        #[arg(long)]
        days: Option<i64>,
    },
    /// Remove a robot
    DeleteRobot {
        /// Its number
        id: i64,
    },
    /// What concerns repositories and the rules for them
    #[command(flatten)]
    Content(ContentCommand),
    /// Say what waits for garbage collection
    Gc,
    /// Collect garbage now
    RunGc {
        /// Say what would be removed if all graces were over, and remove nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Compare database and store while the registry goes on; fails if something is not as it
    /// should be
    Fsck {
        /// Read all bytes and compare them with their digests
        #[arg(long)]
        read_bytes: bool,
        /// Remove bytes that no row names, and correct the sums of quotas
        #[arg(long)]
        repair: bool,
    },
    /// List the keys that sign tokens
    Keys,
    /// Sign tokens with a new key from now on; those that were given hold on
    RotateKey,
}

/// What can be done with repositories and the rules for them.
#[derive(Clone, Debug, Subcommand)]
pub enum ContentCommand {
    /// List the repositories of a project
    Repositories {
        /// The project
        project: String,
    },
    /// List the artifacts of a repository
    Artifacts {
        /// PROJECT/NAME
        repository: String,
    },
    /// Remove a repository with all that it has
    DeleteRepository {
        /// PROJECT/NAME
        repository: String,
    },
    /// Say where a tag pointed
    History {
        /// PROJECT/NAME
        repository: String,
        /// The tag
        tag: String,
    },
    /// Bring a tag back to where it pointed
    Undelete {
        /// PROJECT/NAME
        repository: String,
        /// The tag
        tag: String,
        /// Where it is to point, if not to where it pointed last
        #[arg(long)]
        digest: Option<String>,
    },
    /// List the rules of a project
    Rules {
        /// The project
        project: String,
    },
    /// Forbid that tags are moved or removed
    MakeImmutable {
        /// The project
        project: String,
        /// Repositories, without the project: a glob
        #[arg(long, default_value = "**")]
        repositories: String,
        /// Tags: a glob
        #[arg(long, default_value = "**")]
        tags: String,
    },
    /// Keep some tags and let others go
    Retain {
        /// The project
        project: String,
        /// Repositories, without the project: a glob
        #[arg(long, default_value = "**")]
        repositories: String,
        /// Tags: a glob
        #[arg(long, default_value = "**")]
        tags: String,
        /// How many of the tags that were pushed last are kept
        #[arg(long, required_unless_present = "days")]
        latest: Option<i64>,
        /// For how many days since their push tags are kept
        #[arg(long)]
        days: Option<i64>,
    },
    /// Remove a rule of a project
    DeleteRule {
        /// The project
        project: String,
        /// The rule's number
        id: i64,
    },
    /// Do what the retention rules of a project say
    RunRetention {
        /// The project
        project: String,
        /// Say what would be done, and do nothing
        #[arg(long)]
        dry_run: bool,
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

fn word(value: &impl ValueEnum) -> String {
    let value = value.to_possible_value();
    value
        .map(|value| value.get_name().to_owned())
        .unwrap_or_default()
}

/// A request of the management API.
type Asked = (Method, String, Option<Value>);

/// The path of a repository: what comes after the project is one part of the path.
fn repository(name: &str) -> String {
    let (project, rest) = name.split_once('/').unwrap_or((name, name));
    format!(
        "/projects/{project}/repositories/{}",
        rest.replace('/', "%252F")
    )
}

/// The last line of standard input.
fn read_password() -> Result<String, CliError> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    match line.trim_end_matches(['\r', '\n']) {
        "" => Err(CliError::Usage("no password on standard input".to_owned())),
        password => Ok(password.to_owned()),
    }
}

fn asked(command: RegistryCommand) -> Result<Asked, CliError> {
    use RegistryCommand as C;
    let get = |path: String| (Method::GET, path, None);
    let delete = |path: String| (Method::DELETE, path, None);
    let post = |path: String, body: Value| (Method::POST, path, Some(body));
    let put = |path: String, body: Value| (Method::PUT, path, Some(body));
    Ok(match command {
        C::Projects => get("/projects".to_owned()),
        C::CreateProject {
            project,
            public,
            quota,
        } => post(
            "/projects".to_owned(),
            json!({
                "project_name": project,
                "metadata": {"public": public.to_string()},
                "storage_limit": quota,
            }),
        ),
        C::SetVisibility {
            project,
            visibility,
        } => {
            let public = visibility == Visibility::Public;
            let body = json!({"metadata": {"public": public.to_string()}});
            put(format!("/projects/{project}"), body)
        }
        C::DeleteProject { project } => delete(format!("/projects/{project}")),
        C::Quotas => get("/quotas".to_owned()),
        C::SetQuota { project, bytes } => put(
            format!("/quotas/{project}"),
            json!({"hard": {"storage": bytes}}),
        ),
        C::Members { project } => get(format!("/projects/{project}/members")),
        C::SetMember {
            project,
            account,
            role,
        } => post(
            format!("/projects/{project}/members"),
            json!({"role_name": word(&role), "member_user": {"username": account}}),
        ),
        C::RemoveMember { project, account } => {
            delete(format!("/projects/{project}/members/{account}"))
        }
        C::Users => get("/users".to_owned()),
        C::CreateUser { name, admin } => post(
            "/users".to_owned(),
            json!({"username": name, "password": read_password()?, "sysadmin_flag": admin}),
        ),
        C::SetPassword { id } => put(
            format!("/users/{id}/password"),
            json!({"new_password": read_password()?}),
        ),
        C::DeleteUser { id } => delete(format!("/users/{id}")),
        C::Robots { project } => get(match project {
            Some(project) => format!("/robots?project={project}"),
            None => "/robots".to_owned(),
        }),
        C::CreateRobot {
            name,
            project,
            allow,
            days,
        } => {
            let actions: Vec<String> = allow.iter().map(word).collect();
            let of = project.clone().unwrap_or_else(|| "*".to_owned());
            let body = json!({
                "name": name,
                "project": project,
                "duration": days.unwrap_or(-1),
                "permissions": [{"project": of, "actions": actions}],
            });
            post("/robots".to_owned(), body)
        }
        C::DeleteRobot { id } => delete(format!("/robots/{id}")),
        C::Gc => get("/system/gc".to_owned()),
        C::RunGc { dry_run } => post("/system/gc".to_owned(), json!({"dry_run": dry_run})),
        C::Fsck { read_bytes, repair } => post(
            "/system/fsck".to_owned(),
            json!({"read_bytes": read_bytes, "repair": repair}),
        ),
        C::Keys => get("/system/keys".to_owned()),
        C::RotateKey => (Method::POST, "/system/keys".to_owned(), None),
        C::Content(command) => asked_of_content(command),
    })
}

/// What concerns repositories and the rules for them.
fn asked_of_content(command: ContentCommand) -> Asked {
    use ContentCommand as C;
    let post = |path: String, body: Value| (Method::POST, path, Some(body));
    let rule = |project: String, rule: Value| post(format!("/projects/{project}/rules"), rule);
    match command {
        C::Artifacts { repository: name } => (
            Method::GET,
            format!("{}/artifacts", repository(&name)),
            None,
        ),
        C::DeleteRepository { repository: name } => (Method::DELETE, repository(&name), None),
        C::History {
            repository: name,
            tag,
        } => {
            let path = format!("{}/tags/{tag}/history", repository(&name));
            (Method::GET, path, None)
        }
        C::Undelete {
            repository: name,
            tag,
            digest,
        } => post(
            format!("{}/tags/{tag}/undelete", repository(&name)),
            json!({"digest": digest}),
        ),
        C::Rules { project } => (Method::GET, format!("/projects/{project}/rules"), None),
        C::MakeImmutable {
            project,
            repositories,
            tags,
        } => rule(
            project,
            json!({"kind": "immutable", "repositories": repositories, "tags": tags}),
        ),
        C::Retain {
            project,
            repositories,
            tags,
            latest,
            days,
        } => rule(
            project,
            json!({
                "kind": "retention",
                "repositories": repositories,
                "tags": tags,
                "latestPushedK": latest,
                "nDaysSinceLastPush": days,
            }),
        ),
        C::DeleteRule { project, id } => (
            Method::DELETE,
            format!("/projects/{project}/rules/{id}"),
            None,
        ),
        C::RunRetention { project, dry_run } => post(
            format!("/projects/{project}/retention"),
            json!({"dry_run": dry_run}),
        ),
        C::Repositories { project } => (
            Method::GET,
            format!("/projects/{project}/repositories"),
            None,
        ),
    }
}

/// Runs a command and prints the answer.
pub(crate) async fn run(args: RegistryArgs, out: &mut (dyn Write + Send)) -> Result<(), CliError> {
    let (method, path, body) = asked(args.command)?;
    let url = format!("{}/api/v2.0{path}", args.addr.trim_end_matches('/'));
    let mut request = reqwest::Client::new().request(method, &url);
    if let Some(name) = &args.username {
        request = request.basic_auth(name, args.password.as_ref());
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    let answer = request.send().await;
    let answer = answer.map_err(|error| CliError::unreachable(&url, &error))?;
    let is_stream = answer
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind == "application/x-ndjson");
    if is_stream {
        return follow(answer, &url, out).await;
    }
    let status = answer.status();
    let text = answer.text().await;
    let text = text.map_err(|error| CliError::unreachable(&url, &error))?;
    let value: Option<Value> = serde_json::from_str(&text).ok();
    if !status.is_success() {
        let message = value
            .as_ref()
            .and_then(|value| value["errors"][0]["message"].as_str());
        return Err(CliError::Refused {
            status: status.as_u16(),
            text: message.unwrap_or(&text).to_owned(),
            url,
        });
    }
    match value {
        Some(Value::Array(rows)) => rows.iter().try_for_each(|row| writeln!(out, "{row}"))?,
        Some(value) => writeln!(out, "{value:#}")?,
        None => {}
    }
    Ok(())
}

/// Prints the lines of a comparison as they come; it is a failure unless it ends well and has found
/// nothing that is still there.
async fn follow(
    mut answer: Response,
    url: &str,
    out: &mut (dyn Write + Send),
) -> Result<(), CliError> {
    let mut rest = Vec::new();
    let mut last = Value::Null;
    while let Some(bytes) = answer
        .chunk()
        .await
        .map_err(|error| CliError::unreachable(url, &error))?
    {
        rest.extend_from_slice(&bytes);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            out.write_all(&line)?;
            last = serde_json::from_slice(&line).unwrap_or_default();
        }
    }
    let number = |key: &str| last[key].as_u64().unwrap_or_default();
    let left = number("findings").saturating_sub(number("repaired"));
    match last["found"].as_str() {
        Some("done") if left == 0 => Ok(()),
        Some("done") => Err(CliError::Answer(format!(
            "{left} things are not as they should be"
        ))),
        _ => Err(CliError::Answer("the comparison was broken off".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        args: RegistryArgs,
    }

    fn request(typed: &str) -> Asked {
        let words = std::iter::once("registry").chain(typed.split(' '));
        asked(Typed::parse_from(words).args.command).unwrap()
    }

    #[test]
    fn commands_become_requests() {
        for (typed, method, path) in [
            ("projects", "GET", "/projects"),
            (
                "artifacts team/a/b",
                "GET",
                "/projects/team/repositories/a%252Fb/artifacts",
            ),
            (
                "artifacts team",
                "GET",
                "/projects/team/repositories/team/artifacts",
            ),
            (
                "undelete team/a v1",
                "POST",
                "/projects/team/repositories/a/tags/v1/undelete",
            ),
            ("set-quota team -1", "PUT", "/quotas/team"),
            ("repositories team", "GET", "/projects/team/repositories"),
            ("run-gc --dry-run", "POST", "/system/gc"),
        ] {
            let (asked_method, asked_path, _) = request(typed);
            assert_eq!(
                (asked_method.as_str(), asked_path.as_str()),
                (method, path),
                "{typed}"
            );
        }
        let (_, _, body) = request("create-robot ci --project team --allow pull,push --days 3");
        let body = body.unwrap();
        assert_eq!(body["permissions"][0]["actions"], json!(["pull", "push"]));
        assert_eq!(body["duration"], 3);
        let (_, _, body) = request("set-member team ann projectAdmin");
        assert_eq!(body.unwrap()["role_name"], "projectAdmin");
    }
}
