//! Logins, tokens, roles and robots.

use std::time::Duration;

use anyhow::Context;
use reqwest::Method;
use serde_json::{Value, json};
use tests::registry::{Kind, LOCAL, Registry, RegistryClient, bytes, code, header, sha256};
use tests::wait_for;

pub(crate) const PASSWORD: &str = "a long enough password";

/// A registry with accounts, and its administrator.
pub(crate) async fn start() -> anyhow::Result<(Registry, RegistryClient)> {
    start_with(&[]).await
}

/// The same with these variables of the environment.
pub(crate) async fn start_with(env: &[(&str, &str)]) -> anyhow::Result<(Registry, RegistryClient)> {
    let registry = Registry::start(Kind::Files, &[&[LOCAL], env].concat()).await?;
    let file = registry.directory().join("data/registry/admin-password");
    let password = std::fs::read_to_string(&file)?;
    let admin = registry.client().login("admin", password.trim());
    Ok((registry, admin))
}

/// A private project, and an account with a role in it.
pub(crate) async fn member(
    registry: &Registry,
    admin: &RegistryClient,
    name: &str,
    role: &str,
) -> anyhow::Result<RegistryClient> {
    let account = json!({"username": name, "password": PASSWORD});
    assert_eq!(admin.manage(Method::POST, "/users", account).await?.0, 201);
    let project = json!({"project_name": "team"});
    admin.manage(Method::POST, "/projects", project).await?;
    let member = json!({"role_name": role, "member_user": {"username": name}});
    let path = "/projects/team/members";
    assert_eq!(admin.manage(Method::POST, path, member).await?.0, 201);
    Ok(registry.client().login(name, PASSWORD))
}

#[tokio::test]
async fn the_first_password_is_random_and_for_its_owner_only() -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let (mut registry, admin) = start().await?;
    let file = registry.directory().join("data/registry/admin-password");
    assert_eq!(file.metadata()?.permissions().mode() & 0o777, 0o600);
    let password = std::fs::read_to_string(&file)?.trim().to_owned();
    assert!(password.len() >= 20);
    // What is no terminal may be collected as a log, which others read.
    let output = registry.process()?.output();
    assert!(output.contains(&file.display().to_string()) && !output.contains(&password));
    let log = std::fs::read_to_string(registry.directory().join("data/log/skald.log"))?;
    assert!(!log.contains(&password));
    assert_eq!(admin.status(Method::GET, "/v2/").await?, 200);
    registry.kill()?;
    registry.start_again().await?;
    assert_eq!(admin.status(Method::GET, "/v2/").await?, 200);
    let other = registry.client().login("admin", "admin");
    assert_eq!(other.status(Method::GET, "/v2/").await?, 401);
    Ok(())
}

#[tokio::test]
async fn the_first_password_is_forgotten_once_it_was_changed() -> anyhow::Result<()> {
    let (mut registry, admin) = start().await?;
    let file = registry.directory().join("data/registry/admin-password");
    let me = admin.manage(Method::GET, "/users/current", Value::Null);
    let path = format!("/users/{}/password", me.await?.1["user_id"]);
    let other = json!({"new_password": PASSWORD});
    assert_eq!(admin.manage(Method::PUT, &path, other).await?.0, 200);
    registry.stop().await?;
    registry.start_again().await?;
    assert!(!file.exists());
    let old = std::fs::read_to_string(file.with_extension("old"))?;
    assert!(old.trim().len() > 10, "it may be that of another database");
    let admin = registry.client().login("admin", PASSWORD);
    assert_eq!(admin.status(Method::GET, "/v2/").await?, 200);
    Ok(())
}

