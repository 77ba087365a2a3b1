//! Who needs the room of what he deleted has it at once.

use reqwest::Method;
use serde_json::{Value, json};
use tests::registry::{RegistryClient, bytes, sha256};

use crate::auth::{member, start};

const PURGE: &str = "/projects/team/purge";

async fn used(client: &RegistryClient) -> anyhow::Result<i64> {
    let (status, quota) = client
        .manage(Method::GET, "/quotas/team", Value::Null)
        .await?;
    anyhow::ensure!(status == 200, "{quota}");
    Ok(quota["used"]["storage"].as_i64().unwrap_or_default())
}

#[tokio::test]
async fn what_was_deleted_gives_room_when_somebody_says_so() -> anyhow::Result<()> {
    let (registry, admin) = start().await?;
    let dev = member(&registry, &admin, "dev", "developer").await?;
    admin
        .push_image("team/app", "kept", &bytes(1, 10_000))
        .await?;
    let before = used(&admin).await?;
    // By its digest, and by its tag only.
    let image = admin
        .push_image("team/app", "v1", &bytes(2, 20_000))
        .await?;
    let path = format!("/v2/team/app/manifests/{}", sha256(&image));
    assert_eq!(admin.status(Method::DELETE, &path).await?, 202);
    admin
        .push_image("team/app", "v2", &bytes(3, 40_000))
        .await?;
    let tag = "/v2/team/app/manifests/v2";
    assert_eq!(admin.status(Method::DELETE, tag).await?, 202);
    assert!(used(&admin).await? > before + 60_000);
    // What pushes under way count on: what one has pushed, and what it was told is there.
    let pushed = admin.push_blob("team/app", &bytes(4, 30_000)).await?;
    let found = format!("/v2/team/app/blobs/{}", sha256(&bytes(2, 20_000)));
    assert_eq!(admin.status(Method::HEAD, &found).await?, 200);

    let refused = dev.manage(Method::POST, PURGE, Value::Null).await?;
    assert_eq!(refused.0, 403);
    let (status, purged) = admin.manage(Method::POST, PURGE, Value::Null).await?;
    assert_eq!((status, &purged["manifests"]), (200, &json!(1)), "{purged}");
    let left = used(&admin).await?;
    assert!(
        left >= before + 50_000 && left < before + 90_000,
        "{before} {left}"
    );
    let pushed = format!("/v2/team/app/blobs/{pushed}");
    for blob in [&pushed, &found] {
        assert_eq!(admin.status(Method::HEAD, blob).await?, 200, "{blob}");
    }
    let kept = "/v2/team/app/manifests/kept";
    assert_eq!(admin.status(Method::GET, kept).await?, 200);
    let undelete = "/projects/team/repositories/app/tags/v1/undelete";
    let undelete = admin.manage(Method::POST, undelete, json!({})).await?;
    assert_eq!(undelete.0, 404);
    let (_, told) = admin
        .manage(
            Method::GET,
            "/audit-logs?q=event=purge_project",
            Value::Null,
        )
        .await?;
    assert_eq!(told[0]["resource"], "team");
    Ok(())
}
