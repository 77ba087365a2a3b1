//! Makes projects what a file says that they are, so that they can be kept beside other things that
//! are declared. What the file does not speak of stays as it is; a list that it has is the whole
//! list.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::asked::{Asked, Client};
use super::projects::{set_member, set_public, set_quota};
use super::upstreams::set_upstream;
use crate::error::CliError;

/// What is to be done with which file.
#[derive(Clone, Debug, Args)]
pub struct ApplyArgs {
    /// The file, in YAML
    #[arg(short, long, value_name = "FILE")]
    pub file: PathBuf,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// What the file says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// Other registries that projects can be caches of.
    #[serde(default)]
    registries: BTreeMap<String, Upstream>,
    #[serde(default)]
    projects: BTreeMap<String, Project>,
}

/// What another registry is to be, or is.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Upstream {
    url: String,
    namespace: Option<String>,
    username: Option<String>,
    /// The variable of the environment that has the password.
    password_env: Option<String>,
}

/// What a project is to be, or is.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Project {
    public: Option<bool>,
    /// Bytes that it may have; -1 is no bound.
    quota: Option<i64>,
    /// Accounts and their roles.
    members: Option<BTreeMap<String, String>>,
    /// The registry that it is a cache of; no name is none.
    upstream: Option<String>,
    /// As `POST /projects/{project}/rules` has them.
    rules: Option<Vec<Map<String, Value>>>,
}

/// A request, and what it is for.
type Step = (String, Asked);

/// Does what a file says, and prints what that is.
pub(super) async fn run(
    client: &Client,
    args: &ApplyArgs,
    out: &mut (dyn Write + Send),
) -> Result<(), CliError> {
    let file = args.file.display();
    let text = std::fs::read_to_string(&args.file)
        .map_err(|error| CliError::Usage(format!("cannot read {file}: {error}")))?;
    let wanted: Wanted = serde_yaml::from_str(&text)
        .map_err(|error| CliError::Usage(format!("{file} cannot be understood: {error}")))?;
    let mut numbers = BTreeMap::new();
    let known = known(client, &wanted).await?;
    for (name, known) in &known {
        numbers.extend(known["id"].as_i64().map(|id| (name.clone(), id)));
    }
    for (name, wanted) in &wanted.registries {
        let Some((what, asked)) = plan_upstream(name, wanted, known.get(name))? else {
            continue;
        };
        // What is not made is only named.
        let made = match args.dry_run {
            true => json!({"id": 0}),
            false => client.ask(asked).await?,
        };
        if let Some(id) = made["id"].as_i64() {
            numbers.entry(name.clone()).or_insert(id);
        }
        writeln!(out, "registry {name}: {what}")?;
    }
    for (name, wanted) in &wanted.projects {
        let mut is = read(client, name, &numbers).await?;
        if is.is_none() {
            let made = json!({"project_name": name});
            let made = ("made".to_owned(), Asked::post("/projects", made));
            make(client, args, out, name, vec![made]).await?;
            // Who makes a project becomes a member.
            is = match args.dry_run {
                true => Some(Project::default()),
                false => read(client, name, &numbers).await?,
            };
        }
        let steps = plan(name, wanted, &is.unwrap_or_default(), &numbers)?;
        make(client, args, out, name, steps).await?;
    }
    Ok(())
}

async fn make(
    client: &Client,
    args: &ApplyArgs,
    out: &mut (dyn Write + Send),
    project: &str,
    steps: Vec<Step>,
) -> Result<(), CliError> {
    for (what, asked) in steps {
        if !args.dry_run {
            client.ask(asked).await?;
        }
        writeln!(out, "project {project}: {what}")?;
    }
    Ok(())
}

/// The registries that are known, by their names, if the file speaks of any.
async fn known(client: &Client, wanted: &Wanted) -> Result<BTreeMap<String, Value>, CliError> {
    let mut projects = wanted.projects.values();
    if wanted.registries.is_empty() && projects.all(|project| project.upstream.is_none()) {
        return Ok(BTreeMap::new());
    }
    let known = client.ask(Asked::get("/registries")).await?;
    let known = known.as_array().into_iter().flatten();
    let named = |one: &Value| Some((one["name"].as_str()?.to_owned(), one.clone()));
    Ok(known.filter_map(named).collect())
}

