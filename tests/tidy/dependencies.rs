//! Which crate may depend on which, from `cargo metadata` and `Cargo.lock`.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

use crate::{assert_none, read, root};

/// The layers of README's architecture. A crate depends only on lower layers.
const LAYERS: &[&[&str]] = &[
    &["model", "codec"],
    &["proto", "logql", "chunk", "index"],
    &["storage", "cluster", "server", "scan", "admission"],
    &[
        "distributor",
        "ingester",
        "querier",
        "compactor",
        "agent",
        "registry",
        "cli",
        "web",
    ],
    &["skald"],
];

/// Crates of others that only these crates of ours may use.
const OWNED: &[(&str, &[&str])] = &[
    ("object_store", &["storage", "registry"]),
    ("hashring", &["cluster"]),
    ("chitchat", &["cluster"]),
    ("protox", &["proto"]),
    ("tonic-prost-build", &["proto"]),
];

/// Crates that must not be in the tree at all; `deny.toml` says why.
const BANNED: &[&str] = &["aws-lc-sys", "aws-lc-rs", "openssl-sys", "native-tls"];

struct Dependency {
    name: String,
    for_tests: bool,
}

/// The dependencies of each of our crates.
fn dependencies() -> BTreeMap<String, Vec<Dependency>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .map(|package| {
            let dependencies = package["dependencies"].as_array().unwrap().iter();
            let dependencies = dependencies.map(|dependency| Dependency {
                name: text(&dependency["name"]),
                for_tests: dependency["kind"] == "dev",
            });
            (text(&package["name"]), dependencies.collect())
        })
        .collect()
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&name))
}

#[test]
fn crates_depend_only_on_lower_layers() {
    let mut offences = Vec::new();
    let all = dependencies();
    for (name, dependencies) in &all {
        if name == "tests" {
            continue;
        }
        let Some(own) = layer(name) else {
            offences.push(format!("{name} has no layer"));
            continue;
        };
        let ours = dependencies
            .iter()
            .filter(|dependency| all.contains_key(&dependency.name));
        for dependency in ours.filter(|dependency| dependency.name != *name) {
            if layer(&dependency.name).is_none_or(|below| below >= own) && !dependency.for_tests {
                offences.push(format!("{name} depends on {}", dependency.name));
            }
        }
    }
    assert_none("a crate depends only on lower layers", &offences);
}

#[test]
fn some_libraries_have_one_owner() {
    let mut offences = Vec::new();
    for (name, dependencies) in dependencies() {
        for (library, owners) in OWNED {
            let used = dependencies
                .iter()
                .any(|used| used.name == *library && !used.for_tests);
            if used && !owners.contains(&name.as_str()) {
                offences.push(format!("{name} uses {library}, which is for {owners:?}"));
            }
        }
    }
    assert_none("some libraries have one owner", &offences);
}

#[test]
fn banned_libraries_are_absent() {
    let lock = read(&root().join("Cargo.lock"));
    let named = |name: &&&str| lock.contains(&format!("name = \"{name}\"\n"));
    let offences: Vec<String> = BANNED
        .iter()
        .filter(named)
        .map(ToString::to_string)
        .collect();
    assert_none("banned in deny.toml", &offences);
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    let crates = std::fs::read_dir(root().join("crates")).unwrap();
    let manifests = crates.map(|entry| entry.unwrap().path().join("Cargo.toml"));
    let lax = manifests.filter(|path| !read(path).contains("[lints]\nworkspace = true"));
    let offences: Vec<String> = lax.map(|path| path.display().to_string()).collect();
    assert_none("lints are the workspace's", &offences);
}
