//! What structured blocks tell without putting lines together is what the pipeline says about every
//! line.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in tests a failure is a panic"
)]

mod compare;

use compare::{Row, by_rows, lines_by_rows, lines_pushed_down, overlapping, pushed_down, sources};
use model::{Direction, LabelSet, TimeRange};
use proptest::prelude::*;
use proptest::sample::select;

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        select(vec![
            "200", "404", "500", "-1", "12.5", "007", "1e3", "3ms", "true", "null", ""
        ])
        .prop_map(str::to_owned),
        select(vec![
            "GET",
            "get",
            "error",
            "connection refused",
            "a=b",
            "x\\\"y",
            "é",
            "k s"
        ])
        .prop_map(str::to_owned),
        "[a-c]{0,2}",
        (0..1000u32).prop_map(|n| n.to_string()),
        (0..3u8).prop_map(|n| format!("10.0.0.{n}")),
        any::<u32>().prop_map(|n| format!("{n:08x}{n:08x}")),
    ]
}

/// A line of a few layouts; each has fields that some queries read.
fn line() -> impl Strategy<Value = String> {
    let key = || {
        select(vec![
            "status", "method", "msg", "a", "a_b", "level", "dur", "app",
        ])
    };
    let pairs = || prop::collection::vec((key(), value()), 0..6);
    let is_bare = |value: &str| {
        let number = value.parse::<f64>().is_ok() && !value.starts_with('0');
        number || value == "true" || value == "null"
    };
    let member = move |(key, value): &(&str, String)| match is_bare(value) {
        true => format!("\"{key}\":{value}"),
        false => format!("\"{key}\": \"{value}\""),
    };
    let json = (pairs(), pairs(), 0..4u8).prop_map(move |(outer, inner, form)| {
        let join =
            |pairs: &[(&str, String)]| pairs.iter().map(member).collect::<Vec<_>>().join(",");
        match form {
            0 => format!("{{{},\"a\":{{{}}}}}", join(&outer), join(&inner)),
            1 => format!("{{\"list\":[1,{{{}}}],{}", join(&inner), join(&outer)),
            _ => format!("{{{}}}", join(&outer)),
        }
    });
    let pair = move |(key, value): &(&str, String)| {
        let is_word = !value.contains([' ', '"', '\\']);
        if is_word {
            format!("{key}={value}")
        } else {
            format!("{key}=\"{value}\"")
        }
    };
    let logfmt = (pairs(), any::<bool>()).prop_map(move |(pairs, odd)| {
        let all = pairs.iter().map(pair).collect::<Vec<_>>().join(" ");
        if odd { format!("{all} odd, 5 =x") } else { all }
    });
    let text = prop::collection::vec(value(), 0..5).prop_map(|words| words.join(" "));
    prop_oneof![3 => json, 3 => logfmt, 2 => text]
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let metadata = prop_oneof![
        6 => Just(LabelSet::default()),
        1 => select(vec!["info", "error"]).prop_map(|v| LabelSet::from_pairs([("detected_level", v)])),
        1 => select(vec!["500", "x"]).prop_map(|v| LabelSet::from_pairs([("status", v)])),
    ];
    // Lines are taken from a few, so that templates and values come again.
    let few = prop::collection::vec(line(), 1..8);
    let picks = prop::collection::vec((0..3i64, any::<prop::sample::Index>(), metadata), 1..80);
    (few, picks, prop::collection::vec(line(), 0..6)).prop_map(|(few, picks, more)| {
        let mut time = 0;
        let picked = picks.into_iter().map(|(delta, index, metadata)| {
            time += delta;
            (time, few[index.index(few.len())].clone(), metadata)
        });
        let mut rows: Vec<_> = picked.collect();
        for line in more {
            time += 1;
            rows.push((time, line, LabelSet::default()));
        }
        rows
    })
}

