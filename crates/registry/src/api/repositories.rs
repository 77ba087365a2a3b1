//! Repositories, artifacts and tags.

use axum::Json;
use axum::extract::Path;
use http::StatusCode;
use serde::Deserialize;

use super::page::Wanted;
use super::{Admin, Body, Operations, Outcome, wrong};
use crate::auth::{Action, Role};
use crate::digest::Digest;
use crate::error::{Code, Error};
use crate::meta::{Artifact, DeleteManifest, DeleteRepo, DeleteTag, SetTag, unknown_manifest};
use crate::name::{Reference, RepoName, Tag};

/// Moments of a tag's history that are shown.
const HISTORY_MAX: i64 = 200;

/// What can be done with repositories, artifacts and tags.
pub(super) fn operations(all: Operations) -> Operations {
    let repository = "/projects/{project}/repositories/{repository}";
    let artifacts = "/projects/{project}/repositories/{repository}/artifacts";
    let artifact = "/projects/{project}/repositories/{repository}/artifacts/{reference}";
    let tags = "/projects/{project}/repositories/{repository}/artifacts/{reference}/tags";
    let tagged = "/projects/{project}/repositories/{repository}/artifacts/{reference}/tags/{tag}";
    let history = "/projects/{project}/repositories/{repository}/tags/{tag}/history";
    let undelete = "/projects/{project}/repositories/{repository}/tags/{tag}/undelete";
    let repositories = "/projects/{project}/repositories";
    all.get(repositories, "Repositories of a project", list)
        .get(repository, "A repository", show)
        .delete(repository, "Remove a repository", delete)
        .get(
            artifacts,
            "Artifacts, with ?q=labels=(id) those of a label",
            self::artifacts,
        )
        .get(artifact, "An artifact", show_artifact)
        .delete(artifact, "Remove an artifact, or a tag", delete_artifact)
        .get(tags, "The tags of an artifact", self::tags)
        .delete(tagged, "Take a tag from an artifact", delete_tag)
        .make(tags, "Give an artifact another tag", tag)
        .get(history, "Where a tag pointed", self::history)
        .post(
            undelete,
            "Bring a tag back to where it pointed",
            self::undelete,
        )
}

/// A repository of a project: its name without the project, of which slashes may be encoded twice,
/// as Harbor's clients do.
fn repo(project: &str, repository: &str) -> Result<RepoName, Error> {
    let rest = repository.replace("%2F", "/").replace("%2f", "/");
    match rest.is_empty() || rest == project {
        true => RepoName::parse(project),
        false => RepoName::parse(&format!("{project}/{rest}")),
    }
}

async fn list(admin: Admin, Path(project): Path<String>) -> Outcome {
    let listed = async {
        admin.require_role(&project, None).await?;
        let (mut part, meta) = (String::new(), admin.registry.meta());
        for (_, wanted) in admin.conditions(&["name"])? {
            part = match wanted {
                Wanted::Is(name) | Wanted::Has(name) => name.to_owned(),
            };
        }
        let repos = meta.project_repos(&project, &part, admin.page()).await?;
        Ok(admin.paged(repos))
    };
    let listed = listed.await;
    admin.outcome(listed)
}

async fn delete(admin: Admin, Path((project, repository)): Path<(String, String)>) -> Outcome {
    let deleted = async {
        let role = Role::ProjectAdmin;
        admin.require_action(&project, Action::Delete, role).await?;
        let delete = DeleteRepo {
            who: admin.who(),
            repo: repo(&project, &repository)?,
            untagged_grace_ms: admin.registry.untagged_grace_ms(),
        };
        admin.registry.meta().change(delete).await
    };
    let deleted = deleted.await;
    admin.outcome(deleted)
}

async fn artifacts(admin: Admin, Path((project, repository)): Path<(String, String)>) -> Outcome {
    let listed = async {
        admin.require_role(&project, None).await?;
        let repo = repo(&project, &repository)?;
        let label = admin.param("q").map(label).transpose()?;
        let meta = admin.registry.meta();
        let artifacts = meta.artifacts(&repo, label, admin.page()).await?;
        Ok(admin.paged(artifacts))
    };
    let listed = listed.await;
    admin.outcome(listed)
}

/// The label that artifacts are to have: `labels=(1)` is one, by its number, as Harbor's clients
/// write it.
fn label(query: &str) -> Result<i64, Error> {
    let id = query.strip_prefix("labels=(");
    let id = id.and_then(|rest| rest.strip_suffix(')')?.parse().ok());
    id.ok_or_else(|| wrong("q is labels=(the number of a label)"))
}

/// The repository and the digest of an artifact that a path names.
pub(super) async fn artifact(
    admin: &Admin,
    project: &str,
    repository: &str,
    reference: &str,
) -> Result<(RepoName, Digest), Error> {
    let repo = repo(project, repository)?;
    let reference = Reference::parse(reference)?;
    let found = admin.registry.meta().manifest(&repo, &reference).await?;
    let found = found.ok_or_else(|| unknown_manifest(&repo, &reference))?;
    let digest = Digest::parse(&found.digest)?;
    Ok((repo, digest))
}

/// An artifact as it is in the list of them.
async fn info(
    admin: &Admin,
    (project, repository, reference): (String, String, String),
) -> Result<Artifact, Error> {
    admin.require_role(&project, None).await?;
    let (repo, digest) = artifact(admin, &project, &repository, &reference).await?;
    let info = admin.registry.meta().artifact(&repo, &digest).await?;
    info.ok_or_else(|| unknown_manifest(&repo, &Reference::Digest(digest)))
}

