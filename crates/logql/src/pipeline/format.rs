//! `| line_format "..."` and `| label_format a=b, c="..."`.

use smallvec::SmallVec;

use super::error::StageFault;
use super::names::{FixedNames, NameId};
use super::row::{self, Row};
use super::stage::Current;
use super::wanted::{ERROR_DETAILS_LABEL, ERROR_LABEL};
use crate::syntax::ast::LabelFormat;
use crate::template::{Context, Dialect, Labels, Template};

/// What `__error__` says after a template failed.
const FAILED: &str = "TemplateFormatErr";

/// The labels of a row as templates see them: those of errors, too.
impl Labels for Row {
    fn get(&self, name: &str) -> Option<&str> {
        match name {
            ERROR_LABEL if self.has_error() => Some(self.error()),
            ERROR_DETAILS_LABEL if !self.error_details().is_empty() => Some(self.error_details()),
            name => self.get_by_name(name),
        }
    }

    fn for_each(&self, visit: &mut dyn FnMut(&str, &str)) {
        self.iter().for_each(|(name, value)| visit(name, value));
    }
}

fn context<'a>(current: &Current<'a>, row: &'a Row) -> Context<'a> {
    Context {
        line: current.line,
        timestamp_ns: current.timestamp_ns,
        now_ns: current.now_ns,
        labels: row,
    }
}

/// `| line_format`, compiled.
#[derive(Debug)]
pub(super) struct LineFormat(Template);

impl LineFormat {
    pub(super) fn compile(template: &str) -> Result<Self, StageFault> {
        let template = Template::parse("line", template, Dialect::LogQl);
        Ok(Self(template.map_err(StageFault::LineTemplate)?))
    }

    /// The labels that the template reads; `None` if it may read any.
    pub(super) fn labels_read(&self) -> Option<Vec<String>> {
        self.0.labels_read()
    }

    /// Writes the new line to `out`. `false` if the template fails and the line stays.
    pub(super) fn run(&self, current: &Current<'_>, row: &mut Row, out: &mut Vec<u8>) -> bool {
        out.clear();
        match self.0.run(&context(current, row), out) {
            Ok(()) => true,
            Err(error) => {
                row.set_error(FAILED, Some(&error.to_string()));
                false
            }
        }
    }
}

/// One part of `| label_format`, compiled.
#[derive(Debug)]
enum Format {
    Rename { to: NameId, from: NameId },
    Template { to: NameId, template: Box<Template> },
}

/// `| label_format`, compiled.
#[derive(Debug)]
pub(super) struct LabelFormats(Vec<Format>);

/// What a template of a stage printed, in a buffer that all of them share.
type Printed = Result<std::ops::Range<usize>, Fault>;

/// What `__error__` and `__error_details__` say.
type Fault = (&'static str, String);

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
            LabelFormat::Template { to, template } => {
                let parsed = Template::parse("label", template, Dialect::LogQl);
                let template = parsed.map_err(|error| StageFault::LabelTemplate {
                    label: to.clone(),
                    error,
                })?;
                let to = names.intern(to);
                Ok(Format::Template {
                    to,
                    template: Box::new(template),
                })
            }
        };
        Ok(Self(formats.iter().map(compile).collect::<Result<_, _>>()?))
    }

    /// The labels that it reads; `None` if it may read any.
    pub(super) fn labels_read(&self, names: &FixedNames) -> Option<Vec<String>> {
        let mut read = Vec::new();
        for format in &self.0 {
            match format {
                Format::Rename { from, .. } => read.push(names.get(*from).to_owned()),
                Format::Template { template, .. } => read.extend(template.labels_read()?),
            }
        }
        Some(read)
    }

    /// The labels that it sets.
    pub(super) fn set(&self) -> impl Iterator<Item = NameId> {
        self.0.iter().map(|format| match format {
            Format::Rename { to, .. } | Format::Template { to, .. } => *to,
        })
    }

    /// The labels that it removes.
    pub(super) fn removed(&self) -> impl Iterator<Item = NameId> {
        self.0.iter().filter_map(|format| match format {
            Format::Rename { from, .. } => Some(*from),
            Format::Template { .. } => None,
        })
    }

    /// Sets labels from left to right. All templates see the labels as the first one does: what a
    /// template sets shows to renames behind it only.
    pub(super) fn run(&self, current: &Current<'_>, row: &mut Row, out: &mut Vec<u8>) {
        out.clear();
        let mut printed: Option<smallvec::IntoIter<[Printed; 4]>> = None;
        for format in &self.0 {
            match format {
                Format::Rename { to, from } => {
                    if row.set_to_value_of(*to, *from) {
                        row.delete(*from);
                    }
                }
                Format::Template { to, .. } => {
                    let printed = printed.get_or_insert_with(|| self.print(current, row, out));
                    match printed.next() {
                        Some(Ok(range)) => row.set_lossy(*to, out.get(range).unwrap_or_default()),
                        Some(Err((error, details))) => row.set_error(error, Some(&details)),
                        None => {}
                    }
                }
            }
        }
    }

    /// Runs all templates.
    fn print(
        &self,
        current: &Current<'_>,
        row: &Row,
        out: &mut Vec<u8>,
    ) -> smallvec::IntoIter<[Printed; 4]> {
        let print = |format: &Format| {
            let Format::Template { template, .. } = format else {
                return None;
            };
            let start = out.len();
            if start > row::SET_BYTES_MAX {
                return Some(Err((row::TOO_LARGE, row::too_large())));
            }
            let outcome = template.run(&context(current, row), out);
            Some(
                outcome
                    .map(|()| start..out.len())
                    .map_err(|error| (FAILED, error.to_string())),
            )
        };
        let printed: SmallVec<[Printed; 4]> = self.0.iter().filter_map(print).collect();
        printed.into_iter()
    }
}
