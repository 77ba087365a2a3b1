//! Where decoders put rows: each is checked, completed with its level, and added to its stream.
//!
//! A row that must not be stored is left out and counted; the others are not affected. Rows are
//! written once, from the body of the request into the columns that travel to ingesters.

mod origin;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use model::{Entries, Label, LabelSet, Limits, StreamBatch, TenantId};
use proto::role::Received;

use crate::fields;
use crate::level::{self, DETECTED_LEVEL};
use crate::names;
use crate::report::{Reason, Report, Tally};
use crate::stream::Stream;
use crate::time;
pub(crate) use origin::Origin;

/// Metadata that carries OTLP's number of a level.
const SEVERITY_NUMBER: &str = "severity_number";
/// Names of metadata that a push shares between its rows.
const SHARED_NAMES_MAX: usize = 1024;

/// A name and a value of metadata as a push has them.
pub(crate) type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// What does not change while a push is taken in.
#[derive(Clone, Copy)]
pub(crate) struct Rules<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) limits: &'a Arc<Limits>,
    /// The clock when the push came.
    pub(crate) now_ns: i64,
    /// Bytes of lines after which a stream continues in another batch.
    pub(crate) batch_bytes: usize,
}

/// Rows of one stream that were taken in.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) stream: Arc<Stream>,
    pub(crate) entries: Entries,
    /// Where in the body each line begins, as long as that is noted.
    line_starts: Vec<u32>,
    /// The time of the first of the newest rows whose times were the same as pushed.
    run_ns: i64,
    /// Whether the sender was told of the stream's own fault: once, however many rows it has.
    fault_told: bool,
}

/// A push on its way in.
pub(crate) struct Intake<'a> {
    pub(crate) rules: Rules<'a>,
    taken: Vec<Taken>,
    by_key: HashMap<u64, usize, RandomState>,
    /// Index into `taken`.
    current: usize,
    /// The body that all lines so far are parts of, if it may be stored as it came.
    origin: Option<Origin>,
    /// Streams named, with rows or without.
    pub(crate) streams: usize,
    pub(crate) received: Tally,
    /// Rows and bytes that were taken in; bytes as rates count them.
    pub(crate) accepted: Tally,
    pub(crate) report: Report,
    names: HashMap<Box<str>, Arc<str>, RandomState>,
    scratch: Vec<Label>,
    oldest_ns: i64,
    newest_ns: i64,
}

impl<'a> Intake<'a> {
    pub(crate) fn new(rules: Rules<'a>) -> Self {
        let limits = rules.limits;
        let oldest_ns = if limits.reject_old_samples {
            rules
                .now_ns
                .saturating_sub(limits.reject_old_samples_max_age.0)
        } else {
            i64::MIN
        };
        Self {
            rules,
            taken: Vec::new(),
            by_key: HashMap::default(),
            current: 0,
            origin: None,
            streams: 0,
            received: Tally::default(),
            accepted: Tally::default(),
            report: Report::default(),
            names: HashMap::default(),
            scratch: Vec::new(),
            oldest_ns,
            newest_ns: rules.now_ns.saturating_add(limits.creation_grace_period.0),
        }
    }

    /// The rows that follow are from this body.
    pub(crate) fn come_from(&mut self, origin: Origin) {
        self.origin = Some(origin);
    }

    /// The rows that follow are of this stream.
    pub(crate) fn begin(&mut self, stream: &Arc<Stream>) {
        self.streams += 1;
        if let Some(found) = self.by_key.get(&stream.key).copied()
            && let Some(taken) = self.taken.get(found)
            && taken.stream.labels == stream.labels
            && taken.entries.lines().len() < self.rules.batch_bytes
        {
            self.current = found;
            return;
        }
        self.open(Arc::clone(stream));
    }

    /// Makes room for rows that the current stream is about to get.
    pub(crate) fn reserve(&mut self, rows: usize, bytes: usize) {
        if let Some(taken) = self.taken.get_mut(self.current) {
            let bytes = bytes.min(self.rules.batch_bytes);
            taken.entries.reserve(rows, bytes);
            if self.origin.is_some() {
                taken.line_starts.reserve(rows);
            }
        }
    }

    fn open(&mut self, stream: Arc<Stream>) {
        self.current = self.taken.len();
        self.by_key.insert(stream.key, self.current);
        self.taken.push(Taken {
            stream,
            entries: Entries::default(),
            line_starts: Vec::new(),
            run_ns: 0,
            fault_told: false,
        });
    }

