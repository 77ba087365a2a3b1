//! Queries of rows: they look for what is there, for what nearly is, and for what is not.

use logql::metric::Steps;
use logql::syntax::{self, ast::Expr};
use model::units::quote;
use model::{Direction, TimeRange};

use super::dice::Dice;
use super::rows::{MS_NS, Row, WORDS};

/// A query, and how it is asked.
#[derive(Clone, Debug)]
pub struct Query {
    /// In LogQL.
    pub text: String,
    /// What is asked for.
    pub asked: Asked,
    /// A deletion of rows, as a query.
    pub deleted: Option<String>,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub enum Asked {
    /// Lines.
    Lines {
        range: TimeRange,
        direction: Direction,
        limit: usize,
    },
    /// Numbers.
    Numbers(Steps),
}

const REGEXES: [&str; 30] = [
    "(?i)get|ERROR",
    "(?i)ks",
    "status.*(200|404)",
    "[0-9]{3}",
    "\"?status",
    "^a",
    "(?i)K S",
    "connection (refused|reset)",
    "0$",
    "a.?b",
    "(error|GET).+5",
    "\\\\u00",
    "^$",
    "",
    ".*",
    ".+",
    "(?s)a.b",
    "\\bGET\\b",
    "(a|b|)",
    "[^a-z ]+$",
    "(?i)(connection|user) re",
    "é|日",
    "\\d+ms",
    "^\\{.*\\}$",
    "x*",
    "(?:10|192)\\.[0-9]+",
    "(?i)\u{212a}",
    "status=5..",
    "\"status\":\\s*\"?500",
    "\\x{fffd}",
];
const PARSERS: [&str; 26] = [
    "",
    "",
    "| json",
    "| json",
    "| logfmt",
    "| logfmt",
    "| logfmt --strict",
    "| logfmt --keep-empty",
    "| logfmt --strict --keep-empty",
    "| json s=\"status\"",
    "| json status",
    "| json s=\"a.status\", m=\"list[1].msg\"",
    "| json s=\"[\\\"a b\\\"]\", status=\"a.b.status\"",
    "| json a",
    "| logfmt s=\"status\", method",
    "| logfmt status, app",
    "| json | logfmt",
    "| logfmt | json",
    "| json | json msg=\"a\"",
    "| json | line_format \"{{.msg}}\" | logfmt",
    "| regexp `status.{1,3}(?P<status>[0-9]+)`",
    "| regexp `(?P<method>GET|POST) (?P<app>\\S+)`",
    "| pattern `<method> <status> <_>`",
    "| pattern `<_> - - [<dur>] \"<method> <_>\" <status> <size>`",
    "| unpack",
    "| decolorize",
];
const LATER: [&str; 24] = [
    "| drop status",
    "| drop app, method",
    "| drop level=\"error\", status=~\"5.*\"",
    "| drop __error__, __error_details__",
    "| keep method, status",
    "| keep status=\"500\"",
    "| keep app",
    "| line_format `{{.status}} {{.msg}}`",
    "| line_format `{{__line__}} {{.method}}`",
    "| line_format `{{ if eq .status \"500\" }}bad{{ else }}{{ .msg | ToUpper }}{{ end }}`",
    "| line_format `{{__timestamp__ | unixEpoch}} {{.a}}`",
    "| label_format status=a",
    "| label_format n=`{{len __line__}}`",
    "| label_format app=status, status=`{{.msg}}`",
    "| label_format a_b=`{{__line__ | substr 0 3}}`",
    "| decolorize",
    "| decolorize | json",
    "| line_format `{{.msg}}` | json",
    "| line_format `{{.msg}}` |= `5`",
    "| unpack | logfmt",
    "| __error__=\"\"",
    "| __error__!=\"\"",
    "| __error__=~\"JSON.*\"",
    "| detected_level=\"error\"",
];
const RANGES: [&str; 12] = [
    "count_over_time",
    "rate",
    "bytes_over_time",
    "bytes_rate",
    "absent_over_time",
    "count_over_time",
    "sum_over_time",
    "min_over_time",
    "max_over_time",
    "avg_over_time",
    "first_over_time",
    "rate_counter",
];
const AROUND: [(&str, &str); 20] = [
    ("sum(", ")"),
    ("sum by (method)(", ")"),
    ("sum by (status, app)(", ")"),
    ("sum by (detected_level)(", ")"),
    ("sum without (a)(", ")"),
    ("sum without (status, app)(", ")"),
    ("", ""),
    ("", ""),
    ("max by (a_b)(", ")"),
    ("min without (status)(", ")"),
    ("avg by (app)(", ")"),
    ("count by (status)(", ")"),
    ("count(", ")"),
    ("sum by (app_extracted)(", ")"),
    ("sum by (__error__)(", ")"),
    ("topk(2, sum by (status)(", "))"),
    ("sum by (msg)(", ") > 1"),
    ("sort_desc(sum by (n)(", "))"),
    ("sum by (level, trace)(", ")"),
    ("stddev by (method)(", ")"),
];
const UNWRAPS: [&str; 14] = [
    "| size!=\"\" | unwrap size | __error__=\"\"",
    "| a_b!=\"\" | unwrap a_b | __error__=\"\"",
    "| unwrap status",
    "| unwrap n",
    "| unwrap duration(dur)",
    "| unwrap duration_seconds(dur)",
    "| unwrap bytes(size)",
    "| unwrap a_b",
    "| unwrap status | __error__=\"\"",
    "| unwrap duration(dur) | __error__=\"\"",
    "| unwrap bytes(size) | __error__=\"\"",
    "| unwrap n | __error__=\"\" | n > 3",
    "| unwrap a | __error__!~\".+\" | status!=\"\"",
    "| unwrap missing",
];

/// A text that a line may have: often a piece of one.
fn needle(dice: &mut Dice<'_>, rows: &[Row]) -> String {
    if dice.once_in(5) {
        return dice.one_of(&WORDS).to_owned();
    }
    let line = String::from_utf8_lossy(&rows[dice.below(rows.len())].1);
    let chars: Vec<char> = line.chars().take(2000).collect();
    let len = [1, 2, 3, 5, 8, 13, 40, 300][dice.below(8)];
    let from = dice.below(chars.len() + 1);
    let mut needle: Vec<char> = chars
        .into_iter()
        .skip(from)
        .take(dice.below(len + 1))
        .collect();
    if dice.once_in(6) && !needle.is_empty() {
        let at = dice.below(needle.len());
        match dice.below(4) {
            0 => needle[at] = 'x',
            1 => drop(needle.remove(at)),
            2 => needle.insert(at, ['0', '"', ' ', 'e', '\u{fffd}'][dice.below(5)]),
            _ => needle[at] = swapped(needle[at]),
        }
    }
    needle.into_iter().collect()
}

fn swapped(c: char) -> char {
    if c.is_ascii_lowercase() {
        c.to_ascii_uppercase()
    } else {
        c.to_ascii_lowercase()
    }
}

fn regex(dice: &mut Dice<'_>, rows: &[Row]) -> String {
    if dice.once_in(3) {
        return dice.one_of(&REGEXES).to_owned();
    }
    let mut regex = match dice.below(6) {
        0 | 1 => "(?i)",
        2 => "^",
        3 => "(?s)",
        _ => "",
    }
    .to_owned();
    for part in 0..dice.between(1, 3) {
        if part > 0 {
            let between = [".*", ".+", "", "[0-9]*", "|", ".?", "\\s*", "[^\"]*"];
            regex.push_str(dice.one_of(&between));
        }
        let text = escaped(&needle(dice, rows));
        regex.push_str(&match dice.below(8) {
            0 => format!("({text}|{})", escaped(&needle(dice, rows))),
            1 => format!("(?:{text})?"),
            2 => format!("(?i:{text})"),
            _ => text,
        });
    }
    if dice.once_in(8) {
        regex.push('$');
    }
    regex
}

/// A regex of the text.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        if "\\.+*?()|[]{}^$#&-~".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

fn pattern(dice: &mut Dice<'_>, rows: &[Row]) -> String {
    // Two captures side by side are refused.
    let text = |dice: &mut Dice<'_>| needle(dice, rows).replace(['<', '>'], "");
    let (one, other) = (text(dice), text(dice));
    let one = if one.is_empty() { "=".to_owned() } else { one };
    match dice.below(5) {
        0 => format!("{one}<_>"),
        1 => format!("<_>{one}"),
        2 => format!("<_>{one}<_>{other}"),
        3 => one,
        _ => format!("<_>{one}<_>"),
    }
}

fn line_filter(dice: &mut Dice<'_>, rows: &[Row]) -> String {
    let address = dice.one_of(&[
        "10.0.0.0/8",
        "10.0.0.1",
        "10.0.0.1-10.0.0.9",
        "::1",
        "2001:db8::/32",
    ]);
    let op = |dice: &mut Dice<'_>, ops: [&'static str; 2]| dice.one_of(&[ops[0], ops[0], ops[1]]);
    match dice.below(16) {
        0..=5 => format!("{} {}", op(dice, ["|=", "!="]), quote(&needle(dice, rows))),
        6 | 7 => {
            let op = op(dice, ["|=", "!="]);
            let any = (0..dice.between(2, 4)).map(|_| quote(&needle(dice, rows)));
            format!("{op} {}", any.collect::<Vec<_>>().join(" or "))
        }
        8..=12 => format!("{} {}", op(dice, ["|~", "!~"]), quote(&regex(dice, rows))),
        13 | 14 => format!("{} {}", op(dice, ["|>", "!>"]), quote(&pattern(dice, rows))),
        _ => format!("{} ip(\"{address}\")", op(dice, ["|=", "!="])),
    }
}

