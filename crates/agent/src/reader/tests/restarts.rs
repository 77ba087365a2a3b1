//! What happens while the agent is not there.

use std::time::Duration;

use super::rig::{Rig, lines, lines_of};

const LONG: Duration = Duration::from_secs(120);

/// A reader that has read three lines of `a.log` and was killed.
fn killed(glob: &str) -> Rig {
    let mut rig = Rig::new(glob);
    rig.write("a.log", &lines("a", 0..3));
    assert_eq!(rig.read().len(), 3);
    rig.kill();
    rig
}

#[test]
fn reading_goes_on_where_it_was_acknowledged() {
    let mut rig = killed("a.log");
    rig.append("a.log", &lines("a", 3..5));
    rig.start();
    assert_eq!(rig.read(), ["a 3", "a 4"]);
    rig.restart();
    assert_eq!(rig.read(), [""; 0]);
}

#[test]
fn what_was_not_acknowledged_comes_again() {
    let mut rig = killed("a.log");
    rig.append("a.log", &lines("a", 3..5));
    rig.start();
    let batches = rig.turn_without_delivery();
    assert_eq!(lines_of(&batches[0]), ["a 3", "a 4"]);
    rig.restart();
    assert_eq!(rig.read(), ["a 3", "a 4"]);
}

#[test]
fn the_rest_of_a_file_that_was_rotated_meanwhile_is_read_first() {
    for glob in ["a.log", "a.log*"] {
        let mut rig = killed(glob);
        rig.append("a.log", &lines("a", 3..5));
        rig.rename("a.log", "a.log.1");
        rig.write("a.log", &lines("b", 0..20));
        rig.start();
        let mut read = rig.read();
        let mut expected: Vec<String> = (lines("a", 3..5) + &lines("b", 0..20))
            .lines()
            .map(str::to_owned)
            .collect();
        if glob != "a.log" {
            // There the two are files of their own, read side by side.
            read.sort();
            expected.sort();
        }
        assert_eq!(read, expected, "{glob}");
        assert_eq!(rig.read_after(LONG), [""; 0], "{glob}");
        rig.restart();
        assert_eq!(rig.read(), [""; 0], "{glob}");
    }
}

#[test]
fn generations_that_came_and_went_meanwhile_are_read() {
    let mut rig = killed("a.log");
    rig.append("a.log", "a 3\n");
    rig.rename("a.log", "a.log.3");
    rig.write("a.log.2", &lines("b", 0..2));
    rig.write("a.log.1", &lines("c", 0..2));
    rig.write("a.log", &lines("d", 0..2));
    rig.start();
    assert_eq!(
        rig.read(),
        ["a 3", "b 0", "b 1", "c 0", "c 1", "d 0", "d 1"]
    );
    rig.restart();
    assert_eq!(rig.read(), [""; 0]);
}

#[test]
fn what_bore_a_name_that_no_file_has_any_more_is_read() {
    for glob in ["a.log", "*.log"] {
        let mut rig = killed(glob);
        rig.append("a.log", "a 3\n");
        rig.rename("a.log", "a.log.2");
        rig.write("a.log.1", &lines("b", 0..2));
        rig.start();
        assert_eq!(rig.read(), ["a 3", "b 0", "b 1"], "{glob}");
        rig.restart();
        assert_eq!(rig.read_after(LONG), [""; 0], "{glob}");
        rig.write("a.log", "c 0\n");
        assert_eq!(rig.read(), ["c 0"], "{glob}");
        rig.restart();
        assert_eq!(rig.read(), [""; 0], "{glob}");
    }
}

#[test]
fn an_inode_that_was_given_away_again_is_another_file() {
    let mut rig = killed("a.log");
    // Written in place, the file keeps its inode.
    rig.write("a.log", &lines("another file, and longer", 0..5));
    rig.start();
    assert_eq!(rig.read().len(), 5);
}

#[test]
fn a_file_that_is_gone_is_told_as_lost_and_the_new_one_read() {
    let mut rig = killed("a.log");
    rig.remove("a.log");
    rig.write("b.tmp", "holds the inode");
    rig.write("a.log", &lines("b", 0..2));
    rig.start();
    assert_eq!(rig.read(), ["b 0", "b 1"]);
    assert_eq!(rig.metrics.files_lost.get(), 1);
}

#[test]
fn a_copy_made_meanwhile_is_read_from_where_the_original_was() {
    for glob in ["a.log", "a.log*"] {
        let mut rig = killed(glob);
        rig.append("a.log", &lines("a", 3..6));
        rig.copy("a.log", "a.log.1");
        rig.write("a.log", &lines("b", 0..20));
        rig.start();
        let mut read = rig.read_after(LONG);
        read.sort();
        let mut expected: Vec<String> = (lines("a", 3..6) + &lines("b", 0..20))
            .lines()
            .map(str::to_owned)
            .collect();
        expected.sort();
        assert_eq!(read, expected, "{glob}");
    }
}

