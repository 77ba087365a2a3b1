//! `labels`, `series`, `stats` and `fmt`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};

use crate::answer::{ListAnswer, SeriesAnswer, StatsAnswer, print_labels};
use crate::args::{FmtArgs, LabelsArgs, SeriesArgs, StatsArgs, TimeArgs};
use crate::client::Client;
use crate::error::CliError;
use crate::time;

pub(crate) fn range_params(args: &TimeArgs) -> Result<Vec<(&'static str, String)>, CliError> {
    let (start_ns, end_ns) = time::range(args, time::now_ns())?;
    Ok(vec![
        ("start", start_ns.to_string()),
        ("end", end_ns.to_string()),
    ])
}

pub(crate) fn print_lines(
    out: &mut dyn Write,
    lines: impl IntoIterator<Item = String>,
) -> Result<(), CliError> {
    for line in lines {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

pub(crate) async fn labels(args: LabelsArgs, out: &mut (dyn Write + Send)) -> Result<(), CliError> {
    let client = Client::new(&args.client)?;
    let path = match &args.label {
        None => "/loki/api/v1/labels".to_owned(),
        Some(label) if model::is_valid_label_name(label) => {
            format!("/loki/api/v1/label/{label}/values")
        }
        Some(label) => return Err(CliError::Usage(format!("{label:?} is no name of a label"))),
    };
    let answer: ListAnswer = client.get(&path, &range_params(&args.time)?).await?;
    print_lines(out, answer.data.unwrap_or_default())
}

pub(crate) async fn series(args: SeriesArgs, out: &mut (dyn Write + Send)) -> Result<(), CliError> {
    let client = Client::new(&args.client)?;
    let mut params = range_params(&args.time)?;
    params.push(("match[]", args.matcher.clone()));
    let answer: SeriesAnswer = client.get("/loki/api/v1/series", &params).await?;
    let sets = answer.data.unwrap_or_default();
    if !args.analyze_labels {
        return print_lines(out, sets.iter().map(print_labels));
    }
    let mut values: BTreeMap<&str, (BTreeSet<&str>, usize)> = BTreeMap::new();
    for (name, value) in sets.iter().flatten() {
        let (distinct, streams) = values.entry(name).or_default();
        distinct.insert(value);
        *streams += 1;
    }
    let mut rows: Vec<_> = values.into_iter().collect();
    rows.sort_by_key(|(_, (distinct, _))| std::cmp::Reverse(distinct.len()));
    let width = rows
        .iter()
        .map(|(name, _)| name.len())
        .max()
        .unwrap_or(0)
        .max(10);
    let head = [
        format!("Total Streams:  {}", sets.len()),
        format!("Unique Labels:  {}", rows.len()),
        String::new(),
        format!(
            "{:width$}  {:>13}  {:>16}",
            "Label Name", "Unique Values", "Found In Streams"
        ),
    ];
    let table = rows.iter().map(|(name, (distinct, streams))| {
        format!("{name:width$}  {:>13}  {streams:>16}", distinct.len())
    });
    print_lines(out, head.into_iter().chain(table))
}

pub(crate) async fn stats(args: StatsArgs, out: &mut (dyn Write + Send)) -> Result<(), CliError> {
    let client = Client::new(&args.client)?;
    let mut params = range_params(&args.time)?;
    params.push(("query", args.query));
    let stats: StatsAnswer = client.get("/loki/api/v1/index/stats", &params).await?;
    let lines = [
        "{".to_owned(),
        format!("  bytes: {}", human_bytes(stats.bytes)),
        format!("  chunks: {}", stats.chunks),
        format!("  streams: {}", stats.streams),
        format!("  entries: {}", stats.entries),
        "}".to_owned(),
    ];
    print_lines(out, lines)
}

/// `1.5MB`, powers of 1,000.
fn human_bytes(bytes: u64) -> String {
    let units = ["kB", "MB", "GB", "TB", "PB"];
    let mut number = bytes as f64;
    let mut name = "B";
    for unit in units {
        if number < 1000.0 {
            break;
        }
        number /= 1000.0;
        name = unit;
    }
    if name == "B" {
        format!("{bytes}B")
    } else {
        format!("{number:.1}{name}")
    }
}

pub(crate) fn format(args: &FmtArgs, out: &mut (dyn Write + Send)) -> Result<(), CliError> {
    let text = match &args.query {
        Some(text) => text.clone(),
        None => {
            let mut text = String::new();
            std::io::stdin().take(1 << 20).read_to_string(&mut text)?;
            text
        }
    };
    let expr =
        logql::syntax::parse(text.trim()).map_err(|error| CliError::Usage(error.to_string()))?;
    print_lines(out, [logql::syntax::pretty(&expr)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_for_people() {
        assert_eq!(human_bytes(999), "999B");
        assert_eq!(human_bytes(1_500_000), "1.5MB");
    }
}
