//! What operators of Loki call: pages, profiles, generations of caches, and how an ingester is told
//! to leave.

use std::path::Path;

use anyhow::{Context, ensure};
use tests::api::Line;
use tests::lines::{self, now_ns};
use tests::process::{Launch, Process};

use crate::site::{API, Site, expect};

const PREPARE: &str = "/ingester/prepare_shutdown";

pub(crate) async fn every_page_is_there(site: &Site) -> anyhow::Result<()> {
    let rings = [
        "/ring",
        "/distributor/ring",
        "/ruler/ring",
        "/compactor/ring",
        "/indexgateway/ring",
        "/scheduler/ring",
        "/pattern/ring",
        "/partition-ring",
        "/ingest-limits/ring",
        "/ingest-limits-frontend/ring",
        "/dataobj-consumer/ring",
        "/memberlist",
    ];
    let api = site.api();
    for path in rings {
        let page = api.ask(path, &[], &[]).await?;
        expect(path, page.status().as_u16(), 200)?;
        let kind = page.headers()["Content-Type"].to_str()?;
        ensure!(kind.starts_with("text/html"), "{path}: {kind}");
        let (_, body) = api
            .get_with(path, &[], &[("Accept", "application/json")])
            .await?;
        let ring: serde_json::Value = serde_json::from_str(&body).context(path)?;
        ensure!(ring["shards"].is_array(), "{path}: {body}");
    }
    let (status, links) = api.get("/ui/", &[]).await?;
    expect("/ui/", status, 200)?;
    let mut pages = 0;
    for link in links.split("href=\"").skip(1) {
        let path = link.split('"').next().unwrap_or_default();
        expect(path, api.get(path, &[]).await?.0, 200)?;
        pages += 1;
    }
    ensure!(pages > 0, "{links}");
    let report = api.json("/analytics", &[]).await?;
    expect(
        "reports",
        report["reporting_enabled"].as_bool(),
        Some(false),
    )?;
    for request in [
        reqwest::Client::new().put(format!("{}/sync-indexes", api.base())),
        reqwest::Client::new().get(format!("{}/sync-indexes", api.base())),
    ] {
        expect("sync", request.send().await?.status().as_u16(), 204)?;
    }
    Ok(())
}

pub(crate) async fn profiles_say_which_threads_ran(site: &Site) -> anyhow::Result<()> {
    let api = site.api();
    let (_, arguments) = api.get("/debug/pprof/cmdline", &[]).await?;
    ensure!(arguments.contains("\0serve\0"), "{arguments:?}");
    let (status, threads) = api.get("/debug/pprof/goroutine", &[]).await?;
    expect(&threads, status, 200)?;
    for path in ["/debug/pprof/profile", "/debug/fgprof"] {
        let profile = api.ask(path, &[("seconds", "1")], &[]).await?;
        expect(path, profile.status().as_u16(), 200)?;
        let body = profile.bytes().await?;
        let has_unit = body.windows(11).any(|part| part == b"nanoseconds");
        ensure!(has_unit, "{path}: {body:?}");
        for seconds in ["0", "100000"] {
            let (status, text) = api.get(path, &[("seconds", seconds)]).await?;
            expect(&text, status, 400)?;
        }
    }
    Ok(())
}

pub(crate) async fn generations_of_caches_go_up(site: &Site) -> anyhow::Result<()> {
    let api = site.api();
    let path = format!("{API}/cache/generation_numbers");
    let generation = async || {
        let body = api.json(&path, &[]).await?;
        let digits = body.as_str().context("no text")?.to_owned();
        digits.parse::<i64>().context(digits)
    };
    let first = generation().await?;
    expect("the same", generation().await?, first)?;
    let increase = format!("{path}/increase");
    let (status, text) = api.post(&increase, "text/plain", &[], Vec::new()).await?;
    expect(&text, status, 204)?;
    let second = generation().await?;
    ensure!(second > first, "{second} after {first}");
    let end_s = now_ns() / lines::SECOND_NS;
    let params = format!(
        "query=%7Bapp%3D%22none%22%7D&start={}&end={end_s}",
        end_s - 60
    );
    let delete = format!("{API}/delete?{params}");
    let (status, text) = api.post(&delete, "text/plain", &[], Vec::new()).await?;
    expect(&text, status, 204)?;
    let third = generation().await?;
    ensure!(third > second, "{third} after {second}");
    // Withdrawn, it is not to be seen in storage any more, but answers change again.
    let listed = api.json(&format!("{API}/delete"), &[]).await?;
    let id = listed[0]["request_id"].as_str().context("no request")?;
    let (status, text) = api.delete(&format!("{API}/delete?request_id={id}")).await?;
    expect(&text, status, 204)?;
    let fourth = generation().await?;
    ensure!(fourth > third, "{fourth} after {third}");
    Ok(())
}

