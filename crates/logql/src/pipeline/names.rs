//! Label names as small numbers, so that a row's labels compare without touching text.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use model::LabelSet;

/// A label name within one stream: an index into [`Names`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NameId(u32);

impl NameId {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }

    pub(super) fn number(self) -> u32 {
        self.0
    }
}

/// The names that the stages of a pipeline mention, numbered once for all streams.
#[derive(Debug, Default)]
pub(super) struct FixedNames {
    list: Vec<Arc<str>>,
    index: HashMap<Arc<str>, NameId, RandomState>,
}

impl FixedNames {
    /// The number of `name`, which is added if it is new.
    pub(super) fn intern(&mut self, name: &str) -> NameId {
        if let Some(id) = self.index.get(name) {
            return *id;
        }
        let (id, name) = (NameId(self.list.len() as u32), Arc::<str>::from(name));
        self.list.push(Arc::clone(&name));
        self.index.insert(name, id);
        id
    }

    pub(super) fn get(&self, id: NameId) -> &str {
        self.list.get(id.index()).map_or("", |name| name)
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.list.iter().map(|name| &**name)
    }
}

/// The names that occur in one stream: the fixed ones, then those that parsers found.
#[derive(Debug)]
pub(super) struct Names {
    fixed: Arc<FixedNames>,
    found: Vec<Arc<str>>,
    index: HashMap<Arc<str>, NameId, RandomState>,
    /// By number: where the stream's own labels have the name.
    stream_at: Vec<Option<u32>>,
    stream: LabelSet,
}

/// Names found in one stream before all of them are forgotten. Lines with ever new keys must not
/// grow memory without end.
const FOUND_MAX: usize = 8192;

impl Names {
    pub(super) fn new(fixed: Arc<FixedNames>, stream: &LabelSet) -> Self {
        let stream_at = fixed.iter().map(|name| position(stream, name));
        Self {
            stream_at: stream_at.collect(),
            fixed,
            found: Vec::new(),
            index: HashMap::default(),
            stream: stream.clone(),
        }
    }

    /// The number of `name`, which is added if it is new.
    pub(super) fn intern(&mut self, name: &str) -> NameId {
        if let Some(id) = self.find(name) {
            return id;
        }
        let id = NameId((self.fixed.len() + self.found.len()) as u32);
        let shared = Arc::<str>::from(name);
        self.found.push(Arc::clone(&shared));
        self.index.insert(shared, id);
        self.stream_at.push(position(&self.stream, name));
        id
    }

    /// The number of `name`, if it has one.
    pub(super) fn find(&self, name: &str) -> Option<NameId> {
        let fixed = self.fixed.index.get(name);
        fixed.or_else(|| self.index.get(name)).copied()
    }

    pub(super) fn get(&self, id: NameId) -> &Arc<str> {
        static EMPTY: std::sync::LazyLock<Arc<str>> = std::sync::LazyLock::new(|| Arc::from(""));
        let fixed = self.fixed.list.get(id.index());
        fixed
            .or_else(|| self.found.get(id.index().wrapping_sub(self.fixed.len())))
            .unwrap_or(&EMPTY)
    }

    /// Where the stream's own labels have the name.
    pub(super) fn stream_at(&self, id: NameId) -> Option<usize> {
        let at = self.stream_at.get(id.index()).copied().flatten()?;
        Some(at as usize)
    }

    pub(super) fn len(&self) -> usize {
        self.fixed.len() + self.found.len()
    }

    /// Whether it is time to [`Self::forget`].
    pub(super) fn is_full(&self) -> bool {
        self.found.len() >= FOUND_MAX
    }

    /// Drops all names that are not fixed. Numbers handed out for them are void.
    pub(super) fn forget(&mut self) {
        self.found.clear();
        self.index.clear();
        self.stream_at.truncate(self.fixed.len());
    }
}

fn position(stream: &LabelSet, name: &str) -> Option<u32> {
    let at = stream.iter().position(|label| &*label.name == name)?;
    u32::try_from(at).ok()
}

/// Writes `key` as a part of a label name: what is no ASCII letter, digit or `_` becomes `_`, and
/// a name does not start with a digit. A part of white space writes nothing.
pub(super) fn push_sanitized(name: &mut String, key: &[u8]) {
    let lossy;
    let key = match std::str::from_utf8(key) {
        Ok(key) => key,
        Err(_) => {
            lossy = String::from_utf8_lossy(key);
            &*lossy
        }
    };
    let key = key.trim();
    if name.is_empty() && key.starts_with(|c: char| c.is_ascii_digit()) {
        name.push('_');
    }
    for c in key.chars() {
        let kept = c == '_' || c.is_ascii_alphanumeric();
        name.push(if kept { c } else { '_' });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_label_names() {
        for (key, name) in [
            ("a.b-c", "a_b_c"),
            ("1digit", "_1digit"),
            (" ünï ", "_n_"),
            ("", ""),
            (" ", ""),
        ] {
            let mut sanitized = String::new();
            push_sanitized(&mut sanitized, key.as_bytes());
            assert_eq!(sanitized, name, "{key:?}");
        }
        let mut nested = "a_".to_owned();
        push_sanitized(&mut nested, b"1\xff");
        assert_eq!(nested, "a_1_");
    }

    #[test]
    fn found_names_are_forgotten_and_fixed_ones_stay() {
        let mut fixed = FixedNames::default();
        let a = fixed.intern("a");
        let mut names = Names::new(Arc::new(fixed), &LabelSet::from_pairs([("b", "1")]));
        let b = names.intern("b");
        assert_eq!((names.stream_at(b), names.stream_at(a)), (Some(0), None));
        assert_eq!((&**names.get(a), &**names.get(b)), ("a", "b"));
        names.forget();
        assert_eq!((names.intern("a"), names.len()), (a, 1));
        assert_eq!(names.intern("c"), b);
        assert_eq!(names.stream_at(b), None);
    }
}
