//! Rows of a few layouts and queries that read them, out of a fuzzer's bytes.

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use model::LabelSet;

use crate::compare::Row;
use crate::rows::quoted;

/// Rows at most: more take long, and show nothing that these do not.
const ROWS_MAX: usize = 96;

const KEYS: [&str; 9] = [
    "status", "method", "msg", "a", "a_b", "level", "dur", "app", "a b",
];
const WORDS: [&str; 26] = [
    "200",
    "404",
    "500",
    "-1",
    "12.5",
    "007",
    "1e3",
    "3ms",
    "true",
    "null",
    "",
    "GET",
    "get",
    "error",
    "connection refused",
    "a=b",
    "x\\\"y",
    "é",
    "k s",
    "\u{212a}",
    "10.0.0.1",
    "\t",
    "\\u0041",
    "{",
    "18446744073709551616",
    "-0",
];
const METADATA: [(&str, &str); 4] = [
    ("detected_level", "info"),
    ("detected_level", "error"),
    ("status", "500"),
    ("status", "x"),
];
const PARSERS: [&str; 14] = [
    "",
    "| json",
    "| logfmt",
    "| logfmt --strict",
    "| logfmt --keep-empty",
    "| logfmt --strict --keep-empty",
    "| json s=\"status\"",
    "| json s=\"a.status\", m=\"list[1].msg\"",
    "| logfmt s=\"status\", method",
    "| json | logfmt",
    "| regexp `status.(?P<status>[0-9]+)`",
    "| pattern `<method> <status> <_>`",
    "| unpack",
    "| decolorize",
];
const LABEL_FILTERS: [&str; 16] = [
    "| status >= 300",
    "| status=\"500\"",
    "| method=~\"GET|get\"",
    "| a_b != \"\"",
    "| dur > 10ms",
    "| dur < 1KB",
    "| level=\"error\" or status > 400",
    "| app_extracted=\"a\"",
    "| drop status",
    "| keep method, status",
    "| __error__=\"\"",
    "| detected_level=\"error\"",
    "| a_status=\"500\"",
    "| msg = ip(\"10.0.0.0/8\")",
    "| line_format `{{.status}} {{.msg}}`",
    "| label_format status=a, n=`{{len __line__}}`",
];
const REGEXES: [&str; 12] = [
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
];
const AROUND: [(&str, &str); 9] = [
    ("sum(", ")"),
    ("sum by (method)(", ")"),
    ("sum by (status, app)(", ")"),
    ("sum by (detected_level)(", ")"),
    ("sum without (a)(", ")"),
    ("", ""),
    ("max by (a_b)(", ")"),
    ("count by (status)(", ")"),
    ("sum by (app_extracted)(", ")"),
];

fn text(u: &mut Unstructured<'_>) -> Result<String> {
    Ok(match u.int_in_range(0..=7u8)? {
        0..=3 => (*u.choose(&WORDS)?).to_owned(),
        4 => u.int_in_range(0..=1000u32)?.to_string(),
        5 => format!("10.0.0.{}", u.int_in_range(0..=3u8)?),
        6 => {
            let number: u32 = u.arbitrary()?;
            format!("{number:08x}{number:08x}")
        }
        _ => {
            let len = u.int_in_range(0..=6usize)?;
            String::from_utf8_lossy(u.bytes(len)?).into_owned()
        }
    })
}

fn pairs(u: &mut Unstructured<'_>) -> Result<Vec<(&'static str, String)>> {
    let count = u.int_in_range(0..=5usize)?;
    (0..count)
        .map(|_| Ok((*u.choose(&KEYS)?, text(u)?)))
        .collect()
}

fn json(u: &mut Unstructured<'_>) -> Result<String> {
    let member = |(key, value): &(&str, String)| {
        let bare = value.parse::<f64>().is_ok() || ["true", "null", "{"].contains(&value.as_str());
        match bare {
            true => format!("\"{key}\":{value}"),
            false => format!("\"{key}\": \"{value}\""),
        }
    };
    let join = |pairs: Vec<(&str, String)>| {
        let members: Vec<String> = pairs.iter().map(member).collect();
        members.join(",")
    };
    let (form, outer) = (u.int_in_range(0..=4u8)?, join(pairs(u)?));
    Ok(match form {
        0 => format!("{{{outer},\"a\":{{{}}}}}", join(pairs(u)?)),
        1 => format!("{{\"list\":[1,{{{}}}],{outer}", join(pairs(u)?)),
        2 => format!("{{{outer}}} {}", text(u)?),
        _ => format!("{{{outer}}}"),
    })
}

