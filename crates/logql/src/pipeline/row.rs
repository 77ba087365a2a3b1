//! The labels of the row that is in the pipeline.

use std::sync::Arc;

use model::{Label, LabelSet, RowLabels};
use smallvec::SmallVec;

use super::names::{FixedNames, NameId, Names};
use super::wanted::{
    ERROR_DETAILS_LABEL, ERROR_LABEL, EXTRACTED_SUFFIX, PRESERVE_ERROR_LABEL, Wanted,
};

/// The most bytes of text that stages may make labels of in one row, what they set over included.
/// As much as a template may print: each of many stages can double a label.
pub(super) const SET_BYTES_MAX: usize = 4 << 20;

/// What `__error__` says where a label is not set because of [`SET_BYTES_MAX`].
pub(super) const TOO_LARGE: &str = "LabelsTooLargeErr";

/// Labels of the current row: those of its stream, its metadata, and what stages set. Values that
/// stages set lie one after the other in one buffer, so a row costs no allocation.
///
/// A name is visible once: what a stage sets hides metadata and stream, metadata of a name that
/// the stream has is renamed.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) names: Names,
    wanted: Arc<Wanted>,
    stream: LabelSet,
    /// Positions in `stream` that are hidden or dropped.
    stream_hidden: SmallVec<[u32; 8]>,
    metadata: LabelSet,
    /// Per label of `metadata` its visible name; `None` for error labels.
    metadata_ids: Vec<Option<NameId>>,
    metadata_as_stored: bool,
    metadata_hidden: SmallVec<[u32; 8]>,
    set: Vec<SetLabel>,
    text: String,
    error: String,
    error_details: String,
    number: u32,
    /// By name: the number of the row in which a stage last set it.
    set_in: Vec<u32>,
    wanted_left: usize,
}

#[derive(Clone, Copy, Debug)]
struct SetLabel {
    name: NameId,
    start: usize,
    end: usize,
}

impl Row {
    pub(super) fn new(stream: &LabelSet, names: Arc<FixedNames>, wanted: Arc<Wanted>) -> Self {
        Self {
            names: Names::new(names, stream),
            wanted,
            stream: stream.clone(),
            stream_hidden: SmallVec::new(),
            metadata: LabelSet::default(),
            metadata_ids: Vec::new(),
            metadata_as_stored: true,
            metadata_hidden: SmallVec::new(),
            set: Vec::new(),
            text: String::new(),
            error: String::new(),
            error_details: String::new(),
            number: 0,
            set_in: Vec::new(),
            wanted_left: 0,
        }
    }

    /// Starts a row. Returns whether names found in earlier rows were forgotten, which makes
    /// numbers kept elsewhere void.
    pub(super) fn begin(&mut self, metadata: &LabelSet) -> bool {
        let forget = self.names.is_full();
        if forget {
            self.names.forget();
            self.set_in.clear();
            self.metadata = LabelSet::default();
            self.metadata_ids.clear();
            self.metadata_as_stored = true;
        }
        self.set.clear();
        self.text.clear();
        self.stream_hidden.clear();
        self.metadata_hidden.clear();
        self.error.clear();
        self.error_details.clear();
        self.wanted_left = self.wanted.count();
        self.number = self.number.wrapping_add(1);
        if self.number == 0 {
            self.set_in.clear();
            self.number = 1;
        }
        if self.metadata != *metadata {
            self.change_metadata(metadata);
        }
        if !self.metadata_as_stored {
            self.take_stored_error();
        }
        forget
    }

    fn change_metadata(&mut self, metadata: &LabelSet) {
        let same_names = self.metadata.len() == metadata.len()
            && std::iter::zip(&self.metadata, metadata).all(|(a, b)| a.name == b.name);
        self.metadata = metadata.clone();
        if same_names {
            return;
        }
        self.metadata_ids.clear();
        self.metadata_as_stored = true;
        for label in &self.metadata {
            if *label.name == *ERROR_LABEL || *label.name == *ERROR_DETAILS_LABEL {
                self.metadata_ids.push(None);
                self.metadata_as_stored = false;
                continue;
            }
            let mut id = self.names.intern(&label.name);
            if self.names.stream_at(id).is_some() {
                id = suffixed(&mut self.names, id);
                self.metadata_as_stored = false;
            }
            for earlier in self.metadata_ids.iter_mut().filter(|at| **at == Some(id)) {
                *earlier = None;
            }
            self.metadata_ids.push(Some(id));
        }
    }

