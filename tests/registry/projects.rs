//! How projects come to be, and what is taken between them.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tests::registry::{
    CREATE_ON_PUSH, Kind, LOCAL, MANIFEST, Registry, RegistryClient, bytes, code, files_below,
    image, sha256, text,
};
use tests::wait_for;

const PASSWORD: &str = "a long enough password";

/// A registry with accounts, and its administrator.
async fn start(env: &[(&str, &str)]) -> anyhow::Result<(Registry, RegistryClient)> {
    let registry = Registry::start(Kind::Files, &[&[LOCAL], env].concat()).await?;
    let file = registry.directory().join("data/registry/admin-password");
    let password = std::fs::read_to_string(&file)?;
    let admin = registry.client().login("admin", password.trim());
    Ok((registry, admin))
}

/// As images are often named: grafana/grafana.
#[tokio::test]
async fn a_repository_can_be_named_as_its_project() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    let mut pushed = Vec::new();
    for (seed, repo) in (1..).zip(["grafana/grafana", "grafana"]) {
        pushed.push(client.push_image(repo, "v1", &bytes(seed, 100)).await?);
    }
    let base = "/projects/grafana/repositories";
    for (at, rest, name) in [(0, "grafana", "grafana/grafana"), (1, "-", "grafana")] {
        let path = format!("{base}/{rest}");
        let (status, shown) = client.manage(Method::GET, &path, Value::Null).await?;
        assert_eq!((status, &shown["name"]), (200, &json!(name)));
        let artifact = format!("{path}/artifacts/v1");
        let (status, shown) = client.manage(Method::GET, &artifact, Value::Null).await?;
        assert_eq!(
            (status, &shown["digest"]),
            (200, &json!(sha256(&pushed[at])))
        );
    }
    let path = format!("{base}/grafana");
    let gone = client.manage(Method::DELETE, &path, Value::Null).await?;
    assert_eq!(gone.0, 200);
    let gone = client.manage(Method::DELETE, &path, Value::Null).await?;
    assert_eq!(gone.0, 404);
    assert_eq!(
        client
            .status(Method::HEAD, "/v2/grafana/manifests/v1")
            .await?,
        200
    );
    let (_, left) = client.manage(Method::GET, base, Value::Null).await?;
    assert_eq!(left.as_array().map(Vec::len), Some(1), "{left}");
    Ok(())
}

/// A name may have been mistyped, and a push be broken off.
#[tokio::test]
async fn a_project_is_made_once_something_of_a_push_is_kept() -> anyhow::Result<()> {
    let (_registry, admin) = start(&[
        ("SKALD_REGISTRY_PROJECTS_QUOTA", "1KB"),
        ("SKALD_REGISTRY_UPLOAD_SESSIONS_MAX", "2"),
    ])
    .await?;
    let patch = async |location: &str, len: usize| {
        let patch = admin.request(Method::PATCH, location).body(bytes(1, len));
        anyhow::Ok(patch.send().await?.status().as_u16())
    };
    let is_there = async || {
        let (status, _) = admin
            .manage(Method::GET, "/projects/team", Value::Null)
            .await?;
        anyhow::Ok(status == 200)
    };
    let (one, other) = (admin.begin("team/a").await?, admin.begin("team/b").await?);
    let third = admin.status(Method::POST, "/v2/team/c/blobs/uploads/");
    assert_eq!(third.await?, 429);
    assert_eq!(patch(&other, 600).await?, 202);
    assert_eq!(
        patch(&one, 600).await?,
        403,
        "there is room for one of them"
    );
    assert!(!is_there().await?);
    admin.push_blob("team/a", &bytes(2, 300)).await?;
    assert!(is_there().await?);
    // It has the upload that was there before it.
    assert_eq!(patch(&other, 200).await?, 403);
    let made = "/api/v2.0/audit-logs?q=operation%3Dcreate,resource_type%3Dproject";
    let made = admin.json(made).await?;
    assert_eq!(made.as_array().map(Vec::len), Some(1), "{made}");
    assert_eq!(made[0]["username"], "admin");
    let refused = admin.begin("full/a").await?;
    assert_eq!(patch(&refused, 2000).await?, 403);
    let full = admin.manage(Method::GET, "/projects/full", Value::Null);
    assert_eq!(full.await?.0, 404);
    Ok(())
}

