//! Projects, quotas, tags and their history.

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tests::registry::{Kind, MANIFEST, Registry, RegistryClient, bytes, code, image, sha256, text};

async fn used(client: &RegistryClient, project: &str) -> anyhow::Result<i64> {
    let (_, quotas) = client.manage(Method::GET, "/quotas", Value::Null).await?;
    let quotas = quotas.as_array().into_iter().flatten();
    let mut quotas = quotas.filter(|quota| quota["ref"]["name"] == project);
    Ok(quotas
        .next()
        .and_then(|quota| quota["used"]["storage"].as_i64())
        .unwrap_or(-1))
}

#[tokio::test]
async fn a_quota_is_exact_also_when_many_push_at_once() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    let project = json!({"project_name": "small", "storage_limit": 10_500});
    assert_eq!(
        client.manage(Method::POST, "/projects", project).await?.0,
        201
    );
    let pushes = (0..30).map(|seed| async move {
        let blob = bytes(seed, 1000);
        let path = format!(
            "/v2/small/app{seed}/blobs/uploads/?digest={}",
            sha256(&blob)
        );
        let post = client.request(Method::POST, &path).body(blob).send().await;
        post.map(|answer| answer.status().as_u16())
    });
    let statuses: Vec<u16> = join_all(pushes)
        .await
        .into_iter()
        .collect::<Result<_, _>>()?;
    let over = bytes(100, 1000);
    let path = format!("/v2/small/over/blobs/uploads/?digest={}", sha256(&over));
    let refused = client
        .request(Method::POST, &path)
        .body(over)
        .send()
        .await?;
    assert_eq!(refused.status(), 403);
    assert_eq!(code(refused).await?, "DENIED");
    let count = |status| statuses.iter().filter(|given| **given == status).count();
    assert_eq!((count(201), count(403)), (10, 20), "{statuses:?}");
    Ok(())
}

#[tokio::test]
async fn a_blob_counts_once_in_its_project_and_is_given_back() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    let blob = bytes(1, 1000);
    let digest = client.push_blob("p/a", &blob).await?;
    client.push_blob("p/b", &blob).await?;
    client.push_blob("q/a", &blob).await?;
    assert_eq!(
        (used(client, "p").await?, used(client, "q").await?),
        (1000, 1000)
    );
    for (repo, left) in [("p/a", 1000), ("p/b", 0)] {
        let path = format!("/v2/{repo}/blobs/{digest}");
        assert_eq!(client.status(Method::DELETE, &path).await?, 202);
        assert_eq!(used(client, "p").await?, left);
    }
    let set = json!({"hard": {"storage": 500}});
    assert_eq!(client.manage(Method::PUT, "/quotas/p", set).await?.0, 200);
    let path = format!("/v2/p/a/blobs/uploads/?digest={digest}");
    let post = client
        .request(Method::POST, &path)
        .body(blob)
        .send()
        .await?;
    assert_eq!(post.status(), 403);
    assert_eq!(code(post).await?, "DENIED");
    Ok(())
}

#[tokio::test]
async fn who_pushed_is_for_who_has_to_do_with_the_project() -> anyhow::Result<()> {
    let (registry, admin) = crate::auth::start().await?;
    let guest = crate::auth::member(&registry, &admin, "guest", "limitedGuest").await?;
    let public = json!({"public": "true"});
    let path = "/projects/team/metadatas/public";
    assert_eq!(admin.manage(Method::PUT, path, public).await?.0, 200);
    admin.push_image("team/app", "v1", &bytes(1, 10)).await?;
    let history = "/api/v2.0/projects/team/repositories/app/tags/v1/history";
    let nobody = registry.client();
    assert_eq!(nobody.status(Method::GET, history).await?, 401);
    assert_eq!(guest.status(Method::GET, history).await?, 200);
    Ok(())
}

