//! `kill -9` of the agent at random points while files are written and rotated, now and then of the
//! server too.
//!
//! `cargo test` kills a few times; `SUITE_AGENT_KILLS=100 cargo test --workspace --test agent` as
//! often as one likes. Each run prints its seed, and `SUITE_AGENT_SEED` repeats one.

use std::time::Duration;

use anyhow::Context;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tests::lines::now_ns;

use crate::site::Site;

/// Kills of one run of `cargo test`.
const KILLS: u64 = 5;
/// Lines of each job between two kills, at most.
const LINES_MAX: usize = 400;
/// Rotated files that are kept. None goes away: a machine that is quick rotates more of them than one
/// keeps before an agent that is killed all the time has delivered the first.
const KEPT: usize = 200;

const JOBS: &str = "
  - job_name: plain
    static_configs: [{labels: {job: plain, __path__: 'LOGS/plain.log'}}]
  - job_name: cri
    static_configs: [{labels: {job: cri, __path__: 'LOGS/cri*.log'}}]
    pipeline_stages: [{cri: {}}]
  - job_name: blocks
    static_configs: [{labels: {job: blocks, __path__: 'LOGS/blocks.log*'}}]
    pipeline_stages: [{multiline: {firstline: '^block', max_wait_time: 2s}}]
";

/// What is written to the files, and what must come out.
struct Writer {
    random: StdRng,
    number: usize,
    /// Lines by job.
    expected: [(&'static str, Vec<String>); 3],
}

impl Writer {
    fn new(seed: u64) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            number: 0,
            expected: [("plain", vec![]), ("cri", vec![]), ("blocks", vec![])],
        }
    }

    /// Writes one line of each job, in pieces where the job has such.
    fn write(&mut self, site: &Site) -> anyhow::Result<()> {
        self.number += 1;
        let number = self.number;
        let line = format!("plain line {number}");
        site.append("plain.log", &format!("{line}\n"))?;
        self.expected[0].1.push(line);

        let parts = self.random.random_range(1..4);
        let mut whole = String::new();
        for part in 1..=parts {
            let flag = if part == parts { "F" } else { "P" };
            let text = format!("cri line {number} part {part};");
            let time = jiff::Timestamp::from_nanosecond(now_ns().into())?;
            site.append("cri.log", &format!("{time} stdout {flag} {text}\n"))?;
            whole.push_str(&text);
        }
        self.expected[1].1.push(whole);

        let block = format!("block {number}\n  more of {number}");
        site.append("blocks.log", &format!("{block}\n"))?;
        self.expected[2].1.push(block);
        Ok(())
    }

    fn rotate(&mut self, site: &Site) -> anyhow::Result<()> {
        let name = ["plain.log", "blocks.log"][self.random.random_range(0..2)];
        for generation in (1..KEPT).rev() {
            let from = site.path(&format!("{name}.{generation}"));
            if from.exists() {
                std::fs::rename(from, site.path(&format!("{name}.{}", generation + 1)))?;
            }
        }
        std::fs::rename(site.path(name), site.path(&format!("{name}.1")))?;
        std::fs::write(site.path(name), "")?;
        Ok(())
    }
}

fn number_from(variable: &str, default: u64) -> anyhow::Result<u64> {
    match std::env::var(variable) {
        Ok(text) => text.parse().with_context(|| format!("{variable}={text}")),
        Err(_) => Ok(default),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_line_is_lost_and_none_is_twice_in_the_server() -> anyhow::Result<()> {
    let kills = number_from("SUITE_AGENT_KILLS", KILLS)?;
    let seed = number_from("SUITE_AGENT_SEED", rand::random())?;
    println!("{kills} kills with SUITE_AGENT_SEED={seed}");
    let mut site = Site::start(JOBS).await?;
    let mut writer = Writer::new(seed);
    // Files that were rotated before an agent was ever there are archives, which nobody asked for.
    writer.write(&site)?;
    let agent = site.agent.start().await?;
    site.counted("plain", 1).await?;
    agent.stop().await?;
    for round in 0..kills {
        let agent = site.agent.spawn()?;
        let before = site.count("plain").await?;
        let lines = writer.random.random_range(20..LINES_MAX);
        for _ in 0..lines {
            writer.write(&site)?;
            if writer.random.random_bool(0.004) {
                writer.rotate(&site)?;
            }
        }
        if round % 7 == 3 {
            let launch = site.server.kill()?;
            site.server = launch.start().await?;
        }
        // Anything from none to all of these lines has been delivered by then.
        let delivered = writer.random.random_range(0..=lines);
        site.counted("plain", before + delivered).await?;
        let jitter = Duration::from_millis(writer.random.random_range(0..300));
        tokio::time::sleep(jitter).await;
        agent.kill()?;
    }
    let agent = site.agent.start().await?;
    for (job, lines) in &writer.expected {
        let counted = site.counted(job, lines.len()).await;
        // What is missing says more than that something is.
        let checked = site.has(job, lines).await;
        checked.with_context(|| format!("{kills} kills, SUITE_AGENT_SEED={seed}"))?;
        counted?;
    }
    agent.stop().await?;
    Ok(())
}
