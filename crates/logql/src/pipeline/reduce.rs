//! Which parts of a line the stages read, so that storage need not put the rest together.
//!
//! Lines of one template are the same text but for some values. If the stages parse JSON or logfmt
//! and want few labels, a line with only the pairs of these labels gives the same labels: what is
//! left out can neither be wanted nor go wrong.

use std::ops::Range;
use std::sync::Arc;

use super::names::push_sanitized;
use super::wanted::Wanted;
use crate::syntax::ast::Stage;

/// What the stages read of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineReader {
    parser: Parser,
    /// Names of the labels that the parser looks for.
    names: Vec<String>,
    /// The label of which nothing matters but which number it is, if it is a decimal number.
    number: Option<String>,
    /// All of that as text.
    known_by: Arc<str>,
}

/// What is read of the lines of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReducedText {
    /// Text with placeholders.
    pub text: Vec<u8>,
    /// The numbers of these in the template.
    pub placeholders: Vec<usize>,
    /// Which of them is a value that may be another in the text if it is a decimal number, as long
    /// as the number counts in place of the sample's value. It is text without a sign or exponent.
    pub number: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parser {
    Json,
    Logfmt,
    /// It does not run, as nobody wants its labels.
    Idle,
}

/// A template of lines, as storage has it.
#[derive(Clone, Copy)]
pub struct TemplateText<'a> {
    /// Text with a byte below [`TemplateText::FIRST_TEXT_BYTE`] for each value.
    pub text: &'a [u8],
    /// Whether it is a JSON object; each placeholder is a value without its quotes.
    pub is_json: bool,
    /// Whether value number so and so may contain a byte like this one: a quote may stand for a
    /// backslash, and a space for all white space and control characters.
    pub may_have: &'a dyn Fn(usize, u8) -> bool,
}

impl TemplateText<'_> {
    /// Bytes below this are placeholders.
    pub const FIRST_TEXT_BYTE: u8 = 5;
}

impl std::fmt::Debug for TemplateText<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TemplateText").field(&self.text).finish()
    }
}

/// A part of a template's text that stays or goes as a whole.
struct Pair<'a> {
    key: &'a [u8],
    range: Range<usize>,
}

impl LineReader {
    /// The stages at the start of a log query that decide about a row by few labels, if there are
    /// any: a parser and filters.
    pub(super) fn deciding(stages: &[Stage]) -> Option<&[Stage]> {
        let is_parser = |stage: &Stage| matches!(stage, Stage::Json(_) | Stage::Logfmt { .. });
        let is_filter = |stage: &Stage| matches!(stage, Stage::LabelFilter(_));
        let count = stages
            .iter()
            .take_while(|stage| is_parser(stage) || is_filter(stage));
        let deciding = stages.get(..count.count())?;
        let parser = deciding.iter().position(is_parser)?;
        deciding
            .get(parser + 1..)?
            .iter()
            .any(is_filter)
            .then_some(deciding)
    }

    /// What these stages read, unless it may be all of the line.
    pub(super) fn of(stages: &[Stage], wanted: &Wanted) -> Option<Self> {
        let mut parser = None;
        for stage in stages {
            let found = match stage {
                Stage::LabelFilter(_) | Stage::Drop(_) | Stage::Keep(_) => continue,
                Stage::Json(extractions) if extractions.is_empty() => Parser::Json,
                Stage::Logfmt {
                    strict: false,
                    extractions,
                    ..
                } if extractions.is_empty() => Parser::Logfmt,
                _ => return None,
            };
            parser.is_none().then_some(())?;
            parser = Some(found);
        }
        let names = wanted.names();
        let parser = match parser? {
            _ if wanted.is_none() => Parser::Idle,
            parser => parser,
        };
        let names = match parser {
            Parser::Idle => Vec::new(),
            _ => names?.to_vec(),
        };
        Some(Self::new(parser, names, None))
    }

    fn new(parser: Parser, names: Vec<String>, number: Option<String>) -> Self {
        Self {
            known_by: format!("{parser:?} {names:?} {number:?}").into(),
            parser,
            names,
            number,
        }
    }

    /// A text that only those have that read the same.
    #[must_use]
    pub fn known_by(&self) -> &Arc<str> {
        &self.known_by
    }

    /// The same for stages to which a label means a number and nothing else, see
    /// [`ReducedText::number`].
    pub(super) fn with_number(self, label: &str) -> Self {
        Self::new(self.parser, self.names, Some(label.to_owned()))
    }

