//! All fields of an object, nested ones with the names of their objects in front.

use super::super::early::EarlyFilters;
use super::super::keys::KeyCache;
use super::super::names::{NameId, push_sanitized};
use super::super::row::Row;
use super::shape::Shape;
use super::token::{self, JsonFault, Kind, Value};

/// Depth of nesting from which ends of objects are remembered. Each object is searched for its end
/// before its fields are read; without memory the deepest would be searched once per level.
const REMEMBERED_DEPTH: usize = 8;

/// What `| json` keeps between lines: buffers and the names of keys.
#[derive(Debug, Default)]
pub(in super::super) struct JsonFields {
    pub(in super::super) keys: KeyCache,
    shape: Shape,
    open: Vec<Open>,
    /// Name of the objects around, sanitised and joined.
    prefix: String,
    unescaped: Vec<u8>,
    /// Start and end of objects below [`REMEMBERED_DEPTH`], by start.
    ends: Vec<(usize, Option<usize>)>,
}

/// An object whose fields are being read.
#[derive(Debug)]
struct Open {
    /// Where its text ends.
    end: usize,
    /// Length of the prefix outside of it.
    prefix_len: usize,
}

/// What follows an entry.
enum Step {
    /// The fields of its value, an object that ends at `end`.
    Into { end: usize, first: usize },
    /// Another key.
    Next(usize),
    /// The end of the object.
    End,
}

/// Why reading stopped before the end.
enum Stop {
    Fault(JsonFault),
    /// All labels that anyone wants are there.
    Found,
    /// A later stage will refuse the row.
    Refused,
}

impl From<JsonFault> for Stop {
    fn from(fault: JsonFault) -> Self {
        Self::Fault(fault)
    }
}

impl JsonFields {
    /// Sets labels from the line. `false` if the row is refused.
    pub(in super::super) fn run(
        &mut self,
        line: &[u8],
        row: &mut Row,
        early: &EarlyFilters,
    ) -> bool {
        if row.needs_no_parser() {
            return true;
        }
        self.keys.begin();
        self.open.clear();
        self.prefix.clear();
        self.ends.clear();
        self.shape.begin();
        match self.object(line, row, early) {
            Ok(()) | Err(Stop::Found) => true,
            Err(Stop::Refused) => false,
            Err(Stop::Fault(fault)) => {
                row.set_parser_error("JSONParserErr", Some(&fault.to_string()));
                true
            }
        }
    }

    fn object(&mut self, line: &[u8], row: &mut Row, early: &EarlyFilters) -> Result<(), Stop> {
        let mut data = line;
        let Some(mut at) = opened(data, 0)? else {
            return Ok(());
        };
        let wants_all = row.wanted().is_all();
        loop {
            if !wants_all
                && self.open.is_empty()
                && let Some(next) = self.shape.skip(data, at)
            {
                at = next;
                continue;
            }
            let next = match self.entry(data, at, row, early)? {
                Step::Into { end, first } => {
                    data = line.get(..end).unwrap_or(line);
                    Some(first)
                }
                Step::Next(next) => Some(next),
                Step::End => self.leave(line, &mut data)?,
            };
            let Some(next) = next else { return Ok(()) };
            at = next;
        }
    }

    /// Reads a key and its value.
    fn entry(
        &mut self,
        data: &[u8],
        at: usize,
        row: &mut Row,
        early: &EarlyFilters,
    ) -> Result<Step, Stop> {
        match data.get(at) {
            Some(b'"') => {}
            Some(b'}') => return Ok(Step::End),
            _ => return Err(JsonFault::Object.into()),
        }
        let (key_end, escaped) = token::string_end(data, at + 1).ok_or(JsonFault::Malformed)?;
        let key = data.get(at + 1..key_end - 1).unwrap_or_default();
        self.unescaped.clear();
        if escaped && !token::unescape(key, &mut self.unescaped) {
            return Err(JsonFault::Escape.into());
        }
        let key = (!escaped).then_some(key);
        let colon = token::next_token(data, key_end).ok_or(JsonFault::Malformed)?;
        if data.get(colon) != Some(&b':') {
            return Err(JsonFault::Malformed.into());
        }
        if self.open.is_empty() && !row.wanted().is_all() {
            let unwanted = self.keys.unwanted(key.unwrap_or(&self.unescaped), row);
            let text = data.get(at..=colon).unwrap_or_default();
            self.shape.learn(text, unwanted);
        }
        let value = self.value(data, colon + 1)?;
        if value.kind == Kind::Object {
            if let Some(first) = self.enter(data, key, value, row)? {
                let end = value.after;
                return Ok(Step::Into { end, first });
            }
        } else {
            self.field(data, key, value, row, early)?;
        }
        Ok(after_value(data, value.after)?)
    }

