//! Lists that are short and were read whole: what is asked for of them is looked for in their rows as
//! they are shown.

use serde::Serialize;
use serde_json::Value;

use super::Admin;
use super::query::{Asks, Page, is_page, moment_ms};
use crate::error::Error;
use crate::meta::{Column, Kind, Listed, Listing, Operand, Test};

/// What a row has in a column; nothing if it has nothing there.
fn operand(column: &Column, row: &Value) -> Option<Operand> {
    let value = row.get(column.name)?;
    match column.kind {
        Kind::Text => value.as_str().map(Operand::from),
        Kind::Number => value.as_i64().map(Operand::Number),
        Kind::Flag => value.as_bool().map(|flag| Operand::Number(flag.into())),
        Kind::Moment => value.as_str().and_then(moment_ms).map(Operand::Number),
    }
}

/// Whether a row passes a test.
fn passes(row: &Value, column: &Column, test: &Test) -> bool {
    let Some(is) = operand(column, row) else {
        return *test == Test::There(false);
    };
    match test {
        Test::Is(value) => is == *value,
        Test::Has(part) => match is {
            Operand::Text(text) => text.to_lowercase().contains(&part.to_lowercase()),
            Operand::Number(_) => false,
        },
        Test::Between(least, most) => {
            least.as_ref().is_none_or(|least| is >= *least)
                && most.as_ref().is_none_or(|most| is <= *most)
        }
        Test::OneOf(values) => values.contains(&is),
        Test::AllOf(values) => values.iter().all(|value| is == *value),
        Test::There(is_there) => *is_there,
    }
}

/// Those that are asked for, in the order that is.
fn pick<T: Serialize>(listing: &Listing, all: Vec<T>) -> Result<Vec<T>, Error> {
    let shown = |row: T| {
        let value = serde_json::to_value(&row);
        let value = value.map_err(|error| Error::internal("showing a list", &error))?;
        Ok((value, row))
    };
    let mut rows: Vec<(Value, T)> = all.into_iter().map(shown).collect::<Result<_, Error>>()?;
    for (column, test) in &listing.filters {
        rows.retain(|(row, _)| passes(row, column, test));
    }
    // What comes first decides last.
    for (column, is_largest_first) in listing.order.iter().rev() {
        rows.sort_by(|(a, _), (b, _)| {
            let order = operand(column, a).cmp(&operand(column, b));
            match is_largest_first {
                true => order.reverse(),
                false => order,
            }
        });
    }
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

impl Admin {
    /// What is asked for of a list that was read whole; all pages at once if none is.
    pub(super) fn listed<T: Serialize>(&self, asks: &Asks, all: Vec<T>) -> Result<Page<T>, Error> {
        let mut listing = self.listing(asks)?;
        let all = match listing.filters.is_empty() && listing.order.is_empty() {
            true => all,
            false => pick(&listing, all)?,
        };
        let total = i64::try_from(all.len()).unwrap_or(i64::MAX);
        if !self.query.iter().any(|(name, _)| is_page(name)) {
            listing.limit = total.max(1);
        }
        let size = |number: i64| usize::try_from(number).unwrap_or(usize::MAX);
        let page = all.into_iter().skip(size(listing.offset));
        let rows = page.take(size(listing.limit)).collect();
        Ok(self.page(&listing, Listed { rows, total }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    static NAME: Column = Column::shown("name", Kind::Text);
    static SIZE: Column = Column::shown("size", Kind::Number);
    static OPEN: Column = Column::shown("open", Kind::Flag);
    static AT: Column = Column::shown("at", Kind::Moment);

    fn names(listing: &Listing) -> Vec<String> {
        let row = |name: &str, size: i64, open: bool, at: &str| json!({"name": name, "size": size, "open": open, "at": at});
        let rows = vec![
            row("b", 10, true, "2026-01-02T00:00:00.000Z"),
            row("a", 9, false, "2026-01-01T00:00:00.000Z"),
            row("Ab", 10, false, "2026-01-03T00:00:00.000Z"),
            json!({"name": "none"}),
        ];
        let picked = pick(listing, rows).unwrap();
        let name = |row: &Value| row["name"].as_str().unwrap().to_owned();
        picked.iter().map(name).collect()
    }

    #[test]
    fn rows_pass_the_tests_that_a_database_has() {
        let (text, number) = (Operand::from, Operand::Number);
        for (column, test, expected) in [
            (&NAME, Test::Is(text("a")), vec!["a"]),
            (&NAME, Test::Has("B".to_owned()), vec!["b", "Ab"]),
            (
                &SIZE,
                Test::Between(Some(number(10)), None),
                vec!["b", "Ab"],
            ),
            (&SIZE, Test::Between(None, Some(number(9))), vec!["a"]),
            (&OPEN, Test::Is(number(1)), vec!["b"]),
            (
                &AT,
                Test::Between(moment_ms("2026-01-02").map(number), None),
                vec!["b", "Ab"],
            ),
            (
                &NAME,
                Test::OneOf(vec![text("a"), text("b")]),
                vec!["b", "a"],
            ),
            (&NAME, Test::AllOf(vec![text("a")]), vec!["a"]),
            (&SIZE, Test::There(false), vec!["none"]),
        ] {
            let listing = Listing {
                filters: vec![(column, test)],
                ..Listing::default()
            };
            assert_eq!(names(&listing), expected, "{listing:?}");
        }
    }

    #[test]
    fn rows_are_put_in_order() {
        for (order, expected) in [
            (vec![(&NAME, false)], ["Ab", "a", "b", "none"]),
            (vec![(&AT, true)], ["Ab", "b", "a", "none"]),
            (
                vec![(&SIZE, true), (&NAME, false)],
                ["Ab", "b", "a", "none"],
            ),
        ] {
            let listing = Listing {
                order,
                ..Listing::default()
            };
            assert_eq!(names(&listing), expected, "{listing:?}");
        }
    }
}
