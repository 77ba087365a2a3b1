//! From tokens to a tree: a Pratt parser, with the binding powers of the reference grammar.

use super::functions::Function;
use super::lex::{Fault, Token, tokens};
use super::{Comparison, JmesError, Node, Slice};

/// How deep an expression may be; the tree is walked recursively.
const DEPTH_MAX: u32 = 128;

/// How tightly what comes next binds to what stands before.
mod power {
    pub(super) const END: u8 = 0;
    pub(super) const PIPE: u8 = 1;
    pub(super) const OR: u8 = 2;
    pub(super) const AND: u8 = 3;
    pub(super) const COMPARE: u8 = 5;
    pub(super) const FLATTEN: u8 = 9;
    /// What stops a projection binds less than this.
    pub(super) const PROJECTION_STOP: u8 = 10;
    pub(super) const STAR: u8 = 20;
    pub(super) const FILTER: u8 = 21;
    pub(super) const DOT: u8 = 40;
    pub(super) const NOT: u8 = 45;
    pub(super) const BRACKET: u8 = 55;
    pub(super) const PAREN: u8 = 60;
}

pub(super) fn parse(expression: &str) -> Result<Node, JmesError> {
    let syntax = |(position, reason): Fault| JmesError::Syntax {
        expression: expression.to_owned(),
        reason,
        position,
    };
    let tokens = tokens(expression).map_err(syntax)?;
    let mut parser = Parser {
        tokens,
        at: 0,
        end: expression.len(),
        depth: 0,
        nodes: 0,
        unknown: None,
    };
    let parsed = parser
        .expression(power::END)
        .and_then(|node| match parser.peek() {
            None => Ok(node),
            Some(_) => parser.fault("nothing was expected any more"),
        });
    match (parsed, parser.unknown) {
        (_, Some(name)) => Err(JmesError::Function {
            expression: expression.to_owned(),
            name,
        }),
        (Ok(node), None) => Ok(node),
        (Err(fault), None) => Err(syntax(fault)),
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    at: usize,
    /// Length of the expression.
    end: usize,
    depth: u32,
    /// How many operators were chained, each of which makes the tree higher.
    nodes: u32,
    /// The first function that there is not.
    unknown: Option<String>,
}

type Parsed = Result<Node, Fault>;

fn boxed(node: Node) -> Box<Node> {
    Box::new(node)
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(_, token)| token)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.at += 1;
        token
    }

    /// An error at the next token.
    fn fault<T>(&self, reason: &str) -> Result<T, Fault> {
        match self.tokens.get(self.at) {
            Some((position, _)) => Err((*position, reason.to_owned())),
            None => Err((self.end, "the expression ends too early".to_owned())),
        }
    }

    fn take(&mut self, wanted: &Token, reason: &str) -> Result<(), Fault> {
        if self.peek() == Some(wanted) {
            self.at += 1;
            return Ok(());
        }
        self.fault(reason)
    }

    fn power(&self) -> u8 {
        match self.peek() {
            Some(Token::Pipe) => power::PIPE,
            Some(Token::Or) => power::OR,
            Some(Token::And) => power::AND,
            Some(Token::Compare(_)) => power::COMPARE,
            Some(Token::Flatten) => power::FLATTEN,
            Some(Token::Star) => power::STAR,
            Some(Token::Filter) => power::FILTER,
            Some(Token::Dot) => power::DOT,
            Some(Token::Open) => power::BRACKET,
            Some(Token::OpenParen) => power::PAREN,
            _ => power::END,
        }
    }

    fn expression(&mut self, at_least: u8) -> Parsed {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return self.fault("nested too deeply");
        }
        let mut left = self.prefix()?;
        while self.power() > at_least {
            self.nodes += 1;
            if self.nodes > DEPTH_MAX {
                return self.fault("nested too deeply");
            }
            left = self.infix(left)?;
        }
        self.depth -= 1;
        Ok(left)
    }

    fn prefix(&mut self) -> Parsed {
        let start = self.at;
        match self.next() {
            Some(Token::Name {
                text,
                quoted: false,
            }) if self.peek() == Some(&Token::OpenParen) => self.call(&text),
            Some(Token::Name { text, .. }) => Ok(Node::Field(text)),
            Some(Token::Literal(value)) => Ok(Node::Literal(value)),
            Some(Token::Current) => Ok(Node::Current),
            Some(Token::Star) => {
                let right = self.projected(power::STAR)?;
                Ok(Node::ProjectValues(boxed(Node::Current), boxed(right)))
            }
            Some(Token::Not) => Ok(Node::Not(boxed(self.expression(power::NOT)?))),
            Some(Token::OpenParen) => {
                let inner = self.expression(power::END)?;
                self.take(&Token::CloseParen, "a ')' was expected")?;
                // Projections end at a parenthesis.
                Ok(Node::Then(boxed(inner), boxed(Node::Current)))
            }
            Some(Token::OpenBrace) => self.map(),
            Some(Token::Flatten) => self.flatten(Node::Current),
            Some(Token::Filter) => self.filter(Node::Current),
            Some(Token::Open) if self.is_bracket_step() => self.bracket_step(Node::Current),
            Some(Token::Open) => self.list(),
            _ => {
                self.at = start;
                self.fault("a name, literal or bracket was expected")
            }
        }
    }

    fn infix(&mut self, left: Node) -> Parsed {
        let start = self.at;
        match self.next() {
            Some(Token::Dot) if self.peek() == Some(&Token::Star) => {
                self.at += 1;
                let right = self.projected(power::STAR)?;
                Ok(Node::ProjectValues(boxed(left), boxed(right)))
            }
            Some(Token::Dot) => Ok(Node::Then(boxed(left), boxed(self.after_dot(power::DOT)?))),
            Some(Token::Pipe) => Ok(Node::Then(
                boxed(left),
                boxed(self.expression(power::PIPE)?),
            )),
            Some(Token::Or) => Ok(Node::Or(boxed(left), boxed(self.expression(power::OR)?))),
            Some(Token::And) => Ok(Node::And(boxed(left), boxed(self.expression(power::AND)?))),
            Some(Token::Compare(comparison)) => self.comparison(comparison, left),
            Some(Token::Flatten) => self.flatten(left),
            Some(Token::Filter) => self.filter(left),
            Some(Token::Open) if self.is_bracket_step() => self.bracket_step(left),
            Some(Token::Open) => self.fault("an index, a slice or '*' was expected"),
            _ => {
                self.at = start;
                self.fault("this was not expected here")
            }
        }
    }

    fn comparison(&mut self, comparison: Comparison, left: Node) -> Parsed {
        let right = self.expression(power::COMPARE)?;
        Ok(Node::Compare(comparison, boxed(left), boxed(right)))
    }

    /// What may follow a dot: a name, a multiselect, a function, `*`.
    fn after_dot(&mut self, at_least: u8) -> Parsed {
        match self.peek() {
            Some(Token::Name { .. } | Token::Star) => self.expression(at_least),
            Some(Token::Open) => {
                self.at += 1;
                self.list()
            }
            Some(Token::OpenBrace) => {
                self.at += 1;
                self.map()
            }
            _ => self.fault("a name was expected after '.'"),
        }
    }

    /// What is applied to each element of a projection.
    fn projected(&mut self, at_least: u8) -> Parsed {
        if self.power() < power::PROJECTION_STOP {
            return Ok(Node::Current);
        }
        match self.peek() {
            Some(Token::Dot) => {
                self.at += 1;
                self.after_dot(at_least)
            }
            Some(Token::Open | Token::Filter) => self.expression(at_least),
            _ => self.fault("this cannot follow a projection"),
        }
    }

    fn flatten(&mut self, left: Node) -> Parsed {
        let right = self.projected(power::FLATTEN)?;
        Ok(Node::Project(
            boxed(Node::Flatten(boxed(left))),
            boxed(right),
        ))
    }

    fn filter(&mut self, left: Node) -> Parsed {
        let condition = boxed(self.expression(power::END)?);
        self.take(&Token::Close, "a ']' was expected")?;
        // A flattening takes all that the filter leaves, not each of it.
        let right = boxed(match self.peek() {
            Some(Token::Flatten) => Node::Current,
            _ => self.projected(power::FILTER)?,
        });
        Ok(Node::Filter {
            left: boxed(left),
            condition,
            right,
        })
    }

    /// Behind `[`: whether an index, a slice or `*]` follows, and not a multiselect.
    fn is_bracket_step(&self) -> bool {
        match self.peek() {
            Some(Token::Number(_) | Token::Colon) => true,
            Some(Token::Star) => {
                matches!(self.tokens.get(self.at + 1), Some((_, Token::Close)))
            }
            _ => false,
        }
    }

    /// Behind `[`.
    fn bracket_step(&mut self, left: Node) -> Parsed {
        if self.peek() == Some(&Token::Star) {
            self.at += 2;
            let right = self.projected(power::STAR)?;
            return Ok(Node::Project(boxed(left), boxed(right)));
        }
        let first = self.number();
        if self.peek() == Some(&Token::Close) {
            self.at += 1;
            return match first {
                Some(index) => Ok(Node::Then(boxed(left), boxed(Node::Index(index)))),
                None => self.fault("an index was expected"),
            };
        }
        self.take(&Token::Colon, "':' or ']' was expected")?;
        let mut slice = Slice {
            start: first,
            stop: self.number(),
            step: 1,
        };
        if self.peek() == Some(&Token::Colon) {
            self.at += 1;
            slice.step = self.number().unwrap_or(1);
        }
        if slice.step == 0 {
            return self.fault("the step of a slice must not be 0");
        }
        self.take(&Token::Close, "a ']' was expected")?;
        let right = self.projected(power::STAR)?;
        let sliced = Node::Then(boxed(left), boxed(Node::Slice(slice)));
        Ok(Node::Project(boxed(sliced), boxed(right)))
    }

    fn number(&mut self) -> Option<i64> {
        let Some(Token::Number(number)) = self.peek() else {
            return None;
        };
        let number = *number;
        self.at += 1;
        Some(number)
    }

    /// Behind `[` of a multiselect.
    fn list(&mut self) -> Parsed {
        Ok(Node::List(
            self.separated(&Token::Close, "',' or ']' was expected")?,
        ))
    }

    fn separated(&mut self, close: &Token, reason: &str) -> Result<Vec<Node>, Fault> {
        let mut nodes = vec![self.expression(power::END)?];
        while self.peek() == Some(&Token::Comma) {
            self.at += 1;
            nodes.push(self.expression(power::END)?);
        }
        self.take(close, reason)?;
        Ok(nodes)
    }

    /// Behind `{`.
    fn map(&mut self) -> Parsed {
        let mut pairs = Vec::new();
        loop {
            let Some(Token::Name { text, .. }) = self.peek().cloned() else {
                return self.fault("a key was expected");
            };
            self.at += 1;
            self.take(&Token::Colon, "a ':' was expected")?;
            pairs.push((text, self.expression(power::END)?));
            match self.peek() {
                Some(Token::Comma) => self.at += 1,
                _ => break,
            }
        }
        self.take(&Token::CloseBrace, "',' or '}' was expected")?;
        Ok(Node::Map(pairs))
    }

    /// At the `(` behind a function's name.
    fn call(&mut self, name: &str) -> Parsed {
        let Some(function) = Function::of(name) else {
            self.unknown.get_or_insert_with(|| name.to_owned());
            return self.fault("unknown function");
        };
        self.at += 1;
        let arguments = if self.peek() == Some(&Token::CloseParen) {
            self.at += 1;
            Vec::new()
        } else {
            self.separated(&Token::CloseParen, "',' or ')' was expected")?
        };
        if let Some(wanted) = function.refuses(arguments.len()) {
            self.at -= 1;
            return self.fault(&format!("{name} takes {wanted}"));
        }
        Ok(Node::Call(function, arguments))
    }
}
