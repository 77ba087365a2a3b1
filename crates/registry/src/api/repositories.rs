//! Repositories, artifacts and tags.

use axum::Json;
use schemars::JsonSchema;
use serde::Deserialize;

use super::answers::Created;
use super::projects::{found, owner};
use super::query::{Asks, PAGES, Page};
use super::{
    Admin, Body, MaybeBody, Operations, Outcome, Path, answer, attributes, undelete, wrong,
};
use crate::auth::{Action, Role};
use crate::digest::Digest;
use crate::error::{Code, Error};
use crate::meta::{
    ARTIFACT_COLUMNS, Accessory, Artifact, Column, Condition, DeleteManifest, DeleteRepo,
    DeleteTag, DescribeRepo, HISTORY_COLUMNS, Kind, Label, Moved, REPO_COLUMNS, RepoInfo, SetTag,
    TagInfo, unknown_manifest, unknown_repo,
};
use crate::name::{Reference, RepoName, Tag};
use crate::registry::Registry;
use crate::who::Who;

/// Manifests, and blobs, of a repository that one transaction removes with it.
const PART_MAX: i64 = 64;
/// Bytes of what is said of a repository.
const DESCRIPTION_BYTES_MAX: usize = 16 << 10;

/// What can be done with repositories, artifacts and tags.
pub(super) fn operations(all: Operations) -> Operations {
    let repository = "/projects/{project}/repositories/{repository}";
    let artifacts = "/projects/{project}/repositories/{repository}/artifacts";
    let artifact = "/projects/{project}/repositories/{repository}/artifacts/{reference}";
    let tags = "/projects/{project}/repositories/{repository}/artifacts/{reference}/tags";
    let tagged = "/projects/{project}/repositories/{repository}/artifacts/{reference}/tags/{tag}";
    let labels = "/projects/{project}/repositories/{repository}/artifacts/{reference}/labels";
    let about = "/projects/{project}/repositories/{repository}/artifacts/{reference}/accessories";
    let history = "/projects/{project}/repositories/{repository}/tags/{tag}/history";
    let undelete = "/projects/{project}/repositories/{repository}/tags/{tag}/undelete";
    let repositories = "/projects/{project}/repositories";
    let (visible, of_project, named, in_it, labelled, signed) = (
        "Repositories of all projects that the caller may see",
        "Repositories of a project",
        "A repository; - is the one named as its project",
        "Artifacts of a repository",
        "The labels of an artifact",
        "What is about an artifact: signatures and the like",
    );
    let (all_in_it, say) = (
        "Artifacts of all repositories of a project, or the newest of each",
        "Say something of a repository",
    );
    let (gone, untag, give, pointed, back) = (
        "Remove an artifact, or a tag",
        "Take a tag from an artifact",
        "Give an artifact another tag",
        "Where a tag pointed",
        "Bring a tag back to where it pointed",
    );
    all.about("repository")
        .list(
            "/repositories",
            "listAllRepositories",
            visible,
            &REPOS,
            list_all,
        )
        .list(repositories, "listRepositories", of_project, &REPOS, list)
        .get(repository, "getRepository", named, show)
        .put(repository, "updateRepository", say, describe)
        .delete(
            repository,
            "deleteRepository",
            "Remove a repository",
            delete,
        )
        .about("artifact")
        .list(
            "/projects/{project}/artifacts",
            "listArtifactsOfProject",
            all_in_it,
            &PROJECT_ARTIFACTS,
            artifacts_of_project,
        )
        .list(
            artifacts,
            "listArtifacts",
            in_it,
            &ARTIFACTS,
            self::artifacts,
        )
        .get(artifact, "getArtifact", "An artifact", show_artifact)
        .delete(artifact, "deleteArtifact", gone, delete_artifact)
        .list(
            tags,
            "listTags",
            "The tags of an artifact",
            &TAGS,
            self::tags,
        )
        .list(labels, "listArtifactLabels", labelled, &PAGES, self::labels)
        .list(about, "listAccessories", signed, &ACCESSORIES, accessories)
        .delete(tagged, "deleteTag", untag, delete_tag)
        .post(tags, "createTag", give, tag)
        .list(history, "listTagHistory", pointed, &HISTORY, self::history)
        .post(undelete, "undeleteTag", back, self::undelete)
}

