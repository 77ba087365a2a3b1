//! Rotation while the reader runs.

use std::time::Duration;

use super::rig::{AGE, Rig, lines};
use crate::tail::restore::{from_the_book, under_earlier_name};

const LONG: Duration = Duration::from_secs(120);

#[test]
fn a_renamed_file_is_read_to_its_end_before_the_new_one() {
    let mut rig = Rig::new("a.log");
    rig.write("a.log", &lines("a", 0..3));
    assert_eq!(rig.read().len(), 3);
    rig.append("a.log", &lines("a", 3..5));
    rig.rename("a.log", "a.log.1");
    rig.append("a.log.1", &lines("a", 5..6));
    rig.write("a.log", &lines("b", 0..2));
    assert_eq!(rig.read(), ["a 3", "a 4", "a 5", "b 0", "b 1"]);
    rig.append("a.log.1", "late\n");
    assert_eq!(rig.read(), ["late"], "its writer has not noticed yet");
    assert_eq!(rig.read_after(LONG), [""; 0]);
}

#[test]
fn a_renamed_file_that_the_glob_matches_is_not_read_again() {
    let mut rig = Rig::new("a.log*");
    rig.write("a.log", &lines("a", 0..3));
    assert_eq!(rig.read().len(), 3);
    for generation in 1..4 {
        for older in (1..generation).rev() {
            rig.rename(&format!("a.log.{older}"), &format!("a.log.{}", older + 1));
        }
        rig.append("a.log", "last\n");
        rig.rename("a.log", "a.log.1");
        rig.write("a.log", &format!("new {generation}\n"));
        assert_eq!(rig.read(), ["last".to_owned(), format!("new {generation}")]);
        assert_eq!(rig.read_after(LONG), [""; 0]);
    }
    rig.restart();
    assert_eq!(rig.read_after(LONG), [""; 0]);
}

#[test]
fn generations_that_come_while_a_look_is_taken_in_are_read() {
    let mut rig = Rig::new("a.log");
    // The look began before the files were written, and is told after.
    let before = rig.scan();
    for generation in 0..3 {
        rig.write("a.log", &lines(&format!("g{generation}"), 0..2));
        rig.rename("a.log", &format!("a.log.{}", 3 - generation));
    }
    rig.write("a.log", &lines("g3", 0..2));
    assert!(rig.turn_with(before).is_empty());
    let expected: String = (0..4).map(|i| lines(&format!("g{i}"), 0..2)).collect();
    assert_eq!(rig.read(), expected.lines().collect::<Vec<_>>());
}

#[test]
fn generations_that_come_and_go_between_two_looks_are_read_in_order() {
    let mut rig = Rig::new("a.log");
    rig.write("a.log", &lines("g0", 0..2));
    assert_eq!(rig.read().len(), 2);
    for generation in 1..8 {
        for older in (1..generation).rev() {
            rig.rename(&format!("a.log.{older}"), &format!("a.log.{}", older + 1));
        }
        rig.rename("a.log", "a.log.1");
        rig.write("a.log", &lines(&format!("g{generation}"), 0..2));
    }
    let read = rig.read();
    let expected: String = (1..8).map(|i| lines(&format!("g{i}"), 0..2)).collect();
    assert_eq!(read, expected.lines().collect::<Vec<_>>());
    assert_eq!(rig.read_after(LONG), [""; 0]);
}

#[test]
fn a_file_that_is_rotated_while_its_name_is_met_is_read_once() {
    let mut rig = Rig::new("a.log");
    rig.turn_without_delivery();
    rig.write("a.log", &lines("a", 0..3));
    rig.begin_while_renamed("a.log", "a.log.1");
    rig.write("a.log", &lines("b", 0..2));
    assert_eq!(rig.read(), ["a 0", "a 1", "a 2", "b 0", "b 1"]);
}

#[test]
fn a_name_that_passes_to_a_file_that_is_read_begins_nothing() {
    let mut rig = Rig::new("a.log");
    rig.write("a.log", &lines("a", 0..3));
    assert_eq!(rig.read().len(), 3);
    rig.rename("a.log", "b.log");
    assert!(!rig.begin("b.log", from_the_book));
    assert!(!rig.begin("b.log", under_earlier_name));
    assert_eq!(rig.read(), [""; 0]);
}

