//! Operators between series, and between series and numbers.

use std::collections::HashMap;

use model::{Label, LabelSet, LabelSetBuilder};

use super::meter::Meter;
use super::{EvalError, Series, Steps};
use crate::syntax::ast::{BinaryExpr, BinaryOp, GroupSide, VectorMatching};

/// Applies an operator to every point and a number. `number_left` says on which side that is.
pub(crate) fn with_number(
    expr: &BinaryExpr,
    series: Vec<Series>,
    number: f64,
    number_left: bool,
) -> Vec<Series> {
    let point = |(time_ns, value): (i64, f64)| {
        let (left, right) = if number_left {
            (number, value)
        } else {
            (value, number)
        };
        // A comparison that filters keeps the series' value, whichever side it is on.
        result(expr, left, right, value).map(|value| (time_ns, value))
    };
    let mut found: Vec<Series> = series
        .into_iter()
        .map(|one| Series {
            points: one.points.into_iter().filter_map(point).collect(),
            labels: one.labels,
        })
        .collect();
    found.retain(|one| !one.points.is_empty());
    found
}

/// The value for two numbers, unless a comparison filters it out.
fn result(expr: &BinaryExpr, left: f64, right: f64, kept: f64) -> Option<f64> {
    if expr.op.is_comparison() && !expr.return_bool {
        return expr.op.holds(left, right).then_some(kept);
    }
    Some(expr.op.apply(left, right))
}

/// Labels that have a value: in the reference others are lost where labels are made anew.
fn with_value<'a>(labels: impl IntoIterator<Item = &'a Label>) -> LabelSet {
    let labels = labels.into_iter().filter(|label| !label.value.is_empty());
    LabelSet::keeping_empty(labels.cloned())
}

/// What two series must have in common to belong together.
fn signature(matching: Option<&VectorMatching>, labels: &LabelSet) -> LabelSet {
    match matching {
        Some(matching) => {
            let is_named = |label: &Label| matching.labels.iter().any(|name| *name == *label.name);
            let kept = labels.iter().filter(|label| is_named(label) == matching.on);
            with_value(kept)
        }
        None => labels.clone(),
    }
}

/// A side of an operator, read step by step.
struct Side<'a> {
    series: &'a [Series],
    /// Number of the signature of each series.
    signatures: Vec<usize>,
    /// Next point of each series.
    next: Vec<usize>,
}

impl<'a> Side<'a> {
    fn new(
        series: &'a [Series],
        matching: Option<&VectorMatching>,
        numbers: &mut HashMap<LabelSet, usize>,
        meter: &mut Meter<'_>,
    ) -> Result<Self, EvalError> {
        let mut signatures = Vec::with_capacity(series.len());
        for one in series {
            meter.check()?;
            let (signature, count) = (signature(matching, &one.labels), numbers.len());
            meter.take_series(&signature)?;
            signatures.push(*numbers.entry(signature).or_insert(count));
        }
        Ok(Self {
            series,
            signatures,
            next: vec![0; series.len()],
        })
    }

    /// The points at a time: series, signature and value.
    fn points_at(&mut self, time_ns: i64, found: &mut Vec<(usize, usize, f64)>) {
        found.clear();
        let series = self.series.iter().zip(&self.signatures).zip(&mut self.next);
        for (i, ((one, signature), next)) in series.enumerate() {
            while let Some((at, value)) = one.points.get(*next).filter(|(at, _)| *at <= time_ns) {
                *next += 1;
                if *at == time_ns {
                    found.push((i, *signature, *value));
                }
            }
        }
    }
}

/// Both sides with the numbers of their signatures in common, and how many there are.
fn sides<'a>(
    expr: &BinaryExpr,
    left: &'a [Series],
    right: &'a [Series],
    meter: &mut Meter<'_>,
) -> Result<(Side<'a>, Side<'a>, usize), EvalError> {
    let mut numbers = HashMap::new();
    let left = Side::new(left, expr.matching.as_ref(), &mut numbers, meter)?;
    let right = Side::new(right, expr.matching.as_ref(), &mut numbers, meter)?;
    Ok((left, right, numbers.len()))
}

