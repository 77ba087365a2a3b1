//! Lines from standard input, for who tries out a configuration or pipes a log into it.

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::discover::Labels;
use crate::feed::{Intake, Received};

/// Lines that are given at once.
const LINES_AT_ONCE: usize = 512;

/// Reads standard input to its end.
pub(crate) struct Stdin {
    labels: Labels,
    intake: Intake,
}

impl Stdin {
    /// The labels are those of the first target of the first job, whose stages the lines go
    /// through.
    pub(crate) fn new(config: &Config, intake: Intake) -> Self {
        let mut jobs = config.scrape_configs.iter();
        let mut groups = jobs.next().into_iter().flat_map(|job| &job.static_configs);
        let mut labels = groups
            .next()
            .map(|group| group.labels.clone())
            .unwrap_or_default();
        labels.retain(|name, _| !name.starts_with("__"));
        if labels.is_empty() {
            labels.insert("job".to_owned(), "stdin".to_owned());
        }
        Self { labels, intake }
    }

    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut input = BufReader::new(tokio::io::stdin());
        let mut lines = Vec::new();
        loop {
            let mut line = Vec::new();
            let read = tokio::select! {
                () = stop.cancelled() => break,
                read = input.read_until(b'\n', &mut line) => read,
            };
            let is_end = match read {
                Ok(read) => read == 0,
                Err(error) => {
                    tracing::error!(%error, "standard input cannot be read");
                    true
                }
            };
            if line.last() == Some(&b'\n') {
                line.pop();
            }
            if !is_end {
                lines.push(Received {
                    job: 0,
                    labels: self.labels.clone(),
                    timestamp_ns: None,
                    line,
                    metadata: Vec::new(),
                    cursor: None,
                    may_repeat: false,
                });
            }
            if is_end || lines.len() >= LINES_AT_ONCE || input.buffer().is_empty() {
                self.intake.give(std::mem::take(&mut lines)).await;
            }
            if is_end {
                break;
            }
        }
    }
}
