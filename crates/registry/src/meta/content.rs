//! What repositories have, as who looks through them sees it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use sqlx::Row;

use super::Meta;
use super::accessory::Accessory;
use super::administer::{Time, time, view};
use super::cache::Touched;
use super::change::{Change, Tx, bound, first};
use super::delete;
use super::error::Failure;
use super::label::Label;
use super::list::Reach;
use super::listing::{Column, Kind, Listed, Listing, Operand, Source};
use super::outbox::{Event, tell};
use super::project::find_repo;
use super::removed::{self, Forgotten};
use super::review::Graces;
use super::rules::check_mutable;
use super::search::visible;
use super::tag::{self, Target};
use crate::attributes::{Attributes, Platform};
use crate::digest::Digest;
use crate::error::{Code, Error};
use crate::name::RepoName;
use crate::who::Who;

/// A repository.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "Repository")]
pub(crate) struct RepoInfo {
    pub(crate) id: i64,
    pub(crate) project_id: i64,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) artifact_count: i64,
    /// How often a manifest of it was pulled.
    pub(crate) pull_count: i64,
    pub(crate) creation_time: Time,
    /// When it was pushed to last.
    pub(crate) update_time: Time,
}

/// A manifest with its tags.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Artifact {
    pub(crate) id: i64,
    pub(crate) repository_id: i64,
    pub(crate) repository_name: String,
    pub(crate) project_id: i64,
    /// What Harbor calls it.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) digest: String,
    /// Of what it is made of, as far as that has a type; else of its manifest.
    #[serde(rename = "media_type")]
    pub(crate) content_type: String,
    #[serde(rename = "manifest_media_type")]
    pub(crate) media_type: String,
    pub(crate) artifact_type: Option<String>,
    /// Bytes of the manifest and of the blobs that it needs.
    pub(crate) size: i64,
    pub(crate) push_time: Time,
    pub(crate) pull_time: Option<Time>,
    pub(crate) annotations: Option<Value>,
    pub(crate) tags: Vec<TagInfo>,
    pub(crate) labels: Vec<Label>,
    /// What an index names, in its repository or not.
    pub(crate) references: Vec<Part>,
    /// What its configuration says, if that was read.
    pub(crate) extra_attrs: Option<Attributes>,
    /// What more of it can be asked for, by its name.
    pub(crate) addition_links: BTreeMap<&'static str, Link>,
    /// What is about it, if that was asked for.
    pub(crate) accessories: Vec<Accessory>,
}

/// Where something is, without the name of this server.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "AdditionLink")]
pub(crate) struct Link {
    pub(crate) href: String,
    pub(crate) absolute: bool,
}

/// A manifest that an index names.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "Reference")]
pub(crate) struct Part {
    pub(crate) parent_id: i64,
    /// None if it is not there.
    pub(crate) child_id: Option<i64>,
    pub(crate) child_digest: String,
    /// What the index says of it, if that was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) platform: Option<Platform>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) annotations: Option<BTreeMap<String, String>>,
}

/// What Harbor calls what has a type.
macro_rules! artifact_kind {
    () => {
        "CASE COALESCE(m.artifact_type, '') WHEN '' THEN 'IMAGE' \
         WHEN 'application/vnd.oci.image.config.v1+json' THEN 'IMAGE' \
         WHEN 'application/vnd.docker.container.image.v1+json' THEN 'IMAGE' \
         WHEN 'application/vnd.cncf.helm.config.v1+json' THEN 'CHART' \
         WHEN 'application/vnd.wasm.config.v1+json' THEN 'WASM' \
         WHEN 'application/vnd.cnab.manifest.v1' THEN 'CNAB' \
         WHEN 'application/vnd.cncf.model.manifest.v1+json' THEN 'CNAI' \
         WHEN 'application/vnd.goharbor.harbor.sbom.v1' THEN 'SBOM' ELSE 'UNKNOWN' END"
    };
}

/// Of what an artifact is made of.
macro_rules! content_type {
    () => {
        "COALESCE(m.artifact_type, m.media_type)"
    };
}

