//! Labels, and the artifacts that have them.

use anyhow::Context;
use reqwest::Method;
use serde_json::{Value, json};
use tests::registry::{Kind, Registry, RegistryClient, bytes, sha256};

use crate::auth::{member, start};

const ARTIFACTS: &str = "/projects/team/repositories/app/artifacts";

async fn make(client: &RegistryClient, label: Value) -> anyhow::Result<i64> {
    let (status, made) = client.manage(Method::POST, "/labels", label).await?;
    anyhow::ensure!(status == 201, "{status} {made}");
    made["id"].as_i64().context("no number")
}

async fn get(client: &RegistryClient, path: &str) -> anyhow::Result<Value> {
    let (status, found) = client.manage(Method::GET, path, Value::Null).await?;
    anyhow::ensure!(status == 200, "{path}: {status} {found}");
    Ok(found)
}

/// The values of a key of all things in a list.
fn all<'v>(list: &'v Value, key: &str) -> Vec<&'v Value> {
    let list = list.as_array().into_iter().flatten();
    list.map(|thing| &thing[key]).collect()
}

#[tokio::test]
async fn artifacts_have_labels_and_are_found_by_them() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    let one = client.push_image("team/app", "v1", &bytes(1, 10)).await?;
    client.push_image("team/app", "v2", &bytes(2, 10)).await?;
    client.push_image("other/app", "v1", &bytes(3, 10)).await?;
    let team = get(client, "/projects/team").await?["project_id"].clone();
    let global = make(client, json!({"name": "tested", "color": "#48960C"})).await?;
    let own = json!({"name": "tested", "scope": "p", "project_id": team});
    let own = make(client, own).await?;
    let listed = get(client, "/labels?scope=g").await?;
    assert_eq!(all(&listed, "id"), [global]);
    let listed = get(client, &format!("/labels?scope=p&project_id={team}")).await?;
    assert_eq!(
        (all(&listed, "id"), all(&listed, "scope")),
        (vec![&json!(own)], vec![&json!("p")])
    );
    let listed = get(client, "/labels?name=other").await?;
    assert_eq!(listed, json!([]));

    // By tag and by digest, the second time too.
    let digest = sha256(&one);
    for (reference, id) in [("v1", global), (&digest, own), ("v1", own)] {
        let path = format!("{ARTIFACTS}/{reference}/labels");
        let given = client.manage(Method::POST, &path, json!({"id": id}));
        assert_eq!(given.await?.0, 200, "{reference}");
    }
    let found = get(client, &format!("{ARTIFACTS}?q=labels=({own})")).await?;
    assert_eq!(all(&found, "digest"), [&digest]);
    assert_eq!(all(&found[0]["labels"], "id").len(), 2);
    let path = format!("{ARTIFACTS}/v1/labels/{own}");
    for status in [200, 404] {
        assert_eq!(
            client.manage(Method::DELETE, &path, Value::Null).await?.0,
            status
        );
    }
    let found = get(client, &format!("{ARTIFACTS}?q=labels=({own})")).await?;
    assert_eq!(found, json!([]));

    let label = format!("/labels/{global}");
    let renamed = json!({"name": "approved", "description": "by hand"});
    assert_eq!(client.manage(Method::PUT, &label, renamed).await?.0, 200);
    assert_eq!(get(client, &label).await?["description"], "by hand");
    assert_eq!(
        client.manage(Method::DELETE, &label, Value::Null).await?.0,
        200
    );
    let found = get(client, ARTIFACTS).await?;
    assert_eq!(all(&found, "labels"), [&json!([]), &json!([])]);
    // An artifact and a project that go take theirs with them.
    let path = format!("{ARTIFACTS}/v2/labels");
    let given = client.manage(Method::POST, &path, json!({"id": own}));
    assert_eq!(given.await?.0, 200);
    for path in ["/projects/team/repositories/app", "/projects/team"] {
        assert_eq!(
            client.manage(Method::DELETE, path, Value::Null).await?.0,
            200
        );
    }
    let own = format!("/labels/{own}");
    let gone = client.manage(Method::GET, &own, Value::Null);
    assert_eq!(gone.await?.0, 404);
    Ok(())
}

