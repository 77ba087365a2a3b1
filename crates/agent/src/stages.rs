//! Pipeline stages: what is done to each line between the file and the client.
//!
//! The stages are those of promtail, in its YAML. A [`Pipeline`] is made of a list of
//! [`StageConfig`] once per job and forked for each file. A line enters as an [`Entry`] and leaves
//! as none, one or several; between two stages it is a `Row`, an entry with the values that stages
//! extracted from it. Stages that join lines (`cri`, `multiline`) hold entries back: the
//! position of the file must not pass [`Pipeline::oldest_held`].
//!
//! *Invariants.* No clock of its own: time comes with the line. Nothing in a line makes a stage
//! panic. What is held back is bounded in lines and bytes.
//!
//! Start reading at `chain`, then any stage: there is a file for each.

mod build;
mod chain;
mod config;
mod cri;
mod custom;
mod decolorize;
mod docker;
mod drop;
mod expression;
mod inspect;
mod jmespath;
mod json;
mod json_text;
mod labelallow;
mod labeldrop;
mod labels;
mod limit;
mod logfmt;
mod match_stage;
mod metric_stage;
mod metrics;
mod multiline;
mod output;
mod pack;
mod regex;
mod replace;
mod row;
mod sampling;
mod static_labels;
mod structured_metadata;
mod template;
mod template_data;
mod tenant;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod time_format;
mod timestamp;

use crate::Entry;
use chain::Chain;
use row::Row;

pub use config::{StageConfig, StageError};
pub use custom::SERIES_MAX;
pub use inspect::{Change, Fate, Inspect, Inspection};
pub use metrics::Metrics;

/// How long a line may become by joining, in bytes. A longer one is let go as it is.
const JOINED_BYTES_MAX: usize = 16 << 20;

/// The stages of a job for the lines of one file.
pub struct Pipeline {
    chain: Chain,
    rows: Vec<Row>,
    /// The latest time that a caller gave.
    now_ns: i64,
}

impl Pipeline {
    /// Makes the stages of a job.
    ///
    /// # Errors
    /// If a stage is unknown, or its options are; the error names the job.
    pub fn new(config: &[StageConfig], job: &str, metrics: &Metrics) -> Result<Self, StageError> {
        Ok(Self::of(
            build::Builder::new(job, metrics, None).chain(config)?,
        ))
    }

    /// As [`Pipeline::new`], but `inspect` is told what each stage does to each line.
    ///
    /// # Errors
    /// As [`Pipeline::new`].
    pub fn inspected(
        config: &[StageConfig],
        job: &str,
        metrics: &Metrics,
        inspect: Inspect,
    ) -> Result<Self, StageError> {
        let mut builder = build::Builder::new(job, metrics, Some(inspect));
        Ok(Self::of(builder.chain(config)?))
    }

    fn of(chain: Chain) -> Self {
        Self {
            chain,
            rows: Vec::new(),
            now_ns: 0,
        }
    }

    /// The same stages for another file of the job. What is compiled is shared, and so are the
    /// rates of `limit`; what is held back belongs to one file.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self::of(self.chain.fork())
    }

    /// Takes a line and appends to `out` what leaves the pipeline because of it.
    pub fn process(&mut self, entry: Entry, now_ns: i64, out: &mut Vec<Entry>) {
        self.now_ns = now_ns;
        self.chain.process(Row::new(entry), now_ns, &mut self.rows);
        self.take(out);
    }

    /// Appends the lines that waited long enough for others to be joined with.
    pub fn idle(&mut self, now_ns: i64, out: &mut Vec<Entry>) {
        self.now_ns = now_ns;
        self.chain.idle(now_ns, &mut self.rows);
        self.take(out);
    }

    /// Appends all lines that are held back: the file has ended, or nobody will read it again.
    pub fn finish(&mut self, out: &mut Vec<Entry>) {
        self.chain.finish(self.now_ns, &mut self.rows);
        self.take(out);
    }

    fn take(&mut self, out: &mut Vec<Entry>) {
        out.extend(self.rows.drain(..).map(|row| row.entry));
    }

    /// When [`Pipeline::idle`] should be called, in nanoseconds since 1970.
    #[must_use]
    pub fn next_deadline_ns(&self) -> Option<i64> {
        self.chain.next_deadline_ns()
    }

    /// The smallest origin of the lines that are held back: positions wait for it.
    #[must_use]
    pub fn oldest_held(&self) -> Option<u64> {
        self.chain.oldest_held()
    }

    /// Appends the origins of lines that lines to come may be joined to, though they have left the
    /// pipeline: the rest of a block that was let go has the time and the labels of its first line.
    pub(crate) fn joined_to(&self, origins: &mut Vec<u64>) {
        self.chain.joined_to(origins);
    }

    /// Whether lines are held back that were joined to those of these origins.
    pub(crate) fn is_joining(&self, origins: &dyn Fn(u64) -> bool) -> bool {
        self.chain.is_joining(origins)
    }

    /// Joins no lines to come to those of these origins, unless there are others in between that are
    /// held back.
    pub(crate) fn part_from(&mut self, origins: &dyn Fn(u64) -> bool) {
        self.chain.part_from(origins);
    }

    /// Until when no more of the file should be read, in nanoseconds since 1970: a `limit` stage
    /// that does not drop let lines through on credit.
    #[must_use]
    pub fn paused_until_ns(&self) -> Option<i64> {
        self.chain
            .paused_until_ns()
            .filter(|until_ns| *until_ns > self.now_ns)
    }
}
