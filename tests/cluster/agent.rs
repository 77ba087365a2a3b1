//! The agent in front of the cluster: no push of its fails while an ingester is killed, and every
//! line that a program wrote to its files is found, once.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tests::api::{Api, PUSH};
use tests::cluster::{Backend, Cluster, example};
use tests::lines::{self, SECOND_NS};
use tests::process::Launch;
use tests::wait_for;

/// Files that are written.
const FILES: usize = 3;
/// Lines of a file, at most, so that one question finds all.
const LINES_MAX: usize = 1_500;

/// A program that writes lines to its files until told to stop.
struct Program {
    stop: Arc<AtomicBool>,
    writing: tokio::task::JoinHandle<anyhow::Result<Vec<String>>>,
}

impl Program {
    fn start(directory: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let writing = tokio::spawn(async move {
            std::fs::create_dir_all(&directory)?;
            let mut written = Vec::new();
            let mut pace = tokio::time::interval(Duration::from_millis(20));
            for number in 0..LINES_MAX {
                pace.tick().await;
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                for file in 0..FILES {
                    let path = directory.join(format!("{file}.log"));
                    let mut open = std::fs::File::options()
                        .create(true)
                        .append(true)
                        .open(path)?;
                    let text = lines::line(file, number, 0).text;
                    writeln!(open, "{text}")?;
                    written.push(text);
                }
            }
            Ok(written)
        });
        Self { stop, writing }
    }

    async fn stop(self) -> anyhow::Result<Vec<String>> {
        self.stop.store(true, Ordering::Relaxed);
        self.writing.await?
    }
}

/// Waits until the querier counts at least so many lines, and gives the count.
async fn counted(querier: &Api, at_least: usize) -> anyhow::Result<usize> {
    let query = r#"sum(count_over_time({job="app"}[1h]))"#;
    wait_for("lines of the agent", Duration::from_secs(60), || async {
        let count = querier.instant(query, lines::now_ns()).await.ok()?;
        (count >= at_least as f64).then_some(count as usize)
    })
    .await
}

/// The sum of a metric of a process.
async fn metric(api: &Api, name: &str) -> anyhow::Result<f64> {
    let (_, metrics) = api.get("/metrics", &[]).await?;
    let of_name = |line: &&str| line.starts_with(name);
    let value = |line: &str| line.rsplit_once(' ')?.1.parse::<f64>().ok();
    Ok(metrics.lines().filter(of_name).filter_map(value).sum())
}

async fn an_ingester_is_killed_under_the_agents_load(backend: Backend) -> anyhow::Result<()> {
    let mut cluster = Cluster::start(3, backend).await?;
    let querier = cluster.querier();
    let logs = cluster.directory().join("logs");
    let push = format!("{}{PUSH}", cluster.distributor().base());
    let agent = Launch::role("skald-agent", &example("agent")?, cluster.directory())?
        .with_env("SKALD_LOGS", &logs.display().to_string())
        .with_env("SKALD_PUSH_URL", &push);
    let program = Program::start(logs.join("app"));
    let agent = agent.start().await?;

    let count = counted(&querier, 100).await?;
    cluster.kill_ingester(0)?;
    let count = counted(&querier, count + 100).await?;
    cluster.restart_ingester(0).await?;
    cluster.settled(5).await?;
    cluster.kill_ingester(1)?;
    counted(&querier, count + 100).await?;
    cluster.restart_ingester(1).await?;
    cluster.settled(5).await?;

    let mut written = program.stop().await?;
    counted(&querier, written.len()).await?;
    let now_ns = lines::now_ns();
    let mut found: Vec<String> = querier
        .lines(
            r#"{job="app", level="info"}"#,
            now_ns - 600 * SECOND_NS,
            now_ns,
        )
        .await?
        .into_iter()
        .map(|line| line.text)
        .collect();
    found.sort();
    written.sort();
    assert!(
        found == written,
        "{} found, {} written",
        found.len(),
        written.len()
    );

    for failure in [
        "promtail_batch_retries_total",
        "promtail_dropped_entries_total",
    ] {
        assert_eq!(metric(&agent.api(), failure).await?, 0.0, "{failure}");
    }
    agent.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_push_of_the_agent_fails_over_a_directory() -> anyhow::Result<()> {
    an_ingester_is_killed_under_the_agents_load(Backend::Directory).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_push_of_the_agent_fails_over_s3() -> anyhow::Result<()> {
    an_ingester_is_killed_under_the_agents_load(Backend::S3).await
}
