//! `tail`: lines as they are pushed, until interrupted. A broken connection is made again and goes
//! on where the last line was.

use std::collections::HashSet;
use std::io::Write;
use std::time::Duration;

use futures::StreamExt;
use tokio_tungstenite::connect_async_tls_with_config;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::answer::{Labels, TailFrame, print_labels};
use crate::args::TailArgs;
use crate::client::Client;
use crate::error::CliError;
use crate::output::Printer;
use crate::query::in_order;
use crate::{time, tls, writeln_stderr};

const PATH: &str = "/loki/api/v1/tail";
const BACKOFF_MIN: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// Lines asked for after a broken connection: as many as servers give at once.
const CATCH_UP_LINES: usize = 5000;

pub(crate) async fn tail(
    args: TailArgs,
    out: &mut (dyn Write + Send),
    colours: bool,
) -> Result<(), CliError> {
    let mut printer = Printer::new(&args.output, out, colours)?;
    // One place for the keyboard: while it is listened to, it ends nothing by itself.
    tokio::select! {
        result = follow(&args, &mut printer) => result,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

async fn follow(args: &TailArgs, printer: &mut Printer<'_>) -> Result<(), CliError> {
    let client = Client::new(&args.client)?;
    let connector = tls::connector(&args.client)?;
    let since_ns = time::parse_duration(&args.since)?;
    let mut state = State {
        start_ns: time::now_ns().saturating_sub(since_ns),
        at_start: HashSet::new(),
        frames: 0,
    };
    let mut limit = args.limit;
    let mut backoff = BACKOFF_MIN;
    let mut connected_before = false;
    loop {
        let params = [
            ("query", args.query.clone()),
            ("start", state.start_ns.to_string()),
            ("limit", limit.to_string()),
            ("delay_for", args.delay_for.to_string()),
        ];
        let request = client.websocket_request(PATH, &params)?;
        let connected =
            connect_async_tls_with_config(request, None, false, connector.clone()).await;
        let reason = match connected {
            Ok((socket, _)) => {
                connected_before = true;
                let frames = state.frames;
                let reason = read(socket, &mut state, printer, client.quiet).await?;
                if state.frames > frames {
                    backoff = BACKOFF_MIN;
                }
                reason
            }
            Err(tungstenite::Error::Http(answer))
                if !connected_before || answer.status().is_client_error() =>
            {
                let body = answer.body().as_deref().unwrap_or_default();
                return Err(CliError::Refused {
                    status: answer.status().as_u16(),
                    url: PATH.to_owned(),
                    text: String::from_utf8_lossy(body).trim().to_owned(),
                });
            }
            Err(error) if !connected_before => {
                return Err(CliError::unreachable(&args.client.addr, &error));
            }
            Err(error) => error.to_string(),
        };
        let _ = writeln_stderr(&format!("connection lost ({reason}), trying again"));
        tokio::time::sleep(backoff).await;
        backoff = (backoff * 2).min(BACKOFF_MAX);
        // What came in the meantime is the past by now, and all of it is wanted.
        limit = CATCH_UP_LINES.max(args.limit);
    }
}

/// Where to go on after a broken connection.
struct State {
    start_ns: i64,
    /// Lines of that time that were printed.
    at_start: HashSet<(String, String)>,
    /// Frames read so far, over all connections.
    frames: u64,
}

impl State {
    /// Whether the line was not printed before.
    fn is_new(&mut self, labels: &Labels, timestamp_ns: i64, line: &str) -> bool {
        if timestamp_ns < self.start_ns {
            // A stream that lags behind the others; copies of it are told by the server.
            return true;
        }
        if timestamp_ns > self.start_ns {
            self.start_ns = timestamp_ns;
            self.at_start.clear();
        }
        self.at_start
            .insert((print_labels(labels), line.to_owned()))
    }
}

/// Prints lines until the connection ends; gives the reason.
async fn read<S>(
    mut socket: tokio_tungstenite::WebSocketStream<S>,
    state: &mut State,
    printer: &mut Printer<'_>,
    quiet: bool,
) -> Result<String, CliError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let nothing_common = Labels::new();
    loop {
        let text = match socket.next().await {
            None => return Ok("closed".to_owned()),
            Some(Err(error)) => return Ok(error.to_string()),
            Some(Ok(Message::Close(frame))) => {
                let (code, reason) = frame.map_or((CloseCode::Away, String::new()), |frame| {
                    (frame.code, frame.reason.to_string())
                });
                // A query that the server cannot run ends like this, each time again.
                if code == CloseCode::Error && state.frames == 0 {
                    return Err(CliError::Answer(format!(
                        "the server ended the tail: {reason}"
                    )));
                }
                return Ok(format!("closed by the server {reason}")
                    .trim_end()
                    .to_owned());
            }
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(_)) => continue,
        };
        state.frames += 1;
        let frame: TailFrame =
            serde_json::from_str(&text).map_err(|error| CliError::Answer(error.to_string()))?;
        for (labels, row) in in_order(frame.streams.unwrap_or_default(), true) {
            if state.is_new(&labels, row.timestamp_ns, &row.line) {
                printer.line(&labels, &nothing_common, &row)?;
            }
        }
        printer.flush()?;
        if let Some(dropped) = frame
            .dropped_entries
            .filter(|lost| !lost.is_empty() && !quiet)
        {
            let _ = writeln_stderr(&format!(
                "the server dropped lines, this client is too slow: {}",
                serde_json::Value::Array(dropped)
            ));
        }
    }
}
