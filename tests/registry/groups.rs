//! Groups of accounts.

use reqwest::Method;
use serde_json::{Value, json};
use tests::registry::{RegistryClient, text};

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

#[tokio::test]
async fn a_group_gets_another_name_and_keeps_what_it_has() -> anyhow::Result<()> {
    let (registry, admin) = start().await?;
    let ann = member(&registry, &admin, "ann", "limitedGuest").await?;
    let mut ids = Vec::new();
    for name in ["devs", "others"] {
        let group = make(
            &admin,
            "/usergroups",
            json!({"group_name": name, "group_type": 3}),
        );
        ids.push(group.await?["id"].clone());
    }
    let path = format!("/usergroups/{}", ids[0]);
    let members = format!("{path}/members");
    make(&admin, &members, json!({"username": "ann"})).await?;
    let role = json!({"role_name": "developer", "member_group": {"group_name": "devs"}});
    make(&admin, "/projects/team/members", role).await?;
    let rename = async |client: &RegistryClient, name: &str| {
        let body = json!({"group_name": name});
        client.manage(Method::PUT, &path, body).await
    };
    for (client, name, status) in [
        (&ann, "builders", 403),
        (&admin, "others", 409),
        (&admin, "", 400),
        (&admin, "builders", 200),
        (&admin, "builders", 200),
    ] {
        let (given, said) = rename(client, name).await?;
        assert_eq!(given, status, "{name}: {said}");
    }
    let none = admin.manage(Method::PUT, "/usergroups/999", json!({"group_name": "x"}));
    assert_eq!(none.await?.0, 404);
    let shown = admin.manage(Method::GET, &path, Value::Null).await?.1;
    assert_eq!(
        (&shown["group_name"], &shown["group_type"]),
        (&json!("builders"), &json!(3))
    );
    assert_eq!(ann.status(Method::POST, UPLOADS).await?, 202);
    let (_, trail) = admin
        .manage(Method::GET, "/audit-logs?q=operation=update", Value::Null)
        .await?;
    let renamed = trail.as_array().into_iter().flatten();
    let mut renamed = renamed.filter(|one| one["resource_type"] == "group");
    let record = renamed.next_back().map(|one| one["record"].clone());
    let record = record.unwrap_or_default();
    assert_eq!(record["before"]["group_name"], "devs", "{trail}");
    assert_eq!(record["after"]["group_name"], "builders", "{trail}");
    Ok(())
}
