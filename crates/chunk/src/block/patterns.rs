//! Patterns of the lines of a structured block, without the lines.
//!
//! Most of a pattern is the text of a line's template. Of columns with few different words, which
//! values are it is looked up: that of a level or of a message makes another pattern. Numbers, times,
//! identifiers and addresses differ anyway; of these one is made up that looks like them, and nothing
//! is read.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::Block;
use crate::meta::ColumnKind;
use crate::pattern::{VARIABLE, put_pattern};
use crate::shape::{Column, Group, Kind, Payload, Shape, Template};
use crate::values::{ColumnView, Decoded, GroupView, Store, Strings, Values};
use crate::{BlockMeta, ChunkError, LEVEL_KEY};

/// Values of a column that are looked at; those of one that has more differ.
const VALUES_MAX: u32 = 4096;
/// Patterns of a column's values; those of one that has more differ.
const ALTERNATIVES_MAX: usize = 512;
/// Patterns of a group, after which only its templates are told apart.
const PATTERNS_MAX: usize = 8192;

/// The patterns of a block's lines, and which each row has.
#[derive(Debug, Default)]
pub struct LinePatterns {
    patterns: Vec<Box<[u8]>>,
    numbers: Vec<u16>,
}

impl LinePatterns {
    /// The number of the pattern of a row of the block.
    #[must_use]
    pub fn number(&self, row: usize) -> usize {
        self.numbers.get(row).map_or(0, |number| (*number).into())
    }

    /// A pattern by its number, see [`put_pattern`].
    #[must_use]
    pub fn get(&self, number: usize) -> &[u8] {
        self.patterns.get(number).map_or(&[], |pattern| pattern)
    }

    /// How many patterns there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.patterns.len()
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let patterns = self.patterns.iter().map(|pattern| pattern.len() + 16);
        patterns.sum::<usize>() + self.numbers.len() * 2
    }
}

impl BlockMeta {
    /// The bytes of the object that [`Block::patterns`] needs, and those of times and levels.
    ///
    /// # Errors
    /// If the block is damaged.
    pub fn patterns_ranges(&self) -> Result<Vec<Range<u64>>, ChunkError> {
        let mut wanted = vec![false; self.frames.len()];
        self.want(&self.timestamps.spans, &mut wanted);
        for column in &self.columns {
            if column.kind == ColumnKind::Pairs || &*column.name == LEVEL_KEY {
                for blob in [&column.ids, &column.lengths, &column.text] {
                    self.want(&blob.spans, &mut wanted);
                }
            }
        }
        if let Some(shape) = self.shape()? {
            let visit = &mut |payload| self.want_payload(shape, payload, &mut wanted);
            payloads(shape, &shape.lines, visit);
        }
        Ok(self.ranges_of(&wanted))
    }

    /// An upper bound of the memory that [`Block::patterns`] takes.
    ///
    /// # Errors
    /// If the block is damaged.
    pub fn patterns_bytes(&self) -> Result<u64, ChunkError> {
        let Some(shape) = self.shape()? else {
            return Ok(0);
        };
        let mut text = 0;
        let visit = &mut |payload: Payload| {
            let blob = shape.payloads.get(payload as usize);
            text += blob.map_or(0, |blob| blob.len() as u64);
        };
        payloads(shape, &shape.lines, visit);
        Ok(2 * text + values(&shape.lines) * 8)
    }
}

/// Whether a column's values are looked at.
fn is_looked_at(column: &Column) -> bool {
    match &column.kind {
        Kind::Dictionary { values, .. } => *values <= VALUES_MAX,
        Kind::Plain { .. } | Kind::Short(_) => column.count <= VALUES_MAX,
        Kind::Text(_) => true,
        Kind::Constant(_) | Kind::Number { .. } | Kind::Id { .. } | Kind::Ip4(_) => false,
    }
}

/// Hands over the payloads that patterns of a group need.
fn payloads(shape: &Shape, group: &Group, visit: &mut dyn FnMut(Payload)) {
    group.number_payloads(visit);
    for column in group.columns.iter().filter(|column| is_looked_at(column)) {
        match &column.kind {
            Kind::Text(inner) => payloads(shape, inner, visit),
            _ => column.payloads(shape, visit),
        }
    }
}