    /// Metadata may carry an error label from where it was written.
    fn take_stored_error(&mut self) {
        if let Some(error) = self.metadata.get(ERROR_LABEL) {
            self.error.push_str(error);
        }
        if let Some(details) = self.metadata.get(ERROR_DETAILS_LABEL) {
            self.error_details.push_str(details);
        }
    }

    fn metadata_at(&self, name: NameId) -> Option<usize> {
        let at = self.metadata_ids.iter().position(|id| *id == Some(name))?;
        let hidden = self
            .metadata_hidden
            .iter()
            .any(|hidden| *hidden as usize == at);
        (!hidden).then_some(at)
    }

    fn stream_at(&self, name: NameId) -> Option<usize> {
        let at = self.names.stream_at(name)?;
        let hidden = self
            .stream_hidden
            .iter()
            .any(|hidden| *hidden as usize == at);
        (!hidden).then_some(at)
    }

    fn set_text(&self, label: &SetLabel) -> &str {
        self.text.get(label.start..label.end).unwrap_or_default()
    }

    /// The value of a label, wherever it comes from.
    pub(super) fn get(&self, name: NameId) -> Option<&str> {
        if let Some(label) = self.set.iter().find(|label| label.name == name) {
            return Some(self.set_text(label));
        }
        if let Some(at) = self.metadata_at(name) {
            return value_at(&self.metadata, at);
        }
        value_at(&self.stream, self.stream_at(name)?)
    }

    /// The value of a label by its name as text.
    pub(super) fn get_by_name(&self, name: &str) -> Option<&str> {
        if let Some(id) = self.names.find(name) {
            return self.get(id);
        }
        // Only the stream has names without numbers.
        let label = self.visible_stream().find(|label| *label.name == *name)?;
        Some(&label.value)
    }

    fn visible_metadata(&self) -> impl Iterator<Item = (NameId, &str)> {
        let labels = std::iter::zip(&self.metadata_ids, &self.metadata).enumerate();
        labels.filter_map(|(at, (id, label))| {
            let hidden = self
                .metadata_hidden
                .iter()
                .any(|hidden| *hidden as usize == at);
            id.filter(|_| !hidden).map(|id| (id, &*label.value))
        })
    }

    fn visible_stream(&self) -> impl Iterator<Item = &Label> {
        let labels = self.stream.iter().enumerate();
        let visible = labels.filter(|(at, _)| {
            !self
                .stream_hidden
                .iter()
                .any(|hidden| *hidden as usize == *at)
        });
        visible.map(|(_, label)| label)
    }