/// As if it had been killed between making the administrator and telling the password.
#[tokio::test]
async fn the_first_password_is_there_also_if_the_first_start_was_killed() -> anyhow::Result<()> {
    let (mut registry, admin) = start().await?;
    let file = registry.directory().join("data/registry/admin-password");
    let new = file.with_extension("new");
    let password = std::fs::read_to_string(&file)?;
    registry.kill()?;
    std::fs::rename(&file, &new)?;
    registry.start_again().await?;
    assert_eq!(std::fs::read_to_string(&file)?, password);
    assert!(!new.exists());
    assert_eq!(admin.status(Method::GET, "/v2/").await?, 200);
    // Another process was first: what this one had thought of is nobody's password.
    registry.kill()?;
    std::fs::write(&new, "nobody's\n")?;
    registry.start_again().await?;
    assert_eq!(std::fs::read_to_string(&file)?, password);
    assert!(!new.exists());
    Ok(())
}

#[tokio::test]
async fn nobody_pulls_from_public_projects_only() -> anyhow::Result<()> {
    let (registry, admin) = start().await?;
    let nobody = registry.client();
    let ping = nobody.request(Method::GET, "/v2/").send().await?;
    assert_eq!(ping.status(), 401);
    // Docker's client fails with what it has not got if it is asked for that, too.
    assert_eq!(ping.headers().get_all("www-authenticate").iter().count(), 1);
    let challenge = header(&ping, "www-authenticate")?;
    assert!(
        challenge.starts_with("Bearer realm=\"http://127.0.0.1:"),
        "{challenge}"
    );
    assert_eq!(code(ping).await?, "UNAUTHORIZED");
    for (name, public, status) in [("open", "true", 200), ("closed", "false", 401)] {
        let project = json!({"project_name": name, "metadata": {"public": public}});
        assert_eq!(
            admin.manage(Method::POST, "/projects", project).await?.0,
            201
        );
        admin
            .push_image(&format!("{name}/app"), "v1", &bytes(1, 10))
            .await?;
        let path = format!("/v2/{name}/app/manifests/v1");
        let pull = nobody.request(Method::GET, &path).send().await?;
        assert_eq!(pull.status(), status, "{name}");
        if status == 401 {
            let challenge = header(&pull, "www-authenticate")?;
            assert!(
                challenge.contains("scope=\"repository:closed/app:pull\""),
                "{challenge}"
            );
        }
        let path = format!("/v2/{name}/app/blobs/uploads/");
        assert_eq!(nobody.status(Method::POST, &path).await?, 401);
    }
    let catalog = "/v2/_catalog";
    assert_eq!(nobody.status(Method::GET, catalog).await?, 401);
    let all = admin.json(catalog).await?;
    assert_eq!(all["repositories"], json!(["closed/app", "open/app"]));
    // A blob of a closed project is not mounted into an open one by who may not see it.
    let dev = member(&registry, &admin, "dev", "developer").await?;
    let layer = sha256(&bytes(1, 10));
    let mount = format!("/v2/team/x/blobs/uploads/?mount={layer}&from=closed/app");
    assert_eq!(dev.status(Method::POST, &mount).await?, 202);
    let mount = format!("/v2/team/x/blobs/uploads/?mount={layer}");
    assert_eq!(
        dev.status(Method::POST, &mount).await?,
        201,
        "it is in the open one too"
    );
    let seen = dev.json(catalog).await?;
    assert_eq!(seen["repositories"], json!(["open/app", "team/x"]));
    let page = dev.json("/v2/_catalog?n=1&last=open/app").await?;
    assert_eq!(page["repositories"], json!(["team/x"]));
    Ok(())
}