#[test]
fn a_rotated_file_that_was_not_delivered_is_found_again() {
    let mut rig = Rig::new("a.log");
    rig.write("a.log", &lines("a", 0..3));
    assert_eq!(rig.turn_without_delivery().len(), 1);
    rig.rename("a.log", "a.log.1");
    rig.write("a.log", &lines("b", 0..2));
    assert_eq!(rig.turn_without_delivery().len(), 1);
    rig.restart();
    assert_eq!(rig.read(), ["a 0", "a 1", "a 2", "b 0", "b 1"]);
}

#[test]
fn kills_at_any_point_lose_nothing() {
    for kill_at in 0..12 {
        let mut rig = Rig::new("a.log");
        let mut read = std::collections::BTreeSet::new();
        for step in 0..12 {
            if step % 4 == 3 {
                rig.rename("a.log", &format!("a.log.{step}"));
            }
            let text = lines(&format!("s{step}"), 0..3);
            let old = std::fs::read_to_string(rig.path("a.log")).unwrap_or_default();
            if old.is_empty() {
                rig.write("a.log", &text);
            } else {
                rig.append("a.log", &text);
            }
            let batches = rig.turn_without_delivery();
            // What reached the sink before the kill stays there; that it did may not be known.
            read.extend(batches.iter().flat_map(lines_of));
            if step == kill_at {
                rig.restart();
            } else {
                rig.deliver(&batches);
            }
        }
        read.extend(rig.read_after(LONG));
        assert_eq!(read.len(), 36, "killed at {kill_at}");
    }
}

#[test]
fn positions_of_promtail_are_gone_on_from() {
    let mut rig = Rig::new("a.log");
    rig.write("a.log", "one\ntwo\n");
    rig.import("a.log", 4);
    assert_eq!(rig.read(), ["two"]);
    rig.write("b.tmp", "");
    let mut rig = Rig::new("a.log");
    rig.write("a.log", "one\n");
    rig.import("a.log", 400);
    assert_eq!(rig.read(), ["one"], "the file is shorter, so it is another");
}

/// Time and text of each entry.
fn rows(batches: &[crate::batch::Batch]) -> Vec<(i64, i32, Vec<u8>)> {
    let streams = batches.iter().flat_map(|batch| &batch.request.streams);
    let entries = streams.flat_map(|stream| &stream.entries);
    let row = |entry: &proto::logproto::EntryAdapter| {
        let time = entry.timestamp.unwrap();
        (time.seconds, time.nanos, entry.line.to_vec())
    };
    entries.map(row).collect()
}

#[test]
fn what_comes_again_has_the_times_it_had() {
    let mut rig = killed("a.log");
    rig.append("a.log", &lines("a", 3..5));
    rig.start();
    let mut first = rig.turn_without_delivery();
    rig.append("a.log", &lines("a", 5..7));
    first.extend(rig.turn_without_delivery());
    assert!(first.iter().all(|batch| batch.needs_version > 0));
    let may_repeat: Vec<bool> = first.iter().map(|batch| batch.may_repeat).collect();
    assert_eq!(
        may_repeat,
        [true, false],
        "what came after the start is new"
    );
    rig.append("a.log", &lines("a", 7..8));
    rig.rename("a.log", "a.log.1");
    rig.restart();
    rig.write("a.log", &lines("b", 0..1));
    let again = rows(&rig.turn_without_delivery());
    assert_eq!(again[..4], rows(&first));
    assert_eq!(again.len(), 6);
    assert!(again.is_sorted_by(|a, b| (a.0, a.1) < (b.0, b.1)));
}

#[test]
fn times_that_stages_find_in_lines_need_no_note() {
    let directory = tempfile::tempdir().unwrap();
    let glob = format!("{}/*.log", directory.path().display());
    let mut config = crate::Config::for_paths(&[("j", vec![glob])], "unused".into());
    config.scrape_configs[0].pipeline_stages = serde_yaml::from_str("[cri: {}]").unwrap();
    let mut rig = Rig::with_config(directory, config);
    rig.write("a.log", "2024-01-02T03:04:05.1Z stdout F x\n");
    let batches = rig.turn_without_delivery();
    assert!(!batches[0].is_stamped && batches[0].needs_version == 0);
    assert!(rig.records().iter().all(|record| record.stamps.is_empty()));
}

