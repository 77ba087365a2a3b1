//! Further functions of sprig, which the agent's `template` stage has and LogQL has not: lists,
//! maps, defaults, names in other cases, expressions, paths
//! (<https://masterminds.github.io/sprig/>).
//!
//! Lists and maps that a template makes hold plain values only, so that their depth stays that of
//! the documents they come from.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::units::{format_go_duration, quote};

use super::Type::{Any, Int, String as Text};
use super::{Called, Env, Function, bounded, int, owned, part, plain, regex, text, utf8, variadic};
use crate::template::cast::to_int;
use crate::template::gofmt::print_value;
use crate::template::gotime::Zone;
use crate::template::value::{IntKind, Value};

/// The most items of a list that a template makes.
const ITEMS_MAX: usize = 1 << 16;

pub(super) const PROMTAIL: &[Function] = &[
    // Defaults.
    plain("empty", &[Any], |_, args| {
        Ok(Value::Bool(args.first().is_none_or(Value::is_empty)))
    }),
    variadic("coalesce", &[], Any, |_, args| {
        let found = args.iter().find(|arg| !arg.is_empty());
        Ok(found.cloned().unwrap_or(Value::Nil))
    }),
    plain("ternary", &[Any, Any, Any], ternary),
    plain("fail", &[Text], |_, args| Err(utf8(args, 0).into_owned())),
    // Text.
    variadic("quote", &[], Any, |_, args| {
        joined(args, " ", |text| quote(&text))
    }),
    variadic("squote", &[], Any, |_, args| {
        joined(args, " ", |text| format!("'{text}'"))
    }),
    variadic("cat", &[], Any, |_, args| joined(args, " ", |text| text)),
    plain("toString", &[Any], |_, args| {
        Ok(Value::string(args.first().map_or_else(String::new, shown)))
    }),
    plain("nospace", &[Text], |_, args| {
        Ok(mapped(args, |c| (!c.is_whitespace()).then_some(c)))
    }),
    plain("swapcase", &[Text], |_, args| {
        Ok(mapped(args, |c| Some(swapped(c))))
    }),
    plain("untitle", &[Text], |_, args| {
        Ok(Value::string(first_letters(
            &utf8(args, 0),
            char::to_ascii_lowercase,
        )))
    }),
    plain("snakecase", &[Text], |_, args| {
        Ok(Value::string(words(&utf8(args, 0)).join("_")))
    }),
    plain("kebabcase", &[Text], |_, args| {
        Ok(Value::string(words(&utf8(args, 0)).join("-")))
    }),
    plain("camelcase", &[Text], |_, args| {
        let words = words(&utf8(args, 0));
        let words = words
            .iter()
            .map(|word| first_letters(word, char::to_ascii_uppercase));
        Ok(Value::string(words.collect::<String>()))
    }),
    plain("sha256sum", &[Text], |_, args| {
        Ok(super::hash::hex(super::hash::sha2_256(text(args, 0))))
    }),
    plain("base", &[Text], |_, args| Ok(base(args))),
    plain("ext", &[Text], |_, args| {
        let path = text(args, 0);
        let dot = path.iter().rposition(|byte| matches!(byte, b'.' | b'/'));
        let from = dot
            .filter(|at| path.get(*at) == Some(&b'.'))
            .unwrap_or(path.len());
        Ok(part(args, 0, from..path.len()))
    }),
    // Expressions.
    regex("regexMatch", &[Text, Text], |env, args| {
        Ok(Value::Bool(
            env.regexes.get(text(args, 0))?.is_match(text(args, 1)),
        ))
    }),
    regex("regexFind", &[Text, Text], |env, args| {
        let found = env
            .regexes
            .get(text(args, 0))?
            .find(text(args, 1))
            .map(|found| found.range());
        Ok(part(args, 1, found.unwrap_or(0..0)))
    }),
    regex("regexFindAll", &[Text, Text, Int], |env, args| {
        let regex = env.regexes.get(text(args, 0))?;
        let found = regex.find_iter(text(args, 1)).map(|found| found.as_bytes());
        list_of(found.take(limit(args, 2)))
    }),
    regex("regexSplit", &[Text, Text, Int], |env, args| {
        let regex = env.regexes.get(text(args, 0))?;
        list_of(regex.splitn(text(args, 1), limit(args, 2)))
    }),
    // Numbers.
    plain("int64", &[Any], |_, args| {
        Ok(int64(args.first().map_or(0, to_int)))
    }),
    plain("atoi", &[Text], |_, args| {
        Ok(Value::int(utf8(args, 0).parse().unwrap_or(0)))
    }),
    plain("add1", &[Any], |_, args| {
        Ok(int64(args.first().map_or(0, to_int).wrapping_add(1)))
    }),
    plain("until", &[Int], until),
    plain("duration", &[Any], |_, args| {
        let seconds = args.first().map_or(0, to_int);
        Ok(Value::string(format_go_duration(
            seconds.saturating_mul(1_000_000_000),
        )))
    }),
    plain("dateInZone", &[Text, Any, Text], date_in_zone),
    // Lists.
    variadic("list", &[], Any, |_, args| flat_list(args.to_vec())),
    plain("splitList", &[Text, Text], |_, args| split(args)),
    plain("join", &[Text, Any], |_, args| {
        let items = items(args, 1).unwrap_or_else(|| args.get(1).cloned().into_iter().collect());
        joined(&items, &utf8(args, 0), |text| text)
    }),
    plain("first", &[Any], |_, args| {
        Ok(list(args, "find first")?
            .first()
            .cloned()
            .unwrap_or(Value::Nil))
    }),
    plain("last", &[Any], |_, args| {
        Ok(list(args, "find last")?
            .last()
            .cloned()
            .unwrap_or(Value::Nil))
    }),
    plain("rest", &[Any], |_, args| {
        Ok(new_list(
            list(args, "find rest")?
                .get(1..)
                .unwrap_or_default()
                .to_vec(),
        ))
    }),
    plain("initial", &[Any], |_, args| {
        let items = list(args, "find initial")?;
        let kept = items.len().saturating_sub(1);
        Ok(new_list(items.get(..kept).unwrap_or_default().to_vec()))
    }),
    plain("reverse", &[Any], |_, args| {
        let mut items = list(args, "find reverse")?;
        items.reverse();
        Ok(new_list(items))
    }),
    plain("append", &[Any, Any], |_, args| {
        let mut items = list(args, "push")?;
        items.extend(args.get(1).cloned());
        flat_list(items)
    }),
    plain("prepend", &[Any, Any], |_, args| {
        let mut items: Vec<_> = args.get(1).cloned().into_iter().collect();
        items.extend(list(args, "prepend")?);
        flat_list(items)
    }),
    plain("compact", &[Any], |_, args| {
        let items = list(args, "compact")?;
        Ok(new_list(
            items.into_iter().filter(|item| !item.is_empty()).collect(),
        ))
    }),
    plain("has", &[Any, Any], |_, args| {
        let wanted = args.first().map(printed);
        let items = items(args, 1).unwrap_or_default();
        Ok(Value::Bool(
            items.iter().any(|item| Some(printed(item)) == wanted),
        ))
    }),
    // Maps.
    variadic("dict", &[], Any, dict),
    plain("get", &[Any, Text], |_, args| {
        let found = entries(args)?.get(utf8(args, 1).as_ref());
        Ok(found.cloned().unwrap_or(Value::str("")))
    }),
    plain("hasKey", &[Any, Text], |_, args| {
        Ok(Value::Bool(
            entries(args)?.contains_key(utf8(args, 1).as_ref()),
        ))
    }),
    plain("keys", &[Any], |_, args| {
        list_of(entries(args)?.keys().map(String::as_bytes))
    }),
    plain("values", &[Any], |_, args| {
        Ok(new_list(entries(args)?.values().cloned().collect()))
    }),
];

