//! Tokens end with the rights that they were given for.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::Method;
use serde_json::{Value, json};
use tests::registry::{Kind, LOCAL, Registry, RegistryClient, bytes};
use tests::wait_for;

use crate::auth::{member, start};

const IMAGE: &str = "/v2/team/app/manifests/v1";
const PASSWORD: &str = "a long enough password";

/// A token of a client to pull the image, and how it was given.
async fn token(client: &RegistryClient) -> anyhow::Result<(String, Value)> {
    let scope = [("scope", "repository:team/app:pull")];
    let given = client.request(Method::GET, "/service/token").query(&scope);
    let given: Value = given.send().await?.json().await?;
    Ok((
        given["token"].as_str().unwrap_or_default().to_owned(),
        given,
    ))
}

/// What a pull with a token is answered.
async fn pull(client: &RegistryClient, token: &str) -> anyhow::Result<u16> {
    let pull = client.request(Method::GET, IMAGE).bearer_auth(token);
    Ok(pull.send().await?.status().as_u16())
}

/// What is done to whom tokens were given.
async fn done(
    admin: &RegistryClient,
    method: Method,
    path: &str,
    body: Value,
) -> anyhow::Result<Value> {
    let (status, answer) = admin.manage(method, path, body).await?;
    anyhow::ensure!(matches!(status, 200 | 201), "{path}: {status} {answer}");
    Ok(answer)
}

/// The path of an account.
async fn account(admin: &RegistryClient, name: &str) -> anyhow::Result<String> {
    let (_, found) = admin
        .manage(
            Method::GET,
            &format!("/users?q=username={name}"),
            Value::Null,
        )
        .await?;
    Ok(format!("/users/{}", found[0]["user_id"]))
}

/// A robot of the project, with its path.
async fn robot(
    registry: &Registry,
    admin: &RegistryClient,
    name: &str,
) -> anyhow::Result<(RegistryClient, String)> {
    let robot = json!({"name": name, "level": "project", "duration": 1, "permissions": [
        {"kind": "project", "namespace": "team", "access": [
            {"resource": "repository", "action": "pull"},
            {"resource": "repository", "action": "push"}]}]});
    let made = done(admin, Method::POST, "/robots", robot).await?;
    let secret = made["secret"].as_str().unwrap_or_default();
    let name = made["name"].as_str().unwrap_or_default();
    let client = registry.client().login(name, secret);
    Ok((client, format!("/robots/{}", made["id"])))
}

#[tokio::test]
async fn a_token_ends_with_the_account_it_was_given_to() -> anyhow::Result<()> {
    let (registry, admin) = start().await?;
    let nobody = registry.client();
    let bob = member(&registry, &admin, "bob", "guest").await?;
    admin.push_image("team/app", "v1", &bytes(1, 10)).await?;
    let (bobs, _) = token(&bob).await?;
    let disable = json!({"disabled": true});
    let password = json!({"new_password": "another long password"});
    let no_role = json!({});
    for (name, method, end, body) in [
        ("disabled", Method::PUT, "/disabled", disable),
        ("changed", Method::PUT, "/password", password),
        ("removed", Method::DELETE, "", no_role),
    ] {
        let client = member(&registry, &admin, name, "guest").await?;
        let (given, _) = token(&client).await?;
        assert_eq!(pull(nobody, &given).await?, 200, "{name}");
        let path = format!("{}{end}", account(&admin, name).await?);
        done(&admin, method, &path, body).await?;
        assert_eq!(pull(nobody, &given).await?, 401, "{name}");
    }
    // Who has the name next has tokens of its own.
    let next = member(&registry, &admin, "removed", "guest").await?;
    assert_eq!(pull(nobody, &token(&next).await?.0).await?, 200);
    assert_eq!(
        pull(nobody, &bobs).await?,
        200,
        "nothing was taken from bob"
    );
    let profile = json!({"email": "bob@example.org", "realname": "Bob", "comment": ""});
    done(&admin, Method::PUT, &account(&admin, "bob").await?, profile).await?;
    assert_eq!(pull(nobody, &bobs).await?, 200, "nor by that");
    // That is known also to the process that is started next.
    let mut registry = registry;
    let path = format!("{}/password", account(&admin, "bob").await?);
    let password = json!({"new_password": "another long password"});
    done(&admin, Method::PUT, &path, password).await?;
    registry.stop().await?;
    registry.start_again().await?;
    assert_eq!(pull(registry.client(), &bobs).await?, 401);
    let bob = registry.client().login("bob", "another long password");
    assert_eq!(pull(registry.client(), &token(&bob).await?.0).await?, 200);
    Ok(())
}

