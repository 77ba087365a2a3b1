use std::sync::Arc;

use model::{LabelSet, RowLabels};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::super::names::FixedNames;
use super::super::wanted::Wanted;
use super::*;

fn parsed(line: &str, strict: bool, keep_empty: bool) -> String {
    let stream = LabelSet::from_pairs([("app", "web")]);
    let names = Arc::new(FixedNames::default());
    let mut row = Row::new(&stream, names, Arc::new(Wanted::all()));
    row.begin(&LabelSet::default());
    let logfmt = Logfmt { strict, keep_empty };
    let mut buffers = LogfmtBuffers::default();
    assert!(logfmt.run(
        line.as_bytes(),
        &mut row,
        &mut buffers,
        &EarlyFilters::default()
    ));
    row.to_row_labels().parsed.to_string()
}

#[test]
fn the_first_of_equal_keys_wins_and_faults_are_passed_over() {
    for (line, labels) in [
        ("a=1 a=2 app=x b= c", r#"{a="1", app_extracted="x"}"#),
        ("ü=1 日=2 1g=3 a.b=4", r#"{_="1", _1g="3", a_b="4"}"#),
        ("a=b=c d=e", r#"{d="e"}"#),
    ] {
        assert_eq!(parsed(line, false, false), labels, "{line}");
    }
    assert_eq!(parsed("a= b c=1", false, true), r#"{a="", b="", c="1"}"#);
}

#[test]
fn strict_stops_at_the_first_fault() {
    let labels = parsed("a=1 b=c=d e=f", true, false);
    assert_eq!(
        labels,
        r#"{__error__="LogfmtParserErr", __error_details__="logfmt syntax error at pos 8 : unexpected '='", a="1"}"#
    );
}

/// Labels of a line of which some are wanted, read from the start or not.
fn some(line: &[u8], wanted: &[String], keep_empty: bool, seek: bool) -> RowLabels {
    let stream = LabelSet::from_pairs([("app", "web")]);
    let mut names = FixedNames::default();
    let wanted = Arc::new(Wanted::for_metric(wanted, false, false, &mut names));
    let mut row = Row::new(&stream, Arc::new(names), wanted);
    row.begin(&LabelSet::default());
    let mut buffers = LogfmtBuffers::default();
    if !seek {
        buffers.seeker.set(None).unwrap();
    }
    let logfmt = Logfmt {
        strict: false,
        keep_empty,
    };
    assert!(logfmt.run(line, &mut row, &mut buffers, &EarlyFilters::default()));
    row.to_row_labels()
}

/// The same of `| logfmt x="a_b", y="a"` and the like.
fn looked_up(line: &[u8], sources: &[String], seek: bool) -> RowLabels {
    let stream = LabelSet::from_pairs([("app", "web")]);
    let mut names = FixedNames::default();
    let keys: Vec<NameId> = sources.iter().map(|key| names.intern(key)).collect();
    let labels = sources.iter().enumerate();
    let labels = labels.map(|(at, key)| (names.intern(&format!("l{at}")), key.clone()));
    let lookup = LogfmtLookup {
        strict: false,
        labels: labels.collect(),
        keys,
        seeker: Seeker::new(sources.iter(), true).filter(|_| seek),
    };
    let mut row = Row::new(&stream, Arc::new(names), Arc::new(Wanted::all()));
    row.begin(&LabelSet::default());
    let buffers = &mut LogfmtBuffers::default();
    assert!(lookup.run(line, &mut row, buffers, &EarlyFilters::default()));
    row.to_row_labels()
}

const LINE_PARTS: [&str; 20] = [
    "a",
    "=",
    "\"",
    " ",
    "\\",
    "a=1",
    " a=2",
    "a_b=3",
    " a.b=4",
    "a\"b",
    "x=\"",
    "\" a=5",
    "a\\\"",
    " app=6 ",
    "app_extracted=7",
    "__error__=8",
    "\n",
    "\u{a0}",
    "=\"y a=9",
    " a= ",
];

proptest! {
    #[test]
    fn keys_that_are_sought_are_those_that_are_read(
        parts in prop::collection::vec(select(&LINE_PARTS[..]), 0..12),
        wanted in subsequence(vec!["a", "a_b", "app", "app_extracted", "__error__", "b"], 1..4),
        keep_empty: bool,
    ) {
        let line = parts.concat().into_bytes();
        let wanted: Vec<String> = wanted.into_iter().map(str::to_owned).collect();
        prop_assert_eq!(
            some(&line, &wanted, keep_empty, true),
            some(&line, &wanted, keep_empty, false)
        );
        prop_assert_eq!(looked_up(&line, &wanted, true), looked_up(&line, &wanted, false));
    }
}
