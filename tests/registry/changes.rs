//! What the audit trail tells of a change: what it was before, what it is after, and of which tags and
//! digests.

use anyhow::Context;
use reqwest::Method;
use serde_json::{Value, json};
use tests::registry::{MANIFEST, RegistryClient, bytes, image, sha256, text};

use crate::auth::start;

const PASSWORD: &str = "a long enough password";

/// The records of the newest events of this name, as the log has them, newest first.
async fn records(client: &RegistryClient, event: &str) -> anyhow::Result<Vec<Value>> {
    let path = format!("/audit-logs?q=event={event}");
    let (_, told) = client.manage(Method::GET, &path, Value::Null).await?;
    let told = told.as_array().context("no list")?;
    Ok(told.iter().map(|one| one["record"].clone()).collect())
}

/// Asks for a change; gives what its record says of before and after.
async fn change(
    admin: &RegistryClient,
    (method, path): (Method, &str),
    body: Value,
    event: &str,
) -> anyhow::Result<[Value; 2]> {
    let (status, answer) = admin.manage(method, path, body).await?;
    anyhow::ensure!(status < 300, "{path}: {status} {answer}");
    let record = records(admin, event).await?.into_iter().next();
    let mut record = record.with_context(|| format!("no {event}"))?;
    Ok(["before", "after"].map(|name| record[name].take()))
}

/// Makes a thing; gives its number.
async fn make(admin: &RegistryClient, path: &str, body: Value) -> anyhow::Result<i64> {
    let (status, made) = admin.manage(Method::POST, path, body).await?;
    anyhow::ensure!(status == 201, "{path}: {status} {made}");
    let id = made["id"].as_i64().or(made["user_id"].as_i64());
    id.context("no number")
}

#[tokio::test]
async fn a_record_says_what_changed_of_an_account() -> anyhow::Result<()> {
    let (_registry, admin) = start().await?;
    let ann = json!({"username": "ann", "password": PASSWORD, "email": "ann@one"});
    let id = make(&admin, "/users", ann).await?;
    let made = &records(&admin, "create_user").await?[0]["after"];
    assert_eq!(*made, json!({"sysadmin_flag": false, "email": "ann@one"}));
    for (path, body, before, after) in [
        (
            "sysadmin",
            json!({"sysadmin_flag": true}),
            json!({"sysadmin_flag": false}),
            json!({"sysadmin_flag": true}),
        ),
        (
            "disabled",
            json!({"disabled": true}),
            json!({"disabled": false}),
            json!({"disabled": true}),
        ),
        (
            "password",
            json!({"new_password": "quite another password"}),
            Value::Null,
            json!({"password": "changed"}),
        ),
        (
            "",
            json!({"email": "ann@two"}),
            json!({"email": "ann@one"}),
            json!({"email": "ann@two"}),
        ),
        // Nothing at all.
        ("", json!({"email": "ann@two"}), Value::Null, Value::Null),
    ] {
        let path = format!("/users/{id}/{path}");
        let told = change(&admin, (Method::PUT, &path), body, "update_user").await?;
        assert_eq!(told, [before, after], "{path}");
    }
    let path = format!("/users/{id}");
    let deleted = (Method::DELETE, path.as_str());
    let [gone, left] = change(&admin, deleted, Value::Null, "delete_user").await?;
    assert_eq!((&gone["sysadmin_flag"], left), (&json!(true), Value::Null));
    Ok(())
}