#[tokio::test]
async fn a_robot_makes_a_project_only_if_it_may_push_to_any() -> anyhow::Result<()> {
    let (registry, admin) = start(&[]).await?;
    for (name, project, is_made) in [("one", "gone", false), ("all", "*", true)] {
        let permissions = json!([{"project": project, "actions": ["pull", "push"]}]);
        let robot = json!({"name": name, "permissions": permissions});
        let (_, made) = admin.manage(Method::POST, "/robots", robot).await?;
        let secret = made["secret"].as_str().unwrap_or_default();
        let robot = registry.client().login(&format!("robot${name}"), secret);
        let begun = robot.request(Method::POST, "/v2/gone/app/blobs/uploads/");
        let begun = begun.send().await?;
        assert_eq!(begun.status(), if is_made { 202 } else { 404 });
        let put = robot.push_blob("gone/app", b"blob").await;
        assert_eq!(put.is_ok(), is_made, "{put:?}");
    }
    let (status, _) = admin
        .manage(Method::GET, "/projects/gone", Value::Null)
        .await?;
    assert_eq!(status, 200);
    Ok(())
}

#[tokio::test]
async fn a_push_makes_no_project_where_there_are_accounts() -> anyhow::Result<()> {
    let (name, _) = CREATE_ON_PUSH;
    let (registry, admin) =
        start(&[(name, "auto"), ("SKALD_REGISTRY_PROJECTS_QUOTA", "1KB")]).await?;
    let robot = json!({
        "name": "ci", "permissions": [{"project": "*", "actions": ["pull", "push"]}],
    });
    let (_, made) = admin.manage(Method::POST, "/robots", robot).await?;
    let secret = made["secret"].as_str().unwrap_or_default();
    let robot = registry.client().login("robot$ci", secret);
    let uploads = "/v2/tpyo/app/blobs/uploads/";
    for client in [&admin, &robot] {
        let begun = client.request(Method::POST, uploads).send().await?;
        assert_eq!(begun.status(), 404);
        let told = text(begun).await;
        assert!(told.contains("there is no project tpyo"), "{told}");
        let put = client.put_manifest("tpyo/app", "v1", MANIFEST, b"{}");
        assert_ne!(put.await?.status(), 201);
    }
    let (_, projects) = admin.manage(Method::GET, "/projects", Value::Null).await?;
    assert_eq!(projects, json!([]));

    let team = json!({"project_name": "team"});
    assert_eq!(admin.manage(Method::POST, "/projects", team).await?.0, 201);
    robot.push_image("team/app", "v1", &bytes(1, 10)).await?;
    let quota = async |project: &str| -> anyhow::Result<Value> {
        let path = format!("/quotas/{project}");
        let (_, quota) = admin.manage(Method::GET, &path, Value::Null).await?;
        Ok(quota["hard"]["storage"].clone())
    };
    assert_eq!(quota("team").await?, 1024);
    let large = json!({"project_name": "large", "storage_limit": -1});
    assert_eq!(admin.manage(Method::POST, "/projects", large).await?.0, 201);
    assert_eq!(quota("large").await?, -1);
    Ok(())
}

#[tokio::test]
async fn a_protection_that_nothing_gives_is_refused() -> anyhow::Result<()> {
    let (_registry, admin) = start(&[]).await?;
    let protected =
        |name: &str, metadata: Value| json!({"project_name": name, "metadata": metadata});
    let off =
        json!({"public": "false", "prevent_vul": "false", "severity": "low", "auto_scan": "true"});
    let made = admin.manage(Method::POST, "/projects", protected("plain", off));
    assert_eq!(made.await?.0, 201);
    for name in [
        "prevent_vul",
        "enable_content_trust",
        "enable_content_trust_cosign",
    ] {
        let on = json!({name: "true"});
        let asked = admin.manage(Method::POST, "/projects", protected("safe", on.clone()));
        let (status, answer) = asked.await?;
        assert_eq!(status, 400);
        assert!(answer.to_string().contains(name), "{answer}");
        let asked = admin.manage(Method::PUT, "/projects/plain", json!({"metadata": on}));
        assert_eq!(asked.await?.0, 400);
    }
    let shown = admin.manage(Method::GET, "/projects/safe", Value::Null);
    assert_eq!(shown.await?.0, 404);
    Ok(())
}

