//! When garbage is collected, in Harbor's words. Unless a schedule is set, it is collected all the
//! time.

use axum::Json;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::answers::{At, Created};
use super::system::collect;
use super::{Admin, Body, Operations, Outcome, answer, wrong};
use crate::error::Error;
use crate::meta::{GcSchedule, SetGcSchedule, Time, Untagged, time};
use crate::registry::Registry;

/// What can be done with the schedule.
pub(super) fn operations(all: Operations) -> Operations {
    let schedule = "/system/gc/schedule";
    let make = "Have garbage collected by a schedule: Hourly, Daily, Weekly or Custom with cron; \
         None is all the time, Manual collects now";
    all.about("gc")
        .get(schedule, "getGCSchedule", "When garbage is collected", show)
        .post(schedule, "createGCSchedule", make, create)
        .put(schedule, "updateGCSchedule", "The same", replace)
}

/// Workers that Harbor has at most for a run.
const WORKERS_MAX: i64 = 10;

/// What Harbor's clients send.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "ScheduleReq")]
struct Request {
    schedule: Schedule,
    /// Some send nothing as null.
    parameters: Option<Parameters>,
}

impl Request {
    fn is_dry_run(&self) -> bool {
        let parameters = self.parameters.as_ref();
        parameters.and_then(|parameters| parameters.dry_run) == Some(true)
    }

    fn untagged(&self) -> Untagged {
        let parameters = self.parameters.as_ref();
        untagged(parameters.and_then(|parameters| parameters.delete_untagged))
    }

    /// What the client wants to read again; there are no workers here.
    fn workers(&self) -> Result<Option<i64>, Error> {
        let parameters = self.parameters.as_ref();
        match parameters.and_then(|parameters| parameters.workers) {
            Some(workers) if !(1..=WORKERS_MAX).contains(&workers) => Err(wrong(format!(
                "parameters.workers={workers}: it is 1 to {WORKERS_MAX}"
            ))),
            workers => Ok(workers),
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "ScheduleAsked")]
struct Schedule {
    #[serde(rename = "type")]
    kind: String,
    cron: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "ScheduleParameters")]
struct Parameters {
    dry_run: Option<bool>,
    delete_untagged: Option<bool>,
    workers: Option<i64>,
}

/// What becomes of manifests without a tag: they go, unless it is said that they do not; those that
/// never had one go as soon only if it is said.
pub(super) fn untagged(delete_untagged: Option<bool>) -> Untagged {
    match delete_untagged {
        Some(false) => Untagged::Stay,
        Some(true) => Untagged::All,
        None => Untagged::Go,
    }
}

/// What a schedule's type asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    /// Once, now.
    Now,
    /// All the time.
    Always,
    /// Under this name, at this time.
    At(&'static str, String),
}

impl Schedule {
    /// What it asks for; capitals do not count.
    fn asked(&self) -> Result<Asked, Error> {
        let said = self.cron.as_deref().map_or("", str::trim);
        let at = |kind, usual: &str| {
            let cron = if said.is_empty() { usual } else { said };
            Ok(Asked::At(kind, cron.to_owned()))
        };
        match self.kind.to_lowercase().as_str() {
            "hourly" => at("Hourly", "0 0 * * * *"),
            "daily" => at("Daily", "0 0 0 * * *"),
            "weekly" => at("Weekly", "0 0 0 * * 0"),
            "custom" => at("Custom", ""),
            "manual" => Ok(Asked::Now),
            "none" => Ok(Asked::Always),
            _ => Err(wrong(format!(
                "schedule.type={}: it is Hourly, Daily, Weekly, Custom, Manual or None",
                self.kind
            ))),
        }
    }
}

/// A schedule as it is shown.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ScheduleObj")]
pub(super) struct Shown {
    /// `Hourly`, `Daily`, `Weekly`, `Custom` or `None`.
    #[serde(rename = "type")]
    kind: String,
    cron: String,
    #[serde(flatten)]
    times: Option<Times>,
}

/// When a schedule is due, and when it was last.
#[derive(Debug, Serialize, JsonSchema)]
struct Times {
    next_scheduled_time: Time,
    last_run_time: Option<Time>,
}

impl Shown {
    pub(super) fn of(registry: &Registry, schedule: Option<&GcSchedule>) -> Self {
        let schedule = schedule.filter(|_| registry.config().gc.enabled);
        let times = schedule.map(|schedule| Times {
            next_scheduled_time: time(schedule.due_ms),
            last_run_time: schedule.taken_ms.map(time),
        });
        let (kind, cron) = schedule.map_or(("None", ""), |schedule| {
            (schedule.kind.as_str(), schedule.cron.as_str())
        });
        Self {
            kind: kind.to_owned(),
            cron: cron.to_owned(),
            times,
        }
    }
}

