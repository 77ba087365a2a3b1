//! The audit trail as it can be asked for.

use reqwest::{Method, Response};
use serde_json::{Value, json};
use tests::registry::{LOCAL, Registry, RegistryClient, bytes, header};
use tests::wait_for;

use crate::auth::{member, start};

async fn ask(client: &RegistryClient, path: &str) -> anyhow::Result<Response> {
    let asked = client.request(Method::GET, &format!("/api/v2.0{path}"));
    Ok(asked.send().await?)
}

/// What the records have under a key.
async fn column(client: &RegistryClient, path: &str, key: &str) -> anyhow::Result<Vec<Value>> {
    let answer = ask(client, path).await?;
    anyhow::ensure!(answer.status() == 200, "{path}: {}", answer.status());
    let records: Vec<Value> = answer.json().await?;
    Ok(records.iter().map(|record| record[key].clone()).collect())
}

#[tokio::test]
async fn everybody_sees_what_happened_in_his_projects() -> anyhow::Result<()> {
    let (registry, admin) = start().await?;
    let dev = member(&registry, &admin, "dev", "developer").await?;
    let limited = member(&registry, &admin, "lim", "limitedGuest").await?;
    dev.push_image("team/app", "v1", &bytes(1, 10)).await?;
    let other = json!({"project_name": "other", "public": true});
    let made = admin.manage(Method::POST, "/projects", other).await?;
    assert_eq!(made.0, 201);
    admin.push_image("other/app", "v1", &bytes(1, 10)).await?;
    dev.manage(Method::DELETE, "/projects/other", json!(null))
        .await?;

    let first = "/projects/team/logs?page_size=1&q=username=dev";
    let answer: Vec<Value> = ask(&dev, first).await?.json().await?;
    let record = &answer[0];
    for (name, value) in [
        ("username", json!("dev")),
        ("operation", json!("create")),
        ("operation_result", json!(true)),
        ("resource_type", json!("artifact")),
        ("resource", json!("team/app:v1")),
    ] {
        assert_eq!(record[name], value, "{record}");
    }
    let at: jiff::Timestamp = record["op_time"].as_str().unwrap_or_default().parse()?;
    assert!(jiff::Timestamp::now().duration_since(at).as_secs() < 600);
    assert_eq!(record["record"]["event"], "push_artifact");
    assert_eq!(record["record"]["remote"], Value::Null);
    let remote = column(&admin, first, "record").await?;
    assert!(remote[0]["remote"].as_str().is_some(), "{remote:?}");

    // All that a member sees is of its projects; who is refused elsewhere is seen there.
    let all = column(&admin, "/audit-logs", "resource").await?;
    let seen = column(&dev, "/audit-logs", "resource").await?;
    let of_team = column(&dev, "/projects/team/logs", "resource").await?;
    assert_eq!(seen, of_team);
    assert!(seen.contains(&json!("team/app:v1")) && all.len() > seen.len());
    assert!(!seen.contains(&json!("other/app:v1")) && all.contains(&json!("other/app:v1")));
    let denied = "/audit-logs?q=operation_result=false,username=dev";
    assert_eq!(
        column(&admin, denied, "operation").await?,
        ["access_denied"]
    );
    assert_eq!(column(&limited, "/audit-logs", "id").await?, [0; 0]);
    for (client, path, status) in [
        (&limited, "/projects/team/logs", 403),
        (&dev, "/projects/other/logs", 403),
        (&dev, "/projects/nope/logs", 404),
        (registry.client(), "/audit-logs", 401),
        (&admin, "/audit-logs?q=colour=red", 400),
        (&admin, "/audit-logs?sort=colour", 400),
    ] {
        assert_eq!(ask(client, path).await?.status(), status, "{path}");
    }
    // A new project has nothing of one that had its name.
    for path in ["/projects/team/repositories/app", "/projects/team"] {
        let deleted = admin.manage(Method::DELETE, path, json!(null)).await?;
        assert_eq!(deleted.0, 200);
    }
    let again = json!({"project_name": "team"});
    admin.manage(Method::POST, "/projects", again).await?;
    let path = "/projects/team/logs";
    assert_eq!(column(&admin, path, "operation").await?, ["create"]);
    Ok(())
}

