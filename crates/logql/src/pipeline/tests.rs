//! Queries over rows, joined up.

use model::LabelSet;

use super::*;
use crate::metric::leaf_contexts;
use crate::syntax::ast::Expr;
use crate::syntax::parse;

mod properties;

const STREAM: [(&str, &str); 2] = [("app", "web"), ("env", "prod")];
/// 2026-01-15 00:00:00 UTC.
const NOW_NS: i64 = 1_768_435_200_000_000_000;

fn set(labels: &[(&str, &str)]) -> LabelSet {
    LabelSet::from_pairs(labels.iter().copied())
}

/// Line and labels of a row that passes the stages: ` | json | level="error"`.
fn row(stages: &str, line: &str, metadata: &[(&str, &str)]) -> Option<(String, String)> {
    let log = crate::syntax::parse_log(&format!("{{app=\"web\"}} {stages}")).unwrap();
    let pipeline = Pipeline::new(&log, NOW_NS).unwrap();
    let mut rows = pipeline.for_stream(&set(&STREAM));
    let metadata = set(metadata);
    // Twice, as what is remembered of the first row must not change the second.
    let first = rows.process(NOW_NS, line.as_bytes(), &metadata);
    let first = first.map(|(line, labels)| (line.into_owned(), labels.clone()));
    let (line, labels) = rows.process(NOW_NS, line.as_bytes(), &metadata)?;
    assert_eq!(first, Some((line.clone().into_owned(), labels.clone())));
    let labels = [&labels.stream, &labels.metadata, &labels.parsed].map(ToString::to_string);
    Some((
        String::from_utf8(line.into_owned()).unwrap(),
        labels.join(" "),
    ))
}

/// The labels only, and whether the line stayed.
fn labels(stages: &str, line: &str) -> String {
    let (same, labels) = row(stages, line, &[]).unwrap_or_default();
    assert!(labels.is_empty() || same == line);
    labels
}

fn passes(stages: &str, line: &str) -> bool {
    row(stages, line, &[]).is_some()
}

/// What a metric query takes of a row: value and series.
fn sample(query: &str, line: &str, metadata: &[(&str, &str)]) -> Option<Result<String, String>> {
    let Expr::Metric(expr) = parse(query).unwrap() else {
        panic!("not a metric query: {query}")
    };
    let leaves = leaf_contexts(&expr);
    let [leaf] = &leaves[..] else {
        panic!("not one leaf: {query}")
    };
    let extractor = Extractor::new(leaf.aggregation, leaf.reduce_to.as_ref(), NOW_NS).unwrap();
    let mut rows = extractor.for_stream(&set(&STREAM));
    let sample = rows.process(NOW_NS, line.as_bytes(), &set(metadata))?;
    Some(sample.map(|(value, labels)| format!("{value} {labels}")))
}

