//! Labels, and which artifacts have them.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::Row;

use super::Meta;
use super::administer::{Time, project_id, time};
use super::change::{Change, Tx, bound, first};
use super::error::Failure;
use super::listing::{Column, Kind, Listed, Listing, Operand, Source};
use super::manifest;
use super::outbox::{Event, tell};
use crate::digest::Digest;
use crate::error::{Code, Error};
use crate::name::RepoName;
use crate::who::Who;

/// Labels of one project, and of the whole registry.
const LABELS_MAX: i64 = 1000;
/// Labels of one artifact.
const PER_ARTIFACT_MAX: i64 = 100;

/// A label.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Label {
    pub(crate) id: i64,
    #[serde(flatten)]
    pub(crate) text: LabelText,
    /// `g` if all projects may use it, `p` if one.
    #[schemars(extend("enum" = ["g", "p"]))]
    pub(crate) scope: &'static str,
    /// 0 if it is not of a project.
    pub(crate) project_id: i64,
    /// The project's name.
    #[serde(skip)]
    pub(crate) project: Option<String>,
    pub(crate) creation_time: Time,
    pub(crate) update_time: Time,
}

/// What a label says.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "LabelChange")]
pub(crate) struct LabelText {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) description: String,
    /// As a web page has it, such as `#48960C`.
    #[serde(default)]
    pub(crate) color: String,
}

fn label(row: &sqlx::any::AnyRow) -> Result<Label, sqlx::Error> {
    let project: Option<i64> = row.try_get(4)?;
    Ok(Label {
        id: row.try_get(0)?,
        text: LabelText {
            name: row.try_get(1)?,
            description: row.try_get(2)?,
            color: row.try_get(3)?,
        },
        scope: if project.is_some() { "p" } else { "g" },
        project_id: project.unwrap_or(0),
        project: row.try_get(5)?,
        creation_time: time(row.try_get(6)?),
        update_time: time(row.try_get(7)?),
    })
}

const LABEL: &str = "SELECT l.id, l.name, l.description, l.color, l.project_id, p.name, \
     l.created_ms, l.updated_ms FROM label l LEFT JOIN project p ON p.id = l.project_id \
     WHERE l.id = $1";
const LABELS: Source = Source {
    columns: "l.id, l.name, l.description, l.color, l.project_id, p.name, \
     l.created_ms, l.updated_ms",
    from: "FROM label l LEFT JOIN project p ON p.id = l.project_id \
     WHERE COALESCE(p.name, '') = $1",
    order: "l.name",
};

/// What labels can be filtered by.
pub(crate) const LABEL_COLUMNS: &[Column] = &[
    Column::new("name", Kind::Text, "l.name"),
    Column::new("id", Kind::Number, "l.id"),
    Column::new("color", Kind::Text, "l.color"),
    Column::new("creation_time", Kind::Moment, "l.created_ms"),
    Column::new("update_time", Kind::Moment, "l.updated_ms"),
];
const OF_ARTIFACT: &str = "SELECT l.id, l.name, l.description, l.color, l.project_id, p.name, \
     l.created_ms, l.updated_ms FROM manifest_label e JOIN label l ON l.id = e.label_id \
     LEFT JOIN project p ON p.id = l.project_id WHERE e.manifest_id = $1 ORDER BY l.name";

impl Meta {
    /// A label by its number.
    pub(crate) async fn label(&self, id: i64) -> Result<Label, Error> {
        let found = self.row(bound!(LABEL, id), label).await?;
        found.ok_or_else(unknown)
    }

    /// The labels of a project, or of the whole registry.
    pub(crate) async fn labels(
        &self,
        project: Option<&str>,
        listing: &Listing,
    ) -> Result<Listed<Label>, Error> {
        let project = Operand::from(project.unwrap_or_default());
        self.list(&LABELS, vec![project], listing, label).await
    }

    /// The labels of an artifact.
    pub(super) async fn artifact_labels(&self, manifest_id: i64) -> Result<Vec<Label>, Error> {
        self.rows(bound!(OF_ARTIFACT, manifest_id), label).await
    }
}

/// What is said of a label that is not there.
pub(crate) fn unknown() -> Error {
    Error::new(Code::NameUnknown, "there is no such label")
}

fn taken(name: &str) -> Failure {
    let message = format!("there is a label {name} already");
    Error::new(Code::Conflict, message).into()
}

/// Makes a label.
pub(crate) struct CreateLabel {
    pub(crate) who: Who,
    /// The project; none if all may use it.
    pub(crate) project: Option<String>,
    pub(crate) text: LabelText,
}

