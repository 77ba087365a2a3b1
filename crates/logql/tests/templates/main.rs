//! What templates print, as recorded from Loki or as Go's documentation has it.

mod faults;
mod printed;
mod properties;
mod row;

use faults::{FAULTS, SYNTAX};
use logql::template::{Context, Dialect, Template};
use printed::{PRINTED, PROMTAIL};
use row::{Row, row};

/// 2026-01-15T00:39:38.442318919Z
const TIMESTAMP_NS: i64 = 1_768_437_578_442_318_919;
/// 2026-02-03T04:05:06Z
const NOW_NS: i64 = 1_770_091_506_000_000_000;

const LINE: &str = "say \"hi\" <wörld> & 5%";

fn run_on(labels: &Row, name: &str, text: &str, dialect: Dialect) -> Result<String, String> {
    let template = Template::parse(name, text, dialect).map_err(|error| error.to_string())?;
    let context = Context {
        line: LINE.as_bytes(),
        timestamp_ns: TIMESTAMP_NS,
        now_ns: NOW_NS,
        labels,
    };
    let mut out = b"kept ".to_vec();
    let result = template.run(&context, &mut out);
    let text = String::from_utf8_lossy(&out).into_owned();
    match (result, text.strip_prefix("kept ")) {
        (Ok(()), Some(printed)) => Ok(printed.to_owned()),
        (Err(error), Some("")) => Err(error.to_string()),
        (result, _) => Err(format!("what stood before is changed: {text:?} {result:?}")),
    }
}

fn run(text: &str) -> Result<String, String> {
    run_on(&row(), "line", text, Dialect::LogQl)
}

/// All differences at once: a table is wrong in more than one place when it is.
fn assert_all<'t>(
    results: impl Iterator<Item = (&'t str, Result<String, String>, Result<String, String>)>,
) {
    let differ = results.filter(|(_, result, expected)| result != expected);
    let shown: Vec<String> = differ
        .map(|(text, result, expected)| {
            format!("{text}\n  is        {result:?}\n  should be {expected:?}")
        })
        .collect();
    assert!(shown.is_empty(), "{}", shown.join("\n"));
}

#[test]
fn templates_print() {
    assert_all(
        PRINTED
            .iter()
            .map(|(text, printed)| (*text, run(text), Ok((*printed).to_owned()))),
    );
}

#[test]
fn faults_of_a_run_name_their_node() {
    assert_all(FAULTS.iter().map(|(text, column, message)| {
        let message = format!("template: line:1:{column}: executing \"line\" at {message}");
        (*text, run(text), Err(message))
    }));
}

#[test]
fn faults_of_the_text_name_their_line() {
    assert_all(
        SYNTAX
            .iter()
            .map(|(text, message)| (*text, run(text), Err(format!("template: line:{message}")))),
    );
}

#[test]
fn the_agent_has_other_functions_and_no_zero_values() {
    let run = |text| run_on(&row(), "stage", text, Dialect::Promtail);
    assert_all(
        PROMTAIL
            .iter()
            .map(|(text, printed)| (*text, run(text), Ok((*printed).to_owned()))),
    );
    for (text, fault) in [
        ("{{ fail `no` }}", "error calling fail: no"),
        (
            "{{ first 1 }}",
            "error calling first: Cannot find first on type int",
        ),
        (
            "{{ list (list 1) }}",
            "error calling list: cannot hold a value of type []interface {}",
        ),
        (
            "{{ until 1000000 }}",
            "error calling until: list has more than 65536 items",
        ),
    ] {
        assert!(run(text).unwrap_err().ends_with(fault), "{text}");
    }
    assert_eq!(
        run("{{ __line__ }}").unwrap_err(),
        r#"template: stage:1: function "__line__" not defined"#
    );
}

#[test]
fn positions_count_lines_and_bytes() {
    let text = "ä\n{{ .method }}é{{ index .path\n 99 }}";
    assert_eq!(
        run(text).unwrap_err(),
        r#"template: line:2:18: executing "line" at <index .path 99>: error calling index: index out of range: 99"#
    );
    let text = r#"{{ define "sub" }}{{ .x.y }}{{ end }}{{ template "sub" (fromJson `{"x":1}`) }}"#;
    assert_eq!(
        run(text).unwrap_err(),
        r#"template: line:1:23: executing "sub" at <.x.y>: can't evaluate field y in type interface {}"#
    );
}