#[tokio::test]
async fn what_is_public_is_seen_without_a_login() -> anyhow::Result<()> {
    let (registry, admin) = start().await?;
    for (name, public) in [("open", true), ("closed", false)] {
        let project = json!({"project_name": name, "public": public});
        assert_eq!(
            admin.manage(Method::POST, "/projects", project).await?.0,
            201
        );
        admin
            .push_image(&format!("{name}/app"), "v1", &bytes(1, 10))
            .await?;
    }
    let given = registry.client().json("/service/token").await?;
    let token = given["token"].as_str().unwrap_or_default();
    for token in [None, Some(token)] {
        let look = async |path: &str| {
            let asked = registry
                .client()
                .request(Method::GET, &format!("/api/v2.0{path}"));
            let asked = match token {
                Some(token) => asked.bearer_auth(token),
                None => asked,
            };
            anyhow::Ok(asked.send().await?)
        };
        let projects: Value = look("/projects").await?.json().await?;
        assert_eq!(projects.as_array().map(Vec::len), Some(1), "{projects}");
        assert_eq!(projects[0]["name"], "open");
        let found: Value = look("/search?q=app").await?.json().await?;
        assert_eq!(
            found["repository"].as_array().map(Vec::len),
            Some(1),
            "{found}"
        );
        for rest in [
            "",
            "/repositories",
            "/repositories/app",
            "/repositories/app/artifacts/v1/tags",
        ] {
            let seen = look(&format!("/projects/open{rest}")).await?;
            assert_eq!(seen.status(), 200, "{rest}");
            let refused = look(&format!("/projects/closed{rest}")).await?;
            assert_eq!(refused.status(), 401, "{rest}");
            assert!(refused.headers().contains_key("www-authenticate"));
        }
        for path in [
            "/projects/open/members",
            "/projects/open/robots",
            "/users",
            "/quotas/open",
        ] {
            assert_eq!(look(path).await?.status(), 401, "{path}");
        }
    }
    let nobody = registry.client();
    let gone = nobody.manage(
        Method::DELETE,
        "/projects/open/repositories/app",
        Value::Null,
    );
    assert_eq!(gone.await?.0, 401);
    Ok(())
}

/// As Harbor's roles do.
#[tokio::test]
async fn roles_see_and_change_what_they_do_in_harbor() -> anyhow::Result<()> {
    let (registry, admin) = start().await?;
    let guest = member(&registry, &admin, "gus", "guest").await?;
    let limited = member(&registry, &admin, "lim", "limitedGuest").await?;
    let maintainer = member(&registry, &admin, "max", "maintainer").await?;
    admin.push_image("team/app", "v1", &bytes(1, 10)).await?;
    let robot = json!({"name": "ci", "level": "project", "duration": -1, "permissions": [
        {"kind": "project", "namespace": "team",
         "access": [{"resource": "repository", "action": "pull"}]}]});
    let (_, made) = admin.manage(Method::POST, "/robots", robot.clone()).await?;
    let one = format!("/robots/{}", made["id"]);
    let look = async |client: &RegistryClient, path: &str| {
        let looked = client.manage(Method::GET, path, Value::Null).await?;
        anyhow::Ok(looked.0)
    };
    for (path, by_limited) in [
        ("/projects/team/robots", 403),
        (one.as_str(), 404),
        ("/quotas/team", 200),
        ("/permissions", 200),
    ] {
        assert_eq!(look(&guest, path).await?, 200, "{path}");
        assert_eq!(look(&limited, path).await?, by_limited, "{path}");
    }
    for (method, path, body) in [
        (Method::POST, "/robots", robot),
        (Method::PUT, one.as_str(), json!({"disable": true})),
        (Method::DELETE, one.as_str(), Value::Null),
    ] {
        let refused = maintainer.manage(method, path, body).await?.0;
        assert!([403, 404].contains(&refused), "{path}: {refused}");
    }
    let public = json!({"public": "true"});
    let path = "/projects/team/metadatas/public";
    assert_eq!(
        guest.manage(Method::PUT, path, public.clone()).await?.0,
        403
    );
    assert_eq!(maintainer.manage(Method::PUT, path, public).await?.0, 200);
    let path = "/projects/team/repositories/app";
    assert_eq!(
        guest.manage(Method::DELETE, path, Value::Null).await?.0,
        403
    );
    assert_eq!(
        maintainer
            .manage(Method::DELETE, path, Value::Null)
            .await?
            .0,
        200
    );
    Ok(())
}

