//! The tags of a repository of a cache.
//!
//! While the other registry answers, its list is the truth: who asks for tags wants to know what he can
//! pull, and of what is only here it may have been removed there. While it does not, its last list is
//! given, or if there is none any more the tags that are here, with a warning. They come in the order
//! that the specification wants, whatever order they have there.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use serde::Deserialize;

use super::Failed;
use super::lists::{Item, List};
use super::wanted::{Changing, Found, Wanted};
use crate::error::{Code, Error};
use crate::meta::Upstream;
use crate::metrics::Cached;
use crate::name::{RepoName, Tag};
use crate::registry::Registry;
use crate::who::Who;

/// The first page that is asked for. Some registries refuse larger ones.
const FIRST: &str = "tags/list?n=1000";

/// What is said of the last list.
const LAST: &str = "these are the tags that it had when it was asked last";

/// At most `limit` tags of a repository that follow `last`, in order.
pub(crate) async fn tags(
    registry: &Registry,
    upstream: &Arc<Upstream>,
    repo: &RepoName,
    (last, limit): (&str, u32),
    who: &Who,
) -> Result<Found<Vec<String>>, Error> {
    let wanted = Wanted::new(registry, upstream, repo, who)?;
    let meta = registry.meta();
    let is_here = meta.has_repo(repo).await?;
    let tags = Tags { is_here };
    let page = |list: Arc<List<String>>| {
        let tags = list.after(last).iter();
        tags.take(limit as usize).cloned().collect()
    };
    let found = match wanted.current(tags.clone()).await {
        Ok(found) => Ok(found.map(page)),
        Err(failed) => match tags.last(&wanted) {
            Some(list) => Found::stale(Some(page(list)), failed, LAST),
            None => {
                let here = match is_here {
                    true => Some(meta.tags(repo, last, limit).await?),
                    false => None,
                };
                Found::stale(here, failed, "these are the tags that are here")
            }
        },
    };
    let found = found.map_err(|failed| failed.error(Code::NameUnknown))?;
    Ok(found.sent(&wanted, Cached::tags))
}

impl Item for String {
    fn name(&self) -> &str {
        self
    }

    fn bytes(&self) -> usize {
        self.len()
    }
}

/// The tags of a repository.
#[derive(Clone)]
struct Tags {
    /// Whether there are tags that can be listed instead.
    is_here: bool,
}

impl Tags {
    /// The last list, however old.
    fn last(&self, wanted: &Wanted) -> Option<Arc<List<String>>> {
        wanted.registry.proxy().tags.get(&self.key_there(wanted))
    }
}

#[async_trait]
impl Changing for Tags {
    type Given = Arc<List<String>>;

    fn key(&self, repo: &RepoName) -> String {
        format!("{repo}/tags")
    }

    fn asked(&self, wanted: &Wanted) -> Option<Instant> {
        self.last(wanted).map(|list| list.asked)
    }

    async fn here(&self, wanted: &Wanted) -> Result<Option<Self::Given>, Failed> {
        Ok(self.last(wanted))
    }

    async fn ask(&self, wanted: &Wanted) -> Result<(Self::Given, &'static str), Failed> {
        let has_some = self.is_here || self.last(wanted).is_some();
        let question = wanted.list(FIRST.to_owned(), has_some);
        let tags = wanted.whole::<Page, _>(question, Cached::tags).await?;
        let lists = &wanted.registry.proxy().tags;
        Ok((lists.keep(self.key_there(wanted), tags), "miss"))
    }
}

/// A page as registries write it: some say `null` of none.
#[derive(Deserialize)]
struct Page {
    tags: Option<Vec<String>>,
}

impl From<Page> for Vec<String> {
    /// The tags that can be pulled.
    fn from(page: Page) -> Self {
        let tags = page.tags.into_iter().flatten();
        tags.filter(|tag| Tag::parse(tag).is_ok()).collect()
    }
}
