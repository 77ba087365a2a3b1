//! Which labels a template reads, so that parsers need not extract the others.

use super::node::{Branch, Kind, Node};

/// The names, each once in the order of the text; `None` if the labels are used as a whole.
///
/// Templates that the text defines see only the value they are called with, which is not the
/// labels as long as those are not used as a whole. So the main tree tells all.
pub(super) fn labels(root: &[Node]) -> Option<Vec<String>> {
    let mut names = Vec::new();
    list(root, true, &mut names)?;
    Some(names)
}

/// Nothing more to say, or `None`: any label may be read.
type Known = Option<()>;

/// `of_row` tells whether dot is the labels of the row.
fn list(nodes: &[Node], of_row: bool, names: &mut Vec<String>) -> Known {
    nodes.iter().try_for_each(|node| visit(node, of_row, names))
}

fn visit(node: &Node, of_row: bool, names: &mut Vec<String>) -> Known {
    match &node.kind {
        Kind::Field(fields) if of_row => add(fields.first(), names),
        Kind::Dot if of_row => None,
        Kind::Variable(parts) if parts.first().is_some_and(|name| name == "$") => {
            add(Some(parts.get(1)?), names)
        }
        Kind::Action(pipe) => visit(pipe, of_row, names),
        Kind::Template {
            pipe: Some(pipe), ..
        } => visit(pipe, of_row, names),
        Kind::Pipe(pipe) => list(&pipe.cmds, of_row, names),
        Kind::Command(args) => list(args, of_row, names),
        Kind::Chain { of, .. } => visit(of, of_row, names),
        Kind::If(branch) => visit_branch(branch, of_row, of_row, names),
        Kind::With(branch) | Kind::Range(branch) => visit_branch(branch, of_row, false, names),
        _ => Some(()),
    }
}

fn visit_branch(branch: &Branch, of_row: bool, inside: bool, names: &mut Vec<String>) -> Known {
    visit(&branch.pipe, of_row, names)?;
    list(&branch.list, inside, names)?;
    list(
        branch.otherwise.as_deref().unwrap_or_default(),
        of_row,
        names,
    )
}

fn add(name: Option<&String>, names: &mut Vec<String>) -> Known {
    if let Some(name) = name
        && !names.contains(name)
    {
        names.push(name.clone());
    }
    Some(())
}