#[tokio::test]
async fn filters_orders_pages_and_the_end_of_records() -> anyhow::Result<()> {
    let env = [
        LOCAL,
        ("SKALD_REGISTRY_AUDIT_RECORDS_MAX", "40"),
        ("SKALD_REGISTRY_GC_INTERVAL", "100ms"),
    ];
    let registry = Registry::start(tests::registry::Kind::Files, &env).await?;
    let password = registry.directory().join("data/registry/admin-password");
    let password = std::fs::read_to_string(password)?;
    let admin = registry.client().login("admin", password.trim());
    for number in 0..5 {
        let tag = format!("v{number}");
        admin.push_image("a/app", &tag, &bytes(number, 10)).await?;
        let path = format!("/v2/a/app/manifests/{tag}");
        assert_eq!(admin.status(Method::DELETE, &path).await?, 202);
    }
    for (query, expected) in [
        ("q=resource_type=tag", vec!["v4", "v3", "v2", "v1", "v0"]),
        (
            "q=resource_type=tag&sort=op_time,id&page_size=1",
            vec!["v0"],
        ),
        ("q=resource=a/app:v3,operation=delete", vec!["v3"]),
        ("q=resource=~APP:V3,event=push_artifact", vec!["v3"]),
        ("q=op_time=[2090-01-01~]", vec![]),
        (
            "q=operation=delete,resource_type=tag&page_size=2&page=3",
            vec!["v0"],
        ),
    ] {
        let found = column(&admin, &format!("/audit-logs?{query}"), "resource").await?;
        let expected: Vec<String> = expected.iter().map(|tag| format!("a/app:{tag}")).collect();
        assert_eq!(found, expected, "{query}");
    }
    let page = "/projects/a/logs?q=resource_type=tag&page_size=2&page=2";
    let page = ask(&admin, page).await?;
    assert_eq!(header(&page, "x-total-count")?, "5");
    let links = header(&page, "link")?;
    assert!(
        links.contains("page=1&page_size=2>; rel=\"prev\""),
        "{links}"
    );
    assert!(
        links.contains("page=3&page_size=2>; rel=\"next\""),
        "{links}"
    );

    for number in 0..50 {
        let label = json!({"name": format!("l{number}"), "scope": "g"});
        let made = admin.manage(Method::POST, "/labels", label).await?;
        assert_eq!(made.0, 201, "{}", made.1);
    }
    wait_for(
        "the oldest to go",
        std::time::Duration::from_secs(20),
        || async {
            let left = column(&admin, "/audit-logs", "resource").await.ok()?;
            (left.len() == 40 && left.iter().all(|one| one.as_str() != Some("a"))).then_some(())
        },
    )
    .await?;
    // The log has all of them.
    let log = registry.directory().join("data/log/registry-audit.log");
    assert!(std::fs::read_to_string(log)?.lines().count() > 55);
    Ok(())
}

#[tokio::test]
async fn what_happens_to_a_projects_robots_is_seen_there() -> anyhow::Result<()> {
    let (registry, admin) = start().await?;
    let dev = member(&registry, &admin, "dev", "developer").await?;
    let access = json!([{"resource": "repository", "action": "pull"}]);
    let robot = json!({"name": "ci", "level": "project", "duration": 1, "permissions": [
        {"kind": "project", "namespace": "team", "access": access}]});
    let (status, made) = admin.manage(Method::POST, "/robots", robot).await?;
    assert_eq!(status, 201, "{made}");
    let secret = made["secret"].as_str().unwrap_or_default();
    let ci = registry.client().login("robot$team+ci", secret);
    // It is told how much there is for everybody, and of no project's trail.
    let (status, told) = ci.manage(Method::GET, "/statistics", json!(null)).await?;
    assert_eq!((status, &told["private_project_count"]), (200, &json!(0)));
    assert_eq!(column(&ci, "/audit-logs", "id").await?, [0; 0]);
    let path = format!("/robots/{}", made["id"]);
    let gone = admin.manage(Method::DELETE, &path, json!(null)).await?;
    assert_eq!(gone.0, 200);
    let trail = "/projects/team/logs?q=resource_type=robot";
    assert_eq!(
        column(&dev, trail, "operation").await?,
        ["delete", "create"]
    );
    Ok(())
}

#[tokio::test]
async fn the_line_of_a_push_has_all_its_tags() -> anyhow::Result<()> {
    let (registry, admin) = start().await?;
    let image = admin.push_image("team/app", "v1", &bytes(1, 10)).await?;
    let digest = tests::registry::sha256(&image);
    let path = format!("/v2/team/app/manifests/{digest}?tag=v2&tag=latest");
    let put = admin.request(Method::PUT, &path);
    let put = put.header("content-type", tests::registry::MANIFEST);
    assert_eq!(put.body(image).send().await?.status(), 201);
    let log = registry.directory().join("data/log/registry-access.log");
    wait_for("the line", std::time::Duration::from_secs(20), async || {
        let text = std::fs::read_to_string(&log).ok()?;
        text.contains(r#""ref":"v2,latest""#).then_some(())
    })
    .await
}
