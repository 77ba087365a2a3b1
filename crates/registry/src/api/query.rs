//! What of a list is asked for: `q`, `sort`, `page` and `page_size`, as Harbor's clients write them,
//! and parameters of single lists. A filter or an order that is not understood is refused: who is given
//! more than he asked for acts on the wrong things. A parameter that no list knows may be a new one of
//! Harbor's clients: it changes nothing, and the answer warns of it.
//!
//! `q` has filters with commas between: `name=a` is the whole, `name=~a` a part, `size=[1~9]` a
//! range of which either end may be missing, `name={a b}` one of several, and `labels=(1 2)` all of
//! them, where a thing can have several.

use axum::Json;
use axum::response::{AppendHeaders, IntoResponse, Response};
use http::header::{HeaderName, LINK};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Admin, PREFIX, wrong};
use crate::error::Error;
use crate::meta::{Column, Kind, Listed, Listing, Operand, Test};

/// How many there are on all pages.
pub(super) const TOTAL_COUNT: HeaderName = HeaderName::from_static("x-total-count");
/// Things on one page, unless asked otherwise, and at most.
const PAGE: i64 = 100;
const PAGE_MAX: i64 = 1000;
/// Filters of one request, what it is sorted by, and values of one list.
const FILTERS_MAX: usize = 20;
const ORDERS_MAX: usize = 20;
const VALUES_MAX: usize = 100;
/// Bytes of a part that is looked for: no name or description is longer.
const PART_BYTES_MAX: usize = 4096;

/// What a list can be asked for, besides pages.
#[derive(Debug)]
pub(super) struct Asks {
    /// What `q` filters by and `sort` sorts by.
    pub(super) columns: &'static [Column],
    /// Parameters that filter by themselves.
    pub(super) filters: &'static [Shorthand],
    /// Parameters that are looked at elsewhere, and those of Harbor's that say what an answer is to
    /// have besides, which is always all that there is.
    pub(super) others: &'static [&'static str],
}

/// A list of which single pages can be asked for, and nothing else.
pub(super) const PAGES: Asks = Asks {
    columns: &[],
    filters: &[],
    others: &[],
};

/// A parameter that is a filter.
#[derive(Debug)]
pub(super) enum Shorthand {
    /// The whole of the column of this name.
    Whole(&'static str, &'static str),
    /// A part of it.
    Part(&'static str, &'static str),
}

impl Shorthand {
    fn names(&self) -> (&'static str, &'static str) {
        match self {
            Self::Whole(param, column) | Self::Part(param, column) => (param, column),
        }
    }
}

impl Asks {
    /// What is asked for by the parameters of a request.
    fn read(&self, query: &[(String, String)]) -> Result<Listing, Error> {
        let mut listing = Listing {
            limit: PAGE,
            ..Listing::default()
        };
        let mut page = 1;
        for (name, value) in query {
            match name.as_str() {
                "page" => page = number(name, value)?,
                "page_size" => listing.limit = number(name, value)?.min(PAGE_MAX),
                "q" => listing.filters.extend(self.filters(value)?),
                "sort" => listing.order.extend(self.order(value)?),
                name => {
                    let mut known = self.filters.iter();
                    match known.find(|known| known.names().0 == name) {
                        Some(_) if value.is_empty() => {}
                        Some(filter) => listing.filters.push(self.shorthand(filter, value)?),
                        None => {}
                    }
                }
            }
        }
        if listing.filters.len() > FILTERS_MAX {
            return Err(wrong(format!("there are at most {FILTERS_MAX} filters")));
        }
        if listing.order.len() > ORDERS_MAX {
            let message = format!("a list is sorted by at most {ORDERS_MAX} columns");
            return Err(wrong(message));
        }
        listing.offset = (page - 1).saturating_mul(listing.limit);
        Ok(listing)
    }