    /// All labels, the error labels last.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let stream = self
            .visible_stream()
            .map(|label| (&*label.name, &*label.value));
        let metadata = self.visible_metadata();
        let metadata = metadata.map(|(id, value)| (&**self.names.get(id), value));
        let set = self.set.iter();
        let set = set.map(|label| (&**self.names.get(label.name), self.set_text(label)));
        stream.chain(metadata).chain(set).chain(self.error_labels())
    }

    fn error_labels(&self) -> impl Iterator<Item = (&str, &str)> {
        let labels = [
            (ERROR_LABEL, &*self.error),
            (ERROR_DETAILS_LABEL, &*self.error_details),
        ];
        labels.into_iter().filter(|(_, value)| !value.is_empty())
    }

    /// Whether a parser has to rename a label of this name.
    pub(super) fn is_taken(&self, name: NameId) -> bool {
        self.names.stream_at(name).is_some()
            || (!self.metadata_ids.is_empty() && self.metadata_at(name).is_some())
    }

    /// The name that a parser gives to a label that is called `name` in the line.
    pub(super) fn parsed_name(&mut self, name: NameId) -> NameId {
        if self.is_taken(name) {
            suffixed(&mut self.names, name)
        } else {
            name
        }
    }

    /// Whether a stage has set the label in this row, even if it was dropped since.
    pub(super) fn was_set(&self, name: NameId) -> bool {
        self.set_in.get(name.index()) == Some(&self.number)
    }

    /// Sets a label to text.
    pub(super) fn set(&mut self, name: NameId, value: &str) {
        let start = self.text.len();
        self.text.push_str(value);
        self.set_from(name, start);
    }

    /// Sets a label to bytes of the line; each byte that is no UTF-8 becomes U+FFFD.
    pub(super) fn set_lossy(&mut self, name: NameId, value: &[u8]) {
        let start = self.text.len();
        for chunk in value.utf8_chunks() {
            self.text.push_str(chunk.valid());
            let invalid = chunk.invalid().iter();
            self.text
                .extend(invalid.map(|_| char::REPLACEMENT_CHARACTER));
        }
        self.set_from(name, start);
    }

    /// Sets a label to bytes of the line; what is no UTF-8, and U+FFFD too, becomes spaces.
    pub(super) fn set_cleaned(&mut self, name: NameId, value: &[u8]) {
        let start = self.text.len();
        match std::str::from_utf8(value) {
            Ok(text) if text.is_ascii() || !text.contains(char::REPLACEMENT_CHARACTER) => {
                self.text.push_str(text);
            }
            _ => push_cleaned(&mut self.text, value),
        }
        self.set_from(name, start);
    }

    /// Makes `other`'s value the value of `name`.
    pub(super) fn set_to_value_of(&mut self, name: NameId, other: NameId) -> bool {
        let start = self.text.len();
        if let Some(label) = self.set.iter().find(|label| label.name == other) {
            let (from, to) = (label.start, label.end);
            self.text.extend_from_within(from..to);
        } else if let Some(at) = self.metadata_at(other) {
            self.text
                .push_str(value_at(&self.metadata, at).unwrap_or_default());
        } else if let Some(at) = self.stream_at(other) {
            self.text
                .push_str(value_at(&self.stream, at).unwrap_or_default());
        } else {
            return false;
        }
        self.set_from(name, start);
        true
    }

    /// Sets a label to what was written to the text buffer since `start`, unless that is too much.
    fn set_from(&mut self, name: NameId, start: usize) {
        let end = self.text.len();
        if end > SET_BYTES_MAX {
            self.text.truncate(start);
            return self.set_error(TOO_LARGE, Some(&too_large()));
        }
        if let Some(label) = self.set.iter_mut().find(|label| label.name == name) {
            (label.start, label.end) = (start, end);
        } else {
            self.hide(name);
            self.set.push(SetLabel { name, start, end });
        }
        let at = name.index();
        if self.set_in.len() <= at {
            self.set_in.resize(self.names.len().max(at + 1), 0);
        }
        if let Some(number) = self.set_in.get_mut(at) {
            if *number != self.number && self.wanted.is_listed(name) {
                self.wanted_left = self.wanted_left.saturating_sub(1);
            }
            *number = self.number;
        }
    }

    fn hide(&mut self, name: NameId) {
        if let Some(at) = self.stream_at(name) {
            self.stream_hidden.push(at as u32);
        }
        if !self.metadata_ids.is_empty()
            && let Some(at) = self.metadata_at(name)
        {
            self.metadata_hidden.push(at as u32);
        }
    }

    /// Drops a label.
    pub(super) fn delete(&mut self, name: NameId) {
        self.hide(name);
        self.set.retain(|label| label.name != name);
    }

    /// Drops every label that `keep` refuses.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&str, &str) -> bool) {
        for (at, label) in self.stream.iter().enumerate() {
            let at = at as u32;
            if !self.stream_hidden.contains(&at) && !keep(&label.name, &label.value) {
                self.stream_hidden.push(at);
            }
        }
        let metadata = std::iter::zip(&self.metadata_ids, &self.metadata);
        for (at, (id, label)) in metadata.enumerate() {
            let (at, Some(id)) = (at as u32, id) else {
                continue;
            };
            if !self.metadata_hidden.contains(&at) && !keep(self.names.get(*id), &label.value) {
                self.metadata_hidden.push(at);
            }
        }
        let (names, text) = (&self.names, &self.text);
        self.set.retain(|label| {
            let value = text.get(label.start..label.end).unwrap_or_default();
            keep(names.get(label.name), value)
        });
    }

    /// What parsers have to look for.
    pub(super) fn wanted(&self) -> &Arc<Wanted> {
        &self.wanted
    }

    /// Whether nothing is left that a parser could add.
    pub(super) fn needs_no_parser(&self) -> bool {
        self.wanted.is_none() || self.has_all_wanted()
    }

    /// Whether all wanted labels have been set; never if all labels are wanted.
    pub(super) fn has_all_wanted(&self) -> bool {
        self.wanted_left == 0 && !self.wanted.is_all() && self.wanted.count() > 0
    }

    /// Whether a stage failed on the row.
    pub(super) fn has_error(&self) -> bool {
        !self.error.is_empty()
    }

    /// What `__error__` says, or nothing.
    pub(super) fn error(&self) -> &str {
        &self.error
    }

    /// What `__error_details__` says, or nothing.
    pub(super) fn error_details(&self) -> &str {
        &self.error_details
    }

    /// Notes that a stage failed.
    pub(super) fn set_error(&mut self, error: &str, details: Option<&str>) {
        self.error.clear();
        self.error.push_str(error);
        if let Some(details) = details {
            self.error_details.clear();
            self.error_details.push_str(details);
        }
    }

    /// Notes that a parser failed.
    pub(super) fn set_parser_error(&mut self, error: &str, details: Option<&str>) {
        self.set_error(error, details);
        if self.wanted.preserves_error() {
            let name = self.names.intern(PRESERVE_ERROR_LABEL);
            self.set(name, "true");
        }
    }

    /// Clears `__error__`.
    pub(super) fn clear_error(&mut self) {
        self.error.clear();
    }

    /// Clears `__error_details__`.
    pub(super) fn clear_error_details(&mut self) {
        self.error_details.clear();
    }

    /// Whether stream and metadata are as they came and no stage has set anything.
    pub(super) fn is_untouched(&self) -> bool {
        self.set.is_empty()
            && self.stream_hidden.is_empty()
            && self.metadata_hidden.is_empty()
            && self.error.is_empty()
            && self.error_details.is_empty()
    }

    /// Writes what tells the labels of this row, but for those of names in `but`, from those of
    /// other rows of the stream.
    pub(super) fn write_key(&self, key: &mut Vec<u8>, but: &[NameId]) {
        let part = |key: &mut Vec<u8>, name: u32, value: &str| {
            key.extend_from_slice(&name.to_le_bytes());
            key.extend_from_slice(&(value.len() as u32).to_le_bytes());
            key.extend_from_slice(value.as_bytes());
        };
        for at in &self.stream_hidden {
            part(key, *at, "");
        }
        for (id, value) in self.visible_metadata().filter(|(id, _)| !but.contains(id)) {
            part(key, id.number() | 1 << 31, value);
        }
        part(key, u32::MAX, "");
        for label in self.set.iter().filter(|label| !but.contains(&label.name)) {
            part(key, label.name.number(), self.set_text(label));
        }
        part(key, u32::MAX, &self.error);
        part(key, u32::MAX, &self.error_details);
    }

    /// The labels by where they come from.
    pub(super) fn to_row_labels(&self) -> RowLabels {
        let stream = if self.stream_hidden.is_empty() {
            self.stream.clone()
        } else {
            self.visible_stream().cloned().collect()
        };
        let metadata = if self.metadata_as_stored && self.metadata_hidden.is_empty() {
            self.metadata.clone()
        } else {
            let visible = self.visible_metadata();
            visible.map(|(id, value)| self.label(id, value)).collect()
        };
        let set = self.set.iter();
        let set = set.map(|label| self.label(label.name, self.set_text(label)));
        RowLabels {
            stream,
            metadata,
            parsed: LabelSet::keeping_empty(set.chain(self.error_labels().map(new_label))),
        }
    }

    /// All labels that `keep` accepts as one set.
    pub(super) fn to_label_set(&self, mut keep: impl FnMut(&str) -> bool) -> LabelSet {
        let metadata = self.visible_metadata();
        let metadata = metadata.map(|(id, value)| self.label(id, value));
        let set = self.set.iter();
        let set = set.map(|label| self.label(label.name, self.set_text(label)));
        let all = self.visible_stream().cloned().chain(metadata).chain(set);
        let errors = self.error_labels().map(new_label);
        LabelSet::keeping_empty(all.chain(errors).filter(|label| keep(&label.name)))
    }

    /// A label of its own.
    pub(super) fn label(&self, name: NameId, value: &str) -> Label {
        Label {
            name: Arc::clone(self.names.get(name)),
            value: Arc::from(value),
        }
    }
}

