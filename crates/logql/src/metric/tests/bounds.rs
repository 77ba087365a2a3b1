//! What evaluating may use: memory of the query, and time as long as somebody waits.

use super::*;

/// Evaluates an instant query over one series with this much memory. Nobody waits any more once a
/// leaf was read if `is_left`.
fn eval_within(query: &str, memory_bytes: u64, is_left: bool) -> EvalError {
    let left = std::cell::Cell::new(false);
    let limits = Limits {
        max_series: 0,
        split_ns: 0,
        is_cancelled: &|| left.get(),
    };
    let mut memory = Budget::new("memory", memory_bytes).reservation();
    let mut leaf = |_: &RangeAggregation| {
        left.set(is_left);
        Ok(series("a=0123456789: 0 1"))
    };
    let steps = Steps::instant(0);
    evaluate(&metric(query), steps, limits, &mut memory, &mut leaf).unwrap_err()
}

/// A query that replaces the label `a` by `replacement` so many times.
fn replaced(inner: &str, replacement: &str, times: usize) -> String {
    (0..times).fold(inner.to_owned(), |inner, _| {
        format!(r#"label_replace({inner}, "a", "{replacement}", "a", "(.*)")"#)
    })
}

#[test]
fn labels_that_grow_with_each_replacement_are_refused_before_they_are_there() {
    let tripled = replaced(L, "$1$1${1}", 50);
    let error = eval_within(&tripled, 1 << 20, false);
    assert!(matches!(error, EvalError::Memory(_)), "{error}");
    let error = eval_within(&tripled, u64::MAX, false);
    assert_eq!(
        error.to_string(),
        "label_replace makes the label a longer than 4194304 bytes; have fewer references in its \
         replacement, or shorter labels"
    );
    let long = replaced(L, &"$1".repeat(40_000), 1);
    let longer = replaced(&long, &"$1".repeat(20_000), 1);
    let error = eval_within(&longer, u64::MAX, false);
    assert!(matches!(error, EvalError::LabelTooLong { .. }), "{error}");
}

#[test]
fn whoever_leaves_while_a_leaf_is_read_ends_what_is_above_it() {
    for query in [
        "sum(L)",
        "topk(1, L)",
        "sort(L)",
        "-1 * L",
        "L + L",
        "L or L",
        r#"label_replace(L, "a", "$1", "a", "(.*)")"#,
    ] {
        let error = eval_within(&query.replace('L', L), u64::MAX, true);
        assert_eq!(error, EvalError::Cancelled, "{query}");
    }
}

#[test]
fn what_is_made_of_leaves_is_taken_from_the_memory_of_the_query() {
    let budget = Budget::new("memory", 1 << 30);
    let mut memory = budget.reservation();
    let steps = Steps::aligned(0, 10_000 * SECOND, SECOND);
    let limits = Limits {
        max_series: 0,
        split_ns: 0,
        is_cancelled: &|| false,
    };
    let query = metric("vector(1) + vector(1) + vector(1) + vector(1)");
    let mut none = |_: &RangeAggregation| Ok(Vec::new());
    let answer = evaluate(&query, steps, limits, &mut memory, &mut none).unwrap();
    let Value::Matrix(series) = answer else {
        panic!("{answer:?}")
    };
    let points: usize = series.iter().map(|one| one.points.capacity() * 16).sum();
    let held = budget.used_bytes() as usize;
    assert!((points..2 * points).contains(&held), "{held} for {points}");
    let mut little = Budget::new("memory", 200_000).reservation();
    let refused = evaluate(&query, steps, limits, &mut little, &mut none);
    assert!(matches!(refused, Err(EvalError::Memory(_))), "{refused:?}");
}