    /// What is said of parameters that change nothing, if there are any.
    fn ignored(&self, query: &[(String, String)]) -> Option<String> {
        let own = self.filters.iter().map(|filter| filter.names().0);
        let known: Vec<&str> = ["page", "page_size", "q", "sort"]
            .into_iter()
            .chain(own)
            .chain(self.others.iter().copied())
            .collect();
        let names = query.iter().map(|(name, _)| name.as_str());
        let ignored: Vec<&str> = names.filter(|name| !known.contains(name)).collect();
        (!ignored.is_empty()).then(|| {
            let (ignored, known) = (ignored.join(", "), known.join(", "));
            format!("this list knows no parameter {ignored}; there are {known}")
        })
    }

    /// A column by what a client calls it: `ProjectID` is `project_id`.
    fn column(&self, name: &str) -> Result<&'static Column, Error> {
        let plain = |name: &str| name.to_lowercase().replace('_', "");
        let wanted = plain(name);
        let mut columns = self.columns.iter();
        let found = columns.find(|column| plain(column.name) == wanted);
        found.ok_or_else(|| {
            let known: Vec<&str> = self.columns.iter().map(|column| column.name).collect();
            wrong(format!(
                "this list has no {name}; there are {}",
                known.join(", ")
            ))
        })
    }

    fn shorthand(&self, filter: &Shorthand, text: &str) -> Result<(&'static Column, Test), Error> {
        match filter {
            Shorthand::Whole(_, column) => {
                let column = self.column(column)?;
                Ok((column, Test::Is(value(column, text)?)))
            }
            Shorthand::Part(_, column) => Ok((self.column(column)?, Test::Has(part(text)?))),
        }
    }

    fn filters(&self, q: &str) -> Result<Vec<(&'static Column, Test)>, Error> {
        // Harbor's clients encode it twice, some of them.
        let q = percent_decoded(q);
        let parts = q.split(',').filter(|part| !part.is_empty());
        parts
            .map(|part| match part.split_once('=') {
                Some((name, text)) if !text.is_empty() => {
                    let column = self.column(name.trim())?;
                    Ok((column, test(column, text)?))
                }
                _ => Err(wrong(format!(
                    "q={part}: a filter is like name=a, name=~a, name={{a b}} or size=[1~9]"
                ))),
            })
            .collect()
    }

    fn order(&self, sort: &str) -> Result<Vec<(&'static Column, bool)>, Error> {
        let parts = sort.split(',').filter(|part| !part.is_empty());
        parts
            .map(|part| {
                let name = part.strip_prefix('-');
                let column = self.column(name.unwrap_or(part))?;
                match column.is_many() {
                    true => Err(wrong(format!("nothing is sorted by {}", column.name))),
                    false => Ok((column, name.is_some())),
                }
            })
            .collect()
    }

    /// The parameters, as OpenAPI has them.
    pub(super) fn described(&self) -> Vec<Value> {
        let text = || json!({"type": "string"});
        let number = || json!({"type": "integer", "format": "int64", "minimum": 1});
        let mut all = vec![
            parameter("page", "The number of the page, from 1", &number()),
            parameter("page_size", "Things on one page", &number()),
        ];
        if !self.columns.is_empty() {
            let names: Vec<&str> = self.columns.iter().map(|column| column.name).collect();
            let names = names.join(", ");
            let q = format!("Filters, as name=a, name=~a, name={{a b}}, name=[a~b], by: {names}");
            let sort = format!("An order, with - before what comes largest first, of: {names}");
            all.push(parameter("q", &q, &text()));
            all.push(parameter("sort", &sort, &text()));
        }
        all.extend(self.filters.iter().map(|filter| {
            let (param, column) = filter.names();
            let what = format!("The same as a filter by {column}");
            parameter(param, &what, &text())
        }));
        let others = self.others.iter();
        all.extend(others.map(|name| parameter(name, "", &text())));
        all
    }
}

fn parameter(name: &str, what: &str, schema: &Value) -> Value {
    json!({"name": name, "in": "query", "description": what, "schema": schema})
}

fn number(name: &str, text: &str) -> Result<i64, Error> {
    let number = text.parse().ok().filter(|number| *number >= 1);
    number.ok_or_else(|| wrong(format!("{name}={text}: it is a number from 1")))
}

