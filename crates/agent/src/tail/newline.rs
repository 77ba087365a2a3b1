//! Where lines end, in the encodings that files can have.

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};

/// What ends a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Newline {
    /// One byte, as in ASCII and what extends it.
    #[default]
    Byte,
    /// Two bytes, the smaller first.
    Utf16Le,
    /// Two bytes, the greater first.
    Utf16Be,
}

impl Newline {
    pub(crate) fn of(encoding: Option<&'static Encoding>) -> Self {
        match encoding {
            Some(encoding) if encoding == UTF_16LE => Self::Utf16Le,
            Some(encoding) if encoding == UTF_16BE => Self::Utf16Be,
            _ => Self::Byte,
        }
    }

    fn pair(self) -> [u8; 2] {
        match self {
            Self::Byte | Self::Utf16Le => [b'\n', 0],
            Self::Utf16Be => [0, b'\n'],
        }
    }

    /// How many bytes it has.
    pub(crate) fn len(self) -> usize {
        match self {
            Self::Byte => 1,
            Self::Utf16Le | Self::Utf16Be => 2,
        }
    }

    /// Where the first one begins in `data`, which begins at a character.
    pub(crate) fn first(self, data: &[u8]) -> Option<usize> {
        match self {
            Self::Byte => memchr::memchr(b'\n', data),
            _ => {
                let mut pairs = data.chunks_exact(2);
                pairs.position(|pair| pair == self.pair()).map(|at| at * 2)
            }
        }
    }

    /// Where the last one ends in `data`, which begins at a character.
    pub(crate) fn last_end(self, data: &[u8]) -> Option<usize> {
        match self {
            Self::Byte => memchr::memrchr(b'\n', data).map(|at| at + 1),
            _ => {
                let mut pairs = data.chunks_exact(2);
                pairs
                    .rposition(|pair| pair == self.pair())
                    .map(|at| (at + 1) * 2)
            }
        }
    }
}

/// The encoding of a name, if it is not that of all that comes out.
pub(crate) fn encoding_of(name: &str) -> Result<Option<&'static Encoding>, String> {
    if name.is_empty() {
        return Ok(None);
    }
    // Without a byte order the standard means the greater first.
    let label = match name.to_ascii_lowercase().as_str() {
        "utf-16" => "utf-16be".to_owned(),
        label => label.to_owned(),
    };
    let encoding = Encoding::for_label(label.as_bytes());
    let encoding = encoding.ok_or_else(|| format!("{name:?} is no encoding"))?;
    Ok((encoding != UTF_8).then_some(encoding))
}

/// A line in UTF-8, without a byte order mark.
pub(crate) fn decoded(encoding: &'static Encoding, bytes: &[u8]) -> Vec<u8> {
    let (text, _) = encoding.decode_with_bom_removal(bytes);
    let text = text.strip_suffix('\r').unwrap_or(&text);
    text.as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_at_characters() {
        for (newline, text) in [
            (Newline::Byte, b"a\nb\nc".to_vec()),
            (Newline::Utf16Le, b"\n\x01\n\0b\0\n\0c\0".to_vec()),
            (Newline::Utf16Be, b"\x0a\0\0\n\0b\0\n\0c".to_vec()),
        ] {
            let first = newline.first(&text).unwrap();
            assert_eq!(first, if newline.len() == 1 { 1 } else { 2 }, "{newline:?}");
            let rest = newline.last_end(&text).unwrap();
            assert_eq!(text.len() - rest, newline.len(), "{newline:?}");
        }
    }

    #[test]
    fn encodings_have_names() {
        assert_eq!(encoding_of("").unwrap(), None);
        assert_eq!(encoding_of("UTF-8").unwrap(), None);
        assert_eq!(encoding_of("UTF-16").unwrap(), Some(UTF_16BE));
        assert!(encoding_of("nothing").is_err());
        let latin = encoding_of("iso-8859-1").unwrap().unwrap();
        assert_eq!(decoded(latin, b"\xe4\r"), "ä".as_bytes());
        assert_eq!(decoded(UTF_16LE, b"\xff\xfe\xe4\0"), "ä".as_bytes());
    }
}
