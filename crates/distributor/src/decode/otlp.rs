//! OTLP logs: what of a record becomes a label, what metadata, what the line.
//!
//! The mapping is Loki's. Attributes of the resource in a fixed list, or as the tenant's
//! `otlp_config` says, are labels; other attributes of resource, scope and record are metadata.

use std::borrow::Cow;
use std::sync::Arc;

use model::{Label, Limits, OtlpAction, OtlpAttributeRule};
use parking_lot::Mutex;
use regex::Regex;

use crate::decode::any::Any;
use crate::decode::{Target, otlp_json, otlp_proto};
use crate::error::Rejection;
use crate::intake::Pair;
use crate::names;
use crate::stream::Stream;

/// Attributes of the resource that are labels unless the tenant says otherwise.
const DEFAULT_LABELS: [&str; 18] = [
    "service.name",
    "service.namespace",
    "service.instance.id",
    "deployment.environment",
    "deployment.environment.name",
    "cloud.region",
    "cloud.availability_zone",
    "k8s.cluster.name",
    "k8s.namespace.name",
    "k8s.pod.name",
    "k8s.container.name",
    "container.name",
    "k8s.replicaset.name",
    "k8s.deployment.name",
    "k8s.statefulset.name",
    "k8s.daemonset.name",
    "k8s.cronjob.name",
    "k8s.job.name",
];

/// How OTLP comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OtlpFormat {
    Json,
    Protobuf,
}

/// Attributes as they come.
pub(super) type Attributes<'a> = Vec<(Cow<'a, str>, Any<'a>)>;

/// Where a scope's records come from.
#[derive(Debug, Default)]
pub(super) struct Scope<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) version: Cow<'a, str>,
    pub(super) attributes: Attributes<'a>,
    pub(super) dropped_attributes: u64,
}

/// A log record.
#[derive(Debug, Default)]
pub(super) struct Record<'a> {
    pub(super) time_ns: u64,
    pub(super) observed_ns: u64,
    pub(super) severity_number: i64,
    pub(super) severity_text: Cow<'a, str>,
    pub(super) body: Any<'a>,
    pub(super) attributes: Attributes<'a>,
    pub(super) dropped_attributes: u64,
    pub(super) flags: u64,
    /// Hexadecimal; empty if there is none.
    pub(super) trace_id: Cow<'a, str>,
    pub(super) span_id: Cow<'a, str>,
    pub(super) event_name: Cow<'a, str>,
}

/// Reads a push.
pub(crate) fn decode(
    body: &[u8],
    format: OtlpFormat,
    rules: &OtlpRules,
    target: &mut Target<'_>,
) -> Result<(), Rejection> {
    let mut mapper = Mapper {
        target,
        rules,
        resource_labels: Vec::new(),
        resource_metadata: Vec::new(),
        scope_metadata: Vec::new(),
        stream: None,
        resource_fault: None,
        scope_fault: None,
    };
    match format {
        OtlpFormat::Json => otlp_json::decode(body, &mut mapper)?,
        OtlpFormat::Protobuf => otlp_proto::decode(body, &mut mapper)?,
    }
    target.expect_streams()
}

/// Makes rows of records.
pub(super) struct Mapper<'m, 'a> {
    target: &'m mut Target<'a>,
    rules: &'m OtlpRules,
    resource_labels: Vec<(String, String)>,
    resource_metadata: Vec<Label>,
    /// The resource's and the scope's, in the order in which later ones win.
    scope_metadata: Vec<Label>,
    /// The stream of records that add no labels of their own, once one came.
    stream: Option<Arc<Stream>>,
    /// What is wrong with the resource: only a record makes it matter.
    resource_fault: Option<Rejection>,
    /// The same of the scope.
    scope_fault: Option<Rejection>,
}

impl Mapper<'_, '_> {
    pub(super) fn begin_resource(&mut self, attributes: &Attributes<'_>) {
        self.resource_fault = self.read_resource(attributes).err();
        self.scope_fault = None;
        if self.resource_fault.is_none() {
            self.begin_scope(&Scope::default());
        }
    }

    pub(super) fn begin_scope(&mut self, scope: &Scope<'_>) {
        self.scope_fault = self.read_scope(scope).err();
    }

    fn read_resource(&mut self, attributes: &Attributes<'_>) -> Result<(), Rejection> {
        self.resource_labels.clear();
        self.resource_metadata.clear();
        self.stream = None;
        let rules = self.rules;
        for (name, value) in attributes {
            match rules.resource.action(name) {
                OtlpAction::Drop => {}
                OtlpAction::IndexLabel => {
                    let labels = &mut self.resource_labels;
                    flatten("", name, value, &mut |name, value| set(labels, name, value))?;
                }
                OtlpAction::StructuredMetadata => {
                    add_metadata(self.target, &mut self.resource_metadata, name, value)?;
                }
            }
        }
        Ok(())
    }

