//! The log of one container.

use std::sync::Arc;
use std::time::Duration;

use super::api::{Api, ApiError};
use super::frames::{Frames, LogLine, Stream};
use super::place::{Place, Resumed};
use crate::access::with_causes;
use crate::config::ScrapeConfig;
use crate::discover::Labels;
use crate::feed::{Cursor, Intake, Received, relabelled};
use crate::receive::Since;

/// The label that says what a line was written to.
const STREAM_LABEL: &str = "__meta_docker_container_log_stream";
/// The first wait before a log is asked for again.
const WAIT_MIN: Duration = Duration::from_millis(200);
/// The longest one.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Reads the log of a container.
pub(super) struct Follower {
    at: usize,
    id: Arc<str>,
    /// The labels of the lines of its two streams; none if they are dropped.
    stdout: Option<Labels>,
    stderr: Option<Labels>,
    since: Since,
}

/// Why a log is not read on.
pub(super) enum End {
    /// There is no such container.
    Gone,
    /// It does not run any more; its log was read up to there.
    Stopped(Place),
}

/// Why a log ended for now.
enum Cut {
    Gone,
    Failed(String),
}

impl Follower {
    pub(super) fn new(
        at: usize,
        job: &ScrapeConfig,
        id: String,
        labels: &Labels,
        since: Since,
    ) -> Self {
        let of_stream = |name: &str| {
            let mut labels = labels.clone();
            labels.insert(STREAM_LABEL.to_owned(), name.to_owned());
            // No server takes a line without a label.
            relabelled(job, labels).filter(|labels| !labels.is_empty())
        };
        let (stdout, stderr) = (of_stream("stdout"), of_stream("stderr"));
        Self {
            at,
            id: id.into(),
            stdout,
            stderr,
            since,
        }
    }

    /// The labels of its lines; none if they are dropped.
    pub(super) fn labels(&self) -> Option<&Labels> {
        self.stdout.as_ref().or(self.stderr.as_ref())
    }

    /// Reads on from a place, if something was read before, until the container has stopped.
    pub(super) async fn run(self, host: &Api, read: Option<Place>, intake: &Intake) -> End {
        let is_new = read.is_none();
        let mut place = read.unwrap_or_default();
        let mut wait = WAIT_MIN;
        loop {
            let before = place.clone();
            match self.read(host, &mut place, is_new, intake).await {
                Ok(true) => return End::Stopped(place),
                Ok(false) => {}
                Err(Cut::Gone) => return End::Gone,
                Err(Cut::Failed(error)) => {
                    tracing::warn!(container = %self.id, error, "the log has ended for now");
                }
            }
            wait = if place == before {
                (wait * 2).min(WAIT_MAX)
            } else {
                WAIT_MIN
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Reads the log from a place on to its end. True if there will be no more of it, as the
    /// container had stopped before.
    async fn read(
        &self,
        host: &Api,
        place: &mut Place,
        is_new: bool,
        intake: &Intake,
    ) -> Result<bool, Cut> {
        let container = host.inspect(&self.id).await?;
        let has_stopped = !container.is_running();
        let finished_at = container.finished_at().map(jiff::Timestamp::as_nanosecond);
        let ended_before = finished_at.is_some_and(|at| at < self.since.asked_ns.into());
        if has_stopped && is_new && ended_before {
            return Ok(true);
        }
        let mut log = host.log(&self.id, place.since()).await?;
        let mut frames = Frames::new(container.has_terminal());
        let mut resumed = Resumed::at(place);
        let failed = |error: &dyn std::error::Error| Cut::Failed(with_causes(error));
        while let Some(bytes) = log.chunk().await.map_err(|error| failed(&error))? {
            let lines = frames.take(&bytes).map_err(|error| failed(&error))?;
            self.give(lines, &mut resumed, intake).await;
            resumed.move_to(place);
        }
        if has_stopped {
            self.give(frames.finish(), &mut resumed, intake).await;
            resumed.move_to(place);
        }
        Ok(has_stopped)
    }

    /// Gives the lines that were not given before.
    async fn give(&self, lines: Vec<LogLine>, resumed: &mut Resumed, intake: &Intake) {
        let mut new = Vec::new();
        for line in lines {
            let Some(place) = resumed.pass(line.ended_ns) else {
                continue;
            };
            let labels = match line.stream {
                Stream::Stdout => &self.stdout,
                Stream::Stderr => &self.stderr,
            };
            if let Some(labels) = labels {
                new.push(Received {
                    job: self.at,
                    labels: labels.clone(),
                    timestamp_ns: Some(line.timestamp_ns),
                    line: line.text,
                    metadata: Vec::new(),
                    cursor: Some(Cursor {
                        source: self.id.clone(),
                        at: place.cursor(),
                    }),
                    // An agent before this one may have sent it and not lived to note that.
                    may_repeat: line.ended_ns < self.since.began_ns,
                });
            }
        }
        if !new.is_empty() {
            intake.give(new).await;
        }
    }
}

impl From<ApiError> for Cut {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Gone(_) => Self::Gone,
            ApiError::Failed(text) => Self::Failed(text),
        }
    }
}
