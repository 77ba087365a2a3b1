//! Lists of which only a part is asked for: what passes some filters, in an order, by pages.
//!
//! Nothing that a caller says becomes SQL: columns are known here, values are bound.

use sqlx::any::AnyRow;
use sqlx::{Any, AssertSqlSafe};

use super::Meta;
use super::change::first;
use super::search::pattern;
use crate::error::Error;

/// What a column is compared with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operand {
    Text(String),
    /// A number, a yes or no, or milliseconds since 1970.
    Number(i64),
}

impl From<&str> for Operand {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// What the values of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Number,
    /// 1 or 0.
    Flag,
    /// Milliseconds since 1970.
    Moment,
}

/// What a list can be filtered by.
#[derive(Debug)]
pub(crate) struct Column {
    /// What clients call it.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    sql: &'static str,
    /// Of what a thing has several of: what begins the question whether one of them passes.
    exists: Option<&'static str>,
}

impl Column {
    pub(super) const fn new(name: &'static str, kind: Kind, sql: &'static str) -> Self {
        Self {
            name,
            kind,
            sql,
            exists: None,
        }
    }

    /// One of a list that is short and read whole: its rows have it under this name.
    pub(crate) const fn shown(name: &'static str, kind: Kind) -> Self {
        Self::new(name, kind, "")
    }

    /// One that a thing has several of. `exists` is an `EXISTS (` that is not closed yet.
    pub(super) const fn many(self, exists: &'static str) -> Self {
        Self {
            exists: Some(exists),
            ..self
        }
    }

    /// Whether a thing can have several of it, or none.
    pub(crate) fn is_many(&self) -> bool {
        self.exists.is_some()
    }
}

/// What a column has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Test {
    Is(Operand),
    /// It has this part; capitals do not count.
    Has(String),
    /// It is not less than the one, nor more than the other.
    Between(Option<Operand>, Option<Operand>),
    /// It is one of these.
    OneOf(Vec<Operand>),
    /// Of several, all of these are there.
    AllOf(Vec<Operand>),
    /// There is any, or there is none.
    There(bool),
}

/// What is asked for of a list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listing {
    pub(crate) filters: Vec<(&'static Column, Test)>,
    /// What comes first, and whether that is the largest.
    pub(crate) order: Vec<(&'static Column, bool)>,
    pub(crate) limit: i64,
    pub(crate) offset: i64,
}

impl Listing {
    /// The first in the list's own order.
    pub(crate) fn newest() -> Self {
        Self {
            limit: 1,
            ..Self::default()
        }
    }

    /// The one thing that a column with this value says.
    pub(crate) fn one(column: &'static Column, value: Operand) -> Self {
        Self {
            filters: vec![(column, Test::Is(value))],
            limit: 1,
            ..Self::default()
        }
    }
}

/// A page of a list, and how many there are on all pages.
#[derive(Debug)]
pub(crate) struct Listed<T> {
    pub(crate) rows: Vec<T>,
    pub(crate) total: i64,
}

/// A list.
pub(super) struct Source {
    pub(super) columns: &'static str,
    /// From `FROM` to a condition that always has to hold.
    pub(super) from: &'static str,
    /// The order of things that nothing else puts in order. No two are alike in it.
    pub(super) order: &'static str,
}

impl Source {
    /// The order of things that are alike in another one. Where one column is enough for it, it has the
    /// direction of the key before: an index of both is then read from one end.
    fn order_after(&self, order: &[(&Column, bool)]) -> &'static str {
        let column = self.order.strip_suffix(" DESC");
        match (order.last(), column.filter(|column| !column.contains(','))) {
            (Some((_, false)), Some(column)) => column,
            _ => self.order,
        }
    }
}

/// A statement and the values that are bound to it.
struct Statement {
    sql: String,
    values: Vec<Operand>,
}

impl Statement {
    fn place(&mut self, value: Operand) -> String {
        self.values.push(value);
        format!("${}", self.values.len())
    }

    /// Demands that a column passes a test.
    fn filter(&mut self, column: &Column, test: &Test) {
        let name = column.sql;
        let condition = match test {
            Test::Is(value) => format!("{name} = {}", self.place(value.clone())),
            Test::Has(part) => {
                let place = self.place(Operand::Text(pattern(part)));
                format!("LOWER({name}) LIKE {place} ESCAPE '!'")
            }
            Test::Between(least, most) => {
                let bounds = [(least, ">="), (most, "<=")];
                let bounds = bounds.into_iter().filter_map(|(bound, is)| {
                    let place = self.place(bound.clone()?);
                    Some(format!("{name} {is} {place}"))
                });
                bounds.collect::<Vec<_>>().join(" AND ")
            }
            Test::OneOf(values) => {
                let places: Vec<String> = values
                    .iter()
                    .map(|value| self.place(value.clone()))
                    .collect();
                format!("{name} IN ({})", places.join(", "))
            }
            Test::AllOf(values) => {
                let each = values.iter().cloned();
                return each.for_each(|value| self.filter(column, &Test::Is(value)));
            }
            Test::There(_) => format!("{name} IS NOT NULL"),
        };
        let not = if *test == Test::There(false) {
            "NOT "
        } else {
            ""
        };
        let exists = column.exists.unwrap_or("(");
        self.sql
            .push_str(&format!(" AND {not}{exists}{condition})"));
    }

