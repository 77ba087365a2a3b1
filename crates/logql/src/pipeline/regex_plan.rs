//! Regular expressions for lines, and the literals that they cannot do without.

use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Hir, HirKind};

use super::StageFault;

/// Bytes that a compiled expression may take.
const SIZE_MAX: usize = 10 << 20;

/// Compiles an expression in the dialect of the `regex` crate.
pub(super) fn build(pattern: &str) -> Result<Regex, StageFault> {
    let built = RegexBuilder::new(pattern).size_limit(SIZE_MAX).build();
    built.map_err(|source| StageFault::Regex {
        pattern: pattern.to_owned(),
        source: Box::new(source),
    })
}

/// Literals each of which is in everything that the expression matches; of a U+FFFD it is not known
/// what stands for it in the line.
pub(super) fn required_literals(pattern: &str) -> Vec<Vec<u8>> {
    let mut literals = Vec::new();
    if let Ok(hir) = ParserBuilder::new().utf8(false).build().parse(pattern) {
        collect(&hir, &mut literals);
    }
    literals
}

fn collect(hir: &Hir, literals: &mut Vec<Vec<u8>>) {
    match hir.kind() {
        HirKind::Literal(literal) if !has_replacement(&literal.0) => {
            literals.push(literal.0.to_vec());
        }
        HirKind::Capture(capture) => collect(&capture.sub, literals),
        HirKind::Repetition(repetition) if repetition.min > 0 => {
            collect(&repetition.sub, literals);
        }
        HirKind::Concat(parts) => parts.iter().for_each(|part| collect(part, literals)),
        _ => {}
    }
}

/// Whether text has a U+FFFD, which stands for a byte of a line that is no UTF-8.
pub(super) fn has_replacement(text: &[u8]) -> bool {
    memchr::memmem::find(text, "\u{fffd}".as_bytes()).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_every_match_contains() {
        let of = |pattern: &str| {
            let literals = required_literals(pattern).into_iter();
            literals
                .map(|literal| String::from_utf8(literal).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(of("abc.*def"), ["abc", "def"]);
        assert_eq!(of("a(bc)+d?"), ["a", "bc"]);
        assert_eq!(of("(?i)err 50[0-9]"), [" 50"]);
        assert_eq!(of("^x$"), ["x"]);
        for none in ["abc|def", "(abc)?", "[ab]+", "", "(", r"a\x{fffd}b"] {
            assert_eq!(of(none), [""; 0], "{none}");
        }
    }
}
