//! Tokens: what they allow, and for how long.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tests::registry::{Kind, LOCAL, Registry, RegistryClient, bytes, code, header, sha256, text};
use tests::wait_for;

use crate::auth::{PASSWORD, member, start, start_with};

/// Some ask for a token for nothing first.
#[tokio::test]
async fn a_token_lists_what_its_owner_may_pull() -> anyhow::Result<()> {
    let (registry, admin) = start().await?;
    let dev = member(&registry, &admin, "dev", "developer").await?;
    let other = json!({"project_name": "other"});
    admin.manage(Method::POST, "/projects", other).await?;
    for repo in ["team/app", "other/app"] {
        admin.push_image(repo, "v1", &bytes(3, 10)).await?;
    }
    let robot = json!({"name": "ci", "level": "system", "duration": -1, "permissions": [
        {"kind": "project", "namespace": "team",
         "access": [{"resource": "repository", "action": "pull"}]}]});
    let (_, robot) = admin.manage(Method::POST, "/robots", robot).await?;
    let text = |key: &str| robot[key].as_str().unwrap_or_default();
    let robot = registry.client().login(text("name"), text("secret"));
    let ask = async |client: &RegistryClient, scope: &str| {
        let given = client
            .json(&format!("/service/token?scope={scope}"))
            .await?;
        let token = given["token"].as_str().unwrap_or_default();
        let asked = registry.client().request(Method::GET, "/v2/_catalog");
        anyhow::Ok(asked.bearer_auth(token).send().await?)
    };
    let catalog = "registry:catalog:*";
    for (client, seen) in [
        (&admin, json!(["other/app", "team/app"])),
        (&dev, json!(["team/app"])),
        (&robot, json!(["team/app"])),
    ] {
        let refused = ask(client, "").await?;
        assert_eq!(refused.status(), 401);
        let challenge = header(&refused, "www-authenticate")?;
        let wanted = format!("scope=\"{catalog}\",error=\"insufficient_scope\"");
        assert!(challenge.contains(&wanted), "{challenge}");
        let listed: Value = ask(client, catalog).await?.json().await?;
        assert_eq!(listed["repositories"], seen);
    }
    assert_eq!(ask(registry.client(), catalog).await?.status(), 401);
    Ok(())
}