async fn show_artifact(admin: Admin, Path(place): Path<(String, String, String)>) -> Outcome {
    let shown = info(&admin, place).await.map(Json);
    admin.outcome(shown)
}

async fn tags(admin: Admin, Path(place): Path<(String, String, String)>) -> Outcome {
    let listed = info(&admin, place).await;
    let listed = listed.map(|artifact| admin.listed(artifact.tags));
    admin.outcome(listed)
}

/// Removes a tag of an artifact, if it is one of that artifact.
async fn delete_tag(
    admin: Admin,
    Path((project, repository, reference, tag)): Path<(String, String, String, String)>,
) -> Outcome {
    let deleted = async {
        admin.require_role(&project, Some(Role::Maintainer)).await?;
        let tag = Tag::parse(&tag)?;
        let (repo, digest) = artifact(&admin, &project, &repository, &reference).await?;
        let (_, tagged) = artifact(&admin, &project, &repository, tag.as_str()).await?;
        if tagged != digest {
            let message = format!("tag {} of {repo} is not one of {digest}", tag.as_str());
            return Err(Error::new(Code::ManifestUnknown, message));
        }
        let delete = DeleteTag {
            repo,
            tag,
            who: admin.who(),
            grace_ms: admin.registry.untagged_grace_ms(),
        };
        admin.registry.meta().change(delete).await.map(|_| ())
    };
    let deleted = deleted.await;
    admin.outcome(deleted)
}

async fn show(admin: Admin, Path((project, repository)): Path<(String, String)>) -> Outcome {
    let shown = async {
        admin.require_role(&project, None).await?;
        let repo = repo(&project, &repository)?;
        Ok(Json(admin.registry.meta().repo(&repo).await?))
    };
    let shown = shown.await;
    admin.outcome(shown)
}

async fn delete_artifact(
    admin: Admin,
    Path((project, repository, reference)): Path<(String, String, String)>,
) -> Outcome {
    let deleted = async {
        let role = Role::Maintainer;
        admin.require_action(&project, Action::Delete, role).await?;
        let repo = repo(&project, &repository)?;
        let registry = &admin.registry;
        let untagged_grace_ms = registry.untagged_grace_ms();
        match Reference::parse(&reference)? {
            Reference::Tag(tag) => {
                let delete = DeleteTag {
                    repo,
                    tag,
                    who: admin.who(),
                    grace_ms: untagged_grace_ms,
                };
                registry.meta().change(delete).await?;
            }
            Reference::Digest(digest) => {
                let delete = DeleteManifest {
                    repo,
                    digest,
                    who: admin.who(),
                    untagged_grace_ms,
                    blob_grace_ms: registry.blob_grace_ms(),
                };
                registry.meta().change(delete).await?;
            }
        }
        Ok(())
    };
    let deleted = deleted.await;
    admin.outcome(deleted)
}

/// A new tag.
#[derive(Debug, Deserialize)]
struct NewTag {
    name: String,
}

async fn set(
    admin: &Admin,
    repo: RepoName,
    tag: Tag,
    digest: Digest,
    event: &'static str,
) -> Result<(), Error> {
    let set = SetTag {
        who: admin.who(),
        repo,
        tag,
        digest,
        untagged_grace_ms: admin.registry.untagged_grace_ms(),
        event,
    };
    admin.registry.meta().change(set).await
}

async fn tag(
    admin: Admin,
    Path((project, repository, reference)): Path<(String, String, String)>,
    Body(request): Body<NewTag>,
) -> Outcome {
    let done = async {
        let role = Role::Developer;
        admin.require_action(&project, Action::Push, role).await?;
        let (repo, digest) = artifact(&admin, &project, &repository, &reference).await?;
        let tag = Tag::parse(&request.name)?;
        set(&admin, repo, tag, digest, "create_tag").await?;
        Ok(StatusCode::CREATED)
    };
    let done = done.await;
    admin.outcome(done)
}

async fn history(
    admin: Admin,
    Path((project, repository, tag)): Path<(String, String, String)>,
) -> Outcome {
    let listed = async {
        admin.require_role(&project, None).await?;
        let (repo, tag) = (repo(&project, &repository)?, Tag::parse(&tag)?);
        let meta = admin.registry.meta();
        Ok(admin.listed(meta.tag_history(&repo, &tag, HISTORY_MAX).await?))
    };
    let listed = listed.await;
    admin.outcome(listed)
}

/// Where the tag is to point again; without a digest, where it pointed last.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Undelete {
    digest: Option<String>,
}

async fn undelete(
    admin: Admin,
    Path((project, repository, tag)): Path<(String, String, String)>,
    Body(request): Body<Undelete>,
) -> Outcome {
    let done = async {
        admin.require_role(&project, Some(Role::Maintainer)).await?;
        let (repo, tag) = (repo(&project, &repository)?, Tag::parse(&tag)?);
        let digest = match request.digest {
            Some(digest) => digest,
            None => {
                let history = admin.registry.meta().tag_history(&repo, &tag, 1).await?;
                let last = history.into_iter().next();
                last.and_then(|moved| moved.old_digest).ok_or_else(|| {
                    let message = format!("tag {} pointed nowhere before", tag.as_str());
                    Error::new(Code::ManifestUnknown, message)
                })?
            }
        };
        set(&admin, repo, tag, Digest::parse(&digest)?, "tag_undeleted").await
    };
    let done = done.await;
    admin.outcome(done)
}
