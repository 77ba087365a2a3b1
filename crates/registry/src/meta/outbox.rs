//! Audit records: written in the transaction of what they tell, here until a log has them and, to be
//! asked for, for longer ([`audit`]).

use async_trait::async_trait;
use serde::Serialize;
use sqlx::{AssertSqlSafe, Row};

use super::batch::{pieces, places};
use super::change::{Change, Tx, bound};
use super::diff::{Fields, diff};
use super::error::Failure;
use super::{Meta, audit};
use crate::error::Error;
use crate::who::{Kind, Who};

/// A record that its process has not brought to the log for so long is left to others.
const LEFT_MS: i64 = 60_000;

/// What happened.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Event {
    pub(crate) event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) project: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) repo: Option<String>,
    pub(crate) resource_type: &'static str,
    pub(crate) resource: String,
    #[serde(skip_serializing_if = "Option::is_none", rename = "ref")]
    pub(crate) reference: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) old_digest: Option<String>,
    /// How many of the blobs that it needs its repository does not have, if there are such.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) missing: Option<i64>,
    /// Why it was refused, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// Of what was changed the fields that differ, as they were and as they are. Never a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<Fields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<Fields>,
}

impl Event {
    /// Something happened to a resource.
    pub(crate) fn new(event: &'static str, resource_type: &'static str, resource: &str) -> Self {
        Self {
            event,
            resource_type,
            resource: resource.to_owned(),
            ..Self::default()
        }
    }

    /// The same, in a repository.
    pub(crate) fn in_repo(mut self, repo: &crate::name::RepoName) -> Self {
        self.project = Some(repo.project().to_owned());
        self.repo = Some(repo.as_str().to_owned());
        self
    }

    /// The same, in a project.
    pub(crate) fn in_project(mut self, project: &str) -> Self {
        self.project = Some(project.to_owned());
        self
    }

    /// The same, with what differs now; `()` is what was not there, or is not any more.
    pub(super) fn changed(mut self, before: impl Serialize, after: impl Serialize) -> Self {
        [self.before, self.after] = diff(before, after);
        self
    }

    fn line(&self, who: &Who, now_ms: i64) -> String {
        let at = jiff::Timestamp::from_millisecond(now_ms).unwrap_or_default();
        let line = Line {
            v: 1,
            ts: format!("{at:.3}"),
            level: match self.reason {
                Some(_) => "warn",
                None => "info",
            },
            kind: "audit",
            actor: &who.name,
            actor_type: who.kind,
            remote: &who.remote,
            rid: &who.rid,
            result: match self.reason {
                Some(_) => "denied",
                None => "ok",
            },
            event: self,
        };
        // Strings and numbers can always be written.
        serde_json::to_string(&line).unwrap_or_default()
    }
}

#[derive(Serialize)]
struct Line<'a> {
    v: u32,
    ts: String,
    level: &'static str,
    kind: &'static str,
    actor: &'a str,
    actor_type: Kind,
    remote: &'a str,
    rid: &'a str,
    result: &'static str,
    #[serde(flatten)]
    event: &'a Event,
}

/// Tells of something that the transaction does.
pub(super) async fn tell(tx: &mut Tx<'_>, who: &Who, event: &Event) -> Result<(), sqlx::Error> {
    tell_all(tx, who, std::slice::from_ref(event)).await
}

/// Tells of something that the transaction does to a manifest: once for each of these tags, that each
/// can be followed, and once if there is none.
pub(super) async fn tell_each(
    tx: &mut Tx<'_>,
    who: &Who,
    event: Event,
    tags: &[impl AsRef<str>],
) -> Result<(), sqlx::Error> {
    if tags.is_empty() {
        return tell(tx, who, &event).await;
    }
    let of = |tag: &str| Event {
        reference: Some(tag.to_owned()),
        ..event.clone()
    };
    let events: Vec<Event> = tags.iter().map(|tag| of(tag.as_ref())).collect();
    tell_all(tx, who, &events).await
}

/// A line with `{tag}` where a tag belongs, with the tag. Nothing in its name means anything in JSON.
macro_rules! with_tag {
    ($line:literal) => {
        concat!(
            "REPLACE(CAST(",
            $line,
            " AS TEXT), '\"ref\":\"{tag}\"', '\"ref\":\"' || t.name || '\"')"
        )
    };
}
pub(super) use with_tag;