    /// Whether the label of errors is among what is read.
    pub(super) fn reads_errors(&self) -> bool {
        self.names.iter().any(|name| name.starts_with("__"))
    }

    /// Whether a label of the row, other than those of its line, may change what the stages do.
    #[must_use]
    pub fn reads_label(&self, name: &str) -> bool {
        name.starts_with("__") || self.names.iter().any(|known| known == name)
    }

    /// The text of a line of the template that has what the stages read. `None` if that is all of the
    /// line.
    #[must_use]
    pub fn reduce(&self, template: TemplateText<'_>) -> Option<ReducedText> {
        let text = template.text;
        let (pairs, [open, between, close]) = match self.parser {
            Parser::Idle => (Vec::new(), [""; 3]),
            Parser::Json if template.is_json => (members(text)?, ["{", ",", "}"]),
            Parser::Logfmt if !template.is_json => (words(template)?, ["", " ", ""]),
            _ => return None,
        };
        // Keys with escapes are not what they look like, and can be wrong.
        if self.parser != Parser::Idle && text.contains(&b'\\') {
            return None;
        }
        let mut kept = open.as_bytes().to_vec();
        let mut places = Vec::new();
        // Of the values that may be the label that is a number; the first would count.
        let mut numbers = Vec::new();
        let mut any = false;
        for pair in pairs.iter().filter(|pair| self.wants(pair.key)) {
            if std::mem::replace(&mut any, true) {
                kept.extend_from_slice(between.as_bytes());
            }
            let pair_text = text.get(pair.range.clone())?;
            kept.extend_from_slice(pair_text);
            let before = placeholders(text.get(..pair.range.start)?);
            let inside = placeholders(pair_text);
            if self.may_be_number(pair.key) {
                let is_number = self.is_number(pair.key, pair_text);
                numbers.push(is_number.then_some(places.len()));
            }
            places.extend(before..before + inside);
        }
        kept.extend_from_slice(close.as_bytes());
        Some(ReducedText {
            text: kept,
            placeholders: places,
            number: match numbers.as_slice() {
                [one] => *one,
                _ => None,
            },
        })
    }

    /// Whether a pair with this key, or one inside of its value, may be the label that is a number.
    fn may_be_number(&self, key: &[u8]) -> bool {
        let label = self.number.as_deref();
        label.is_some_and(|label| match self.parser {
            Parser::Json => may_be_label(key, label),
            Parser::Logfmt | Parser::Idle => is_label(key, label),
        })
    }

    /// Whether a pair is the label that is a number and has one placeholder for a value, which may be
    /// in quotes.
    fn is_number(&self, key: &[u8], pair: &[u8]) -> bool {
        let value = match self.parser {
            Parser::Json => pair.get(key.len() + 2..).unwrap_or_default(),
            Parser::Logfmt | Parser::Idle => pair.get(key.len()..).unwrap_or_default(),
        };
        let value = value.trim_ascii_start();
        let value = value.strip_prefix(b":").or(value.strip_prefix(b"="));
        let is_one = match value.unwrap_or_default().trim_ascii() {
            [b'"', value, b'"'] | [value] => is_placeholder(*value),
            _ => false,
        };
        let label = self.number.as_deref();
        is_one && label.is_some_and(|label| is_label(key, label))
    }

    /// Whether a pair with this key, or one inside of its value, may be a label that is wanted.
    fn wants(&self, key: &[u8]) -> bool {
        self.names.iter().any(|wanted| may_be_label(key, wanted))
    }
}

/// Whether a pair with this key is the label.
fn is_label(key: &[u8], label: &str) -> bool {
    let mut name = String::new();
    push_sanitized(&mut name, key);
    name == label
}

/// Whether a pair with this key, or one inside of its value, may be the label.
fn may_be_label(key: &[u8], label: &str) -> bool {
    let mut name = String::new();
    push_sanitized(&mut name, key);
    let behind = label.strip_prefix(name.as_str());
    name.is_empty() || behind.is_some_and(|behind| behind.is_empty() || behind.starts_with('_'))
}

fn is_placeholder(byte: u8) -> bool {
    byte < TemplateText::FIRST_TEXT_BYTE
}

fn placeholders(text: &[u8]) -> usize {
    text.iter().filter(|byte| is_placeholder(**byte)).count()
}

