//! The engine on its own.

use std::sync::Arc;

use model::{Budget, Label, LabelSet};

use super::{EvalError, Limits, RangeAccumulator, Series, Steps, Value, evaluate, leaf_contexts};
use crate::syntax::ast::{Expr, MetricExpr, RangeAggregation, RangeOp};
use crate::syntax::parse;

mod bounds;
mod windows;

const SECOND: i64 = 1_000_000_000;

fn metric(query: &str) -> MetricExpr {
    match parse(query) {
        Ok(Expr::Metric(expr)) => expr,
        other => panic!("{query}: {other:?}"),
    }
}

fn budget() -> Arc<Budget> {
    Budget::new("test", 1 << 30)
}

fn labels(text: &str) -> LabelSet {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    LabelSet::keeping_empty(pairs.map(|(name, value)| Label {
        name: name.into(),
        value: value.into(),
    }))
}

/// Series as `labels: time value, ...`, times in seconds.
fn series(text: &str) -> Vec<Series> {
    let one = |line: &str| {
        let (set, points) = line.split_once(':').unwrap_or((line, ""));
        let points = points.split(',').filter_map(|point| {
            let (time, value) = point.trim().split_once(' ')?;
            Some((time.parse::<i64>().ok()? * SECOND, value.parse().ok()?))
        });
        Series {
            labels: labels(set.trim().replace(' ', ",").as_str()),
            points: points.collect(),
        }
    };
    text.split(';')
        .filter(|line| !line.trim().is_empty())
        .map(one)
        .collect()
}

