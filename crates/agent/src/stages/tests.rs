//! Whole pipelines, in the shapes in which people write them.

use proptest::prelude::*;

use super::testing::{NOW_NS, entries, entry, label_text, labelled, pipeline, refused};
use super::{Metrics, Pipeline, StageConfig};

/// Every stage once, each on what the ones before it made.
const ALL: &str = r#"
- cri: {}
- decolorize: {}
- docker: {}
- multiline: {firstline: '^\S', max_wait_time: 1s}
- json: {expressions: {msg: , level: 'lvl || level', user: 'ctx.users[0].name'}}
- logfmt: {mapping: {level: , took: duration}}
- regex: {expression: '(?P<verb>GET|POST) (?P<path>\S+)'}
- timestamp: {source: time, format: RFC3339Nano, fallback_formats: ['Jan _2 15:04:05']}
- template: {source: level, template: '{{ .Value | ToLower }}'}
- replace: {expression: 'token=(\w+)', replace: '{{ Hash "salt" .Value }}'}
- labels: {level: , verb: }
- match:
    selector: '{level="debug"} |~ "(?i)health"'
    action: drop
    drop_counter_reason: health
- match:
    selector: '{verb=~".+"}'
    stages:
    - structured_metadata: {path: , user: }
    - tenant: {source: user}
- static_labels: {cluster: c1}
- metrics:
    lines_total: {type: counter, config: {action: inc, match_all: true}}
    took: {type: histogram, source: took}
- labelallow: [level, cluster, app, __tenant_id__]
- labeldrop: [app]
- drop: {longer_than: 1MB}
- sampling: {rate: 1}
- limit: {rate: 1000000, burst: 1000000, drop: true}
- pack: {labels: [cluster], ingest_timestamp: false}
- output: {source: missing}
"#;

#[test]
fn all_stages_one_after_the_other() {
    let line = "2026-01-15T00:00:03Z stdout F lvl=x level=WARN duration=5ms GET /a?token=abc";
    let out = entries(ALL, [labelled(line, &[("app", "web")])]);
    assert_eq!(out.len(), 1);
    let text = String::from_utf8_lossy(&out[0].line);
    assert!(
        text.starts_with(r#"{"cluster":"c1","_entry":"lvl=x level=WARN"#),
        "{text}"
    );
    assert!(!text.contains("abc"), "{text}");
    assert_eq!(label_text(&out[0].labels), "level=warn");
    assert_eq!(
        out[0].metadata,
        [("path".to_owned(), "/a?token=abc".to_owned())]
    );
    assert_eq!(out[0].timestamp_ns - NOW_NS, 3_000_000_000);
}

#[test]
fn an_entry_without_stages_is_as_it_was() {
    let entry = labelled("x", &[("a", "1")]);
    assert_eq!(entries("[]", [entry.clone()]), [entry]);
}

#[test]
fn what_is_not_there_is_refused_by_the_name_of_the_job() {
    for (stages, error) in [
        (
            "- geoip: {db: x}",
            "job \"test\": pipeline stage 1 (geoip): this stage of promtail",
        ),
        (
            "- cri:\n- eventlogmessage: {}",
            "pipeline stage 2 (eventlogmessage): this stage",
        ),
        (
            "- reverse: {}",
            "job \"test\": pipeline stage 1 (reverse): there is no stage",
        ),
    ] {
        let message = refused(stages);
        assert!(
            message.starts_with(error) || message.contains(error),
            "{message}"
        );
    }
}

#[test]
fn a_pause_is_no_deadline_of_its_own() {
    let mut pipeline = pipeline("- limit: {rate: 1, burst: 1}");
    let mut out = Vec::new();
    for _ in 0..3 {
        pipeline.process(entry("x"), NOW_NS, &mut out);
    }
    assert_eq!(pipeline.next_deadline_ns(), None);
    assert_eq!(pipeline.fork().paused_until_ns(), None);
}

proptest! {
    #[test]
    fn no_line_makes_a_pipeline_panic(
        lines in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..60),
                "[{}\"a-z:,= ]{0,60}".prop_map(String::into_bytes),
                "2026-01-15T00:00:0[0-9]Z std(out|err) [PF] .{0,40}".prop_map(String::into_bytes),
                r#"\{"log":"[a-z\\]{0,9}","stream":"stdout","time":".{0,20}"\}"#
                    .prop_map(String::into_bytes),
            ],
            0..12,
        ),
    ) {
        let stages: Vec<StageConfig> = serde_yaml::from_str(ALL).unwrap();
        let mut pipeline = Pipeline::new(&stages, "test", &Metrics::default()).unwrap();
        let mut out = Vec::new();
        for (at, line) in (0_i64..).zip(lines) {
            pipeline.process(entry(line), NOW_NS + at * 400_000_000, &mut out);
            pipeline.idle(NOW_NS + at * 400_000_000, &mut out);
        }
        pipeline.finish(&mut out);
        prop_assert_eq!(pipeline.oldest_held(), None);
        prop_assert_eq!(pipeline.next_deadline_ns(), None);
    }

    #[test]
    fn any_configuration_is_refused_or_runs(
        name in prop::sample::select(vec![
            "cri", "docker", "json", "regex", "replace", "template", "timestamp", "drop", "labels",
            "match", "limit", "metrics", "multiline", "logfmt", "tenant", "sampling",
        ]),
        key in prop::sample::select(vec![
            "expression", "source", "format", "selector", "firstline", "rate", "value", "a",
        ]),
        value in r#"[a-z(){}|.*"=\\ 0-9]{0,16}"#,
    ) {
        let options = serde_json::json!({
            key: value, "source": value, "expression": value, "template": value, "format": value,
        });
        for options in [options, serde_json::json!({ key: value }), serde_json::json!(value)] {
            let stage = StageConfig { name: name.to_owned(), options };
            if let Ok(mut pipeline) = Pipeline::new(&[stage], "test", &Metrics::default()) {
                pipeline.process(entry(&value), NOW_NS, &mut Vec::new());
            }
        }
    }
}
