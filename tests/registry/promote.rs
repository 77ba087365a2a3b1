//! Artifacts go from project to project without passing through a client, and what else Harbor's
//! clients ask for.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tests::registry::{
    INDEX, Kind, MANIFEST, Registry, RegistryClient, bytes, descriptor, header, image, sha256,
    sha512, text,
};
use tests::wait_for;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

async fn ask(
    client: &RegistryClient,
    method: Method,
    path: &str,
    body: Value,
) -> anyhow::Result<(u16, Value)> {
    client.manage(method, path, body).await
}

#[tokio::test]
async fn an_artifact_is_copied_with_all_that_belongs_to_it() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    let image = client
        .push_image("dev/app", "amd64", &bytes(1, 5000))
        .await?;
    let index = json!({
        "schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(MANIFEST, &image)],
    });
    let index = index.to_string().into_bytes();
    let put = client.put_manifest("dev/app", "v1", INDEX, &index).await?;
    assert_eq!(put.status(), 201);
    let tag = format!("{}?tag=tested", sha256(&index));
    let put = client.put_manifest("dev/app", &tag, INDEX, &index).await?;
    assert_eq!(put.status(), 201);
    let empty = b"{}";
    client.push_blob("dev/app", empty).await?;
    let signature = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/vnd.example.sig",
        "config": descriptor("application/vnd.oci.empty.v1+json", empty),
        "layers": [descriptor("application/vnd.oci.empty.v1+json", empty)],
        "subject": descriptor(INDEX, &index),
    });
    let signature = signature.to_string().into_bytes();
    let reference = sha256(&signature);
    let put = client.put_manifest("dev/app", &reference, MANIFEST, &signature);
    assert_eq!(put.await?.status(), 201);

    let about = "/projects/dev/repositories/app/artifacts/v1/accessories";
    let (_, about) = ask(client, Method::GET, about, Value::Null).await?;
    assert_eq!(about[0]["digest"], json!(reference));
    assert_eq!(about[0]["subject_artifact_digest"], json!(sha256(&index)));
    let given = "/projects/dev/repositories/app/artifacts/v1/labels";
    let given = ask(client, Method::GET, given, Value::Null).await?;
    assert_eq!(given, (200, json!([])));
    let (_, may) = ask(client, Method::GET, "/projects/dev/_deletable", Value::Null).await?;
    assert_eq!(may["deletable"], false);
    let to = "/api/v2.0/projects/prod/repositories/a%252Fapp/artifacts";
    let copy = async |from: &str| {
        let post = client.request(Method::POST, &format!("{to}?from={from}"));
        post.send().await
    };
    assert_eq!(copy("dev/app:v1").await?.status(), 404, "no such project");
    let project = json!({"project_name": "prod"});
    assert_eq!(
        ask(client, Method::POST, "/projects", project).await?.0,
        201
    );
    for (from, status) in [
        ("dev/app:none", 404),
        ("none/app:v1", 404),
        ("dev/app", 400),
        ("", 400),
    ] {
        assert_eq!(copy(from).await?.status(), status, "{from}");
    }
    let copied = copy("dev/app:v1").await?;
    assert_eq!(copied.status(), 201);
    let location = header(&copied, "location")?;
    assert!(location.ends_with(&sha256(&index)), "{location}");
    for (reference, expected) in [
        ("v1".to_owned(), &index),
        ("tested".to_owned(), &index),
        (sha256(&image), &image),
        (sha256(&signature), &signature),
    ] {
        let path = format!("/v2/prod/a/app/manifests/{reference}");
        assert_eq!(
            client.get(&path).await?.as_ref(),
            Some(expected),
            "{reference}"
        );
    }
    let layer = format!("/v2/prod/a/app/blobs/{}", sha256(&bytes(1, 5000)));
    assert_eq!(client.get(&layer).await?, Some(bytes(1, 5000)));
    let referrers = format!("/v2/prod/a/app/referrers/{}", sha256(&index));
    let referrers = client.json(&referrers).await?;
    assert_eq!(
        referrers["manifests"][0]["digest"],
        json!(sha256(&signature))
    );
    // Again is no harm, and by its digest it is the same.
    assert_eq!(
        copy(&format!("dev/app@{}", sha256(&index))).await?.status(),
        201
    );
    let other = format!("dev/app@{}", sha512(&index));
    assert_eq!(copy(&other).await?.status(), 404);
    Ok(())
}

