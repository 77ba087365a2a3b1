//! Rules of a project: immutable tags and retention.

use axum::Json;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answers::{Created, Number};
use super::projects::found;
use super::query::{Asks, Page};
use super::{Admin, Body, Operations, Outcome, Path, answer, retention};
use crate::auth::Role;
use crate::meta::{AddRule, Column, DeleteRule, Kind, NumberedRule, SwitchRule};
use crate::rule::Rule;

/// What can be done with rules.
pub(super) fn operations(all: Operations) -> Operations {
    let (rules, rule) = (
        "/projects/{project}/rules",
        "/projects/{project}/rules/{id}",
    );
    let run = "Remove tags that no retention keeps, or only look";
    let (retention, both) = (
        "/projects/{project}/retention",
        "Rules: immutable tags and retention",
    );
    let disable = "Disable a rule, or enable it again";
    all.about("rule")
        .list(rules, "listRules", both, &RULES, list)
        .post(rules, "addRule", "Add a rule", add)
        .patch(rule, "switchRule", disable, switch)
        .delete(rule, "deleteRule", "Remove a rule", delete)
        .post(retention, "runRetention", run, retain)
}

const RULES: Asks = Asks {
    columns: &[
        Column::shown("id", Kind::Number),
        Column::shown("kind", Kind::Text),
        Column::shown("repositories", Kind::Text),
        Column::shown("tags", Kind::Text),
    ],
    filters: &[],
    others: &[],
};

async fn list(admin: Admin, Path(project): Path<String>) -> Outcome<Page<NumberedRule>> {
    answer(&admin, async {
        admin.require_role(&project, Some(Role::Maintainer)).await?;
        let project = found(&admin, &project).await?;
        admin.listed(&RULES, admin.registry.meta().rules(project.id).await?)
    })
    .await
}

async fn add(
    admin: Admin,
    Path(project): Path<String>,
    Body(rule): Body<Rule>,
) -> Outcome<Created<Json<Number>>> {
    answer(&admin, async {
        admin.require_role(&project, Some(Role::Maintainer)).await?;
        rule.scope()?;
        let who = admin.who();
        let add = AddRule { who, project, rule };
        let id = admin.registry.meta().change(add).await?;
        Ok(Created(Json(Number { id })))
    })
    .await
}

/// What can be changed of a rule.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "RuleSwitch")]
#[serde(deny_unknown_fields)]
struct Switch {
    disabled: bool,
}

async fn switch(
    admin: Admin,
    Path((project, id)): Path<(String, i64)>,
    Body(Switch { disabled }): Body<Switch>,
) -> Outcome<()> {
    answer(&admin, async {
        admin.require_role(&project, Some(Role::Maintainer)).await?;
        let who = admin.who();
        let switch = SwitchRule {
            who,
            project,
            id,
            disabled,
        };
        admin.registry.meta().change(switch).await
    })
    .await
}

async fn delete(admin: Admin, Path((project, id)): Path<(String, i64)>) -> Outcome<()> {
    answer(&admin, async {
        admin.require_role(&project, Some(Role::Maintainer)).await?;
        let who = admin.who();
        admin
            .registry
            .meta()
            .change(DeleteRule { who, project, id })
            .await
    })
    .await
}

/// A run of retention.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "RetentionRun")]
#[serde(deny_unknown_fields)]
struct Run {
    /// Look only.
    dry_run: bool,
}

/// What a run of retention did, or would do.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "RetentionRunDone")]
struct Retained {
    dry_run: bool,
    expired: Vec<Expired>,
}

/// A tag that no retention keeps.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ExpiredTag")]
struct Expired {
    repository: String,
    tag: String,
}

async fn retain(
    admin: Admin,
    Path(project): Path<String>,
    Body(run): Body<Run>,
) -> Outcome<Json<Retained>> {
    answer(&admin, async {
        admin.require_role(&project, Some(Role::Maintainer)).await?;
        let (gone, _) = retention::run(&admin, project, run.dry_run).await?;
        let gone = gone.into_iter();
        let gone = gone.map(|(repository, tag)| Expired { repository, tag });
        Ok(Json(Retained {
            dry_run: run.dry_run,
            expired: gone.collect(),
        }))
    })
    .await
}
