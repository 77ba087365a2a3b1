//! `ip("...")`: addresses in lines and labels.

use core::net::IpAddr;

/// An address, a network or a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IpMatcher {
    One(IpAddr),
    /// Both ends belong to it.
    Range(IpAddr, IpAddr),
}

impl IpMatcher {
    /// Reads `10.0.0.5`, `10.0.0.0/8` or `10.0.0.1-10.0.0.9`.
    pub(super) fn parse(pattern: &str) -> Option<Self> {
        if let Some((from, to)) = pattern.split_once('-') {
            let (from, to) = (from.parse().ok()?, to.parse().ok()?);
            return Some(Self::Range(from, to));
        }
        let Some((address, bits)) = pattern.split_once('/') else {
            return Some(Self::One(pattern.parse().ok()?));
        };
        let bits: u32 = bits.parse().ok()?;
        match address.parse().ok()? {
            IpAddr::V4(address) => {
                let host = u32::MAX.checked_shr(bits).unwrap_or(0);
                let network = u32::from(address);
                let (from, to) = (network & !host, network | host);
                (bits <= 32).then(|| Self::Range(IpAddr::V4(from.into()), IpAddr::V4(to.into())))
            }
            IpAddr::V6(address) => {
                let host = u128::MAX.checked_shr(bits).unwrap_or(0);
                let network = u128::from(address);
                let (from, to) = (network & !host, network | host);
                (bits <= 128).then(|| Self::Range(IpAddr::V6(from.into()), IpAddr::V6(to.into())))
            }
        }
    }

    fn matches(self, address: IpAddr) -> bool {
        match self {
            Self::One(one) => one == address,
            Self::Range(from, to) => {
                from.is_ipv4() == address.is_ipv4() && (from..=to).contains(&address)
            }
        }
    }

    /// Whether an address that belongs here stands somewhere in the text.
    ///
    /// Candidates are found by how addresses begin, and are as long as their characters go on; the
    /// last few bytes of the text are not looked at. All of that is the reference's way.
    pub(super) fn is_in(self, text: &[u8]) -> bool {
        let mut at = 0;
        while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
            let len = if starts_v4(rest) {
                span(rest, |b| b.is_ascii_digit() || b == b'.')
            } else if starts_v6(rest) {
                span(rest, |b| b.is_ascii_hexdigit() || b == b':' || b == b'.')
            } else {
                at += 1;
                continue;
            };
            let candidate = std::str::from_utf8(rest.get(..len).unwrap_or_default());
            let address = candidate.ok().and_then(|candidate| candidate.parse().ok());
            if address.is_some_and(|address| self.matches(address)) {
                return true;
            }
            at += len + 1;
        }
        false
    }
}

fn span(text: &[u8], accept: impl Fn(u8) -> bool) -> usize {
    text.iter().position(|b| !accept(*b)).unwrap_or(text.len())
}

/// A digit and a dot within the next three bytes.
fn starts_v4(text: &[u8]) -> bool {
    match text {
        [first, a, b, c, _, ..] => {
            first.is_ascii_digit() && [a, b, c].into_iter().any(|b| *b == b'.')
        }
        _ => false,
    }
}

/// Hexadecimal digits and a colon, or two colons.
fn starts_v6(text: &[u8]) -> bool {
    let Some(head) = text.get(..5).filter(|_| text.len() > 5) else {
        return false;
    };
    let digits = span(head, |b| b.is_ascii_hexdigit());
    match digits {
        0 => head.starts_with(b"::"),
        _ => head.get(digits) == Some(&b':'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_text() {
        let is_in = |pattern, text: &str| IpMatcher::parse(pattern).unwrap().is_in(text.as_bytes());
        assert!(is_in("10.0.0.5", "a10.0.0.5b"));
        assert!(is_in("10.0.0.0/8", "src=192.168.1.1,10.9.8.7 x"));
        assert!(is_in("10.0.0.1-10.0.0.9", "10.0.0.9"));
        assert!(is_in("2001:db8::/32", "[2001:db8::1]:8080"));
        assert!(is_in("::1", "src=::1 dst"));
        assert!(is_in("0.0.0.0/0", "1.2.3.4") && is_in("::/0", "x=fe80::1 y"));
        for text in [
            "999.1.1.1",
            "10.0.0.05 x",
            "10.0.0.5.6",
            "::ffff:10.0.0.5 x",
            "",
        ] {
            assert!(!is_in("10.0.0.0/8", text), "{text}");
        }
    }

    #[test]
    fn patterns_that_are_none() {
        for bad in ["", "1.2.3", "10.0.0.0/33", "::/129", "a-b", "1.1.1.1/x"] {
            assert_eq!(IpMatcher::parse(bad), None, "{bad}");
        }
    }
}
