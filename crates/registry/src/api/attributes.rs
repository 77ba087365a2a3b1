//! What of artifacts is read from their manifests and configurations. It is read when it is asked for:
//! nothing else needs it, and pushes need not wait for it. Configurations are small and mostly in the
//! database; of a page no more is read than memory allows, and what is beyond that is told of the single
//! artifact.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Json;
use bytes::Bytes;
use futures::future::join_all;

use super::repositories::{BARE, info};
use super::{Admin, Operations, Outcome, PREFIX, Path, answer, wrong};
use crate::attributes::{Attributes, Config, Image, Named, Step, Use};
use crate::digest::Digest;
use crate::error::Error;
use crate::large;
use crate::meta::{Artifact, Link, unknown_blob, unknown_manifest};
use crate::name::{Reference, RepoName};
use crate::registry::Registry;

/// What of one page is read at once.
const READS_MAX: usize = 8;
/// How many of the largest configurations may be read for one page.
const LARGEST_PER_PAGE: u64 = 16;

/// What Harbor calls images.
const IMAGE: &str = "IMAGE";
/// What Harbor calls how one was built.
const HISTORY: &str = "build_history";

/// What can be asked of an artifact besides.
pub(super) fn operations(all: Operations) -> Operations {
    let history = "/projects/{project}/repositories/{repository}/artifacts/{reference}\
         /additions/build_history";
    let summary = "How an image was built";
    all.about("artifact")
        .get(history, "getBuildHistory", summary, build_history)
}

/// Bytes that may still be read.
struct Left(AtomicU64);

impl Left {
    fn of_page(registry: &Registry) -> Self {
        let largest = registry.config().limits.config_size_max.0;
        Self(AtomicU64::new(largest.saturating_mul(LARGEST_PER_PAGE)))
    }

    fn take(&self, bytes: u64) -> bool {
        let less = |left: u64| left.checked_sub(bytes);
        let taken = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        taken.is_ok()
    }
}

/// Has artifacts say what their manifests and configurations do. What cannot be read says nothing.
pub(super) async fn complete(registry: &Registry, artifacts: &mut [Artifact]) {
    let left = Left::of_page(registry);
    for together in artifacts.chunks_mut(READS_MAX) {
        let mut reads = Vec::new();
        for artifact in together {
            reads.push(try_read(registry, artifact, &left));
        }
        join_all(reads).await;
    }
}

async fn try_read(registry: &Registry, artifact: &mut Artifact, left: &Left) {
    if let Err(error) = read(registry, artifact, left).await {
        let digest = &artifact.digest;
        tracing::debug!(%digest, %error, "it is not told what an artifact says of itself");
    }
}

/// Where it is told how an image was built. Slashes of the repository are encoded twice, as in Harbor.
fn history_link(repo: &RepoName, digest: &str) -> Link {
    let (project, rest) = (repo.project(), repo.rest().replace('/', "%252F"));
    let repository = if repo.as_str() == project {
        BARE
    } else {
        &rest
    };
    let artifact = format!("projects/{project}/repositories/{repository}/artifacts/{digest}");
    Link {
        href: format!("{PREFIX}/{artifact}/additions/{HISTORY}"),
        absolute: false,
    }
}

async fn read(registry: &Registry, artifact: &mut Artifact, left: &Left) -> Result<(), Error> {
    let repo = RepoName::parse(&artifact.repository_name)?;
    let named = named(registry, &repo, artifact, left).await?;
    let uses = named.manifests.into_iter();
    let mut uses: HashMap<String, Use> = uses.map(|part| (part.digest.clone(), part)).collect();
    for part in &mut artifact.references {
        if let Some(said) = uses.remove(&part.child_digest) {
            part.platform = said.platform;
            part.annotations = said.annotations;
        }
    }
    if let Some(config) = named.config.filter(|_| Attributes::are_of(&artifact.kind)) {
        if artifact.kind == IMAGE {
            let link = history_link(&repo, &artifact.digest);
            artifact.addition_links.insert(HISTORY, link);
        }
        let bytes = config_bytes(registry, &repo, &config, left).await?;
        artifact.extra_attrs = Attributes::read(&artifact.kind, &bytes);
    }
    Ok(())
}

/// What the manifest of an artifact names.
async fn named(
    registry: &Registry,
    repo: &RepoName,
    artifact: &Artifact,
    left: &Left,
) -> Result<Named, Error> {
    let reference = Reference::Digest(Digest::parse(&artifact.digest)?);
    let row = registry.meta().manifest(repo, &reference).await?;
    let row = row.ok_or_else(|| unknown_manifest(repo, &reference))?;
    if !left.take(row.size) {
        return Err(wrong("more is not told of one page"));
    }
    let bytes = large::bytes(registry, &row).await?;
    let named = serde_json::from_slice(&bytes);
    named.map_err(|error| Error::internal("reading a manifest again", &error))
}

/// The bytes of a configuration.
async fn config_bytes(
    registry: &Registry,
    repo: &RepoName,
    config: &Config,
    left: &Left,
) -> Result<Bytes, Error> {
    let digest = config.digest()?;
    let blob = registry.meta().blob(repo, &digest).await?;
    let blob = blob.ok_or_else(|| unknown_blob(repo, &digest))?;
    let size_max = registry.config().limits.config_size_max.0;
    if blob.size > size_max || !left.take(blob.size) {
        return Err(wrong(format!(
            "registry.limits.config_size_max: the configuration {digest} has {} bytes, and of no more \
             than {size_max} it is told what it says",
            blob.size
        )));
    }
    match blob.small {
        Some(bytes) => Ok(bytes),
        None => large::read(registry, &blob.data_key, blob.size).await,
    }
}

async fn build_history(
    admin: Admin,
    Path(place): Path<(String, String, String)>,
) -> Outcome<Json<Vec<Step>>> {
    answer(&admin, async {
        let artifact = info(&admin, place).await?;
        let (registry, left) = (&admin.registry, Left::of_page(&admin.registry));
        let repo = RepoName::parse(&artifact.repository_name)?;
        let config = named(registry, &repo, &artifact, &left).await?.config;
        let Some(config) = config.filter(|_| artifact.kind == IMAGE) else {
            let message = format!("{} of {repo} is no image of layers", artifact.digest);
            return Err(wrong(message));
        };
        let bytes = config_bytes(registry, &repo, &config, &left).await?;
        let image: Result<Image, _> = serde_json::from_slice(&bytes);
        let image = image.map_err(|error| {
            wrong(format!(
                "the configuration of {} cannot be read: {error}",
                artifact.digest
            ))
        })?;
        Ok(Json(image.history))
    })
    .await
}
