//! What a rule holds is held as a whole.

use reqwest::Method;
use serde_json::{Value, json};
use tests::registry::{
    INDEX, Kind, MANIFEST, Registry, RegistryClient, bytes, code, descriptor, sha256, text,
};

const ARTIFACTS: &str = "/projects/team/repositories/app/artifacts";

async fn manage(client: &RegistryClient, method: Method, path: &str) -> anyhow::Result<u16> {
    Ok(client.manage(method, path, Value::Null).await?.0)
}

/// Pushes an index of these manifests; gives it.
async fn push_index(
    client: &RegistryClient,
    tag: Option<&str>,
    parts: &[(&str, &[u8])],
) -> anyhow::Result<Vec<u8>> {
    let parts: Vec<Value> = parts
        .iter()
        .map(|(media_type, part)| descriptor(media_type, part))
        .collect();
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": parts});
    let index = index.to_string().into_bytes();
    let digest = sha256(&index);
    let reference = tag.unwrap_or(&digest);
    let put = client.put_manifest("team/app", reference, INDEX, &index);
    let put = put.await?;
    assert_eq!(put.status(), 201, "{}", text(put).await);
    Ok(index)
}

/// Two images of which only the digests are there, and the second one.
async fn push_images(client: &RegistryClient) -> anyhow::Result<[Vec<u8>; 2]> {
    let mut images = Vec::new();
    for seed in 1..=2 {
        images.push(
            client
                .push_image("team/app", "tmp", &bytes(seed, 100))
                .await?,
        );
    }
    let taken = manage(client, Method::DELETE, &format!("{ARTIFACTS}/tmp")).await?;
    assert_eq!(taken, 200);
    let images: Result<[Vec<u8>; 2], _> = images.try_into();
    images.map_err(|_| anyhow::anyhow!("there are two"))
}

#[tokio::test]
async fn the_parts_of_an_immutable_index_stay() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    let [one, two] = push_images(client).await?;
    let inner = push_index(client, None, &[(MANIFEST, &two)]).await?;
    let parts: [(&str, &[u8]); 2] = [(MANIFEST, &one), (INDEX, &inner)];
    let outer = push_index(client, Some("v1"), &parts).await?;
    let rule = json!({"kind": "immutable", "tags": "v*"});
    let made = client.manage(Method::POST, "/projects/team/rules", rule);
    let (_, made) = made.await?;
    for manifest in [&one, &two, &inner, &outer] {
        let digest = sha256(manifest);
        let path = format!("/v2/team/app/manifests/{digest}");
        let refused = client.request(Method::DELETE, &path).send().await?;
        assert_eq!(refused.status(), 412, "{digest}");
        let said = text(refused).await;
        assert!(said.contains("tag v1 of team/app is immutable"), "{said}");
        let path = format!("{ARTIFACTS}/{digest}");
        assert_eq!(manage(client, Method::DELETE, &path).await?, 412);
    }
    for manifest in [&one, &two, &inner, &outer] {
        let path = format!("/v2/team/app/manifests/{}", sha256(manifest));
        assert_eq!(client.get(&path).await?.as_ref(), Some(manifest));
    }

    // Without the rule the order is the client's, as the specification has it.
    let rule = format!("/projects/team/rules/{}", made["id"]);
    assert_eq!(manage(client, Method::DELETE, &rule).await?, 200);
    for manifest in [&two, &outer] {
        let path = format!("/v2/team/app/manifests/{}", sha256(manifest));
        assert_eq!(client.status(Method::DELETE, &path).await?, 202);
    }
    Ok(())
}

