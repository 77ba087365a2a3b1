//! Any text is a query or refused with a place; what is printed parses to the same tree.

#![no_main]

use libfuzzer_sys::fuzz_target;
use logql::syntax;

fuzz_target!(|text: &str| {
    let _ = syntax::parse_selector(text);
    let _ = syntax::parse_open_selector(text);
    let _ = syntax::parse_log_of_any_streams(text);
    let Ok(tree) = syntax::parse(text) else {
        return;
    };
    let (line, pretty) = (tree.to_string(), syntax::pretty(&tree));
    // Constants that are not finite have no text.
    if ["Inf", "NaN"]
        .iter()
        .any(|constant| line.contains(constant))
    {
        return;
    }
    assert_eq!(syntax::parse(&line), Ok(tree.clone()), "{line}");
    assert_eq!(syntax::parse(&pretty), Ok(tree), "{pretty}");
});