/// Text of which parts may be encoded once more.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let code = after.get(..2).filter(|_| *byte == b'%');
        let code = code.and_then(|code| std::str::from_utf8(code).ok());
        let code = code.and_then(|code| u8::from_str_radix(code, 16).ok());
        bytes.push(code.unwrap_or(*byte));
        rest = after
            .get(if code.is_some() { 2 } else { 0 }..)
            .unwrap_or_default();
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

/// A part of a text to look for.
pub(super) fn part(text: &str) -> Result<String, Error> {
    match text.len() {
        ..=PART_BYTES_MAX => Ok(text.to_owned()),
        bytes => Err(wrong(format!(
            "what is looked for has at most {PART_BYTES_MAX} bytes, not {bytes}"
        ))),
    }
}

/// What is demanded of a column.
fn test(column: &Column, text: &str) -> Result<Test, Error> {
    let refused = |why: &str| wrong(format!("q={}={text}: {why}", column.name));
    let between = |open: char, close: char| {
        let inner = text.strip_prefix(open)?;
        Some(
            inner
                .strip_suffix(close)
                .ok_or_else(|| refused("it does not end")),
        )
    };
    if let Some(wanted) = text.strip_prefix('~') {
        return match column.kind {
            Kind::Text if !wanted.is_empty() => Ok(Test::Has(part(wanted)?)),
            Kind::Text => Err(refused("there is no part to look for")),
            _ => Err(refused("it has no parts")),
        };
    }
    if let Some(range) = between('[', ']') {
        let (least, most) = range?
            .split_once('~')
            .ok_or_else(|| refused("a range is [least~most]"))?;
        let bound = |text: &str| match text.trim() {
            "" => Ok(None),
            text => value(column, text).map(Some),
        };
        return match (bound(least)?, bound(most)?) {
            (None, None) => Err(refused("a range has a least, a most, or both")),
            (least, most) => Ok(Test::Between(least, most)),
        };
    }
    if let Some(list) = between('{', '}') {
        return Ok(Test::OneOf(values(column, list?)?));
    }
    if let Some(list) = between('(', ')') {
        let values = values(column, list?)?;
        return match column.is_many() || values.len() == 1 {
            true => Ok(Test::AllOf(values)),
            false => Err(refused("nothing is several things at once")),
        };
    }
    match text {
        "*" if column.is_many() => Ok(Test::There(true)),
        "nil" if column.is_many() => Ok(Test::There(false)),
        text => {
            let text = text.strip_prefix('\\').unwrap_or(text);
            Ok(Test::Is(value(column, text)?))
        }
    }
}

/// The values of a list, with blanks between.
fn values(column: &Column, text: &str) -> Result<Vec<Operand>, Error> {
    let values: Result<Vec<Operand>, Error> = text
        .split_whitespace()
        .map(|text| value(column, text))
        .collect();
    let values = values?;
    match values.len() {
        1..=VALUES_MAX => Ok(values),
        _ => Err(wrong(format!("a list has 1 to {VALUES_MAX} values"))),
    }
}

/// A value, which may be in quotes.
fn value(column: &Column, text: &str) -> Result<Operand, Error> {
    let text = text.trim_matches(['"', '\'']);
    let read = match column.kind {
        Kind::Text => return Ok(Operand::Text(text.to_owned())),
        Kind::Number => text.parse().ok(),
        Kind::Flag => match text {
            "true" | "1" => Some(1),
            "false" | "0" => Some(0),
            _ => None,
        },
        Kind::Moment => moment_ms(text),
    };
    let is = match column.kind {
        Kind::Flag => "true or false",
        Kind::Moment => "a time like 2026-01-31T23:59:59",
        Kind::Number | Kind::Text => "a number",
    };
    let read = read.map(Operand::Number);
    read.ok_or_else(|| wrong(format!("{}={text}: it is {is}", column.name)))
}

/// A moment, in UTC unless it says otherwise; a day is its beginning.
pub(super) fn moment_ms(text: &str) -> Option<i64> {
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Some(at.as_millisecond());
    }
    let at: jiff::civil::DateTime = text.parse().ok()?;
    let at = jiff::tz::Offset::UTC.to_timestamp(at).ok()?;
    Some(at.as_millisecond())
}

