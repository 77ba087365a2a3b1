//! Files that are written, rotated, truncated and deleted in all the ways that happen, while the
//! reader looks, while it does not, and while it is not there.

mod crashes;
mod packed;
mod restarts;
mod rig;
mod rotation;
mod stages;

use rig::{Rig, lines};

#[test]
fn lines_come_in_order_and_half_ones_wait() {
    let mut rig = Rig::new("*.log");
    rig.write("a.log", "one\ntw");
    assert_eq!(rig.read(), ["one"]);
    rig.append("a.log", "o\nthree\n");
    assert_eq!(rig.read(), ["two", "three"]);
    assert_eq!(rig.read(), [""; 0]);
}

#[test]
fn labels_are_those_of_the_target_and_the_file() {
    let mut rig = Rig::new("*.log");
    rig.write("a.log", "one\n");
    let batch = rig.turn_without_delivery().pop().unwrap();
    let file = rig.path("a.log");
    let expected = format!(r#"{{filename="{}", job="j"}}"#, file.display());
    assert_eq!(batch.request.streams[0].labels, expected);
}

#[test]
fn what_is_no_regular_file_is_passed_over() {
    let mut rig = Rig::new("*");
    rig.write("a.log", "one\n");
    std::fs::create_dir(rig.path("b.log")).unwrap();
    rig.make_fifo("c.log");
    assert_eq!(rig.read(), ["one"]);
}

#[test]
fn a_file_that_becomes_a_fifo_blocks_nobody() {
    let mut rig = Rig::new("*.log");
    rig.write("a.log", "one\n");
    rig.write("b.log", "two\n");
    assert_eq!(rig.read(), ["one", "two"]);
    rig.remove("a.log");
    rig.make_fifo("a.log");
    rig.append("b.log", "three\n");
    assert_eq!(rig.read(), ["three"]);
}

#[test]
fn links_as_a_kubelet_makes_them_are_followed() {
    let mut rig = Rig::new("containers/*.log");
    for directory in ["containers", "pods", "pods/uid"] {
        std::fs::create_dir(rig.path(directory)).unwrap();
    }
    rig.write("pods/uid/0.log", &lines("a", 0..3));
    std::os::unix::fs::symlink(rig.path("pods/uid/0.log"), rig.path("containers/c.log")).unwrap();
    assert_eq!(rig.read().len(), 3);
    rig.append("pods/uid/0.log", &lines("a", 3..5));
    rig.rename("pods/uid/0.log", "pods/uid/0.log.20240101-000000");
    rig.write("pods/uid/0.log", &lines("b", 0..2));
    assert_eq!(rig.read(), ["a 3", "a 4", "b 0", "b 1"]);
}

#[test]
fn reading_stops_while_too_much_is_owed() {
    let mut rig = Rig::new("*.log");
    let line = "x".repeat(1000);
    rig.write("a.log", &format!("{line}\n").repeat(20_000));
    let mut batches = rig.turn_without_delivery();
    batches.extend(rig.turn_without_delivery());
    let owed: usize = batches.iter().map(crate::batch::Batch::memory_bytes).sum();
    assert!(owed <= rig::OWED_BYTES_MAX + (512 << 10), "{owed}");
    assert!(rig.turn_without_delivery().is_empty());
    let held = batches.iter().map(|batch| batch.entries).sum::<usize>();
    rig.deliver(&batches);
    assert_eq!(rig.read().len() + held, 20_000);
}

#[test]
fn positions_advance_only_with_acknowledgement() {
    let mut rig = Rig::new("*.log");
    rig.write("a.log", "one\ntwo\n");
    let batches = rig.turn_without_delivery();
    assert_eq!(rig.offset("a.log"), Some(0));
    rig.deliver(&batches);
    rig.read();
    assert_eq!(rig.offset("a.log"), Some(8));
    rig.append("a.log", "three\n");
    rig.turn_without_delivery();
    assert_eq!(rig.offset("a.log"), Some(8));
}

#[test]
fn batches_that_are_done_out_of_order_wait_for_the_oldest() {
    let mut rig = Rig::new("*.log");
    rig.write("a.log", "one\n");
    let first = rig.turn_without_delivery();
    rig.append("a.log", "two\n");
    let second = rig.turn_without_delivery();
    assert_eq!((first.len(), second.len()), (1, 1));
    rig.deliver(&second);
    rig.read();
    assert_eq!(rig.offset("a.log"), Some(0));
    rig.deliver(&first);
    rig.read();
    assert_eq!(rig.offset("a.log"), Some(8));
}

#[test]
fn many_files_are_read_side_by_side() {
    let mut rig = Rig::new("**/*.log");
    for i in 0..200 {
        std::fs::create_dir_all(rig.path(&format!("d{}", i % 7))).unwrap();
        rig.write(&format!("d{}/f{i}.log", i % 7), &lines("x", 0..3));
    }
    assert_eq!(rig.read().len(), 600);
    assert_eq!(rig.reader.status().len(), 200);
    assert!(rig.reader.status().iter().all(|file| file.lag_bytes == 0));
}
