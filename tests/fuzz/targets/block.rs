//! Blocks whose description or columns lie: every row is read, and literals are looked for.

#![no_main]

use std::sync::LazyLock;

use ::fuzz::damage::edited;
use bytes::Bytes;
use chunk::{Codec, EncodeOptions, LinesPolicy, Run, encode_block, fuzz};
use libfuzzer_sys::fuzz_target;
use model::{Entries, LabelSet};

/// A good block: its description, its columns.
type Good = (Vec<u8>, Bytes);

fn entries(line: fn(usize) -> String) -> Entries {
    let mut entries = Entries::default();
    for row in 0..60 {
        let metadata = match row % 4 {
            0 => LabelSet::from_pairs([("detected_level", "info"), ("trace", "00ff00ff")]),
            _ => LabelSet::default(),
        };
        entries.push(row as i64 * 1_000_003, line(row).as_bytes(), &metadata);
    }
    entries
}

fn good(lines: LinesPolicy, line: fn(usize) -> String) -> Good {
    let entries = entries(line);
    let labels = [("app", "web"), ("app", "other")].map(|pair| LabelSet::from_pairs([pair]));
    let runs = labels.each_ref().map(|labels| Run::new(labels, &entries));
    // Stored, so that what is changed is not the compressed form.
    let codec = Codec::Stored;
    let block = encode_block(&runs, &EncodeOptions { codec, lines }).expect("a block");
    (fuzz::meta_of(&block), block.body().clone())
}

fuzz_target!(|input: (u8, &[u8], &[u8])| {
    static GOOD: LazyLock<Vec<Good>> = LazyLock::new(|| {
        let json = |row| {
            format!("{{\"ts\":\"2026-01-15T00:00:{row:02}Z\",\"n\":{row},\"id\":\"{row:016x}\"}}")
        };
        let text = |row| {
            format!(
                "GET /a/{row} from 10.0.0.{} took {}.5ms 1 x",
                row % 9,
                row * 7
            )
        };
        let odd = |row: usize| "é\u{0}\n ".repeat(row % 5);
        vec![
            good(LinesPolicy::Structured, json),
            good(LinesPolicy::Structured, text),
            good(LinesPolicy::Structured, odd),
            good(LinesPolicy::Plain, text),
        ]
    });
    let (which, of_meta, of_body) = input;
    match GOOD.get(usize::from(which) % (GOOD.len() + 1)) {
        Some((meta, body)) => {
            let body = edited(body, of_body).into();
            let _ = fuzz::block(&edited(meta, of_meta), &body);
        }
        None => drop(fuzz::block(of_meta, &Bytes::copy_from_slice(of_body))),
    }
});