#[tokio::test]
async fn a_tag_has_a_history_and_comes_back() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    let one = client
        .push_image("team/app", "latest", &bytes(2, 10))
        .await?;
    let two = client
        .push_image("team/app", "latest", &bytes(3, 10))
        .await?;
    let path = "/v2/team/app/manifests/latest";
    assert_eq!(client.status(Method::DELETE, path).await?, 202);
    let tag = "/projects/team/repositories/app/tags/latest";
    let (_, history) = client
        .manage(Method::GET, &format!("{tag}/history"), Value::Null)
        .await?;
    let digests: Vec<(Value, Value)> = history
        .as_array()
        .into_iter()
        .flatten()
        .map(|moved| (moved["digest"].clone(), moved["old_digest"].clone()))
        .collect();
    let (one_digest, two_digest) = (json!(sha256(&one)), json!(sha256(&two)));
    let expected = [
        (Value::Null, two_digest.clone()),
        (two_digest, one_digest.clone()),
        (one_digest.clone(), Value::Null),
    ];
    assert_eq!(digests, expected);
    let undelete = format!("{tag}/undelete");
    assert_eq!(
        client.manage(Method::POST, &undelete, json!({})).await?.0,
        200
    );
    assert_eq!(client.get(path).await?.as_ref(), Some(&two));
    let back = json!({"digest": one_digest});
    assert_eq!(client.manage(Method::POST, &undelete, back).await?.0, 200);
    assert_eq!(client.get(path).await?, Some(one));
    // Nothing in particular is asked for without a body.
    let last = client.request(Method::POST, &format!("/api/v2.0{undelete}"));
    assert_eq!(last.send().await?.status(), 200);
    assert_eq!(client.get(path).await?, Some(two));
    let back = json!({"digest": one_digest});
    assert_eq!(client.manage(Method::POST, &undelete, back).await?.0, 200);
    // Also one that was removed by its digest, as clients do.
    let one = client.get(path).await?;
    let by_digest = path.replace("latest", one_digest.as_str().unwrap_or_default());
    assert_eq!(client.status(Method::DELETE, &by_digest).await?, 202);
    assert_eq!(client.status(Method::GET, &by_digest).await?, 404);
    let (_, history) = client
        .manage(Method::GET, &format!("{tag}/history"), Value::Null)
        .await?;
    assert_eq!(history[0]["available"], true, "{history}");
    let checked = client.request(Method::POST, "/api/v2.0/system/fsck");
    let checked = text(checked.json(&json!({})).send().await?).await;
    assert!(
        checked.contains("done") && !checked.contains("quota"),
        "{checked}"
    );
    assert_eq!(
        client.manage(Method::POST, &undelete, json!({})).await?.0,
        200
    );
    assert_eq!(client.get(path).await?, one);
    let never = "/projects/team/repositories/app/tags/never/undelete";
    assert_eq!(client.manage(Method::POST, never, json!({})).await?.0, 404);
    Ok(())
}

#[tokio::test]
async fn projects_and_repositories_are_listed_and_removed() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    client.push_image("team/a/b", "v1", &bytes(4, 10)).await?;
    let artifacts = "/projects/team/repositories/a%252Fb/artifacts";
    let (status, artifacts) = client.manage(Method::GET, artifacts, Value::Null).await?;
    assert_eq!(
        (status, &artifacts[0]["tags"][0]["name"]),
        (200, &json!("v1"))
    );
    let (_, repos) = client
        .manage(Method::GET, "/projects/team/repositories", Value::Null)
        .await?;
    assert_eq!(repos[0]["name"], "team/a/b");
    assert_eq!(
        client
            .manage(Method::DELETE, "/projects/team", Value::Null)
            .await?
            .0,
        409
    );
    let repo = "/projects/team/repositories/a%252Fb";
    assert_eq!(
        client.manage(Method::DELETE, repo, Value::Null).await?.0,
        200
    );
    assert_eq!(
        client.status(Method::GET, "/v2/team/a/b/tags/list").await?,
        404
    );
    assert_eq!(used(client, "team").await?, 0);
    assert_eq!(
        client
            .manage(Method::DELETE, "/projects/team", Value::Null)
            .await?
            .0,
        200
    );
    assert_eq!(
        client
            .manage(Method::GET, "/projects/team", Value::Null)
            .await?
            .0,
        404
    );
    Ok(())
}

