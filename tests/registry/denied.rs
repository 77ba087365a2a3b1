//! What is refused: who is told what, and that the audit trail is.

use std::time::Duration;

use anyhow::Context;
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tests::registry::{Kind, LOCAL, Registry, RegistryClient, bytes, code, sha256};
use tests::wait_for;

use crate::auth::{member, start};

/// The first record of the audit trail with these fields.
async fn told(registry: &Registry, fields: Value) -> anyhow::Result<Value> {
    let audit = registry.directory().join("data/log/registry-audit.log");
    let fields = fields.as_object().context("no fields")?;
    wait_for("the record", Duration::from_secs(20), async || {
        let text = std::fs::read_to_string(&audit).ok()?;
        let records = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        let mut records = records
            .filter(|record: &Value| fields.iter().all(|(name, value)| record[name] == *value));
        records.next()
    })
    .await
}

/// Tries passwords of an account, all at once; gives how often each status was the answer.
async fn guess(registry: &Registry, account: &str, times: usize) -> anyhow::Result<(usize, usize)> {
    let guesses = (0..times).map(|guess| async move {
        let guesser = registry.client().login(account, &format!("guess {guess}"));
        guesser.status(Method::GET, "/v2/").await
    });
    let statuses = join_all(guesses).await.into_iter();
    let statuses = statuses.collect::<Result<Vec<_>, _>>()?;
    let count = |status| statuses.iter().filter(|given| **given == status).count();
    Ok((count(401), count(429)))
}

