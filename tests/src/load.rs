//! Writers that push at a steady pace, repeat what was not acknowledged as an agent does, and know
//! in the end what must be found.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::bail;
use tokio::task::JoinHandle;

use crate::api::Api;
use crate::lines::{SECOND_NS, difference, labels, line, lines};
use crate::wait_for;

/// Lines of one push.
const BATCH_LINES: usize = 10;
/// From one push of a writer to its next.
const PACE: Duration = Duration::from_millis(10);
/// The longest that an acknowledgement is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Writers at work.
#[derive(Debug)]
pub struct Load {
    app: String,
    base_ns: i64,
    shared: Arc<Shared>,
    writers: Vec<JoinHandle<Attempt>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    acknowledged_lines: AtomicUsize,
    failures: Mutex<Vec<String>>,
}

/// How far a writer came.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    /// Lines that must be there.
    acknowledged: usize,
    /// Lines that may be there.
    tried: usize,
}

/// What was written.
#[derive(Clone, Debug)]
pub struct Written {
    app: String,
    base_ns: i64,
    writers: Vec<Attempt>,
}

impl Load {
    /// Starts `writers` that push to a server, each to a stream of its own.
    #[must_use]
    pub fn start(api: &Api, app: &str, writers: usize, base_ns: i64) -> Self {
        let shared = Arc::new(Shared::default());
        let writer = |number| {
            let (api, app, shared) = (api.clone(), app.to_owned(), Arc::clone(&shared));
            tokio::spawn(async move { write(&api, &app, number, base_ns, &shared).await })
        };
        Self {
            app: app.to_owned(),
            base_ns,
            writers: (0..writers).map(writer).collect(),
            shared,
        }
    }

    /// Lines that were acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        self.shared.acknowledged_lines.load(Ordering::Relaxed)
    }

    /// Waits until so many more lines are acknowledged.
    ///
    /// # Errors
    /// If that takes too long.
    pub async fn more(&self, lines: usize) -> anyhow::Result<()> {
        let wanted = self.acknowledged() + lines;
        let waited = wait_for("acknowledged lines", PATIENCE, || {
            let enough = (self.acknowledged() >= wanted).then_some(());
            async move { enough }
        });
        let failures = || format!("{:?}", self.failures().last());
        waited.await.map_err(|error| error.context(failures()))
    }

    /// What went wrong so far; each push was repeated until it went right.
    #[must_use]
    pub fn failures(&self) -> Vec<String> {
        let failures = self.shared.failures.lock();
        failures.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the writers.
    ///
    /// # Errors
    /// If one of them broke.
    pub async fn stop(self) -> anyhow::Result<Written> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut writers = Vec::new();
        for writer in self.writers {
            writers.push(writer.await?);
        }
        Ok(Written {
            app: self.app,
            base_ns: self.base_ns,
            writers,
        })
    }
}

async fn write(api: &Api, app: &str, writer: usize, base_ns: i64, shared: &Shared) -> Attempt {
    let labels = labels(app, writer);
    let mut pace = tokio::time::interval(PACE);
    let mut acknowledged = 0;
    loop {
        pace.tick().await;
        if shared.stop.load(Ordering::Relaxed) {
            break;
        }
        let tried = acknowledged + BATCH_LINES;
        let batch = lines(writer, acknowledged, tried, base_ns);
        let failure = match api.push(&labels, &batch).await {
            Ok((204, _)) => {
                acknowledged = tried;
                let total = &shared.acknowledged_lines;
                total.fetch_add(BATCH_LINES, Ordering::Relaxed);
                continue;
            }
            Ok((status, body)) => format!("status {status}: {body}"),
            Err(error) => format!("{error:#}"),
        };
        let mut failures = shared
            .failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        failures.push(failure);
    }
    Attempt {
        acknowledged,
        tried: acknowledged + BATCH_LINES,
    }
}

impl Written {
    /// Lines that must be found.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        self.writers.iter().map(|writer| writer.acknowledged).sum()
    }

    /// Checks that each acknowledged line is found, exactly once, and nothing that was not written.
    ///
    /// # Errors
    /// If it is not so, or a query fails.
    pub async fn check(&self, api: &Api) -> anyhow::Result<()> {
        for (writer, attempt) in self.writers.iter().enumerate() {
            let query = format!(r#"{{app="{}", writer="{writer}"}}"#, self.app);
            let end_ns = line(writer, attempt.tried, self.base_ns).timestamp_ns + SECOND_NS;
            let found = api.all_lines(&query, self.base_ns, end_ns).await?;
            let mut expected = lines(writer, 0, attempt.acknowledged, self.base_ns);
            // The last push may have been stored although nobody heard of it; as a whole or not.
            let unsure = lines(writer, attempt.acknowledged, attempt.tried, self.base_ns);
            expected.extend(unsure.into_iter().filter(|line| found.contains(line)));
            if let Some(difference) = difference(&expected, &found) {
                bail!("{query}: {difference}");
            }
            self.check_count(api, &query, found.len(), end_ns).await?;
        }
        Ok(())
    }

    /// The same from counting.
    async fn check_count(
        &self,
        api: &Api,
        query: &str,
        lines: usize,
        end_ns: i64,
    ) -> anyhow::Result<()> {
        // The range reaches back beyond the first line, which lies on its open end.
        let seconds = (end_ns - self.base_ns) / SECOND_NS + 1;
        let counting = format!("sum(count_over_time({query}[{seconds}s]))");
        let counted = api.instant(&counting, end_ns).await?;
        if counted == lines as f64 {
            Ok(())
        } else {
            bail!("{counting} is {counted}, but {lines} lines are found")
        }
    }
}
