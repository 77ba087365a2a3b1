//! Groups lines by what they have in common, after the idea of Drain (He et al., "Drain: An Online
//! Log Parsing Approach with Fixed Depth Tree", ICWS 2017): lines of a kind have as many tokens and
//! begin alike; where their other tokens differ there is a variable.

use std::collections::{BTreeMap, HashMap};

use chunk::{PatternToken, pattern_tokens};

use super::counts::Samples;

/// Kinds that are remembered; a line that would need another joins none.
const KINDS_MAX: usize = 1000;
/// How much two lines of a kind must have in common: this part of their fixed tokens.
const SIMILARITY: (usize, usize) = (3, 5);

/// What two lines of a kind must share before they are compared.
type Key = (usize, Option<Box<[u8]>>);

/// A part of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// The same in all lines of a kind.
    Fixed(Box<[u8]>),
    /// Different from line to line.
    Variable,
}

#[derive(Debug)]
struct Kind {
    tokens: Vec<Token>,
    samples: Samples,
}

/// Kinds of the lines seen so far.
#[derive(Debug, Default)]
pub(super) struct Miner {
    groups: HashMap<Key, Vec<Kind>>,
    kinds: usize,
}

impl Miner {
    /// Adds lines of a pattern. `false` if they would be of another kind and there are too many.
    pub(super) fn add(&mut self, pattern: &[u8], samples: Samples) -> bool {
        let tokens = tokens(pattern);
        let first = match tokens.first() {
            Some(Token::Fixed(text)) => Some(text.clone()),
            _ => None,
        };
        let group = self.groups.entry((tokens.len(), first)).or_default();
        let best = group
            .iter_mut()
            .filter_map(|kind| Some((kind.alike(&tokens)?, kind)))
            .max_by_key(|(alike, _)| *alike);
        match best {
            Some((_, kind)) => {
                kind.join(&tokens);
                for (at_ns, count) in samples {
                    *kind.samples.entry(at_ns).or_default() += count;
                }
                true
            }
            None if self.kinds < KINDS_MAX => {
                self.kinds += 1;
                group.push(Kind { tokens, samples });
                true
            }
            None => false,
        }
    }

    /// Patterns and their samples. Kinds that came to have the same pattern are one.
    pub(super) fn finish(self) -> Vec<(String, Samples)> {
        let mut patterns: BTreeMap<String, Samples> = BTreeMap::new();
        for kind in self.groups.into_values().flatten() {
            let samples = patterns.entry(text(&kind.tokens)).or_default();
            for (at_ns, count) in kind.samples {
                *samples.entry(at_ns).or_default() += count;
            }
        }
        patterns.into_iter().collect()
    }
}

fn tokens(pattern: &[u8]) -> Vec<Token> {
    let token = |token: PatternToken<'_>| match token {
        PatternToken::Fixed(text) => Token::Fixed(text.into()),
        PatternToken::Variable => Token::Variable,
    };
    pattern_tokens(pattern).map(token).collect()
}

/// Some tokens as they are shown: variables next to each other are one.
fn text(tokens: &[Token]) -> String {
    let mut out = Vec::new();
    let mut is_variable = false;
    for token in tokens {
        match token {
            Token::Fixed(text) => {
                out.extend_from_slice(text);
                is_variable = false;
            }
            Token::Variable => {
                if !is_variable {
                    out.extend_from_slice(b"<_>");
                }
                is_variable = true;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

impl Kind {
    /// How many words it has in common with a line; `None` if they are too few.
    fn alike(&self, other: &[Token]) -> Option<usize> {
        let (mut words, mut alike) = (0, 0);
        for (own, other) in self.tokens.iter().zip(other) {
            let (Token::Fixed(own), other) = (own, other) else {
                continue;
            };
            if !own.iter().any(is_alphabetic) {
                // Separators must agree, or the pattern would not be that of both.
                if !matches!(other, Token::Fixed(other) if other == own) {
                    return None;
                }
                continue;
            }
            words += 1;
            alike += usize::from(matches!(other, Token::Fixed(other) if other == own));
        }
        (alike * SIMILARITY.1 >= words * SIMILARITY.0).then_some(alike)
    }

    /// Makes variables of the tokens that differ.
    fn join(&mut self, other: &[Token]) {
        for (own, other) in self.tokens.iter_mut().zip(other) {
            if own != other {
                *own = Token::Variable;
            }
        }
    }
}

/// Whether a byte is a letter, or a part of one.
fn is_alphabetic(byte: &u8) -> bool {
    byte.is_ascii_alphabetic() || !byte.is_ascii()
}

#[cfg(test)]
mod tests {
    use chunk::put_pattern;

    use super::*;

    fn add(miner: &mut Miner, line: &str, at_ns: i64) -> bool {
        let mut pattern = Vec::new();
        put_pattern(line.as_bytes(), &mut pattern);
        miner.add(&pattern, Samples::from([(at_ns, 1)]))
    }

    fn mined(lines: &[&str]) -> Vec<String> {
        let mut miner = Miner::default();
        for line in lines {
            assert!(add(&mut miner, line, 0));
        }
        miner.finish().into_iter().map(|(text, _)| text).collect()
    }

    #[test]
    fn what_differs_becomes_a_variable() {
        let lines = [
            "user alice logged in from home after lunch",
            "user bob logged in from work after lunch",
            "disk full",
        ];
        assert_eq!(
            mined(&lines),
            ["disk full", "user <_> logged in from <_> after lunch"]
        );
    }

    #[test]
    fn lines_with_other_separators_are_of_another_kind() {
        assert_eq!(mined(&["a=b c", "a b=c"]).len(), 2);
    }

    #[test]
    fn samples_are_counted_per_time() {
        let mut miner = Miner::default();
        for (line, at_ns) in [("took 5", 10), ("took 6", 10), ("took 7", 20)] {
            add(&mut miner, line, at_ns);
        }
        assert_eq!(
            miner.finish(),
            [("took <_>".to_owned(), Samples::from([(10, 2), (20, 1)]))]
        );
    }

    #[test]
    fn kinds_are_bounded() {
        let mut miner = Miner::default();
        for number in 0..2 * KINDS_MAX {
            let word: String = format!("{number}")
                .bytes()
                .map(|b| (b + 49) as char)
                .collect();
            assert_eq!(add(&mut miner, &word, 0), number < KINDS_MAX);
        }
        assert_eq!(miner.finish().len(), KINDS_MAX);
    }
}
