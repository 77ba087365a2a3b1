//! Finding the pairs of a few keys without reading those in front.
//!
//! `level` is searched as text, which goes at the speed of memory, and where it is found is looked
//! whether a pair begins there. Outside of quotes one does after every white space, so that only
//! quotes have to be followed, from one to the next: whether a quote opens a value is to be seen at
//! the word that it stands in.

use memchr::memmem::Finder;

/// Keys that are searched at once; of more, reading the line once is quicker.
const KEYS_MAX: usize = 4;

/// Searches lines for keys.
#[derive(Debug)]
pub(in super::super) struct Seeker {
    keys: Vec<SoughtKey>,
}

/// What finds the keys that become one label.
#[derive(Debug)]
struct SoughtKey {
    name: String,
    /// Whether a key without `=` counts, too.
    bare: bool,
    /// The longest part of it without `_`, which may be another character in the line; with the
    /// `=` if one has to follow.
    finder: Finder<'static>,
    /// Where that begins in the name.
    offset: usize,
}

impl SoughtKey {
    /// None if the line's key may look altogether different.
    fn new(name: &str, bare: bool) -> Option<Self> {
        let kept = |byte: u8| byte == b'_' || byte.is_ascii_alphanumeric();
        if !name.bytes().all(kept) {
            return None;
        }
        let digit = |byte: &u8| byte.is_ascii_digit();
        let (first, second) = (name.as_bytes().first(), name.as_bytes().get(1));
        if first == Some(&b'_') && second.is_none_or(digit) {
            return None;
        }
        let (mut begin, mut offset, mut longest) = (0, 0, "");
        for part in name.split('_') {
            if part.len() > longest.len() {
                (offset, longest) = (begin, part);
            }
            begin += part.len() + 1;
        }
        let sought = match !bare && offset + longest.len() == name.len() {
            true => format!("{longest}="),
            false => longest.to_owned(),
        };
        (!longest.is_empty()).then(|| Self {
            name: name.to_owned(),
            bare,
            finder: Finder::new(sought.as_bytes()).into_owned(),
            offset,
        })
    }

    /// Where the next word begins, looked for from `from` on, that is the key or has it at its end.
    fn find(&self, line: &[u8], mut from: usize) -> Option<usize> {
        loop {
            let found = from + self.finder.find(line.get(from..)?)?;
            let begin = found.checked_sub(self.offset);
            let word = begin.and_then(|begin| line.get(begin..));
            if word.is_some_and(|word| self.is_begin(word)) {
                return begin;
            }
            from = found + 1;
        }
    }

    /// Whether a word begins with what becomes the name and nothing else.
    fn is_begin(&self, word: &[u8]) -> bool {
        let name = self.name.as_bytes();
        let ends_key = |byte: u8| byte <= b' ' || byte == b'=' || byte == b'"';
        let becomes = |(name, byte): (&u8, &u8)| {
            let is_other = || !byte.is_ascii_alphanumeric() && !ends_key(*byte);
            name == byte || (*name == b'_' && is_other())
        };
        let is_end = match word.get(name.len()) {
            Some(b'=') => true,
            Some(byte) => self.bare && *byte <= b' ',
            None => self.bare && word.len() == name.len(),
        };
        is_end && name.iter().zip(word).all(becomes)
    }
}

impl Seeker {
    /// For the keys that become these names; with `bare` also those without `=`. None if there are
    /// so many, or such that lines are better read from the start.
    pub(in super::super) fn new<'a>(
        names: impl ExactSizeIterator<Item = &'a String>,
        bare: bool,
    ) -> Option<Self> {
        if names.len() > KEYS_MAX {
            return None;
        }
        let keys: Option<Vec<_>> = names.map(|name| SoughtKey::new(name, bare)).collect();
        Some(Self { keys: keys? })
    }

    /// Begins a line. None if it is to be read from the start: characters that are no ASCII may be
    /// anything in a label's name.
    pub(super) fn line<'a>(&'a self, line: &'a [u8]) -> Option<Sought<'a>> {
        let found = |key: &SoughtKey| key.find(line, 0);
        line.is_ascii().then(|| Sought {
            seeker: self,
            line,
            next: self.keys.iter().map(found).collect(),
            given: None,
            fresh: 0,
        })
    }
}

/// The pairs of a line whose keys are sought.
#[derive(Debug)]
pub(super) struct Sought<'a> {
    seeker: &'a Seeker,
    line: &'a [u8],
    /// Per key the next place to look at.
    next: smallvec::SmallVec<[Option<usize>; KEYS_MAX]>,
    /// The key of the place that was given last; its next place is not looked for yet.
    given: Option<(usize, usize)>,
    /// A place where a pair begins, or white space before one.
    fresh: usize,
}

