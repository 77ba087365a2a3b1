//! What is done to very much at once is done in parts, and is done to all of it all the same.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tests::registry::{INDEX, Kind, MANIFEST, Registry, RegistryClient, bytes, descriptor, sha256};
use tests::wait_for;

/// More than one part.
const COUNT: usize = 150;

/// A repository with so many manifests, each with a tag of its own.
async fn push_many(client: &RegistryClient, repo: &str) -> anyhow::Result<()> {
    for number in 0..COUNT {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [],
            "annotations": {"number": number.to_string()}});
        let tag = format!("v{number:04}");
        let index = index.to_string().into_bytes();
        let put = client.put_manifest(repo, &tag, INDEX, &index).await?;
        anyhow::ensure!(put.status() == 201);
    }
    Ok(())
}

async fn tags(client: &RegistryClient, repo: &str) -> anyhow::Result<Vec<Value>> {
    let tags = client.json(&format!("/v2/{repo}/tags/list")).await?;
    Ok(tags["tags"].as_array().cloned().unwrap_or_default())
}

/// Records of the audit trail of an event.
fn told(registry: &Registry, event: &str) -> anyhow::Result<usize> {
    let audit = registry.directory().join("data/log/registry-audit.log");
    let text = std::fs::read_to_string(audit)?;
    let event = format!("\"event\":\"{event}\"");
    Ok(text.lines().filter(|line| line.contains(&event)).count())
}

#[tokio::test]
async fn a_large_repository_is_removed_as_a_whole_or_not_at_all() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    push_many(client, "team/app").await?;
    for number in 0..COUNT {
        client
            .push_blob("team/app", &bytes(number as u64, 10))
            .await?;
    }
    let path = "/projects/team/repositories/app";
    let rules = "/projects/team/rules";
    let held = json!({"kind": "immutable", "tags": format!("v{:04}", COUNT - 1)});
    let (status, made) = client.manage(Method::POST, rules, held).await?;
    assert_eq!(status, 201);
    assert_eq!(
        client.manage(Method::DELETE, path, Value::Null).await?.0,
        412
    );
    assert_eq!(tags(client, "team/app").await?.len(), COUNT);
    let rule = format!("{rules}/{}", made["id"]);
    assert_eq!(
        client.manage(Method::DELETE, &rule, Value::Null).await?.0,
        200
    );

    assert_eq!(
        client.manage(Method::DELETE, path, Value::Null).await?.0,
        200
    );
    assert_eq!(
        client.status(Method::GET, "/v2/team/app/tags/list").await?,
        404
    );
    let (_, quota) = client
        .manage(Method::GET, "/quotas/team", Value::Null)
        .await?;
    assert_eq!(quota["used"]["storage"], 0);
    wait_for("the records", Duration::from_secs(20), async || {
        let (artifacts, repositories) = (
            told(&registry, "delete_artifact").ok()?,
            told(&registry, "delete_repository").ok()?,
        );
        (artifacts == COUNT && repositories == 1).then_some(())
    })
    .await
}

/// Who pulls one meanwhile finds it whole, or not at all.
#[tokio::test]
async fn of_a_repository_that_goes_indexes_go_before_their_parts() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    let part = client.push_image("team/app", "part", &bytes(1, 10)).await?;
    push_many(client, "team/app").await?;
    let index = json!({"schemaVersion": 2, "mediaType": INDEX,
        "manifests": [descriptor(MANIFEST, &part)]});
    let index = index.to_string().into_bytes();
    let put = client.put_manifest("team/app", "index", INDEX, &index);
    assert_eq!(put.await?.status(), 201);

    let path = "/projects/team/repositories/app";
    let removed = client.manage(Method::DELETE, path, Value::Null);
    let watched = async {
        let part = format!("/v2/team/app/manifests/{}", sha256(&part));
        while client.status(Method::HEAD, &part).await? == 200 {}
        client
            .status(Method::HEAD, "/v2/team/app/manifests/index")
            .await
    };
    let (removed, index) = tokio::join!(removed, watched);
    assert_eq!((removed?.0, index?), (200, 404));
    Ok(())
}

#[tokio::test]
async fn many_tags_expire_but_those_that_are_held() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    push_many(client, "team/app").await?;
    for rule in [
        json!({"kind": "immutable", "tags": "v000*"}),
        json!({"kind": "retention", "latestPushedK": 5}),
    ] {
        let made = client.manage(Method::POST, "/projects/team/rules", rule);
        assert_eq!(made.await?.0, 201);
    }
    for (dry_run, left) in [(true, COUNT), (false, 15)] {
        let run = json!({"dry_run": dry_run});
        let (status, gone) = client
            .manage(Method::POST, "/projects/team/retention", run)
            .await?;
        assert_eq!(status, 200, "{gone}");
        let gone = gone["expired"].as_array().map(Vec::len);
        assert_eq!(gone, Some(COUNT - 15));
        assert_eq!(tags(client, "team/app").await?.len(), left);
    }
    Ok(())
}

#[tokio::test]
async fn a_manifest_with_very_many_tags_goes_with_all_of_them() -> anyhow::Result<()> {
    const TAGS: usize = 350;
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    let manifest = client.push_image("team/app", "v0", &bytes(1, 10)).await?;
    let digest = sha256(&manifest);
    let names: Vec<String> = (1..TAGS).map(|number| format!("tag=v{number}")).collect();
    for names in names.chunks(50) {
        let reference = format!("{digest}?{}", names.join("&"));
        let put = client.put_manifest("team/app", &reference, MANIFEST, &manifest);
        assert_eq!(put.await?.status(), 201);
    }
    assert_eq!(tags(client, "team/app").await?.len(), TAGS);

    let path = format!("/v2/team/app/manifests/{digest}");
    assert_eq!(client.status(Method::DELETE, &path).await?, 202);
    assert_eq!(tags(client, "team/app").await?.len(), 0);
    for number in [0, 255, 256, TAGS - 1] {
        let history = "/api/v2.0/projects/team/repositories/app/tags";
        let history = client.json(&format!("{history}/v{number}/history")).await?;
        let last = &history[0];
        assert_eq!(
            (&last["digest"], &last["old_digest"]),
            (&Value::Null, &json!(digest))
        );
    }
    wait_for("the records", Duration::from_secs(20), async || {
        (told(&registry, "delete_artifact").ok()? == TAGS).then_some(())
    })
    .await?;
    let removed = "/api/v2.0/audit-logs?page_size=1&q=operation=delete,resource=team/app:v349";
    assert_eq!(client.json(removed).await?[0]["record"]["ref"], "v349");
    Ok(())
}