#[tokio::test]
async fn roles_and_robots_may_do_what_they_were_given() -> anyhow::Result<()> {
    let (registry, admin) = start().await?;
    let guest = member(&registry, &admin, "guest", "guest").await?;
    let dev = member(&registry, &admin, "dev", "developer").await?;
    let maintainer = member(&registry, &admin, "maintainer", "maintainer").await?;
    let manifest = dev.push_image("team/app", "v1", &bytes(3, 10)).await?;
    let path = format!("/v2/team/app/manifests/{}", sha256(&manifest));
    assert_eq!(guest.get(&path).await?, Some(manifest));
    let refused = guest
        .request(Method::POST, "/v2/team/app/blobs/uploads/")
        .send()
        .await?;
    assert_eq!(refused.status(), 403);
    assert_eq!(code(refused).await?, "DENIED");
    assert_eq!(dev.status(Method::DELETE, &path).await?, 403);
    assert_eq!(
        dev.status(Method::POST, "/v2/other/app/blobs/uploads/")
            .await?,
        403
    );

    let robot = json!({
        "name": "ci", "project": "team", "duration": 1,
        "permissions": [{"project": "team", "actions": ["pull", "push"]}],
    });
    assert_eq!(
        dev.manage(Method::POST, "/robots", robot.clone()).await?.0,
        403
    );
    let (status, made) = admin.manage(Method::POST, "/robots", robot).await?;
    assert_eq!((status, &made["name"]), (201, &json!("robot$team+ci")));
    let secret = made["secret"].as_str().unwrap_or_default();
    let ci = registry.client().login("robot$team+ci", secret);
    ci.push_image("team/app", "ci", &bytes(4, 10)).await?;
    assert_eq!(ci.status(Method::DELETE, &path).await?, 403);
    assert_eq!(ci.status(Method::GET, "/api/v2.0/users").await?, 403);
    let id = format!("/robots/{}", made["id"]);
    assert_eq!(
        admin
            .manage(Method::PUT, &id, json!({"disable": true}))
            .await?
            .0,
        200
    );
    assert_eq!(ci.status(Method::GET, "/v2/").await?, 401);

    assert_eq!(maintainer.status(Method::DELETE, &path).await?, 202);
    // Who was here last cannot lock everybody out.
    let (_, me) = admin
        .manage(Method::GET, "/users/current", Value::Null)
        .await?;
    let me = format!("/users/{}", me["user_id"]);
    assert_eq!(admin.manage(Method::DELETE, &me, Value::Null).await?.0, 409);
    Ok(())
}