#[test]
fn keys_of_a_line_are_not_those_of_the_next() {
    let log = crate::syntax::parse_log(r#"{app="web"} | json x="a.b[0]""#).unwrap();
    let pipeline = Pipeline::new(&log, NOW_NS).unwrap();
    let mut rows = pipeline.for_stream(&set(&STREAM));
    let mut value = |line: &str| {
        let (_, labels) = rows.process(NOW_NS, line.as_bytes(), &set(&[])).unwrap();
        labels.parsed.get("x").map(ToOwned::to_owned)
    };
    assert_eq!(value(r#"{"a":{"b":[7]}}"#).as_deref(), Some("7"));
    // What is around `b` here has no key.
    assert_eq!(value(r#"{"a" {"b":[1]}}"#).as_deref(), Some(""));
}

#[test]
fn line_filters() {
    for (stages, line, expected) in [
        (r#"|= "a""#, "xay", true),
        (r#"|= "a" |= "b""#, "a", false),
        (r#"|= "a" or "b""#, "b", true),
        (r#"|= "a" or "b" or "c" or "d""#, "xd", true),
        (r#"|= "a" or "b" or "c" or "d""#, "x", false),
        (
            r#"|= "1" or "2" or "3" or "4" or "5" or "6" or "7" or "xy""#,
            "axyb",
            true,
        ),
        (
            r#"!= "1" or "2" or "3" or "4" or "5" or "6" or "7" or "xy""#,
            "ax",
            true,
        ),
        (r#"!= "a" or "b""#, "b", false),
        (r#"!= "a" or "b""#, "c", true),
        (r#"|= """#, "", true),
        (r#"!= """#, "x", false),
        (r#"|~ "a.c""#, "abc", true),
        (r#"|~ "a.c""#, "a\nc", false),
        (r#"|~ "^b$""#, "a\nb", false),
        (r#"|~ "(?i)ERR" or "x\\d""#, "an error", true),
        (r#"!~ "a+" or "b""#, "cb", false),
        (r#"|~ """#, "", true),
        (r#"|> "<_> b""#, "a b", true),
        (r#"!> "<_> b""#, "a b", false),
        (r#"|= ip("10.0.0.0/8")"#, "from 10.1.2.3 to", true),
        (r#"|= "no" or ip("10.0.0.0/8")"#, "from 10.1.2.3 to", true),
        (r#"!= ip("10.0.0.0/8")"#, "from 10.1.2.3 to", false),
    ] {
        assert_eq!(passes(stages, line), expected, "{stages} on {line:?}");
    }
}

#[test]
fn line_filters_see_the_line_of_their_place() {
    let packed = r#"{"_entry":"inner","a":"1"}"#;
    assert!(passes(r#"| unpack |= "inner" != "_entry""#, packed));
    assert!(!passes(r#"|= "plain" | unpack"#, packed));
    assert!(passes(
        r#"| decolorize |= "ERROR x""#,
        "\u{1b}[31mERROR\u{1b}[0m x"
    ));
    assert!(passes(r#"| json | a="1" |= "_entry""#, packed));
}

#[test]
fn labels_come_from_stream_metadata_and_line() {
    let of = |stages, line, metadata: &[_]| row(stages, line, metadata).unwrap().1;
    assert_eq!(of("", "x", &[]), r#"{app="web", env="prod"} {} {}"#);
    assert_eq!(
        of("", "x", &[("env", "m"), ("trace", "t")]),
        r#"{app="web", env="prod"} {env_extracted="m", trace="t"} {}"#
    );
    assert_eq!(
        of("| logfmt", "app=a trace=b c=d", &[("trace", "t")]),
        r#"{app="web", env="prod"} {trace="t"} {app_extracted="a", c="d", trace_extracted="b"}"#
    );
    assert_eq!(
        of("| label_format env=c", "x", &[("c", "d")]),
        r#"{app="web"} {} {env="d"}"#
    );
    assert_eq!(
        of(
            "| drop app, c | keep trace",
            "x",
            &[("c", "d"), ("trace", "t")]
        ),
        r#"{} {trace="t"} {}"#
    );
}

#[test]
fn parsers() {
    for (stages, line, parsed) in [
        (
            "| json",
            r#"{"a":{"b":1},"c":[1],"d":null,"e":"x"}"#,
            r#"{a_b="1", e="x"}"#,
        ),
        (
            r#"| json x="a.b[1]", y="no""#,
            r#"{"a":{"b":[1,2]}}"#,
            r#"{x="2", y=""}"#,
        ),
        ("| logfmt --keep-empty", "a b=1", r#"{a="", b="1"}"#),
        (r#"| logfmt x="b", y="z""#, "a b=1", r#"{x="1", y=""}"#),
        (
            r#"| regexp "(?P<a>\\d+) (?P<b>\\w+)""#,
            "-12 ab",
            r#"{a="12", b="ab"}"#,
        ),
        (
            r#"| pattern "<a> [<_>] <b>""#,
            "1 [2] 3",
            r#"{a="1", b="3"}"#,
        ),
        (
            "| json | logfmt",
            r#"{"a":"1"} a=2 b=3"#,
            r#"{a="1", b="3"}"#,
        ),
    ] {
        let expected = format!(r#"{{app="web", env="prod"}} {{}} {parsed}"#);
        assert_eq!(labels(stages, line), expected, "{stages} on {line}");
    }
    let (line, labels) = row("| unpack", r#"{"a":"1","_entry":"x"}"#, &[]).unwrap();
    assert_eq!((line.as_str(), labels.ends_with(r#"{a="1"}"#)), ("x", true));
}

#[test]
fn label_filters() {
    let line = r#"n=5 d=1500ms s=2KB ip=10.1.2.3 t=x bad=?"#;
    for (filter, expected) in [
        ("n > 4", true),
        ("n = 5 and d < 1s", false),
        ("n = 6 or d > 1s", true),
        ("s >= 2KB, s < 3KB", true),
        (r#"ip = ip("10.0.0.0/8")"#, true),
        (r#"ip != ip("10.0.0.0/8")"#, false),
        (r#"t =~ "x|y""#, true),
        (r#"none = """#, true),
        (r#"none != "x""#, true),
        ("none > 0", false),
        (r#"app = "web""#, true),
        ("bad > 1", true),
        ("bad > 1 | n > 5", false),
        ("n > 4KiB or s = 2KiB", true),
        (r#"t =~ """#, true),
        (r#"bad > 1 | __error__ = """#, false),
        (r#"bad > 1 | __error__ = "LabelFilterErr""#, true),
    ] {
        let stages = format!("| logfmt | {filter}");
        assert_eq!(passes(&stages, line), expected, "{filter}");
    }
}

#[test]
fn filters_are_asked_early() {
    for (stages, expected) in [
        (r#"| json | a = "5""#, false),
        ("| json | a > 5", false),
        ("| json | b > 5 | a = 1", true),
        (r#"| json | label_format a=b | a = "x""#, true),
        (r#"| json | label_format a=`{{.b}}` | a != "1""#, true),
        (r#"| json | json a="b" | a = "x""#, true),
        (r#"| json | drop a | a = "1""#, false),
        // The reference looks at what was parsed.
        (r#"| json | drop a | a = """#, false),
        (r#"| json | label_format d=a | a = """#, false),
    ] {
        let line = r#"{"a":1,"b":"x","c":"#;
        assert_eq!(passes(stages, line), expected, "{stages}");
    }
    let by = r#"sum by (x) (rate({a="b"} | logfmt | drop a | a="" [1m]))"#;
    assert!(sample(by, "a=1", &[]).is_some());
}

#[test]
fn errors_are_labels() {
    let parsed = r#"{__error__="JSONParserErr", __error_details__="Value looks like object, but can't find closing '}' symbol"}"#;
    assert_eq!(
        labels("| json", "x"),
        format!(r#"{{app="web", env="prod"}} {{}} {parsed}"#)
    );
    assert_eq!(
        labels("| json | drop __error__, __error_details__", "x"),
        r#"{app="web", env="prod"} {} {}"#
    );
    assert!(!passes(r#"| json | __error__ = """#, "x"));
}

#[test]
fn templates() {
    let line = |stages| row(stages, "a=1 b=x", &[("m", "y")]).unwrap();
    let text = |stages| line(stages).0;
    assert_eq!(
        text("| logfmt | line_format `{{.a}}-{{.m}}-{{.app}}-{{.no}}`"),
        "1-y-web-"
    );
    assert_eq!(
        text("| line_format `{{__line__}}!` | line_format `{{__line__}}?`"),
        "a=1 b=x!?"
    );
    assert_eq!(text("| line_format `{{ now | unixEpoch }}`"), "1768435200");
    assert_eq!(
        text("| json | line_format `{{.__error__}}`"),
        "JSONParserErr"
    );
    let (same, labels) = line("| line_format `{{ b64dec .b | trunc 1 }}{{ index .m 5 }}`");
    assert_eq!(same, "a=1 b=x");
    assert!(labels.contains("TemplateFormatErr"), "{labels}");
}

#[test]
fn labels_are_formatted_from_left_to_right() {
    for (format, parsed) in [
        ("c=a", r#"{b="2", c="1"}"#),
        ("c=no", r#"{a="1", b="2"}"#),
        ("a=a", r#"{b="2"}"#),
        ("c=`{{.a}}`, d=c", r#"{a="1", b="2", d="1"}"#),
        ("c=`{{.a}}`, d=`{{.c}}`", r#"{a="1", b="2", c="1", d=""}"#),
        ("c=a, d=`{{.c}}{{.a}}`", r#"{b="2", c="1", d="1"}"#),
        ("a=`{{.b}}`, b=`{{.a}}`", r#"{a="2", b="1"}"#),
    ] {
        let found = labels(&format!("| logfmt | label_format {format}"), "a=1 b=2");
        assert_eq!(
            found,
            format!(r#"{{app="web", env="prod"}} {{}} {parsed}"#),
            "{format}"
        );
    }
}

#[test]
fn lines_that_nobody_reads_are_not_formatted_for_samples() {
    let broken = "line_format `{{ index .app 99 }}`";
    for (query, fails) in [
        (format!(r#"rate({{a="b"}} | {broken} [1m])"#), false),
        (format!(r#"bytes_rate({{a="b"}} | {broken} [1m])"#), true),
        (format!(r#"rate({{a="b"}} | {broken} != "x" [1m])"#), true),
        (
            format!(r#"rate({{a="b"}} | {broken} | label_format c=`{{{{__line__}}}}` [1m])"#),
            true,
        ),
    ] {
        let sample = sample(&query, "y", &[]).unwrap();
        assert_eq!(sample.is_err(), fails, "{query}");
    }
}

#[test]
fn samples() {
    for (query, expected) in [
        (
            r#"count_over_time({a="b"}[1m])"#,
            r#"1 {app="web", env="prod", m="x"}"#,
        ),
        (
            r#"bytes_rate({a="b"}[1m])"#,
            r#"23 {app="web", env="prod", m="x"}"#,
        ),
        (r#"absent_over_time({a="b"}[1m])"#, "1 {}"),
        (r#"sum(rate({a="b"} | logfmt [1m]))"#, "1 {}"),
        (
            r#"sum by (k, app, no) (rate({a="b"} | logfmt [1m]))"#,
            r#"1 {app="web", k="v"}"#,
        ),
        (
            r#"sum by (e, k) (rate({a="b"} | logfmt --keep-empty [1m]))"#,
            r#"1 {e="", k="v"}"#,
        ),
        (
            r#"sum without (k, d, n) (rate({a="b"} | logfmt [1m]))"#,
            r#"1 {app="web", env="prod", m="x", s="1KB"}"#,
        ),
        (
            r#"sum_over_time({a="b"} | logfmt | unwrap n [1m])"#,
            r#"7 {app="web", d="90ms", env="prod", k="v", m="x", s="1KB"}"#,
        ),
        (
            r#"max_over_time({a="b"} | logfmt | unwrap duration(d) [1m]) by (k)"#,
            r#"0.09 {k="v"}"#,
        ),
        (
            r#"sum(sum_over_time({a="b"} | logfmt | unwrap bytes(s) [1m]))"#,
            "1000 {}",
        ),
        (
            r#"avg_over_time({a="b"} | logfmt | unwrap n | k="v" [1m]) without (k, app, m, d)"#,
            r#"7 {env="prod", s="1KB"}"#,
        ),
    ] {
        let found = sample(query, "n=7 k=v d=90ms s=1KB e=", &[("m", "x")]);
        assert_eq!(found, Some(Ok(expected.to_owned())), "{query}");
    }
    for query in [
        r#"sum_over_time({a="b"} | logfmt | unwrap no [1m])"#,
        r#"sum_over_time({a="b"} | logfmt | unwrap n | k="w" [1m])"#,
        r#"rate({a="b"} |= "no" [1m])"#,
    ] {
        assert_eq!(sample(query, "n=7 k=v", &[]), None, "{query}");
    }
}

#[test]
fn faults_end_metric_queries_that_did_not_ask_for_them() {
    let failed = sample(r#"rate({a="b"} | json [1m])"#, "x", &[])
        .unwrap()
        .unwrap_err();
    let series = r#"{__error__="JSONParserErr", __error_details__="Value looks like object, but can't find closing '}' symbol", app="web", env="prod"}"#;
    assert_eq!(
        failed,
        format!(
            "pipeline error: 'JSONParserErr' for series: '{series}'.\n\
             Use a label filter to intentionally skip this error. (e.g | __error__!=\"JSONParserErr\").\n\
             To skip all potential errors you can match empty errors.(e.g __error__=\"\")\n\
             The label filter can also be specified after unwrap. (e.g | unwrap latency | __error__=\"\" )"
        )
    );
    let named = r#"sum by (__error__) (rate({a="b"} | json [1m]))"#;
    let failed = sample(named, r#"{"__error__":"mine"}"#, &[])
        .unwrap()
        .unwrap_err();
    assert!(
        failed.starts_with("pipeline error: 'mine' for series: '{__error__=\"mine\"}'"),
        "{failed}"
    );
    for (query, expected) in [
        // Nobody looks at labels: the parser does not run.
        (r#"sum(rate({a="b"} | json [1m]))"#, Some("1 {}")),
        (r#"rate({a="b"} | json | __error__="" [1m])"#, None),
        (
            r#"sum_over_time({a="b"} | unwrap app | __error__="" [1m])"#,
            None,
        ),
    ] {
        let found = sample(query, "x", &[]);
        assert_eq!(found, expected.map(|text| Ok(text.to_owned())), "{query}");
    }
    let asked = r#"sum by (__error__) (rate({a="b"} | json [1m]))"#;
    assert!(
        sample(asked, "x", &[])
            .unwrap()
            .unwrap()
            .contains("JSONParserErr")
    );
    for query in [
        r#"sum(sum_over_time({a="b"} | unwrap app [1m]))"#,
        r#"min(min_over_time({a="b"} | json | unwrap app [1m]))"#,
    ] {
        assert!(sample(query, "x", &[]).unwrap().is_err(), "{query}");
    }
}

#[test]
fn labels_of_a_line_that_stages_make_too_large_are_not_set() {
    let line = "x".repeat(1 << 20);
    let error = r#"__error__="LabelsTooLargeErr""#;
    let formats: Vec<String> = (0..200)
        .map(|at| format!("a{at}=`{{{{__line__}}}}`"))
        .collect();
    let one_stage = format!("| label_format {}", formats.join(", "));
    let many_stages = "| label_format a=`{{.a}}{{__line__}}`".repeat(40);
    for stages in [one_stage, many_stages] {
        let found = labels(&stages, &line);
        assert!(
            found.len() < 12 << 20 && found.contains(error),
            "{}",
            found.len()
        );
    }
    let found = labels("| label_format a=`{{__line__}}`, b=`{{__line__}}`", &line);
    assert!(!found.contains("__error__"));
}
