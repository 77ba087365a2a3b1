//! The entries that lines of a stream begin with, which tend to be the same in every line.
//!
//! An entry that nobody wants is passed over if the line has the very bytes of its key that the line
//! before had in that place: its value is looked at no further than where it ends. Whatever differs
//! is left to who reads entries one by one, so that nothing is taken for what it is not.

use super::token::{self, Kind};

/// Entries that are remembered.
const ENTRIES_MAX: usize = 64;

/// What of an entry nobody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Unwanted {
    /// Somebody may want all of it.
    Nothing,
    /// Its value, unless that is an object.
    Value,
    /// Its value whatever it is.
    Anything,
}

/// The entries at the top of the line before.
#[derive(Debug, Default)]
pub(super) struct Shape {
    entries: Vec<Entry>,
    /// How many entries of this line were seen.
    seen: usize,
}

#[derive(Debug)]
struct Entry {
    /// From the quote before the key to the colon.
    key: Vec<u8>,
    unwanted: Unwanted,
}

impl Shape {
    /// Starts a line.
    pub(super) fn begin(&mut self) {
        self.seen = 0;
    }

    /// Passes over the entry at `at`: where the key behind it begins. None if the entry has to be
    /// read.
    pub(super) fn skip(&mut self, data: &[u8], at: usize) -> Option<usize> {
        let entry = self.entries.get(self.seen)?;
        if entry.unwanted == Unwanted::Nothing {
            return None;
        }
        let from = at + entry.key.len();
        if data.get(at..from)? != entry.key {
            return None;
        }
        let after = if data.get(from) == Some(&b'"') {
            token::string_end(data, from + 1)?.0
        } else {
            let value = token::value(data, from).ok()?;
            if value.kind == Kind::Object && entry.unwanted != Unwanted::Anything {
                return None;
            }
            value.after
        };
        if data.get(after) != Some(&b',') {
            return None;
        }
        let next = token::next_token(data, after + 1)?;
        if data.get(next) != Some(&b'"') {
            return None;
        }
        self.seen += 1;
        Some(next)
    }

    /// Remembers an entry that was read.
    pub(super) fn learn(&mut self, key: &[u8], unwanted: Unwanted) {
        if let Some(entry) = self.entries.get_mut(self.seen) {
            entry.key.clear();
            entry.key.extend_from_slice(key);
            entry.unwanted = unwanted;
        } else if self.entries.len() < ENTRIES_MAX {
            let key = key.to_vec();
            self.entries.push(Entry { key, unwanted });
        }
        self.seen += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_and_unwanted_is_passed_over() {
        let mut shape = Shape::default();
        shape.learn(b"\"a\":", Unwanted::Value);
        shape.learn(b"\"b\":", Unwanted::Anything);
        shape.learn(b"\"c\":", Unwanted::Nothing);
        for (line, skipped) in [
            (r#""a":"x\"",  "b":{"c":"}"},"c":1}"#, 2),
            (r#""a": [1,"]"],"b":true,"c":1}"#, 2),
            (r#""a":{"b":1},"b":1}"#, 0),
            (r#""a":tru,"b":1}"#, 0),
            (r#""a":1,b:2}"#, 0),
            (r#""a":1 ,"b":2}"#, 0),
            (r#""a":1}"#, 0),
            (r#""a":"x"#, 0),
            (r#""b":1,"c":2}"#, 0),
            (r#""a":1,"c":1,"b":1}"#, 1),
        ] {
            shape.begin();
            let (mut at, mut count) = (0, 0);
            while let Some(next) = shape.skip(line.as_bytes(), at) {
                (at, count) = (next, count + 1);
            }
            assert_eq!(count, skipped, "{line}");
        }
    }
}