    /// Takes a row. Of equal names in `pairs` and then `shared` the last counts; names of `shared`
    /// are label names already.
    pub(crate) fn row(
        &mut self,
        timestamp_ns: i64,
        line: &[u8],
        pairs: &[Pair<'_>],
        shared: &[Label],
    ) {
        let size = |name: usize, value: usize| name + value;
        let metadata_bytes = pairs
            .iter()
            .map(|(n, v)| size(n.len(), v.len()))
            .sum::<usize>()
            + shared
                .iter()
                .map(|l| size(l.name.len(), l.value.len()))
                .sum::<usize>();
        self.received.add(1, line.len() + metadata_bytes);
        let Some(stream) = self
            .taken
            .get(self.current)
            .map(|taken| Arc::clone(&taken.stream))
        else {
            return;
        };
        let line = self.shortened(line);
        let metadata_len = pairs.len() + shared.len();
        let row = Row {
            timestamp_ns,
            line: &line,
            metadata_len,
            metadata_bytes,
        };
        if let Err(reason) = self.check(&stream, &row) {
            self.report.discard(reason, 1, line.len() + metadata_bytes);
            return;
        }
        if metadata_len == 0 && self.rules.limits.discover_generic_fields.fields.is_empty() {
            let metadata = self.level_only(&stream, &line);
            self.store(timestamp_ns, &line, metadata);
            return;
        }
        match self.metadata(&stream, &line, pairs, shared) {
            Ok(metadata) => self.store(timestamp_ns, &line, &metadata),
            Err(error) => {
                self.report.tell(|| error.to_string());
                let bytes = line.len() + metadata_bytes;
                self.report
                    .discard(Reason::InvalidStructuredMetadata, 1, bytes);
            }
        }
    }

    /// The line, cut if it is too long and the tenant wants it cut.
    fn shortened<'l>(&self, line: &'l [u8]) -> Cow<'l, [u8]> {
        let limits = self.rules.limits;
        let len_max = limits.max_line_size.as_usize();
        if len_max == 0 || line.len() <= len_max || !limits.max_line_size_truncate {
            return Cow::Borrowed(line);
        }
        let identifier = limits.max_line_size_truncate_identifier.as_bytes();
        let kept = len_max.saturating_sub(identifier.len());
        let mut cut = line.get(..kept).unwrap_or(line).to_vec();
        cut.extend_from_slice(identifier);
        Cow::Owned(cut)
    }

    /// Whether a row may be stored; tells the sender if not.
    fn check(&mut self, stream: &Stream, row: &Row<'_>) -> Result<(), Reason> {
        if let Some((reason, text)) = &stream.fault {
            if let Some(taken) = self.taken.get_mut(self.current)
                && !std::mem::replace(&mut taken.fault_told, true)
            {
                self.report.tell(|| text.clone());
            }
            return Err(*reason);
        }
        if let Some((until, until_ns)) = &stream.blocked_until
            && self.rules.now_ns < *until_ns
        {
            self.report.block(self.rules.tenant, until);
            return Err(Reason::BlockedIngestionPolicy);
        }
        let (limits, text) = (self.rules.limits, &stream.text);
        let rfc3339 = time::rfc3339_seconds;
        if row.timestamp_ns < self.oldest_ns {
            self.report.tell(|| {
                format!(
                    "entry for stream '{text}' has timestamp too old: {}, oldest acceptable \
                     timestamp is: {}",
                    rfc3339(row.timestamp_ns),
                    rfc3339(self.oldest_ns)
                )
            });
            return Err(Reason::GreaterThanMaxSampleAge);
        }
        if row.timestamp_ns > self.newest_ns {
            self.report.tell(|| {
                let time = rfc3339(row.timestamp_ns);
                format!("entry for stream '{text}' has timestamp too new: {time}")
            });
            return Err(Reason::TooFarInFuture);
        }
        let (len, len_max) = (row.line.len(), limits.max_line_size.as_usize());
        if len_max != 0 && len > len_max {
            self.report.tell(|| {
                format!(
                    "max entry size '{len_max}' bytes exceeded for stream '{text}' while adding an \
                     entry with length '{len}' bytes"
                )
            });
            return Err(Reason::LineTooLong);
        }
        if row.metadata_len == 0 {
            return Ok(());
        }
        self.check_metadata(text, row)
    }

    fn check_metadata(&mut self, text: &str, row: &Row<'_>) -> Result<(), Reason> {
        let limits = self.rules.limits;
        let ask = "or contact your Loki administrator to";
        if !limits.allow_structured_metadata {
            self.report.tell(|| {
                format!(
                    "stream '{text}' includes structured metadata, but this feature is disallowed. \
                     Please see `limits_config.allow_structured_metadata` {ask} enable it"
                )
            });
            return Err(Reason::DisallowedStructuredMetadata);
        }
        let bytes_max = limits.max_structured_metadata_size.as_usize();
        if bytes_max != 0 && row.metadata_bytes > bytes_max {
            let bytes = row.metadata_bytes;
            self.report.tell(|| {
                format!(
                    "stream '{text}' has structured metadata too large: '{bytes}' bytes, limit: \
                     '{bytes_max}' bytes. Please see `limits_config.max_structured_metadata_size` \
                     {ask} increase it"
                )
            });
            return Err(Reason::StructuredMetadataTooLarge);
        }
        let len_max = limits.max_structured_metadata_entries_count;
        if len_max != 0 && row.metadata_len > len_max {
            let len = row.metadata_len;
            self.report.tell(|| {
                format!(
                    "stream '{text}' has too many structured metadata labels: '{len}', limit: \
                     '{len_max}'. Please see `limits_config.max_structured_metadata_entries_count` \
                     {ask} increase it"
                )
            });
            return Err(Reason::StructuredMetadataTooMany);
        }
        Ok(())
    }

    fn detects_levels(&self) -> bool {
        self.rules.limits.discover_log_levels && self.rules.limits.allow_structured_metadata
    }

    fn level_of_line(&self, line: &[u8]) -> level::Level {
        let limits = self.rules.limits;
        level::of_line(
            line,
            &limits.log_level_fields,
            limits.log_level_from_json_max_depth,
        )
    }

    /// The metadata of a row that came without any.
    fn level_only<'s>(&self, stream: &'s Stream, line: &[u8]) -> &'s LabelSet {
        static NONE: std::sync::LazyLock<LabelSet> = std::sync::LazyLock::new(LabelSet::default);
        match &stream.level {
            _ if !self.detects_levels() => &NONE,
            Some(level) => level,
            None => self.level_of_line(line).metadata(),
        }
    }

    fn metadata(
        &mut self,
        stream: &Stream,
        line: &[u8],
        pairs: &[Pair<'_>],
        shared: &[Label],
    ) -> Result<LabelSet, names::NameError> {
        let mut labels = std::mem::take(&mut self.scratch);
        labels.clear();
        for (name, value) in pairs {
            let name = self.shared_name(&names::normalized(name)?);
            if !value.is_empty() {
                let value = Arc::from(&**value);
                labels.push(Label { name, value });
            }
        }
        labels.extend_from_slice(shared);
        if self.detects_levels() {
            self.add_level(&mut labels, stream, line);
        }
        let limits = self.rules.limits;
        if limits.allow_structured_metadata {
            for (name, hints) in &limits.discover_generic_fields.fields {
                if let Some(value) = fields::find(hints, &stream.labels, &labels, line) {
                    let name = self.shared_name(name);
                    labels.push(Label { name, value });
                }
            }
        }
        let set = labels.drain(..).collect();
        self.scratch = labels;
        Ok(set)
    }

    fn add_level(&mut self, labels: &mut Vec<Label>, stream: &Stream, line: &[u8]) {
        let given = labels
            .iter_mut()
            .rev()
            .find(|label| &*label.name == DETECTED_LEVEL);
        if let Some(given) = given {
            let normalized = level::normalized(&given.value);
            if *normalized != *given.value {
                given.value = normalized.into();
            }
            return;
        }
        if let Some(level) = &stream.level {
            labels.extend(level.iter().cloned());
            return;
        }
        let get = |name: &str| fields::last_of(labels, name);
        let fields = &self.rules.limits.log_level_fields;
        let value: Arc<str> = if let Some(named) = fields.iter().find_map(|name| get(name)) {
            level::normalized(named).into()
        } else {
            let level = match get(SEVERITY_NUMBER) {
                Some(number) => level::Level::of_severity_number(number),
                None => self.level_of_line(line),
            };
            labels.extend(level.metadata().iter().cloned());
            return;
        };
        let name = self.shared_name(DETECTED_LEVEL);
        labels.push(Label { name, value });
    }

    /// When the push came.
    pub(crate) fn now_ns(&self) -> i64 {
        self.rules.now_ns
    }

    /// One copy of a name for all rows of the push.
    pub(crate) fn shared_name(&mut self, name: &str) -> Arc<str> {
        if let Some(shared) = self.names.get(name) {
            return Arc::clone(shared);
        }
        let shared: Arc<str> = name.into();
        if self.names.len() < SHARED_NAMES_MAX {
            self.names.insert(name.into(), Arc::clone(&shared));
        }
        shared
    }

    fn store(&mut self, timestamp_ns: i64, line: &[u8], metadata: &LabelSet) {
        let metadata_bytes = counted_bytes(metadata);
        let Some(taken) = self.taken.get_mut(self.current) else {
            return;
        };
        let timestamp_ns = if self.rules.limits.increment_duplicate_timestamp {
            taken.next_time(timestamp_ns, line)
        } else {
            timestamp_ns
        };
        // The lines of a batch stay far below what columns can hold: a batch that is full is
        // continued in another, and one line is at most a body.
        taken.entries.push(timestamp_ns, line, metadata);
        if let Some(origin) = &self.origin {
            match origin.start_of(line) {
                Some(start) => taken.line_starts.push(start),
                None => self.origin = None,
            }
        }
        self.accepted.add(1, line.len() + metadata_bytes);
        if taken.entries.lines().len() >= self.rules.batch_bytes {
            let stream = Arc::clone(&taken.stream);
            self.open(stream);
        }
    }

    /// What became of the rows.
    pub(crate) fn finish(self) -> Decoded {
        let mut taken = self.taken;
        taken.retain(|taken| !taken.entries.is_empty());
        let starts = |taken: &mut Taken| std::mem::take(&mut taken.line_starts);
        let body = self
            .origin
            .map(|origin| origin.received(taken.iter_mut().map(starts).collect()));
        Decoded {
            taken,
            body,
            received: self.received,
            accepted: self.accepted,
            report: self.report,
        }
    }
}

