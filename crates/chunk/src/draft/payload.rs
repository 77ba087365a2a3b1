//! Payloads on their way to the body.

use crate::encode::{Body, Effort, FRAME_BYTES};
use crate::format::{Grams, planes_of, width_of};
use crate::meta::Blob;
use crate::shape::{Integers, Order, Payload, Planes, SHORT_TEXT_BYTES, SPLIT_PLANES};

/// How often queries want a payload; they lie in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Heat {
    /// Text of which each value is there once.
    Dictionary,
    /// Which template a text has.
    Template,
    /// Which value of a dictionary or identifier of a table a row has.
    Place,
    Number,
    Identifier,
    /// Values as they are.
    Text,
}

impl Heat {
    /// Whether a search looks into it first.
    fn is_searched(self) -> bool {
        matches!(self, Self::Dictionary | Self::Template | Self::Text)
    }

    /// Dictionaries and templates repeat themselves the most.
    fn effort(self) -> Effort {
        match self {
            Self::Dictionary | Self::Template => Effort::Much,
            _ => Effort::Little,
        }
    }
}

/// Bytes of columns, numbered in the order in which they come.
#[derive(Debug, Default)]
pub(super) struct Payloads {
    all: Vec<(Heat, Vec<u8>)>,
    /// Short texts that have no grams of their own.
    short: Vec<u8>,
}

impl Payloads {
    pub(super) fn add(&mut self, heat: Heat, bytes: Vec<u8>) -> Payload {
        self.all.push((heat, bytes));
        self.all.len() as Payload - 1
    }

    /// A payload of values that are searched, and what follows each other in them if there are many.
    pub(super) fn add_text(&mut self, heat: Heat, text: Vec<u8>) -> (Payload, Option<Grams>) {
        let grams = Grams::of(&text);
        if grams.is_none() && text.len() < SHORT_TEXT_BYTES {
            self.short.extend_from_slice(&text);
        }
        (self.add(heat, text), grams)
    }

    /// What follows each other in short texts.
    pub(crate) fn short_grams(&self) -> Option<Grams> {
        Grams::of(&self.short)
    }

    pub(super) fn bytes(&self, payload: Payload) -> Option<&[u8]> {
        self.all.get(payload as usize).map(|(_, bytes)| &**bytes)
    }

    /// A payload whose bytes come later.
    pub(super) fn reserve(&mut self, heat: Heat) -> Payload {
        self.add(heat, Vec::new())
    }

    pub(super) fn fill(&mut self, payload: Payload, bytes: Vec<u8>) {
        if let Some((_, reserved)) = self.all.get_mut(payload as usize) {
            *reserved = bytes;
        }
    }

    pub(super) fn add_packed(&mut self, heat: Heat, values: &[u64]) -> Payload {
        let mut packed = Vec::new();
        codec::ints::pack(values, &mut packed);
        self.add(heat, packed)
    }

    pub(super) fn add_planes(&mut self, heat: Heat, numbers: &[u64]) -> Planes {
        let width = width_of(numbers.iter().copied().max().unwrap_or(0));
        if width == 0 {
            return Planes::default();
        }
        let all = planes_of(numbers, width);
        let first = self.all.len() as Payload;
        if all.len() < SPLIT_PLANES {
            self.add(heat, all);
        } else {
            for plane in all.chunks(numbers.len()) {
                self.add(heat, plane.to_vec());
            }
        }
        Planes {
            width: width as u8,
            first,
        }
    }

    /// Numbers relative to the smallest or to the one before, whatever makes them smaller.
    pub(super) fn add_integers(&mut self, heat: Heat, mut numbers: Vec<u64>) -> Integers {
        let smallest = numbers.iter().copied().min().unwrap_or(0);
        let first = numbers.first().copied().unwrap_or(0);
        let (mut by_base, mut by_delta) = (0, 0);
        let mut last = first;
        for number in &numbers {
            by_base += bits(number - smallest);
            by_delta += bits(zigzag(number.wrapping_sub(last) as i64));
            last = *number;
        }
        let (order, base) = if by_delta * 10 < by_base * 9 {
            let mut last = first;
            for number in &mut numbers {
                let delta = zigzag(number.wrapping_sub(last) as i64);
                last = *number;
                *number = delta;
            }
            (Order::Delta, first)
        } else {
            numbers.iter_mut().for_each(|number| *number -= smallest);
            (Order::Base, smallest)
        };
        Integers {
            order,
            base,
            planes: self.add_planes(heat, &numbers),
        }
    }

    /// Places in a table that is filled in order.
    pub(super) fn add_places(&mut self, mut places: Vec<u64>) -> Integers {
        let mut next = 0u64;
        for place in &mut places {
            let own = *place;
            *place = zigzag(own.wrapping_sub(next) as i64);
            next = next.max(own + 1);
        }
        Integers {
            order: Order::Newest,
            base: 0,
            planes: self.add_planes(Heat::Place, &places),
        }
    }

    /// Puts all into the body, the hottest first. What is short and searched lies together, apart
    /// from other short columns: to know that a literal is in none of them, these need not be read.
    pub(super) fn write(self, body: &mut Body) -> Vec<Blob> {
        let mut order: Vec<(usize, &(Heat, Vec<u8>))> = self.all.iter().enumerate().collect();
        order.sort_by_key(|(_, (heat, _))| *heat);
        let (mut together, mut starts) = (Vec::new(), Vec::new());
        for (at, (heat, bytes)) in &order {
            let fits =
                bytes.len() < SHORT_TEXT_BYTES && together.len() + bytes.len() <= FRAME_BYTES;
            if heat.is_searched() && fits {
                starts.push((*at, together.len()));
                together.extend_from_slice(bytes);
            }
        }
        let together = body.add(&together);
        let mut blobs = vec![None; self.all.len()];
        for (at, start) in starts {
            let len = self.all.get(at).map_or(0, |(_, bytes)| bytes.len());
            if let Some(blob) = blobs.get_mut(at) {
                *blob = Some(together.part(start, len));
            }
        }
        for (at, (heat, bytes)) in order {
            if let Some(blob @ None) = blobs.get_mut(at) {
                *blob = Some(body.add_with(bytes, heat.effort()));
            }
        }
        blobs.into_iter().map(Option::unwrap_or_default).collect()
    }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn bits(number: u64) -> u64 {
    u64::from(64 - number.leading_zeros())
}
