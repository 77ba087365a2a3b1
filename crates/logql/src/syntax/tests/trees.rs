//! Strategies that make trees of all shapes.

use model::{MatchOp, Matcher};
use proptest::prelude::*;

use super::super::ast::*;

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z_][a-z0-9_]{0,6}x",
        Just("rate".to_owned()),
        Just("ip".to_owned()),
        Just("bytes".to_owned()),
        Just("Sum".to_owned()),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z \"\\\\\n\t`é{}]{0,8}", ".{0,6}"]
}

/// A template that parses: an action is opened only where it is closed.
fn template() -> impl Strategy<Value = String> {
    let plain = || text().prop_map(|text| text.replace('{', "["));
    prop_oneof![
        plain(),
        (plain(), plain()).prop_map(|(before, after)| format!("{before}{{{{.a}}}}{after}")),
    ]
}

fn finite() -> impl Strategy<Value = f64> {
    prop_oneof![(-1000i32..1000).prop_map(f64::from), any::<f64>()]
        .prop_filter("finite", |value| value.is_finite())
        // The sign of zero is not printed.
        .prop_map(|value| if value == 0.0 { 0.0 } else { value })
}

fn label_matcher() -> impl Strategy<Value = Matcher> {
    (name(), text(), 0..4u8, "[a-z.*+]{0,1}[a-z]{0,3}").prop_filter_map(
        "regex",
        |(name, text, op, regex)| {
            match op {
                0 => Matcher::new(name, MatchOp::Equal, text),
                1 => Matcher::new(name, MatchOp::NotEqual, text),
                2 => Matcher::new(name, MatchOp::Regex, regex),
                _ => Matcher::new(name, MatchOp::NotRegex, regex),
            }
            .ok()
        },
    )
}

fn compare_op() -> impl Strategy<Value = CompareOp> {
    prop::sample::select(vec![
        CompareOp::Equal,
        CompareOp::NotEqual,
        CompareOp::Greater,
        CompareOp::GreaterOrEqual,
        CompareOp::Less,
        CompareOp::LessOrEqual,
    ])
}

fn label_filter() -> impl Strategy<Value = LabelFilter> {
    let leaf = prop_oneof![
        label_matcher().prop_map(LabelFilter::Text),
        (name(), compare_op(), finite()).prop_map(|(name, op, value)| LabelFilter::Number {
            name,
            op,
            value
        }),
        (name(), compare_op(), 1..i64::MAX / 2)
            .prop_map(|(name, op, value_ns)| LabelFilter::Duration { name, op, value_ns }),
        (name(), compare_op(), 0..9_000_000_000_000u64)
            .prop_map(|(name, op, value)| LabelFilter::Bytes { name, op, value }),
        (name(), any::<bool>()).prop_map(|(name, negative)| LabelFilter::Ip {
            name,
            negative,
            pattern: "10.0.0.0/8".to_owned()
        }),
    ];
    leaf.prop_recursive(4, 12, 2, |inner| {
        (inner.clone(), inner, any::<bool>()).prop_map(|(a, b, and)| {
            let (a, b) = (Box::new(a), Box::new(b));
            if and {
                LabelFilter::And(a, b)
            } else {
                LabelFilter::Or(a, b)
            }
        })
    })
}

fn line_filter() -> impl Strategy<Value = LineFilter> {
    let ops = [
        LineOp::Contains,
        LineOp::NotContains,
        LineOp::Regex,
        LineOp::NotRegex,
        LineOp::Pattern,
        LineOp::NotPattern,
    ];
    (
        prop::sample::select(ops.to_vec()),
        prop::collection::vec(text(), 1..4),
    )
        .prop_map(|(op, texts)| {
            let texts = texts.into_iter().map(|text| match op {
                LineOp::Contains if text.is_empty() => LineMatch::Ip("::1".to_owned()),
                LineOp::Contains | LineOp::NotContains => LineMatch::Text(text),
                _ => LineMatch::Text(text.chars().filter(char::is_ascii_lowercase).collect()),
            });
            // None of several is several filters.
            let count = if op.is_negative() { 1 } else { usize::MAX };
            LineFilter {
                op,
                alternatives: texts.take(count).collect(),
            }
        })
}

fn extractions() -> impl Strategy<Value = Vec<Extraction>> {
    let one = (name(), "[a-z]{1,4}").prop_map(|(label, source)| Extraction { label, source });
    prop::collection::vec(one, 0..3)
}

fn stage() -> impl Strategy<Value = Stage> {
    let format = (name(), template(), any::<bool>()).prop_map(|(to, text, rename)| {
        if rename {
            LabelFormat::Rename {
                from: to.clone(),
                to,
            }
        } else {
            LabelFormat::Template { to, template: text }
        }
    });
    let picks = || {
        let pick = prop_oneof![
            name().prop_map(LabelPick::Name),
            label_matcher().prop_map(LabelPick::Matcher)
        ];
        prop::collection::vec(pick, 1..3)
    };
    prop_oneof![
        line_filter().prop_map(Stage::LineFilter),
        extractions().prop_map(Stage::Json),
        (any::<bool>(), any::<bool>(), extractions()).prop_map(
            |(strict, keep_empty, extractions)| Stage::Logfmt {
                strict,
                keep_empty,
                extractions
            }
        ),
        Just(Stage::Regexp("(?P<a>x)".to_owned())),
        Just(Stage::Pattern("<a> x".to_owned())),
        Just(Stage::Unpack),
        Just(Stage::Decolorize),
        label_filter().prop_map(Stage::LabelFilter),
        template().prop_map(Stage::LineFormat),
        format.prop_map(|format| Stage::LabelFormat(vec![format])),
        picks().prop_map(Stage::Drop),
        picks().prop_map(Stage::Keep),
    ]
}

