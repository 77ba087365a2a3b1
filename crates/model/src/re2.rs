//! Regular expressions as RE2 (and so Go, Prometheus and Loki) write them.
//!
//! The `regex` crate is close to RE2 but not equal to it: it refuses a literal `{`, knows no
//! `\Q..\E` and no octal escapes, reads `\d \w \s \b` as Unicode and gives `&&`, `--` and nested
//! brackets a meaning inside classes. [`translate`] reads an expression by RE2's rules
//! (<https://github.com/google/re2/wiki/Syntax>) and writes the same one in the dialect of the
//! crate; what RE2 refuses is refused here with Go's words, because clients see them.

mod escape;

use std::str::Chars;

use escape::{char_escape, class_char, class_escape, posix_class};

/// An expression that RE2 refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {reason}: `{fragment}`")]
pub struct Re2Error {
    /// What is wrong, as Go's `regexp/syntax` says it.
    pub reason: &'static str,
    /// Where.
    pub fragment: String,
}

/// An expression for the `regex` crate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Translated {
    /// Matches what the original matches.
    pub pattern: String,
    /// Groups that have a name, in order, and their numbers, counted from 1. In `pattern` those stay
    /// without a name whose name was there before or begins with a digit.
    pub names: Vec<(usize, String)>,
    /// How many groups there are, named or not.
    pub groups: usize,
}

/// The most that a counted repetition may ask for, as in RE2.
const REPEAT_MAX: u32 = 1000;

/// Rewrites `pattern` for the `regex` crate.
///
/// # Errors
/// If the expression is not one of RE2.
pub fn translate(pattern: &str) -> Result<Translated, Re2Error> {
    Translator::new(pattern).run()
}

/// One level of parentheses.
#[derive(Clone, Copy, Default)]
struct Level {
    /// Whether there is something before the cursor that can be repeated.
    operand: bool,
    /// Product of the counted repetitions inside the last operand.
    last_count: u32,
    /// The largest such product of the level.
    most_count: u32,
}

struct Translator<'a> {
    whole: &'a str,
    rest: &'a str,
    out: String,
    levels: Vec<Level>,
    names: Vec<(usize, String)>,
    groups: usize,
}

fn error<T>(reason: &'static str, fragment: &str) -> Result<T, Re2Error> {
    Err(Re2Error {
        reason,
        fragment: fragment.to_owned(),
    })
}

/// `whole` without the tail `rest`.
fn consumed<'a>(whole: &'a str, rest: &str) -> &'a str {
    whole
        .get(..whole.len().saturating_sub(rest.len()))
        .unwrap_or(whole)
}

fn after(text: &str, bytes: usize) -> &str {
    text.get(bytes..).unwrap_or_default()
}

fn split_char(text: &str) -> Option<(char, &str)> {
    let mut chars: Chars<'_> = text.chars();
    let c = chars.next()?;
    Some((c, chars.as_str()))
}

impl<'a> Translator<'a> {
    fn new(pattern: &'a str) -> Self {
        Self {
            whole: pattern,
            rest: pattern,
            out: String::with_capacity(pattern.len() + 16),
            levels: vec![Level::default()],
            names: Vec::new(),
            groups: 0,
        }
    }

    fn run(mut self) -> Result<Translated, Re2Error> {
        let mut last_repeat = None;
        while let Some((c, tail)) = split_char(self.rest) {
            let mut repeat = None;
            match c {
                '(' if tail.starts_with('?') => self.flags_or_name()?,
                '(' => {
                    self.rest = tail;
                    self.groups += 1;
                    self.open("(");
                }
                ')' => self.close(tail)?,
                '|' => {
                    self.rest = tail;
                    self.out.push('|');
                    let level = self.level();
                    *level = Level {
                        most_count: level.most_count,
                        ..Level::default()
                    };
                }
                '^' | '$' | '.' => {
                    self.rest = tail;
                    self.out.push(c);
                    self.operand();
                }
                '[' => self.class()?,
                '*' | '+' | '?' => {
                    repeat = Some(self.rest);
                    self.rest = tail;
                    self.repeat(last_repeat, repeat.unwrap_or_default(), None)?;
                }
                '{' => match counts(tail) {
                    None => {
                        self.rest = tail;
                        self.literal('{');
                    }
                    Some((count, tail)) => {
                        repeat = Some(self.rest);
                        self.rest = tail;
                        self.repeat(last_repeat, repeat.unwrap_or_default(), Some(count))?;
                    }
                },
                '\\' => self.escape()?,
                c => {
                    self.rest = tail;
                    self.literal(c);
                }
            }
            last_repeat = repeat;
        }
        if self.levels.len() != 1 {
            return error("missing closing )", self.whole);
        }
        Ok(Translated {
            pattern: self.out,
            names: self.names,
            groups: self.groups,
        })
    }

