//! Splits a template into tokens, with Go's rules and Go's complaints.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// The value is the message; nothing follows.
    Error,
    Eof,
    Text,
    LeftDelim,
    RightDelim,
    Space,
    Assign,
    Declare,
    Pipe,
    LeftParen,
    RightParen,
    /// Any other printable character.
    Char,
    CharConstant,
    Number,
    String,
    RawString,
    Identifier,
    Field,
    Variable,
    Bool,
    Dot,
    Nil,
    Keyword,
}

/// A piece of the text.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) class: Class,
    pub(super) pos: usize,
    pub(super) text: String,
}

impl Token {
    /// As Go names it in "unexpected …".
    pub(super) fn describe(&self) -> String {
        match self.class {
            Class::Eof => "EOF".to_owned(),
            Class::Error => self.text.clone(),
            Class::Keyword | Class::Dot | Class::Nil => format!("<{}>", self.text),
            _ if self.text.len() > 10 => {
                let start: String = self.text.chars().take(10).collect();
                format!("{}...", model::units::quote(&start))
            }
            _ => model::units::quote(&self.text),
        }
    }
}

const KEYWORDS: [&str; 10] = [
    "block", "break", "continue", "define", "else", "end", "if", "range", "template", "with",
];

const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

fn is_space(c: Option<char>) -> bool {
    c.is_some_and(|c| SPACES.contains(&c))
}

fn is_alphanumeric(c: Option<char>) -> bool {
    c.is_some_and(|c| c == '_' || c.is_alphanumeric())
}

/// Splits `text`. The last token is an error or the end.
pub(super) fn lex(text: &str) -> Vec<Token> {
    let mut lexer = Lexer {
        text,
        start: 0,
        pos: 0,
        tokens: Vec::new(),
    };
    if let Err(message) = lexer.run() {
        lexer.tokens.push(Token {
            class: Class::Error,
            pos: lexer.start,
            text: message,
        });
    }
    lexer.tokens
}

