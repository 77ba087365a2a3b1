//! Every file of `config/` starts its binary.

use std::os::unix::fs::PermissionsExt;

use tests::lines::{self, SECOND_NS};
use tests::port::free_port;
use tests::process::Launch;
use tests::wait_for;

use crate::example;

#[tokio::test]
async fn serve_starts_from_its_example_and_takes_lines() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let launch = Launch::role("skald", &example("skald")?, directory.path())?;
    let serve = launch.start().await?;
    let base_ns = lines::now_ns();
    let (labels, lines) = (lines::labels("config", 0), lines::lines(0, 0, 10, base_ns));
    let (status, body) = serve.api().push(&labels, &lines).await?;
    assert_eq!((status, body.as_str()), (204, ""));
    let found = serve
        .api()
        .lines(r#"{app="config"}"#, base_ns, base_ns + SECOND_NS)
        .await?;
    assert_eq!(lines::difference(&lines, &found), None);
    serve.stop().await?;
    Ok(())
}

#[tokio::test]
async fn the_roles_start_from_their_examples_and_find_each_other() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let roles = ["skald-distributor", "skald-ingester", "skald-querier"];
    let gossip = [free_port()?, free_port()?, free_port()?];
    let seeds = gossip.map(|addr| addr.to_string()).join(",");
    let mut processes = Vec::new();
    for (role, gossip) in roles.into_iter().zip(gossip) {
        let launch = Launch::role(role, &example(role)?, directory.path())?
            .with_env("SKALD_CLUSTER_GOSSIP_LISTEN", &gossip.to_string())
            .with_env("SKALD_CLUSTER_GOSSIP_SEEDS", &seeds);
        processes.push(launch.spawn()?);
    }
    for process in &mut processes {
        process.ready().await?;
        let api = process.api();
        wait_for("the others", std::time::Duration::from_secs(30), || async {
            let (_, metrics) = api.get("/metrics", &[]).await.ok()?;
            let active = r#"skald_cluster_members{state="Active"} 3"#;
            metrics.contains(active).then_some(())
        })
        .await?;
    }
    for process in processes {
        process.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_compactor_starts_from_its_example() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let example = example("skald-compactor")?;
    let launch = Launch::role("skald-compactor", &example, directory.path())?;
    let compactor = launch.start().await?;
    let (_, metrics) = compactor.api().get("/metrics", &[]).await?;
    assert!(metrics.contains("skald_compactor_partitions"));
    compactor.stop().await?;
    Ok(())
}

/// Layers of private images and the audit trail are not for all users of the machine.
#[tokio::test]
async fn the_registry_starts_from_its_example_and_keeps_to_itself_what_it_has() -> anyhow::Result<()>
{
    let directory = tempfile::tempdir()?;
    let example = example("skald-registry")?;
    // The directory exists, as one that a package made does; the store is elsewhere.
    let store = directory.path().join("elsewhere/store");
    let launch = Launch::role("skald-registry", &example, directory.path())?.with_env(
        "SKALD_REGISTRY_STORAGE_LOCAL_DIRECTORY",
        &store.display().to_string(),
    );
    let registry = launch.start().await?;
    for private in [store, directory.path().join("registry")] {
        let mode = private.metadata()?.permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}: {mode:o}", private.display());
    }
    registry.stop().await?;
    Ok(())
}

#[tokio::test]
async fn the_agent_starts_from_its_example() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    // Nobody listens there: an agent waits for its server.
    let push = format!("http://{}/loki/api/v1/push", free_port()?);
    let launch = Launch::role("skald-agent", &example("skald-agent")?, directory.path())?
        .with_env("SKALD_PUSH_URL", &push);
    launch.start().await?.stop().await?;
    Ok(())
}
