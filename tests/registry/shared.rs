//! A store that somebody else uses too: nothing of what is not the registry's own is ever removed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tests::registry::{Kind, Registry, bytes, file_of, sha256};
use tests::wait_for;

/// Compares the store with the database all the time, and young objects too.
const SWEEPS: [(&str, &str); 3] = [
    ("SKALD_REGISTRY_GC_INTERVAL", "50ms"),
    ("SKALD_REGISTRY_GC_SWEEP_INTERVAL", "0s"),
    ("SKALD_REGISTRY_GC_DATA_GRACE", "0s"),
];

/// The name of an object as registries make them, ending with the name of its directory.
const NOBODYS: &str = "01arz3ndektsv4rrffq69g5fyy";

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    Ok(std::fs::write(path, text)?)
}

/// How often the store was compared with the database, by what came of it.
fn sweeps(registry: &Registry, outcome: &str) -> usize {
    let log = registry.directory().join("data/log/registry-job.log");
    let log = std::fs::read_to_string(log).unwrap_or_default();
    let of = |line: &&str| line.contains(r#""sweep""#) && line.contains(outcome);
    log.lines().filter(of).count()
}

async fn wait_for_sweeps(registry: &Registry, outcome: &str) -> anyhow::Result<()> {
    let before = sweeps(registry, outcome);
    wait_for("two sweeps", Duration::from_secs(20), async || {
        (sweeps(registry, outcome) >= before + 2).then_some(())
    })
    .await
}

#[tokio::test]
async fn what_others_keep_in_the_store_stays() -> anyhow::Result<()> {
    for kind in Kind::ALL {
        let registry = Registry::start(kind, &SWEEPS).await?;
        let store = match kind {
            Kind::Files => registry.directory().join("data/registry/store"),
            Kind::S3 => registry.directory().join("s3/logs"),
        };
        for seed in 1..=4 {
            let tag = format!("v{seed}");
            let client = registry.client();
            client.push_image("app", &tag, &bytes(seed, 50_000)).await?;
        }
        let others = [
            "data/fake/2026-01-01/01JD9Z0000000000000000000A.lgob",
            "index/fake/2026-01-01/01JD9Z0000000000000000000A.lgix",
            "data/yy/others",
            "data/notes",
            "backup/db.dump",
            "index.json",
        ];
        for other in others {
            write(&store.join(other), "others")?;
        }
        let nobodys = store.join("data/yy").join(NOBODYS);
        write(&nobodys, "nobody's")?;
        wait_for("the orphan to go", Duration::from_secs(20), async || {
            (!nobodys.exists()).then_some(())
        })
        .await?;
        wait_for_sweeps(&registry, r#""state":"done""#).await?;
        for other in others {
            assert!(store.join(other).exists(), "{kind:?} {other}");
        }
        for seed in 1..=4 {
            file_of(&store, &bytes(seed, 50_000))?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn most_of_a_store_is_never_taken_for_garbage() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &SWEEPS).await?;
    let store = registry.directory().join("data/registry/store");
    registry
        .client()
        .push_image("app", "v1", &bytes(1, 50_000))
        .await?;
    let nobodys = store.join("data/yy").join(NOBODYS);
    write(&nobodys, "nobody's")?;
    wait_for_sweeps(&registry, "sweep_orphans_percent_max").await?;
    assert!(nobodys.exists());
    Ok(())
}

/// Puts the database out of the way, or back.
fn hide(databases: &[PathBuf], is_hidden: bool) -> anyhow::Result<()> {
    for database in databases {
        let hidden = database.with_added_extension("hidden");
        match is_hidden {
            true => std::fs::rename(database, hidden)?,
            false => std::fs::rename(hidden, database)?,
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_store_of_another_database_is_refused() -> anyhow::Result<()> {
    if std::env::var("REGISTRY_POSTGRES").is_ok() {
        return Ok(());
    }
    for kind in Kind::ALL {
        let mut registry = Registry::start(kind, &[]).await?;
        let client = registry.client();
        client.push_image("app", "v1", &bytes(1, 50_000)).await?;
        registry.stop().await?;
        let data = registry.directory().join("data/registry");
        let mark = match kind {
            Kind::Files => data.join("store/registry.id"),
            Kind::S3 => registry.directory().join("s3/logs/registry.id"),
        };
        let identity = std::fs::read_to_string(&mark)?;
        let files = std::fs::read_dir(&data)?.flatten();
        let files = files.filter(|file| {
            file.file_name()
                .to_string_lossy()
                .starts_with("registry.db")
        });
        let databases: Vec<PathBuf> = files.map(|file| file.path()).collect();
        // The same store with another database, and as a version left it that wrote no mark.
        hide(&databases, true)?;
        for expected in ["belongs to another database", "names none of them"] {
            assert!(registry.start_again().await.is_err(), "{expected}");
            let said = std::fs::read_to_string(registry.directory().join("registry.out"))?;
            assert!(said.contains(expected), "{said}");
            let _ = std::fs::remove_file(&mark);
        }
        for file in std::fs::read_dir(&data)?.flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            if name.starts_with("registry.db") && !name.ends_with("hidden") {
                std::fs::remove_file(file.path())?;
            }
        }
        hide(&databases, false)?;
        // Its own database marks it again.
        registry.start_again().await?;
        assert_eq!(std::fs::read_to_string(&mark)?, identity);
    }
    Ok(())
}

/// As where each of several processes has a directory of its own.
#[tokio::test]
async fn a_store_without_what_the_database_names_is_refused() -> anyhow::Result<()> {
    let mut registry = Registry::start(Kind::Files, &[]).await?;
    let layer = bytes(1, 50_000);
    registry.client().push_image("app", "v1", &layer).await?;
    registry.stop().await?;
    let store = registry.directory().join("data/registry/store");
    let elsewhere = store.with_extension("elsewhere");
    std::fs::rename(&store, &elsewhere)?;
    assert!(registry.start_again().await.is_err());
    let said = std::fs::read_to_string(registry.directory().join("registry.out"))?;
    assert!(said.contains("in another one, or lost"), "{said}");
    // Nobody has taken the other one for the store.
    assert!(!store.join("registry.id").exists());
    std::fs::remove_dir_all(&store)?;
    std::fs::rename(&elsewhere, &store)?;
    registry.start_again().await?;
    let blob = format!("/v2/app/blobs/{}", sha256(&layer));
    assert_eq!(registry.client().get(&blob).await?, Some(layer));
    Ok(())
}
