//! What blocks find without looking at every line is what the pipeline says about every line.

#![no_main]

use std::slice::from_ref;

use fuzz::compare::{
    Row, by_rows, lines_by_rows, lines_pushed_down, overlapping, pushed_down, sources,
};
use fuzz::generate;
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use model::{Direction, TimeRange};
use scan::Source;

/// Queries over the same rows.
const QUERIES: usize = 6;

fuzz_target!(|input: &[u8]| {
    // Of an input that is too short there is nothing to run.
    let _ = run(&mut Unstructured::new(input));
});

fn run(u: &mut Unstructured<'_>) -> Result<()> {
    let rows = generate::rows(u)?;
    let mut once = rows.clone();
    let (sources, two) = (sources(&rows), overlapping(&mut once));
    let (start, len) = (u.int_in_range(0..=19i64)?, u.int_in_range(1..=200i64)?);
    let range = TimeRange::new(start, start + len);
    for _ in 0..QUERIES {
        let stages = generate::stages(u, &rows)?;
        let log = format!("{{app=\"web\"}} {stages}");
        if logql::syntax::parse_log(&log).is_err() {
            continue;
        }
        let backward = u.arbitrary()?;
        let limit = u.int_in_range(0..=5usize)?;
        lines(&log, backward, limit, &once, &two);
        for source in &sources {
            lines(&log, backward, limit, &rows, from_ref(source));
        }
        let metric = generate::metric(u, &stages)?;
        samples(&metric, range, &once, &two);
        for source in &sources {
            samples(&metric, range, &rows, from_ref(source));
        }
    }
    Ok(())
}

fn lines(log: &str, backward: bool, limit: usize, rows: &[Row], sources: &[Source]) {
    let mut expected = lines_by_rows(log, rows);
    let mut direction = Direction::Forward;
    if backward {
        direction = Direction::Backward;
        expected.reverse();
    }
    if limit > 0 {
        expected.truncate(limit);
    }
    let found = lines_pushed_down(log, sources, direction, limit);
    assert_eq!(found, expected, "{log}");
}

fn samples(query: &str, range: TimeRange, rows: &[Row], sources: &[Source]) {
    if logql::syntax::parse(query).is_err() {
        return;
    }
    let expected = by_rows(query, rows, range);
    assert_eq!(pushed_down(query, sources, range), expected, "{query}");
}
