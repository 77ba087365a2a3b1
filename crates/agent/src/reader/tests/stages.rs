//! What pipelines hold back holds back positions.

use std::time::Duration;

use super::rig::{Rig, entries, lines_of};

fn rig(stages: &str) -> Rig {
    Rig::staged("*.log*", stages)
}

fn cri(flag: &str, text: &str) -> String {
    format!("2024-01-02T03:04:05.000000001Z stdout {flag} {text}\n")
}

/// What goes out after so long, and is not acknowledged.
fn sent_after(rig: &mut Rig, time: Duration) -> Vec<(String, i64)> {
    let mut batches = rig.turn_without_delivery();
    rig.pass(time);
    batches.extend(rig.turn_without_delivery());
    assert!(batches.iter().all(|batch| batch.is_stamped), "saved first");
    entries(&batches)
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
fn files_of_a_name_are_read_in_their_order_though_neither_their_times_nor_their_inodes_tell_it() {
    let mut rig = Rig::staged("a.log", "[cri: {}]");
    let written = std::time::SystemTime::now();
    rig.write("spare", &cri("F", "second"));
    rig.write("a.log", &cri("P", "first, "));
    rig.set_written("spare", written);
    rig.set_written("a.log", written);
    assert_eq!(rig.read(), [""; 0]);
    rig.rename("a.log", "a.log.2");
    rig.rename("spare", "a.log");
    let batches = rig.turn_without_delivery();
    assert_eq!(lines_of(&batches[0]), ["first, second"]);
    rig.rename("a.log", "a.log.1");
    rig.write("a.log", &cri("F", "third"));
    rig.turn_without_delivery();
    rig.restart();
    assert_eq!(rig.read(), ["first, second", "third"]);
}

#[test]
fn equal_lines_that_are_packed_have_times_of_their_own_and_the_same_when_they_are_read_again() {
    let mut rig = rig("[cri: {}, pack: {labels: [stream]}]");
    rig.write("a.log", &cri("F", "equal").repeat(3));
    let batches = rig.turn_without_delivery();
    let first = entries(&batches);
    assert_eq!(first.len(), 3);
    assert!(first.is_sorted_by_key(|(_, time_ns)| *time_ns));
    assert!(first[0] != first[1] && first[1] != first[2], "{first:?}");
    assert!(batches[0].is_stamped, "saved before they are sent");
    rig.restart();
    assert_eq!(entries(&rig.turn_without_delivery()), first);
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

#[test]
fn a_time_that_was_made_of_an_earlier_lines_is_the_same_when_it_is_read_again() {
    const S: i64 = 1_000_000_000;
    let mut rig =
        rig("[regex: {expression: '^(?P<t>[0-9]+)'}, timestamp: {source: t, format: Unix}]");
    rig.write("a.log", "1700000000 a\nb\n");
    assert_eq!(rig.read(), ["1700000000 a", "b"]);
    rig.append("a.log", "c\n1700000009 d\ne\n");
    let first = sent_after(&mut rig, Duration::from_secs(1));
    let expected = [
        ("c", 1_700_000_000 * S + 2),
        ("1700000009 d", 1_700_000_009 * S),
        ("e", 1_700_000_009 * S + 1),
    ];
    assert_eq!(first, expected.map(|(line, ns)| (line.to_owned(), ns)));
    for _ in 0..2 {
        rig.restart();
        assert_eq!(sent_after(&mut rig, Duration::from_secs(1)), first);
    }
    // The line before is in a file that was rotated, and the next one goes on with its time.
    rig.restart();
    rig.read();
    rig.rename("a.log", "a.log.1");
    rig.write("a.log", "f\n");
    let first = sent_after(&mut rig, Duration::from_secs(1));
    assert_eq!(first, [("f".to_owned(), 1_700_000_009 * S + 2)]);
    for _ in 0..2 {
        rig.restart();
        assert_eq!(sent_after(&mut rig, Duration::from_secs(1)), first);
    }
}

#[test]
fn a_block_that_was_let_go_in_the_middle_is_cut_there_when_it_is_read_again() {
    let wait = Duration::from_secs(3);
    let mut rig = rig("[multiline: {firstline: '^f', max_wait_time: 2s}]");
    rig.write("a.log", "f1\n a\n");
    let mut first = sent_after(&mut rig, wait);
    rig.append("a.log", " b\n c\n");
    first.extend(sent_after(&mut rig, wait));
    let lines: Vec<&str> = first.iter().map(|(line, _)| line.as_str()).collect();
    assert_eq!(lines, ["f1\n a", " b\n c"]);
    assert_eq!(first[0].1, first[1].1, "the time of the first line");
    for _ in 0..2 {
        rig.restart();
        assert_eq!(sent_after(&mut rig, wait), first);
    }
}

#[test]
fn the_rest_of_a_block_that_is_done_with_comes_again_as_its_rest() {
    let wait = Duration::from_secs(3);
    let mut rig = rig("[multiline: {firstline: '^f', max_wait_time: 2s}]");
    rig.write("a.log", "f0\nf1\n a\n");
    let mut batches = rig.turn_without_delivery();
    rig.pass(wait);
    batches.extend(rig.turn_without_delivery());
    let whole = entries(&batches);
    rig.deliver(&batches);
    assert_eq!(rig.read(), [""; 0]);
    rig.append("a.log", " b\n c\n");
    let first = sent_after(&mut rig, wait);
    assert_eq!(first, [(" b\n c".to_owned(), whole[1].1)]);
    for _ in 0..2 {
        rig.restart();
        assert_eq!(sent_after(&mut rig, wait), first);
        assert_eq!(rig.offset("a.log"), Some(9));
    }
    // What is done with does not come again, and the position does not go back.
    rig.restart();
    assert_eq!(rig.read_after(wait), [" b\n c"]);
    rig.restart();
    assert_eq!(rig.read_after(wait), [""; 0]);
    assert_eq!(rig.offset("a.log"), Some(15));
    rig.append("a.log", "f2\n d\nf3\n");
    assert_eq!(rig.read(), ["f2\n d", "f3"]);
    assert_eq!(rig.offset("a.log"), Some(24));
}

#[test]
fn a_part_of_a_line_whose_rest_never_comes_does_not_hold_back_the_position_for_ever() {
    let mut rig = rig("[cri: {}]");
    let long = "x".repeat(1 << 19);
    rig.write("a.log", &cri("P", "first, "));
    let other = cri("F", &long).replace("stdout", "stderr");
    for _ in 0..70 {
        rig.append("a.log", &other);
    }
    let lines = rig.read();
    assert_eq!(lines.len(), 71);
    assert!(lines.contains(&"first, ".to_owned()));
    assert!(rig.offset("a.log") > Some(32 << 20));
}

#[test]
fn a_truncated_file_is_closed_though_a_block_goes_on_after_it() {
    let mut rig = rig("[multiline: {firstline: '^f', max_wait_time: 2s}]");
    rig.write("a.log", "f one\nrest\nmore\n");
    assert_eq!(rig.read_after(Duration::from_secs(3)).len(), 0);
    for n in 0..3 {
        rig.write("a.log", &format!("r {n}\n"));
        rig.read();
        rig.write("a.log", &format!("f {n}\nrest of {n}\nmore of {n}\n"));
        rig.read_after(Duration::from_secs(120));
    }
    rig.read_after(Duration::from_secs(120));
    let file = rig.path("a.log");
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    let open = open.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
    assert_eq!(open.filter(|path| *path == file).count(), 1);
}

#[test]
fn a_block_is_whole_though_reading_stopped_in_it_for_longer_than_it_may_wait() {
    let mut rig = rig("[multiline: {firstline: '^f', max_wait_time: 2s}]");
    let blocks = 5_000;
    let block = format!("f {}\nrest\n", "x".repeat(1000));
    rig.write("a.log", &block.repeat(blocks));
    let mut lines = Vec::new();
    let mut quiet = 0;
    while quiet < 4 {
        let batches = rig.turn_without_delivery();
        rig.pass(Duration::from_secs(10));
        lines.extend(batches.iter().flat_map(lines_of));
        quiet = if batches.is_empty() { quiet + 1 } else { 0 };
        if quiet > 0 {
            rig.pass(Duration::from_secs(10));
        }
        let late = rig.turn_without_delivery();
        lines.extend(late.iter().flat_map(lines_of));
        rig.deliver(&batches);
        rig.deliver(&late);
    }
    assert_eq!(lines.len(), blocks);
    assert!(lines.iter().all(|line| line.ends_with("\nrest")));
}

#[test]
fn after_a_rotation_in_a_block_lines_wait_once_until_it_is_saved_that_the_file_is_closed() {
    let mut rig = Rig::staged(
        "a.log",
        "[multiline: {firstline: '^f', max_wait_time: 1s}, regex: {expression: '(?P<t>[0-9]+)'}, \
         timestamp: {source: t, format: Unix}]",
    );
    rig.write("a.log", "f 1700000001\n");
    assert_eq!(rig.read_after(Duration::from_secs(5)), ["f 1700000001"]);
    rig.rename("a.log", "a.log.1");
    rig.write("a.log", "");
    assert_eq!(rig.read_after(Duration::from_secs(90)), [""; 0]);
    let mut needed = Vec::new();
    for number in 2..5 {
        rig.append("a.log", &format!("r 170000000{number}\n"));
        let batches = rig.turn_without_delivery();
        assert_eq!(lines_of(&batches[0]), [format!("r 170000000{number}")]);
        assert!(!batches[0].is_stamped);
        needed.push(batches[0].needs_version);
        rig.deliver(&batches);
    }
    assert!(needed[0] > 1 && rig.version() > needed[0], "{needed:?}");
    assert_eq!(needed[1..], [needed[0]; 2]);
}

#[test]
fn the_offset_of_a_line_in_parts_is_where_it_begins() {
    let mut rig = Rig::offsets("a.log", "[cri: {}]");
    let parts = cri("F", "whole") + &cri("P", "first, ") + &cri("P", "second, ");
    rig.write("a.log", &(parts + &cri("F", "third") + &cri("F", "next")));
    let batches = rig.turn_without_delivery();
    assert_eq!(
        lines_of(&batches[0]),
        ["whole", "first, second, third", "next"]
    );
    let at = |line: &str, flag: &str| cri(flag, line).len();
    let (first, next) = (
        at("whole", "F"),
        at("first, ", "P") + at("second, ", "P") + at("third", "F"),
    );
    let expected = [0, first, first + next].map(|at| at.to_string());
    let entries = &batches[0].request.streams[0].entries;
    let metadata = entries.iter().map(|entry| &entry.structured_metadata[0]);
    let offsets: Vec<_> = metadata.map(|pair| (&*pair.name, &*pair.value)).collect();
    assert_eq!(
        offsets,
        expected.each_ref().map(|at| ("file_offset", &**at))
    );
}
