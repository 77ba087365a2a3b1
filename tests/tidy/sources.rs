//! What sources may say, by plain search: comments and test modules are left out.

use std::path::{Path, PathBuf};

use crate::{assert_none, read, root};

/// Crates without I/O, clock and log output: README's first invariant.
const PURE: &[&str] = &["model", "codec", "logql", "chunk", "index", "scan"];
/// What a pure crate does not name.
const IMPURE_WORDS: &[&str] = &[
    "tokio",
    "std::fs",
    "std::net",
    "std::process",
    "SystemTime",
    "Instant",
    "tracing",
    "println!",
    "eprintln!",
];
/// What nobody leaves behind.
const LEFT_BEHIND: &[&str] = &[
    "todo!(",
    "dbg!(",
    "unimplemented!(",
    "FIXME",
    "TODO",
    "#[ignore",
];
/// A file longer than this is named, to think about; it does not fail.
const LINES_WORTH_A_THOUGHT: usize = 600;
/// A file longer than this fails.
const LINES_MAX: usize = 1000;
/// Lines of a binary's source.
const MAIN_LINES_MAX: usize = 15;

struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// Lines of code with their numbers: no comments, and nothing from `#[cfg(test)]` on, which by
    /// habit is the module of tests at the end.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate();
        let shipped = lines.take_while(|(_, line)| *line != "#[cfg(test)]");
        shipped.filter_map(|(at, line)| {
            let code = line.split_once("//").map_or(line, |(code, _)| code);
            (!code.trim().is_empty()).then_some((at + 1, code))
        })
    }

    fn place(&self, line: usize) -> String {
        let path = self.path.strip_prefix(root()).unwrap_or(&self.path);
        format!("{}:{line}", path.display())
    }

    /// Lines of code that name one of `words`.
    fn naming<'a>(&'a self, words: &'a [&str]) -> impl Iterator<Item = String> + 'a {
        self.code().filter_map(|(line, code)| {
            let word = words.iter().find(|word| code.contains(**word))?;
            Some(format!("{} names {word}", self.place(line)))
        })
    }
}

fn sources_below(directory: &Path, found: &mut Vec<Source>) {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            // What the fuzz targets were built into, if that lies there.
            if !path.ends_with("target") {
                sources_below(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = read(&path);
            found.push(Source { path, text });
        }
    }
}

fn sources(below: &str) -> Vec<Source> {
    let mut found = Vec::new();
    sources_below(&root().join(below), &mut found);
    assert!(
        !found.is_empty() || !root().join(below).exists(),
        "no sources below {below}"
    );
    found
}

/// Names of the directories in `crates/`.
fn crate_names() -> Vec<String> {
    let entries = std::fs::read_dir(root().join("crates")).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn the_pure_core_has_no_io_no_clock_and_no_log() {
    let mut offences = Vec::new();
    for name in PURE {
        for source in sources(&format!("crates/{name}/src")) {
            offences.extend(source.naming(IMPURE_WORDS));
        }
    }
    assert_none("invariant 1", &offences);
}

#[test]
fn only_server_reads_the_process_environment() {
    let mut offences = Vec::new();
    for name in crate_names().iter().filter(|name| *name != "server") {
        for source in sources(&format!("crates/{name}/src")) {
            offences.extend(source.naming(&["env::var", "env::set_var", "env::remove_var"]));
        }
    }
    assert_none("invariant 2", &offences);
}

#[test]
fn nothing_is_left_behind() {
    let mut offences = Vec::new();
    for source in sources("crates") {
        let lines = source.text.lines().enumerate();
        offences.extend(lines.filter_map(|(at, line)| {
            let word = LEFT_BEHIND.iter().find(|word| line.contains(**word))?;
            Some(format!("{} has {word}", source.place(at + 1)))
        }));
    }
    assert_none("nothing is left behind", &offences);
}

#[test]
fn files_are_short() {
    let mut offences = Vec::new();
    for source in sources("crates").iter().chain(&sources("tests")) {
        let lines = source.text.lines().count();
        if lines > LINES_MAX {
            offences.push(format!("{} has {lines} lines", source.place(1)));
        } else if lines > LINES_WORTH_A_THOUGHT {
            println!(
                "{} has {lines} lines: is it still one idea?",
                source.place(1)
            );
        }
    }
    assert_none("files are short", &offences);
}

#[test]
fn libraries_open_in_prose_and_binaries_are_a_table_of_contents() {
    let mut offences = Vec::new();
    for name in crate_names() {
        let lib = root().join("crates").join(&name).join("src/lib.rs");
        if !read(&lib).starts_with("//! ") {
            offences.push(format!("{} does not say what it is", lib.display()));
        }
    }
    for source in sources("crates/skald/src/bin") {
        let lines = source.text.lines().count();
        if lines > MAIN_LINES_MAX {
            offences.push(format!("{} has {lines} lines", source.place(1)));
        }
    }
    assert_none("how files begin", &offences);
}

#[test]
fn every_binary_has_an_example_of_its_configuration() {
    let stem = |path: &Path| path.file_stem().unwrap().to_string_lossy().into_owned();
    let listed = |directory: &str| -> Vec<String> {
        let entries = std::fs::read_dir(root().join(directory)).unwrap();
        let mut stems: Vec<String> = entries.map(|entry| stem(&entry.unwrap().path())).collect();
        stems.sort();
        stems
    };
    let binaries = listed("crates/skald/src/bin");
    let of_binary = |name: &String| match name.strip_prefix("skald-") {
        Some(role) => role.to_owned(),
        None => "serve".to_owned(),
    };
    let mut expected: Vec<String> = binaries.iter().map(of_binary).collect();
    expected.sort();
    assert_eq!(
        listed("config"),
        expected,
        "config/ has one example per binary"
    );
}
