//! Pulls whose client thinks that it asks another registry, as those of mirrors do: `?ns=`.

use reqwest::Method;
use serde_json::{Value, json};
use tests::registry::{Kind, Registry, RegistryClient, bytes, header, text};

use crate::auth;

const PULL: &str = "/v2/team/app/manifests/v1?ns=quay.example";

/// What a challenge says that a token is needed for.
fn scope(challenge: &str) -> Option<&str> {
    challenge.split("scope=\"").nth(1)?.split('"').next()
}

/// Pulls as a mirror's client does: with a token for what the challenge says.
async fn pull(nobody: &RegistryClient, client: &RegistryClient) -> anyhow::Result<u16> {
    let refused = nobody.request(Method::GET, PULL).send().await?;
    let challenge = header(&refused, "www-authenticate")?.to_owned();
    let scope = scope(&challenge).unwrap_or_default();
    let token = client
        .json(&format!("/service/token?service=registry&scope={scope}"))
        .await?;
    let token = token["token"].as_str().unwrap_or_default();
    let pulled = nobody.request(Method::GET, PULL).bearer_auth(token);
    Ok(pulled.send().await?.status().as_u16())
}

#[tokio::test]
async fn a_cache_is_for_who_may_pull_from_it_and_known_to_nobody_else() -> anyhow::Result<()> {
    let upstream = Registry::start(Kind::Files, &[]).await?;
    let image = upstream
        .client()
        .push_image("team/app", "v1", &bytes(1, 10))
        .await?;
    let (registry, admin) = auth::start().await?;
    let nobody = registry.client();
    let hub = json!({"name": "hub", "url": upstream.client().base(), "namespace": "quay.example"});
    let (status, made) = admin.manage(Method::POST, "/registries", hub).await?;
    assert_eq!(status, 201, "{made}");
    let make = async |name: &str, public: bool| {
        let project = json!({"project_name": name, "registry_id": made["id"], "public": public});
        let (status, made) = admin.manage(Method::POST, "/projects", project).await?;
        assert_eq!(status, 201, "{made}");
        anyhow::Ok(())
    };
    make("acquisition", false).await?;
    let bob = auth::member(&registry, &admin, "bob", "developer").await?;
    for (client, status) in [(nobody, 401), (&bob, 403)] {
        let refused = client.request(Method::GET, PULL).send().await?;
        assert_eq!(refused.status(), status);
        let challenge = format!("{:?}", refused.headers());
        let said = text(refused).await;
        assert!(!said.contains("acquisition") && !challenge.contains("acquisition"));
        assert!(said.contains("quay.example/team/app"), "{said}");
    }
    assert_eq!(pull(nobody, &bob).await?, 401);
    assert_eq!(pull(nobody, &admin).await?, 200);
    let member = json!({"role_name": "guest", "member_user": {"username": "bob"}});
    let path = "/projects/acquisition/members";
    assert_eq!(admin.manage(Method::POST, path, member).await?.0, 201);
    assert_eq!(pull(nobody, &bob).await?, 200);
    assert_eq!(bob.get(PULL).await?.as_ref(), Some(&image));

    // Also if the name of the private one comes first.
    make("zoo", true).await?;
    assert_eq!(nobody.get(PULL).await?, Some(image));
    let (status, _) = admin
        .manage(
            Method::GET,
            "/projects/zoo/repositories/team%252Fapp",
            Value::Null,
        )
        .await?;
    assert_eq!(status, 200);
    Ok(())
}

#[tokio::test]
async fn a_list_is_of_what_was_asked_for_and_goes_on_so() -> anyhow::Result<()> {
    let upstream = Registry::start(Kind::Files, &[]).await?;
    for tag in ["v1", "v2"] {
        let there = upstream.client();
        there.push_image("team/app", tag, &bytes(1, 10)).await?;
    }
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    let hub = json!({"name": "hub", "url": upstream.client().base(), "namespace": "quay.example"});
    let (_, made) = client.manage(Method::POST, "/registries", hub).await?;
    let cache = json!({"project_name": "cache", "registry_id": made["id"]});
    let made = client.manage(Method::POST, "/projects", cache).await?;
    assert_eq!(made.0, 201);
    let mut path = "/v2/team/app/tags/list?n=1&ns=quay.example".to_owned();
    for tag in ["v1", "v2"] {
        let page = client.request(Method::GET, &path).send().await?;
        let link = header(&page, "link").unwrap_or_default();
        let page: Value = page.json().await?;
        assert_eq!(page, json!({"name": "team/app", "tags": [tag]}), "{path}");
        let next = link.trim_start_matches('<').split('>').next();
        path = next.unwrap_or_default().to_owned();
    }
    assert_eq!(path, "", "there are no more");
    Ok(())
}
