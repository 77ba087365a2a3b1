//! Runs a tree: prints, branches, loops, pipelines and variables.
//!
//! Errors name the node that was looked at last, so [`State::at`] is called where Go's evaluator
//! notes its node.

mod call;
mod field;

use std::collections::BTreeMap;
use std::sync::Arc;

use model::units::quote;
use smallvec::SmallVec;

use super::functions::{Dialect, Env};
use super::node::{Branch, Kind, Node, Number, Pipe};
use super::value::Value;
use super::{Context, Labels, NO_VALUE, Template, TemplateError, gofmt};

/// The most bytes that one run may print.
pub(super) const OUTPUT_BYTES_MAX: usize = 4 << 20;

/// The most steps of one run. A step is a node, or [`STEP_BYTES`] of text that a function takes,
/// makes or copies.
const STEPS_MAX: usize = 1 << 20;
const STEP_BYTES: usize = 64;

/// How deep lists and pipelines may be nested, over all templates that call each other. Bounds the
/// stack.
const DEPTH_MAX: usize = 200;

type Run<T> = Result<T, TemplateError>;

/// The value that the pipeline so far gives to the next command, if there was one.
type Last<'a> = Option<Value<'a>>;

/// How a list ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

/// Runs `template` and appends to `out`, also when it fails.
pub(super) fn run<'a>(
    template: &'a Template,
    context: &'a Context<'a>,
    out: &mut Vec<u8>,
) -> Run<()> {
    let mut state = State {
        template,
        name: &template.name,
        labels: context.labels,
        env: Env {
            line: context.line,
            timestamp_ns: context.timestamp_ns,
            now_ns: context.now_ns,
            regexes: &template.regexes,
        },
        out_max: out.len().saturating_add(OUTPUT_BYTES_MAX),
        out,
        node: None,
        variables: SmallVec::new(),
        depth: 0,
        steps: 0,
    };
    state.declare("$", Value::Labels);
    state.list(&template.trees.root, &Value::Labels).map(drop)
}

struct State<'a, 'o> {
    template: &'a Template,
    /// The template that runs: the main one, or one that it defines.
    name: &'a str,
    labels: &'a dyn Labels,
    env: Env<'a>,
    out: &'o mut Vec<u8>,
    out_max: usize,
    node: Option<&'a Node>,
    variables: Variables<'a>,
    depth: usize,
    steps: usize,
}

type Variables<'a> = SmallVec<[(&'a str, Value<'a>); 4]>;