/// What makes a registry what it is to be. Passwords are never shown, so that another one alone is
/// no difference.
fn plan_upstream(
    name: &str,
    wanted: &Upstream,
    is: Option<&Value>,
) -> Result<Option<Step>, CliError> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let username = wanted.username.clone().unwrap_or_default();
    if let Some(is) = is {
        let namespace = wanted.namespace.clone();
        let same_namespace = namespace.is_none_or(|wanted| wanted == text(&is["namespace"]));
        let same = text(&is["url"]) == wanted.url.trim_end_matches('/')
            && text(&is["credential"]["access_key"]) == username;
        if same && same_namespace {
            return Ok(None);
        }
    }
    let password = match &wanted.password_env {
        Some(variable) => std::env::var(variable)
            .map_err(|_| CliError::Usage(format!("registry {name}: {variable} is not set")))?,
        None => String::new(),
    };
    let mut body = json!({
        "name": name,
        "url": wanted.url,
        "credential": {"access_key": username, "access_secret": password},
    });
    if let Some(namespace) = &wanted.namespace {
        body["namespace"] = namespace.as_str().into();
    }
    Ok(Some(match is {
        Some(is) => (
            "changed".to_owned(),
            Asked::put(format!("/registries/{}", is["id"]), body),
        ),
        None => ("made known".to_owned(), Asked::post("/registries", body)),
    }))
}

/// What a project is; nothing if it is not there.
async fn read(
    client: &Client,
    name: &str,
    numbers: &BTreeMap<String, i64>,
) -> Result<Option<Project>, CliError> {
    let path = format!("/projects/{name}");
    let project = match client.ask(Asked::get(&path)).await {
        Err(CliError::Refused { status: 404, .. }) => return Ok(None),
        project => project?,
    };
    let quota = client.ask(Asked::get(format!("/quotas/{name}"))).await?;
    let members = client.ask(Asked::get(format!("{path}/members"))).await?;
    let rules = client.ask(Asked::get(format!("{path}/rules"))).await?;
    let members = members.as_array().into_iter().flatten();
    let member = |member: &Value| {
        let text = |key: &str| member[key].as_str().unwrap_or_default().to_owned();
        (text("entity_name"), text("role_name"))
    };
    let rules = rules.as_array().into_iter().flatten();
    Ok(Some(Project {
        public: Some(project["metadata"]["public"] == "true"),
        quota: quota["hard"]["storage"].as_i64(),
        members: Some(members.map(member).collect()),
        upstream: upstream_of(&project, numbers),
        rules: Some(rules.filter_map(|rule| rule.as_object().cloned()).collect()),
    }))
}

/// The name of what a project is a cache of; no name if it is none.
fn upstream_of(project: &Value, numbers: &BTreeMap<String, i64>) -> Option<String> {
    let id = project["registry_id"].as_i64();
    let found = numbers.iter().find(|(_, number)| Some(**number) == id);
    Some(found.map(|(name, _)| name.clone()).unwrap_or_default())
}

/// What makes a project what it is to be.
fn plan(
    name: &str,
    wanted: &Project,
    is: &Project,
    numbers: &BTreeMap<String, i64>,
) -> Result<Vec<Step>, CliError> {
    let mut steps = Vec::new();
    if let Some(public) = wanted.public.filter(|_| wanted.public != is.public) {
        let what = if public { "public" } else { "private" };
        steps.push((what.to_owned(), set_public(name, public)));
    }
    if let Some(quota) = wanted.quota.filter(|_| wanted.quota != is.quota) {
        steps.push((format!("quota {quota}"), set_quota(name, quota)));
    }
    if let Some(upstream) = wanted
        .upstream
        .as_ref()
        .filter(|_| wanted.upstream != is.upstream)
    {
        steps.push(plan_upstream_of(name, upstream, numbers)?);
    }
    if let Some(members) = &wanted.members {
        let none = BTreeMap::new();
        plan_members(
            name,
            members,
            is.members.as_ref().unwrap_or(&none),
            &mut steps,
        );
    }
    if let Some(rules) = &wanted.rules {
        plan_rules(
            name,
            rules,
            is.rules.as_deref().unwrap_or_default(),
            &mut steps,
        );
    }
    Ok(steps)
}

fn plan_upstream_of(
    name: &str,
    upstream: &str,
    numbers: &BTreeMap<String, i64>,
) -> Result<Step, CliError> {
    if upstream.is_empty() {
        return Ok(("no cache any more".to_owned(), set_upstream(name, 0)));
    }
    let number = numbers.get(upstream).copied().ok_or_else(|| {
        let message = format!("project {name}: there is no registry {upstream}");
        CliError::Usage(message)
    })?;
    let what = format!("a cache of {upstream}");
    Ok((what, set_upstream(name, number)))
}

fn plan_members(
    name: &str,
    wanted: &BTreeMap<String, String>,
    are: &BTreeMap<String, String>,
    steps: &mut Vec<Step>,
) {
    for (account, role) in wanted {
        if are.get(account) != Some(role) {
            let set = set_member(name, account, role);
            steps.push((format!("{account} is {role}"), set));
        }
    }
    for account in are.keys().filter(|account| !wanted.contains_key(*account)) {
        let path = format!("/projects/{name}/members/{account}");
        steps.push((format!("{account} is no member"), Asked::delete(path)));
    }
}

