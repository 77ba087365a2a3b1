//! Tokens to tree: a recursive descent in the shape of Go's `text/template/parse`.

mod pipeline;

use std::collections::HashMap;

use model::units::quote;

use super::functions::{self, Dialect, Function};
use super::lex::{Class, Token, lex};
use super::node::{Branch, Kind, Node};
use super::unquote::unquote;

/// How deep pipelines and control structures may be nested together. Bounds the stack of parser
/// and evaluator.
const DEPTH_MAX: usize = 64;

/// The trees of one text: the main one and those that it defines by name.
#[derive(Debug)]
pub(super) struct Trees {
    pub(super) root: Vec<Node>,
    pub(super) defined: HashMap<String, Vec<Node>>,
}

/// Which functions a text may call.
#[derive(Clone, Copy)]
pub(super) enum Known<'a> {
    /// Those of a dialect.
    Dialect(Dialect),
    /// Functions of these names, which are not defined here.
    Names(&'a [&'a str]),
}

impl Known<'_> {
    fn find(self, name: &str) -> Option<&'static Function> {
        match self {
            Self::Dialect(dialect) => functions::find(name, dialect),
            Self::Names(names) => names.contains(&name).then_some(&functions::DECLARED),
        }
    }
}

/// Parses `text`. The error has no position prefix other than the line.
pub(super) fn parse(name: &str, text: &str, known: Known<'_>) -> Result<Trees, String> {
    let mut parser = Parser {
        name,
        text,
        known,
        tokens: lex(text),
        at: 0,
        vars: vec!["$".to_owned()],
        ranges: 0,
        depth: 0,
        action_at: None,
        defined: HashMap::new(),
    };
    let root = parser.root()?;
    Ok(Trees {
        root,
        defined: parser.defined,
    })
}

/// What a pipeline belongs to; decides how it may declare variables, and is named in errors.
type Context = &'static str;

struct Parser<'a> {
    name: &'a str,
    text: &'a str,
    known: Known<'a>,
    tokens: Vec<Token>,
    at: usize,
    vars: Vec<String>,
    ranges: usize,
    depth: usize,
    /// Where the action begins that is being read.
    action_at: Option<usize>,
    defined: HashMap<String, Vec<Node>>,
}

type Parsed<T> = Result<T, String>;

