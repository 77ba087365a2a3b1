//! What line filters ask of the stored line, as literals: storage can find these without looking
//! at lines.

use model::re2;
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind};

use super::pattern::LinePattern;
use super::regex_plan::has_replacement;
use crate::syntax::ast::{LineFilter, LineMatch, LineOp, Stage};

/// More alternatives are not taken apart.
const ALTERNATIVES_MAX: usize = 32;
/// Literals of one filter that are asked for: the longest.
const REQUIRED_MAX: usize = 3;
/// Shorter ones are in most lines.
const REQUIRED_LEN_MIN: usize = 2;

/// A text, or without regard to case one of ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Literal {
    /// It.
    pub text: Vec<u8>,
    /// Whether upper and lower case are the same, as `(?i)` means it.
    pub any_case: bool,
}

/// A condition on the stored line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiteralFilter {
    /// Whether the line must contain none of the literals, instead of at least one.
    pub negative: bool,
    /// The literals.
    pub any_of: Vec<Literal>,
}

/// Takes the line filters out of the stages that are nothing but a question for literals in the
/// stored line. A row passes all stages if it meets every condition and passes the stages that are
/// left; the conditions also have literals of other filters, which stay.
#[must_use]
pub fn split_literals(stages: &[Stage]) -> (Vec<LiteralFilter>, Vec<Stage>) {
    let mut conditions = Vec::new();
    let mut left = Vec::new();
    let mut rewritten = false;
    for stage in stages {
        match stage {
            Stage::LineFilter(filter) if !rewritten => match exactly(filter) {
                Some(condition) => conditions.push(condition),
                None => {
                    conditions.extend(required(filter));
                    left.push(stage.clone());
                }
            },
            stage => {
                rewritten |= matches!(
                    stage,
                    Stage::LineFormat(_) | Stage::Unpack | Stage::Decolorize
                );
                left.push(stage.clone());
            }
        }
    }
    (conditions, left)
}

/// The filter as literals.
fn exactly(filter: &LineFilter) -> Option<LiteralFilter> {
    let (negative, is_regex) = match filter.op {
        LineOp::Contains => (false, false),
        LineOp::NotContains => (true, false),
        LineOp::Regex => (false, true),
        LineOp::NotRegex => (true, true),
        LineOp::Pattern | LineOp::NotPattern => return None,
    };
    let mut any_of = Vec::new();
    for alternative in &filter.alternatives {
        match alternative {
            LineMatch::Text(text) if is_regex => any_of.extend(anywhere(&hir(text)?)?),
            LineMatch::Text(text) => any_of.push(Literal {
                text: text.clone().into_bytes(),
                any_case: false,
            }),
            LineMatch::Ip(_) => return None,
        }
    }
    // Other bytes of a line than those may be one to an expression.
    let is_text = |literal: &Literal| !is_regex || !has_replacement(&literal.text);
    let few = any_of.len() <= ALTERNATIVES_MAX && any_of.iter().all(is_text);
    few.then_some(LiteralFilter { negative, any_of })
}

/// Literals each of which every passing line contains.
fn required(filter: &LineFilter) -> Vec<LiteralFilter> {
    let [LineMatch::Text(text)] = filter.alternatives.as_slice() else {
        return Vec::new();
    };
    let mut literals = match filter.op {
        LineOp::Regex => {
            let mut literals = Vec::new();
            if let Some(hir) = hir(text) {
                collect(&hir, &mut literals);
            }
            literals.retain(|literal| !has_replacement(&literal.text));
            literals
        }
        LineOp::Pattern => LinePattern::compile(text)
            .literals()
            .map(|text| Literal {
                text: text.to_vec(),
                any_case: false,
            })
            .collect(),
        _ => Vec::new(),
    };
    literals.retain(|literal| literal.text.len() >= REQUIRED_LEN_MIN);
    literals.sort_by_key(|literal| std::cmp::Reverse(literal.text.len()));
    literals.dedup();
    literals.truncate(REQUIRED_MAX);
    let condition = |literal| LiteralFilter {
        negative: false,
        any_of: vec![literal],
    };
    literals.into_iter().map(condition).collect()
}

fn hir(pattern: &str) -> Option<Hir> {
    let translated = re2::translate(pattern).ok()?;
    let mut parser = ParserBuilder::new().utf8(false).build();
    parser.parse(&translated.pattern).ok()
}

