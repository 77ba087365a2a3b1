//! Entries on their way together: one push request, for one tenant.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use model::units::quote;
use proto::logproto::{EntryAdapter, LabelPairAdapter, PushRequest, StreamAdapter, Timestamp};

use crate::entry::Entry;
use crate::streams::JobStreams;

/// Names a batch of one reader.
pub(crate) type BatchId = u64;
/// Names a source of one reader.
pub(crate) type SourceId = u64;
/// Labels of a stream.
type Labels = BTreeMap<String, String>;

/// The label in which stages leave the tenant.
pub(crate) const TENANT_LABEL: &str = "__tenant_id__";
/// What an entry takes in memory besides its bytes.
const ENTRY_OVERHEAD_BYTES: usize = 160;

/// One push request.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) id: BatchId,
    /// Whose lines these are, if a stage said so.
    pub(crate) tenant: Option<Arc<str>>,
    /// Batches of one lane go one after the other, and a stream is always in the same.
    pub(crate) lane: usize,
    pub(crate) request: PushRequest,
    pub(crate) entries: usize,
    /// Bytes of lines and structured metadata.
    pub(crate) bytes: usize,
    /// From where the entries are.
    pub(crate) spans: Vec<Span>,
    /// Whether an entry is made of more than its lines, which must be noted before it is sent.
    pub(crate) is_stamped: bool,
    /// Whether an entry may have been sent by an agent before this one.
    pub(crate) may_repeat: bool,
    /// The version of the book that must be saved before this is sent.
    pub(crate) needs_version: u64,
}

/// Lines of a file that a batch has entries of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) source: SourceId,
    pub(crate) generation: u64,
    pub(crate) path: Arc<PathBuf>,
    /// Where the first line begins.
    pub(crate) start: u64,
    /// Where the last line begins.
    pub(crate) last: u64,
}

/// From where an entry is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct From<'s> {
    /// The place of its job in the configuration.
    pub(crate) job: usize,
    pub(crate) source: SourceId,
    pub(crate) generation: u64,
    pub(crate) offset: u64,
    pub(crate) path: &'s Arc<PathBuf>,
    /// Whether it is made of more than its lines, as is noted: a time that the agent gave it, first of
    /// all.
    pub(crate) is_stamped: bool,
    /// The version of the book that must be saved before it is sent whatever it is made of.
    pub(crate) needs_version: u64,
    /// Whether it may have been sent by an agent before this one.
    pub(crate) may_repeat: bool,
}

/// What batches may be.
#[derive(Clone, Debug)]
pub(crate) struct BatchLimits {
    /// Bytes of lines and structured metadata.
    pub(crate) bytes_max: usize,
    /// How long the first entry may wait for others.
    pub(crate) wait_max: Duration,
    /// Streams; 0 is no bound.
    pub(crate) streams_max: usize,
    /// Batches of a tenant that are filled side by side.
    pub(crate) lanes: usize,
    /// Labels for entries that have them not.
    pub(crate) external_labels: Labels,
}

/// Why an entry is not in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamLimited;

/// Collects entries into batches, one that is open per tenant and lane.
#[derive(Debug)]
pub(crate) struct Batcher {
    limits: BatchLimits,
    jobs: JobStreams,
    open: HashMap<(Option<Arc<str>>, usize), Open, RandomState>,
    hasher: RandomState,
    next_id: BatchId,
    /// Batches that are full.
    full: Vec<Batch>,
}

#[derive(Debug)]
struct Open {
    batch: Batch,
    streams: HashMap<Labels, usize, RandomState>,
    since: Duration,
}

impl Batch {
    /// What it takes in memory, roughly.
    pub(crate) fn memory_bytes(&self) -> usize {
        Self::memory_bytes_of(self.entries, self.bytes)
    }

    /// What so many entries with so many bytes take in memory, roughly.
    pub(crate) fn memory_bytes_of(entries: usize, bytes: usize) -> usize {
        bytes + entries * ENTRY_OVERHEAD_BYTES
    }

