//! Text that may not be UTF-8, as Go shows it and its expressions see it.

use std::borrow::Cow;

/// The text; each byte of it that is no UTF-8 is a U+FFFD of its own. The standard library makes one
/// of several.
#[must_use]
pub fn readable(text: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(text) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(replaced(text)),
    }
}

fn replaced(text: &[u8]) -> String {
    let mut readable = String::with_capacity(text.len() + 8);
    for chunk in text.utf8_chunks() {
        readable.push_str(chunk.valid());
        let invalid = chunk.invalid().iter();
        readable.extend(invalid.map(|_| char::REPLACEMENT_CHARACTER));
    }
    readable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bad_byte_is_a_character() {
        assert!(matches!(readable("é".as_bytes()), Cow::Borrowed("é")));
        assert_eq!(readable(b"a\xe2\x82b\xffc"), "a\u{fffd}\u{fffd}b\u{fffd}c");
    }
}