    fn level(&mut self) -> &mut Level {
        if self.levels.is_empty() {
            self.levels.push(Level::default());
        }
        let last = self.levels.len() - 1;
        #[allow(clippy::indexing_slicing, reason = "pushed above if it was empty")]
        &mut self.levels[last]
    }

    fn operand(&mut self) {
        let level = self.level();
        level.operand = true;
        level.last_count = 1;
        level.most_count = level.most_count.max(1);
    }

    fn open(&mut self, text: &str) {
        self.out.push_str(text);
        self.levels.push(Level::default());
    }

    fn close(&mut self, tail: &'a str) -> Result<(), Re2Error> {
        if self.levels.len() < 2 {
            return error("unexpected )", self.whole);
        }
        let inside = self.levels.pop().unwrap_or_default();
        self.rest = tail;
        self.out.push(')');
        let count = inside.most_count.max(1);
        let level = self.level();
        level.operand = true;
        level.last_count = count;
        level.most_count = level.most_count.max(count);
        Ok(())
    }

    fn literal(&mut self, c: char) {
        push_escaped(&mut self.out, c);
        self.operand();
    }

    /// After a repetition operator, with `self.rest` behind it; `before` starts at it.
    fn repeat(
        &mut self,
        last_repeat: Option<&'a str>,
        before: &'a str,
        count: Option<Count>,
    ) -> Result<(), Re2Error> {
        let operator = consumed(before, self.rest);
        if let Some(Count { min, max }) = count
            && (min > REPEAT_MAX || max.is_some_and(|max| max > REPEAT_MAX || min > max))
        {
            return error("invalid repeat count", operator);
        }
        let lazy = self.rest.starts_with('?');
        self.rest = after(self.rest, usize::from(lazy));
        if let Some(last) = last_repeat {
            return error(
                "invalid nested repetition operator",
                consumed(last, self.rest),
            );
        }
        if !self.level().operand {
            return error(
                "missing argument to repetition operator",
                consumed(before, self.rest),
            );
        }
        match count {
            None => self.out.push_str(operator),
            Some(Count { min, max }) => {
                let times = max.unwrap_or(min).max(1);
                let level = self.level();
                level.last_count = level.last_count.saturating_mul(times);
                level.most_count = level.most_count.max(level.last_count);
                if level.last_count > REPEAT_MAX {
                    return error("invalid repeat count", consumed(before, self.rest));
                }
                let text = match max {
                    Some(max) if max == min => format!("{{{min}}}"),
                    Some(max) => format!("{{{min},{max}}}"),
                    None => format!("{{{min},}}"),
                };
                self.out.push_str(&text);
            }
        }
        if lazy {
            self.out.push('?');
        }
        Ok(())
    }

    /// At `(?`.
    fn flags_or_name(&mut self) -> Result<(), Re2Error> {
        let start = self.rest;
        for prefix in ["(?P<", "(?<"] {
            if start.starts_with(prefix) && start.len() > prefix.len() {
                return self.named(prefix.len());
            }
        }
        let mut rest = after(start, 2);
        let (mut on, mut off) = (String::new(), String::new());
        let (mut negative, mut seen) = (false, false);
        while let Some((c, tail)) = split_char(rest) {
            rest = tail;
            match c {
                'i' | 'm' | 's' | 'U' => {
                    seen = true;
                    let (add, remove) = if negative {
                        (&mut off, &mut on)
                    } else {
                        (&mut on, &mut off)
                    };
                    remove.retain(|flag| flag != c);
                    if !add.contains(c) {
                        add.push(c);
                    }
                }
                '-' if !negative => (negative, seen) = (true, false),
                ':' | ')' if !negative || seen => {
                    self.rest = rest;
                    let minus = if off.is_empty() { "" } else { "-" };
                    if c == ':' {
                        self.open(&format!("(?{on}{minus}{off}:"));
                    } else if !on.is_empty() || !off.is_empty() {
                        self.out.push_str(&format!("(?{on}{minus}{off})"));
                    }
                    return Ok(());
                }
                _ => break,
            }
        }
        error("invalid or unsupported Perl syntax", consumed(start, rest))
    }

