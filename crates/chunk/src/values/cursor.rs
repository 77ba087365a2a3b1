//! Texts of a group, one after the other.

use super::{ColumnView, GroupView};
use crate::ChunkError;
use crate::shape::Template;

/// Goes forward through the texts of a group and puts those together that are wanted.
#[derive(Debug)]
pub(crate) struct TextCursor<'a> {
    view: GroupView<'a>,
    numbers: &'a [u16],
    /// The next text.
    next: usize,
    /// More bytes than this are too many.
    most: usize,
    columns: Vec<ColumnCursor<'a>>,
    /// How many texts of each template are passed over; zeros between calls.
    passed: Vec<u32>,
}

/// A column and its next value.
#[derive(Debug, Default)]
pub(super) struct ColumnCursor<'a> {
    pub(super) next: usize,
    /// Decoded when a value is wanted first.
    column: Option<ColumnView<'a>>,
    /// What its distinct values are as numbers, once one is wanted.
    decimals: Option<Vec<f64>>,
    inner: Option<Box<TextCursor<'a>>>,
}

impl<'a> TextCursor<'a> {
    /// A cursor before the first text, for at most so many bytes.
    pub(crate) fn new(view: GroupView<'a>, most: usize) -> Result<Self, ChunkError> {
        let columns = view.group.columns.iter();
        let columns = columns.map(|_| ColumnCursor::default());
        Ok(Self {
            numbers: view.numbers()?,
            next: 0,
            most,
            columns: columns.collect(),
            passed: vec![0; view.group.templates.len()],
            view,
        })
    }

    /// Appends text `at`, which is not before the one asked for last.
    pub(crate) fn put(&mut self, at: usize, out: &mut Vec<u8>) -> Result<(), ChunkError> {
        if at > self.next {
            self.pass(at);
        }
        self.next = at + 1;
        let group = self.view.group;
        let Some(template) = group
            .templates
            .get(GroupView::template_of(self.numbers, at))
        else {
            return Err(self.view.store.damaged("template that is not there"));
        };
        for (number, slot) in template.slots.iter().enumerate() {
            out.extend_from_slice(template.piece(number));
            let Some(column) = self.columns.get_mut(*slot as usize) else {
                continue;
            };
            column.put_at(column.next, self.view, *slot, self.most, out)?;
            column.next += 1;
            if out.len() > self.most {
                return Err(self.view.store.damaged("lines longer than the block says"));
            }
        }
        out.extend_from_slice(template.piece(template.slots.len()));
        Ok(())
    }

    /// Leaves out the texts up to `to`.
    fn pass(&mut self, to: usize) {
        let templates = &self.view.group.templates;
        if self.numbers.is_empty() {
            let texts = to - self.next;
            if let Some(template) = templates.first() {
                advance(&mut self.columns, template, texts);
            }
            return;
        }
        let between = self.numbers.get(self.next..to).unwrap_or_default();
        if between.len() < templates.len() {
            let passed = between
                .iter()
                .filter_map(|number| templates.get(usize::from(*number)));
            passed.for_each(|template| advance(&mut self.columns, template, 1));
            return;
        }
        for number in between {
            if let Some(passed) = self.passed.get_mut(usize::from(*number)) {
                *passed += 1;
            }
        }
        for (template, passed) in templates.iter().zip(&mut self.passed) {
            let texts = std::mem::take(passed) as usize;
            if texts > 0 {
                advance(&mut self.columns, template, texts);
            }
        }
    }
}

fn advance(columns: &mut [ColumnCursor<'_>], template: &Template, texts: usize) {
    for slot in &template.slots {
        if let Some(column) = columns.get_mut(*slot as usize) {
            column.next += texts;
        }
    }
}

impl<'a> ColumnCursor<'a> {
    fn open(&mut self, view: GroupView<'a>, number: u32, most: usize) -> Result<(), ChunkError> {
        let column = view.column(number)?;
        if let Some(group) = column.group() {
            self.inner = Some(Box::new(TextCursor::new(group, most)?));
        }
        self.column = Some(column);
        Ok(())
    }

    /// The decimal number that value `at` of column `number` is, if it is one.
    pub(super) fn number_at(
        &mut self,
        at: usize,
        view: GroupView<'a>,
        number: u32,
        most: usize,
    ) -> Result<Option<f64>, ChunkError> {
        if self.column.is_none() {
            self.open(view, number, most)?;
        }
        let Some(column) = &self.column else {
            return Ok(None);
        };
        let decimals = self.decimals.get_or_insert_with(|| column.decimals());
        Ok(column.number(at, decimals))
    }

    /// Appends value `at` of column `number`, which is not before the one asked for last.
    #[inline]
    pub(super) fn put_at(
        &mut self,
        at: usize,
        view: GroupView<'a>,
        number: u32,
        most: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), ChunkError> {
        if self.column.is_none() {
            self.open(view, number, most)?;
        }
        match (&mut self.inner, &self.column) {
            (Some(inner), _) => inner.put(at, out),
            (None, Some(column)) => {
                column.put(at, out);
                Ok(())
            }
            (None, None) => Ok(()),
        }
    }
}
