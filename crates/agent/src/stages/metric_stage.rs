//! `metrics`: lines and extracted values are counted and measured.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::units::{DurationNs, parse_go_duration};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Metrics;
use super::chain::{Flow, Stage};
use super::config::Scalar;
use super::custom::{CustomMetric, Definition, Kind, Update};
use super::row::{Found, Row, Value};

/// Metrics by their names.
pub(crate) type Options = BTreeMap<String, MetricOptions>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MetricOptions {
    r#type: String,
    #[serde(default)]
    description: String,
    source: Option<String>,
    #[serde(default)]
    prefix: String,
    #[serde(default = "max_idle_duration")]
    max_idle_duration: DurationNs,
    #[serde(default)]
    config: serde_json::Value,
}

fn max_idle_duration() -> DurationNs {
    DurationNs::from_secs(300)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CounterConfig {
    value: Option<Scalar>,
    action: String,
    #[serde(default)]
    match_all: bool,
    #[serde(default)]
    count_entry_bytes: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GaugeConfig {
    value: Option<Scalar>,
    action: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HistogramConfig {
    value: Option<Scalar>,
    buckets: Vec<f64>,
}

/// Upper bounds of histograms that name none: those of Prometheus' libraries, made for seconds.
const BOUNDS: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// What a line does to its series.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Action {
    /// One more, or less.
    One(f64),
    /// The value, times this.
    Add(f64),
    Set,
    Observe,
    /// The length of the line.
    Bytes,
}

/// A metric and how lines change it.
struct Rule {
    metric: Arc<CustomMetric>,
    source: String,
    /// The only value that counts.
    value: Option<String>,
    /// Whether lines count that do not have the source.
    all: bool,
    action: Action,
}

#[derive(Clone)]
pub(crate) struct MetricStage {
    rules: Arc<[Rule]>,
    metrics: Metrics,
}

impl MetricStage {
    pub(crate) fn new(options: Options, metrics: &Metrics) -> Result<Self, String> {
        let rules = options.into_iter().map(|(name, options)| {
            Rule::new(&name, options, metrics).map_err(|reason| format!("{name}: {reason}"))
        });
        Ok(Self {
            rules: rules.collect::<Result<_, _>>()?,
            metrics: metrics.clone(),
        })
    }
}

fn read<T: DeserializeOwned>(config: serde_json::Value) -> Result<T, String> {
    let config = match config {
        serde_json::Value::Null => serde_json::Value::Object(serde_json::Map::new()),
        config => config,
    };
    serde_json::from_value(config).map_err(|error| format!("config: {error}"))
}

/// What a rule is, besides its name and source.
struct Parts {
    kind: Kind,
    value: Option<Scalar>,
    all: bool,
    action: Action,
}

impl Rule {
    fn new(name: &str, options: MetricOptions, metrics: &Metrics) -> Result<Self, String> {
        let parts = match options.r#type.to_lowercase().as_str() {
            "counter" => Parts::counter(read(options.config)?)?,
            "gauge" => Parts::gauge(read(options.config)?)?,
            "histogram" => Parts::histogram(read(options.config)?)?,
            other => return Err(format!("type {other:?} is not counter, gauge or histogram")),
        };
        let DurationNs(idle_ns) = options.max_idle_duration;
        if idle_ns < DurationNs::from_secs(1).0 {
            return Err("max_idle_duration must be at least 1s".to_owned());
        }
        let prefix = match options.prefix.as_str() {
            "" => "promtail_custom_",
            prefix => prefix,
        };
        let full_name = format!("{prefix}{name}");
        if !is_metric_name(&full_name) {
            return Err(format!("{full_name:?} is no name of a metric"));
        }
        let metric = metrics.custom().define(Definition {
            name: full_name,
            description: options.description,
            kind: parts.kind,
            idle_ns,
        })?;
        Ok(Self {
            metric,
            source: options.source.unwrap_or_else(|| name.to_owned()),
            value: parts.value.map(|Scalar(text)| text),
            all: parts.all,
            action: parts.action,
        })
    }

    /// What the line does to the metric, if anything.
    fn update(&self, row: &Row) -> Option<Update> {
        if self.all {
            return Some(match self.action {
                Action::Bytes => Update::Add(row.entry.line.len() as f64),
                _ => Update::Add(1.0),
            });
        }
        let found = row.get(&self.source)?;
        if let Some(wanted) = &self.value
            && found.text()? != wanted.as_str()
        {
            return None;
        }
        match self.action {
            Action::One(step) => Some(Update::Add(step)),
            Action::Add(sign) => {
                let value = number(found)?;
                // A counter does not fall.
                let may_fall = !matches!(self.metric.kind(), Kind::Counter);
                (may_fall || value >= 0.0).then_some(Update::Add(sign * value))
            }
            Action::Set => Some(Update::Set(number(found)?)),
            Action::Observe => Some(Update::Observe(number(found)?)),
            Action::Bytes => None,
        }
    }
}

impl Parts {
    fn counter(config: CounterConfig) -> Result<Self, String> {
        let action = match config.action.to_lowercase().as_str() {
            "inc" => Action::One(1.0),
            "add" if config.count_entry_bytes => Action::Bytes,
            "add" => Action::Add(1.0),
            other => return Err(format!("config: action {other:?} is not inc or add")),
        };
        if config.match_all && config.value.is_some() {
            return Err("config: match_all and value exclude each other".to_owned());
        }
        if config.count_entry_bytes && !(config.match_all && action == Action::Bytes) {
            return Err("config: count_entry_bytes needs match_all and action add".to_owned());
        }
        if config.match_all && matches!(action, Action::Add(_)) {
            return Err("config: match_all with action add needs count_entry_bytes".to_owned());
        }
        Ok(Self {
            kind: Kind::Counter,
            value: config.value,
            all: config.match_all,
            action,
        })
    }

    fn gauge(config: GaugeConfig) -> Result<Self, String> {
        let action = match config.action.to_lowercase().as_str() {
            "set" => Action::Set,
            "inc" => Action::One(1.0),
            "dec" => Action::One(-1.0),
            "add" => Action::Add(1.0),
            "sub" => Action::Add(-1.0),
            other => {
                return Err(format!(
                    "config: action {other:?} is not set, inc, dec, add or sub"
                ));
            }
        };
        Ok(Self {
            kind: Kind::Gauge,
            value: config.value,
            all: false,
            action,
        })
    }

    fn histogram(config: HistogramConfig) -> Result<Self, String> {
        let mut bounds = config.buckets;
        if bounds.is_empty() {
            bounds.extend(BOUNDS);
        }
        if bounds.last().is_some_and(|last| *last != f64::INFINITY) {
            bounds.push(f64::INFINITY);
        }
        if !bounds.is_sorted_by(|low, high| low < high) {
            return Err("config: buckets must rise".to_owned());
        }
        Ok(Self {
            kind: Kind::Histogram(bounds),
            value: config.value,
            all: false,
            action: Action::Observe,
        })
    }
}

/// A value as a number. Durations such as `5ms` become seconds.
fn number(found: Found<'_>) -> Option<f64> {
    match found {
        Found::Value(Value::Number(value)) => Some(*value),
        Found::Value(Value::Bool(value)) => Some(f64::from(u8::from(*value))),
        found => {
            let text = found.text()?;
            let seconds = || Some(parse_go_duration(&text).ok()? as f64 / 1e9);
            text.parse().ok().or_else(seconds)
        }
    }
}

fn is_metric_name(name: &str) -> bool {
    let is_inner = |b: u8| b == b'_' || b == b':' || b.is_ascii_alphanumeric();
    name.bytes().all(is_inner) && name.bytes().next().is_some_and(|b| !b.is_ascii_digit())
}

impl Stage for MetricStage {
    fn process(&mut self, row: &mut Row, now_ns: i64) -> Flow {
        for rule in &*self.rules {
            if let Some(update) = rule.update(row) {
                self.metrics
                    .custom()
                    .update(&rule.metric, row.labels(), update, now_ns);
            }
        }
        Flow::On
    }

    fn fork(&self) -> Box<dyn Stage> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::stages::testing::{NOW_NS, labelled, pipeline_with, refused};

    const MINUTE_NS: i64 = 60_000_000_000;

    /// The samples of user-defined metrics after the lines.
    fn samples(metrics: &str, lines: &[(&str, &str)]) -> Vec<String> {
        let mut registry = Registry::default();
        let stages = format!("- json: {{expressions: {{v: , s: }}}}\n- metrics: {metrics}");
        let mut pipeline = pipeline_with(&stages, &Metrics::register(&mut registry));
        for (at, (app, line)) in lines.iter().enumerate() {
            let labels = [("app", *app), ("__tenant_id__", "t")];
            let labels = labels.into_iter().filter(|(_, value)| !value.is_empty());
            let now_ns = NOW_NS + at as i64 * MINUTE_NS;
            let labels: Vec<_> = labels.collect();
            pipeline.process(labelled(line, &labels), now_ns, &mut Vec::new());
        }
        shown(&registry)
    }

    fn shown(registry: &Registry) -> Vec<String> {
        let mut text = String::new();
        encode(&mut text, registry).unwrap();
        let own = |line: &&str| !line.starts_with('#') && !line.starts_with("logentry_");
        let mut samples: Vec<_> = text.lines().filter(own).map(str::to_owned).collect();
        samples.sort();
        samples
    }

    #[test]
    fn actions() {
        let lines = [
            ("a", r#"{"v":2,"s":"x"}"#),
            ("a", r#"{"v":"500ms","s":"y"}"#),
            ("b", r#"{"v":-1}"#),
            ("b", "no"),
        ];
        for (metrics, expected) in [
            (
                "{n_total: {type: Counter, source: v, config: {action: inc}}}",
                vec![
                    r#"promtail_custom_n_total{app="a"} 2.0"#,
                    r#"promtail_custom_n_total{app="b"} 1.0"#,
                ],
            ),
            (
                "{n: {type: counter, source: s, prefix: p_, config: {action: INC, value: x}}}",
                vec![r#"p_n{app="a"} 1.0"#],
            ),
            // A counter does not fall.
            (
                "{v: {type: counter, config: {action: add}}}",
                vec![r#"promtail_custom_v{app="a"} 2.5"#],
            ),
            (
                "{l_total: {type: counter, config: {action: inc, match_all: true}}}",
                vec![
                    r#"promtail_custom_l_total{app="a"} 2.0"#,
                    r#"promtail_custom_l_total{app="b"} 2.0"#,
                ],
            ),
            (
                "{b_total: {type: counter, config: {action: add, match_all: true, count_entry_bytes: true}}}",
                vec![
                    r#"promtail_custom_b_total{app="a"} 36.0"#,
                    r#"promtail_custom_b_total{app="b"} 10.0"#,
                ],
            ),
            (
                "{v: {type: gauge, config: {action: set}}}",
                vec![
                    r#"promtail_custom_v{app="a"} 0.5"#,
                    r#"promtail_custom_v{app="b"} -1.0"#,
                ],
            ),
            (
                "{v: {type: gauge, config: {action: sub}}}",
                vec![
                    r#"promtail_custom_v{app="a"} -2.5"#,
                    r#"promtail_custom_v{app="b"} 1.0"#,
                ],
            ),
            (
                "{v: {type: gauge, config: {action: dec, value: 2}}}",
                vec![r#"promtail_custom_v{app="a"} -1.0"#],
            ),
            (
                "{v: {type: histogram, config: {buckets: [0.5, 1], value: 2}}}",
                vec![
                    r#"promtail_custom_v_bucket{le="+Inf",app="a"} 1"#,
                    r#"promtail_custom_v_bucket{le="0.5",app="a"} 0"#,
                    r#"promtail_custom_v_bucket{le="1.0",app="a"} 0"#,
                    r#"promtail_custom_v_count{app="a"} 1"#,
                    r#"promtail_custom_v_sum{app="a"} 2.0"#,
                ],
            ),
        ] {
            assert_eq!(samples(metrics, &lines), expected, "{metrics}");
        }
        let histogram = "{v: {type: histogram}}";
        assert_eq!(samples(histogram, &[("", r#"{"v":3}"#)]).len(), 14);
        let unlabelled = "{v: {type: gauge, config: {action: inc}}}";
        assert_eq!(
            samples(unlabelled, &[("", r#"{"v":3}"#)]),
            ["promtail_custom_v 1.0"]
        );
    }

    #[test]
    fn a_description_is_shown() {
        let mut registry = Registry::default();
        let stages = "- metrics: {n: {type: counter, description: how many, \
                      config: {action: inc, match_all: true}}}";
        let mut pipeline = pipeline_with(stages, &Metrics::register(&mut registry));
        pipeline.process(labelled("x", &[]), NOW_NS, &mut Vec::new());
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        assert!(text.contains("# HELP promtail_custom_n how many"), "{text}");
    }

    #[test]
    fn idle_series_are_forgotten() {
        let metrics = "{v: {type: gauge, max_idle_duration: 90s, config: {action: inc}}}";
        let lines = [
            ("a", r#"{"v":1}"#),
            ("b", r#"{"v":1}"#),
            ("c", r#"{"v":1}"#),
        ];
        assert_eq!(
            samples(metrics, &lines),
            [
                r#"promtail_custom_v{app="b"} 1.0"#,
                r#"promtail_custom_v{app="c"} 1.0"#
            ]
        );
    }

    #[test]
    fn pipelines_share_metrics_and_series_are_bounded() {
        let mut registry = Registry::default();
        let metrics = Metrics::register_bounded(&mut registry, 2);
        let stages = "- metrics: {n: {type: counter, config: {action: inc, match_all: true}}}";
        let mut first = pipeline_with(stages, &metrics);
        let mut second = pipeline_with(stages, &metrics).fork();
        for app in ["a", "b", "c"] {
            first.process(labelled("", &[("app", app)]), NOW_NS, &mut Vec::new());
            second.process(labelled("", &[("app", app)]), NOW_NS, &mut Vec::new());
        }
        assert_eq!(
            shown(&registry),
            [
                r#"promtail_custom_n{app="a"} 2.0"#,
                r#"promtail_custom_n{app="b"} 2.0"#
            ]
        );
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        assert!(
            text.contains("logentry_custom_series_refused_total 2"),
            "{text}"
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (metrics, error) in [
            ("{n: {type: summary}}", "type \"summary\" is not"),
            ("{n: {type: counter}}", "n: config: missing field `action`"),
            (
                "{n: {type: counter, config: {action: set}}}",
                "action \"set\" is not inc or add",
            ),
            (
                "{n: {type: counter, config: {action: inc, match_all: true, value: a}}}",
                "exclude each other",
            ),
            (
                "{n: {type: counter, config: {action: inc, count_entry_bytes: true}}}",
                "needs match_all",
            ),
            (
                "{n: {type: gauge, config: {action: up}}}",
                "action \"up\" is not",
            ),
            (
                "{n: {type: histogram, config: {buckets: [2, 1]}}}",
                "buckets must rise",
            ),
            (
                "{n: {type: gauge, max_idle_duration: 10ms, config: {action: inc}}}",
                "at least 1s",
            ),
            (
                "{'a-b': {type: gauge, config: {action: inc}}}",
                "is no name of a metric",
            ),
            (
                "{n: {type: gauge, config: {action: inc, buckets: []}}}",
                "unknown field `buckets`",
            ),
        ] {
            let message = refused(&format!("- metrics: {metrics}"));
            assert!(message.contains(error), "{message}");
        }
        let twice = "- metrics: {n: {type: gauge, config: {action: inc}}}\n\
                     - metrics: {n: {type: counter, config: {action: inc}}}";
        assert!(refused(twice).contains("promtail_custom_n is defined differently"));
    }
}