fn line(number: usize) -> Line {
    lines::line(0, number, 0)
}

async fn push(process: &Process, number: usize) -> anyhow::Result<()> {
    let line = Line {
        timestamp_ns: now_ns(),
        ..line(number)
    };
    let labels = lines::labels("left", 0);
    let (status, body) = process.api().push(&labels, &[line]).await?;
    expect(&body, status, 204)
}

/// The lines are there, and nothing else.
async fn expect_lines(process: &Process, count: usize) -> anyhow::Result<()> {
    let end_ns = now_ns() + lines::SECOND_NS;
    let start_ns = end_ns - 3600 * lines::SECOND_NS;
    let found = process
        .api()
        .lines(r#"{app="left"}"#, start_ns, end_ns)
        .await?;
    let found: Vec<String> = found.into_iter().map(|line| line.text).collect();
    let wanted: Vec<String> = (0..count).map(|number| line(number).text).collect();
    expect("lines", found, wanted)
}

async fn is_prepared(process: &Process) -> anyhow::Result<bool> {
    match process.api().get(PREPARE, &[]).await? {
        (200, text) if text == "set\n" => Ok(true),
        (200, text) if text == "unset\n" => Ok(false),
        (status, text) => anyhow::bail!("{status} {text}"),
    }
}

/// A POST without a body, which answers that it was done.
async fn order(process: &Process, path: &str) -> anyhow::Result<()> {
    let api = process.api();
    let (status, text) = api.post(path, "text/plain", &[], Vec::new()).await?;
    expect(&format!("{path}: {text}"), status, 204)
}

/// Bytes of the log that the next start has to replay.
fn log_bytes(directory: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for file in std::fs::read_dir(directory.join("data/wal"))? {
        let file = file?;
        if !["lock", "state"]
            .iter()
            .any(|name| file.file_name() == *name)
        {
            bytes += file.metadata()?.len();
        }
    }
    Ok(bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prepared_shutdown_is_remembered_until_it_is_done() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let process = Launch::serve(directory.path(), &[])?.start().await?;
    ensure!(!is_prepared(&process).await?);
    order(&process, PREPARE).await?;
    expect("taken back", process.api().delete(PREPARE).await?.0, 204)?;
    ensure!(!is_prepared(&process).await?);
    order(&process, PREPARE).await?;
    push(&process, 0).await?;
    let process = process.kill()?.start().await?;
    ensure!(is_prepared(&process).await?);
    let process = process.stop().await?.start().await?;
    ensure!(!is_prepared(&process).await?);
    expect_lines(&process, 1).await?;
    let partitions = "/ingester/prepare_partition_downscale";
    expect(partitions, process.api().get(partitions, &[]).await?.0, 405)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ingester_is_shut_down_with_its_process_or_alone() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let process = Launch::serve(directory.path(), &[])?.start().await?;
    push(&process, 0).await?;
    order(&process, "/flush/tenant").await?;
    push(&process, 1).await?;
    // Not told to flush, it leaves what it has in its log.
    order(&process, "/ingester/shutdown?flush=false").await?;
    let launch = process.ended().await?;
    let left = log_bytes(directory.path())?;
    let process = launch.start().await?;
    expect_lines(&process, 2).await?;
    push(&process, 2).await?;
    let wrong = "/ingester/shutdown?flush=maybe";
    expect(wrong, process.api().get(wrong, &[]).await?.0, 400)?;
    order(&process, "/ingester/shutdown?terminate=false").await?;
    expect_lines(&process, 3).await?;
    order(&process, "/ingester/shutdown?delete_ring_tokens=true").await?;
    let launch = process.ended().await?;
    let flushed = log_bytes(directory.path())?;
    ensure!(flushed < left, "{flushed} bytes of {left}");
    expect_lines(&launch.start().await?, 3).await
}
