//! What is about an artifact is told with it, as Harbor does, and is none of the artifacts that are listed.

use reqwest::Method;
use serde_json::{Value, json};
use tests::registry::{
    INDEX, Kind, MANIFEST, Registry, RegistryClient, bytes, descriptor, header, image, sha256,
};

use crate::harbor::{field, get};

const REPO: &str = "/projects/team/repositories/app";
const SBOM: &str = "application/vnd.goharbor.harbor.sbom.v1";
const NOTATION: &str = "application/vnd.cncf.notary.signature";

/// The tag of what is about a manifest.
fn about(manifest: &[u8], ending: &str) -> String {
    format!("{}{ending}", sha256(manifest).replace(':', "-"))
}

/// Pushes what has a manifest as its subject.
async fn refer(
    client: &RegistryClient,
    subject: &[u8],
    artifact_type: &str,
) -> anyhow::Result<Vec<u8>> {
    client.push_blob("team/app", b"{}").await?;
    let mut manifest = image(b"{}", &[]);
    manifest["subject"] = descriptor(MANIFEST, subject);
    manifest["artifactType"] = json!(artifact_type);
    let manifest = manifest.to_string().into_bytes();
    let digest = sha256(&manifest);
    let put = client.put_manifest("team/app", &digest, MANIFEST, &manifest);
    anyhow::ensure!(put.await?.status() == 201);
    Ok(manifest)
}

/// The tags of all artifacts that a list has, in order.
async fn listed(client: &RegistryClient, path: &str) -> anyhow::Result<Vec<String>> {
    let artifacts = get(client, path).await?;
    let artifacts = artifacts.as_array().into_iter().flatten();
    let mut tags: Vec<String> = artifacts
        .flat_map(|artifact| field(&artifact["tags"], "name"))
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect();
    tags.sort_unstable();
    Ok(tags)
}

#[tokio::test]
async fn what_is_about_others_is_told_with_them() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    let part = client.push_image("team/app", "part", &bytes(1, 10)).await?;
    let index = json!({"schemaVersion": 2, "mediaType": INDEX,
        "manifests": [descriptor(MANIFEST, &part)]});
    let index = index.to_string().into_bytes();
    let put = client.put_manifest("team/app", "v1", INDEX, &index).await?;
    assert_eq!(put.status(), 201);
    let untagged = client.request(Method::DELETE, "/v2/team/app/manifests/part");
    assert_eq!(untagged.send().await?.status(), 202);
    // By what cosign names them, and by what they say.
    let mut expected = Vec::new();
    for (seed, ending, kind) in [
        (2, ".sig", "signature.cosign"),
        (3, ".att", "subject.accessory"),
        (4, "", "subject.accessory"),
    ] {
        let tag = about(&index, ending);
        let pushed = client
            .push_image("team/app", &tag, &bytes(seed, 10))
            .await?;
        expected.push(json!([sha256(&pushed), kind]));
    }
    for (artifact_type, kind) in [
        (NOTATION, "signature.notation"),
        (SBOM, "sbom.harbor"),
        ("application/vnd.example", "subject.accessory"),
    ] {
        let referrer = refer(client, &index, artifact_type).await?;
        expected.push(json!([sha256(&referrer), kind]));
    }
    // What the index has is signed too.
    let signature = about(&part, ".sig");
    client
        .push_image("team/app", &signature, &bytes(5, 10))
        .await?;

    let path = format!("/api/v2.0{REPO}/artifacts");
    let answer = client.request(Method::GET, &path).send().await?;
    assert_eq!(header(&answer, "x-total-count")?, "1");
    let artifacts: Value = answer.json().await?;
    assert_eq!(field(&artifacts, "digest"), [sha256(&index)]);
    let told = |accessories: &Value| {
        let accessories = accessories.as_array().into_iter().flatten();
        let told = accessories.map(|one| json!([one["digest"], one["type"]]));
        told.collect::<Vec<_>>()
    };
    let of_part = get(client, &format!("{REPO}/artifacts/{signature}")).await?;
    assert_eq!(told(&artifacts[0]["accessories"]), expected);
    assert_eq!(artifacts[0]["tags"][0]["signed"], true);
    for (reference, expected) in [
        ("v1", &expected[..]),
        (
            &sha256(&part),
            &[json!([of_part["digest"], "signature.cosign"])],
        ),
    ] {
        let path = format!("{REPO}/artifacts/{reference}/accessories");
        let accessories = get(client, &path).await?;
        assert_eq!(told(&accessories), expected, "{reference}");
        assert_eq!(accessories[0]["subject_artifact_repo"], "team/app");
        assert_eq!(
            accessories[0]["size"], of_part["size"],
            "alike but for the seed"
        );
    }

    assert_eq!(get(client, REPO).await?["artifact_count"], 1);
    let found = get(client, "/search?q=app").await?;
    assert_eq!(found["repository"][0]["artifact_count"], 1);
    for path in [
        "/projects/team/artifacts",
        "/projects/team/artifacts?latest_in_repository=true",
    ] {
        assert_eq!(listed(client, path).await?, ["v1"], "{path}");
    }
    // Clients of the registry see all.
    let tags = client.json("/v2/team/app/tags/list").await?;
    assert_eq!(tags["tags"].as_array().map(Vec::len), Some(5));
    let referrers = format!("/v2/team/app/referrers/{}", sha256(&index));
    assert_eq!(
        client.json(&referrers).await?["manifests"]
            .as_array()
            .map(Vec::len),
        Some(3)
    );
    Ok(())
}

