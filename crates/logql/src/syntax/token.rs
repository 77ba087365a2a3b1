//! The words of the language.

use super::ParseError;
use super::ast::{BinaryOp, CompareOp, Conversion, LineOp, RangeOp, VectorOp};

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    /// The end of the query.
    End,
    /// Text that is no token; the message says why.
    Bad(String),
    /// A name, or any stray character: whether it may be a label is decided where it is used.
    Identifier,
    /// Unquoted already.
    String(String),
    /// As written; the parser reads it.
    Number,
    /// Nanoseconds.
    Duration(i64),
    /// Bytes.
    Bytes(u64),
    /// `[5m]`, nanoseconds.
    Range(i64),
    /// `--strict` or `--keep-empty`.
    Flag,
    /// A word or sign with a meaning of its own.
    Word(Word),
    /// `rate`, followed by an argument list.
    RangeOp(RangeOp),
    /// `sum`, followed by an argument list or a grouping.
    VectorOp(VectorOp),
    /// `bytes(`
    Conversion(Conversion),
    /// `label_replace(`
    LabelReplace,
    /// `vector(`
    Vector,
    /// `ip(`
    Ip,
}

/// Signs and keywords.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is the sign or keyword of its name")]
pub(crate) enum Word {
    Comma,
    Dot,
    OpenBrace,
    CloseBrace,
    OpenParen,
    CloseParen,
    CloseBracket,
    Equal,
    NotEqual,
    RegexMatch,
    NotRegex,
    NotPattern,
    PipeEqual,
    PipeRegex,
    PipePattern,
    Pipe,
    CompareEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Or,
    And,
    Unless,
    By,
    Without,
    Bool,
    On,
    Ignoring,
    GroupLeft,
    GroupRight,
    Offset,
    Unwrap,
    Json,
    Logfmt,
    Regexp,
    Pattern,
    Unpack,
    LineFormat,
    LabelFormat,
    Decolorize,
    Drop,
    Keep,
}

/// A token and where it starts. Loki gives no line for a token of several signs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind,
    pub(crate) text: &'a str,
    pub(crate) line: u32,
    pub(crate) column: u32,
    /// What is wrong with a number. It is a token all the same.
    pub(crate) fault: Option<ParseError>,
}

const WORDS: [(&str, Word); 48] = [
    (",", Word::Comma),
    (".", Word::Dot),
    ("{", Word::OpenBrace),
    ("}", Word::CloseBrace),
    ("(", Word::OpenParen),
    (")", Word::CloseParen),
    ("]", Word::CloseBracket),
    ("=", Word::Equal),
    ("!=", Word::NotEqual),
    ("=~", Word::RegexMatch),
    ("!~", Word::NotRegex),
    ("!>", Word::NotPattern),
    ("|=", Word::PipeEqual),
    ("|~", Word::PipeRegex),
    ("|>", Word::PipePattern),
    ("|", Word::Pipe),
    ("==", Word::CompareEqual),
    (">", Word::Greater),
    (">=", Word::GreaterOrEqual),
    ("<", Word::Less),
    ("<=", Word::LessOrEqual),
    ("+", Word::Add),
    ("-", Word::Sub),
    ("*", Word::Mul),
    ("/", Word::Div),
    ("%", Word::Mod),
    ("^", Word::Pow),
    ("or", Word::Or),
    ("and", Word::And),
    ("unless", Word::Unless),
    ("by", Word::By),
    ("without", Word::Without),
    ("bool", Word::Bool),
    ("on", Word::On),
    ("ignoring", Word::Ignoring),
    ("group_left", Word::GroupLeft),
    ("group_right", Word::GroupRight),
    ("offset", Word::Offset),
    ("unwrap", Word::Unwrap),
    ("json", Word::Json),
    ("logfmt", Word::Logfmt),
    ("regexp", Word::Regexp),
    ("pattern", Word::Pattern),
    ("unpack", Word::Unpack),
    ("line_format", Word::LineFormat),
    ("label_format", Word::LabelFormat),
    ("decolorize", Word::Decolorize),
    ("drop", Word::Drop),
];