/// As in Harbor: an index is one artifact, of which nothing can be taken.
#[tokio::test]
async fn parts_of_an_index_are_told_with_it_and_go_after_it() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    let [one, two] = push_images(client).await?;
    let index = push_index(client, Some("v1"), &[(MANIFEST, &one), (MANIFEST, &two)]).await?;
    let put = client.put_manifest("team/app", "amd64", MANIFEST, &two);
    assert_eq!(put.await?.status(), 201);

    let answer = client.request(Method::GET, &format!("/api/v2.0{ARTIFACTS}"));
    let answer = answer.send().await?;
    assert_eq!(answer.headers()["x-total-count"], "2");
    let listed: Value = answer.json().await?;
    let listed = listed.as_array().into_iter().flatten();
    let mut digests: Vec<&Value> = listed.clone().map(|artifact| &artifact["digest"]).collect();
    let mut expected = [json!(sha256(&index)), json!(sha256(&two))];
    digests.sort_by_key(ToString::to_string);
    expected.sort_by_key(Value::to_string);
    assert_eq!(digests, expected.iter().collect::<Vec<_>>());
    for artifact in listed {
        let references = artifact["references"].as_array().into_iter().flatten();
        let parts: Vec<&Value> = references.map(|part| &part["child_digest"]).collect();
        let is_index = artifact["digest"] == sha256(&index);
        let mut expected = [json!(sha256(&one)), json!(sha256(&two))];
        expected.sort_by_key(Value::to_string);
        let expected = expected.iter().filter(|_| is_index).collect::<Vec<_>>();
        assert_eq!(parts, expected, "{artifact}");
    }
    let repo = "/projects/team/repositories/app";
    let (_, repo) = client.manage(Method::GET, repo, Value::Null).await?;
    assert_eq!(repo["artifact_count"], 2);

    let part = format!("{ARTIFACTS}/{}", sha256(&one));
    assert_eq!(manage(client, Method::GET, &part).await?, 200);
    let refused = client.request(Method::DELETE, &format!("/api/v2.0{part}"));
    let refused = refused.send().await?;
    assert_eq!(refused.status(), 412);
    assert_eq!(code(refused).await?, "PRECONDITION_FAILED");
    for reference in [sha256(&index), sha256(&one)] {
        let path = format!("{ARTIFACTS}/{reference}");
        assert_eq!(manage(client, Method::DELETE, &path).await?, 200);
    }
    Ok(())
}

#[tokio::test]
async fn a_rule_that_is_disabled_holds_nothing_until_it_is_enabled() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    client.push_image("team/app", "v1", &bytes(1, 10)).await?;
    let rule = json!({"kind": "immutable", "tags": "v*"});
    let (status, made) = client
        .manage(Method::POST, "/projects/team/rules", rule)
        .await?;
    assert_eq!(status, 201);
    let rule = format!("/projects/team/rules/{}", made["id"]);
    let in_harbors_words = format!("/projects/team/immutabletagrules/{}", made["id"]);
    let push = async |seed| {
        let config = json!({"architecture": "amd64", "os": "linux", "seed": seed}).to_string();
        client.push_blob("team/app", config.as_bytes()).await?;
        let image = tests::registry::image(config.as_bytes(), &[]).to_string();
        let put = client.put_manifest("team/app", "v1", MANIFEST, image.as_bytes());
        anyhow::Ok(put.await?.status().as_u16())
    };
    assert_eq!(push(1).await?, 412);
    let switch = async |disabled: bool| {
        let switch = json!({"disabled": disabled});
        client.manage(Method::PATCH, &rule, switch).await
    };
    assert_eq!(switch(true).await?.0, 200);
    assert_eq!(push(2).await?, 201);
    let list = client
        .json("/api/v2.0/projects/team/immutabletagrules")
        .await?;
    let mut shown = list[0].clone();
    assert_eq!(shown["disabled"], true);
    assert_eq!(switch(false).await?.0, 200);
    assert_eq!(push(3).await?, 412);
    shown["disabled"] = json!(true);
    let put = client.manage(Method::PUT, &in_harbors_words, shown).await?;
    assert_eq!(put.0, 200);
    assert_eq!(push(4).await?, 201);
    let none = json!({"disabled": true});
    let none = client.manage(Method::PATCH, "/projects/team/rules/987654", none);
    assert_eq!(none.await?.0, 404);
    Ok(())
}
