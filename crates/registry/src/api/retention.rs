//! Retention as Harbor's clients say it: one policy per project, under the number of the project.
//! It is kept as the retention rules of the project, and when they are followed.

use axum::Json;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::answers::{At, Created};
use super::projects::{found, named};
use super::selector::{self, ScopeSelectors, Selector};
use super::{Admin, Body, Operations, Outcome, Path, answer, wrong};
use crate::auth::Role;
use crate::error::Error;
use crate::logs::Job;
use crate::meta::{NumberedRule, ReplaceRetention};
use crate::retention;
use crate::rule::{Keep, Kind, Rule};

/// Days that no tag gets old enough for: what Harbor calls `always`.
const ALWAYS_DAYS: i64 = i64::MAX;

/// What can be done with retention, in Harbor's words.
pub(super) fn operations(all: Operations) -> Operations {
    let (retention, executions) = ("/retentions/{id}", "/retentions/{id}/executions");
    let set = "Set the retention of a project, in Harbor's words";
    let (run, look) = ("triggerRetentionExecution", "Do what it says, or only look");
    let (metadata, known) = (
        "/retentions/metadatas",
        "What a retention can say, in Harbor's words",
    );
    all.about("Retention")
        .get(metadata, "getRentenitionMetadata", known, metadatas)
        .post("/retentions", "createRetention", set, create)
        .get(
            retention,
            "getRetention",
            "The retention of a project",
            show,
        )
        .put(retention, "updateRetention", "Set it", update)
        .delete(retention, "deleteRetention", "Let all tags stay", delete)
        .post(executions, run, look, execute)
}

/// What rules can keep: the template, the unit of its number if it has one, and what it says.
const TEMPLATES: [(&str, Option<&str>, &str); 6] = [
    (
        "latestPushedK",
        Some("COUNT"),
        "the artifacts that were pushed last",
    ),
    (
        "latestPulledN",
        Some("COUNT"),
        "the artifacts that were pulled last",
    ),
    (
        "latestActiveK",
        Some("COUNT"),
        "the artifacts that were pushed or pulled last",
    ),
    (
        "nDaysSinceLastPush",
        Some("DAYS"),
        "what was pushed in the last days",
    ),
    (
        "nDaysSinceLastPull",
        Some("DAYS"),
        "what was pulled in the last days",
    ),
    ("always", None, "everything"),
];

/// A policy.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "RetentionPolicy")]
struct Policy {
    #[serde(default)]
    id: i64,
    #[serde(default = "or")]
    algorithm: String,
    rules: Vec<PolicyRule>,
    scope: Scope,
    #[serde(default)]
    trigger: Option<Trigger>,
}

/// When a policy is done: at the times of `cron`, or only when somebody asks for it.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "RetentionRuleTrigger")]
#[serde(default)]
struct Trigger {
    kind: String,
    settings: Option<TriggerSettings>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "RetentionRuleTriggerSettings")]
#[serde(default)]
struct TriggerSettings {
    cron: String,
}

impl Trigger {
    /// The times; none without one.
    fn read(&self) -> Result<&str, Error> {
        match (self.kind.as_str(), &self.settings) {
            ("Schedule" | "", Some(settings)) => Ok(settings.cron.trim()),
            ("Schedule" | "Manual" | "", _) => Ok(""),
            (other, _) => {
                let message = format!("trigger.kind={other}: it is Schedule or Manual");
                Err(wrong(message))
            }
        }
    }
}

fn or() -> String {
    "or".to_owned()
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "RetentionPolicyScope")]
struct Scope {
    level: String,
    #[serde(rename = "ref")]
    project: i64,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "RetentionRule")]
struct PolicyRule {
    /// Of the rule that it is told of; several of these can be one.
    #[serde(default)]
    id: i64,
    #[serde(default)]
    disabled: bool,
    action: String,
    template: String,
    #[serde(default)]
    params: Map<String, Value>,
    #[serde(default)]
    tag_selectors: Vec<Selector>,
    #[serde(default)]
    scope_selectors: ScopeSelectors,
}

impl PolicyRule {
    fn read(&self) -> Result<Rule, Error> {
        if self.action != "retain" {
            return Err(wrong("the action of rules is retain"));
        }
        let repositories = self.scope_selectors.read()?;
        let tags = selector::tags(&self.tag_selectors)?;
        let rule = Rule {
            kind: Kind::Retention,
            repositories: repositories.globs,
            repositories_except: repositories.except,
            tags: tags.globs,
            tags_except: tags.except,
            tags_extras: tags.extras,
            disabled: self.disabled,
            keep: self.keep()?,
        };
        rule.scope()?;
        Ok(rule)
    }

