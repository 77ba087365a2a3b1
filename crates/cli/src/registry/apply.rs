//! Makes projects what a file says that they are, so that they can be kept beside other things that
//! are declared. What the file does not speak of stays as it is; a list that it has is the whole
//! list.

mod check;
mod groups;
mod labels;
mod rules;
mod upstreams;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use model::units::ByteSize;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::asked::{self, Asked, Client};
use super::projects::{Role, member, set_member, set_public, set_quota, word};
use crate::error::CliError;
use labels::Label;
use rules::Rule;
use upstreams::{Numbers, Upstream};

/// What is to be done with which file.
#[derive(Clone, Debug, Args)]
pub struct ApplyArgs {
    /// The file, in YAML; - is standard input
    #[arg(short, long, value_name = "FILE")]
    pub file: PathBuf,
    /// Set the passwords of other registries again: the registry shows none, so that it cannot be told
    /// whether that of a file is another one
    #[arg(long)]
    pub passwords: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// What the file says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// Labels that artifacts of all projects can have.
    labels: Option<BTreeMap<String, Label>>,
    /// Groups and their accounts.
    #[serde(default)]
    groups: BTreeMap<String, BTreeSet<String>>,
    /// Other registries that projects can be caches of.
    #[serde(default)]
    registries: BTreeMap<String, Upstream>,
    #[serde(default, deserialize_with = "projects")]
    projects: BTreeMap<String, Project>,
}

/// Projects of which nothing is said need no braces.
fn projects<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, Project>, D::Error> {
    let said = BTreeMap::<String, Option<Project>>::deserialize(from)?;
    let said = said.into_iter();
    Ok(said
        .map(|(name, project)| (name, project.unwrap_or_default()))
        .collect())
}

/// What a project is to be, or is.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Project {
    public: Option<bool>,
    /// Bytes that it may have; -1 is no bound.
    #[serde(deserialize_with = "quota")]
    quota: Option<i64>,
    /// Accounts and groups, these as `group:NAME`, and their roles.
    #[serde(deserialize_with = "members")]
    members: Option<BTreeMap<String, String>>,
    /// The registry that it is a cache of; no name is none.
    upstream: Option<String>,
    /// Whether what that registry has may take the place of images that the project has.
    replace_images: bool,
    /// Its own labels.
    labels: Option<BTreeMap<String, Label>>,
    /// Its number.
    #[serde(skip)]
    id: Option<i64>,
    /// As `POST /projects/{project}/rules` has them.
    rules: Option<Vec<Rule>>,
}

/// Bytes as a number, of which -1 is no bound, or with a unit.
fn quota<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(
        untagged,
        expecting = "a quota is a size such as 10GB, or -1 for no bound"
    )]
    enum Said {
        Bytes(i64),
        Size(ByteSize),
    }
    Ok(Option::<Said>::deserialize(from)?.map(|said| match said {
        Said::Bytes(bytes) => bytes,
        Said::Size(size) => i64::try_from(size.0).unwrap_or(i64::MAX),
    }))
}

/// Members, whose roles are those that there are.
fn members<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<BTreeMap<String, String>>, D::Error> {
    let said = Option::<BTreeMap<String, String>>::deserialize(from)?;
    for role in said.iter().flat_map(BTreeMap::values) {
        if Role::from_str(role, false).is_err() {
            let roles = Role::value_variants().iter().map(word);
            let roles = roles.collect::<Vec<_>>().join(", ");
            let why = format!("{role} is no role, which are {roles}");
            return Err(serde::de::Error::custom(why));
        }
    }
    Ok(said)
}

/// What the name of a member begins with that is a group.
const GROUP: &str = "group:";
/// What names standard input in place of a file.
const STDIN: &str = "-";
/// The role that may do all that is done here.
const ADMIN: &str = "projectAdmin";

/// A request, and what it is for.
type Step = (String, Asked);