fn logfmt(u: &mut Unstructured<'_>) -> Result<String> {
    let pair = |(key, value): &(&str, String)| match value.contains([' ', '"', '\\']) {
        true => format!("{key}=\"{value}\""),
        false => format!("{key}={value}"),
    };
    let pairs: Vec<String> = pairs(u)?.iter().map(pair).collect();
    let odd = if u.arbitrary()? { " odd, 5 =x" } else { "" };
    Ok(format!("{}{odd}", pairs.join(" ")))
}

fn line(u: &mut Unstructured<'_>) -> Result<String> {
    Ok(match u.int_in_range(0..=7u8)? {
        0..=2 => json(u)?,
        3..=5 => logfmt(u)?,
        _ => {
            let count = u.int_in_range(0..=4usize)?;
            let words: Result<Vec<String>> = (0..count).map(|_| text(u)).collect();
            words?.join(" ")
        }
    })
}

/// Rows in time order. Their lines are of a few, so that templates and values come again.
///
/// # Errors
/// If there are too few bytes.
pub fn rows(u: &mut Unstructured<'_>) -> Result<Vec<Row>> {
    let few: Result<Vec<String>> = (0..u.int_in_range(1..=7)?).map(|_| line(u)).collect();
    let few = few?;
    let count = u.int_in_range(1..=ROWS_MAX)?;
    let mut time = 0;
    let mut row = || -> Result<Row> {
        time += u.int_in_range(0..=2i64)?;
        let metadata = match u.int_in_range(0..=7u8)? {
            0 => LabelSet::from_pairs([*u.choose(&METADATA)?]),
            _ => LabelSet::default(),
        };
        Ok((time, u.choose(&few)?.clone(), metadata))
    };
    (0..count).map(|_| row()).collect()
}

/// A text that a line filter looks for: often a piece of a line.
fn needle(u: &mut Unstructured<'_>, rows: &[Row]) -> Result<String> {
    if u.int_in_range(0..=3u8)? == 0 {
        return text(u);
    }
    let line: Vec<char> = u.choose(rows)?.1.chars().collect();
    let from = u.int_in_range(0..=line.len())?;
    let len = u.int_in_range(0..=12usize)?;
    Ok(line.iter().skip(from).take(len).collect())
}

fn line_filters(u: &mut Unstructured<'_>, rows: &[Row]) -> Result<String> {
    let mut filters = Vec::new();
    for _ in 0..u.int_in_range(0..=2u8)? {
        filters.push(match u.int_in_range(0..=9u8)? {
            0..=3 => format!("|= {}", quoted(&needle(u, rows)?)),
            4 => format!("!= {}", quoted(&needle(u, rows)?)),
            5 => {
                let (one, other) = (needle(u, rows)?, needle(u, rows)?);
                format!("|= {} or {}", quoted(&one), quoted(&other))
            }
            6 => format!("|~ {}", quoted(u.choose(&REGEXES)?)),
            7 => format!("!~ {}", quoted(u.choose(&REGEXES)?)),
            8 => {
                let needle = regex::escape(&needle(u, rows)?);
                let flag = if u.arbitrary()? { "(?i)" } else { "" };
                format!("|~ {}", quoted(&format!("{flag}{needle}")))
            }
            _ => format!("|> {}", quoted(&format!("<_>{}<_>", needle(u, rows)?))),
        });
    }
    Ok(filters.join(" "))
}

/// The stages of a query of these rows.
///
/// # Errors
/// If there are too few bytes.
pub fn stages(u: &mut Unstructured<'_>, rows: &[Row]) -> Result<String> {
    let lines = line_filters(u, rows)?;
    let parser = *u.choose(&PARSERS)?;
    let mut stages = format!("{lines} {parser}");
    for _ in 0..u.int_in_range(0..=2u8)? {
        stages = format!("{stages} {}", u.choose(&LABEL_FILTERS)?);
    }
    if u.int_in_range(0..=3u8)? == 0 {
        stages = format!("{stages} {}", line_filters(u, rows)?);
    }
    Ok(stages)
}

/// A metric query with these stages. Its samples are whole numbers, so that sums do not depend on
/// the order.
///
/// # Errors
/// If there are too few bytes.
pub fn metric(u: &mut Unstructured<'_>, stages: &str) -> Result<String> {
    let (open, close) = u.choose(&AROUND)?;
    let op = *u.choose(&["count_over_time", "rate", "bytes_over_time"])?;
    Ok(format!("{open}{op}({{app=\"web\"}} {stages} [1m]){close}"))
}
