//! Fields that a tenant wants copied from lines into metadata.

use std::sync::Arc;

use memchr::memchr;
use model::{Label, LabelSet};

use crate::level::{is_json, json, logfmt};

/// The value of that label of `labels` which counts: the last of its name.
pub(crate) fn last_of<'l>(labels: &'l [Label], name: &str) -> Option<&'l str> {
    let label = labels.iter().rev().find(|label| &*label.name == name)?;
    Some(&label.value)
}

/// The first of `hints` that is a label of the stream, else one that is metadata, else one that is
/// a field of the line: a JSON path, or a key of logfmt.
pub(crate) fn find(
    hints: &[String],
    stream: &LabelSet,
    metadata: &[Label],
    line: &[u8],
) -> Option<Arc<str>> {
    let labelled = hints
        .iter()
        .find_map(|hint| stream.get(hint))
        .or_else(|| hints.iter().find_map(|hint| last_of(metadata, hint)));
    if let Some(value) = labelled {
        return Some(value.into());
    }
    let value = if is_json(line) {
        hints
            .iter()
            .find_map(|hint| json::at_path(line, hint))
            .map(Arc::from)
    } else if memchr(b'=', line).is_some() {
        logfmt::best_of(line, hints).map(|value| String::from_utf8_lossy(value).into())
    } else {
        None
    };
    value.filter(|value: &Arc<str>| !value.is_empty())
}