impl Parser<'_> {
    // Tokens. The last token (end or error) is never passed.

    fn peek(&self) -> Token {
        self.tokens.get(self.at).cloned().unwrap_or(Token {
            class: Class::Eof,
            pos: self.text.len(),
            text: String::new(),
        })
    }

    fn peek_class(&self) -> Class {
        self.tokens
            .get(self.at)
            .map_or(Class::Eof, |token| token.class)
    }

    fn next(&mut self) -> Token {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn skip_space(&mut self) {
        while self.peek_class() == Class::Space {
            self.at += 1;
        }
    }

    fn next_non_space(&mut self) -> Token {
        self.skip_space();
        self.next()
    }

    fn peek_non_space(&mut self) -> Token {
        self.skip_space();
        self.peek()
    }

    fn peek_keyword(&self, word: &str) -> bool {
        self.tokens
            .get(self.at)
            .is_some_and(|token| token.class == Class::Keyword && token.text == word)
    }

    fn line_of(&self, pos: usize) -> usize {
        let before = self.text.as_bytes().get(..pos).unwrap_or_default();
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    // Errors.

    fn error<T>(&self, message: impl AsRef<str>) -> Parsed<T> {
        let last = self.tokens.get(self.at.saturating_sub(1));
        let line = self.line_of(last.map_or(0, |token| token.pos));
        Err(format!(
            "template: {}:{line}: {}",
            self.name,
            message.as_ref()
        ))
    }

    fn unexpected<T>(&self, token: &Token, context: &str) -> Parsed<T> {
        if token.class == Class::Error {
            let mut extra = String::new();
            let action_line = self.action_at.map(|at| self.line_of(at));
            if let Some(line) = action_line.filter(|line| *line != self.line_of(token.pos)) {
                extra = format!(" in action started at {}:{line}", self.name);
                if token.text.ends_with(" action") {
                    extra = extra.trim_start_matches(" in action").to_owned();
                }
            }
            return self.error(format!("{}{extra}", token.text));
        }
        self.error(format!("unexpected {} in {context}", token.describe()))
    }

    fn deeper(&mut self) -> Parsed<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return self.error("max expression depth exceeded");
        }
        Ok(())
    }

    // Lists and actions.

    fn root(&mut self) -> Parsed<Vec<Node>> {
        let mut list = Vec::new();
        while self.peek_class() != Class::Eof {
            if self.peek_class() == Class::LeftDelim {
                let delim = self.at;
                self.next();
                self.skip_space();
                if self.peek_keyword("define") {
                    self.next();
                    self.definition()?;
                    continue;
                }
                self.at = delim;
            }
            let node = self.text_or_action()?;
            if matches!(node.kind, Kind::Else | Kind::End) {
                return self.error(format!("unexpected {node}"));
            }
            list.push(node);
        }
        Ok(list)
    }

    fn definition(&mut self) -> Parsed<()> {
        let context = "define clause";
        let token = self.next_non_space();
        let name = self.template_name(&token, context)?;
        let close = self.next_non_space();
        if close.class != Class::RightDelim {
            return self.unexpected(&close, context);
        }
        self.body(name, context)
    }

    /// The list of a definition up to its `{{end}}`, with its own variables.
    fn body(&mut self, name: String, context: Context) -> Parsed<()> {
        let vars = std::mem::replace(&mut self.vars, vec!["$".to_owned()]);
        let ranges = std::mem::take(&mut self.ranges);
        self.deeper()?;
        let (list, end) = self.item_list()?;
        self.depth -= 1;
        (self.vars, self.ranges) = (vars, ranges);
        if !matches!(end.kind, Kind::End) {
            return self.error(format!("unexpected {end} in {context}"));
        }
        self.add(name, list)
    }

    fn add(&mut self, name: String, list: Vec<Node>) -> Parsed<()> {
        let is_empty = |list: &[Node]| {
            list.iter().all(|node| match &node.kind {
                Kind::Text(text) => text.trim().is_empty(),
                _ => false,
            })
        };
        match self.defined.get(&name) {
            Some(old) if !is_empty(old) => {
                if !is_empty(&list) {
                    let message =
                        format!("template: multiple definition of template {}", quote(&name));
                    return self.error(message);
                }
            }
            _ => {
                self.defined.insert(name, list);
            }
        }
        Ok(())
    }

    /// Nodes up to an `{{else}}` or `{{end}}`, and that one.
    fn item_list(&mut self) -> Parsed<(Vec<Node>, Node)> {
        let mut list = Vec::new();
        while self.peek_non_space().class != Class::Eof {
            let node = self.text_or_action()?;
            if matches!(node.kind, Kind::Else | Kind::End) {
                return Ok((list, node));
            }
            list.push(node);
        }
        self.next();
        self.error("unexpected EOF")
    }

    fn text_or_action(&mut self) -> Parsed<Node> {
        let token = self.next_non_space();
        match token.class {
            Class::Text => Ok(Node::new(token.pos, Kind::Text(token.text))),
            Class::LeftDelim => {
                self.action_at = Some(token.pos);
                let node = self.action()?;
                self.action_at = None;
                Ok(node)
            }
            _ => self.unexpected(&token, "input"),
        }
    }

    fn action(&mut self) -> Parsed<Node> {
        let token = self.next_non_space();
        if token.class == Class::Keyword {
            match token.text.as_str() {
                "block" => return self.block(),
                "break" => return self.leave_range(&token, Kind::Break),
                "continue" => return self.leave_range(&token, Kind::Continue),
                "else" => return self.otherwise(),
                "end" => {
                    let close = self.close("end")?;
                    return Ok(Node::new(close.pos, Kind::End));
                }
                "if" => return self.control(token.pos, "if"),
                "with" => return self.control(token.pos, "with"),
                "range" => return self.control(token.pos, "range"),
                "template" => return self.template(),
                _ => {}
            }
        }
        self.at -= 1;
        let pos = self.peek().pos;
        let pipe = self.pipeline("command", Class::RightDelim)?;
        Ok(Node::new(pos, Kind::Action(Box::new(pipe))))
    }

    fn close(&mut self, context: Context) -> Parsed<Token> {
        let token = self.next_non_space();
        if token.class == Class::RightDelim {
            Ok(token)
        } else {
            self.unexpected(&token, context)
        }
    }

    fn leave_range(&mut self, word: &Token, kind: Kind) -> Parsed<Node> {
        let token = self.next_non_space();
        let shown = format!("{{{{{}}}}}", word.text);
        if token.class != Class::RightDelim {
            return self.unexpected(&token, &shown);
        }
        if self.ranges == 0 {
            return self.error(format!("{shown} outside {{{{range}}}}"));
        }
        Ok(Node::new(word.pos, kind))
    }

    fn otherwise(&mut self) -> Parsed<Node> {
        let peek = self.peek_non_space();
        // `{{else if` and `{{else with` are read as `{{else}}{{if`.
        if self.peek_keyword("if") || self.peek_keyword("with") {
            return Ok(Node::new(peek.pos, Kind::Else));
        }
        let close = self.close("else")?;
        Ok(Node::new(close.pos, Kind::Else))
    }

    fn control(&mut self, pos: usize, word: Context) -> Parsed<Node> {
        self.deeper()?;
        let vars = self.vars.len();
        let pipe = self.pipeline(word, Class::RightDelim)?;
        self.ranges += usize::from(word == "range");
        let (list, next) = self.item_list()?;
        self.ranges -= usize::from(word == "range");
        let mut otherwise = None;
        if matches!(next.kind, Kind::Else) {
            if word != "range" && self.peek_keyword(word) {
                self.next();
                otherwise = Some(vec![self.control(next.pos, word)?]);
            } else {
                let (list, end) = self.item_list()?;
                if !matches!(end.kind, Kind::End) {
                    return self.error(format!("expected end; found {end}"));
                }
                otherwise = Some(list);
            }
        }
        self.vars.truncate(vars);
        self.depth -= 1;
        let branch = Box::new(Branch {
            pipe,
            list,
            otherwise,
        });
        let kind = match word {
            "if" => Kind::If(branch),
            "with" => Kind::With(branch),
            _ => Kind::Range(branch),
        };
        Ok(Node::new(pos, kind))
    }

    fn block(&mut self) -> Parsed<Node> {
        let context = "block clause";
        let token = self.next_non_space();
        let name = self.template_name(&token, context)?;
        let pipe = self.pipeline(context, Class::RightDelim)?;
        self.body(name.clone(), context)?;
        let pipe = Some(Box::new(pipe));
        Ok(Node::new(token.pos, Kind::Template { name, pipe }))
    }

    fn template(&mut self) -> Parsed<Node> {
        let context = "template clause";
        let token = self.next_non_space();
        let name = self.template_name(&token, context)?;
        let mut pipe = None;
        if self.next_non_space().class != Class::RightDelim {
            self.at -= 1;
            pipe = Some(Box::new(self.pipeline(context, Class::RightDelim)?));
        }
        Ok(Node::new(token.pos, Kind::Template { name, pipe }))
    }

    fn template_name(&mut self, token: &Token, context: Context) -> Parsed<String> {
        match token.class {
            Class::String | Class::RawString => self.unquoted(&token.text),
            _ => self.unexpected(token, context),
        }
    }

    fn unquoted(&self, text: &str) -> Parsed<String> {
        match unquote(text) {
            Some(text) => Ok(text),
            None => self.error("invalid syntax"),
        }
    }
}

#[cfg(test)]
mod tests;