#[tokio::test]
async fn a_push_that_makes_a_project_gives_it_the_quota_of_all() -> anyhow::Result<()> {
    let env = [
        ("SKALD_REGISTRY_PROJECTS_CREATE_ON_PUSH", "auto"),
        ("SKALD_REGISTRY_PROJECTS_QUOTA", "1KB"),
    ];
    let registry = Registry::start(Kind::Files, &env).await?;
    let client = registry.client();
    client.push_image("team/app", "v1", &bytes(1, 10)).await?;
    let over = bytes(2, 1000);
    let path = format!("/v2/team/app/blobs/uploads/?digest={}", sha256(&over));
    let refused = client
        .request(Method::POST, &path)
        .body(over)
        .send()
        .await?;
    assert_eq!(refused.status(), 403);
    assert_eq!(code(refused).await?, "DENIED");
    Ok(())
}

#[tokio::test]
async fn a_name_of_digits_is_no_number() -> anyhow::Result<()> {
    let (_registry, admin) = start(&[]).await?;
    let make = async |name: &str| -> anyhow::Result<Value> {
        let project = json!({"project_name": name});
        assert_eq!(
            admin.manage(Method::POST, "/projects", project).await?.0,
            201
        );
        let path = format!("/api/v2.0/projects/{name}");
        let asked = admin.request(Method::GET, &path);
        let shown = asked.header("x-is-resource-name", "true").send().await?;
        Ok(shown.json().await?)
    };
    let number = make("team").await?["project_id"].clone();
    let other = make(&number.to_string()).await?;
    assert_eq!(other["name"], json!(number.to_string()));
    assert_ne!(other["project_id"], number);

    let (_, meant) = admin
        .manage(Method::GET, &format!("/projects/{number}"), Value::Null)
        .await?;
    assert_eq!(meant["name"], "team");
    let quota = format!("/quotas/{number}");
    let hard = json!({"hard": {"storage": 1000}});
    assert_eq!(admin.manage(Method::PUT, &quota, hard).await?.0, 200);
    let (_, quota) = admin
        .manage(Method::GET, "/quotas/team", Value::Null)
        .await?;
    assert_eq!(quota["hard"]["storage"], 1000);
    let path = format!("/projects/{number}");
    assert_eq!(
        admin.manage(Method::DELETE, &path, Value::Null).await?.0,
        200
    );
    let (_, left) = admin.manage(Method::GET, "/projects", Value::Null).await?;
    assert_eq!(left.as_array().map(Vec::len), Some(1));
    assert_eq!(left[0], other);
    // What had the number is gone, and nobody has inherited it.
    assert_eq!(admin.manage(Method::GET, &path, Value::Null).await?.0, 404);
    Ok(())
}

#[tokio::test]
async fn a_project_is_public_however_that_is_said() -> anyhow::Result<()> {
    let (_registry, admin) = start(&[]).await?;
    for (name, said, public) in [
        ("a", json!({"public": true}), "true"),
        ("b", json!({"metadata": {"public": true}}), "true"),
        ("c", json!({"metadata": {"public": "true"}}), "true"),
        ("d", json!({"public": false}), "false"),
        ("e", json!({}), "false"),
        (
            "f",
            json!({"public": false, "metadata": {"public": "true"}}),
            "true",
        ),
    ] {
        let mut project = said;
        project["project_name"] = json!(name);
        let (status, told) = admin.manage(Method::POST, "/projects", project).await?;
        assert_eq!(status, 201, "{told}");
        let path = format!("/projects/{name}");
        let (_, project) = admin.manage(Method::GET, &path, Value::Null).await?;
        assert_eq!(project["metadata"]["public"], public, "{name}");
    }
    let path = "/projects/d";
    let public = json!({"metadata": {"public": true}});
    assert_eq!(admin.manage(Method::PUT, path, public).await?.0, 200);
    let (_, project) = admin.manage(Method::GET, path, Value::Null).await?;
    assert_eq!(project["metadata"]["public"], "true");
    let wrong = json!({"project_name": "g", "metadata": {"public": "maybe"}});
    assert_eq!(admin.manage(Method::POST, "/projects", wrong).await?.0, 400);
    Ok(())
}

