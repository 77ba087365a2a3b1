//! Runs of garbage collection and of retention that are over can be asked for.

use std::time::Duration;

use reqwest::{Method, Response};
use serde_json::{Value, json};
use tests::registry::{Kind, MANIFEST, Registry, RegistryClient, bytes, header, sha256};
use tests::wait_for;

use crate::auth::{member, start};

async fn get(client: &RegistryClient, path: &str) -> anyhow::Result<Value> {
    let (status, answer) = client.manage(Method::GET, path, Value::Null).await?;
    anyhow::ensure!(status == 200, "{path}: {status} {answer}");
    Ok(answer)
}

/// Asks for a run; gives where it is to be found.
async fn run(client: &RegistryClient, path: &str, body: Value) -> anyhow::Result<String> {
    let run = client.request(Method::POST, &format!("/api/v2.0{path}"));
    let made: Response = run.json(&body).send().await?;
    assert_eq!(made.status(), 201);
    Ok(header(&made, "location")?.replace("/api/v2.0", ""))
}

#[tokio::test]
async fn runs_of_garbage_collection_are_remembered() -> anyhow::Result<()> {
    let (registry, admin) = start().await?;
    let dev = member(&registry, &admin, "dev", "projectAdmin").await?;
    let schedule = "/system/gc/schedule";
    // Whose grace is not over.
    admin.push_blob("team/app", &bytes(1, 700)).await?;
    let mut paths = Vec::new();
    for dry_run in [true, false] {
        let manual = json!({"schedule": {"type": "Manual"}, "parameters": {"dry_run": dry_run}});
        paths.push(run(&admin, schedule, manual).await?);
    }
    let runs = get(&admin, "/system/gc?sort=-update_time&page_size=10").await?;
    let runs = runs.as_array().cloned().unwrap_or_default();
    assert_eq!(runs.len(), 2, "{runs:?}");
    for (path, run, dry_run) in [(&paths[0], &runs[1], true), (&paths[1], &runs[0], false)] {
        assert_eq!(*path, format!("/system/gc/{}", run["id"]));
        assert_eq!(get(&admin, path).await?, *run);
        assert_eq!(run["job_name"], "GARBAGE_COLLECTION");
        assert_eq!(
            (&run["job_kind"], &run["job_status"]),
            (&json!("MANUAL"), &json!("Success"))
        );
        assert_eq!(run["schedule"]["type"], "Manual");
        let parameters = run["job_parameters"].as_str().unwrap_or_default();
        let parameters: Value = serde_json::from_str(parameters)?;
        assert_eq!(parameters["dry_run"], dry_run);
        let freed = if dry_run { 700 } else { 0 };
        assert_eq!(parameters["freed_space"], freed);
        let log = admin.request(Method::GET, &format!("/api/v2.0{path}/log"));
        let log = log.send().await?;
        assert!(header(&log, "content-type")?.starts_with("text/plain"));
        let line: Value = serde_json::from_str(&log.text().await?)?;
        assert_eq!(
            (&line["kind"], &line["policy"]),
            (&json!("gc"), &json!("collect"))
        );
    }
    let first = get(&admin, "/system/gc?page=2&page_size=1").await?;
    assert_eq!(first[0]["id"], runs[1]["id"]);
    for path in ["/system/gc", &paths[0]] {
        assert_eq!(dev.manage(Method::GET, path, Value::Null).await?.0, 403);
    }
    let other = "/system/gc/987654/log";
    assert_eq!(admin.manage(Method::GET, other, Value::Null).await?.0, 404);
    Ok(())
}

/// Rounds that come by themselves are many, and push out none that somebody asked for.
#[tokio::test]
async fn runs_that_somebody_asked_for_stay_in_the_list() -> anyhow::Result<()> {
    let env = [
        ("SKALD_REGISTRY_GC_INTERVAL", "50ms"),
        ("SKALD_REGISTRY_GC_BLOB_GRACE", "0s"),
        ("SKALD_REGISTRY_LIMITS_EXECUTIONS_MAX", "2"),
    ];
    let registry = Registry::start(Kind::Files, &env).await?;
    let client = registry.client();
    let manual = json!({"schedule": {"type": "Manual"}});
    let asked = run(client, "/system/gc/schedule", manual).await?;
    let mut kinds = Vec::new();
    let mut newest = get(client, &asked).await?["id"].as_i64();
    for round in 1..=4 {
        client.push_blob("app", &bytes(round, 500)).await?;
        let runs = wait_for("a round", Duration::from_secs(20), async || {
            let runs = get(client, "/system/gc").await.ok()?;
            (runs[0]["id"].as_i64() > newest).then_some(runs)
        });
        let runs = runs.await?;
        newest = runs[0]["id"].as_i64();
        let kind = |run: &Value| run["job_kind"].as_str().unwrap_or_default().to_owned();
        kinds = runs.as_array().into_iter().flatten().map(kind).collect();
    }
    assert_eq!(kinds, ["SCHEDULE", "SCHEDULE", "MANUAL"]);
    assert_eq!(get(client, &asked).await?["job_kind"], "MANUAL");
    Ok(())
}