/// As when a proxy in between waits no longer.
#[tokio::test]
async fn a_copy_comes_to_its_end_without_its_client() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    let mut parts = Vec::new();
    for number in 0..20 {
        let tag = format!("p{number}");
        let image = client.push_image("dev/app", &tag, tag.as_bytes()).await?;
        parts.push(descriptor(MANIFEST, &image));
    }
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": parts});
    let index = index.to_string().into_bytes();
    let put = client.put_manifest("dev/app", "v1", INDEX, &index).await?;
    assert_eq!(put.status(), 201);
    let project = json!({"project_name": "prod"});
    assert_eq!(
        ask(client, Method::POST, "/projects", project).await?.0,
        201
    );
    let address = client.base().trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await?;
    let path = "/api/v2.0/projects/prod/repositories/app/artifacts?from=dev/app:v1";
    let request = format!("POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    wait_for("the copy to begin", Duration::from_secs(30), || async {
        client.get("/v2/prod/app/tags/list").await.ok()?
    })
    .await?;
    drop(stream);
    let copied = wait_for("the copy's end", Duration::from_secs(60), || async {
        client.get("/v2/prod/app/manifests/v1").await.ok()?
    });
    assert_eq!(copied.await?, index);
    Ok(())
}

#[tokio::test]
async fn who_copies_may_read_there_and_push_here_and_has_room() -> anyhow::Result<()> {
    let (registry, admin) = crate::auth::start().await?;
    let dev = crate::auth::member(&registry, &admin, "dev", "developer").await?;
    let guest = crate::auth::member(&registry, &admin, "guest", "guest").await?;
    admin
        .push_image("closed/app", "v1", &bytes(1, 1000))
        .await?;
    admin.push_image("team/app", "v1", &bytes(2, 1000)).await?;
    let copy = async |client: &RegistryClient, to: &str, from: &str| {
        let path = format!("/api/v2.0/projects/{to}/repositories/copy/artifacts?from={from}");
        client.status(Method::POST, &path).await
    };
    assert_eq!(copy(&dev, "team", "closed/app:v1").await?, 404);
    assert_eq!(copy(&dev, "closed", "team/app:v1").await?, 404);
    assert_eq!(copy(&guest, "team", "team/app:v1").await?, 403);
    assert_eq!(copy(&dev, "team", "team/app:v1").await?, 201);
    let small = json!({"project_name": "small", "storage_limit": 10});
    assert_eq!(ask(&admin, Method::POST, "/projects", small).await?.0, 201);
    assert_eq!(copy(&admin, "small", "team/app:v1").await?, 403);
    // A robot that may pull there and push here.
    let right = |project: &str, actions: &[&str]| json!({"project": project, "actions": actions});
    let robot = json!({"name": "cp", "level": "system", "duration": -1,
        "permissions": [right("closed", &["pull"]), right("team", &["push"])]});
    let (_, robot) = ask(&admin, Method::POST, "/robots", robot).await?;
    let text = |key: &str| robot[key].as_str().unwrap_or_default();
    let robot = registry.client().login(text("name"), text("secret"));
    assert_eq!(copy(&robot, "team", "closed/app:v1").await?, 201);
    assert_eq!(copy(&robot, "closed", "closed/app:v1").await?, 403);
    // Nobody would push what is not there.
    let broken = image(b"not there", &[]).to_string().into_bytes();
    let put = admin.put_manifest("team/broken", "v1", MANIFEST, &broken);
    assert_eq!(put.await?.status(), 201);
    assert_eq!(copy(&admin, "closed", "team/broken:v1").await?, 400);
    Ok(())
}

#[tokio::test]
async fn of_a_copy_that_is_refused_nothing_stays() -> anyhow::Result<()> {
    let env = [
        ("SKALD_REGISTRY_GC_INTERVAL", "100ms"),
        ("SKALD_REGISTRY_GC_BLOB_GRACE", "5s"),
    ];
    let registry = Registry::start(Kind::Files, &env).await?;
    let client = registry.client();
    let mut parts = Vec::new();
    for seed in 0..4 {
        let part = client
            .push_image("dev/app", "part", &bytes(seed, 4000))
            .await?;
        parts.push(descriptor(MANIFEST, &part));
    }
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": parts}).to_string();
    let put = client.put_manifest("dev/app", "v1", INDEX, index.as_bytes());
    assert_eq!(put.await?.status(), 201);
    let small = json!({"project_name": "small", "storage_limit": 12_000});
    assert_eq!(ask(client, Method::POST, "/projects", small).await?.0, 201);
    let copy = "/projects/small/repositories/app/artifacts?from=dev/app:v1";
    assert_eq!(ask(client, Method::POST, copy, Value::Null).await?.0, 403);
    wait_for("its parts to go", Duration::from_secs(60), async || {
        let quota = ask(client, Method::GET, "/quotas/small", Value::Null)
            .await
            .ok()?;
        (quota.1["used"]["storage"] == 0).then_some(())
    })
    .await
}

