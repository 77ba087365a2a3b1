//! Fields of a logfmt line. As strict as Loki: what is wrong ends the search.

use memchr::memchr2;

/// A position in a line of `key=value key="value" key`.
struct Pairs<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a [u8], &'a [u8]);

    /// The next pair; none at the end or where the line is no logfmt.
    fn next(&mut self) -> Option<Self::Item> {
        let begin = self.rest.iter().position(|b| *b > b' ')?;
        let line = self.rest.get(begin..)?;
        let key_len = line
            .iter()
            .position(|b| *b <= b' ' || *b == b'=' || *b == b'"')
            .unwrap_or(line.len());
        let (key, after) = line.split_at_checked(key_len)?;
        match after.split_first() {
            Some((b'=', value)) if !key.is_empty() => {
                let (value, rest) = value_of(value)?;
                self.rest = rest;
                Some((key, value))
            }
            Some((b'=' | b'"', _)) => None,
            _ => {
                self.rest = after;
                Some((key, &[]))
            }
        }
    }
}

/// The value that begins a line, and what comes after it.
fn value_of(line: &[u8]) -> Option<(&[u8], &[u8])> {
    if let Some((b'"', quoted)) = line.split_first() {
        let mut at = 0;
        loop {
            let ahead = quoted.get(at..)?;
            let found = at + memchr2(b'"', b'\\', ahead)?;
            if quoted.get(found) == Some(&b'"') {
                return Some((quoted.get(..found)?, quoted.get(found + 1..)?));
            }
            at = found + 2;
        }
    }
    let len = line
        .iter()
        .position(|b| *b <= b' ' || *b == b'=' || *b == b'"')
        .unwrap_or(line.len());
    let (value, rest) = line.split_at_checked(len)?;
    let ends = rest.first().is_none_or(|b| *b <= b' ');
    ends.then_some((value, rest))
}

/// The value of that of `names` which comes first in `names`, whatever the case of its letters.
pub(crate) fn best_of<'a>(line: &'a [u8], names: &[String]) -> Option<&'a [u8]> {
    let mut best: Option<(usize, &[u8])> = None;
    for (key, value) in (Pairs { rest: line }) {
        let wanted = best.map_or(names.len(), |(rank, _)| rank);
        let candidates = names.iter().take(wanted);
        let rank = candidates
            .map(String::as_bytes)
            .position(|name| name.eq_ignore_ascii_case(key));
        match rank {
            Some(0) => return Some(value),
            Some(rank) => best = Some((rank, value)),
            None => {}
        }
    }
    best.map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_end_where_the_line_is_wrong() {
        let pairs = |line: &'static str| -> Vec<(String, String)> {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            Pairs {
                rest: line.as_bytes(),
            }
            .map(|(key, value)| (text(key), text(value)))
            .collect()
        };
        let of = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect()
        };
        assert_eq!(
            pairs(r#" a=1 flag b="x \" y" c= d"#),
            of(&[
                ("a", "1"),
                ("flag", ""),
                ("b", r#"x \" y"#),
                ("c", ""),
                ("d", "")
            ])
        );
        assert_eq!(pairs("a=1 b=2=3 c=4"), of(&[("a", "1")]));
        assert_eq!(pairs(r#"a=1 b="open"#), of(&[("a", "1")]));
        assert_eq!(pairs("=1 a=2"), of(&[]));
        assert_eq!(pairs(r#"a" b=2"#), of(&[]));
    }
}