/// What is said of a label that is not set because of [`SET_BYTES_MAX`].
pub(super) fn too_large() -> String {
    format!("stages make more than {SET_BYTES_MAX} bytes of labels of one line")
}

fn suffixed(names: &mut Names, name: NameId) -> NameId {
    let name = format!("{}{EXTRACTED_SUFFIX}", names.get(name));
    names.intern(&name)
}

fn value_at(labels: &LabelSet, at: usize) -> Option<&str> {
    labels.iter().as_slice().get(at).map(|label| &*label.value)
}

fn new_label((name, value): (&str, &str)) -> Label {
    Label {
        name: Arc::from(name),
        value: Arc::from(value),
    }
}

fn push_cleaned(text: &mut String, value: &[u8]) {
    for chunk in value.utf8_chunks() {
        let valid = chunk.valid().chars();
        let space = |c| {
            if c == char::REPLACEMENT_CHARACTER {
                ' '
            } else {
                c
            }
        };
        text.extend(valid.map(space));
        text.extend(chunk.invalid().iter().map(|_| ' '));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        let stream = LabelSet::from_pairs([("app", "web"), ("env", "prod")]);
        let names = Arc::new(FixedNames::default());
        Row::new(&stream, names, Arc::new(Wanted::all()))
    }

    #[test]
    fn metadata_gives_way_to_the_stream_and_stages_hide_both() {
        let mut row = row();
        let metadata = LabelSet::from_pairs([("env", "meta"), ("trace", "t1")]);
        row.begin(&metadata);
        let (env, trace) = (row.names.intern("env"), row.names.intern("trace"));
        let suffixed = row.names.intern("env_extracted");
        assert_eq!(
            (row.get(env), row.get(suffixed), row.get(trace)),
            (Some("prod"), Some("meta"), Some("t1"))
        );
        assert!(row.is_taken(trace));
        row.set(env, "new");
        row.set(trace, "");
        let labels = row.to_row_labels();
        assert_eq!(labels.stream.to_string(), r#"{app="web"}"#);
        assert_eq!(labels.metadata.to_string(), r#"{env_extracted="meta"}"#);
        assert_eq!(labels.parsed.to_string(), r#"{env="new", trace=""}"#);
        row.delete(env);
        assert_eq!(row.get(env), None, "what it hid stays hidden");
        assert!(row.was_set(env));
        row.begin(&metadata);
        assert!(!row.was_set(env) && row.get_by_name("env") == Some("prod"));
    }

    #[test]
    fn errors_are_labels_of_the_result_only() {
        let mut row = row();
        row.begin(&LabelSet::from_pairs([("__error__", "stored")]));
        assert_eq!(
            (row.error(), row.get_by_name("__error__")),
            ("stored", None)
        );
        row.set_error("JSONParserErr", Some("why"));
        let parsed = row.to_row_labels().parsed;
        assert_eq!(parsed.get("__error__"), Some("JSONParserErr"));
        assert_eq!(parsed.get("__error_details__"), Some("why"));
        assert!(row.to_row_labels().metadata.is_empty());
        row.begin(&LabelSet::default());
        assert!(!row.has_error() && row.is_untouched());
    }

    #[test]
    fn bytes_that_are_no_text_do_not_reach_labels() {
        let mut row = row();
        row.begin(&LabelSet::default());
        let (a, b) = (row.names.intern("a"), row.names.intern("b"));
        row.set_cleaned(a, b"x\xff\xfe\xef\xbf\xbdy");
        row.set_lossy(b, b"x\xe5\xbcy");
        assert_eq!(
            (row.get(a), row.get(b)),
            (Some("x   y"), Some("x\u{fffd}\u{fffd}y"))
        );
    }
}
