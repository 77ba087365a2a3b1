//! Logs Drilldown, Grafana's pages for looking around without queries.

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tests::lines::SECOND_NS;

use crate::site::{Site, WEB_LINES, expect, list, rows, texts};

const TAG: (&str, &str) = ("X-Query-Tags", "Source=grafana-lokiexplore-app");
const FLAGS: (&str, &str) = ("X-Loki-Response-Encoding-Flags", "categorize-labels");
const SERVICES: (&str, &str) = ("query", r#"{service_name=~".+"}"#);
const WEB: (&str, &str) = ("query", r#"{service_name="web"}"#);

/// The range of all lines as the app writes it, RFC 3339 with milliseconds.
fn range(site: &Site) -> anyhow::Result<[String; 2]> {
    let text = |ns: i64| -> anyhow::Result<String> {
        let time = jiff::Timestamp::from_millisecond(ns / 1_000_000)?;
        Ok(format!("{time:.3}"))
    };
    let end_ns = site.web_time_ns(WEB_LINES) + 60 * SECOND_NS;
    Ok([text(site.base_ns)?, text(end_ns)?])
}

async fn ask(site: &Site, path: &str, params: &[(&str, &str)]) -> anyhow::Result<Value> {
    let [start, end] = range(site)?;
    let times = [("start", start.as_str()), ("end", end.as_str())];
    site.json(path, &[&times, params].concat(), &[TAG]).await
}

pub(crate) async fn services_are_listed_by_volume(site: &Site) -> anyhow::Result<()> {
    let params = [
        SERVICES,
        ("limit", "5000"),
        ("targetLabels", "service_name"),
    ];
    let body = ask(site, "index/volume", &params).await?;
    let mut last = f64::INFINITY;
    let mut services = Vec::new();
    for sample in list(&body["data"]["result"], "volumes")? {
        let service = sample["metric"]["service_name"].as_str();
        services.push(service.context("no service")?);
        let bytes: f64 = sample["value"][1].as_str().context("no text")?.parse()?;
        ensure!(bytes <= last, "the largest is not first: {body}");
        last = bytes;
    }
    ensure!(services.starts_with(&["web", "api"]), "{services:?}");
    Ok(())
}

pub(crate) async fn patterns_have_samples(site: &Site) -> anyhow::Result<()> {
    let body = ask(site, "patterns", &[WEB, ("step", "10s")]).await?;
    expect("status", &body["status"], &json!("success"))?;
    let mut lines = 0;
    for pattern in list(&body["data"], "patterns")? {
        let text = pattern["pattern"].as_str().context("no pattern")?;
        ensure!(
            text.contains("<_>") && text.contains("request done"),
            "{text}"
        );
        ensure!(pattern["level"].is_string(), "no level: {pattern}");
        for sample in list(&pattern["samples"], "samples")? {
            let at_s = sample[0].as_i64().context("no time")?;
            expect("steps", at_s % 10, 0)?;
            lines += sample[1].as_u64().context("no count")?;
        }
    }
    expect("lines", lines, WEB_LINES as u64)
}

pub(crate) async fn labels_are_detected(site: &Site) -> anyhow::Result<()> {
    let names = ask(site, "labels", &[]).await?;
    let names = texts(&names["data"], "labels")?;
    ensure!(names.contains(&"service_name"), "{names:?}");
    let body = ask(site, "detected_labels", &[SERVICES]).await?;
    let labels = list(&body["detectedLabels"], "labels")?;
    let env = labels.iter().find(|label| label["label"] == "env");
    let env = env.with_context(|| format!("no env: {body}"))?;
    expect("cardinality", &env["cardinality"], &json!(2))
}

pub(crate) async fn fields_have_types_and_parsers(site: &Site) -> anyhow::Result<()> {
    let query = (
        "query",
        r#"{service_name=~"web|api"} | json | logfmt | drop __error__, __error_details__"#,
    );
    for params in [[WEB, ("limit", "1000")], [query, ("limit", "1000")]] {
        let body = ask(site, "detected_fields", &params).await?;
        for field in list(&body["fields"], "fields")? {
            ensure!(field["cardinality"].is_u64(), "{field}");
            ensure!(
                field["label"].is_string() && field["type"].is_string(),
                "{field}"
            );
            let parsers = &field["parsers"];
            ensure!(parsers.is_null() || parsers.is_array(), "{field}");
        }
    }
    let api = ("query", r#"{service_name="api"}"#);
    let body = ask(site, "detected_fields", &[api]).await?;
    let fields = list(&body["fields"], "fields")?;
    for (label, kind, path) in [
        ("n", "int", json!(["n"])),
        ("request_ok", "boolean", json!(["request", "ok"])),
        ("request_path", "string", json!(["request", "path"])),
    ] {
        let field = fields.iter().find(|field| field["label"] == label);
        let field = field.with_context(|| format!("no {label}: {body}"))?;
        expect(label, &field["type"], &json!(kind))?;
        expect(label, &field["parsers"], &json!(["json"]))?;
        expect(label, &field["jsonPath"], &path)?;
    }
    Ok(())
}

pub(crate) async fn limits_are_told(site: &Site) -> anyhow::Result<()> {
    let body = site.json("drilldown-limits", &[], &[TAG]).await?;
    for name in [
        "discover_log_levels",
        "discover_service_name",
        "log_level_fields",
        "max_entries_limit_per_query",
        "max_line_size_truncate",
        "max_query_bytes_read",
        "max_query_length",
        "max_query_lookback",
        "max_query_range",
        "max_query_series",
        "query_timeout",
        "retention_period",
        "volume_enabled",
        "volume_max_series",
    ] {
        ensure!(!body["limits"][name].is_null(), "{name}: {body}");
    }
    let is_there = body["pattern_ingester_enabled"].is_boolean();
    ensure!(is_there && body["version"].is_string(), "{body}");
    Ok(())
}

pub(crate) async fn every_stream_has_a_service_and_every_line_a_level(
    site: &Site,
) -> anyhow::Result<()> {
    let series = ask(site, "series", &[]).await?;
    for labels in list(&series["data"], "series")? {
        ensure!(labels["service_name"].is_string(), "{labels}");
    }
    let params = [SERVICES, ("limit", "5000"), ("direction", "backward")];
    let body = site.json("query_range", &params, &[FLAGS, TAG]).await?;
    for stream in list(&body["data"]["result"], "streams")? {
        for row in list(&stream["values"], "lines")? {
            let level = &row[2]["structuredMetadata"]["detected_level"];
            ensure!(level.is_string(), "{row}");
        }
    }
    Ok(())
}

pub(crate) async fn its_queries_are_answered(site: &Site) -> anyhow::Result<()> {
    for query in [
        "sum by (detected_level) (count_over_time({service_name=`web`} [10s]))",
        "sum(count_over_time({service_name=`web`} | detected_level != `` [10s])) by (detected_level)",
        "sum by (took) (count_over_time({service_name=`web`} | logfmt | drop __error__, __error_details__ | took != `` | n=`7` [10s]))",
        "avg_over_time({service_name=`web`} | logfmt | took != `` | unwrap duration(took) | __error__ = `` [10s]) by ()",
        "quantile_over_time(0.99, {service_name=`web`} | logfmt | n != `` | unwrap n | __error__ = `` [10s]) by ()",
        "sum(count_over_time({service_name=`web`} |~ `(?i)REQUEST` | detected_level =~ `info|warn` [10s]))",
    ] {
        let params = [
            ("query", query),
            ("direction", "backward"),
            ("step", "10000ms"),
        ];
        let body = site.json("query_range", &params, &[FLAGS, TAG]).await?;
        ensure!(
            !list(&body["data"]["result"], "series")?.is_empty(),
            "nothing for {query}"
        );
    }
    for query in [
        "{service_name=`web`} |> `level=warn<_>request done<_>` | json | logfmt | drop __error__, __error_details__",
        "{service_name=`web`} | trace_id = `t7` | json path=`[\"path\"]` | logfmt",
        "{service_name=`api`} | json request_path=`[\"request\"][\"path\"]` | request_path = `/x`",
    ] {
        let params = [("query", query), ("limit", "20"), ("step", "10000ms")];
        let body = site.json("query_range", &params, &[FLAGS, TAG]).await?;
        ensure!(!rows(&body)?.is_empty(), "nothing for {query}");
    }
    Ok(())
}
