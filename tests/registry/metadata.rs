//! What Harbor keeps beside a project, one value at a time.

use reqwest::Method;
use serde_json::{Value, json};

use crate::auth::{member, start};

#[tokio::test]
async fn a_project_is_made_public_by_its_metadata() -> anyhow::Result<()> {
    let (registry, admin) = start().await?;
    let dev = member(&registry, &admin, "dev", "developer").await?;
    let path = "/projects/team/metadatas";
    let public = format!("{path}/public");
    let is = |value: &str| json!({"public": value});
    for (client, method, path, body, status) in [
        (&dev, Method::PUT, &*public, is("true"), 403),
        (&admin, Method::PUT, &*public, is("true"), 200),
        (&admin, Method::PUT, &*public, is("perhaps"), 400),
        (&admin, Method::PUT, &*public, json!({"other": "true"}), 400),
        (&admin, Method::POST, path, is("true"), 200),
        (&admin, Method::POST, path, json!({}), 400),
        (
            &admin,
            Method::POST,
            path,
            json!({"prevent_vul": "false"}),
            200,
        ),
        (
            &admin,
            Method::POST,
            path,
            json!({"prevent_vul": "true"}),
            400,
        ),
        (
            &admin,
            Method::POST,
            path,
            json!({"retention_id": "1"}),
            400,
        ),
    ] {
        let (found, answer) = client.manage(method, path, body.clone()).await?;
        assert_eq!(found, status, "{body}: {answer}");
    }
    let shown = dev.manage(Method::GET, path, Value::Null);
    assert_eq!(shown.await?, (200, is("true")));
    let shown = dev.manage(Method::GET, &public, Value::Null);
    assert_eq!(shown.await?, (200, is("true")));
    let other = format!("{path}/severity");
    let shown = dev.manage(Method::GET, &other, Value::Null);
    assert_eq!(shown.await?, (200, json!({})));
    let gone = admin.manage(Method::DELETE, &public, Value::Null);
    assert_eq!(gone.await?.0, 200);
    let shown = dev.manage(Method::GET, path, Value::Null);
    assert_eq!(shown.await?, (200, is("false")));
    let gone = admin.manage(Method::DELETE, &other, Value::Null);
    assert_eq!(gone.await?.0, 404);
    // By its number, and with a slash at the end.
    let (_, project) = admin
        .manage(Method::GET, "/projects/team", Value::Null)
        .await?;
    let path = format!("/projects/{}/metadatas/", project["project_id"]);
    let shown = admin.manage(Method::GET, &path, Value::Null);
    assert_eq!(shown.await?, (200, is("false")));
    Ok(())
}