/// A push that was taken in.
pub(crate) struct Decoded {
    /// The streams that have rows.
    pub(crate) taken: Vec<Taken>,
    /// The body that all these rows came in, if it may be stored as it came.
    pub(crate) body: Option<Received>,
    pub(crate) received: Tally,
    /// Bytes as rates count them.
    pub(crate) accepted: Tally,
    pub(crate) report: Report,
}

impl Decoded {
    /// Memory that is held until the rows are stored.
    pub(crate) fn heap_bytes(&self) -> usize {
        let columns = self.taken.iter().map(|taken| taken.entries.heap_bytes());
        columns.sum::<usize>() + self.body.as_ref().map_or(0, body_bytes)
    }
}

fn body_bytes(body: &Received) -> usize {
    let starts = body.line_starts.iter().map(Vec::capacity).sum::<usize>();
    body.snappy.len() + starts * size_of::<u32>()
}

struct Row<'r> {
    timestamp_ns: i64,
    line: &'r [u8],
    metadata_len: usize,
    metadata_bytes: usize,
}

/// Bytes of metadata as rates count them: a level that we added is not the sender's.
pub(crate) fn counted_bytes(metadata: &LabelSet) -> usize {
    metadata
        .iter()
        .filter(|label| &*label.name != DETECTED_LEVEL)
        .map(|label| label.name.len() + label.value.len())
        .sum()
}

impl Taken {
    /// The time under which a row is stored when rows of one time are told apart by nanoseconds.
    /// Equal lines stay equal: they are one row sent twice.
    fn next_time(&mut self, timestamp_ns: i64, line: &[u8]) -> i64 {
        let last = self
            .entries
            .len()
            .checked_sub(1)
            .and_then(|last| self.entries.get(last));
        match last {
            Some(last)
                if last.line != line
                    && (timestamp_ns == self.run_ns || timestamp_ns == last.timestamp_ns) =>
            {
                last.timestamp_ns.saturating_add(1)
            }
            _ => {
                self.run_ns = timestamp_ns;
                timestamp_ns
            }
        }
    }

    /// As it travels.
    pub(crate) fn into_batch(self) -> Arc<StreamBatch> {
        Arc::new(StreamBatch {
            labels: self.stream.labels.clone(),
            entries: self.entries,
        })
    }
}

#[cfg(test)]
mod tests;