/// Its tag is set last: who pulls by it gets all of it or what was there before.
#[tokio::test]
async fn a_copy_whose_signature_is_refused_sets_no_tag() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    let image = client.push_image("dev/app", "v1", &bytes(1, 500)).await?;
    let signature = format!("{}.sig", sha256(&image).replace(':', "-"));
    for (repo, seed) in [("dev/app", 2), ("prod/app", 3)] {
        client
            .push_image(repo, &signature, &bytes(seed, 500))
            .await?;
    }
    let before = client.push_image("prod/app", "v1", &bytes(4, 500)).await?;
    let rule = json!({"kind": "immutable", "tags": "sha256-*"});
    let made = ask(client, Method::POST, "/projects/prod/rules", rule);
    assert_eq!(made.await?.0, 201);
    let copy = "/projects/prod/repositories/app/artifacts?from=dev/app:v1";
    assert_eq!(ask(client, Method::POST, copy, Value::Null).await?.0, 412);
    let pulled = client.get("/v2/prod/app/manifests/v1").await?;
    assert_eq!(pulled, Some(before));
    let path = format!("/v2/prod/app/manifests/{}", sha256(&image));
    assert_eq!(client.get(&path).await?, None);
    Ok(())
}

#[tokio::test]
async fn what_was_there_before_a_copy_stays_if_that_is_refused() -> anyhow::Result<()> {
    let env = [
        ("SKALD_REGISTRY_GC_INTERVAL", "100ms"),
        ("SKALD_REGISTRY_GC_BLOB_GRACE", "1s"),
    ];
    let registry = Registry::start(Kind::Files, &env).await?;
    let client = registry.client();
    let image = client.push_image("dev/app", "v1", &bytes(1, 1000)).await?;
    let other = client
        .push_image("dev/app", "v2", &bytes(2, 100_000))
        .await?;
    let parts = [&image, &other].map(|part| descriptor(MANIFEST, part));
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": parts}).to_string();
    let put = client.put_manifest("dev/app", "all", INDEX, index.as_bytes());
    assert_eq!(put.await?.status(), 201);
    let small = json!({"project_name": "small", "storage_limit": 12_000});
    assert_eq!(ask(client, Method::POST, "/projects", small).await?.0, 201);
    // Pushed by its digest, it has no tag.
    client.push_blob("small/app", &bytes(1, 1000)).await?;
    client.push_blob("small/app", b"{}").await?;
    let digest = sha256(&image);
    let put = client.put_manifest("small/app", &digest, MANIFEST, &image);
    assert_eq!(put.await?.status(), 201);
    let copy = "/projects/small/repositories/app/artifacts?from=dev/app:all";
    assert_eq!(ask(client, Method::POST, copy, Value::Null).await?.0, 403);
    let path = format!("/v2/small/app/manifests/{digest}");
    assert_eq!(client.get(&path).await?, Some(image));
    Ok(())
}