#[tokio::test]
async fn a_record_says_what_changed_of_a_project_and_its_people() -> anyhow::Result<()> {
    let (_registry, admin) = start().await?;
    let up = json!({"name": "up", "url": "https://up.example.org",
        "credential": {"access_key": "me", "access_secret": "hush-hush"}});
    let up = make(&admin, "/registries", up).await?;
    let team = json!({"project_name": "team", "storage_limit": 1000});
    make(&admin, "/projects", team).await?;
    let made = &records(&admin, "create_project").await?[0]["after"];
    assert_eq!(*made, json!({"public": false, "storage_limit": 1000}));
    let ann = json!({"username": "ann", "password": PASSWORD});
    make(&admin, "/users", ann).await?;
    let (team, registry) = ("/projects/team", format!("/registries/{up}"));
    let (members, member) = ("/projects/team/members", "/projects/team/members/ann");
    let role = |role: &str| json!({"role_name": role, "member_user": {"username": "ann"}});
    let none = Value::Null;
    for (asked, body, event, before, after) in [
        (
            (Method::PUT, team),
            json!({"metadata": {"public": "true"}}),
            "update_project",
            json!({"public": false}),
            json!({"public": true}),
        ),
        (
            (Method::PUT, "/quotas/team"),
            json!({"hard": {"storage": 2000}}),
            "update_project",
            json!({"storage_limit": 1000}),
            json!({"storage_limit": 2000}),
        ),
        (
            (Method::PUT, team),
            json!({"registry_id": up}),
            "update_project",
            none.clone(),
            json!({"registry": "up"}),
        ),
        (
            (Method::PUT, &registry),
            json!({"description": "a mirror"}),
            "update_registry",
            json!({"description": ""}),
            json!({"description": "a mirror"}),
        ),
        (
            (Method::PUT, &registry),
            json!({"credential": {"access_key": "you", "access_secret": "hush-hush-hush"}}),
            "update_registry",
            json!({"access_key": "me"}),
            json!({"access_key": "you", "access_secret": "changed"}),
        ),
        (
            (Method::POST, members),
            role("guest"),
            "update_member",
            none.clone(),
            json!({"role": "guest"}),
        ),
        (
            (Method::PUT, member),
            role("developer"),
            "update_member",
            json!({"role": "guest"}),
            json!({"role": "developer"}),
        ),
        (
            (Method::DELETE, member),
            none.clone(),
            "delete_member",
            json!({"role": "developer"}),
            none.clone(),
        ),
        (
            (Method::DELETE, team),
            none.clone(),
            "delete_project",
            json!({"public": true, "storage_limit": 2000, "registry": "up"}),
            none.clone(),
        ),
    ] {
        let path = asked.1.to_owned();
        let told = change(&admin, asked, body, event).await?;
        assert_eq!(told, [before, after], "{event} {path}");
    }
    let all = admin.manage(Method::GET, "/audit-logs?page_size=100", none);
    assert!(!all.await?.1.to_string().contains("hush"));
    Ok(())
}

#[tokio::test]
async fn a_record_says_what_changed_of_a_robot() -> anyhow::Result<()> {
    let (_registry, admin) = start().await?;
    let permission =
        |project: &str, actions: &[&str]| json!({"project": project, "actions": actions});
    let robot = json!({"name": "ci", "duration": -1,
        "permissions": [permission("a", &["pull"]), permission("b", &["pull"])]});
    let path = format!("/robots/{}", make(&admin, "/robots", robot).await?);
    let robot = |method: Method| (method, path.as_str());
    let made = &records(&admin, "create_robot").await?[0]["after"];
    assert_eq!(made["permissions"], json!({"a": ["pull"], "b": ["pull"]}));
    let (event, disable) = ("update_robot", json!({"disable": true}));
    let told = change(&admin, robot(Method::PUT), disable, event).await?;
    assert_eq!(told, [json!({"disable": false}), json!({"disable": true})]);
    // Only the project in which it may do something else.
    let more = json!({"permissions":
        [permission("a", &["pull"]), permission("b", &["push", "pull"])], "duration": 1});
    let [before, after] = change(&admin, robot(Method::PUT), more, event).await?;
    assert_eq!(before, json!({"permissions": {"b": ["pull"]}}));
    assert_eq!(after["permissions"], json!({"b": ["pull", "push"]}));
    assert!(
        after["expires_at"]
            .as_str()
            .is_some_and(|at| at.ends_with('Z'))
    );
    let secret = json!({"secret": "Thought-0f-it"});
    let told = change(&admin, robot(Method::PATCH), secret, event).await?;
    assert_eq!(told, [Value::Null, json!({"secret": "changed"})]);
    let deleted = robot(Method::DELETE);
    let [gone, left] = change(&admin, deleted, Value::Null, "delete_robot").await?;
    assert_eq!(
        gone["permissions"],
        json!({"a": ["pull"], "b": ["pull", "push"]})
    );
    assert_eq!(left, Value::Null);
    let all = admin.manage(Method::GET, "/audit-logs?page_size=100", Value::Null);
    let all = all.await?.1.to_string();
    assert!(
        !all.contains("Thought") && !all.contains("$argon2"),
        "{all}"
    );
    Ok(())
}