/// What stays with its subject keeps what is about it.
#[tokio::test]
async fn what_is_about_what_stays_stays() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    let image = client.push_image("team/app", "v1", &bytes(1, 10)).await?;
    let sbom = refer(client, &image, SBOM).await?;
    let set = format!("{}?tag=sbom", sha256(&sbom));
    let put = client.put_manifest("team/app", &set, MANIFEST, &sbom);
    assert_eq!(put.await?.status(), 201);
    let signature = about(&sbom, ".sig");
    client
        .push_image("team/app", &signature, &bytes(2, 10))
        .await?;
    let path = format!("{REPO}/artifacts/sbom/tags/sbom");
    let removed = client.manage(Method::DELETE, &path, Value::Null).await?;
    assert_eq!(removed.0, 200, "{}", removed.1);
    let tags = client.json("/v2/team/app/tags/list").await?;
    assert_eq!(tags["tags"], json!([signature, "v1"]));
    Ok(())
}

/// Who names two after each other hides neither.
#[tokio::test]
async fn what_is_about_each_other_is_listed() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    let mut pair = Vec::new();
    for seed in [1, 2] {
        pair.push(client.push_image("team/app", "x", &bytes(seed, 10)).await?);
    }
    for (one, other) in [(0, 1), (1, 0)] {
        let set = format!("{}?tag={}", sha256(&pair[one]), about(&pair[other], ""));
        let put = client.put_manifest("team/app", &set, MANIFEST, &pair[one]);
        assert_eq!(put.await?.status(), 201);
    }
    let gone = client.status(Method::DELETE, "/v2/team/app/manifests/x");
    assert_eq!(gone.await?, 202);
    let first = about(&pair[1], "");
    assert_eq!(listed(client, &format!("{REPO}/artifacts")).await?, [first]);
    Ok(())
}

#[tokio::test]
async fn what_belongs_to_nothing_else_is_listed() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    let image = client.push_image("team/app", "v1", &bytes(1, 10)).await?;
    let elsewhere = about(b"elsewhere", ".sig");
    client
        .push_image("team/app", &elsewhere, &bytes(2, 10))
        .await?;
    refer(client, b"elsewhere", NOTATION).await?;
    // One that is named by its own digest, and one whose name says nothing after all.
    let own = about(&image, ".pinned");
    let longer = about(&image, "0.sig");
    let set = format!("{}?tag={own}", sha256(&image));
    let put = client.put_manifest("team/app", &set, MANIFEST, &image);
    assert_eq!(put.await?.status(), 201);
    client
        .push_image("team/app", &longer, &bytes(3, 10))
        .await?;
    let signature = about(&image, ".sig");
    let signed = client
        .push_image("team/app", &signature, &bytes(4, 10))
        .await?;

    let artifacts = format!("{REPO}/artifacts");
    let mut expected = vec![elsewhere, own, longer, "v1".to_owned()];
    expected.sort_unstable();
    assert_eq!(listed(client, &artifacts).await?, expected);
    assert_eq!(get(client, REPO).await?["artifact_count"], 4);
    // A signature that somebody gave a name of its own is looked for by that.
    let set = format!("{}?tag=kept", sha256(&signed));
    let put = client.put_manifest("team/app", &set, MANIFEST, &signed);
    assert_eq!(put.await?.status(), 201);
    expected.extend(["kept".to_owned(), signature]);
    expected.sort_unstable();
    assert_eq!(listed(client, &artifacts).await?, expected);
    let accessories = get(client, &format!("{artifacts}/v1/accessories")).await?;
    assert_eq!(field(&accessories, "digest"), [sha256(&signed)]);

    // What was about what is gone is there itself.
    let path = format!("/v2/team/app/manifests/{}", sha256(&signed));
    let about = refer(client, &signed, NOTATION).await?;
    assert_eq!(client.status(Method::DELETE, &path).await?, 202);
    let left = get(client, &format!("{artifacts}?q=tags%3Dnil")).await?;
    assert!(field(&left, "digest").contains(&json!(sha256(&about))));
    Ok(())
}

#[tokio::test]
async fn who_wants_no_tags_is_told_of_none() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    client.push_image("team/app", "v1", &bytes(1, 10)).await?;
    let artifacts = format!("{REPO}/artifacts");
    for path in [&artifacts, "/projects/team/artifacts"] {
        for (asked, expected) in [("", 1), ("?with_tag=true", 1), ("?with_tag=false", 0)] {
            let found = get(client, &format!("{path}{asked}")).await?;
            let tags = field(&found[0]["tags"], "name");
            assert_eq!(tags.len(), expected, "{path}{asked}");
        }
    }
    let one = get(client, &format!("{artifacts}/v1?with_tag=false")).await?;
    assert_eq!(one["tags"], json!([]));
    let tags = get(client, &format!("{artifacts}/v1/tags?with_tag=false")).await?;
    assert_eq!(field(&tags, "name"), ["v1"]);
    Ok(())
}