/// `and`, `or`, `unless`.
pub(crate) fn set_operation(
    expr: &BinaryExpr,
    steps: Steps,
    left: &[Series],
    right: &[Series],
    meter: &mut Meter<'_>,
) -> Result<Vec<Series>, EvalError> {
    let (mut left_side, mut right_side, signatures) = sides(expr, left, right, meter)?;
    let bare = |one: &Series| Series {
        labels: one.labels.clone(),
        points: Vec::new(),
    };
    let mut found: Vec<Series> = left.iter().chain(right).map(bare).collect();
    let (mut lefts, mut rights) = (Vec::new(), Vec::new());
    // The step at which a signature was last seen on the side that decides, plus one.
    let mut seen = vec![0; signatures];
    for (step, time_ns) in steps.iter().enumerate() {
        meter.check()?;
        left_side.points_at(time_ns, &mut lefts);
        right_side.points_at(time_ns, &mut rights);
        let is_or = expr.op == BinaryOp::Or;
        for (_, signature, _) in if is_or { &lefts } else { &rights } {
            if let Some(last) = seen.get_mut(*signature) {
                *last = step + 1;
            }
        }
        let has = |signature: usize| seen.get(signature) == Some(&(step + 1));
        let mut keep = |i: usize, value: f64| match found.get_mut(i) {
            Some(one) => meter.push(&mut one.points, (time_ns, value)),
            None => Ok(()),
        };
        for (i, signature, value) in &lefts {
            if is_or || has(*signature) == (expr.op == BinaryOp::And) {
                keep(*i, *value)?;
            }
        }
        for (i, signature, value) in rights.iter().filter(|_| is_or) {
            if !has(*signature) {
                keep(left.len() + *i, *value)?;
            }
        }
    }
    // The same labels may come from both sides, at different steps.
    found.retain(|one| !one.points.is_empty());
    super::replace::join_equal(found, meter)
}

/// Arithmetic and comparisons between series that belong together.
pub(crate) fn between(
    expr: &BinaryExpr,
    steps: Steps,
    left: &[Series],
    right: &[Series],
    meter: &mut Meter<'_>,
) -> Result<Vec<Series>, EvalError> {
    let group = expr.matching.as_ref().and_then(|matching| matching.group);
    let swapped = group == Some(GroupSide::Right);
    // From here on, the right side is the one with one series per match.
    let (left, right) = if swapped {
        (right, left)
    } else {
        (left, right)
    };
    let (mut many, mut one, signatures) = sides(expr, left, right, meter)?;
    let mut results = Results {
        expr,
        left,
        right,
        by_pair: HashMap::new(),
        ids: HashMap::new(),
        series: Vec::new(),
    };
    let (mut manies, mut ones) = (Vec::new(), Vec::new());
    let mut matches: Vec<Match> = vec![Match::default(); signatures];
    for (step, time_ns) in steps.iter().enumerate() {
        meter.check()?;
        one.points_at(time_ns, &mut ones);
        many.points_at(time_ns, &mut manies);
        for (i, signature, value) in &ones {
            let Some(found) = matches.get_mut(*signature) else {
                continue;
            };
            if found.step == step + 1 {
                return Err(EvalError::ManyToMany {
                    side: if swapped { "left" } else { "right" },
                });
            }
            *found = Match {
                step: step + 1,
                series: *i,
                value: *value,
                used: false,
            };
        }
        for (i, signature, value) in &manies {
            let Some(found) = matches.get_mut(*signature).filter(|m| m.step == step + 1) else {
                continue;
            };
            if group.is_none() && found.used {
                return Err(EvalError::ImplicitManyToOne);
            }
            found.used = true;
            let id = results.id(*i, found.series, meter)?;
            if group.is_some() && !results.first_at(id, time_ns, *signature) {
                return Err(EvalError::AmbiguousGrouping);
            }
            let (l, r) = if swapped {
                (found.value, *value)
            } else {
                (*value, found.value)
            };
            if let Some(value) = result(expr, l, r, l) {
                results.push(id, (time_ns, value), meter)?;
            }
        }
    }
    Ok(results.finish())
}

