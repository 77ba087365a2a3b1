//! What is wrong with a configuration is said before anything happens.

use std::net::TcpListener;
use std::path::Path;

use tests::command::{Output, run};

use crate::{BINARIES, example};

/// Exit code of a configuration or usage that is wrong: `EX_USAGE` of sysexits.h.
const EXIT_USAGE: i32 = 64;

async fn run_with(
    binary: &str,
    first: &[&str],
    config: &Path,
    args: &[&str],
    env: &[(&str, &str)],
) -> anyhow::Result<Output> {
    let config = format!("--config={}", config.display());
    let mut all = first.to_vec();
    all.push(&config);
    all.extend_from_slice(args);
    run(binary, &all, env).await
}

/// Checks that a binary refuses and names all of `parts`.
fn assert_refused(binary: &str, output: &Output, parts: &[&str]) {
    assert_eq!(output.code, EXIT_USAGE, "{binary}: {output:?}");
    for part in parts {
        assert!(
            output.stderr.contains(part),
            "{binary}: {part:?} is missing in:\n{}",
            output.stderr
        );
    }
}

#[tokio::test]
async fn an_unknown_key_is_shown_with_its_line_before_a_port_is_bound() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let config = directory.path().join("config.yaml");
    // Whoever binds before he reads the file meets these ports in use, and says so instead.
    let (http, grpc) = (
        TcpListener::bind("127.0.0.1:0")?,
        TcpListener::bind("127.0.0.1:0")?,
    );
    for (binary, first) in BINARIES {
        let example = std::fs::read_to_string(example(binary)?)?;
        let lines = example.lines().count();
        std::fs::write(&config, format!("{example}\nno_such_key: 7\n"))?;
        let http = format!("--http-listen={}", http.local_addr()?);
        let grpc = format!("--grpc-listen={}", grpc.local_addr()?);
        let data = directory.path().join("data");
        let home = data.display().to_string();
        let env = [("SKALD_HOME", home.as_str())];
        let output = run_with(binary, first, &config, &[&http, &grpc], &env).await?;
        let line = format!("line {}", lines + 2);
        // The file, the place, the key, and the text of the line as a snippet.
        assert_refused(
            binary,
            &output,
            &["config.yaml", &line, "no_such_key", "no_such_key: 7"],
        );
        assert!(!data.exists(), "{binary} has made its data directory");
    }
    Ok(())
}

#[tokio::test]
async fn variables_are_expanded_and_missing_ones_are_named() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let config = directory.path().join("config.yaml");
    let data_dir = |text: &str| std::fs::write(&config, format!("data_dir: \"{text}\"\n"));
    for (binary, first) in BINARIES {
        if binary == "skald-agent" {
            continue;
        }
        let print = ["--print-config"];
        data_dir("/a/${WHERE}/${NOWHERE:-z}/$$b")?;
        let output = run_with(binary, first, &config, &print, &[("WHERE", "x y")]).await?;
        assert_eq!(output.code, 0, "{binary}: {}", output.stderr);
        assert!(
            output.stdout.contains("/a/x y/z/$b"),
            "{binary}: {}",
            output.stdout
        );
        let output = run_with(binary, first, &config, &print, &[]).await?;
        assert_refused(binary, &output, &["line 1", "WHERE", "not set"]);
    }
    Ok(())
}

#[tokio::test]
async fn wrong_values_are_refused_wherever_they_come_from() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let config = directory.path().join("config.yaml");
    std::fs::write(&config, "# a comment\n\nlimits:\n  max_line_size: large\n")?;
    let first = ["serve"];
    let output = run_with("skald", &first, &config, &[], &[]).await?;
    assert_refused("skald", &output, &["line 4", "max_line_size: large"]);

    std::fs::write(&config, "cluster:\n  replication_factor: 4\n")?;
    let output = run_with("skald", &first, &config, &[], &[]).await?;
    assert_refused("skald", &output, &["replication_factor"]);

    let wrong = [("SKALD_SERVER_DRAIN_TIMEOUT", "soon")];
    let output = run("skald", &["serve"], &wrong).await?;
    assert_refused("skald", &output, &["SKALD_SERVER_DRAIN_TIMEOUT", "soon"]);

    let output = run("skald", &["serve", "--config=/nowhere/at/all.yaml"], &[]).await?;
    assert_refused("skald", &output, &["/nowhere/at/all.yaml"]);

    let output = run("skald", &["serve", "--no-such-flag"], &[]).await?;
    assert_refused("skald", &output, &["--no-such-flag"]);

    let overrides = directory.path().join("overrides.yaml");
    std::fs::write(&overrides, "overrides:\n  a:\n    max_lines: 1\n")?;
    let file = format!("runtime_config:\n  file: {}\n", overrides.display());
    std::fs::write(&config, file)?;
    let output = run_with("skald", &first, &config, &[], &[]).await?;
    assert_refused("skald", &output, &["overrides.yaml", "max_lines", "line 3"]);
    Ok(())
}

/// Who checks a configuration before he starts with it is told what a start would stop at.
#[tokio::test]
async fn a_certificate_that_is_not_there_is_no_valid_configuration() -> anyhow::Result<()> {
    let config = example("skald-registry")?;
    let nowhere = "/nowhere/registry.pem";
    let env = [
        ("SKALD_REGISTRY_TLS_CERT_FILE", nowhere),
        ("SKALD_REGISTRY_TLS_KEY_FILE", nowhere),
    ];
    let output = run_with("skald-registry", &[], &config, &["--check-config"], &env).await?;
    assert_refused("skald-registry", &output, &["registry.tls", nowhere]);
    Ok(())
}

#[tokio::test]
async fn a_port_of_the_registry_that_is_taken_is_told_from_the_others() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let listen = format!("--registry-listen={}", taken.local_addr()?);
    let args = [
        listen.as_str(),
        "--http-listen=127.0.0.1:0",
        "--grpc-listen=127.0.0.1:0",
    ];
    let home = directory.path().display().to_string();
    let env = [("SKALD_HOME", home.as_str())];
    let output = run_with("skald", &["serve"], &example("skald")?, &args, &env).await?;
    for part in ["image registry", "--registry-listen", "registry.enabled"] {
        assert!(output.stderr.contains(part), "{}", output.stderr);
    }
    Ok(())
}
