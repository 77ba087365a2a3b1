//! The audit trail as it can be asked for. The log has all of it; here is what is not too long ago.

use async_trait::async_trait;
use serde_json::Value;
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, AssertSqlSafe, Row};

use super::Meta;
use super::change::{Change, Tx, bound, first};
use super::error::Failure;
use super::listing::{Column, Kind, Listed, Listing, Operand, Source};
use super::outbox::{Event, with_tag};
use crate::error::Error;
use crate::who::Who;

/// A record.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) id: i64,
    pub(crate) at_ms: i64,
    pub(crate) actor: String,
    pub(crate) operation: String,
    pub(crate) resource_type: String,
    pub(crate) resource: String,
    /// Whether it was done; if not, it was refused.
    pub(crate) done: bool,
    /// All that the log has.
    pub(crate) line: Value,
}

impl Record {
    /// The record in a few words.
    pub(crate) fn described(&self) -> String {
        let (operation, kind) = (&self.operation, &self.resource_type);
        format!("{operation} {kind}: {}", self.resource)
    }
}

/// Records of projects in which an account is more than a limited guest; below zero all.
const RECORDS: Source = Source {
    columns: "u.id, u.at_ms, u.actor, u.operation, u.resource_type, u.resource, u.done, u.line",
    from: "FROM audit u WHERE ($1 < 0 OR u.project_id IN (\
         SELECT m.project_id FROM member m WHERE m.account_id = $1 AND m.role <> 'limitedGuest' \
         UNION SELECT g.project_id FROM member_group g \
         JOIN group_account a ON a.group_id = g.group_id \
         WHERE a.account_id = $1 AND g.role <> 'limitedGuest'))",
    order: "u.id DESC",
};

/// The project of a record.
pub(crate) const AUDIT_PROJECT: Column = Column::new("project_id", Kind::Number, "u.project_id");
/// What records can be filtered by.
pub(crate) const AUDIT_COLUMNS: &[Column] = &[
    AUDIT_PROJECT,
    Column::new("id", Kind::Number, "u.id"),
    Column::new("op_time", Kind::Moment, "u.at_ms"),
    Column::new("username", Kind::Text, "u.actor"),
    Column::new("event", Kind::Text, "u.event"),
    Column::new("operation", Kind::Text, "u.operation"),
    Column::new("operation_result", Kind::Flag, "u.done"),
    Column::new("resource_type", Kind::Text, "u.resource_type"),
    Column::new("resource", Kind::Text, "u.resource"),
];

fn record(row: &AnyRow) -> Result<Record, sqlx::Error> {
    Ok(Record {
        id: row.try_get(0)?,
        at_ms: row.try_get(1)?,
        actor: row.try_get(2)?,
        operation: row.try_get(3)?,
        resource_type: row.try_get(4)?,
        resource: row.try_get(5)?,
        done: row.try_get::<i64, _>(6)? != 0,
        line: serde_json::from_str(&row.try_get::<String, _>(7)?).unwrap_or_default(),
    })
}

/// What Harbor calls it; where it has no word, ours.
fn operation(event: &str) -> &str {
    match event {
        "push_artifact" | "tag_undeleted" => "create",
        "gc_deleted" | "tag_expired" => "delete",
        "tag_moved" => "update",
        event if event.starts_with("create_") => "create",
        event if event.starts_with("delete_") => "delete",
        event if event.starts_with("update_") || event.ends_with("_changed") => "update",
        event => event,
    }
}

/// What it happened to, as Harbor writes it: with its repository.
fn resource(event: &Event) -> String {
    let name = event.resource.as_str();
    match (&event.repo, event.resource_type, &event.reference) {
        (Some(repo), "artifact", Some(tag)) => format!("{repo}:{tag}"),
        (Some(repo), "artifact" | "blob", _) => format!("{repo}@{name}"),
        (Some(repo), "tag", _) => format!("{repo}:{name}"),
        _ => name.to_owned(),
    }
}

/// Values of a record.
pub(super) const WIDTH: usize = 9;

/// The place of a record in a statement that keeps many.
fn place(at: usize) -> String {
    let value = |n: usize| format!("${}", at * WIDTH + n);
    let rest: Vec<String> = (3..=WIDTH).map(value).collect();
    let project = format!("(SELECT id FROM project WHERE name = {})", value(2));
    format!("({}, {project}, {})", value(1), rest.join(", "))
}

/// Keeps records of what happened, with their lines.
pub(super) async fn keep(
    tx: &mut Tx<'_>,
    who: &Who,
    events: &[Event],
    lines: &[String],
) -> Result<(), sqlx::Error> {
    let places: Vec<String> = (0..events.len()).map(place).collect();
    let sql = format!(
        "INSERT INTO audit (at_ms, project_id, actor, event, operation, done, resource_type, \
         resource, line) VALUES {}",
        places.join(", ")
    );
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for (event, line) in events.iter().zip(lines) {
        query = values(query, tx.now_ms, who, event, line);
    }
    query.execute(&mut *tx.conn).await?;
    Ok(())
}