fn int64<'a>(value: i64) -> Value<'a> {
    Value::Int(value, IntKind::Int64)
}

/// `ternary yes no condition`
fn ternary<'a>(_: &Env<'a>, args: &[Value<'a>]) -> Called<'a> {
    let at = match args.get(2) {
        Some(Value::Bool(condition)) => usize::from(!condition),
        other => {
            let name = other.map_or("<nil>", Value::type_name);
            return Err(format!("wrong type for value; expected bool; got {name}"));
        }
    };
    Ok(args.get(at).cloned().unwrap_or(Value::Nil))
}

/// Type and text, for comparing values of any type.
fn printed(value: &Value<'_>) -> (&'static str, String) {
    (value.type_name(), shown(value))
}

fn shown(value: &Value<'_>) -> String {
    let mut out = Vec::new();
    print_value(value, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// The arguments that are not nil as text, each changed, with `separator` between them.
fn joined<'a>(args: &[Value<'a>], separator: &str, change: fn(String) -> String) -> Called<'a> {
    let mut out = String::new();
    for (i, arg) in args
        .iter()
        .filter(|arg| !matches!(arg, Value::Nil))
        .enumerate()
    {
        if i > 0 {
            out.push_str(separator);
        }
        out.push_str(&change(shown(arg)));
        bounded(out.len())?;
    }
    Ok(Value::string(out))
}

