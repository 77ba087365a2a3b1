//! Runs of garbage collection and of retention, in Harbor's words.

use axum::Json;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::answers::Plain;
use super::query::{Asks, PAGES, Page};
use super::{Admin, Body, MaybeBody, Operations, Outcome, Path, answer, retention, wrong};
use crate::error::{Code, Error};
use crate::meta::{EXECUTION_COLUMNS, Execution, State, StopExecution, Task, Time, Trigger, time};

/// What can be asked of runs.
pub(super) fn operations(all: Operations) -> Operations {
    let (gc, collection, log) = ("/system/gc", "/system/gc/{id}", "/system/gc/{id}/log");
    let executions = "/retentions/{id}/executions";
    let execution = "/retentions/{id}/executions/{execution}";
    let tasks = "/retentions/{id}/executions/{execution}/tasks";
    let task = "/retentions/{id}/executions/{execution}/tasks/{task}";
    let (list_runs, stop_run) = ("listRetentionExecutions", "operateRetentionExecution");
    let (runs, done) = (
        "Runs of the retention of a project, newest first",
        "What a run did to repositories",
    );
    let collections = "Runs of garbage collection, newest first";
    all.about("gc")
        .list(gc, "getGCHistory", collections, &RUNS, list)
        .get(collection, "getGC", "A run of garbage collection", show)
        .put(collection, "stopGC", "Have it stop", stop)
        .get(log, "getGCLog", "What the log has of it", show_log)
        .about("Retention")
        .list(executions, list_runs, runs, &RUNS, list_retentions)
        .patch(execution, stop_run, "Have a run stop", stop_retention)
        .list(tasks, "listRetentionTasks", done, &PAGES, list_tasks)
        .get(
            task,
            "getRetentionTaskLog",
            "What the log has of it",
            show_task,
        )
}

const RUNS: Asks = Asks {
    columns: EXECUTION_COLUMNS,
    filters: &[],
    others: &[],
};

fn unknown() -> Error {
    Error::new(Code::NameUnknown, "no such run is remembered")
}

/// Why something ran, and how far it is.
const TRIGGERS: [&str; 2] = ["MANUAL", "SCHEDULE"];
const STATUSES: [&str; 4] = ["Success", "Error", "Running", "Stopped"];

fn trigger(run: &Execution) -> &'static str {
    match run.trigger {
        Trigger::Asked => "MANUAL",
        Trigger::Scheduled | Trigger::Own => "SCHEDULE",
    }
}

fn status(run: &Execution) -> &'static str {
    match run.state {
        State::Done => "Success",
        State::Failed => "Error",
        State::Running | State::Stopping => "Running",
        State::Stopped => "Stopped",
    }
}

/// A run of garbage collection.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "GCHistory")]
struct Collection {
    id: i64,
    job_name: &'static str,
    #[schemars(extend("enum" = TRIGGERS))]
    job_kind: &'static str,
    /// What was said and done, as a text of JSON.
    job_parameters: String,
    schedule: GcTrigger,
    #[schemars(extend("enum" = STATUSES))]
    job_status: &'static str,
    deleted: bool,
    creation_time: Time,
    update_time: Time,
}

/// Why garbage was collected.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "GCTrigger")]
struct GcTrigger {
    /// `Manual` or `Schedule`.
    #[serde(rename = "type")]
    kind: &'static str,
    cron: &'static str,
}

fn collection(run: &Execution) -> Collection {
    let done: Value = serde_json::from_str(&run.line).unwrap_or_default();
    // Harbor has this as a text.
    let parameters = json!({
        "dry_run": run.dry_run,
        "purged_manifests": done["manifests"],
        "purged_blobs": done["blobs"],
        "freed_space": done[if run.dry_run { "bytes" } else { "freed_bytes" }],
    });
    // Harbor spells it in another way here.
    let kind = match run.trigger {
        Trigger::Asked => "Manual",
        Trigger::Scheduled | Trigger::Own => "Schedule",
    };
    Collection {
        id: run.id,
        job_name: "GARBAGE_COLLECTION",
        job_kind: trigger(run),
        job_parameters: parameters.to_string(),
        schedule: GcTrigger { kind, cron: "" },
        job_status: status(run),
        deleted: false,
        creation_time: time(run.began_ms),
        update_time: time(run.ended_ms),
    }
}

async fn list(admin: Admin) -> Outcome<Page<Collection>> {
    answer(&admin, async {
        admin.require_admin()?;
        let listing = admin.listing(&RUNS)?;
        let runs = admin.registry.meta().executions(None, &listing).await?;
        Ok(admin.page(&listing, runs.map(|run| collection(&run))))
    })
    .await
}

async fn collected(admin: &Admin, id: i64) -> Result<Execution, Error> {
    admin.require_admin()?;
    let found = admin.registry.meta().execution(None, id).await?;
    found.ok_or_else(unknown)
}

