//! JMESPath: expressions that look into JSON (<https://jmespath.org/specification.html>).
//!
//! The whole grammar is read: identifiers, sub-expressions, indexes, slices, projections,
//! flattening, filters, multiselects, literals, pipes, comparisons, `&&`, `||`, `!`. Of the
//! functions those that need no expression argument and change nothing but their input are there;
//! others are refused by name when the expression is compiled.

mod eval;
mod functions;
mod lex;
mod parse;

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::Value;

use functions::Function;

/// An expression that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JmesError {
    /// The text breaks off or goes on where it should not.
    #[error("JMESPath {expression:?}: {reason} at position {position}")]
    Syntax {
        /// As written.
        expression: String,
        /// What is wrong.
        reason: String,
        /// Where, in bytes from the start.
        position: usize,
    },
    /// A function that there is not.
    #[error("JMESPath {expression:?}: function {name} is not supported")]
    Function {
        /// As written.
        expression: String,
        /// The function.
        name: String,
    },
}

/// A compiled expression.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Expression(Node);

/// A step of an expression. Each is applied to the current value.
#[derive(Clone, Debug, PartialEq)]
enum Node {
    /// `@`
    Current,
    /// `name`
    Field(String),
    /// `[3]`, `[-1]`
    Index(i64),
    /// `[1:5:2]`
    Slice(Slice),
    /// `left.right`, `left | right`: the second is applied to what the first gives.
    Then(Box<Node>, Box<Node>),
    /// `left[*].right`: the second is applied to each element.
    Project(Box<Node>, Box<Node>),
    /// `left.*.right`: the second is applied to each value of an object.
    ProjectValues(Box<Node>, Box<Node>),
    /// `left[]`
    Flatten(Box<Node>),
    /// `left[?condition].right`
    Filter {
        left: Box<Node>,
        condition: Box<Node>,
        right: Box<Node>,
    },
    /// `[a, b]`
    List(Vec<Node>),
    /// `{x: a, y: b}`
    Map(Vec<(String, Node)>),
    /// `'text'`, or JSON in backquotes.
    Literal(Value),
    /// `a == b`
    Compare(Comparison, Box<Node>, Box<Node>),
    /// `a || b`
    Or(Box<Node>, Box<Node>),
    /// `a && b`
    And(Box<Node>, Box<Node>),
    /// `!a`
    Not(Box<Node>),
    /// `length(a)`
    Call(Function, Vec<Node>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Slice {
    start: Option<i64>,
    stop: Option<i64>,
    step: i64,
}

impl Expression {
    /// Reads an expression.
    pub(crate) fn compile(expression: &str) -> Result<Self, JmesError> {
        parse::parse(expression).map(Self)
    }

    /// What the expression finds in a value; null if there is nothing, or a function does not take
    /// what it is given.
    pub(crate) fn search<'a>(&'a self, value: &'a Value) -> Cow<'a, Value> {
        eval::eval(&self.0, &Cow::Borrowed(value)).unwrap_or(Cow::Owned(Value::Null))
    }

    /// The fields of the top-level object that the expression can look at; `None` if any.
    pub(crate) fn roots(&self) -> Option<BTreeSet<&str>> {
        let mut roots = BTreeSet::new();
        self.0.add_roots(&mut roots).then_some(roots)
    }
}

impl Node {
    /// `false` if the node looks at the whole object that it is applied to.
    fn add_roots<'a>(&'a self, roots: &mut BTreeSet<&'a str>) -> bool {
        match self {
            Self::Field(name) => {
                roots.insert(name);
                true
            }
            Self::Literal(_) => true,
            // An object has no elements.
            Self::Index(_) | Self::Slice(_) => true,
            Self::Current => false,
            Self::Then(left, _) | Self::Project(left, _) | Self::Filter { left, .. } => {
                left.add_roots(roots)
            }
            Self::ProjectValues(left, _) => {
                // `*` alone takes the values of the object itself.
                **left != Self::Current && left.add_roots(roots)
            }
            Self::Flatten(inner) | Self::Not(inner) => inner.add_roots(roots),
            Self::Compare(_, left, right) | Self::Or(left, right) | Self::And(left, right) => {
                left.add_roots(roots) && right.add_roots(roots)
            }
            Self::List(nodes) | Self::Call(_, nodes) => {
                nodes.iter().all(|node| node.add_roots(roots))
            }
            Self::Map(pairs) => pairs.iter().all(|(_, node)| node.add_roots(roots)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn search(expression: &str, json: &str) -> String {
        let value = serde_json::from_str(json).unwrap();
        match Expression::compile(expression) {
            Ok(expression) => expression.search(&value).to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn paths() {
        const DATA: &str = r#"{"a":{"b":[{"c":1},{"c":2},{"d":3}],"x y":"q"},"l":[0,1,2,3,4,5],
            "nested":[[1,2],[3],4],"o":{"k":{"v":1},"m":{"v":2},"n":{}},"é":"e"}"#;
        for (expression, expected) in [
            ("a.b[0].c", "1"),
            ("a.\"x y\"", r#""q""#),
            (r#""\u00e9""#, r#""e""#),
            ("missing.b", "null"),
            ("l[-1]", "5"),
            ("l[9]", "null"),
            ("a[0]", "null"),
            ("l[1:3]", "[1,2]"),
            ("l[::-2]", "[5,3,1]"),
            ("l[-2:]", "[4,5]"),
            ("l[:2][0]", "[]"),
            ("a.b[*].c", "[1,2]"),
            ("a.b[*].c | [0]", "1"),
            ("a.b[].d", "[3]"),
            ("nested[]", "[1,2,3,4]"),
            ("nested[][]", "[1,2,3,4]"),
            ("nested[*][0]", "[1,3]"),
            ("o.*.v", "[1,2]"),
            ("*.k.v", "[1]"),
            ("o.[k.v, m.v]", "[1,2]"),
            ("o.{x: k.v, \"y\": n}", r#"{"x":1,"y":{}}"#),
            ("a.b[?c == `2`].c", "[2]"),
            ("a.b[?c > `1` || d].[c, d]", "[[2,null],[null,3]]"),
            ("a.b[?!c && d == `3`] | [0].d", "3"),
            ("l[?@ >= `4`]", "[4,5]"),
            ("a.b | @[1].c", "2"),
            ("missing || l[0]", "0"),
            ("missing && l[0]", "null"),
            ("'it\\'s'", r#""it's""#),
            ("`{\"x\":[1]}`.x[0]", "1"),
            ("(a.b)[0].c", "1"),
            ("a.b[0].c == `1.0`", "true"),
            ("l == o", "false"),
            ("@.l[1]", "1"),
        ] {
            assert_eq!(search(expression, DATA), expected, "{expression}");
        }
    }

    #[test]
    fn functions() {
        const DATA: &str =
            r#"{"n":[3,1,2],"s":["b","a"],"t":"héllo","o":{"x":1,"y":null},"f":-1.5}"#;
        for (expression, expected) in [
            ("length(t)", "5"),
            ("length(n)", "3"),
            ("length(f)", "null"),
            ("keys(o)", r#"["x","y"]"#),
            ("values(o)", "[1,null]"),
            ("contains(s, 'a')", "true"),
            ("contains(t, 'éll')", "true"),
            ("starts_with(t, 'hé')", "true"),
            ("ends_with(t, 'x')", "false"),
            ("join('-', s)", r#""b-a""#),
            ("to_string(n)", r#""[3,1,2]""#),
            ("to_string(t)", r#""héllo""#),
            ("to_number('1.5')", "1.5"),
            ("to_number('x')", "null"),
            ("to_array(t)", r#"["héllo"]"#),
            ("type(o.y)", r#""null""#),
            ("not_null(o.y, o.x)", "1"),
            ("abs(f)", "1.5"),
            ("ceil(f)", "-1"),
            ("floor(f)", "-2"),
            ("sum(n)", "6"),
            ("avg(n)", "2"),
            ("max(n)", "3"),
            ("min(s)", r#""a""#),
            ("sort(n)", "[1,2,3]"),
            ("reverse(s)", r#"["a","b"]"#),
            ("merge(o, {z: f})", r#"{"x":1,"y":null,"z":-1.5}"#),
        ] {
            assert_eq!(search(expression, DATA), expected, "{expression}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_its_place() {
        for (expression, expected) in [
            ("a.", "the expression ends too early at position 2"),
            ("a b", "nothing was expected any more at position 2"),
            ("a[", "ends too early at position 2"),
            ("l[::0]", "the step of a slice must not be 0"),
            ("'x", "a text that does not end at position 0"),
            ("`{`", "not JSON"),
            ("a # b", "unexpected '#' at position 2"),
            ("sort_by(a, &b)", "function sort_by is not supported"),
            ("map(&a, b)", "function map is not supported"),
            ("length()", "length takes 1 argument"),
            ("a[99999999999999999999]", "number"),
            (
                "&a",
                "a name, literal or bracket was expected at position 0",
            ),
        ] {
            let refused = search(expression, "null");
            assert!(refused.contains(expected), "{expression}: {refused}");
        }
        let deep = "(".repeat(100_000);
        assert!(search(&deep, "null").contains("nested too deeply"));
        let long = "a.".repeat(100_000) + "a";
        assert!(search(&long, "null").contains("nested too deeply"));
    }

    #[test]
    fn roots_are_the_fields_looked_at() {
        for (expression, expected) in [
            ("a.b.c", Some(vec!["a"])),
            ("[a, b[0]]", Some(vec!["a", "b"])),
            ("a || b.c | d", Some(vec!["a", "b"])),
            ("*.a", None),
            ("@", None),
            ("keys(@)", None),
            ("a[?b].c", Some(vec!["a"])),
        ] {
            let compiled = Expression::compile(expression).unwrap();
            let roots = compiled
                .roots()
                .map(|roots| roots.into_iter().collect::<Vec<_>>());
            assert_eq!(roots, expected, "{expression}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_runs(expression in r#"[a-c.\[\]*?:|&!@{}(),0-9'"`=<> -]{0,24}"#) {
            let value = serde_json::json!({"a": [1, {"b": "x"}], "b": {"c": null}, "c": "t"});
            if let Ok(compiled) = Expression::compile(&expression) {
                let found = compiled.search(&value).into_owned();
                // Only the roots are needed to find the same.
                if let (Some(roots), Some(object)) = (compiled.roots(), value.as_object()) {
                    let needed = object.iter().filter(|(name, _)| roots.contains(name.as_str()));
                    let part = Value::Object(needed.map(|(n, v)| (n.clone(), v.clone())).collect());
                    prop_assert_eq!(compiled.search(&part).into_owned(), found);
                }
            }
        }
    }
}
