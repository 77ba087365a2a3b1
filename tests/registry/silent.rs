//! A PostgreSQL server that goes silent, or whose answers are lost; only where there is one, see
//! `postgres.sh`.

use std::time::Duration;

use futures::future::{join_all, try_join_all};
use reqwest::Method;
use serde_json::{Value, json};
use tests::registry::{Kind, Registry, RegistryClient, bytes};
use tests::wait_for;

use crate::tunnel::{Said, Then, Tunnel};

const DATABASE: &str = "SKALD_REGISTRY_DATABASE_URL";
const REFERRERS: &str = "/v2/app/referrers/sha256:0000000000000000000000000000000000000000000000000000000000000000?artifactType=quiet";
const PATIENCE: Duration = Duration::from_secs(60);
/// What the server says of a transaction that it has made.
const COMMITTED: &[u8] = b"COMMIT\0";

/// A registry, and what stands before its database; none if that is a file.
async fn start(answer_timeout: &str) -> anyhow::Result<Option<(Registry, Tunnel)>> {
    let env = [("SKALD_REGISTRY_DATABASE_ANSWER_TIMEOUT", answer_timeout)];
    let mut registry = Registry::start(Kind::Files, &env).await?;
    if registry.env(DATABASE).is_none() {
        return Ok(None);
    }
    let tunnel = Tunnel::before(&mut registry, DATABASE).await?;
    Ok(Some((registry, tunnel)))
}

async fn label(client: &RegistryClient, name: &str) -> anyhow::Result<u16> {
    let label = json!({"name": name, "scope": "g"});
    Ok(client.manage(Method::POST, "/labels", label).await?.0)
}

async fn labels(client: &RegistryClient) -> anyhow::Result<Vec<Value>> {
    let path = "/labels?scope=g&page_size=100";
    let (_, labels) = client.manage(Method::GET, path, Value::Null).await?;
    Ok(labels.as_array().cloned().unwrap_or_default())
}

async fn wait_for_status(client: &RegistryClient, path: &str, status: u16) -> anyhow::Result<()> {
    wait_for(path, PATIENCE, async || {
        let is = client.status(Method::GET, path).await.ok()?;
        (is == status).then_some(())
    })
    .await
}

/// How often the audit logs of processes tell that a label was made.
fn times_told(registries: &[&Registry], name: &str) -> usize {
    let logs = registries.iter().map(|registry| {
        let log = registry.directory().join("data/log/registry-audit.log");
        std::fs::read_to_string(log).unwrap_or_default()
    });
    let resource = format!("\"resource\":\"{name}\"");
    logs.map(|log| log.matches(&resource).count()).sum()
}

#[tokio::test]
async fn a_server_that_is_gone_without_a_word_is_given_up() -> anyhow::Result<()> {
    let Some((registry, tunnel)) = start("1s").await? else {
        return Ok(());
    };
    let client = registry.client();
    client.push_image("app", "v1", &bytes(1, 10)).await?;
    tunnel.lose(Said::Here, b"quiet", Then::Silent);
    for number in 0..3 {
        assert_eq!(label(client, "quiet").await?, 503);
        let quiet = [
            "/v2/quiet/tags/list",
            "/v2/app/manifests/quiet",
            REFERRERS,
            "/v2/app/blobs/uploads/quiet",
        ];
        for path in quiet {
            assert_eq!(client.status(Method::GET, path).await?, 503, "{path}");
        }
        // Others have new connections.
        assert_eq!(label(client, &format!("other{number}")).await?, 201);
        wait_for_status(client, "/v2/app/tags/list", 200).await?;
        wait_for_status(client, "/readyz", 200).await?;
    }
    assert_eq!(labels(client).await?.len(), 3);
    Ok(())
}

/// Whoever takes what they asked with, others need it.
#[tokio::test]
async fn who_does_not_wait_for_a_silent_server_takes_nothing_with_him() -> anyhow::Result<()> {
    let Some((registry, tunnel)) = start("5s").await? else {
        return Ok(());
    };
    let client = registry.client();
    client.push_image("app", "v1", &bytes(1, 10)).await?;
    tunnel.lose(Said::Here, b"quiet", Then::Silent);
    let paths: Vec<_> = (0..4).map(|n| format!("/v2/quiet{n}/tags/list")).collect();
    let asked = paths.iter().map(|path| client.status(Method::GET, path));
    tokio::select! {
        _ = join_all(asked) => {}
        lost = tunnel.wait_for_lost(4) => lost?,
    }
    tunnel.mend();
    wait_for_status(client, "/v2/app/tags/list", 200).await
}

