//! Text: Go's `strings` under its own names and under sprig's.

use super::Type::{Int, String as Text};
use regex::bytes::Captures;

use super::{Called, Env, Function, bounded, int, owned, part, plain, regex, text, utf8};
use crate::template::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    plain("ToLower", &[Text], |_, args| Ok(lower(args))),
    plain("lower", &[Text], |_, args| Ok(lower(args))),
    plain("ToUpper", &[Text], |_, args| Ok(upper(args))),
    plain("upper", &[Text], |_, args| Ok(upper(args))),
    plain("title", &[Text], title),
    plain("Replace", &[Text, Text, Text, Int], |_, args| {
        replaced(text(args, 0), text(args, 1), text(args, 2), int(args, 3))
    }),
    plain("replace", &[Text, Text, Text], |_, args| {
        replaced(text(args, 2), text(args, 0), text(args, 1), -1)
    }),
    plain("Trim", &[Text, Text], |_, args| {
        Ok(trim_set(args, 0, 1, true, true))
    }),
    plain("TrimLeft", &[Text, Text], |_, args| {
        Ok(trim_set(args, 0, 1, true, false))
    }),
    plain("TrimRight", &[Text, Text], |_, args| {
        Ok(trim_set(args, 0, 1, false, true))
    }),
    plain("trimAll", &[Text, Text], |_, args| {
        Ok(trim_set(args, 1, 0, true, true))
    }),
    plain("TrimSpace", &[Text], |_, args| Ok(trim_space(args))),
    plain("trim", &[Text], |_, args| Ok(trim_space(args))),
    plain("TrimPrefix", &[Text, Text], |_, args| {
        Ok(trim_prefix(args, 0, 1))
    }),
    plain("trimPrefix", &[Text, Text], |_, args| {
        Ok(trim_prefix(args, 1, 0))
    }),
    plain("TrimSuffix", &[Text, Text], |_, args| {
        Ok(trim_suffix(args, 0, 1))
    }),
    plain("trimSuffix", &[Text, Text], |_, args| {
        Ok(trim_suffix(args, 1, 0))
    }),
    plain("trunc", &[Int, Text], trunc),
    plain("substr", &[Int, Int, Text], substr),
    plain("contains", &[Text, Text], |_, args| {
        let found = memchr::memmem::find(text(args, 1), text(args, 0)).is_some();
        Ok(Value::Bool(found))
    }),
    plain("hasPrefix", &[Text, Text], |_, args| {
        Ok(Value::Bool(text(args, 1).starts_with(text(args, 0))))
    }),
    plain("hasSuffix", &[Text, Text], |_, args| {
        Ok(Value::Bool(text(args, 1).ends_with(text(args, 0))))
    }),
    plain("repeat", &[Int, Text], |_, args| {
        repeated(text(args, 1), int(args, 0)).map(owned)
    }),
    plain("indent", &[Int, Text], |_, args| indented(args, b"")),
    plain("nindent", &[Int, Text], |_, args| indented(args, b"\n")),
    plain("alignLeft", &[Int, Text], |_, args| align(args, true)),
    plain("alignRight", &[Int, Text], |_, args| align(args, false)),
    regex("regexReplaceAll", &[Text, Text, Text], |env, args| {
        regex_replaced(env, args, |found, out| found.expand(text(args, 2), out))
    }),
    regex(
        "regexReplaceAllLiteral",
        &[Text, Text, Text],
        |env, args| regex_replaced(env, args, |_, out| out.extend_from_slice(text(args, 2))),
    ),
    regex("count", &[Text, Text], |env, args| {
        let regex = env.regexes.get(text(args, 0))?;
        Ok(Value::int(regex.find_iter(text(args, 1)).count() as i64))
    }),
];

/// Upper case without changing the number of characters, as Go does it.
fn upper_char(c: char) -> char {
    let mut upper = c.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(single), None) => single,
        _ => c,
    }
}

fn lower_char(c: char) -> char {
    let mut lower = c.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(single), None) => single,
        // The one letter whose lower case has two characters is a dotted capital I.
        _ if c == '\u{130}' => 'i',
        _ => c,
    }
}

fn lower<'a>(args: &[Value<'a>]) -> Value<'a> {
    let source = text(args, 0);
    if source.is_ascii() {
        return owned(source.to_ascii_lowercase());
    }
    Value::string(utf8(args, 0).chars().map(lower_char).collect::<String>())
}

