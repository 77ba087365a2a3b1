//! The audit trail, as Harbor's clients ask for it.

use axum::Json;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::projects::{found, owner};
use super::query::{Asks, Page};
use super::{Admin, Operations, Outcome, Path, answer};
use crate::auth::Role;
use crate::error::Error;
use crate::meta::{AUDIT_COLUMNS, AUDIT_PROJECT, Listed, Operand, Record, Test, Time, time};

/// What can be asked of the audit trail.
pub(super) fn operations(all: Operations) -> Operations {
    let (logs, of_project) = ("/audit-logs", "/projects/{project}/logs");
    let (exts, exts_of_project) = ("/auditlog-exts", "/projects/{project}/auditlog-exts");
    let events = "/auditlog-exts/events";
    let summary = "The audit trail: all of it, or that of the caller's projects; newest first";
    let one = "The audit trail of a project, newest first";
    let kinds = "What records tell of, as operation and type of resource";
    all.about("auditlog")
        .list(logs, "listAuditLogs", summary, &AUDIT, list)
        .list(exts, "listAuditLogExts", summary, &AUDIT, list)
        .get(events, "listAuditLogEventTypes", kinds, self::events)
        .list(of_project, "getLogs", one, &AUDIT, list_of_project)
        .list(exts_of_project, "getLogExts", one, &AUDIT, list_of_project)
}

const AUDIT: Asks = Asks {
    columns: AUDIT_COLUMNS,
    filters: &[],
    others: &[],
};

/// What happens to what, of what Harbor's clients know.
const EVENTS: [&str; 19] = [
    "create_artifact",
    "delete_artifact",
    "delete_tag",
    "delete_repository",
    "update_repository",
    "create_project",
    "update_project",
    "delete_project",
    "update_member",
    "delete_member",
    "create_user",
    "update_user",
    "delete_user",
    "create_group",
    "update_group",
    "delete_group",
    "create_robot",
    "delete_robot",
    "update_configuration",
];

/// What records tell of, as operation and type of resource.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "AuditLogEventType")]
struct EventType {
    event_type: &'static str,
}

async fn events(admin: Admin) -> Outcome<Json<Vec<EventType>>> {
    let event = |event_type| EventType { event_type };
    let shown = admin
        .require_admin()
        .map(|()| Json(EVENTS.map(event).into()));
    admin.outcome(shown)
}

/// A record in Harbor's words, and as the log has it.
#[derive(Debug, Serialize, JsonSchema)]
struct AuditLog {
    id: i64,
    username: String,
    operation: String,
    operation_description: String,
    /// Whether it was done; if not, it was refused.
    operation_result: bool,
    resource_type: String,
    resource: String,
    op_time: Time,
    /// All that the log has.
    record: Value,
}

/// From where others asked is the business of administrators.
fn shown(admin: &Admin, mut record: Record) -> AuditLog {
    if !admin.caller.is_admin()
        && let Some(line) = record.line.as_object_mut()
    {
        line.remove("remote");
    }
    AuditLog {
        id: record.id,
        operation_description: record.described(),
        username: record.actor,
        operation: record.operation,
        operation_result: record.done,
        resource_type: record.resource_type,
        resource: record.resource,
        op_time: time(record.at_ms),
        record: record.line,
    }
}

async fn list(admin: Admin) -> Outcome<Page<AuditLog>> {
    answer(&admin, async {
        let listing = admin.listing(&AUDIT)?;
        let records = admin
            .registry
            .meta()
            .audit(admin.viewer(), &listing)
            .await?;
        let records = records.map(|record| shown(&admin, record));
        Ok::<_, Error>(admin.page(&listing, records))
    })
    .await
}

async fn list_of_project(admin: Admin, Path(project): Path<String>) -> Outcome<Page<AuditLog>> {
    answer(&admin, async {
        let project = owner(&admin, project).await?;
        admin.require_role(&project, Some(Role::Guest)).await?;
        let project = Operand::Number(found(&admin, &project).await?.id);
        let mut listing = admin.listing(&AUDIT)?;
        let of_project = (&AUDIT_PROJECT, Test::Is(project));
        listing.filters.push(of_project);
        let records: Listed<Record> = admin.registry.meta().audit(None, &listing).await?;
        let records = records.map(|record| shown(&admin, record));
        Ok(admin.page(&listing, records))
    })
    .await
}
