//! `query` and `instant-query`.

use std::collections::HashSet;
use std::io::Write;

use serde_json::Value;

use crate::answer::{Labels, QueryAnswer, QueryResult, Row, Stream, print_labels};
use crate::args::{InstantArgs, QueryArgs, TailArgs};
use crate::client::Client;
use crate::error::CliError;
use crate::output::{Printer, common_labels};
use crate::progress::Progress;
use crate::{explain, tail, time, writeln_stderr};

pub(crate) const RANGE_PATH: &str = "/loki/api/v1/query_range";
const INSTANT_PATH: &str = "/loki/api/v1/query";

/// Prints the lines or series of a span of time.
pub(crate) async fn range(
    args: QueryArgs,
    out: &mut (dyn Write + Send),
    colours: bool,
) -> Result<(), CliError> {
    if args.tail {
        let args = TailArgs {
            query: args.query,
            client: args.client,
            output: args.output,
            since: args.time.since,
            limit: args.limit,
            delay_for: args.delay_for,
        };
        return tail::tail(args, out, colours).await;
    }
    let client = Client::new(&args.client)?;
    let (start_ns, end_ns) = time::range(&args.time, time::now_ns())?;
    if args.explain {
        return explain::range(&client, &args, start_ns, end_ns, out).await;
    }
    let mut pages = Pages {
        client: &client,
        args: &args,
        start_ns,
        end_ns,
        seen: HashSet::new(),
        progress: Progress::new(client.quiet),
    };
    let mut printer = Printer::new(&args.output, out, colours)?;
    let mut printed = 0;
    let mut common: Option<Labels> = None;
    loop {
        let wanted = match args.limit {
            0 => args.batch.max(1),
            limit => args.batch.max(1).min(limit - printed),
        };
        let rows = match pages.next(wanted).await? {
            Page::Lines(rows) => rows,
            Page::Other(result) => return print_result(&mut printer, &result),
        };
        let common = common.get_or_insert_with(|| common_labels(rows.iter().map(|(l, _)| l)));
        if printed == 0 && !client.quiet && !common.is_empty() {
            let _ = writeln_stderr(&format!("Common labels: {}", print_labels(common)));
        }
        for (labels, row) in &rows {
            printer.line(labels, common, row)?;
        }
        printer.flush()?;
        printed += rows.len();
        if rows.is_empty() || pages.is_finished() || (args.limit > 0 && printed >= args.limit) {
            return Ok(());
        }
    }
}

/// What one request gave.
enum Page {
    /// Lines in the order wanted, without those of earlier pages.
    Lines(Vec<(Labels, Row)>),
    /// No lines: series or a number.
    Other(QueryResult),
}

/// Asks for a long result piece by piece: the next piece begins at the time of the last line, and
/// what the piece before had already is left out.
struct Pages<'a> {
    client: &'a Client,
    args: &'a QueryArgs,
    start_ns: i64,
    end_ns: i64,
    /// Lines of the time at which the last piece ended.
    seen: HashSet<(i64, String, String)>,
    progress: Progress,
}

impl Pages<'_> {
    async fn next(&mut self, wanted: usize) -> Result<Page, CliError> {
        let limit = wanted + self.seen.len();
        let params = self.params(limit);
        let asked = self.client.get(RANGE_PATH, &params);
        let answer: QueryAnswer = self
            .progress
            .during("waiting for the server", asked)
            .await?;
        if self.args.stats {
            print_stats(&answer.data.stats);
        }
        let QueryResult::Streams(streams) = answer.data.result else {
            return Ok(Page::Other(answer.data.result));
        };
        let mut rows = in_order(streams, self.args.forward);
        let is_last = rows.len() < limit;
        let edge = rows.last().map(|(_, row)| row.timestamp_ns);
        rows.retain(|(labels, row)| !self.seen.contains(&key(labels, row)));
        let Some(edge_ns) = edge.filter(|_| !is_last && !rows.is_empty()) else {
            self.start_ns = self.end_ns;
            return Ok(Page::Lines(rows));
        };
        // Where many lines share one time, the lines of earlier pieces stay known.
        self.seen
            .retain(|(timestamp_ns, ..)| *timestamp_ns == edge_ns);
        let at_edge = rows.iter().filter(|(_, row)| row.timestamp_ns == edge_ns);
        self.seen
            .extend(at_edge.map(|(labels, row)| key(labels, row)));
        if self.args.forward {
            self.start_ns = edge_ns;
        } else {
            self.end_ns = edge_ns + 1;
        }
        Ok(Page::Lines(rows))
    }

    fn is_finished(&self) -> bool {
        self.start_ns >= self.end_ns
    }

    fn params(&self, limit: usize) -> Vec<(&'static str, String)> {
        params(self.args, self.start_ns, self.end_ns, limit)
    }
}

