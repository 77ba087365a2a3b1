//! `--explain`: what a query has to read, and what it read.

use std::io::Write;

use serde::Deserialize;

use crate::args::QueryArgs;
use crate::client::Client;
use crate::error::CliError;
use crate::progress::Progress;
use crate::query::{RANGE_PATH, params};

#[derive(Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    explain: Explanation,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Explanation {
    query: String,
    parts: Vec<Part>,
    estimate: Reading,
    actual: Option<Actual>,
    #[serde(default)]
    error: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part {
    tenant: String,
    selection: String,
    ingesters: usize,
    pushed_down: Vec<String>,
    columns: Vec<String>,
    #[serde(flatten)]
    reading: Reading,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reading {
    streams: u64,
    objects: u64,
    blocks: u64,
    runs_counted: u64,
    rows: u64,
    bytes: u64,
    bytes_to_read: u64,
    bytes_cached: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Actual {
    seconds: f64,
    seconds_queued: f64,
    runs_matched: u64,
    #[serde(default)]
    results_reused: u64,
    blocks_read: u64,
    bytes_read: u64,
    lines_processed: u64,
    bytes_processed: u64,
    lines_passed: u64,
    lines_of_ingesters: u64,
    duplicates: u64,
    returned: u64,
}

/// Explains a query over a span of time.
pub(crate) async fn range(
    client: &Client,
    args: &QueryArgs,
    start_ns: i64,
    end_ns: i64,
    out: &mut (dyn Write + Send),
) -> Result<(), CliError> {
    let limit = match args.limit {
        0 => args.batch,
        limit => limit,
    };
    let params = params(args, start_ns, end_ns, limit.max(1));
    print(client, RANGE_PATH, params, out).await
}

/// Asks for an explanation and prints it.
pub(crate) async fn print(
    client: &Client,
    path: &str,
    mut params: Vec<(&'static str, String)>,
    out: &mut (dyn Write + Send),
) -> Result<(), CliError> {
    params.push(("explain", "true".to_owned()));
    let mut progress = Progress::new(client.quiet);
    let asked = client.get(path, &params);
    let answer: Answer = progress.during("waiting for the server", asked).await?;
    write(&answer.data.explain, out)?;
    out.flush()?;
    Ok(())
}

fn write(explain: &Explanation, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "Query     {}", explain.query)?;
    for part in &explain.parts {
        writeln!(
            out,
            "\nSelects   {}   (tenant {})",
            part.selection, part.tenant
        )?;
        write_reading(&part.reading, out)?;
        writeln!(out, "  columns       {}", part.columns.join(", "))?;
        writeln!(
            out,
            "  ingesters     {} asked for what is recent",
            part.ingesters
        )?;
        for step in &part.pushed_down {
            writeln!(out, "  pushed down   {step}")?;
        }
    }
    writeln!(out, "\nEstimate")?;
    write_reading(&explain.estimate, out)?;
    match &explain.actual {
        Some(actual) => write_actual(actual, out),
        None => writeln!(out, "\nFailed    {}", explain.error),
    }
}

fn write_reading(reading: &Reading, out: &mut dyn Write) -> std::io::Result<()> {
    let Reading {
        streams,
        objects,
        blocks,
        runs_counted,
        rows,
        ..
    } = reading;
    writeln!(
        out,
        "  storage       {streams} streams in {blocks} blocks of {objects} objects: {rows} lines, {}",
        bytes(reading.bytes)
    )?;
    writeln!(
        out,
        "  to read       {} compressed, {} of them in memory; {runs_counted} runs answered by counters",
        bytes(reading.bytes_to_read),
        bytes(reading.bytes_cached)
    )
}

fn write_actual(actual: &Actual, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(
        out,
        "\nActual    {:.3} s, waited {:.3} s for a turn",
        actual.seconds, actual.seconds_queued
    )?;
    writeln!(
        out,
        "  storage       {} blocks of {} runs matched, {} compressed; {} results known from before",
        actual.blocks_read,
        actual.runs_matched,
        bytes(actual.bytes_read),
        actual.results_reused
    )?;
    writeln!(
        out,
        "  looked at     {} lines, {}; {} passed, {} were copies",
        actual.lines_processed,
        bytes(actual.bytes_processed),
        actual.lines_passed,
        actual.duplicates
    )?;
    writeln!(
        out,
        "  ingesters     gave {} lines or samples\n  returned      {}",
        actual.lines_of_ingesters, actual.returned
    )
}

/// Bytes as people read them.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (count as f64, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or_default();
    if unit == 0 {
        format!("{count} {name}")
    } else {
        format!("{value:.1} {name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explanation_is_printed_with_estimate_and_actual() {
        let text = r#"{"status":"success","data":{"explain":{"query":"{app=\"x\"}","parts":[
            {"tenant":"t","selection":"{app=\"x\"}","startNs":0,"endNs":1,"ingesters":1,
             "pushedDown":["literal \"a\""],"columns":["lines","times"],"streams":1,"objects":1,
             "blocks":2,"runsCounted":0,"rows":5,"bytes":2048,"bytesToRead":100,"bytesCached":0}],
            "estimate":{"streams":1,"objects":1,"blocks":2,"runsCounted":0,"rows":5,"bytes":2048,
             "bytesToRead":100,"bytesCached":0},
            "actual":{"seconds":0.5,"secondsQueued":0.0,"runsMatched":2,"blocksRead":1,
             "bytesRead":60,"linesProcessed":3,"bytesProcessed":90,"linesPassed":2,
             "linesOfIngesters":0,"duplicates":0,"returned":2}}}}"#;
        let answer: Answer = serde_json::from_str(text).unwrap();
        let mut out = Vec::new();
        write(&answer.data.explain, &mut out).unwrap();
        let printed = String::from_utf8(out).unwrap();
        for part in [
            "1 streams in 2 blocks of 1 objects: 5 lines, 2.0 KiB",
            "pushed down   literal \"a\"",
            "Actual    0.500 s",
            "1 blocks of 2 runs matched, 60 B",
        ] {
            assert!(printed.contains(part), "{part} is missing in:\n{printed}");
        }
    }
}
