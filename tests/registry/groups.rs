//! Groups of accounts, and what a file declares.

use reqwest::Method;
use serde_json::{Value, json};
use tests::registry::{Registry, RegistryClient, text};

use crate::auth::{member, start};

const UPLOADS: &str = "/v2/team/app/blobs/uploads/";

async fn make(client: &RegistryClient, path: &str, body: Value) -> anyhow::Result<Value> {
    let (status, made) = client.manage(Method::POST, path, body).await?;
    anyhow::ensure!(status == 201, "{path}: {status} {made}");
    Ok(made)
}

#[tokio::test]
async fn who_is_in_a_group_may_do_what_it_may() -> anyhow::Result<()> {
    let (registry, admin) = start().await?;
    let ann = member(&registry, &admin, "ann", "limitedGuest").await?;
    let refused = ann.request(Method::POST, UPLOADS).send().await?;
    let refused = text(refused).await;
    let why = "ann may not push team/app: the role in project team is limitedGuest, and it takes \
               developer";
    assert!(
        refused.starts_with("403") && refused.contains(why),
        "{refused}"
    );

    let group = make(&admin, "/usergroups", json!({"group_name": "devs"})).await?;
    let again = json!({"group_name": "devs"});
    assert_eq!(
        admin.manage(Method::POST, "/usergroups", again).await?.0,
        409
    );
    let accounts = format!("/usergroups/{}/members", group["id"]);
    let role = json!({"role_name": "developer", "member_group": {"group_name": "devs"}});
    make(&admin, "/projects/team/members", role).await?;
    assert_eq!(
        ann.status(Method::POST, UPLOADS).await?,
        403,
        "she is not in it"
    );
    make(&admin, &accounts, json!({"username": "ann"})).await?;
    assert_eq!(ann.status(Method::POST, UPLOADS).await?, 202);
    // Who is in a group sees its projects, and finds them.
    let account = json!({"username": "eve", "password": "a long enough password"});
    make(&admin, "/users", account).await?;
    let eve = registry.client().login("eve", "a long enough password");
    let seen = async || -> anyhow::Result<_> {
        let count = |list: &Value| list.as_array().map_or(0, Vec::len);
        let listed = eve.manage(Method::GET, "/projects?page_size=1", Value::Null);
        let found = eve.manage(Method::GET, "/search?q=team", Value::Null);
        Ok((count(&listed.await?.1), count(&found.await?.1["project"])))
    };
    assert_eq!(seen().await?, (0, 0));
    make(&admin, &accounts, json!({"username": "eve"})).await?;
    assert_eq!(seen().await?, (1, 1));
    let members = admin.manage(Method::GET, "/projects/team/members", Value::Null);
    let members = members.await?.1;
    let holders: Vec<_> = members.as_array().into_iter().flatten().collect();
    let holders: Vec<_> = holders
        .iter()
        .map(|one| (&one["entity_type"], &one["entity_name"], &one["role_name"]))
        .collect();
    let (user, group_type) = (json!("u"), json!("g"));
    assert!(holders.contains(&(&group_type, &json!("devs"), &json!("developer"))));
    assert!(holders.contains(&(&user, &json!("ann"), &json!("limitedGuest"))));

    // A token is for as much as the group gives.
    let scope = [("scope", "repository:team/app:push,delete")];
    let token = ann.request(Method::GET, "/service/token").query(&scope);
    let token: Value = token.send().await?.json().await?;
    let token = token["token"].as_str().unwrap_or_default().to_owned();
    let push = registry.client().request(Method::POST, UPLOADS);
    assert_eq!(push.bearer_auth(&token).send().await?.status(), 202);

    let ann_path = format!("{accounts}/ann");
    let away = admin.manage(Method::DELETE, &ann_path, Value::Null);
    assert_eq!(away.await?.0, 200);
    assert_eq!(ann.status(Method::POST, UPLOADS).await?, 403);
    make(&admin, &accounts, json!({"username": "ann"})).await?;
    let path = format!("/usergroups/{}", group["id"]);
    assert_eq!(ann.manage(Method::DELETE, &path, Value::Null).await?.0, 403);
    assert_eq!(
        admin.manage(Method::DELETE, &path, Value::Null).await?.0,
        200
    );
    assert_eq!(ann.status(Method::POST, UPLOADS).await?, 403);
    Ok(())
}

async fn apply(registry: &Registry, admin: &RegistryClient, file: &str) -> anyhow::Result<String> {
    let path = registry.directory().join("registry.yaml");
    std::fs::write(&path, file)?;
    let password = registry.directory().join("data/registry/admin-password");
    let mut command = tokio::process::Command::new(tests::binary::path("skald")?);
    command
        .args(["registry", "apply", "--addr", admin.base(), "-f"])
        .arg(&path)
        .env("SKALD_REGISTRY_USERNAME", "admin")
        .env(
            "SKALD_REGISTRY_PASSWORD",
            std::fs::read_to_string(password)?.trim(),
        );
    let output = command.output().await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    anyhow::ensure!(output.status.success(), "{text}{error}");
    Ok(text)
}

#[tokio::test]
async fn a_file_declares_groups_labels_and_caches() -> anyhow::Result<()> {
    let (registry, admin) = start().await?;
    member(&registry, &admin, "ann", "guest").await?;
    let file = "
labels:
  signed: {color: '#00ff00'}
groups:
  devs: [ann]
registries:
  hub: {url: 'https://docker.io', username: me, password_file: FILE}
projects:
  hub: {upstream: hub, public: true}
  team:
    members: {admin: projectAdmin, ann: guest, 'group:devs': developer}
    labels: {tested: {description: by us}}
";
    let secret = registry.directory().join("hub-password");
    std::fs::write(&secret, "a password of the hub\n")?;
    let file = file.replace("FILE", &secret.to_string_lossy());
    let done = apply(&registry, &admin, &file).await?;
    for step in [
        "registry: label signed",
        "group devs: made",
        "group devs: ann is in it",
        "registry hub: made known",
        "project hub: a cache of hub",
        "project team: group:devs is developer",
        "project team: label tested",
    ] {
        assert!(done.contains(step), "{step}: {done}");
    }
    assert_eq!(
        apply(&registry, &admin, &file).await?,
        "",
        "it is so already"
    );
    let known = admin
        .manage(Method::GET, "/registries", Value::Null)
        .await?
        .1;
    assert_eq!(known[0]["url"], "https://docker.io");
    assert_eq!(known[0]["credential"]["access_key"], "me");
    let less = "
labels: {}
groups:
  devs: []
projects:
  hub: {upstream: ''}
  team: {labels: {}}
";
    let done = apply(&registry, &admin, less).await?;
    for step in [
        "registry: no label signed",
        "group devs: ann is not in it",
        "project hub: no cache any more",
        "project team: no label tested",
    ] {
        assert!(done.contains(step), "{step}: {done}");
    }
    Ok(())
}
