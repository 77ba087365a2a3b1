//! Label sets: the identity of a stream, and the shape of structured metadata.

use std::fmt;
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

/// One label: a name and a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    /// The name; in a stream's label set `[a-zA-Z_][a-zA-Z0-9_]*`.
    pub name: Arc<str>,
    /// The value; empty only where a stage of a query set it so, see [`LabelSet`].
    pub value: Arc<str>,
}

/// An immutable set of labels, sorted by name, names unique. Cloning is a reference count.
///
/// An empty label is an absent one, so there are no empty values, except in a set that
/// [`LabelSet::keeping_empty`] made: answers show labels that a stage of the query left empty.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelSet(Arc<[Label]>);

impl Default for LabelSet {
    fn default() -> Self {
        Self(Arc::from([]))
    }
}

impl LabelSet {
    /// Builds a set from pairs in any order. Of equal names the last wins; empty values drop out.
    pub fn from_pairs<N, V>(pairs: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<Arc<str>>,
        V: Into<Arc<str>>,
    {
        let mut builder = LabelSetBuilder::default();
        for (name, value) in pairs {
            builder.push(name, value);
        }
        builder.build()
    }

    /// Builds a set from labels in any order, those without a value too. Of equal names the last
    /// wins.
    pub fn keeping_empty(labels: impl IntoIterator<Item = Label>) -> Self {
        let mut labels: Vec<Label> = labels.into_iter().collect();
        sort(&mut labels);
        Self(labels.into())
    }

    /// The value of `name`, if the set has it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let at = self
            .0
            .binary_search_by(|label| (*label.name).cmp(name))
            .ok()?;
        self.0.get(at).map(|label| &*label.value)
    }

    /// The labels in name order.
    pub fn iter(&self) -> std::slice::Iter<'_, Label> {
        self.0.iter()
    }

    /// How many labels there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A 64-bit hash of the set (XXH3 over `name 0xff value 0xff …`), the same on every machine.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = Xxh3::new();
        for label in self.iter() {
            hasher.update(label.name.as_bytes());
            hasher.update(&[0xff]);
            hasher.update(label.value.as_bytes());
            hasher.update(&[0xff]);
        }
        hasher.digest()
    }

    /// Bytes of all names and values.
    #[must_use]
    pub fn text_len(&self) -> usize {
        self.iter()
            .map(|label| label.name.len() + label.value.len())
            .sum()
    }

    /// The same set without the names that `drop` accepts.
    #[must_use]
    pub fn without(&self, mut drop: impl FnMut(&str) -> bool) -> Self {
        Self::keeping_empty(self.iter().filter(|label| !drop(&label.name)).cloned())
    }
}

impl FromIterator<Label> for LabelSet {
    fn from_iter<I: IntoIterator<Item = Label>>(labels: I) -> Self {
        let mut builder = LabelSetBuilder::default();
        builder.labels.extend(labels);
        builder.build()
    }
}

impl<'a> IntoIterator for &'a LabelSet {
    type Item = &'a Label;
    type IntoIter = std::slice::Iter<'a, Label>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for LabelSet {
    /// `{a="x", b="y"}`, values quoted as Go's `%q` does for text that is valid UTF-8.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, label) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{}={}", label.name, crate::units::quote(&label.value))?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for LabelSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Collects labels in any order and builds a [`LabelSet`].
#[derive(Clone, Debug, Default)]
pub struct LabelSetBuilder {
    labels: Vec<Label>,
}

impl LabelSetBuilder {
    /// Adds a label. A later one of the same name replaces an earlier one.
    pub fn push(&mut self, name: impl Into<Arc<str>>, value: impl Into<Arc<str>>) {
        self.labels.push(Label {
            name: name.into(),
            value: value.into(),
        });
    }

    /// Sorts, removes repeated names (the last wins) and empty values.
    #[must_use]
    pub fn build(mut self) -> LabelSet {
        sort(&mut self.labels);
        self.labels.retain(|label| !label.value.is_empty());
        LabelSet(self.labels.into())
    }
}

/// Sorts by name; of equal names the last stays.
fn sort(labels: &mut Vec<Label>) {
    let is_sorted = |pair: &[Label]| matches!(pair, [a, b] if a.name < b.name);
    if labels.windows(2).all(is_sorted) {
        return;
    }
    labels.sort_by(|a, b| a.name.cmp(&b.name));
    // A stable sort keeps equal names in push order, so the later is the right one to keep.
    labels.dedup_by(|later, kept| {
        let same = later.name == kept.name;
        if same {
            std::mem::swap(later, kept);
        }
        same
    });
}

/// Whether `name` is a label name of the Prometheus data model: `[a-zA-Z_][a-zA-Z0-9_]*`.
#[must_use]
pub fn is_valid_label_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|b| b == b'_' || b.is_ascii_alphabetic())
        && bytes.all(|b| b == b'_' || b.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_sorted_unique_without_empty_values() {
        let set = LabelSet::from_pairs([("b", "1"), ("a", "x"), ("b", "2"), ("c", "")]);
        assert_eq!(set.to_string(), r#"{a="x", b="2"}"#);
        assert_eq!((set.get("b"), set.get("c")), (Some("2"), None));
    }

    #[test]
    fn empty_labels_stay_when_asked_for() {
        let label = |name: &str, value: &str| Label {
            name: name.into(),
            value: value.into(),
        };
        let set = LabelSet::keeping_empty([label("b", "1"), label("a", ""), label("b", "2")]);
        assert_eq!(set.to_string(), r#"{a="", b="2"}"#);
    }

    #[test]
    fn the_fingerprint_depends_on_names_values_and_their_boundaries() {
        let of = |pairs: &[(&'static str, &'static str)]| {
            LabelSet::from_pairs(pairs.iter().copied()).fingerprint()
        };
        assert_eq!(of(&[("a", "1"), ("b", "2")]), of(&[("b", "2"), ("a", "1")]));
        assert_ne!(of(&[("a", "1")]), of(&[("a1", "1")]));
        assert_ne!(of(&[("ab", "c")]), of(&[("a", "bc")]));
    }

    #[test]
    fn label_names_follow_prometheus() {
        assert!(is_valid_label_name("_a9"));
        assert!(
            !is_valid_label_name("9a") && !is_valid_label_name("") && !is_valid_label_name("a-b")
        );
    }
}