/// A tag.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "Tag")]
pub(crate) struct TagInfo {
    pub(crate) artifact_id: i64,
    pub(crate) repository_id: i64,
    pub(crate) name: String,
    #[serde(rename = "push_time")]
    pub(crate) updated: Time,
    /// Whether a rule holds it, if that was asked for.
    pub(crate) immutable: bool,
    /// Whether a signature is about what it points to, as Harbor's clients of old want to know.
    pub(crate) signed: bool,
}

/// The manifests that are listed: not those that are about another one, nor those that only indexes have.
/// They are told with what they belong to, and listed once that is gone. What is about another one by the
/// name of a tag may have further tags: it is listed for those. All is looked up manifest by manifest:
/// asked whether there EXISTS something or something else, PostgreSQL reads all tags of all repositories.
macro_rules! is_listed {
    ($manifest:literal) => {
        concat!(
            "(NOT EXISTS (SELECT 1 FROM manifest s WHERE s.repo_id = ",
            $manifest,
            ".repo_id AND s.digest = ",
            $manifest,
            ".subject) AND ((SELECT 1 FROM tag t WHERE t.manifest_id = ",
            $manifest,
            ".id AND NOT EXISTS (SELECT 1 FROM manifest s WHERE ",
            $crate::meta::companion::is_subject!($manifest),
            ") LIMIT 1) = 1 OR (SELECT 1 FROM tag t WHERE t.manifest_id = ",
            $manifest,
            ".id LIMIT 1) IS NULL AND (SELECT 1 FROM manifest_child i WHERE i.repo_id = ",
            $manifest,
            ".repo_id AND i.digest = ",
            $manifest,
            ".digest LIMIT 1) IS NULL))"
        )
    };
}
pub(super) use is_listed;

/// Bytes of a manifest and of the blobs that it needs.
macro_rules! artifact_size {
    () => {
        "m.size + (SELECT CAST(COALESCE(SUM(b.size), 0) AS BIGINT) \
         FROM manifest_blob e JOIN repo_blob l ON l.id = e.link_id \
         JOIN blob b ON b.id = l.blob_id WHERE e.manifest_id = m.id)"
    };
}
pub(super) use artifact_size;

/// When a repository was pushed to last.
macro_rules! repo_updated {
    () => {
        "COALESCE((SELECT MAX(m.pushed_ms) FROM manifest m WHERE m.repo_id = r.id), r.created_ms)"
    };
}

/// What is told of a repository, but how many manifests it has: to find that out of each that a list is
/// made from takes long.
macro_rules! repo_columns {
    () => {
        concat!(
            "r.id, r.name, r.created_ms, r.project_id, ",
            repo_updated!(),
            ", r.description, r.pulls"
        )
    };
}

const REPOS: Source = Source {
    columns: repo_columns!(),
    from: "FROM repo r JOIN project p ON p.id = r.project_id WHERE p.name = $1",
    order: "r.name",
};

/// Those of the projects that the viewer may see.
const ALL_REPOS: Source = Source {
    from: concat!(
        "FROM repo r JOIN project p ON p.id = r.project_id WHERE ",
        visible!("$1")
    ),
    ..REPOS
};

/// What repositories can be filtered by.
pub(crate) const REPO_COLUMNS: &[Column] = &[
    Column::new("name", Kind::Text, "r.name"),
    Column::new("id", Kind::Number, "r.id"),
    Column::new("project_id", Kind::Number, "r.project_id"),
    Column::new("creation_time", Kind::Moment, "r.created_ms"),
    Column::new("update_time", Kind::Moment, repo_updated!()),
    Column::new("description", Kind::Text, "r.description"),
    Column::new("pull_count", Kind::Number, "r.pulls"),
];

const ARTIFACTS: Source = Source {
    from: concat!(
        "FROM manifest m JOIN repo r ON r.id = m.repo_id LEFT JOIN pull u ON u.manifest_id = m.id \
         WHERE m.repo_id = (SELECT q.id FROM repo q WHERE q.name = $1) AND ",
        is_listed!("m")
    ),
    ..ARTIFACTS_AND_PARTS
};

