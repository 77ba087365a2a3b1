//! Rows that are hard to take apart: a few shapes of lines with values of many kinds, and now and
//! then bytes that do not belong there.

use model::LabelSet;

use super::dice::Dice;

/// A row: time, line, metadata.
pub type Row = (i64, Vec<u8>, LabelSet);

/// Rows of most inputs at most: more take long, and most faults show with these.
const FEW_ROWS: usize = 96;
/// Rows of some inputs at most: more than one mark of times, and than what is looked at in one go.
const MANY_ROWS: usize = 2600;

/// A millisecond: no range of a query is shorter.
pub const MS_NS: i64 = 1_000_000;

/// Keys of fields; queries read them.
pub const KEYS: [&str; 16] = [
    "status", "method", "msg", "a", "a_b", "level", "dur", "app", "size", "addr", "n", "a b",
    "a.b", "a-b", "é", "",
];

/// Values that are read as something, or nearly, or that have to be escaped.
pub const WORDS: [&str; 62] = [
    "200",
    "404",
    "500",
    "5",
    "-1",
    "12.5",
    "007",
    "0",
    "00",
    "-0",
    "+5",
    "1e3",
    ".5",
    "5.",
    "0x1f",
    "1_000",
    "9223372036854775807",
    "18446744073709551616",
    "NaN",
    "Inf",
    "3ms",
    "1h2m",
    "1.5s",
    "5KB",
    "1.5MiB",
    "10 B",
    "true",
    "false",
    "null",
    "",
    " ",
    "GET",
    "get",
    "error",
    "info",
    "ERROR",
    "connection refused",
    "connection reset",
    "a=b",
    "x\\\"y",
    "\\u0041",
    "\\n",
    "\\",
    "é",
    "日本",
    "k s",
    "\u{212a}",
    "\u{17f}",
    "İ",
    "\t",
    "{",
    "}",
    "[1,2]",
    "\u{1}\u{2}",
    "\u{1b}[31mred\u{1b}[0m",
    "10.0.0.1",
    "192.168.4.200",
    "256.1.1.1",
    "::1",
    "2001:db8::68",
    "2026-01-15T00:01:40.123456789Z",
    "15/Jan/2026:00:01:40 +0000",
];

/// What values of a field have in common.
#[derive(Clone)]
enum Values {
    One(String),
    Few(Vec<String>),
    Counter { from: usize, width: usize },
    Number(usize),
    Decimal,
    Hex { len: usize, is_upper: bool },
    Uuid,
    Address,
    Date,
    Duration,
    Message,
    Any,
}

