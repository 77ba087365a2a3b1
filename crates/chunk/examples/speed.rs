//! Measures encoding and decoding on one core: `cargo run --release -p chunk --example speed -- FILE…`
//!
//! Lines of all files, repeated with other numbers until there are 64 MB, in blocks of 4 MiB, with
//! a level on every row. MB are 10^6 bytes of lines.

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

use chunk::{Block, Codec, EncodeOptions, Projection, Run, encode_block};
use model::{Entries, LabelSet};

const BLOCK_BYTES: usize = 4 << 20;
const TOTAL_BYTES: usize = 64 << 20;
const ROUNDS: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let files: Vec<Vec<u8>> = std::env::args()
        .skip(1)
        .map(std::fs::read)
        .collect::<Result<_, _>>()?;
    let blocks = blocks(&files);
    let bytes: usize = blocks.iter().map(|entries| entries.lines().len()).sum();
    let rows: usize = blocks.iter().map(Entries::len).sum();
    println!(
        "{} blocks, {:.1} MB, {rows} rows",
        blocks.len(),
        bytes as f64 / 1e6
    );
    let labels = LabelSet::from_pairs([("job", "speed")]);
    for codec in [Codec::Zstd, Codec::Lz4, Codec::Stored] {
        let mut encoded = Vec::new();
        let encode = best(|| {
            encoded.clear();
            for entries in &blocks {
                let run = Run {
                    labels: &labels,
                    entries,
                };
                encoded.push(encode_block(&[run], &EncodeOptions { codec })?);
            }
            Ok(())
        })?;
        let stored: usize = encoded.iter().map(|block| block.body().len()).sum();
        let decode = |projection| {
            best(|| {
                for block in &encoded {
                    black_box(Block::rows(&block.open(), 0, projection, None)?);
                }
                Ok(())
            })
        };
        let speed = |time: Duration| bytes as f64 / 1e6 / time.as_secs_f64();
        println!(
            "{codec:?}: ratio {:.2}, encode {:.0} MB/s, decode all {:.0}, times {:.0}, times and metadata {:.0}",
            bytes as f64 / stored as f64,
            speed(encode),
            speed(decode(Projection::ALL)?),
            speed(decode(Projection::TIMESTAMPS)?),
            speed(decode(Projection::METADATA)?),
        );
    }
    Ok(())
}

fn blocks(files: &[Vec<u8>]) -> Vec<Entries> {
    let levels = ["info", "info", "info", "warn", "error"]
        .map(|level| LabelSet::from_pairs([("detected_level", level)]));
    let mut blocks = Vec::new();
    let mut entries = Entries::default();
    let mut total = 0;
    let (mut time, mut random) = (1_768_435_200_000_000_000i64, 88_172_645_463_325_252u64);
    let all = files
        .iter()
        .flat_map(|file| file.split(|byte| *byte == b'\n'));
    for line in all.collect::<Vec<_>>().into_iter().cycle() {
        if total >= TOTAL_BYTES {
            break;
        }
        // Xorshift: bursts of microseconds with pauses of milliseconds.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        time += (random
            % if random.is_multiple_of(3) {
                6_000_000
            } else {
                40_000
            }) as i64;
        // Repeated files must not compress as repetitions.
        let line: Vec<u8> = line
            .iter()
            .map(|byte| {
                if byte.is_ascii_digit() {
                    b'0' + ((u64::from(*byte) + random) % 10) as u8
                } else {
                    *byte
                }
            })
            .collect();
        entries.push(time, &line, &levels[random as usize % levels.len()]);
        total += line.len();
        if entries.lines().len() >= BLOCK_BYTES {
            blocks.push(std::mem::take(&mut entries));
        }
    }
    blocks
}

fn best(mut run: impl FnMut() -> Result<(), Box<dyn Error>>) -> Result<Duration, Box<dyn Error>> {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        run()?;
        best = best.min(start.elapsed());
    }
    Ok(best)
}
