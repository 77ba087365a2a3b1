//! Windows against a reference that evaluates each from all samples.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::metric::SeriesId;

/// The value of a window from its samples, which are in time order.
fn naive(op: RangeOp, q: f64, samples: &[(i64, f64)], end_ns: i64, range_ns: i64) -> f64 {
    let values: Vec<f64> = samples.iter().map(|(_, value)| *value).collect();
    let (count, range_s) = (values.len() as f64, range_ns as f64 / 1e9);
    let sum: f64 = values.iter().sum();
    let variance = || {
        values
            .iter()
            .map(|v| (v - sum / count).powi(2))
            .sum::<f64>()
            / count
    };
    match op {
        RangeOp::Count | RangeOp::Bytes | RangeOp::Sum => sum,
        RangeOp::Rate | RangeOp::BytesRate => sum / range_s,
        RangeOp::Avg => sum / count,
        RangeOp::Min => values.iter().copied().fold(f64::INFINITY, f64::min),
        RangeOp::Max => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        RangeOp::Stdvar => variance(),
        RangeOp::Stddev => variance().sqrt(),
        RangeOp::First => values.first().copied().unwrap_or(0.0),
        RangeOp::Last => values.last().copied().unwrap_or(0.0),
        RangeOp::Quantile => {
            let mut sorted = values;
            sorted.sort_by(f64::total_cmp);
            let rank = q * (count - 1.0);
            let at = |i: f64| sorted[(i as usize).min(sorted.len() - 1)];
            at(rank.floor()) * (1.0 - rank.fract()) + at(rank.floor() + 1.0) * rank.fract()
        }
        RangeOp::RateCounter => crate::metric::raw::counter_rate(samples, end_ns, range_ns),
        RangeOp::Absent => 1.0,
    }
}

fn naive_all(
    range: &RangeAggregation,
    steps: Steps,
    samples: &[(u8, i64, f64)],
) -> BTreeMap<(u8, i64), f64> {
    let mut found = BTreeMap::new();
    for time_ns in steps.iter() {
        let end_ns = time_ns - range.offset_ns;
        for of in 0..3 {
            let mut inside: Vec<(i64, f64)> = samples
                .iter()
                .filter(|(s, time, _)| {
                    *s == of && end_ns - range.range_ns < *time && *time <= end_ns
                })
                .map(|(_, time, value)| (*time, *value))
                .collect();
            inside.sort_by_key(|(time, _)| *time);
            if !inside.is_empty() {
                let q = range.parameter.unwrap_or(0.0);
                let value = naive(range.op, q, &inside, end_ns, range.range_ns);
                found.insert((of, time_ns), value);
            }
        }
    }
    found
}

fn accumulate(
    range: &RangeAggregation,
    steps: Steps,
    samples: &[(u8, i64, f64)],
) -> RangeAccumulator {
    let mut accumulator = RangeAccumulator::new(range, steps, budget().reservation());
    for (of, time, value) in samples {
        let id = accumulator.series(&labels(&format!("s={of}"))).unwrap();
        accumulator.add(id, *time, *value).unwrap();
    }
    accumulator
}

proptest! {
    #[test]
    fn ones_together_are_ones_one_by_one(
        op in prop::sample::select(RangeOp::ALL.to_vec()),
        mut times in prop::collection::vec(0i64..200, 0..60),
        (start, step, count) in (0i64..60, 0i64..40, 0i64..12),
        (range_s, offset_s) in (0i64..120, -30i64..30),
    ) {
        let MetricExpr::Range(mut range) = metric(r#"rate({a="b"}[1s])"#) else { panic!() };
        (range.op, range.range_ns, range.offset_ns) = (op, range_s * SECOND, offset_s * SECOND);
        let steps = Steps {
            start_ns: start * SECOND,
            end_ns: (start + step * count) * SECOND,
            step_ns: step * SECOND,
        };
        times.sort_unstable();
        times.iter_mut().for_each(|time| *time *= SECOND);
        let series = |add: &dyn Fn(&mut RangeAccumulator, SeriesId)| {
            let mut accumulator = RangeAccumulator::new(&range, steps, budget().reservation());
            let id = accumulator.series(&labels("a=b")).unwrap();
            add(&mut accumulator, id);
            show(&accumulator.finish(&|| false).unwrap().0)
        };
        let singly = series(&|accumulator, id| {
            times.iter().for_each(|time| accumulator.add(id, *time, 1.0).unwrap());
        });
        let together = series(&|accumulator, id| accumulator.add_ones(id, &times).unwrap());
        prop_assert_eq!(together, singly);
    }

    #[test]
    fn windows_are_those_of_the_reference(
        op in prop::sample::select(RangeOp::ALL.to_vec()).prop_filter("not", |op| *op != RangeOp::Absent),
        times in prop::collection::btree_map(0i64..300, (0u8..3, -50i32..50), 0..80),
        order in any::<u64>(),
        (start, step, count) in (0i64..60, 0i64..40, 0i64..12),
        (range_s, offset_s) in (0i64..120, -30i64..30),
        q in 0.0f64..1.0,
    ) {
        let MetricExpr::Range(mut range) = metric(r#"rate({a="b"}[1s])"#) else { panic!() };
        range.op = op;
        range.parameter = Some(q);
        range.range_ns = range_s * SECOND;
        range.offset_ns = offset_s * SECOND;
        let steps = Steps {
            start_ns: start * SECOND,
            end_ns: (start + step * count) * SECOND,
            step_ns: step * SECOND,
        };
        let mut samples: Vec<(u8, i64, f64)> = times
            .into_iter()
            .map(|(time, (of, value))| (of, time * SECOND, f64::from(value)))
            .collect();
        let expected = naive_all(&range, steps, &samples);
        // Any order, in two parts that are merged.
        samples.sort_by_key(|(_, time, _)| (*time as u64).wrapping_mul(order | 1));
        let (a, b) = samples.split_at(samples.len() / 3);
        let mut accumulator = accumulate(&range, steps, a);
        accumulator.merge(accumulate(&range, steps, b)).unwrap();
        let (found, _) = accumulator.finish(&|| false).unwrap();
        let found: BTreeMap<(u8, i64), f64> = found
            .iter()
            .flat_map(|series| {
                let of = series.labels.get("s").and_then(|of| of.parse().ok()).unwrap_or(9);
                series.points.iter().map(move |(time, value)| ((of, *time), *value))
            })
            .collect();
        prop_assert_eq!(
            found.keys().collect::<Vec<_>>(),
            expected.keys().collect::<Vec<_>>()
        );
        for (at, value) in &found {
            let wanted = expected[at];
            let close = (value - wanted).abs() <= 1e-9 * (1.0 + wanted.abs());
            prop_assert!(close || value.is_nan() && wanted.is_nan(), "{value} instead of {wanted} at {at:?}");
        }
    }
}
