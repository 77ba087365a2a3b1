//! `labeldrop`: labels that are removed.

use std::sync::Arc;

use super::chain::{Flow, Stage};
use super::row::Row;

/// Names of labels.
pub(crate) type Options = Vec<String>;

#[derive(Clone)]
pub(crate) struct LabelDrop(Arc<[String]>);

impl LabelDrop {
    pub(crate) fn new(options: Options) -> Result<Self, String> {
        if options.is_empty() {
            return Err("at least one label is needed".to_owned());
        }
        Ok(Self(options.into()))
    }
}

impl Stage for LabelDrop {
    fn process(&mut self, row: &mut Row, _now_ns: i64) -> Flow {
        for name in &*self.0 {
            row.remove_label(name);
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
    fn labels_are_removed_and_stay_extracted() {
        let stages = "- static_labels: {a: 1, b: 2}\n- labeldrop: [a, c]\n";
        assert_eq!(labels(stages, b""), "b=2");
        assert!(refused("- labeldrop: []").contains("at least one label"));
        assert!(refused("- labeldrop: {a: }").contains("expected a sequence"));
    }
}