/// What lines have in common.
struct Shape {
    form: Form,
    fields: Vec<(&'static str, Values)>,
    inner: Vec<(&'static str, Values)>,
    /// How the form is varied.
    variant: usize,
}

enum Form {
    Json,
    Logfmt,
    Text,
    Packed,
    Access,
}

fn values(dice: &mut Dice<'_>) -> Values {
    match dice.below(16) {
        0 => Values::One(dice.one_of(&WORDS).to_owned()),
        1 | 2 => {
            let count = dice.between(2, 5);
            Values::Few((0..count).map(|_| dice.one_of(&WORDS).to_owned()).collect())
        }
        3 => Values::Counter {
            from: dice.below(2000),
            width: dice.below(6),
        },
        4 => Values::Number(10usize.pow(dice.between(1, 9) as u32)),
        5 => Values::Decimal,
        6 => Values::Hex {
            len: dice.between(1, 4) * 8,
            is_upper: dice.once_in(4),
        },
        7 => Values::Uuid,
        8 => Values::Address,
        9 => Values::Date,
        10 => Values::Duration,
        11 => Values::Message,
        _ => Values::Any,
    }
}

fn hex(dice: &mut Dice<'_>, len: usize) -> String {
    let mut text = String::new();
    // Some identifiers come again.
    let seed = match dice.once_in(2) {
        true => dice.below(4),
        false => dice.below(usize::MAX),
    };
    let mut state = seed as u64 ^ 0x9e37_79b9_7f4a_7c15;
    while text.len() < len {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        text.push_str(&format!("{:08x}", state >> 32));
    }
    text.truncate(len);
    text
}

fn value(dice: &mut Dice<'_>, values: &Values, row: usize) -> String {
    match values {
        Values::One(value) => value.clone(),
        Values::Few(some) => some[dice.below(some.len())].clone(),
        Values::Counter { from, width } => format!("{:0width$}", from + row),
        Values::Number(end) => dice.below(*end).to_string(),
        Values::Decimal => format!("{}.{:03}", dice.below(100), dice.below(1000)),
        Values::Hex { len, is_upper } => match (hex(dice, *len), is_upper) {
            (text, true) => text.to_uppercase(),
            (text, false) => text,
        },
        Values::Uuid => {
            let text = hex(dice, 32);
            let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| &text[part]);
            parts.join("-")
        }
        Values::Address => format!("10.0.{}.{}", dice.below(2), dice.below(260)),
        Values::Date => {
            let (second, nanos) = (row % 60, dice.below(1_000_000_000));
            format!("2026-01-15T00:01:{second:02}.{nanos:09}Z")
        }
        Values::Duration => {
            let unit = dice.one_of(&["ns", "us", "µs", "ms", "s", "m", "h", "x", ""]);
            format!("{}{unit}", dice.below(2000))
        }
        Values::Message => {
            let (n, word) = (dice.below(30), dice.one_of(&WORDS));
            let text = [
                "took {n}ms for {w}",
                "user {w} has {n} of {n}",
                "{w}: {n}",
                "{n} {w}",
            ];
            let text = text[dice.below(4)];
            text.replace("{n}", &n.to_string()).replace("{w}", word)
        }
        Values::Any => any(dice),
    }
}

fn any(dice: &mut Dice<'_>) -> String {
    match dice.below(12) {
        0..=7 => dice.one_of(&WORDS).to_owned(),
        8 => dice.below(1000).to_string(),
        9 => "x".repeat(dice.between(1, 300)),
        10 => format!("{} {}", dice.one_of(&WORDS), dice.one_of(&WORDS)),
        _ => {
            let chars = [
                'a',
                'A',
                '1',
                '"',
                '\\',
                '=',
                ' ',
                '\u{3}',
                'ß',
                '\u{1f600}',
                '\n',
                '\0',
            ];
            (0..dice.below(7))
                .map(|_| chars[dice.below(chars.len())])
                .collect()
        }
    }
}

fn fields(dice: &mut Dice<'_>, most: usize) -> Vec<(&'static str, Values)> {
    let count = dice.between(0, most);
    // Most keys are names.
    let key = |dice: &mut Dice<'_>| match dice.once_in(8) {
        true => dice.one_of(&KEYS),
        false => dice.one_of(&KEYS[..11]),
    };
    (0..count).map(|_| (key(dice), values(dice))).collect()
}

impl Shape {
    fn new(dice: &mut Dice<'_>) -> Self {
        let form = match dice.below(16) {
            0..=5 => Form::Json,
            6..=10 => Form::Logfmt,
            11..=13 => Form::Text,
            14 => Form::Access,
            _ => Form::Packed,
        };
        Self {
            form,
            fields: fields(dice, 7),
            inner: fields(dice, 3),
            variant: dice.below(24),
        }
    }

