//! What blocks find without looking at every line is what the pipeline says about every line.

#![no_main]

use fuzz::pushdown::compare::check;
use fuzz::pushdown::dice::Dice;
use fuzz::pushdown::queries::query;
use fuzz::pushdown::rows::rows;
use fuzz::pushdown::sources::Prepared;
use libfuzzer_sys::arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;

/// Queries over the same rows.
const QUERIES: usize = 12;

fuzz_target!(|input: &[u8]| {
    let mut input = Unstructured::new(input);
    // When the bytes are used up, all is the first of its kind.
    let mut below = |end: usize| input.int_in_range(0..=end - 1).unwrap_or_default();
    let dice = &mut Dice::new(&mut below);
    let (rows, unit) = rows(dice);
    let prepared = Prepared::new(rows);
    for _ in 0..QUERIES {
        let Some(query) = query(dice, &prepared.rows, unit) else {
            continue;
        };
        if let Err(text) = check(&prepared, &query) {
            panic!("{query:?} in {text}");
        }
    }
});