#[tokio::test]
async fn what_is_brought_back_is_whole() -> anyhow::Result<()> {
    let env = [("SKALD_REGISTRY_GC_INTERVAL", "100ms")];
    let registry = Registry::start(Kind::Files, &env).await?;
    let client = registry.client();
    let tags = async |repo: &str| {
        let list = client.json(&format!("/v2/{repo}/tags/list")).await?;
        anyhow::Ok(list["tags"].clone())
    };
    let undelete = |repo: &str, tag: &str| {
        let path = format!("/projects/dev/repositories/{repo}/tags/{tag}/undelete");
        async move { client.manage(Method::POST, &path, json!({})).await }
    };
    let delete = async |path: String| client.status(Method::DELETE, &path).await;
    // A signature that was removed before stays away.
    let image = client.push_image("dev/app", "v1", &bytes(1, 500)).await?;
    let about = sha256(&image).replace(':', "-");
    let [att, sig] = [".att", ".sig"].map(|ending| format!("{about}{ending}"));
    for (seed, tag) in [(2, &att), (3, &sig)] {
        client.push_image("dev/app", tag, &bytes(seed, 500)).await?;
    }
    assert_eq!(delete(format!("/v2/dev/app/manifests/{att}")).await?, 202);
    assert_eq!(
        delete(format!("/v2/dev/app/manifests/{}", sha256(&image))).await?,
        202
    );
    assert_eq!(tags("dev/app").await?, json!([]));
    let back = undelete("app", "v1").await?;
    assert_eq!(back.0, 200, "{back:?}");
    assert_eq!(tags("dev/app").await?, json!([sig, "v1"]));
    let of_tag = "/projects/dev/logs?q=resource%3Ddev/app:v1,operation%3Dcreate";
    let (_, told) = ask(client, Method::GET, of_tag, Value::Null).await?;
    assert_eq!(
        told.as_array().map(Vec::len),
        Some(2),
        "pushed and back: {told}"
    );

    // An index with what it names, each removed by its digest.
    let part = client
        .push_image("dev/multi", "part", &bytes(4, 500))
        .await?;
    assert_eq!(
        delete("/v2/dev/multi/manifests/part".to_owned()).await?,
        202
    );
    let parts = [descriptor(MANIFEST, &part)];
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": parts}).to_string();
    let put = client.put_manifest("dev/multi", "all", INDEX, index.as_bytes());
    assert_eq!(put.await?.status(), 201);
    for digest in [sha256(index.as_bytes()), sha256(&part)] {
        assert_eq!(
            delete(format!("/v2/dev/multi/manifests/{digest}")).await?,
            202
        );
    }
    let rule = json!({"kind": "immutable", "tags": "all"});
    let rules = "/projects/dev/rules";
    client
        .push_image("dev/multi", "all", &bytes(5, 500))
        .await?;
    let (_, rule) = ask(client, Method::POST, rules, rule).await?;
    let digest = json!({"digest": sha256(index.as_bytes())});
    let path = "/projects/dev/repositories/multi/tags/all/undelete";
    assert_eq!(
        ask(client, Method::POST, path, digest.clone()).await?.0,
        412
    );
    let part_path = format!("/v2/dev/multi/manifests/{}", sha256(&part));
    assert_eq!(client.status(Method::GET, &part_path).await?, 404);
    let rule = format!("{rules}/{}", rule["id"]);
    assert_eq!(
        ask(client, Method::DELETE, &rule, Value::Null).await?.0,
        200
    );
    let back = ask(client, Method::POST, path, digest).await?;
    assert_eq!(back.0, 200, "{back:?}");
    let pulled = client.get("/v2/dev/multi/manifests/all").await?;
    assert_eq!(pulled.as_deref(), Some(index.as_bytes()));
    assert_eq!(client.get(&part_path).await?, Some(part));
    Ok(())
}

#[tokio::test]
async fn what_else_is_where_harbor_has_it() -> anyhow::Result<()> {
    let (registry, admin) = crate::auth::start().await?;
    let dev = crate::auth::member(&registry, &admin, "dev", "developer").await?;
    admin
        .push_image("closed/app", "v1", &bytes(1, 1000))
        .await?;
    admin.push_image("team/app", "v1", &bytes(2, 1000)).await?;
    let get = async |client: &RegistryClient, path: &str| -> anyhow::Result<Value> {
        let (status, body) = ask(client, Method::GET, path, Value::Null).await?;
        anyhow::ensure!(status == 200, "{path}: {status} {body}");
        Ok(body)
    };
    let all = get(&admin, "/statistics").await?;
    assert_eq!(
        (&all["total_project_count"], &all["total_repo_count"]),
        (&json!(2), &json!(2))
    );
    assert!(all["total_storage_consumption"].as_i64() > Some(2000));
    let own = get(&dev, "/statistics").await?;
    assert_eq!(
        own["private_project_count"], 1,
        "what is closed is not counted"
    );
    assert_eq!(own["total_storage_consumption"], Value::Null);

    let robot = json!({
        "name": "ci", "project": "team", "permissions": [{"project": "team", "actions": ["pull"]}],
    });
    assert_eq!(ask(&admin, Method::POST, "/robots", robot).await?.0, 201);
    let id = get(&admin, "/projects/team").await?["project_id"].clone();
    for project in ["team".to_owned(), id.to_string()] {
        let robots = get(&admin, &format!("/projects/{project}/robots")).await?;
        assert_eq!(robots[0]["name"], "robot$team+ci");
    }
    assert_eq!(get(&admin, "/projects/closed/robots").await?, json!([]));
    let seen = ask(&dev, Method::GET, "/projects/team/robots", Value::Null);
    assert_eq!(seen.await?.0, 200, "members see them");

    let schedule = "/system/gc/schedule";
    assert_eq!(get(&admin, schedule).await?["schedule"]["type"], "None");
    for (kind, status) in [("Manual", 201), ("Daily", 400)] {
        let run = json!({"schedule": {"type": kind}, "parameters": {"dry_run": true}});
        assert_eq!(ask(&admin, Method::POST, schedule, run).await?.0, status);
    }
    let refused = ask(&dev, Method::GET, schedule, Value::Null).await?;
    assert_eq!(refused.0, 403);
    let given = get(&admin, "/permissions").await?["project"].clone();
    let permissions = json!([{"kind": "project", "namespace": "team", "access": given}]);
    let robot = json!({"name": "all", "level": "project", "permissions": permissions});
    let made = admin.request(Method::POST, "/api/v2.0/robots").json(&robot);
    let made = made.send().await?;
    assert_eq!(made.status(), 201, "{}", text(made).await);
    Ok(())
}

