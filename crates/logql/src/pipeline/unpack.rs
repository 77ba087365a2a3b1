//! `| unpack`: labels and line that an agent packed into JSON.

use super::early::EarlyFilters;
use super::json::token::{self, JsonFault, Kind};
use super::keys::KeyCache;
use super::names::NameId;
use super::row::Row;

/// The key of the packed line.
const ENTRY: &[u8] = b"_entry";

/// What `| unpack` keeps between lines.
#[derive(Debug, Default)]
pub(super) struct UnpackBuffers {
    pub(super) keys: KeyCache,
    found: Vec<(NameId, usize, usize)>,
    text: Vec<u8>,
    key: Vec<u8>,
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unpacked {
    /// It stays as it is.
    Kept,
    /// The buffer has the packed one.
    Replaced,
    /// The row is refused.
    Refused,
}

impl UnpackBuffers {
    /// Sets labels from the line and writes the packed one to `entry`.
    pub(super) fn run(
        &mut self,
        line: &[u8],
        entry: &mut Vec<u8>,
        row: &mut Row,
        early: &EarlyFilters,
    ) -> Unpacked {
        if line.is_empty() || row.needs_no_parser() {
            return Unpacked::Kept;
        }
        if line.first() != Some(&b'{') {
            let details = "expecting json object(6), but it is not";
            row.set_parser_error("JSONParserErr", Some(details));
            return Unpacked::Kept;
        }
        self.keys.begin();
        self.found.clear();
        self.text.clear();
        let packed = match self.read(line, entry, row) {
            Ok(packed) => packed,
            Err(fault) => {
                row.set_parser_error("JSONParserErr", Some(&fault.to_string()));
                return Unpacked::Kept;
            }
        };
        if !packed {
            return Unpacked::Kept;
        }
        for (name, from, to) in &self.found {
            row.set_cleaned(*name, self.text.get(*from..*to).unwrap_or_default());
            if !early.pass(*name, row) {
                return Unpacked::Refused;
            }
        }
        Unpacked::Replaced
    }

    /// Collects the strings of the object. Whether there is a packed line among them.
    fn read(&mut self, line: &[u8], entry: &mut Vec<u8>, row: &mut Row) -> Result<bool, JsonFault> {
        let mut packed = false;
        let mut at = token::next_token(line, 1).ok_or(JsonFault::Malformed)?;
        if line.get(at) == Some(&b'}') {
            return Ok(false);
        }
        loop {
            match line.get(at) {
                Some(b'"') => {}
                Some(b'}') => return Ok(packed),
                _ => return Err(JsonFault::Object),
            }
            let (end, escaped) = token::string_end(line, at + 1).ok_or(JsonFault::Malformed)?;
            let raw = line.get(at + 1..end - 1).unwrap_or_default();
            self.key.clear();
            if escaped && !token::unescape(raw, &mut self.key) {
                return Err(JsonFault::Escape);
            }
            let key = if escaped { &*self.key } else { raw };
            let colon = token::next_token(line, end).ok_or(JsonFault::Malformed)?;
            if line.get(colon) != Some(&b':') {
                return Err(JsonFault::Malformed);
            }
            let value = token::value(line, colon + 1)?;
            if value.kind == Kind::String && key == ENTRY {
                entry.clear();
                if !token::unescape(value.text(line), entry) {
                    entry.clear();
                }
                packed = true;
            } else if value.kind == Kind::String
                && let Some(name) = self.keys.name(key, row)
            {
                let from = self.text.len();
                if !token::unescape(value.text(line), &mut self.text) {
                    self.text.truncate(from);
                }
                self.found.push((name, from, self.text.len()));
            }
            let comma = token::next_token(line, value.after).ok_or(JsonFault::Array)?;
            match line.get(comma) {
                Some(b'}') => return Ok(packed),
                Some(b',') => {}
                _ => return Err(JsonFault::Object),
            }
            at = token::next_token(line, comma + 1).ok_or(JsonFault::Array)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::LabelSet;

    use super::super::names::FixedNames;
    use super::super::wanted::Wanted;
    use super::*;

    fn unpacked(line: &str) -> (Unpacked, String, String) {
        let stream = LabelSet::from_pairs([("zone", "z")]);
        let names = Arc::new(FixedNames::default());
        let mut row = Row::new(&stream, names, Arc::new(Wanted::all()));
        row.begin(&LabelSet::default());
        let mut entry = Vec::new();
        let mut buffers = UnpackBuffers::default();
        let outcome = buffers.run(
            line.as_bytes(),
            &mut entry,
            &mut row,
            &EarlyFilters::default(),
        );
        let labels = row.to_row_labels().parsed.to_string();
        (outcome, labels, String::from_utf8(entry).unwrap())
    }

    #[test]
    fn strings_become_labels_if_there_is_an_entry() {
        let line = r#"{"a-b":"1\n","n":2,"zone":"x","_entry":"the \"line\"","o":{"p":"q"}}"#;
        let labels = r#"{a_b="1\n", zone_extracted="x"}"#.to_owned();
        assert_eq!(
            unpacked(line),
            (Unpacked::Replaced, labels, r#"the "line""#.to_owned())
        );
        assert_eq!(
            unpacked(r#"{"a":"1"}"#),
            (Unpacked::Kept, "{}".to_owned(), String::new())
        );
        assert_eq!(unpacked("{}").0, Unpacked::Kept);
    }

    #[test]
    fn what_is_no_object_is_an_error() {
        let (_, labels, _) = unpacked("plain");
        assert!(labels.contains("expecting json object(6), but it is not"));
        assert!(
            unpacked(r#"{"a":"x","_entry":"#)
                .1
                .contains("JSONParserErr")
        );
    }
}
