//! `template`: a Go template makes an extracted value out of others.

use std::sync::Arc;

use serde::Deserialize;

use super::chain::{Flow, Stage};
use super::row::{Found, Row, Value};
use super::template_data::StageTemplate;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Options {
    source: String,
    template: String,
}

#[derive(Clone)]
pub(crate) struct TemplateStage {
    source: Arc<str>,
    template: Arc<StageTemplate>,
}

impl TemplateStage {
    pub(crate) fn new(options: &Options) -> Result<Self, String> {
        if options.source.is_empty() {
            return Err("source must not be empty".to_owned());
        }
        Ok(Self {
            source: options.source.as_str().into(),
            template: Arc::new(StageTemplate::parse(&options.template)?),
        })
    }

    fn run(&self, row: &Row, now_ns: i64) -> Option<Vec<u8>> {
        let mut data = self.template.data(row);
        if let Some(value) = row.get(&self.source).and_then(Found::text) {
            data.set("Value", value);
        }
        if self.template.reads("Entry") {
            data.set("Entry", String::from_utf8_lossy(&row.entry.line));
        }
        self.template.run(row, &data, now_ns).ok()
    }
}

impl Stage for TemplateStage {
    fn process(&mut self, row: &mut Row, now_ns: i64) -> Flow {
        match self.run(row, now_ns) {
            None => {}
            Some(text) if text.is_empty() => row.unset(&self.source),
            Some(text) => row.set(&self.source, Value::from_bytes(&text)),
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
    fn templates_set_their_source() {
        for (options, expected) in [
            (
                "{source: new, template: 'hello world'}",
                "a=Foo k=2 new=hello world z",
            ),
            (
                "{source: a, template: '{{ .Value | ToLower }}-{{ .k }}'}",
                "a=foo-2 k=2 z",
            ),
            (
                "{source: a, template: '{{ .missing }}'}",
                "a=<no value> k=2 z",
            ),
            (
                "{source: new, template: '{{ .Value }}'}",
                "a=Foo k=2 new=<no value> z",
            ),
            ("{source: a, template: ''}", "k=2 z"),
            (
                "{source: a, template: '{{ if eq .Value \"Foo\" }}{{ else }}x{{ end }}'}",
                "k=2 z",
            ),
            (
                "{source: e, template: '{{ len .Entry }}'}",
                "a=Foo e=26 k=2 z",
            ),
            (
                "{source: a, template: '{{ .Entry | trunc 3 }}'}",
                "a={\"a k=2 z",
            ),
            (
                "{source: a, template: '{{ Replace .Value \"o\" \"0\" 1 }}'}",
                "a=F0o k=2 z",
            ),
            (
                "{source: a, template: '{{ regexReplaceAll \"o+\" .Value \"$0!\" }}'}",
                "a=Foo! k=2 z",
            ),
            (
                "{source: h, template: '{{ Sha2Hash \"salt\" .a | trunc 8 }}'}",
                "a=Foo h=3c6c17f4 k=2 z",
            ),
            // A run that fails leaves the row alone.
            ("{source: a, template: '{{ index .a 99 }}'}", "a=Foo k=2 z"),
        ] {
            let stages =
                format!("- json: {{expressions: {{a: , k: , z: }}}}\n- template: {options}");
            let line = r#"{"a":"Foo","k":2,"z":null}"#;
            assert_eq!(extracted(&stages, line), expected, "{options}");
        }
    }

    #[test]
    fn what_is_no_template_is_refused() {
        assert!(refused("- template: {source: a, template: '{{ nope . }}'}").contains("nope"));
        assert!(refused("- template: {source: a, template: '{{ .a '}").contains("unclosed action"));
        assert!(refused("- template: {source: '', template: x}").contains("must not be empty"));
    }

    proptest! {
        #[test]
        fn any_line_passes(line in ".{0,40}") {
            let stages = "- regex: {expression: '(?P<a>\\w+)\\s+(?P<b>.*)'}\n\
                - template: {source: a, template: '{{ .a | ToUpper | trunc 5 }}{{ .b | quote }}'}\n\
                - output: {source: a}";
            prop_assert_eq!(lines(stages, &[&line]).len(), 1);
        }
    }
}
