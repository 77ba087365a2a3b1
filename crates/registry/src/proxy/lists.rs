//! Lists of caches. Each is asked for as a whole, page after page, since the other registry may have
//! another order and other pages than those that clients are given. It is kept in memory: it holds for
//! as long as a tag is taken to point to the same. What comes of it later is for who asks.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::LINK;
use http::{HeaderMap, Method};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use serde::de::DeserializeOwned;

use super::ask::{self, Question};
use super::wanted::Wanted;
use super::{Failed, Found};
use crate::metrics::Cached;

/// Lists that are expected to be kept. So few that all have room in one part of the memory for them:
/// one alone may need much of it.
const LISTS_EXPECTED: usize = 32;
/// Bytes of an item beside its text, about.
const OVERHEAD_BYTES: usize = 64;

/// What lists are of.
pub(super) trait Item: Clone + Send + Sync + 'static {
    /// What it is listed by. No two of a list are alike in it.
    fn name(&self) -> &str;

    /// Bytes of all of its text.
    fn bytes(&self) -> usize;
}

/// All that another registry has on a list, in order.
pub(super) struct List<T> {
    pub(super) asked: Instant,
    items: Vec<T>,
    bytes: usize,
}

impl<T: Item> List<T> {
    fn new(mut items: Vec<T>) -> Self {
        items.sort_by(|one, other| one.name().cmp(other.name()));
        items.dedup_by(|one, other| one.name() == other.name());
        items.shrink_to_fit();
        let bytes = items.iter().map(|item| item.bytes() + OVERHEAD_BYTES).sum();
        Self {
            asked: Instant::now(),
            items,
            bytes,
        }
    }

    /// What follows an item, whether that is on the list or not.
    pub(super) fn after(&self, last: &str) -> &[T] {
        let from = self.items.partition_point(|item| item.name() <= last);
        self.items.get(from..).unwrap_or_default()
    }
}

#[derive(Clone)]
struct Weigh;

impl<T: Item> Weighter<String, Arc<List<T>>> for Weigh {
    fn weight(&self, key: &String, list: &Arc<List<T>>) -> u64 {
        (key.len() + OVERHEAD_BYTES + list.bytes) as u64
    }
}

/// Lists that were asked for.
pub(super) struct Lists<T: Item>(Cache<String, Arc<List<T>>, Weigh>);

impl<T: Item> Lists<T> {
    /// None yet; of so many bytes together.
    pub(super) fn new(bytes_max: u64) -> Self {
        Self(Cache::with_weighter(LISTS_EXPECTED, bytes_max, Weigh))
    }

    /// One that is still here.
    pub(super) fn get(&self, key: &str) -> Option<Arc<List<T>>> {
        self.0.get(key)
    }

    /// Keeps what a list has now.
    pub(super) fn keep(&self, key: String, items: Vec<T>) -> Arc<List<T>> {
        let list = Arc::new(List::new(items));
        self.0.insert(key, Arc::clone(&list));
        list
    }
}

impl<T> Found<Vec<T>> {
    /// Counts it as a list that was sent.
    pub(super) fn sent(self, wanted: &Wanted, cached: Cached) -> Self
    where
        T: Item,
    {
        let metrics = wanted.registry.metrics();
        self.count(metrics, cached);
        let bytes: usize = self.given.iter().map(Item::bytes).sum();
        metrics.proxy_sent(cached, bytes as u64);
        self
    }
}

