//! Any one ingester may be killed under load: pushes go on, nothing is lost, doubled or hidden, and
//! it comes back by itself.

use tests::cluster::{Backend, Cluster};
use tests::lines;
use tests::load::Load;

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
