//! Manifests about a manifest of a cache: signatures, lists of what is in an image.
//!
//! The other registry is asked for them, and where it does not know of such lists, for the tag that
//! clients then keep one in. What is here and not there is listed too: a signature says the same
//! wherever it is.
//! <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#referrers-tag-schema>

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::Value;

use super::Failed;
use super::lists::{Item, List};
use super::wanted::{Changing, Found, Wanted};
use crate::digest::Digest;
use crate::error::{Code, Error};
use crate::manifest::Annotations;
use crate::meta::{Referrer, ReferrersPage, Upstream};
use crate::metrics::Cached;
use crate::name::RepoName;
use crate::registry::Registry;
use crate::who::Who;

/// Letters that the tag of a list has of what is after the colon of a digest.
const TAG_HEX_MAX: usize = 64;

/// A page of the manifests about a manifest, and whether there may be more of them than a page may have
/// bytes for.
pub(crate) async fn referrers(
    registry: &Registry,
    upstream: &Arc<Upstream>,
    repo: &RepoName,
    page: &ReferrersPage<'_>,
    who: &Who,
) -> Result<(Found<Vec<Referrer>>, bool), Error> {
    let wanted = Wanted::new(registry, upstream, repo, who)?;
    let (here, is_cut) = registry.meta().referrers(repo, page).await?;
    let about = About {
        subject: page.subject.clone(),
        is_here: !here.is_empty(),
    };
    let found = match wanted.current(about).await {
        Ok(found) => Ok(found.map(|list| merged(here, list.after(page.last), page, is_cut))),
        // Neither a list nor a tag: it has none.
        Err(Failed::Unknown(_)) => Ok(Found::as_it_is(here, "miss")),
        Err(failed) => {
            let here = Some(here).filter(|here| !here.is_empty());
            Found::stale(here, failed, "this is what is here")
        }
    };
    let found = found.map_err(|failed| failed.error(Code::ManifestUnknown))?;
    Ok((found.sent(&wanted, Cached::referrers), is_cut))
}

/// What is here and what is there, in order. If of what is here there is more than there are bytes
/// for, what would come after its end is for the next page.
fn merged(
    mut here: Vec<Referrer>,
    there: &[Referrer],
    page: &ReferrersPage<'_>,
    is_cut: bool,
) -> Vec<Referrer> {
    let end = here.last().filter(|_| is_cut);
    let end = end.map(|last| last.digest.clone());
    let is_wanted = |referrer: &&Referrer| {
        let kind = referrer.artifact_type.as_deref().unwrap_or_default();
        let is_before = end.as_ref().is_none_or(|end| referrer.digest <= *end);
        is_before && (page.artifact_type.is_empty() || page.artifact_type == kind)
    };
    let limit = page.limit as usize;
    here.extend(there.iter().filter(is_wanted).take(limit).cloned());
    // Of those that are alike, what was read here stays.
    here.sort_by(|one, other| one.digest.cmp(&other.digest));
    here.dedup_by(|one, other| one.digest == other.digest);
    here.truncate(limit);
    here
}

impl Item for Referrer {
    fn name(&self) -> &str {
        &self.digest
    }

    fn bytes(&self) -> usize {
        let optional = [&self.artifact_type, &self.annotations];
        let optional = optional.into_iter().flatten().map(String::len);
        self.digest.len() + self.media_type.len() + optional.sum::<usize>()
    }
}

/// What is about a manifest.
#[derive(Clone)]
struct About {
    subject: Digest,
    /// Whether some of it is here that can be listed instead.
    is_here: bool,
}

impl About {
    /// The last list, however old.
    fn last(&self, wanted: &Wanted) -> Option<Arc<List<Referrer>>> {
        let lists = &wanted.registry.proxy().referrers;
        lists.get(&self.key_there(wanted))
    }
}

#[async_trait]
impl Changing for About {
    type Given = Arc<List<Referrer>>;

    fn key(&self, repo: &RepoName) -> String {
        format!("{repo}/referrers/{}", self.subject)
    }

    fn asked(&self, wanted: &Wanted) -> Option<Instant> {
        self.last(wanted).map(|list| list.asked)
    }

    async fn here(&self, wanted: &Wanted) -> Result<Option<Self::Given>, Failed> {
        Ok(self.last(wanted))
    }

    async fn ask(&self, wanted: &Wanted) -> Result<(Self::Given, &'static str), Failed> {
        let whole = async |what| {
            let question = wanted.list(what, self.is_here);
            wanted.whole::<Index, _>(question, Cached::referrers).await
        };
        let found = match whole(format!("referrers/{}", self.subject)).await {
            Err(Failed::Unknown(_)) => whole(format!("manifests/{}", tag(&self.subject))).await,
            found => found,
        };
        let lists = &wanted.registry.proxy().referrers;
        Ok((lists.keep(self.key_there(wanted), found?), "miss"))
    }
}

/// The tag of the list of what is about a manifest, where registries have no such lists.
fn tag(subject: &Digest) -> String {
    let (algorithm, hex) = subject.as_str().split_once(':').unwrap_or_default();
    let hex: String = hex.chars().take(TAG_HEX_MAX).collect();
    format!("{algorithm}-{hex}")
}

/// A list as it is written.
#[derive(Deserialize)]
struct Index {
    manifests: Option<Vec<Described>>,
}

/// What is said of a manifest. What no client could read of that is left out.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    media_type: String,
    digest: String,
    size: i64,
    artifact_type: Option<String>,
    annotations: Option<Value>,
}

impl From<Index> for Vec<Referrer> {
    fn from(index: Index) -> Self {
        let described = index.manifests.into_iter().flatten();
        described.filter_map(Described::referrer).collect()
    }
}

impl Described {
    fn referrer(self) -> Option<Referrer> {
        let annotations = self.annotations.and_then(|annotations| {
            let read: Annotations = serde_json::from_value(annotations).ok()?;
            serde_json::to_string(&read).ok()
        });
        Some(Referrer {
            digest: Digest::parse(&self.digest).ok()?.as_str().to_owned(),
            media_type: self.media_type,
            artifact_type: self.artifact_type.filter(|kind| !kind.is_empty()),
            annotations,
            size: self.size,
        })
    }
}