#[async_trait]
impl Change for CreateLabel {
    type Out = i64;
    const NAME: &'static str = "create_label";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<i64, Failure> {
        let project = match &self.project {
            Some(name) => Some(project_id(tx, name).await?),
            None => None,
        };
        let count = bound!(
            "SELECT COUNT(*) FROM label WHERE COALESCE(project_id, 0) = $1",
            project.unwrap_or(0),
        );
        if first(&count.fetch_one(&mut *tx.conn).await?)? >= LABELS_MAX {
            let message = format!("a project, or the registry, has at most {LABELS_MAX} labels");
            return Err(Error::new(Code::Conflict, message).into());
        }
        let made = bound!(
            "INSERT INTO label (project_id, name, description, color, created_ms, updated_ms) \
             VALUES ($1, $2, $3, $4, $5, $5) ON CONFLICT DO NOTHING RETURNING id",
            project,
            self.text.name.as_str(),
            self.text.description.as_str(),
            self.text.color.as_str(),
            tx.now_ms,
        );
        let made = made.fetch_optional(&mut *tx.conn).await?;
        let made = made.ok_or_else(|| taken(&self.text.name))?;
        let event = told("create_label", self.project.as_deref(), &self.text.name);
        tell(tx, &self.who, &event.changed((), &self.text)).await?;
        Ok(first(&made)?)
    }
}

/// That a label was made, changed or removed.
fn told(event: &'static str, project: Option<&str>, name: &str) -> Event {
    Event {
        project: project.map(str::to_owned),
        ..Event::new(event, "label", name)
    }
}

/// What is to become of a label.
pub(crate) enum LabelFate {
    Change(LabelText),
    /// Artifacts lose it.
    Delete,
}

/// Changes or removes a label.
pub(crate) struct UpdateLabel {
    pub(crate) who: Who,
    pub(crate) label: Label,
    pub(crate) fate: LabelFate,
}

#[async_trait]
impl Change for UpdateLabel {
    type Out = ();
    const NAME: &'static str = "update_label";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        let id = self.label.id;
        // It may have changed or gone since it was read.
        let before = bound!(LABEL, id).fetch_optional(&mut *tx.conn).await?;
        let before = label(&before.ok_or_else(unknown)?)?.text;
        let (event, after) = match &self.fate {
            LabelFate::Change(text) => {
                let others = bound!(
                    "SELECT COUNT(*) FROM label \
                     WHERE COALESCE(project_id, 0) = $1 AND name = $2 AND id <> $3",
                    self.label.project_id,
                    text.name.as_str(),
                    id,
                );
                if first(&others.fetch_one(&mut *tx.conn).await?)? > 0 {
                    return Err(taken(&text.name));
                }
                let update = bound!(
                    "UPDATE label SET name = $1, description = $2, color = $3, updated_ms = $4 \
                     WHERE id = $5",
                    text.name.as_str(),
                    text.description.as_str(),
                    text.color.as_str(),
                    tx.now_ms,
                    id,
                );
                update.execute(&mut *tx.conn).await?;
                ("update_label", Some(text))
            }
            LabelFate::Delete => {
                let delete = bound!("DELETE FROM label WHERE id = $1", id);
                delete.execute(&mut *tx.conn).await?;
                ("delete_label", None)
            }
        };
        let event = told(event, self.label.project.as_deref(), &before.name);
        Ok(tell(tx, &self.who, &event.changed(&before, after)).await?)
    }
}

/// Gives an artifact a label, or takes it.
pub(crate) struct SetLabel {
    pub(crate) who: Who,
    pub(crate) repo: RepoName,
    pub(crate) digest: Digest,
    pub(crate) label: Label,
    /// Whether it is to have it.
    pub(crate) has: bool,
}

#[async_trait]
impl Change for SetLabel {
    type Out = ();
    const NAME: &'static str = "set_label";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        let (_, manifest_id) = manifest::find(tx, &self.repo, &self.digest).await?;
        let event = match self.has {
            true => {
                self.give(tx, manifest_id).await?;
                "label_artifact"
            }
            false => {
                let sql = "DELETE FROM manifest_label WHERE manifest_id = $1 AND label_id = $2";
                let taken = bound!(sql, manifest_id, self.label.id);
                if taken.execute(&mut *tx.conn).await?.rows_affected() == 0 {
                    return Err(Error::new(Code::NameUnknown, "it has no such label").into());
                }
                "unlabel_artifact"
            }
        };
        let event = Event {
            reference: Some(self.label.text.name.clone()),
            digest: Some(self.digest.as_str().to_owned()),
            ..Event::new(event, "artifact", self.digest.as_str()).in_repo(&self.repo)
        };
        Ok(tell(tx, &self.who, &event).await?)
    }
}

impl SetLabel {
    async fn give(&self, tx: &mut Tx<'_>, manifest_id: i64) -> Result<(), Failure> {
        let count = bound!(
            "SELECT COUNT(*) FROM manifest_label WHERE manifest_id = $1",
            manifest_id,
        );
        if first(&count.fetch_one(&mut *tx.conn).await?)? >= PER_ARTIFACT_MAX {
            let message = format!("an artifact has at most {PER_ARTIFACT_MAX} labels");
            return Err(Error::new(Code::Conflict, message).into());
        }
        // The label may have gone since it was read.
        bound!(
            "INSERT INTO manifest_label (manifest_id, label_id) \
             SELECT $1, id FROM label WHERE id = $2 \
             ON CONFLICT (manifest_id, label_id) DO NOTHING",
            manifest_id,
            self.label.id,
        )
        .execute(&mut *tx.conn)
        .await?;
        Ok(())
    }
}