    fn note(&mut self, from: From<'_>) {
        self.is_stamped |= from.is_stamped;
        self.may_repeat |= from.may_repeat;
        self.needs_version = self.needs_version.max(from.needs_version);
        let same =
            |span: &&mut Span| span.source == from.source && span.generation == from.generation;
        // The last span is nearly always the right one.
        match self.spans.iter_mut().rev().find(same) {
            Some(span) => {
                span.start = span.start.min(from.offset);
                span.last = span.last.max(from.offset);
            }
            None => self.spans.push(Span {
                source: from.source,
                generation: from.generation,
                path: from.path.clone(),
                start: from.offset,
                last: from.offset,
            }),
        }
    }
}

impl Batcher {
    pub(crate) fn new(limits: BatchLimits, jobs: JobStreams) -> Self {
        Self {
            limits,
            jobs,
            open: HashMap::default(),
            hasher: RandomState::default(),
            next_id: 1,
            full: Vec::new(),
        }
    }

    /// Adds an entry to the batch of its tenant; which batch that is, and what of the tenant.
    pub(crate) fn add(
        &mut self,
        mut entry: Entry,
        from: From<'_>,
        now: Duration,
    ) -> Result<(BatchId, Option<Arc<str>>), StreamLimited> {
        let tenant = entry
            .labels
            .remove(TENANT_LABEL)
            .filter(|tenant| !tenant.is_empty());
        let tenant = tenant.map(Arc::<str>::from);
        for (name, value) in &self.limits.external_labels {
            if !entry.labels.contains_key(name) {
                entry.labels.insert(name.clone(), value.clone());
            }
        }
        let bytes = entry_bytes(&entry);
        let key = (tenant.clone(), self.lane(&entry.labels));
        let has_room = |open: &Open| {
            open.batch.entries == 0 || open.batch.bytes + bytes <= self.limits.bytes_max
        };
        if let Some(open) = self.open.get(&key)
            && !has_room(open)
            && let Some(open) = self.open.remove(&key)
        {
            self.full.push(open.batch);
        }
        // A stream is looked at once in a batch, before one is opened for it.
        let is_in = |open: &Open| open.streams.contains_key(&entry.labels);
        if !self.open.get(&key).is_some_and(is_in)
            && !self
                .jobs
                .admit(from.job, self.hasher.hash_one(&entry.labels), now)
        {
            return Err(StreamLimited);
        }
        let next_id = &mut self.next_id;
        let lane = key.1;
        let open = self.open.entry(key).or_insert_with(|| {
            let id = *next_id;
            *next_id += 1;
            Open::new(id, tenant.clone(), lane, now)
        });
        let stream = open.stream(&entry, self.limits.streams_max)?;
        open.put(stream, entry, bytes);
        open.batch.note(from);
        Ok((open.batch.id, tenant))
    }

    fn lane(&self, labels: &Labels) -> usize {
        match self.limits.lanes {
            0 | 1 => 0,
            // Less than the lanes, which are few.
            lanes => (self.hasher.hash_one(labels) % lanes as u64) as usize,
        }
    }

    /// Batches that are full or have waited long enough.
    pub(crate) fn due(&mut self, now: Duration) -> Vec<Batch> {
        let wait_max = self.limits.wait_max;
        let mut due = std::mem::take(&mut self.full);
        let waited = self.open.extract_if(|_, open| now >= open.since + wait_max);
        due.extend(waited.map(|(_, open)| open.batch));
        due
    }

    /// All batches, full or not.
    pub(crate) fn finish(&mut self) -> Vec<Batch> {
        let mut rest = std::mem::take(&mut self.full);
        rest.extend(self.open.drain().map(|(_, open)| open.batch));
        rest
    }

    /// When the next batch will have waited long enough.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        if !self.full.is_empty() {
            return Some(Duration::ZERO);
        }
        let oldest = self.open.values().map(|open| open.since).min()?;
        Some(oldest + self.limits.wait_max)
    }
}