const REPOS: Asks = Asks {
    columns: REPO_COLUMNS,
    filters: &[],
    others: &[],
};
const ARTIFACTS: Asks = Asks {
    columns: ARTIFACT_COLUMNS,
    filters: &[],
    others: WITH,
};
const PROJECT_ARTIFACTS: Asks = Asks {
    columns: ARTIFACT_COLUMNS,
    filters: &[],
    others: &[
        "latest_in_repository",
        "with_tag",
        "with_label",
        "with_scan_overview",
        "with_sbom_overview",
        "with_immutable_status",
        "with_accessory",
    ],
};
/// Where an artifact is copied from.
pub(super) const WITH_FROM: Asks = Asks {
    columns: &[],
    filters: &[],
    others: &["from"],
};
const TAGS: Asks = Asks {
    columns: &[
        Column::shown("name", Kind::Text),
        Column::shown("push_time", Kind::Moment),
    ],
    filters: &[],
    others: WITH,
};
const ACCESSORIES: Asks = Asks {
    columns: &[
        Column::shown("type", Kind::Text),
        Column::shown("digest", Kind::Text),
        Column::shown("size", Kind::Number),
        Column::shown("creation_time", Kind::Moment),
    ],
    filters: &[],
    others: &[],
};
const HISTORY: Asks = Asks {
    columns: HISTORY_COLUMNS,
    filters: &[],
    others: &[],
};
/// What Harbor's clients may want to see of artifacts or not. Labels are shown in any case.
const WITH: &[&str] = &[
    "with_tag",
    "with_label",
    "with_scan_overview",
    "with_sbom_overview",
    "with_signature",
    "with_immutable_status",
    "with_accessory",
];

/// What stands for the repository that is named as its project, with nothing behind it: no
/// repository has this name in a project.
pub(super) const BARE: &str = "-";

/// A repository of a project: its name without the project, of which slashes may be encoded twice,
/// as Harbor's clients do.
pub(super) fn repo(project: &str, repository: &str) -> Result<RepoName, Error> {
    let rest = repository.replace("%2F", "/").replace("%2f", "/");
    match rest == BARE {
        true => RepoName::parse(project),
        false => RepoName::parse(&format!("{project}/{rest}")),
    }
}

async fn list_all(admin: Admin) -> Outcome<Page<RepoInfo>> {
    answer(&admin, async {
        let listing = admin.listing(&REPOS)?;
        let repos = admin
            .registry
            .meta()
            .visible_repos(&admin.reach(), &listing)
            .await?;
        Ok::<_, Error>(admin.page(&listing, repos))
    })
    .await
}

async fn list(admin: Admin, Path(project): Path<String>) -> Outcome<Page<RepoInfo>> {
    answer(&admin, async {
        admin.require_role(&project, None).await?;
        let listing = admin.listing(&REPOS)?;
        let meta = admin.registry.meta();
        let repos = meta.project_repos(&project, &listing).await?;
        if repos.total == 0 {
            found(&admin, &project).await?;
        }
        Ok(admin.page(&listing, repos))
    })
    .await
}

async fn delete(admin: Admin, Path((project, repository)): Path<(String, String)>) -> Outcome<()> {
    answer(&admin, async {
        let role = Role::Maintainer;
        admin.require_action(&project, Action::Delete, role).await?;
        admin.require_writable()?;
        let repo = repo(&project, &repository)?;
        // Before any of it is gone.
        admin.registry.meta().check_mutable(&repo).await?;
        let removing = remove(admin.registry.clone(), admin.who(), repo);
        admin.to_its_end("removing the repository", removing).await
    })
    .await
}

/// Removes a repository, a part after the other. A rule that is made meanwhile and holds a tag of the
/// rest stops it there: who is refused is told how much is gone.
async fn remove(registry: Registry, who: Who, repo: RepoName) -> Result<(), Error> {
    let part = || DeleteRepo {
        who: who.clone(),
        repo: repo.clone(),
        graces: registry.graces(),
        limit: PART_MAX,
    };
    let mut gone = 0;
    loop {
        match registry.meta().change(part()).await {
            Ok(part) if part.is_last => return Ok(()),
            Ok(part) => gone += part.manifests,
            Err(mut error) if gone > 0 => {
                let part =
                    format!("; {gone} artifacts were removed before that, the rest is there");
                error.message.push_str(&part);
                return Err(error);
            }
            Err(error) => return Err(error),
        }
    }
}

async fn artifacts(
    admin: Admin,
    Path((project, repository)): Path<(String, String)>,
) -> Outcome<Page<Artifact>> {
    answer(&admin, async {
        admin.require_role(&project, None).await?;
        let repo = repo(&project, &repository)?;
        let listing = admin.listing(&ARTIFACTS)?;
        let meta = admin.registry.meta();
        let mut artifacts = meta.artifacts(&repo, &listing).await?;
        if artifacts.total == 0 && !meta.has_repo(&repo).await? {
            return Err(unknown_repo(&repo));
        }
        complete(&admin, &project, &mut artifacts.rows).await?;
        Ok(admin.page(&listing, artifacts))
    })
    .await
}