#[tokio::test]
async fn guessing_passwords_is_slowed_down_and_written_down() -> anyhow::Result<()> {
    let (mut registry, _) = start().await?;
    let mut statuses = Vec::new();
    for guess in 0..8 {
        let guesser = registry.client().login("admin", &format!("guess {guess}"));
        statuses.push(guesser.status(Method::GET, "/v2/").await?);
    }
    assert_eq!(statuses[..5], [401; 5]);
    assert!(statuses.contains(&429), "{statuses:?}");
    let audit = registry.directory().join("data/log/registry-audit.log");
    let count = || async {
        let text = std::fs::read_to_string(&audit).ok()?;
        let failed = text
            .lines()
            .filter(|line| line.contains(r#""event":"login_failed""#))
            .count();
        (failed >= 5).then_some(text)
    };
    let text = wait_for("the audit trail", Duration::from_secs(20), count).await?;
    let first: Value = serde_json::from_str(
        text.lines()
            .find(|line| line.contains("login_failed"))
            .unwrap_or("null"),
    )?;
    assert_eq!(first["actor"], "admin");
    assert_eq!(first["remote"], "127.0.0.1");
    assert_eq!(first["result"], "denied");
    assert!(!text.contains("guess "));
    assert!(!registry.metrics().await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn what_was_pushed_before_there_were_accounts_is_not_for_everybody() -> anyhow::Result<()> {
    let mut registry = Registry::start(Kind::Files, &[]).await?;
    let nobody = registry.client().clone();
    nobody
        .push_image("intern/secret", "v1", &bytes(2, 10))
        .await?;
    let open = json!({"project_name": "open", "metadata": {"public": "true"}});
    assert_eq!(nobody.manage(Method::POST, "/projects", open).await?.0, 201);
    registry.stop().await?;
    registry.set_env(LOCAL.0, LOCAL.1);
    registry.start_again().await?;
    let path = "/v2/intern/secret/manifests/v1";
    assert_eq!(nobody.status(Method::GET, path).await?, 401);
    let output = registry.process()?.output();
    let warned = output.lines().find(|line| line.contains("set-visibility"));
    let warned = warned.context("nobody was warned")?;
    assert!(
        warned.contains("projects=1") || warned.contains(r#""projects":1"#),
        "{warned}"
    );
    Ok(())
}

/// As Harbor's clients make and change them.
#[tokio::test]
async fn robots_are_understood_in_harbors_words() -> anyhow::Result<()> {
    let (registry, admin) = start().await?;
    admin.push_image("team/app", "v1", &bytes(5, 10)).await?;
    let robot = |access: Value| {
        json!({"name": "ci", "level": "project", "duration": 30, "disable": false,
            "description": "builds", "permissions": [
                {"kind": "project", "namespace": "team", "access": access}]})
    };
    let right = |resource: &str, action: &str| json!({"resource": resource, "action": action});
    for refused in [
        json!([right("scan", "create")]),
        json!([right("tag", "create")]),
        json!([{"resource": "repository", "action": "pull", "effect": "deny"}]),
    ] {
        let refused = admin
            .manage(Method::POST, "/robots", robot(refused))
            .await?;
        assert_eq!(refused.0, 400, "{}", refused.1);
    }
    let pulls = json!([right("repository", "pull"), right("tag", "list")]);
    let made = admin.manage(Method::POST, "/robots", robot(pulls.clone()));
    let (status, made) = made.await?;
    assert_eq!((status, &made["name"]), (201, &json!("robot$team+ci")));
    let secret = made["secret"].as_str().unwrap_or_default();
    let ci = registry.client().login("robot$team+ci", secret);
    let pull = "/v2/team/app/manifests/v1";
    assert_eq!(ci.status(Method::GET, pull).await?, 200);
    assert!(ci.push_blob("team/app", b"{}").await.is_err());

    let path = format!("/robots/{}", made["id"]);
    let (_, mut shown) = admin.manage(Method::GET, &path, Value::Null).await?;
    assert_eq!(shown["level"], "project");
    assert_eq!(shown["duration"], 30);
    let access = &shown["permissions"][0]["access"];
    assert_eq!(*access, pulls, "it is kept as it was said");
    // They send back what they were shown, with what is to change.
    let permission = json!({"kind": "project", "namespace": "team",
        "access": [right("repository", "pull"), right("repository", "push"),
            right("artifact", "create"), right("artifact", "delete"), right("tag", "delete")]});
    shown["permissions"] = json!([permission]);
    shown["duration"] = json!(-1);
    assert_eq!(admin.manage(Method::PUT, &path, shown).await?.0, 200);
    ci.push_blob("team/app", b"{}").await?;
    let foreign = json!({"permissions": [{"project": "other", "actions": ["pull"]}]});
    assert_eq!(admin.manage(Method::PUT, &path, foreign).await?.0, 400);
    let given = json!({"secret": "Thought-0f-it"});
    assert_eq!(admin.manage(Method::PATCH, &path, given).await?.0, 200);
    assert_eq!(ci.status(Method::GET, pull).await?, 401);
    let ci = registry.client().login("robot$team+ci", "Thought-0f-it");
    assert_eq!(ci.status(Method::GET, pull).await?, 200);
    let (_, shown) = admin.manage(Method::GET, &path, Value::Null).await?;
    assert_eq!(
        (&shown["expires_at"], &shown["disable"]),
        (&json!(-1), &json!(false))
    );
    Ok(())
}
