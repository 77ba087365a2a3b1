//! The registry within `skald serve`: its log is there to be asked.

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::api::Api;
use tests::process::{Launch, Process};
use tests::registry::{CREATE_ON_PUSH, LOCAL, RegistryClient, bytes, code, sha256};
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

/// `skald serve` with its registry, and with variables.
async fn serve(env: &[(&str, &str)]) -> anyhow::Result<(TempDir, Process, RegistryClient)> {
    let directory = tempfile::tempdir()?;
    let mut launch = Launch::serve(directory.path(), &[])?;
    for (name, value) in env {
        launch = launch.with_env(name, value);
    }
    let process = launch.start().await?;
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
    let (_directory, process, client) = serve(&[]).await?;
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

#[tokio::test]
async fn logs_are_served_also_while_the_database_of_the_registry_is_down() -> anyhow::Result<()> {
    let nowhere = (
        "SKALD_REGISTRY_DATABASE_URL",
        "postgres://u:p@127.0.0.1:1/x",
    );
    let (_directory, process, client) = serve(&[nowhere]).await?;
    let refused = client.request(Method::GET, "/readyz").send().await?;
    assert_eq!(refused.status(), 503);
    assert_eq!(code(refused).await?, "UNAVAILABLE");
    let output = process.output();
    assert!(output.contains("refused"), "{output}");
    process.stop().await?;
    Ok(())
}

/// The queries of `deploy/grafana`.
fn shipped() -> anyhow::Result<Vec<String>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/grafana");
    let dashboard = std::fs::read(directory.join("registry-dashboard.json"))?;
    let dashboard: Value = serde_json::from_slice(&dashboard)?;
    let panels = dashboard["panels"].as_array().into_iter().flatten();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let exprs = targets.filter_map(|target| target["expr"].as_str());
    let mut queries: Vec<String> = exprs.map(str::to_owned).collect();
    let alerts = std::fs::read_to_string(directory.join("registry-alerts.yaml"))?;
    let alerts: Value = serde_yaml::from_str(&alerts)?;
    let rules = alerts["groups"][0]["rules"].as_array();
    for rule in rules.context("no rules")? {
        queries.push(condition(rule).with_context(|| rule["title"].to_string())?);
    }
    Ok(queries)
}

/// What gives something where a rule of Grafana's alerting fires: a query of the data source that is
/// provisioned, and what its samples have to be above.
fn condition(rule: &Value) -> anyhow::Result<String> {
    let [query, threshold] = rule["data"].as_array().context("no data")?.as_slice() else {
        anyhow::bail!("not a query and a threshold");
    };
    assert_eq!(query["datasourceUid"], "skald");
    assert_eq!(threshold["datasourceUid"], "__expr__");
    assert_eq!(rule["condition"], threshold["refId"]);
    assert_eq!(threshold["model"]["expression"], query["refId"]);
    let evaluator = &threshold["model"]["conditions"][0]["evaluator"];
    assert_eq!(evaluator["type"], "gt");
    let expr = query["model"]["expr"].as_str().context("no expr")?;
    Ok(format!("{expr} > {}", evaluator["params"][0]))
}

/// Fails as the alert rules want it: a quota is met, too many uploads are begun, the store breaks
/// under pulls and under garbage collection, passwords are guessed.
async fn go_wrong(directory: &Path, admin: &RegistryClient, layer: &[u8]) -> anyhow::Result<()> {
    let small = json!({"project_name": "small", "storage_limit": 10});
    assert_eq!(admin.manage(Method::POST, "/projects", small).await?.0, 201);
    assert!(admin.push_blob("small/app", layer).await.is_err());
    let upload = admin.begin("team/app").await?;
    let second = admin.status(Method::POST, "/v2/team/app/blobs/uploads/");
    assert_eq!(second.await?, 429);

    let data = directory.join("data/registry/store/data");
    let away = directory.join("away");
    std::fs::rename(&data, &away)?;
    std::fs::write(&data, "no directory")?;
    let blob = format!("/v2/team/app/blobs/{}", sha256(layer));
    for _ in 0..6 {
        assert_eq!(admin.status(Method::GET, &blob).await?, 503);
    }
    assert_eq!(admin.status(Method::DELETE, &upload).await?, 204);
    let collect = json!({"dry_run": false});
    let collected = admin.manage(Method::POST, "/system/gc", collect.clone());
    assert_eq!(collected.await?.0, 503);
    std::fs::remove_file(&data)?;
    std::fs::rename(&away, &data)?;
    let collected = admin.manage(Method::POST, "/system/gc", collect);
    assert_eq!(collected.await?.0, 200);

    // After some failures they are slowed down.
    let thief = admin.login("admin", "guessed");
    let guesses = Cell::new(0);
    wait_for("enough guesses", Duration::from_secs(60), async || {
        let status = thief.status(Method::GET, "/v2/").await.ok()?;
        guesses.set(guesses.get() + usize::from(status == 401));
        (guesses.get() == 7).then_some(())
    })
    .await
}

