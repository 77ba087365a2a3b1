use std::sync::Arc;

use model::LabelSet;

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