fn mapped<'a>(args: &[Value<'a>], change: fn(char) -> Option<char>) -> Value<'a> {
    Value::string(utf8(args, 0).chars().filter_map(change).collect::<String>())
}

fn swapped(c: char) -> char {
    if c.is_ascii_lowercase() {
        c.to_ascii_uppercase()
    } else {
        c.to_ascii_lowercase()
    }
}

/// The text with the first letter of each word changed.
fn first_letters(source: &str, change: fn(&char) -> char) -> String {
    let mut starts = true;
    let letters = source.chars().map(|c| {
        let changed = if starts { change(&c) } else { c };
        starts = c.is_whitespace();
        changed
    });
    letters.collect()
}

/// The words of a name in any case, in lower case: `HTTPServer-port` has three.
fn words(name: &str) -> Vec<String> {
    let chars: Vec<char> = name.chars().collect();
    let mut words = vec![String::new()];
    for (at, c) in chars.iter().enumerate() {
        if matches!(c, '_' | '-' | ' ' | '.') {
            words.push(String::new());
            continue;
        }
        let before = at.checked_sub(1).and_then(|at| chars.get(at));
        let after = chars.get(at + 1);
        let starts = c.is_uppercase()
            && (before.is_some_and(|before| !before.is_uppercase())
                || after.is_some_and(|after| after.is_lowercase()));
        if starts {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The last part of a path; `.` if there is none, `/` for the root.
fn base<'a>(args: &[Value<'a>]) -> Value<'a> {
    let path = text(args, 0);
    let Some(end) = path.iter().rposition(|byte| *byte != b'/') else {
        return Value::str(if path.is_empty() { "." } else { "/" });
    };
    let parts = path.get(..end).unwrap_or_default();
    let start = parts
        .iter()
        .rposition(|byte| *byte == b'/')
        .map_or(0, |at| at + 1);
    part(args, 0, start..end + 1)
}