async fn artifacts_of_project(
    admin: Admin,
    Path(project): Path<String>,
) -> Outcome<Page<Artifact>> {
    answer(&admin, async {
        let project = owner(&admin, project).await?;
        admin.require_role(&project, None).await?;
        let listing = admin.listing(&PROJECT_ARTIFACTS)?;
        let is_newest = admin.param("latest_in_repository") == Some("true");
        let meta = admin.registry.meta();
        let artifacts = meta.project_artifacts(&project, is_newest, &listing);
        let mut artifacts = artifacts.await?;
        if artifacts.total == 0 {
            found(&admin, &project).await?;
        }
        complete(&admin, &project, &mut artifacts.rows).await?;
        Ok(admin.page(&listing, artifacts))
    })
    .await
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

/// An artifact, as far as it is in the database.
pub(super) async fn info(
    admin: &Admin,
    (project, repository, reference): (String, String, String),
) -> Result<Artifact, Error> {
    admin.require_role(&project, None).await?;
    let (repo, digest) = artifact(admin, &project, &repository, &reference).await?;
    let info = admin.registry.meta().artifact(&repo, &digest).await?;
    info.ok_or_else(|| unknown_manifest(&repo, &Reference::Digest(digest)))
}

/// Whether something is asked for that a parameter speaks of.
fn is_wanted(admin: &Admin, param: &str, unless_said: bool) -> bool {
    admin.param(param).map_or(unless_said, |is| is == "true")
}

/// Has artifacts say what is about them and which rules hold their tags, where that is asked for.
async fn relate(admin: &Admin, project: &str, artifacts: &mut [Artifact]) -> Result<(), Error> {
    let meta = admin.registry.meta();
    if is_wanted(admin, "with_accessory", true) {
        for artifact in artifacts.iter_mut() {
            meta.add_accessories(artifact).await?;
        }
    }
    if is_wanted(admin, "with_immutable_status", false) {
        meta.mark_immutable(project, artifacts).await?;
    }
    Ok(())
}

/// Has artifacts say all that is asked for, and what they say of themselves.
async fn complete(admin: &Admin, project: &str, artifacts: &mut [Artifact]) -> Result<(), Error> {
    if !is_wanted(admin, "with_tag", true) {
        artifacts.iter_mut().for_each(|one| one.tags.clear());
    }
    relate(admin, project, artifacts).await?;
    attributes::complete(&admin.registry, artifacts).await;
    Ok(())
}

async fn show_artifact(
    admin: Admin,
    Path(place): Path<(String, String, String)>,
) -> Outcome<Json<Artifact>> {
    answer(&admin, async {
        let mut artifact = info(&admin, place.clone()).await?;
        complete(&admin, &place.0, std::slice::from_mut(&mut artifact)).await?;
        Ok(Json(artifact))
    })
    .await
}

async fn accessories(
    admin: Admin,
    Path((project, repository, reference)): Path<(String, String, String)>,
) -> Outcome<Page<Accessory>> {
    answer(&admin, async {
        admin.require_role(&project, None).await?;
        let (repo, digest) = artifact(&admin, &project, &repository, &reference).await?;
        let found = admin.registry.meta().accessories(&repo, &digest).await?;
        admin.listed(&ACCESSORIES, found)
    })
    .await
}

async fn labels(admin: Admin, Path(place): Path<(String, String, String)>) -> Outcome<Page<Label>> {
    let listed = info(&admin, place).await;
    let listed = listed.and_then(|artifact| admin.listed(&PAGES, artifact.labels));
    admin.outcome(listed)
}

async fn tags(admin: Admin, Path(place): Path<(String, String, String)>) -> Outcome<Page<TagInfo>> {
    answer(&admin, async {
        let mut artifact = info(&admin, place.clone()).await?;
        relate(&admin, &place.0, std::slice::from_mut(&mut artifact)).await?;
        admin.listed(&TAGS, artifact.tags)
    })
    .await
}

/// Removes a tag, and with the last one of an artifact what is about that.
async fn untag(admin: &Admin, repo: RepoName, tag: Tag) -> Result<(), Error> {
    let delete = DeleteTag {
        repo,
        tag,
        condition: Condition::default(),
        takes_companions: true,
        who: admin.who(),
        grace_ms: admin.registry.untagged_grace_ms(),
    };
    admin.registry.meta().change(delete).await
}

/// Removes a tag of an artifact, if it is one of that artifact.
async fn delete_tag(
    admin: Admin,
    Path((project, repository, reference, tag)): Path<(String, String, String, String)>,
) -> Outcome<()> {
    answer(&admin, async {
        let role = Role::Maintainer;
        admin.require_action(&project, Action::Delete, role).await?;
        admin.require_writable()?;
        let tag = Tag::parse(&tag)?;
        let (repo, digest) = artifact(&admin, &project, &repository, &reference).await?;
        let (_, tagged) = artifact(&admin, &project, &repository, tag.as_str()).await?;
        if tagged != digest {
            let message = format!("tag {} of {repo} is not one of {digest}", tag.as_str());
            return Err(Error::new(Code::ManifestUnknown, message));
        }
        untag(&admin, repo, tag).await
    })
    .await
}

async fn show(
    admin: Admin,
    Path((project, repository)): Path<(String, String)>,
) -> Outcome<Json<RepoInfo>> {
    answer(&admin, async {
        admin.require_role(&project, None).await?;
        let repo = repo(&project, &repository)?;
        Ok(Json(admin.registry.meta().repo(&repo).await?))
    })
    .await
}

/// What is said of a repository.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "RepositoryReq")]
struct Description {
    description: String,
}

async fn describe(
    admin: Admin,
    Path((project, repository)): Path<(String, String)>,
    Body(request): Body<Description>,
) -> Outcome<()> {
    answer(&admin, async {
        let role = Role::Developer;
        admin.require_action(&project, Action::Push, role).await?;
        let description = request.description;
        if description.len() > DESCRIPTION_BYTES_MAX {
            let bytes = description.len();
            return Err(wrong(format!(
                "a description has at most {DESCRIPTION_BYTES_MAX} bytes, this one {bytes}"
            )));
        }
        let describe = DescribeRepo {
            who: admin.who(),
            repo: repo(&project, &repository)?,
            description,
        };
        admin.registry.meta().change(describe).await
    })
    .await
}

async fn delete_artifact(
    admin: Admin,
    Path((project, repository, reference)): Path<(String, String, String)>,
) -> Outcome<()> {
    answer(&admin, async {
        let role = Role::Maintainer;
        admin.require_action(&project, Action::Delete, role).await?;
        admin.require_writable()?;
        let repo = repo(&project, &repository)?;
        match Reference::parse(&reference)? {
            Reference::Tag(tag) => untag(&admin, repo, tag).await,
            Reference::Digest(digest) => {
                let delete = DeleteManifest {
                    spares_parts: true,
                    repo,
                    digest,
                    who: admin.who(),
                    graces: admin.registry.graces(),
                };
                admin.registry.meta().change(delete).await
            }
        }
    })
    .await
}

/// A new tag.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "TagReq")]
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
) -> Outcome<Created<()>> {
    answer(&admin, async {
        let role = Role::Developer;
        admin.require_action(&project, Action::Push, role).await?;
        admin.require_writable()?;
        let (repo, digest) = artifact(&admin, &project, &repository, &reference).await?;
        let tag = Tag::parse(&request.name)?;
        let set = set(&admin, repo, tag, digest, "create_tag");
        set.await.map(Created)
    })
    .await
}