/// The members of a JSON object that is well formed.
fn members(text: &[u8]) -> Option<Vec<Pair<'_>>> {
    let space = |from: usize| {
        let rest = text.get(from..)?;
        let at = rest.iter().position(|byte| !byte.is_ascii_whitespace())?;
        Some(from + at)
    };
    let mut members = Vec::new();
    let mut at = space(0)?;
    (*text.get(at)? == b'{').then_some(())?;
    at = space(at + 1)?;
    while *text.get(at)? == b'"' {
        let start = at;
        at = string_end(text, at)?;
        let key = text.get(start + 1..at - 1)?;
        at = space(at)?;
        (*text.get(at)? == b':').then_some(())?;
        let end = value_end(text, at + 1)?;
        members.push(Pair {
            key,
            range: start..end,
        });
        if *text.get(end)? == b'}' {
            return Some(members);
        }
        at = space(end + 1)?;
    }
    (*text.get(at)? == b'}').then_some(members)
}

/// Behind the string that starts with the quote at `at`.
fn string_end(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += 1;
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 1,
            _ => {}
        }
    }
}

/// Where the comma or bracket is that follows the value behind `at`.
fn value_end(text: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    loop {
        match text.get(at)? {
            b'"' => {
                at = string_end(text, at)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b',' | b'}' | b']' if depth == 0 => return Some(at),
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
}

/// The words of a line that consists of keys and pairs, their values in quotes or not.
fn words(template: TemplateText<'_>) -> Option<Vec<Pair<'_>>> {
    let text = template.text;
    let mut words = Vec::new();
    let (mut at, mut place) = (0, 0);
    while let Some(byte) = text.get(at) {
        if is_space(*byte) {
            at += 1;
            continue;
        }
        let start = at;
        let rest = text.get(start..)?;
        let in_key = |byte: &u8| *byte > b' ' && *byte != b'=' && *byte != b'"' && byte.is_ascii();
        let key_len = rest.iter().take_while(|byte| in_key(byte)).count();
        (key_len > 0).then_some(())?;
        at += key_len;
        if text.get(at) == Some(&b'=') {
            at += 1 + word_value_len(text.get(at + 1..)?, template, place)?;
        }
        place += placeholders(text.get(start..at)?);
        text.get(at)
            .is_none_or(|byte| is_space(*byte))
            .then_some(())?;
        words.push(Pair {
            key: rest.get(..key_len)?,
            range: start..at,
        });
    }
    Some(words)
}

fn is_space(byte: u8) -> bool {
    !is_placeholder(byte) && byte <= b' '
}

/// How long the value at the start of some text is, of which the first placeholder is number
/// `place`. `None` if a line's value may end elsewhere. A word with another `=` is no pair, but is
/// passed over to its end all the same.
fn word_value_len(text: &[u8], template: TemplateText<'_>, mut place: usize) -> Option<usize> {
    if let [b'"', byte, b'"', ..] = text
        && is_placeholder(*byte)
    {
        // Storage takes quoted values as they are written.
        return Some(3);
    }
    let (quote, is_quoted) = match text {
        [b'"', ..] => (1, true),
        _ => (0, false),
    };
    let end_byte = if is_quoted { b'"' } else { b' ' };
    for (at, byte) in text.iter().enumerate().skip(quote) {
        match *byte {
            byte if is_placeholder(byte) => {
                if (template.may_have)(place, end_byte) {
                    return None;
                }
                place += 1;
            }
            b'"' if is_quoted => return Some(at + 1),
            byte if is_space(byte) && !is_quoted => return Some(at),
            b'\\' | b'"' => return None,
            _ => {}
        }
    }
    (!is_quoted).then_some(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reduced(parser: Parser, names: &[&str], text: &str) -> Option<(String, Vec<usize>)> {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let reader = LineReader::new(parser, names, None);
        let text = text.replace('#', "\u{1}");
        let template = TemplateText {
            text: text.as_bytes(),
            is_json: text.starts_with('{'),
            may_have: &|place, byte| place == 5 && byte == b' ' || place == 6 && byte == b'"',
        };
        let kept = reader.reduce(template)?;
        let text = String::from_utf8(kept.text).unwrap().replace('\u{1}', "#");
        Some((text, kept.placeholders))
    }

    #[test]
    fn a_label_is_a_number_where_no_other_pair_may_be_it() {
        let number = |parser: Parser, text: &str| {
            let names = vec!["b".to_owned(), "a_n".to_owned()];
            let reader = LineReader::new(parser, names, None);
            let text = text.replace('#', "\u{1}");
            let template = TemplateText {
                text: text.as_bytes(),
                is_json: text.starts_with('{'),
                may_have: &|_, _| false,
            };
            assert_eq!(reader.reduce(template).unwrap().number, None);
            reader.with_number("a_n").reduce(template).unwrap().number
        };
        let json = |text: &str| number(Parser::Json, text);
        assert_eq!(json(r##"{"x":#,"b":#, "a.n" : "#" }"##), Some(1));
        assert_eq!(json(r##"{"a_n":#,"a_n":#}"##), None);
        assert_eq!(json(r##"{"a_n":#,"a":{"n":#}}"##), None);
        assert_eq!(json(r##"{"a":{"n":#}}"##), None);
        assert_eq!(json(r##"{"a_n":[#]}"##), None);
        assert_eq!(json(r##"{"a_n":5}"##), None);
        let logfmt = |text: &str| number(Parser::Logfmt, text);
        assert_eq!(logfmt(r##"b=# a=# a_n="#""##), Some(2));
        assert_eq!(logfmt(r##"a_n=# a.n=#"##), None);
        assert_eq!(logfmt(r##"a_n= b=#"##), None);
    }

    #[test]
    fn pairs_that_are_wanted_stay() {
        let json = r##"{"a":"#", "b": {"c":[#,{"d":"#"}],"e":#},"a.b":#,"x":"#"} "##;
        let of = |names: &[&str]| reduced(Parser::Json, names, json).unwrap();
        assert_eq!(of(&["a", "y"]), (r##"{"a":"#"}"##.to_owned(), vec![0]));
        assert_eq!(
            of(&["a_b"]),
            (r##"{"a":"#","a.b":#}"##.to_owned(), vec![0, 4])
        );
        let b = r##""b": {"c":[#,{"d":"#"}],"e":#}"##;
        assert_eq!(of(&["b_e"]), (format!("{{{b}}}"), vec![1, 2, 3]));
        assert_eq!(reduced(Parser::Json, &["a"], r##"{"a":#,"\\"":#}"##), None);
        assert_eq!(
            reduced(Parser::Idle, &[], json),
            Some((String::new(), vec![]))
        );
        assert_eq!(
            reduced(Parser::Json, &["a"], "{}"),
            Some(("{}".to_owned(), vec![]))
        );
    }

    #[test]
    fn words_that_are_wanted_stay() {
        let line = r##"level=# t="#" ok  e="" n= d=#"##;
        let of = |names: &[&str]| reduced(Parser::Logfmt, names, line).unwrap();
        assert_eq!(of(&["t", "d"]), ("t=\"#\" d=#".to_owned(), vec![1, 2]));
        assert_eq!(of(&["e", "n", "ok"]), ("ok e=\"\" n=".to_owned(), vec![]));
        let mixed =
            r##"at=x/y.go:# msg="GET # ok, #=# " u=#ms x="#" y="#" z=#,b p=/q?r=#&s=# t==#"##;
        let of = |names: &[&str]| reduced(Parser::Logfmt, names, mixed).unwrap();
        assert_eq!(of(&["at"]), ("at=x/y.go:#".to_owned(), vec![0]));
        let msg = "msg=\"GET # ok, #=# \"".to_owned();
        assert_eq!(of(&["msg"]), (msg, vec![1, 2, 3]));
        assert_eq!(of(&["u", "y"]), ("u=#ms y=\"#\"".to_owned(), vec![4, 6]));
        assert_eq!(of(&["z"]), ("z=#,b".to_owned(), vec![7]));
        assert_eq!(
            of(&["p", "t"]),
            ("p=/q?r=#&s=# t==#".to_owned(), vec![8, 9, 10])
        );
        for odd in [
            "# a=#",
            "a=\"x",
            "a=\"x\\\"",
            "a=\"x\"y",
            "a=x\"y\"",
            "\"#\"",
            "b#=#",
            "a=# b=# c=# d=# e=# f=#",
            "a=# b=# c=# d=# e=# f=x#",
            "a=# b=# c=# d=# e=# f=\"#\" g=\"x#\"",
        ] {
            assert_eq!(reduced(Parser::Logfmt, &["a"], odd), None, "{odd}");
        }
        assert_eq!(reduced(Parser::Json, &["a"], line), None);
    }
}
