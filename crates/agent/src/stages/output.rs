//! `output`: an extracted value becomes the line.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;

use super::chain::{Flow, Stage};
use super::row::Row;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Options {
    source: String,
}

impl Options {
    pub(super) fn of(source: &str) -> Self {
        Self {
            source: source.to_owned(),
        }
    }
}

#[derive(Clone)]
pub(crate) struct Output(Arc<str>);

impl Output {
    pub(crate) fn new(options: &Options) -> Result<Self, String> {
        if options.source.is_empty() {
            return Err("source must not be empty".to_owned());
        }
        Ok(Self(options.source.as_str().into()))
    }
}

impl Stage for Output {
    fn process(&mut self, row: &mut Row, _now_ns: i64) -> Flow {
        let line = row.input(Some(&self.0)).map(Cow::into_owned);
        if let Some(line) = line {
            row.entry.line = line;
        }
        Flow::On
    }

    fn fork(&self) -> Box<dyn Stage> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use crate::stages::testing::{lines, refused};

    #[test]
    fn the_source_becomes_the_line() {
        for (source, expected) in [("m", "hello"), ("k", "2"), ("z", ""), ("missing", "")] {
            let stages = format!(
                "- json: {{expressions: {{m: , k: , z: }}}}\n- output: {{source: {source}}}"
            );
            let line = r#"{"m":"hello","k":2,"z":null}"#;
            let expected = if expected.is_empty() { line } else { expected };
            assert_eq!(lines(&stages, &[line]), [expected], "{source}");
        }
        assert!(refused("- output: {}").contains("missing field `source`"));
        assert!(refused("- output: {source: ''}").contains("must not be empty"));
    }
}