/// What a request for a range asks.
pub(crate) fn params(
    args: &QueryArgs,
    start_ns: i64,
    end_ns: i64,
    limit: usize,
) -> Vec<(&'static str, String)> {
    let direction = if args.forward { "forward" } else { "backward" };
    let mut params = vec![
        ("query", args.query.clone()),
        ("start", start_ns.to_string()),
        ("end", end_ns.to_string()),
        ("limit", limit.to_string()),
        ("direction", direction.to_owned()),
    ];
    params.extend(args.step.clone().map(|step| ("step", step)));
    params.extend(args.interval.clone().map(|interval| ("interval", interval)));
    params
}

fn key(labels: &Labels, row: &Row) -> (i64, String, String) {
    (row.timestamp_ns, print_labels(labels), row.line.clone())
}

/// The lines of all streams in time order.
pub(crate) fn in_order(streams: Vec<Stream>, forward: bool) -> Vec<(Labels, Row)> {
    let mut rows: Vec<(Labels, Row)> = streams
        .into_iter()
        .flat_map(|stream| {
            let labels = stream.stream;
            stream
                .values
                .into_iter()
                .map(move |row| (labels.clone(), row))
        })
        .collect();
    rows.sort_by_key(|(_, row)| {
        if forward {
            row.timestamp_ns
        } else {
            -row.timestamp_ns
        }
    });
    rows
}

/// Prints series at one time.
pub(crate) async fn instant(
    args: InstantArgs,
    out: &mut (dyn Write + Send),
) -> Result<(), CliError> {
    let client = Client::new(&args.client)?;
    let at_ns = args.now.as_deref().map(time::parse_time).transpose()?;
    let params = [
        ("query", args.query),
        ("time", at_ns.unwrap_or_else(time::now_ns).to_string()),
    ];
    if args.explain {
        return explain::print(&client, INSTANT_PATH, params.to_vec(), out).await;
    }
    let mut progress = Progress::new(client.quiet);
    let asked = client.get(INSTANT_PATH, &params);
    let answer: QueryAnswer = progress.during("waiting for the server", asked).await?;
    if args.stats {
        print_stats(&answer.data.stats);
    }
    let text = pretty(&answer.data.result)?;
    writeln!(out, "{text}")?;
    Ok(())
}

fn print_result(printer: &mut Printer<'_>, result: &QueryResult) -> Result<(), CliError> {
    printer.text(&pretty(result)?)?;
    printer.flush()
}

/// Series and numbers as indented JSON, as logcli prints them.
pub(crate) fn pretty(result: &QueryResult) -> Result<String, CliError> {
    let text = match result {
        QueryResult::Matrix(series) | QueryResult::Vector(series) => {
            serde_json::to_string_pretty(series)
        }
        QueryResult::Scalar(value) => serde_json::to_string_pretty(value),
        QueryResult::Streams(_) => {
            return Err(CliError::Answer("lines instead of series".to_owned()));
        }
    };
    text.map_err(|error| CliError::Answer(error.to_string()))
}

fn print_stats(stats: &Value) {
    let Some(Value::Object(summary)) = stats.get("summary") else {
        return;
    };
    for (name, value) in summary {
        let _ = writeln_stderr(&format!("Summary.{name}: {value}"));
    }
}
