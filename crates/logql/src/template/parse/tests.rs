//! Trees print as templates of the same tree.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// The template that has these trees.
fn printed(trees: &Trees) -> String {
    let list = |nodes: &[Node]| nodes.iter().map(ToString::to_string).collect::<String>();
    let defined: BTreeMap<_, _> = trees.defined.iter().collect();
    let definitions = defined
        .into_iter()
        .map(|(name, nodes)| format!("{{{{define {}}}}}{}{{{{end}}}}", quote(name), list(nodes)));
    definitions.collect::<String>() + &list(&trees.root)
}

fn expression() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(
        &[
            ".",
            "$",
            ".a",
            ".a.b",
            "$.a",
            "1",
            "-2",
            "1.5e3",
            "0x1F",
            "'x'",
            "true",
            "nil",
            "`raw`",
            "\"a\\\"b\"",
            "__line__",
            "now.Unix",
        ][..],
    );
    leaf.prop_map(str::to_owned)
        .prop_recursive(4, 24, 3, |inner| {
            let function =
                prop::sample::select(&["print", "printf `%v`", "len", "index", "and"][..]);
            prop_oneof![
                (function, prop::collection::vec(inner.clone(), 0..3))
                    .prop_map(|(name, args)| format!("({name} {})", args.join(" "))),
                (inner.clone(), inner.clone())
                    .prop_map(|(a, b)| format!("(print {a} | print {b})")),
                inner.prop_map(|of| format!("(print {of}).Field")),
            ]
        })
}

fn list() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        "[a-z é\n]{1,6}",
        expression().prop_map(|e| format!("{{{{ print {e} }}}}")),
        expression().prop_map(|e| format!("{{{{ $x := print {e} }}}}{{{{ $x = $x }}}}")),
        expression().prop_map(|e| format!("{{{{ template \"t\" print {e} }}}}")),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        let word = prop::sample::select(&["if", "with", "range", "range $i, $x :="][..]);
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| a + &b),
            (word, expression(), inner.clone(), prop::option::of(inner)).prop_map(
                |(word, e, body, other)| {
                    let other =
                        other.map_or(String::new(), |other| format!("{{{{ else }}}}{other}"));
                    format!("{{{{ {word} print {e} }}}}{body}{other}{{{{ end }}}}")
                }
            ),
        ]
    })
}

proptest! {
    #[test]
    fn printing_and_parsing_are_inverse(root in list(), define in prop::option::of(list())) {
        let define = define.map_or(String::new(), |body| format!("{{{{ define `t` }}}}{body}{{{{ end }}}}"));
        let trees = parse("line", &format!("{define}{root}"), Known::Dialect(Dialect::LogQl)).unwrap();
        let text = printed(&trees);
        let again = parse("line", &text, Known::Dialect(Dialect::LogQl)).unwrap();
        prop_assert_eq!(printed(&again), text);
    }
}
