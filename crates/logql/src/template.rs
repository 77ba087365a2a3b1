//! Go's `text/template`, as far as log lines need it: `line_format` and `label_format` of LogQL,
//! and the `template` stage of the agent.
//!
//! A [`Template`] is parsed once and run for each row. Its text becomes a tree, errors
//! quote the node they stopped at, and values are Go's, because all of it can be seen
//! in what a template prints. A template that is nothing but text and `{{.label}}` is kept as a flat
//! list as well and runs without an allocation other than the growth of the output.
//!
//! *Invariants.* A run ends: work, depth and every text that is made are bounded, and passing a
//! bound is an error of the run like any other. The clock is an argument.
//!
//! Start reading at `lex`, `parse`, `eval`; the functions are tables in `functions`.

mod cast;
mod decimal;
mod eval;
mod functions;
mod gofmt;
pub mod gotime;
mod json;
mod lex;
mod node;
mod parse;
mod reads;
mod unquote;
mod value;

use node::{Kind, Node};
use parse::{Known, Trees};

pub use functions::Dialect;

/// What a missing key of the agent's map prints as.
const NO_VALUE: &[u8] = b"<no value>";

/// A template that does not parse or a run that failed, in the words of Go's `text/template`:
/// `template: line:1: unexpected EOF`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(String);

/// The labels that a template reads with `{{.name}}`.
pub trait Labels {
    /// The value of a label; `None` if there is no such label.
    fn get(&self, name: &str) -> Option<&str>;

    /// Shows every label once, in any order.
    fn for_each(&self, visit: &mut dyn FnMut(&str, &str));
}

/// The row that a template runs for.
pub struct Context<'a> {
    /// The line, `__line__`. The agent has it as the label `Entry` instead.
    pub line: &'a [u8],
    /// The time of the entry in nanoseconds since the Unix epoch, `__timestamp__`.
    pub timestamp_ns: i64,
    /// The time that `now` tells, in nanoseconds since the Unix epoch.
    pub now_ns: i64,
    /// What `.` is.
    pub labels: &'a dyn Labels,
}

/// A parsed template.
#[derive(Debug)]
pub struct Template {
    name: String,
    text: String,
    dialect: Dialect,
    trees: Trees,
    /// The whole template, if it is only text and labels.
    pieces: Option<Vec<Piece>>,
    regexes: functions::Regexes,
}

/// Checks that `text` is a template for an engine that has functions of the names `functions`; Go's
/// own functions count only if they are listed.
///
/// # Errors
/// As [`Template::parse`].
pub fn check(name: &str, text: &str, functions: &[&str]) -> Result<(), TemplateError> {
    let parsed = parse::parse(name, text, Known::Names(functions));
    parsed.map(|_| ()).map_err(TemplateError)
}

/// A part of a template without control structures and functions.
#[derive(Debug)]
enum Piece {
    Text(String),
    Label(String),
}

impl Template {
    /// Parses `text`. The name shows in errors: Loki's are `line` and `label`.
    ///
    /// # Errors
    /// If the text is not a template, or calls a function that the dialect does not have.
    pub fn parse(name: &str, text: &str, dialect: Dialect) -> Result<Self, TemplateError> {
        let trees = parse::parse(name, text, Known::Dialect(dialect)).map_err(TemplateError)?;
        Ok(Self {
            name: name.to_owned(),
            text: text.to_owned(),
            dialect,
            pieces: pieces(&trees.root),
            trees,
            regexes: functions::Regexes::default(),
        })
    }

    /// Runs the template and appends what it prints to `out`.
    ///
    /// # Errors
    /// If a function fails or gets what it cannot take, or a bound is passed. `out` is then as it
    /// was.
    pub fn run(&self, context: &Context<'_>, out: &mut Vec<u8>) -> Result<(), TemplateError> {
        let before = out.len();
        let is_printed = match &self.pieces {
            Some(pieces) => self.print(pieces, context, out),
            None => false,
        };
        if is_printed {
            return Ok(());
        }
        out.truncate(before);
        eval::run(self, context, out).inspect_err(|_| out.truncate(before))
    }

    /// Prints pieces; `false` if that is more than a run may print.
    fn print(&self, pieces: &[Piece], context: &Context<'_>, out: &mut Vec<u8>) -> bool {
        let out_max = out.len().saturating_add(eval::OUTPUT_BYTES_MAX);
        for piece in pieces {
            let text = match piece {
                Piece::Text(text) => text.as_bytes(),
                Piece::Label(name) => match (context.labels.get(name), self.dialect) {
                    (Some(value), _) => value.as_bytes(),
                    (None, Dialect::LogQl) => b"",
                    (None, Dialect::Promtail) => NO_VALUE,
                },
            };
            if out.len().saturating_add(text.len()) > out_max {
                return false;
            }
            out.extend_from_slice(text);
        }
        true
    }

    /// The labels that a run can read, each once, as far as the text tells; `None` if it may read
    /// any, because the labels are taken as a whole (`{{ . }}`, `{{ range $k, $v := . }}`).
    #[must_use]
    pub fn labels_read(&self) -> Option<Vec<String>> {
        reads::labels(&self.trees.root)
    }
}

fn pieces(list: &[Node]) -> Option<Vec<Piece>> {
    list.iter()
        .map(|node| match &node.kind {
            Kind::Text(text) => Some(Piece::Text(text.clone())),
            Kind::Action(pipe) => label_alone(pipe).map(|name| Piece::Label(name.to_owned())),
            _ => None,
        })
        .collect()
}

/// The name, if the pipeline is `.name` and nothing else.
fn label_alone(pipe: &Node) -> Option<&str> {
    let pipe = pipe.as_pipe()?;
    let ([], [command]) = (pipe.decl.as_slice(), pipe.cmds.as_slice()) else {
        return None;
    };
    let Kind::Command(args) = &command.kind else {
        return None;
    };
    match args.as_slice() {
        [
            Node {
                kind: Kind::Field(names),
                ..
            },
        ] if names.len() == 1 => names.first().map(String::as_str),
        _ => None,
    }
}
