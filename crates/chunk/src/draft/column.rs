//! How the values of a column are stored best.
//!
//! A sample decides what is tried; a value that does not fit makes the next kind be tried, and
//! `Plain` takes everything.

use std::collections::HashMap;

use codec::put_bytes;
use smallvec::SmallVec;

use super::group::{Gathered, gather};
use super::payload::{Heat, Payloads};
use super::sample::Sample;
use super::tokens::Part;
use crate::format::{Grams, IdPattern, NumberFormat, Stamp, class_mask, parse_ip4};
use crate::shape::{
    Column, Group, IdTable, Kind, MAX_DEPTH, MAX_ID_TABLES, Payload, SPLIT_PLANES, Template,
};

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// Fewer values are not worth a structure.
const FEW: usize = 24;
/// A constant is in the meta of the block.
const MAX_CONSTANT: usize = 256;
/// Templates and columns of values that have a structure.
const INNER_TEMPLATES: usize = 2048;
const INNER_COLUMNS: usize = 512;

/// Stores columns.
pub(super) struct ColumnWriter<'a> {
    base: &'a [u8],
    payloads: Payloads,
    tables: Vec<Table>,
    columns_left: usize,
}

/// How values are stored, and what can be said of them.
struct Stored {
    kind: Kind,
    classes: u16,
    grams: Option<Grams>,
}

impl From<(Kind, u16)> for Stored {
    fn from((kind, classes): (Kind, u16)) -> Self {
        Self {
            kind,
            classes,
            grams: None,
        }
    }
}

/// Identifiers of one pattern.
struct Table {
    pattern: IdPattern,
    place_of: Map<u128, u32>,
    packed: Vec<u8>,
    payload: Payload,
}

impl<'a> ColumnWriter<'a> {
    pub(super) fn new(base: &'a [u8], columns_left: usize) -> Self {
        Self {
            base,
            payloads: Payloads::default(),
            tables: Vec::new(),
            columns_left,
        }
    }

    /// The tables of identifiers and all payloads.
    pub(super) fn finish(mut self) -> (Vec<IdTable>, Payloads) {
        let mut ids = Vec::with_capacity(self.tables.len());
        for table in self.tables {
            ids.push(IdTable {
                pattern: table.pattern,
                count: table.place_of.len() as u32,
                packed: table.payload,
            });
            self.payloads.fill(table.payload, table.packed);
        }
        (ids, self.payloads)
    }

    /// Stores templates and columns. `None` if a template is not what it should be.
    pub(super) fn group(&mut self, gathered: &Gathered, depth: usize) -> Option<Group> {
        let numbers: Vec<u64> = gathered.numbers.iter().map(|n| u64::from(*n)).collect();
        let numbers = self.payloads.add_planes(Heat::Template, &numbers);
        let templates = gathered.templates.iter();
        let templates = templates
            .map(|t| Template::new(t.count, t.is_json, &t.text, t.slots.as_slice().into()))
            .collect::<Option<Vec<_>>>()?;
        let mut columns = Vec::with_capacity(gathered.columns.len());
        for (number, values) in (0u32..).zip(&gathered.columns) {
            let is_raw = gathered.raw_column == Some(number);
            columns.push(self.column(values, depth, is_raw));
        }
        Some(Group {
            count: gathered.numbers.len() as u32,
            templates,
            numbers,
            columns,
        })
    }

    fn column(&mut self, values: &[Part], depth: usize, is_raw: bool) -> Column {
        let stored = if is_raw {
            self.plain(values)
        } else {
            self.kind(values, depth)
        };
        let lens = || values.iter().map(|value| value.len);
        Column {
            count: values.len() as u32,
            stamp: Stamp {
                classes: stored.classes,
                min_len: lens().min().unwrap_or(0),
                max_len: lens().max().unwrap_or(0),
            },
            grams: stored.grams.map(Box::new),
            kind: stored.kind,
        }
    }