#[test]
fn generations_that_come_before_the_first_look_are_read() {
    let mut rig = Rig::new("a.log");
    rig.write("a.log", &lines("g0", 0..2));
    rig.rename("a.log", "a.log.1");
    rig.write("a.log", &lines("g1", 0..2));
    assert_eq!(rig.read(), ["g0 0", "g0 1", "g1 0", "g1 1"]);
    assert_eq!(rig.read_after(LONG), [""; 0]);
    rig.restart();
    assert_eq!(rig.read_after(LONG), [""; 0]);
}

#[test]
fn generations_of_a_pod_are_read_that_come_before_it_is_told_of() {
    for (label, is_read) in [("__meta_kubernetes_pod_uid", true), ("uid", false)] {
        let mut rig = Rig::labelled("0.log", label);
        // The pod is not known yet when the globs are looked at.
        rig.turn_without_delivery();
        rig.write("0.log.1", "g0\n");
        rig.set_age("0.log.1", AGE / 2);
        rig.write("0.log", "g1\n");
        let expected: &[&str] = if is_read { &["g0", "g1"] } else { &["g1"] };
        assert_eq!(rig.read(), expected, "{label}");
    }
}

#[test]
fn archives_from_before_are_not_read() {
    let mut rig = Rig::new("a.log");
    rig.write("a.log.1", &lines("old", 0..2));
    rig.set_age("a.log.1", Duration::from_secs(3600));
    rig.write("a.log", &lines("a", 0..2));
    assert_eq!(rig.read(), ["a 0", "a 1"]);
    rig.rename("a.log", "a.log.2");
    rig.write("a.log", &lines("b", 0..1));
    assert_eq!(rig.read(), ["b 0"]);
}

#[test]
fn a_truncated_file_is_read_from_its_beginning() {
    let mut rig = Rig::new("a.log");
    rig.write("a.log", &lines("a", 0..5));
    assert_eq!(rig.read().len(), 5);
    rig.write("a.log", "b 0\n");
    assert_eq!(rig.read(), ["b 0"]);
    rig.write("a.log", &lines("c", 0..50));
    assert_eq!(rig.read(), lines("c", 0..50).lines().collect::<Vec<_>>());
}

#[test]
fn what_only_the_copy_of_a_truncated_file_has_is_read_from_there() {
    for glob in ["a.log", "a.log*"] {
        let mut rig = Rig::new(glob);
        rig.write("a.log", &lines("a", 0..5));
        assert_eq!(rig.read().len(), 5, "{glob}");
        rig.append("a.log", &lines("a", 5..8));
        rig.copy("a.log", "a.log.1");
        rig.write("a.log", &lines("b", 0..20));
        let read = rig.read();
        let expected = lines("a", 5..8) + &lines("b", 0..20);
        assert_eq!(read, expected.lines().collect::<Vec<_>>(), "{glob}");
        assert_eq!(rig.read_after(LONG), [""; 0], "{glob}");
    }
}

#[test]
fn a_copy_under_way_is_left_alone_until_the_original_is_truncated() {
    let mut rig = Rig::new("a.log*");
    rig.write("a.log", &lines("a", 0..5));
    assert_eq!(rig.read().len(), 5);
    rig.write("a.log.1", "a 0\na 1\n");
    assert_eq!(rig.read(), [""; 0]);
    rig.copy("a.log", "a.log.1");
    assert_eq!(rig.read(), [""; 0]);
    rig.write("a.log", "b 0\n");
    assert_eq!(rig.read(), ["b 0"]);
    assert_eq!(rig.read_after(LONG), [""; 0]);
}