const ARTIFACTS_AND_PARTS: Source = Source {
    columns: concat!(
        "m.id, m.digest, m.media_type, m.artifact_type, m.annotations, m.pushed_ms, ",
        artifact_size!(),
        ", u.pulled_ms, r.id, r.project_id, r.name, ",
        artifact_kind!(),
        ", ",
        content_type!()
    ),
    // The order of an index of the manifests of one repository is that of the list.
    from: "FROM manifest m JOIN repo r ON r.id = m.repo_id LEFT JOIN pull u ON u.manifest_id = m.id \
     WHERE m.repo_id = (SELECT q.id FROM repo q WHERE q.name = $1)",
    order: "m.pushed_ms DESC, m.id DESC",
};

/// Those of all repositories of a project, newest first.
const PROJECT_ARTIFACTS: Source = Source {
    from: concat!(
        "FROM manifest m JOIN repo r ON r.id = m.repo_id JOIN project p ON p.id = r.project_id \
         LEFT JOIN pull u ON u.manifest_id = m.id WHERE p.name = $1 AND ",
        is_listed!("m")
    ),
    order: "m.id DESC",
    ..ARTIFACTS_AND_PARTS
};

/// The newest of each repository of a project.
const NEWEST_ARTIFACTS: Source = Source {
    from: concat!(
        "FROM manifest m JOIN repo r ON r.id = m.repo_id JOIN project p ON p.id = r.project_id \
         LEFT JOIN pull u ON u.manifest_id = m.id WHERE p.name = $1 AND m.id = (\
         SELECT n.id FROM manifest n WHERE n.repo_id = r.id AND ",
        is_listed!("n"),
        " ORDER BY n.pushed_ms DESC, n.id DESC LIMIT 1)"
    ),
    ..PROJECT_ARTIFACTS
};

const DIGEST: Column = Column::new("digest", Kind::Text, "m.digest");
/// What artifacts can be filtered by. Who was never pulled was so before all others.
pub(crate) const ARTIFACT_COLUMNS: &[Column] = &[
    DIGEST,
    Column::new("tags", Kind::Text, "t.name")
        .many("EXISTS (SELECT 1 FROM tag t WHERE t.manifest_id = m.id AND "),
    Column::new("labels", Kind::Number, "l.label_id")
        .many("EXISTS (SELECT 1 FROM manifest_label l WHERE l.manifest_id = m.id AND "),
    Column::new("manifest_media_type", Kind::Text, "m.media_type"),
    Column::new("media_type", Kind::Text, content_type!()),
    Column::new("type", Kind::Text, artifact_kind!()),
    Column::new("size", Kind::Number, artifact_size!()),
    Column::new("artifact_type", Kind::Text, "COALESCE(m.artifact_type, '')"),
    Column::new("push_time", Kind::Moment, "m.pushed_ms"),
    Column::new("pull_time", Kind::Moment, "COALESCE(u.pulled_ms, 0)"),
];

fn artifact(row: &sqlx::any::AnyRow) -> Result<Artifact, sqlx::Error> {
    let annotations: Option<String> = row.try_get(4)?;
    Ok(Artifact {
        id: row.try_get(0)?,
        repository_id: row.try_get(8)?,
        repository_name: row.try_get(10)?,
        project_id: row.try_get(9)?,
        kind: row.try_get(11)?,
        digest: row.try_get(1)?,
        content_type: row.try_get(12)?,
        media_type: row.try_get(2)?,
        artifact_type: row.try_get(3)?,
        annotations: annotations.and_then(|json| serde_json::from_str(&json).ok()),
        push_time: time(row.try_get(5)?),
        size: row.try_get(6)?,
        pull_time: row.try_get::<Option<i64>, _>(7)?.map(time),
        tags: Vec::new(),
        labels: Vec::new(),
        references: Vec::new(),
        extra_attrs: None,
        addition_links: BTreeMap::new(),
        accessories: Vec::new(),
    })
}

fn repo(row: &sqlx::any::AnyRow) -> Result<RepoInfo, sqlx::Error> {
    Ok(RepoInfo {
        id: row.try_get(0)?,
        project_id: row.try_get(3)?,
        name: row.try_get(1)?,
        creation_time: time(row.try_get(2)?),
        update_time: time(row.try_get(4)?),
        description: row.try_get(5)?,
        artifact_count: 0,
        pull_count: row.try_get(6)?,
    })
}