    fn keep(&self) -> Result<Keep, Error> {
        let days = || {
            let number = self.params.get(&self.template).and_then(Value::as_i64);
            let number = number.filter(|number| *number >= 0);
            number.ok_or_else(|| wrong(format!("params.{} is a number", self.template)))
        };
        let count = || Ok::<_, Error>(usize::try_from(days()?).unwrap_or(usize::MAX));
        let mut keep = Keep::default();
        match self.template.as_str() {
            "latestPushedK" => keep.latest_pushed = Some(count()?),
            "latestPulledN" => keep.latest_pulled = Some(count()?),
            "latestActiveK" => keep.latest_active = Some(count()?),
            "nDaysSinceLastPush" => keep.days_since_push = Some(days()?),
            "nDaysSinceLastPull" => keep.days_since_pull = Some(days()?),
            "always" => keep.days_since_push = Some(ALWAYS_DAYS),
            other => {
                return Err(wrong(format!(
                    "template {other} is not known here; there are latestPushedK, latestPulledN, \
                     latestActiveK, nDaysSinceLastPush, nDaysSinceLastPull and always"
                )));
            }
        }
        Ok(keep)
    }

    /// What one rule of ours is in Harbor's words: a rule for each thing that it keeps.
    fn write(numbered: &NumberedRule) -> Vec<Self> {
        let keep = &numbered.rule.keep;
        let is_always = keep.days_since_push == Some(ALWAYS_DAYS);
        let days = keep.days_since_push.filter(|_| !is_always);
        let kept = [
            (
                "latestPushedK",
                keep.latest_pushed.map(|count| json!(count)),
            ),
            (
                "latestPulledN",
                keep.latest_pulled.map(|count| json!(count)),
            ),
            (
                "latestActiveK",
                keep.latest_active.map(|count| json!(count)),
            ),
            ("nDaysSinceLastPush", days.map(|days| json!(days))),
            (
                "nDaysSinceLastPull",
                keep.days_since_pull.map(|days| json!(days)),
            ),
        ];
        let counted = kept
            .into_iter()
            .filter_map(|(template, number)| Some((template, Some(number?))));
        let always = is_always.then_some(("always", None));
        counted
            .chain(always)
            .map(|(template, number)| Self::of(numbered, template, number))
            .collect()
    }

    fn of(numbered: &NumberedRule, template: &str, number: Option<Value>) -> Self {
        let rule = &numbered.rule;
        Self {
            id: numbered.id,
            disabled: rule.disabled,
            action: "retain".to_owned(),
            template: template.to_owned(),
            params: number
                .map(|number| (template.to_owned(), number))
                .into_iter()
                .collect(),
            tag_selectors: selector::of_tags(rule),
            scope_selectors: ScopeSelectors::of(rule),
        }
    }
}

/// The name of a project by its number, for who is at least a maintainer of it.
pub(super) async fn project(admin: &Admin, id: i64) -> Result<String, Error> {
    let name = named(admin, id).await?;
    admin.require_role(&name, Some(Role::Maintainer)).await?;
    Ok(name)
}

async fn replace(admin: &Admin, id: i64, policy: &Policy) -> Result<(), Error> {
    if policy.scope.level != "project" || policy.scope.project != id {
        let message = "scope is {\"level\": \"project\", \"ref\": the number of the project}";
        return Err(wrong(message));
    }
    if policy.algorithm != "or" {
        return Err(wrong("the algorithm is or"));
    }
    let rules = policy.rules.iter().map(PolicyRule::read);
    let cron = policy.trigger.as_ref().map_or(Ok(""), Trigger::read)?;
    let replace = ReplaceRetention {
        who: admin.who(),
        project: project(admin, id).await?,
        rules: rules.collect::<Result<_, _>>()?,
        cron: cron.to_owned(),
    };
    admin.registry.meta().change(replace).await
}

/// What a retention can say.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "RetentionMetadata")]
struct Known {
    templates: Vec<KnownTemplate>,
    scope_selectors: Vec<KnownSelector>,
    tag_selectors: Vec<KnownSelector>,
}

/// What a rule can keep.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "RetentionRuleMetadata")]
struct KnownTemplate {
    rule_template: &'static str,
    action: &'static str,
    display_text: &'static str,
    params: Vec<KnownNumber>,
}

