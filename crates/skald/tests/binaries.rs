//! The binaries exist and say who they are. Being here, beside their package, this has `cargo test`
//! build them, which the suites of `tests` start.

use std::process::Command;

#[test]
fn every_binary_says_its_name_and_version() -> std::io::Result<()> {
    for (name, path) in [
        ("skald", env!("CARGO_BIN_EXE_skald")),
        ("skald-distributor", env!("CARGO_BIN_EXE_skald-distributor")),
        ("skald-ingester", env!("CARGO_BIN_EXE_skald-ingester")),
        ("skald-querier", env!("CARGO_BIN_EXE_skald-querier")),
        ("skald-compactor", env!("CARGO_BIN_EXE_skald-compactor")),
        ("skald-agent", env!("CARGO_BIN_EXE_skald-agent")),
        ("skald-registry", env!("CARGO_BIN_EXE_skald-registry")),
    ] {
        let output = Command::new(path).arg("--version").output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{name}: {output:?}");
        let expected = format!("{name} {}", env!("CARGO_PKG_VERSION"));
        assert!(said.starts_with(&expected), "{name}: {said}");
    }
    Ok(())
}