#[tokio::test]
async fn guessing_at_once_does_not_help_and_locks_nobody_else_out() -> anyhow::Result<()> {
    let (registry, admin) = start().await?;
    assert_eq!(admin.status(Method::GET, "/v2/").await?, 200);
    let dev = member(&registry, &admin, "dev", "developer").await?;
    let (checked, refused) = guess(&registry, "admin", 40).await?;
    // Few seconds may have passed.
    assert!(
        (5..12).contains(&checked) && checked + refused == 40,
        "{checked} {refused}"
    );
    // Neither others from there, nor who has been right before.
    assert_eq!(dev.status(Method::GET, "/v2/").await?, 200);
    assert_eq!(admin.status(Method::GET, "/v2/").await?, 200);
    let throttled = json!({"event": "login_throttled", "actor": "admin", "result": "denied"});
    told(&registry, throttled).await?;
    let access = registry.directory().join("data/log/registry-access.log");
    wait_for("the line of log", Duration::from_secs(20), async || {
        let text = std::fs::read_to_string(&access).ok()?;
        let mut lines = text.lines().filter(|line| line.contains(r#""status":429"#));
        lines.next()?.contains(r#""user":"admin""#).then_some(())
    })
    .await
}

/// Names that anybody can make up are in no line where somebody adds up by them.
#[tokio::test]
async fn what_is_refused_is_named_by_its_path_only() -> anyhow::Result<()> {
    let (registry, admin) = start().await?;
    let dev = member(&registry, &admin, "dev", "developer").await?;
    let path = "/v2/madeup/app/manifests/v1";
    for (client, status) in [(registry.client(), 401), (&dev, 403), (&admin, 404)] {
        assert_eq!(client.status(Method::GET, path).await?, status);
    }
    let access = registry.directory().join("data/log/registry-access.log");
    let lines = wait_for("the lines", Duration::from_secs(20), async || {
        let text = std::fs::read_to_string(&access).ok()?;
        let lines: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
        let lines = lines.ok()?.into_iter().filter(|line| line["path"] == path);
        let lines: Vec<Value> = lines.collect();
        (lines.len() == 3).then_some(lines)
    })
    .await?;
    for (line, project) in lines
        .iter()
        .zip([json!(null), json!(null), json!("madeup")])
    {
        assert_eq!(
            (&line["route"], &line["action"]),
            (&json!("manifest"), &json!("pull"))
        );
        assert_eq!(line["project"], project, "{line}");
    }
    Ok(())
}

/// Statuses of wrong passwords of `admin` that a proxy passes on from an address.
async fn guess_from(registry: &Registry, address: &str, times: usize) -> anyhow::Result<Vec<u16>> {
    let mut statuses = Vec::new();
    for guess in 0..times {
        let guesser = registry.client().login("admin", &format!("guess {guess}"));
        let ping = guesser.request(Method::GET, "/v2/");
        let ping = ping.header("x-forwarded-for", address).send().await?;
        statuses.push(ping.status().as_u16());
    }
    Ok(statuses)
}

#[tokio::test]
async fn only_a_trusted_proxy_says_who_guesses() -> anyhow::Result<()> {
    let trusting = [LOCAL, ("SKALD_REGISTRY_TRUSTED_PROXIES", "127.0.0.0/8,::1")];
    let registry = Registry::start(Kind::Files, &trusting).await?;
    let first = guess_from(&registry, "192.0.2.1", 7).await?;
    assert!(first.contains(&429), "{first:?}");
    assert_eq!(guess_from(&registry, "192.0.2.2", 1).await?, [401]);
    told(
        &registry,
        json!({"event": "login_failed", "remote": "192.0.2.2"}),
    )
    .await?;

    let (registry, _) = start().await?;
    let mut statuses = Vec::new();
    for address in 0..7 {
        statuses.extend(guess_from(&registry, &format!("192.0.2.{address}"), 1).await?);
    }
    assert!(statuses.contains(&429), "{statuses:?}");
    told(
        &registry,
        json!({"event": "login_failed", "remote": "127.0.0.1"}),
    )
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_header_that_the_proxy_passes_on_says_nothing() -> anyhow::Result<()> {
    let trusting = [LOCAL, ("SKALD_REGISTRY_TRUSTED_PROXIES", "127.0.0.0/8,::1")];
    let registry = Registry::start(Kind::Files, &trusting).await?;
    let mut statuses = Vec::new();
    for guess in 0..7 {
        let guesser = registry.client().login("admin", &format!("guess {guess}"));
        let ping = guesser.request(Method::GET, "/v2/");
        let ping = ping.header("x-forwarded-for", "192.0.2.1");
        let ping = ping.header("forwarded", format!("for=198.51.100.{guess}"));
        statuses.push(ping.send().await?.status().as_u16());
    }
    assert!(statuses.contains(&429), "{statuses:?}");
    let failed = json!({"event": "login_failed", "remote": "192.0.2.1"});
    told(&registry, failed).await?;
    Ok(())
}

#[tokio::test]
async fn a_robots_number_tells_nothing_to_who_may_not_see_it() -> anyhow::Result<()> {
    let (registry, admin) = start().await?;
    let dev = member(&registry, &admin, "dev", "limitedGuest").await?;
    let closed = json!({"project_name": "closed"});
    assert_eq!(
        admin.manage(Method::POST, "/projects", closed).await?.0,
        201
    );
    let mut answers = Vec::new();
    for project in [json!("closed"), json!("team"), Value::Null] {
        let allowed = project.as_str().unwrap_or("*");
        let robot = json!({"name": "ci", "project": project,
            "permissions": [{"project": allowed, "actions": ["pull"]}]});
        let (status, made) = admin.manage(Method::POST, "/robots", robot).await?;
        assert_eq!(status, 201, "{made}");
        answers.push(format!("/robots/{}", made["id"]));
    }
    answers.push("/robots/98765".to_owned());
    for path in answers {
        for method in [Method::GET, Method::PUT, Method::PATCH, Method::DELETE] {
            let (status, body) = dev.manage(method.clone(), &path, json!({})).await?;
            let message = &body["errors"][0]["message"];
            let expected = (404, &json!("there is no such robot"));
            assert_eq!((status, message), expected, "{method} {path}");
        }
    }
    let denied = json!({"event": "access_denied", "actor": "dev", "resource": "robot$closed+ci"});
    told(&registry, denied).await?;
    Ok(())
}

#[tokio::test]
async fn refusals_are_in_the_audit_trail() -> anyhow::Result<()> {
    let (registry, admin) = start().await?;
    let dev = member(&registry, &admin, "dev", "developer").await?;
    let small = json!({"hard": {"storage": 1000}});
    assert_eq!(
        admin.manage(Method::PUT, "/quotas/team", small).await?.0,
        200
    );
    assert!(dev.push_blob("team/app", &bytes(1, 2000)).await.is_err());
    let quota = json!({"event": "quota_denied", "actor": "dev", "project": "team",
        "actor_type": "user", "result": "denied"});
    let record = told(&registry, quota).await?;
    let reason = record["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("may have 1000 bytes"), "{record}");

    let me = json!({"role_name": "projectAdmin", "member_user": {"username": "dev"}});
    let tried = dev.manage(Method::POST, "/projects/team/members", me);
    assert_eq!(tried.await?.0, 403);
    let asked = "POST /api/v2.0/projects/team/members";
    told(
        &registry,
        json!({"event": "access_denied", "actor": "dev", "resource": asked}),
    )
    .await?;
    let sysadmin = json!({"sysadmin_flag": true});
    assert_eq!(
        dev.manage(Method::PUT, "/users/1/sysadmin", sysadmin)
            .await?
            .0,
        403
    );
    let asked = "PUT /api/v2.0/users/1/sysadmin";
    told(
        &registry,
        json!({"event": "access_denied", "actor": "dev", "resource": asked}),
    )
    .await?;

    let manifest = dev.push_image("team/app", "v1", &bytes(2, 10)).await?;
    let rule = json!({"kind": "immutable", "tags": "v*"});
    let (status, rule) = admin
        .manage(Method::POST, "/projects/team/rules", rule)
        .await?;
    assert_eq!(status, 201);
    assert_eq!(
        admin
            .status(Method::DELETE, "/v2/team/app/manifests/v1")
            .await?,
        412
    );
    let immutable = json!({"event": "tag_immutable", "actor": "admin", "ref": "v1",
        "repo": "team/app", "result": "denied"});
    told(&registry, immutable).await?;
    // A repository goes with its tags, so it stays with them.
    let repository = "/projects/team/repositories/app";
    let (status, body) = admin
        .manage(Method::DELETE, repository, Value::Null)
        .await?;
    let error = &body["errors"][0];
    assert_eq!(
        (status, &error["code"], &error["detail"]["rule"]),
        (412, &json!("PRECONDITION_FAILED"), &rule["id"])
    );
    assert_eq!(
        admin.get("/v2/team/app/manifests/v1").await?,
        Some(manifest)
    );
    let rule = format!("/projects/team/rules/{}", rule["id"]);
    assert_eq!(
        admin.manage(Method::DELETE, &rule, Value::Null).await?.0,
        200
    );
    assert_eq!(
        admin
            .manage(Method::DELETE, repository, Value::Null)
            .await?
            .0,
        200
    );
    Ok(())
}

#[tokio::test]
async fn robots_do_in_the_management_api_what_they_were_given() -> anyhow::Result<()> {
    let (registry, admin) = start().await?;
    let manifest = admin.push_image("team/app", "v1", &bytes(1, 10)).await?;
    let robot = async |name: &str, rights: &[(&str, &str)]| -> anyhow::Result<RegistryClient> {
        let access = rights
            .iter()
            .map(|(resource, action)| json!({"resource": resource, "action": action}));
        let access: Vec<Value> = access.collect();
        let robot = json!({"name": name, "level": "project", "duration": -1, "permissions": [
            {"kind": "project", "namespace": "team", "access": access}]});
        let (status, made) = admin.manage(Method::POST, "/robots", robot).await?;
        assert_eq!(status, 201, "{made}");
        let name = made["name"].as_str().unwrap_or_default();
        let secret = made["secret"].as_str().unwrap_or_default();
        Ok(registry.client().login(name, secret))
    };
    let pull = ("repository", "pull");
    let looks = robot("looks", &[pull, ("tag", "list"), ("artifact", "read")]).await?;
    let tags = robot("tags", &[pull, ("repository", "push"), ("tag", "create")]).await?;
    let removes = robot("removes", &[pull, ("artifact", "delete")]).await?;
    let repositories = "/projects/team/repositories";
    let artifacts = format!("{repositories}/app/artifacts");
    let other = format!("{artifacts}/v1/tags");
    let of_digest = format!("{artifacts}/{}", sha256(&manifest));
    for (path, first) in [(repositories, "name"), (artifacts.as_str(), "digest")] {
        let (status, body) = looks.manage(Method::GET, path, Value::Null).await?;
        assert_eq!(status, 200, "{body}");
        assert!(body[0][first].is_string(), "{body}");
    }
    let tag = json!({"name": "v2"});
    assert_eq!(
        looks.manage(Method::POST, &other, tag.clone()).await?.0,
        403
    );
    assert_eq!(
        removes.manage(Method::POST, &other, tag.clone()).await?.0,
        403
    );
    assert_eq!(tags.manage(Method::POST, &other, tag).await?.0, 201);
    for (client, status) in [(&looks, 403), (&tags, 403), (&removes, 200)] {
        let done = client.manage(Method::DELETE, &of_digest, Value::Null);
        assert_eq!(done.await?.0, status);
    }
    // Nothing else comes with that.
    let rule = json!({"kind": "immutable", "tags": "v*"});
    let rules = "/projects/team/rules";
    assert_eq!(removes.manage(Method::POST, rules, rule).await?.0, 403);
    let closed = json!({"project_name": "closed"});
    assert_eq!(
        admin.manage(Method::POST, "/projects", closed).await?.0,
        201
    );
    let path = "/projects/closed/repositories";
    assert_eq!(looks.manage(Method::GET, path, Value::Null).await?.0, 404);
    Ok(())
}

#[tokio::test]
async fn values_that_mean_nothing_are_refused() -> anyhow::Result<()> {
    let (registry, admin) = start().await?;
    let dev = member(&registry, &admin, "dev", "developer").await?;
    let pulls = json!([{"project": "team", "actions": ["pull"]}]);
    for (duration, permissions) in [
        (json!(-5), pulls.clone()),
        (json!(3_000_000_000_i64), pulls.clone()),
        (json!(30), json!([])),
        (json!(30), json!([{"project": "team", "actions": []}])),
    ] {
        let robot = json!({"name": "ci", "project": "team", "duration": duration,
            "permissions": permissions});
        let refused = admin.manage(Method::POST, "/robots", robot).await?;
        assert_eq!(refused.0, 400, "{}", refused.1);
    }
    let robot = json!({"name": "ci", "project": "team", "duration": 0, "permissions": pulls});
    let (status, made) = admin.manage(Method::POST, "/robots", robot).await?;
    assert_eq!(status, 201);
    let secret = made["secret"].as_str().unwrap_or_default();
    let ci = registry.client().login("robot$team+ci", secret);
    assert_eq!(ci.status(Method::GET, "/v2/").await?, 200);
    let path = format!("/robots/{}", made["id"]);
    let (_, shown) = admin.manage(Method::GET, &path, Value::Null).await?;
    assert_eq!(shown["duration"], 30);
    let wrong = json!({"duration": -2});
    assert_eq!(admin.manage(Method::PUT, &path, wrong).await?.0, 400);

    for bytes in [-2, 0] {
        let quota = json!({"hard": {"storage": bytes}});
        assert_eq!(
            admin.manage(Method::PUT, "/quotas/team", quota).await?.0,
            400
        );
        let project = json!({"project_name": "none", "storage_limit": bytes});
        assert_eq!(
            admin.manage(Method::POST, "/projects", project).await?.0,
            400
        );
    }
    for (name, status) in [
        ("anonymous", 400),
        ("Anonymous", 400),
        ("DEV", 409),
        ("Admin", 409),
    ] {
        let account = json!({"username": name, "password": "a long enough password"});
        assert_eq!(
            admin.manage(Method::POST, "/users", account).await?.0,
            status,
            "{name}"
        );
    }

    let me = dev.json("/api/v2.0/users/current").await?;
    let path = format!("/users/{}/password", me["user_id"]);
    let new = "another long password";
    for old in [Value::Null, json!("a wrong password")] {
        let change = json!({"old_password": old, "new_password": new});
        let request = dev
            .request(Method::PUT, &format!("/api/v2.0{path}"))
            .json(&change);
        let refused = request.send().await?;
        assert_eq!(refused.status(), 403);
        assert_eq!(code(refused).await?, "DENIED");
    }
    let change = json!({"old_password": "a long enough password", "new_password": new});
    assert_eq!(dev.manage(Method::PUT, &path, change).await?.0, 200);
    let dev = registry.client().login("dev", new);
    assert_eq!(dev.status(Method::GET, "/v2/").await?, 200);
    let change = json!({"new_password": "given by an administrator"});
    assert_eq!(admin.manage(Method::PUT, &path, change).await?.0, 200);
    Ok(())
}
