//! What is about the images of caches: signatures, lists of what is in them.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tests::registry::{INDEX, MANIFEST, RegistryClient, bytes, descriptor, header, image, sha256};
use tests::wait_for;

use super::{TAG, pair, pull};
use crate::between::{Mode, status};

const SIGNATURE: &str = "application/x.signature";

fn list(subject: &[u8]) -> String {
    format!("/v2/hub/lib/app/referrers/{}", sha256(subject))
}

fn by_digest(manifest: &[u8]) -> String {
    format!("/v2/hub/lib/app/manifests/{}", sha256(manifest))
}

/// A manifest about another one, which is pushed as what its type is.
async fn push(client: &RegistryClient, subject: &[u8], kind: &str) -> anyhow::Result<Vec<u8>> {
    client.push_blob("lib/app", b"{}").await?;
    let mut about = image(b"{}", &[]);
    about["subject"] = descriptor(MANIFEST, subject);
    about["artifactType"] = json!(kind);
    about["annotations"] = json!({"by": "me"});
    let about = about.to_string().into_bytes();
    let digest = sha256(&about);
    let put = client.put_manifest("lib/app", &digest, MANIFEST, &about);
    assert_eq!(put.await?.status(), 201);
    Ok(about)
}

/// What is said of a manifest on a list of those about another.
fn listed(about: &[u8], kind: &str) -> Value {
    let mut listed = descriptor(MANIFEST, about);
    listed["artifactType"] = json!(kind);
    listed["annotations"] = json!({"by": "me"});
    listed
}

/// What is listed, by the digests.
async fn manifests(client: &RegistryClient, path: &str) -> anyhow::Result<Vec<Value>> {
    let index = client.json(path).await?;
    assert_eq!(index["mediaType"], INDEX);
    Ok(index["manifests"].as_array().cloned().unwrap_or_default())
}

#[tokio::test]
async fn what_is_about_an_image_is_listed_of_both_registries() -> anyhow::Result<()> {
    let (upstream, between, cache) = pair(&[]).await?;
    let (there, client) = (upstream.client(), cache.client());
    let subject = there.push_image("lib/app", "v1", &bytes(1, 10)).await?;
    assert!(manifests(client, &list(&subject)).await?.is_empty());
    let mut all = Vec::new();
    for kind in [SIGNATURE, "application/x.sbom", "application/x.other"] {
        let about = push(there, &subject, kind).await?;
        all.push(listed(&about, kind));
        if kind == SIGNATURE {
            client.get(TAG).await?;
            assert_eq!(client.get(&by_digest(&about)).await?, Some(about.clone()));
        }
    }
    let kept = all[0].clone();
    all.sort_by_key(|one| one["digest"].to_string());
    assert_eq!(manifests(client, &list(&subject)).await?, all);
    let signatures = format!("{}?artifactType={SIGNATURE}", list(&subject));
    let filtered = pull(client, &signatures).await?;
    assert_eq!(header(&filtered, "oci-filters-applied")?, "artifactType");
    assert_eq!(
        manifests(client, &signatures).await?,
        std::slice::from_ref(&kept)
    );
    let page = pull(client, &format!("{}?n=2", list(&subject))).await?;
    let link = header(&page, "link")?;
    let rest = manifests(client, &link[1..link.find('>').unwrap()]).await?;
    assert_eq!(rest, all[2..]);

    // What is gone there and is here is listed as long as it is here.
    let path = format!("/v2/lib/app/manifests/{}", kept["digest"].as_str().unwrap());
    assert_eq!(there.status(Method::DELETE, &path).await?, 202);
    assert_eq!(manifests(client, &list(&subject)).await?, all);
    for mode in [status("500 Internal Server Error", ""), Mode::Silent] {
        between.set(mode);
        let stale = wait_for("the warning", Duration::from_secs(30), || async {
            let stale = pull(client, &list(&subject)).await.ok()?;
            stale.headers().contains_key("warning").then_some(stale)
        })
        .await?;
        let stale: Value = stale.json().await?;
        assert_eq!(stale["manifests"], json!([kept]));
        // That there is none is not known.
        let cold = pull(client, &list(b"something else")).await?;
        assert_eq!(cold.status(), 502);
    }
    Ok(())
}

