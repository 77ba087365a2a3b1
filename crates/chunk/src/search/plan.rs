//! Where a literal can be in the texts of a template.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::RangeInclusive;

use foldhash::fast::RandomState;

use super::literal::{Condition, Test};
use crate::format::{Stamp, class_mask};
use crate::shape::{Column, FIRST_TEXT_BYTE, Group, Kind, Payload, Shape, Template};

/// More possibilities of one template are not looked into one by one.
const MAX_ALTERNATIVES: usize = 200;
/// Values that a literal goes over.
const MAX_SPAN: usize = 12;
/// Possibilities with several conditions, of all templates.
const MAX_SPANNING: usize = 64;

/// A value's place in its template, and what it must be.
pub(super) type Part<'n> = (usize, Condition<'n>);

/// What is to be looked up.
#[derive(Debug, Default)]
pub(super) struct Plan<'n> {
    /// Templates all of whose texts contain it.
    pub(super) whole: Vec<usize>,
    /// Per column and condition the templates and places that it decides.
    pub(super) single: HashMap<(u32, Condition<'n>), Vec<(usize, usize)>, RandomState>,
    /// Templates and conditions that must all be met.
    pub(super) spanning: Vec<(usize, Vec<Part<'n>>)>,
    /// Templates whose texts have to be put together.
    pub(super) rebuilt: Vec<usize>,
    /// Where it can be in the values of columns that have a structure of their own.
    pub(super) inner: HashMap<(u32, Condition<'n>), Plan<'n>, RandomState>,
}

impl<'n> Plan<'n> {
    /// Of a group of the shape.
    pub(super) fn new(shape: &Shape, group: &Group, condition: &Condition<'n>) -> Self {
        let mut plan = Self::default();
        let test = Test::new(*condition);
        let classes = class_mask(condition.text);
        let mut bytes_in = [false; 256];
        for byte in condition.text {
            bytes_in[usize::from(*byte)] = true;
        }
        let mut folded = Vec::new();
        for (number, template) in group.templates.iter().enumerate() {
            let bytes = bytes_of(group, template);
            if !bytes.may_contain(condition.text, classes, condition.any_case) {
                continue;
            }
            if condition.any_case {
                let texts = (0..=template.slots.len()).map(|at| condition.fold(template.piece(at)));
                folded.clear();
                folded.extend(texts);
            }
            let mut walk = Walk {
                shape,
                group,
                template,
                condition: *condition,
                test: &test,
                classes,
                bytes_in: &bytes_in,
                folded: &folded,
                found: Vec::new(),
                too_many: false,
            };
            if walk.run() {
                plan.whole.push(number);
                continue;
            }
            let spanning = walk.found.iter().filter(|parts| parts.len() > 1).count();
            if walk.too_many || plan.spanning.len() + spanning > MAX_SPANNING {
                plan.rebuilt.push(number);
                continue;
            }
            for parts in walk.found {
                match parts.as_slice() {
                    [(place, condition)] => {
                        let column = template.slots.get(*place).copied().unwrap_or_default();
                        let places = plan.single.entry((column, *condition)).or_default();
                        places.push((number, *place));
                    }
                    _ => plan.spanning.push((number, parts)),
                }
            }
        }
        plan.look_inside(shape, group);
        plan
    }

    /// Drops what columns with a structure of their own rule out.
    fn look_inside(&mut self, shape: &Shape, group: &Group) {
        let columns: Vec<_> = self.columns(group).collect();
        for (column, condition) in columns {
            let of_group = group.columns.get(column as usize);
            if let Some(Kind::Text(inner)) = of_group.map(|column| &column.kind) {
                let plan = || Plan::new(shape, inner, &condition);
                self.inner.entry((column, condition)).or_insert_with(plan);
            }
        }
        let inner = &self.inner;
        let may_hold =
            |key: &(u32, Condition<'n>)| inner.get(key).is_none_or(|plan| !plan.is_empty());
        self.single.retain(|key, _| may_hold(key));
        self.spanning.retain(|(template, parts)| {
            let mut parts = parts.iter();
            parts.all(|part| column_of(group, *template, part).is_none_or(|key| may_hold(&key)))
        });
    }

    /// The columns that are looked into, and what for.
    fn columns<'a>(&'a self, group: &'a Group) -> impl Iterator<Item = (u32, Condition<'n>)> + 'a {
        let spanning = self.spanning.iter().flat_map(move |(template, parts)| {
            let parts = parts.iter();
            parts.filter_map(move |part| column_of(group, *template, part))
        });
        self.single.keys().copied().chain(spanning)
    }

    /// Whether no text contains it.
    pub(super) fn is_empty(&self) -> bool {
        self.whole.is_empty()
            && self.single.is_empty()
            && self.spanning.is_empty()
            && self.rebuilt.is_empty()
    }

    /// Hands over the payloads that the plan needs.
    pub(super) fn payloads(&self, shape: &Shape, group: &Group, visit: &mut dyn FnMut(Payload)) {
        if self.is_empty() {
            return;
        }
        group.number_payloads(visit);
        for key in self.columns(group) {
            match (self.inner.get(&key), group.columns.get(key.0 as usize)) {
                (
                    Some(plan),
                    Some(Column {
                        kind: Kind::Text(inner),
                        ..
                    }),
                ) => {
                    plan.payloads(shape, inner, visit);
                }
                (_, Some(column)) => column.payloads(shape, visit),
                (_, None) => {}
            }
        }
        let rebuilt = self
            .rebuilt
            .iter()
            .filter_map(|template| group.templates.get(*template));
        for slot in rebuilt.flat_map(|template| &template.slots) {
            if let Some(column) = group.columns.get(*slot as usize) {
                column.payloads(shape, visit);
            }
        }
    }
}

/// The column of a part of a template, and what its value must be.
fn column_of<'n>(group: &Group, template: usize, part: &Part<'n>) -> Option<(u32, Condition<'n>)> {
    let (place, condition) = part;
    let slots = &group.templates.get(template)?.slots;
    Some((*slots.get(*place)?, *condition))
}