#[tokio::test]
async fn every_query_that_is_shipped_finds_what_it_is_for() -> anyhow::Result<()> {
    let env = [
        LOCAL,
        CREATE_ON_PUSH,
        ("SKALD_REGISTRY_UPLOAD_SESSIONS_MAX", "1"),
    ];
    let (directory, process, client) = serve(&env).await?;
    let password = directory.path().join("data/registry/admin-password");
    let admin = client.login("admin", std::fs::read_to_string(password)?.trim());
    for seed in [1, 2] {
        let layer = bytes(seed, 50_000);
        admin.push_image("team/app", "latest", &layer).await?;
    }
    let pulled = admin.get("/v2/team/app/manifests/latest").await?;
    assert!(pulled.is_some());
    let layer = bytes(2, 50_000);
    let blob = format!("/v2/team/app/blobs/{}", sha256(&layer));
    assert_eq!(admin.get(&blob).await?, Some(layer.clone()));
    go_wrong(directory.path(), &admin, &layer).await?;

    let queries = shipped()?;
    assert!(queries.len() >= 20, "{queries:#?}");
    let api = process.api();
    let missing = Cell::new(Vec::new());
    // Lines are on their way for a moment.
    let found = wait_for("all of it", Duration::from_secs(30), async || {
        let mut empty = Vec::new();
        for query in &queries {
            match finds(&api, query).await {
                Ok(true) => {}
                Ok(false) => empty.push(query.clone()),
                Err(error) => empty.push(format!("{error:#}")),
            }
        }
        let is_done = empty.is_empty();
        missing.set(empty);
        is_done.then_some(())
    });
    let found = found.await;
    found.with_context(|| format!("nothing was found by {:#?}", missing.take()))?;
    process.stop().await?;
    Ok(())
}

/// Whether a query finds anything.
async fn finds(api: &Api, query: &str) -> anyhow::Result<bool> {
    let now_ns = lines::now_ns();
    let start = (now_ns - 600 * lines::SECOND_NS).to_string();
    let end = (now_ns + lines::SECOND_NS).to_string();
    let params = [
        ("query", query),
        ("start", &start),
        ("end", &end),
        ("step", "60"),
    ];
    let (status, body) = api.get("/loki/api/v1/query_range", &params).await?;
    anyhow::ensure!(status == 200, "{query}: {body}");
    let answer: Value = serde_json::from_str(&body)?;
    let result = answer["data"]["result"].as_array();
    Ok(result.is_some_and(|result| !result.is_empty()))
}

#[tokio::test]
async fn lines_say_what_was_waited_for() -> anyhow::Result<()> {
    let (_directory, process, client) = serve(&[]).await?;
    let layer = bytes(7, 2_000_000);
    client.push_image("team/app", "v1", &layer).await?;
    let blob = format!("/v2/team/app/blobs/{}", sha256(&layer));
    client.get(&blob).await?;
    let api = process.api();
    let waited = wait_for("the pull", Duration::from_secs(20), async || {
        let query = r#"{service="registry",kind="access"} | json | action=~"pull|upload_finish" | store_ops > 0 | meta_ms > 0 | store_ms > 0"#;
        // The push of the layer and its pull; the configuration is in the database.
        found(&api, query).await.filter(|found| found.len() >= 2)
    });
    for line in waited.await? {
        // What is waited for one after the other cannot take longer than the whole.
        let ms = |key: &str| line[key].as_f64().unwrap_or(f64::NAN);
        assert!(
            ms("store_ms") + ms("meta_ms") <= ms("dur_ms") + 1.0,
            "{line}"
        );
    }
    let (_, metrics) = api.get("/metrics", &[]).await?;
    for (name, bytes) in [("push", 2_000_000), ("pull", 2_000_000)] {
        let name = format!("registry_{name}_bytes_total{{project=\"team\"}} ");
        let value = metrics.lines().find_map(|line| line.strip_prefix(&name));
        let value: u64 = value.with_context(|| name.clone())?.parse()?;
        assert!(value >= bytes, "{name}{value}");
    }
    for name in [
        "registry_storage_action_seconds_count{action=\"read\"}",
        "registry_meta_query_seconds_count{op=\"put_manifest\"} 1",
        "registry_upload_sessions 0",
        "# TYPE registry_http_request_latency_seconds summary",
        "registry_http_request_latency_seconds{quantile=\"0.99\"}",
        "# TYPE registry_http_request_size_bytes histogram",
        "registry_http_response_size_bytes_bucket{",
    ] {
        assert!(metrics.contains(name), "{name} is missing in:\n{metrics}");
    }
    process.stop().await?;
    Ok(())
}