#[tokio::test]
async fn a_mount_finds_the_one_repository_that_its_caller_may_read() -> anyhow::Result<()> {
    let (registry, admin) = start(&[]).await?;
    let layer = bytes(1, 1000);
    let digest = admin.push_blob("closed/app", &layer).await?;
    // More than anybody would try one after the other, all before the one.
    for number in 0..40 {
        let mount = format!("/v2/closed/app{number}/blobs/uploads/?mount={digest}&from=closed/app");
        assert_eq!(admin.status(Method::POST, &mount).await?, 201);
    }
    let team = json!({"project_name": "team"});
    assert_eq!(admin.manage(Method::POST, "/projects", team).await?.0, 201);
    let dev = json!({"username": "dev", "password": PASSWORD});
    assert_eq!(admin.manage(Method::POST, "/users", dev).await?.0, 201);
    let member = json!({"role_name": "developer", "member_user": {"username": "dev"}});
    let members = "/projects/team/members";
    assert_eq!(admin.manage(Method::POST, members, member).await?.0, 201);
    let dev = registry.client().login("dev", PASSWORD);
    let robot = json!({
        "name": "ci", "project": "team",
        "permissions": [{"project": "team", "actions": ["pull", "push"]}],
    });
    let (_, made) = admin.manage(Method::POST, "/robots", robot).await?;
    let secret = made["secret"].as_str().unwrap_or_default();
    let robot = registry.client().login("robot$team+ci", secret);
    let mount = |to: &str| format!("/v2/team/{to}/blobs/uploads/?mount={digest}");
    for client in [&dev, &robot] {
        assert_eq!(client.status(Method::POST, &mount("a")).await?, 202);
    }
    admin.push_blob("team/app", &layer).await?;
    for (client, to) in [(&dev, "b"), (&robot, "c"), (&admin, "d")] {
        assert_eq!(client.status(Method::POST, &mount(to)).await?, 201, "{to}");
    }
    // A token that names the repository pushes to it; one for both need not send the blob.
    let token = async |scope: &str| -> anyhow::Result<String> {
        let asked = dev.request(Method::GET, "/service/token");
        let asked = asked.query(&[("service", "registry"), ("scope", scope)]);
        let answer: Value = asked.send().await?.json().await?;
        Ok(answer["token"].as_str().unwrap_or_default().to_owned())
    };
    let push = "repository:team/e:pull,push";
    for (scope, status) in [
        (push.to_owned(), 401),
        (format!("{push} repository:team/app:pull"), 201),
    ] {
        let token = token(&scope).await?;
        let post = registry.client().request(Method::POST, &mount("e"));
        let post = post.bearer_auth(token).send().await?;
        assert_eq!(post.status(), status, "{scope}");
    }
    Ok(())
}

#[tokio::test]
async fn a_push_sets_every_tag_that_it_names_and_each_once() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    let (config, layer) = (br#"{"os":"linux"}"#, bytes(1, 10));
    client.push_blob("app", config).await?;
    client.push_blob("app", &layer).await?;
    let manifest = image(config, &[&layer]).to_string().into_bytes();
    let by_digest = format!("{}?tag=a&tag=b&tag=a", sha256(&manifest));
    for (reference, set) in [
        (by_digest.as_str(), vec!["a", "b"]),
        ("c?tag=d&tag=c", vec!["c", "d"]),
        ("e", vec![]),
    ] {
        let put = client.put_manifest("app", reference, MANIFEST, &manifest);
        let put = put.await?;
        assert_eq!(put.status(), 201);
        let told: Vec<_> = put.headers().get_all("oci-tag").iter().collect();
        assert_eq!(told, set, "{reference}");
    }
    let tags = client.json("/v2/app/tags/list").await?;
    assert_eq!(tags["tags"], json!(["a", "b", "c", "d", "e"]));
    let wrong = client.put_manifest("app", "f?tag=-", MANIFEST, &manifest);
    assert_eq!(wrong.await?.status(), 400);
    Ok(())
}