#[tokio::test]
async fn tokens_say_what_they_allow() -> anyhow::Result<()> {
    let (registry, admin) = start().await?;
    let dev = member(&registry, &admin, "dev", "developer").await?;
    admin.push_image("team/app", "v1", &bytes(2, 10)).await?;
    let scope = "repository:team/app:pull,push,delete repository:other/app:pull";
    let by_get = dev.request(Method::GET, "/service/token");
    let by_get = by_get.query(&[("service", "registry"), ("scope", scope)]);
    let by_post = registry.client().request(Method::POST, "/service/token");
    let by_post = by_post.form(&[
        ("grant_type", "password"),
        ("service", "registry"),
        ("client_id", "test"),
        ("username", "dev"),
        ("password", PASSWORD),
        ("scope", scope),
    ]);
    // A class, which Docker names for its plugins, is no other kind of thing.
    let of_class = scope.replace("repository:", "repository(plugin):");
    let by_class = dev.request(Method::GET, "/service/token");
    let by_class = by_class.query(&[("scope", &of_class)]);
    for request in [by_get, by_post, by_class] {
        let answer: Value = request.send().await?.json().await?;
        let token = answer["token"].as_str().unwrap_or_default();
        assert_eq!(answer["token"], answer["access_token"]);
        assert_eq!(answer["expires_in"], 300);
        let with = async |method: Method, path: &str| {
            let request = registry.client().request(method, path).bearer_auth(token);
            request.send().await
        };
        let pull = with(Method::GET, "/v2/team/app/manifests/v1").await?;
        assert_eq!(pull.status(), 200);
        let push = with(Method::POST, "/v2/team/app/blobs/uploads/").await?;
        assert_eq!(push.status(), 202);
        for (method, path) in [
            (Method::DELETE, "/v2/team/app/manifests/v1"),
            (Method::GET, "/v2/team/other/manifests/v1"),
            (Method::GET, "/v2/other/app/manifests/v1"),
        ] {
            let refused = with(method, path).await?;
            assert_eq!(refused.status(), 401, "{path}");
            let challenge = header(&refused, "www-authenticate")?;
            assert!(challenge.contains("insufficient_scope"), "{challenge}");
        }
        let again = "/service/token?scope=repository:team/app:pull";
        let again = with(Method::GET, again).await?;
        assert_eq!(again.status(), 401, "a token that renews itself never ends");
        // A token with one letter changed is none.
        let mut forged = token.to_owned();
        let last = if forged.ends_with('A') { "B" } else { "A" };
        forged.replace_range(forged.len() - 1.., last);
        let forged = registry
            .client()
            .request(Method::GET, "/v2/")
            .bearer_auth(forged);
        let forged = forged.send().await?;
        assert_eq!(forged.status(), 401);
        assert_eq!(code(forged).await?, "UNAUTHORIZED");
    }
    let keys = registry.client().json("/service/keys").await?;
    assert_eq!(keys["keys"][0]["crv"], "Ed25519");
    // Once for each of the three.
    let denied = "/api/v2.0/audit-logs?sort=id&q=event=token_denied";
    let denied = admin.json(denied).await?;
    let told = |record: &Value| record["record"]["reason"].as_str().map(str::to_owned);
    let told: Vec<_> = denied.as_array().into_iter().flatten().map(told).collect();
    assert_eq!(told.len(), 6, "{denied}");
    for (reason, expected) in told.iter().flatten().zip([
        "dev may not delete team/app: the role in project team is developer, and it takes maintainer",
        "dev may not pull other/app: there is no role in project other, and it takes limitedGuest",
    ]) {
        assert_eq!(reason, expected);
    }
    Ok(())
}

/// What the token service answers to a form.
async fn token(client: &RegistryClient, form: &[(&str, &str)]) -> anyhow::Result<(u16, Value)> {
    let post = client.request(Method::POST, "/service/token").form(form);
    let answer = post.send().await?;
    Ok((answer.status().as_u16(), answer.json().await?))
}

#[tokio::test]
async fn who_has_not_logged_in_yet_sends_a_small_form() -> anyhow::Result<()> {
    let (registry, _) = start().await?;
    let long = "x".repeat(17 << 10);
    let form = [("grant_type", "password"), ("username", &long)];
    assert_eq!(token(registry.client(), &form).await?.0, 413);
    Ok(())
}

/// The refresh token that `docker login` gets.
async fn by_docker(registry: &Registry) -> anyhow::Result<Value> {
    let dev = registry.client().login("dev", PASSWORD);
    let asked = dev.request(Method::GET, "/service/token?offline_token=true");
    let given: Value = asked.send().await?.json().await?;
    assert!(given["token"].is_string(), "{given}");
    Ok(given["refresh_token"].clone())
}

#[tokio::test]
async fn docker_keeps_the_password_unless_it_is_configured_to_keep_a_token() -> anyhow::Result<()> {
    let tokens = ("SKALD_REGISTRY_IDENTITY_TOKENS", "true");
    for (env, is_given) in [
        (&[tokens][..], true),
        (&[tokens, ("SKALD_REGISTRY_REFRESH_LIFETIME", "0s")], false),
    ] {
        let (registry, admin) = start_with(env).await?;
        member(&registry, &admin, "dev", "developer").await?;
        assert_eq!(by_docker(&registry).await?.is_string(), is_given);
    }
    Ok(())
}

