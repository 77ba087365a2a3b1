//! `decolorize`: lines without the escape sequences of terminals.

use super::chain::{Flow, Stage};
use super::row::Row;

#[derive(Clone, Default)]
pub(crate) struct Decolorize {
    plain: Vec<u8>,
}

impl Stage for Decolorize {
    fn process(&mut self, row: &mut Row, _now_ns: i64) -> Flow {
        if logql::pipeline::decolorize(&row.entry.line, &mut self.plain) {
            row.entry.line.clear();
            row.entry.line.extend_from_slice(&self.plain);
        }
        Flow::On
    }

    fn fork(&self) -> Box<dyn Stage> {
        Box::new(Self::default())
    }
}

#[cfg(test)]
mod tests {
    use crate::stages::testing::{lines, refused};

    #[test]
    fn sequences_are_removed() {
        let input = ["\u{1b}[31mred\u{1b}[0m and plain", "plain"];
        assert_eq!(
            lines("- decolorize: {}", &input),
            ["red and plain", "plain"]
        );
        assert!(refused("- decolorize: {x: 1}").contains("unknown field `x`"));
    }
}