impl Open {
    fn new(id: BatchId, tenant: Option<Arc<str>>, lane: usize, now: Duration) -> Self {
        Self {
            batch: Batch {
                id,
                tenant,
                lane,
                request: PushRequest::default(),
                entries: 0,
                bytes: 0,
                spans: Vec::new(),
                is_stamped: false,
                may_repeat: false,
                needs_version: 0,
            },
            streams: HashMap::default(),
            since: now,
        }
    }

    /// The place of the entry's stream.
    fn stream(&mut self, entry: &Entry, streams_max: usize) -> Result<usize, StreamLimited> {
        if let Some(at) = self.streams.get(&entry.labels) {
            return Ok(*at);
        }
        let at = self.streams.len();
        if streams_max > 0 && at >= streams_max {
            return Err(StreamLimited);
        }
        self.batch.request.streams.push(StreamAdapter {
            labels: labels_text(&entry.labels),
            ..StreamAdapter::default()
        });
        self.streams.insert(entry.labels.clone(), at);
        Ok(at)
    }

    fn put(&mut self, stream: usize, entry: Entry, bytes: usize) {
        let Some(stream) = self.batch.request.streams.get_mut(stream) else {
            return;
        };
        let pair = |(name, value)| LabelPairAdapter { name, value };
        stream.entries.push(EntryAdapter {
            timestamp: Some(Timestamp {
                seconds: entry.timestamp_ns.div_euclid(1_000_000_000),
                // Always less than a billion.
                nanos: entry.timestamp_ns.rem_euclid(1_000_000_000) as i32,
            }),
            line: entry.line.into(),
            structured_metadata: entry.metadata.into_iter().map(pair).collect(),
            parsed: Vec::new(),
        });
        self.batch.entries += 1;
        self.batch.bytes += bytes;
    }
}

/// Bytes of the line and its structured metadata.
pub(crate) fn entry_bytes(entry: &Entry) -> usize {
    let metadata = entry
        .metadata
        .iter()
        .map(|(name, value)| name.len() + value.len());
    entry.line.len() + metadata.sum::<usize>()
}

