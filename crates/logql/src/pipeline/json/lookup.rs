//! The fields that paths name.
//!
//! One pass over the line serves all paths. Like the reference's scanner it is a walk over quotes
//! and brackets that knows the keys around; it does not check that the line is JSON.

use super::super::row::Row;
use super::fields::set_value;
use super::token::{self, JsonFault, Kind, Value};
use crate::pipeline::early::EarlyFilters;
use crate::pipeline::names::NameId;
use crate::syntax::PathSegment;

/// `| json a="x.y", b="z[0]"`, compiled.
#[derive(Debug)]
pub(in super::super) struct JsonLookup {
    pub(in super::super) labels: Vec<NameId>,
    pub(in super::super) paths: Vec<Vec<PathSegment>>,
    /// Length of the longest path; deeper keys are not looked at.
    pub(in super::super) depth: usize,
}

/// What a lookup keeps between lines: buffers.
#[derive(Debug, Default)]
pub(in super::super) struct LookupBuffers {
    /// The keys around and at the cursor, and behind them keys of earlier lines.
    keys: Vec<Vec<u8>>,
    /// How many of the keys are of this line.
    known: usize,
    found: Vec<bool>,
    left: usize,
    unescaped: Vec<u8>,
}

struct Walk<'a> {
    lookup: &'a JsonLookup,
    buffers: &'a mut LookupBuffers,
    row: &'a mut Row,
    early: &'a EarlyFilters,
    set: usize,
    refused: bool,
}

impl JsonLookup {
    /// Sets labels from the line. `false` if the row is refused.
    pub(in super::super) fn run(
        &self,
        line: &[u8],
        row: &mut Row,
        buffers: &mut LookupBuffers,
        early: &EarlyFilters,
    ) -> bool {
        if line.is_empty() || row.needs_no_parser() {
            return true;
        }
        if !matches!(line.first(), Some(b'"' | b'{' | b'[')) {
            row.set_parser_error("JSONParserErr", None);
            return true;
        }
        buffers.found.clear();
        buffers.found.resize(self.paths.len(), false);
        buffers.left = self.paths.len();
        buffers.known = 0;
        let mut walk = Walk {
            lookup: self,
            buffers,
            row,
            early,
            set: 0,
            refused: false,
        };
        walk.run(line);
        if walk.refused {
            return false;
        }
        if walk.set < self.labels.len() {
            for label in &self.labels {
                if row.get(*label).is_none() {
                    row.set(*label, "");
                }
            }
        }
        true
    }
}