    /// Goes back to the object around that has another key; none if there is none.
    fn leave<'a>(
        &mut self,
        line: &'a [u8],
        data: &mut &'a [u8],
    ) -> Result<Option<usize>, JsonFault> {
        while let Some(inner) = self.open.pop() {
            self.prefix.truncate(inner.prefix_len);
            let end = self.open.last().map_or(line.len(), |outer| outer.end);
            *data = line.get(..end).unwrap_or(line);
            if let Step::Next(next) = after_value(data, inner.end)? {
                return Ok(Some(next));
            }
        }
        Ok(None)
    }

    fn value(&mut self, data: &[u8], from: usize) -> Result<Value, JsonFault> {
        if self.open.len() < REMEMBERED_DEPTH {
            return token::value(data, from);
        }
        let start = token::next_token(data, from).ok_or(JsonFault::Malformed)?;
        if data.get(start) != Some(&b'{') {
            return token::value(data, from);
        }
        let known = self.ends.binary_search_by_key(&start, |(start, _)| *start);
        let end = match known.ok().and_then(|at| self.ends.get(at)) {
            Some((_, end)) => *end,
            None => remember_ends(data, start, &mut self.ends),
        };
        let end = end
            .filter(|end| *end <= data.len())
            .ok_or(JsonFault::Object)?;
        Ok(Value {
            kind: Kind::Object,
            start,
            end,
            after: end,
            escaped: false,
        })
    }

    /// Goes into an object; none if nobody wants what is in it, or it is empty.
    fn enter(
        &mut self,
        data: &[u8],
        key: Option<&[u8]>,
        value: Value,
        row: &Row,
    ) -> Result<Option<usize>, JsonFault> {
        let prefix_len = self.prefix.len();
        self.extend_prefix(key);
        if !row.wanted().has_prefix(&self.prefix) {
            self.prefix.truncate(prefix_len);
            return Ok(None);
        }
        let inside = opened(data.get(..value.after).unwrap_or(data), value.start)?;
        if inside.is_some() {
            self.open.push(Open {
                end: value.after,
                prefix_len,
            });
        } else {
            self.prefix.truncate(prefix_len);
        }
        Ok(inside)
    }

    /// Appends a key, or the one that was unescaped last, to the prefix.
    fn extend_prefix(&mut self, key: Option<&[u8]>) {
        let key = key.unwrap_or(&self.unescaped);
        let outside = self.prefix.len();
        if outside > 0 {
            self.prefix.push('_');
        }
        let before = self.prefix.len();
        push_sanitized(&mut self.prefix, key);
        if self.prefix.len() == before {
            self.prefix.truncate(outside);
        }
    }

    fn field(
        &mut self,
        data: &[u8],
        key: Option<&[u8]>,
        value: Value,
        row: &mut Row,
        early: &EarlyFilters,
    ) -> Result<(), Stop> {
        if matches!(value.kind, Kind::Null | Kind::Array) {
            return Ok(());
        }
        let name = if self.prefix.is_empty() {
            self.keys.name(key.unwrap_or(&self.unescaped), row)
        } else {
            let prefix_len = self.prefix.len();
            self.extend_prefix(key);
            let name = self.keys.name(self.prefix.as_bytes(), row);
            self.prefix.truncate(prefix_len);
            name
        };
        let Some(name) = name else { return Ok(()) };
        set_value(row, name, value, data, &mut self.unescaped);
        if !early.pass(name, row) {
            return Err(Stop::Refused);
        }
        if row.has_all_wanted() {
            return Err(Stop::Found);
        }
        Ok(())
    }
}

/// Sets a label to a value that is no object.
pub(super) fn set_value(
    row: &mut Row,
    name: NameId,
    value: Value,
    data: &[u8],
    unescaped: &mut Vec<u8>,
) {
    let text = value.text(data);
    if !value.escaped {
        return match value.kind {
            Kind::String => row.set_cleaned(name, text),
            _ => row.set_lossy(name, text),
        };
    }
    unescaped.clear();
    if !token::unescape(text, unescaped) {
        unescaped.clear();
    }
    row.set_cleaned(name, unescaped);
}

