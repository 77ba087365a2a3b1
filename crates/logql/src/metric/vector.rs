//! Aggregation over series: `sum`, `avg`, `count` and the like.

use std::collections::BTreeMap;

use model::{Label, LabelSet};

use super::meter::Meter;
use super::{EvalError, Series, Steps};
use crate::syntax::ast::{Grouping, VectorOp};

impl Grouping {
    /// The labels of the group that a series belongs to.
    #[must_use]
    pub fn reduce(&self, labels: &LabelSet) -> LabelSet {
        let is_named = |label: &Label| self.labels.iter().any(|name| *name == *label.name);
        let kept = labels.iter().filter(|label| match self.without {
            // In the reference labels without a value go with those that are named.
            true => !is_named(label) && !label.value.is_empty(),
            false => is_named(label),
        });
        LabelSet::keeping_empty(kept.cloned())
    }
}

/// The values of a group at one step.
#[derive(Clone, Copy, Default)]
struct Group {
    count: f64,
    /// Sum, minimum, maximum or mean.
    value: f64,
    squares: f64,
}

impl Group {
    fn add(&mut self, op: VectorOp, value: f64) {
        self.count += 1.0;
        let first = self.count == 1.0;
        match op {
            VectorOp::Sum => self.value += value,
            VectorOp::Min if first || value < self.value || self.value.is_nan() => {
                self.value = value;
            }
            VectorOp::Max if first || value > self.value || self.value.is_nan() => {
                self.value = value;
            }
            VectorOp::Avg | VectorOp::Stddev | VectorOp::Stdvar => {
                let delta = value - self.value;
                if self.value.is_finite() || first {
                    self.value += delta / self.count;
                } else if !value.is_finite() && value != self.value {
                    self.value = f64::NAN;
                }
                self.squares += delta * (value - self.value);
            }
            _ => {}
        }
    }

    fn value(&self, op: VectorOp) -> f64 {
        match op {
            VectorOp::Count => self.count,
            VectorOp::Stddev => (self.squares / self.count).sqrt(),
            VectorOp::Stdvar => self.squares / self.count,
            _ => self.value,
        }
    }
}

/// Which series belong to which group, by what `key` makes of their labels.
pub(crate) fn groups(
    series: &[Series],
    key: impl Fn(&LabelSet) -> LabelSet,
    meter: &mut Meter<'_>,
) -> Result<BTreeMap<LabelSet, Vec<usize>>, EvalError> {
    let mut groups: BTreeMap<LabelSet, Vec<usize>> = BTreeMap::new();
    for (i, one) in series.iter().enumerate() {
        meter.check()?;
        let key = key(&one.labels);
        meter.take_series(&key)?;
        groups.entry(key).or_default().push(i);
    }
    Ok(groups)
}

/// Aggregates series by group and step.
pub(crate) fn aggregate(
    op: VectorOp,
    grouping: Option<&Grouping>,
    steps: Steps,
    series: &[Series],
    meter: &mut Meter<'_>,
) -> Result<Vec<Series>, EvalError> {
    // One row of steps for all groups in turn: there may be many groups with few points each.
    let mut row = vec![Group::default(); steps.len()];
    let mut found = Vec::new();
    let key = |labels: &LabelSet| grouping.map_or_else(LabelSet::default, |by| by.reduce(labels));
    for (labels, members) in groups(series, key, meter)? {
        meter.check()?;
        row.fill(Group::default());
        for (time_ns, value) in members
            .iter()
            .filter_map(|i| series.get(*i))
            .flat_map(|one| &one.points)
        {
            if let Some(at) = row.get_mut(steps.index(*time_ns)) {
                at.add(op, *value);
            }
        }
        let mut points = Vec::new();
        for (time_ns, at) in steps.iter().zip(&row).filter(|(_, at)| at.count > 0.0) {
            meter.push(&mut points, (time_ns, at.value(op)))?;
        }
        if !points.is_empty() {
            found.push(Series { labels, points });
        }
    }
    Ok(found)
}
