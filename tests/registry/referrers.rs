//! What is about a manifest.

use reqwest::Method;
use serde_json::{Value, json};
use tests::registry::{
    INDEX, Kind, MANIFEST, Registry, bytes, code, descriptor, header, image, sha256, sha512, text,
};

async fn referrers(registry: &Registry, digest: &str, query: &str) -> anyhow::Result<Value> {
    let path = format!("/v2/app/referrers/{digest}{query}");
    let answer = registry.client().request(Method::GET, &path).send().await?;
    assert_eq!(answer.status(), 200);
    assert_eq!(header(&answer, "content-type")?, INDEX);
    let filtered = answer.headers().get("oci-filters-applied").cloned();
    assert_eq!(filtered.is_some(), query.contains("artifactType"));
    let index: Value = answer.json().await?;
    assert_eq!(index["mediaType"], INDEX);
    Ok(index["manifests"].clone())
}

#[tokio::test]
async fn images_and_indices_can_be_about_something_also_if_it_is_missing() -> anyhow::Result<()> {
    for kind in Kind::ALL {
        let registry = Registry::start(kind, &[]).await?;
        let client = registry.client();
        let config = b"{}".to_vec();
        client.push_blob("app", &config).await?;
        let subject = image(&config, &[]).to_string();
        let digest = sha256(subject.as_bytes());
        assert_eq!(referrers(&registry, &digest, "").await?, json!([]));

        let mut signature = image(&config, &[]);
        signature["subject"] = descriptor(MANIFEST, subject.as_bytes());
        signature["artifactType"] = json!("application/x.signature");
        signature["annotations"] = json!({"by": "me"});
        let mut plain = image(&config, &[]);
        plain["subject"] = descriptor(MANIFEST, subject.as_bytes());
        plain["config"]["mediaType"] = json!("application/x.config");
        let list = json!({
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [],
            "artifactType": "application/x.list",
            "subject": descriptor(MANIFEST, subject.as_bytes()),
        });
        for (media_type, manifest) in [(MANIFEST, &signature), (MANIFEST, &plain), (INDEX, &list)] {
            let body = manifest.to_string().into_bytes();
            let put = client
                .put_manifest("app", &sha256(&body), media_type, &body)
                .await?;
            assert_eq!(put.status(), 201, "{}", text(put).await);
            assert_eq!(header(&put, "oci-subject")?, digest);
        }
        let found = referrers(&registry, &digest, "").await?;
        assert_eq!(found.as_array().map(Vec::len), Some(3));
        let kinds = found.as_array().into_iter().flatten();
        let mut kinds: Vec<&str> = kinds
            .filter_map(|found| found["artifactType"].as_str())
            .collect();
        kinds.sort_unstable();
        let expected = [
            "application/x.config",
            "application/x.list",
            "application/x.signature",
        ];
        assert_eq!(kinds, expected);

        let query = "?artifactType=application/x.signature";
        let filtered = referrers(&registry, &digest, query).await?;
        let body = signature.to_string();
        let mut expected = descriptor(MANIFEST, body.as_bytes());
        expected["artifactType"] = json!("application/x.signature");
        expected["annotations"] = json!({"by": "me"});
        assert_eq!(filtered, json!([expected]));

        // The subject can come later, and what is deleted is not listed.
        client
            .put_manifest("app", "v1", MANIFEST, subject.as_bytes())
            .await?;
        let path = format!("/v2/app/manifests/{}", sha256(body.as_bytes()));
        assert_eq!(client.status(Method::DELETE, &path).await?, 202);
        let left = referrers(&registry, &digest, "").await?;
        assert_eq!(left.as_array().map(Vec::len), Some(2));
    }
    Ok(())
}

#[tokio::test]
async fn lists_of_referrers_are_never_missing_and_have_pages() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    assert_eq!(
        referrers(&registry, &sha512(b"nothing"), "").await?,
        json!([])
    );
    let malformed = "/v2/app/referrers/sha256:x";
    assert_eq!(client.status(Method::GET, malformed).await?, 400);
    let config = bytes(1, 10);
    client.push_blob("app", &config).await?;
    let digest = sha256(b"subject");
    for number in 0..5 {
        let mut manifest = image(&config, &[]);
        manifest["subject"] = descriptor(MANIFEST, b"subject");
        manifest["annotations"] = json!({"number": number.to_string()});
        let body = manifest.to_string().into_bytes();
        client
            .put_manifest("app", &sha256(&body), MANIFEST, &body)
            .await?;
    }
    let path = format!("/v2/app/referrers/{digest}?n=2");
    let page = client.request(Method::GET, &path).send().await?;
    let link = header(&page, "link")?;
    let next = link[1..link.find('>').unwrap()].to_owned();
    let next = client.json(&next).await?;
    assert_eq!(next["manifests"].as_array().map(Vec::len), Some(2));
    Ok(())
}

#[tokio::test]
async fn pages_of_referrers_have_a_bound_in_bytes() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    let mut pushed = Vec::new();
    for (number, filler) in [3_000_000, 3_000_000, 10, 5_000_000, 10]
        .into_iter()
        .enumerate()
    {
        let list = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [],
            "subject": descriptor(MANIFEST, b"subject"),
            "annotations": {"number": number.to_string(), "filler": "x".repeat(filler)}});
        let body = list.to_string().into_bytes();
        let digest = sha256(&body);
        let put = client.put_manifest("app", &digest, INDEX, &body);
        assert_eq!(put.await?.status(), 201);
        pushed.push((digest, list["annotations"].clone()));
    }
    pushed.sort_by(|one, other| one.0.cmp(&other.0));
    let mut next = Some(format!("/v2/app/referrers/{}", sha256(b"subject")));
    let mut found = Vec::new();
    while let Some(path) = next {
        let page = client.request(Method::GET, &path).send().await?;
        assert_eq!(page.status(), 200);
        let link = header(&page, "link").ok();
        next = link.and_then(|link| Some(link[1..link.find('>')?].to_owned()));
        let page = page.bytes().await?;
        assert!(page.len() <= 4 << 20, "{}", page.len());
        let page: Value = serde_json::from_slice(&page)?;
        for referrer in page["manifests"].as_array().into_iter().flatten() {
            let digest = referrer["digest"].as_str().unwrap_or_default().to_owned();
            found.push((digest, referrer["annotations"].clone()));
        }
    }
    // What has no page where it fits is listed without its annotations.
    for (_, annotations) in &mut pushed {
        if annotations["number"] == "3" {
            *annotations = Value::Null;
        }
    }
    assert!(found == pushed);
    Ok(())
}

#[tokio::test]
async fn what_no_client_could_read_is_not_pushed() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    let annotated = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [],
        "subject": descriptor(MANIFEST, b"subject"), "annotations": {"k": {"x": [1]}}});
    let array = json!([2, INDEX, null, null, null, [], null, null]);
    for manifest in [annotated, array] {
        let body = manifest.to_string().into_bytes();
        let put = client.put_manifest("app", "v1", INDEX, &body).await?;
        assert_eq!(put.status(), 400);
        assert_eq!(code(put).await?, "MANIFEST_INVALID");
    }
    Ok(())
}