fn line_filters() -> impl Strategy<Value = String> {
    let literal = select(vec![
        "error",
        "GET",
        "status",
        "500",
        "\\\"status\\\":5",
        "a=b",
        "=",
        " ",
        "10.0.0.1",
        "refused",
        "ab",
        "é",
    ]);
    let filter = prop_oneof![
        (select(vec!["|=", "!="]), literal.clone())
            .prop_map(|(op, text)| format!("{op} \"{text}\"")),
        (literal.clone(), literal).prop_map(|(a, b)| format!("|= \"{a}\" or \"{b}\"")),
        select(vec![
            "|~ `(?i)get|ERROR`",
            "!~ `(?i)ks`",
            "|~ `status.*(200|404)`",
            "|~ `[0-9]{3}`",
            "|~ `\"?status`",
            "!~ `^a`",
            "|~ `(?i)K S`",
            "|> `<_>status<_>`",
            "|~ `connection (refused|reset)`",
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(filter, 0..3).prop_map(|filters| filters.join(" "))
}

fn parsers() -> impl Strategy<Value = String> {
    select(vec![
        "",
        "",
        "",
        "| json",
        "| json",
        "| logfmt",
        "| logfmt",
        "| logfmt --strict",
        "| logfmt --keep-empty",
        "| json s=\"status\"",
        "| json | logfmt",
        "| regexp `status.(?P<status>[0-9]+)`",
        "| decolorize",
    ])
    .prop_map(str::to_owned)
}

fn label_filters() -> impl Strategy<Value = String> {
    let filter = select(vec![
        "| status >= 300",
        "| status=\"500\"",
        "| method=~\"GET|get\"",
        "| a_b != \"\"",
        "| dur > 10ms",
        "| level=\"error\" or status > 400",
        "| app_extracted=\"a\"",
        "| drop status",
        "| keep method, status",
        "| __error__=\"\"",
        "| detected_level=\"error\"",
        "| a_status=\"500\"",
    ]);
    prop::collection::vec(filter, 0..3).prop_map(|filters| filters.join(" "))
}

fn metric_query() -> impl Strategy<Value = String> {
    let around = select(vec![
        ("sum(", ")"),
        ("sum by (method)(", ")"),
        ("sum by (status, app)(", ")"),
        ("sum by (detected_level)(", ")"),
        ("sum without (a)(", ")"),
        ("", ""),
        ("max by (a_b)(", ")"),
        ("sum by (app_extracted)(", ")"),
    ]);
    let op = select(vec!["count_over_time", "rate", "bytes_over_time"]);
    let unwrap = select(vec![
        "",
        "",
        "| unwrap status",
        "| unwrap duration(dur) | __error__=\"\"",
    ]);
    (
        around,
        op,
        line_filters(),
        parsers(),
        label_filters(),
        unwrap,
    )
        .prop_map(|((open, close), op, lines, parser, labels, unwrap)| {
            let op = if unwrap.is_empty() {
                op
            } else {
                "sum_over_time"
            };
            format!("{open}{op}({{app=\"web\"}} {lines} {parser} {labels} {unwrap} [1m]){close}")
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn samples_are_those_of_every_row(
        rows in rows(),
        queries in prop::collection::vec(metric_query(), 8),
        (start, len) in (0..20i64, 1..200i64),
    ) {
        let range = TimeRange::new(start, start + len);
        let sources = sources(&rows);
        for query in &queries {
            let expected = by_rows(query, &rows, range);
            for (number, source) in sources.iter().enumerate() {
                let found = pushed_down(query, std::slice::from_ref(source), range);
                prop_assert_eq!(&found, &expected, "{} in source {}", query, number);
            }
        }
        let mut rows = rows;
        let sources = overlapping(&mut rows);
        for query in &queries {
            let expected = by_rows(query, &rows, range);
            let found = pushed_down(query, &sources, range);
            prop_assert_eq!(&found, &expected, "{} in two blocks", query);
        }
    }

    #[test]
    fn lines_are_those_of_every_row(
        rows in rows(),
        stages in prop::collection::vec((line_filters(), parsers(), label_filters()), 6),
        limit in 0..6usize,
        direction in select(vec![Direction::Forward, Direction::Backward]),
    ) {
        let mut once = rows.clone();
        let (sources, two) = (sources(&rows), overlapping(&mut once));
        for (lines, parser, labels) in &stages {
            let log = format!("{{app=\"web\"}} {lines} {parser} {labels}");
            let expected = |rows: &[Row]| {
                let mut expected = lines_by_rows(&log, rows);
                if direction == Direction::Backward {
                    expected.reverse();
                }
                if limit > 0 {
                    expected.truncate(limit);
                }
                expected
            };
            let found = lines_pushed_down(&log, &two, direction, limit);
            prop_assert_eq!(found, expected(&once), "{} in two blocks", log);
            let expected = expected(&rows);
            for (number, source) in sources.iter().enumerate() {
                let found = lines_pushed_down(&log, std::slice::from_ref(source), direction, limit);
                prop_assert_eq!(&found, &expected, "{} in source {}", log, number);
            }
        }
    }
}
