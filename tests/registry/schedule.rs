//! Garbage is collected when a schedule says so.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tests::registry::{Kind, Registry, RegistryClient, bytes, sha256};
use tests::wait_for;

use crate::auth::{member, start};

const SCHEDULE: &str = "/system/gc/schedule";

async fn set(
    client: &RegistryClient,
    method: Method,
    kind: &str,
    cron: &str,
) -> anyhow::Result<u16> {
    let schedule = json!({"schedule": {"type": kind, "cron": cron}});
    Ok(client.manage(method, SCHEDULE, schedule).await?.0)
}

async fn shown(client: &RegistryClient) -> anyhow::Result<Value> {
    let (status, shown) = client.manage(Method::GET, SCHEDULE, json!(null)).await?;
    anyhow::ensure!(status == 200, "{shown}");
    Ok(shown["schedule"].clone())
}

#[tokio::test]
async fn garbage_waits_for_its_time() -> anyhow::Result<()> {
    let env = [
        ("SKALD_REGISTRY_GC_INTERVAL", "100ms"),
        ("SKALD_REGISTRY_GC_BLOB_GRACE", "0s"),
    ];
    let mut registry = Registry::start(Kind::Files, &env).await?;
    let client = registry.client().clone();
    let gone = async |blob: &[u8]| {
        let path = format!("/v2/app/blobs/{}", sha256(blob));
        wait_for("the blob to go", Duration::from_secs(20), || async {
            // A GET, for a HEAD keeps it.
            let status = client.status(Method::GET, &path).await.ok()?;
            (status == 404).then_some(())
        })
        .await
    };
    client.push_blob("app", &bytes(1, 500)).await?;
    gone(&bytes(1, 500)).await?;
    assert_eq!(shown(&client).await?, json!({"type": "None", "cron": ""}));

    // Never, as far as this test goes.
    let yearly = "0 0 0 1 jan *";
    let now = jiff::Timestamp::now().to_string();
    let year: i32 = now.get(..4).unwrap_or_default().parse()?;
    // One takes the place of the other, as in Harbor.
    assert_eq!(set(&client, Method::POST, "Daily", "").await?, 201);
    assert_eq!(set(&client, Method::POST, "Custom", yearly).await?, 201);
    let next = format!("{}-01-01T00:00:00.000Z", year + 1);
    let expected = json!({"type": "Custom", "cron": yearly, "next_scheduled_time": next,
        "last_run_time": null});
    assert_eq!(shown(&client).await?, expected);
    let (_, state) = client
        .manage(Method::GET, "/system/gc/backlog", json!(null))
        .await?;
    assert_eq!(state["schedule"], expected);
    let digest = client.push_blob("app", &bytes(2, 500)).await?;
    // Rounds go by, and a start changes nothing.
    registry.kill()?;
    registry.start_again().await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let path = format!("/v2/app/blobs/{digest}");
    assert_eq!(client.status(Method::GET, &path).await?, 200);
    // By hand it is collected at any time.
    assert_eq!(set(&client, Method::POST, "Manual", "").await?, 201);
    assert_eq!(client.status(Method::GET, &path).await?, 404);
    assert_eq!(shown(&client).await?["cron"], yearly);

    client.push_blob("app", &bytes(3, 500)).await?;
    assert_eq!(
        set(&client, Method::PUT, "Custom", "* * * * * *").await?,
        200
    );
    gone(&bytes(3, 500)).await?;
    assert!(shown(&client).await?["last_run_time"].is_string());
    for (kind, said, cron) in [
        ("Hourly", "", "0 0 * * * *"),
        ("Daily", "", "0 0 0 * * *"),
        ("Daily", "0 30 2 * * *", "0 30 2 * * *"),
        ("Weekly", "", "0 0 0 * * 0"),
    ] {
        assert_eq!(set(&client, Method::PUT, kind, said).await?, 200);
        let shown = shown(&client).await?;
        assert_eq!(
            (&shown["type"], &shown["cron"]),
            (&json!(kind), &json!(cron))
        );
    }
    assert_eq!(set(&client, Method::PUT, "None", "").await?, 200);
    client.push_blob("app", &bytes(4, 500)).await?;
    gone(&bytes(4, 500)).await?;
    Ok(())
}

