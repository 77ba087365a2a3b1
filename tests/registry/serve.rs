//! The registry within `skald serve`: its log is there to be asked.

use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use tests::api::Api;
use tests::process::Launch;
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

#[tokio::test]
async fn a_push_is_found_in_the_logs_and_the_audit_trail_says_who_did_what() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let process = Launch::serve(directory.path(), &[])?.start().await?;
    let output = process.output();
    let addr = output
        .lines()
        .find_map(|line| line.trim().strip_prefix("registry"));
    let addr = addr.context("no address of the registry")?.trim();
    let client = RegistryClient::new(&format!("http://{addr}"));
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