    fn read_scope(&mut self, scope: &Scope<'_>) -> Result<(), Rejection> {
        let mut metadata = std::mem::take(&mut self.scope_metadata);
        metadata.clear();
        metadata.extend_from_slice(&self.resource_metadata);
        for (name, value) in &scope.attributes {
            if self.rules.scope.action(name) != OtlpAction::Drop {
                add_metadata(self.target, &mut metadata, name, value)?;
            }
        }
        let dropped = Some(scope.dropped_attributes).filter(|count| *count != 0);
        for (name, value) in [
            ("scope_name", scope.name.clone()),
            ("scope_version", scope.version.clone()),
            (
                "scope_dropped_attributes_count",
                dropped
                    .map(|count| count.to_string())
                    .unwrap_or_default()
                    .into(),
            ),
        ] {
            if !value.is_empty() {
                metadata.push(Label {
                    name: self.target.intake.shared_name(name),
                    value: (*value).into(),
                });
            }
        }
        self.scope_metadata = metadata;
        Ok(())
    }

    pub(super) fn record(&mut self, record: &Record<'_>) -> Result<(), Rejection> {
        let fault = self.resource_fault.take().or(self.scope_fault.take());
        if let Some(fault) = fault {
            return Err(fault);
        }
        let mut pairs: Vec<Pair<'_>> = Vec::with_capacity(record.attributes.len() + 4);
        let mut labels: Vec<(String, String)> = Vec::new();
        for (name, value) in &record.attributes {
            match self.rules.log.action(name) {
                OtlpAction::Drop => {}
                OtlpAction::IndexLabel => {
                    flatten("", name, value, &mut |name, value| {
                        set(&mut labels, name, value);
                    })?;
                }
                OtlpAction::StructuredMetadata => match value {
                    Any::Map(_) => flatten("", name, value, &mut |name, value| {
                        pairs.push((name.into(), value.into()));
                    })?,
                    _ => pairs.push((Cow::Borrowed(name), value.as_text())),
                },
            }
        }
        if self.rules.severity_text_as_label && !record.severity_text.is_empty() {
            let text = record.severity_text.to_string();
            labels.push(("severity_text".to_owned(), text));
        }
        add_fields(record, &mut pairs);
        self.begin_stream(labels)?;
        let line = record.body.as_text();
        let intake = &mut self.target.intake;
        let time_ns = match (record.time_ns, record.observed_ns) {
            (0, 0) => intake.now_ns(),
            (0, time_ns) | (time_ns, _) => i64::try_from(time_ns)
                .map_err(|_| Rejection::invalid(format!("time {time_ns} is out of range")))?,
        };
        intake.row(time_ns, line.as_bytes(), &pairs, &self.scope_metadata);
        Ok(())
    }

    /// Makes the stream of the resource, with these labels more, the one that rows go to.
    fn begin_stream(&mut self, more: Vec<(String, String)>) -> Result<(), Rejection> {
        if more.is_empty() {
            let stream = match &self.stream {
                Some(stream) => Arc::clone(stream),
                None => self.target.stream_of_pairs(&self.resource_labels)?,
            };
            self.target.intake.begin(&stream);
            self.stream = Some(stream);
            return Ok(());
        }
        let mut labels = self.resource_labels.clone();
        for (name, value) in more {
            set(&mut labels, name, value);
        }
        let stream = self.target.stream_of_pairs(&labels)?;
        self.target.intake.begin(&stream);
        Ok(())
    }
}

