//! Servers that refuse, are slow, or never answer, and many files: the real agent against a server
//! of the test's own.

use std::time::Duration;

use anyhow::ensure;
use tests::process::Process;
use tests::wait_for;

use crate::sink::{Answer, Push, Sink};
use crate::site::Home;
use crate::torture::{MEMORY_BYTES_MAX, PATIENCE, lines, text};

const JOB: &str = "
  - job_name: app
    static_configs: [{labels: {job: app, __path__: 'LOGS/*.log'}}]
";
/// A tenant by the first word of a line.
const TENANTS: &str = "
  - job_name: app
    static_configs: [{labels: {job: app, __path__: 'LOGS/*.log'}}]
    pipeline_stages:
      - regex: {expression: '^(?P<tenant>\\w+)'}
      - tenant: {source: tenant}
";
/// Files that are read at once.
const FILES: usize = 3000;

/// The sum of all samples of a metric whose labels contain `part`.
async fn metric(agent: &Process, name: &str, part: &str) -> anyhow::Result<f64> {
    let (_, metrics) = agent.api().get("/metrics", &[]).await?;
    let samples = metrics.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let labels = series.strip_prefix(name)?;
        let is_it = labels.is_empty() || labels.starts_with('{');
        (is_it && labels.contains(part)).then_some(value)
    });
    let values: Result<Vec<f64>, _> = samples.map(str::parse).collect();
    Ok(values?.iter().sum())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_for_now_is_sent_again_in_its_order() -> anyhow::Result<()> {
    let refusals = [429, 500, 503].map(|status| Answer::Refused(status, ""));
    let sink = Sink::answering(&refusals).await?;
    let home = Home::new(&sink.base(), "", JOB)?;
    let first = lines("first", 100);
    home.append("a.log", &text(&first))?;
    let agent = home.agent.start().await?;
    assert_eq!(sink.taken(100).await?, first);
    let second = lines("second", 100);
    home.append("a.log", &text(&second))?;
    assert_eq!(sink.taken(200).await?, [first, second].concat());
    assert_eq!(
        metric(&agent, "promtail_batch_retries_total", "").await?,
        3.0
    );
    let requests = "promtail_request_duration_seconds_count";
    for status in ["429", "500", "503"] {
        let label = format!("status_code=\"{status}\"");
        assert_eq!(metric(&agent, requests, &label).await?, 1.0, "{status}");
    }
    assert_eq!(
        metric(&agent, "promtail_dropped_entries_total", "").await?,
        0.0
    );
    agent.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_is_told_to_wait_waits_and_holds_up_no_other() -> anyhow::Result<()> {
    let wait = Answer::Refused(429, "retry-after: 3600\r\n");
    let script = move |push: &Push| match push.tenant.as_str() {
        "slow" => wait.clone(),
        _ => Answer::Taken,
    };
    let sink = Sink::start(script).await?;
    let home = Home::new(&sink.base(), "", TENANTS)?;
    let slow = lines("slow", 10);
    home.append("slow.log", &text(&slow))?;
    let agent = home.agent.start().await?;
    let of_slow = |pushes: &[Push]| pushes.iter().filter(|push| push.tenant == "slow").count();
    wait_for("the first push", PATIENCE, async || {
        (of_slow(&sink.pushes()) > 0).then_some(())
    })
    .await?;
    // Each of these goes out on its own, in as much time as the other would need to come again.
    for number in 1..=10 {
        home.append("quick.log", &format!("quick {number}\n"))?;
        sink.taken(number).await?;
    }
    assert_eq!(of_slow(&sink.pushes()), 1, "it came again before its time");

    // A stop does not wait for the hour to be over, and nothing is lost by it.
    agent.stop().await?;
    sink.answer(|_| Answer::Taken);
    let agent = home.agent.start().await?;
    let taken = sink.taken(20).await?;
    let taken: Vec<_> = taken
        .into_iter()
        .filter(|line| line.starts_with("slow"))
        .collect();
    assert_eq!(taken, slow);
    agent.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_never_answers_is_asked_again() -> anyhow::Result<()> {
    let sink = Sink::answering(&[Answer::Never, Answer::Never]).await?;
    let home = Home::new(&sink.base(), "    timeout: 500ms\n", JOB)?;
    let written = lines("line", 100);
    home.append("a.log", &text(&written))?;
    let agent = home.agent.start().await?;
    assert_eq!(sink.taken(100).await?, written);
    assert_eq!(sink.pushes().len(), 3);
    agent.stop().await?;

    // Not even the stop waits for one that will never answer; who comes after sends it again.
    sink.answer(|_| Answer::Never);
    let more = lines("more", 100);
    home.append("a.log", &text(&more))?;
    let agent = home.agent.start().await?;
    wait_for("a push", PATIENCE, async || {
        (sink.pushes().len() > 3).then_some(())
    })
    .await?;
    agent.stop().await?;
    sink.answer(|_| Answer::Taken);
    let agent = home.agent.start().await?;
    assert_eq!(sink.taken(200).await?, [written, more].concat());
    agent.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_server_gets_all_in_order_and_no_more_at_once_than_it_may() -> anyhow::Result<()> {
    let sink = Sink::start(|_| Answer::Late(Duration::from_millis(50))).await?;
    let home = Home::new(
        &sink.base(),
        "    batchsize: 20000\n    max_requests_in_flight: 2\n",
        JOB,
    )?;
    let files = 4;
    for file in 0..files {
        home.append(
            &format!("{file}.log"),
            &text(&lines(&format!("f{file}"), 3000)),
        )?;
    }
    let agent = home.agent.start().await?;
    let taken = sink.taken(files * 3000).await?;
    for file in 0..files {
        let name = format!("f{file}");
        let of_file = taken
            .iter()
            .filter(|line| line.split(' ').next() == Some(&name));
        let of_file: Vec<String> = of_file.cloned().collect();
        ensure!(
            of_file == lines(&name, 3000),
            "{name} is not what was written"
        );
    }
    assert_eq!(taken.len(), files * 3000);
    ensure!(sink.open_max() <= 2, "{} at once", sink.open_max());
    agent.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_for_good_is_counted_and_in_nobodys_way() -> anyhow::Result<()> {
    let sink = Sink::answering(&[Answer::Refused(400, "")]).await?;
    let home = Home::new(&sink.base(), "", JOB)?;
    home.append("a.log", &text(&lines("bad", 10)))?;
    let agent = home.agent.start().await?;
    wait_for("the refusal", PATIENCE, async || {
        (!sink.pushes().is_empty()).then_some(())
    })
    .await?;
    let good = lines("good", 10);
    home.append("a.log", &text(&good))?;
    assert_eq!(sink.taken(10).await?, good);
    let dropped = metric(&agent, "promtail_dropped_entries_total", "ingester_error").await?;
    assert_eq!(dropped, 10.0);
    agent.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_dead_is_in_no_others_way() -> anyhow::Result<()> {
    let sink = Sink::answering(&[]).await?;
    let dead = Sink::start(|_| Answer::Never).await?;
    let another = format!("  - url: {}/loki/api/v1/push\n", dead.base());
    let home = Home::new(&sink.base(), &another, JOB)?;
    let written = lines("line", 50_000);
    home.append("a.log", &text(&written))?;
    let agent = home.agent.start().await?;
    assert_eq!(sink.taken(written.len()).await?, written);
    agent.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_files_are_read_in_little_memory() -> anyhow::Result<()> {
    let sink = Sink::answering(&[]).await?;
    let home = Home::new(&sink.base(), "", JOB)?;
    let mut written = Vec::new();
    for file in 0..FILES {
        let lines = lines(&format!("f{file}"), 3);
        home.append(&format!("{file}.log"), &text(&lines))?;
        written.extend(lines);
    }
    let agent = home.agent.start().await?;
    sink.taken(written.len()).await?;
    for file in (0..FILES).step_by(100) {
        let line = format!("later {file}");
        home.append(&format!("{file}.log"), &format!("{line}\n"))?;
        written.push(line);
    }
    let mut taken = sink.taken(written.len()).await?;
    taken.sort();
    written.sort();
    ensure!(
        taken == written,
        "{} lines for {}",
        taken.len(),
        written.len()
    );
    let peak = agent.memory_peak_bytes()?;
    ensure!(peak < MEMORY_BYTES_MAX, "{peak} bytes");
    agent.stop().await?;
    Ok(())
}
