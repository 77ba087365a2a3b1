//! A line between two stages: the entry, and the values that stages extracted from it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::Entry;

/// A value that some stage extracted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// JSON's null: there, but without a text.
    Null,
    /// JSON's true and false.
    Bool(bool),
    /// Every number of JSON.
    Number(f64),
    /// Text.
    Text(String),
    /// Text that is not UTF-8.
    Raw(Vec<u8>),
}

impl Value {
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Raw(bytes.to_vec()),
        }
    }

    /// As text; what is not UTF-8 is replaced. `None` for null.
    pub(crate) fn text(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Self::Null => return None,
            Self::Bool(value) => Cow::Borrowed(if *value { "true" } else { "false" }),
            Self::Number(value) => Cow::Owned(number_text(*value)),
            Self::Text(text) => Cow::Borrowed(text),
            Self::Raw(bytes) => String::from_utf8_lossy(bytes),
        })
    }

    /// As bytes; `None` for null.
    pub(crate) fn bytes(&self) -> Option<Cow<'_, [u8]>> {
        match self {
            Self::Raw(bytes) => Some(Cow::Borrowed(bytes)),
            Self::Text(text) => Some(Cow::Borrowed(text.as_bytes())),
            _ => self
                .text()
                .map(|text| Cow::Owned(text.into_owned().into_bytes())),
        }
    }
}

/// A number in decimal digits, without exponent, as short as it can be.
fn number_text(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        value.to_string()
    }
}

/// A value that was looked up.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Found<'a> {
    /// A label that the entry came with.
    Label(&'a str),
    /// What a stage extracted.
    Value(&'a Value),
}

impl<'a> Found<'a> {
    /// Whether it is text that is not UTF-8.
    pub(crate) fn is_raw(self) -> bool {
        matches!(self, Self::Value(Value::Raw(_)))
    }

    pub(crate) fn text(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Label(text) => Some(Cow::Borrowed(text)),
            Self::Value(value) => value.text(),
        }
    }

    pub(crate) fn bytes(self) -> Option<Cow<'a, [u8]>> {
        match self {
            Self::Label(text) => Some(Cow::Borrowed(text.as_bytes())),
            Self::Value(value) => value.bytes(),
        }
    }
}

/// A line on its way through the stages.
///
/// Extracted values begin as a copy of the labels. The copy is only made of labels that are
/// changed or removed later: all others are found in the entry.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    /// The line with its labels. Stages change labels through [`Row::set_label`] and
    /// [`Row::remove_label`] alone.
    pub(crate) entry: Entry,
    /// Lines have few values, so that a list is faster than a map. `None` hides a label that the
    /// entry did not come with, or a value that was removed.
    extracted: Vec<(Arc<str>, Option<Value>)>,
}

impl Row {
    pub(crate) fn new(entry: Entry) -> Self {
        Self {
            entry,
            extracted: Vec::new(),
        }
    }

    pub(crate) fn labels(&self) -> &BTreeMap<String, String> {
        &self.entry.labels
    }

    /// An extracted value.
    pub(crate) fn get(&self, name: &str) -> Option<Found<'_>> {
        match self.extracted.iter().find(|(known, _)| **known == *name) {
            Some((_, value)) => value.as_ref().map(Found::Value),
            None => self.entry.labels.get(name).map(|value| Found::Label(value)),
        }
    }

    /// Extracts a value.
    pub(crate) fn set(&mut self, name: &Arc<str>, value: Value) {
        self.put(name, Some(value));
    }

    /// Forgets an extracted value.
    pub(crate) fn unset(&mut self, name: &Arc<str>) {
        self.put(name, None);
    }

    fn put(&mut self, name: &Arc<str>, value: Option<Value>) {
        match self.extracted.iter_mut().find(|(known, _)| known == name) {
            Some((_, held)) => *held = value,
            None => self.extracted.push((Arc::clone(name), value)),
        }
    }

    /// All extracted values in the order of their names.
    pub(crate) fn values(&self) -> BTreeMap<&str, Found<'_>> {
        let labels = self.entry.labels.iter();
        let mut values: BTreeMap<&str, Found<'_>> = labels
            .map(|(name, value)| (name.as_str(), Found::Label(value)))
            .collect();
        for (name, value) in &self.extracted {
            match value {
                Some(value) => values.insert(name, Found::Value(value)),
                None => values.remove(&**name),
            };
        }
        values
    }

    /// What a stage works on: the line, or the extracted value that is its source.
    pub(crate) fn input(&self, source: Option<&str>) -> Option<Cow<'_, [u8]>> {
        match source {
            None => Some(Cow::Borrowed(&self.entry.line)),
            Some(source) => self.get(source)?.bytes(),
        }
    }

    /// Sets a label; a label without a value is none.
    pub(crate) fn set_label(&mut self, name: &str, value: String) {
        if value.is_empty() {
            self.remove_label(name);
            return;
        }
        match self.entry.labels.get_mut(name) {
            Some(held) if *held == value => {}
            Some(held) => {
                let before = std::mem::replace(held, value);
                self.keep(name, Some(before));
            }
            None => {
                self.keep(name, None);
                self.entry.labels.insert(name.to_owned(), value);
            }
        }
    }

    /// Removes a label.
    pub(crate) fn remove_label(&mut self, name: &str) {
        if let Some(before) = self.entry.labels.remove(name) {
            self.keep(name, Some(before));
        }
    }

    /// Keeps what a label was as an extracted value, unless it is one already.
    fn keep(&mut self, name: &str, before: Option<String>) {
        if !self.extracted.iter().any(|(known, _)| **known == *name) {
            self.extracted.push((name.into(), before.map(Value::Text)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(labels: &[(&str, &str)]) -> Row {
        let labels = labels
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()));
        Row::new(Entry {
            labels: labels.collect(),
            ..Entry::default()
        })
    }

    fn text(row: &Row, name: &str) -> Option<String> {
        row.get(name)?.text().map(Cow::into_owned)
    }

    #[test]
    fn extracted_values_begin_as_the_labels_and_stay_when_labels_change() {
        let mut row = row(&[("a", "1"), ("b", "2")]);
        row.set_label("a", "changed".into());
        row.set_label("new", "3".into());
        row.remove_label("b");
        assert_eq!(text(&row, "a").as_deref(), Some("1"));
        assert_eq!(text(&row, "b").as_deref(), Some("2"));
        assert_eq!(text(&row, "new"), None);
        assert_eq!(row.values().keys().copied().collect::<Vec<_>>(), ["a", "b"]);

        row.set(&"new".into(), Value::Number(0.5));
        row.unset(&"a".into());
        assert_eq!(text(&row, "new").as_deref(), Some("0.5"));
        assert_eq!(text(&row, "a"), None);
        assert_eq!(row.labels().get("a").map(String::as_str), Some("changed"));
    }

    #[test]
    fn values_as_text() {
        for (value, expected) in [
            (Value::Null, None),
            (Value::Bool(true), Some("true")),
            (Value::Number(1e21), Some("1000000000000000000000")),
            (Value::Number(0.000_000_1), Some("0.0000001")),
            (Value::from_bytes(b"x"), Some("x")),
            (Value::from_bytes(b"\xff"), Some("\u{fffd}")),
        ] {
            assert_eq!(value.text().as_deref(), expected, "{value:?}");
        }
    }

    #[test]
    fn a_label_without_value_is_removed() {
        let mut row = row(&[("a", "1")]);
        row.set_label("a", String::new());
        assert!(row.labels().is_empty());
    }
}
