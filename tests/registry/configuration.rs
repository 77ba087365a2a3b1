//! What is changed while the registry runs.

use reqwest::Method;
use serde_json::{Value, json};
use tests::registry::{Kind, LOCAL, Registry, RegistryClient, bytes};

use crate::auth::{member, start};

const CONFIGURATIONS: &str = "/configurations";

async fn change(client: &RegistryClient, values: Value) -> anyhow::Result<(u16, Value)> {
    client.manage(Method::PUT, CONFIGURATIONS, values).await
}

async fn shown(client: &RegistryClient, name: &str) -> anyhow::Result<(Value, bool)> {
    let (status, all) = client
        .manage(Method::GET, CONFIGURATIONS, json!(null))
        .await?;
    anyhow::ensure!(status == 200, "{all}");
    let setting = &all[name];
    Ok((setting["value"].clone(), setting["editable"] == true))
}

#[tokio::test]
async fn nothing_changes_while_it_is_read_only() -> anyhow::Result<()> {
    let (mut registry, admin) = start().await?;
    let dev = member(&registry, &admin, "dev", "maintainer").await?;
    dev.push_image("team/app", "v1", &bytes(1, 10)).await?;
    let upload = dev.begin("team/app").await?;
    assert_eq!(shown(&admin, "read_only").await?, (json!(false), true));
    assert_eq!(change(&dev, json!({"read_only": true})).await?.0, 403);
    assert_eq!(change(&admin, json!({"read_only": true})).await?.0, 200);
    assert_eq!(shown(&admin, "read_only").await?, (json!(true), true));
    // Also after a start.
    registry.kill()?;
    registry.start_again().await?;
    let artifacts = "/api/v2.0/projects/team/repositories/app/artifacts";
    for (method, path) in [
        (Method::POST, "/v2/team/app/blobs/uploads/".to_owned()),
        (Method::PATCH, upload.clone()),
        (Method::PUT, "/v2/team/app/manifests/v2".to_owned()),
        (Method::DELETE, "/v2/team/app/manifests/v1".to_owned()),
        (Method::DELETE, format!("{artifacts}/v1")),
        (Method::DELETE, format!("{artifacts}/v1/tags/v1")),
        (Method::POST, format!("{artifacts}?from=team/app:v1")),
    ] {
        let refused = dev.request(method.clone(), &path).send().await?;
        assert_eq!(refused.status(), 403, "{method} {path}");
        let body: Value = refused.json().await?;
        let why = body["errors"][0]["message"].as_str().unwrap_or_default();
        assert!(why.contains("read-only"), "{method} {path}: {why}");
    }
    for (method, path) in [
        (Method::GET, "/v2/team/app/manifests/v1"),
        (Method::HEAD, "/v2/team/app/manifests/v1"),
        (Method::GET, upload.as_str()),
    ] {
        let status = dev.status(method.clone(), path).await?;
        assert!(status == 200 || status == 204, "{method} {path}: {status}");
    }
    assert_eq!(change(&admin, json!({"read_only": null})).await?.0, 200);
    dev.push_image("team/app", "v2", &bytes(2, 10)).await?;
    let (_, records) = admin
        .manage(
            Method::GET,
            "/audit-logs?q=event=update_configuration",
            json!(null),
        )
        .await?;
    assert_eq!(records.as_array().map(Vec::len), Some(2), "{records}");
    Ok(())
}

