//! `tenant`: whose line it is, in the label `__tenant_id__`.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;

use super::chain::{Flow, Stage};
use super::config::Scalar;
use super::row::{Found, Row};

/// The label that says whose line it is.
const TENANT: &str = "__tenant_id__";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Options {
    label: Option<String>,
    source: Option<String>,
    value: Option<Scalar>,
}

#[derive(Clone)]
pub(crate) enum Tenant {
    Label(Arc<str>),
    Source(Arc<str>),
    Value(Arc<str>),
}

impl Tenant {
    pub(crate) fn new(options: Options) -> Result<Self, String> {
        let given = |option: Option<String>| option.filter(|text| !text.is_empty());
        let value = options.value.map(|Scalar(text)| text);
        match (given(options.label), given(options.source), given(value)) {
            (Some(label), None, None) => Ok(Self::Label(label.into())),
            (None, Some(source), None) => Ok(Self::Source(source.into())),
            (None, None, Some(value)) => Ok(Self::Value(value.into())),
            _ => Err("exactly one of label, source and value is needed".to_owned()),
        }
    }
}

impl Stage for Tenant {
    fn process(&mut self, row: &mut Row, _now_ns: i64) -> Flow {
        let tenant = match self {
            Self::Label(label) => row.labels().get(&**label).cloned(),
            Self::Source(source) => row.get(source).and_then(Found::text).map(Cow::into_owned),
            Self::Value(value) => Some(value.to_string()),
        };
        if let Some(tenant) = tenant.filter(|tenant| !tenant.is_empty()) {
            row.set_label(TENANT, tenant);
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
    fn the_tenant_is_a_label() {
        for (options, expected) in [
            ("{value: team}", "__tenant_id__=team a=x"),
            ("{value: 7}", "__tenant_id__=7 a=x"),
            ("{label: a}", "__tenant_id__=x a=x"),
            ("{label: missing}", "a=x"),
            ("{source: t}", "__tenant_id__=42 a=x"),
            ("{source: missing}", "a=x"),
        ] {
            let stages = format!(
                "- static_labels: {{a: x}}\n- json: {{expressions: {{t: }}}}\n- tenant: {options}"
            );
            assert_eq!(labels(&stages, br#"{"t":42}"#), expected, "{options}");
        }
        for options in ["{}", "{value: a, source: b}", "{label: '', value: ''}"] {
            assert!(refused(&format!("- tenant: {options}")).contains("exactly one"));
        }
    }
}