impl Admin {
    /// What of a list is asked for.
    pub(super) fn listing(&self, asks: &Asks) -> Result<Listing, Error> {
        let listing = asks.read(&self.query)?;
        if let Some(ignored) = asks.ignored(&self.query) {
            let _ = self.warning.set(ignored);
        }
        Ok(listing)
    }

    /// A page of a list, with links to those before and after it.
    pub(super) fn page<T>(&self, listing: &Listing, listed: Listed<T>) -> Page<T> {
        let at = listing.offset / listing.limit.max(1) + 1;
        let link = |page: i64, rel: &str| {
            let rest = self.query.iter().filter(|(name, _)| !is_page(name));
            let pages = [("page", page), ("page_size", listing.limit)];
            let mut url = reqwest::Url::parse("http://registry").ok()?;
            url.set_path(&format!("{PREFIX}{}", self.uri.path()));
            url.query_pairs_mut()
                .extend_pairs(rest)
                .extend_pairs(pages.map(|(name, number)| (name, number.to_string())));
            let query = url.query().unwrap_or_default();
            Some(format!("<{}?{query}>; rel=\"{rel}\"", url.path()))
        };
        let has_more = at.saturating_mul(listing.limit) < listed.total;
        let before = (at > 1).then(|| link(at - 1, "prev")).flatten();
        let after = has_more.then(|| link(at + 1, "next")).flatten();
        let links = before.into_iter().chain(after).collect();
        Page { listed, links }
    }
}

/// A page of a list.
pub(super) struct Page<T> {
    listed: Listed<T>,
    /// To the pages before and after it.
    links: Vec<String>,
}

impl<T: Serialize> IntoResponse for Page<T> {
    fn into_response(self) -> Response {
        let link = (!self.links.is_empty()).then(|| (LINK, self.links.join(", ")));
        let total = [(TOTAL_COUNT, self.listed.total.to_string())];
        (total, AppendHeaders(link), Json(self.listed.rows)).into_response()
    }
}

pub(super) fn is_page(name: &str) -> bool {
    matches!(name, "page" | "page_size")
}