#[tokio::test]
async fn projects_robots_and_tokens_are_as_it_says() -> anyhow::Result<()> {
    let (registry, admin) = start().await?;
    let dev = member(&registry, &admin, "dev", "developer").await?;
    let project = |name: &str| json!({"project_name": name});
    let make = async |client: &RegistryClient, project: Value| {
        client.manage(Method::POST, "/projects", project).await
    };
    assert_eq!(make(&dev, project("mine")).await?.0, 403);
    let values = json!({
        "project_creation_restriction": "everyone", "storage_per_project": 5000,
        "robot_token_duration": "7", "token_expiration": 9,
        // As it is, which is no change, however it is written.
        "self_registration": false, "quota_per_project_enable": "true", "auth_mode": "db_auth",
        "robot_name_prefix": null,
    });
    assert_eq!(change(&admin, values).await?.0, 200);
    assert_eq!(make(&dev, project("mine")).await?.0, 201);
    let (_, quota) = dev.manage(Method::GET, "/quotas/mine", json!(null)).await?;
    assert_eq!(quota["hard"]["storage"], 5000, "{quota}");
    let mut large = project("large");
    large["storage_limit"] = json!(-1);
    assert_eq!(make(&dev, large.clone()).await?.0, 403);
    assert_eq!(make(&admin, large).await?.0, 201);
    let permissions = json!([{"project": "mine", "actions": ["pull"]}]);
    for robot in [
        json!({"name": "ci", "project": "mine", "duration": 0, "permissions": permissions}),
        json!({"name": "cd", "project": "mine", "permissions": permissions}),
    ] {
        let (status, made) = dev.manage(Method::POST, "/robots", robot).await?;
        assert_eq!(status, 201, "{made}");
        let path = format!("/robots/{}", made["id"]);
        let (_, robot) = dev.manage(Method::GET, &path, json!(null)).await?;
        assert_eq!(robot["duration"], 7);
    }
    let token = dev.json("/service/token?service=registry").await?;
    assert_eq!(token["expires_in"], 540);
    Ok(())
}

#[tokio::test]
async fn all_or_nothing_changes_and_the_file_comes_first() -> anyhow::Result<()> {
    let env = [
        LOCAL,
        ("SKALD_REGISTRY_PROJECTS_QUOTA", "1000000"),
        ("SKALD_REGISTRY_TOKEN_LIFETIME", "2m"),
    ];
    let registry = Registry::start(Kind::Files, &env).await?;
    let password = registry.directory().join("data/registry/admin-password");
    let password = std::fs::read_to_string(password)?;
    let admin = registry.client().login("admin", password.trim());
    assert_eq!(
        shown(&admin, "storage_per_project").await?,
        (json!(1_000_000), false)
    );
    assert_eq!(shown(&admin, "token_expiration").await?, (json!(2), false));
    assert_eq!(shown(&admin, "auth_mode").await?, (json!("db_auth"), false));
    for (values, status, word) in [
        (
            json!({"storage_per_project": 7}),
            403,
            "registry.projects.quota",
        ),
        (
            json!({"token_expiration": 7}),
            403,
            "registry.token_lifetime",
        ),
        (json!({"self_registration": true}), 403, "self_registration"),
        (
            json!({"colour": "red"}),
            400,
            "project_creation_restriction",
        ),
        (json!({"read_only": "perhaps"}), 400, "true or false"),
        (
            json!({"project_creation_restriction": "me"}),
            400,
            "everyone",
        ),
        (json!({"robot_token_duration": 0}), 400, "from 1"),
        (json!(["read_only"]), 400, ""),
    ] {
        let mut both = values.clone();
        if let Some(values) = both.as_object_mut() {
            let flag = if values.contains_key("read_only") {
                "perhaps".into()
            } else {
                json!(true)
            };
            values.insert("read_only".to_owned(), flag);
        }
        let (given, body) = change(&admin, both).await?;
        assert_eq!(given, status, "{values}: {body}");
        let why = body["errors"][0]["message"].as_str().unwrap_or_default();
        assert!(why.contains(word), "{values}: {why}");
        assert_eq!(shown(&admin, "read_only").await?.0, false, "{values}");
    }
    Ok(())
}

/// They are often in the same shell.
#[tokio::test]
async fn variables_of_the_command_line_are_known() -> anyhow::Result<()> {
    let names = [
        "SKALD_REGISTRY_ADDR",
        "SKALD_REGISTRY_USERNAME",
        "SKALD_REGISTRY_PASSWORD",
        "SKALD_REGISTRY_ADR",
    ];
    let registry = Registry::start(Kind::Files, &names.map(|name| (name, "x"))).await?;
    let log = std::fs::read_to_string(registry.directory().join("data/log/skald.log"))?;
    let told = log.lines().filter(|line| line.contains("sets no key"));
    let told: Vec<&str> = told.collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told.iter()
            .all(|line| line.contains("SKALD_REGISTRY_ADR\""))
    );
    Ok(())
}
