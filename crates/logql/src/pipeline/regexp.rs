//! `| regexp "(?P<name>..)"`.

use model::{re2, readable};
use regex::bytes::{CaptureLocations, Regex};

use super::early::EarlyFilters;
use super::names::{FixedNames, NameId, push_sanitized};
use super::row::Row;
use super::wanted::{EXTRACTED_SUFFIX, Wanted};
use super::{PipelineError, StageFault};

/// A regex whose named groups become labels.
#[derive(Debug)]
pub(super) struct Regexp {
    regex: Regex,
    /// Groups and the labels that they become, in order.
    groups: Vec<(usize, NameId)>,
    /// What tells that a line cannot match, if anything.
    literal: Option<memchr::memmem::Finder<'static>>,
}

impl Regexp {
    pub(super) fn compile(pattern: &str, names: &mut FixedNames) -> Result<Self, PipelineError> {
        let translated = re2::translate(pattern).map_err(StageFault::regex)?;
        let regex = super::regex_plan::build(&translated.pattern)?;
        let mut label_of = |(group, name): &(usize, String)| {
            let mut label = String::new();
            push_sanitized(&mut label, name.as_bytes());
            (*group, names.intern(&label))
        };
        let groups = translated.names.iter().map(&mut label_of).collect();
        let literals = super::regex_plan::required_literals(&translated.pattern);
        let longest = literals.into_iter().max_by_key(Vec::len);
        Ok(Self {
            regex,
            groups,
            literal: longest.map(|text| memchr::memmem::Finder::new(&text).into_owned()),
        })
    }

    /// Buffers for [`Self::run`].
    pub(super) fn locations(&self) -> CaptureLocations {
        self.regex.capture_locations()
    }

    /// Drops groups that nobody wants.
    pub(super) fn retain_wanted(&mut self, wanted: &Wanted, names: &FixedNames) {
        self.groups.retain(|(_, id)| {
            let name = names.get(*id);
            wanted.has(name) || wanted.has(&format!("{name}{EXTRACTED_SUFFIX}"))
        });
    }

    /// Sets labels from the line. `false` if the row is refused.
    pub(super) fn run(
        &self,
        line: &[u8],
        row: &mut Row,
        locations: &mut CaptureLocations,
        early: &EarlyFilters,
    ) -> bool {
        if self.groups.is_empty() || row.needs_no_parser() {
            return true;
        }
        if self
            .literal
            .as_ref()
            .is_some_and(|literal| literal.find(line).is_none())
        {
            return true;
        }
        let line = readable(line);
        let line = line.as_bytes();
        if self.regex.captures_read(locations, line).is_none() {
            return true;
        }
        for (group, label) in &self.groups {
            let found = locations
                .get(*group)
                .and_then(|(from, to)| line.get(from..to));
            let name = row.parsed_name(*label);
            if row.was_set(name) {
                continue;
            }
            row.set_lossy(name, found.unwrap_or_default());
            if !early.pass(name, row) {
                return false;
            }
        }
        true
    }
}