async fn show(admin: Admin, Path(id): Path<i64>) -> Outcome<Json<Collection>> {
    let shown = collected(&admin, id).await;
    admin.outcome(shown.map(|run| Json(collection(&run))))
}

async fn show_log(admin: Admin, Path(id): Path<i64>) -> Outcome<Plain> {
    let shown = collected(&admin, id).await;
    admin.outcome(shown.map(|run| Plain(run.line)))
}

/// What clients send to have a run stop. For one of garbage collection they need send nothing.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(rename = "StopReq")]
#[serde(default)]
struct Stop {
    status: Option<String>,
    action: Option<String>,
}

impl Stop {
    fn check(&self) -> Result<(), Error> {
        let words = self.status.iter().chain(&self.action);
        match words
            .map(|word| word.to_lowercase())
            .all(|word| word == "stop")
        {
            true => Ok(()),
            false => Err(wrong("a run can be told to stop, and nothing else")),
        }
    }
}

/// Has a run stop, if there is one; one that is over stays as it is.
async fn stop_run(admin: &Admin, project: Option<i64>, id: i64) -> Result<(), Error> {
    let stop = StopExecution { project, id };
    match admin.registry.meta().change(stop).await? {
        true => Ok(()),
        false => Err(unknown()),
    }
}

async fn stop(admin: Admin, Path(id): Path<i64>, MaybeBody(asked): MaybeBody<Stop>) -> Outcome<()> {
    answer(&admin, async {
        admin.require_admin()?;
        asked.check()?;
        stop_run(&admin, None, id).await
    })
    .await
}

async fn stop_retention(
    admin: Admin,
    Path((project, id)): Path<(i64, i64)>,
    Body(asked): Body<Stop>,
) -> Outcome<()> {
    answer(&admin, async {
        retention::project(&admin, project).await?;
        asked.check()?;
        stop_run(&admin, Some(project), id).await
    })
    .await
}

/// A run of the retention of a project.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "RetentionExecution")]
struct Run {
    id: i64,
    policy_id: i64,
    start_time: Time,
    end_time: Time,
    #[schemars(extend("enum" = STATUSES))]
    status: &'static str,
    #[schemars(extend("enum" = TRIGGERS))]
    trigger: &'static str,
    dry_run: bool,
}

async fn list_retentions(admin: Admin, Path(id): Path<i64>) -> Outcome<Page<Run>> {
    answer(&admin, async {
        retention::project(&admin, id).await?;
        let listing = admin.listing(&RUNS)?;
        let runs = admin.registry.meta().executions(Some(id), &listing).await?;
        let shown = |run: Execution| Run {
            id: run.id,
            policy_id: id,
            start_time: time(run.began_ms),
            end_time: time(run.ended_ms),
            status: status(&run),
            trigger: trigger(&run),
            dry_run: run.dry_run,
        };
        Ok(admin.page(&listing, runs.map(shown)))
    })
    .await
}

/// A run of the retention of a project, and its parts by their numbers.
async fn retained(
    admin: &Admin,
    project: i64,
    id: i64,
) -> Result<(Execution, Vec<(i64, Task)>), Error> {
    retention::project(admin, project).await?;
    let found = admin.registry.meta().execution(Some(project), id).await?;
    let mut run = found.ok_or_else(unknown)?;
    let tasks = (1..).zip(std::mem::take(&mut run.tasks)).collect();
    Ok((run, tasks))
}

/// What a run did to a repository.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "RetentionExecutionTask")]
struct RunTask {
    id: i64,
    execution_id: i64,
    repository: String,
    job_id: &'static str,
    #[schemars(extend("enum" = STATUSES))]
    status: &'static str,
    status_code: i64,
    status_revision: i64,
    start_time: Time,
    end_time: Time,
    /// Tags that there were, and those that stayed.
    total: u64,
    retained: u64,
}

async fn list_tasks(admin: Admin, Path((project, id)): Path<(i64, i64)>) -> Outcome<Page<RunTask>> {
    answer(&admin, async {
        let (run, tasks) = retained(&admin, project, id).await?;
        let shown = |(id, task): (i64, Task)| RunTask {
            id,
            execution_id: run.id,
            repository: task.repository,
            job_id: "",
            status: status(&run),
            status_code: 3,
            status_revision: 0,
            start_time: time(run.began_ms),
            end_time: time(run.ended_ms),
            total: task.total,
            retained: task.retained,
        };
        admin.listed(&PAGES, tasks.into_iter().map(shown).collect())
    })
    .await
}

async fn show_task(
    admin: Admin,
    Path((project, id, task)): Path<(i64, i64, i64)>,
) -> Outcome<Plain> {
    answer(&admin, async {
        let (run, tasks) = retained(&admin, project, id).await?;
        let known = tasks.iter().any(|(number, _)| *number == task);
        known.then_some(Plain(run.line)).ok_or_else(unknown)
    })
    .await
}
