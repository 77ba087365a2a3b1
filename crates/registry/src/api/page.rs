//! Lists by pages, as Harbor's clients walk through them: `page` and `page_size` say which part is
//! wanted, `X-Total-Count` how many things there are, and `Link` where the parts beside it are.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::LINK;
use http::{HeaderName, HeaderValue, Uri};
use serde::Serialize;

use super::{Admin, PREFIX, wrong};
use crate::error::Error;
use crate::meta::{Listed, Page};

/// Things on one page, unless asked otherwise, and at most.
const PAGE: i64 = 100;
const PAGE_MAX: i64 = 1000;
/// How many things there are on all pages.
const TOTAL: HeaderName = HeaderName::from_static("x-total-count");

/// A condition of `q`, which Harbor's clients write `name=web` or, of a part, `name=~web`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted<'a> {
    Is(&'a str),
    Has(&'a str),
}

impl<'a> Wanted<'a> {
    fn parse(text: &'a str) -> Option<(&'a str, Self)> {
        let (key, value) = text.split_once('=')?;
        let wanted = match value.strip_prefix('~') {
            Some(part) => Self::Has(part),
            None => Self::Is(value),
        };
        Some((key.trim(), wanted))
    }

    /// Whether a text is as it is wanted.
    pub(super) fn takes(self, text: &str) -> bool {
        match self {
            Self::Is(wanted) => text == wanted,
            Self::Has(part) => text.contains(part),
        }
    }

    /// What it is to be exactly.
    pub(super) fn exact(self) -> Option<&'a str> {
        match self {
            Self::Is(text) => Some(text),
            Self::Has(_) => None,
        }
    }
}

impl Admin {
    /// The page that is asked for.
    pub(super) fn page(&self) -> Page {
        let number = |name, default: i64| {
            let given = self.param(name).and_then(|text| text.parse().ok());
            given.unwrap_or(default).max(1)
        };
        let limit = number("page_size", PAGE).min(PAGE_MAX);
        let offset = (number("page", 1) - 1).saturating_mul(limit);
        Page { limit, offset }
    }

    /// A number that is asked with.
    ///
    /// # Errors
    /// If it is none.
    pub(super) fn number(&self, name: &str) -> Result<Option<i64>, Error> {
        let number = self.param(name).map(str::parse).transpose();
        number.map_err(|_| wrong(format!("{name} is a number")))
    }

    /// The conditions of `q`, of which all must hold.
    ///
    /// # Errors
    /// If there is one of something else than `known`: who asks for less shall not get all.
    pub(super) fn conditions(&self, known: &[&str]) -> Result<Vec<(&str, Wanted<'_>)>, Error> {
        let conditions = self.param("q").unwrap_or_default().split(',');
        let conditions = conditions.filter(|text| !text.trim().is_empty());
        conditions
            .map(|text| match Wanted::parse(text) {
                Some(found) if known.contains(&found.0) => Ok(found),
                _ => Err(wrong(format!(
                    "`{text}` of q is not known here; there are {}",
                    known.join(", ")
                ))),
            })
            .collect()
    }

    /// The page that is asked for of a list that was read whole; all of it if none is.
    pub(super) fn listed<T: Serialize>(&self, all: Vec<T>) -> Response {
        let total = i64::try_from(all.len()).unwrap_or(i64::MAX);
        if self.param("page").is_none() && self.param("page_size").is_none() {
            return self.paged(Listed { rows: all, total });
        }
        let page = self.page();
        let at = |number: i64| usize::try_from(number).unwrap_or(usize::MAX);
        let rows = all.into_iter().skip(at(page.offset)).take(at(page.limit));
        let rows = rows.collect();
        self.paged(Listed { rows, total })
    }

    /// A page of a list.
    pub(super) fn paged<T: Serialize>(&self, listed: Listed<T>) -> Response {
        let links = links(&self.uri, self.page(), &listed);
        let mut answer = Json(listed.rows).into_response();
        answer.headers_mut().insert(TOTAL, listed.total.into());
        if let Ok(links) = HeaderValue::from_str(&links)
            && !links.is_empty()
        {
            answer.headers_mut().insert(LINK, links);
        }
        answer
    }
}

/// Where the pages before and after one are, if there are such. <https://www.rfc-editor.org/rfc/rfc8288>
fn links<T>(uri: &Uri, page: Page, listed: &Listed<T>) -> String {
    let number = page.offset / page.limit + 1;
    let end = page
        .offset
        .saturating_add(i64::try_from(listed.rows.len()).unwrap_or(i64::MAX));
    let before = (number > 1).then(|| (number - 1, "prev"));
    let after = (end < listed.total && !listed.rows.is_empty()).then(|| (number + 1, "next"));
    let query = uri.query().unwrap_or_default().split('&');
    let others: String = query
        .filter(|pair| !matches!(pair.split('=').next(), Some("" | "page" | "page_size")))
        .flat_map(|pair| [pair, "&"])
        .collect();
    let link = |(number, relation): (i64, &str)| {
        let (path, size) = (uri.path(), page.limit);
        format!("<{PREFIX}{path}?{others}page={number}&page_size={size}>; rel=\"{relation}\"")
    };
    let links: Vec<String> = before.into_iter().chain(after).map(link).collect();
    links.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_know_those_beside_them() {
        let uri: Uri = "/projects?page=2&name=a&page_size=10".parse().unwrap();
        let linked = |offset, rows, total| {
            let page = Page { limit: 10, offset };
            let rows = vec![(); rows];
            links(&uri, page, &Listed { rows, total })
        };
        let of = |number: i64, relation: &str| {
            format!("</api/v2.0/projects?name=a&page={number}&page_size=10>; rel=\"{relation}\"")
        };
        assert_eq!(linked(0, 10, 10), "");
        assert_eq!(linked(0, 0, 0), "");
        assert_eq!(linked(0, 10, 11), of(2, "next"));
        let both = format!("{}, {}", of(1, "prev"), of(3, "next"));
        assert_eq!(linked(10, 10, 21), both);
        assert_eq!(linked(20, 1, 21), of(2, "prev"));
        assert_eq!(linked(90, 0, 21), of(9, "prev"));
    }

    #[test]
    fn conditions_are_of_the_whole_or_of_a_part() {
        assert_eq!(Wanted::parse("name=a"), Some(("name", Wanted::Is("a"))));
        assert_eq!(Wanted::parse("name=~a"), Some(("name", Wanted::Has("a"))));
        assert_eq!(Wanted::parse("name"), None);
        assert!(Wanted::Has("b").takes("abc") && !Wanted::Is("b").takes("abc"));
    }
}
