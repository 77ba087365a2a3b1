//! `kill -9` of `skald serve` under load: whatever was acknowledged is found after the restart,
//! once.
//!
//! `cargo test` kills a few times; `SUITE_CRASH_KILLS=50 cargo test --workspace --test crash` as often
//! as one likes. Each run prints its seed, and `SUITE_CRASH_SEED` repeats one.

use std::time::Duration;

use anyhow::Context;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tests::lines;
use tests::load::Load;
use tests::process::Launch;

/// Kills of one run of `cargo test`.
const KILLS: u64 = 4;
/// Writers, each with a stream of its own.
const WRITERS: usize = 4;
/// Lines that are acknowledged between two kills, at most.
const LINES_MAX: usize = 1_500;

fn number_from(variable: &str, default: u64) -> anyhow::Result<u64> {
    match std::env::var(variable) {
        Ok(text) => text.parse().with_context(|| format!("{variable}={text}")),
        Err(_) => Ok(default),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost() -> anyhow::Result<()> {
    let kills = number_from("SUITE_CRASH_KILLS", KILLS)?;
    let seed = number_from("SUITE_CRASH_SEED", rand::random())?;
    println!("{kills} kills with SUITE_CRASH_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let directory = tempfile::tempdir()?;
    // Small blocks and frequent flushes, so that kills hit every part of a row's way to the store.
    let launch = Launch::serve(directory.path(), &[])?
        .with_env("SKALD_INGESTER_BLOCK_BYTES", "32KB")
        .with_env("SKALD_INGESTER_FLUSH_BYTES", "16KB")
        .with_env("SKALD_INGESTER_FLUSH_INTERVAL", "1s")
        .with_env("SKALD_INGESTER_WAL_SEGMENT_BYTES", "256KB");

    let mut process = launch.start().await?;
    let base_ns = lines::now_ns();
    // A batch that was on its way when the server died is sent again; by then its lines may be in
    // the store and no more in memory, where a repetition would be known for one.
    let mut rounds = Vec::new();
    for round in 0..kills {
        let app = format!("crash-{round}");
        let load = Load::start(&process.api(), &app, WRITERS, base_ns);
        load.more(random.random_range(1..LINES_MAX)).await?;
        process.kill()?;
        let written = load.stop().await?;
        process = launch.start().await?;
        // Lines of this round are checked now, when they come from the log that was replayed.
        let checked = written.check(&process.api()).await;
        checked.with_context(|| format!("round {round}, SUITE_CRASH_SEED={seed}"))?;
        rounds.push(written);
    }
    // All again at the end, when most come from the store.
    process.api().flush().await?;
    let process = process.stop().await?.start().await?;
    let mut acknowledged = 0;
    for (round, written) in rounds.iter().enumerate() {
        let checked = written.check(&process.api()).await;
        checked.with_context(|| format!("round {round} at the end, SUITE_CRASH_SEED={seed}"))?;
        acknowledged += written.acknowledged();
    }
    println!("{acknowledged} acknowledged lines, none lost");
    assert!(acknowledged > 0);
    Ok(())
}

/// Clients that never stop, as agents are: they send again what the dying server did not
/// acknowledge.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_repeat_see_no_gap_and_no_duplicate() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let launch = Launch::serve(directory.path(), &[])?;
    let mut process = launch.start().await?;
    let load = Load::start(&process.api(), "repeat", WRITERS, lines::now_ns());
    for _ in 0..2 {
        load.more(400).await?;
        process.kill()?;
        process = launch.start().await?;
    }
    load.more(400).await?;
    let failures = load.failures();
    let written = load.stop().await?;
    written.check(&process.api()).await?;
    // Nothing but the time without a server went wrong.
    let refused: Vec<_> = failures
        .iter()
        .filter(|failure| failure.starts_with("status 4"))
        .collect();
    assert!(refused.is_empty(), "{refused:?}");
    tokio::time::timeout(Duration::from_secs(60), process.stop()).await??;
    Ok(())
}