#[tokio::test]
async fn a_token_ends_with_the_robot_it_was_given_to() -> anyhow::Result<()> {
    let (registry, admin) = start().await?;
    let nobody = registry.client();
    admin.push_image("team/app", "v1", &bytes(1, 10)).await?;
    let pulls = json!([{"project": "team", "actions": ["pull"]}]);
    for (name, method, body) in [
        ("off", Method::PUT, json!({"disable": true})),
        ("less", Method::PUT, json!({"permissions": pulls})),
        ("secret", Method::PATCH, json!({"secret": ""})),
        ("gone", Method::DELETE, Value::Null),
    ] {
        let (client, path) = robot(&registry, &admin, name).await?;
        let (given, _) = token(&client).await?;
        done(
            &admin,
            Method::PUT,
            &path,
            json!({"description": "the same"}),
        )
        .await?;
        assert_eq!(pull(nobody, &given).await?, 200, "{name}");
        done(&admin, method, &path, body).await?;
        assert_eq!(pull(nobody, &given).await?, 401, "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn a_token_holds_no_longer_than_its_robot() -> anyhow::Result<()> {
    let env = [LOCAL, ("SKALD_REGISTRY_TOKEN_LIFETIME", "48h")];
    let registry = Registry::start(Kind::Files, &env).await?;
    let password = registry.directory().join("data/registry/admin-password");
    let password = std::fs::read_to_string(password)?;
    let admin = registry.client().login("admin", password.trim());
    admin.push_image("team/app", "v1", &bytes(1, 10)).await?;
    let (client, path) = robot(&registry, &admin, "daily").await?;
    let (given, answer) = token(&client).await?;
    assert_eq!(pull(registry.client(), &given).await?, 200);
    let (_, shown) = admin.manage(Method::GET, &path, Value::Null).await?;
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let left_s = shown["expires_at"].as_u64().unwrap_or_default() - now_s;
    let expires_in = answer["expires_in"].as_u64().unwrap_or_default();
    assert!(
        (left_s..left_s + 60).contains(&expires_in),
        "{answer} {shown}"
    );
    Ok(())
}

#[tokio::test]
async fn a_token_ends_with_the_role_it_was_given_for() -> anyhow::Result<()> {
    let (registry, admin) = start().await?;
    let nobody = registry.client();
    let ann = member(&registry, &admin, "ann", "developer").await?;
    admin.push_image("team/app", "v1", &bytes(1, 10)).await?;
    let members = "/projects/team/members";
    let role = |name: &str| json!({"role_name": name});
    let (given, _) = token(&ann).await?;
    let path = format!("{members}/ann");
    done(&admin, Method::PUT, &path, role("maintainer")).await?;
    assert_eq!(pull(nobody, &given).await?, 200, "she may do more");
    done(&admin, Method::PUT, &path, role("guest")).await?;
    assert_eq!(pull(nobody, &given).await?, 401, "and now less");
    let (given, _) = token(&ann).await?;
    done(&admin, Method::DELETE, &path, Value::Null).await?;
    assert_eq!(pull(nobody, &given).await?, 401);

    let group = json!({"group_name": "devs"});
    let group = done(&admin, Method::POST, "/usergroups", group).await?;
    let accounts = format!("/usergroups/{}/members", group["id"]);
    let ann_of_group = json!({"username": "ann"});
    let of_group = json!({"role_name": "guest", "member_group": {"group_name": "devs"}});
    done(&admin, Method::POST, &accounts, ann_of_group.clone()).await?;
    done(&admin, Method::POST, members, of_group.clone()).await?;
    let (given, _) = token(&ann).await?;
    assert_eq!(pull(nobody, &given).await?, 200);
    done(
        &admin,
        Method::DELETE,
        &format!("{accounts}/ann"),
        Value::Null,
    )
    .await?;
    assert_eq!(pull(nobody, &given).await?, 401);
    done(&admin, Method::POST, &accounts, ann_of_group).await?;
    let (given, _) = token(&ann).await?;
    done(
        &admin,
        Method::DELETE,
        &format!("{members}/group:devs"),
        Value::Null,
    )
    .await?;
    assert_eq!(pull(nobody, &given).await?, 401);
    done(&admin, Method::POST, members, of_group).await?;
    let (given, _) = token(&ann).await?;
    let path = format!("/usergroups/{}", group["id"]);
    done(&admin, Method::DELETE, &path, Value::Null).await?;
    assert_eq!(pull(nobody, &given).await?, 401);

    // Nobody in particular has tokens, too.
    let public = |is: &str| json!({"metadata": {"public": is}});
    done(&admin, Method::PUT, "/projects/team", public("true")).await?;
    let (given, _) = token(nobody).await?;
    assert_eq!(pull(nobody, &given).await?, 200);
    done(&admin, Method::PUT, "/projects/team", public("false")).await?;
    assert_eq!(pull(nobody, &given).await?, 401);
    Ok(())
}

/// Only with PostgreSQL, see `postgres.sh`.
#[tokio::test]
async fn other_processes_learn_of_it_soon() -> anyhow::Result<()> {
    let (registry, admin) = start().await?;
    let Some(other) = registry.start_replica().await? else {
        return Ok(());
    };
    let ann = member(&registry, &admin, "ann", "developer").await?;
    admin.push_image("team/app", "v1", &bytes(1, 10)).await?;
    let (given, _) = token(&ann).await?;
    let (own, _) = token(&other.client().login("ann", PASSWORD)).await?;
    for token in [&given, &own] {
        assert_eq!(pull(other.client(), token).await?, 200);
    }
    let path = format!("{}/password", account(&admin, "ann").await?);
    let password = json!({"new_password": "another long password"});
    done(&admin, Method::PUT, &path, password).await?;
    for token in [&given, &own] {
        assert_eq!(pull(registry.client(), token).await?, 401);
        wait_for("the other process", Duration::from_secs(20), async || {
            let status = pull(other.client(), token).await.ok()?;
            (status == 401).then_some(())
        })
        .await?;
    }
    // One that the other process gives from now on holds here at once.
    let ann = other.client().login("ann", "another long password");
    let (given, _) = token(&ann).await?;
    assert_eq!(pull(registry.client(), &given).await?, 200);
    Ok(())
}
