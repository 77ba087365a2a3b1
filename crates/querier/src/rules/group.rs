//! A rule group as users write it, and what is wrong with one, in Loki's words.

use std::collections::BTreeMap;

use logql::{syntax, template};
use model::units::{DurationNs, quote};
use model::{Code, CodedError, is_valid_label_name};
use serde::{Deserialize, Serialize};

use super::lenient;

/// What the templates of an alert may use without declaring it.
const TEMPLATE_VARIABLES: &str = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}\
    {{$externalURL := .ExternalURL}}{{$value := .Value}}";

/// What the templates of an alert may call: Go's own functions, and Prometheus's.
const TEMPLATE_FUNCTIONS: &[&str] = &[
    "and",
    "call",
    "eq",
    "ge",
    "gt",
    "html",
    "index",
    "js",
    "le",
    "len",
    "lt",
    "ne",
    "not",
    "or",
    "print",
    "printf",
    "println",
    "slice",
    "urlquery",
    "args",
    "externalURL",
    "first",
    "graphLink",
    "humanize",
    "humanize1024",
    "humanizeDuration",
    "humanizePercentage",
    "humanizeTimestamp",
    "label",
    "match",
    "now",
    "parseDuration",
    "pathPrefix",
    "query",
    "reReplaceAll",
    "safeHtml",
    "sortByLabel",
    "stripDomain",
    "stripPort",
    "strvalue",
    "tableLink",
    "title",
    "toDuration",
    "toLower",
    "toTime",
    "toUpper",
    "tmpl",
    "urlQueryEscape",
    "value",
];

/// Rules that are evaluated together. Fields that it does not know are passed over, as in Loki.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RuleGroup {
    /// Its name, unique in its namespace.
    #[serde(deserialize_with = "lenient::text")]
    pub name: String,
    /// How often it is evaluated.
    #[serde(
        deserialize_with = "lenient::duration",
        skip_serializing_if = "Option::is_none"
    )]
    pub interval: Option<DurationNs>,
    /// Alerts or series that one rule may give; 0 for any number.
    #[serde(
        deserialize_with = "lenient::whole_number",
        skip_serializing_if = "is_zero"
    )]
    pub limit: i64,
    /// In order.
    #[serde(deserialize_with = "lenient::list")]
    pub rules: Vec<Rule>,
}

/// An alert or a recording.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rule {
    /// Name of the alert.
    #[serde(
        deserialize_with = "lenient::text",
        skip_serializing_if = "String::is_empty"
    )]
    pub alert: String,
    /// Name of the series recorded.
    #[serde(
        deserialize_with = "lenient::text",
        skip_serializing_if = "String::is_empty"
    )]
    pub record: String,
    /// A metric query.
    #[serde(deserialize_with = "lenient::text")]
    pub expr: String,
    /// For how long it must hold before the alert fires.
    #[serde(
        rename = "for",
        deserialize_with = "lenient::duration",
        skip_serializing_if = "Option::is_none"
    )]
    pub holds_for: Option<DurationNs>,
    /// For how long the alert goes on firing after it holds no more.
    #[serde(
        deserialize_with = "lenient::duration",
        skip_serializing_if = "Option::is_none"
    )]
    pub keep_firing_for: Option<DurationNs>,
    /// Labels added.
    #[serde(
        deserialize_with = "lenient::texts",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub labels: BTreeMap<String, String>,
    /// Texts about the alert.
    #[serde(
        deserialize_with = "lenient::texts",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde gives the signature"
)]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

fn refused(message: impl Into<String>) -> CodedError {
    CodedError::new(Code::InvalidArgument, message)
}

impl RuleGroup {
    /// Whether the group makes sense.
    ///
    /// # Errors
    /// If not; all that is wrong is told at once.
    pub fn check(&self) -> Result<(), CodedError> {
        let mut faults = Vec::new();
        if self.name.is_empty() {
            faults.push("group 0: Groupname must not be empty".to_owned());
        }
        let of_rules = self.rules.iter().map(|rule| rule.check(&self.name));
        faults.extend(of_rules.filter_map(Result::err).map(|error| error.message));
        match faults.is_empty() {
            true => Ok(()),
            false => Err(refused(faults.join(", "))),
        }
    }
}

impl Rule {
    fn check(&self, group: &str) -> Result<(), CodedError> {
        let (kind, name) = match (self.alert.as_str(), self.record.as_str()) {
            ("", "") => return Err(refused("one of 'record' or 'alert' must be set")),
            (alert, "") => ("alert", alert),
            ("", record) => ("record", record),
            _ => return Err(refused("only one of 'record' and 'alert' must be set")),
        };
        if self.expr.is_empty() {
            return Err(refused("field 'expr' must be set in rule"));
        }
        if let Err(error) = syntax::parse(&self.expr) {
            return Err(refused(format!(
                "could not parse expression for {kind} '{name}' in group '{group}': {error}"
            )));
        }
        if kind == "record" {
            self.check_record()?;
        }
        let is_name = |name: &&String| is_valid_label_name(name);
        if let Some(name) = self
            .labels
            .keys()
            .find(|name| !is_name(name) || *name == "__name__")
        {
            return Err(refused(format!("invalid label name: {name}")));
        }
        if let Some(name) = self.annotations.keys().find(|name| !is_name(name)) {
            return Err(refused(format!("invalid annotation name: {name}")));
        }
        self.check_templates()
    }

