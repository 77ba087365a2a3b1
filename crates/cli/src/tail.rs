//! `tail`: lines as they are pushed, until interrupted. A broken connection is made again and goes
//! on where the last line was.

use std::collections::HashSet;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::{self, Message};

use crate::answer::{Labels, TailFrame, print_labels};
use crate::args::TailArgs;
use crate::client::Client;
use crate::error::CliError;
use crate::output::Printer;
use crate::query::in_order;
use crate::{time, writeln_stderr};

const PATH: &str = "/loki/api/v1/tail";
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// Why a connection ended.
enum Ended {
    /// The other side, or the way to it, broke.
    Broken(String),
    /// Interrupted from the keyboard.
    Interrupted,
}

pub(crate) async fn tail(args: TailArgs) -> Result<(), CliError> {
    let client = Client::new(&args.client)?;
    let mut printer = Printer::new(&args.output)?;
    let since_ns = time::parse_duration(&args.since)?;
    let mut state = State {
        start_ns: time::now_ns().saturating_sub(since_ns),
        at_start: HashSet::new(),
    };
    let mut backoff = Duration::from_millis(500);
    let mut connected_before = false;
    loop {
        let params = [
            ("query", args.query.clone()),
            ("start", state.start_ns.to_string()),
            ("limit", args.limit.max(state.at_start.len()).to_string()),
            ("delay_for", args.delay_for.to_string()),
        ];
        let request = client.websocket_request(PATH, &params)?;
        let ended = match tokio_tungstenite::connect_async(request).await {
            Ok((socket, _)) => {
                connected_before = true;
                backoff = Duration::from_millis(500);
                read(socket, &mut state, &mut printer, client.quiet).await?
            }
            Err(tungstenite::Error::Http(answer)) if answer.status().is_client_error() => {
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
            Err(error) => Ended::Broken(error.to_string()),
        };
        match ended {
            Ended::Interrupted => return Ok(()),
            Ended::Broken(reason) => {
                let _ = writeln_stderr(&format!("connection lost ({reason}), trying again"));
            }
        }
        tokio::time::sleep(backoff).await;
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

/// Where to go on after a broken connection.
struct State {
    start_ns: i64,
    /// Lines of that time that were printed.
    at_start: HashSet<(String, String)>,
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

async fn read<S>(
    mut socket: tokio_tungstenite::WebSocketStream<S>,
    state: &mut State,
    printer: &mut Printer,
    quiet: bool,
) -> Result<Ended, CliError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let nothing_common = Labels::new();
    loop {
        let message = tokio::select! {
            message = socket.next() => message,
            _ = tokio::signal::ctrl_c() => {
                let _ = socket.send(Message::Close(None)).await;
                return Ok(Ended::Interrupted);
            }
        };
        let text = match message {
            None => return Ok(Ended::Broken("closed".to_owned())),
            Some(Err(error)) => return Ok(Ended::Broken(error.to_string())),
            Some(Ok(Message::Close(frame))) => {
                let reason = frame
                    .map(|frame| frame.reason.to_string())
                    .unwrap_or_default();
                return Ok(Ended::Broken(format!("closed by the server {reason}")));
            }
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(_)) => continue,
        };
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