impl Word {
    /// The word written as `text`; keywords in any case.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("keep") {
            return Some(Self::Keep);
        }
        WORDS
            .iter()
            .find(|(word, _)| word.eq_ignore_ascii_case(text))
            .map(|(_, word)| *word)
    }

    /// As written.
    pub(crate) fn as_str(self) -> &'static str {
        WORDS
            .iter()
            .find(|(_, word)| *word == self)
            .map_or("keep", |(text, _)| text)
    }

    /// The line filter that it starts.
    pub(crate) fn line_op(self) -> Option<LineOp> {
        Some(match self {
            Self::PipeEqual => LineOp::Contains,
            Self::NotEqual => LineOp::NotContains,
            Self::PipeRegex => LineOp::Regex,
            Self::NotRegex => LineOp::NotRegex,
            Self::PipePattern => LineOp::Pattern,
            Self::NotPattern => LineOp::NotPattern,
            _ => return None,
        })
    }

    /// The comparison with a number, duration or size that it is.
    pub(crate) fn compare_op(self) -> Option<CompareOp> {
        Some(match self {
            Self::Equal | Self::CompareEqual => CompareOp::Equal,
            Self::NotEqual => CompareOp::NotEqual,
            Self::Greater => CompareOp::Greater,
            Self::GreaterOrEqual => CompareOp::GreaterOrEqual,
            Self::Less => CompareOp::Less,
            Self::LessOrEqual => CompareOp::LessOrEqual,
            _ => return None,
        })
    }

    /// The operator between metric queries that it is.
    pub(crate) fn binary_op(self) -> Option<BinaryOp> {
        Some(match self {
            Self::Or => BinaryOp::Or,
            Self::And => BinaryOp::And,
            Self::Unless => BinaryOp::Unless,
            Self::Add => BinaryOp::Add,
            Self::Sub => BinaryOp::Sub,
            Self::Mul => BinaryOp::Mul,
            Self::Div => BinaryOp::Div,
            Self::Mod => BinaryOp::Mod,
            Self::Pow => BinaryOp::Pow,
            Self::CompareEqual => BinaryOp::Equal,
            Self::NotEqual => BinaryOp::NotEqual,
            Self::Greater => BinaryOp::Greater,
            Self::GreaterOrEqual => BinaryOp::GreaterOrEqual,
            Self::Less => BinaryOp::Less,
            Self::LessOrEqual => BinaryOp::LessOrEqual,
            _ => return None,
        })
    }
}

impl Kind {
    /// The function of this name; only a function if an argument list or grouping follows.
    pub(crate) fn function(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        RangeOp::ALL
            .into_iter()
            .find(|op| op.as_str() == name)
            .map(Self::RangeOp)
            .or_else(|| {
                VectorOp::ALL
                    .into_iter()
                    .find(|op| op.as_str() == name)
                    .map(Self::VectorOp)
            })
            .or_else(|| {
                Conversion::ALL
                    .into_iter()
                    .find(|op| op.as_str() == name)
                    .map(Self::Conversion)
            })
            .or(match name.as_str() {
                "label_replace" => Some(Self::LabelReplace),
                "vector" => Some(Self::Vector),
                "ip" => Some(Self::Ip),
                _ => None,
            })
    }

    /// What error messages call it.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::End => "$end".to_owned(),
            Self::Bad(_) | Self::Identifier => "IDENTIFIER".to_owned(),
            Self::String(_) => "STRING".to_owned(),
            Self::Number => "NUMBER".to_owned(),
            Self::Duration(_) => "DURATION".to_owned(),
            Self::Bytes(_) => "BYTES".to_owned(),
            Self::Range(_) => "RANGE".to_owned(),
            Self::Flag => "FUNCTION_FLAG".to_owned(),
            Self::Word(word) => word.as_str().to_owned(),
            Self::RangeOp(op) => op.as_str().to_ascii_uppercase(),
            Self::VectorOp(op) => op.as_str().to_ascii_uppercase(),
            Self::Conversion(op) => format!("{}_CONV", op.as_str().to_ascii_uppercase()),
            Self::LabelReplace => "label_replace".to_owned(),
            Self::Vector => "VECTOR".to_owned(),
            Self::Ip => "ip".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_have_any_case_and_print_as_documented() {
        for (text, word) in WORDS {
            assert_eq!(Word::parse(&text.to_ascii_uppercase()), Some(word));
            assert_eq!(word.as_str(), text);
        }
        assert_eq!(Word::parse("Keep").map(Word::as_str), Some("keep"));
        assert_eq!(Word::parse("nope"), None);
    }

    #[test]
    fn functions_are_known_by_name() {
        assert_eq!(Kind::function("Sum"), Some(Kind::VectorOp(VectorOp::Sum)));
        assert_eq!(
            Kind::function("rate_counter"),
            Some(Kind::RangeOp(RangeOp::RateCounter))
        );
        assert_eq!(Kind::function("json"), None);
    }
}