/// Clients compare what they said with what they read.
#[tokio::test]
async fn parameters_of_a_schedule_are_read_as_they_were_said() -> anyhow::Result<()> {
    let (_registry, admin) = start().await?;
    for parameters in [
        json!({"workers": 2}),
        json!({"workers": 1, "delete_untagged": true}),
        json!({"delete_untagged": false}),
        json!({}),
    ] {
        let schedule = json!({"type": "Daily", "cron": "0 0 0 * * *"});
        let body = json!({"schedule": schedule, "parameters": parameters});
        assert_eq!(admin.manage(Method::PUT, SCHEDULE, body).await?.0, 200);
        let (_, shown) = admin.manage(Method::GET, SCHEDULE, json!(null)).await?;
        let read = shown["job_parameters"].as_str().unwrap_or_default();
        let read: Value = serde_json::from_str(read)?;
        for name in ["workers", "delete_untagged"] {
            assert_eq!(read[name], parameters[name], "{parameters} {name}");
        }
    }
    let body = json!({"schedule": {"type": "Daily"}, "parameters": {"workers": 11}});
    assert_eq!(admin.manage(Method::PUT, SCHEDULE, body).await?.0, 400);
    // What was said last is no more.
    assert_eq!(set(&admin, Method::POST, "None", "").await?, 201);
    assert_eq!(shown(&admin).await?["type"], "None");
    Ok(())
}

#[tokio::test]
async fn what_is_no_schedule_is_refused() -> anyhow::Result<()> {
    let (registry, admin) = start().await?;
    let dev = member(&registry, &admin, "dev", "projectAdmin").await?;
    for (client, kind, cron, status) in [
        (&admin, "Custom", "", 400),
        (&admin, "Custom", "0 0 * * *", 400),
        (&admin, "Custom", "0 0 0 30 2 *", 400),
        (&admin, "Monthly", "", 400),
        (&dev, "Daily", "", 403),
    ] {
        let method = Method::PUT;
        assert_eq!(
            set(client, method, kind, cron).await?,
            status,
            "{kind} {cron}"
        );
    }
    assert_eq!(shown(&admin).await?["type"], "None");
    let (_, state) = admin
        .manage(Method::GET, "/system/gc/backlog", json!(null))
        .await?;
    assert_eq!(
        (&state["enabled"], &state["interval_seconds"]),
        (&json!(true), &json!(10))
    );
    let off = [("SKALD_REGISTRY_GC_ENABLED", "false")];
    let registry = Registry::start(Kind::Files, &off).await?;
    let client = registry.client();
    assert_eq!(shown(client).await?["type"], "None");
    assert_eq!(set(client, Method::PUT, "Daily", "").await?, 400);
    Ok(())
}

#[tokio::test]
async fn what_lost_its_last_tag_stays_if_that_is_said() -> anyhow::Result<()> {
    let env = [
        ("SKALD_REGISTRY_GC_INTERVAL", "100ms"),
        ("SKALD_REGISTRY_GC_UNTAGGED_GRACE", "0s"),
        ("SKALD_REGISTRY_GC_BLOB_GRACE", "0s"),
    ];
    let mut registry = Registry::start(Kind::Files, &env).await?;
    let client = registry.client().clone();
    let (yearly, spared) = ("0 0 0 1 jan *", json!({"delete_untagged": false}));
    let schedule =
        |cron: &str| json!({"schedule": {"type": "Custom", "cron": cron}, "parameters": spared});
    let set = client.manage(Method::PUT, SCHEDULE, schedule(yearly));
    assert_eq!(set.await?.0, 200);
    let (_, set) = client.manage(Method::GET, SCHEDULE, json!(null)).await?;
    let parameters = set["job_parameters"].as_str().unwrap_or_default();
    let parameters: Value = serde_json::from_str(parameters)?;
    assert_eq!(parameters["delete_untagged"], false);
    // A round that had begun before may not have ended.
    registry.kill()?;
    registry.start_again().await?;
    let image = client.push_image("app", "v1", &bytes(1, 500)).await?;
    let path = format!("/v2/app/manifests/{}", sha256(&image));
    assert_eq!(
        client
            .status(Method::DELETE, "/v2/app/manifests/v1")
            .await?,
        202
    );
    let orphan = client.push_blob("app", &bytes(2, 500)).await?;
    let orphan = format!("/v2/app/blobs/{orphan}");
    for body in [
        json!({"schedule": {"type": "Manual"}, "parameters": spared}),
        schedule("* * * * * *"),
    ] {
        let asked = client.manage(Method::PUT, SCHEDULE, body);
        assert_eq!(asked.await?.0, 200);
        wait_for("the blob to go", Duration::from_secs(20), || async {
            let status = client.status(Method::GET, &orphan).await.ok()?;
            (status == 404).then_some(())
        })
        .await?;
        assert_eq!(client.status(Method::GET, &path).await?, 200);
        client.push_blob("app", &bytes(2, 500)).await?;
    }
    let run = json!({"dry_run": false, "delete_untagged": false});
    let (_, ran) = client.manage(Method::POST, "/system/gc", run).await?;
    assert_eq!(ran["manifests"], 0, "{ran}");
    assert_eq!(client.status(Method::GET, &path).await?, 200);
    let run = json!({"dry_run": false});
    let (_, ran) = client.manage(Method::POST, "/system/gc", run).await?;
    assert_eq!(ran["manifests"], 1, "{ran}");
    assert_eq!(client.status(Method::GET, &path).await?, 404);
    Ok(())
}