/// What is said of a repository that is not there.
pub(crate) fn unknown_repo(name: &RepoName) -> Error {
    Error::new(Code::NameUnknown, format!("there is no repository {name}"))
}

impl Meta {
    /// The repositories of a project.
    pub(crate) async fn project_repos(
        &self,
        project: &str,
        listing: &Listing,
    ) -> Result<Listed<RepoInfo>, Error> {
        let project = Operand::from(project);
        let found = self.list(&REPOS, vec![project], listing, repo).await?;
        self.counted(found).await
    }

    /// The repositories of projects within reach, as in a search.
    pub(crate) async fn visible_repos(
        &self,
        reach: &Reach,
        listing: &Listing,
    ) -> Result<Listed<RepoInfo>, Error> {
        let mut listing = listing.clone();
        let viewer = vec![Operand::Number(view(reach, &mut listing))];
        let found = self.list(&ALL_REPOS, viewer, &listing, repo).await?;
        self.counted(found).await
    }

    /// Repositories with how many manifests they have.
    async fn counted(&self, mut found: Listed<RepoInfo>) -> Result<Listed<RepoInfo>, Error> {
        let sql = concat!(
            "SELECT COUNT(*) FROM manifest m WHERE m.repo_id = $1 AND ",
            is_listed!("m")
        );
        self.long(async move |meta| {
            for repo in &mut found.rows {
                let count = meta.row(bound!(sql, repo.id), first).await?;
                repo.artifact_count = count.unwrap_or_default();
            }
            Ok(found)
        })
        .await
    }

    /// A repository by its name.
    pub(crate) async fn repo(&self, name: &RepoName) -> Result<RepoInfo, Error> {
        let sql = concat!("SELECT ", repo_columns!(), " FROM repo r WHERE r.name = $1");
        let rows = self.rows(bound!(sql, name.as_str()), repo).await?;
        let found = self.counted(Listed { rows, total: 1 }).await?.rows.pop();
        found.ok_or_else(|| unknown_repo(name))
    }

    /// A manifest of a repository, as it is in the list of them, or would be.
    pub(crate) async fn artifact(
        &self,
        repo: &RepoName,
        digest: &Digest,
    ) -> Result<Option<Artifact>, Error> {
        let listing = Listing::one(&DIGEST, Operand::from(digest.as_str()));
        let found = self.manifests(&ARTIFACTS_AND_PARTS, repo.as_str(), &listing);
        Ok(found.await?.rows.pop())
    }

    /// The manifests of a repository with their tags and labels, newest first unless another order
    /// is asked for; without those that are there only as parts of indexes or about others.
    pub(crate) async fn artifacts(
        &self,
        repo: &RepoName,
        listing: &Listing,
    ) -> Result<Listed<Artifact>, Error> {
        self.manifests(&ARTIFACTS, repo.as_str(), listing).await
    }

    /// The same of all repositories of a project, or only the newest of each.
    pub(crate) async fn project_artifacts(
        &self,
        project: &str,
        is_newest: bool,
        listing: &Listing,
    ) -> Result<Listed<Artifact>, Error> {
        let source = match is_newest {
            true => &NEWEST_ARTIFACTS,
            false => &PROJECT_ARTIFACTS,
        };
        self.manifests(source, project, listing).await
    }

    async fn manifests(
        &self,
        source: &Source,
        of: &str,
        listing: &Listing,
    ) -> Result<Listed<Artifact>, Error> {
        let of = vec![Operand::from(of)];
        let mut artifacts = self.list(source, of, listing, artifact).await?;
        let sql = "SELECT name, updated_ms FROM tag WHERE manifest_id = $1 ORDER BY name";
        for artifact in &mut artifacts.rows {
            let (artifact_id, repository_id) = (artifact.id, artifact.repository_id);
            let tag = |row: &sqlx::any::AnyRow| {
                Ok(TagInfo {
                    artifact_id,
                    repository_id,
                    name: row.try_get(0)?,
                    updated: time(row.try_get(1)?),
                    immutable: false,
                    signed: false,
                })
            };
            artifact.tags = self.rows(bound!(sql, artifact.id), tag).await?;
            artifact.labels = self.artifact_labels(artifact.id).await?;
            artifact.references = self.parts(artifact.id).await?;
        }
        Ok(artifacts)
    }