    /// At `(?P<` or `(?<`, which is `prefix_len` long.
    fn named(&mut self, prefix_len: usize) -> Result<(), Re2Error> {
        let start = self.rest;
        let Some(end) = start.find('>') else {
            return error("invalid named capture", start);
        };
        let name = start.get(prefix_len..end).unwrap_or_default();
        if name.is_empty() || !name.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric()) {
            return error("invalid named capture", start.get(..=end).unwrap_or(start));
        }
        self.rest = after(start, end + 1);
        self.groups += 1;
        // The crate wants names unique and not to start with a digit.
        if self.names.iter().any(|(_, known)| known == name)
            || name.starts_with(|c: char| c.is_ascii_digit())
        {
            self.open("(");
        } else {
            self.open(&format!("(?P<{name}>"));
        }
        self.names.push((self.groups, name.to_owned()));
        Ok(())
    }

    /// At a backslash outside a class.
    fn escape(&mut self) -> Result<(), Re2Error> {
        let text = match self.rest.as_bytes().get(1) {
            Some(b'A') => "\\A",
            Some(b'z') => "\\z",
            Some(b'b') => "(?-u:\\b)",
            // An ASCII \B may match inside a character, which the crate does not allow for text.
            Some(b'B') => "\\B",
            Some(b'C') => return error("invalid escape sequence", "\\C"),
            Some(b'Q') => {
                let quoted = after(self.rest, 2);
                let (text, tail) = quoted.split_once("\\E").unwrap_or((quoted, ""));
                self.rest = tail;
                text.chars().for_each(|c| self.literal(c));
                return Ok(());
            }
            _ => {
                if let Some((class, tail)) = class_escape(self.rest)? {
                    self.rest = tail;
                    self.out.push_str(&class);
                    self.operand();
                    return Ok(());
                }
                let (c, tail) = char_escape(self.rest)?;
                self.rest = tail;
                self.literal(c);
                return Ok(());
            }
        };
        self.rest = after(self.rest, 2);
        self.out.push_str(text);
        self.operand();
        Ok(())
    }

    /// At `[`.
    fn class(&mut self) -> Result<(), Re2Error> {
        let start = self.rest;
        let mut rest = after(start, 1);
        self.out.push('[');
        if let Some(tail) = rest.strip_prefix('^') {
            rest = tail;
            self.out.push('^');
        }
        let mut first = true;
        while first || !rest.starts_with(']') {
            first = false;
            if let Some((class, tail)) = posix_class(rest)? {
                self.out.push_str(class);
                rest = tail;
                continue;
            }
            if let Some((class, tail)) = class_escape(rest)? {
                self.out.push_str(&class);
                rest = tail;
                continue;
            }
            let range = rest;
            let (low, tail) = class_char(rest, start)?;
            rest = tail;
            push_escaped(&mut self.out, low);
            if rest.starts_with('-') && rest.len() >= 2 && !rest.starts_with("-]") {
                let (high, tail) = class_char(after(rest, 1), start)?;
                rest = tail;
                if high < low {
                    return error("invalid character class range", consumed(range, rest));
                }
                self.out.push('-');
                push_escaped(&mut self.out, high);
            }
        }
        self.rest = after(rest, 1);
        self.out.push(']');
        self.operand();
        Ok(())
    }
}

/// The numbers of `{2}`, `{2,}` and `{2,5}`.
#[derive(Clone, Copy)]
struct Count {
    min: u32,
    max: Option<u32>,
}

/// What follows a `{`, if it is a repetition. Numbers that do not fit become one too large.
fn counts(text: &str) -> Option<(Count, &str)> {
    let number = |text: &str| -> Option<(u32, usize)> {
        let len = text.bytes().take_while(u8::is_ascii_digit).count();
        let digits = text.get(..len).filter(|digits| !digits.is_empty())?;
        // A leading zero makes it a literal, as in Go.
        if len > 1 && digits.starts_with('0') {
            return None;
        }
        Some((digits.parse().unwrap_or(u32::MAX), len))
    };
    let (min, len) = number(text)?;
    let rest = after(text, len);
    if let Some(tail) = rest.strip_prefix('}') {
        return Some((
            Count {
                min,
                max: Some(min),
            },
            tail,
        ));
    }
    let rest = rest.strip_prefix(',')?;
    if let Some(tail) = rest.strip_prefix('}') {
        return Some((Count { min, max: None }, tail));
    }
    let (max, len) = number(rest)?;
    let tail = after(rest, len).strip_prefix('}')?;
    Some((
        Count {
            min,
            max: Some(max),
        },
        tail,
    ))
}

