//! Rules of a project: immutable tags and retention.

use axum::Json;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::projects::found;
use super::query::Asks;
use super::{Admin, Body, Operations, Outcome, Path};
use crate::auth::Role;
use crate::logs::Job;
use crate::meta::{AddRule, Column, DeleteRule, Kind, SwitchRule};
use crate::retention;
use crate::rule::Rule;

/// What can be done with rules.
pub(super) fn operations(all: Operations) -> Operations {
    let (rules, rule) = (
        "/projects/{project}/rules",
        "/projects/{project}/rules/{id}",
    );
    let run = "Remove tags that no retention keeps, or only look";
    all.list(rules, "Rules: immutable tags and retention", &RULES, list)
        .make(rules, "Add a rule", add)
        .patch(rule, "Disable a rule, or enable it again", switch)
        .delete(rule, "Remove a rule", delete)
        .post("/projects/{project}/retention", run, retain)
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

async fn list(admin: Admin, Path(project): Path<String>) -> Outcome {
    let listed = async {
        admin.require_role(&project, Some(Role::Maintainer)).await?;
        let project = found(&admin, &project).await?;
        admin.listed(&RULES, admin.registry.meta().rules(project.id).await?)
    };
    let listed = listed.await;
    admin.outcome(listed)
}

async fn add(admin: Admin, Path(project): Path<String>, Body(rule): Body<Rule>) -> Outcome {
    let added = async {
        admin.require_role(&project, Some(Role::Maintainer)).await?;
        rule.scope()?;
        let who = admin.who();
        let add = AddRule { who, project, rule };
        let id = admin.registry.meta().change(add).await?;
        Ok((StatusCode::CREATED, Json(json!({"id": id}))))
    };
    let added = added.await;
    admin.outcome(added)
}

/// What can be changed of a rule.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Switch {
    disabled: bool,
}

async fn switch(
    admin: Admin,
    Path((project, id)): Path<(String, i64)>,
    Body(Switch { disabled }): Body<Switch>,
) -> Outcome {
    let switched = async {
        admin.require_role(&project, Some(Role::Maintainer)).await?;
        let who = admin.who();
        let switch = SwitchRule {
            who,
            project,
            id,
            disabled,
        };
        admin.registry.meta().change(switch).await
    };
    let switched = switched.await;
    admin.outcome(switched)
}

async fn delete(admin: Admin, Path((project, id)): Path<(String, i64)>) -> Outcome {
    let deleted = async {
        admin.require_role(&project, Some(Role::Maintainer)).await?;
        let who = admin.who();
        admin
            .registry
            .meta()
            .change(DeleteRule { who, project, id })
            .await
    };
    let deleted = deleted.await;
    admin.outcome(deleted)
}

/// A run of retention.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Run {
    /// Look only.
    dry_run: bool,
}

async fn retain(admin: Admin, Path(project): Path<String>, Body(run): Body<Run>) -> Outcome {
    let done = async {
        admin.require_role(&project, Some(Role::Maintainer)).await?;
        if !run.dry_run {
            admin.require_writable()?;
        }
        let job = Job::retention(&project).asked_by(&admin.seen.rid);
        let (registry, who) = (admin.registry.clone(), admin.who());
        let retained = async move {
            let stop = CancellationToken::new();
            retention::retain(&registry, job, who, project, run.dry_run, &stop).await
        };
        let (gone, _) = admin.to_its_end("retention", retained).await?;
        let gone: Vec<Value> = gone
            .iter()
            .map(|(repository, tag)| json!({"repository": repository, "tag": tag}))
            .collect();
        Ok(Json(json!({"dry_run": run.dry_run, "expired": gone})))
    };
    let done = done.await;
    admin.outcome(done)
}