fn show(series: &[Series]) -> String {
    let one = |series: &Series| {
        let points: Vec<String> = series
            .points
            .iter()
            .map(|(time, value)| format!("{} {value}", time / SECOND))
            .collect();
        let set: Vec<String> = series
            .labels
            .iter()
            .map(|label| format!("{}={}", label.name, label.value))
            .collect();
        format!("{}: {}", set.join(" "), points.join(", "))
    };
    series.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// Evaluates a query whose leaves have these series, at 0, 1 and 2 seconds.
fn eval(query: &str, leaves: &[&str]) -> Result<String, EvalError> {
    let steps = Steps {
        start_ns: 0,
        end_ns: 2 * SECOND,
        step_ns: SECOND,
    };
    let mut next = leaves.iter();
    let mut leaf =
        |_: &RangeAggregation| Ok(next.next().map_or_else(Vec::new, |text| series(text)));
    let limits = Limits {
        max_series: 4,
        split_ns: 0,
        is_cancelled: &|| false,
    };
    let mut memory = Budget::new("memory", 1 << 20).reservation();
    match evaluate(&metric(query), steps, limits, &mut memory, &mut leaf)? {
        Value::Matrix(found) => Ok(show(&found)),
        Value::Scalar(points) => Ok(format!("{points:?}")),
    }
}

const L: &str = "count_over_time({a=\"b\"}[1s])";

#[test]
fn vector_aggregations_work_per_group_and_step() {
    let leaf = "a=x b=1: 0 1, 1 5; a=x b=2: 0 3; a=y b=1: 0 NaN, 2 7";
    for (query, expected) in [
        ("sum by (a) (L)", "a=x: 0 4, 1 5; a=y: 0 NaN, 2 7"),
        ("sum without (a) (L)", "b=1: 0 NaN, 1 5, 2 7; b=2: 0 3"),
        ("max(L)", ": 0 3, 1 5, 2 7"),
        ("min(L)", ": 0 1, 1 5, 2 7"),
        ("count(L)", ": 0 3, 1 1, 2 1"),
        ("avg by (a) (L)", "a=x: 0 2, 1 5; a=y: 0 NaN, 2 7"),
        ("stdvar by (a) (L)", "a=x: 0 1, 1 0; a=y: 0 NaN, 2 0"),
        ("topk(1, L)", "a=x b=1: 1 5; a=x b=2: 0 3; a=y b=1: 2 7"),
        (
            "bottomk by (a) (1, L)",
            "a=x b=1: 0 1, 1 5; a=y b=1: 0 NaN, 2 7",
        ),
    ] {
        assert_eq!(
            eval(&query.replace('L', L), &[leaf]).as_deref(),
            Ok(expected),
            "{query}"
        );
    }
}

#[test]
fn numbers_apply_to_every_point() {
    let leaf = "a=x: 0 1, 1 2, 2 3";
    for (query, expected) in [
        ("L * 2", "a=x: 0 2, 1 4, 2 6"),
        ("10 - L", "a=x: 0 9, 1 8, 2 7"),
        ("L > 1", "a=x: 1 2, 2 3"),
        ("2 > L", "a=x: 0 1"),
        ("L >= bool 2", "a=x: 0 0, 1 1, 2 1"),
        ("L / 0", "a=x: 0 NaN, 1 NaN, 2 NaN"),
        ("vector(3) > 5", ""),
    ] {
        assert_eq!(
            eval(&query.replace('L', L), &[leaf]).as_deref(),
            Ok(expected),
            "{query}"
        );
    }
    assert_eq!(
        eval("2 + 3", &[]).as_deref(),
        Ok("[(0, 5.0), (1000000000, 5.0), (2000000000, 5.0)]")
    );
}

#[test]
fn operators_match_series() {
    let left = "a=x b=1: 0 2, 1 3; a=x b=2: 0 4; a=y b=1: 0 6";
    let right = "a=x: 0 2, 1 1; a=z: 0 1";
    let of = |query: &str| eval(&query.replace('L', L), &[left, right]);
    for (query, expected) in [
        ("L + L", ""),
        ("L / on (a) group_left L", "a=x b=1: 0 1, 1 3; a=x b=2: 0 2"),
        (
            "L > ignoring (b) group_left L",
            "a=x b=1: 1 3; a=x b=2: 0 4",
        ),
        ("L and on (a) L", "a=x b=1: 0 2, 1 3; a=x b=2: 0 4"),
        ("L unless on (a) L", "a=y b=1: 0 6"),
        (
            "topk(1, L) or on (a) L",
            "a=x: 0 2; a=y b=1: 0 6; a=x b=1: 1 3; a=z: 0 1",
        ),
    ] {
        let mut found: Vec<String> = of(query)
            .into_iter()
            .flat_map(|text| text.split("; ").map(str::to_owned).collect::<Vec<_>>())
            .collect();
        let mut wanted: Vec<&str> = expected.split("; ").collect();
        found.sort();
        wanted.sort_unstable();
        assert_eq!(found, wanted, "{query}");
    }
    for query in ["sum(1)", "max(sum(1))", "L + count(1)"] {
        assert_eq!(of(query), Err(EvalError::NoSelector), "{query}");
    }
    for query in ["max(1)", "sum(min(1))", "topk(1, 2)"] {
        assert_eq!(of(query), Err(EvalError::UnexpectedLiteral), "{query}");
    }
    assert_eq!(of("L / on (a) L"), Err(EvalError::ImplicitManyToOne));
    assert_eq!(
        eval(&"L / on (a) group_right L".replace('L', L), &[left, right]),
        Err(EvalError::ManyToMany { side: "left" })
    );
    assert_eq!(
        eval(
            &"L / on (a) group_left (b) L".replace('L', L),
            &[left, "a=x b=9: 0 1"]
        ),
        Err(EvalError::AmbiguousGrouping)
    );
    assert_eq!(
        eval(
            &"L * on (a) group_right (c) L".replace('L', L),
            &["a=x c=d: 0 2", "a=x b=1: 0 3"]
        )
        .as_deref(),
        Ok("a=x b=1 c=d: 0 6")
    );
}

#[test]
fn labels_are_replaced() {
    let query = |arguments: &str| format!("label_replace({L}, {arguments})");
    let leaf = "a=xy: 0 1; a=z: 0 2";
    for (arguments, expected) in [
        (r#""n", "<$1>", "a", "x(.*)""#, "a=xy n=<y>: 0 1; a=z: 0 2"),
        (r#""a", "", "a", ".*""#, ": 0 1, 0 2"),
        (r#""n", "$$", "none", """#, "a=xy n=$: 0 1; a=z n=$: 0 2"),
    ] {
        assert_eq!(
            eval(&query(arguments), &[leaf]).as_deref(),
            Ok(expected),
            "{arguments}"
        );
    }
}

#[test]
fn too_many_series_are_refused_where_they_reach_the_client() {
    let leaf = "a=1: 0 1; a=2: 0 1; a=3: 0 1; a=4: 0 1; a=5: 0 1";
    let refused = Err(EvalError::TooManySeries { limit: 4 });
    assert_eq!(eval(L, &[leaf]), refused);
    assert_eq!(eval(&format!("topk(1, {L})"), &[leaf]), refused);
    assert_eq!(eval(&format!("stddev({L})"), &[leaf]), refused);
    assert_eq!(eval(&format!("sum({L})"), &[leaf]).as_deref(), Ok(": 0 5"));
    assert_eq!(
        eval(&format!("sum({L} + 1)"), &[leaf]).as_deref(),
        Ok(": 0 10")
    );
}

#[test]
fn labels_without_a_value_are_lost_where_labels_are_made_anew() {
    let leaf = "a=1 k=: 0 1; a=2 k=: 0 3";
    for (query, expected) in [
        (L.to_owned(), "a=1 k=: 0 1; a=2 k=: 0 3"),
        (format!("{L} + 1"), "a=1 k=: 0 2; a=2 k=: 0 4"),
        (format!("max by (k) ({L})"), "k=: 0 3"),
        (format!("max without (a) ({L})"), ": 0 3"),
        (format!("avg by (k) ({L})"), ": 0 2"),
        (format!("sum without () ({L})"), "a=1: 0 1; a=2: 0 3"),
        (
            format!("{L} and on (k) vector(1)"),
            "a=1 k=: 0 1; a=2 k=: 0 3",
        ),
        (
            format!("{L} * on (k) group_left vector(2)"),
            "a=1: 0 2; a=2: 0 6",
        ),
    ] {
        assert_eq!(eval(&query, &[leaf]).as_deref(), Ok(expected), "{query}");
    }
}

#[test]
fn leaves_say_what_they_can_be_reduced_to() {
    let expr = metric(
        r#"sum by (x) (rate({a="1"}[1m])) / max(count_over_time({a="2"}[1m])) or min(min_over_time({a="3"} | unwrap v [1m]))"#,
    );
    let found: Vec<_> = leaf_contexts(&expr)
        .into_iter()
        .map(|leaf| leaf.reduce_to)
        .collect();
    let texts: Vec<String> = found
        .iter()
        .map(|by| by.as_ref().map_or("all".to_owned(), ToString::to_string))
        .collect();
    assert_eq!(texts, [" by (x)", "all", " by ()"]);
}

#[test]
fn a_leaf_as_a_query_of_its_own_is_the_same_leaf() {
    for query in [
        r#"rate({a="1"}[1m])"#,
        r#"sum without (x) (rate({a="1"} | json [1m]))"#,
        r#"sum without () (rate({a="1"}[1m]))"#,
        r#"sum(bytes_over_time({a="1"}[1m])) / 2"#,
        r#"max by (x) (max_over_time({a="1"} | unwrap v [1m]))"#,
        r#"avg(avg_over_time({a="1"} | unwrap v [1m]) by (y))"#,
    ] {
        let expr = metric(query);
        for leaf in leaf_contexts(&expr) {
            let alone = metric(&leaf.to_expr().to_string());
            let [again] = &leaf_contexts(&alone)[..] else {
                panic!("{query}")
            };
            assert_eq!(again.aggregation, leaf.aggregation, "{query}");
            assert_eq!(again.reduce_to, leaf.reduce_to, "{query}");
        }
    }
}

#[test]
fn memory_is_reserved_and_given_back() {
    let small = Budget::new("small", 4_000);
    let expr = r#"quantile_over_time(0.5, {a="b"} | unwrap x [5m])"#;
    let MetricExpr::Range(range) = metric(expr) else {
        panic!()
    };
    let steps = Steps::instant(300 * SECOND);
    let mut accumulator = RangeAccumulator::new(&range, steps, small.reservation());
    let id = accumulator.series(&labels("a=b")).unwrap();
    let refused = (0..1000).find_map(|i| accumulator.add(id, i * SECOND / 10, 1.0).err());
    assert_eq!(refused.map(|error| error.name), Some("small"));
    drop(accumulator);
    assert_eq!(small.used_bytes(), 0);
}

#[test]
fn sums_stand_for_samples_between_cuts() {
    let query = |op: &str, stages: &str, range_s: i64| {
        let query = format!(r#"{op}({{a="b"}} {stages} [{range_s}s])"#);
        let MetricExpr::Range(range) = metric(&query) else {
            panic!()
        };
        let steps = Steps {
            start_ns: 10 * SECOND,
            end_ns: 30 * SECOND,
            step_ns: 5 * SECOND,
        };
        RangeAccumulator::new(&range, steps, budget().reservation())
    };
    let cuts = |sum: &RangeAccumulator, min_s: i64, max_s: i64, most: usize| {
        let cuts = sum.cuts(min_s * SECOND, max_s * SECOND, most)?;
        Some(cuts.iter().map(|cut| cut / SECOND).collect::<Vec<_>>())
    };
    let mut sum = query("count_over_time", "", 10);
    assert_eq!(cuts(&sum, 11, 15, 1), Some(vec![15]));
    assert_eq!(cuts(&sum, 10, 15, 1), None, "too many");
    assert_eq!(
        cuts(&sum, -9, 40, 9),
        Some(vec![0, 5, 10, 15, 20, 25, 30, 40])
    );
    let short = query("rate", "", 2);
    assert_eq!(cuts(&short, 11, 21, 9), Some(vec![13, 15, 18, 20, 21]));
    assert_eq!(
        cuts(&query("max_over_time", "| unwrap x", 2), 11, 12, 9),
        None
    );
    let value_cuts = |op| query(op, "| unwrap x", 2).value_cuts(11 * SECOND, 12 * SECOND, 9);
    assert_eq!(value_cuts("max_over_time"), Some(vec![12 * SECOND]));
    assert_eq!(value_cuts("last_over_time"), None);
    let id = sum.series(&labels("a=b")).unwrap();
    sum.add(id, 15 * SECOND, 7.0).unwrap();
    sum.add(id, 40 * SECOND, 7.0).unwrap();
    let (found, _) = sum.finish(&|| false).unwrap();
    assert_eq!(show(&found), "a=b: 15 7, 20 7");
}

#[test]
fn of_samples_of_one_time_it_does_not_matter_which_are_added_first() {
    let steps = Steps {
        start_ns: SECOND,
        end_ns: SECOND,
        step_ns: SECOND,
    };
    // Streams, whether these samples are recent, and samples in the order in which they were pushed.
    let given = [
        (4, true, [5.0, 6.0]),
        (2, false, [1.0, 2.0]),
        (4, false, [3.0, 4.0]),
    ];
    for (function, expected) in [("first_over_time", 1.0), ("last_over_time", 6.0)] {
        let MetricExpr::Range(aggregation) =
            metric(&format!(r#"{function}({{a="b"}} | unwrap c [10s])"#))
        else {
            panic!("{function} is a range aggregation");
        };
        for first in 0..given.len() {
            let new = || RangeAccumulator::new(&aggregation, steps, budget().reservation());
            let mut sum = new();
            for (stream, is_recent, values) in given[first..].iter().chain(&given[..first]) {
                let mut part = new();
                let id = part.series(&labels("a=b")).unwrap();
                part.take_from(*stream, *is_recent);
                part.add_all(id, &[SECOND; 2], values).unwrap();
                sum.merge(part).unwrap();
            }
            let (series, _) = sum.finish(&|| false).unwrap();
            assert_eq!(series[0].points, [(SECOND, expected)], "{function} {first}");
        }
    }
}

#[test]
fn absence_has_the_selector_s_labels() {
    let MetricExpr::Range(range) = metric(r#"absent_over_time({a="b", c=~"d", e="f", e="g"}[1s])"#)
    else {
        panic!()
    };
    let steps = Steps {
        start_ns: 0,
        end_ns: 3 * SECOND,
        step_ns: SECOND,
    };
    let mut accumulator = RangeAccumulator::new(&range, steps, budget().reservation());
    let id = accumulator.series(&labels("z=y")).unwrap();
    accumulator.add(id, SECOND, 0.0).unwrap();
    let (found, _) = accumulator.finish(&|| false).unwrap();
    assert_eq!(show(&found), "a=b: 0 1, 2 1, 3 1");
    let empty = RangeAccumulator::new(&range, steps, budget().reservation());
    assert_eq!(empty.finish(&|| false).unwrap().0.len(), 1);
}

#[test]
fn a_query_that_nobody_waits_for_is_not_computed() {
    let steps = Steps::instant(0);
    let limits = Limits {
        max_series: 0,
        split_ns: 0,
        is_cancelled: &|| true,
    };
    let mut memory = Budget::new("memory", 1 << 20).reservation();
    let mut asked = 0;
    let mut leaf = |_: &RangeAggregation| {
        asked += 1;
        Ok(Vec::new())
    };
    let query = metric(&format!("sum({L}) + vector(1)"));
    assert_eq!(
        evaluate(&query, steps, limits, &mut memory, &mut leaf),
        Err(EvalError::Cancelled)
    );
    assert_eq!(asked, 0);
}

#[test]
fn replacements_are_filled_in_as_a_whole() {
    for (replacement, expected) in [
        ("$1", "x"),
        ("$1$1", "xx"),
        ("${1}y$1", "xyx"),
        ("$$1", "$1"),
        ("$$$1", "$x"),
        ("$n-${n}$", "x-x$"),
        ("${n$1}", ""),
        ("${", "${"),
        ("é$1é", "éxé"),
    ] {
        let query = format!("label_replace(L, \"b\", \"{replacement}\", \"a\", \"(?P<n>.*)\")");
        let found = eval(&query.replace('L', L), &["a=x: 0 1"]).unwrap();
        let label = match expected {
            "" => String::new(),
            text => format!(" b={text}"),
        };
        assert_eq!(found, format!("a=x{label}: 0 1"), "{replacement}");
    }
}