/// When garbage is collected, and since when that holds.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "GCSchedule")]
struct Kept {
    job_name: &'static str,
    job_kind: &'static str,
    /// What is said besides when, as a text of JSON.
    job_parameters: Option<String>,
    schedule: Shown,
    creation_time: Option<Time>,
    update_time: Option<Time>,
}

/// What is said besides when, which Harbor has as a text.
fn parameters(schedule: &GcSchedule) -> String {
    json!({
        "delete_untagged": schedule.untagged.said(),
        "workers": schedule.workers,
        "dry_run": false,
    })
    .to_string()
}

async fn show(admin: Admin) -> Outcome<Json<Kept>> {
    answer(&admin, async {
        admin.require_admin()?;
        let schedule = admin.registry.meta().gc_schedule().await?;
        let schedule = schedule.as_ref();
        Ok(Json(Kept {
            job_name: "GARBAGE_COLLECTION",
            job_kind: "SCHEDULE",
            job_parameters: schedule.map(parameters),
            schedule: Shown::of(&admin.registry, schedule),
            creation_time: schedule.map(|schedule| time(schedule.made_ms)),
            update_time: schedule.map(|schedule| time(schedule.set_ms)),
        }))
    })
    .await
}

/// Does what is asked for. Gives where the run is, if it was asked for one.
async fn set(admin: &Admin, request: Request) -> Result<At<()>, Error> {
    admin.require_admin()?;
    let registry = &admin.registry;
    let workers = request.workers()?;
    let schedule = match request.schedule.asked()? {
        Asked::Now => {
            let (_, id) = collect(admin, request.untagged(), request.is_dry_run()).await?;
            return Ok(At(id.map(|id| format!("/system/gc/{id}")), ()));
        }
        Asked::Always => None,
        Asked::At(kind, cron) => Some((kind.to_owned(), cron)),
    };
    if request.is_dry_run() {
        return Err(wrong("only what the type Manual does now can be a dry run"));
    }
    if schedule.is_some() && !registry.config().gc.enabled {
        return Err(wrong(
            "no garbage is collected here, whatever the schedule: registry.gc.enabled is false",
        ));
    }
    let set = SetGcSchedule {
        who: admin.who(),
        untagged: request.untagged(),
        workers,
        schedule,
    };
    registry.meta().change(set).await?;
    Ok(At(None, ()))
}

async fn create(admin: Admin, Body(request): Body<Request>) -> Outcome<Created<At<()>>> {
    let done = set(&admin, request).await;
    admin.outcome(done.map(Created))
}

async fn replace(admin: Admin, Body(request): Body<Request>) -> Outcome<At<()>> {
    answer(&admin, set(&admin, request)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_send() {
        for (sent, asked, is_dry_run, untagged) in [
            (
                json!({"schedule": {"type": "Daily", "cron": ""}, "parameters": null}),
                Some(Asked::At("Daily", "0 0 0 * * *".to_owned())),
                false,
                Untagged::Go,
            ),
            (
                json!({"schedule": {"type": "Daily", "cron": "0 30 2 * * *"}}),
                Some(Asked::At("Daily", "0 30 2 * * *".to_owned())),
                false,
                Untagged::Go,
            ),
            (
                json!({"schedule": {"type": "custom", "cron": "0 5 * * * *"}}),
                Some(Asked::At("Custom", "0 5 * * * *".to_owned())),
                false,
                Untagged::Go,
            ),
            (
                json!({"schedule": {"type": "NONE", "cron": null}, "parameters": {"workers": 1}}),
                Some(Asked::Always),
                false,
                Untagged::Go,
            ),
            (
                json!({"schedule": {"type": "Manual"},
                    "parameters": {"dry_run": true, "delete_untagged": false}}),
                Some(Asked::Now),
                true,
                Untagged::Stay,
            ),
            (
                json!({"schedule": {"type": "Manual"}, "parameters": {"delete_untagged": true}}),
                Some(Asked::Now),
                false,
                Untagged::All,
            ),
            (
                json!({"schedule": {"type": "monthly"}}),
                None,
                false,
                Untagged::Go,
            ),
        ] {
            let request: Request = serde_json::from_value(sent.clone()).unwrap();
            assert_eq!(request.schedule.asked().ok(), asked, "{sent}");
            assert_eq!(request.is_dry_run(), is_dry_run, "{sent}");
            assert_eq!(request.untagged(), untagged, "{sent}");
        }
    }
}
