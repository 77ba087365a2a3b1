//! Repositories, artifacts and tags.

use clap::Subcommand;
use reqwest::Method;
use serde_json::json;

use super::asked::{Asked, ListArgs, encoded, project, repository};

/// What can be done with repositories and what they have.
#[derive(Clone, Debug, Subcommand)]
pub enum ContentCommand {
    /// List the repositories of a project, or of all that one may see
    Repositories {
        /// The project
        project: Option<String>,
        /// What is printed
        #[command(flatten)]
        list: ListArgs,
    },
    /// List the artifacts of a repository
    Artifacts {
        /// PROJECT/NAME
        repository: String,
        /// Those that have the label with this number
        #[arg(long)]
        label: Option<i64>,
        /// What is printed
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show an artifact
    Artifact {
        /// PROJECT/NAME
        repository: String,
        /// A tag or the digest of the artifact
        reference: String,
    },
    /// Copy an artifact to a repository, with its tags and what belongs to it
    CopyArtifact {
        /// PROJECT/NAME:TAG or PROJECT/NAME@DIGEST
        from: String,
        /// PROJECT/NAME
        to: String,
    },
    /// Remove a repository with all that it has, for good: undelete brings back tags, and none of these
    DeleteRepository {
        /// PROJECT/NAME
        repository: String,
    },
    /// Remove a tag, or by its digest an artifact with its tags
    DeleteArtifact {
        /// PROJECT/NAME
        repository: String,
        /// The tag or the digest
        reference: String,
    },
    /// Give an artifact another tag
    Tag {
        /// PROJECT/NAME
        repository: String,
        /// A tag or the digest of the artifact
        reference: String,
        /// The new tag
        tag: String,
    },
    /// Say where a tag pointed
    History {
        /// PROJECT/NAME
        repository: String,
        /// The tag
        tag: String,
        /// What is printed
        #[command(flatten)]
        list: ListArgs,
    },
    /// Bring a tag back to where it pointed
    Undelete {
        /// PROJECT/NAME
        repository: String,
        /// The tag
        tag: String,
        /// Where it is to point, if not to where it pointed last
        #[arg(long)]
        digest: Option<String>,
    },
}

impl ContentCommand {
    pub(super) fn asked(self) -> Asked {
        match self {
            Self::Repositories {
                project: name,
                list,
            } => {
                let of = name.map(|name| project(&name)).unwrap_or_default();
                Asked::list(format!("{of}/repositories"), list)
            }
            Self::Artifacts {
                repository: name,
                label,
                list,
            } => {
                let query = label.map(|id| format!("?q=labels=({id})"));
                let query = query.unwrap_or_default();
                Asked::list(format!("{}/artifacts{query}", repository(&name)), list)
            }
            Self::Artifact {
                repository,
                reference,
            } => Asked::get(artifact(&repository, &reference)),
            Self::CopyArtifact { from, to } => {
                let path = format!("{}/artifacts?from={}", repository(&to), encoded(&from));
                Asked::of(Method::POST, path, None)
            }
            Self::DeleteRepository { repository: name } => Asked::delete(repository(&name)),
            Self::DeleteArtifact {
                repository: name,
                reference,
            } => Asked::delete(artifact(&name, &reference)),
            Self::Tag {
                repository: name,
                reference,
                tag,
            } => {
                let path = format!("{}/tags", artifact(&name, &reference));
                Asked::post(path, json!({"name": tag}))
            }
            Self::History {
                repository: name,
                tag,
                list,
            } => {
                let path = format!("{}/tags/{}/history", repository(&name), encoded(&tag));
                Asked::list(path, list)
            }
            Self::Undelete {
                repository: name,
                tag,
                digest,
            } => Asked::post(
                format!("{}/tags/{}/undelete", repository(&name), encoded(&tag)),
                json!({"digest": digest}),
            ),
        }
    }
}

/// The path of an artifact.
pub(super) fn artifact(name: &str, reference: &str) -> String {
    format!("{}/artifacts/{}", repository(name), encoded(reference))
}