#[test]
fn a_file_with_the_beginning_of_another_is_read_after_all() {
    let mut rig = Rig::new("a*.log");
    rig.write("a.log", "banner\na 0\n");
    assert_eq!(rig.read().len(), 2);
    rig.write("a.1.log", "banner\na 0\n");
    rig.write("ab.log", "banner\na 0\n");
    assert_eq!(
        rig.read(),
        ["banner", "a 0"],
        "only one of the names can come from rotation"
    );
    assert_eq!(rig.read_after(LONG), ["banner", "a 0"]);
}

#[test]
fn holes_that_a_truncation_leaves_are_passed_over() {
    use std::os::unix::fs::FileExt;
    let mut rig = Rig::new("a.log");
    rig.write("a.log", &lines("a", 0..500));
    assert_eq!(rig.read().len(), 500);
    let writer = std::fs::OpenOptions::new()
        .write(true)
        .open(rig.path("a.log"))
        .unwrap();
    writer.set_len(0).unwrap();
    writer.write_at(b"b 0\nb 1\n", 300 << 20).unwrap();
    assert_eq!(rig.read(), ["b 0", "b 1"]);
}

#[test]
fn a_deleted_file_is_read_to_its_end_and_let_go() {
    let mut rig = Rig::new("a.log");
    rig.write("a.log", &lines("a", 0..3));
    assert_eq!(rig.read().len(), 3);
    rig.append("a.log", "a 3\nno line end");
    rig.remove("a.log");
    assert_eq!(rig.read(), ["a 3"]);
    assert_eq!(rig.read_after(LONG), ["no line end"]);
    assert_eq!(rig.read_after(LONG), [""; 0]);
    assert!(rig.reader.status().is_empty());
    assert!(rig.records().is_empty());
}

#[test]
fn a_deleted_file_is_held_until_it_is_delivered() {
    let mut rig = Rig::new("a.log");
    rig.write("a.log", &lines("a", 0..3));
    let batches = rig.turn_without_delivery();
    rig.remove("a.log");
    for _ in 0..20 {
        rig.pass(Duration::from_secs(60));
        assert!(rig.turn_without_delivery().is_empty());
    }
    assert_eq!(rig.reader.status().len(), 1);
    rig.deliver(&batches);
    rig.read_after(LONG);
    assert!(rig.reader.status().is_empty());
}

#[test]
fn a_deleted_file_is_not_held_for_ever() {
    let mut rig = Rig::new("a.log");
    rig.write("a.log", &format!("{}\n", "x".repeat(1000)).repeat(20_000));
    rig.turn_without_delivery();
    rig.remove("a.log");
    rig.turn_without_delivery();
    rig.pass(Duration::from_secs(2 * 3600));
    rig.turn_without_delivery();
    assert_eq!(rig.metrics.files_lost.get(), 1);
    assert!(rig.metrics.bytes_lost.get() > 10 << 20);
}

#[test]
fn a_deleted_and_recreated_file_is_a_new_one() {
    let mut rig = Rig::new("a.log");
    rig.write("a.log", &lines("a", 0..3));
    assert_eq!(rig.read().len(), 3);
    rig.remove("a.log");
    rig.write("a.log", &lines("b", 0..2));
    assert_eq!(rig.read(), ["b 0", "b 1"]);
    rig.remove("a.log");
    rig.read_after(LONG);
    rig.write("a.log", &lines("c", 0..2));
    assert_eq!(rig.read(), ["c 0", "c 1"]);
}

#[test]
fn rotations_during_an_outage_lose_nothing() {
    let mut rig = Rig::new("a.log");
    let mut expected = Vec::new();
    let mut batches = Vec::new();
    for generation in 0..6 {
        let text = lines(&format!("g{generation}"), 0..3000);
        expected.extend(text.lines().map(str::to_owned).collect::<Vec<_>>());
        rig.write("a.log", &text);
        batches.extend(rig.turn_without_delivery());
        rig.rename("a.log", &format!("a.log.{generation}"));
    }
    let mut read: Vec<String> = batches.iter().flat_map(super::rig::lines_of).collect();
    assert!(
        read.len() < expected.len(),
        "the bound on what is owed was met"
    );
    rig.deliver(&batches);
    read.extend(rig.read());
    assert_eq!(read.len(), expected.len());
    assert_eq!(read, expected);
}