fn push_escaped(out: &mut String, c: char) {
    match c {
        '\\' | '.' | '+' | '*' | '?' | '(' | ')' | '|' | '[' | ']' | '{' | '}' | '^' | '$'
        | '#' | '&' | '-' | '~' => {
            out.push('\\');
            out.push(c);
        }
        c => out.push(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        regex::Regex::new(&translate(pattern).unwrap().pattern)
            .unwrap()
            .is_match(text)
    }

    #[test]
    fn what_the_crate_reads_differently_means_what_re2_means() {
        for (pattern, yes, no) in [
            (r#"{"a":1}"#, r#"x{"a":1}"#, "a"),
            ("a{,3}", "a{,3}", "aaa"),
            (r"\Qa.b\E+", "a.bb", "axb"),
            (r"^\d$", "5", "\u{0665}"),
            (r"^\w$", "_", "é"),
            (r"^\s$", " ", "\u{b}"),
            (r"[a&&b]", "&", "-"),
            (r"[[a]", "[", "]"),
            (r"[]a]", "]", "["),
            (r"\101\x42\x{43}", "ABC", "abc"),
            (r"(?i)(?P<n>x)(?P<n>Y)", "Xy", "z"),
            (r"a#b c", "a#b c", "a"),
            (r"\p{^Greek}x", "ax", "αx"),
            (r"[\D]-[[:^digit:]]", "a-b", "1-1"),
            (r"(?)a|", "", ""),
        ] {
            assert!(matches(pattern, yes), "{pattern} should match {yes}");
            assert!(
                no.is_empty() || !matches(pattern, no),
                "{pattern} should not match {no}"
            );
        }
    }

    #[test]
    fn errors_are_gos() {
        for (pattern, text) in [
            ("(", "missing closing ): `(`"),
            ("a)", "unexpected ): `a)`"),
            ("[", "missing closing ]: `[`"),
            ("x[a-", "missing closing ]: `[a-`"),
            ("*", "missing argument to repetition operator: `*`"),
            ("a|*", "missing argument to repetition operator: `*`"),
            ("a**", "invalid nested repetition operator: `**`"),
            ("a{2,1}", "invalid repeat count: `{2,1}`"),
            ("a{1001}", "invalid repeat count: `{1001}`"),
            ("(a{100}){100}", "invalid repeat count: `{100}`"),
            ("\\", "trailing backslash at end of expression: ``"),
            (r"\q", r"invalid escape sequence: `\q`"),
            (r"(a)\1", r"invalid escape sequence: `\1`"),
            ("(?=x)", "invalid or unsupported Perl syntax: `(?=`"),
            ("(?x)", "invalid or unsupported Perl syntax: `(?x`"),
            ("(?P<a-b>x)", "invalid named capture: `(?P<a-b>`"),
            ("(?P<>x)", "invalid named capture: `(?P<>`"),
            ("[b-a]", "invalid character class range: `b-a`"),
            (r"\p{Nope}", r"invalid character class range: `\p{Nope}`"),
            ("[[:nope:]]", "invalid character class range: `[:nope:]`"),
        ] {
            let error = translate(pattern).unwrap_err().to_string();
            assert_eq!(error, format!("error parsing regexp: {text}"), "{pattern}");
        }
    }

    #[test]
    fn names_are_listed_in_order() {
        let found = translate("(?P<b>x)(y)(?<a>z)(?P<b>w)").unwrap();
        let names = [(1, "b"), (3, "a"), (4, "b")];
        assert_eq!(found.names, names.map(|(at, name)| (at, name.to_owned())));
        assert_eq!(found.groups, 4);
    }

    proptest::proptest! {
        #[test]
        fn what_is_translated_compiles(pattern in r"[a-c(){}\[\]|*+?^$.\\dwsbQE0-9,:\-i&é]{0,12}") {
            if let Ok(found) = translate(&pattern) {
                let regex = regex::Regex::new(&found.pattern);
                proptest::prop_assert!(regex.is_ok(), "{pattern} became {}: {regex:?}", found.pattern);
            }
        }
    }
}
