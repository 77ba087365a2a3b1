//! What holds for any pipeline and any line.

use std::sync::Arc;

use model::{LabelSet, RowLabels};
use proptest::prelude::*;
use proptest::sample::select;

use super::{NOW_NS, STREAM, set};
use crate::pipeline::{Extractor, Pipeline};
use crate::syntax::ast::RangeAggregation;
use crate::syntax::ast::{LogExpr, RangeOp, Stage, Unwrap};
use crate::syntax::parse_log;

const STAGES: [&str; 30] = [
    r#"|= "a""#,
    r#"!= "b=2" or "c""#,
    r#"|~ "a.*[=:]""#,
    r#"|> "<_>a<_>""#,
    r#"|= ip("10.0.0.0/8")"#,
    "| json",
    r#"| json x="a.b[0]", a"#,
    "| logfmt",
    "| logfmt --strict --keep-empty",
    r#"| logfmt x="a", app"#,
    r#"| regexp "(?P<a>\\w+)=(?P<x>.*)""#,
    r#"| pattern "<a>=<_> <b>""#,
    "| unpack",
    r#"| a = "1""#,
    "| a > 1 and b < 5s or x = 1KB",
    r#"| a = ip("10.0.0.1")"#,
    r#"| __error__ = """#,
    r#"| m =~ "y.*|z""#,
    "| line_format `{{.a}} {{__line__}}`",
    "| line_format `{{ index .a 3 }}`",
    "| label_format x=a, b=`{{.x}}{{.app}}`",
    "| label_format app=m",
    "| decolorize",
    "| drop a, app, __error__",
    r#"| drop b="2""#,
    "| keep a, m",
    "| label_format a=`{{.b}}`",
    "| json | logfmt",
    r#"| app_extracted != "x""#,
    "| line_format `a={{.b}}`",
];

fn stages() -> impl Strategy<Value = Vec<Stage>> {
    let stages = prop::collection::vec(select(&STAGES[..]), 0..6);
    stages.prop_map(|stages| {
        let parse = |stage| {
            parse_log(&format!("{{app=\"web\"}} {stage}"))
                .unwrap()
                .stages
        };
        stages.into_iter().flat_map(parse).collect()
    })
}

fn lines() -> impl Strategy<Value = Vec<Vec<u8>>> {
    const PARTS: [&str; 26] = [
        "a",
        "b",
        "=",
        "1",
        "2s",
        "\"",
        "\\",
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        " ",
        "app",
        "\u{1b}[1m",
        "10.0.0.1",
        "\u{e9}",
        "a=1",
        "b=\"x y\"",
        "\"a\":",
        "\"b\":\"2\"",
        "{\"a\":{\"b\":[1]}}",
        "\"_entry\":\"a=1\"",
        "__error__",
        "\n",
    ];
    let text = prop::collection::vec(select(&PARTS[..]), 0..12);
    let text = text.prop_map(|parts| parts.concat().into_bytes());
    let bytes = prop::collection::vec(any::<u8>(), 0..20);
    prop::collection::vec(prop_oneof![4 => text, 1 => bytes], 1..6)
}

fn log(stages: &[Stage]) -> LogExpr {
    LogExpr {
        matchers: Vec::new(),
        stages: stages.to_vec(),
    }
}

fn run(pipeline: &Pipeline, lines: &[Vec<u8>]) -> Vec<Option<(Vec<u8>, Arc<RowLabels>)>> {
    let mut rows = pipeline.for_stream(&set(&STREAM));
    let metadata = [
        set(&[]),
        set(&[("m", "y"), ("a", "1")]),
        set(&[("app", "m")]),
    ];
    let metadata = metadata.iter().cycle();
    let pairs = std::iter::zip(lines, metadata);
    let process = |(line, metadata): (&Vec<u8>, &LabelSet)| {
        let (line, labels) = rows.process(NOW_NS, line, metadata)?;
        Some((line.into_owned(), Arc::clone(labels)))
    };
    pairs.map(process).collect()
}

proptest! {
    #[test]
    fn rows_pass_with_labels_that_are_each_named_once(stages in stages(), lines in lines()) {
        let pipeline = Pipeline::new(&log(&stages), NOW_NS).unwrap();
        for row in run(&pipeline, &lines) {
            let Some((_, labels)) = row else { continue };
            let parts = [&labels.stream, &labels.metadata, &labels.parsed];
            let count: usize = parts.iter().map(|labels| labels.len()).sum();
            prop_assert_eq!(labels.merged().len(), count);
        }
    }

    #[test]
    fn what_rows_before_left_behind_does_not_matter(stages in stages(), lines in lines()) {
        let pipeline = Pipeline::new(&log(&stages), NOW_NS).unwrap();
        let twice = [lines.clone(), lines.clone(), lines.clone()].concat();
        let twice = run(&pipeline, &twice);
        prop_assert_eq!(&twice[..lines.len()], &run(&pipeline, &lines)[..]);
        prop_assert_eq!(&twice[..lines.len().min(1)], &run(&pipeline, &lines[..1])[..]);
    }

    /// Where no later stage can tell, running all stages at once is running one after the other.
    #[test]
    fn line_filters_may_stand_before_parsers(
        filter in select(&STAGES[..5]),
        parser in select(&STAGES[5..12]),
        lines in lines(),
    ) {
        let of = |stages: String| {
            let log = parse_log(&format!("{{app=\"web\"}} {stages}")).unwrap();
            run(&Pipeline::new(&log, NOW_NS).unwrap(), &lines)
        };
        prop_assert_eq!(of(format!("{filter} {parser}")), of(format!("{parser} {filter}")));
    }

    #[test]
    fn samples_never_panic_and_are_grouped(
        stages in stages(),
        lines in lines(),
        by in any::<bool>(),
        unwrap in any::<bool>(),
    ) {
        let aggregation = RangeAggregation {
            op: if unwrap { RangeOp::Sum } else { RangeOp::Bytes },
            parameter: None,
            log: log(&stages),
            unwrap: unwrap.then(|| Unwrap {
                label: "a".to_owned(),
                conversion: None,
                filters: Vec::new(),
            }),
            range_ns: 1,
            offset_ns: 0,
            grouping: None,
        };
        let grouping = crate::syntax::ast::Grouping {
            without: false,
            labels: vec!["b".to_owned()],
        };
        let extractor = Extractor::new(&aggregation, by.then_some(&grouping), NOW_NS).unwrap();
        let mut rows = extractor.for_stream(&set(&STREAM));
        for line in &lines {
            let sample = rows.process(NOW_NS, line, &set(&[("m", "y")]));
            let Some(Ok((_, labels))) = sample else { continue };
            let failed = labels.get("__error__").is_some();
            prop_assert!(failed || !by || labels.iter().all(|label| &*label.name == "b"));
        }
    }
}