impl<'a> State<'a, '_> {
    // Errors and bounds.

    fn at(&mut self, node: &'a Node) {
        self.node = Some(node);
    }

    fn fail<T>(&self, message: impl AsRef<str>) -> Run<T> {
        let message = message.as_ref();
        let Some(node) = self.node else {
            return Err(TemplateError(format!("template: {}: {message}", self.name)));
        };
        let text = self.template.text.as_bytes();
        let before = text.get(..node.pos).unwrap_or(text);
        let line_start = memchr::memrchr(b'\n', before).map_or(0, |at| at + 1);
        let line = 1 + memchr::memchr_iter(b'\n', before).count();
        let column = before.len() - line_start;
        Err(TemplateError(format!(
            "template: {}:{line}:{column}: executing {} at <{node}>: {message}",
            self.template.name,
            quote(self.name),
        )))
    }

    fn spend(&mut self, steps: usize) -> Run<()> {
        self.steps = self.steps.saturating_add(steps);
        if self.steps > STEPS_MAX {
            return self.fail(format!("template takes more than {STEPS_MAX} steps"));
        }
        Ok(())
    }

    fn deeper(&mut self) -> Run<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return self.fail(format!("exceeded maximum template depth ({DEPTH_MAX})"));
        }
        Ok(())
    }

    /// A copy that costs what it takes.
    fn copy(&mut self, value: &Value<'a>) -> Run<Value<'a>> {
        if let Value::Str(text) = value {
            self.spend(text.len() / STEP_BYTES)?;
        }
        Ok(value.clone())
    }

    // Output.

    fn write(&mut self, text: &[u8]) -> Run<()> {
        if self.out.len().saturating_add(text.len()) > self.out_max {
            return self.fail(format!("output is longer than {OUTPUT_BYTES_MAX} bytes"));
        }
        self.out.extend_from_slice(text);
        Ok(())
    }

    fn print(&mut self, node: &'a Node, value: &Value<'a>) -> Run<()> {
        self.at(node);
        match value {
            Value::Str(text) => self.write(text),
            Value::Missing | Value::Nil => self.write(NO_VALUE),
            Value::Labels => {
                let labels = self.all_labels();
                self.print(node, &labels)
            }
            value => {
                let mut text = Vec::new();
                gofmt::print_value(value, &mut text);
                self.write(&text)
            }
        }
    }

    // Lists and what controls them.

    fn list(&mut self, nodes: &'a [Node], dot: &Value<'a>) -> Run<Flow> {
        self.deeper()?;
        let mut flow = Flow::Next;
        for node in nodes {
            flow = self.walk(node, dot)?;
            if flow != Flow::Next {
                break;
            }
        }
        self.depth -= 1;
        Ok(flow)
    }

    fn walk(&mut self, node: &'a Node, dot: &Value<'a>) -> Run<Flow> {
        self.at(node);
        self.spend(1)?;
        match &node.kind {
            Kind::Text(text) => self.write(text.as_bytes())?,
            Kind::Action(pipe) => {
                let value = self.pipeline(pipe, dot)?;
                if pipe.as_pipe().is_some_and(|pipe| pipe.decl.is_empty()) {
                    self.print(node, &value)?;
                }
            }
            Kind::If(branch) => return self.choose(branch, dot, false),
            Kind::With(branch) => return self.choose(branch, dot, true),
            Kind::Range(branch) => return self.range(branch, dot),
            Kind::Template { name, pipe } => self.template(name, pipe.as_deref(), dot)?,
            Kind::Break => return Ok(Flow::Break),
            Kind::Continue => return Ok(Flow::Continue),
            // Nothing else stands in a list.
            _ => {}
        }
        Ok(Flow::Next)
    }

    fn choose(&mut self, branch: &'a Branch, dot: &Value<'a>, with: bool) -> Run<Flow> {
        let declared = self.variables.len();
        let value = self.pipeline(&branch.pipe, dot)?;
        let flow = if self.is_true(&value) {
            self.list(&branch.list, if with { &value } else { dot })?
        } else {
            self.otherwise(branch, dot)?
        };
        self.variables.truncate(declared);
        Ok(flow)
    }

    fn otherwise(&mut self, branch: &'a Branch, dot: &Value<'a>) -> Run<Flow> {
        match &branch.otherwise {
            Some(list) => self.list(list, dot),
            None => Ok(Flow::Next),
        }
    }

    fn is_true(&self, value: &Value<'a>) -> bool {
        match value {
            Value::Labels => {
                let mut any = false;
                self.labels.for_each(&mut |_, _| any = true);
                any
            }
            value => value.is_true(),
        }
    }

    fn range(&mut self, branch: &'a Branch, dot: &Value<'a>) -> Run<Flow> {
        let declared = self.variables.len();
        let value = self.pipeline(&branch.pipe, dot)?;
        let Some(pipe) = branch.pipe.as_pipe() else {
            return Ok(Flow::Next);
        };
        let inside = self.variables.len();
        let mut any = false;
        let mut flow = Flow::Next;
        for (index, item) in self.items(value, pipe)? {
            any = true;
            self.spend(1)?;
            self.set_loop_variables(pipe, index, &item)?;
            flow = self.list(&branch.list, &item)?;
            self.variables.truncate(inside);
            if flow == Flow::Break {
                break;
            }
        }
        if any {
            flow = Flow::Next;
        } else {
            flow = match flow {
                Flow::Next => self.otherwise(branch, dot)?,
                other => other,
            };
        }
        self.variables.truncate(declared);
        Ok(flow)
    }

    /// What a loop runs over: indexes or keys, and items.
    fn items(&mut self, value: Value<'a>, pipe: &Pipe) -> Run<Items<'a>> {
        match value {
            Value::List(items) => {
                self.spend(items.len())?;
                let items = Arc::unwrap_or_clone(items).into_iter().enumerate();
                Ok(Box::new(items.map(|(i, item)| {
                    (Value::int(i as i64), item as Value<'a>)
                })))
            }
            Value::Map { entries, .. } => {
                self.spend(entries.len())?;
                let entries = Arc::unwrap_or_clone(entries).into_iter();
                Ok(Box::new(entries.map(|(name, item)| {
                    (Value::string(name), item as Value<'a>)
                })))
            }
            Value::Labels => {
                let labels = self.all_labels();
                self.items(labels, pipe)
            }
            Value::Int(count, kind) => {
                if pipe.decl.len() > 1 {
                    let shown = shown(&value);
                    return self.fail(format!(
                        "can't use {shown} to iterate over more than one variable"
                    ));
                }
                let numbers = 0..count;
                Ok(Box::new(
                    numbers.map(move |i| (Value::Missing, Value::Int(i, kind))),
                ))
            }
            Value::Missing | Value::Nil => Ok(Box::new(std::iter::empty())),
            value => self.fail(format!("range can't iterate over {}", shown(&value))),
        }
    }

    fn set_loop_variables(
        &mut self,
        pipe: &'a Pipe,
        index: Value<'a>,
        item: &Value<'a>,
    ) -> Run<()> {
        let named = pipe.decl.iter().filter_map(variable_name);
        // The item belongs to the only variable, or to the second of two.
        let values = match pipe.decl.len() {
            0 => return Ok(()),
            1 => [Some(self.copy(item)?), None],
            _ => [Some(index), Some(self.copy(item)?)],
        };
        let top = self.variables.len().saturating_sub(pipe.decl.len());
        for (at, (name, value)) in named.zip(values.into_iter().flatten()).enumerate() {
            if pipe.assign {
                self.assign(name, value)?;
            } else if let Some(slot) = self.variables.get_mut(top + at) {
                slot.1 = value;
            }
        }
        Ok(())
    }

    fn template(&mut self, name: &'a str, pipe: Option<&'a Node>, dot: &Value<'a>) -> Run<()> {
        let trees = &self.template.trees;
        let main = (name == self.template.name).then_some(&trees.root);
        let Some(tree) = trees.defined.get(name).or(main) else {
            return self.fail(format!("template {} not defined", quote(name)));
        };
        let dot = match pipe {
            Some(pipe) => self.pipeline(pipe, dot)?,
            None => Value::Missing,
        };
        let outer_name = std::mem::replace(&mut self.name, name);
        let outer = std::mem::take(&mut self.variables);
        self.declare("$", dot.clone());
        self.list(tree, &dot)?;
        self.variables = outer;
        self.name = outer_name;
        Ok(())
    }

    // Variables.

    fn declare(&mut self, name: &'a str, value: Value<'a>) {
        self.variables.push((name, value));
    }

    fn assign(&mut self, name: &str, value: Value<'a>) -> Run<()> {
        let mut newest_first = self.variables.iter_mut().rev();
        match newest_first.find(|(declared, _)| *declared == name) {
            Some(slot) => {
                slot.1 = value;
                Ok(())
            }
            None => self.fail(format!("undefined variable: {name}")),
        }
    }

    fn variable(&mut self, name: &str) -> Run<Value<'a>> {
        let mut newest_first = self.variables.iter().rev();
        let Some((_, value)) = newest_first.find(|(declared, _)| *declared == name) else {
            return self.fail(format!("undefined variable: {name}"));
        };
        let value = value.clone();
        if let Value::Str(text) = &value {
            self.spend(text.len() / STEP_BYTES)?;
        }
        Ok(value)
    }

    // Pipelines.

    fn pipeline(&mut self, node: &'a Node, dot: &Value<'a>) -> Run<Value<'a>> {
        let Some(pipe) = node.as_pipe() else {
            return Ok(Value::Missing);
        };
        self.deeper()?;
        self.at(node);
        let mut last = None;
        for command in &pipe.cmds {
            self.spend(1)?;
            last = Some(match self.command(command, dot, last)? {
                // What a pipeline hands on is no longer an interface.
                Value::Nil => Value::Missing,
                value => value,
            });
        }
        let value = last.unwrap_or(Value::Missing);
        for name in pipe.decl.iter().filter_map(variable_name) {
            let value = self.copy(&value)?;
            if pipe.assign {
                self.assign(name, value)?;
            } else {
                self.declare(name, value);
            }
        }
        self.depth -= 1;
        Ok(value)
    }

    fn command(&mut self, node: &'a Node, dot: &Value<'a>, last: Last<'a>) -> Run<Value<'a>> {
        let Kind::Command(args) = &node.kind else {
            return Ok(Value::Missing);
        };
        let Some(first) = args.first() else {
            return Ok(Value::Missing);
        };
        match &first.kind {
            Kind::Field(_) | Kind::Chain { .. } | Kind::Variable(_) => {
                return self.selected(first, args, dot, last);
            }
            Kind::Identifier(function) => {
                self.at(first);
                let given = args.get(1..).unwrap_or_default();
                return self.call(function, node, given, dot, last, None);
            }
            Kind::Pipe(_) => {
                self.no_arguments(args, &last)?;
                return self.pipeline(first, dot);
            }
            _ => {}
        }
        self.at(first);
        self.no_arguments(args, &last)?;
        match &first.kind {
            Kind::Bool(value) => Ok(Value::Bool(*value)),
            Kind::Dot => self.copy(dot),
            Kind::Nil => self.fail("nil is not a command"),
            Kind::Number(number) => self.constant(number),
            Kind::String { text, .. } => Ok(Value::str(text)),
            _ => self.fail(format!(
                "can't evaluate command {}",
                quote(&first.to_string())
            )),
        }
    }

    fn no_arguments(&self, args: &[Node], last: &Last<'a>) -> Run<()> {
        match args.first() {
            Some(first) if args.len() > 1 || last.is_some() => {
                self.fail(format!("can't give argument to non-function {first}"))
            }
            _ => Ok(()),
        }
    }

    /// A number where nothing says which type it should have.
    fn constant(&self, number: &Number) -> Run<Value<'a>> {
        if let Some((real, imaginary)) = number.complex {
            return Ok(Value::Complex(real, imaginary));
        }
        match (number.float, number.int) {
            (Some(float), _) if number.looks_float => Ok(Value::Float(float)),
            (_, Some(int)) => Ok(Value::int(int)),
            _ => self.fail(format!("{} overflows int", number.text)),
        }
    }

    /// The labels as a map of their own.
    fn all_labels(&self) -> Value<'a> {
        let mut entries = BTreeMap::new();
        self.labels.for_each(&mut |name, value| {
            entries.insert(name.to_owned(), Value::string(value));
        });
        Value::Map {
            entries: Arc::new(entries),
            strings: self.template.dialect == Dialect::LogQl,
        }
    }
}

type Items<'a> = Box<dyn Iterator<Item = (Value<'a>, Value<'a>)> + 'a>;

/// The name of a declared variable, with its `$`.
fn variable_name(node: &Node) -> Option<&str> {
    match &node.kind {
        Kind::Variable(parts) => parts.first().map(String::as_str),
        _ => None,
    }
}

/// As `%v` prints it.
fn shown(value: &Value<'_>) -> String {
    let mut text = Vec::new();
    gofmt::print_value(value, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}