fn line_filters(dice: &mut Dice<'_>, rows: &[Row]) -> String {
    let count = [0, 0, 1, 1, 1, 2, 3][dice.below(7)];
    let filters = (0..count).map(|_| line_filter(dice, rows));
    filters.collect::<Vec<_>>().join(" ")
}

/// A condition on one label.
fn condition(dice: &mut Dice<'_>, rows: &[Row]) -> String {
    let names = [
        "status",
        "method",
        "msg",
        "a",
        "a_b",
        "level",
        "dur",
        "app",
        "size",
        "addr",
        "n",
        "detected_level",
        "app_extracted",
        "s",
        "a_status",
        "trace",
        "__error__",
        "missing",
    ];
    let name = dice.one_of(&names);
    let compare = dice.one_of(&["=", "!=", ">", ">=", "<", "<=", "=="]);
    let text = dice.one_of(&["=", "!=", "=~", "!~"]);
    match dice.below(10) {
        0..=3 => {
            let value = match dice.below(3) {
                0 => needle(dice, rows),
                _ => dice.one_of(&WORDS).to_owned(),
            };
            let value = if text.contains('~') {
                escaped(&value)
            } else {
                value
            };
            format!("{name}{text}{}", quote(&value))
        }
        4 => format!(
            "{name}{text}{}",
            quote(dice.one_of(&["", "500", "5", "error"]))
        ),
        5 => format!("{name}=~{}", quote(&regex(dice, rows))),
        6 => format!(
            "{name} {compare} {}",
            dice.one_of(&["0", "5", "200", "300", "12.5", "-1"])
        ),
        7 => format!(
            "{name} {compare} {}",
            dice.one_of(&["10ms", "1s", "1h", "0s", "3ms"])
        ),
        8 => format!(
            "{name} {compare} {}",
            dice.one_of(&["1KB", "5KB", "1B", "1MiB"])
        ),
        _ => {
            let op = dice.one_of(&["=", "!="]);
            format!(
                "{name} {op} ip(\"{}\")",
                dice.one_of(&["10.0.0.0/8", "10.0.0.1", "::1"])
            )
        }
    }
}

