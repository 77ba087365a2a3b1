//! Templates of `line_format` and `label_format`, and of the agent.

#![no_main]

use fuzz::NOW_NS;
use fuzz::rows::Input;
use libfuzzer_sys::fuzz_target;
use logql::template::{Context, Dialect, Labels, Template};

struct One;

impl Labels for One {
    fn get(&self, name: &str) -> Option<&str> {
        (name == "a").then_some("1.5")
    }

    fn for_each(&self, visit: &mut dyn FnMut(&str, &str)) {
        visit("a", "1.5");
    }
}

fuzz_target!(|input: &[u8]| {
    let Some(input) = Input::new(input) else {
        return;
    };
    let quoted = input.quoted();
    input.run(&[
        format!("| line_format {quoted}"),
        format!("| json | label_format a={quoted}, app=a | line_format `{{{{.a}}}}`"),
    ]);
    let dialect = *input.choose(&[Dialect::LogQl, Dialect::Promtail]);
    let Ok(template) = Template::parse("line", input.text, dialect) else {
        return;
    };
    for line in &input.lines {
        let mut out = b"before".to_vec();
        let context = Context {
            line,
            timestamp_ns: NOW_NS - 1,
            now_ns: NOW_NS,
            labels: &One,
        };
        let failed = template.run(&context, &mut out).is_err();
        assert!(out.starts_with(b"before") && !(failed && out.len() > 6));
    }
});
