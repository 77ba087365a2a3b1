//! Any one ingester may be killed under load: pushes go on, nothing is lost, doubled or hidden, and
//! it comes back by itself.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tests::api::Api;
use tests::cluster::{Backend, Cluster};
use tests::load::Load;
use tests::{lines, wait_for};

/// How long the members may take to agree on who is dead.
const PATIENCE: Duration = Duration::from_secs(60);

/// Writers, each with a stream of its own.
const WRITERS: usize = 3;
/// Lines that are pushed in each phase.
const LINES: usize = 300;

async fn one_ingester_after_the_other_is_killed(backend: Backend) -> anyhow::Result<()> {
    let mut cluster = Cluster::start(3, backend).await?;
    let load = Load::start(&cluster.distributor(), "failover", WRITERS, lines::now_ns());
    load.more(LINES).await?;
    // With part of the lines in the store and part in memory.
    cluster.flush().await?;
    for victim in 0..3 {
        load.more(LINES).await?;
        cluster.kill_ingester(victim)?;
        // A write quorum of two is left. After the first round it needs the one that came back: it
        // takes part again without anybody's help.
        load.more(LINES).await?;
        cluster.restart_ingester(victim).await?;
        cluster.settled(5).await?;
    }
    load.more(LINES).await?;
    let failures = load.failures();
    assert!(failures.is_empty(), "{failures:?}\n{}", cluster.output());
    let written = load.stop().await?;
    written.check(&cluster.querier()).await?;
    // With one ingester gone, from what the others have.
    cluster.kill_ingester(1)?;
    written.check(&cluster.querier()).await?;
    cluster.restart_ingester(1).await?;
    cluster.settled(5).await?;
    // From the store, where each line lies up to three times.
    cluster.flush().await?;
    written.check(&cluster.querier()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ingesters_are_killed_over_a_directory() -> anyhow::Result<()> {
    one_ingester_after_the_other_is_killed(Backend::Directory).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ingesters_are_killed_over_s3() -> anyhow::Result<()> {
    one_ingester_after_the_other_is_killed(Backend::S3).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_have_no_gap_while_an_ingester_dies() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(3, Backend::Directory).await?;
    let base_ns = lines::now_ns();
    let load = Load::start(&cluster.distributor(), "before", WRITERS, base_ns);
    load.more(LINES).await?;
    let written = load.stop().await?;
    // Questions are asked all the time while one is killed.
    let querier = cluster.querier();
    let asking = tokio::spawn(async move {
        for _ in 0..20 {
            written.check(&querier).await?;
        }
        anyhow::Ok(())
    });
    cluster.kill_ingester(2)?;
    asking.await?
}

/// What a member's page of the ring says of the ingesters' health, by name.
async fn health(api: &Api) -> anyhow::Result<BTreeMap<String, String>> {
    let accept = [("Accept", "application/json")];
    let (_, body) = api.get_with("/ring", &[], &accept).await?;
    let ring: Value = serde_json::from_str(&body)?;
    let shards = ring["shards"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(shards
        .map(|shard| (text(&shard["id"]), text(&shard["health"])))
        .collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_ingesters_are_waited_for_until_they_are_forgotten() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(3, Backend::Directory).await?;
    let now_ns = lines::now_ns();
    let (distributor, querier) = (cluster.distributor(), cluster.querier());
    let labels = lines::labels("forgotten", 0);
    let (status, body) = distributor
        .push(&labels, &[lines::line(0, 0, now_ns)])
        .await?;
    assert_eq!(status, 204, "{body}");
    cluster.kill_ingester(1)?;
    cluster.kill_ingester(2)?;
    let dead = async || {
        let members = health(&querier).await.ok()?;
        let dead = members.into_iter().filter(|(_, health)| health == "Dead");
        let names: Vec<String> = dead.map(|(name, _)| name).collect();
        (names.len() == 2).then_some(names)
    };
    let dead = wait_for("two dead ingesters", PATIENCE, dead).await?;
    let find = async || {
        let selector = r#"{app="forgotten"}"#;
        querier.all_lines(selector, now_ns, now_ns + 1).await
    };
    assert!(find().await.is_err(), "lines may be missing");
    let forget = async |name: &str| {
        let body = format!("forget={name}").into_bytes();
        let form = "application/x-www-form-urlencoded";
        querier.post("/ring", form, &[], body).await
    };
    let alive = health(&querier).await?;
    let alive = alive.keys().find(|name| !dead.contains(name)).cloned();
    assert_eq!(forget(&alive.unwrap_or_default()).await?.0, 400);
    assert_eq!(forget("nobody").await?.0, 404);
    for name in &dead {
        // The answer leads back to the page.
        assert_eq!(forget(name).await?.0, 200);
    }
    let is_heard = async || (health(&distributor).await.ok()?.len() == 1).then_some(());
    wait_for("the distributor to hear of it", PATIENCE, is_heard).await?;
    assert_eq!(find().await?.len(), 1);
    Ok(())
}
