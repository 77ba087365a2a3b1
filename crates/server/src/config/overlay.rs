//! Keys that are put over those of a document while it is read.
//!
//! The document is never turned into a tree of values and back: that would guess types (is `007` a
//! name?) and lose what does not print itself (secrets). Instead the overlay stands between the
//! document's deserializer and the types.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, Error, IgnoredAny, IntoDeserializer, MapAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::Value;

/// Keys of one section.
pub(super) type Section = BTreeMap<String, Node>;

/// What is put over a key.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// The key as a whole.
    Key(Value),
    /// Some keys of a section.
    Section(Section),
}

/// Puts `value` at `path`.
pub(super) fn put(section: &mut Section, path: &[String], value: Value) {
    match path {
        [] => {}
        [key] => {
            section.insert(key.clone(), Node::Key(value));
        }
        [key, below @ ..] => {
            let node = section
                .entry(key.clone())
                .or_insert_with(|| Node::Section(Section::new()));
            match node {
                Node::Section(section) => put(section, below, value),
                Node::Key(whole) => put_into(whole, below, value),
            }
        }
    }
}

fn put_into(whole: &mut Value, path: &[String], value: Value) {
    match path {
        [] => *whole = value,
        [key, below @ ..] => {
            if let Value::Object(map) = whole {
                put_into(map.entry(key.clone()).or_insert(Value::Null), below, value);
            }
        }
    }
}

fn to_value(node: &Node) -> Value {
    match node {
        Node::Key(value) => value.clone(),
        Node::Section(section) => section
            .iter()
            .map(|(key, node)| (key.clone(), to_value(node)))
            .collect(),
    }
}

/// A deserializer with a section over it. What goes wrong with a value of the overlay is noted in
/// `failure`, since the document's own error would point into the document.
pub(super) struct Over<'a, D> {
    pub(super) document: D,
    pub(super) section: &'a Section,
    pub(super) failure: &'a RefCell<Option<String>>,
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Over<'_, D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.document.deserialize_any(OverVisitor {
            visitor,
            section: self.section,
            failure: self.failure,
        })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.document.deserialize_map(OverVisitor {
            visitor,
            section: self.section,
            failure: self.failure,
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let visitor = OverVisitor {
            visitor,
            section: self.section,
            failure: self.failure,
        };
        self.document.deserialize_struct(name, fields, visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        // There is something: the overlay.
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct enum identifier ignored_any
    }
}

struct OverVisitor<'a, V> {
    visitor: V,
    section: &'a Section,
    failure: &'a RefCell<Option<String>>,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for OverVisitor<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_map<M: MapAccess<'de>>(self, document: M) -> Result<V::Value, M::Error> {
        let rest = self.section.keys().cloned().collect();
        self.visitor.visit_map(OverMap {
            document,
            section: self.section,
            failure: self.failure,
            rest,
            next: Next::Document,
        })
    }
}

struct OverMap<'a, M> {
    document: M,
    section: &'a Section,
    failure: &'a RefCell<Option<String>>,
    /// Keys of the overlay that the document has not had.
    rest: Vec<String>,
    next: Next<'a>,
}

/// Where the value of the key comes from that was given last.
enum Next<'a> {
    Document,
    DocumentUnder(&'a Section),
    Overlay(&'a Node),
}

impl<'de, M: MapAccess<'de>> MapAccess<'de> for OverMap<'_, M> {
    type Error = M::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, M::Error> {
        while let Some(key) = self.document.next_key::<String>()? {
            self.next = match self.section.get(&key) {
                Some(Node::Key(_)) => {
                    self.document.next_value::<IgnoredAny>()?;
                    continue;
                }
                Some(Node::Section(section)) => Next::DocumentUnder(section),
                None => Next::Document,
            };
            self.rest.retain(|rest| *rest != key);
            return seed.deserialize(key.into_deserializer()).map(Some);
        }
        let Some(key) = self.rest.pop() else {
            return Ok(None);
        };
        if let Some(node) = self.section.get(&key) {
            self.next = Next::Overlay(node);
        }
        seed.deserialize(key.into_deserializer()).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, M::Error> {
        match self.next {
            Next::Document => self.document.next_value_seed(seed),
            Next::DocumentUnder(section) => self.document.next_value_seed(OverSeed {
                seed,
                section,
                failure: self.failure,
            }),
            Next::Overlay(node) => seed.deserialize(to_value(node)).map_err(|error| {
                let message = error.to_string();
                self.failure.replace(Some(message.clone()));
                Error::custom(message)
            }),
        }
    }
}

struct OverSeed<'a, S> {
    seed: S,
    section: &'a Section,
    failure: &'a RefCell<Option<String>>,
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for OverSeed<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, document: D) -> Result<S::Value, D::Error> {
        self.seed.deserialize(Over {
            document,
            section: self.section,
            failure: self.failure,
        })
    }
}
