//! A reader over a directory of its own, with time that only tests let pass.

use std::fs;
use std::io::Write;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prometheus_client::registry::Registry;
use proto::logproto::EntryAdapter;

use crate::batch::{Batch, BatchLimits, Batcher};
use crate::clock::Now;
use crate::config::Config;
use crate::deliver::Outcome;
use crate::discover::{Found, Scan, Targets, before_on_disk_ns};
use crate::metrics::Metrics;
use crate::outbox::{Outbox, OutboxLimits};
use crate::positions::{Book, Loaded, Record};
use crate::reader::{News, Reader, ReaderConfig};
use crate::stages::Pipeline;
use crate::streams::JobStreams;
use crate::tail::desk::Desk;
use crate::tail::generation::Unpacking;
use crate::tail::restore::{Meeting, Memory, Names, current, push_current};
use crate::tail::source::Source;

/// What a reader may owe.
pub(super) const OWED_BYTES_MAX: usize = 4 << 20;

/// How long ago the agent has begun.
pub(super) const AGE: Duration = Duration::from_secs(60);

pub(super) struct Rig {
    directory: tempfile::TempDir,
    config: Config,
    pub(super) reader: Reader,
    book: Arc<Book>,
    pub(super) metrics: Metrics,
    now: Now,
    done: Vec<Outcome>,
}

/// `name 0`, `name 1` and so on, each with a line end.
pub(super) fn lines(name: &str, numbers: Range<usize>) -> String {
    numbers.map(|i| format!("{name} {i}\n")).collect()
}

impl Rig {
    pub(super) fn new(glob: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let glob = format!("{}/{glob}", directory.path().display());
        let config = Config::for_paths(&[("j", vec![glob])], PathBuf::from("unused"));
        Self::with_config(directory, config)
    }

    /// As [`Self::new`], with a label of the target before relabelling.
    pub(super) fn labelled(glob: &str, label: &str) -> Self {
        let mut rig = Self::new(glob);
        let group = &mut rig.config.scrape_configs[0].static_configs[0];
        group.labels.insert(label.to_owned(), "1".to_owned());
        rig
    }

    /// As [`Self::new`], with these stages.
    pub(super) fn staged(glob: &str, stages: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let glob = format!("{}/{glob}", directory.path().display());
        let mut config = Config::for_paths(&[("j", vec![glob])], PathBuf::from("unused"));
        config.scrape_configs[0].pipeline_stages = serde_yaml::from_str(stages).unwrap();
        Self::with_config(directory, config)
    }

    /// As [`Self::staged`], where lines tell their offsets.
    pub(super) fn offsets(glob: &str, stages: &str) -> Self {
        let mut rig = Self::staged(glob, stages);
        rig.config.scrape_configs[0].offset_metadata = true;
        rig
    }