impl Wanted {
    /// The question for the first page of a list.
    pub(super) fn list(&self, what: String, is_optional: bool) -> Question<'_> {
        Question {
            is_optional,
            ..self.question(Method::GET, what)
        }
    }

    /// All items of a list; `P` is how a page of it is written.
    pub(super) async fn whole<P, T>(
        &self,
        first: Question<'_>,
        cached: Cached,
    ) -> Result<Vec<T>, Failed>
    where
        P: DeserializeOwned + Into<Vec<T>>,
    {
        let proxy = self.registry.proxy();
        let _turn = proxy.fetches.enter(&self.upstream).await?;
        let whole = self.pages::<P, T>(first, cached);
        let whole = tokio::time::timeout(proxy.turn_max(), whole).await;
        let name = &self.upstream.text.name;
        whole.unwrap_or_else(|_| Err(Failed::Down(format!("{name} does not list it in time"))))
    }

    async fn pages<P, T>(
        &self,
        mut question: Question<'_>,
        cached: Cached,
    ) -> Result<Vec<T>, Failed>
    where
        P: DeserializeOwned + Into<Vec<T>>,
    {
        let name = &self.upstream.text.name;
        let config = &self.registry.proxy().config;
        let (bytes_max, pages_max) = (config.list_bytes_max.as_usize(), config.list_pages_max);
        let too_long = |setting: &str, max: usize, what: &str| {
            let message = format!("registry.proxy.{setting}: {name} lists more than {max} {what}");
            Failed::Down(message)
        };
        let (mut all, mut bytes) = (Vec::new(), 0);
        for _ in 0..pages_max {
            let (came, next) = self.page(&question, bytes_max, cached).await?;
            bytes += came.len();
            if bytes > bytes_max {
                return Err(too_long("list_bytes_max", bytes_max, "bytes"));
            }
            let read: P = serde_json::from_slice(&came).map_err(|error| {
                Failed::Down(format!("the list of {name} cannot be read: {error}"))
            })?;
            all.extend(read.into());
            let Some(next) = next else {
                return Ok(all);
            };
            // Only what follows the path is taken: the list stays the same, and so does the registry.
            let next = format!("{}?{next}", question.path());
            if next == question.what {
                return Err(Failed::Down(format!("the list of {name} has no end")));
            }
            question.what = next;
        }
        Err(too_long("list_pages_max", pages_max, "pages"))
    }

    /// One page, and what the next one is called.
    async fn page(
        &self,
        question: &Question<'_>,
        bytes_max: usize,
        cached: Cached,
    ) -> Result<(Bytes, Option<String>), Failed> {
        let asker = &self.registry.proxy().asker;
        let answer = asker.ask(&self.upstream, question).await?;
        let next = next(answer.headers());
        let bytes = ask::read(&self.upstream, answer, bytes_max).await?;
        let metrics = self.registry.metrics();
        metrics.proxy_fetched(cached, bytes.len() as u64);
        Ok((bytes, next))
    }
}

/// The query of the page that a page links to: `</v2/app/tags/list?n=10&last=v1>; rel="next"`.
fn next(headers: &HeaderMap) -> Option<String> {
    let texts = headers.get_all(LINK).iter();
    let texts = texts.filter_map(|value| value.to_str().ok());
    let mut links = texts
        .flat_map(|text| text.split('<').skip(1))
        .filter_map(|link| link.split_once('>'));
    let is_next = |(_, relation): &(&str, &str)| {
        let relation = relation.replace(['"', ' '], "").to_ascii_lowercase();
        relation.contains("rel=next")
    };
    let (url, _) = links.find(is_next)?;
    let (_, query) = url.split_once('?').unwrap_or_default();
    Some(query.to_owned())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_the_query_of_the_next_page_counts() {
        for (link, query) in [
            (
                "</v2/a/tags/list?n=2&last=v1>; rel=\"next\"",
                Some("n=2&last=v1"),
            ),
            ("<https://else.where/x?last=b,c>;rel=next", Some("last=b,c")),
            ("</?a>; rel=\"prev\", </?b>; Rel=\"next\"", Some("b")),
            ("</v2/a/tags/list>; rel=\"next\"", Some("")),
            ("</?a>; rel=\"prev\"", None),
            ("rel=\"next\"", None),
            ("<", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(LINK, HeaderValue::from_static(link));
            assert_eq!(next(&headers).as_deref(), query, "{link}");
        }
        assert_eq!(next(&HeaderMap::new()), None);
    }

    #[test]
    fn lists_are_in_order_and_bounded() {
        let lists = Lists::new(1000);
        let tags = |tags: &[&str]| tags.iter().map(|&tag| tag.to_owned()).collect::<Vec<_>>();
        let list = lists.keep("a".to_owned(), tags(&["b", "a", "c", "b"]));
        assert_eq!(list.after(""), tags(&["a", "b", "c"]));
        assert_eq!(list.after("aa"), tags(&["b", "c"]));
        assert_eq!(list.after("b"), tags(&["c"]));
        assert!(list.after("c").is_empty());
        assert!(lists.get("a").is_some());
        let many: Vec<_> = (0..100).map(|tag| tag.to_string()).collect();
        let large = lists.keep("b".to_owned(), many);
        assert_eq!(large.after("").len(), 100);
        assert!(lists.get("b").is_none());
    }
}