#[tokio::test]
async fn what_is_no_label_is_refused() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    for repo in ["team/app", "other/app"] {
        client.push_image(repo, "v1", &bytes(1, 10)).await?;
    }
    let other = get(client, "/projects/other").await?["project_id"].clone();
    make(client, json!({"name": "tested"})).await?;
    for (label, status) in [
        (json!({"name": "tested"}), 409),
        (json!({"name": " "}), 400),
        (json!({"name": "a\nb"}), 400),
        (json!({"name": "x".repeat(129)}), 400),
        (json!({"name": "x", "color": "red; }"}), 400),
        (json!({"name": "x", "scope": "p"}), 400),
        (json!({"name": "x", "scope": "q"}), 400),
        (json!({"name": "x", "scope": "p", "project_id": 98765}), 404),
    ] {
        let made = client
            .manage(Method::POST, "/labels", label.clone())
            .await?;
        assert_eq!(made.0, status, "{label}");
    }
    let foreign = json!({"name": "x", "scope": "p", "project_id": other});
    let foreign = make(client, foreign).await?;
    for (reference, id) in [("v1", foreign), ("v1", 98765), ("v9", foreign)] {
        let path = format!("{ARTIFACTS}/{reference}/labels");
        let given = client.manage(Method::POST, &path, json!({"id": id}));
        assert_eq!(given.await?.0, 404, "{reference} {id}");
    }
    let (status, _) = client
        .manage(Method::GET, &format!("{ARTIFACTS}?q=x"), Value::Null)
        .await?;
    assert_eq!(status, 400);
    Ok(())
}

#[tokio::test]
async fn labels_are_the_business_of_those_who_have_the_role() -> anyhow::Result<()> {
    let (registry, admin) = start().await?;
    let mut clients = Vec::new();
    for role in ["guest", "developer", "maintainer"] {
        clients.push(member(&registry, &admin, role, role).await?);
    }
    admin.push_image("team/app", "v1", &bytes(1, 10)).await?;
    let team = get(&admin, "/projects/team").await?["project_id"].clone();
    let own = json!({"name": "own", "scope": "p", "project_id": team});
    let statuses = async |method: Method, path: &str, body: Value| -> anyhow::Result<Vec<u16>> {
        let mut statuses = Vec::new();
        for client in &clients {
            statuses.push(client.manage(method.clone(), path, body.clone()).await?.0);
        }
        Ok(statuses)
    };
    assert_eq!(
        statuses(Method::POST, "/labels", own).await?,
        [403, 403, 201]
    );
    let global = json!({"name": "all"});
    assert_eq!(
        statuses(Method::POST, "/labels", global.clone()).await?,
        [403; 3]
    );
    let global = make(&admin, global).await?;
    let give = format!("{ARTIFACTS}/v1/labels");
    let body = json!({"id": global});
    assert_eq!(statuses(Method::POST, &give, body).await?, [403, 200, 200]);
    let listed = format!("/labels?scope=p&project_id={team}");
    assert_eq!(statuses(Method::GET, &listed, Value::Null).await?, [200; 3]);
    let stranger = json!({"username": "eve", "password": "a password"});
    assert_eq!(admin.manage(Method::POST, "/users", stranger).await?.0, 201);
    let eve = registry.client().login("eve", "a password");
    // Numbers do not tell a stranger the names that they are of.
    let label = get(&admin, &listed).await?[0]["id"].clone();
    let own = format!("/labels/{label}");
    let (quota, retention) = (format!("/quotas/{team}"), format!("/retentions/{team}"));
    for path in [&listed, &own, &quota, &retention] {
        let (status, answer) = eve.manage(Method::GET, path, Value::Null).await?;
        assert_eq!(status, 404, "{path}");
        assert!(!answer.to_string().contains("project team"), "{answer}");
    }
    Ok(())
}