    fn value(&self, part: Part) -> &'a [u8] {
        part.of(self.base)
    }

    fn kind(&mut self, values: &[Part], depth: usize) -> Stored {
        let first = values.first().map_or(&b""[..], |first| self.value(*first));
        if first.len() <= MAX_CONSTANT && values.iter().all(|value| self.value(*value) == first) {
            return (
                Kind::Constant(SmallVec::from_slice(first)),
                class_mask(first),
            )
                .into();
        }
        if values.len() < FEW {
            return self.plain(values);
        }
        let sample = Sample::new(self.base, values);
        if let Some(pattern) = IdPattern::infer(sample.iter())
            && let Some(stored) = self.identifiers(&pattern, values)
        {
            return stored;
        }
        if sample.repeats()
            && let Some(stored) = self.dictionary(values)
        {
            return stored;
        }
        if let Some(format) = NumberFormat::infer(sample.iter())
            && let Some(stored) = self.numbers(format, values)
        {
            return stored;
        }
        let half_repeats = sample.distinct * 2 <= sample.len();
        if !half_repeats
            && sample.iter().all(|value| parse_ip4(value).is_some())
            && let Some(stored) = self.addresses(values)
        {
            return stored;
        }
        if let Some(stored) = self.text(&sample, values, depth) {
            return stored;
        }
        if sample.distinct * 8 <= sample.len() * 7
            && let Some(stored) = self.dictionary(values)
        {
            return stored;
        }
        self.plain(values)
    }

    fn identifiers(&mut self, pattern: &IdPattern, values: &[Part]) -> Option<Stored> {
        let ids = values.iter().map(|value| pattern.parse(self.value(*value)));
        let ids = ids.collect::<Option<Vec<u128>>>()?;
        let number = match self
            .tables
            .iter()
            .position(|table| table.pattern == *pattern)
        {
            Some(number) => number,
            None if self.tables.len() == MAX_ID_TABLES => return None,
            None => {
                self.tables.push(Table {
                    pattern: pattern.clone(),
                    place_of: Map::default(),
                    packed: Vec::new(),
                    payload: self.payloads.reserve(Heat::Identifier),
                });
                self.tables.len() - 1
            }
        };
        let table = self.tables.get_mut(number)?;
        let mut places = Vec::with_capacity(ids.len());
        for id in ids {
            let next = table.place_of.len() as u32;
            let place = *table.place_of.entry(id).or_insert(next);
            if place == next {
                pattern.pack(id, &mut table.packed);
            }
            places.push(u64::from(place));
        }
        let places = self.payloads.add_places(places);
        let table = number as u32;
        Some((Kind::Id { table, places }, pattern.classes()).into())
    }

    /// Numbers in the format of a sample, or else in one of all values.
    fn numbers(&mut self, of_sample: NumberFormat, values: &[Part]) -> Option<Stored> {
        let parse = |format: &NumberFormat| {
            let parsed = values.iter().map(|value| format.parse(self.value(*value)));
            parsed.collect::<Option<Vec<(u64, u8)>>>()
        };
        let (format, parsed) = match parse(&of_sample) {
            Some(parsed) => (of_sample, parsed),
            None => {
                let all = NumberFormat::infer(values.iter().map(|value| self.value(*value)))?;
                let parsed = parse(&all)?;
                (all, parsed)
            }
        };
        let classes = format.classes();
        let numbers = parsed.iter().map(|(number, _)| *number).collect();
        let numbers = self.payloads.add_integers(Heat::Number, numbers);
        let scales = format.has_scales().then(|| {
            let scales: Vec<u64> = parsed.iter().map(|(_, scale)| u64::from(*scale)).collect();
            self.payloads.add_planes(Heat::Number, &scales)
        });
        let kind = Kind::Number {
            format: Box::new(format),
            numbers,
            scales,
        };
        Some((kind, classes).into())
    }

    fn addresses(&mut self, values: &[Part]) -> Option<Stored> {
        let addresses = values
            .iter()
            .map(|value| parse_ip4(self.value(*value)).map(u64::from))
            .collect::<Option<Vec<_>>>()?;
        let planes = self.payloads.add_planes(Heat::Number, &addresses);
        Some((Kind::Ip4(planes), class_mask(b"0.")).into())
    }

    /// `None` if nearly every value is another one.
    fn dictionary(&mut self, values: &[Part]) -> Option<Stored> {
        let mut id_of: Map<&[u8], u32> = Map::default();
        let (mut text, mut lengths) = (Vec::new(), Vec::new());
        let most = values.len() - values.len() / 8;
        let mut ids: Vec<u64> = Vec::with_capacity(values.len());
        let mut last = &b""[..];
        for part in values {
            let value = self.value(*part);
            if let (true, Some(id)) = (value == last, ids.last()) {
                ids.push(*id);
                continue;
            }
            last = value;
            let next = lengths.len() as u32;
            let id = *id_of.entry(value).or_insert(next);
            if id == next {
                text.extend_from_slice(value);
                lengths.push(value.len() as u64);
                if lengths.len() > most {
                    return None;
                }
            }
            ids.push(u64::from(id));
        }
        let classes = class_mask(&text);
        let values = lengths.len() as u32;
        let lengths = self.payloads.add_packed(Heat::Dictionary, &lengths);
        let (text, grams) = self.payloads.add_text(Heat::Dictionary, text);
        let kind = Kind::Dictionary {
            values,
            lengths,
            text,
            ids: self.payloads.add_planes(Heat::Place, &ids),
        };
        Some(Stored {
            kind,
            classes,
            grams,
        })
    }

    fn text(&mut self, sample: &Sample<'_>, values: &[Part], depth: usize) -> Option<Stored> {
        if depth + 1 >= MAX_DEPTH {
            return None;
        }
        let mode = sample.structure()?;
        let max_columns = INNER_COLUMNS.min(self.columns_left);
        if max_columns < 2 {
            return None;
        }
        let gathered = gather(self.base, values, mode, INNER_TEMPLATES, max_columns);
        let bytes: usize = values.iter().map(|value| value.len as usize).sum();
        if gathered.raw_bytes * 4 > bytes {
            return None;
        }
        self.columns_left = self.columns_left.checked_sub(gathered.columns.len())?;
        let group = self.group(&gathered, depth + 1)?;
        let texts = group
            .templates
            .iter()
            .map(|t| class_mask(&t.text) & !class_mask(&[1]));
        let classes = texts.chain(group.columns.iter().map(|column| column.stamp.classes));
        // Spaces are in the class of placeholders.
        let spaces = group
            .templates
            .iter()
            .any(|t| t.text.iter().any(|b| (5..=b' ').contains(b)));
        let classes = classes.fold(if spaces { class_mask(b" ") } else { 0 }, |all, one| {
            all | one
        });
        Some((Kind::Text(Box::new(group)), classes).into())
    }

    fn plain(&mut self, values: &[Part]) -> Stored {
        let bytes: usize = values.iter().map(|value| value.len as usize).sum();
        let classes = values.iter().map(|value| class_mask(self.value(*value)));
        let classes = classes.fold(0, |all, one| all | one);
        if values.len() < FEW && bytes < SPLIT_PLANES {
            let mut all = Vec::with_capacity(bytes + values.len());
            values
                .iter()
                .for_each(|value| put_bytes(&mut all, self.value(*value)));
            let (payload, grams) = self.payloads.add_text(Heat::Text, all);
            let kind = Kind::Short(payload);
            return Stored {
                kind,
                classes,
                grams,
            };
        }
        let mut text = Vec::with_capacity(bytes);
        values
            .iter()
            .for_each(|value| text.extend_from_slice(self.value(*value)));
        let lengths: Vec<u64> = values.iter().map(|value| u64::from(value.len)).collect();
        let lengths = self.payloads.add_packed(Heat::Text, &lengths);
        let (text, grams) = self.payloads.add_text(Heat::Text, text);
        let kind = Kind::Plain { lengths, text };
        Stored {
            kind,
            classes,
            grams,
        }
    }
}
