//! Tokens: no text is one, and none that differs from one that was given out.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use registry::fuzz::Tokens;

fuzz_target!(|input: (u16, u8, &str)| {
    static TOKENS: OnceLock<(Tokens, String)> = OnceLock::new();
    let (tokens, token) = TOKENS.get_or_init(|| {
        let tokens = Tokens::new().expect("a key");
        let token = tokens.sign().expect("a token");
        (tokens, token)
    });
    let (at, length, text) = input;
    assert!(!tokens.holds(text));
    // A token with some of its letters replaced.
    let from = usize::from(at) % (token.len() + 1);
    let to = (from + usize::from(length)).min(token.len());
    let mut forged = token.clone();
    forged.replace_range(from..to, text);
    assert_eq!(tokens.holds(&forged), forged == *token, "{forged}");
});