fn label_filter(dice: &mut Dice<'_>, rows: &[Row]) -> String {
    let one = condition(dice, rows);
    match dice.below(6) {
        0 => format!("| {one} and {}", condition(dice, rows)),
        1 => format!("| {one} or {}", condition(dice, rows)),
        2 => format!(
            "| ({one} or {}), {}",
            condition(dice, rows),
            condition(dice, rows)
        ),
        _ => format!("| {one}"),
    }
}

fn stages(dice: &mut Dice<'_>, rows: &[Row]) -> String {
    let mut stages = format!("{} {}", line_filters(dice, rows), dice.one_of(&PARSERS));
    for _ in 0..[0, 0, 1, 1, 1, 2, 3][dice.below(7)] {
        let stage = match dice.below(5) {
            0..=2 => label_filter(dice, rows),
            3 => dice.one_of(&LATER).to_owned(),
            _ => line_filters(dice, rows),
        };
        stages = format!("{stages} {stage}");
    }
    stages
}

fn metric(dice: &mut Dice<'_>, rows: &[Row], unit: i64) -> String {
    let mut leaf = || {
        let op = dice.one_of(&RANGES);
        let is_unwrapped = op.ends_with("sum_over_time") || RANGES[6..].contains(&op);
        let unwrap = if is_unwrapped {
            dice.one_of(&UNWRAPS)
        } else {
            ""
        };
        let range = [1, 3, 10, 40, 400][dice.below(5)] * unit / MS_NS;
        let offset = match dice.below(8) {
            0 => format!(" offset {}ms", dice.between(1, 60) as i64 * unit / MS_NS),
            1 => format!(" offset -{}ms", dice.between(1, 60) as i64 * unit / MS_NS),
            _ => String::new(),
        };
        // Of a few stages all is read that they need, so most queries have few.
        let stages = match dice.below(6) {
            0 => String::new(),
            1 => line_filters(dice, rows),
            _ => stages(dice, rows),
        };
        let (op, grouping) = match (is_unwrapped, dice.below(8)) {
            (true, 0) => ("quantile_over_time(0.7, ", ""),
            (true, 1) => ("stddev_over_time(", " by (status)"),
            (true, 2) => ("max_over_time(", " by (app)"),
            (true, 3) => ("last_over_time(", " without (n)"),
            _ => (op, ""),
        };
        let open = if op.contains('(') { "" } else { "(" };
        format!("{op}{open}{{app=\"web\"}} {stages} {unwrap} [{range}ms]{offset}){grouping}")
    };
    let (one, other) = (leaf(), leaf());
    let (open, close) = AROUND[dice.below(AROUND.len())];
    match dice.below(10) {
        0 => format!("{open}{one}{close} / {open}{other}{close}"),
        1 => {
            let op = dice.one_of(&["or", "unless", "and", "-", "> bool"]);
            format!("sum by (status)({one}) {op} sum by (status)({other})")
        }
        _ => format!("{open}{one}{close}"),
    }
}