#[tokio::test]
async fn a_refresh_token_stands_for_the_password_until_that_changes() -> anyhow::Result<()> {
    let (registry, admin) = start().await?;
    let nobody = registry.client();
    member(&registry, &admin, "dev", "developer").await?;
    admin.push_image("team/app", "v1", &bytes(2, 10)).await?;
    let scope = ("scope", "repository:team/app:pull");
    let login = [
        ("grant_type", "password"),
        ("service", "registry"),
        ("client_id", "test"),
        ("username", "dev"),
        ("password", PASSWORD),
        scope,
    ];
    let (_, plain) = token(nobody, &login).await?;
    assert_eq!(plain["refresh_token"], Value::Null, "nobody asked for it");
    let offline = [&login[..], &[("access_type", "offline")]].concat();
    let (_, given) = token(nobody, &offline).await?;
    let kept = given["refresh_token"].as_str().unwrap_or_default();
    assert_eq!(by_docker(&registry).await?, Value::Null);

    let refresh = [
        ("grant_type", "refresh_token"),
        ("service", "registry"),
        ("client_id", "test"),
        ("refresh_token", kept),
        scope,
    ];
    let (status, again) = token(nobody, &refresh).await?;
    assert_eq!((status, &again["refresh_token"]), (200, &json!(kept)));
    let pull = |token: &str| {
        let pull = nobody.request(Method::GET, "/v2/team/app/manifests/v1");
        pull.bearer_auth(token).send()
    };
    let access = again["access_token"].as_str().unwrap_or_default();
    assert_eq!(pull(access).await?.status(), 200);
    // It is good for tokens only, and an access token is not good for that.
    assert_eq!(pull(kept).await?.status(), 401);
    let swapped = [("grant_type", "refresh_token"), ("refresh_token", access)];
    assert_eq!(token(nobody, &swapped).await?.0, 401);

    let users = admin.json("/api/v2.0/users").await?;
    let users = users.as_array().into_iter().flatten();
    let mut ids = users.filter(|user| user["username"] == "dev");
    let id = ids.next().map(|user| user["user_id"].clone());
    let id = id.unwrap_or_default();
    let other = json!({"new_password": "another long password"});
    let path = format!("/users/{id}/password");
    assert_eq!(admin.manage(Method::PUT, &path, other).await?.0, 200);
    assert_eq!(token(nobody, &refresh).await?.0, 401);
    let audit = registry.directory().join("data/log/registry-audit.log");
    wait_for("the record", Duration::from_secs(20), async || {
        let audit = std::fs::read_to_string(&audit).ok()?;
        audit.contains("token_denied").then_some(())
    })
    .await
}

#[tokio::test]
async fn a_new_key_signs_and_tokens_of_the_old_one_hold_on() -> anyhow::Result<()> {
    let (mut registry, admin) = start().await?;
    admin.push_image("team/app", "v1", &bytes(2, 10)).await?;
    let scope = "scope=repository:team/app:pull";
    let give = async || -> anyhow::Result<String> {
        let answer = admin.json(&format!("/service/token?{scope}")).await?;
        Ok(answer["token"].as_str().unwrap_or_default().to_owned())
    };
    let kids = async || -> anyhow::Result<Vec<Value>> {
        let keys = admin.json("/service/keys").await?;
        let keys = keys["keys"].as_array().into_iter().flatten();
        Ok(keys.map(|key| key["kid"].clone()).collect())
    };
    let before = give().await?;
    let old = kids().await?;
    let (status, made) = admin
        .manage(Method::POST, "/system/keys", Value::Null)
        .await?;
    assert_eq!(status, 201);
    assert_eq!(kids().await?, [made["kid"].clone(), old[0].clone()]);
    let after = give().await?;
    assert_ne!(
        before.split('.').next(),
        after.split('.').next(),
        "the header names the key"
    );
    for _ in 0..2 {
        for token in [&before, &after] {
            let pull = registry
                .client()
                .request(Method::GET, "/v2/team/app/manifests/v1")
                .bearer_auth(token);
            assert_eq!(pull.send().await?.status(), 200);
        }
        registry.kill()?;
        registry.start_again().await?;
    }
    assert_eq!(kids().await?.len(), 2);
    Ok(())
}

