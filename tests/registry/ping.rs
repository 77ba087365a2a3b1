//! Whether another registry is there is asked before it is made known.

use reqwest::Method;
use serde_json::{Value, json};
use tests::registry::RegistryClient;

use crate::auth::{PASSWORD, member, start};

async fn ping(client: &RegistryClient, asked: Value) -> anyhow::Result<(u16, String)> {
    let answer = client.manage(Method::POST, "/registries/ping", asked);
    let (status, said) = answer.await?;
    Ok((status, said.to_string()))
}

#[tokio::test]
async fn a_registry_is_asked_whether_it_is_one_and_takes_the_login() -> anyhow::Result<()> {
    let (mut other, its_admin) = start().await?;
    member(&other, &its_admin, "ann", "guest").await?;
    let (registry, admin) = start().await?;
    let url = other.client().base().to_owned();
    let login = |password: &str| {
        json!({"type": "docker-registry", "url": url, "insecure": false,
        "credential_type": "basic", "access_key": "ann", "access_secret": password})
    };
    let port = tests::port::free_port()?;
    let page = other.process()?.api().base().to_owned();
    for (asked, status, told) in [
        (json!({"url": url}), 200, ""),
        (login(PASSWORD), 200, ""),
        (login("a wrong password"), 400, "ann"),
        (
            json!({"url": format!("http://{port}")}),
            400,
            "does not answer",
        ),
        (
            json!({"url": page}),
            400,
            "does not answer as a registry does",
        ),
        (json!({"url": "nowhere"}), 400, "url is like"),
        (json!({}), 400, "url is missing"),
        (json!({"id": 9}), 404, "9"),
    ] {
        let (given, said) = ping(&admin, asked.clone()).await?;
        assert_eq!(given, status, "{asked}: {said}");
        assert!(said.contains(told), "{asked}: {said}");
    }
    // One that is known has its login, which goes nowhere else.
    let known = json!({"name": "other", "url": url,
        "credential": {"access_key": "ann", "access_secret": PASSWORD}});
    let (_, made) = admin.manage(Method::POST, "/registries", known).await?;
    let known = |more: Value| {
        let mut asked = json!({"id": made["id"]});
        if let (Some(asked), Some(more)) = (asked.as_object_mut(), more.as_object()) {
            asked.extend(more.clone());
        }
        asked
    };
    let wrong = json!({"access_key": "ann", "access_secret": "a wrong password"});
    for (more, status, told) in [
        (json!({}), 200, ""),
        (wrong, 400, "other does not take the login of ann"),
        (json!({"url": page}), 400, "needs its credential"),
    ] {
        let (given, said) = ping(&admin, known(more.clone())).await?;
        assert_eq!(given, status, "{more}: {said}");
        assert!(said.contains(told), "{more}: {said}");
    }
    assert_eq!(ping(&admin, known(json!({}))).await?.0, 200);
    other.stop().await?;
    let (status, said) = ping(&admin, known(json!({}))).await?;
    assert_eq!(status, 400, "{said}");
    assert!(said.contains("other does not answer"), "{said}");
    let bob = member(&registry, &admin, "bob", "guest").await?;
    assert_eq!(ping(&bob, json!({"url": url})).await?.0, 403);
    Ok(())
}