/// It takes the turn of a long list.
#[tokio::test]
async fn a_look_at_what_would_go_ends_and_leaves_others_their_turns() -> anyhow::Result<()> {
    let Some((registry, tunnel)) = start("1s").await? else {
        return Ok(());
    };
    let client = registry.client();
    let look = async || {
        let look = json!({"dry_run": true});
        anyhow::Ok(client.manage(Method::POST, "/system/gc", look).await?.0)
    };
    for words in ["TEMP TABLE look", "UPDATE look"] {
        tunnel.lose(Said::Here, words.as_bytes(), Then::Silent);
        for _ in 0..2 {
            assert_eq!(look().await?, 503, "{words}");
        }
    }
    tunnel.mend();
    assert_eq!(look().await?, 200);
    assert_eq!(labels(client).await?, [Value::Null; 0]);
    Ok(())
}

#[tokio::test]
async fn a_server_that_was_silent_to_all_is_there_again() -> anyhow::Result<()> {
    let Some((registry, tunnel)) = start("1s").await? else {
        return Ok(());
    };
    let client = registry.client();
    client.push_image("app", "v1", &bytes(1, 10)).await?;
    tunnel.lose(Said::Here, b"", Then::Silent);
    assert_eq!(label(client, "early").await?, 503);
    wait_for_status(client, "/readyz", 503).await?;
    tunnel.mend();
    wait_for_status(client, "/readyz", 200).await?;
    for number in 0..10 {
        assert_eq!(label(client, &format!("late{number}")).await?, 201);
    }
    wait_for_status(client, "/v2/app/tags/list", 200).await?;
    assert_eq!(labels(client).await?.len(), 10);
    Ok(())
}

/// Has the answers to the next two transactions be lost. All that waits is in the second: what began
/// the first was not waited with.
fn lose_answers(tunnel: &Tunnel) {
    tunnel.lose_times(Said::There, COMMITTED, Then::Cut, 2);
}

/// It is not known whether that was made that was not answered, and it is not made again.
#[tokio::test]
async fn what_was_made_and_not_answered_is_made_once() -> anyhow::Result<()> {
    let Some((mut registry, tunnel)) = start("10s").await? else {
        return Ok(());
    };
    let client = registry.client().clone();
    let names: Vec<_> = (0..40).map(|number| format!("l{number}")).collect();
    lose_answers(&tunnel);
    let made = names.iter().map(|name| label(&client, name));
    for status in try_join_all(made).await? {
        assert!([201, 503].contains(&status), "{status}");
    }
    wait_for_status(&client, "/readyz", 200).await?;
    let made = labels(&client).await?;
    assert_eq!(made.len(), 40);

    lose_answers(&tunnel);
    let paths = made
        .iter()
        .map(|label| format!("/api/v2.0/labels/{}", label["id"]));
    let paths: Vec<_> = paths.collect();
    let gone = paths.iter().map(|path| client.status(Method::DELETE, path));
    for status in try_join_all(gone).await? {
        assert!([200, 503].contains(&status), "{status}");
    }
    wait_for_status(&client, "/readyz", 200).await?;
    assert_eq!(labels(&client).await?, [Value::Null; 0]);

    registry.stop().await?;
    // Each was made, and each went.
    for name in &names {
        assert_eq!(times_told(&[&registry], name), 2, "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn what_two_processes_tell_is_told_once() -> anyhow::Result<()> {
    let mut one = Registry::start(Kind::Files, &[]).await?;
    let Some(mut other) = one.start_replica().await? else {
        return Ok(());
    };
    let names: Vec<_> = (0..60).map(|number| format!("l{number}")).collect();
    let clients = [one.client(), other.client()].into_iter().cycle();
    let made = names.iter().zip(clients);
    let made = try_join_all(made.map(|(name, client)| label(client, name))).await?;
    assert_eq!(made, [201; 60]);
    one.stop().await?;
    other.stop().await?;
    for name in &names {
        assert_eq!(times_told(&[&one, &other], name), 1, "{name}");
    }
    Ok(())
}

/// What is in the log stays there, and the database cannot be told.
#[tokio::test]
async fn what_was_told_is_told_once_also_if_that_cannot_be_noted() -> anyhow::Result<()> {
    let Some((mut registry, tunnel)) = start("10s").await? else {
        return Ok(());
    };
    let client = registry.client().clone();
    let mut number = 0;
    // What is noted is removed.
    tunnel.lose(Said::There, b"DELETE ", Then::Cut);
    while tunnel.lost() < 3 {
        // It may be made together with what cannot be noted.
        label(&client, &format!("l{number}")).await?;
        number += 1;
    }
    tunnel.mend();
    wait_for_status(&client, "/readyz", 200).await?;
    let made = labels(&client).await?;
    registry.stop().await?;
    assert!(!made.is_empty());
    for label in &made {
        let name = label["name"].as_str().unwrap_or_default();
        assert_eq!(times_told(&[&registry], name), 1, "{name}");
    }
    Ok(())
}