impl Walk<'_> {
    fn run(&mut self, line: &[u8]) -> Option<()> {
        let (mut at, mut level) = (0, 0_usize);
        while !self.refused {
            let from = line.get(at..)?;
            at += from
                .iter()
                .position(|b| matches!(b, b'"' | b'{' | b'}' | b'[' | b']'))?;
            match line.get(at)? {
                b'"' => at = self.string(line, at, level)?,
                b'{' => level += 1,
                b'[' => at = self.array(line, at, &mut level)?,
                // A bracket too many: nothing after it can be found.
                _ => level = level.checked_sub(1)?,
            }
            at += 1;
        }
        None
    }

    /// Passes a string, and looks at the value behind it if it is a key.
    fn string(&mut self, line: &[u8], at: usize, level: usize) -> Option<usize> {
        let (end, escaped) = token::string_end(line, at + 1)?;
        let colon = token::next_token(line, end)?;
        if line.get(colon) != Some(&b':') {
            return Some(colon - 1);
        }
        if level > self.lookup.depth {
            return Some(colon);
        }
        if level == 0 {
            let fault = JsonFault::Malformed.to_string();
            self.row.set_parser_error("JSONParserErr", Some(&fault));
            return None;
        }
        let raw = line.get(at + 1..end - 1)?;
        if self.buffers.keys.len() < level {
            self.buffers.keys.resize_with(level, Vec::new);
        }
        let known = self.buffers.known;
        let forgotten = self.buffers.keys.get_mut(known..level);
        forgotten
            .unwrap_or_default()
            .iter_mut()
            .for_each(Vec::clear);
        self.buffers.known = known.max(level);
        let key = self.buffers.keys.get_mut(level - 1)?;
        key.clear();
        if escaped {
            if !token::unescape(raw, key) {
                key.clear();
            }
        } else {
            key.extend_from_slice(raw);
        }
        for path in 0..self.lookup.paths.len() {
            if self.is_at(path, level) {
                self.mark(path);
                self.take(path, line, token::value(line, colon + 1));
                if self.buffers.left == 0 || self.refused {
                    return None;
                }
            }
        }
        Some(colon)
    }

    /// Whether the keys around and at the cursor are all of the path.
    fn is_at(&self, path: usize, level: usize) -> bool {
        let open = self.buffers.found.get(path) == Some(&false);
        let steps = self.lookup.paths.get(path);
        open && steps.is_some_and(|steps| steps.len() == level && self.agrees(steps))
    }

    /// Whether these steps are the keys around the cursor.
    fn agrees(&self, steps: &[PathSegment]) -> bool {
        if self.buffers.known < steps.len() {
            return false;
        }
        let mut pairs = std::iter::zip(steps, &self.buffers.keys);
        pairs.all(
            |(step, key)| matches!(step, PathSegment::Field(wanted) if *wanted.as_bytes() == **key),
        )
    }

    fn mark(&mut self, path: usize) {
        if let Some(found) = self.buffers.found.get_mut(path) {
            *found = true;
        }
        self.buffers.left = self.buffers.left.saturating_sub(1);
    }

    /// Passes an array, or looks at its elements if a path goes on in it.
    fn array(&mut self, line: &[u8], at: usize, level: &mut usize) -> Option<usize> {
        let goes_on = |path: &usize| {
            let open = self.buffers.found.get(*path) == Some(&false);
            let steps = self.lookup.paths.get(*path).filter(|_| open)?;
            let Some(PathSegment::Index(index)) = steps.get(*level) else {
                return None;
            };
            let around = steps.get(..*level)?;
            self.agrees(around).then_some((*path, *index))
        };
        let wanted: Vec<(usize, usize)> = (0..self.lookup.paths.len())
            .filter_map(|path| goes_on(&path))
            .collect();
        if wanted.is_empty() {
            return Some(token::block_end(line, at, b'[', b']')? - 1);
        }
        *level += 1;
        let end = self.elements(line, at, *level, &wanted);
        if self.buffers.left == 0 || self.refused {
            return None;
        }
        Some(end - 1)
    }

    /// Looks at the elements of an array; where it stopped.
    fn elements(
        &mut self,
        line: &[u8],
        at: usize,
        level: usize,
        wanted: &[(usize, usize)],
    ) -> usize {
        let Some(mut at) = token::next_token(line, at + 1) else {
            return at + 1;
        };
        if line.get(at) == Some(&b']') {
            return at;
        }
        for number in 0.. {
            let Ok(value) = token::value(line, at) else {
                return at;
            };
            for (path, _) in wanted.iter().filter(|(_, index)| *index == number) {
                self.mark(*path);
                let steps = self.lookup.paths.get(*path).map(Vec::as_slice);
                let rest = steps
                    .and_then(|steps| steps.get(level..))
                    .unwrap_or_default();
                if let Some(value) = find(line, value, rest) {
                    self.take(*path, line, value);
                }
            }
            let Some(next) = token::next_token(line, value.after) else {
                return value.after;
            };
            if line.get(next) != Some(&b',') {
                return next;
            }
            at = next + 1;
        }
        at
    }

    fn take(&mut self, path: usize, line: &[u8], value: Result<Value, JsonFault>) {
        let value = match value {
            Ok(value) => value,
            Err(fault) => {
                self.row
                    .set_parser_error("JSONParserErr", Some(&fault.to_string()));
                return;
            }
        };
        let Some(label) = self.lookup.labels.get(path) else {
            return;
        };
        let name = self.row.parsed_name(*label);
        match value.kind {
            Kind::Null => self.row.set(name, ""),
            Kind::Object => self.row.set_lossy(name, value.text(line)),
            // The reference resolves escapes in the text of arrays, too.
            Kind::Array => {
                let escaped = value.text(line).contains(&b'\\');
                let value = Value { escaped, ..value };
                set_value(self.row, name, value, line, &mut self.buffers.unescaped);
            }
            _ => set_value(self.row, name, value, line, &mut self.buffers.unescaped),
        }
        self.set += 1;
        self.refused = !self.early.pass(name, self.row);
    }
}

/// Follows steps from a value into it. None if they lead nowhere.
fn find(line: &[u8], mut value: Value, steps: &[PathSegment]) -> Option<Result<Value, JsonFault>> {
    for step in steps {
        let inside = line.get(..value.end)?;
        value = match (step, value.kind) {
            (PathSegment::Field(key), Kind::Object) => field(inside, value.start, key.as_bytes())?,
            (PathSegment::Index(index), Kind::Array) => element(inside, value.start, *index)?,
            _ => return None,
        };
    }
    Some(Ok(value))
}

fn field(data: &[u8], from: usize, wanted: &[u8]) -> Option<Value> {
    let mut at = token::next_token(data, from + 1)?;
    let mut unescaped = Vec::new();
    while data.get(at) == Some(&b'"') {
        let (end, escaped) = token::string_end(data, at + 1)?;
        let raw = data.get(at + 1..end - 1)?;
        unescaped.clear();
        let matches = if escaped {
            token::unescape(raw, &mut unescaped) && unescaped == wanted
        } else {
            raw == wanted
        };
        let colon = token::next_token(data, end).filter(|at| data.get(*at) == Some(&b':'))?;
        let value = token::value(data, colon + 1).ok()?;
        if matches {
            return Some(value);
        }
        let comma = token::next_token(data, value.after)?;
        if data.get(comma) != Some(&b',') {
            return None;
        }
        at = token::next_token(data, comma + 1)?;
    }
    None
}

fn element(data: &[u8], from: usize, wanted: usize) -> Option<Value> {
    let mut at = from + 1;
    for number in 0.. {
        let value = token::value(data, at).ok()?;
        if number == wanted {
            return Some(value);
        }
        let comma = token::next_token(data, value.after)?;
        if data.get(comma) != Some(&b',') {
            return None;
        }
        at = comma + 1;
    }
    None
}