fn upper<'a>(args: &[Value<'a>]) -> Value<'a> {
    let source = text(args, 0);
    if source.is_ascii() {
        return owned(source.to_ascii_uppercase());
    }
    Value::string(utf8(args, 0).chars().map(upper_char).collect::<String>())
}

fn title<'a>(_: &Env<'a>, args: &[Value<'a>]) -> Called<'a> {
    let is_separator = |c: char| {
        if c.is_ascii() {
            !(c.is_ascii_alphanumeric() || c == '_')
        } else {
            !c.is_alphanumeric() && c.is_whitespace()
        }
    };
    let mut before = ' ';
    let titled: String = utf8(args, 0)
        .chars()
        .map(|c| {
            let starts = is_separator(before);
            before = c;
            if starts { upper_char(c) } else { c }
        })
        .collect();
    Ok(Value::string(titled))
}

/// `strings.Replace`: an empty `old` matches before each character and at the end.
fn replaced<'a>(source: &[u8], old: &[u8], new: &[u8], count: i64) -> Called<'a> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let mut out = Vec::with_capacity(source.len());
    let mut rest = source;
    let mut done = 0;
    if old.is_empty() {
        bounded((source.len() + 1).min(count).saturating_mul(new.len()) + source.len())?;
        while done < count {
            out.extend_from_slice(new);
            done += 1;
            let Some(len) = first_char_len(rest) else {
                break;
            };
            let (head, tail) = rest.split_at(len);
            out.extend_from_slice(head);
            rest = tail;
        }
        out.extend_from_slice(rest);
        return Ok(owned(out));
    }
    while done < count {
        let Some(at) = memchr::memmem::find(rest, old) else {
            break;
        };
        out.extend_from_slice(rest.get(..at).unwrap_or_default());
        out.extend_from_slice(new);
        bounded(out.len())?;
        rest = rest.get(at + old.len()..).unwrap_or_default();
        done += 1;
    }
    out.extend_from_slice(rest);
    Ok(owned(out))
}

/// `regexReplaceAll expression text replacement`, each match replaced by what `push` appends.
fn regex_replaced<'a>(
    env: &Env<'_>,
    args: &[Value<'_>],
    push: impl Fn(&Captures<'_>, &mut Vec<u8>),
) -> Called<'a> {
    let regex = env.regexes.get(text(args, 0))?;
    let source = text(args, 1);
    let mut out = Vec::with_capacity(source.len());
    let mut end = 0;
    for found in regex.captures_iter(source) {
        let Some(whole) = found.get(0) else {
            continue;
        };
        out.extend_from_slice(source.get(end..whole.start()).unwrap_or_default());
        push(&found, &mut out);
        bounded(out.len())?;
        end = whole.end();
    }
    out.extend_from_slice(source.get(end..).unwrap_or_default());
    Ok(owned(out))
}

/// The first character and its length; a byte that is not UTF-8 counts as one.
fn first_char(bytes: &[u8]) -> Option<(Option<char>, usize)> {
    let head = bytes.get(..bytes.len().min(4))?;
    let valid = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(head.get(..error.valid_up_to())?).ok()?,
    };
    match valid.chars().next() {
        Some(c) => Some((Some(c), c.len_utf8())),
        None if bytes.is_empty() => None,
        None => Some((None, 1)),
    }
}

fn first_char_len(bytes: &[u8]) -> Option<usize> {
    first_char(bytes).map(|(_, len)| len)
}

fn last_char(bytes: &[u8]) -> Option<(Option<char>, usize)> {
    for len in 1..=bytes.len().min(4) {
        let tail = bytes.get(bytes.len() - len..)?;
        if let Ok(text) = std::str::from_utf8(tail) {
            return Some((text.chars().next(), len));
        }
    }
    (!bytes.is_empty()).then_some((None, 1))
}

fn trimmed<'a>(
    args: &[Value<'a>],
    of: usize,
    (left, right): (bool, bool),
    is_cut: impl Fn(Option<char>) -> bool,
) -> Value<'a> {
    let source = text(args, of);
    let (mut start, mut end) = (0, source.len());
    while left && start < end {
        match first_char(source.get(start..end).unwrap_or_default()) {
            Some((c, len)) if is_cut(c) => start += len,
            _ => break,
        }
    }
    while right && start < end {
        match last_char(source.get(start..end).unwrap_or_default()) {
            Some((c, len)) if is_cut(c) => end -= len,
            _ => break,
        }
    }
    part(args, of, start..end)
}