/// What was asked for is there once the answer says so, whatever became of it where it comes from.
#[tokio::test]
async fn what_is_removed_while_it_is_copied_is_copied_all_the_same() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    let mut images = Vec::new();
    for seed in 0..12 {
        images.push(
            client
                .push_image("dev/app", "tmp", &bytes(seed, 100))
                .await?,
        );
    }
    let parts: Vec<Value> = images
        .iter()
        .map(|image| descriptor(MANIFEST, image))
        .collect();
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": parts});
    let index = index.to_string().into_bytes();
    let project = json!({"project_name": "prod"});
    assert_eq!(
        ask(client, Method::POST, "/projects", project).await?.0,
        201
    );
    for round in 0..5 {
        let put = client.put_manifest("dev/app", "v1", INDEX, &index).await?;
        assert_eq!(put.status(), 201);
        let to = format!("/projects/prod/repositories/app{round}/artifacts?from=dev/app:v1");
        let copied = ask(client, Method::POST, &to, Value::Null);
        let first = format!("/v2/prod/app{round}/manifests/{}", sha256(&images[11]));
        let removed = async {
            let begun = || async {
                let answer = client.request(Method::HEAD, &first).send().await.ok()?;
                (answer.status() == 200).then_some(())
            };
            wait_for("the copy to begin", Duration::from_secs(20), begun).await?;
            let path = format!("/v2/dev/app/manifests/{}", sha256(&index));
            client.status(Method::DELETE, &path).await
        };
        let (copied, removed) = tokio::join!(copied, removed);
        assert_eq!((copied?.0, removed?), (201, 202));
        let path = format!("/v2/prod/app{round}/manifests/v1");
        assert_eq!(client.get(&path).await?.as_ref(), Some(&index));
    }
    Ok(())
}

/// Signatures as cosign keeps them have tags that say what they are about.
#[tokio::test]
async fn signatures_are_copied_and_removed_with_what_they_sign() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    let image = client.push_image("dev/app", "v1", &bytes(1, 500)).await?;
    let again = format!("{}?tag=again", sha256(&image));
    let put = client.put_manifest("dev/app", &again, MANIFEST, &image);
    assert_eq!(put.await?.status(), 201);
    client.push_image("dev/app", "v2", &bytes(2, 500)).await?;
    let about = sha256(&image).replace(':', "-");
    let companions = [".att", ".sig"].map(|ending| format!("{about}{ending}"));
    for (seed, tag) in (3..).zip(&companions) {
        client.push_image("dev/app", tag, &bytes(seed, 500)).await?;
    }
    let project = json!({"project_name": "prod"});
    assert_eq!(
        ask(client, Method::POST, "/projects", project).await?.0,
        201
    );
    let copy = "/projects/prod/repositories/app/artifacts?from=dev/app:v1";
    assert_eq!(ask(client, Method::POST, copy, Value::Null).await?.0, 201);
    let tags = async |repo: &str| {
        let list = client.json(&format!("/v2/{repo}/tags/list")).await?;
        anyhow::Ok(list["tags"].clone())
    };
    let [att, sig] = &companions;
    assert_eq!(tags("prod/app").await?, json!(["again", att, sig, "v1"]));

    let artifacts = "/projects/dev/repositories/app/artifacts";
    let remove = async |what: &str| {
        let path = format!("{artifacts}/{what}");
        anyhow::Ok(ask(client, Method::DELETE, &path, Value::Null).await?.0)
    };
    assert_eq!(remove("v1").await?, 200);
    assert_eq!(tags("dev/app").await?, json!(["again", att, sig, "v2"]));
    assert_eq!(remove("again").await?, 200);
    assert_eq!(tags("dev/app").await?, json!(["v2"]));
    let artifacts = "/projects/prod/repositories/app/artifacts";
    let path = format!("{artifacts}/{}", sha256(&image));
    assert_eq!(
        ask(client, Method::DELETE, &path, Value::Null).await?.0,
        200
    );
    assert_eq!(tags("prod/app").await?, json!([]));
    Ok(())
}
