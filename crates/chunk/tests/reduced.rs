//! What is kept of lines without the parts that nobody wants.
#![allow(clippy::unwrap_used, reason = "in tests a failure is a panic")]

use std::collections::HashSet;
use std::sync::Arc;

use chunk::{
    BlockMeta, EncodeOptions, KeptParts, LineTemplate, LinesPolicy, Reduction, WholeLines,
};
use model::{Entries, LabelSet};

mod sample;
use sample::encode;

const ROWS: usize = 3000;

fn line(row: usize) -> String {
    format!(
        "user={} took={}ms path=/api/v{} done",
        row * 7,
        row % 9,
        row % 2
    )
}

/// Of each template only the placeholder after a text.
fn only_after(meta: &BlockMeta, before: &str) -> Reduction {
    let kept = |template: &LineTemplate<'_>| {
        let text = template.text();
        let at = text
            .windows(before.len())
            .position(|part| part == before.as_bytes())?
            + before.len();
        let is_placeholder = |byte: &&u8| **byte < LineTemplate::FIRST_TEXT_BYTE;
        let place = text.iter().take(at).filter(is_placeholder).count();
        text.get(at)
            .filter(is_placeholder)
            .map(|placeholder| KeptParts {
                text: vec![*placeholder],
                placeholders: vec![place],
                number: None,
            })
    };
    let kept = meta.templates().unwrap().iter().map(kept).collect();
    Reduction::new(before.into(), kept)
}

#[test]
fn equal_lines_have_one_number_and_runs_and_readers_share_them() {
    let mut entries = Entries::default();
    for row in 0..ROWS {
        entries.push(row as i64, line(row).as_bytes(), &LabelSet::default());
    }
    let options = EncodeOptions {
        lines: LinesPolicy::Structured,
        ..EncodeOptions::default()
    };
    let stream = |name: &str| LabelSet::from_pairs([("app", name)]);
    let runs = [(stream("a"), entries.clone()), (stream("b"), entries)];
    let block = encode(&runs, &options).open();
    let (took, user) = (
        only_after(block.meta(), "took="),
        only_after(block.meta(), "user="),
    );
    assert!(took.kept().iter().all(Option::is_some) && took != user);

    let before = block.heap_bytes();
    let kept = block.reduced_lines(&took, WholeLines::Kept).unwrap();
    assert!(block.heap_bytes() > before);
    for row in 0..2 * ROWS {
        let expected = (row % ROWS % 9).to_string();
        let text = kept.get(kept.number(row));
        assert!(
            text.starts_with(expected.as_bytes()) && !kept.is_whole(kept.number(row)),
            "{row}: {}",
            String::from_utf8_lossy(text)
        );
    }
    let numbers: HashSet<usize> = (0..2 * ROWS).map(|row| kept.number(row)).collect();
    assert_eq!(numbers.len(), kept.count());
    assert!(kept.count() <= 9, "{}", kept.count());
    assert!(Arc::ptr_eq(
        &kept,
        &block.reduced_lines(&took, WholeLines::Kept).unwrap()
    ));
    assert_eq!(block.known_reduction("took="), Some(took));
    assert_eq!(block.known_reduction("user="), None);

    // Nearly all are different, and the few that are not may have numbers of their own.
    let users = block.reduced_lines(&user, WholeLines::Kept).unwrap();
    assert!((ROWS..=2 * ROWS).contains(&users.count()));
    assert_eq!(users.get(users.number(ROWS + 5)), b"35");
    // Two are remembered, also by a block that has nothing else decoded.
    let again = block.undecoded();
    assert!(Arc::ptr_eq(
        &users,
        &again.reduced_lines(&user, WholeLines::Kept).unwrap()
    ));
    let some = block.reduced_lines_of(&user, 10..20, None).unwrap();
    let texts: Vec<&[u8]> = (0..10).map(|at| some.get(some.number(at))).collect();
    let expected: Vec<String> = (10..20).map(|row| (row * 7).to_string()).collect();
    assert_eq!(
        texts,
        expected.iter().map(String::as_bytes).collect::<Vec<_>>()
    );
}

#[test]
fn a_number_that_is_wanted_is_taken_out_of_the_line() {
    let mut entries = Entries::default();
    for row in 0..ROWS {
        let line = format!("took={}.{:02} of={} done", row * 7, row % 100, row % 5);
        let line = if row % 10 == 3 {
            format!("took=n{row}")
        } else {
            line
        };
        entries.push(row as i64, line.as_bytes(), &LabelSet::default());
    }
    let options = EncodeOptions {
        lines: LinesPolicy::Structured,
        ..EncodeOptions::default()
    };
    let block = encode(&[(LabelSet::default(), entries)], &options).open();
    let took = only_after(block.meta(), "took=");
    assert!(!took.has_numbers());
    let mut kept = took.kept().to_vec();
    kept.iter_mut()
        .flatten()
        .for_each(|kept| kept.number = Some(0));
    let took = Reduction::new("took= as a number".into(), kept);
    assert!(took.has_numbers());
    let lines = block.reduced_lines(&took, WholeLines::Kept).unwrap();
    let (mut numbers, mut texts) = (0, 0);
    for row in 0..ROWS {
        let text = lines.get(lines.number(row));
        match lines.value(row) {
            Some(value) => {
                let expected = format!("{}.{:02}", row * 7, row % 100);
                assert_eq!((text, value), (b"1".as_slice(), expected.parse().unwrap()));
                numbers += 1;
            }
            None => {
                let expected = if row % 10 == 3 {
                    format!("n{row}")
                } else {
                    format!("{}.{:02}", row * 7, row % 100)
                };
                assert!(lines.is_whole(lines.number(row)) || text == expected.as_bytes());
                texts += 1;
            }
        }
    }
    assert!(numbers > ROWS / 2 && texts > 0, "{numbers}, {texts}");
    let some = block.reduced_lines_of(&took, 10..20, None).unwrap();
    assert_eq!(some.value(1), lines.value(11));
    let lean = block.reduced_lines(&took, WholeLines::LeftOut).unwrap();
    for row in 0..ROWS {
        let (number, kept) = (lean.number(row), lines.number(row));
        assert_eq!(lean.is_whole(number), lines.is_whole(kept), "{row}");
        assert_eq!(lean.lacks(row..row + 1), lean.is_whole(number), "{row}");
        if !lean.is_whole(number) {
            let both = (lean.get(number), lean.value(row));
            assert_eq!(both, (lines.get(kept), lines.value(row)), "{row}");
        }
    }
}
