//! Tokens to tree: a recursive descent in the shape of Go's `text/template/parse`.

use std::collections::HashMap;

use model::units::quote;

use super::functions::{self, Dialect};
use super::lex::{Class, Token, lex};
use super::node::{Branch, Kind, Node, Number, Pipe};
use super::unquote::{unquote, unquote_char};

/// How deep pipelines and control structures may be nested together. Bounds the stack of parser
/// and evaluator.
const DEPTH_MAX: usize = 64;

/// The trees of one text: the main one and those that it defines by name.
#[derive(Debug)]
pub(super) struct Trees {
    pub(super) root: Vec<Node>,
    pub(super) defined: HashMap<String, Vec<Node>>,
}

/// Parses `text`. The error has no position prefix other than the line.
pub(super) fn parse(name: &str, text: &str, dialect: Dialect) -> Result<Trees, String> {
    let mut parser = Parser {
        name,
        text,
        dialect,
        tokens: lex(text),
        at: 0,
        vars: vec!["$".to_owned()],
        ranges: 0,
        depth: 0,
        action_line: 0,
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
    dialect: Dialect,
    tokens: Vec<Token>,
    at: usize,
    vars: Vec<String>,
    ranges: usize,
    depth: usize,
    action_line: usize,
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
            if self.action_line != 0 && self.action_line != self.line_of(token.pos) {
                extra = format!(" in action started at {}:{}", self.name, self.action_line);
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
                self.action_line = self.line_of(token.pos);
                let node = self.action()?;
                self.action_line = 0;
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

    // Pipelines and operands.

    fn pipeline(&mut self, context: Context, end: Class) -> Parsed<Node> {
        self.deeper()?;
        let pos = self.peek_non_space().pos;
        let (decl, assign) = self.declarations(context)?;
        let mut pipe = Pipe {
            decl,
            assign,
            cmds: Vec::new(),
        };
        loop {
            let token = self.next_non_space();
            match token.class {
                class if class == end => break,
                Class::Bool
                | Class::CharConstant
                | Class::Dot
                | Class::Field
                | Class::Identifier
                | Class::Number
                | Class::Nil
                | Class::RawString
                | Class::String
                | Class::Variable
                | Class::LeftParen => {
                    self.at -= 1;
                    let command = self.command()?;
                    pipe.cmds.push(command);
                }
                _ => return self.unexpected(&token, context),
            }
        }
        self.depth -= 1;
        self.check(&pipe, context)?;
        Ok(Node::new(pos, Kind::Pipe(pipe)))
    }

    fn check(&self, pipe: &Pipe, context: Context) -> Parsed<()> {
        if pipe.cmds.is_empty() {
            return self.error(format!("missing value for {context}"));
        }
        for (i, command) in pipe.cmds.iter().enumerate().skip(1) {
            let Kind::Command(args) = &command.kind else {
                continue;
            };
            if let Some(
                Kind::Bool(_) | Kind::Dot | Kind::Nil | Kind::Number(_) | Kind::String { .. },
            ) = args.first().map(|arg| &arg.kind)
            {
                return self.error(format!(
                    "non executable command in pipeline stage {}",
                    i + 1
                ));
            }
        }
        Ok(())
    }

    /// `$x :=`, `$x =` and, for range, `$i, $x :=`.
    fn declarations(&mut self, context: Context) -> Parsed<(Vec<Node>, bool)> {
        let mut decl = Vec::new();
        loop {
            let variable = self.peek_non_space();
            if variable.class != Class::Variable {
                return Ok((decl, false));
            }
            let at = self.at;
            self.next();
            let next = self.peek_non_space();
            let declared = Node::new(variable.pos, Kind::Variable(vec![variable.text.clone()]));
            match next.class {
                Class::Assign | Class::Declare => {
                    self.next();
                    self.vars.push(variable.text);
                    decl.push(declared);
                    return Ok((decl, next.class == Class::Assign));
                }
                Class::Char if next.text == "," => {
                    self.next();
                    self.vars.push(variable.text);
                    decl.push(declared);
                    if context != "range" || decl.len() >= 2 {
                        return self.error(format!("too many declarations in {context}"));
                    }
                    let after = self.peek_non_space().class;
                    if !matches!(
                        after,
                        Class::Variable | Class::RightDelim | Class::RightParen
                    ) {
                        return self.error("range can only initialize variables");
                    }
                }
                _ => {
                    self.at = at;
                    return Ok((decl, false));
                }
            }
        }
    }

    fn command(&mut self) -> Parsed<Node> {
        let pos = self.peek_non_space().pos;
        let mut args = Vec::new();
        loop {
            self.skip_space();
            if let Some(operand) = self.operand()? {
                args.push(operand);
            }
            let token = self.next();
            match token.class {
                Class::Space => {}
                Class::RightDelim | Class::RightParen => {
                    self.at -= 1;
                    break;
                }
                Class::Pipe => break,
                _ => return self.unexpected(&token, "operand"),
            }
        }
        if args.is_empty() {
            return self.error("empty command");
        }
        Ok(Node::new(pos, Kind::Command(args)))
    }

    fn operand(&mut self) -> Parsed<Option<Node>> {
        let Some(node) = self.term()? else {
            return Ok(None);
        };
        if self.peek_class() != Class::Field {
            return Ok(Some(node));
        }
        let pos = self.peek().pos;
        let mut fields = Vec::new();
        while self.peek_class() == Class::Field {
            fields.push(self.next().text.trim_start_matches('.').to_owned());
        }
        let kind = match node.kind {
            Kind::Field(mut names) => {
                names.extend(fields);
                Kind::Field(names)
            }
            Kind::Variable(mut names) => {
                names.extend(fields);
                Kind::Variable(names)
            }
            Kind::Bool(_) | Kind::String { .. } | Kind::Number(_) | Kind::Nil | Kind::Dot => {
                let term = quote(&node.to_string());
                return self.error(format!("unexpected . after term {term}"));
            }
            _ => Kind::Chain {
                of: Box::new(node),
                fields,
            },
        };
        Ok(Some(Node::new(pos, kind)))
    }

    fn term(&mut self) -> Parsed<Option<Node>> {
        let token = self.next_non_space();
        let kind = match token.class {
            Class::Identifier => match functions::find(&token.text, self.dialect) {
                Some(function) => Kind::Identifier(function),
                None => {
                    return self.error(format!("function {} not defined", quote(&token.text)));
                }
            },
            Class::Dot => Kind::Dot,
            Class::Nil => Kind::Nil,
            Class::Variable => {
                if !self.vars.contains(&token.text) {
                    return self.error(format!("undefined variable {}", quote(&token.text)));
                }
                Kind::Variable(vec![token.text])
            }
            Class::Field => Kind::Field(vec![token.text.trim_start_matches('.').to_owned()]),
            Class::Bool => Kind::Bool(token.text == "true"),
            Class::CharConstant => match unquote_char(&token.text) {
                Some(c) => Kind::Number(Number {
                    text: token.text,
                    int: Some(i64::from(c)),
                    uint: Some(u64::from(c)),
                    float: Some(f64::from(c)),
                    looks_float: false,
                }),
                None => {
                    return self.error(format!("malformed character constant: {}", token.text));
                }
            },
            Class::Number => match number(&token.text) {
                Ok(number) => Kind::Number(number),
                Err(message) => return self.error(message),
            },
            Class::String | Class::RawString => {
                let text = self.unquoted(&token.text)?;
                let quoted = token.text;
                Kind::String { quoted, text }
            }
            Class::LeftParen => {
                return self
                    .pipeline("parenthesized pipeline", Class::RightParen)
                    .map(Some);
            }
            _ => {
                self.at -= 1;
                return Ok(None);
            }
        };
        Ok(Some(Node::new(token.pos, kind)))
    }
}

fn number(text: &str) -> Result<Number, String> {
    let hex = text
        .trim_start_matches(['+', '-'])
        .to_ascii_lowercase()
        .starts_with("0x");
    let looks_float = text.contains('.')
        || if hex {
            text.contains(['p', 'P'])
        } else {
            text.contains(['e', 'E'])
        };
    let mut number = Number {
        text: text.to_owned(),
        int: super::cast::parse_int_base0(text),
        uint: super::cast::parse_uint_base0(text),
        float: None,
        looks_float,
    };
    if let Some(int) = number.int {
        number.float = Some(int as f64);
    } else if let Some(uint) = number.uint {
        number.float = Some(uint as f64);
    } else if let Ok(float) = crate::go_number::parse_float(text) {
        if !looks_float {
            return Err(format!("integer overflow: {}", quote(text)));
        }
        number.float = Some(float);
        if float.fract() == 0.0 && float.abs() < 9.0e18 {
            number.int = Some(float as i64);
            number.uint = u64::try_from(float as i64).ok();
        }
    } else {
        return Err(format!("illegal number syntax: {}", quote(text)));
    }
    Ok(number)
}
