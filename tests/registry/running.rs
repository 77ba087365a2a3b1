//! What clusters run is said by who may say it, as far as it is understood.

use reqwest::Method;
use serde_json::{Value, json};
use tests::registry::{Registry, RegistryClient, bytes, header, sha256};

use crate::auth::{PASSWORD, start};

const PROD: &str = "/running/prod";

fn image(seed: u64) -> String {
    format!("registry.example/app@{}", sha256(&bytes(seed, 10)))
}

/// A robot of the system with a permission.
async fn robot(
    registry: &Registry,
    admin: &RegistryClient,
    name: &str,
    permission: Value,
) -> anyhow::Result<RegistryClient> {
    let robot = json!({"name": name, "level": "system", "secret": PASSWORD, "duration": -1,
        "permissions": [permission]});
    let (status, made) = admin.manage(Method::POST, "/robots", robot).await?;
    anyhow::ensure!(status == 201, "{made}");
    Ok(registry.client().login(&format!("robot${name}"), PASSWORD))
}

#[tokio::test]
async fn a_robot_says_what_runs_and_may_do_nothing_else() -> anyhow::Result<()> {
    let (registry, admin) = start().await?;
    let (_, known) = admin
        .manage(Method::GET, "/permissions", Value::Null)
        .await?;
    assert_eq!(
        known["system"],
        json!([{"resource": "running", "action": "update"}])
    );
    let says = json!({"kind": "system", "namespace": "/", "access": known["system"]});
    let cron = robot(&registry, &admin, "cron", says.clone()).await?;
    let pulls = json!({"project": "*", "actions": ["pull", "push", "delete"]});
    let pulls = robot(&registry, &admin, "all", pulls).await?;
    let body = || json!({"images": [image(1)]});
    assert_eq!(cron.manage(Method::PUT, PROD, body()).await?.0, 200);
    assert_eq!(pulls.manage(Method::PUT, PROD, body()).await?.0, 403);
    for path in ["/running", "/users", "/robots"] {
        assert_eq!(cron.manage(Method::GET, path, Value::Null).await?.0, 403);
    }
    admin.push_image("team/app", "v1", &bytes(1, 10)).await?;
    let pull = cron.status(Method::GET, "/v2/team/app/manifests/v1");
    assert_eq!(pull.await?, 403);

    // It is shown as it was given, can be sent back so, and taken away.
    let (_, robots) = admin
        .manage(Method::GET, "/robots?q=name=robot$cron", Value::Null)
        .await?;
    let shown = &robots[0]["permissions"][0];
    for (key, value) in [("kind", "system"), ("namespace", "/")] {
        assert_eq!(shown[key], value, "{shown}");
    }
    assert_eq!(shown["access"], known["system"]);
    let path = format!("/robots/{}", robots[0]["id"]);
    let again = json!({"permissions": [shown]});
    assert_eq!(admin.manage(Method::PUT, &path, again).await?.0, 200);
    assert_eq!(cron.manage(Method::PUT, PROD, body()).await?.0, 200);
    let (_, trail) = admin
        .manage(Method::GET, "/audit-logs?page_size=50", Value::Null)
        .await?;
    assert!(trail.to_string().contains("running:update"), "{trail}");
    let less = json!({"permissions": [{"project": "team", "actions": ["pull"]}]});
    assert_eq!(admin.manage(Method::PUT, &path, less).await?.0, 200);
    assert_eq!(cron.manage(Method::PUT, PROD, body()).await?.0, 403);

    let access = |action: &str| json!([{"resource": "running", "action": action}]);
    for (level, permission) in [
        ("project", says),
        (
            "system",
            json!({"kind": "system", "namespace": "team", "access": access("update")}),
        ),
        (
            "system",
            json!({"kind": "system", "access": access("delete")}),
        ),
        ("system", json!({"kind": "system", "namespace": "/"})),
        (
            "system",
            json!({"kind": "other", "access": access("update")}),
        ),
        (
            "system",
            json!({"namespace": "team", "access": access("update")}),
        ),
    ] {
        let robot = json!({"name": "no", "level": level, "permissions": [permission]});
        let (status, said) = admin.manage(Method::POST, "/robots", robot).await?;
        assert_eq!(status, 400, "{permission}: {said}");
    }
    Ok(())
}

#[tokio::test]
async fn images_without_a_digest_leave_the_others_where_they_are() -> anyhow::Result<()> {
    let (_registry, admin) = start().await?;
    let strange = format!("docker://{}", sha256(b"made on the node"));
    let said = json!({"images": [image(1), strange, image(2), "team/app:1"]});
    let path = format!("/api/v2.0{PROD}");
    let request = admin.request(Method::PUT, &path).json(&said);
    let answer = request.send().await?;
    assert_eq!(answer.status(), 200);
    let warning = header(&answer, "warning")?;
    for part in ["2 of 4 images", "@ and a digest", &strange] {
        assert!(warning.contains(part), "{warning}");
    }
    let (_, clusters) = admin.manage(Method::GET, "/running", Value::Null).await?;
    assert_eq!(clusters[0]["images"], 2);
    // None of them is what runs; what was said before holds.
    let none = json!({"images": [strange, "team/app:1"]});
    let (status, refused) = admin.manage(Method::PUT, PROD, none).await?;
    assert_eq!(status, 400, "{refused}");
    assert!(refused.to_string().contains("2 of 2 images"), "{refused}");
    let (_, clusters) = admin.manage(Method::GET, "/running", Value::Null).await?;
    assert_eq!(clusters[0]["images"], 2);
    Ok(())
}