/// The series on the "one" side with a signature at a step.
#[derive(Clone, Copy, Default)]
struct Match {
    /// Plus one; zero if there was none yet.
    step: usize,
    series: usize,
    value: f64,
    /// Whether a series of the other side has matched it.
    used: bool,
}

/// Bytes of a pair in the table of those that were seen.
const PAIR_BYTES: usize = 64;

/// Result series as pairs give rise to them.
struct Results<'a> {
    expr: &'a BinaryExpr,
    left: &'a [Series],
    right: &'a [Series],
    by_pair: HashMap<(usize, usize), usize>,
    ids: HashMap<LabelSet, usize>,
    series: Vec<ResultSeries>,
}

struct ResultSeries {
    series: Series,
    /// Last step with a match, and its signature.
    last: Option<(i64, usize)>,
}

impl Results<'_> {
    /// The result series of two series.
    fn id(&mut self, left: usize, right: usize, meter: &mut Meter<'_>) -> Result<usize, EvalError> {
        if let Some(id) = self.by_pair.get(&(left, right)) {
            return Ok(*id);
        }
        let empty = LabelSet::default();
        let of = |series: &[Series], i: usize| {
            series
                .get(i)
                .map_or_else(|| empty.clone(), |one| one.labels.clone())
        };
        let labels = result_labels(
            self.expr.matching.as_ref(),
            &of(self.left, left),
            &of(self.right, right),
        );
        meter.take(PAIR_BYTES)?;
        meter.take_series(&labels)?;
        let series = &mut self.series;
        let id = *self.ids.entry(labels.clone()).or_insert_with(|| {
            let points = Vec::new();
            series.push(ResultSeries {
                series: Series { labels, points },
                last: None,
            });
            series.len() - 1
        });
        self.by_pair.insert((left, right), id);
        Ok(id)
    }

    /// Whether no pair of this signature has given this result at this step before.
    fn first_at(&mut self, id: usize, time_ns: i64, signature: usize) -> bool {
        let Some(result) = self.series.get_mut(id) else {
            return true;
        };
        result.last.replace((time_ns, signature)) != Some((time_ns, signature))
    }

    fn push(
        &mut self,
        id: usize,
        point: (i64, f64),
        meter: &mut Meter<'_>,
    ) -> Result<(), EvalError> {
        match self.series.get_mut(id) {
            Some(result) => meter.push(&mut result.series.points, point),
            None => Ok(()),
        }
    }

    fn finish(self) -> Vec<Series> {
        let mut found: Vec<Series> = self.series.into_iter().map(|one| one.series).collect();
        found.retain(|one| !one.points.is_empty());
        found
    }
}

fn result_labels(matching: Option<&VectorMatching>, left: &LabelSet, right: &LabelSet) -> LabelSet {
    let Some(matching) = matching else {
        return with_value(left);
    };
    let reduced = if matching.group.is_none() {
        signature(Some(matching), left)
    } else {
        with_value(left)
    };
    if matching.include.is_empty() {
        return reduced;
    }
    let mut labels = LabelSetBuilder::default();
    for label in &reduced {
        labels.push(label.name.clone(), label.value.clone());
    }
    for name in &matching.include {
        // The text is shared: it may be long, and on many series.
        match right.iter().find(|label| *label.name == **name) {
            Some(label) => labels.push(label.name.clone(), label.value.clone()),
            None => labels.push(name.as_str(), ""),
        }
    }
    labels.build()
}