#[tokio::test]
async fn a_record_says_what_changed_of_rules_and_settings() -> anyhow::Result<()> {
    let (_registry, admin) = start().await?;
    let project = make(&admin, "/projects", json!({"project_name": "team"})).await?;
    let (rules, immutable) = (
        "/projects/team/rules",
        json!({"kind": "immutable", "repositories": "**", "tags": "v*"}),
    );
    let event = "policy_changed";
    let told = change(&admin, (Method::POST, rules), immutable.clone(), event).await?;
    assert_eq!(told, [Value::Null, immutable.clone()]);
    let (_, known) = admin.manage(Method::GET, rules, Value::Null).await?;
    let rule = format!("{rules}/{}", known[0]["id"]);
    let told = change(&admin, (Method::DELETE, &rule), Value::Null, event).await?;
    assert_eq!(told, [immutable, Value::Null]);

    let policy = |counts: &[i64], cron: &str| {
        let rule = |count: &i64| {
            json!({"action": "retain", "template": "latestPushedK",
                "params": {"latestPushedK": count}})
        };
        json!({
            "algorithm": "or", "scope": {"level": "project", "ref": project},
            "trigger": {"kind": "Schedule", "settings": {"cron": cron}},
            "rules": counts.iter().map(rule).collect::<Vec<_>>(),
        })
    };
    let kept = |told: &Value| -> Vec<i64> {
        let rules = told["rules"].as_array().into_iter().flatten();
        rules
            .filter_map(|rule| rule["latestPushedK"].as_i64())
            .collect()
    };
    let (post, yearly) = ((Method::POST, "/retentions"), "0 0 0 1 jan *");
    let [before, after] = change(&admin, post.clone(), policy(&[1, 2], ""), event).await?;
    assert_eq!((before, kept(&after)), (Value::Null, vec![1, 2]));
    let [before, after] = change(&admin, post, policy(&[2, 3], yearly), event).await?;
    assert_eq!((kept(&before), kept(&after)), (vec![1], vec![3]));
    assert_eq!([&before["cron"], &after["cron"]], ["", yearly]);

    let (settings, schedule) = ("/configurations", "/system/gc/schedule");
    let label = json!({"name": "good", "scope": "g", "color": "#00FF00"});
    let label = format!("/labels/{}", make(&admin, "/labels", label).await?);
    let custom = |cron: &str| json!({"schedule": {"type": "Custom", "cron": cron}});
    for (path, body, event, before, after) in [
        (
            settings,
            json!({"read_only": true}),
            "update_configuration",
            Value::Null,
            json!({"read_only": true}),
        ),
        (
            settings,
            json!({"read_only": false, "robot_token_duration": 7}),
            "update_configuration",
            json!({"read_only": true}),
            json!({"read_only": false, "robot_token_duration": 7}),
        ),
        (
            schedule,
            custom(yearly),
            "gc_schedule_changed",
            Value::Null,
            json!({"type": "Custom", "cron": yearly}),
        ),
        (
            schedule,
            custom("0 0 0 2 jan *"),
            "gc_schedule_changed",
            json!({"cron": yearly}),
            json!({"cron": "0 0 0 2 jan *"}),
        ),
        (
            &label,
            json!({"name": "best", "color": "#00FF00"}),
            "update_label",
            json!({"name": "good"}),
            json!({"name": "best"}),
        ),
    ] {
        let told = change(&admin, (Method::PUT, path), body, event).await?;
        assert_eq!(told, [before, after], "{path}");
    }
    let deleted = (Method::DELETE, label.as_str());
    let told = change(&admin, deleted, Value::Null, "delete_label").await?;
    assert_eq!(told[0]["name"], "best");
    Ok(())
}