/// The literals of an expression that is looked for anywhere and is nothing but these.
fn anywhere(hir: &Hir) -> Option<Vec<Literal>> {
    let HirKind::Concat(parts) = hir.kind() else {
        return alternatives(hir);
    };
    // What may be there or not says nothing at either end.
    let optional = |part: &&Hir| matches!(part.kind(), HirKind::Repetition(r) if r.min == 0);
    let start = parts.iter().take_while(optional).count();
    let rest = parts.get(start..).unwrap_or_default();
    let end = rest.iter().rev().take_while(optional).count();
    let inner = rest.get(..rest.len() - end).unwrap_or_default();
    concatenated(inner)
}

/// All texts that the expression matches, if they are few.
fn alternatives(hir: &Hir) -> Option<Vec<Literal>> {
    let one = |text: &[u8]| {
        Some(vec![Literal {
            text: text.to_vec(),
            any_case: false,
        }])
    };
    match hir.kind() {
        HirKind::Empty => one(b""),
        HirKind::Literal(literal) => one(&literal.0),
        HirKind::Capture(capture) => alternatives(&capture.sub),
        HirKind::Alternation(parts) => {
            let mut all = Vec::new();
            for part in parts {
                all.extend(alternatives(part)?);
                (all.len() <= ALTERNATIVES_MAX).then_some(())?;
            }
            Some(all)
        }
        HirKind::Concat(parts) => concatenated(parts),
        HirKind::Class(_) => letter(hir).map(|letter| vec![letter]),
        HirKind::Look(_) | HirKind::Repetition(_) => None,
    }
}

/// Everything that one of each part makes.
fn concatenated(parts: &[Hir]) -> Option<Vec<Literal>> {
    let empty = Literal {
        text: Vec::new(),
        any_case: false,
    };
    let mut all = vec![empty];
    for part in parts {
        let next = alternatives(part)?;
        (all.len() * next.len() <= ALTERNATIVES_MAX).then_some(())?;
        let mut joined = Vec::with_capacity(all.len() * next.len());
        for first in &all {
            for second in &next {
                joined.push(join(first, second)?);
            }
        }
        all = joined;
    }
    Some(all)
}

/// Two literals as one, unless case matters in one of them only.
fn join(first: &Literal, second: &Literal) -> Option<Literal> {
    let caseless = |literal: &Literal| {
        let text = &literal.text;
        literal.any_case || (text.is_ascii() && !text.iter().any(u8::is_ascii_alphabetic))
    };
    let any_case = first.any_case || second.any_case;
    if any_case && !(caseless(first) && caseless(second)) {
        return None;
    }
    let text = [first.text.as_slice(), &second.text].concat();
    Some(Literal { text, any_case })
}

/// A letter in every case.
fn letter(hir: &Hir) -> Option<Literal> {
    let HirKind::Class(Class::Unicode(class)) = hir.kind() else {
        return None;
    };
    let mut chars = Vec::new();
    for range in class.ranges() {
        (range.len() <= 3 && chars.len() <= 3).then_some(())?;
        chars.extend(range.start()..=range.end());
    }
    let lower = *chars.iter().find(|c| c.is_ascii_lowercase())?;
    let mut every = vec![lower.to_ascii_uppercase(), lower];
    match lower {
        'k' => every.push('\u{212a}'),
        's' => every.push('\u{17f}'),
        _ => {}
    }
    every.sort_unstable();
    (chars == every).then(|| Literal {
        text: vec![lower as u8],
        any_case: true,
    })
}