/// Adds what a record has besides body and attributes.
fn add_fields<'p>(record: &'p Record<'_>, pairs: &mut Vec<Pair<'p>>) {
    let number = |number: u64| {
        let text = Some(number)
            .filter(|number| *number != 0)
            .map(|n| n.to_string());
        Cow::Owned(text.unwrap_or_default())
    };
    // The observed time is the row's own time if the record has no other.
    let observed_ns = if record.time_ns == 0 {
        0
    } else {
        record.observed_ns
    };
    let severity = u64::try_from(record.severity_number).unwrap_or(0);
    let fields: [(&str, Cow<'p, str>); 8] = [
        ("observed_timestamp", number(observed_ns)),
        ("severity_number", number(severity)),
        ("severity_text", Cow::Borrowed(&*record.severity_text)),
        (
            "dropped_attributes_count",
            number(record.dropped_attributes),
        ),
        ("flags", number(record.flags)),
        ("trace_id", Cow::Borrowed(&*record.trace_id)),
        ("span_id", Cow::Borrowed(&*record.span_id)),
        ("event_name", Cow::Borrowed(&*record.event_name)),
    ];
    for (name, value) in fields {
        if !value.is_empty() {
            pairs.push((Cow::Borrowed(name), value));
        }
    }
}

fn set(labels: &mut Vec<(String, String)>, name: String, value: String) {
    match labels.iter_mut().find(|(given, _)| *given == name) {
        Some(given) => given.1 = value,
        None => labels.push((name, value)),
    }
}

fn add_metadata(
    target: &mut Target<'_>,
    metadata: &mut Vec<Label>,
    name: &str,
    value: &Any<'_>,
) -> Result<(), Rejection> {
    flatten("", name, value, &mut |name, value| {
        if !value.is_empty() {
            metadata.push(Label {
                name: target.intake.shared_name(&name),
                value: value.into(),
            });
        }
    })
}

/// An attribute as label names and values: the parts of a map one by one, `a_b` for `b` in `a`.
fn flatten(
    prefix: &str,
    name: &str,
    value: &Any<'_>,
    add: &mut dyn FnMut(String, String),
) -> Result<(), Rejection> {
    let name = if prefix.is_empty() {
        names::normalized(name).map(Cow::into_owned)
    } else {
        names::normalized(&format!("{prefix}_{name}")).map(Cow::into_owned)
    };
    // Loki finds it when it looks up its table of names.
    let wrong = |error| Rejection::invalid(format!("symbolizer lookup: {error}"));
    let name = name.map_err(wrong)?;
    match value {
        Any::Map(pairs) => {
            for (key, value) in pairs {
                flatten(&name, key, value, add)?;
            }
        }
        value => add(name, value.as_text().into_owned()),
    }
    Ok(())
}

/// A tenant's `otlp_config`, ready to be asked.
#[derive(Debug)]
pub(crate) struct OtlpRules {
    resource: AttributeRules,
    scope: AttributeRules,
    log: AttributeRules,
    severity_text_as_label: bool,
}

#[derive(Debug)]
struct AttributeRules {
    rules: Vec<(OtlpAction, Vec<String>, Option<Regex>)>,
    defaults: &'static [&'static str],
}

impl AttributeRules {
    fn new(rules: &[OtlpAttributeRule], defaults: &'static [&'static str]) -> Self {
        let compiled = |rule: &OtlpAttributeRule| {
            let regex = Some(&rule.regex).filter(|regex| !regex.is_empty());
            let regex = regex.and_then(|regex| {
                Regex::new(&format!("^(?:{regex})$"))
                    .inspect_err(
                        |error| tracing::warn!(regex, %error, "rule of otlp_config ignored"),
                    )
                    .ok()
            });
            (rule.action, rule.attributes.clone(), regex)
        };
        Self {
            rules: rules.iter().map(compiled).collect(),
            defaults,
        }
    }

    fn action(&self, attribute: &str) -> OtlpAction {
        for (action, names, regex) in &self.rules {
            let named = names.iter().any(|name| name == attribute);
            if named
                || regex
                    .as_ref()
                    .is_some_and(|regex| regex.is_match(attribute))
            {
                return *action;
            }
        }
        if self.defaults.contains(&attribute) {
            OtlpAction::IndexLabel
        } else {
            OtlpAction::StructuredMetadata
        }
    }
}

impl OtlpRules {
    pub(crate) fn new(limits: &Limits) -> Self {
        let config = &limits.otlp_config;
        let resource = &config.resource_attributes;
        let defaults: &[&str] = if resource.ignore_defaults {
            &[]
        } else {
            &DEFAULT_LABELS
        };
        Self {
            resource: AttributeRules::new(&resource.attributes_config, defaults),
            scope: AttributeRules::new(&config.scope_attributes, &[]),
            log: AttributeRules::new(&config.log_attributes, &[]),
            severity_text_as_label: config.severity_text_as_label,
        }
    }
}

/// Limits whose rules are kept.
const RULES_MAX: usize = 256;

/// Compiled rules by the limits that they were made of.
#[derive(Default)]
pub(crate) struct OtlpRulesCache(Mutex<Vec<(Arc<Limits>, Arc<OtlpRules>)>>);

impl OtlpRulesCache {
    pub(crate) fn get(&self, limits: &Arc<Limits>) -> Arc<OtlpRules> {
        let mut kept = self.0.lock();
        if let Some((_, rules)) = kept.iter().find(|(of, _)| Arc::ptr_eq(of, limits)) {
            return Arc::clone(rules);
        }
        let rules = Arc::new(OtlpRules::new(limits));
        if kept.len() >= RULES_MAX {
            kept.clear();
        }
        kept.push((Arc::clone(limits), Arc::clone(&rules)));
        rules
    }
}
