//! Level words in free text.

use std::sync::LazyLock;

use aho_corasick::packed::{Config, MatchKind, Searcher};

use super::Level;

/// The words, a longer one before its beginning.
const WORDS: [(&[u8], Level); 9] = [
    (b"trace", Level::Trace),
    (b"debug", Level::Debug),
    (b"fatal", Level::Fatal),
    (b"critical", Level::Critical),
    (b"error", Level::Error),
    (b"err", Level::Error),
    (b"warning", Level::Warn),
    (b"warn", Level::Warn),
    (b"info", Level::Info),
];

/// How many bytes of a word the vectorised search looks for. Three bytes in all cases of letters
/// stay within the 64 patterns that it can take.
const PREFIX_LEN: usize = 3;

/// Finds the beginnings of words, whatever the case of their letters, many bytes at a time. `None`
/// on processors that it has no instructions for.
static BEGINNINGS: LazyLock<Option<Searcher>> = LazyLock::new(|| {
    let mut prefixes: Vec<Vec<u8>> = Vec::new();
    for (word, _) in WORDS {
        for upper in 0..1_u8 << PREFIX_LEN {
            let letters = word.iter().take(PREFIX_LEN).enumerate();
            let prefix: Vec<u8> = letters
                .map(|(i, b)| {
                    if upper & (1 << i) == 0 {
                        *b
                    } else {
                        b.to_ascii_uppercase()
                    }
                })
                .collect();
            if !prefixes.contains(&prefix) {
                prefixes.push(prefix);
            }
        }
    }
    let mut config = Config::new();
    config.match_kind(MatchKind::LeftmostFirst);
    config.builder().extend(prefixes).build()
});

fn may_precede(byte: u8) -> bool {
    matches!(
        byte,
        b' ' | b'\t' | b'\n' | b'\r' | b'"' | b'\'' | b'(' | b'{' | b'[' | b'='
    )
}

fn may_follow(byte: u8) -> bool {
    matches!(
        byte,
        b' ' | b'\t'
            | b'\n'
            | b'\r'
            | b','
            | b'"'
            | b'\''
            | b')'
            | b'}'
            | b']'
            | b'='
            | b':'
            | b'!'
            | b'|'
    )
}

/// The level word that begins at `at`, if it stands on its own.
fn level_at(line: &[u8], at: usize) -> Option<Level> {
    let before = at.checked_sub(1).and_then(|before| line.get(before));
    if before.is_some_and(|byte| !may_precede(*byte)) {
        return None;
    }
    let rest = line.get(at..)?;
    WORDS.iter().find_map(|(word, level)| {
        let stands = rest
            .split_at_checked(word.len())
            .is_some_and(|(found, after)| {
                found.eq_ignore_ascii_case(word) && after.first().is_none_or(|b| may_follow(*b))
            });
        stands.then_some(*level)
    })
}

/// The first level word of a line that stands on its own.
pub(super) fn first_level(line: &[u8]) -> Level {
    let Some(beginnings) = &*BEGINNINGS else {
        let found = (0..line.len()).find_map(|at| level_at(line, at));
        return found.unwrap_or(Level::Unknown);
    };
    let mut from = 0;
    while let Some(found) = beginnings.find_in(line, (from..line.len()).into()) {
        if let Some(level) = level_at(line, found.start()) {
            return level;
        }
        from = found.start() + 1;
    }
    Level::Unknown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_vectorised_search_finds_what_a_walk_finds(
            line in "([a-d ='|]{0,20}(error|ERR|Warning|info|warn|trac|debu|fatal|critical)?){0,6}"
        ) {
            let walked = (0..line.len()).find_map(|at| level_at(line.as_bytes(), at));
            prop_assert_eq!(first_level(line.as_bytes()), walked.unwrap_or(Level::Unknown));
        }
    }

    #[test]
    fn processors_of_tests_have_the_vectorised_search() {
        if cfg!(target_arch = "x86_64") {
            assert!(BEGINNINGS.is_some());
        }
    }
}
