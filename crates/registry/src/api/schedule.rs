//! When garbage is collected, in Harbor's words. Unless a schedule is set, it is collected all the
//! time.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Admin, Body, Operations, Outcome, wrong};
use crate::error::Error;
use crate::gc;
use crate::meta::{GcSchedule, SetGcSchedule, time};
use crate::registry::Registry;

/// What can be done with the schedule.
pub(super) fn operations(all: Operations) -> Operations {
    let schedule = "/system/gc/schedule";
    all.get(schedule, "When garbage is collected", show)
        .make(
            schedule,
            "Have garbage collected by a schedule: Hourly, Daily, Weekly or Custom with cron; \
             Manual collects now",
            create,
        )
        .put(
            schedule,
            "The same, in place of the schedule that there is; None is all the time",
            replace,
        )
}

/// What Harbor's clients send.
#[derive(Debug, Deserialize)]
struct Request {
    schedule: Schedule,
    #[serde(default)]
    parameters: Parameters,
}

#[derive(Debug, Deserialize)]
struct Schedule {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    cron: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Parameters {
    dry_run: bool,
}

impl Schedule {
    /// When it is, if it is by a schedule.
    fn cron(&self) -> Result<Option<&str>, Error> {
        match self.kind.as_str() {
            "Hourly" => Ok(Some("0 0 * * * *")),
            "Daily" => Ok(Some("0 0 0 * * *")),
            "Weekly" => Ok(Some("0 0 0 * * 0")),
            "Custom" => Ok(Some(&self.cron)),
            "None" => Ok(None),
            other => Err(wrong(format!(
                "schedule.type={other}: it is Hourly, Daily, Weekly, Custom, Manual or None"
            ))),
        }
    }
}

/// A schedule as it is shown; without one, what is done instead.
pub(super) fn shown(registry: &Registry, schedule: Option<&GcSchedule>) -> Value {
    let config = &registry.config().gc;
    match schedule {
        _ if !config.enabled => json!({"type": "None", "cron": ""}),
        None => {
            let seconds = config.interval.0 / 1_000_000_000;
            json!({"type": "Custom", "cron": format!("@every {seconds}s")})
        }
        Some(schedule) => json!({
            "type": schedule.kind,
            "cron": schedule.cron,
            "next_scheduled_time": time(schedule.due_ms),
            "last_run_time": schedule.taken_ms.map(time),
        }),
    }
}

async fn show(admin: Admin) -> Outcome {
    let shown = async {
        admin.require_admin()?;
        let schedule = admin.registry.meta().gc_schedule().await?;
        let schedule = schedule.as_ref();
        Ok(Json(json!({
            "job_name": "GARBAGE_COLLECTION",
            "job_kind": "SCHEDULE",
            "schedule": self::shown(&admin.registry, schedule),
            "creation_time": schedule.map(|schedule| time(schedule.made_ms)),
            "update_time": schedule.map(|schedule| time(schedule.set_ms)),
        })))
    };
    let shown = shown.await;
    admin.outcome(shown)
}

/// Does what is asked for.
async fn set(admin: &Admin, request: Request, is_new: bool) -> Result<Response, Error> {
    admin.require_admin()?;
    let registry = &admin.registry;
    let status = match is_new {
        true => StatusCode::CREATED,
        false => StatusCode::OK,
    };
    if request.schedule.kind == "Manual" {
        let dry_run = request.parameters.dry_run;
        gc::asked(registry, &admin.seen.rid, dry_run).await?;
        return Ok(status.into_response());
    }
    if request.parameters.dry_run {
        return Err(wrong("only what the type Manual does now can be a dry run"));
    }
    let schedule = request.schedule.cron()?;
    if schedule.is_some() && !registry.config().gc.enabled {
        return Err(wrong(
            "no garbage is collected here, whatever the schedule: registry.gc.enabled is false",
        ));
    }
    let set = SetGcSchedule {
        who: admin.who(),
        schedule: schedule.map(|cron| (request.schedule.kind.clone(), cron.to_owned())),
        is_new: is_new && schedule.is_some(),
    };
    registry.meta().change(set).await?;
    Ok(status.into_response())
}

async fn create(admin: Admin, Body(request): Body<Request>) -> Outcome {
    let done = set(&admin, request, true).await;
    admin.outcome(done)
}

async fn replace(admin: Admin, Body(request): Body<Request>) -> Outcome {
    let done = set(&admin, request, false).await;
    admin.outcome(done)
}
