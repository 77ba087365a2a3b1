//! The registry within `skald serve`: its log is there to be asked.

use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tests::api::Api;
use tests::process::{Launch, Process};
use tests::registry::{RegistryClient, bytes, sha256};
use tests::{lines, wait_for};

/// The lines that a query finds, as JSON.
async fn found(api: &Api, query: &str) -> Option<Vec<Value>> {
    let now_ns = lines::now_ns();
    let lines = api
        .lines(
            query,
            now_ns - 600 * lines::SECOND_NS,
            now_ns + lines::SECOND_NS,
        )
        .await;
    let lines = lines.ok()?;
    let parsed = lines.iter().map(|line| serde_json::from_str(&line.text));
    let parsed: Vec<Value> = parsed.collect::<Result<_, _>>().ok()?;
    (!parsed.is_empty()).then_some(parsed)
}

/// `skald serve` with its registry.
async fn serve() -> anyhow::Result<(TempDir, Process, RegistryClient)> {
    let directory = tempfile::tempdir()?;
    let process = Launch::serve(directory.path(), &[])?.start().await?;
    let addr = wait_for(
        "the registry's address",
        Duration::from_secs(20),
        async || {
            let output = process.output();
            let mut lines = output.lines().map(str::trim);
            let addr = lines.find_map(|line| line.strip_prefix("registry "));
            addr.map(|addr| addr.trim().to_owned())
        },
    )
    .await?;
    let client = RegistryClient::new(&format!("http://{addr}"));
    Ok((directory, process, client))
}

#[tokio::test]
async fn a_push_is_found_in_the_logs_and_the_audit_trail_says_who_did_what() -> anyhow::Result<()> {
    let (_directory, process, client) = serve().await?;
    let one = client
        .push_image("team/app", "latest", &bytes(1, 100))
        .await?;
    let two = client
        .push_image("team/app", "latest", &bytes(2, 100))
        .await?;
    let api = process.api();
    let pushes = wait_for("the pushes", Duration::from_secs(20), async || {
        let query = r#"{service="registry"} | json | action="push""#;
        found(&api, query).await.filter(|found| found.len() == 2)
    })
    .await?;
    for push in &pushes {
        assert_eq!(push["repo"], "team/app");
        assert_eq!(push["ref"], "latest");
        assert_eq!(push["status"], 201);
    }
    let moved = wait_for("the audit record", Duration::from_secs(20), async || {
        let query = r#"{service="registry",kind="audit"} | json | event="tag_moved""#;
        found(&api, query).await
    })
    .await?;
    assert_eq!(moved[0]["old_digest"], sha256(&one));
    assert_eq!(moved[0]["digest"], sha256(&two));
    assert_eq!(moved[0]["actor"], "anonymous");
    // Everything about one request, whatever its kind, without reading a line.
    let rid = moved[0]["rid"].as_str().unwrap_or_default();
    let query = format!(r#"{{service="registry"}} | rid="{rid}""#);
    let kinds = wait_for("both kinds", Duration::from_secs(20), async || {
        let found = found(&api, &query).await?;
        let mut kinds: Vec<String> = found.iter().map(|line| line["kind"].to_string()).collect();
        kinds.sort();
        kinds.dedup();
        (kinds.len() == 2).then_some(kinds)
    })
    .await?;
    assert_eq!(kinds, [r#""access""#, r#""audit""#]);
    process.stop().await?;
    Ok(())
}

/// The queries of `deploy/grafana`.
fn shipped() -> anyhow::Result<Vec<String>> {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/grafana");
    let dashboard = std::fs::read(directory.join("registry-dashboard.json"))?;
    let dashboard: Value = serde_json::from_slice(&dashboard)?;
    let panels = dashboard["panels"].as_array().into_iter().flatten();
    let exprs = panels.filter_map(|panel| panel["targets"][0]["expr"].as_str());
    let mut queries: Vec<String> = exprs.map(str::to_owned).collect();
    let alerts = std::fs::read_to_string(directory.join("registry-alerts.yaml"))?;
    let exprs = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("expr: "));
    queries.extend(exprs.map(str::to_owned));
    Ok(queries)
}

#[tokio::test]
async fn every_query_that_is_shipped_runs_on_real_lines() -> anyhow::Result<()> {
    let (_directory, process, client) = serve().await?;
    client
        .push_image("team/app", "latest", &bytes(1, 100))
        .await?;
    client
        .push_image("team/app", "latest", &bytes(2, 100))
        .await?;
    let pulled = client.get("/v2/team/app/manifests/latest").await?;
    assert!(pulled.is_some());
    let api = process.api();
    wait_for("the audit record", Duration::from_secs(20), async || {
        found(
            &api,
            r#"{service="registry",kind="audit"} | json | event="tag_moved""#,
        )
        .await
    })
    .await?;
    let queries = shipped()?;
    assert!(queries.len() >= 12);
    let now_ns = lines::now_ns();
    let (start, end) = (now_ns - 600 * lines::SECOND_NS, now_ns + lines::SECOND_NS);
    let mut empty = Vec::new();
    for query in &queries {
        let (start, end) = (start.to_string(), end.to_string());
        let params = [
            ("query", query.as_str()),
            ("start", &start),
            ("end", &end),
            ("step", "60"),
        ];
        let (status, body) = api.get("/loki/api/v1/query_range", &params).await?;
        assert_eq!(status, 200, "{query}: {body}");
        let answer: Value = serde_json::from_str(&body)?;
        if answer["data"]["result"]
            .as_array()
            .is_none_or(Vec::is_empty)
        {
            empty.push(query.as_str());
        }
    }
    // What nobody did here: fail, guess passwords, come too often, meet a quota.
    let bad = ["status>=500", "login_failed", "TOOMANYREQUESTS", "DENIED"];
    empty.retain(|query| !bad.iter().any(|word| query.contains(word)));
    assert!(empty.is_empty(), "nothing was found by {empty:#?}");
    process.stop().await?;
    Ok(())
}
