//! `static_labels`: labels with a fixed value.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::is_valid_label_name;

use super::chain::{Flow, Stage};
use super::config::Scalar;
use super::row::Row;

pub(crate) type Options = BTreeMap<String, Option<Scalar>>;

#[derive(Clone)]
pub(crate) struct StaticLabels(Arc<[(String, String)]>);

impl StaticLabels {
    pub(crate) fn new(options: Options) -> Result<Self, String> {
        if options.is_empty() {
            return Err("at least one label is needed".to_owned());
        }
        if let Some(name) = options.keys().find(|name| !is_valid_label_name(name)) {
            return Err(format!("invalid label name: {name}"));
        }
        let labels = options.into_iter();
        Ok(Self(
            labels
                .filter_map(|(name, value)| Some((name, value?.0)))
                .collect(),
        ))
    }
}

impl Stage for StaticLabels {
    fn process(&mut self, row: &mut Row, _now_ns: i64) -> Flow {
        for (name, value) in &*self.0 {
            row.set_label(name, value.clone());
        }
        Flow::On
    }

    fn fork(&self) -> Box<dyn Stage> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use crate::stages::testing::{labels, refused};

    #[test]
    fn labels_are_set() {
        let stages = "- static_labels: {a: x, b: 1, c: true, d: }";
        assert_eq!(labels(stages, b""), "a=x b=1 c=true");
        assert!(refused("- static_labels: {'a b': x}").contains("invalid label name: a b"));
        assert!(refused("- static_labels: {a: [x]}").contains("expected a text"));
        assert!(refused("- static_labels:").contains("at least one label"));
    }
}
