//! Flags that every binary has, and which source of a value wins.

use tests::command::run;

use crate::{BINARIES, example};

#[tokio::test]
async fn every_example_passes_the_check_and_leaves_nothing_behind() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let home = directory.path().join("home");
    for (binary, first) in BINARIES {
        let config = format!("--config={}", example(binary)?.display());
        let mut args = first.to_vec();
        args.extend([config.as_str(), "--check-config"]);
        let home = home.display().to_string();
        let output = run(binary, &args, &[("SKALD_HOME", &home)]).await?;
        assert_eq!(output.code, 0, "{binary}: {}", output.stderr);
        assert!(output.stdout.contains("valid"), "{binary}: {output:?}");
    }
    assert!(!home.exists());
    Ok(())
}

/// A flag that does nothing in a binary is not offered by it.
#[tokio::test]
async fn the_registry_offers_no_grpc() -> anyhow::Result<()> {
    let output = run("skald-registry", &["--help"], &[]).await?;
    assert!(output.stdout.contains("--http-listen"), "{output:?}");
    assert!(!output.stdout.contains("grpc"), "{output:?}");
    Ok(())
}

#[tokio::test]
async fn the_registry_prints_what_concerns_it() -> anyhow::Result<()> {
    let output = run("skald-registry", &["--print-config"], &[]).await?;
    let sections = output.stdout.lines().filter(|line| !line.starts_with(' '));
    let sections: Vec<&str> = sections.filter_map(|line| line.split(':').next()).collect();
    assert_eq!(sections, ["data_dir", "registry", "server", "storage"]);
    Ok(())
}

#[tokio::test]
async fn what_is_printed_can_be_read_again_and_holds_no_secret() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let printed = directory.path().join("printed.yaml");
    let secret = [("SKALD_STORAGE_S3_SECRET_ACCESS_KEY", "very-secret-key")];
    for (binary, first) in BINARIES {
        let mut args = first.to_vec();
        let config = format!("--config={}", example(binary)?.display());
        args.extend([config.as_str(), "--print-config"]);
        let once = run(binary, &args, &secret).await?;
        assert_eq!(once.code, 0, "{binary}: {}", once.stderr);
        assert!(!once.stdout.contains("very-secret-key"), "{binary}");

        std::fs::write(&printed, &once.stdout)?;
        let mut args = first.to_vec();
        let config = format!("--config={}", printed.display());
        args.extend([config.as_str(), "--print-config"]);
        let again = run(binary, &args, &[]).await?;
        assert_eq!(again.code, 0, "{binary}: {}", again.stderr);
        assert_eq!(again.stdout, once.stdout, "{binary}");
    }
    Ok(())
}

#[tokio::test]
async fn flags_win_over_variables_and_variables_over_the_file() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("config.yaml");
    std::fs::write(
        &file,
        "data_dir: /from/file\nserver:\n  http_listen: 127.0.0.1:1\n  drain_timeout: 11s\nlimits:\n  max_line_size: 1KB\n",
    )?;
    let config = format!("--config={}", file.display());
    let env = [
        ("SKALD_DATA_DIR", "/from/environment"),
        ("SKALD_SERVER_HTTP_LISTEN", "127.0.0.1:2"),
        ("SKALD_LIMITS_MAX_LINE_SIZE", "2KB"),
        ("SKALD_LIMITS_ENFORCED_LABELS", "env,team"),
    ];
    let args = [
        "serve",
        &config,
        "--http-listen=127.0.0.1:3",
        "--print-config",
    ];
    let output = run("skald", &args, &env).await?;
    assert_eq!(output.code, 0, "{}", output.stderr);
    for line in [
        "http_listen: 127.0.0.1:3",
        "data_dir: /from/environment",
        "max_line_size: 2KB",
        "drain_timeout: 11s",
        "- team",
    ] {
        assert!(
            output.stdout.contains(line),
            "{line} is missing in:\n{}",
            output.stdout
        );
    }
    Ok(())
}
