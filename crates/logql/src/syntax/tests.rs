//! Tables for the language, and properties: what is printed parses to the same tree; nothing
//! panics.

mod trees;
mod words;

use proptest::prelude::*;

use self::trees::{log_expr, metric_expr};
use super::ast::*;
use super::{MAX_QUERY_BYTES, parse, parse_log, parse_selector, parse_unbuilt, pretty};

fn error(query: &str) -> String {
    match parse(query) {
        Ok(expr) => panic!("{query} should be refused but is {expr}"),
        Err(error) => error.to_string(),
    }
}

fn printed(query: &str) -> String {
    parse(query).map_or_else(|error| panic!("{query}: {error}"), |expr| expr.to_string())
}

#[test]
fn everything_prints_as_loki_prints_it() {
    for (query, text) in [
        ("{app=`ramp`,x!~\"y\"}", r#"{app="ramp", x!~"y"}"#),
        ("({a=\"b\"})", r#"{a="b"}"#),
        (
            r#"{a="b"}|="x"!="y" or "z"|~"r"!~"s"|> "<_>"!>"p"|=ip("::1")"#,
            r#"{a="b"} |= "x" != "y" != "z" |~ "r" !~ "s" |> "<_>" !> "p" |= ip("::1")"#,
        ),
        (
            r#"{a="b"} | JSON a="x.y", b | logfmt --keep-empty --strict | unpack | decolorize"#,
            r#"{a="b"} | json a="x.y",b="b" | logfmt --strict --keep-empty | unpack | decolorize"#,
        ),
        (
            r#"{a="b"} | regexp "(?P<x>.)" | pattern "<y> z" | line_format "{{.a}}" | label_format x=y, z="w""#,
            r#"{a="b"} | regexp "(?P<x>.)" | pattern "<y> z" | line_format "{{.a}}" | label_format x=y,z="w""#,
        ),
        (
            r#"{a="b"} | drop a, b="x" | keep c, d=~"e""#,
            r#"{a="b"} | drop a,b="x" | keep c,d=~"e""#,
        ),
        (
            r#"{a="b"} | n > 1e3 | d <= 1d | s == 2KB | i != ip("10.0.0.0/8") | t=~"x" | m=-5"#,
            r#"{a="b"} | n>1000 | d<=24h0m0s | s==2.0kB | i!=ip("10.0.0.0/8") | t=~"x" | m==-5"#,
        ),
        (
            r#"sum_over_time({a="b"}[5m] offset -1m | json | unwrap bytes(x) | y > 5)"#,
            r#"sum_over_time({a="b"} | json | unwrap bytes(x) | y>5[5m] offset -1m0s)"#,
        ),
        (
            r#"rate(({a="b"} |= "x")[90m])"#,
            r#"rate({a="b"} |= "x"[1h30m])"#,
        ),
        (r#"rate((({a="b"}[1d])))"#, r#"rate({a="b"}[1d])"#),
        (
            r#"quantile_over_time(.99, {a="b"} | unwrap x [5m]) without (c)"#,
            r#"quantile_over_time(0.99,{a="b"} | unwrap x[5m]) without (c)"#,
        ),
        (
            r#"TOPK(5, sum(rate({a="b"}[5m])) BY (x)) by ()"#,
            r#"topk(5,sum by (x)(rate({a="b"}[5m])))"#,
        ),
        (
            r#"vector(1) + on (a,b) group_right (c) vector(2) * vector(3)"#,
            "(vector(1.000000) + on (a,b) group_right (c) (vector(2.000000) * vector(3.000000)))",
        ),
        ("1 + 2 * 3 ^ 2 ^ -1 - 7 % 4 > bool 1", "1"),
        (
            "vector(2)^vector(3)^vector(4)",
            "(vector(2.000000) ^ (vector(3.000000) ^ vector(4.000000)))",
        ),
        (
            r#"label_replace(vector(0.0000001),"a","$1","b","(.*)")"#,
            r#"label_replace(vector(0.0000001),"a","$1","b","(.*)")"#,
        ),
        (
            "vector(1) or vector(2) and vector(3) unless vector(4) == vector(5) - vector(6)",
            "(vector(1.000000) or ((vector(2.000000) and vector(3.000000)) unless (vector(4.000000) == (vector(5.000000) - vector(6.000000)))))",
        ),
    ] {
        assert_eq!(printed(query), text, "{query}");
    }
}

#[test]
fn label_filters_group_as_in_the_reference() {
    for (filter, text) in [
        ("a=1 or b=2 and c=3", "( a==1 or ( b==2 , c==3 ) )"),
        ("a=1 and b=2 or c=3", "( ( a==1 , b==2 ) or c==3 )"),
        ("a=1 , b=2 or c=3", "( a==1 , ( b==2 or c==3 ) )"),
        ("a=1 b=2 or c=3", "( a==1 , ( b==2 or c==3 ) )"),
        ("a=1 or b=2 c=3", "( a==1 or ( b==2 , c==3 ) )"),
        ("(a=1 or b=2) and c=3", "( ( a==1 or b==2 ) , c==3 )"),
        ("a=1 and b=2 and c=3", "( ( a==1 , b==2 ) , c==3 )"),
    ] {
        assert_eq!(
            printed(&format!("{{x=\"y\"}} | {filter}")),
            format!("{{x=\"y\"}} | {text}")
        );
    }
}

#[test]
fn syntax_errors_have_the_reference_s_places() {
    for (query, place) in [
        (" ", (1, 2)),
        ("\n", (2, 1)),
        (r#"{app="ramp"} | jsn"#, (1, 19)),
        (r#"{app=="ramp"}"#, (0, 5)),
        (r#"{app="ramp",}"#, (1, 13)),
        (r#"{app="ramp"} | json | by="x""#, (1, 23)),
        (r#"{app="ramp"} |= "a" or"#, (1, 23)),
        (r#"{app="ramp"} ||= "x""#, (0, 15)),
        (r#"rate({app="ramp"})"#, (1, 18)),
        (r#"rate({app="ramp"}[5m] offset)"#, (1, 29)),
        (r#"sort({app="ramp"})"#, (1, 18)),
        ("topk(1, 2, vector(1))", (1, 10)),
        (r#"{app="ramp"} | logfmt --foo"#, (1, 25)),
        (r#"{app="ramp"} | status=500;"#, (1, 27)),
        (r#"{app="ramp}"#, (1, 6)),
        (r#"{app="ramp"} # c"#, (0, 0)),
        // Stray characters are names to the grammar, and no names to what reads selectors again.
        (r#"{@app="ramp"}"#, (1, 3)),
        (r#"{@="ramp"}"#, (1, 2)),
        (r#"{app="ramp"} | logfmt @ json"#, (1, 25)),
        (r#"{app="ramp"} | logfmt @"#, (1, 23)),
        (r#"sum(rate({app="ramp", é="x"}[5m]))"#, (1, 14)),
        // Nobody looks at the lines of this one.
        (r#"rate({app="ramp"} | line_format "{{" [5m])"#, (0, 0)),
    ] {
        match parse(query) {
            Ok(_) => assert_eq!(place, (0, 0), "{query}"),
            Err(error) => assert_eq!((error.line, error.column), place, "{query}: {error}"),
        }
    }
    assert_eq!(error(""), "parse error : syntax error: unexpected $end");
}

#[test]
fn behind_a_selector_that_breaks_off_faults_of_meaning_are_found() {
    let regexp =
        "parse error : invalid regexp parser: error parsing regexp: missing closing ): `(`";
    for (query, text) in [
        (r#"rate({a="b",} | regexp "("[5m])"#, regexp),
        (
            r#"sum(rate({a="b" c="d"} | json | regexp "(" [5m])) by ("#,
            regexp,
        ),
        (r#"rate(({a="b", by="c"} | regexp "(")[5m])"#, regexp),
        (r#"{a="b" | regexp "(""#, regexp),
        (r#"rate({a="b",}) + rate({c="d"} | regexp "("[5m])"#, regexp),
        (
            r#"rate({a="b",}[5m]) + rate({c="d",} | regexp "("[5m])"#,
            regexp,
        ),
        // Without another fault, with one of the same kind, and where nothing can follow.
        (
            r#"rate({a="b",} | json [5m])"#,
            "parse error at line 1, col 13: syntax error: unexpected }, expecting IDENTIFIER",
        ),
        (
            r#"rate({a="b";} | nosuch [5m])"#,
            "parse error at line 1, col 12: syntax error: unexpected IDENTIFIER, expecting } or ,",
        ),
        (
            r#"{a="b",} | regexp "(""#,
            "parse error at line 1, col 8: syntax error: unexpected }, expecting IDENTIFIER",
        ),
        (
            r#"rate({a} | regexp "("[5m])"#,
            "parse error at line 1, col 8: syntax error: unexpected }, expecting = or =~ or !~ or !=",
        ),
        (
            r#"rate({a="b",}"#,
            "parse error at line 1, col 13: syntax error: unexpected }, expecting IDENTIFIER",
        ),
    ] {
        assert_eq!(error(query), text, "{query}");
    }
}

#[test]
fn behind_a_selector_that_breaks_off_nothing_is_looked_for_beyond_what_is_no_token() {
    for (query, text) in [
        (r#"rate({a=""" x"#, "col 11: literal not terminated"),
        (
            r#"sum(rate({a="b" /* [5m]))"#,
            "col 17: comment not terminated",
        ),
        (
            r#"rate({a="b" "c" 'd"#,
            "col 13: syntax error: unexpected STRING, expecting } or ,",
        ),
    ] {
        assert_eq!(
            error(query),
            format!("parse error at line 1, {text}"),
            "{query}"
        );
    }
}

#[test]
fn faults_of_meaning_have_loki_s_words() {
    for (query, text) in [
        ("{a=~\"(\"}", "error parsing regexp: missing closing ): `(`"),
        (
            r#"{a="b"} |~ "(""#,
            "stage '|~ \"(\"' : error parsing regexp: missing closing ): `(`",
        ),
        // None of several is several filters; a chain of filters is built from its end.
        (
            r#"{a="b"} !~ "(" or "x""#,
            "stage '!~ \"(\" !~ \"x\"' : error parsing regexp: missing closing ): `(`",
        ),
        (
            r#"{a="b"} |~ "(" |~ "*""#,
            "stage '|~ \"(\" |~ \"*\"' : error parsing regexp: missing argument to repetition operator: `*`",
        ),
        (
            r#"{a="b"} | x=ip("z")"#,
            "stage '| x=ip(\"z\")' : ip: invalid pattern: \"z\"",
        ),
        (
            r#"{a="b"} | label_format x="1", x=y"#,
            "stage '| label_format x=\"1\",x=y' : multiple label name 'x' not allowed in a single format operation",
        ),
        ("topk(1.5,vector(1))", "invalid parameter topk(1.5,"),
        (
            "sum(1, vector(1))",
            "unsupported parameter for operation sum(1,",
        ),
        (
            "approx_topk by (a) (vector(1))",
            "parameter required for operation approx_topk",
        ),
        (
            "approx_topk by () (2, vector(1))",
            "grouping not allowed for approx_topk aggregation",
        ),
        (
            "sort(vector(1)) by (a)",
            "sort and sort_desc doesn't allow grouping by ",
        ),
        (
            r#"sum_over_time({a="b"}[5m])"#,
            "invalid aggregation sum_over_time without unwrap",
        ),
        (
            "1 and 2",
            "unexpected literal for left leg of logical/set binary operation (and): 1.000000",
        ),
        (
            r#"1 + {a="b"} | json"#,
            "unexpected type for right leg of binary operation (+): *syntax.PipelineExpr",
        ),
        (
            "vector(0x10)",
            "unable to parse vectorExpr as a float: strconv.ParseFloat: parsing \"0x10\": invalid syntax",
        ),
    ] {
        assert_eq!(error(query), format!("parse error : {text}"), "{query}");
    }
    assert!(error("sum(rate({a=~\".*\"}[5m]))").contains("queries require at least one"));
    for more in ["{a=\"b\"} | json", "{a=\"b\"} | json c=\"d[\""] {
        assert_eq!(
            parse_selector(more).map_err(|e| e.to_string()),
            Err("only label matchers are supported".to_owned())
        );
    }
    assert!(parse_log("vector(1)").is_err() && parse_selector("{a=\"b\"}").is_ok());
}

#[test]
fn size_and_depth_are_bounded() {
    let long = format!("{{a=\"{}\"}}", "x".repeat(MAX_QUERY_BYTES));
    assert!(error(&long).starts_with("parse error : input size too long ("));
    let deep = |open: &str, inner: &str, close: &str, times: usize| {
        format!("{}{inner}{}", open.repeat(times), close.repeat(times))
    };
    assert!(parse(&deep("(", "1", ")", 60)).is_ok());
    for query in [
        deep("(", "1", ")", 10_000),
        deep("sum(", "vector(1)", ")", 10_000),
        format!("{{a=\"b\"}} | {}", deep("(", "a=1", ")", 10_000)),
        format!("{{a=\"b\"}} | {}", vec!["a=1"; 10_000].join(" ")),
        vec!["vector(1)"; 10_000].join("+"),
        vec!["vector(1)"; 10_000].join("^"),
        format!("rate({}", "(".repeat(100_000)),
        format!("{{a=\"b\"}}{}", " | json".repeat(33)),
        format!("rate({{a=\"b\"}}{} [1m])", " | logfmt".repeat(33)),
    ] {
        assert!(error(&query).contains("too"), "{}", error(&query));
    }
}

#[test]
fn minus_signs_are_read_once() {
    let flags = "{a=\"b\"} | logfmt --strict --keep-empty";
    assert!(parse(flags).is_ok());
    assert!(parse("{a=\"b\"} | logfmt --strictly").is_err());
    assert!(parse("{a=\"b\"} | logfmt --strict-").is_err());
    // Were each to look at all behind it, this would take long.
    assert!(parse(&"-".repeat(MAX_QUERY_BYTES - 1)).is_err());
}

#[test]
fn the_highest_trees_can_be_walked() {
    let chain = parse(&vec!["vector(1)"; 500].join(" or ")).unwrap();
    let filters = vec!["a=1"; 500].join(" ");
    let filtered = parse(&format!("{{a=\"b\"}} | {filters}")).unwrap();
    for expr in [&chain, &filtered] {
        assert!(!pretty(expr).is_empty());
        assert_eq!(parse(&expr.to_string()).as_ref(), Ok(expr));
    }
}

#[test]
fn thousands_of_line_filters_are_laid_out_in_one_pass() {
    let query = format!(r#"{{a="b"}}{}"#, r#"|="x""#.repeat(15_000));
    let text = pretty(&parse_unbuilt(&query).unwrap());
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some(r#"{a="b"}"#));
    let first = lines.next().unwrap_or_default();
    assert!(
        first.len() > 80 && lines.all(|line| line == r#"  |= "x""#),
        "{first}"
    );
}

#[test]
fn long_queries_break_over_lines() {
    let expr = parse(
        r#"sum by (a, b) (quantile_over_time(0.5, {namespace="a-rather-long-namespace", app="something"} |= "x" != "y" | json | unwrap duration(took) | __error__="" [5m] offset 1h) by (a, b, c))"#,
    );
    let text = expr.map(|expr| pretty(&expr));
    let wanted = r#"sum by (a, b)(
  quantile_over_time(
    0.5,
    {namespace="a-rather-long-namespace", app="something"} |= "x" != "y" | json
      | unwrap duration(took)
      | __error__="" [5m] offset 1h
  ) by (a, b, c)
)"#;
    assert_eq!(text.as_deref(), Ok(wanted));
    let text = |query: &str| pretty(&parse(query).unwrap());
    let long = "x".repeat(60);
    let filters = format!(r#"{{a="b"}} |= "{long}" |= "y" != "{long}" | decolorize"#);
    let wanted = format!("{{a=\"b\"}}\n  |= \"{long}\" |= \"y\"\n  != \"{long}\"\n| decolorize");
    assert_eq!(text(&filters), wanted);
    let both = format!(
        r#"sum(rate({{app="{long}"}}[5m])) / on(a, b) group_left(c, d) sum(rate({{app="x"}}[5m]))"#
    );
    let wanted = format!(
        "  sum(rate({{app=\"{long}\"}}[5m]))\n/ on (a, b) group_left (c, d)\n  sum(rate({{app=\"x\"}}[5m]))"
    );
    assert_eq!(text(&both), wanted);
    let moved = format!(r#"rate({{app="{long}"}} |= "{long}" [5m] offset -5m)"#);
    assert!(
        text(&moved).ends_with(" [5m] offset -5m\n)"),
        "{}",
        text(&moved)
    );
}

proptest! {
    #[test]
    fn what_is_printed_parses_to_the_same(expr in prop_oneof![
        log_expr().prop_map(Expr::Log),
        metric_expr().prop_map(Expr::Metric),
    ]) {
        let text = expr.to_string();
        let parsed = parse(&text);
        prop_assert_eq!(parsed.as_ref(), Ok(&expr), "{}", text);
        let lines = pretty(&expr);
        let parsed = parse(&lines);
        prop_assert_eq!(parsed.as_ref(), Ok(&expr), "{}", lines);
    }

    #[test]
    fn no_text_panics(query in ".{0,60}") {
        let _ = parse(&query);
    }

    #[test]
    fn no_sequence_of_words_panics(words in prop::collection::vec(prop::sample::select(vec![
        "{", "}", "(", ")", "[5m]", "a", "=", "\"x\"", "|", "|=", "!=", "json", "rate", "sum", "by",
        ",", "5", "5s", "or", "and", "on", "unwrap", "drop", "--strict", "-", "label_replace(", "#",
        "\"", "`", "'", "/*",
    ]), 0..24)) {
        let _ = parse(&words.concat());
        let _ = parse(&words.join(" "));
    }
}