/// The values of a record, in the order of their columns.
fn values<'q>(
    query: Query<'q, Any, AnyArguments>,
    at_ms: i64,
    who: &'q Who,
    event: &'q Event,
    line: &'q str,
) -> Query<'q, Any, AnyArguments> {
    query
        .bind(at_ms)
        .bind(event.project.as_deref())
        .bind(who.name.as_str())
        .bind(event.event)
        .bind(operation(event.event))
        .bind(i64::from(event.reason.is_none()))
        .bind(event.resource_type)
        .bind(resource(event))
        .bind(line)
}

/// Keeps a record for each tag of a manifest, of an event and a line with `{tag}` where the tag belongs.
pub(super) async fn keep_for_tags(
    tx: &mut Tx<'_>,
    who: &Who,
    event: &Event,
    line: &str,
    manifest_id: i64,
) -> Result<(), sqlx::Error> {
    let sql = concat!(
        "INSERT INTO audit (at_ms, project_id, actor, event, operation, done, resource_type, \
         resource, line) SELECT CAST($1 AS BIGINT), \
         (SELECT id FROM project WHERE name = $2), CAST($3 AS TEXT), CAST($4 AS TEXT), \
         CAST($5 AS TEXT), CAST($6 AS BIGINT), CAST($7 AS TEXT), \
         REPLACE(CAST($8 AS TEXT), '{tag}', t.name), ",
        with_tag!("$9"),
        " FROM tag t WHERE t.manifest_id = $10 ORDER BY t.name"
    );
    let query = values(sqlx::query(sql), tx.now_ms, who, event, line);
    query.bind(manifest_id).execute(&mut *tx.conn).await?;
    Ok(())
}

impl Meta {
    /// Records that an account may see, newest first unless another order is asked for; all for who
    /// sees everything. There may be a million: who asks for them leaves half of the connections to
    /// those who pull.
    pub(crate) async fn audit(
        &self,
        viewer: Option<i64>,
        listing: &Listing,
    ) -> Result<Listed<Record>, Error> {
        let viewer = Operand::Number(viewer.unwrap_or(-1));
        self.list(&RECORDS, vec![viewer], listing, record).await
    }
}

/// What of the audit trail is too much: all up to these numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Excess {
    /// Records of any kind.
    pub(crate) to: i64,
    /// Records of what was refused.
    pub(crate) refused_to: i64,
}

impl Meta {
    /// Up to where records of what was refused are too many.
    pub(crate) async fn refusals_excess(&self, refusals_max: i64) -> Result<i64, Error> {
        let sql = "SELECT COALESCE((SELECT id FROM audit WHERE done = 0 \
             ORDER BY id DESC LIMIT 1 OFFSET $1), 0)";
        Ok(self
            .row(bound!(sql, refusals_max), first)
            .await?
            .unwrap_or_default())
    }

    /// Up to where records are too many, whatever they tell of.
    pub(crate) async fn records_excess(&self, records_max: i64) -> Result<i64, Error> {
        // Numbers only grow, so there are no more records than the last is behind the first.
        let sql = "SELECT COALESCE((SELECT MAX(id) FROM audit) - (SELECT MIN(id) FROM audit), 0)";
        let spread = self.rows(bound!(sql), first).await?;
        if spread.first() < Some(&records_max) {
            return Ok(0);
        }
        // By time, for that index is the smallest thing that has all of them.
        let sql = "SELECT COALESCE((SELECT id FROM audit \
             ORDER BY at_ms DESC, id DESC LIMIT 1 OFFSET $1), 0)";
        Ok(self
            .row(bound!(sql, records_max), first)
            .await?
            .unwrap_or_default())
    }
}

/// Forgets records that are too old, and those that are too many.
pub(crate) struct ForgetAudit {
    pub(crate) age_ms: i64,
    pub(crate) excess: Excess,
    /// Records that one transaction forgets of each kind.
    pub(crate) limit: i64,
}

#[async_trait]
impl Change for ForgetAudit {
    /// How many.
    type Out = u64;
    const NAME: &'static str = "forget_audit";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<u64, Failure> {
        let old = bound!(
            "DELETE FROM audit WHERE id IN \
             (SELECT id FROM audit WHERE at_ms <= $1 ORDER BY at_ms LIMIT $2)",
            tx.now_ms.saturating_sub(self.age_ms),
            self.limit,
        );
        let old = old.execute(&mut *tx.conn).await?.rows_affected();
        let mut forgotten = old;
        for (sql, to) in [
            (
                "DELETE FROM audit WHERE id IN \
                 (SELECT id FROM audit WHERE id <= $1 ORDER BY id LIMIT $2)",
                self.excess.to,
            ),
            (
                "DELETE FROM audit WHERE id IN (SELECT id FROM audit \
                 WHERE done = 0 AND id <= $1 ORDER BY id LIMIT $2)",
                self.excess.refused_to,
            ),
        ] {
            let many = bound!(sql, to, self.limit);
            forgotten += many.execute(&mut *tx.conn).await?.rows_affected();
        }
        Ok(forgotten)
    }
}