    fn query(&self) -> sqlx::query::Query<'_, Any, sqlx::any::AnyArguments> {
        let query = sqlx::query(AssertSqlSafe(self.sql.clone()));
        self.values.iter().fold(query, |query, value| match value {
            Operand::Text(text) => query.bind(text.as_str()),
            Operand::Number(number) => query.bind(*number),
        })
    }
}

impl Meta {
    /// What is asked for of a list. `fixed` are the values that its source speaks of. It may be made from
    /// very many rows: who asks leaves half of the connections to those who pull.
    pub(super) async fn list<T: Send + 'static>(
        &self,
        source: &Source,
        fixed: Vec<Operand>,
        listing: &Listing,
        read: impl Fn(&AnyRow) -> Result<T, sqlx::Error> + Send + 'static,
    ) -> Result<Listed<T>, Error> {
        let mut from = Statement {
            sql: source.from.to_owned(),
            values: fixed,
        };
        for (column, test) in &listing.filters {
            from.filter(column, test);
        }
        let mut page = Statement {
            sql: String::new(),
            values: from.values.clone(),
        };
        let order = listing.order.iter().map(|(column, is_largest_first)| {
            let direction = if *is_largest_first { " DESC" } else { "" };
            format!("{}{direction}, ", column.sql)
        });
        let order: String = order.collect();
        let limit = page.place(Operand::Number(listing.limit));
        let offset = page.place(Operand::Number(listing.offset));
        page.sql = format!(
            "SELECT {} {} ORDER BY {order}{} LIMIT {limit} OFFSET {offset}",
            source.columns,
            from.sql,
            source.order_after(&listing.order)
        );
        let (limit, offset) = (listing.limit, listing.offset);
        self.long(async move |meta| {
            let rows = meta.rows(page.query(), read).await?;
            let found = i64::try_from(rows.len()).unwrap_or(i64::MAX);
            // A page that is not full is the last one.
            let is_last = found < limit && (found > 0 || offset == 0);
            let total = match is_last {
                true => offset.saturating_add(found),
                false => meta.count(from).await?,
            };
            Ok(Listed { rows, total })
        })
        .await
    }

    async fn count(&self, from: Statement) -> Result<i64, Error> {
        let count = Statement {
            sql: format!("SELECT COUNT(*) {}", from.sql),
            values: from.values,
        };
        Ok(self.row(count.query(), first).await?.unwrap_or_default())
    }
}

impl<T> Listed<T> {
    /// The same with each row as it is shown.
    pub(crate) fn map<U>(self, show: impl FnMut(T) -> U) -> Listed<U> {
        Listed {
            rows: self.rows.into_iter().map(show).collect(),
            total: self.total,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: Column = Column::new("name", Kind::Text, "p.name");
    const TAGS: Column = Column::new("tags", Kind::Text, "t.name")
        .many("EXISTS (SELECT 1 FROM tag t WHERE t.manifest_id = m.id AND ");

    #[test]
    fn what_is_alike_is_in_the_order_of_the_key_before() {
        let source = |order| Source {
            columns: "",
            from: "",
            order,
        };
        for (order, asked, expected) in [
            ("u.id DESC", vec![], "u.id DESC"),
            ("u.id DESC", vec![(&NAME, true)], "u.id DESC"),
            ("u.id DESC", vec![(&NAME, false)], "u.id"),
            ("r.name", vec![(&NAME, true)], "r.name"),
            (
                "m.at DESC, m.id DESC",
                vec![(&NAME, false)],
                "m.at DESC, m.id DESC",
            ),
        ] {
            assert_eq!(source(order).order_after(&asked), expected);
        }
    }

    #[test]
    fn values_are_bound_and_never_written() {
        let text = |text: &str| Operand::from(text);
        for (column, test, sql, values) in [
            (
                &NAME,
                Test::Is("'".into()),
                "(p.name = $2)",
                vec![text("'")],
            ),
            (
                &NAME,
                Test::Has("A_b".to_owned()),
                "(LOWER(p.name) LIKE $2 ESCAPE '!')",
                vec![text("%a!_b%")],
            ),
            (
                &NAME,
                Test::Between(Some(Operand::Number(1)), Some(Operand::Number(2))),
                "(p.name >= $2 AND p.name <= $3)",
                vec![Operand::Number(1), Operand::Number(2)],
            ),
            (
                &NAME,
                Test::OneOf(vec![text("a"), text("b")]),
                "(p.name IN ($2, $3))",
                vec![text("a"), text("b")],
            ),
            (
                &TAGS,
                Test::There(false),
                "NOT EXISTS (SELECT 1 FROM tag t WHERE t.manifest_id = m.id AND \
                 t.name IS NOT NULL)",
                vec![],
            ),
            (
                &TAGS,
                Test::AllOf(vec![text("a"), text("b")]),
                "EXISTS (SELECT 1 FROM tag t WHERE t.manifest_id = m.id AND t.name = $2) \
                 AND EXISTS (SELECT 1 FROM tag t WHERE t.manifest_id = m.id AND t.name = $3)",
                vec![text("a"), text("b")],
            ),
        ] {
            let mut statement = Statement {
                sql: String::new(),
                values: vec![text("fixed")],
            };
            statement.filter(column, &test);
            assert_eq!(statement.sql, format!(" AND {sql}"));
            assert_eq!(statement.values[1..], values, "{sql}");
        }
    }
}
