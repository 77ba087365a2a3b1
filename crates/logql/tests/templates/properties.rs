//! Whatever is written, nothing panics and a run that fails prints nothing.

use logql::template::Dialect;
use proptest::prelude::*;

use super::row::row;
use super::run_on;

/// Pieces that make templates often enough, and calls with odd arguments.
const PIECES: &[&str] = &[
    "{{",
    "}}",
    "{{-",
    "-}}",
    " ",
    "\n",
    "text",
    "é",
    "{{end}}",
    "{{else}}",
    "{{ if .n }}",
    "{{ with .json }}",
    "{{ range fromJson .list }}",
    "{{ range $i, $x := . }}",
    "{{ break }}",
    "{{ continue }}",
    "{{ define `d` }}",
    "{{ template `d` . }}",
    "{{ block `b` . }}",
    "{{ $v := ",
    "{{ $v = ",
    "(",
    ")",
    "|",
    ",",
    ".",
    "$",
    "$v",
    "$x",
    ".n",
    ".json",
    ".quoted",
    ".a.b",
    "__line__",
    "__timestamp__",
    "now",
    "nil",
    "true",
    "0",
    "-1",
    "1e3",
    "'x'",
    "9223372036854775807",
    "-9223372036854775808",
    "1000000",
    "0x7f",
    "2.5",
    "``",
    "`x`",
    "\"\\n\"",
    "`%d %*d %[2]v %.3s`",
    "`(.)`",
    "`2006-01-02 15:04:05.999 MST`",
    "`NaN`",
    "`Inf`",
    "`1e400`",
    "`[1,{\"a\":null}]`",
];

/// Every function and method.
const NAMES: &str = "and or not eq ne lt le gt ge len index slice print printf println html js urlquery call default \
    ToLower ToUpper Replace Trim TrimLeft TrimRight TrimPrefix TrimSuffix TrimSpace regexReplaceAll \
    regexReplaceAllLiteral count urldecode urlencode bytes duration duration_seconds unixEpochMillis unixEpochNanos \
    toDateInZone unixToTime alignLeft alignRight b64dec b64enc lower upper title trunc substr contains hasPrefix \
    hasSuffix indent nindent replace repeat trim trimAll trimSuffix trimPrefix int float64 add sub mul div mod addf \
    subf mulf divf max min maxf minf ceil floor round fromJson date toDate now unixEpoch";

const METHODS: &str = "Format String Year Month Day Hour Minute Second Nanosecond YearDay Weekday Unix UnixMilli \
    UnixMicro UnixNano IsZero Add Sub AddDate After Before Equal Compare UTC Local Truncate Round";

fn piece() -> impl Strategy<Value = String> {
    let names: Vec<&str> = NAMES.split_whitespace().collect();
    prop_oneof![
        3 => prop::sample::select(PIECES).prop_map(str::to_owned),
        1 => prop::sample::select(names).prop_map(|name| format!(" {name} ")),
    ]
}

/// An operand of any type.
fn operand() -> impl Strategy<Value = String> {
    let any_text = "[a-zA-Z0-9é%{}.:+-]{0,12}".prop_map(|text| format!("`{text}`"));
    prop_oneof![
        any::<i64>().prop_map(|value| format!("{value}")),
        any::<f64>().prop_map(|value| format!("(float64 `{value}`)")),
        any::<i64>().prop_map(|value| format!("(unixToTime `{value}`)")),
        any::<i64>().prop_map(|value| format!("((unixToTime `{value}`).Sub now)")),
        any_text,
        prop::sample::select(
            &[
                "nil",
                "true",
                ".",
                ".n",
                ".val",
                "(fromJson .json)",
                "(fromJson .list)",
                "(add .n)",
                "__line__",
                "__timestamp__",
                "__timestamp__.Month",
                "(index .n 0)",
            ][..]
        )
        .prop_map(str::to_owned),
    ]
}

/// Those that only the agent has.
const AGENT_NAMES: &str = "empty coalesce ternary fail quote squote cat toString nospace swapcase untitle snakecase \
    kebabcase camelcase sha256sum base ext regexMatch regexFind regexFindAll regexSplit int64 atoi add1 until duration \
    dateInZone list splitList join first last rest initial reverse append prepend compact has dict get hasKey keys \
    values Hash Sha2Hash";

/// Not a run that failed and printed something.
fn is_whole(result: Result<String, String>) -> bool {
    !matches!(result, Err(fault) if !fault.starts_with("template: "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_text(text in ".{0,60}") {
        prop_assert!(is_whole(run_on(&row(), "line", &text, Dialect::LogQl)));
    }

    #[test]
    fn any_pieces(pieces in prop::collection::vec(piece(), 0..24)) {
        let text = pieces.concat();
        prop_assert!(is_whole(run_on(&row(), "line", &text, Dialect::LogQl)));
        prop_assert!(is_whole(run_on(&row(), "line", &text, Dialect::Promtail)));
    }

    #[test]
    fn any_call(
        name in prop::sample::select(NAMES.split_whitespace().collect::<Vec<_>>()),
        args in prop::collection::vec(operand(), 0..4),
    ) {
        let text = format!("{{{{ {name} {} }}}}", args.join(" "));
        prop_assert!(is_whole(run_on(&row(), "line", &text, Dialect::LogQl)));
    }

    #[test]
    fn any_call_of_the_agent(
        name in prop::sample::select(AGENT_NAMES.split_whitespace().collect::<Vec<_>>()),
        args in prop::collection::vec(operand(), 0..4),
    ) {
        let text = format!("{{{{ {name} {} }}}}", args.join(" "));
        prop_assert!(is_whole(run_on(&row(), "line", &text, Dialect::Promtail)));
    }

    #[test]
    fn any_method(
        name in prop::sample::select(METHODS.split_whitespace().collect::<Vec<_>>()),
        receiver in operand(),
        args in prop::collection::vec(operand(), 0..4),
    ) {
        let text = format!("{{{{ ({receiver}).{name} {} }}}}", args.join(" "));
        prop_assert!(is_whole(run_on(&row(), "line", &text, Dialect::LogQl)));
    }

    #[test]
    fn any_verb(format in "[%a-zA-Z0-9 .*#+\\[\\]-]{0,16}", args in prop::collection::vec(operand(), 0..3)) {
        let text = format!("{{{{ printf `%{format}` {} }}}}", args.join(" "));
        prop_assert!(is_whole(run_on(&row(), "line", &text, Dialect::LogQl)));
    }
}
