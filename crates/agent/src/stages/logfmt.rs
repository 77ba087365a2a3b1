//! `logfmt`: pairs of the line are extracted.

use std::collections::BTreeMap;
use std::sync::Arc;

use logql::pipeline::{LogfmtPair, LogfmtScanner};
use serde::Deserialize;

use super::chain::{Flow, Stage};
use super::expression;
use super::row::{Row, Value};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Options {
    /// Names of extracted values with the keys that they are taken from.
    mapping: BTreeMap<String, Option<String>>,
    source: Option<String>,
}

#[derive(Clone)]
pub(crate) struct Logfmt {
    source: Option<Arc<str>>,
    /// Keys with the names that they get.
    names: Arc<[(String, Arc<str>)]>,
}

impl Logfmt {
    pub(crate) fn new(options: Options) -> Result<Self, String> {
        if options.mapping.is_empty() {
            return Err("at least one mapping is needed".to_owned());
        }
        let names = options.mapping.into_iter().map(|(name, key)| {
            let key = key
                .filter(|key| !key.is_empty())
                .unwrap_or_else(|| name.clone());
            (key, name.into())
        });
        Ok(Self {
            source: expression::non_empty(options.source, "source")?.map(Arc::from),
            names: names.collect(),
        })
    }
}

impl Stage for Logfmt {
    fn process(&mut self, row: &mut Row, _now_ns: i64) -> Flow {
        let Some(input) = row.input(self.source.as_deref()) else {
            return Flow::On;
        };
        let (mut scanner, mut unquoted) = (LogfmtScanner::new(&input), Vec::new());
        let mut values = Vec::new();
        // What stands before a fault counts.
        while let LogfmtPair::Found { key, value } = scanner.next(&mut unquoted) {
            for (wanted, name) in &*self.names {
                if wanted.as_bytes() == key {
                    let value = value.map(|value| value.of(&unquoted)).unwrap_or_default();
                    values.push((Arc::clone(name), Value::from_bytes(value)));
                }
            }
        }
        for (name, value) in values {
            row.set(&name, value);
        }
        Flow::On
    }

    fn fork(&self) -> Box<dyn Stage> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::stages::testing::{extracted, lines, refused};

    #[test]
    fn mapped_pairs_are_extracted() {
        const LINE: &str =
            r#"level=info msg="say \"hi\"" level=warn empty= alone broken"x after=1"#;
        for (mapping, expected) in [
            ("{level: , msg: ''}", "level=warn msg=say \"hi\""),
            ("{severity: level, l: level}", "l=warn severity=warn"),
            ("{empty: , alone: }", "alone= empty="),
            // Nothing is read behind what is no pair.
            ("{after: , missing: }", ""),
        ] {
            let stages = format!("- logfmt: {{mapping: {mapping}}}");
            assert_eq!(extracted(&stages, LINE), expected, "{mapping}");
        }
    }

    #[test]
    fn a_source_is_used_instead_of_the_line() {
        let stages = "- logfmt: {mapping: {inner: }}\n\
                      - logfmt: {mapping: {a: }, source: inner}\n\
                      - logfmt: {mapping: {b: }, source: missing}";
        assert_eq!(extracted(stages, r#"b=1 inner="a=2""#), "a=2 inner=a=2");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(refused("- logfmt: {mapping: {}}").contains("at least one mapping"));
        assert!(refused("- logfmt: {mapping: {a: }, source: ''}").contains("source must not be"));
    }

    proptest! {
        #[test]
        fn any_line_passes(line in "[a-c=\" \\\\u0-9]{0,40}") {
            prop_assert_eq!(lines("- logfmt: {mapping: {a: , b: c}}", &[&line]), [line]);
        }
    }
}
