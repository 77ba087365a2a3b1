//! Lines that were in files before, and what all commands say of them.

use serde_json::Value;

use crate::{KINDS, Site, last_minutes, program_lines};

/// Lines of a file, as many of each kind.
const LINES: usize = 780;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_is_found_now_after_a_restart_and_in_the_store() -> anyhow::Result<()> {
    let (web, db) = (program_lines("web", LINES), program_lines("db", LINES));
    let files = [("web.log", web.as_slice()), ("db.log", db.as_slice())];
    let site = Site::start_on(&files).await?;
    check(&site, &web, &db).await?;
    // From the log that is replayed, or from the store, as it happens to be.
    let site = site.restarted().await?;
    check(&site, &web, &db).await?;
    site.api().flush().await?;
    check(&site, &web, &db).await?;
    // From the store alone.
    let site = site.restarted().await?;
    check(&site, &web, &db).await
}

/// Everything a user can ask about the two files.
async fn check(site: &Site, web: &[String], db: &[String]) -> anyhow::Result<()> {
    site.found(&site.selector("web.log"), web).await?;
    site.found(&site.selector("db.log"), db).await?;
    let all: Vec<String> = [web, db].concat();
    let both = site.selector(".*");
    site.found(&both, &all).await?;
    modes(site, &both, &all).await?;
    numbers(site, &both, all.len()).await?;
    metadata(site, &both, all.len()).await
}

/// The output modes of `skald query`.
async fn modes(site: &Site, selector: &str, all: &[String]) -> anyhow::Result<()> {
    let [from, to] = last_minutes();
    // Labels that all lines of a page share are said once, on standard error, unless asked for.
    let all_labels = "--include-common-labels";
    let query = [
        "query",
        selector,
        "--limit=0",
        "--batch=300",
        all_labels,
        &from,
        &to,
    ];
    let with = |more: &[&'static str]| [&query[..], more].concat();

    let output = site.skald(&with(&["--output=jsonl"])).await?;
    let mut lines = Vec::new();
    for line in output.stdout.lines() {
        let line: Value = serde_json::from_str(line)?;
        assert!(line["timestamp"].is_string(), "{line}");
        assert!(line["labels"]["filename"].is_string(), "{line}");
        lines.push(line["line"].as_str().unwrap_or_default().to_owned());
    }
    assert_eq!(sorted(lines), sorted(all.to_vec()));

    let output = site.skald(&query).await?;
    let printed: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(printed.len(), all.len());
    for text in all {
        let shown = printed.iter().any(|line| line.ends_with(text.as_str()));
        assert!(shown, "{text:?} is not shown");
    }
    assert!(printed.iter().all(|line| line.contains("filename=")));
    assert!(
        !output.stdout.contains("\u{1b}[34"),
        "coloured for no terminal"
    );

    // A limit and an order.
    let args = [
        "query",
        selector,
        "--limit=7",
        "--forward",
        "--output=jsonl",
        &from,
        &to,
    ];
    let output = site.skald(&args).await?;
    let times = times(&output.stdout)?;
    assert_eq!(times.len(), 7);
    assert!(times.is_sorted(), "{times:?}");
    Ok(())
}

fn times(jsonl: &str) -> anyhow::Result<Vec<jiff::Timestamp>> {
    let time = |line: &str| -> anyhow::Result<jiff::Timestamp> {
        let line: Value = serde_json::from_str(line)?;
        Ok(line["timestamp"].as_str().unwrap_or_default().parse()?)
    };
    jsonl.lines().map(time).collect()
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

/// Counts by metric queries.
async fn numbers(site: &Site, selector: &str, count: usize) -> anyhow::Result<()> {
    let value = |output: &str| -> anyhow::Result<f64> {
        let samples: Value = serde_json::from_str(output)?;
        let values = samples.as_array().into_iter().flatten();
        let value = |sample: &Value| sample["value"][1].as_str()?.parse::<f64>().ok();
        Ok(values.filter_map(value).sum())
    };
    let query = format!("sum(count_over_time({selector}[1h]))");
    let output = site.skald(&["instant-query", &query]).await?;
    assert_eq!(value(&output.stdout)?, count as f64, "{query}");
    // Each file by itself.
    let query = format!("sum by (filename) (count_over_time({selector}[1h]))");
    let output = site.skald(&["instant-query", &query]).await?;
    assert_eq!(value(&output.stdout)?, count as f64, "{query}");
    // One line of six is of each kind; filters and parsers count as exactly as nothing does.
    let each = count / KINDS;
    for pipeline in [r#"|= "ERROR""#, r#"| json | __error__="" | level="info""#] {
        let query = format!("sum(count_over_time({selector} {pipeline} [1h]))");
        let output = site.skald(&["instant-query", &query]).await?;
        assert_eq!(value(&output.stdout)?, each as f64, "{query}");
    }
    Ok(())
}

/// Labels, series and statistics.
async fn metadata(site: &Site, selector: &str, count: usize) -> anyhow::Result<()> {
    let output = site.skald(&["labels"]).await?;
    let names: Vec<&str> = output.stdout.lines().collect();
    for name in ["filename", "job", "service_name"] {
        assert!(names.contains(&name), "{name} is missing in {names:?}");
    }
    let output = site.skald(&["labels", "filename"]).await?;
    for file in ["web.log", "db.log"] {
        let path = site.path(file).display().to_string();
        assert!(output.stdout.lines().any(|line| line == path), "{output:?}");
    }
    let output = site.skald(&["series", selector]).await?;
    assert_eq!(output.stdout.lines().count(), 2, "{}", output.stdout);

    let output = site.skald(&["stats", selector]).await?;
    for line in ["  streams: 2".to_owned(), format!("  entries: {count}")] {
        assert!(
            output.stdout.lines().any(|printed| printed == line),
            "{line} is missing in {}",
            output.stdout
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_servers_own_log_is_collected() -> anyhow::Result<()> {
    let site = Site::start().await?;
    let query = r#"{job="skald"} |= "started""#;
    let api = site.api();
    tests::wait_for(
        "the own log",
        std::time::Duration::from_secs(30),
        || async {
            let now_ns = tests::lines::now_ns();
            let minute_ns = 60 * tests::lines::SECOND_NS;
            let lines = api.lines(query, now_ns - minute_ns, now_ns).await.ok()?;
            (!lines.is_empty()).then_some(())
        },
    )
    .await
}
