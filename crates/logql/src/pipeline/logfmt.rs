//! `| logfmt`: `key=value` pairs.

use std::cell::OnceCell;

mod scan;
mod seek;

pub use self::scan::{Fault, Pair, PairValue, Scanner};
pub(super) use self::seek::Seeker;
use super::early::EarlyFilters;
use super::keys::KeyCache;
use super::names::{NameId, push_sanitized};
use super::row::Row;

/// `| logfmt`, compiled.
#[derive(Debug)]
pub(super) struct Logfmt {
    /// Whether the first fault ends it.
    pub(super) strict: bool,
    /// Whether keys without value become empty labels.
    pub(super) keep_empty: bool,
}

/// What `| logfmt` keeps between lines.
#[derive(Debug, Default)]
pub(super) struct LogfmtBuffers {
    pub(super) keys: KeyCache,
    unquoted: Vec<u8>,
    sanitized: String,
    /// What finds the wanted keys, if lines are not better read from the start.
    seeker: OnceCell<Option<Seeker>>,
}

impl Logfmt {
    /// Sets labels from the line. `false` if the row is refused.
    pub(super) fn run(
        &self,
        line: &[u8],
        row: &mut Row,
        buffers: &mut LogfmtBuffers,
        early: &EarlyFilters,
    ) -> bool {
        if row.needs_no_parser() {
            return true;
        }
        buffers.keys.begin();
        let mut scanner = Scanner::new(line);
        let mut sought = None;
        // A fault ends a strict one, wherever it is.
        if !self.strict {
            let new = || Seeker::new(row.wanted().names()?.iter(), self.keep_empty);
            let seeker = buffers.seeker.get_or_init(new);
            sought = seeker.as_ref().and_then(|seeker| seeker.line(line));
        }
        loop {
            if let Some(sought) = &mut sought {
                match sought.next(scanner.at()) {
                    Some(at) => scanner.go_to(at),
                    None => return true,
                }
            }
            match scanner.next(&mut buffers.unquoted) {
                Pair::End => return true,
                Pair::Fault(fault) if self.strict => {
                    row.set_parser_error("LogfmtParserErr", Some(&fault.to_string()));
                    return true;
                }
                Pair::Fault(_) => {}
                Pair::Found { value: None, .. } if !self.keep_empty => {}
                Pair::Found { key, value } => {
                    let Some(name) = buffers.keys.name(key, row) else {
                        continue;
                    };
                    row.set_cleaned(name, value.map_or(&[], |value| value.of(&buffers.unquoted)));
                    if !early.pass(name, row) {
                        return false;
                    }
                    if row.has_all_wanted() {
                        return true;
                    }
                }
            }
        }
    }
}

/// `| logfmt a="b", c`, compiled.
#[derive(Debug)]
pub(super) struct LogfmtLookup {
    pub(super) strict: bool,
    /// Labels and the keys that they come from. Of equal keys the last in the line counts.
    pub(super) labels: Vec<(NameId, String)>,
    /// The names of the keys.
    pub(super) keys: Vec<NameId>,
    /// What finds them, if lines are not better read from the start.
    pub(super) seeker: Option<Seeker>,
}

impl LogfmtLookup {
    /// Sets labels from the line. `false` if the row is refused.
    pub(super) fn run(
        &self,
        line: &[u8],
        row: &mut Row,
        buffers: &mut LogfmtBuffers,
        early: &EarlyFilters,
    ) -> bool {
        if row.needs_no_parser() {
            return true;
        }
        // A key that a stage before has made a label of, under its own name, is not read again.
        let read = self.keys.iter().map(|key| {
            let is_label = self.labels.iter().any(|(label, _)| label == key);
            is_label || !row.was_set(*key)
        });
        let read: smallvec::SmallVec<[bool; 8]> = read.collect();
        for (label, _) in &self.labels {
            if row.names.stream_at(*label).is_none() {
                row.set(*label, "");
            }
        }
        let mut scanner = Scanner::new(line);
        let seeker = self.seeker.as_ref().filter(|_| !self.strict);
        let mut sought = seeker.and_then(|seeker| seeker.line(line));
        loop {
            if let Some(sought) = &mut sought {
                match sought.next(scanner.at()) {
                    Some(at) => scanner.go_to(at),
                    None => break,
                }
            }
            let (key, value) = match scanner.next(&mut buffers.unquoted) {
                Pair::End => break,
                Pair::Fault(fault) if self.strict => {
                    row.set_parser_error("LogfmtParserErr", Some(&fault.to_string()));
                    break;
                }
                Pair::Fault(_) => continue,
                Pair::Found { key, value } => (key, value),
            };
            let found = self.find(key, &mut buffers.sanitized);
            let Some(at) = found.filter(|at| read.get(*at) == Some(&true)) else {
                continue;
            };
            let Some((label, _)) = self.labels.get(at) else {
                continue;
            };
            let name = match row.names.stream_at(*label) {
                Some(_) => row.parsed_name(*label),
                None => *label,
            };
            row.set_cleaned(name, value.map_or(&[], |value| value.of(&buffers.unquoted)));
        }
        self.labels.iter().all(|(label, _)| early.pass(*label, row))
    }

    fn find(&self, key: &[u8], sanitized: &mut String) -> Option<usize> {
        let by_text = |text: &[u8]| {
            self.labels
                .iter()
                .position(|(_, source)| source.as_bytes() == text)
        };
        if key.iter().all(|b| *b == b'_' || b.is_ascii_alphabetic()) {
            return by_text(key);
        }
        sanitized.clear();
        push_sanitized(sanitized, key);
        by_text(sanitized.as_bytes())
    }
}

#[cfg(test)]
mod tests;