/// How many matches are wanted; a negative number wants all.
fn limit(args: &[Value<'_>], i: usize) -> usize {
    usize::try_from(int(args, i)).unwrap_or(usize::MAX)
}

fn date_in_zone<'a>(env: &Env<'a>, args: &[Value<'a>]) -> Called<'a> {
    let zone = Zone::load(&utf8(args, 2)).unwrap_or(Zone::Utc);
    let time = super::time::time_or_now(env, args.get(1));
    Ok(Value::string(time.in_zone(zone).format(&utf8(args, 0))))
}

/// The numbers from zero to just before a number, which may be negative.
fn until<'a>(_: &Env<'a>, args: &[Value<'a>]) -> Called<'a> {
    let count = int(args, 0);
    if count.unsigned_abs() > ITEMS_MAX as u64 {
        return Err(too_many());
    }
    let numbers = (0..count.abs()).map(|i| Value::int(i * count.signum()));
    Ok(new_list(numbers.collect()))
}

fn too_many() -> String {
    format!("list has more than {ITEMS_MAX} items")
}

fn new_list<'a>(items: Vec<Value<'static>>) -> Value<'a> {
    Value::List(Arc::new(items))
}

/// A list of pieces of text.
fn list_of<'a, 't>(pieces: impl Iterator<Item = &'t [u8]>) -> Called<'a> {
    let mut items = Vec::new();
    for piece in pieces {
        if items.len() == ITEMS_MAX {
            return Err(too_many());
        }
        items.push(owned(piece.to_vec()));
    }
    Ok(new_list(items))
}

fn split<'a>(args: &[Value<'a>]) -> Called<'a> {
    let (separator, source) = (utf8(args, 0), utf8(args, 1));
    if separator.is_empty() {
        return list_of(source.char_indices().map(|(at, c)| {
            source
                .as_bytes()
                .get(at..at + c.len_utf8())
                .unwrap_or_default()
        }));
    }
    list_of(source.split(separator.as_ref()).map(str::as_bytes))
}

/// A list of values that are not lists or maps themselves.
fn flat_list<'a>(values: Vec<Value<'_>>) -> Called<'a> {
    if values.len() > ITEMS_MAX {
        return Err(too_many());
    }
    let flat: Result<_, _> = values.into_iter().map(plain_value).collect();
    Ok(new_list(flat?))
}

fn plain_value(value: Value<'_>) -> Result<Value<'static>, String> {
    Ok(match value {
        Value::Missing | Value::Nil => Value::Nil,
        Value::Bool(value) => Value::Bool(value),
        Value::Int(value, kind) => Value::Int(value, kind),
        Value::Float(value) => Value::Float(value),
        Value::Complex(real, imaginary) => Value::Complex(real, imaginary),
        Value::Str(text) => Value::Str(text.into_owned().into()),
        Value::Time(time) => Value::Time(time),
        nested => {
            return Err(format!(
                "cannot hold a value of type {}",
                nested.type_name()
            ));
        }
    })
}

/// The items of argument `i`, if it is a list.
fn items(args: &[Value<'_>], i: usize) -> Option<Vec<Value<'static>>> {
    match args.get(i) {
        Some(Value::List(items)) => Some(items.to_vec()),
        _ => None,
    }
}

fn list(args: &[Value<'_>], what: &str) -> Result<Vec<Value<'static>>, String> {
    items(args, 0).ok_or_else(|| {
        let name = args.first().map_or("<nil>", Value::type_name);
        format!("Cannot {what} on type {name}")
    })
}

type Entries = BTreeMap<String, Value<'static>>;

fn entries<'v>(args: &'v [Value<'_>]) -> Result<&'v Entries, String> {
    match args.first() {
        Some(Value::Map { entries, .. }) => Ok(entries),
        other => {
            let name = other.map_or("<nil>", Value::type_name);
            Err(format!(
                "wrong type for value; expected map[string]interface {{}}; got {name}"
            ))
        }
    }
}

/// Keys and values in turn; a key without a value has an empty text.
fn dict<'a>(_: &Env<'a>, args: &[Value<'a>]) -> Called<'a> {
    let mut entries = Entries::new();
    for pair in args.chunks(2) {
        let value = pair.get(1).cloned().unwrap_or(Value::str(""));
        let key = pair.first().map_or_else(String::new, shown);
        entries.insert(key, plain_value(value)?);
    }
    Ok(Value::Map {
        entries: Arc::new(entries),
        strings: false,
    })
}
