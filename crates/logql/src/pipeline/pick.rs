//! `| drop` and `| keep`.

use model::Matcher;

use super::names::{FixedNames, NameId};
use super::row::Row;
use super::wanted::{ERROR_DETAILS_LABEL, ERROR_LABEL, PRESERVE_ERROR_LABEL};
use crate::syntax::ast::LabelPick;

/// What one part of `drop` looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Error,
    ErrorDetails,
    Label(NameId),
}

/// `| drop a, b="x"`, compiled.
#[derive(Debug)]
pub(super) struct Drop(Vec<(Target, Option<Matcher>)>);

impl Drop {
    pub(super) fn compile(picks: &[LabelPick], names: &mut FixedNames) -> Self {
        let compile = |pick: &LabelPick| {
            let (name, matcher) = match pick {
                LabelPick::Name(name) => (name.as_str(), None),
                LabelPick::Matcher(matcher) => (matcher.name(), Some(matcher.clone())),
            };
            let target = match name {
                ERROR_LABEL => Target::Error,
                ERROR_DETAILS_LABEL => Target::ErrorDetails,
                name => Target::Label(names.intern(name)),
            };
            (target, matcher)
        };
        Self(picks.iter().map(compile).collect())
    }

    /// The labels that it may remove.
    pub(super) fn labels(&self) -> impl Iterator<Item = NameId> {
        self.0.iter().filter_map(|(target, _)| match target {
            Target::Label(name) => Some(*name),
            Target::Error | Target::ErrorDetails => None,
        })
    }

    pub(super) fn run(&self, row: &mut Row) {
        for (target, matcher) in &self.0 {
            let value = match target {
                Target::Error => Some(row.error()),
                Target::ErrorDetails => Some(row.error_details()),
                Target::Label(name) => row.get(*name),
            };
            let matcher = matcher.as_ref();
            if matcher.is_some_and(|by| !by.matches_value(value.unwrap_or_default())) {
                continue;
            }
            match target {
                Target::Error => row.clear_error(),
                Target::ErrorDetails => row.clear_error_details(),
                Target::Label(name) => row.delete(*name),
            }
        }
    }
}

/// `| keep a, b=~"x"`, compiled.
#[derive(Debug)]
pub(super) struct Keep(Vec<LabelPick>);

impl Keep {
    pub(super) fn compile(picks: &[LabelPick]) -> Self {
        Self(picks.to_vec())
    }

    pub(super) fn run(&self, row: &mut Row) {
        row.retain(|name, value| {
            let special = [ERROR_LABEL, ERROR_DETAILS_LABEL, PRESERVE_ERROR_LABEL];
            special.contains(&name)
                || self.0.iter().any(|pick| match pick {
                    LabelPick::Name(wanted) => wanted == name,
                    LabelPick::Matcher(matcher) => {
                        matcher.name() == name && matcher.matches_value(value)
                    }
                })
        });
    }
}
