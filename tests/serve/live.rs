//! Lines are seen while they are written.

use tests::command::Running;

use crate::{Site, append, program_lines};

/// Lines that are written while somebody looks.
const LINES: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tail_shows_every_line_once_as_it_is_written() -> anyhow::Result<()> {
    let site = Site::start().await?;
    let lines = program_lines("live", LINES);
    let (before, after) = lines.split_at(10);
    let path = site.path("live.log");
    append(&path, before)?;
    site.counted(&site.selector("live.log"), before.len())
        .await?;

    let addr = format!("--addr={}", site.api().base());
    let selector = site.selector("live.log");
    let args = ["tail", &selector, &addr, "--output=raw", "--limit=100"];
    let tail = Running::start("skald", &args)?;
    // What was there is shown first: by then the tail is connected.
    tail.until("lines of the past", |shown| shown.len() >= before.len())
        .await?;
    for part in after.chunks(17) {
        append(&path, part)?;
    }
    let mut shown = tail
        .until("the lines written since", |shown| shown.len() >= LINES)
        .await?;
    shown.sort();
    let mut expected = lines.clone();
    expected.sort();
    assert_eq!(shown, expected);

    // A filter is applied before lines are sent.
    let filter = format!(r#"{selector} |= "ERROR" |= "more""#);
    let args = ["tail", &filter, &addr, "--output=raw", "--limit=1"];
    let errors = Running::start("skald", &args)?;
    let more = program_lines("more", 60);
    let wanted: Vec<&String> = more.iter().filter(|line| line.contains("ERROR")).collect();
    // Lines that were written before the tail was connected are not shown, so write until one is.
    let mut number = 0;
    while errors.lines().is_empty() {
        append(&path, &[format!("ERROR before more {number}")])?;
        number += 1;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        anyhow::ensure!(number < 600, "nothing is shown");
    }
    append(&path, &more)?;
    let is_wanted = |line: &&String| !line.starts_with("ERROR before");
    let enough = |shown: &[String]| shown.iter().filter(is_wanted).count() >= wanted.len();
    let shown = errors.until("filtered lines", enough).await?;
    let shown: Vec<&String> = shown.iter().filter(is_wanted).collect();
    assert_eq!(shown, wanted);
    Ok(())
}