fn trim_set<'a>(args: &[Value<'a>], of: usize, set: usize, left: bool, right: bool) -> Value<'a> {
    let cutset = utf8(args, set);
    trimmed(args, of, (left, right), |c| {
        cutset.contains(c.unwrap_or('\u{fffd}'))
    })
}

fn trim_space<'a>(args: &[Value<'a>]) -> Value<'a> {
    trimmed(args, 0, (true, true), |c| {
        c.is_some_and(char::is_whitespace)
    })
}

fn trim_prefix<'a>(args: &[Value<'a>], of: usize, prefix: usize) -> Value<'a> {
    let (source, prefix) = (text(args, of), text(args, prefix));
    let cut = if source.starts_with(prefix) {
        prefix.len()
    } else {
        0
    };
    part(args, of, cut..source.len())
}

fn trim_suffix<'a>(args: &[Value<'a>], of: usize, suffix: usize) -> Value<'a> {
    let (source, suffix) = (text(args, of), text(args, suffix));
    let cut = if source.ends_with(suffix) {
        suffix.len()
    } else {
        0
    };
    part(args, of, 0..source.len() - cut)
}

fn trunc<'a>(_: &Env<'a>, args: &[Value<'a>]) -> Called<'a> {
    let (count, len) = (int(args, 0), text(args, 1).len());
    let keep = usize::try_from(count.unsigned_abs())
        .unwrap_or(usize::MAX)
        .min(len);
    Ok(if count < 0 {
        part(args, 1, len - keep..len)
    } else {
        part(args, 1, 0..keep)
    })
}

fn substr<'a>(_: &Env<'a>, args: &[Value<'a>]) -> Called<'a> {
    let (start, end, len) = (int(args, 0), int(args, 1), text(args, 2).len());
    let out_of_range =
        |what: String| Err(format!("runtime error: slice bounds out of range {what}"));
    let size = |value: i64| usize::try_from(value).unwrap_or(usize::MAX);
    if start < 0 {
        return match end {
            ..0 => out_of_range(format!("[:{end}]")),
            _ if size(end) > len => out_of_range(format!("[:{end}] with length {len}")),
            _ => Ok(part(args, 2, 0..size(end))),
        };
    }
    let end = if end < 0 || size(end) > len {
        len
    } else {
        size(end)
    };
    if size(start) > end {
        return out_of_range(format!("[{start}:{end}]"));
    }
    Ok(part(args, 2, size(start)..end))
}

fn repeated(source: &[u8], count: i64) -> Result<Vec<u8>, String> {
    let count = usize::try_from(count).map_err(|_| "strings: negative Repeat count".to_owned())?;
    bounded(source.len().saturating_mul(count))?;
    Ok(source.repeat(count))
}

fn indented<'a>(args: &[Value<'a>], before: &[u8]) -> Called<'a> {
    let padding = repeated(b" ", int(args, 0))?;
    let source = text(args, 1);
    let lines = 1 + source.iter().filter(|byte| **byte == b'\n').count();
    bounded(
        lines
            .saturating_mul(padding.len())
            .saturating_add(source.len()),
    )?;
    let mut out = before.to_vec();
    out.extend_from_slice(&padding);
    for byte in source {
        out.push(*byte);
        if *byte == b'\n' {
            out.extend_from_slice(&padding);
        }
    }
    Ok(owned(out))
}

/// Pads or cuts to a number of characters, keeping the left or the right side.
fn align<'a>(args: &[Value<'a>], left: bool) -> Called<'a> {
    let source = utf8(args, 1);
    let Ok(width) = usize::try_from(int(args, 0)) else {
        return Ok(part(args, 1, 0..text(args, 1).len()));
    };
    let chars = source.chars().count();
    bounded(width.saturating_sub(chars))?;
    let padding = " ".repeat(width.saturating_sub(chars));
    Ok(Value::string(match (left, chars > width) {
        (true, true) => source.chars().take(width).collect(),
        (false, true) => source.chars().skip(chars - width).collect(),
        (true, false) => format!("{source}{padding}"),
        (false, false) => format!("{padding}{source}"),
    }))
}
