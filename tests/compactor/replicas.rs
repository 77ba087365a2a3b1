//! A cluster in which three ingesters hold every stream, and two compactors.

use std::time::Duration;

use anyhow::Context;
use tests::api::Api;
use tests::cluster::{Backend, Cluster};
use tests::lines::{SECOND_NS, difference, lines, now_ns};
use tests::wait_for;

use crate::{EAGER, app};

/// A counter of a process.
async fn counter(api: &Api, name: &str) -> anyhow::Result<f64> {
    let (_, metrics) = api.get("/metrics", &[]).await?;
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    let count = line.with_context(|| format!("no {name}"))?;
    Ok(count.trim().parse()?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn copies_of_replicas_are_removed_once_by_either() -> anyhow::Result<()> {
    let cluster = Cluster::start(3, Backend::S3).await?;
    let base_ns = now_ns() - 60 * SECOND_NS;
    let mut all = Vec::new();
    for flush in 0..3 {
        let batch = lines(0, flush * 100, flush * 100 + 100, base_ns);
        assert_eq!(
            cluster.distributor().push(&app("web"), &batch).await?.0,
            204
        );
        cluster.flush().await?;
        all.extend(batch);
    }
    let env: Vec<(&str, &str)> = EAGER.into_iter().skip(1).collect();
    let compactors = [
        cluster.start_compactor(1, &env).await?,
        cluster.start_compactor(2, &env).await?,
    ];
    let dropped = |api: Api| async move {
        counter(
            &api,
            "skald_compactor_rows_dropped_total{reason=\"duplicate\"}",
        )
        .await
    };
    let [one, two] = compactors.each_ref().map(tests::process::Process::api);
    wait_for("the end of copies", Duration::from_secs(60), || async {
        let both = (dropped(one.clone()).await, dropped(two.clone()).await);
        let sum = both.0.unwrap_or(0.0) + both.1.unwrap_or(0.0);
        (sum >= 600.0).then_some(())
    })
    .await?;
    let found = cluster
        .querier()
        .all_lines(r#"{app="web"}"#, base_ns, now_ns())
        .await?;
    assert_eq!(difference(&all, &found), None);
    let counting = r#"sum(count_over_time({app="web"}[5m]))"#;
    assert_eq!(cluster.querier().instant(counting, now_ns()).await?, 300.0);
    Ok(())
}