/// A query of the rows that can be asked, `unit` being that of their times; `None` if what was
/// thought of is none.
pub fn query(dice: &mut Dice<'_>, rows: &[Row], unit: i64) -> Option<Query> {
    let (first, last) = (rows.first()?.0, rows.last()?.0);
    let len = (last - first) / unit;
    let some = |dice: &mut Dice<'_>| first + (dice.below(len as usize + 5) as i64 - 2) * unit;
    let deleted = match dice.once_in(12) {
        true => Some(format!("{{app=\"web\"}} {}", line_filters(dice, rows))),
        false => None,
    };
    let (text, asked) = if dice.once_in(2) {
        let (start, end) = match dice.once_in(2) {
            true => (some(dice), some(dice)),
            false => (first - unit, last + unit),
        };
        let asked = Asked::Lines {
            range: TimeRange::new(start.min(end), start.max(end) + dice.below(2) as i64),
            direction: [Direction::Forward, Direction::Backward][dice.below(2)],
            limit: [0, 0, 1, 2, 5, 100][dice.below(6)],
        };
        (format!("{{app=\"web\"}} {}", stages(dice, rows)), asked)
    } else {
        let steps = match dice.once_in(3) {
            true => Steps::instant(some(dice)),
            false => {
                let step = [1, 7, 40][dice.below(3)] * unit;
                let start = some(dice);
                let most = start + 50 * step;
                Steps::aligned(start, some(dice).clamp(start, most), step)
            }
        };
        (metric(dice, rows, unit), Asked::Numbers(steps))
    };
    let is_one = matches!(
        (syntax::parse(&text), asked),
        (Ok(Expr::Log(_)), Asked::Lines { .. }) | (Ok(Expr::Metric(_)), Asked::Numbers(_))
    );
    let can_delete = |text: &String| syntax::parse_log_of_any_streams(text).is_ok();
    let is_good = is_one && deleted.as_ref().is_none_or(can_delete);
    is_good.then_some(Query {
        text,
        asked,
        deleted,
    })
}