async fn history(
    admin: Admin,
    Path((project, repository, tag)): Path<(String, String, String)>,
) -> Outcome<Page<Moved>> {
    answer(&admin, async {
        // It tells who pushes.
        let guest = Role::LimitedGuest;
        admin.require_action(&project, Action::Pull, guest).await?;
        let (repo, tag) = (repo(&project, &repository)?, Tag::parse(&tag)?);
        let listing = admin.listing(&HISTORY)?;
        let meta = admin.registry.meta();
        let history = meta.tag_history(&repo, &tag, &listing).await?;
        Ok(admin.page(&listing, history))
    })
    .await
}

/// Where the tag is to point again; without a digest, where it pointed last.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(rename = "UndeleteReq")]
#[serde(default)]
struct Undelete {
    digest: Option<String>,
}

async fn undelete(
    admin: Admin,
    Path((project, repository, tag)): Path<(String, String, String)>,
    MaybeBody(request): MaybeBody<Undelete>,
) -> Outcome<()> {
    answer(&admin, async {
        let (developer, maintainer) = (Role::Developer, Role::Maintainer);
        admin
            .require_action(&project, Action::Push, developer)
            .await?;
        admin
            .require_action(&project, Action::Delete, maintainer)
            .await?;
        admin.require_writable()?;
        let (repo, tag) = (repo(&project, &repository)?, Tag::parse(&tag)?);
        let digest = request.digest.map(|digest| Digest::parse(&digest));
        let (undelete, digest) = (undelete::Undelete::new(&admin, repo), digest.transpose()?);
        let undeleted = async move { undelete.run(tag, digest).await };
        admin.to_its_end("bringing it back", undeleted).await
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_always_one_within_the_project() {
        for (repository, name) in [
            ("app", "team/app"),
            ("team", "team/team"),
            ("a%2Fb", "team/a/b"),
            ("team%2fteam", "team/team/team"),
            ("-", "team"),
        ] {
            assert_eq!(repo("team", repository).unwrap().as_str(), name);
        }
        for wrong in ["", "-%2F-", "-%2Fapp", "A"] {
            assert!(repo("team", wrong).is_err(), "{wrong}");
        }
    }
}