#[tokio::test]
async fn a_token_too_weak_for_a_mount_is_told_which_would_do() -> anyhow::Result<()> {
    let (registry, admin) = start().await?;
    let dev = member(&registry, &admin, "dev", "developer").await?;
    let layer = sha256(&bytes(2, 10));
    admin.push_image("team/one", "v1", &bytes(2, 10)).await?;
    let give = async |scope: &str| -> anyhow::Result<String> {
        let token = dev.request(Method::GET, "/service/token");
        let token = token.query(&[("scope", scope)]).send().await?;
        let token: Value = token.json().await?;
        Ok(token["token"].as_str().unwrap_or_default().to_owned())
    };
    let mount = async |token: &str, to: &str, from: &str| {
        let path = format!("/v2/{to}/blobs/uploads/?mount={layer}{from}");
        let mount = registry.client().request(Method::POST, &path);
        mount.bearer_auth(token).send().await
    };
    for (to, from) in [("team/two", "&from=team/one"), ("team/three", "")] {
        let own = format!("repository:{to}:pull,push");
        let weak = give(&own).await?;
        let refused = mount(&weak, to, from).await?;
        assert_eq!(refused.status(), 401);
        let challenge = header(&refused, "www-authenticate")?;
        let scope = format!("{own} repository:team/one:pull");
        assert!(
            challenge.contains(&format!("scope=\"{scope}\"")),
            "{challenge}"
        );
        let strong = give(&scope).await?;
        assert_eq!(mount(&strong, to, from).await?.status(), 201);
    }
    // Where no token of theirs would do, the blob is to be pushed.
    let closed = json!({"project_name": "closed"});
    assert_eq!(
        admin.manage(Method::POST, "/projects", closed).await?.0,
        201
    );
    admin.push_image("closed/app", "v1", &bytes(2, 10)).await?;
    let weak = give("repository:team/four:pull,push").await?;
    let upload = mount(&weak, "team/four", "&from=closed/app").await?;
    assert_eq!(upload.status(), 202);
    Ok(())
}

#[tokio::test]
async fn a_token_holds_for_its_time_only() -> anyhow::Result<()> {
    let env = [LOCAL, ("SKALD_REGISTRY_TOKEN_LIFETIME", "1s")];
    let registry = Registry::start(Kind::Files, &env).await?;
    let password = registry.directory().join("data/registry/admin-password");
    let password = std::fs::read_to_string(password)?;
    let admin = registry.client().login("admin", password.trim());
    admin.push_image("team/app", "v1", &bytes(1, 10)).await?;
    let token = async || {
        let scope = [("scope", "repository:team/app:pull")];
        let given = admin.request(Method::GET, "/service/token").query(&scope);
        let given: Value = given.send().await?.json().await?;
        assert_eq!(given["expires_in"], 1);
        anyhow::Ok(given["token"].as_str().unwrap_or_default().to_owned())
    };
    let pull = async |token: &str| {
        let pull = registry
            .client()
            .request(Method::GET, "/v2/team/app/manifests/v1");
        anyhow::Ok(pull.bearer_auth(token).send().await?)
    };
    let first = token().await?;
    assert_eq!(pull(&first).await?.status(), 200);
    let refused = wait_for(
        "the token to expire",
        Duration::from_secs(120),
        async || {
            let answer = pull(&first).await.ok()?;
            (answer.status() == 401).then_some(answer)
        },
    );
    let refused = refused.await?;
    let challenge = header(&refused, "www-authenticate")?;
    assert!(
        challenge.contains("error=\"insufficient_scope\""),
        "{challenge}"
    );
    assert!(text(refused).await.contains("the token has expired"));
    // As clients do, who ask for another.
    assert_eq!(pull(&token().await?).await?.status(), 200);
    Ok(())
}
