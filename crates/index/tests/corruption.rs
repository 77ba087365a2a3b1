//! Damage is noticed: an error that says where, never another answer or a panic.

use bytes::Bytes;
use codec::container::{Container, ContainerWriter};
use index::{Index, fuzz};
use model::{LabelSet, MatchOp, Matcher};

mod sample;
use sample::{Run, builder};

#[allow(clippy::unwrap_used, reason = "in tests a failure is a panic")]
fn small() -> Bytes {
    let runs: Vec<Run> = (0..90u32)
        .map(|number| {
            let labels = LabelSet::from_pairs([
                ("app", format!("app-{}", number % 3)),
                ("pod", format!("pod-{number}")),
                (["zone", "rack"][number as usize % 2], "one".to_owned()),
            ]);
            (
                labels,
                number % 2,
                number,
                (i64::from(number), i64::from(number) + 9),
                7,
            )
        })
        .collect();
    builder(2, &runs).build().unwrap()
}

#[test]
fn every_flipped_byte_and_every_truncation_is_noticed() {
    let good = small();
    let matchers = [Matcher::new("app", MatchOp::Regex, "app-[12]").unwrap()];
    assert!(fuzz::file(&good, &matchers).is_ok());
    for at in 0..good.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bad = good.to_vec();
            bad[at] ^= flip;
            assert!(fuzz::file(&bad.into(), &matchers).is_err(), "byte {at}");
        }
        assert!(
            fuzz::file(&good.slice(..at), &matchers).is_err(),
            "{at} bytes"
        );
    }
}

#[test]
fn errors_name_the_section() {
    let mut bad = small().to_vec();
    bad[0] ^= 1;
    let error = Index::parse(bad.into()).unwrap_err();
    assert_eq!(error.to_string(), "index info section: checksum mismatch");
}

/// The file with one section changed, checksums made right again.
#[allow(clippy::unwrap_used, reason = "in tests a failure is a panic")]
fn with_section(file: &Container, changed: usize, raw: &[u8]) -> Bytes {
    let mut writer = ContainerWriter::new(0);
    for (at, section) in file.sections().iter().enumerate() {
        let kept = file.read(section.kind, section.ordinal).unwrap();
        let raw = if at == changed { raw } else { &kept };
        writer.add(section.kind, section.ordinal, raw).unwrap();
    }
    writer.finish(*b"LGIX", 1).into()
}

#[test]
fn sections_whose_checksum_is_right_may_still_lie() {
    let file = Container::parse(small(), *b"LGIX", 1).unwrap();
    let matchers = [
        Matcher::new("app", MatchOp::Regex, "app-[12]").unwrap(),
        Matcher::new("pod", MatchOp::NotEqual, "pod-3").unwrap(),
    ];
    for (at, section) in file.sections().iter().enumerate() {
        let raw = file.read(section.kind, section.ordinal).unwrap();
        assert!(fuzz::file(&with_section(&file, at, &raw), &matchers).is_ok());
        for byte in 0..raw.len() {
            for value in [0x00, 0x01, 0x7f, 0x80, 0xff] {
                let mut bad = raw.to_vec();
                bad[byte] = value;
                let _ = fuzz::file(&with_section(&file, at, &bad), &matchers);
            }
            let _ = fuzz::file(&with_section(&file, at, &raw[..byte]), &matchers);
        }
    }
}
