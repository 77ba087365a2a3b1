//! Measures size and speed of the layouts on one core:
//! `cargo run --release -p chunk --example block_speed -- FILE… [json] [logfmt]`
//!
//! Each file is a data set, as is; `json` and `logfmt` are 32 MB of invented lines. Blocks are of
//! 4 MiB. The ratio counts all bytes of an object, times included. MB are 10^6 bytes of lines, time
//! is that of the CPU where the system tells (`/proc`). What is decoded is compared with what was
//! encoded, and what is found (literals that are nowhere, and parts of lines) with a plain search.

use std::error::Error;
use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;

use chunk::{
    EncodeOptions, EncodedBlock, LinesPolicy, Needle, ObjectWriter, Projection, Run, encode_block,
};
use model::{Entries, LabelSet};

const BLOCK_BYTES: usize = 4 << 20;
const INVENTED_BYTES: usize = 32_000_000;
/// Small files are encoded again and again for so long.
const MEASURED_BYTES: usize = 32 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    println!("set, MB, rows: policy ratio, encode MB/s, decode MB/s (all, times),");
    println!("  find GB/s (absent word, absent id, parts of lines, share of bytes for the word)");
    let (mut raw, mut stored) = (0, [0u64; 3]);
    for set in std::env::args().skip(1) {
        let blocks = match set.as_str() {
            "json" => invented(json_line),
            "logfmt" => invented(logfmt_line),
            file => cut(std::fs::read(file)?.split(|byte| *byte == b'\n')),
        };
        let bytes: usize = blocks.iter().map(|entries| entries.lines().len()).sum();
        let rows: usize = blocks.iter().map(Entries::len).sum();
        println!("{set}, {:.1} MB, {rows} rows", bytes as f64 / 1e6);
        raw += bytes;
        let policies = [
            LinesPolicy::Plain,
            LinesPolicy::Structured,
            LinesPolicy::Probe,
        ];
        for (policy, stored) in policies.into_iter().zip(&mut stored) {
            *stored += measure(&blocks, bytes, policy)?;
        }
    }
    let ratio = stored.map(|stored| format!("{:.2}", raw as f64 / stored as f64));
    println!("all: plain, structured, probe {ratio:?}");
    Ok(())
}

fn measure(blocks: &[Entries], bytes: usize, lines: LinesPolicy) -> Result<u64, Box<dyn Error>> {
    let labels = LabelSet::from_pairs([("job", "speed")]);
    let options = EncodeOptions {
        lines,
        ..EncodeOptions::default()
    };
    let rounds = (MEASURED_BYTES / bytes.max(1)).max(2);
    let mut encoded: Vec<EncodedBlock> = Vec::new();
    let encode = mean(rounds, || {
        encoded.clear();
        for entries in blocks {
            let run = Run::new(&labels, entries);
            encoded.push(encode_block(&[run], &options)?);
        }
        Ok(())
    })?;
    for (block, entries) in encoded.iter().zip(blocks) {
        let rows = block.open().rows(0, Projection::ALL, None)?;
        if rows.lines() != entries.lines() || rows.line_ends() != entries.line_ends() {
            return Err("what was decoded is not what was encoded".into());
        }
    }
    let decode = |projection| {
        mean(rounds, || {
            for block in &encoded {
                black_box(block.open().rows(0, projection, None)?);
            }
            Ok(())
        })
    };
    let (all, times) = (decode(Projection::ALL)?, decode(Projection::TIMESTAMPS)?);
    let mut object = ObjectWriter::new(0);
    encoded.iter().for_each(|block| {
        object.add_block(block.clone());
    });
    let stored = object.finish()?.len;
    let speed = |seconds: f64| bytes as f64 / 1e6 / seconds;
    let found = search(&encoded, blocks)?.map(|seconds| bytes as f64 / 1e9 / seconds);
    println!(
        "  {lines:?} {:.2}, {:.0}, {:.0}, {:.0}, {:.2} {:.2} {:.2} {:.4}",
        bytes as f64 / stored as f64,
        speed(encode),
        speed(all),
        speed(times),
        found[0],
        found[1],
        found[2],
        fetched(&encoded)? as f64 / stored as f64,
    );
    Ok(stored)
}

const ABSENT_WORD: &str = "zebrawood";
const ABSENT_ID: &str = "5bd1e9955bd1e9955bd1e9955bd1e995";
/// Parts of lines that are searched for.
const PARTS: usize = 40;

/// Seconds to find the two absent literals, and to find a part of a line.
fn search(encoded: &[EncodedBlock], blocks: &[Entries]) -> Result<[f64; 3], Box<dyn Error>> {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let find = |text: &[u8]| {
        let needle = Needle::new(text);
        mean(10, || {
            for block in encoded {
                black_box(block.open().find_rows(&needle)?);
            }
            Ok(())
        })
    };
    let mut parts = 0.0;
    for _ in 0..PARTS {
        let block = blocks.get(random.below(blocks.len() as u64) as usize);
        let block = block.ok_or("no lines")?;
        let line = block.get(random.below(block.len() as u64) as usize);
        let line = line.map_or(&b""[..], |row| row.line);
        let start = random.below(line.len() as u64 + 1) as usize;
        let end = (start + 2 + random.below(24) as usize).min(line.len());
        let text = line.get(start..end).unwrap_or_default();
        compare(encoded, blocks, text)?;
        parts += find(text)?;
    }
    let absent = [ABSENT_WORD, ABSENT_ID].map(|text| find(text.as_bytes()));
    let [word, id] = absent;
    Ok([word?, id?, parts / PARTS as f64])
}

