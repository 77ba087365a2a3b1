//! Crashes at any moment, over any order of writing, waiting, sending and saving: what is sent again
//! is the very same.
//!
//! `SUITE_CRASH_RUNS=1000 cargo test -p agent crashes` tries more of them, and `SUITE_CRASH_SEED` says
//! with which to begin.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::rig::{Rig, entries};
use crate::positions::Record;

/// Runs of each pipeline, and what happens in one.
const RUNS: u64 = 25;
const STEPS: usize = 40;

/// What is written, sent and saved in one run.
struct Run {
    random: StdRng,
    rig: Rig,
    /// Lines that were written.
    lines: usize,
    /// Whether lines are those of a container runtime.
    is_cri: bool,
    /// Whether files are rotated.
    rotates: bool,
    files: usize,
    /// Rows that were sent, each as often as one likes.
    sent: BTreeSet<(String, i64)>,
    saved: Vec<Record>,
    /// The version of the book that is saved.
    saved_version: u64,
}

impl Run {
    fn new(stages: &str, rotates: bool, seed: u64) -> Self {
        let rig = Rig::staged("a.log", stages);
        rig.write("a.log", "");
        Self {
            random: StdRng::seed_from_u64(seed),
            rig,
            lines: 0,
            is_cri: stages.contains("cri"),
            rotates,
            files: 1,
            sent: BTreeSet::new(),
            saved: Vec::new(),
            saved_version: 0,
        }
    }

    /// First lines and others, with times that can be read and without; each has a number.
    fn write(&mut self) {
        let number = self.lines;
        self.lines += 1;
        let kind = if self.random.random_bool(0.3) {
            "f"
        } else {
            "r"
        };
        let time = if self.random.random_bool(0.5) {
            format!("{}", 1_700_000_000 + number)
        } else {
            "none".to_owned()
        };
        let line = format!("{kind} {time} n{number};");
        let line = if self.is_cri {
            let stream = ["stdout", "stderr"][self.random.random_range(0..2)];
            let flag = ["P", "F"][self.random.random_range(0..2)];
            format!("2024-01-02T03:04:05.{number:09}Z {stream} {flag} {line}")
        } else {
            line
        };
        self.rig.append("a.log", &format!("{line}\n"));
    }

    fn rotate(&mut self) {
        for file in (1..self.files).rev() {
            self.rig
                .rename(&format!("a.log.{file}"), &format!("a.log.{}", file + 1));
        }
        self.rig.rename("a.log", "a.log.1");
        self.rig.write("a.log", "");
        self.files += 1;
    }

    fn turn(&mut self) {
        let batches = self.rig.turn_without_delivery();
        self.sent.extend(entries(&batches));
        // What is made of more than its lines is saved before it is sent, other positions at times.
        let needs_version = batches.iter().map(|batch| batch.needs_version).max();
        if needs_version > Some(self.saved_version) || self.random.random_bool(0.3) {
            (self.saved, self.saved_version) = (self.rig.records(), self.rig.version());
        }
        let taken = self.random.random_range(0..=batches.len());
        let is_taken = self.random.random_bool(0.7);
        self.rig.deliver(
            batches
                .get(..taken)
                .filter(|_| is_taken)
                .unwrap_or_default(),
        );
    }

    fn step(&mut self) {
        match self.random.random_range(0..10) {
            0..5 => {
                for _ in 0..self.random.random_range(1..5) {
                    self.write();
                }
            }
            5..7 => self.turn(),
            7 => self.rig.pass(Duration::from_secs(3)),
            8 if self.rotates => self.rotate(),
            _ => {
                self.rig.kill_with(self.saved.clone());
                self.rig.start();
                self.saved_version = self.rig.version();
            }
        }
    }

    /// All that is left is sent. Each line must be in one row, and only in one.
    fn check(mut self, what: &str) {
        if self.is_cri {
            // Nothing waits for its rest.
            for stream in ["stdout", "stderr"] {
                let line = format!("2024-01-02T03:04:06.000000000Z {stream} F f\n");
                self.rig.append("a.log", &line);
            }
        }
        for _ in 0..4 {
            self.rig.pass(Duration::from_secs(90));
            for _ in 0..2 {
                let batches = self.rig.turn_without_delivery();
                self.sent.extend(entries(&batches));
                self.rig.deliver(&batches);
            }
        }
        let mut counts: BTreeMap<usize, usize> = (0..self.lines).map(|n| (n, 0)).collect();
        for (row, _) in &self.sent {
            let numbers = row.split('n').filter_map(|part| part.split_once(';'));
            for number in numbers.filter_map(|(number, _)| number.parse().ok()) {
                *counts.entry(number).or_default() += 1;
            }
        }
        counts.retain(|_, count| *count != 1);
        assert!(counts.is_empty(), "{what}: {counts:?} of {:#?}", self.sent);
    }
}

fn check(stages: &str, rotates: bool) {
    let number = |text: Option<&str>, default| text.map_or(default, |text| text.parse().unwrap());
    let first = number(option_env!("SUITE_CRASH_SEED"), 0);
    let runs = number(option_env!("SUITE_CRASH_RUNS"), RUNS);
    for seed in first..first + runs {
        let mut run = Run::new(stages, rotates, seed);
        for _ in 0..STEPS {
            run.step();
        }
        run.check(&format!("seed {seed} of {stages}"));
    }
}

#[test]
fn plain_lines() {
    check("[]", true);
}

#[test]
fn times_that_are_made_of_those_of_other_lines() {
    let stages = "[regex: {expression: '(?P<t>[0-9]{10})'}, timestamp: {source: t, format: Unix}]";
    check(stages, true);
}

#[test]
fn blocks_of_lines() {
    check(
        "[multiline: {firstline: '^f', max_wait_time: 2s, max_lines: 4}]",
        false,
    );
}

#[test]
fn blocks_of_lines_with_times_of_their_own() {
    let stages = "[multiline: {firstline: '^f', max_wait_time: 2s, max_lines: 4},
        regex: {expression: '(?P<t>[0-9]{10})'}, timestamp: {source: t, format: Unix}]";
    check(stages, true);
}

#[test]
fn blocks_of_lines_that_had_times_before_they_were_joined() {
    let stages = "[regex: {expression: '(?P<t>[0-9]{10})'}, timestamp: {source: t, format: Unix},
        multiline: {firstline: '^f', max_wait_time: 2s, max_lines: 4}]";
    check(stages, true);
}

#[test]
fn blocks_of_lines_that_are_packed() {
    let stages = "[multiline: {firstline: '^f', max_wait_time: 2s}, pack: {labels: [job]}]";
    check(stages, true);
}

#[test]
fn lines_in_parts_of_two_streams_beside_each_other() {
    check("[cri: {}]", true);
}
