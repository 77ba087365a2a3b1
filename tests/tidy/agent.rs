//! Where the agent's behaviour is tested: each stage with each of its options, and each thing that
//! befalls files, servers and the agent itself. A row whose test is renamed or removed fails here, and
//! so does a stage or an option without a row.
//!
//! Tests are named by file and function: `stages::cri::x` is in `crates/agent/src/stages/cri.rs` or its
//! `tests`, `suite::kills::x` in `tests/agent/kills.rs`.

mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::{assert_none, read, root};
use rows::{BEFALLS, REFUSED, STAGES};

/// The tests by their names, with their text.
fn tests() -> BTreeMap<String, String> {
    let mut files = Vec::new();
    let (of_crate, suite) = (root().join("crates/agent/src"), root().join("tests/agent"));
    files_below(&of_crate, &mut files);
    files_below(&suite, &mut files);
    let mut tests = BTreeMap::new();
    for file in files {
        let (below, prefix) = match file.strip_prefix(&of_crate) {
            Ok(below) => (below, None),
            Err(_) => (file.strip_prefix(&suite).unwrap(), Some("suite")),
        };
        let below = below.with_extension("");
        let names = below.iter().map(|name| name.to_str().unwrap());
        let names = prefix
            .into_iter()
            .chain(names.filter(|name| *name != "tests"));
        let module = names.collect::<Vec<_>>().join("::");
        for (name, text) in tests_in(&read(&file)) {
            tests.insert(format!("{module}::{name}"), text);
        }
    }
    tests
}

fn files_below(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The functions with an attribute that makes them tests, and their text.
fn tests_in(text: &str) -> Vec<(String, String)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let is_test = line.trim() == "#[test]" || line.trim().starts_with("#[tokio::test");
        let head = lines.get(at + 1).copied().unwrap_or_default();
        let declared = head.trim_start().trim_start_matches("async ");
        let name = declared
            .strip_prefix("fn ")
            .and_then(|rest| rest.split('(').next());
        let Some(name) = name.filter(|_| is_test) else {
            continue;
        };
        let indent = head.len() - head.trim_start().len();
        let end = format!("{:indent$}}}", "");
        let body = lines.iter().skip(at + 1).take_while(|line| **line != end);
        found.push((
            name.to_owned(),
            body.copied().collect::<Vec<_>>().join("\n"),
        ));
    }
    found
}

/// The options of a stage, as its file declares them.
fn options_in(text: &str) -> BTreeSet<String> {
    let mut options = BTreeSet::new();
    let mut is_inside = false;
    for line in text.lines() {
        let declared = line.trim_start_matches("pub(crate) ");
        if let Some(name) = declared.strip_prefix("struct ") {
            let name = name.split(' ').next().unwrap_or_default();
            is_inside = name.ends_with("Options") || name.ends_with("Config");
        } else if line == "}" {
            is_inside = false;
        } else if is_inside && let Some((name, _)) = line.trim().split_once(": ") {
            let name = name.rsplit([' ', '#']).next().unwrap_or_default();
            if !line.trim_start().starts_with(['/', '#']) {
                options.insert(name.to_owned());
            }
        }
    }
    options
}

#[test]
fn each_stage_and_each_of_its_options_has_a_test_that_uses_it() {
    let tests = tests();
    let stages = root().join("crates/agent/src/stages");
    let (mut offences, mut count) = (Vec::new(), 0);
    for (stage, file, rows) in STAGES {
        for (option, test) in *rows {
            let name = format!("stages::{file}::{test}");
            match tests.get(&name) {
                None => offences.push(format!("{stage}: there is no test {name}")),
                Some(text) if !text.contains(option) => {
                    offences.push(format!("{stage}: {name} does not use {option}"));
                }
                Some(_) => {}
            }
        }
        for option in options_in(&read(&stages.join(format!("{file}.rs")))) {
            count += 1;
            if !rows.iter().any(|(of_row, _)| option == *of_row) {
                offences.push(format!("{stage}: its option {option} has no row"));
            }
        }
    }
    // The builder names each stage in a line that begins so.
    for line in read(&stages.join("build.rs")).lines() {
        let names = line
            .trim()
            .strip_prefix('"')
            .map(|_| line.split("=>").next());
        let names = names.flatten().unwrap_or_default().split('|');
        for name in names.map(|name| name.trim().trim_matches(['"', ' ', '{'])) {
            let is_known = STAGES.iter().any(|(stage, ..)| *stage == name);
            if !name.is_empty() && !is_known && !REFUSED.contains(&name) {
                offences.push(format!("the stage {name} has no row"));
            }
        }
    }
    assert_none("each stage is tested", &offences);
    assert!(count > 40, "only {count} options were found in the sources");
}

#[test]
fn what_befalls_files_and_servers_has_a_test() {
    let tests = tests();
    let mut offences = Vec::new();
    for (case, names) in BEFALLS {
        if names.is_empty() {
            offences.push(format!("{case} has no test"));
        }
        let missing = names.iter().filter(|name| !tests.contains_key(**name));
        offences.extend(missing.map(|name| format!("{case}: there is no test {name}")));
    }
    assert_none("each case is tested", &offences);
}
