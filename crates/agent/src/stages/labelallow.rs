//! `labelallow`: the only labels that stay.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::chain::{Flow, Stage};
use super::row::Row;

/// Names of labels.
pub(crate) type Options = BTreeSet<String>;

#[derive(Clone)]
pub(crate) struct LabelAllow(Arc<BTreeSet<String>>);

impl LabelAllow {
    pub(crate) fn new(options: Options) -> Result<Self, String> {
        if options.is_empty() {
            return Err("at least one label is needed".to_owned());
        }
        Ok(Self(options.into()))
    }
}

impl Stage for LabelAllow {
    fn process(&mut self, row: &mut Row, _now_ns: i64) -> Flow {
        let others = row.labels().keys().filter(|name| !self.0.contains(*name));
        for name in others.cloned().collect::<Vec<_>>() {
            row.remove_label(&name);
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
    fn other_labels_are_removed() {
        let stages = "- static_labels: {a: 1, b: 2, c: 3}\n- labelallow: [a, c, d]\n";
        assert_eq!(labels(stages, b""), "a=1 c=3");
        assert!(refused("- labelallow: []").contains("at least one label"));
    }
}
