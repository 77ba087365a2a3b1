//! A block's lines as a shape and its payloads.

use super::column::ColumnWriter;
use super::group::gather;
use super::payload::Payloads;
use super::tokens::{Mode, Part};
use crate::encode::Body;
use crate::outline::Outline;
use crate::shape::{Group, IdTable, MAX_COLUMNS, MAX_TEMPLATES, Shape};

/// Columns of lines; the rest is for values that have a structure.
const LINE_COLUMNS: usize = MAX_COLUMNS / 4 * 3;

/// Lines as templates and columns, not in frames yet.
pub(crate) struct Draft {
    lines: Group,
    ids: Vec<IdTable>,
    payloads: Payloads,
    /// Bytes of lines that fit no template.
    pub(crate) raw_bytes: usize,
}

/// Takes lines apart: `ends` says where each ends in `text`.
pub(crate) fn draft(text: &[u8], ends: impl Iterator<Item = u32>) -> Option<Draft> {
    let mut start = 0;
    let lines: Vec<Part> = ends
        .map(|end| {
            let len = end - start;
            let part = Part { start, len };
            start = end;
            part
        })
        .collect();
    let gathered = gather(text, &lines, Mode::Lines, MAX_TEMPLATES, LINE_COLUMNS);
    let raw_bytes = gathered.raw_bytes;
    let mut writer = ColumnWriter::new(text, MAX_COLUMNS - gathered.columns.len());
    let lines = writer.group(&gathered, 0)?;
    let (ids, payloads) = writer.finish();
    Some(Draft {
        lines,
        ids,
        payloads,
        raw_bytes,
    })
}

impl Draft {
    /// Whether any line is a JSON object.
    pub(crate) fn has_json(&self) -> bool {
        self.lines.templates.iter().any(|template| template.is_json)
    }

    /// What may be in the lines.
    pub(crate) fn outline(&self) -> Option<Outline> {
        Outline::of(&self.lines, &self.ids, |payload| {
            self.payloads.bytes(payload)
        })
    }

    /// Puts the payloads into frames.
    pub(crate) fn write(self, body: &mut Body) -> Shape {
        Shape {
            lines: self.lines,
            ids: self.ids,
            short_grams: self.payloads.short_grams(),
            payloads: self.payloads.write(body),
        }
    }
}
