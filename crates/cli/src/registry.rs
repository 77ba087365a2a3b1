//! `skald registry`: looks after an image registry, by its management API.
//!
//! A command is one request of the API, told from what was typed by the file that has the command;
//! `apply` alone makes several.

mod accounts;
mod apply;
mod asked;
mod content;
mod groups;
mod policy;
mod projects;
mod secret;
mod system;
mod upstreams;

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use reqwest::Response;
use reqwest::header::CONTENT_TYPE;
use serde_json::Value;

pub use accounts::{AccountCommand, Action, Reach, Switch};
pub use apply::ApplyArgs;
pub use asked::ListArgs;
use asked::{Asked, Client};
pub use content::ContentCommand;
pub use groups::GroupCommand;
pub use policy::{Kept, PolicyCommand};
pub use projects::{ProjectCommand, Role, Visibility};
pub use system::SystemCommand;
pub use upstreams::UpstreamCommand;

use crate::error::CliError;

const ADDR: &str = "SKALD_REGISTRY_ADDR";
const USERNAME: &str = "SKALD_REGISTRY_USERNAME";
const PASSWORD: &str = "SKALD_REGISTRY_PASSWORD";
const CA_CERT: &str = "SKALD_REGISTRY_CA_CERT";
/// Variables of the environment that are read here. They are named as keys of the configuration are, and
/// are none.
pub const REGISTRY_VARIABLES: [&str; 4] = [ADDR, USERNAME, PASSWORD, CA_CERT];

/// Where the registry is and who asks.
#[derive(Clone, Debug, Args)]
pub struct RegistryArgs {
    /// Address of the registry
    #[arg(
        long,
        global = true,
        env = ADDR,
        default_value = "http://127.0.0.1:5000",
        value_name = "URL"
    )]
    pub addr: String,
    /// Who logs in
    #[arg(
        long,
        global = true,
        env = USERNAME,
        value_name = "NAME"
    )]
    pub username: Option<String>,
    /// The password; better given by the variable than typed
    #[arg(
        long,
        global = true,
        env = PASSWORD,
        hide_env_values = true
    )]
    pub password: Option<String>,
    /// Certificates to trust, in PEM
    #[arg(
        long,
        global = true,
        env = CA_CERT,
        value_name = "FILE"
    )]
    pub ca_cert: Option<PathBuf>,
    /// Believe any certificate
    #[arg(long, global = true)]
    pub tls_skip_verify: bool,
    /// What to do
    #[command(subcommand)]
    pub command: RegistryCommand,
}

/// What can be done.
#[derive(Clone, Debug, Subcommand)]
pub enum RegistryCommand {
    /// What concerns projects and their members
    #[command(flatten)]
    Projects(ProjectCommand),
    /// What concerns people and robots
    #[command(flatten)]
    Accounts(AccountCommand),
    /// What concerns groups of accounts
    #[command(flatten)]
    Groups(GroupCommand),
    /// What concerns repositories, artifacts and tags
    #[command(flatten)]
    Content(ContentCommand),
    /// What concerns rules and labels
    #[command(flatten)]
    Policy(PolicyCommand),
    /// What concerns other registries
    #[command(flatten)]
    Upstreams(UpstreamCommand),
    /// What concerns the registry as a whole
    #[command(flatten)]
    System(SystemCommand),
    /// Make projects what a file says that they are
    Apply(ApplyArgs),
}

/// What a command does.
enum Work {
    Ask(Asked),
    Apply(ApplyArgs),
}

impl RegistryCommand {
    fn work(self) -> Result<Work, CliError> {
        Ok(Work::Ask(match self {
            Self::Projects(command) => command.asked(),
            Self::Accounts(command) => command.asked()?,
            Self::Groups(command) => command.asked(),
            Self::Content(command) => command.asked(),
            Self::Policy(command) => command.asked()?,
            Self::Upstreams(command) => command.asked()?,
            Self::System(command) => command.asked()?,
            Self::Apply(args) => return Ok(Work::Apply(args)),
        }))
    }
}