/// What follows a value in an object.
fn after_value(data: &[u8], from: usize) -> Result<Step, JsonFault> {
    let at = token::next_token(data, from).ok_or(JsonFault::Array)?;
    match data.get(at) {
        Some(b'}') => Ok(Step::End),
        Some(b',') => {
            let next = token::next_token(data, at + 1).ok_or(JsonFault::Array)?;
            Ok(Step::Next(next))
        }
        _ => Err(JsonFault::Object),
    }
}

/// Where the first key of the object is that opens at `from`; none if it has no field.
fn opened(data: &[u8], from: usize) -> Result<Option<usize>, JsonFault> {
    let open = token::next_token(data, from).ok_or(JsonFault::Object)?;
    if data.get(open) != Some(&b'{') {
        return Err(JsonFault::Object);
    }
    let first = token::next_token(data, open + 1).ok_or(JsonFault::Malformed)?;
    Ok((data.get(first) != Some(&b'}')).then_some(first))
}

/// Finds the end of the object at `from` and of all objects in it.
fn remember_ends(
    data: &[u8],
    from: usize,
    ends: &mut Vec<(usize, Option<usize>)>,
) -> Option<usize> {
    ends.clear();
    let mut open = Vec::new();
    let mut at = from;
    loop {
        at += memchr::memchr3(b'"', b'{', b'}', data.get(at..)?)?;
        match data.get(at) {
            Some(b'"') => at = token::string_end(data, at + 1)?.0,
            Some(b'{') => {
                open.push(ends.len());
                ends.push((at, None));
                at += 1;
            }
            _ => {
                at += 1;
                let object = open.pop().and_then(|object: usize| ends.get_mut(object));
                if let Some(object) = object {
                    object.1 = Some(at);
                }
                if open.is_empty() {
                    return Some(at);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::{LabelSet, RowLabels};
    use proptest::prelude::*;
    use proptest::sample::{select, subsequence};

    use super::super::super::names::FixedNames;
    use super::super::super::wanted::Wanted;
    use super::*;

    fn parsed(lines: &[String], wanted: &[String], remembers: bool) -> Vec<RowLabels> {
        let stream = LabelSet::from_pairs([("app", "web")]);
        let mut names = FixedNames::default();
        let wanted = Arc::new(Wanted::for_metric(wanted, false, false, &mut names));
        let mut row = Row::new(&stream, Arc::new(names), wanted);
        let mut fields = JsonFields::default();
        let mut parse = |line: &String| {
            row.begin(&LabelSet::default());
            if !remembers {
                fields = JsonFields::default();
            }
            assert!(fields.run(line.as_bytes(), &mut row, &EarlyFilters::default()));
            row.to_row_labels()
        };
        lines.iter().map(&mut parse).collect()
    }

    const PARTS: [&str; 24] = [
        "\"a\":1,",
        "\"a\":\"x\",",
        "\"a\": {\"b\":2},",
        "\"a\" :[1,{\"b\":3}],",
        "\"b\":{\"a\":4,\"c\":5},",
        "\"b\":true,",
        "\"b\":tru,",
        "\"c\":\"}\\\"\", ",
        "\"c\":null,",
        "\"app\":\"6\",",
        "\"\":{\"a\":7},",
        "\"\\u0061\":8,",
        "\"\\q\":9,",
        "\"a",
        "\"a\":",
        "\"a\":\"",
        "}",
        "{",
        ",",
        " ",
        "\"d.e\":10,",
        "\"d\":{\"e\":11},",
        "\"z\":\"\\x\",",
        "\"z\":-",
    ];

    proptest! {
        #[test]
        fn what_is_passed_over_is_what_nobody_wants(
            lines in prop::collection::vec(
                prop::collection::vec(select(&PARTS[..]), 0..6),
                1..6,
            ),
            wanted in subsequence(vec!["a", "a_b", "b_c", "c", "app", "d_e", "none"], 1..4),
        ) {
            let whole = |parts: &Vec<&str>| format!("{{{}\"last\":1}}", parts.concat());
            let lines: Vec<String> = lines.iter().map(whole).collect();
            let twice = [lines.clone(), lines].concat();
            let wanted: Vec<String> = wanted.into_iter().map(str::to_owned).collect();
            prop_assert_eq!(parsed(&twice, &wanted, true), parsed(&twice, &wanted, false));
        }
    }
}