struct Lexer<'a> {
    text: &'a str,
    start: usize,
    pos: usize,
    tokens: Vec<Token>,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.pos..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.pos += c.len_utf8();
        Some(c)
    }

    fn emit(&mut self, class: Class) {
        let text = self.text.get(self.start..self.pos).unwrap_or_default();
        self.tokens.push(Token {
            class,
            pos: self.start,
            text: text.to_owned(),
        });
        self.start = self.pos;
    }

    fn skip_to(&mut self, pos: usize) {
        self.pos = pos;
        self.start = pos;
    }

    fn run(&mut self) -> Result<(), String> {
        while let Some(at) = self.rest().find("{{") {
            let delim = self.pos + at;
            let inside = self.text.get(delim + 2..).unwrap_or_default();
            let trims = inside.starts_with('-') && is_space(inside.chars().nth(1));
            let before = self.text.get(self.pos..delim).unwrap_or_default();
            let kept = if trims {
                before.trim_end_matches(SPACES)
            } else {
                before
            };
            if !kept.is_empty() {
                self.pos += kept.len();
                self.emit(Class::Text);
            }
            self.skip_to(delim);
            self.pos += 2;
            let marker = if trims { 2 } else { 0 };
            if inside
                .get(marker..)
                .is_some_and(|rest| rest.starts_with("/*"))
            {
                self.skip_to(self.pos + marker);
                self.comment()?;
            } else {
                self.emit(Class::LeftDelim);
                self.skip_to(self.pos + marker);
                self.action()?;
            }
        }
        if !self.rest().is_empty() {
            self.pos = self.text.len();
            self.emit(Class::Text);
        }
        self.emit(Class::Eof);
        Ok(())
    }

    /// The length of a closing delimiter here, and whether it trims what follows.
    fn right_delim(&self) -> Option<(usize, bool)> {
        let rest = self.rest();
        if rest.starts_with("}}") {
            return Some((2, false));
        }
        let after_space = rest.strip_prefix(SPACES)?;
        after_space.starts_with("-}}").then_some((4, true))
    }

    fn comment(&mut self) -> Result<(), String> {
        let Some(end) = self.rest().get(2..).and_then(|rest| rest.find("*/")) else {
            return Err("unclosed comment".to_owned());
        };
        self.pos += end + 4;
        let Some((len, trims)) = self.right_delim() else {
            return Err("comment ends before closing delimiter".to_owned());
        };
        self.after_action(len, trims);
        Ok(())
    }

    fn after_action(&mut self, delim_len: usize, trims: bool) {
        self.skip_to(self.pos + delim_len);
        if trims {
            let kept = self.rest().trim_start_matches(SPACES).len();
            self.skip_to(self.text.len() - kept);
        }
    }

    fn action(&mut self) -> Result<(), String> {
        let mut parens = 0_usize;
        loop {
            if let Some((len, trims)) = self.right_delim() {
                if parens > 0 {
                    return Err("unclosed left paren".to_owned());
                }
                let marker = if trims { 2 } else { 0 };
                self.skip_to(self.pos + marker);
                self.pos += 2;
                self.emit(Class::RightDelim);
                self.pos -= 2;
                self.after_action(len - marker, trims);
                return Ok(());
            }
            match self.next() {
                None => return Err("unclosed action".to_owned()),
                Some(c) if SPACES.contains(&c) => self.space(),
                Some('=') => self.emit(Class::Assign),
                Some(':') => {
                    if self.next() != Some('=') {
                        return Err("expected :=".to_owned());
                    }
                    self.emit(Class::Declare);
                }
                Some('|') => self.emit(Class::Pipe),
                Some('"') => self.quote()?,
                Some('`') => self.raw_quote()?,
                Some('\'') => self.char_constant()?,
                Some('$') => self.field_or_variable(Class::Variable)?,
                Some('.') if !self.peek().is_some_and(|c| c.is_ascii_digit()) => {
                    self.field_or_variable(Class::Field)?;
                }
                Some('(') => {
                    parens += 1;
                    self.emit(Class::LeftParen);
                }
                Some(')') => {
                    parens = parens
                        .checked_sub(1)
                        .ok_or_else(|| "unexpected right paren".to_owned())?;
                    self.emit(Class::RightParen);
                }
                Some('.' | '+' | '-' | '0'..='9') => {
                    self.pos = self.start;
                    self.number()?;
                }
                Some(c) if is_alphanumeric(Some(c)) => self.identifier()?,
                Some(c) if c.is_ascii_graphic() => self.emit(Class::Char),
                Some(c) => {
                    return Err(format!(
                        "unrecognized character in action: {}",
                        unicode_name(c)
                    ));
                }
            }
        }
    }

    /// A run of spaces, except for the one that belongs to a trimming delimiter.
    fn space(&mut self) {
        while is_space(self.peek()) {
            let before = self.pos;
            self.next();
            if self.rest().starts_with("-}}") {
                self.pos = before;
                break;
            }
        }
        let first = self.start + 1;
        if self.pos == first && self.rest().starts_with("-}}") {
            self.pos = self.start;
            return;
        }
        self.emit(Class::Space);
    }

    fn at_terminator(&self) -> bool {
        match self.peek() {
            None | Some('.' | ',' | '|' | ':' | ')' | '(') => true,
            c if is_space(c) => true,
            _ => self.rest().starts_with("}}"),
        }
    }

    fn bad_character(&self) -> String {
        let name = self.peek().map(unicode_name).unwrap_or_default();
        format!("bad character {name}")
    }

    fn identifier(&mut self) -> Result<(), String> {
        while is_alphanumeric(self.peek()) {
            self.next();
        }
        if !self.at_terminator() {
            return Err(self.bad_character());
        }
        let word = self.text.get(self.start..self.pos).unwrap_or_default();
        self.emit(match word {
            "true" | "false" => Class::Bool,
            "nil" => Class::Nil,
            _ if KEYWORDS.contains(&word) => Class::Keyword,
            _ => Class::Identifier,
        });
        Ok(())
    }

    fn field_or_variable(&mut self, class: Class) -> Result<(), String> {
        if self.at_terminator() {
            self.emit(if class == Class::Field {
                Class::Dot
            } else {
                class
            });
            return Ok(());
        }
        while is_alphanumeric(self.peek()) {
            self.next();
        }
        if !self.at_terminator() {
            return Err(self.bad_character());
        }
        self.emit(class);
        Ok(())
    }

    fn quote(&mut self) -> Result<(), String> {
        loop {
            match self.next() {
                Some('"') => {
                    self.emit(Class::String);
                    return Ok(());
                }
                Some('\\') if !matches!(self.next(), None | Some('\n')) => {}
                Some('\\' | '\n') | None => return Err("unterminated quoted string".to_owned()),
                Some(_) => {}
            }
        }
    }

    fn raw_quote(&mut self) -> Result<(), String> {
        let Some(end) = self.rest().find('`') else {
            return Err("unterminated raw quoted string".to_owned());
        };
        self.pos += end + 1;
        self.emit(Class::RawString);
        Ok(())
    }

    fn char_constant(&mut self) -> Result<(), String> {
        loop {
            match self.next() {
                Some('\'') => {
                    self.emit(Class::CharConstant);
                    return Ok(());
                }
                Some('\\') if !matches!(self.next(), None | Some('\n')) => {}
                Some('\\' | '\n') | None => {
                    return Err("unterminated character constant".to_owned());
                }
                Some(_) => {}
            }
        }
    }

    fn accept(&mut self, set: &str) -> bool {
        let found = self.peek().is_some_and(|c| set.contains(c));
        if found {
            self.next();
        }
        found
    }

    fn accept_run(&mut self, set: &str) {
        while self.accept(set) {}
    }

    /// A number, or two of which the second has a sign and an `i`: a complex number.
    fn number(&mut self) -> Result<(), String> {
        self.part_of_number()?;
        if matches!(self.peek(), Some('+' | '-')) {
            self.part_of_number()?;
            let text = self.text.get(self.start..self.pos).unwrap_or_default();
            if !text.ends_with('i') {
                return Err(self.bad_number());
            }
        }
        self.emit(Class::Number);
        Ok(())
    }

    fn part_of_number(&mut self) -> Result<(), String> {
        self.accept("+-");
        let mut digits = "0123456789_";
        let (mut decimal, mut hex) = (true, false);
        if self.accept("0") {
            if self.accept("xX") {
                (digits, decimal, hex) = ("0123456789abcdefABCDEF_", false, true);
            } else if self.accept("oO") {
                (digits, decimal) = ("01234567_", false);
            } else if self.accept("bB") {
                (digits, decimal) = ("01_", false);
            }
        }
        self.accept_run(digits);
        if self.accept(".") {
            self.accept_run(digits);
        }
        if (decimal && self.accept("eE")) || (hex && self.accept("pP")) {
            self.accept("+-");
            self.accept_run("0123456789_");
        }
        self.accept("i");
        if is_alphanumeric(self.peek()) {
            self.next();
            return Err(self.bad_number());
        }
        Ok(())
    }

    fn bad_number(&self) -> String {
        let text = self.text.get(self.start..self.pos).unwrap_or_default();
        format!("bad number syntax: {}", model::units::quote(text))
    }
}

/// A character as Go's `%#U` prints it.
fn unicode_name(c: char) -> String {
    let code = c as u32;
    if c.is_control() {
        format!("U+{code:04X}")
    } else {
        format!("U+{code:04X} '{c}'")
    }
}