    pub(super) fn with_config(directory: tempfile::TempDir, mut config: Config) -> Self {
        config.positions.filename = directory.path().join("scratch");
        let book = Arc::new(Book::new(Loaded::default()));
        let metrics = Metrics::register(&mut Registry::default());
        Self {
            directory,
            reader: new_reader(&config, &book, &metrics),
            config,
            book,
            metrics,
            now: Now {
                mono: Duration::ZERO,
                wall_ns: i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap(),
            },
            done: Vec::new(),
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    pub(super) fn append(&self, name: &str, text: &str) {
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(self.path(name))
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    pub(super) fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    pub(super) fn copy(&self, from: &str, to: &str) {
        fs::copy(self.path(from), self.path(to)).unwrap();
    }

    pub(super) fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    /// Makes a file look as if it had been written last so long ago.
    pub(super) fn set_age(&self, name: &str, age: Duration) {
        self.set_written(name, SystemTime::now() - age);
    }

    /// Makes a file look as if it had been written last at that time.
    pub(super) fn set_written(&self, name: &str, at: SystemTime) {
        let file = fs::OpenOptions::new().append(true).open(self.path(name));
        file.unwrap().set_modified(at).unwrap();
    }

    pub(super) fn make_fifo(&self, name: &str) {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        mknodat(CWD, self.path(name), FileType::Fifo, Mode::RUSR, 0).unwrap();
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now.mono += time;
        self.now.wall_ns += i64::try_from(time.as_nanos()).unwrap();
    }

    /// Reads until nothing more comes, and acknowledges all of it: the lines.
    pub(super) fn read(&mut self) -> Vec<String> {
        let mut read = Vec::new();
        let mut quiet_turns = 0;
        while quiet_turns < 2 {
            let batches = self.turn_without_delivery();
            quiet_turns = if batches.is_empty() {
                quiet_turns + 1
            } else {
                0
            };
            for batch in &batches {
                read.extend(lines_of(batch));
            }
            self.deliver(&batches);
        }
        read
    }

    /// Reads as after a long while of quiet.
    pub(super) fn read_after(&mut self, time: Duration) -> Vec<String> {
        self.pass(time);
        self.read()
    }

    /// What a look at the globs finds now.
    pub(super) fn scan(&self) -> Arc<Scan> {
        let targets = Targets::of_config(&self.config.scrape_configs, "host").unwrap();
        Arc::new(targets.scan(10_000, &|_| false))
    }

    /// Reads once: the batches, which are not acknowledged.
    pub(super) fn turn_without_delivery(&mut self) -> Vec<Batch> {
        self.turn_with(self.scan())
    }

    /// As [`Self::turn_without_delivery`], with what an earlier look has found.
    pub(super) fn turn_with(&mut self, scan: Arc<Scan>) -> Vec<Batch> {
        let mut news = News {
            scan: Some(scan),
            all_changed: true,
            outcomes: std::mem::take(&mut self.done),
            ..News::default()
        };
        let mut batches = Vec::new();
        // Long enough for batches to be due.
        for _ in 0..12 {
            self.pass(Duration::from_millis(100));
            self.reader.turn(&news, self.now, &mut batches);
            news = News::default();
        }
        batches
    }

    /// Begins to read a file that no look has found: whether it has begun.
    pub(super) fn begin(
        &mut self,
        name: &str,
        how: impl FnOnce(&mut Source, &Meeting<'_>, &mut Desk) -> bool,
    ) -> bool {
        let targets = Targets::of_config(&self.config.scrape_configs, "host").unwrap();
        let found = Found {
            path: self.path(name),
            target: targets.active()[0].clone(),
        };
        self.reader.begin(&found, &Memory::default(), self.now, how)
    }

    /// As [`Self::begin`], for a file that is rotated once it is opened and before the others of its
    /// name are looked for.
    pub(super) fn begin_while_renamed(&mut self, name: &str, to: &str) {
        let (from, to) = (self.path(name), self.path(to));
        self.begin(name, |source, meeting, desk| {
            let (generation, own) = current(source, meeting, desk).unwrap();
            fs::rename(&from, &to).unwrap();
            push_current(source, generation, own, meeting, desk);
            true
        });
    }

    pub(super) fn deliver(&mut self, batches: &[Batch]) {
        self.done
            .extend(batches.iter().map(|batch| Outcome { batch: batch.id }));
    }

    /// Stops as if killed, and starts again with what was noted.
    pub(super) fn restart(&mut self) {
        self.kill();
        self.start();
    }

    /// Stops as if killed: what is not noted yet is not noted.
    pub(super) fn kill(&mut self) {
        let records = self.records();
        self.kill_with(records);
    }

    /// As [`Self::kill`], with what was noted at some time before.
    pub(super) fn kill_with(&mut self, records: Vec<Record>) {
        self.done.clear();
        self.book = Arc::new(Book::new(Loaded {
            records,
            ..Loaded::default()
        }));
        // A file that is no longer read must not be held open either.
        self.reader = new_reader(&self.config, &self.book, &self.metrics);
    }

    /// Starts with what was noted.
    pub(super) fn start(&mut self) {
        self.pass(Duration::from_secs(60));
        self.reader = new_reader(&self.config, &self.book, &self.metrics);
    }

    pub(super) fn records(&self) -> Vec<Record> {
        // What is written and read again is the same.
        let text = serde_json::to_string(&self.book.records()).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// The version of what is noted.
    pub(super) fn version(&self) -> u64 {
        self.book.version()
    }

    /// The acknowledged offset in the file that now has this name.
    pub(super) fn offset(&self, name: &str) -> Option<u64> {
        let path = self.path(name);
        let records = self.records();
        let record = records.iter().find(|record| record.file == path)?;
        Some(record.mark.offset)
    }
}

pub(super) fn lines_of(batch: &Batch) -> Vec<String> {
    let entries = batch
        .request
        .streams
        .iter()
        .flat_map(|stream| &stream.entries);
    entries
        .map(|entry| String::from_utf8_lossy(&entry.line).into_owned())
        .collect()
}

/// The lines of batches with their times.
pub(super) fn entries(batches: &[Batch]) -> Vec<(String, i64)> {
    let streams = batches.iter().flat_map(|batch| &batch.request.streams);
    let entries = streams.flat_map(|stream| &stream.entries);
    let entry = |entry: &EntryAdapter| {
        let time = entry.timestamp.unwrap();
        let line = String::from_utf8_lossy(&entry.line).into_owned();
        (line, time.seconds * 1_000_000_000 + i64::from(time.nanos))
    };
    entries.map(entry).collect()
}

fn new_reader(config: &Config, book: &Arc<Book>, metrics: &Metrics) -> Reader {
    let stage_metrics = crate::stages::Metrics::register(&mut Registry::default());
    let pipeline = |job: &crate::config::ScrapeConfig| {
        Pipeline::new(&job.pipeline_stages, &job.job_name, &stage_metrics).unwrap()
    };
    let pipelines = config.scrape_configs.iter().map(pipeline).collect();
    let limits = BatchLimits {
        bytes_max: 1 << 20,
        wait_max: Duration::from_secs(1),
        streams_max: 0,
        lanes: 1,
        external_labels: Default::default(),
    };
    let batcher = Batcher::new(limits, JobStreams::new(std::iter::empty(), 0));
    let limits = OutboxLimits {
        line_bytes_max: 0,
        is_line_cut: false,
        owed_bytes_max: OWED_BYTES_MAX,
        rate: None,
    };
    let reader_config = ReaderConfig {
        client: "c".into(),
        names: Names {
            clients: ["c".to_owned()].into(),
            jobs: config
                .scrape_configs
                .iter()
                .map(|job| job.job_name.clone())
                .collect(),
        },
        absent_at_ns: before_on_disk_ns(SystemTime::now() - AGE),
        job_names: vec!["j".to_owned()],
        line_bytes_max: 1 << 20,
        poll_min: Duration::from_millis(250),
        poll_max: Duration::from_millis(250),
        deleted_hold_max: Duration::from_secs(3600),
        unpacking: Unpacking {
            scratch: config.positions.filename.clone(),
            bytes_max: 1 << 30,
        },
    };
    let outbox = Outbox::new(batcher, limits, metrics.client("c"));
    Reader::new(
        reader_config,
        pipelines,
        book.clone(),
        outbox,
        metrics.clone(),
    )
}

impl Rig {
    /// Starts with an offset that promtail had.
    pub(super) fn import(&mut self, name: &str, offset: u64) {
        self.book = Arc::new(Book::new(Loaded {
            imported: [(self.path(name), offset)].into(),
            ..Loaded::default()
        }));
        self.start();
    }
}
