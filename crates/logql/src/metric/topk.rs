//! Selection of series: the largest, the smallest, and order.

use std::cmp::Ordering;

use model::LabelSet;

use super::meter::Meter;
use super::vector::groups;
use super::{EvalError, Series, Steps};
use crate::syntax::ast::Grouping;

/// What is not a number is less than any number, whichever end is wanted.
fn beats(a: f64, b: f64, largest: bool) -> bool {
    match (a.is_nan(), b.is_nan()) {
        (true, _) => false,
        (false, true) => true,
        _ if largest => a > b,
        _ => a < b,
    }
}

/// At each step the `k` largest or smallest series of each group, with their labels. Of equal ones
/// those that come first stay.
pub(crate) fn select(
    k: usize,
    largest: bool,
    grouping: Option<&Grouping>,
    steps: Steps,
    series: &[Series],
    meter: &mut Meter<'_>,
) -> Result<Vec<Series>, EvalError> {
    let mut kept: Vec<Series> = series
        .iter()
        .map(|one| Series {
            labels: one.labels.clone(),
            points: Vec::new(),
        })
        .collect();
    // Per step value and series of those kept, best first.
    let mut row: Vec<Vec<(f64, usize)>> = vec![Vec::new(); steps.len()];
    // Series keep their labels, so that one without a value tells groups apart.
    let key = |labels: &LabelSet| {
        grouping.map_or_else(LabelSet::default, |by| {
            labels.without(|name| by.labels.iter().any(|label| label == name) == by.without)
        })
    };
    for members in groups(series, key, meter)?.into_values() {
        for i in members {
            meter.check()?;
            for (time_ns, value) in series.get(i).map_or(&[][..], |one| &one.points) {
                let Some(best) = row.get_mut(steps.index(*time_ns)) else {
                    continue;
                };
                let rank = best.partition_point(|(other, _)| !beats(*value, *other, largest));
                if rank < k {
                    best.truncate(k - 1);
                    meter.room(best)?;
                    best.insert(rank, (*value, i));
                }
            }
        }
        for (time_ns, best) in steps.iter().zip(&mut row) {
            for (value, i) in best.drain(..) {
                if let Some(one) = kept.get_mut(i) {
                    meter.push(&mut one.points, (time_ns, value))?;
                }
            }
        }
    }
    kept.retain(|one| !one.points.is_empty());
    Ok(kept)
}

/// Orders the series of an instant query by value.
pub(crate) fn sort(series: &mut [Series], descending: bool) {
    let value = |one: &Series| one.points.first().map_or(f64::NAN, |(_, value)| *value);
    series.sort_by(|a, b| {
        let (a, b) = (value(a), value(b));
        match (a.is_nan(), b.is_nan()) {
            (false, false) if descending => b.total_cmp(&a),
            (false, false) => a.total_cmp(&b),
            (true, true) => Ordering::Equal,
            // What is not a number comes last, either way.
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
        }
    });
}