    fn line(&self, dice: &mut Dice<'_>, row: usize) -> String {
        let mut draw = |fields: &[(&'static str, Values)]| -> Vec<(&'static str, String)> {
            let drawn = fields
                .iter()
                .map(|(key, values)| (*key, value(dice, values, row)));
            drawn.collect()
        };
        let (fields, inner) = (draw(&self.fields), draw(&self.inner));
        match self.form {
            Form::Json => self.json(&fields, &inner),
            Form::Logfmt => self.logfmt(&fields),
            Form::Text => self.text(&fields),
            Form::Access => format!(
                "10.0.0.{} - - [15/Jan/2026:00:01:{:02} +0000] \"{}\" {} {}",
                dice.below(300),
                row % 60,
                fields.first().map_or("GET /a HTTP/1.1", |(_, value)| value),
                dice.one_of(&["200", "404", "500"]),
                dice.below(100_000),
            ),
            Form::Packed => {
                let entry = self
                    .text(&fields)
                    .replace('\\', "\\\\")
                    .replace('"', "\\\"");
                let inner = members(&inner, self.variant);
                format!("{{{inner}{}\"_entry\":\"{entry}\"}}", comma(&inner))
            }
        }
    }

    fn json(&self, fields: &[(&str, String)], inner: &[(&str, String)]) -> String {
        let (outer, inner) = (members(fields, self.variant), members(inner, self.variant));
        let comma = comma(&outer);
        match self.variant {
            0 | 1 => format!("{{{outer}{comma}\"a\":{{{inner}}}}}"),
            2 => format!("{{\"list\":[1,{{{inner}}}],{outer}}}"),
            3 => format!("{{{outer}{comma}\"a\":{{\"b\":{{{inner}}}}}}}"),
            4 => format!("{{{outer}}} {inner}"),
            5 => format!("{{{outer}"),
            6 => format!(" {{ {outer} }} "),
            7 => format!("{{{outer}{comma}{inner}}}"),
            8 => format!("{{{outer}{comma}{outer}}}"),
            9 => format!("[{{{outer}}},{{{inner}}}]"),
            10 => format!("{{{outer}{comma}\"st\\u0061tus\":\"{}\"}}", inner.len()),
            11 => {
                let text = format!("{{{inner}}}")
                    .replace('\\', "\\\\")
                    .replace('"', "\\\"");
                format!("{{{outer}{comma}\"msg\":\"{text}\"}}")
            }
            12 => format!("{{{outer}{comma}}}"),
            13 => format!("{{{outer}{comma}\"a\":[{{{inner}}},[],null]}}"),
            _ => format!("{{{outer}}}"),
        }
    }

    fn logfmt(&self, fields: &[(&str, String)]) -> String {
        let pair = |(key, value): &(&str, String)| {
            let is_quoted = value.contains([' ', '"', '\\', '=']) || self.variant.is_multiple_of(5);
            match is_quoted {
                true if value.contains('\\') => format!("{key}=\"{value}\""),
                true => format!("{key}={value:?}"),
                false => format!("{key}={value}"),
            }
        };
        let pairs: Vec<String> = fields.iter().map(pair).collect();
        let join = pairs.join(if self.variant == 1 { "  " } else { " " });
        match self.variant {
            2 => format!("{join} odd, 5 =x"),
            3 => format!("{join} a=\"open"),
            4 => format!("{join} a= b=\"\" c"),
            6 => format!("{join} {join}"),
            7 => format!("{join}\tstatus = 5"),
            8 => format!("{join} st\"atus=1 a==b"),
            9 => fields
                .iter()
                .map(|(key, value)| format!("{key}={value} "))
                .collect(),
            _ => join,
        }
    }

    fn text(&self, fields: &[(&str, String)]) -> String {
        let word = |(at, (key, value)): (usize, &(&str, String))| match (self.variant + at) % 6 {
            0 => format!("{key}: {value}"),
            1 => format!("[{value}]"),
            2 => format!("{key}-{value}/{value}"),
            3 => format!("\"{value}\""),
            4 => format!("{value},"),
            _ => value.clone(),
        };
        let words: Vec<String> = fields.iter().enumerate().map(word).collect();
        words.join(" ")
    }
}

fn comma(before: &str) -> &'static str {
    if before.is_empty() { "" } else { "," }
}

