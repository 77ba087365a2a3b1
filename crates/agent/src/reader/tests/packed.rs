//! Packed files, and files in other encodings.

use std::io::Write;
use std::time::Duration;

use super::rig::{Rig, lines};
use crate::config::Config;

const LONG: Duration = Duration::from_secs(120);

fn gzip(text: &str) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(text.as_bytes()).unwrap();
    packer.finish().unwrap()
}

/// Packs a file as the kubelet does: into another file, and then the first is gone.
fn pack(rig: &Rig, name: &str) {
    let text = std::fs::read_to_string(rig.path(name)).unwrap();
    std::fs::write(rig.path(&format!("{name}.gz")), gzip(&text)).unwrap();
    rig.remove(name);
}

fn rig(glob: &str, change: impl FnOnce(&mut Config)) -> Rig {
    let directory = tempfile::tempdir().unwrap();
    let glob = format!("{}/{glob}", directory.path().display());
    let mut config = Config::for_paths(&[("j", vec![glob])], "unused".into());
    change(&mut config);
    Rig::with_config(directory, config)
}

#[test]
fn a_rotated_file_that_is_packed_later_is_not_read_again() {
    for glob in ["0.log", "0.log*"] {
        let mut rig = Rig::new(glob);
        rig.write("0.log", &lines("a", 0..3));
        assert_eq!(rig.read().len(), 3);
        for generation in 1..4 {
            rig.append("0.log", "last\n");
            rig.rename("0.log", &format!("0.log.20240101-12000{generation}"));
            rig.write("0.log", &format!("new {generation}\n"));
            let before = format!("0.log.20240101-12000{}", generation - 1);
            if rig.path(&before).exists() {
                pack(&rig, &before);
            }
            let new = format!("new {generation}");
            assert_eq!(rig.read(), ["last".to_owned(), new], "{glob}");
            assert_eq!(rig.read_after(LONG), [""; 0], "{glob}");
        }
        rig.restart();
        assert_eq!(rig.read_after(LONG), [""; 0], "{glob}");
    }
}

#[test]
fn what_was_rotated_and_packed_while_nobody_looked_is_read_in_order() {
    for glob in ["0.log", "0.log*"] {
        let mut rig = Rig::new(glob);
        rig.write("0.log", &lines("a", 0..2));
        assert_eq!(rig.read().len(), 2);
        rig.kill();
        rig.append("0.log", "a 2\n");
        rig.rename("0.log", "0.log.20240101-120001");
        rig.write("0.log.20240101-120002", "b\n");
        rig.write("0.log.20240101-120003", "c\n");
        rig.write("0.log", "d\n");
        pack(&rig, "0.log.20240101-120002");
        pack(&rig, "0.log.20240101-120001");
        rig.start();
        let mut read = rig.read();
        if glob != "0.log" {
            // There the unpacked one is a file of its own.
            read.sort();
        }
        assert_eq!(read, ["a 2", "b", "c", "d"], "{glob}");
        rig.restart();
        assert_eq!(rig.read_after(LONG), [""; 0], "{glob}");
    }
}

#[test]
fn a_job_of_packed_files_reads_each_once() {
    let mut rig = rig("*.gz", |config| {
        let job = &mut config.scrape_configs[0];
        job.decompression.enabled = true;
        job.decompression.format = "gz".to_owned();
    });
    std::fs::write(rig.path("a.gz"), gzip("one\ntwo\nno line end")).unwrap();
    assert_eq!(rig.read(), ["one", "two"]);
    assert_eq!(rig.read_after(LONG), ["no line end"]);
    assert_eq!(rig.read_after(LONG), [""; 0]);
    rig.restart();
    assert_eq!(rig.read_after(LONG), [""; 0]);
    std::fs::write(rig.path("b.gz"), gzip("three\n")).unwrap();
    assert_eq!(rig.read(), ["three"]);
}

#[test]
fn a_packed_file_that_may_still_be_written_waits() {
    let mut rig = rig("*.gz", |config| {
        let job = &mut config.scrape_configs[0];
        job.decompression.enabled = true;
        job.decompression.format = "gz".to_owned();
        job.decompression.initial_delay = model::units::DurationNs::from_secs(60);
    });
    std::fs::write(rig.path("a.gz"), gzip("one\n")).unwrap();
    assert_eq!(rig.read(), [""; 0]);
    assert_eq!(rig.read_after(LONG), ["one"]);
}

#[test]
fn other_encodings_become_utf_8() {
    let mut rig = rig("*.log", |config| {
        config.scrape_configs[0].encoding = "utf-16le".to_owned();
    });
    let utf16 =
        |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    // The second character has the byte of a line end.
    std::fs::write(rig.path("a.log"), utf16("\u{feff}aĊb\r\nzwei\nhal")).unwrap();
    assert_eq!(rig.read(), ["aĊb", "zwei"]);
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(rig.path("a.log"))
        .unwrap();
    file.write_all(&utf16("b\n")).unwrap();
    assert_eq!(rig.read(), ["halb"]);
    rig.restart();
    assert_eq!(rig.read(), [""; 0]);
}
