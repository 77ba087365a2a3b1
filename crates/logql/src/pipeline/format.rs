//! `| line_format "..."` and `| label_format a=b, c="..."`.

use super::error::StageFault;
use super::names::{FixedNames, NameId};
use super::row::Row;
use super::stage::Current;
use crate::syntax::ast::LabelFormat;

/// `| line_format`, compiled.
#[derive(Debug)]
pub(super) struct LineFormat;

impl LineFormat {
    pub(super) fn compile(_template: &str) -> Result<Self, StageFault> {
        Err(StageFault::Template("templates are not there".to_owned()))
    }

    /// The labels that the template reads; `None` if it may read any.
    pub(super) fn labels_read(&self) -> Option<Vec<String>> {
        None
    }

    /// Writes the new line to `out`. `false` if the line stays.
    pub(super) fn run(&self, _current: &Current<'_>, _row: &mut Row, _out: &mut Vec<u8>) -> bool {
        false
    }
}

/// One part of `| label_format`, compiled.
#[derive(Debug)]
enum Format {
    Rename { to: NameId, from: NameId },
}

/// `| label_format`, compiled.
#[derive(Debug)]
pub(super) struct LabelFormats(Vec<Format>);

impl LabelFormats {
    pub(super) fn compile(
        formats: &[LabelFormat],
        names: &mut FixedNames,
    ) -> Result<Self, StageFault> {
        let compile = |format: &LabelFormat| match format {
            LabelFormat::Rename { to, from } => Ok(Format::Rename {
                to: names.intern(to),
                from: names.intern(from),
            }),
            LabelFormat::Template { .. } => {
                Err(StageFault::Template("templates are not there".to_owned()))
            }
        };
        Ok(Self(formats.iter().map(compile).collect::<Result<_, _>>()?))
    }

    /// The labels that it reads; `None` if it may read any.
    pub(super) fn labels_read(&self, names: &FixedNames) -> Option<Vec<String>> {
        let read = |format: &Format| match format {
            Format::Rename { from, .. } => names.get(*from).to_owned(),
        };
        Some(self.0.iter().map(read).collect())
    }

    pub(super) fn run(&self, _current: &Current<'_>, row: &mut Row, _out: &mut Vec<u8>) {
        for format in &self.0 {
            match format {
                Format::Rename { to, from } => {
                    if row.set_to_value_of(*to, *from) {
                        row.delete(*from);
                    }
                }
            }
        }
    }
}
