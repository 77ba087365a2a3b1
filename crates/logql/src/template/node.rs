//! The tree of a parsed template. Nodes print as Go's do, because errors quote them.

use std::fmt;

use model::units::quote;

use super::functions::Function;

/// A node and where it stands in the text, in bytes.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) pos: usize,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Text(String),
    /// A pipeline whose value is printed, unless it declares a variable.
    Action(Box<Node>),
    If(Box<Branch>),
    With(Box<Branch>),
    Range(Box<Branch>),
    Template {
        name: String,
        pipe: Option<Box<Node>>,
    },
    Break,
    Continue,
    /// `{{else}}`; only between lexer and parser.
    Else,
    /// `{{end}}`; only between lexer and parser.
    End,
    Pipe(Pipe),
    /// A function or operand, then its arguments.
    Command(Vec<Node>),
    Field(Vec<String>),
    Chain {
        of: Box<Node>,
        fields: Vec<String>,
    },
    /// The name with its `$`, then fields.
    Variable(Vec<String>),
    Identifier(&'static Function),
    Dot,
    Nil,
    Bool(bool),
    Number(Number),
    String {
        quoted: String,
        text: String,
    },
}

#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) decl: Vec<Node>,
    /// `=` instead of `:=`.
    pub(super) assign: bool,
    pub(super) cmds: Vec<Node>,
}

#[derive(Debug)]
pub(super) struct Branch {
    pub(super) pipe: Node,
    pub(super) list: Vec<Node>,
    pub(super) otherwise: Option<Vec<Node>>,
}

/// A number may be read as several types; which one is taken depends on who wants it.
#[derive(Clone, Debug, Default)]
pub(super) struct Number {
    pub(super) text: String,
    pub(super) int: Option<i64>,
    pub(super) uint: Option<u64>,
    pub(super) float: Option<f64>,
    /// Real and imaginary part, if written as a complex number.
    pub(super) complex: Option<(f64, f64)>,
    /// Written with a point or an exponent, so that it is a float where any type will do.
    pub(super) looks_float: bool,
}

impl Node {
    pub(super) fn new(pos: usize, kind: Kind) -> Self {
        Self { pos, kind }
    }

    /// The pipeline inside, for nodes that are one.
    pub(super) fn as_pipe(&self) -> Option<&Pipe> {
        match &self.kind {
            Kind::Pipe(pipe) => Some(pipe),
            _ => None,
        }
    }
}

fn write_list(f: &mut fmt::Formatter<'_>, nodes: &[Node]) -> fmt::Result {
    nodes.iter().try_for_each(|node| write!(f, "{node}"))
}

fn write_branch(f: &mut fmt::Formatter<'_>, name: &str, branch: &Branch) -> fmt::Result {
    write!(f, "{{{{{name} {}}}}}", branch.pipe)?;
    write_list(f, &branch.list)?;
    if let Some(otherwise) = &branch.otherwise {
        f.write_str("{{else}}")?;
        write_list(f, otherwise)?;
    }
    f.write_str("{{end}}")
}

fn write_fields(f: &mut fmt::Formatter<'_>, fields: &[String]) -> fmt::Result {
    fields.iter().try_for_each(|field| write!(f, ".{field}"))
}

/// A pipeline that is an argument stands in parentheses.
fn write_operand(f: &mut fmt::Formatter<'_>, node: &Node) -> fmt::Result {
    if node.as_pipe().is_some() {
        write!(f, "({node})")
    } else {
        write!(f, "{node}")
    }
}

impl fmt::Display for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, variable) in self.decl.iter().enumerate() {
            write!(f, "{}{variable}", if i > 0 { ", " } else { "" })?;
        }
        if !self.decl.is_empty() {
            f.write_str(if self.assign { " = " } else { " := " })?;
        }
        for (i, command) in self.cmds.iter().enumerate() {
            write!(f, "{}{command}", if i > 0 { " | " } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Text(text) => f.write_str(text),
            Kind::Action(pipe) => write!(f, "{{{{{pipe}}}}}"),
            Kind::If(branch) => write_branch(f, "if", branch),
            Kind::With(branch) => write_branch(f, "with", branch),
            Kind::Range(branch) => write_branch(f, "range", branch),
            Kind::Template { name, pipe: None } => write!(f, "{{{{template {}}}}}", quote(name)),
            Kind::Template {
                name,
                pipe: Some(pipe),
            } => write!(f, "{{{{template {} {pipe}}}}}", quote(name)),
            Kind::Break => f.write_str("{{break}}"),
            Kind::Continue => f.write_str("{{continue}}"),
            Kind::Else => f.write_str("{{else}}"),
            Kind::End => f.write_str("{{end}}"),
            Kind::Pipe(pipe) => write!(f, "{pipe}"),
            Kind::Command(args) => args.iter().enumerate().try_for_each(|(i, arg)| {
                f.write_str(if i > 0 { " " } else { "" })?;
                write_operand(f, arg)
            }),
            Kind::Field(fields) => write_fields(f, fields),
            Kind::Chain { of, fields } => {
                write_operand(f, of)?;
                write_fields(f, fields)
            }
            Kind::Variable(parts) => f.write_str(&parts.join(".")),
            Kind::Identifier(function) => f.write_str(function.name),
            Kind::Dot => f.write_str("."),
            Kind::Nil => f.write_str("nil"),
            Kind::Bool(value) => write!(f, "{value}"),
            Kind::Number(number) => f.write_str(&number.text),
            Kind::String { quoted, .. } => f.write_str(quoted),
        }
    }
}
