//! Pipelines: declarations, commands, operands and numbers.

use model::units::quote;

use super::{Context, Parsed, Parser};
use crate::template::lex::{Class, Token};
use crate::template::node::{Kind, Node, Number, Pipe};
use crate::template::unquote::unquote_char;

/// The most variables that may be in scope at one place, `$` included.
const VARIABLES_MAX: usize = 256;

impl Parser<'_> {
    pub(super) fn pipeline(&mut self, context: Context, end: Class) -> Parsed<Node> {
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
                    self.declare(variable)?;
                    decl.push(declared);
                    return Ok((decl, next.class == Class::Assign));
                }
                Class::Char if next.text == "," => {
                    self.next();
                    self.declare(variable)?;
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

    fn declare(&mut self, variable: Token) -> Parsed<()> {
        if self.vars.len() >= VARIABLES_MAX {
            return self.error(format!("more than {VARIABLES_MAX} variables"));
        }
        self.vars.push(variable.text);
        Ok(())
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
            Class::Identifier => match self.known.find(&token.text) {
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
                    ..Number::default()
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

/// A complex number; without an imaginary part it may be taken for a real one too.
fn complex(text: &str) -> Option<Number> {
    let float = |text: &str| crate::go_number::parse_float(text).ok();
    let digits = text.strip_suffix('i')?;
    let (real, imaginary) = match digits.rfind(['+', '-']).filter(|at| *at > 0) {
        // The sign of an exponent belongs to its number.
        _ if float(digits).is_some() => (0.0, float(digits)?),
        Some(at) => {
            let (real, imaginary) = digits.split_at(at);
            (float(real)?, float(imaginary)?)
        }
        None => return None,
    };
    let is_real = imaginary == 0.0;
    let whole = (is_real && real.fract() == 0.0 && real.abs() < 9.0e18).then_some(real as i64);
    Some(Number {
        text: text.to_owned(),
        int: whole,
        uint: whole.and_then(|whole| u64::try_from(whole).ok()),
        float: is_real.then_some(real),
        complex: Some((real, imaginary)),
        looks_float: false,
    })
}

fn number(text: &str) -> Result<Number, String> {
    if text.ends_with('i') {
        let illegal = || format!("illegal number syntax: {}", quote(text));
        return complex(text).ok_or_else(illegal);
    }
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
        int: crate::template::cast::parse_int_base0(text),
        uint: crate::template::cast::parse_uint_base0(text),
        float: None,
        complex: None,
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
