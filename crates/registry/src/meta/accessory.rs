//! Manifests that are about others, as Harbor shows them: those that name a subject, and those whose
//! tags do.

use schemars::JsonSchema;
use serde::Serialize;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::Meta;
use super::administer::{Time, time};
use super::change::bound;
use super::companion::is_about;
use super::content::{Artifact, artifact_size};
use crate::digest::Digest;
use crate::error::Error;
use crate::name::RepoName;

/// Those of one manifest that are shown.
const SHOWN_MAX: i64 = 1000;

/// A manifest that is about another one.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Accessory {
    pub(crate) id: i64,
    pub(crate) artifact_id: i64,
    pub(crate) subject_artifact_id: i64,
    pub(crate) subject_artifact_repo: String,
    pub(crate) subject_artifact_digest: String,
    pub(crate) digest: String,
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) size: i64,
    pub(crate) creation_time: Time,
}

/// What begins the names of signatures.
const SIGNATURE: &str = "signature.";

/// What ends the tags of cosign's signatures.
const COSIGN: &str = ".sig";

/// What Harbor calls what has a type and is about another one, by its subject or by a tag.
fn kind(artifact_type: Option<&str>, tag: Option<&str>) -> &'static str {
    match artifact_type.unwrap_or_default() {
        "application/vnd.dev.cosign.artifact.sig.v1+json" => "signature.cosign",
        "application/vnd.cncf.notary.signature" => "signature.notation",
        "application/vnd.goharbor.harbor.sbom.v1" => "sbom.harbor",
        _ if tag.is_some_and(|tag| tag.ends_with(COSIGN)) => "signature.cosign",
        _ => "subject.accessory",
    }
}

fn accessory(row: &AnyRow) -> Result<Accessory, sqlx::Error> {
    let id = row.try_get(0)?;
    let (artifact_type, tag): (Option<String>, Option<String>) = (row.try_get(2)?, row.try_get(8)?);
    Ok(Accessory {
        id,
        artifact_id: id,
        digest: row.try_get(1)?,
        kind: kind(artifact_type.as_deref(), tag.as_deref()),
        size: row.try_get(3)?,
        creation_time: time(row.try_get(4)?),
        subject_artifact_id: row.try_get(5)?,
        subject_artifact_digest: row.try_get(6)?,
        subject_artifact_repo: row.try_get(7)?,
    })
}

/// What is about a manifest `s`: once each, with the last tag that says so, if one does.
const ABOUT: &str = concat!(
    "SELECT m.id, m.digest, m.artifact_type, ",
    artifact_size!(),
    ", m.pushed_ms, s.id, s.digest, r.name, a.tag FROM repo r \
     JOIN manifest s ON s.repo_id = r.id JOIN (SELECT d.id AS id, MAX(d.tag) AS tag FROM (\
         SELECT o.id AS id, NULL AS tag FROM manifest o JOIN repo q ON q.id = o.repo_id \
         WHERE q.name = $1 AND o.subject = $2 \
         UNION ALL SELECT t.manifest_id, t.name FROM tag t JOIN repo q ON q.id = t.repo_id \
         WHERE q.name = $1 AND ",
    is_about!("$2"),
    ") d GROUP BY d.id) a ON a.id <> s.id JOIN manifest m ON m.id = a.id \
     WHERE r.name = $1 AND s.digest = $2 ORDER BY m.id LIMIT $3"
);

impl Meta {
    /// Has an artifact say what is about it, and its tags whether that signs it.
    pub(crate) async fn add_accessories(&self, artifact: &mut Artifact) -> Result<(), Error> {
        let repo = RepoName::parse(&artifact.repository_name)?;
        let digest = Digest::parse(&artifact.digest)?;
        let found = self.accessories(&repo, &digest).await?;
        let is_signed = found.iter().any(|one| one.kind.starts_with(SIGNATURE));
        for tag in &mut artifact.tags {
            tag.signed = is_signed;
        }
        artifact.accessories = found;
        Ok(())
    }

    /// What is about a manifest, oldest first.
    pub(crate) async fn accessories(
        &self,
        repo: &RepoName,
        subject: &Digest,
    ) -> Result<Vec<Accessory>, Error> {
        let found = bound!(ABOUT, repo.as_str(), subject.as_str(), SHOWN_MAX);
        self.rows(found, accessory).await
    }
}