/// Runs a command and prints the answer.
pub(crate) async fn run(args: RegistryArgs, out: &mut (dyn Write + Send)) -> Result<(), CliError> {
    let client = Client::new(&args)?;
    let asked = match args.command.work()? {
        Work::Ask(asked) => asked,
        Work::Apply(args) => return apply::run(&client, &args, out).await,
    };
    if asked.rows_max.is_some() {
        let printed = client.pages(asked, |rows| {
            rows.iter().try_for_each(|row| writeln!(out, "{row}"))?;
            Ok(out.flush()?)
        });
        return printed.await;
    }
    let (url, answer) = client.send(asked).await?;
    let is_stream = answer
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind == "application/x-ndjson");
    if is_stream {
        return follow(answer, &url, out).await;
    }
    match client.read(answer, &url).await? {
        Value::Null => {}
        value => writeln!(out, "{value:#}")?,
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
    use serde_json::json;

    use super::*;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        args: RegistryArgs,
    }

    fn request(typed: &str) -> Asked {
        let words = std::iter::once("registry").chain(typed.split(' '));
        match Typed::parse_from(words).args.command.work().unwrap() {
            Work::Ask(asked) => asked,
            Work::Apply(_) => panic!("{typed} is no single request"),
        }
    }

    #[test]
    fn commands_become_requests() {
        for (typed, method, path) in [
            ("projects", "GET", "/projects?page_size=1000"),
            (
                "artifacts team/a/b",
                "GET",
                "/projects/team/repositories/a%252Fb/artifacts?page_size=1000",
            ),
            (
                "artifacts team",
                "GET",
                "/projects/team/repositories/-/artifacts?page_size=1000",
            ),
            (
                "undelete team/a v1",
                "POST",
                "/projects/team/repositories/a/tags/v1/undelete",
            ),
            ("set-quota team -1", "PUT", "/quotas/team"),
            ("purge team", "POST", "/projects/team/purge"),
            (
                "repositories team --limit 5",
                "GET",
                "/projects/team/repositories?page_size=5",
            ),
            (
                "audit --project team --filter operation=delete",
                "GET",
                "/projects/team/logs?q=operation%3Ddelete&page_size=1000",
            ),
            ("set-gc-schedule daily", "PUT", "/system/gc/schedule"),
            ("configure read_only=true", "PUT", "/configurations"),
            ("run-gc --dry-run", "POST", "/system/gc"),
            ("gc", "GET", "/system/gc/backlog"),
            ("gc-runs", "GET", "/system/gc?page_size=1000"),
            (
                "retention-runs 7 --limit 5",
                "GET",
                "/retentions/7/executions?page_size=5",
            ),
            ("stop-gc 7", "PUT", "/system/gc/7"),
            ("stop-retention 7 8", "PATCH", "/retentions/7/executions/8"),
            ("disable-rule team 7", "PATCH", "/projects/team/rules/7"),
            ("enable-rule team 7", "PATCH", "/projects/team/rules/7"),
            ("set-label 7 new", "PUT", "/labels/7"),
            ("repositories", "GET", "/repositories?page_size=1000"),
            ("search a&b", "GET", "/search?q=a%26b"),
            (
                "artifact team/a v1",
                "GET",
                "/projects/team/repositories/a/artifacts/v1",
            ),
            (
                "copy-artifact team/a:v1 prod/a",
                "POST",
                "/projects/prod/repositories/a/artifacts?from=team%2Fa:v1",
            ),
            (
                "set-permissions 7 team other --allow pull,push",
                "PUT",
                "/robots/7",
            ),
            ("set-profile 7 --email a@b", "PUT", "/users/7"),
            (
                "set-registry 7 --url https://docker.io",
                "PUT",
                "/registries/7",
            ),
            ("statistics", "GET", "/statistics"),
            ("permissions", "GET", "/permissions"),
            ("disable-user 7", "PUT", "/users/7/disabled"),
            ("renew-robot 7", "PATCH", "/robots/7"),
            ("retention 7", "GET", "/retentions/7"),
            ("registries", "GET", "/registries?page_size=1000"),
            ("add-to-group 7 ann", "POST", "/usergroups/7/members"),
            ("rename-group 7 devs", "PUT", "/usergroups/7"),
            ("ping-registry 7", "POST", "/registries/ping"),
            (
                "create-registry hub https://docker.io",
                "POST",
                "/registries",
            ),
            ("set-upstream team 7", "PUT", "/projects/team"),
            (
                "labels --project-id 7",
                "GET",
                "/labels?scope=p&project_id=7&page_size=1000",
            ),
            (
                "label team/a/b v1 7",
                "POST",
                "/projects/team/repositories/a%252Fb/artifacts/v1/labels",
            ),
            (
                "artifacts team/a --label 7",
                "GET",
                "/projects/team/repositories/a/artifacts?q=labels=(7)&page_size=1000",
            ),
        ] {
            let asked = request(typed);
            assert_eq!(
                (asked.method.as_str(), asked.path.as_str()),
                (method, path),
                "{typed}"
            );
        }
        let body = |typed: &str| request(typed).body.unwrap();
        let set_member = body("set-member team ann projectAdmin");
        assert_eq!(set_member["role_name"], "projectAdmin");
        let retain = body("retain team --latest-pulled 3 --days-since-pull 9");
        assert_eq!(retain["latestPulledN"], 3);
        assert_eq!(retain["nDaysSinceLastPull"], 9);
        assert!(Typed::try_parse_from(["registry", "retain", "team"]).is_err());
        let robot = body("create-robot ci --project team --allow pull,push --days 3");
        let permission = json!({"project": "team", "actions": ["pull", "push"]});
        assert_eq!(robot["permissions"], json!([permission]));
        assert_eq!(robot["duration"], 3);
        assert_eq!(
            body("create-project team --quota -1")["storage_limit"],
            json!(-1)
        );
    }

    #[test]
    fn a_robot_reaches_and_lasts_no_further_than_was_said() {
        let body = |typed: &str| request(typed).body.unwrap();
        let all = body("create-robot ci --all-projects --days -1");
        assert_eq!(all["permissions"][0]["project"], "*");
        assert_eq!(all["duration"], -1);
        // What robots have of which nothing is said.
        assert_eq!(body("create-robot ci --project team")["duration"], 0);
        for typed in [
            "",
            " --all-projects --project team",
            " --running --project team",
            " --running --allow pull",
        ] {
            let words = format!("registry create-robot ci{typed}");
            assert!(Typed::try_parse_from(words.split(' ')).is_err(), "{words}");
        }
        let access = json!([{"resource": "running", "action": "update"}]);
        let says = json!({"kind": "system", "namespace": "/", "access": access});
        let cron = body("create-robot cron --running");
        assert_eq!(cron["permissions"], json!([says]));
        let pulls = json!({"project": "team", "actions": ["pull"]});
        let both = body("set-permissions 7 team --running");
        assert_eq!(both["permissions"], json!([pulls, says]));
        assert_eq!(
            body("set-permissions 7 --running")["permissions"],
            json!([says])
        );
    }
}