#[cfg(test)]
mod tests {
    use super::super::connect::Place;
    use super::super::open_for_tests;
    use super::super::outbox::Tell;
    use super::*;

    async fn tell(meta: &Meta, event: Event) {
        let who = Who::system("test");
        meta.change(Tell { who, event }).await.unwrap();
    }

    fn all(limit: i64) -> Listing {
        Listing {
            limit,
            ..Listing::default()
        }
    }

    #[test]
    fn records_have_harbors_words() {
        for (event, expected) in [
            ("push_artifact", "create"),
            ("create_tag", "create"),
            ("gc_deleted", "delete"),
            ("delete_project", "delete"),
            ("policy_changed", "update"),
            ("login_failed", "login_failed"),
        ] {
            assert_eq!(operation(event), expected);
        }
        let repo = crate::name::RepoName::parse("team/app").unwrap();
        let event = |kind, name, reference: Option<&str>| Event {
            reference: reference.map(str::to_owned),
            ..Event::new("test", kind, name).in_repo(&repo)
        };
        assert_eq!(
            resource(&event("artifact", "sha256:1", Some("v1"))),
            "team/app:v1"
        );
        assert_eq!(
            resource(&event("artifact", "sha256:1", None)),
            "team/app@sha256:1"
        );
        assert_eq!(resource(&event("tag", "v1", Some("v1"))), "team/app:v1");
        assert_eq!(resource(&event("repository", "team/app", None)), "team/app");
    }

    #[tokio::test]
    async fn there_are_never_more_than_may_be_nor_older_ones() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::File(directory.path().join("registry.db"));
        let meta = open_for_tests(&place).await;
        for number in 0..30 {
            tell(&meta, Event::new("test", "test", &number.to_string())).await;
        }
        let day_ms = 24 * 3600 * 1000;
        assert_eq!(forget(&meta, day_ms, 30, 30).await, 0);
        assert_eq!(forget(&meta, day_ms, 10, 30).await, 20);
        let left = meta.audit(None, &all(100)).await.unwrap();
        let left: Vec<&str> = left
            .rows
            .iter()
            .map(|record| record.resource.as_str())
            .collect();
        assert_eq!((left.len(), left[0], left[9]), (10, "29", "20"));
        // The log has what was forgotten here.
        assert_eq!(meta.outbox(100).await.unwrap().len(), 30);
        forget(&meta, 0, 10, 30).await;
        assert_eq!(meta.audit(None, &all(100)).await.unwrap().total, 0);
    }

    /// Forgets what is too old or too much; gives how many that were.
    async fn forget(meta: &Meta, age_ms: i64, records_max: i64, refusals_max: i64) -> u64 {
        let refused_to = meta.refusals_excess(refusals_max).await.unwrap();
        let refused = forget_all(meta, age_ms, Excess { to: 0, refused_to }).await;
        let to = meta.records_excess(records_max).await.unwrap();
        let excess = Excess { to, refused_to: 0 };
        refused + forget_all(meta, age_ms, excess).await
    }

    async fn forget_all(meta: &Meta, age_ms: i64, excess: Excess) -> u64 {
        let mut forgotten = 0;
        loop {
            let forget = ForgetAudit {
                age_ms,
                excess,
                limit: 7,
            };
            match meta.change(forget).await.unwrap() {
                0 => return forgotten,
                some => forgotten += some,
            }
        }
    }

    #[tokio::test]
    async fn what_is_refused_again_and_again_pushes_out_only_its_like() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::File(directory.path().join("registry.db"));
        let meta = open_for_tests(&place).await;
        for number in 0..5 {
            tell(&meta, Event::new("test", "test", &number.to_string())).await;
        }
        for number in 0..50 {
            let refused = Event {
                reason: Some("no".to_owned()),
                ..Event::new("test", "test", &number.to_string())
            };
            tell(&meta, refused).await;
        }
        let day_ms = 24 * 3600 * 1000;
        assert_eq!(forget(&meta, day_ms, 20, 5).await, 45);
        let left = meta.audit(None, &all(100)).await.unwrap();
        let resources = |done| {
            let rows = left.rows.iter().filter(move |record| record.done == done);
            rows.map(|record| record.resource.as_str())
                .collect::<Vec<_>>()
        };
        assert_eq!(resources(true), ["4", "3", "2", "1", "0"]);
        assert_eq!(resources(false), ["49", "48", "47", "46", "45"]);
    }
}