impl Sought<'_> {
    /// Where the next such pair begins. `from` is where the scanner has come to.
    pub(super) fn next(&mut self, from: usize) -> Option<usize> {
        self.fresh = self.fresh.max(from);
        if let Some((at, place)) = self.given.take() {
            self.go_on(at, place);
        }
        loop {
            let places = self.next.iter().enumerate();
            let (at, place) = places
                .filter_map(|(at, place)| Some((at, (*place)?)))
                .min_by_key(|(_, place)| *place)?;
            if place >= self.fresh && self.is_fresh(place)? {
                self.given = Some((at, place));
                return Some(place);
            }
            self.go_on(at, place);
        }
    }

    /// Looks for the next place of a key.
    fn go_on(&mut self, at: usize, place: usize) {
        if let (Some(next), Some(key)) = (self.next.get_mut(at), self.seeker.keys.get(at)) {
            *next = key.find(self.line, (place + 1).max(self.fresh) + key.offset);
        }
    }

    /// Whether a pair begins at a place that is not before [`Self::fresh`], which goes on to there
    /// or beyond. None if the line has no pairs any more.
    fn is_fresh(&mut self, place: usize) -> Option<bool> {
        let before = place.checked_sub(1).and_then(|at| self.line.get(at));
        if before.is_some_and(|byte| *byte > b' ' && *byte != b'"') {
            // Not even to be looked for quotes, which the next place would have to do again.
            return Some(false);
        }
        while self.fresh <= place {
            let before = self.line.get(self.fresh..place).unwrap_or_default();
            let Some(quote) = memchr::memchr(b'"', before) else {
                let is_after_space = before.last().is_none_or(|byte| *byte <= b' ');
                return Some(is_after_space);
            };
            self.pass_quote(self.fresh + quote)?;
        }
        Some(false)
    }

    /// Goes behind what a quote is part of: a value, or a word that is no pair.
    fn pass_quote(&mut self, quote: usize) -> Option<()> {
        let before = self.line.get(self.fresh..quote).unwrap_or_default();
        let word = before.rsplit(|byte| *byte <= b' ').next();
        let key = word.and_then(|word| word.strip_suffix(b"="));
        let opens = key.is_some_and(|key| !key.is_empty() && !key.contains(&b'='));
        let mut at = quote + 1;
        if !opens {
            let rest = self.line.get(at..).unwrap_or_default();
            let space = rest.iter().position(|byte| *byte <= b' ');
            self.fresh = at + space?;
            return Some(());
        }
        loop {
            at += memchr::memchr2(b'"', b'\\', self.line.get(at..)?)?;
            match self.line.get(at) {
                Some(b'"') => break,
                _ => at += 2,
            }
        }
        self.fresh = at + 1;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sought(line: &str, names: &[&str], bare: bool) -> Option<Vec<usize>> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let seeker = Seeker::new(names.iter(), bare)?;
        let mut sought = seeker.line(line.as_bytes())?;
        let mut found = Vec::new();
        while let Some(at) = sought.next(found.last().map_or(0, |at| at + 1)) {
            found.push(at);
        }
        Some(found)
    }

    #[test]
    fn pairs_begin_outside_of_quotes() {
        for (line, found) in [
            ("a=1 b=2 a=3", vec![0, 8]),
            ("x=a=1 a=2", vec![6]),
            (r#"m="a=1 a=2" a=3"#, vec![12]),
            (r#"m="x"a=1"#, vec![5]),
            (r#"m="\" a=1 \"a=2" a=3"#, vec![17]),
            (r#"m=x"y a=1 z" a=2"#, vec![6, 13]),
            (r#"="y a=1 z" a=2"#, vec![4, 11]),
            (r#"m=n="y a=1"#, vec![7]),
            (r#"m="y a=1"#, vec![]),
            ("ba=1\ta=2", vec![5]),
            ("a 1 a", vec![]),
        ] {
            assert_eq!(sought(line, &["a"], false), Some(found), "{line}");
        }
    }

    #[test]
    fn a_key_may_have_other_characters_where_the_name_has_none() {
        let line = "k8s.pod=1 k8s_pod=2 k8sxpod=3 k8s-pod_=4 __error__=5 k8s\"pod=6";
        assert_eq!(sought(line, &["k8s_pod"], false), Some(vec![0, 10]));
        let names = ["__error__", "k8s_pod"];
        assert_eq!(sought(line, &names, false), Some(vec![0, 10, 41]));
        for name in ["_1", "_", "__", "a.b"] {
            assert_eq!(sought(line, &[name], false), None, "{name}");
        }
        assert_eq!(sought("\u{a0}a=1", &["a"], false), None);
        assert_eq!(sought("a ba a=1 ab a", &["a"], true), Some(vec![0, 5, 12]));
    }
}