/// The same, for all tags that a manifest has: there may be so many that to write each of them would
/// keep others waiting for long.
pub(super) async fn tell_for_tags(
    tx: &mut Tx<'_>,
    who: &Who,
    event: &Event,
    manifest_id: i64,
) -> Result<(), sqlx::Error> {
    let of_tag = Event {
        reference: Some("{tag}".to_owned()),
        ..event.clone()
    };
    let line = of_tag.line(who, tx.now_ms);
    let told = bound!(
        concat!(
            "INSERT INTO outbox (line, process, at_ms) SELECT ",
            with_tag!("$1"),
            ", $3, $4 FROM tag t WHERE t.manifest_id = $2 ORDER BY t.name"
        ),
        line.as_str(),
        manifest_id,
        tx.process,
        tx.now_ms,
    );
    if told.execute(&mut *tx.conn).await?.rows_affected() == 0 {
        return tell(tx, who, event).await;
    }
    tx.tells = true;
    audit::keep_for_tags(tx, who, &of_tag, &line, manifest_id).await
}

/// Writes records: many at once, as there may be very many tags.
async fn tell_all(tx: &mut Tx<'_>, who: &Who, events: &[Event]) -> Result<(), sqlx::Error> {
    tx.tells = true;
    for events in pieces(events, audit::WIDTH) {
        let lines = events.iter().map(|event| event.line(who, tx.now_ms));
        let lines: Vec<String> = lines.collect();
        let sql = format!(
            "INSERT INTO outbox (line, process, at_ms) VALUES {}",
            places(0, lines.len(), 3)
        );
        let query = sqlx::query(AssertSqlSafe(sql));
        let query = lines.iter().fold(query, |query, line| {
            query.bind(line.as_str()).bind(tx.process).bind(tx.now_ms)
        });
        query.execute(&mut *tx.conn).await?;
        audit::keep(tx, who, events, &lines).await?;
    }
    Ok(())
}

/// Tells of something that was refused, and so changed nothing.
#[derive(Clone, Debug)]
pub(crate) struct Tell {
    pub(crate) who: Who,
    pub(crate) event: Event,
}

#[async_trait]
impl Change for Tell {
    type Out = ();
    const NAME: &'static str = "tell";
    const IS_DENIAL: bool = true;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        Ok(tell(tx, &self.who, &self.event).await?)
    }
}

/// Forgets records that a log has.
pub(crate) struct Acknowledge {
    pub(crate) ids: Vec<i64>,
}

#[async_trait]
impl Change for Acknowledge {
    type Out = ();
    const NAME: &'static str = "acknowledge";
    /// A record that is not forgotten is brought once more.
    const IS_DURABLE: bool = false;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        for id in &self.ids {
            bound!("DELETE FROM outbox WHERE id = $1", *id)
                .execute(&mut *tx.conn)
                .await?;
        }
        Ok(())
    }
}

impl Meta {
    /// Records that no log has yet and that this process is to bring there, oldest first: its own, and
    /// those that others that share the database have left for long.
    pub(crate) async fn outbox(&self, limit: i64) -> Result<Vec<(i64, String)>, Error> {
        let left_ms = match self.is_shared {
            true => self.now_ms() - LEFT_MS,
            false => i64::MAX,
        };
        let found = bound!(
            "SELECT id, line FROM outbox WHERE process = $1 OR at_ms <= $2 ORDER BY id LIMIT $3",
            self.writer.process(),
            left_ms,
            limit,
        );
        self.rows(found, |row| Ok((row.try_get(0)?, row.try_get(1)?)))
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::super::{open_for_tests, shared_for_tests};
    use super::*;

    /// Has been there for longer.
    struct Age(i64);

    #[async_trait]
    impl Change for Age {
        type Out = ();
        const NAME: &'static str = "age";

        async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
            bound!("UPDATE outbox SET at_ms = at_ms - $1", self.0)
                .execute(&mut *tx.conn)
                .await?;
            Ok(())
        }
    }

    /// Needs a PostgreSQL server: `tests/registry/postgres.sh`.
    #[tokio::test]
    async fn what_a_process_tells_is_brought_by_others_once_it_has_not() {
        let Some(place) = shared_for_tests().await else {
            return;
        };
        let (one, other) = tokio::join!(open_for_tests(&place), open_for_tests(&place));
        let (who, event) = (Who::system("test"), Event::new("test", "test", "test"));
        one.change(Tell { who, event }).await.unwrap();
        let counts = async || {
            let (one, other) = (one.outbox(10).await, other.outbox(10).await);
            (one.unwrap().len(), other.unwrap().len())
        };
        assert_eq!(counts().await, (1, 0));
        one.change(Age(LEFT_MS / 2)).await.unwrap();
        assert_eq!(counts().await, (1, 0));
        one.change(Age(LEFT_MS)).await.unwrap();
        assert_eq!(counts().await, (1, 1));
        let brought = other.outbox(10).await.unwrap();
        let ids = brought.into_iter().map(|(id, _)| id).collect();
        other.change(Acknowledge { ids }).await.unwrap();
        assert_eq!(counts().await, (0, 0));
    }
}
