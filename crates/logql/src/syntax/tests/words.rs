//! What errors say, to the letter, and which of several comes first.

use super::super::{parse, parse_unbuilt, pretty};
use super::error;

#[test]
fn a_parenthesis_behind_group_left_is_a_list() {
    let query = "vector(1) + on (a) group_left (vector(2) + vector(3))";
    let error = parse(query).unwrap_err().to_string();
    let text =
        "parse error at line 1, col 32: syntax error: unexpected VECTOR, expecting IDENTIFIER or )";
    assert_eq!(error, text);
    let expr = parse("vector(1) + on (a) group_left () (vector(2) + vector(3))").unwrap();
    assert_eq!(parse(&expr.to_string()).as_ref(), Ok(&expr));
    assert_eq!(parse(&pretty(&expr)).as_ref(), Ok(&expr));
}

#[test]
fn who_only_prints_does_not_look_into_stages() {
    for query in [
        r#"{a="b"} |~ "(""#,
        r#"{a="b"} | label_format __error__="x""#,
        r#"{a="b"} | line_format "{{""#,
        r#"{a="b"} | json x="a[""#,
    ] {
        assert!(parse(query).is_err(), "{query}");
        assert_eq!(parse_unbuilt(query).unwrap().to_string(), query);
    }
    assert!(parse_unbuilt(r#"{a="b"} | regexp "x""#).is_err());
}

#[test]
fn numbers_that_are_none_come_before_what_the_grammar_finds() {
    for (query, text) in [
        (
            "1e + {",
            "parse error at line 1, col 1: exponent has no digits",
        ),
        (
            "vector(0x",
            "parse error at line 1, col 8: hexadecimal literal has no digits",
        ),
        (
            "1 > 0B",
            "parse error at line 1, col 5: decimal literal has no digits",
        ),
        (
            "sum(1e400",
            "parse error at line 1, col 10: syntax error: unexpected $end",
        ),
        (
            r#"{a="b"} | x > 1e | ("#,
            "parse error : unable to parse literal as a float: strconv.ParseFloat: parsing \"1e\": invalid syntax",
        ),
        (
            "0x1F and 0.5",
            "parse error : unable to parse literal as a float: strconv.ParseFloat: parsing \"0x1F\": invalid syntax",
        ),
        (
            r#"{a="b"} | x > 1__0"#,
            "parse error : unable to parse literal as a float: strconv.ParseFloat: parsing \"1__0\": invalid syntax",
        ),
        (
            r#"{a="b"} | x >0B"#,
            "parse error : unable to parse literal as a float: strconv.ParseFloat: parsing \"0B\": invalid syntax",
        ),
    ] {
        assert_eq!(error(query), text, "{query}");
    }
}

#[test]
fn syntax_errors_say_what_may_follow_where_that_is_little() {
    for (query, text) in [
        ("(1 x", "unexpected IDENTIFIER"),
        (r#"({a="b"} x"#, "unexpected IDENTIFIER"),
        ("sum(1", "unexpected $end"),
        ("vector(1 x", "unexpected IDENTIFIER, expecting )"),
        ("label_replace(1 x", "unexpected IDENTIFIER"),
        (r#"{a="b"} | (c="d""#, "unexpected $end"),
        (
            "quantile_over_time(0.5, x",
            "unexpected IDENTIFIER, expecting { or (",
        ),
        (
            r#"rate({a="b"} | unwrap c)"#,
            "unexpected ), expecting RANGE or |",
        ),
        (
            r#"rate(({a="b"} | unwrap c x"#,
            "unexpected IDENTIFIER, expecting RANGE or ) or |",
        ),
        (
            r#"rate(({a="b"}[5m] x"#,
            "unexpected IDENTIFIER, expecting )",
        ),
        (r#"{a="b"} --strict"#, "unexpected FUNCTION_FLAG"),
    ] {
        let error = error(query);
        assert!(
            error.ends_with(&format!("syntax error: {text}")),
            "{query}: {error}"
        );
    }
}