#[test]
fn what_comes_again_of_a_rotated_file_has_the_labels_it_had() {
    let mut rig = killed("a.*log*");
    rig.append("a.log", &lines("a", 3..5));
    rig.start();
    let first = rig.turn_without_delivery();
    // In both orders of names.
    for rotated in ["a.log.1", "a.1.log"] {
        rig.rename("a.log", rotated);
        rig.write("a.log", "new\n");
        rig.restart();
        let again = rig.turn_without_delivery();
        let labels: Vec<_> = again
            .iter()
            .flat_map(|batch| &batch.request.streams)
            .collect();
        assert_eq!(labels.len(), 1, "{rotated}");
        assert_eq!(labels[0].labels, first[0].request.streams[0].labels);
        assert_eq!(rows(&again)[..2], rows(&first));
        rig.remove("a.log");
        rig.rename(rotated, "a.log");
        rig.restart();
    }
}

/// The labels that streams have.
fn streams(batches: &[crate::batch::Batch]) -> std::collections::BTreeSet<&str> {
    let streams = batches.iter().flat_map(|batch| &batch.request.streams);
    streams.map(|stream| stream.labels.as_str()).collect()
}

#[test]
fn a_name_that_is_away_for_a_moment_of_its_rotation_keeps_its_lines() {
    let mut rig = killed("a.log*");
    rig.append("a.log", &lines("a", 3..5));
    rig.start();
    let first = rig.turn_without_delivery();
    rig.rename("a.log", "a.log.1");
    rig.restart();
    let again = rig.turn_without_delivery();
    assert_eq!(streams(&again), streams(&first));
    assert_eq!(rows(&again), rows(&first));
    rig.deliver(&again);
    rig.write("a.log", "new\n");
    assert_eq!(rig.read(), ["new"]);
    rig.append("a.log.1", "late\n");
    assert_eq!(rig.read(), ["late"]);
    assert_eq!(rig.read_after(LONG), [""; 0]);
    rig.restart();
    assert_eq!(rig.read(), [""; 0]);
}

#[test]
fn a_file_that_is_known_by_a_rotated_name_keeps_it_when_it_is_rotated_again() {
    let mut rig = Rig::new("a.log*");
    rig.write("a.log.1", &lines("old", 0..3));
    rig.write("a.log", &lines("a", 0..3));
    let first = rig.turn_without_delivery();
    assert_eq!(streams(&first).len(), 2);
    for name in ["a.log.2", "a.log.3"] {
        rig.rename("a.log.1", "aside");
        rig.rename("a.log", "a.log.1");
        rig.rename("aside", name);
        rig.write("a.log", "");
        rig.restart();
        let again = rig.turn_without_delivery();
        assert_eq!(streams(&again), streams(&first), "{name}");
        let (mut again, mut first) = (rows(&again), rows(&first));
        again.sort();
        first.sort();
        assert_eq!(again, first, "{name}");
        rig.rename("a.log.1", "a.log");
        rig.rename(name, "a.log.1");
    }
}

#[test]
fn a_new_file_with_the_inode_of_one_that_was_not_begun_has_its_own_name() {
    let mut rig = Rig::new("*.log");
    rig.write("a.log", "");
    assert_eq!(rig.read(), [""; 0]);
    rig.kill();
    rig.remove("a.log");
    // Most file systems give the inode away at once.
    rig.write("b.log", "b 0\n");
    rig.start();
    let batches = rig.turn_without_delivery();
    let labels: Vec<_> = streams(&batches).into_iter().collect();
    assert!(
        labels.len() == 1 && labels[0].contains("b.log"),
        "{labels:?}"
    );
}

#[test]
fn entries_of_several_lines_that_come_again_have_the_times_they_had() {
    let directory = tempfile::tempdir().unwrap();
    let glob = format!("{}/*.log", directory.path().display());
    let mut config = crate::Config::for_paths(&[("j", vec![glob])], "unused".into());
    let stages = "[multiline: {firstline: '^block', max_wait_time: 1h}]";
    config.scrape_configs[0].pipeline_stages = serde_yaml::from_str(stages).unwrap();
    let mut rig = Rig::with_config(directory, config);
    let mut first = Vec::new();
    rig.write("a.log", "block 0\n");
    // Each is read on its own; the second begins no entry.
    for text in ["  of 0\n", "  of 0 too\nblock 1\n", "block 2\nblock 3\n"] {
        first.extend(rig.turn_without_delivery());
        rig.append("a.log", text);
    }
    first.extend(rig.turn_without_delivery());
    rig.restart();
    let again = rows(&rig.turn_without_delivery());
    assert_eq!(again, rows(&first));
    assert_eq!(again.len(), 3);
}