/// Compares what is found with what lines contain.
fn compare(
    encoded: &[EncodedBlock],
    blocks: &[Entries],
    text: &[u8],
) -> Result<(), Box<dyn Error>> {
    for (encoded, entries) in encoded.iter().zip(blocks) {
        let block = encoded.open();
        let found = block.find_rows(&Needle::new(text))?;
        let lines = block.lines_of(&found)?;
        let contains = |row: &model::EntryRef<'_>| memchr::memmem::find(row.line, text).is_some();
        let expected = entries.iter().map(|row| contains(&row));
        let rows = (0..entries.len()).map(|row| found.contains(row));
        let wanted = entries.iter().filter(contains).map(|row| row.line);
        if !rows.eq(expected) || !lines.iter().eq(wanted) {
            return Err(format!("wrong rows for {:?}", String::from_utf8_lossy(text)).into());
        }
    }
    Ok(())
}

/// Bytes to fetch in order to know that a word is nowhere.
fn fetched(encoded: &[EncodedBlock]) -> Result<u64, Box<dyn Error>> {
    let needle = Needle::new(ABSENT_WORD);
    let mut bytes = 0;
    for block in encoded {
        let ranges = block.meta().find_ranges(&needle)?;
        bytes += ranges
            .iter()
            .map(|range| range.end - range.start)
            .sum::<u64>();
    }
    Ok(bytes)
}

/// Xorshift.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, most: u64) -> u64 {
        self.next() % most
    }

    /// Small numbers are commoner than large ones.
    fn skewed(&mut self, most: u64) -> u64 {
        let bits = self.below(u64::from(64 - most.leading_zeros()) + 1);
        (self.next() & ((1 << bits) - 1)) % most
    }
}

/// Blocks of lines, with times in bursts of microseconds and pauses of milliseconds.
fn cut<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Vec<Entries> {
    let mut random = Random(88_172_645_463_325_252);
    let mut time = 1_768_435_200_000_000_000i64;
    let mut blocks = vec![Entries::default()];
    for line in lines {
        let pause = if random.below(10) < 3 {
            6_000_000
        } else {
            40_000
        };
        time += random.below(pause) as i64;
        if let Some(block) = blocks.last_mut() {
            block.push(time, line, &LabelSet::default());
            if block.lines().len() >= BLOCK_BYTES {
                blocks.push(Entries::default());
            }
        }
    }
    blocks.retain(|block| !block.is_empty());
    blocks
}

fn invented(mut line: impl FnMut(&mut Random, u64, &mut String)) -> Vec<Entries> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut lines = String::new();
    let mut time = 1_768_435_200_000u64;
    while lines.len() < INVENTED_BYTES {
        time += random.below(5);
        line(&mut random, time, &mut lines);
        lines.push('\n');
    }
    cut(lines.as_bytes().split(|byte| *byte == b'\n'))
}

const LEVELS: [&str; 6] = ["info", "info", "info", "debug", "warn", "error"];
const MESSAGES: [&str; 5] = [
    "request completed",
    "cache miss, reading from the database",
    "rpc error: connection refused",
    "retrying after a timeout",
    "user signed in",
];

fn clock(time: u64) -> String {
    let (second, milli) = (time / 1000, time % 1000);
    let (hour, minute) = (second / 3600 % 24, second / 60 % 60);
    format!(
        "2026-01-15T{hour:02}:{minute:02}:{:02}.{milli:03}Z",
        second % 60
    )
}

fn json_line(random: &mut Random, time: u64, out: &mut String) {
    // A trace is a few lines long.
    let trace = u128::from(time / 3).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    let user = random.skewed(20_000);
    let message = MESSAGES[random.below(5) as usize];
    let _ = write!(
        out,
        "{{\"ts\":\"{}\",\"level\":\"{}\",\"service\":\"svc-{}\",\"trace_id\":\"{trace:032x}\",\"span_id\":\"{:016x}\",\"user_id\":{user},\"status\":{},\"duration_ms\":{}.{},\"msg\":\"{message} for item {}\"}}",
        clock(time),
        LEVELS[random.below(6) as usize],
        random.skewed(12),
        random.next(),
        [200, 200, 200, 201, 404, 500][random.below(6) as usize],
        random.skewed(3000),
        random.below(10),
        random.skewed(100_000),
    );
}

fn logfmt_line(random: &mut Random, time: u64, out: &mut String) {
    let trace = u128::from(time / 3).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    let _ = write!(
        out,
        "ts={} caller=metrics.go:{} level={} component=querier org_id={} traceID={:016x} latency=fast query_type=filter duration={}ms status={} msg=\"{}\"",
        clock(time),
        100 + random.skewed(60),
        LEVELS[random.below(6) as usize],
        random.skewed(300),
        trace as u64,
        random.skewed(9000),
        [200, 200, 200, 429, 500][random.below(5) as usize],
        MESSAGES[random.below(5) as usize],
    );
}

/// Seconds that a round takes on average.
fn mean(
    rounds: usize,
    mut run: impl FnMut() -> Result<(), Box<dyn Error>>,
) -> Result<f64, Box<dyn Error>> {
    let start = (Instant::now(), cpu_seconds());
    (0..rounds).try_for_each(|_| run())?;
    let cpu = cpu_seconds().zip(start.1).map(|(end, start)| end - start);
    let seconds = cpu.unwrap_or_else(|| start.0.elapsed().as_secs_f64());
    Ok(seconds.max(1e-6) / rounds as f64)
}

/// What this thread has used so far.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds: f64 = stat.split_whitespace().next()?.parse().ok()?;
    Some(nanoseconds / 1e9)
}