/// Does what a file says, and prints what that is.
pub(super) async fn run(
    client: &Client,
    args: &ApplyArgs,
    out: &mut (dyn Write + Send),
) -> Result<(), CliError> {
    let file = args.file.display();
    let text = match args.file.as_os_str() == STDIN {
        true => std::io::read_to_string(std::io::stdin()),
        false => std::fs::read_to_string(&args.file),
    };
    let text = text.map_err(|error| CliError::Usage(format!("cannot read {file}: {error}")))?;
    let wanted: Wanted = serde_yaml::from_str(&text)
        .map_err(|error| CliError::Usage(format!("{file} cannot be understood: {error}")))?;
    check::check(client, &wanted).await?;
    let mut does = Does {
        client,
        dry_run: args.dry_run,
        passwords: args.passwords,
        out,
    };
    if let Some(labels) = &wanted.labels {
        for step in labels::plan(client, None, labels).await? {
            does.step("registry", step).await?;
        }
    }
    groups::apply(client, &mut does, &wanted.groups).await?;
    let numbers = upstreams::apply(client, &mut does, &wanted).await?;
    for (name, wanted) in &wanted.projects {
        apply_project(client, &mut does, name, wanted, &numbers).await?;
    }
    Ok(())
}

async fn apply_project(
    client: &Client,
    does: &mut Does<'_>,
    name: &str,
    wanted: &Project,
    numbers: &Numbers,
) -> Result<(), CliError> {
    let what = format!("project {name}");
    let mut is = read(client, name, wanted, numbers).await?;
    if is.is_none() {
        let made = json!({"project_name": name});
        let made = ("made".to_owned(), Asked::post("/projects", made));
        does.step(&what, made).await?;
        is = match does.dry_run {
            true => Some(Project::made_by(client.user())),
            false => read(client, name, wanted, numbers).await?,
        };
    }
    let is = is.unwrap_or_default();
    for step in plan(name, wanted, &is, numbers)? {
        does.step(&what, step).await?;
    }
    let labels = match (&wanted.labels, is.id) {
        (None, _) => Vec::new(),
        (Some(labels), Some(id)) => labels::plan(client, Some(id), labels).await?,
        (Some(labels), None) => labels::steps(None, labels, &[]),
    };
    // Members come last: nothing else can be done any more by who ends to be one.
    for step in labels
        .into_iter()
        .chain(plan_members(name, wanted, &is, client.user()))
    {
        does.step(&what, step).await?;
    }
    Ok(())
}

/// Does what is to be done, or only says so.
struct Does<'a> {
    client: &'a Client,
    dry_run: bool,
    /// Whether passwords are set again.
    passwords: bool,
    out: &'a mut (dyn Write + Send),
}

impl Does<'_> {
    /// Takes a step, for which the registry's answer is given back if there is one.
    async fn step(&mut self, of: &str, (what, asked): Step) -> Result<Value, CliError> {
        let answer = match self.dry_run {
            true => Value::Null,
            false => self.client.ask(asked).await?,
        };
        writeln!(self.out, "{of}: {what}")?;
        Ok(answer)
    }
}

impl Project {
    /// One that is new: who makes it becomes a member.
    fn made_by(user: Option<&str>) -> Self {
        let maker = user.map(|user| (user.to_owned(), ADMIN.to_owned()));
        Self {
            members: Some(maker.into_iter().collect()),
            ..Self::default()
        }
    }
}

