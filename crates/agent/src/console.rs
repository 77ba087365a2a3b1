//! Entries as text, for who tries out a configuration.

use std::io::{IsTerminal, Write};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use proto::logproto::{PushRequest, Timestamp};

use crate::deliver::{Deliver, DeliverError};
use crate::stages::{Inspect, Inspection};

/// Tells on standard error what each stage does to the lines of a job, in colour on a terminal.
pub(crate) fn inspector(job: &str) -> Inspect {
    let job = job.to_owned();
    let is_terminal = std::io::stderr().is_terminal();
    Arc::new(move |inspection: &Inspection<'_>| {
        let text = format!("job {job} {inspection}\n");
        let text = if is_terminal { coloured(&text) } else { text };
        // Nobody reads it any more if that fails.
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    })
}

/// What was is red, what is now is green.
fn coloured(text: &str) -> String {
    let line = |line: &str| match line.trim_start().chars().next() {
        Some('-') => format!("\x1b[31m{line}\x1b[0m\n"),
        Some('+') => format!("\x1b[32m{line}\x1b[0m\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

/// Prints entries instead of sending them: time, labels, line.
pub(crate) struct Console<W>(Mutex<W>);

impl<W: Write + Send> Console<W> {
    pub(crate) fn new(out: W) -> Self {
        Self(Mutex::new(out))
    }

    fn print(&self, request: &PushRequest) -> std::io::Result<()> {
        let mut out = self.0.lock();
        for stream in &request.streams {
            for entry in &stream.entries {
                write!(
                    out,
                    "{}\t{}\t",
                    time_text(entry.timestamp.as_ref()),
                    stream.labels
                )?;
                out.write_all(&entry.line)?;
                for pair in &entry.structured_metadata {
                    write!(out, "\t{}={:?}", pair.name, pair.value)?;
                }
                writeln!(out)?;
            }
        }
        out.flush()
    }
}

fn time_text(time: Option<&Timestamp>) -> String {
    let time = time.and_then(|time| jiff::Timestamp::new(time.seconds, time.nanos).ok());
    time.map_or_else(String::new, |time| time.to_string())
}

#[async_trait]
impl<W: Write + Send> Deliver for Console<W> {
    async fn push(
        &self,
        _: Option<&str>,
        request: &PushRequest,
        _: bool,
    ) -> Result<(), DeliverError> {
        self.print(request).map_err(|error| DeliverError::Refused {
            entries: None,
            message: error.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proto::logproto::{EntryAdapter, LabelPairAdapter, StreamAdapter};

    use super::*;

    #[tokio::test]
    async fn an_entry_is_a_line() {
        let console = Console::new(Vec::new());
        let entry = EntryAdapter {
            timestamp: Some(Timestamp {
                seconds: 1,
                nanos: 500_000_000,
            }),
            line: "text".into(),
            structured_metadata: vec![LabelPairAdapter {
                name: "trace".to_owned(),
                value: "1".to_owned(),
            }],
            parsed: Vec::new(),
        };
        let request = PushRequest {
            streams: vec![StreamAdapter {
                labels: "{a=\"b\"}".to_owned(),
                entries: vec![entry],
                hash: 0,
            }],
            ..PushRequest::default()
        };
        console.push(None, &request, false).await.unwrap();
        let text = String::from_utf8(console.0.into_inner()).unwrap();
        assert_eq!(
            text,
            "1970-01-01T00:00:01.5Z\t{a=\"b\"}\ttext\ttrace=\"1\"\n"
        );
    }
}
