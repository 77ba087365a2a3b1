//! Collects templates and the values of their columns.

use std::collections::HashMap;
use std::hash::BuildHasher;

use super::tokens::{Class, Mode, Part, Tokens};
use super::{json, text};
use crate::shape::{FIRST_TEXT_BYTE, MAX_TEMPLATES};

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// Templates and values of some texts.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) templates: Vec<GatheredTemplate>,
    /// Per text its template.
    pub(super) numbers: Vec<u32>,
    pub(super) columns: Vec<Vec<Part>>,
    /// Bytes of texts that fit no template.
    pub(super) raw_bytes: usize,
    /// The column with these.
    pub(super) raw_column: Option<u32>,
}

#[derive(Debug)]
pub(super) struct GatheredTemplate {
    pub(super) text: Box<[u8]>,
    pub(super) slots: Vec<u32>,
    pub(super) is_json: bool,
    pub(super) count: u32,
}

/// Takes the parts of `base` apart. There are at most `max_templates`, and `max_columns` of which
/// the last is for texts that fit no template.
pub(super) fn gather(
    base: &[u8],
    texts: &[Part],
    mode: Mode,
    max_templates: usize,
    max_columns: usize,
) -> Gathered {
    let mut gathering = Gathering {
        gathered: Gathered {
            numbers: Vec::with_capacity(texts.len()),
            ..Gathered::default()
        },
        max_templates: max_templates.min(MAX_TEMPLATES),
        max_columns,
        by_text: Map::default(),
        by_context: Map::default(),
        raw_template: None,
    };
    let mut tokens = Tokens::default();
    for part in texts {
        let text = part.of(base);
        let template = if tokens.take(text, mode) {
            gathering.template(&tokens)
        } else {
            None
        };
        match template {
            Some(template) => gathering.add(template, *part, &tokens.parts),
            None => gathering.add_raw(*part),
        }
    }
    gathering.gathered
}

struct Gathering {
    gathered: Gathered,
    max_templates: usize,
    max_columns: usize,
    by_text: Map<Box<[u8]>, u32>,
    by_context: Map<u64, u32>,
    raw_template: Option<u32>,
}

impl Gathering {
    /// The template of a text, a new one if there is room.
    fn template(&mut self, tokens: &Tokens) -> Option<u32> {
        let known = match self.gathered.numbers.last() {
            Some(last) if self.is_template(*last, tokens) => Some(last),
            _ => self.by_text.get(tokens.template.as_slice()),
        };
        if let Some(known) = known {
            // A text that has placeholders of its own looks like one with more values.
            let template = self.gathered.templates.get(*known as usize)?;
            return (template.slots.len() == tokens.parts.len()).then_some(*known);
        }
        let placeholders = tokens
            .template
            .iter()
            .filter(|byte| **byte < FIRST_TEXT_BYTE);
        if placeholders.count() != tokens.parts.len()
            || self.gathered.templates.len() + 1 >= self.max_templates
        {
            return None;
        }
        let slots = self.slots(tokens)?;
        let text: Box<[u8]> = tokens.template.as_slice().into();
        let number = self.push(GatheredTemplate {
            text: text.clone(),
            slots,
            is_json: tokens.is_json,
            count: 0,
        });
        self.by_text.insert(text, number);
        Some(number)
    }

    fn is_template(&self, number: u32, tokens: &Tokens) -> bool {
        let template = self.gathered.templates.get(number as usize);
        Some(number) != self.raw_template
            && template.is_some_and(|template| *template.text == *tokens.template)
    }

    fn push(&mut self, template: GatheredTemplate) -> u32 {
        self.gathered.templates.push(template);
        self.gathered.templates.len() as u32 - 1
    }

    /// The columns of a new template; `None` if there is no room for another one.
    fn slots(&mut self, tokens: &Tokens) -> Option<Vec<u32>> {
        let mut contexts = Vec::with_capacity(tokens.parts.len());
        let hasher = self.by_context.hasher().clone();
        let mut visit = |context: &[u8]| {
            contexts.push(hasher.hash_one((tokens.is_json, context)));
        };
        if tokens.is_json {
            json::contexts(&tokens.template, &mut visit);
        } else {
            text::contexts(&tokens.template, &mut visit);
        }
        let classes = tokens
            .template
            .iter()
            .filter(|byte| **byte < FIRST_TEXT_BYTE);
        let keys: Vec<u64> = contexts
            .iter()
            .zip(classes)
            .map(|(context, class)| context.wrapping_mul(31).wrapping_add(u64::from(*class)))
            .collect();
        let missing = keys.iter().filter(|key| !self.by_context.contains_key(key));
        if missing.count() + self.gathered.columns.len() + 1 > self.max_columns {
            return None;
        }
        let columns = &mut self.gathered.columns;
        let column_of = |key: &u64| {
            *self.by_context.entry(*key).or_insert_with(|| {
                columns.push(Vec::new());
                columns.len() as u32 - 1
            })
        };
        Some(keys.iter().map(column_of).collect())
    }

    fn add(&mut self, number: u32, text: Part, parts: &[Part]) {
        self.gathered.numbers.push(number);
        let Some(template) = self.gathered.templates.get_mut(number as usize) else {
            return;
        };
        template.count += 1;
        for (slot, part) in template.slots.iter().zip(parts) {
            if let Some(column) = self.gathered.columns.get_mut(*slot as usize) {
                column.push(Part {
                    start: text.start + part.start,
                    len: part.len,
                });
            }
        }
    }

    fn add_raw(&mut self, text: Part) {
        let number = match self.raw_template {
            Some(number) => number,
            None => {
                self.gathered.columns.push(Vec::new());
                let column = self.gathered.columns.len() as u32 - 1;
                self.gathered.raw_column = Some(column);
                let number = self.push(GatheredTemplate {
                    text: [Class::Other as u8].into(),
                    slots: vec![column],
                    is_json: false,
                    count: 0,
                });
                self.raw_template = Some(number);
                number
            }
        };
        self.gathered.raw_bytes += text.len as usize;
        self.add(number, text, &[Part { start: 0, ..text }]);
    }
}