#[tokio::test]
async fn every_operation_of_the_description_is_there() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    let (_, document) = client
        .manage(Method::GET, "/openapi.json", Value::Null)
        .await?;
    let paths = document["paths"].as_object().cloned().unwrap_or_default();
    assert!(paths.len() > 15);
    for (path, operations) in &paths {
        let concrete: Vec<&str> = path
            .split('/')
            .map(|part| match part {
                "{id}" => "987654",
                "{reference}" | "{tag}" => "v1",
                part if part.starts_with('{') => "none",
                part => part,
            })
            .collect();
        for method in operations
            .as_object()
            .into_iter()
            .flat_map(|map| map.keys())
        {
            let method: Method = method.to_uppercase().parse()?;
            let (status, body) = client
                .manage(method.clone(), &concrete.join("/"), json!({}))
                .await?;
            let message = body["errors"][0]["message"].as_str().unwrap_or_default();
            assert_ne!(message, "no end point has this path", "{method} {path}");
            assert!(status != 405 && status < 500, "{method} {path}: {status}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn rules_hold_tags_or_let_them_go() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    let mut manifests = Vec::new();
    for number in 1..=4 {
        let tag = format!("v{number}");
        manifests.push(
            client
                .push_image("team/app", &tag, &bytes(number + 10, 10))
                .await?,
        );
    }
    let rules = "/projects/team/rules";
    let hold = json!({"kind": "immutable", "repositories": "app", "tags": "v1"});
    let (status, held) = client.manage(Method::POST, rules, hold).await?;
    assert_eq!(status, 201);
    let v1 = "/v2/team/app/manifests/v1";
    let move_v1 = client.put_manifest("team/app", "v1", tests::registry::MANIFEST, &manifests[1]);
    let refused = move_v1.await?;
    assert_eq!(refused.status(), 412);
    assert_eq!(code(refused).await?, "PRECONDITION_FAILED");
    let by_digest = format!("/v2/team/app/manifests/{}", sha256(&manifests[0]));
    for path in [v1, &by_digest] {
        assert_eq!(client.status(Method::DELETE, path).await?, 412, "{path}");
    }
    assert_eq!(client.get(v1).await?.as_ref(), Some(&manifests[0]));

    let keep = json!({"kind": "retention", "tags": "v*", "latestPushedK": 1});
    assert_eq!(client.manage(Method::POST, rules, keep).await?.0, 201);
    let run = "/projects/team/retention";
    let expected = json!([
        {"repository": "team/app", "tag": "v2"},
        {"repository": "team/app", "tag": "v3"},
    ]);
    for dry_run in [true, false] {
        let (_, done) = client
            .manage(Method::POST, run, json!({"dry_run": dry_run}))
            .await?;
        let mut expired = done["expired"].as_array().cloned().unwrap_or_default();
        expired.sort_by_key(|gone| gone["tag"].to_string());
        assert_eq!(json!(expired), expected, "dry run: {dry_run}");
    }
    let tags = client.json("/v2/team/app/tags/list").await?;
    assert_eq!(tags["tags"], json!(["v1", "v4"]));
    let rule = format!("{rules}/{}", held["id"]);
    assert_eq!(
        client.manage(Method::DELETE, &rule, Value::Null).await?.0,
        200
    );
    assert_eq!(client.status(Method::DELETE, v1).await?, 202);
    let wrong = json!({"kind": "retention"});
    assert_eq!(client.manage(Method::POST, rules, wrong).await?.0, 400);
    Ok(())
}

#[tokio::test]
async fn names_are_found_by_who_may_see_them() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    for repo in ["team/web_app", "team/web-app", "other/x"] {
        client.push_image(repo, "v1", &bytes(30, 10)).await?;
    }
    let search = async |part: &str| -> anyhow::Result<(Vec<Value>, Vec<Value>)> {
        let (_, found) = client
            .manage(Method::GET, &format!("/search?q={part}"), Value::Null)
            .await?;
        let names = |list: &str, key: &str| {
            let list = found[list].as_array().into_iter().flatten();
            list.map(|found| found[key].clone()).collect()
        };
        Ok((
            names("project", "name"),
            names("repository", "repository_name"),
        ))
    };
    assert_eq!(search("TEAM").await?.0, ["team"]);
    assert_eq!(search("web").await?.1, ["team/web-app", "team/web_app"]);
    assert_eq!(search("b_a").await?.1, ["team/web_app"], "no joker");
    assert_eq!(search("%25").await?, (vec![], vec![]));
    Ok(())
}

#[tokio::test]
async fn who_pushes_to_a_project_that_is_nearly_full_is_told() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    let project = json!({"project_name": "small", "storage_limit": 11_500});
    assert_eq!(
        client.manage(Method::POST, "/projects", project).await?.0,
        201
    );
    let (_, project) = client
        .manage(Method::GET, "/projects/small", Value::Null)
        .await?;
    let (mut warnings, mut used) = (Vec::new(), 37);
    for seed in 1..=3 {
        let layer = bytes(seed, 3000);
        client.push_image("small/app", "v1", &layer).await?;
        let again = image(br#"{"architecture":"amd64","os":"linux"}"#, &[&layer]);
        let again = again.to_string().into_bytes();
        used += 3000 + again.len();
        let put = client
            .put_manifest("small/app", "v1", MANIFEST, &again)
            .await?;
        assert_eq!(put.status(), 201);
        let warning = put.headers().get("warning");
        warnings.push(warning.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()));
    }
    let told = format!("299 - \"project small has {used} of 11500 bytes\"");
    assert_eq!(warnings, [None, None, Some(told)]);
    // Harbor's clients know quotas by their numbers.
    let path = format!("/quotas/{}", project["project_id"]);
    let (_, quota) = client.manage(Method::GET, &path, Value::Null).await?;
    assert_eq!(
        (&quota["id"], &quota["ref"]["name"]),
        (&project["project_id"], &json!("small"))
    );
    let more = json!({"hard": {"storage": 20_000}});
    assert_eq!(client.manage(Method::PUT, &path, more).await?.0, 200);
    let (_, quota) = client
        .manage(Method::GET, "/quotas/small", Value::Null)
        .await?;
    assert_eq!(quota["hard"]["storage"], 20_000);
    assert_eq!(
        client
            .manage(Method::GET, "/quotas/99999", Value::Null)
            .await?
            .0,
        404
    );
    Ok(())
}
