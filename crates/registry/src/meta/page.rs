//! Lists by pages, and how long they are.

use sqlx::AssertSqlSafe;
use sqlx::any::{AnyArguments, AnyRow};

use super::Meta;
use super::change::first;
use crate::error::Error;

/// Which part of a list is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// Things at most.
    pub(crate) limit: i64,
    /// Things that come before.
    pub(crate) offset: i64,
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed<T> {
    pub(crate) rows: Vec<T>,
    /// How many things the whole list has.
    pub(crate) total: i64,
}

/// A value of a statement.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Text(&'a str),
    Number(i64),
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Any, AnyArguments>;

fn with<'q>(sql: String, values: &[Value<'_>]) -> Query<'q> {
    let query = sqlx::query(AssertSqlSafe(sql));
    values.iter().fold(query, |query, value| match value {
        Value::Text(text) => query.bind((*text).to_owned()),
        Value::Number(number) => query.bind(*number),
    })
}

impl Meta {
    /// A page of what a query finds, and how many rows all of it has.
    pub(super) async fn page<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        page: Page,
        read: impl Fn(&AnyRow) -> Result<T, sqlx::Error>,
    ) -> Result<Listed<T>, Error> {
        let (limit, offset) = (values.len() + 1, values.len() + 2);
        let rows = with(format!("{sql} LIMIT ${limit} OFFSET ${offset}"), values);
        let rows = rows.bind(page.limit).bind(page.offset);
        let rows = self.rows(rows, read).await?;
        let count = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        let is_end = count > 0 && count < page.limit || count == 0 && page.offset == 0;
        let total = match is_end {
            true => page.offset + count,
            false => {
                let all = with(format!("SELECT COUNT(*) FROM ({sql}) counted"), values);
                let total = self.rows(all, first).await?.pop();
                total.unwrap_or_default()
            }
        };
        Ok(Listed { rows, total })
    }
}
