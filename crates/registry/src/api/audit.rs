//! The audit trail, as Harbor's clients ask for it.

use axum::Json;
use serde_json::{Value, json};

use super::projects::{found, owner};
use super::query::Asks;
use super::{Admin, Operations, Outcome, Path};
use crate::auth::Role;
use crate::error::Error;
use crate::meta::{AUDIT_COLUMNS, AUDIT_PROJECT, Listed, Operand, Record, Test, time};

/// What can be asked of the audit trail.
pub(super) fn operations(all: Operations) -> Operations {
    let all_of_it = "The audit trail: all of it, or that of the caller's projects; newest first";
    let of_project = "The audit trail of a project, newest first";
    all.list("/audit-logs", all_of_it, &AUDIT, list)
        .list("/auditlog-exts", all_of_it, &AUDIT, list)
        .get(
            "/auditlog-exts/events",
            "What records tell of, as operation and type of resource",
            events,
        )
        .list(
            "/projects/{project}/logs",
            of_project,
            &AUDIT,
            list_of_project,
        )
        .list(
            "/projects/{project}/auditlog-exts",
            of_project,
            &AUDIT,
            list_of_project,
        )
}

const AUDIT: Asks = Asks {
    columns: AUDIT_COLUMNS,
    filters: &[],
    others: &[],
};

/// What happens to what, of what Harbor's clients know.
const EVENTS: [&str; 18] = [
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
    "delete_group",
    "create_robot",
    "delete_robot",
    "update_configuration",
];

async fn events(admin: Admin) -> Outcome {
    let event = |event: &str| json!({"event_type": event});
    let shown = admin.require_admin().map(|()| Json(EVENTS.map(event)));
    admin.outcome(shown)
}

/// A record in Harbor's words, and as the log has it. From where others asked is the business of
/// administrators.
fn shown(admin: &Admin, mut record: Record) -> Value {
    if !admin.caller.is_admin()
        && let Some(line) = record.line.as_object_mut()
    {
        line.remove("remote");
    }
    json!({
        "id": record.id,
        "username": record.actor,
        "operation": record.operation,
        "operation_description": record.described(),
        "operation_result": record.done,
        "resource_type": record.resource_type,
        "resource": record.resource,
        "op_time": time(record.at_ms),
        "record": record.line,
    })
}

async fn list(admin: Admin) -> Outcome {
    let listed = async {
        let listing = admin.listing(&AUDIT)?;
        let records = admin
            .registry
            .meta()
            .audit(admin.viewer(), &listing)
            .await?;
        let records = records.map(|record| shown(&admin, record));
        Ok::<_, Error>(admin.page(&listing, records))
    };
    let listed = listed.await;
    admin.outcome(listed)
}

async fn list_of_project(admin: Admin, Path(project): Path<String>) -> Outcome {
    let listed = async {
        let project = owner(&admin, project).await?;
        admin.require_role(&project, Some(Role::Guest)).await?;
        let project = Operand::Number(found(&admin, &project).await?.id);
        let mut listing = admin.listing(&AUDIT)?;
        let of_project = (&AUDIT_PROJECT, Test::Is(project));
        listing.filters.push(of_project);
        let records: Listed<Record> = admin.registry.meta().audit(None, &listing).await?;
        let records = records.map(|record| shown(&admin, record));
        Ok(admin.page(&listing, records))
    };
    let listed = listed.await;
    admin.outcome(listed)
}
