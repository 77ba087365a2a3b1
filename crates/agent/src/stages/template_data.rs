//! What templates of stages see: the extracted values as texts.

use std::borrow::Cow;
use std::collections::BTreeMap;

use logql::template::{Context, Dialect, Labels, Template, TemplateError};

use super::row::Row;

/// A template and the names that it reads.
pub(crate) struct StageTemplate {
    template: Template,
    /// `None` if it may read any.
    reads: Option<Vec<String>>,
}

impl StageTemplate {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let template = Template::parse("pipeline_template", text, Dialect::Promtail)
            .map_err(|error| error.to_string())?;
        Ok(Self {
            reads: template.labels_read(),
            template,
        })
    }

    /// The extracted values of the row that the template can read. Null is none of them.
    pub(crate) fn data<'a>(&'a self, row: &'a Row) -> Data<'a> {
        let Some(reads) = &self.reads else {
            let texts = row.values().into_iter();
            return Data(
                texts
                    .filter_map(|(name, found)| Some((name, found.text()?)))
                    .collect(),
            );
        };
        let texts = reads
            .iter()
            .filter_map(|name| Some((name.as_str(), row.get(name)?.text()?)));
        Data(texts.collect())
    }

    /// Whether the template may read a name.
    pub(crate) fn reads(&self, name: &str) -> bool {
        self.reads
            .as_ref()
            .is_none_or(|reads| reads.iter().any(|read| read == name))
    }

    pub(crate) fn run(
        &self,
        row: &Row,
        data: &Data<'_>,
        now_ns: i64,
    ) -> Result<Vec<u8>, TemplateError> {
        let context = Context {
            line: &row.entry.line,
            timestamp_ns: row.entry.timestamp_ns,
            now_ns,
            labels: data,
        };
        let mut out = Vec::new();
        self.template.run(&context, &mut out)?;
        Ok(out)
    }
}

/// Texts by name.
pub(crate) struct Data<'a>(BTreeMap<&'a str, Cow<'a, str>>);

impl<'a> Data<'a> {
    pub(crate) fn set(&mut self, name: &'a str, text: Cow<'a, str>) {
        self.0.insert(name, text);
    }
}

impl Labels for Data<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|text| &**text)
    }

    fn for_each(&self, visit: &mut dyn FnMut(&str, &str)) {
        for (name, text) in &self.0 {
            visit(name, text);
        }
    }
}