    /// What an index names.
    async fn parts(&self, parent_id: i64) -> Result<Vec<Part>, Error> {
        let sql = "SELECT m.id, c.digest FROM manifest_child c \
             LEFT JOIN manifest m ON m.repo_id = c.repo_id AND m.digest = c.digest \
             WHERE c.manifest_id = $1 ORDER BY c.digest";
        let part = |row: &sqlx::any::AnyRow| {
            Ok(Part {
                parent_id,
                child_id: row.try_get(0)?,
                child_digest: row.try_get(1)?,
                platform: None,
                annotations: None,
            })
        };
        self.rows(bound!(sql, parent_id), part).await
    }
}

/// Removes so much of a repository that other changes need not wait long, and the repository itself
/// with the last of it.
pub(crate) struct DeleteRepo {
    pub(crate) who: Who,
    pub(crate) repo: RepoName,
    pub(crate) graces: Graces,
    /// Manifests, and blobs, that go at most.
    pub(crate) limit: i64,
}

/// What of a repository went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PartOfRepo {
    pub(crate) manifests: i64,
    /// Whether the repository is gone.
    pub(crate) is_last: bool,
}

#[async_trait]
impl Change for DeleteRepo {
    type Out = PartOfRepo;
    const NAME: &'static str = "delete_repository";

    fn touches(&self, _out: &Self::Out) -> Touched<'_> {
        Touched::Repo(&self.repo)
    }

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<PartOfRepo, Failure> {
        let Some(repo) = find_repo(tx, &self.repo).await? else {
            return Err(unknown_repo(&self.repo).into());
        };
        // Blobs go once no manifest needs them.
        let manifests = self.manifests(tx, repo.repo).await?;
        if manifests >= self.limit || self.links(tx, repo.repo).await? >= self.limit {
            return Ok(PartOfRepo {
                manifests,
                is_last: false,
            });
        }
        removed::forget(tx, Forgotten::Repo { repo_id: repo.repo }).await?;
        for sql in [
            "DELETE FROM tag_history WHERE repo_id = $1",
            "DELETE FROM repo WHERE id = $1",
        ] {
            bound!(sql, repo.repo).execute(&mut *tx.conn).await?;
        }
        let event = Event::new("delete_repository", "repository", self.repo.as_str());
        tell(tx, &self.who, &event.in_repo(&self.repo)).await?;
        Ok(PartOfRepo {
            manifests,
            is_last: true,
        })
    }
}

impl DeleteRepo {
    /// Removes manifests with their tags; gives how many.
    async fn manifests(&self, tx: &mut Tx<'_>, repo_id: i64) -> Result<i64, Failure> {
        // What only its manifests need goes with it.
        let graces = Graces {
            blob_ms: 0,
            ..self.graces
        };
        let manifests = bound!(
            // An index before its parts: if its tag may not go, it stays whole.
            "SELECT id, digest FROM manifest WHERE repo_id = $1 ORDER BY id DESC LIMIT $2",
            repo_id,
            self.limit,
        );
        let mut count = 0;
        for row in manifests.fetch_all(&mut *tx.conn).await? {
            count += 1;
            let digest: String = row.try_get(1)?;
            let target = Target {
                repo_id,
                manifest_id: row.try_get(0)?,
                digest: &digest,
                who: &self.who,
                grace_ms: self.graces.untagged_ms,
            };
            let above = tag::above(tx, &target).await?;
            check_mutable(tx, &self.repo, &above).await?;
            delete::remove(tx, &self.repo, &target, &graces, delete::EVENT).await?;
        }
        Ok(count)
    }

    /// Takes its blobs from it; gives how many.
    async fn links(&self, tx: &mut Tx<'_>, repo_id: i64) -> Result<i64, Failure> {
        let links = bound!(
            "SELECT id FROM repo_blob WHERE repo_id = $1 ORDER BY id LIMIT $2",
            repo_id,
            self.limit,
        );
        let mut count = 0;
        for row in links.fetch_all(&mut *tx.conn).await? {
            count += 1;
            super::link::remove(tx, first(&row)?).await?;
        }
        Ok(count)
    }
}
