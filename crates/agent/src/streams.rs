//! How many streams each job makes. A label with a value for each user or request makes more of them
//! than any server can hold, and nobody notices until it is late.

use std::collections::HashSet;
use std::time::Duration;

/// For how long a stream counts.
const WINDOW: Duration = Duration::from_secs(3600);
/// Streams of a job that are worth a warning where there is no bound.
const MANY: usize = 10_000;

/// The streams of all jobs.
#[derive(Debug)]
pub(crate) struct JobStreams {
    jobs: Vec<Job>,
    /// Streams of one job; 0 is no bound.
    streams_max: usize,
}

#[derive(Debug)]
struct Job {
    name: String,
    /// Hashes of its streams since then.
    seen: HashSet<u64>,
    since: Duration,
    is_warned: bool,
    is_full: bool,
}

impl JobStreams {
    pub(crate) fn new(names: impl Iterator<Item = String>, streams_max: usize) -> Self {
        let job = |name| Job {
            name,
            seen: HashSet::new(),
            since: Duration::ZERO,
            is_warned: false,
            is_full: false,
        };
        Self {
            jobs: names.map(job).collect(),
            streams_max,
        }
    }

    /// Takes in a stream of a job by its hash: whether the job may have it.
    pub(crate) fn admit(&mut self, job: usize, stream: u64, now: Duration) -> bool {
        let Some(job) = self.jobs.get_mut(job) else {
            return true;
        };
        if now >= job.since + WINDOW {
            job.seen.clear();
            (job.since, job.is_warned, job.is_full) = (now, false, false);
        }
        if job.seen.contains(&stream) {
            return true;
        }
        let bound = match self.streams_max {
            0 => MANY,
            max => max,
        };
        if job.seen.len() >= bound {
            let is_new = !std::mem::replace(&mut job.is_full, true);
            if is_new && self.streams_max > 0 {
                job.tell(self.streams_max, "lines of more streams are dropped");
            }
            return self.streams_max == 0;
        }
        job.seen.insert(stream);
        if job.seen.len() >= bound.div_ceil(5).saturating_mul(4) && !job.is_warned {
            job.is_warned = true;
            job.tell(self.streams_max, "it has many streams");
        }
        true
    }
}

impl Job {
    fn tell(&self, streams_max: usize, what: &str) {
        tracing::warn!(
            job = self.name,
            streams = self.seen.len(),
            limit = "limits_config.job_streams_max",
            value = streams_max,
            "{what}: labels with many values belong into structured_metadata"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn streams(max: usize) -> JobStreams {
        JobStreams::new(["a", "b"].map(str::to_owned).into_iter(), max)
    }

    #[test]
    fn a_job_has_so_many_streams_and_others_have_their_own() {
        let (mut streams, now) = (streams(10), Duration::ZERO);
        for stream in 0..10 {
            assert!(streams.admit(0, stream, now));
            assert_eq!(streams.jobs[0].is_warned, stream >= 7, "{stream}");
        }
        assert!(!streams.admit(0, 10, now) && streams.jobs[0].is_full);
        assert!(streams.admit(0, 9, now), "which it has already");
        assert!(streams.admit(1, 10, now) && !streams.jobs[1].is_warned);
        assert!(
            streams.admit(0, 10, WINDOW),
            "after a while others may come"
        );
    }

    #[test]
    fn without_a_bound_there_is_a_warning_and_little_memory() {
        let mut streams = streams(0);
        for stream in 0..100_000 {
            assert!(streams.admit(0, stream, Duration::ZERO));
        }
        assert!(streams.jobs[0].is_warned);
        assert_eq!(streams.jobs[0].seen.len(), MANY);
    }
}