#[tokio::test]
async fn names_and_permissions_have_bounds() -> anyhow::Result<()> {
    let (_registry, admin) = start(&[("SKALD_REGISTRY_LIMITS_ROBOT_PERMISSIONS_MAX", "2")]).await?;
    let project = |length: usize| json!({"project_name": "a".repeat(length)});
    let robot = |length: usize, permissions: &[&str]| {
        let given = |project: &&str| json!({"project": project, "actions": ["pull", "pull"]});
        let permissions: Vec<Value> = permissions.iter().map(given).collect();
        json!({"name": "a".repeat(length), "permissions": permissions})
    };
    let long = "a".repeat(256);
    for (path, body, status, why) in [
        ("/projects", project(255), 201, ""),
        ("/projects", project(256), 400, "255 bytes, not 256"),
        ("/projects", project(1 << 20), 400, "255 bytes"),
        ("/robots", robot(255, &["a", "*"]), 201, ""),
        ("/robots", robot(256, &["a"]), 400, "255 bytes, not 256"),
        ("/robots", robot(1, &[&long]), 400, "255 bytes"),
        (
            "/robots",
            robot(1, &["a", "b", "c"]),
            400,
            "registry.limits.robot_permissions_max: 3 permissions of a robot, 2 are allowed",
        ),
    ] {
        let (answered, answer) = admin.manage(Method::POST, path, body).await?;
        let answer = answer.to_string();
        assert_eq!(answered, status, "{why}");
        assert!(answer.contains(why) && answer.len() < 1000, "{answer}");
    }
    let (_, robots) = admin.manage(Method::GET, "/robots", Value::Null).await?;
    assert_eq!(robots[0]["permissions"][0]["actions"], json!(["pull"]));
    let path = format!("/robots/{}", robots[0]["id"]);
    let more = robot(1, &["a", "b", "c"]);
    assert_eq!(admin.manage(Method::PUT, &path, more).await?.0, 400);
    Ok(())
}

#[tokio::test]
async fn a_robot_sees_its_private_project_and_removes_tags_there() -> anyhow::Result<()> {
    let (registry, admin) = start(&[]).await?;
    for repo in ["team/app", "other/app"] {
        admin.push_image(repo, "v1", &bytes(1, 10)).await?;
    }
    let open = json!({"project_name": "open", "public": true});
    assert_eq!(admin.manage(Method::POST, "/projects", open).await?.0, 201);
    let robot = async |name: &str, project: &str, actions: Value| -> anyhow::Result<_> {
        let permission = json!({"project": project, "actions": actions});
        let robot = json!({"name": name, "permissions": [permission]});
        let (_, made) = admin.manage(Method::POST, "/robots", robot).await?;
        let secret = made["secret"].as_str().unwrap_or_default();
        let name = format!("robot${name}");
        Ok(registry.client().login(&name, secret))
    };
    let names = |list: &Value, key: &str| -> Vec<Value> {
        let list = list.as_array().into_iter().flatten();
        list.map(|one| one[key].clone()).collect()
    };
    let puller = robot("puller", "team", json!(["pull"])).await?;
    let remover = robot("remover", "team", json!(["pull", "delete"])).await?;
    let pusher = robot("pusher", "team", json!(["push"])).await?;
    let all = robot("all", "*", json!(["pull"])).await?;
    for (client, projects, repos) in [
        (&puller, vec!["open", "team"], vec!["team/app"]),
        (&remover, vec!["open", "team"], vec!["team/app"]),
        (&pusher, vec!["open"], vec![]),
        (
            &all,
            vec!["open", "other", "team"],
            vec!["other/app", "team/app"],
        ),
    ] {
        let (_, listed) = client.manage(Method::GET, "/projects", Value::Null).await?;
        assert_eq!(names(&listed, "name"), projects);
        let search = "/search?q=e";
        let (_, found) = client.manage(Method::GET, search, Value::Null).await?;
        assert_eq!(names(&found["project"], "name"), projects);
        let search = "/search?q=app";
        let (_, found) = client.manage(Method::GET, search, Value::Null).await?;
        assert_eq!(names(&found["repository"], "repository_name"), repos);
    }
    let path = "/projects?page_size=1&page=2&q=public=false";
    let (_, listed) = puller.manage(Method::GET, path, Value::Null).await?;
    assert_eq!(listed, json!([]));
    let tag = "/projects/team/repositories/app/artifacts/v1/tags/v1";
    let gone = puller.manage(Method::DELETE, tag, Value::Null);
    assert_eq!(gone.await?.0, 403);
    let gone = remover.manage(Method::DELETE, tag, Value::Null);
    assert_eq!(gone.await?.0, 200);
    Ok(())
}