#[test]
fn labels_that_are_read() {
    for (text, names) in [
        ("", Some(vec![])),
        ("plain {{ __line__ }}", Some(vec![])),
        ("{{.a}}-{{ .b | upper }}-{{.a}}", Some(vec!["a", "b"])),
        (
            "{{ if .a }}{{ .b.c }}{{ else }}{{ $.d }}{{ end }}",
            Some(vec!["a", "b", "d"]),
        ),
        (
            "{{ with .a }}{{ . }}{{ .inner }}{{ $.b }}{{ end }}",
            Some(vec!["a", "b"]),
        ),
        (
            "{{ range $i, $x := fromJson .a }}{{ $x }}{{ .y }}{{ end }}",
            Some(vec!["a"]),
        ),
        (
            "{{ with .a }}x{{ else }}{{ .b }}{{ end }}",
            Some(vec!["a", "b"]),
        ),
        (
            "{{ printf `%s` (index (fromJson .a) .b) }}",
            Some(vec!["a", "b"]),
        ),
        (
            "{{ define `t` }}{{ .x }}{{ end }}{{ template `t` .a }}",
            Some(vec!["a"]),
        ),
        (
            "{{ define `t` }}{{ .x }}{{ end }}{{ template `t` . }}",
            None,
        ),
        ("{{ . }}", None),
        ("{{ $ }}", None),
        ("{{ range $k, $v := . }}{{ $k }}{{ end }}", None),
        ("{{ with $x := . }}{{ $x.a }}{{ end }}", None),
        ("{{ index . `a b` }}", None),
    ] {
        let template = Template::parse("line", text, Dialect::LogQl).unwrap();
        let read = template.labels_read();
        let names = names.map(|names| names.into_iter().map(str::to_owned).collect());
        assert_eq!(read, names, "{text}");
    }
}

#[test]
fn runs_that_would_not_end_or_fit_are_stopped() {
    let doubling = "{{ $x := `0123456789abcdef` }}".to_owned()
        + &"{{ $x = print $x $x }}".repeat(40)
        + "{{ len $x }}";
    let many_outputs = format!(
        "{{{{ $x := repeat 1000000 `x` }}}}{}",
        "{{ $x }}".repeat(10)
    );
    let many_labels = "{{ .json }}".repeat(100_000);
    let loops = "{{ range 100000 }}{{ range 100000 }}{{ end }}{{ end }}";
    for (text, message) in [
        ("{{ repeat 100000000000 `x` }}", "result is longer than"),
        ("{{ indent 1000000000 `x` }}", "result is longer than"),
        ("{{ alignLeft 1000000000 `x` }}", "result is longer than"),
        (
            "{{ printf `%*d%*d%*d%*d%*d` 999999 1 999999 1 999999 1 999999 1 999999 1 }}",
            "result is longer than",
        ),
        (
            "{{ printf `%999999f` (fromJson `[1,1,1,1,1,1,1,1,1]`) }}",
            "result is longer than",
        ),
        (
            "{{ regexReplaceAll `` (repeat 10000 `x`) (repeat 10000 `y`) }}",
            "result is longer than",
        ),
        (
            "{{ replace `` (repeat 10000 `y`) (repeat 10000 `x`) }}",
            "result is longer than",
        ),
        (doubling.as_str(), "result is longer than"),
        (many_outputs.as_str(), "output is longer than"),
        (many_labels.as_str(), "output is longer than"),
        (loops, "template takes more than"),
        (
            "{{ define `a` }}{{ template `a` . }}{{ end }}{{ template `a` . }}",
            "exceeded maximum template depth",
        ),
        ("{{ template `line` . }}", "exceeded maximum template depth"),
        (
            "{{ regexReplaceAll `((a{100}){100}){10}` .method `x` }}",
            "error parsing regexp",
        ),
    ] {
        let fault = run(text).unwrap_err();
        assert!(fault.contains(message), "{fault}");
    }
    let deep = format!("{}1{}", "(".repeat(1_000), ")".repeat(1_000));
    assert_eq!(
        run(&format!("{{{{ {deep} }}}}")).unwrap_err(),
        "template: line:1: max expression depth exceeded"
    );
    let ifs = format!(
        "{}{}",
        "{{ if 1 }}".repeat(1_000),
        "{{ end }}".repeat(1_000)
    );
    assert!(
        run(&ifs)
            .unwrap_err()
            .ends_with("max expression depth exceeded")
    );
    let variables: String = (0..1_000)
        .map(|i| format!("{{{{ $v{i} := 1 }}}}"))
        .collect();
    assert_eq!(
        run(&variables).unwrap_err(),
        "template: line:1: more than 256 variables"
    );
}

#[test]
fn the_deepest_run_needs_little_stack() {
    let ifs = format!(
        "{}{{{{ template `a` . }}}}{}",
        "{{ if 1 }}".repeat(60),
        "{{ end }}".repeat(60)
    );
    let parens = format!("{}.{}", "(print ".repeat(60), ")".repeat(60));
    let text = format!("{{{{ define `a` }}}}{{{{ $x := {parens} }}}}{ifs}{{{{ end }}}}{ifs}");
    let small = std::thread::Builder::new().stack_size(1 << 20);
    let fault = small
        .spawn(move || run(&text).unwrap_err())
        .unwrap()
        .join()
        .unwrap();
    assert!(fault.contains("exceeded maximum template depth"), "{fault}");
}

#[test]
fn precision_beyond_what_a_float_has() {
    let printed = run("{{ printf `%.70000f` 0.5 }}").unwrap();
    assert_eq!(printed.len(), 70_002);
    let printed = run("{{ printf `%.70000e` 0.5 }}").unwrap();
    assert_eq!(printed.len(), 70_006);
}