/// What bytes texts of a template can have.
fn bytes_of(group: &Group, template: &Template) -> Stamp {
    let columns = template.slots.iter();
    let columns = columns.filter_map(|slot| group.columns.get(*slot as usize));
    let classes = columns.map(|column| column.stamp.classes);
    Stamp {
        classes: classes.fold(template.classes, |all, classes| all | classes),
        min_len: 0,
        max_len: u32::MAX,
    }
}

/// Goes through the places where the literal may begin in a template.
struct Walk<'a, 'n> {
    shape: &'a Shape,
    group: &'a Group,
    template: &'a Template,
    condition: Condition<'n>,
    /// The condition, to test many texts with.
    test: &'a Test<'n>,
    /// The classes of its text.
    classes: u16,
    /// Per byte whether its text has it.
    bytes_in: &'a [bool; 256],
    /// Text before each value and behind the last, as the condition compares it, if case does not
    /// matter.
    folded: &'a [Cow<'a, [u8]>],
    found: Vec<Vec<Part<'n>>>,
    too_many: bool,
}

impl<'n> Walk<'_, 'n> {
    /// `true` if all texts contain it; otherwise `found` has what must hold.
    fn run(&mut self) -> bool {
        let text = self.condition.text;
        let last = self.template.slots.len();
        if self.condition.at_start {
            let first = self.piece(0).len();
            if text.len() <= first {
                let holds = self.piece(0).starts_with(text);
                return holds && (!self.condition.at_end || (last == 0 && text.len() == first));
            }
            if text.starts_with(self.piece(0)) {
                self.at_value(0, first, &mut Vec::new());
            }
            return false;
        }
        let searched = if self.condition.at_end {
            last..=last
        } else {
            0..=last
        };
        if self.is_in_text(searched) {
            return true;
        }
        for at in 0..last {
            // It begins in the text before a value and goes on in the value.
            if let Some(last_byte) = self.in_text(self.piece(at).last()) {
                let most = self.piece(at).len().min(text.len().saturating_sub(1));
                let starts = text.get(..most).unwrap_or_default();
                for end in memchr::memchr_iter(last_byte, starts) {
                    let (start, _) = text.split_at(end + 1);
                    if self.piece(at).ends_with(start) {
                        self.at_value(at, start.len(), &mut Vec::new());
                    }
                }
            }
            // It begins in the value.
            self.in_value(at, 0, false, &mut Vec::new());
        }
        false
    }

    /// A byte, if the literal has it: for most that is enough to know.
    fn in_text(&self, byte: Option<&u8>) -> Option<u8> {
        byte.copied()
            .filter(|byte| self.bytes_in[usize::from(*byte)])
    }

    fn piece(&self, at: usize) -> &[u8] {
        if self.condition.any_case {
            self.folded.get(at).map_or(&[], |piece| piece)
        } else {
            self.template.piece(at)
        }
    }

    /// Whether some of these pieces of text contain it.
    fn is_in_text(&self, mut pieces: RangeInclusive<usize>) -> bool {
        let Condition {
            text,
            at_end,
            any_case,
            ..
        } = self.condition;
        let is_text = |byte: &u8| *byte >= FIRST_TEXT_BYTE;
        if !at_end && !any_case && text.iter().all(is_text) {
            // It cannot go over a placeholder.
            return self.test.holds_folded(&self.template.text);
        }
        pieces.any(|at| self.test.holds_folded(self.piece(at)))
    }

    /// The rest of the literal, from `from`, starts where value `place` starts.
    fn at_value(&mut self, place: usize, from: usize, parts: &mut Vec<Part<'n>>) {
        if parts.len() == MAX_SPAN {
            self.too_many = true;
            return;
        }
        self.in_value(place, from, true, parts);
    }

    /// The rest of the literal is in value `place`, or its first part is, and ends there.
    fn in_value(&mut self, place: usize, from: usize, at_start: bool, parts: &mut Vec<Part<'n>>) {
        if self.too_many {
            return;
        }
        let rest = self.condition.text.get(from..).unwrap_or_default();
        let is_last = place + 1 == self.template.slots.len();
        let ends_here = is_last && self.piece(place + 1).is_empty();
        if !self.condition.at_end || ends_here {
            let whole = self.condition.with(rest, at_start, self.condition.at_end);
            self.push(place, whole, parts);
        }
        let least = usize::from(!at_start);
        // What follows the value in the literal begins as the text behind the value does.
        let Some(next) = self.in_text(self.piece(place + 1).first()) else {
            return;
        };
        for len in memchr::memchr_iter(next, rest).skip_while(|len| *len < least) {
            let (value, after) = rest.split_at(len);
            let piece = self.piece(place + 1);
            let (ends, goes_on) = if after.len() <= piece.len() {
                let at_end = is_last && after.len() == piece.len();
                (
                    piece.starts_with(after) && (at_end || !self.condition.at_end),
                    false,
                )
            } else {
                (false, !is_last && after.starts_with(piece))
            };
            if !ends && !goes_on {
                continue;
            }
            let condition = self.condition.with(value, at_start, true);
            if ends {
                self.push(place, condition, parts);
            } else if self.may_hold(place, &condition) {
                let next = from + len + piece.len();
                parts.push((place, condition));
                self.at_value(place + 1, next, parts);
                parts.pop();
            }
        }
    }

    /// Whether a value may contain the whole literal; the most frequent question.
    fn may_contain_all(&self, place: usize) -> bool {
        let Condition { text, any_case, .. } = self.condition;
        let slot = self.template.slots.get(place).copied().unwrap_or_default();
        let column = self.group.columns.get(slot as usize);
        column.is_some_and(|column| column.stamp.may_contain(text, self.classes, any_case))
    }

    fn may_hold(&self, place: usize, condition: &Condition<'n>) -> bool {
        let slot = self.template.slots.get(place).copied().unwrap_or_default();
        let column = self.group.columns.get(slot as usize);
        column.is_some_and(|column| condition.may_hold(self.shape, column))
    }

    /// A possibility: the parts so far and this last one.
    fn push(&mut self, place: usize, condition: Condition<'n>, parts: &[Part<'n>]) {
        let is_all = condition.text.len() == self.condition.text.len();
        if is_all && !self.may_contain_all(place) || !self.may_hold(place, &condition) {
            return;
        }
        if self.found.len() == MAX_ALTERNATIVES {
            self.too_many = true;
            return;
        }
        let mut all = parts.to_vec();
        all.push((place, condition));
        self.found.push(all);
    }
}