/// An upload that nobody continues is not in the way of who removes its project.
#[tokio::test]
async fn uploads_go_with_their_project() -> anyhow::Result<()> {
    let env = [("SKALD_REGISTRY_GC_INTERVAL", "50ms")];
    let registry = Registry::start(Kind::Files, &env).await?;
    let client = registry.client();
    // It may have begun before the project was made.
    let location = client.begin("team/app").await?;
    let made = client.manage(Method::POST, "/projects", json!({"project_name": "team"}));
    assert_eq!(made.await?.0, 201);
    let patch = client
        .request(Method::PATCH, &location)
        .body(bytes(1, 20_000));
    assert_eq!(patch.send().await?.status(), 202);
    let store = registry.directory().join("data/registry/store/data");
    assert_eq!(files_below(&store), 1);
    let deleted = client.manage(Method::DELETE, "/projects/team", Value::Null);
    assert_eq!(deleted.await?.0, 200);
    assert_eq!(client.status(Method::GET, &location).await?, 404);
    wait_for("its bytes to go", Duration::from_secs(20), async || {
        (files_below(&store) == 0).then_some(())
    })
    .await?;
    // A project with a repository stays.
    client.push_image("team/app", "v1", &bytes(2, 100)).await?;
    let deleted = client.manage(Method::DELETE, "/projects/team", Value::Null);
    assert_eq!(deleted.await?.0, 409);
    Ok(())
}

/// What a robot of the system may do in a project ends with that one.
#[tokio::test]
async fn another_project_of_the_same_name_is_not_open_to_old_robots() -> anyhow::Result<()> {
    let (registry, admin) = start(&[]).await?;
    let projects = ["team", "other"].map(|name| json!({"project_name": name}));
    for project in &projects {
        let made = admin.manage(Method::POST, "/projects", project.clone());
        assert_eq!(made.await?.0, 201);
    }
    let robot = json!({"name": "ci", "duration": 1, "permissions": [
        {"project": "team", "actions": ["pull", "push"]},
        {"project": "other", "actions": ["pull", "push"]}]});
    let (status, made) = admin.manage(Method::POST, "/robots", robot).await?;
    assert_eq!(status, 201, "{made}");
    let name = made["name"].as_str().unwrap_or_default();
    let secret = made["secret"].as_str().unwrap_or_default();
    let ci = registry.client().login(name, secret);
    let begins = async |project: &str| {
        let path = format!("/v2/{project}/app/blobs/uploads/");
        ci.status(Method::POST, &path).await
    };
    assert_eq!((begins("team").await?, begins("other").await?), (202, 202));
    let deleted = admin.manage(Method::DELETE, "/projects/team", Value::Null);
    assert_eq!(deleted.await?.0, 200);
    let made = admin.manage(Method::POST, "/projects", projects[0].clone());
    assert_eq!(made.await?.0, 201);
    assert_eq!((begins("team").await?, begins("other").await?), (403, 202));
    Ok(())
}

/// Whether there is one is not told to who may not see it.
#[tokio::test]
async fn the_number_of_a_private_project_is_as_any_other() -> anyhow::Result<()> {
    let (registry, admin) = start(&[]).await?;
    let account = json!({"username": "dev", "password": PASSWORD});
    assert_eq!(admin.manage(Method::POST, "/users", account).await?.0, 201);
    let dev = registry.client().login("dev", PASSWORD);
    let make = async |name: &str, public: bool| {
        let project = json!({"project_name": name, "public": public});
        let made = admin.manage(Method::POST, "/projects", project).await?;
        anyhow::ensure!(made.0 == 201);
        let (_, made) = admin
            .manage(Method::GET, &format!("/projects/{name}"), Value::Null)
            .await?;
        Ok(made["project_id"].clone())
    };
    let (private, public) = (make("secret", false).await?, make("open", true).await?);
    for (client, unseen) in [(registry.client(), 401), (&dev, 404)] {
        let ask = async |number: &Value| {
            let path = format!("/projects/{number}");
            let (status, answer) = client.manage(Method::GET, &path, Value::Null).await?;
            let error = &answer["errors"][0];
            let said = format!("{} {}", error["code"], error["message"]);
            anyhow::Ok((status, said.replace(&number.to_string(), "N")))
        };
        let (status, said) = ask(&private).await?;
        assert_eq!(status, unseen, "{said}");
        assert_eq!((status, said), ask(&json!(987_654)).await?);
        assert_eq!(ask(&public).await?.0, 200);
    }
    Ok(())
}