/// What a project is, as far as that is spoken of; nothing if it is not there.
async fn read(
    client: &Client,
    name: &str,
    wanted: &Project,
    numbers: &Numbers,
) -> Result<Option<Project>, CliError> {
    let path = asked::project(name);
    let project = match client.ask(Asked::get(&path)).await {
        Err(CliError::Refused { status: 404, .. }) => return Ok(None),
        project => project?,
    };
    let quota = client
        .ask(Asked::get(format!("/quotas/{}", asked::encoded(name))))
        .await?;
    let members = client.all(&format!("{path}/members")).await?;
    let rules = match wanted.rules {
        None => None,
        Some(_) => Some(read_rules(client, name).await?),
    };
    let member = |member: &Value| {
        let text = |key: &str| member[key].as_str().unwrap_or_default().to_owned();
        let name = match member["entity_type"].as_str() {
            Some("g") => format!("{GROUP}{}", text("entity_name")),
            _ => text("entity_name"),
        };
        (name, text("role_name"))
    };
    Ok(Some(Project {
        public: Some(project["metadata"]["public"] == "true"),
        quota: quota["hard"]["storage"].as_i64(),
        members: Some(members.iter().map(member).collect()),
        upstream: Some(upstreams::of_project(&project, numbers)),
        replace_images: false,
        labels: None,
        id: project["project_id"].as_i64(),
        rules,
    }))
}

async fn read_rules(client: &Client, name: &str) -> Result<Vec<Rule>, CliError> {
    let path = format!("{}/rules", asked::project(name));
    let rules = client.all(&path).await?;
    let read = rules.iter().map(|rule| {
        // One that a later version knows is not removed by this one.
        Rule::of_registry(rule)
            .map_err(|error| CliError::Answer(format!("project {name}: rule {rule}: {error}")))
    });
    read.collect()
}

/// What makes a project what it is to be.
fn plan(
    name: &str,
    wanted: &Project,
    is: &Project,
    numbers: &Numbers,
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
        let replaces = wanted.replace_images;
        steps.push(upstreams::plan_project(name, upstream, replaces, numbers)?);
    }
    if let Some(rules) = &wanted.rules {
        let are = is.rules.as_deref().unwrap_or_default();
        steps.extend(rules::plan(name, rules, are));
    }
    Ok(steps)
}