    /// Labels and annotations of alerts are templates.
    fn check_templates(&self) -> Result<(), CodedError> {
        if self.alert.is_empty() {
            return Ok(());
        }
        let texts = [("label", &self.labels), ("annotation", &self.annotations)];
        for (kind, (name, text)) in texts
            .into_iter()
            .flat_map(|(kind, texts)| texts.iter().map(move |text| (kind, text)))
        {
            let text = format!("{TEMPLATE_VARIABLES}{text}");
            template::check(
                &format!("__alert_{}", self.alert),
                &text,
                TEMPLATE_FUNCTIONS,
            )
            .map_err(|error| refused(format!("{kind} {}: {error}", quote(name))))?;
        }
        Ok(())
    }

    fn check_record(&self) -> Result<(), CodedError> {
        if !self.annotations.is_empty() {
            return Err(refused("invalid field 'annotations' in recording rule"));
        }
        if self.holds_for.is_some_and(|time| time.0 != 0) {
            return Err(refused("invalid field 'for' in recording rule"));
        }
        // Names of series may have colons besides what label names have.
        if !is_valid_label_name(&self.record.replace(':', "_")) {
            return Err(refused(format!(
                "invalid recording rule name: {}",
                self.record
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_read_as_gos_decoder_reads_it() {
        let read = |text: &str| serde_yaml::from_str::<RuleGroup>(text);
        let text = "name: 1e3\nnosuch: [1]\nlimit: 2.5\ninterval: 0\nrules:\n- null\n- alert: true\n  \
                    expr: 1\n  for: \"1d\"\n  keep_firing_for:\n  labels: {a: ~, ~: b, c: 0x1}\n  \
                    annotations: ~\n- record: ~\n  expr: ~\n  Expr: x\n";
        let group = read(text).unwrap();
        let labels = [("a", ""), ("c", "0x1")].map(|(name, value)| (name.into(), value.into()));
        let alert = Rule {
            alert: "true".to_owned(),
            expr: "1".to_owned(),
            holds_for: Some(DurationNs::from_secs(86_400)),
            labels: BTreeMap::from(labels),
            ..Rule::default()
        };
        let expected = RuleGroup {
            name: "1e3".to_owned(),
            limit: 2,
            rules: vec![alert, Rule::default()],
            ..RuleGroup::default()
        };
        assert_eq!(group, expected);
        assert_eq!(
            serde_json::from_str::<RuleGroup>(&serde_json::to_string(&group).unwrap()).unwrap(),
            group
        );
        let rest_is_nothing = "name: g\nlimit: -1\nrules: ~\ninterval:\n";
        assert_eq!(read(rest_is_nothing).unwrap().limit, -1);
        for wrong in [
            "name: [g]",
            "name: a\nname: b",
            "interval: -1m",
            "interval: 1.5m",
            "interval: 10",
            "limit: x",
            "limit: true",
            "rules: {}",
            "rules: [x]",
            "rules: [{labels: {a: b, a: c}}]",
            "rules: [{labels: {a: [b]}}]",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn wrong_groups_are_refused_in_lokis_words() {
        for (text, reason) in [
            ("{}", "group 0: Groupname must not be empty"),
            (
                r#"{"rules":[{"alert":"A"},{"alert":"B","expr":"1"},{"expr":"1"}]}"#,
                "group 0: Groupname must not be empty, field 'expr' must be set in rule, \
                 one of 'record' or 'alert' must be set",
            ),
            (
                r#"{"name":"g","rules":[{"alert":"A"}]}"#,
                "field 'expr' must be set in rule",
            ),
            (
                r#"{"name":"g","rules":[{"expr":"1"}]}"#,
                "one of 'record' or 'alert' must be set",
            ),
            (
                r#"{"name":"g","rules":[{"record":"bad-name","expr":"1"}]}"#,
                "invalid recording rule name: bad-name",
            ),
            (
                r#"{"name":"g","rules":[{"record":"r:1","expr":"1","for":"5m"}]}"#,
                "invalid field 'for' in recording rule",
            ),
            (
                r#"{"name":"g","rules":[{"alert":"A","expr":"1","labels":{"a-b":"c"}}]}"#,
                "invalid label name: a-b",
            ),
            (
                r#"{"name":"g","rules":[{"alert":"A","expr":"1","annotations":{"s":"{{ .Foo | nope }}"}}]}"#,
                "annotation \"s\": template: __alert_A:1: function \"nope\" not defined",
            ),
            (
                r#"{"name":"g","rules":[{"alert":"A","expr":"1","labels":{"s":"{{ $other }}"}}]}"#,
                "label \"s\": template: __alert_A:1: undefined variable \"$other\"",
            ),
        ] {
            let group: RuleGroup = serde_json::from_str(text).unwrap();
            assert_eq!(group.check().unwrap_err().message, reason);
        }
        let text = r#"{"name":"g","rules":[{"alert":"A","expr":"1","annotations":{"s":"{{ $labels.x | toUpper }} is {{ $value | humanize }}"}}]}"#;
        let group: RuleGroup = serde_json::from_str(text).unwrap();
        group.check().unwrap();
        let text = r#"{"name":"g","rules":[{"alert":"A","expr":"not logql ("}]}"#;
        let group: RuleGroup = serde_json::from_str(text).unwrap();
        let message = group.check().unwrap_err().message;
        let start = "could not parse expression for alert 'A' in group 'g': parse error at line 1";
        assert!(message.starts_with(start), "{message}");
    }
}