fn plan_rules(
    name: &str,
    wanted: &[Map<String, Value>],
    are: &[Map<String, Value>],
    steps: &mut Vec<Step>,
) {
    let path = format!("/projects/{name}/rules");
    let wanted: Vec<_> = wanted.iter().map(bare).collect();
    let bare_are: Vec<_> = are.iter().map(bare).collect();
    // New ones first, so that no tag is without the rule that holds it.
    for rule in wanted.iter().filter(|rule| !bare_are.contains(rule)) {
        let rule = Value::Object(rule.clone());
        steps.push((format!("rule {rule}"), Asked::post(&path, rule)));
    }
    for rule in are.iter().filter(|rule| !wanted.contains(&bare(rule))) {
        let id = rule.get("id").cloned().unwrap_or_default();
        let gone = Asked::delete(format!("{path}/{id}"));
        steps.push((format!("no rule {}", Value::Object(bare(rule))), gone));
    }
}

/// A rule without its number, and with what is meant if nothing is said.
fn bare(rule: &Map<String, Value>) -> Map<String, Value> {
    let mut rule = rule.clone();
    rule.remove("id");
    for glob in ["repositories", "tags"] {
        rule.entry(glob).or_insert_with(|| "**".into());
    }
    rule
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(yaml: &str) -> Project {
        serde_yaml::from_str(yaml).unwrap()
    }

    fn steps(wanted: &str, is: &str) -> Vec<String> {
        let numbers = BTreeMap::from([("hub".to_owned(), 7)]);
        let steps = plan("team", &project(wanted), &project(is), &numbers).unwrap();
        let step = |(what, asked): &Step| format!("{what}: {} {}", asked.method, asked.path);
        steps.iter().map(step).collect()
    }

    const WANTED: &str = "
public: true
quota: 1000
members: {ann: developer, bob: guest}
rules:
  - {kind: immutable, tags: v*}
";

    #[test]
    fn only_what_differs_is_done() {
        let is = "
public: true
quota: 1000
members: {ann: developer, bob: guest}
rules:
  - {id: 7, kind: immutable, repositories: '**', tags: v*}
";
        assert!(steps(WANTED, is).is_empty());
        assert!(steps("{}", is).is_empty());
    }

    #[test]
    fn projects_become_caches_and_are_no_more() {
        let step = "a cache of hub: PUT /projects/team";
        assert_eq!(steps("upstream: hub", "upstream: ''"), [step]);
        let step = "no cache any more: PUT /projects/team";
        assert_eq!(steps("upstream: ''", "upstream: hub"), [step]);
        assert!(steps("upstream: hub", "upstream: hub").is_empty());
        let unknown = project("upstream: other");
        assert!(plan("team", &unknown, &Project::default(), &BTreeMap::new()).is_err());
    }

    #[test]
    fn registries_are_changed_where_they_differ() {
        let wanted: Upstream =
            serde_yaml::from_str("{url: 'https://quay.io/', username: me}").unwrap();
        let mut is = json!({"id": 7, "url": "https://quay.io", "namespace": "quay.io",
            "credential": {"access_key": "me"}});
        assert!(plan_upstream("quay", &wanted, Some(&is)).unwrap().is_none());
        let made = plan_upstream("quay", &wanted, None).unwrap().unwrap().1;
        assert_eq!(
            (made.method.as_str(), made.path.as_str()),
            ("POST", "/registries")
        );
        is["credential"] = Value::Null;
        let changed = plan_upstream("quay", &wanted, Some(&is))
            .unwrap()
            .unwrap()
            .1;
        assert_eq!(
            (changed.method.as_str(), changed.path.as_str()),
            ("PUT", "/registries/7")
        );
    }

    #[test]
    fn what_differs_is_done() {
        let is = "
public: false
quota: -1
members: {bob: developer, eve: guest}
rules:
  - {id: 7, kind: immutable, tags: '**'}
";
        let expected = [
            "public: PUT /projects/team",
            "quota 1000: PUT /quotas/team",
            "ann is developer: POST /projects/team/members",
            "bob is guest: POST /projects/team/members",
            "eve is no member: DELETE /projects/team/members/eve",
            r#"rule {"kind":"immutable","repositories":"**","tags":"v*"}: POST /projects/team/rules"#,
            r#"no rule {"kind":"immutable","repositories":"**","tags":"**"}: DELETE /projects/team/rules/7"#,
        ];
        assert_eq!(steps(WANTED, is), expected);
    }

    #[test]
    fn what_nobody_knows_is_refused() {
        assert!(serde_yaml::from_str::<Wanted>("projects: {team: {open: true}}").is_err());
    }
}