/// `{a="x", b="y"}`. Labels without a value are as if they were not there.
fn labels_text(labels: &Labels) -> String {
    let mut text = String::from("{");
    for (name, value) in labels.iter().filter(|(_, value)| !value.is_empty()) {
        if text.len() > 1 {
            text.push_str(", ");
        }
        text.push_str(name);
        text.push('=');
        text.push_str(&quote(value));
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> BatchLimits {
        BatchLimits {
            bytes_max: 10,
            wait_max: Duration::from_secs(1),
            streams_max: 2,
            lanes: 1,
            external_labels: [("host".to_owned(), "h".to_owned())].into(),
        }
    }

    fn batcher(limits: BatchLimits) -> Batcher {
        Batcher::new(limits, JobStreams::new(std::iter::empty(), 0))
    }

    fn add(
        batcher: &mut Batcher,
        labels: &[(&str, &str)],
        line: &str,
        at_s: u64,
    ) -> Option<BatchId> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let entry = Entry {
            labels: labels.iter().map(owned).collect(),
            timestamp_ns: -1,
            line: line.into(),
            ..Entry::default()
        };
        let path = Arc::new(PathBuf::from("/a"));
        let from = From {
            job: 0,
            source: 1,
            generation: 0,
            offset: at_s,
            path: &path,
            is_stamped: false,
            needs_version: 0,
            may_repeat: false,
        };
        let added = batcher.add(entry, from, Duration::from_secs(at_s));
        added.ok().map(|(id, _)| id)
    }

    #[test]
    fn a_batch_goes_when_it_is_full_or_old() {
        let mut batcher = batcher(limits());
        assert_eq!(add(&mut batcher, &[], "12345", 0), Some(1));
        assert_eq!(add(&mut batcher, &[], "12345", 0), Some(1));
        assert!(batcher.due(Duration::ZERO).is_empty());
        assert_eq!(add(&mut batcher, &[], "1", 5), Some(2));
        assert_eq!(batcher.next_due(), Some(Duration::ZERO));
        assert_eq!(batcher.due(Duration::from_secs(5))[0].id, 1);
        assert_eq!(batcher.next_due(), Some(Duration::from_secs(6)));
        assert_eq!(batcher.due(Duration::from_secs(6))[0].id, 2);
        assert_eq!(batcher.next_due(), None);
        let long = "a line that is longer than a batch";
        assert_eq!(add(&mut batcher, &[], long, 9), Some(3));
    }

    #[test]
    fn each_tenant_has_its_batch_and_each_stream_its_labels() {
        let mut batcher = batcher(limits());
        add(&mut batcher, &[("b", "\"x\""), ("a", "1")], "1", 0);
        add(&mut batcher, &[("a", "1"), ("b", "\"x\"")], "2", 1);
        add(
            &mut batcher,
            &[("__tenant_id__", "t"), ("host", "own")],
            "3",
            2,
        );
        let mut batches = batcher.finish();
        batches.sort_by_key(|batch| batch.id);
        assert_eq!(batches.len(), 2);
        let stream = &batches[0].request.streams[0];
        assert_eq!(stream.labels, r#"{a="1", b="\"x\"", host="h"}"#);
        assert_eq!(stream.entries.len(), 2);
        let time = stream.entries[0].timestamp.unwrap();
        assert_eq!((time.seconds, time.nanos), (-1, 999_999_999));
        assert_eq!(
            (batches[0].spans[0].start, batches[0].spans[0].last),
            (0, 1)
        );
        assert_eq!(batches[1].tenant.as_deref(), Some("t"));
        assert_eq!(batches[1].request.streams[0].labels, r#"{host="own"}"#);
    }

    #[test]
    fn a_stream_keeps_its_lane() {
        let mut batcher = batcher(BatchLimits {
            lanes: 3,
            streams_max: 0,
            ..limits()
        });
        for line in ["1", "2"] {
            for stream in 0..20 {
                add(&mut batcher, &[("s", &stream.to_string())], line, 0);
            }
        }
        let mut lanes = BTreeMap::new();
        for batch in batcher.finish() {
            for stream in batch.request.streams {
                let lane = *lanes.entry(stream.labels).or_insert(batch.lane);
                assert_eq!(lane, batch.lane);
            }
        }
        assert_eq!(lanes.len(), 20);
        assert!(
            lanes
                .values()
                .any(|lane| *lane != lanes.values().copied().min().unwrap_or(0))
        );
    }

    #[test]
    fn streams_of_a_batch_are_bounded_and_the_next_batch_begins_anew() {
        let mut batcher = batcher(limits());
        assert!(add(&mut batcher, &[("a", "1")], "1", 0).is_some());
        assert!(add(&mut batcher, &[("a", "2")], "1", 0).is_some());
        assert_eq!(add(&mut batcher, &[("a", "3")], "1", 0), None);
        assert!(add(&mut batcher, &[("a", "1")], "1", 0).is_some());
        batcher.finish();
        assert!(add(&mut batcher, &[("a", "3")], "1", 0).is_some());
    }

    #[test]
    fn streams_of_a_job_are_bounded_over_all_batches() {
        let jobs = JobStreams::new(std::iter::once("j".to_owned()), 2);
        let limits = BatchLimits {
            streams_max: 0,
            ..limits()
        };
        let mut batcher = Batcher::new(limits, jobs);
        for (value, is_taken) in [("1", true), ("2", true), ("3", false), ("1", true)] {
            let added = add(&mut batcher, &[("a", value)], "1", 0);
            assert_eq!(added.is_some(), is_taken, "{value}");
            assert_eq!(
                batcher.finish().len(),
                usize::from(is_taken),
                "no empty batch"
            );
        }
    }
}