/// Collects literals each of which is in everything that the expression matches.
fn collect(hir: &Hir, literals: &mut Vec<Literal>) {
    match hir.kind() {
        HirKind::Capture(capture) => collect(&capture.sub, literals),
        HirKind::Repetition(repetition) if repetition.min > 0 => {
            collect(&repetition.sub, literals);
        }
        HirKind::Concat(parts) => {
            let mut last: Option<Literal> = None;
            for part in parts {
                let only = alternatives(part).filter(|all| all.len() == 1);
                let only = only.and_then(|mut all| all.pop());
                let joined = match (&last, &only) {
                    (Some(last), Some(only)) => join(last, only),
                    _ => None,
                };
                if joined.is_some() {
                    last = joined;
                    continue;
                }
                literals.extend(std::mem::replace(&mut last, only));
                if last.is_none() {
                    collect(part, literals);
                }
            }
            literals.extend(last);
        }
        _ => {
            let only = alternatives(hir).filter(|all| all.len() == 1);
            literals.extend(only.into_iter().flatten());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::line_filter;
    use super::*;
    use crate::syntax::parse_log;

    fn stages(text: &str) -> Vec<Stage> {
        parse_log(&format!("{{a=\"b\"}} {text}")).unwrap().stages
    }

    /// Conditions as text, and how many stages are left.
    fn shown(text: &str) -> (Vec<String>, usize) {
        let (conditions, left) = split_literals(&stages(text));
        let show = |condition: &LiteralFilter| {
            let any_of = condition.any_of.iter().map(|literal| {
                let text = String::from_utf8_lossy(&literal.text);
                format!("{}{text}", if literal.any_case { "~" } else { "" })
            });
            let all = any_of.collect::<Vec<_>>().join("|");
            format!("{}{all}", if condition.negative { "!" } else { "" })
        };
        (conditions.iter().map(show).collect(), left.len())
    }

    #[test]
    fn filters_become_literals_where_they_are_nothing_else() {
        for (text, conditions, left) in [
            (r#"|= "a" != "b" or "c""#, vec!["a", "!b", "!c"], 0),
            (
                r#"|~ "deadlock detected|checksum mismatch""#,
                vec!["deadlock detected|checksum mismatch"],
                0,
            ),
            (
                r#"|~ "(foo|foe)bar" !~ ".*x.*""#,
                vec!["foobar|foebar", "!x"],
                0,
            ),
            (r#"|~ "(?i)CONNECTION reset""#, vec!["~connection reset"], 0),
            (r#"|~ "(?i)err 5[0-9]x""#, vec!["~err 5"], 1),
            (r#"|~ "GET /v[12] HTTP""#, vec!["GET /v", " HTTP"], 1),
            (r#"|~ "^a|b" | json"#, vec![], 2),
            (r#"!~ "a.c" |= ip("1.1.1.1")"#, vec![], 2),
            (r#"|> "<_>abc<_>" | line_format "x" |= "y""#, vec!["abc"], 3),
        ] {
            let (found, stages) = shown(text);
            assert_eq!(
                (found, stages),
                (conditions.iter().map(|c| (*c).to_owned()).collect(), left),
                "{text}"
            );
        }
    }

    fn contains(line: &[u8], literal: &Literal) -> bool {
        if !literal.any_case {
            return memchr::memmem::find(line, &literal.text).is_some();
        }
        let folded = String::from_utf8_lossy(line)
            .replace('\u{212a}', "k")
            .replace('\u{17f}', "s");
        memchr::memmem::find(folded.to_ascii_lowercase().as_bytes(), &literal.text).is_some()
    }

    fn arbitrary_filter() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "a", "b", "ks", "K", "(?i:k)", "(?i:s)", ".*", "(a|b)", "(ab|ak|)", "[ab]", "x?", "1",
            "(?i:a1)", "\\\\.", "^", ".", "\u{fffd}", "[^a]",
        ]);
        let regex = prop::collection::vec(piece, 1..5).prop_map(|pieces| pieces.concat());
        let literals = prop::collection::vec("[abk1]{0,2}", 1..3);
        let literals = literals.prop_map(|all| {
            all.iter()
                .map(|text| format!("\"{text}\""))
                .collect::<Vec<_>>()
                .join(" or ")
        });
        prop_oneof![
            (prop::sample::select(vec!["|~", "!~"]), regex)
                .prop_map(|(op, regex)| format!("{op} \"{regex}\"")),
            (prop::sample::select(vec!["|=", "!="]), literals)
                .prop_map(|(op, literals)| format!("{op} {literals}")),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn conditions_and_stages_that_are_left_decide_as_all_stages(
            filters in prop::collection::vec(arbitrary_filter(), 1..4),
            lines in prop::collection::vec(
                prop::collection::vec(
                    prop::sample::select(vec![
                        "a".as_bytes(), b"b", b"k", b"K", b"s", b"S", b"x", b"1", b".",
                        "\u{212a}".as_bytes(), "\u{17f}".as_bytes(), "\u{fffd}".as_bytes(), b"\xff", b"\xe2",
                    ]),
                    0..7,
                ).prop_map(|pieces| pieces.concat()),
                1..8,
            ),
        ) {
            let all = stages(&filters.join(" "));
            let (conditions, left) = split_literals(&all);
            let pass = |stages: &[Stage], line: &[u8]| stages.iter().all(|stage| match stage {
                Stage::LineFilter(filter) => line_filter::LineFilter::compile(filter).unwrap().pass(line),
                _ => true,
            });
            for line in &lines {
                let met = conditions.iter().all(|condition| {
                    condition.any_of.iter().any(|literal| contains(line, literal)) != condition.negative
                });
                prop_assert_eq!(met && pass(&left, line), pass(&all, line), "{:?} {:?}", filters, conditions);
            }
        }
    }
}
