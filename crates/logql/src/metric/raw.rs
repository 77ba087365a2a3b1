//! Functions that need the samples themselves.

/// The φ-quantile of values, between the two nearest ranks as Prometheus interpolates. Orders the
/// values as a side effect.
pub(crate) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    // What is not a number comes first.
    let order = |a: &f64, b: &f64| match (a.is_nan(), b.is_nan()) {
        (false, false) => a.total_cmp(b),
        (a, b) => b.cmp(&a),
    };
    let rank = q * (values.len() - 1) as f64;
    let below = (rank.floor() as usize).min(values.len() - 1);
    let weight = rank - rank.floor();
    let (_, lower, above) = values.select_nth_unstable_by(below, order);
    let lower = *lower;
    let upper = above.iter().copied().min_by(order).unwrap_or(lower);
    lower * (1.0 - weight) + upper * weight
}

/// The increase per second of a counter that may have been reset, over a window that ends at
/// `end_ns`. As in Prometheus' `rate`, the slope is carried on to the window's borders if the gaps
/// there are not much wider than those between samples, but not to below zero. Samples are in time
/// order.
pub(crate) fn counter_rate(samples: &[(i64, f64)], end_ns: i64, range_ns: i64) -> f64 {
    let ([(first_ns, first), .., (last_ns, last)], range_s) = (samples, range_ns as f64 / 1e9)
    else {
        return 0.0;
    };
    let resets: f64 = samples
        .windows(2)
        .filter_map(|pair| match pair {
            [(_, before), (_, after)] if after < before => Some(*before),
            _ => None,
        })
        .sum();
    let increase = last - first + resets;
    let sampled_s = (last_ns - first_ns) as f64 / 1e9;
    let gap_s = sampled_s / (samples.len() - 1) as f64;
    let after_s = end_ns.saturating_sub(*last_ns) as f64 / 1e9;
    let carried = |border_s: f64| {
        if border_s < gap_s * 1.1 {
            border_s
        } else {
            gap_s / 2.0
        }
    };
    let mut before_s = carried(range_s - sampled_s - after_s);
    if increase > 0.0 && *first >= 0.0 {
        before_s = before_s.min(sampled_s * (first / increase));
    }
    let covered_s = sampled_s + before_s + carried(after_s);
    increase * (covered_s / sampled_s) / range_s
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_ranks() {
        let of = |q, values: &[f64]| quantile(q, &mut values.to_vec());
        assert_eq!(of(0.5, &[4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!((of(0.0, &[2.0, 1.0]), of(1.0, &[2.0, 1.0])), (1.0, 2.0));
        assert_eq!(of(1.1, &[1.0]), f64::INFINITY);
        assert!(of(0.5, &[]).is_nan());
    }

    #[test]
    fn counters_are_carried_on_to_the_borders_but_not_below_zero() {
        let second = 1_000_000_000;
        let samples: Vec<(i64, f64)> = (0..6)
            .map(|i| ((i * 600 + 17) * second, i as f64))
            .collect();
        let rate = |n: usize, end_s: i64| {
            counter_rate(
                samples.get(..n).unwrap_or_default(),
                end_s * second,
                3600 * second,
            )
        };
        assert!((rate(6, 3600) - 0.001_658_796_296_296_296).abs() < 1e-15);
        assert!((rate(2, 1200) - 0.000_547_685_185_185_185).abs() < 1e-15);
        assert_eq!(rate(1, 600), 0.0);
        // Zero lies farther back than half a gap and nearer than the next sample would: half a gap.
        let late = [(50 * second, 8.0), (60 * second, 18.0)];
        assert_eq!(
            counter_rate(&late, 60 * second, 60 * second),
            10.0 * 1.5 / 60.0
        );
        let reset = [(0, 5.0), (second, 7.0), (2 * second, 1.0)];
        assert_eq!(counter_rate(&reset, 2 * second, 2 * second), 1.5);
    }
}
