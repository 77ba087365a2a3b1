//! Texts of a group without parts that nobody wants.

use super::GroupView;
use super::cursor::ColumnCursor;
use crate::shape::{Group, Template};
use crate::{ChunkError, KeptParts};

/// Goes forward through the texts of a group and writes of each what its reduced template keeps.
#[derive(Debug)]
pub(crate) struct ReducedCursor<'a> {
    view: GroupView<'a>,
    numbers: &'a [u16],
    most: usize,
    templates: Vec<Reduced>,
    columns: Vec<ColumnCursor<'a>>,
}

/// A template and what is kept of its texts.
#[derive(Debug)]
struct Reduced {
    template: Template,
    /// Per slot of it which value it is of those that a text has in the column.
    offsets: Vec<usize>,
    /// Which slot is wanted as a number.
    number: Option<usize>,
    /// Columns of kept slots of any template, and how many values a text has there.
    steps: Vec<(u32, usize)>,
}

/// What is written where the number goes that a text is read with.
const NUMBER: u8 = b'1';

impl<'a> ReducedCursor<'a> {
    /// A cursor before the first text. `kept` has an entry per template, `None` for all of it.
    pub(crate) fn new(
        view: GroupView<'a>,
        kept: &[Option<KeptParts>],
        most: usize,
    ) -> Result<Self, ChunkError> {
        let group = view.group;
        let mut is_kept = vec![false; group.columns.len()];
        let mut templates = Vec::with_capacity(group.templates.len());
        for (number, template) in group.templates.iter().enumerate() {
            let kept = kept.get(number).and_then(Option::as_ref);
            let reduced = reduced(template, kept);
            let reduced = reduced.ok_or_else(|| view.store.damaged("template of another shape"))?;
            for slot in &reduced.template.slots {
                if let Some(is_kept) = is_kept.get_mut(*slot as usize) {
                    *is_kept = true;
                }
            }
            templates.push(reduced);
        }
        for (reduced, template) in templates.iter_mut().zip(&group.templates) {
            reduced.steps = steps(template, &is_kept);
        }
        Ok(Self {
            numbers: view.numbers()?,
            most,
            templates,
            columns: columns(group),
            view,
        })
    }

    /// Which template a text has.
    pub(crate) fn template_of(&self, at: usize) -> usize {
        GroupView::template_of(self.numbers, at)
    }

    /// Appends what is kept of text `at`, or nothing unless it is `wanted`; with [`NUMBER`] in place
    /// of a number that is wanted as such, which is returned. To be called for every text, one after
    /// the other.
    pub(crate) fn next(
        &mut self,
        at: usize,
        wanted: bool,
        out: &mut Vec<u8>,
    ) -> Result<Option<f64>, ChunkError> {
        let mut value = None;
        let number = GroupView::template_of(self.numbers, at);
        let Some(reduced) = self.templates.get(number) else {
            return Err(self.view.store.damaged("template that is not there"));
        };
        if wanted {
            let template = &reduced.template;
            for (number, (slot, offset)) in template.slots.iter().zip(&reduced.offsets).enumerate()
            {
                out.extend_from_slice(template.piece(number));
                let Some(column) = self.columns.get_mut(*slot as usize) else {
                    continue;
                };
                let at = column.next + offset;
                if reduced.number == Some(number) {
                    value = column.number_at(at, self.view, *slot, self.most)?;
                }
                if reduced.number == Some(number) && value.is_some() {
                    out.push(NUMBER);
                } else {
                    column.put_at(at, self.view, *slot, self.most, out)?;
                }
                if out.len() > self.most {
                    return Err(self.view.store.damaged("lines longer than the block says"));
                }
            }
            out.extend_from_slice(template.piece(template.slots.len()));
        }
        for (column, values) in &reduced.steps {
            if let Some(column) = self.columns.get_mut(*column as usize) {
                column.next += values;
            }
        }
        Ok(value)
    }
}

fn columns<'a>(group: &Group) -> Vec<ColumnCursor<'a>> {
    let columns = group.columns.iter();
    columns.map(|_| ColumnCursor::default()).collect()
}

fn reduced(template: &Template, kept: Option<&KeptParts>) -> Option<Reduced> {
    let all: Vec<usize>;
    let (text, places) = match kept {
        Some(kept) => (kept.text.as_slice(), kept.placeholders.as_slice()),
        None => {
            all = (0..template.slots.len()).collect();
            (&*template.text, all.as_slice())
        }
    };
    let mut slots = Vec::with_capacity(places.len());
    let mut offsets = Vec::with_capacity(places.len());
    for place in places {
        let slot = template.slots.get(*place)?;
        let before = template.slots.get(..*place)?;
        offsets.push(before.iter().filter(|other| *other == slot).count());
        slots.push(*slot);
    }
    Some(Reduced {
        template: Template::new(template.count, template.is_json, text, slots.into())?,
        offsets,
        number: kept.and_then(|kept| kept.number),
        steps: Vec::new(),
    })
}

/// How far a text of the template goes forward in columns that matter.
fn steps(template: &Template, matters: &[bool]) -> Vec<(u32, usize)> {
    let mut steps: Vec<(u32, usize)> = Vec::new();
    for slot in &template.slots {
        if matters.get(*slot as usize) != Some(&true) {
            continue;
        }
        match steps.iter_mut().find(|(column, _)| column == slot) {
            Some((_, values)) => *values += 1,
            None => steps.push((*slot, 1)),
        }
    }
    steps
}
