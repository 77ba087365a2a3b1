//! Which values of a column meet a condition.

use super::identifiers;
use super::literal::{Condition, Test};
use super::plain;
use crate::format::parse_ip4;
use crate::shape::Kind;
use crate::values::{ColumnView, Values};
use crate::{ChunkError, RowSet};

/// Of a column without a structure of its own, which has a [`super::plan::Plan`].
pub(super) fn matching(
    view: ColumnView<'_>,
    condition: &Condition<'_>,
) -> Result<RowSet, ChunkError> {
    let count = view.column.count as usize;
    let is_exact = condition.at_start && condition.at_end && !condition.any_case;
    Ok(match (&view.column.kind, view.values) {
        (Kind::Constant(value), _) => {
            if Test::new(*condition).holds(value) {
                RowSet::all(count)
            } else {
                RowSet::none(count)
            }
        }
        (_, Values::Dictionary { values, .. }) => {
            let test = Test::new(*condition);
            let wanted: Vec<bool> = (0..values.len())
                .map(|id| test.holds(values.get(id)))
                .collect();
            with_ids(view, &wanted)?
        }
        (Kind::Id { table, .. }, Values::Id(_)) => {
            let wanted = match view.store.shape.ids.get(*table as usize) {
                Some(table) => identifiers::matching(&table.pattern, view.ids, condition),
                None => Vec::new(),
            };
            with_ids(view, &wanted)?
        }
        (Kind::Number { format, .. }, Values::Number { numbers, scales }) if is_exact => {
            let Some((wanted, scale)) = format.parse(condition.text) else {
                return Ok(RowSet::none(count));
            };
            let same_scale = |at: usize| scales.get(at).is_none_or(|own| *own == scale);
            let equal =
                |(at, number): (usize, &u64)| (*number == wanted && same_scale(at)).then_some(at);
            of(count, numbers.iter().enumerate().filter_map(equal))
        }
        (_, Values::Ip4(addresses)) if is_exact => {
            let wanted = parse_ip4(condition.text);
            let equal = |(at, address): (usize, &u32)| (Some(*address) == wanted).then_some(at);
            of(count, addresses.iter().enumerate().filter_map(equal))
        }
        (_, Values::Plain(values))
            if !condition.at_start && !condition.at_end && !condition.any_case =>
        {
            let mut found = RowSet::none(count);
            let all = 0..values.len();
            plain::find_in(&values.text, &values.ends, all, condition.text, &mut found);
            found
        }
        _ => by_text(view, condition),
    })
}

/// Writes every value and looks at it.
fn by_text(view: ColumnView<'_>, condition: &Condition<'_>) -> RowSet {
    let count = view.column.count as usize;
    let test = Test::new(*condition);
    let mut text = Vec::new();
    of(
        count,
        (0..count).filter(|at| {
            text.clear();
            view.put(*at, &mut text);
            test.holds(&text)
        }),
    )
}

fn of(count: usize, values: impl Iterator<Item = usize>) -> RowSet {
    let mut found = RowSet::none(count);
    values.for_each(|value| found.insert(value));
    found
}

/// The values that are one of the distinct values that are wanted.
fn with_ids(view: ColumnView<'_>, wanted: &[bool]) -> Result<RowSet, ChunkError> {
    let mut found = RowSet::none(view.column.count as usize);
    if !wanted.contains(&true) {
        return Ok(found);
    }
    for (at, id) in view.places()?.iter().enumerate() {
        if wanted.get(*id as usize) == Some(&true) {
            found.insert(at);
        }
    }
    Ok(found)
}
