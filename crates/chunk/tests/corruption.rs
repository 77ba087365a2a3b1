//! Damage is noticed: an error that says where, never other rows, a panic or a huge allocation.
#![allow(clippy::unwrap_used, reason = "in tests a failure is a panic")]

use bytes::Bytes;
use chunk::{
    ChunkError, Codec, EncodeOptions, EncodedBlock, LinesPolicy, ObjectMeta, Piece, Projection,
    fuzz,
};
use codec::container::{Container, ContainerWriter};
use model::{Entries, LabelSet};

mod sample;
use sample::lines::{Kind, lines};
use sample::{Stream, object, stream};

fn small() -> (Vec<u8>, Vec<Entries>) {
    let blocks = [vec![stream(0, 40)], vec![stream(1, 5), stream(2, 9)]];
    let rows = blocks
        .iter()
        .flatten()
        .map(|(_, entries)| entries.clone())
        .collect();
    (
        object(&blocks, &EncodeOptions::default())
            .to_bytes()
            .to_vec(),
        rows,
    )
}

fn read(object: Vec<u8>) -> Result<Vec<Entries>, ChunkError> {
    let object = Bytes::from(object);
    fuzz::object(&object)?;
    let meta = ObjectMeta::parse_object(&object)?;
    let mut all = Vec::new();
    for ordinal in 0..meta.block_count() {
        let block = meta.open(
            ordinal,
            vec![Piece {
                offset: 0,
                bytes: object.clone(),
            }],
        )?;
        for run in 0..block.meta().runs().len() {
            all.push(
                block
                    .rows(run, Projection::ALL, None)?
                    .to_entries()
                    .unwrap(),
            );
        }
    }
    Ok(all)
}

fn same(a: &[Entries], b: &[Entries]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.iter().eq(b.iter()))
}

#[test]
fn every_flipped_byte_is_noticed_or_harmless() {
    let (good, rows) = small();
    assert!(same(&read(good.clone()).unwrap(), &rows));
    for at in 0..good.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[at] ^= flip;
            if let Ok(read) = read(bad) {
                assert!(same(&read, &rows), "byte {at} flipped by {flip:x}");
            }
        }
    }
}

#[test]
fn every_truncation_is_noticed() {
    let (good, _) = small();
    for len in 0..good.len() {
        assert!(read(good[..len].to_vec()).is_err(), "{len} bytes");
        assert!(
            read(good[good.len() - len..].to_vec()).is_err(),
            "the last {len} bytes"
        );
    }
}

#[test]
fn errors_name_the_frame() {
    let (mut bad, _) = small();
    bad[40] ^= 1;
    assert_eq!(
        read(bad).unwrap_err().to_string(),
        "block 0 frame 0: checksum mismatch"
    );
}

#[test]
fn a_meta_whose_checksum_is_right_may_still_lie() {
    // Without checksums: every byte of a block's meta changed, the body as it was.
    let encoded = sample::encode(&[stream(1, 5), stream(2, 9)], &EncodeOptions::default());
    let (meta, body) = (fuzz::meta_of(&encoded), encoded.body().clone());
    assert!(fuzz::block(&meta, &body).is_ok());
    for at in 0..meta.len() {
        for value in [0x00, 0x01, 0x7f, 0x80, 0xff] {
            let mut bad = meta.clone();
            bad[at] = value;
            let _ = fuzz::block(&bad, &body);
            let _ = fuzz::block(&bad[..at], &body);
        }
    }
}

/// The object with one section changed, checksums made right again.
fn with_section(body: &[u8], file: &Container, changed: usize, raw: &[u8]) -> Bytes {
    let mut writer = ContainerWriter::new(body.len() as u64);
    for (at, section) in file.sections().iter().enumerate() {
        let kept = file.read(section.kind, section.ordinal).unwrap();
        let raw = if at == changed { raw } else { &kept };
        writer.add(section.kind, section.ordinal, raw).unwrap();
    }
    [body, &writer.finish(*b"LGOB", 1)].concat().into()
}

#[test]
fn sections_whose_checksum_is_right_may_still_lie() {
    let (good, _) = small();
    let meta = chunk::Trailer::parse(&good).unwrap().meta_range();
    let (body, end) = good.split_at(meta.start as usize);
    let file = Container::parse(Bytes::copy_from_slice(end), *b"LGOB", 1).unwrap();
    for (at, section) in file.sections().iter().enumerate() {
        let raw = file.read(section.kind, section.ordinal).unwrap();
        assert!(fuzz::object(&with_section(body, &file, at, &raw)).is_ok());
        for byte in 0..raw.len() {
            for value in [0x00, 0x01, 0x7f, 0x80, 0xff] {
                let mut bad = raw.to_vec();
                bad[byte] = value;
                let _ = fuzz::object(&with_section(body, &file, at, &bad));
            }
        }
    }
}

/// A block with every kind of column.
fn structured(codec: Codec) -> EncodedBlock {
    let streams: Vec<Stream> = (0u64..2)
        .map(|run| {
            let mut entries = Entries::default();
            let kinds = [
                Kind::Json,
                Kind::NestedJson,
                Kind::Logfmt,
                Kind::Access,
                Kind::Syslog,
            ];
            let all = kinds.into_iter().flat_map(|kind| lines(kind, 40, run + 1));
            for (row, line) in all.chain(["\u{1}".to_owned()]).enumerate() {
                entries.push(row as i64, line.as_bytes(), &LabelSet::default());
            }
            (LabelSet::from_pairs([("run", run.to_string())]), entries)
        })
        .collect();
    let lines = LinesPolicy::Structured;
    sample::encode(&streams, &EncodeOptions { codec, lines })
}

#[test]
fn a_shape_whose_checksum_is_right_may_still_lie() {
    let encoded = structured(Codec::Zstd);
    let (meta, body) = (fuzz::meta_of(&encoded), encoded.body().clone());
    assert!(fuzz::block(&meta, &body).is_ok());
    for at in 0..meta.len() {
        let values = [0x00, 0x01, 0x7f, 0xff, meta[at] ^ 1];
        let mut bad = meta.clone();
        bad[at] = values[at % values.len()];
        let _ = fuzz::block(&bad, &body);
        bad[at] = meta[at].wrapping_add(1);
        let _ = fuzz::block(&bad, &body);
        let _ = fuzz::block(&meta[..at], &body);
    }
}

#[test]
fn columns_whose_checksum_is_right_may_still_lie() {
    let encoded = structured(Codec::Stored);
    let (meta, body) = (fuzz::meta_of(&encoded), encoded.body().to_vec());
    for (number, at) in (0..body.len()).step_by(5).enumerate() {
        let mut bad = body.clone();
        bad[at] = [0x00, 0x7f, 0xff, body[at] ^ 1][number % 4];
        let _ = fuzz::block(&meta, &bad.into());
    }
}

#[test]
fn damage_of_structured_lines_is_noticed() {
    let encoded = structured(Codec::Zstd);
    let mut writer = chunk::ObjectWriter::new(1);
    writer.add_block(encoded);
    let good = writer.finish().unwrap().to_bytes().to_vec();
    let rows = read(good.clone()).unwrap();
    for at in (0..good.len()).step_by(3) {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        if let Ok(read) = read(bad) {
            assert!(same(&read, &rows), "byte {at} flipped");
        }
    }
}
