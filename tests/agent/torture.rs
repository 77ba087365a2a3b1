//! What befalls files and servers, with the real agent and a real server.
//!
//! Where each case of the torture table is tried, here and elsewhere, says `tests/tidy/agent/rows.rs`.

use std::os::unix::fs::FileExt;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use tests::wait_for;

use crate::site::Site;

const JOB: &str = "
  - job_name: app
    static_configs: [{labels: {job: app, __path__: 'LOGS/*.log'}}]
";

/// Lines of ten kilobytes that are read after an outage.
const LONG_LINES: usize = 15_000;
/// Memory that the agent may take at most: less than the files that are read here.
pub(crate) const MEMORY_BYTES_MAX: u64 = 120 << 20;
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn lines(name: &str, count: usize) -> Vec<String> {
    let line = |number| format!("{name} line {number}");
    (0..count).map(line).collect()
}

pub(crate) fn text(lines: &[String]) -> String {
    lines.join("\n") + "\n"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_or_a_stop_while_the_server_is_down_loses_nothing() -> anyhow::Result<()> {
    let mut site = Site::start(JOB).await?;
    let mut written = lines("first", 100);
    site.append("a.log", &text(&written))?;
    let agent = site.agent.start().await?;
    site.counted("app", 100).await?;

    site.kill_server()?;
    let more = lines("killed", 1000);
    site.append("a.log", &text(&more))?;
    written.extend(more);
    agent.kill()?;
    std::fs::rename(site.path("a.log"), site.path("a.log.1"))?;
    let more = lines("stopped", 1000);
    site.append("a.log", &text(&more))?;
    written.extend(more);
    site.agent.start().await?.stop().await?;

    site.server = site.server.kill()?.start().await?;
    let agent = site.agent.start().await?;
    site.counted("app", written.len()).await?;
    site.has("app", &written).await?;
    agent.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_came_and_was_rotated_while_no_agent_ran_is_read() -> anyhow::Result<()> {
    let site = Site::start(JOB).await?;
    let mut written = lines("other", 1);
    site.append("other.log", &text(&written))?;
    site.agent.start().await?.stop().await?;
    for (name, rotated) in [("1st", "a.log.2"), ("2nd", "a.log.1"), ("3rd", "a.log")] {
        let lines = lines(name, 100);
        site.append("a.log", &text(&lines))?;
        std::fs::rename(site.path("a.log"), site.path(rotated))?;
        written.extend(lines);
    }
    let packed = Command::new("gzip").arg(site.path("a.log.2")).status()?;
    ensure!(packed.success(), "no gzip");
    let agent = site.agent.start().await?;
    site.counted("app", written.len()).await?;
    site.has("app", &written).await?;
    agent.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_takes_no_memory_and_all_comes_after_it() -> anyhow::Result<()> {
    let mut site = Site::start(JOB).await?;
    site.kill_server()?;
    let filler = "x".repeat(10_000);
    let written: Vec<String> = (0..LONG_LINES)
        .map(|number| format!("{number} {filler}"))
        .collect();
    site.append("a.log", &text(&written))?;
    let agent = site.agent.start().await?;
    wait_for("a full memory", PATIENCE, async || {
        let (_, metrics) = agent.api().get("/metrics", &[]).await.ok()?;
        let retries = |line: &str| line.starts_with("promtail_batch_retries_total{");
        metrics.lines().any(retries).then_some(())
    })
    .await?;
    site.server = site.server.kill()?.start().await?;
    site.counted("app", written.len()).await?;
    let peak = agent.memory_peak_bytes()?;
    ensure!(peak < MEMORY_BYTES_MAX, "{peak} bytes");
    agent.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_plain_file_is_in_nobodys_way() -> anyhow::Result<()> {
    let site = Site::start(JOB).await?;
    let made = Command::new("mkfifo").arg(site.path("a.log")).status()?;
    ensure!(made.success(), "no FIFO");
    std::fs::create_dir(site.path("b.log"))?;
    std::os::unix::fs::symlink(site.path("nowhere"), site.path("c.log"))?;
    let hole = std::fs::File::create(site.path("d.log"))?;
    hole.write_all_at(b"after the hole\n", 2 << 30)?;
    std::fs::write(site.path("e.txt"), "through a link\n")?;
    std::os::unix::fs::symlink(site.path("e.txt"), site.path("e.log"))?;
    std::fs::write(site.path("f.log"), "plain\n")?;

    let agent = site.agent.start().await?;
    site.counted("app", 3).await?;
    let expected = ["after the hole", "through a link", "plain"];
    site.has("app", &expected.map(str::to_owned)).await?;
    let peak = agent.memory_peak_bytes()?;
    ensure!(peak < MEMORY_BYTES_MAX, "{peak} bytes");
    agent.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_streams_than_there_may_be_cost_their_own_lines_only() -> anyhow::Result<()> {
    let site = Site::start(
        "
  - job_name: app
    static_configs: [{labels: {job: app, __path__: 'LOGS/*.log'}}]
    pipeline_stages:
      - regex: {expression: '^stream (?P<stream>.)'}
      - labels: {stream: }
limits_config: {max_streams: 2}
",
    )
    .await?;
    let first = ["stream a 1", "stream b 1", "stream c 1", "stream a 2"].map(str::to_owned);
    site.append("a.log", &text(&first))?;
    let agent = site.agent.start().await?;
    site.counted("app", 3).await?;
    // What comes later is delivered as ever.
    site.append("a.log", "stream b 2\n")?;
    site.counted("app", 4).await?;
    let kept = ["stream a 1", "stream b 1", "stream a 2", "stream b 2"].map(str::to_owned);
    site.has("app", &kept).await?;
    let (_, metrics) = agent.api().get("/metrics", &[]).await?;
    let dropped = metrics.lines().find(|line| {
        line.starts_with("promtail_dropped_entries_total{") && line.contains("stream_limited")
    });
    let dropped = dropped.context("nothing is counted as dropped")?;
    ensure!(dropped.ends_with(" 1"), "{dropped}");
    agent.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_positions_stop_nobody() -> anyhow::Result<()> {
    let site = Site::start(JOB).await?;
    site.append("a.log", &text(&lines("first", 10)))?;
    let agent = site.agent.start().await?;
    site.counted("app", 10).await?;
    agent.stop().await?;
    let noted = site.positions()?;
    site.set_positions(noted.get(..noted.len() / 2).unwrap_or_default())?;
    let agent = site.agent.start().await?;
    site.append("a.log", &text(&lines("second", 10)))?;
    // Nobody knows any more how far the file was read: it comes again as a whole.
    site.counted("app", 30).await?;
    agent.stop().await?;
    Ok(())
}
