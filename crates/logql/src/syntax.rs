//! The language: text to tree and back.
//!
//! [`parse`] reads a query into the tree of [`ast`], refusing what Loki refuses with Loki's words
//! and places. Printing a tree (`Display`) gives one line in Loki's formatting, [`pretty`] breaks
//! long queries over lines as the `format_query` endpoint does. What is printed parses to the same
//! tree again, except for constants that are not finite.
//!
//! Reading goes in three passes: `lexer` cuts tokens, `parser` builds the tree and fails at the
//! first token that cannot follow, `check` then looks at what the grammar cannot say. Within the
//! text, an earlier pass wins over a later one.
//!
//! *Invariants.* A tree that came out of [`parse`] is no deeper than [`MAX_HEIGHT`], so walking it
//! recursively is safe; constant arithmetic is folded; `by ()` of a vector aggregation is no
//! grouping at all.

pub mod ast;
mod check;
mod error;
mod lexer;
mod needed;
mod ops;
mod parser;
mod pretty;
mod print;
mod regex_size;
mod scan;
mod token;

pub use check::{PathSegment, parse_json_path, parse_logfmt_key};
pub use error::ParseError;
pub use pretty::pretty;
pub use print::format_float;

pub(crate) use parser::NO_MATCHER;

use ast::{Expr, LogExpr};
use model::Matcher;

/// Queries of this many bytes or more are refused.
pub const MAX_QUERY_BYTES: usize = 131_072;

/// How deep parentheses and functions may nest.
pub const MAX_DEPTH: u32 = 520;

/// How high a tree may be, chains of operators included.
pub const MAX_HEIGHT: u32 = 512;

/// How many parsers a pipeline may have: each keeps what it knows of the keys of lines.
pub const MAX_PARSERS: u32 = 32;

/// Parses a query.
///
/// # Errors
/// If the text is no query, or one that makes no sense.
pub fn parse(query: &str) -> Result<Expr, ParseError> {
    parse_checked(query, true).map(|(parsed, _)| parsed)
}

/// Parses a query whose stages are not looked at more closely than the grammar does: who only wants
/// to print it does not ask whether its templates and addresses are any.
///
/// # Errors
/// If the text is no query.
pub fn parse_unbuilt(query: &str) -> Result<Expr, ParseError> {
    parse_text(query, true, 0).map(|(parsed, _)| parsed)
}

fn parse_checked(query: &str, is_selective: bool) -> Result<(Expr, u64), ParseError> {
    let parsed = parse_text(query, is_selective, 0)?;
    check::stages(&parsed.0)?;
    Ok(parsed)
}

fn parse_text(query: &str, is_selective: bool, states: u64) -> Result<(Expr, u64), ParseError> {
    check_bytes(query.len())?;
    parser::parse(query, is_selective, states)
}

fn check_bytes(bytes: usize) -> Result<(), ParseError> {
    if bytes < MAX_QUERY_BYTES {
        return Ok(());
    }
    let text = format!("input size too long ({bytes} > {MAX_QUERY_BYTES})");
    Err(ParseError::semantic(text).beyond("query_bytes_max", MAX_QUERY_BYTES as u64))
}

/// Parses a query that gives lines.
///
/// # Errors
/// As [`parse`], and if it is a metric query.
pub fn parse_log(query: &str) -> Result<LogExpr, ParseError> {
    match parse(query)? {
        Expr::Log(log) => Ok(log),
        Expr::Metric(_) => Err(ParseError::wrong_kind("only log selector is supported")),
    }
}

/// Parses a query that gives lines and may select all streams, such as `{app=~".*"}`: what a
/// request to delete lines may say. The number is that of the states that its regular expressions
/// have, each of which takes about a hundred bytes when it is compiled.
///
/// # Errors
/// As [`parse_log`], but for selectors that leave nothing out.
pub fn parse_log_of_any_streams(query: &str) -> Result<(LogExpr, u64), ParseError> {
    match parse_checked(query, false)? {
        (Expr::Log(log), states) => Ok((log, states)),
        (Expr::Metric(_), _) => Err(ParseError::wrong_kind("only log selector is supported")),
    }
}

/// Parses a stream selector, which may be `{}`: everything.
///
/// # Errors
/// As [`parse_selector`], but for selectors that select everything.
pub fn parse_open_selector(query: &str) -> Result<Vec<Matcher>, ParseError> {
    let inside = query
        .trim()
        .strip_prefix('{')
        .and_then(|tail| tail.strip_suffix('}'));
    if inside.is_some_and(|inside| inside.trim().is_empty()) {
        return Ok(Vec::new());
    }
    parse_selector(query)
}

/// Parses a stream selector.
///
/// # Errors
/// As [`parse`], and if there is more than a selector.
pub fn parse_selector(query: &str) -> Result<Vec<Matcher>, ParseError> {
    parse_matchers(query, true, 0).map(|(matchers, _)| matchers)
}

/// Parses stream selectors of one request, which together are bounded as a query is. They may leave
/// nothing out, such as `{}` and `{app=~".*"}`; whether they do is for [`require_selective`] to say.
///
/// # Errors
/// As [`parse_selector`] but for that, for the first that is wrong or too much.
pub fn parse_selectors_of_any_streams(queries: &[&str]) -> Result<Vec<Vec<Matcher>>, ParseError> {
    check_bytes(queries.iter().map(|query| query.len()).sum())?;
    let mut states = 0;
    let parse = |query: &&str| {
        let (matchers, more) = parse_matchers(query, false, states)?;
        states = more;
        Ok(matchers)
    };
    queries.iter().map(parse).collect()
}

/// Whether a selector leaves streams out, whatever streams there are.
///
/// # Errors
/// If not.
pub fn require_selective(matchers: &[Matcher]) -> Result<(), ParseError> {
    match matchers.iter().all(Matcher::matches_empty) {
        true => Err(ParseError::semantic(parser::NO_MATCHER.to_owned())),
        false => Ok(()),
    }
}

fn parse_matchers(
    query: &str,
    is_selective: bool,
    states: u64,
) -> Result<(Vec<Matcher>, u64), ParseError> {
    let (parsed, states) = parse_text(query, is_selective, states)?;
    // Of more than a selector nobody looks at what it is.
    match &parsed {
        Expr::Log(LogExpr { matchers, stages }) if stages.is_empty() => {
            check::stages(&parsed)?;
            Ok((matchers.clone(), states))
        }
        _ => Err(ParseError::wrong_kind("only label matchers are supported")),
    }
}

#[cfg(test)]
mod tests;