#[tokio::test]
async fn runs_of_retention_are_remembered() -> anyhow::Result<()> {
    let (registry, admin) = start().await?;
    let dev = member(&registry, &admin, "dev", "developer").await?;
    for (repo, tag) in [("team/app", "v1"), ("team/app", "v2"), ("team/b", "v1")] {
        let layer = format!("{repo}:{tag}");
        admin.push_image(repo, tag, layer.as_bytes()).await?;
    }
    let project = get(&admin, "/projects/team").await?;
    let id = &project["project_id"];
    assert_eq!(project["metadata"]["retention_id"], Value::Null);
    let executions = format!("/retentions/{id}/executions");
    assert_eq!(get(&admin, &executions).await?, json!([]));
    let policy = json!({
        "algorithm": "or",
        "scope": {"level": "project", "ref": id},
        "trigger": {"kind": "Schedule", "settings": {"cron": ""}},
        "rules": [{"action": "retain", "template": "latestPushedK", "params": {"latestPushedK": 1},
            "tag_selectors": [{"kind": "doublestar", "decoration": "matches", "pattern": "**"}],
            "scope_selectors": {"repository": [
                {"kind": "doublestar", "decoration": "repoMatches", "pattern": "**"}]}}],
    });
    run(&admin, "/retentions", policy).await?;
    let project = get(&admin, "/projects/team").await?;
    assert_eq!(project["metadata"]["retention_id"], json!(id.to_string()));
    let dry = run(&admin, &executions, json!({"dry_run": true})).await?;
    let real = run(&admin, &executions, json!({"dry_run": false})).await?;
    let listed = get(&admin, &executions).await?;
    for (at, (path, dry_run)) in [(&real, false), (&dry, true)].into_iter().enumerate() {
        let run = &listed[at];
        assert_eq!(*path, format!("{executions}/{}", run["id"]));
        assert_eq!((&run["dry_run"], &run["policy_id"]), (&json!(dry_run), id));
        assert_eq!(
            (&run["trigger"], &run["status"]),
            (&json!("MANUAL"), &json!("Success"))
        );
        let tasks = get(&admin, &format!("{path}/tasks")).await?;
        let told = |task: &Value| {
            let name = task["repository"].as_str().unwrap_or_default().to_owned();
            (name, task["total"].as_u64(), task["retained"].as_u64())
        };
        let told: Vec<_> = tasks.as_array().into_iter().flatten().map(told).collect();
        let of = |name: &str, total, kept| (name.to_owned(), Some(total), Some(kept));
        assert_eq!(told, [of("team/app", 2, 1), of("team/b", 1, 1)]);
        let log = admin.request(Method::GET, &format!("/api/v2.0{path}/tasks/1"));
        assert!(
            log.send()
                .await?
                .text()
                .await?
                .contains("\"policy\":\"retention\"")
        );
        let none = format!("{path}/tasks/3");
        assert_eq!(admin.manage(Method::GET, &none, Value::Null).await?.0, 404);
    }
    let (status, _) = dev.manage(Method::GET, &executions, Value::Null).await?;
    assert_eq!(status, 403);
    Ok(())
}

/// Runs that take long are under way while somebody looks, and stop when they are told to.
#[tokio::test]
async fn a_run_stops_when_it_is_told_to() -> anyhow::Result<()> {
    let (_registry, admin) = start().await?;
    for path in ["/system/gc/987654", "/retentions/1/executions/987654"] {
        let method = if path.starts_with("/system") {
            Method::PUT
        } else {
            Method::PATCH
        };
        let none = admin.manage(method, path, json!({"action": "stop"}));
        assert_eq!(none.await?.0, 404, "{path}");
    }
    let manual = json!({"schedule": {"type": "Manual"}});
    let over = run(&admin, "/system/gc/schedule", manual).await?;
    for (word, status) in [("Stop", 200), ("Start", 400)] {
        let stop = admin.manage(Method::PUT, &over, json!({"status": word}));
        assert_eq!(stop.await?.0, status);
    }
    // One that is over stays as it is.
    assert_eq!(get(&admin, &over).await?["job_status"], "Success");

    const TAGS: usize = 3000;
    let manifest = admin.push_image("team/app", "v0", &bytes(1, 10)).await?;
    let names: Vec<String> = (1..TAGS).map(|number| format!("tag=v{number}")).collect();
    for names in names.chunks(50) {
        let reference = format!("{}?{}", sha256(&manifest), names.join("&"));
        let put = admin.put_manifest("team/app", &reference, MANIFEST, &manifest);
        assert_eq!(put.await?.status(), 201);
    }
    // The newest image is another.
    admin.push_image("team/app", "w", &bytes(2, 10)).await?;
    let rule = json!({"kind": "retention", "latestPushedK": 1});
    let made = admin
        .manage(Method::POST, "/projects/team/rules", rule)
        .await?;
    assert_eq!(made.0, 201);
    let id = get(&admin, "/projects/team").await?["project_id"].clone();
    let executions = format!("/retentions/{id}/executions");
    let running = {
        let (admin, executions) = (admin.clone(), executions.clone());
        tokio::spawn(async move { run(&admin, &executions, json!({"dry_run": false})).await })
    };
    let path = wait_for("the run", Duration::from_secs(20), async || {
        let runs = get(&admin, &executions).await.ok()?;
        let id = runs[0]["id"].as_i64()?;
        Some(format!("{executions}/{id}"))
    })
    .await?;
    let stop = admin.manage(Method::PATCH, &path, json!({"action": "stop"}));
    assert_eq!(stop.await?.0, 200);
    assert_eq!(running.await??, path);
    let status = get(&admin, &executions).await?[0]["status"].clone();
    let left = admin.json("/v2/team/app/tags/list?n=10").await?;
    let left = left["tags"].as_array().map(Vec::len);
    match status.as_str() {
        Some("Stopped") => assert_eq!(left, Some(10)),
        // It was quicker.
        _ => assert_eq!((status.as_str(), left), (Some("Success"), Some(1))),
    }
    Ok(())
}