/// Texts of a group, and values of columns that are looked at.
fn values(group: &Group) -> u64 {
    let columns = group.columns.iter().filter(|column| is_looked_at(column));
    let inner = columns.map(|column| match &column.kind {
        Kind::Text(inner) => values(inner),
        _ => u64::from(column.count),
    });
    u64::from(group.count) + inner.sum::<u64>()
}

impl Block {
    /// The patterns of all lines of a structured block. They are remembered: the runs of the block
    /// share them.
    ///
    /// # Errors
    /// If the block is plain or damaged, or needed bytes were not fetched.
    pub fn patterns(&self) -> Result<Arc<LinePatterns>, ChunkError> {
        if let Some(patterns) = self.patterns.get() {
            return Ok(Arc::clone(patterns));
        }
        let Some(shape) = self.meta.shape()? else {
            return Err(self.damaged_lines("lines without templates"));
        };
        let once;
        let decoded = match self.decoded.get() {
            Some(kept) => kept,
            None => {
                once = Decoded::new(shape);
                &once
            }
        };
        let patterns = of_group(Store::new(self, shape, decoded).lines())?;
        Ok(Arc::clone(self.patterns.get_or_init(|| Arc::new(patterns))))
    }
}

/// What a column's values are in a pattern.
enum Choice {
    /// All the same.
    One(Vec<u8>),
    /// One of these, and per value which.
    Each(LinePatterns),
}

impl Choice {
    fn of(view: GroupView<'_>, number: u32, column: &Column) -> Result<Self, ChunkError> {
        let mut text = Vec::new();
        match &column.kind {
            Kind::Constant(value) => text.extend_from_slice(value),
            Kind::Number {
                format, numbers, ..
            } => format.render(numbers.base, 0, &mut text),
            Kind::Id { table, .. } => {
                if let Some(table) = view.store.shape.ids.get(*table as usize) {
                    let width = table.pattern.width();
                    table.pattern.render(&vec![0; width], &mut text);
                }
            }
            Kind::Ip4(_) => text.extend_from_slice(b"0.0.0.0"),
            _ if is_looked_at(column) => {
                let found = alternatives(view.column(number)?)?;
                if found.count() > ALTERNATIVES_MAX {
                    text.push(VARIABLE);
                } else if let [only] = found.patterns.as_slice() {
                    text.extend_from_slice(only);
                } else {
                    return Ok(Self::Each(found));
                }
            }
            _ => text.push(VARIABLE),
        }
        Ok(Self::One(text))
    }
}

/// The patterns of a column's values.
fn alternatives(view: ColumnView<'_>) -> Result<LinePatterns, ChunkError> {
    if let Some(group) = view.group() {
        return of_group(group);
    }
    let (Values::Dictionary {
        values: distinct, ..
    }
    | Values::Plain(distinct)) = view.values
    else {
        return Ok(LinePatterns::default());
    };
    let mut found = of_texts(distinct);
    if matches!(view.values, Values::Dictionary { .. }) {
        let places = view.places()?.iter();
        let number = |place: &u32| found.number(*place as usize) as u16;
        found.numbers = places.map(number).collect();
    }
    Ok(found)
}

fn of_texts(texts: &Strings) -> LinePatterns {
    let mut known = Known::default();
    let numbers = (0..texts.len()).map(|at| known.number(texts.get(at)));
    let numbers = numbers.collect();
    LinePatterns {
        patterns: known.patterns,
        numbers,
    }
}

/// Patterns and their numbers.
#[derive(Default)]
struct Known {
    patterns: Vec<Box<[u8]>>,
    numbers: HashMap<Box<[u8]>, u16, RandomState>,
    pattern: Vec<u8>,
}