#[tokio::test]
async fn every_tag_and_every_digest_has_its_record() -> anyhow::Result<()> {
    let (_registry, admin) = start().await?;
    let config = br#"{"os":"linux"}"#;
    let mut digests = Vec::new();
    for (seed, tags) in [(1, "?tag=a&tag=b"), (2, "?tag=b&tag=c"), (3, "")] {
        let layer = bytes(seed, 10);
        admin.push_blob("team/app", config).await?;
        admin.push_blob("team/app", &layer).await?;
        let manifest = image(config, &[&layer]).to_string().into_bytes();
        let digest = sha256(&manifest);
        let reference = format!("{digest}{tags}");
        let put = admin.put_manifest("team/app", &reference, MANIFEST, &manifest);
        let put = put.await?;
        anyhow::ensure!(put.status() == 201, "{}", text(put).await);
        digests.push(digest);
    }
    let told = async |event: &str| -> anyhow::Result<Vec<(Value, Value)>> {
        let mut told: Vec<(Value, Value)> = records(&admin, event)
            .await?
            .iter()
            .map(|record| (record["ref"].clone(), record["digest"].clone()))
            .collect();
        told.sort_by_key(|(tag, _)| tag.to_string());
        Ok(told)
    };
    let one = |tag: Value, at: usize| (tag, json!(digests[at]));
    let pushed = [
        one(json!("a"), 0),
        one(json!("b"), 0),
        one(json!("b"), 1),
        one(json!("c"), 1),
        one(Value::Null, 2),
    ];
    let mut found = told("push_artifact").await?;
    found.sort_by_key(|(tag, digest)| {
        let at = digests.iter().position(|known| digest == known);
        (tag.to_string(), at)
    });
    assert_eq!(found, pushed);
    assert_eq!(told("tag_moved").await?, [one(json!("b"), 1)]);
    let path = format!("/v2/team/app/manifests/{}", digests[1]);
    assert_eq!(admin.status(Method::DELETE, &path).await?, 202);
    let removed = [one(json!("b"), 1), one(json!("c"), 1)];
    assert_eq!(told("delete_artifact").await?, removed);
    // All that is left goes with its repository.
    let repository = "/projects/team/repositories/app";
    let gone = admin.manage(Method::DELETE, repository, Value::Null);
    assert_eq!(gone.await?.0, 200);
    let left = [one(json!("a"), 0), one(Value::Null, 2)];
    let removed = [&left[..1], &removed, &left[1..]].concat();
    assert_eq!(told("delete_artifact").await?, removed);
    assert_eq!(told("delete_repository").await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_record_says_what_goes_with_an_account_or_a_group() -> anyhow::Result<()> {
    let (_registry, admin) = start().await?;
    let ann = json!({"username": "ann", "password": PASSWORD});
    let ann = make(&admin, "/users", ann).await?;
    let devs = make(&admin, "/usergroups", json!({"group_name": "devs"})).await?;
    let accounts = format!("/usergroups/{devs}/members");
    let inside = admin.manage(Method::POST, &accounts, json!({"username": "ann"}));
    assert_eq!(inside.await?.0, 201);
    for (project, member) in [
        (
            "a",
            json!({"role_name": "guest", "member_user": {"username": "ann"}}),
        ),
        (
            "b",
            json!({"role_name": "developer", "member_group": {"group_name": "devs"}}),
        ),
    ] {
        make(&admin, "/projects", json!({"project_name": project})).await?;
        let members = format!("/projects/{project}/members");
        assert_eq!(admin.manage(Method::POST, &members, member).await?.0, 201);
    }
    let path = format!("/users/{ann}");
    let deleted = (Method::DELETE, path.as_str());
    let [gone, left] = change(&admin, deleted, Value::Null, "delete_user").await?;
    assert_eq!(
        gone["lost"],
        json!({"roles": {"a": "guest"}, "groups": ["devs"]})
    );
    assert_eq!(left, Value::Null);
    let bob = json!({"username": "bob", "password": PASSWORD});
    make(&admin, "/users", bob).await?;
    let inside = admin.manage(Method::POST, &accounts, json!({"username": "bob"}));
    assert_eq!(inside.await?.0, 201);
    let path = format!("/usergroups/{devs}");
    let deleted = (Method::DELETE, path.as_str());
    let told = change(&admin, deleted, Value::Null, "delete_group").await?;
    let gone = json!({"roles": {"b": "developer"}, "accounts": ["bob"]});
    assert_eq!(told, [gone, Value::Null]);
    Ok(())
}
