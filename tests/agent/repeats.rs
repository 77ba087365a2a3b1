//! Lines that come again after the server has let go of what it knew of them: a crash between the
//! delivery and the noting of it, and a flush.

use tests::lines::now_ns;

use crate::site::Site;

const JOBS: &str = "
  - job_name: cri
    static_configs: [{labels: {job: cri, __path__: 'LOGS/cri.log'}}]
    pipeline_stages: [{cri: {}}]
";

/// Writes so many lines; what is to be found of them.
fn write(site: &Site, name: &str, count: usize) -> anyhow::Result<Vec<String>> {
    let mut written = Vec::new();
    for number in 0..count {
        let text = format!("{name} {number}");
        let time = jiff::Timestamp::from_nanosecond(now_ns().into())?;
        site.append("cri.log", &format!("{time} stdout F {text}\n"))?;
        written.push(text);
    }
    Ok(written)
}

/// A server that has flushed twenty lines, and an agent that was killed before it had noted the last
/// ten of them; the lines, and what it had noted.
async fn flushed_and_half_noted() -> anyhow::Result<(Site, Vec<String>, Vec<u8>)> {
    let site = Site::start(JOBS).await?;
    let mut lines = write(&site, "noted", 10)?;
    let agent = site.agent.start().await?;
    site.counted("cri", 10).await?;
    agent.stop().await?;
    let noted = site.positions()?;
    let agent = site.agent.start().await?;
    lines.extend(write(&site, "not noted", 10)?);
    site.counted("cri", 20).await?;
    agent.stop().await?;
    site.server.api().flush().await?;
    Ok((site, lines, noted))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_flushed_before_the_server_was_started_again_is_not_seen_twice()
-> anyhow::Result<()> {
    let (mut site, mut lines, noted) = flushed_and_half_noted().await?;
    // The server that comes again knows nothing of the stream but what is in its blocks.
    site.server = site.server.stop().await?.start().await?;
    site.set_positions(&noted)?;

    let agent = site.agent.start().await?;
    lines.extend(write(&site, "new", 10)?);
    site.counted("cri", 30).await?;
    site.has("cri", &lines).await?;
    assert_eq!(site.count("cri").await?, 30, "of those that are counted");
    site.server.api().flush().await?;
    site.has("cri", &lines).await?;
    assert_eq!(site.count("cri").await?, 30, "of those in blocks");
    agent.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_flushed_is_neither_stored_again_nor_told_as_lost() -> anyhow::Result<()> {
    let (site, mut lines, noted) = flushed_and_half_noted().await?;
    site.set_positions(&noted)?;

    let agent = site.agent.start().await?;
    lines.extend(write(&site, "new", 10)?);
    site.counted("cri", 30).await?;
    site.has("cri", &lines).await?;
    let (_, metrics) = agent.api().get("/metrics", &[]).await?;
    let is_dropped = |line: &&str| line.starts_with("promtail_dropped_entries_total{");
    assert_eq!(metrics.lines().find(is_dropped), None);
    let (_, metrics) = site.server.api().get("/metrics", &[]).await?;
    let repeated = "skald_distributor_lines_repeated_total{tenant=\"fake\"} 9";
    assert!(
        metrics.contains(repeated),
        "the newest of the ten is known by its time"
    );
    agent.stop().await?;
    Ok(())
}