/// What gives a project the members that it is to have. What the rights of the caller, `own`, may come
/// from is changed last.
fn plan_members(name: &str, wanted: &Project, is: &Project, own: Option<&str>) -> Vec<Step> {
    let Some(wanted) = &wanted.members else {
        return Vec::new();
    };
    let none = BTreeMap::new();
    let are = is.members.as_ref().unwrap_or(&none);
    let mut steps = Vec::new();
    for (account, role) in wanted {
        if are.get(account) != Some(role) {
            let set = set_member(name, account, role);
            steps.push((account, (format!("{account} is {role}"), set)));
        }
    }
    for account in are.keys().filter(|account| !wanted.contains_key(*account)) {
        let step = Asked::delete(member(name, account));
        steps.push((account, (format!("{account} is no member"), step)));
    }
    steps.sort_by_key(|(account, _)| {
        let is_own = own == Some(account.as_str());
        let is_admin = are.get(*account).is_some_and(|role| role == ADMIN);
        // Whoever is an administrator by himself does not need a group for it.
        is_admin.then(|| (is_own, account.starts_with(GROUP)))
    });
    steps.into_iter().map(|(_, step)| step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(yaml: &str) -> Project {
        serde_yaml::from_str(yaml).unwrap()
    }

    fn steps(wanted: &str, is: &str) -> Vec<String> {
        let numbers = BTreeMap::from([("hub".to_owned(), 7)]);
        let (wanted, is) = (project(wanted), project(is));
        let mut steps = plan("team", &wanted, &is, &numbers).unwrap();
        steps.extend(plan_members("team", &wanted, &is, Some("eve")));
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
        let rules = |rules: &str| format!("rules: [{{kind: retention, tags: v*, {rules}}}]");
        let is = rules("id: 8, repositories: '**', latestPulledN: 3, pushedWithin: 1w");
        let wanted = rules("mostRecentlyPulledCount: 3, pushedWithin: 168h");
        assert!(steps(&wanted, &is).is_empty());
        assert!(steps("{}", &is).is_empty());
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
            r#"rule {"kind":"immutable","repositories":"**","tags":"v*"}: POST /projects/team/rules"#,
            r#"no rule {"kind":"immutable","repositories":"**","tags":"**"}: DELETE /projects/team/rules/7"#,
            "ann is developer: POST /projects/team/members",
            "bob is guest: POST /projects/team/members",
            "eve is no member: DELETE /projects/team/members/eve",
        ];
        assert_eq!(steps(WANTED, is), expected);
    }

    #[test]
    fn who_goes_does_all_else_before() {
        let admins = "members: {eve: projectAdmin, 'group:g': projectAdmin, ann: projectAdmin}";
        let gone = |name| format!("{name} is no member: DELETE /projects/team/members/{name}");
        let group = "group:g is no member: DELETE /projects/team/members/group:g";
        let wanted = "members: {zoe: guest}";
        let made = "zoe is guest: POST /projects/team/members";
        let expected = [made, &gone("ann"), group, &gone("eve")];
        assert_eq!(steps(wanted, admins), expected);
        let by_group = "members: {eve: developer, 'group:g': projectAdmin}";
        assert_eq!(steps(wanted, by_group), [made, &gone("eve"), group]);
    }

    #[test]
    fn projects_become_caches_and_are_no_more() {
        let step = "a cache of hub: PUT /projects/team";
        assert_eq!(steps("upstream: hub", "upstream: ''"), [step]);
        let step = "no cache any more: PUT /projects/team";
        assert_eq!(steps("upstream: ''", "upstream: hub"), [step]);
        assert!(steps("upstream: hub", "upstream: hub").is_empty());
        let numbers = BTreeMap::from([("hub".to_owned(), 7)]);
        let replaces = project("{upstream: hub, replace_images: true}");
        let replaces = plan("team", &replaces, &project("upstream: ''"), &numbers).unwrap();
        let body = replaces.first().and_then(|(_, asked)| asked.body.clone());
        assert_eq!(body.unwrap()["replace_images"], true);
        let unknown = project("upstream: other");
        assert!(plan("team", &unknown, &Project::default(), &BTreeMap::new()).is_err());
    }

    #[test]
    fn what_nobody_knows_is_refused() {
        for wrong in [
            "{open: true}",
            "{rules: [{kind: foo}]}",
            "{rules: [{kind: retention, keepAll: true}]}",
            "{members: {ann: Maintainer}}",
            "{quota: much}",
        ] {
            let file = format!("projects: {{team: {wrong}}}");
            assert!(serde_yaml::from_str::<Wanted>(&file).is_err(), "{wrong}");
        }
        for (rule, is_right) in [
            ("{kind: retention}", false),
            ("{kind: immutable, latestPushedK: 5}", false),
            ("{kind: retention, pulledWithin: 1w}", true),
            ("{kind: immutable}", true),
        ] {
            let rule: Rule = serde_yaml::from_str(rule).unwrap();
            assert_eq!(rule.wrong().is_none(), is_right, "{rule:?}");
        }
    }

    #[test]
    fn sizes_have_units_and_nothing_is_something() {
        let wanted = "projects: {big: {quota: 10GB}, open: {quota: -1}, empty: }";
        let wanted: Wanted = serde_yaml::from_str(wanted).unwrap();
        let quota = |name: &str| wanted.projects[name].quota;
        assert_eq!(quota("big"), Some(10 << 30));
        assert_eq!((quota("open"), quota("empty")), (Some(-1), None));
    }

    #[test]
    fn who_makes_a_project_and_is_no_member_goes_again() {
        let is = Project::made_by(Some("eve"));
        let steps = plan_members("team", &project("members: {ann: guest}"), &is, Some("eve"));
        let what: Vec<_> = steps.iter().map(|(what, _)| what.as_str()).collect();
        assert_eq!(what, ["ann is guest", "eve is no member"]);
    }
}
