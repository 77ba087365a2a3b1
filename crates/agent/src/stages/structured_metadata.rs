//! `structured_metadata`: extracted values, or else labels, become structured metadata.

use std::borrow::Cow;

use super::chain::{Flow, Stage};
use super::labels::{Options, Pairs, pairs};
use super::row::{Found, Row};

#[derive(Clone)]
pub(crate) struct StructuredMetadata(Pairs);

impl StructuredMetadata {
    pub(crate) fn new(options: Options) -> Result<Self, String> {
        Ok(Self(pairs(options)?))
    }
}

impl Stage for StructuredMetadata {
    fn process(&mut self, row: &mut Row, _now_ns: i64) -> Flow {
        for (name, source) in &*self.0 {
            let found = row.get(source).filter(|found| !found.is_raw());
            let text = found.and_then(Found::text).map(Cow::into_owned);
            let text = text.or_else(|| row.labels().get(&**source).cloned());
            if let Some(text) = text {
                row.entry.metadata.push((name.to_string(), text));
            }
        }
        for (_, source) in &*self.0 {
            row.remove_label(source);
        }
        Flow::On
    }

    fn fork(&self) -> Box<dyn Stage> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use crate::stages::testing::{entries, label_text, labelled, refused};

    #[test]
    fn metadata_comes_from_extracted_values_and_labels() {
        for (name, stages, metadata, labels) in [
            (
                "structured_metadata",
                "{id: , app: }",
                "id=42 app=web",
                "pod=p",
            ),
            (
                "non_indexed_labels",
                "{trace: id, missing: }",
                "trace=42",
                "app=web pod=p",
            ),
            (
                "structured_metadata",
                "{a: app, b: app}",
                "a=web b=web",
                "pod=p",
            ),
            (
                "structured_metadata",
                "{added: }",
                "added=x",
                "app=web pod=p",
            ),
        ] {
            let yaml = format!(
                "- regex: {{expression: 'id=(?P<id>\\d+)'}}\n\
                 - static_labels: {{added: x}}\n- {name}: {stages}\n- labeldrop: [added]"
            );
            let out = entries(&yaml, [labelled("id=42", &[("app", "web"), ("pod", "p")])]);
            // In the order of their names.
            let mut pairs: Vec<_> = out[0]
                .metadata
                .iter()
                .map(|(n, v)| format!("{n}={v}"))
                .collect();
            let mut expected: Vec<_> = metadata.split(' ').map(str::to_owned).collect();
            pairs.sort();
            expected.sort();
            assert_eq!(pairs, expected, "{stages}");
            assert_eq!(label_text(&out[0].labels), labels, "{stages}");
        }
        assert!(refused("- structured_metadata: {}").contains("at least one label"));
    }
}
