//! Clients that go away before they are answered.

use std::time::Duration;

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tests::registry::{MANIFEST, RegistryClient, bytes, sha256};
use tests::wait_for;

use crate::auth::{PASSWORD, member, start};

const PATIENCE: Duration = Duration::from_secs(60);

/// Tags of one image, and one of another that is newer.
async fn push_tags(client: &RegistryClient, count: usize, seed: u64) -> anyhow::Result<()> {
    let manifest = client
        .push_image("team/app", "v0", &bytes(seed, 10))
        .await?;
    let names: Vec<String> = (1..count).map(|number| format!("tag=v{number}")).collect();
    for names in names.chunks(50) {
        let reference = format!("{}?{}", sha256(&manifest), names.join("&"));
        let put = client.put_manifest("team/app", &reference, MANIFEST, &manifest);
        assert_eq!(put.await?.status(), 201);
    }
    client
        .push_image("team/app", "w", &bytes(seed + 1, 10))
        .await?;
    Ok(())
}

async fn tags(client: &RegistryClient) -> anyhow::Result<usize> {
    let tags = client.json("/v2/team/app/tags/list?n=10000").await?;
    Ok(tags["tags"].as_array().map_or(0, Vec::len))
}

#[tokio::test]
async fn what_rules_let_go_goes_also_if_who_asked_goes_away() -> anyhow::Result<()> {
    const TAGS: usize = 500;
    let (_registry, admin) = start().await?;
    let rule = json!({"kind": "retention", "latestPushedK": 1});
    for (seed, by_number) in [(1, true), (3, false)] {
        push_tags(&admin, TAGS, seed).await?;
        let mut path = "/projects/team/retention".to_owned();
        if by_number {
            let made = admin.manage(Method::POST, "/projects/team/rules", rule.clone());
            assert_eq!(made.await?.0, 201);
            let (_, team) = admin
                .manage(Method::GET, "/projects/team", Value::Null)
                .await?;
            path = format!("/retentions/{}/executions", team["project_id"]);
        }
        // As soon as some have gone.
        let begun = async {
            while tags(&admin).await? > TAGS {}
            anyhow::Ok(())
        };
        tokio::select! {
            _ = admin.manage(Method::POST, &path, json!({"dry_run": false})) => {}
            begun = begun => begun?,
        }
        wait_for("all of them to go", PATIENCE, async || {
            (tags(&admin).await.ok()? == 1).then_some(())
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn who_does_not_wait_for_a_login_has_not_guessed_wrong() -> anyhow::Result<()> {
    let (registry, admin) = start().await?;
    let dev = member(&registry, &admin, "dev", "developer").await?;
    let nobody = |number: usize| {
        registry
            .client()
            .login(&format!("nobody{number}"), PASSWORD)
    };
    // Others keep it busy, so that the password is not looked at at once.
    let others: Vec<_> = (0..20).map(nobody).collect();
    let others = tokio::spawn(async move {
        join_all(others.iter().map(|other| other.status(Method::GET, "/v2/"))).await
    });
    for _ in 0..5 {
        let moment = Duration::from_millis(100);
        let _ = tokio::time::timeout(moment, dev.status(Method::GET, "/v2/")).await;
    }
    others.await?;
    // What was asked before is answered before.
    for number in 20..24 {
        assert_eq!(nobody(number).status(Method::GET, "/v2/").await?, 401);
    }
    // There are some more attempts.
    let wrong = registry.client().login("dev", "not the password");
    for _ in 0..3 {
        assert_eq!(wrong.status(Method::GET, "/v2/").await?, 401);
    }
    Ok(())
}
