//! Groups lines by what they have in common, after the idea of Drain (He et al., "Drain: An Online
//! Log Parsing Approach with Fixed Depth Tree", ICWS 2017): lines of a kind have as many tokens and
//! begin alike; where their other tokens differ there is a variable.

use std::collections::{BTreeMap, HashMap};

use super::tokens::{Token, pattern, tokens};

/// Kinds that are remembered; a line that would need another joins none.
const KINDS_MAX: usize = 1000;
/// Bytes of a line that are looked at.
const LINE_BYTES_MAX: usize = 3000;
/// How much two lines of a kind must have in common: this part of their fixed tokens.
const SIMILARITY: (usize, usize) = (3, 5);

/// What two lines of a kind must share before they are compared.
type Key = (usize, Option<String>);

#[derive(Debug)]
struct Kind {
    tokens: Vec<Token>,
    samples: BTreeMap<i64, u64>,
}

/// Kinds of the lines seen so far.
#[derive(Debug, Default)]
pub(super) struct Miner {
    groups: HashMap<Key, Vec<Kind>>,
    kinds: usize,
}

impl Miner {
    /// Adds a line of a time.
    pub(super) fn add(&mut self, line: &str, at_s: i64) {
        let cut = line.floor_char_boundary(LINE_BYTES_MAX);
        let tokens = tokens(line.get(..cut).unwrap_or_default());
        let first = match tokens.first() {
            Some(Token::Fixed(text)) => Some(text.clone()),
            _ => None,
        };
        let group = self.groups.entry((tokens.len(), first)).or_default();
        let best = group
            .iter_mut()
            .filter_map(|kind| Some((kind.alike(&tokens)?, kind)))
            .max_by_key(|(alike, _)| *alike);
        let kind = match best {
            Some((_, kind)) => {
                kind.join(&tokens);
                kind
            }
            None if self.kinds < KINDS_MAX => {
                self.kinds += 1;
                group.push(Kind {
                    tokens,
                    samples: BTreeMap::new(),
                });
                match group.last_mut() {
                    Some(kind) => kind,
                    None => return,
                }
            }
            None => return,
        };
        *kind.samples.entry(at_s).or_default() += 1;
    }

    /// Patterns and their samples. Kinds that came to have the same pattern are one.
    pub(super) fn finish(self) -> Vec<(String, Vec<(i64, u64)>)> {
        let mut patterns: BTreeMap<String, BTreeMap<i64, u64>> = BTreeMap::new();
        for kind in self.groups.into_values().flatten() {
            let samples = patterns.entry(pattern(&kind.tokens)).or_default();
            for (at_s, count) in kind.samples {
                *samples.entry(at_s).or_default() += count;
            }
        }
        let listed =
            |(text, samples): (String, BTreeMap<i64, u64>)| (text, samples.into_iter().collect());
        patterns.into_iter().map(listed).collect()
    }
}

impl Kind {
    /// How many words it has in common with a line; `None` if they are too few.
    fn alike(&self, other: &[Token]) -> Option<usize> {
        let (mut words, mut alike) = (0, 0);
        for (own, other) in self.tokens.iter().zip(other) {
            let (Token::Fixed(own), other) = (own, other) else {
                continue;
            };
            if !own.contains(char::is_alphabetic) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn mined(lines: &[&str]) -> Vec<String> {
        let mut miner = Miner::default();
        for line in lines {
            miner.add(line, 0);
        }
        miner
            .finish()
            .into_iter()
            .map(|(pattern, _)| pattern)
            .collect()
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
        for (line, at_s) in [("took 5", 10), ("took 6", 10), ("took 7", 20)] {
            miner.add(line, at_s);
        }
        assert_eq!(
            miner.finish(),
            [("took <_>".to_owned(), vec![(10, 2), (20, 1)])]
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
            miner.add(&word, 0);
        }
        assert_eq!(miner.finish().len(), KINDS_MAX);
    }
}