/// The number or text that a column is to be, if that was said so.
pub(super) fn wanted<'l>(listing: &'l Listing, name: &str) -> Option<&'l Operand> {
    let mut filters = listing.filters.iter();
    filters.find_map(|(column, test)| match test {
        Test::Is(value) if column.name == name => Some(value),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::meta::{ARTIFACT_COLUMNS, PROJECT_COLUMNS};

    const PROJECTS: Asks = Asks {
        columns: PROJECT_COLUMNS,
        filters: &[Shorthand::Part("name", "name")],
        others: &["with_detail"],
    };
    const ARTIFACTS: Asks = Asks {
        columns: ARTIFACT_COLUMNS,
        filters: &[],
        others: &[],
    };

    fn read(asks: &'static Asks, query: &[(&str, &str)]) -> Result<Listing, Error> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        asks.read(&query.iter().map(owned).collect::<Vec<_>>())
    }

    fn filters(asks: &'static Asks, q: &str) -> Vec<(&'static str, Test)> {
        let listing = read(asks, &[("q", q)]).unwrap();
        let named = |(column, test): (&'static Column, Test)| (column.name, test);
        listing.filters.into_iter().map(named).collect()
    }

    #[test]
    fn filters_as_harbor_has_them() {
        let (text, number) = (Operand::from, Operand::Number);
        for (q, name, test) in [
            ("name=a", "name", Test::Is(text("a"))),
            ("Name=~pa", "name", Test::Has("pa".to_owned())),
            (r"name=\~a", "name", Test::Is(text("~a"))),
            ("name%3Da", "name", Test::Is(text("a"))),
            ("public=true", "public", Test::Is(number(1))),
            ("ProjectID=7", "project_id", Test::Is(number(7))),
            (
                "project_id=[3~]",
                "project_id",
                Test::Between(Some(number(3)), None),
            ),
            (
                "creation_time=[1970-01-01T00:00:01~1970-01-02 00:00:00]",
                "creation_time",
                Test::Between(Some(number(1000)), Some(number(86_400_000))),
            ),
            (
                "name={a 'b'}",
                "name",
                Test::OneOf(vec![text("a"), text("b")]),
            ),
        ] {
            assert_eq!(filters(&PROJECTS, q), [(name, test)], "{q}");
        }
        for (q, name, test) in [
            ("tags=*", "tags", Test::There(true)),
            ("tags=nil", "tags", Test::There(false)),
            ("tags=v1", "tags", Test::Is(text("v1"))),
            (
                "labels=(1 2)",
                "labels",
                Test::AllOf(vec![number(1), number(2)]),
            ),
        ] {
            assert_eq!(filters(&ARTIFACTS, q), [(name, test)], "{q}");
        }
        assert_eq!(filters(&PROJECTS, "name=~a,public=0").len(), 2);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (name, value) in [
            ("q", "name"),
            ("q", "name="),
            ("q", "owner=me"),
            ("q", "name=~"),
            ("q", "public=~t"),
            ("q", "public=maybe"),
            ("q", "project_id=a"),
            ("q", "name=(a b)"),
            ("q", "name={}"),
            ("q", "name={a"),
            ("q", "name=[~]"),
            ("q", "name=[a]"),
            ("q", "creation_time=yesterday"),
            ("sort", "owner"),
            ("page", "0"),
            ("page", "x"),
            ("page_size", "-1"),
        ] {
            let refused = read(&PROJECTS, &[(name, value)]).unwrap_err();
            assert_eq!(
                refused.status,
                http::StatusCode::BAD_REQUEST,
                "{name}={value}"
            );
        }
        assert!(read(&ARTIFACTS, &[("sort", "tags")]).is_err());
        let many = "name=a,".repeat(FILTERS_MAX + 1);
        assert!(read(&PROJECTS, &[("q", &many)]).is_err());
    }

    #[test]
    fn parameters_that_are_not_known_change_nothing() {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let query = [
            ("nam", "a"),
            ("name", "b"),
            ("owner", "c"),
            ("with_detail", ""),
        ];
        let query: Vec<_> = query.iter().map(owned).collect();
        assert_eq!(PROJECTS.read(&query).unwrap().filters.len(), 1);
        let said = PROJECTS.ignored(&query).unwrap();
        assert!(
            said.starts_with("this list knows no parameter nam, owner; "),
            "{said}"
        );
        assert_eq!(PROJECTS.ignored(&query[1..2]), None);
    }

    #[test]
    fn pages_and_orders() {
        let query = [
            ("page", "3"),
            ("page_size", "20"),
            ("sort", "-creation_time,name"),
            ("with_detail", "true"),
            ("name", "a"),
        ];
        let listing = read(&PROJECTS, &query).unwrap();
        assert_eq!((listing.limit, listing.offset), (20, 40));
        let order = listing
            .order
            .iter()
            .map(|(column, desc)| (column.name, *desc));
        let order: Vec<_> = order.collect();
        assert_eq!(order, [("creation_time", true), ("name", false)]);
        let listing = read(&PROJECTS, &[("page_size", "99999")]).unwrap();
        assert_eq!((listing.limit, listing.offset), (PAGE_MAX, 0));
        let far = i64::MAX.to_string();
        let listing = read(&PROJECTS, &[("page", &far)]).unwrap();
        assert_eq!(listing.offset, i64::MAX);
    }

    proptest! {
        #[test]
        fn anything_is_read_or_refused(q in ".*", sort in ".*") {
            let _ = read(&PROJECTS, &[("q", &q), ("sort", &sort)]);
            let _ = read(&ARTIFACTS, &[("q", &q)]);
        }

        #[test]
        fn a_name_is_what_it_was(name in "[a-z0-9._-]{1,40}") {
            let expected = Test::Is(Operand::from(name.as_str()));
            prop_assert_eq!(filters(&PROJECTS, &format!("name={name}")), [("name", expected)]);
        }
    }
}