/// The number that a rule has to have.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "RetentionRuleParamMetadata")]
struct KnownNumber {
    #[serde(rename = "type")]
    kind: &'static str,
    unit: &'static str,
    required: bool,
}

/// How it is said what a rule is for.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "RetentionSelectorMetadata")]
struct KnownSelector {
    display_text: &'static str,
    kind: &'static str,
    decorations: Vec<&'static str>,
}

async fn metadatas(_admin: Admin) -> Json<Known> {
    let number = |unit| KnownNumber {
        kind: "int",
        unit,
        required: true,
    };
    let template = |(rule_template, unit, display_text): (_, Option<_>, _)| KnownTemplate {
        rule_template,
        action: "retain",
        display_text,
        params: unit.map(number).into_iter().collect(),
    };
    let selector = |display_text, matches, excludes| KnownSelector {
        display_text,
        kind: "doublestar",
        decorations: vec![matches, excludes],
    };
    Json(Known {
        templates: TEMPLATES.map(template).into(),
        scope_selectors: vec![selector("Repositories", "repoMatches", "repoExcludes")],
        tag_selectors: vec![selector("Tags", "matches", "excludes")],
    })
}

async fn create(admin: Admin, Body(policy): Body<Policy>) -> Outcome<Created<At<()>>> {
    let id = policy.scope.project;
    let created = replace(&admin, id, &policy)
        .await
        .map(|()| Created(At(Some(format!("/retentions/{id}")), ())));
    admin.outcome(created)
}

async fn update(admin: Admin, Path(id): Path<i64>, Body(policy): Body<Policy>) -> Outcome<()> {
    answer(&admin, replace(&admin, id, &policy)).await
}

async fn show(admin: Admin, Path(id): Path<i64>) -> Outcome<Json<Policy>> {
    answer(&admin, async {
        let project = found(&admin, &project(&admin, id).await?).await?;
        let rules = admin.registry.meta().rules(project.id).await?;
        let rules = rules.iter();
        let retention = rules.filter(|numbered| numbered.rule.kind == Kind::Retention);
        let cron = admin.registry.meta().retention_cron(project.id).await?;
        Ok(Json(Policy {
            id,
            algorithm: or(),
            rules: retention.flat_map(PolicyRule::write).collect(),
            scope: Scope {
                level: "project".to_owned(),
                project: id,
            },
            trigger: Some(Trigger {
                kind: "Schedule".to_owned(),
                settings: Some(TriggerSettings { cron }),
            }),
        }))
    })
    .await
}

async fn delete(admin: Admin, Path(id): Path<i64>) -> Outcome<()> {
    answer(&admin, async {
        let replace = ReplaceRetention {
            who: admin.who(),
            project: project(&admin, id).await?,
            rules: Vec::new(),
            cron: String::new(),
        };
        admin.registry.meta().change(replace).await
    })
    .await
}

/// A run of a policy.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(rename = "RetentionExecutionReq")]
#[serde(default)]
struct Execution {
    dry_run: bool,
}

/// What a run did.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "RetentionExecuted")]
struct Executed {
    /// Its number, if it is remembered.
    id: Option<i64>,
    dry_run: bool,
    /// How many tags went, or would have.
    deleted: usize,
}

/// Does, or only shows, what the rules of a project say, to its end; gives the repositories and tags
/// that go, and the number of the run, if it is remembered.
pub(super) async fn run(
    admin: &Admin,
    project: String,
    dry_run: bool,
) -> Result<(Vec<(String, String)>, Option<i64>), Error> {
    if !dry_run {
        admin.require_writable()?;
    }
    let job = Job::retention(&project).asked_by(&admin.seen.rid);
    let (registry, who) = (admin.registry.clone(), admin.who());
    let retained = async move {
        let stop = CancellationToken::new();
        retention::retain(&registry, job, who, project, dry_run, &stop).await
    };
    admin.to_its_end("retention", retained).await
}

async fn execute(
    admin: Admin,
    Path(id): Path<i64>,
    Body(execution): Body<Execution>,
) -> Outcome<Created<At<Json<Executed>>>> {
    answer(&admin, async {
        let project = project(&admin, id).await?;
        let dry_run = execution.dry_run;
        let (gone, run) = run(&admin, project, dry_run).await?;
        let path = run.map(|run| format!("/retentions/{id}/executions/{run}"));
        let executed = Executed {
            id: run,
            dry_run,
            deleted: gone.len(),
        };
        Ok(Created(At(path, Json(executed))))
    })
    .await
}