impl Known {
    /// The number of the pattern of a text. There are never more than numbers: a group has fewer
    /// than [`PATTERNS_MAX`] and as many as it has templates, a column no more than [`VALUES_MAX`].
    fn number(&mut self, text: &[u8]) -> u16 {
        self.pattern.clear();
        put_pattern(text, &mut self.pattern);
        if let Some(number) = self.numbers.get(self.pattern.as_slice()) {
            return *number;
        }
        let number = self.patterns.len() as u16;
        self.patterns.push(self.pattern.as_slice().into());
        self.numbers.insert(self.pattern.as_slice().into(), number);
        number
    }
}

/// The patterns of a group's texts.
fn of_group(view: GroupView<'_>) -> Result<LinePatterns, ChunkError> {
    let choices = (0u32..).zip(&view.group.columns);
    let choices = choices.map(|(number, column)| Choice::of(view, number, column));
    let choices: Vec<Choice> = choices.collect::<Result<_, _>>()?;
    let mut walk = Walk {
        next: vec![0; choices.len()],
        known: Known::default(),
        numbers: HashMap::default(),
        choices: &choices,
        text: Vec::new(),
    };
    let templates: Vec<(&Template, Vec<usize>)> = view
        .group
        .templates
        .iter()
        .map(|template| (template, walk.open_slots(template)))
        .collect();
    let of_text = view.numbers()?;
    let mut numbers = Vec::with_capacity(view.group.count as usize);
    // What the last text was, and its number: the next is often the same.
    let (mut last, mut key) = ((Vec::new(), 0), Vec::new());
    for at in 0..view.group.count as usize {
        let number = GroupView::template_of(of_text, at);
        let Some((template, open)) = templates.get(number) else {
            return Err(view.store.damaged("template that is not there"));
        };
        key.clear();
        key.push(number as u32);
        walk.take_values(open, &mut key);
        if key != last.0 {
            last.1 = walk.number(template, &key);
            last.0.clone_from(&key);
        }
        numbers.push(last.1);
    }
    Ok(LinePatterns {
        patterns: walk.known.patterns,
        numbers,
    })
}

/// Goes through the texts of a group.
struct Walk<'a> {
    choices: &'a [Choice],
    /// Per column its next value.
    next: Vec<usize>,
    known: Known,
    /// By template and which of the alternatives its values are.
    numbers: HashMap<Box<[u32]>, u16, RandomState>,
    text: Vec<u8>,
}

impl Walk<'_> {
    /// The columns of a template's slots of which each value may be another.
    fn open_slots(&self, template: &Template) -> Vec<usize> {
        let slots = template.slots.iter().map(|slot| *slot as usize);
        let is_open = |slot: &usize| matches!(self.choices.get(*slot), Some(Choice::Each(_)));
        slots.filter(is_open).collect()
    }

    /// Appends which of the alternatives the next values are.
    fn take_values(&mut self, open: &[usize], key: &mut Vec<u32>) {
        for column in open {
            if let (Some(Choice::Each(found)), Some(next)) =
                (self.choices.get(*column), self.next.get_mut(*column))
            {
                key.push(found.number(*next) as u32);
                *next += 1;
            }
        }
    }

    fn number(&mut self, template: &Template, key: &[u32]) -> u16 {
        if let Some(number) = self.numbers.get(key) {
            return *number;
        }
        if self.known.patterns.len() >= PATTERNS_MAX && key.len() > 1 {
            let of_template = key.get(..1).unwrap_or_default();
            return self.number(template, of_template);
        }
        self.text.clear();
        let mut values = key.iter().skip(1);
        for (at, slot) in template.slots.iter().enumerate() {
            self.text.extend_from_slice(template.piece(at));
            let value = match self.choices.get(*slot as usize) {
                Some(Choice::One(text)) => text.as_slice(),
                Some(Choice::Each(found)) => values
                    .next()
                    .map_or(&[VARIABLE][..], |value| found.get(*value as usize)),
                None => &[],
            };
            self.text.extend_from_slice(value);
        }
        self.text
            .extend_from_slice(template.piece(template.slots.len()));
        let number = self.known.number(&self.text);
        self.numbers.insert(key.into(), number);
        number
    }
}