fn members(fields: &[(&str, String)], variant: usize) -> String {
    let member = |(key, value): &(&str, String)| {
        let is_number = value.parse::<f64>().is_ok() && value.starts_with(|c: char| c != '+');
        let is_bare =
            is_number || ["true", "false", "null", "{", "[1,2]"].contains(&value.as_str());
        let gap = if variant.is_multiple_of(3) { " " } else { "" };
        match is_bare && !variant.is_multiple_of(7) {
            true => format!("\"{key}\":{gap}{value}"),
            false => format!("\"{key}\":{gap}\"{value}\""),
        }
    };
    let members: Vec<String> = fields.iter().map(member).collect();
    members.join(",")
}

/// Makes a line one that its shape does not expect.
fn spoiled(dice: &mut Dice<'_>, line: &mut Vec<u8>) {
    let at = dice.below(line.len() + 1);
    match dice.below(8) {
        0 => line.truncate(at),
        1 => line.insert(at, [0xff, 0xc3, 0x80, 0, 1, 4, b'"', b'\\'][dice.below(8)]),
        2 if at < line.len() => drop(line.remove(at)),
        3 => line.extend_from_slice(b"\xed\xa0\x80\xff"),
        4 if at < line.len() => line[at] = line[at].wrapping_add(1),
        5 => line.splice(at..at, "é".bytes()).for_each(drop),
        6 => *line = line.repeat(dice.between(2, 60)),
        _ => line.clear(),
    }
}

fn metadata(dice: &mut Dice<'_>) -> LabelSet {
    let pairs = [
        ("detected_level", "info"),
        ("detected_level", "error"),
        ("detected_level", "strange"),
        ("status", "500"),
        ("status", "x"),
        ("app", "m"),
        ("trace", "00ff00ff00ff00ff"),
        ("a_b", ""),
        ("msg", "connection refused"),
        ("__error__", "Own"),
    ];
    let count = dice.between(1, 3);
    let pairs = (0..count).map(|_| pairs[dice.below(pairs.len())]);
    // Of a name that comes twice the last is meant.
    let pairs: std::collections::BTreeMap<&str, &str> = pairs.collect();
    LabelSet::from_pairs(pairs)
}

/// Rows in time order, and the unit of their times.
pub fn rows(dice: &mut Dice<'_>) -> (Vec<Row>, i64) {
    let unit = [1, 1, 10, 1000, 60_000][dice.below(5)] * MS_NS;
    // Of most inputs times are whole units.
    let beside = if dice.once_in(3) { unit as usize } else { 1 };
    let mut time = match dice.once_in(3) {
        true => 1_768_435_300_000_000_000,
        false => 0,
    };
    let shapes: Vec<Shape> = (0..dice.between(1, 5)).map(|_| Shape::new(dice)).collect();
    let most = if dice.once_in(64) {
        MANY_ROWS
    } else {
        FEW_ROWS
    };
    let (count, with_metadata) = (dice.between(1, most), dice.below(5));
    let (mut before, mut beside_ns) = (Vec::new(), 0);
    let mut rows: Vec<Row> = Vec::with_capacity(count);
    for row in 0..count {
        time += dice.below(3) as i64 * unit;
        let mut line = match dice.below(4) {
            // Lines come again.
            0 if row > 0 => std::mem::take(&mut before),
            _ => shapes[dice.below(shapes.len())]
                .line(dice, row)
                .into_bytes(),
        };
        if dice.once_in(30) {
            spoiled(dice, &mut line);
        }
        let metadata = match dice.below(4) < with_metadata && dice.once_in(2) {
            true => metadata(dice),
            false => LabelSet::default(),
        };
        before.clone_from(&line);
        // Times do not go back.
        beside_ns = if rows.last().is_some_and(|last| last.0 >= time) {
            beside_ns
        } else {
            dice.below(beside) as i64
        };
        rows.push((time + beside_ns, line, metadata));
    }
    (rows, unit)
}
