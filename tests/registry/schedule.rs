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
    assert_eq!(shown(&client).await?["type"], "Custom");

    // Never, as far as this test goes.
    let yearly = "0 0 0 1 jan *";
    let now = jiff::Timestamp::now().to_string();
    let year: i32 = now.get(..4).unwrap_or_default().parse()?;
    assert_eq!(set(&client, Method::POST, "Custom", yearly).await?, 201);
    assert_eq!(set(&client, Method::POST, "Daily", "").await?, 409);
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
    for (kind, cron) in [
        ("Hourly", "0 0 * * * *"),
        ("Daily", "0 0 0 * * *"),
        ("Weekly", "0 0 0 * * 0"),
    ] {
        assert_eq!(set(&client, Method::PUT, kind, "").await?, 200);
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
    assert_eq!(shown(&admin).await?["cron"], "@every 10s");
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
