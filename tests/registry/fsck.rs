//! Comparing the database with the store.

use std::process::Output;

use serde_json::Value;
use tests::registry::{Kind, Registry, bytes, file_of, sha256};

/// The name of an object as the registry makes them.
const NOBODYS: &str = "01arz3ndektsv4rrffq69g5fyy";

/// Runs `skald registry fsck`; gives what it printed, and its findings.
async fn fsck(registry: &Registry, args: &[&str]) -> anyhow::Result<(Output, Vec<Value>)> {
    let mut command = tokio::process::Command::new(tests::binary::path("skald")?);
    command.args(["registry", "fsck", "--addr", registry.client().base()]);
    let output = command.args(args).output().await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = text.lines().map(serde_json::from_str);
    Ok((output, lines.collect::<Result<_, _>>()?))
}

fn kinds(findings: &[Value]) -> Vec<&str> {
    let kinds = findings.iter().filter_map(|found| found["found"].as_str());
    kinds.collect()
}

#[tokio::test]
async fn what_is_not_as_it_should_be_is_found() -> anyhow::Result<()> {
    // Also young bytes that no row names count.
    let env = [
        ("SKALD_REGISTRY_GC_SWEEP_INTERVAL", "0s"),
        ("SKALD_REGISTRY_GC_ENABLED", "false"),
    ];
    let registry = Registry::start(Kind::Files, &env).await?;
    let client = registry.client();
    for seed in 1..=3 {
        let tag = format!("v{seed}");
        client
            .push_image("team/app", &tag, &bytes(seed, 50_000))
            .await?;
    }
    let (output, findings) = fsck(&registry, &["--read-bytes"]).await?;
    assert!(output.status.success(), "{output:?}");
    let [done] = findings.as_slice() else {
        anyhow::bail!("{findings:?}");
    };
    assert_eq!((&done["blobs"], &done["manifests"]), (&4.into(), &3.into()));
    assert!(done["bytes_read"].as_u64() > Some(150_000), "{done}");

    let data = registry.directory().join("data/registry/store/data");
    std::fs::remove_file(file_of(&data, &bytes(1, 50_000))?)?;
    let damaged = file_of(&data, &bytes(2, 50_000))?;
    let mut other = bytes(2, 50_000);
    other[77] ^= 1;
    std::fs::write(damaged, other)?;
    let orphan = format!("data/yy/{NOBODYS}");
    std::fs::create_dir_all(data.join("yy"))?;
    std::fs::write(data.join("yy").join(NOBODYS), b"bytes")?;
    // What has no key of the registry's is somebody else's.
    std::fs::write(data.join("yy/others"), b"bytes")?;

    // Without reading, the damage is not seen.
    let (output, findings) = fsck(&registry, &[]).await?;
    assert!(!output.status.success());
    assert_eq!(kinds(&findings), ["blob_missing", "orphan", "done"]);
    assert_eq!(findings[0]["digest"], sha256(&bytes(1, 50_000)));
    assert_eq!(findings[0]["repositories"][0], "team/app");
    assert_eq!(findings[1]["data_key"], orphan);
    let (_, findings) = fsck(&registry, &["--read-bytes", "--repair"]).await?;
    let expected = ["blob_missing", "blob_damaged", "orphan", "done"];
    assert_eq!(kinds(&findings), expected);
    assert_eq!(findings[1]["digest"], sha256(&bytes(2, 50_000)));
    assert_eq!(findings[3]["repaired"], 1);
    // The orphan is on its way out; what is lost stays lost.
    let (_, findings) = fsck(&registry, &[]).await?;
    assert_eq!(kinds(&findings), ["blob_missing", "done"]);
    Ok(())
}

#[tokio::test]
async fn nothing_is_found_on_an_object_store_either() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::S3, &[]).await?;
    let client = registry.client();
    client
        .push_image("team/app", "v1", &bytes(1, 12_000_000))
        .await?;
    let (output, findings) = fsck(&registry, &["--read-bytes"]).await?;
    assert!(output.status.success(), "{findings:?}");
    assert_eq!(kinds(&findings), ["done"]);
    Ok(())
}
