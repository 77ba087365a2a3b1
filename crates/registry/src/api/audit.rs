//! The audit trail, as Harbor's clients ask for it.

use serde_json::{Value, json};

use super::projects::{found, owner};
use super::query::Asks;
use super::{Admin, Operations, Outcome, Path};
use crate::auth::Role;
use crate::error::Error;
use crate::meta::{AUDIT_COLUMNS, AUDIT_PROJECT, Listed, Operand, Record, Test, time};

/// What can be asked of the audit trail.
pub(super) fn operations(all: Operations) -> Operations {
    all.list(
        "/audit-logs",
        "The audit trail: all of it, or that of the caller's projects; newest first",
        &AUDIT,
        list,
    )
    .list(
        "/projects/{project}/logs",
        "The audit trail of a project, newest first",
        &AUDIT,
        list_of_project,
    )
}

const AUDIT: Asks = Asks {
    columns: AUDIT_COLUMNS,
    filters: &[],
    others: &[],
};

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