pub(super) fn log_expr() -> impl Strategy<Value = LogExpr> {
    (
        prop::collection::vec(label_matcher(), 0..3),
        prop::collection::vec(stage(), 0..4),
    )
        .prop_map(|(mut matchers, mut stages)| {
            matchers.extend(Matcher::new("app", MatchOp::Equal, "x").ok());
            // `drop a` and then `!= "x"` cannot be written: it is `drop a != "x"`.
            let mut after_name = false;
            stages.retain(|stage| {
                let is_value = matches!(
                    stage,
                    Stage::LineFilter(LineFilter {
                        op: LineOp::NotContains | LineOp::NotRegex,
                        ..
                    })
                );
                let keep = !(after_name && is_value);
                if let Stage::Drop(picks) | Stage::Keep(picks) = stage {
                    after_name = matches!(picks.last(), Some(LabelPick::Name(_)));
                } else if keep {
                    after_name = false;
                }
                keep
            });
            LogExpr { matchers, stages }
        })
}

fn grouping() -> impl Strategy<Value = Option<Grouping>> {
    prop::option::of((any::<bool>(), prop::collection::vec(name(), 1..3)))
        .prop_map(|found| found.map(|(without, labels)| Grouping { without, labels }))
}

fn range_aggregation() -> impl Strategy<Value = RangeAggregation> {
    let unwrap = (
        name(),
        prop::option::of(prop::sample::select(Conversion::ALL.to_vec())),
        prop::collection::vec(label_filter(), 0..2),
    )
        .prop_map(|(label, conversion, filters)| Unwrap {
            label,
            conversion,
            filters,
        });
    (
        prop::sample::select(RangeOp::ALL.to_vec()),
        finite(),
        log_expr(),
        unwrap,
        (0..100_000_000i64, -100_000_000..100_000_000i64),
        grouping(),
    )
        .prop_map(
            |(op, parameter, log, unwrap, (range_ms, offset_ms), grouping)| RangeAggregation {
                op,
                parameter: (op == RangeOp::Quantile).then_some(parameter.abs()),
                log,
                unwrap: (!op.allows_lines()).then_some(unwrap),
                range_ns: range_ms * 1_000_000,
                offset_ns: offset_ms * 1_000_000,
                grouping: grouping.filter(|_| op.allows_grouping()),
            },
        )
}

fn binary(
    op: BinaryOp,
    return_bool: bool,
    on: u8,
    left: MetricExpr,
    right: MetricExpr,
) -> MetricExpr {
    let is_literal = |expr: &MetricExpr| matches!(expr, MetricExpr::Literal(_));
    let literals = (is_literal(&left), is_literal(&right));
    if literals == (true, true) || op.is_set() && literals != (false, false) {
        return left;
    }
    let matching = (on > 0).then(|| VectorMatching {
        on: on.is_multiple_of(2),
        labels: vec!["a".to_owned(); usize::from(on % 3)],
        group: [None, Some(GroupSide::Left), Some(GroupSide::Right)][usize::from(on % 3)],
        include: vec!["b".to_owned(); usize::from(on % 3 == 2)],
    });
    MetricExpr::Binary(Box::new(BinaryExpr {
        op,
        return_bool,
        matching,
        left,
        right,
    }))
}

pub(super) fn metric_expr() -> impl Strategy<Value = MetricExpr> {
    let leaf = prop_oneof![
        3 => range_aggregation().prop_map(MetricExpr::Range),
        1 => finite().prop_map(MetricExpr::Literal),
        1 => finite().prop_map(|value| MetricExpr::VectorLiteral(value.abs())),
    ];
    let ops: Vec<BinaryOp> = "or and unless + - * / % ^ == != > >= < <="
        .split(' ')
        .filter_map(|text| super::super::token::Word::parse(text)?.binary_op())
        .collect();
    leaf.prop_recursive(4, 16, 2, move |inner| {
        prop_oneof![
            (
                prop::sample::select(VectorOp::ALL.to_vec()),
                1..9i64,
                grouping(),
                inner.clone()
            )
                .prop_map(|(op, parameter, grouping, inner)| {
                    // Aggregations of constants are refused.
                    let inner = match inner {
                        MetricExpr::Literal(value) => MetricExpr::VectorLiteral(value.abs()),
                        inner => inner,
                    };
                    let no_grouping = op.is_sort() || op == VectorOp::ApproxTopk;
                    MetricExpr::Vector(VectorAggregation {
                        op,
                        parameter: op.has_parameter().then_some(parameter),
                        grouping: grouping.filter(|_| !no_grouping),
                        inner: Box::new(inner),
                    })
                }),
            (
                prop::sample::select(ops.clone()),
                any::<bool>(),
                0..6u8,
                inner.clone(),
                inner.clone()
            )
                .prop_map(|(op, bool_, on, left, right)| binary(op, bool_, on, left, right)),
            (inner, text(), text()).prop_map(|(inner, dst, replacement)| {
                MetricExpr::LabelReplace(Box::new(LabelReplace {
                    inner,
                    dst,
                    replacement,
                    src: "a".to_owned(),
                    regex: "(.*)".to_owned(),
                }))
            }),
        ]
    })
}
