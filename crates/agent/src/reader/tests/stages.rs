//! What pipelines hold back holds back positions.

use std::time::Duration;

use super::rig::{Rig, lines_of};
use crate::batch::Batch;
use crate::config::Config;

fn rig(stages: &str) -> Rig {
    let directory = tempfile::tempdir().unwrap();
    let glob = format!("{}/*.log*", directory.path().display());
    let mut config = Config::for_paths(&[("j", vec![glob])], "unused".into());
    config.scrape_configs[0].pipeline_stages = serde_yaml::from_str(stages).unwrap();
    Rig::with_config(directory, config)
}

fn cri(flag: &str, text: &str) -> String {
    format!("2024-01-02T03:04:05.000000001Z stdout {flag} {text}\n")
}

#[test]
fn a_part_of_a_line_is_read_again_after_a_restart() {
    let mut rig = rig("[cri: {}]");
    rig.write("a.log", &(cri("F", "whole") + &cri("P", "first, ")));
    assert_eq!(rig.read(), ["whole"]);
    let held_at = cri("F", "whole").len() as u64;
    assert_eq!(rig.offset("a.log"), Some(held_at));
    rig.restart();
    assert_eq!(rig.read(), [""; 0]);
    rig.append("a.log", &(cri("F", "second") + &cri("F", "next")));
    assert_eq!(rig.read(), ["first, second", "next"]);
    assert!(rig.offset("a.log") > Some(held_at));
}

#[test]
fn a_line_in_parts_stays_whole_over_a_rotation_and_a_restart() {
    let mut rig = rig("[cri: {}]");
    rig.write("a.log", &cri("P", "first, "));
    assert_eq!(rig.read(), [""; 0]);
    rig.rename("a.log", "a.log.1");
    rig.write("a.log", &(cri("F", "second") + &cri("F", "next")));
    let batches = rig.turn_without_delivery();
    assert_eq!(lines_of(&batches[0]), ["first, second", "next"]);
    rig.restart();
    assert_eq!(rig.read(), ["first, second", "next"]);
    rig.restart();
    assert_eq!(rig.read_after(Duration::from_secs(120)), [""; 0]);
}

#[test]
fn equal_lines_that_are_packed_have_times_of_their_own_and_the_same_when_they_are_read_again() {
    let mut rig = rig("[cri: {}, pack: {labels: [stream]}]");
    rig.write("a.log", &cri("F", "equal").repeat(3));
    let times = |batches: &[Batch]| -> Vec<_> {
        let streams = batches.iter().flat_map(|batch| &batch.request.streams);
        let entries = streams.flat_map(|stream| &stream.entries);
        entries.map(|entry| entry.timestamp.unwrap()).collect()
    };
    let batches = rig.turn_without_delivery();
    let first = times(&batches);
    assert_eq!(first.len(), 3);
    assert!(first.is_sorted_by_key(|time| (time.seconds, time.nanos)));
    assert!(first[0] != first[1] && first[1] != first[2], "{first:?}");
    assert!(batches[0].is_stamped, "saved before they are sent");
    rig.restart();
    assert_eq!(times(&rig.turn_without_delivery()), first);
}

#[test]
fn lines_that_stages_drop_move_the_position_on() {
    let mut rig = rig("[json: {expressions: {msg: msg}}, output: {source: msg}]");
    rig.write("a.log", "{\"msg\":\"x\"}\nnot json\n");
    assert_eq!(rig.read(), ["x", "not json"]);
    assert_eq!(rig.offset("a.log"), Some(21));
}

#[test]
fn a_part_of_a_line_goes_out_when_its_file_is_gone_for_good() {
    let mut rig = rig("[cri: {}]");
    rig.write("a.log", &(cri("F", "whole") + &cri("P", "first, ")));
    assert_eq!(rig.read(), ["whole"]);
    rig.remove("a.log");
    assert_eq!(rig.read(), [""; 0], "its rest may still be written");
    assert_eq!(rig.read_after(Duration::from_secs(10)), ["first, "]);
    assert_eq!(rig.read_after(Duration::from_secs(10)), [""; 0]);
    assert!(rig.reader.status().is_empty() && rig.records().is_empty());
}

#[test]
fn a_block_of_lines_goes_out_when_its_file_is_rotated_away() {
    let mut rig = rig("[multiline: {firstline: '^f', max_wait_time: 1h}]");
    rig.write("a.log", "f1\nx\nf2\n");
    assert_eq!(rig.read(), ["f1\nx"]);
    rig.rename("a.log", "a.log.1");
    rig.append("a.log.1", "y");
    assert_eq!(rig.read_after(Duration::from_secs(10)), [""; 0]);
    assert_eq!(rig.read_after(Duration::from_secs(120)), ["f2\ny"]);
    rig.restart();
    assert_eq!(rig.read(), [""; 0]);
}

#[test]
fn the_last_block_of_a_rotated_file_waits_no_longer_than_since_it_was_written() {
    let mut rig = rig("[multiline: {firstline: '^f', max_wait_time: 1h}]");
    rig.write("a.log", "f1\nf2\n");
    assert_eq!(rig.read(), ["f1"]);
    // It came and was rotated before it was looked at, and is read under this name.
    rig.write("a.log.1", "f0\nx\n");
    assert_eq!(rig.read(), [""; 0]);
    rig.kill();
    rig.pass(Duration::from_secs(6));
    rig.start();
    assert_eq!(rig.read_after(Duration::from_secs(1)), ["f0\nx"]);
    assert_eq!(rig.offset("a.log"), Some(3), "the other may go on");
}