/// <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#referrers-tag-schema>
#[tokio::test]
async fn where_there_are_no_such_lists_a_tag_has_one() -> anyhow::Result<()> {
    let (upstream, between, cache) = pair(&[]).await?;
    let (there, client) = (upstream.client(), cache.client());
    between.set(Mode::Without("/referrers/"));
    let subject = there.push_image("lib/app", "v1", &bytes(1, 10)).await?;
    assert!(manifests(client, &list(&subject)).await?.is_empty());
    let about = push(there, &subject, SIGNATURE).await?;
    let index = json!({"schemaVersion": 2, "mediaType": INDEX,
        "manifests": [listed(&about, SIGNATURE)]});
    let tag = sha256(&subject).replace(':', "-");
    let index = index.to_string();
    let put = there.put_manifest("lib/app", &tag, INDEX, index.as_bytes());
    assert_eq!(put.await?.status(), 201);
    let found = manifests(client, &list(&subject)).await?;
    assert_eq!(found, [listed(&about, SIGNATURE)]);
    assert_eq!(client.get(&by_digest(&about)).await?, Some(about));
    Ok(())
}

#[tokio::test]
async fn what_is_about_an_image_stays_as_long_as_the_image() -> anyhow::Result<()> {
    let env = [
        ("SKALD_REGISTRY_GC_INTERVAL", "20ms"),
        ("SKALD_REGISTRY_GC_UNTAGGED_GRACE", "1s"),
        ("SKALD_REGISTRY_GC_NEVER_TAGGED_GRACE", "1s"),
        ("SKALD_REGISTRY_GC_BLOB_GRACE", "0s"),
    ];
    let (upstream, between, cache) = pair(&env).await?;
    let (there, client) = (upstream.client(), cache.client());
    let subject = there.push_image("lib/app", "v1", &bytes(1, 10)).await?;
    let about = push(there, &subject, SIGNATURE).await?;
    // How cosign signs where it knows of no lists.
    let tag = format!("{}.sig", sha256(&subject).replace(':', "-"));
    let signed = there.push_image("lib/app", &tag, b"signed").await?;
    let other = there.push_image("lib/app", "other", b"other").await?;
    client.get(TAG).await?;
    let tagged = format!("/v2/hub/lib/app/manifests/{tag}");
    assert_eq!(client.get(&tagged).await?.as_ref(), Some(&signed));
    assert_eq!(client.get(&by_digest(&about)).await?.as_ref(), Some(&about));
    client.get(&by_digest(&other)).await?;
    between.set(status("500 Internal Server Error", ""));
    let artifacts = "/projects/hub/repositories/lib%2Fapp/artifacts";
    let digests = async || {
        let path = format!("{artifacts}?with_accessory=true");
        let (_, shown) = client.manage(Method::GET, &path, Value::Null).await.ok()?;
        Some(shown.to_string())
    };
    wait_for("the other to go", Duration::from_secs(30), || async {
        (!digests().await?.contains(&sha256(&other))).then_some(())
    })
    .await?;
    for kept in [&subject, &about, &signed] {
        assert_eq!(client.get(&by_digest(kept)).await?.as_ref(), Some(kept));
    }
    assert_eq!(
        manifests(client, &list(&subject)).await?,
        [listed(&about, SIGNATURE)]
    );
    let delete = format!("{artifacts}/{}", sha256(&subject));
    let (status, _) = client.manage(Method::DELETE, &delete, Value::Null).await?;
    assert_eq!(status, 200);
    wait_for("it to go too", Duration::from_secs(30), || async {
        let left = client.status(Method::GET, &list(&subject)).await.ok()?;
        (left == 502).then_some(())
    })
    .await
}
