//! Manifests that are about others, as Harbor shows them.

use schemars::JsonSchema;
use serde::Serialize;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::Meta;
use super::administer::{Time, time};
use super::change::bound;
use super::content::Artifact;
use crate::digest::Digest;
use crate::error::Error;
use crate::name::RepoName;

/// Those of one manifest that are shown.
const SHOWN_MAX: i64 = 1000;

/// A manifest with a subject.
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

/// What Harbor calls what has a type and a subject.
fn kind(artifact_type: Option<&str>) -> &'static str {
    match artifact_type.unwrap_or_default() {
        "application/vnd.dev.cosign.artifact.sig.v1+json" => "signature.cosign",
        "application/vnd.cncf.notary.signature" => "signature.notation",
        _ => "subject.accessory",
    }
}

fn accessory(row: &AnyRow) -> Result<Accessory, sqlx::Error> {
    let id = row.try_get(0)?;
    let artifact_type: Option<String> = row.try_get(2)?;
    Ok(Accessory {
        id,
        artifact_id: id,
        digest: row.try_get(1)?,
        kind: kind(artifact_type.as_deref()),
        size: row.try_get(3)?,
        creation_time: time(row.try_get(4)?),
        subject_artifact_id: row.try_get(5)?,
        subject_artifact_digest: row.try_get(6)?,
        subject_artifact_repo: row.try_get(7)?,
    })
}

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

    /// What has a manifest as its subject, oldest first.
    pub(crate) async fn accessories(
        &self,
        repo: &RepoName,
        subject: &Digest,
    ) -> Result<Vec<Accessory>, Error> {
        let found = bound!(
            "SELECT m.id, m.digest, m.artifact_type, m.size, m.pushed_ms, s.id, s.digest, r.name \
             FROM repo r JOIN manifest s ON s.repo_id = r.id \
             JOIN manifest m ON m.repo_id = r.id AND m.subject = s.digest \
             WHERE r.name = $1 AND s.digest = $2 ORDER BY m.id LIMIT $3",
            repo.as_str(),
            subject.as_str(),
            SHOWN_MAX,
        );
        self.rows(found, accessory).await
    }
}
