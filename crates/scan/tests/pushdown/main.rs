//! What structured blocks tell without putting lines together is what the pipeline says about every
//! line.
//!
//! Rows and queries come of a seed. More of them than in a usual run, and others, with
//!
//! ```text
//! PUSHDOWN_CASES=1000000 PUSHDOWN_SEED=7 \
//!     cargo test --release -p scan --test pushdown -- --nocapture
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in tests a failure is a panic"
)]
#![allow(
    unreachable_pub,
    reason = "the fuzz target looks at the modules from outside"
)]

mod compare;
mod dice;
mod queries;
mod rows;
mod sources;

use std::panic::{AssertUnwindSafe, catch_unwind};

use compare::{Seen, check};
use dice::Dice;
use logql::metric::Steps;
use model::{Direction, TimeRange};
use queries::{Asked, Query, query};
use rows::{Row, rows};
use sources::Prepared;

/// Queries asked of the same rows.
const QUERIES: usize = 100;
/// Queries asked in all, unless it is said otherwise.
const CASES: u64 = 1000;

#[test]
fn blocks_answer_as_their_rows_do() {
    let number = |name| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse::<u64>().unwrap())
    };
    let (cases, seed) = (number("PUSHDOWN_CASES"), number("PUSHDOWN_SEED"));
    let (cases, seed) = (cases.unwrap_or(CASES), seed.unwrap_or(1));
    let (mut asked, mut found, mut executions, mut input) = (0, 0, 0, 0);
    while asked < cases {
        let mut random = Random(seed.wrapping_mul(0x0100_0000_01b3) ^ input);
        let mut below = |end| random.below(end);
        let dice = &mut Dice::new(&mut below);
        let (rows, unit) = rows(dice);
        let prepared = Prepared::new(rows);
        for _ in 0..QUERIES {
            let Some(query) = query(dice, &prepared.rows, unit) else {
                continue;
            };
            let seen = asked_safely(&prepared, &query);
            let seen = seen.unwrap_or_else(|text| {
                panic!(
                    "input {input} of seed {seed}: {}",
                    smallest(&prepared, &query, text)
                )
            });
            asked += 1;
            found += u64::from(seen.found);
            executions += seen.executions;
        }
        input += 1;
    }
    println!(
        "seed {seed}: {asked} queries of {input} inputs, {executions} executions; {found} found something"
    );
    assert!(found * 4 > asked, "most queries find nothing");
}

/// Rows of two templates, few of the one, in columns that are worth frames of their own.
fn few_among_many() -> Prepared {
    let row = |at: i64| {
        let line = match at % 50 {
            0 => format!("wanted {at}"),
            _ => format!("{{\"id\":\"{at}{}\"}}", "x".repeat(at as usize % 90)),
        };
        (at * rows::MS_NS, line.into_bytes(), Default::default())
    };
    Prepared::new((0..3000).map(row).collect())
}

fn all_lines(text: &str) -> Query {
    Query {
        text: text.to_owned(),
        asked: Asked::Lines {
            range: TimeRange::new(0, i64::MAX),
            direction: Direction::Forward,
            limit: 0,
        },
        deleted: None,
    }
}

/// Of a block only the columns of the lines that a search found were fetched, and another block has
/// rows of the same time.
#[test]
fn rows_that_several_blocks_have_are_compared_by_what_was_fetched() {
    let query = all_lines("{app=\"web\"} |= `wanted`");
    check(&few_among_many(), &query).unwrap();
}

/// The templates alone say that all lines are wanted; which columns these have, only their numbers.
#[test]
fn lines_that_nothing_speaks_against_are_found() {
    let query = all_lines("{app=\"web\"} != `not there at all`");
    check(&few_among_many(), &query).unwrap();
}

/// Numbers of which most are different are read as numbers, where they are the samples and nothing
/// else of them matters.
#[test]
fn numbers_are_those_that_lines_have() {
    let row = |at: i64| {
        let (took, status) = (
            format!("{}.{:02}", at * 37 % 911, at % 100),
            200 + at % 4 * 100,
        );
        let line = match at % 7 {
            0 => format!("level=info msg=\"no number {at}\""),
            1 | 2 => format!("{{\"status\":{status},\"took\":{took},\"n\":\"{at}\"}}"),
            3 if at % 91 == 3 => format!("took=n{at} status={status} n={at}"),
            _ => format!("took={took} status={status} n={at} to.ok=\"{at}.5\""),
        };
        (at * rows::MS_NS, line.into_bytes(), Default::default())
    };
    let prepared = Prepared::new((0..2100).map(row).collect());
    let steps = Steps {
        start_ns: 0,
        end_ns: 2200 * rows::MS_NS,
        step_ns: 100 * rows::MS_NS,
    };
    for text in [
        "quantile_over_time(0.9, {S} | logfmt | took!=\"\" | unwrap took | __error__=\"\" [R]) by (app)",
        "sum by (status) (sum_over_time({S} | json | unwrap took | __error__=\"\" [R]))",
        "max by (app) (avg_over_time({S} | json | status >= 400 | unwrap took | __error__=\"\" [R]))",
        "sum(sum_over_time({S} | logfmt | status=\"300\" or took=\"1\" | unwrap took | __error__=\"\" [R]))",
        "sum(sum_over_time({S} | logfmt | took > 50 | unwrap took | __error__=\"\" [R]))",
        "sum(sum_over_time({S} | logfmt | unwrap to_ok | __error__=\"\" [R]))",
        "sum by (took) (sum_over_time({S} | logfmt | unwrap took | __error__=\"\" [R]))",
        "sum(last_over_time({S} | logfmt | unwrap n | __error__=\"\" [R]))",
        "sum(first_over_time({S} | logfmt | unwrap took [R]))",
    ] {
        let text = text
            .replace("{S}", "{app=\"web\"}")
            .replace("[R]", "[150ms]");
        let query = Query {
            asked: Asked::Numbers(steps),
            ..all_lines(&text)
        };
        let seen = check(&prepared, &query).unwrap();
        assert!(seen.found, "{text}");
    }
}

fn asked_safely(prepared: &Prepared, query: &Query) -> Result<Seen, String> {
    catch_unwind(AssertUnwindSafe(|| check(prepared, query)))
        .unwrap_or_else(|_| Err("a panic".to_owned()))
}

/// The query with as few rows as it takes, and what is wrong about these.
fn smallest(prepared: &Prepared, query: &Query, mut text: String) -> String {
    let mut rows: Vec<Row> = prepared.rows.clone();
    let wrong = |rows: &[Row]| asked_safely(&Prepared::new(rows.to_vec()), query).err();
    match wrong(&rows) {
        Some(again) => text = again,
        None => return format!("{query:?}, after others, in {text}"),
    }
    let mut size = rows.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at + size <= rows.len() && rows.len() > size {
            let mut fewer = rows.clone();
            fewer.drain(at..at + size);
            match wrong(&fewer) {
                Some(again) => (rows, text) = (fewer, again),
                None => at += size,
            }
        }
        size /= 2;
    }
    let shown = rows
        .iter()
        .map(|(time, line, metadata)| format!("{time} {metadata} {}\n", line.escape_ascii()));
    let shown: String = shown.collect();
    format!("{query:?}\nof the rows\n{shown}in {text}")
}

/// SplitMix64: the same numbers for the same seed everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }
}
