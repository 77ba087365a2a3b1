//! What clients of Harbor read: what artifacts, projects and repositories say of themselves, and what
//! else there is to ask for.

use std::time::Duration;

use anyhow::{Context, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tests::registry::{
    INDEX, Kind, LOCAL, MANIFEST, Registry, RegistryClient, bytes, descriptor, image, sha256,
};
use tests::wait_for;

use crate::harbor::{PASSWORD, field, get, make, start, status};

/// Pushes an image with this configuration; gives its manifest.
async fn push(
    client: &RegistryClient,
    repo: &str,
    reference: &str,
    config: &[u8],
    subject: Option<&[u8]>,
) -> anyhow::Result<Vec<u8>> {
    client.push_blob(repo, config).await?;
    let mut manifest = image(config, &[]);
    if let Some(subject) = subject {
        manifest["subject"] = descriptor(MANIFEST, subject);
        manifest["artifactType"] = json!("application/vnd.cncf.notary.signature");
    }
    let manifest = manifest.to_string().into_bytes();
    let reference = reference.replace("DIGEST", &sha256(&manifest));
    let put = client.put_manifest(repo, &reference, MANIFEST, &manifest);
    ensure!(put.await?.status() == 201, "{repo}:{reference}");
    Ok(manifest)
}

#[tokio::test]
async fn artifacts_say_what_their_configurations_do() -> anyhow::Result<()> {
    let registry = Registry::start(
        Kind::Files,
        &[
            LOCAL,
            ("SKALD_REGISTRY_LIMITS_CONFIG_SIZE_MAX", "64KiB"),
            ("SKALD_REGISTRY_DATABASE_BLOB_BYTES_MAX", "1KiB"),
        ],
    );
    let registry = registry.await?;
    let file = registry.directory().join("data/registry/admin-password");
    let password = std::fs::read_to_string(file)?;
    let admin = registry.client().login("admin", password.trim());
    let config = |filler: usize| {
        let history = json!([
            {"created": "2026-01-02T03:04:05Z", "created_by": "COPY . /"},
            {"created_by": "CMD", "empty_layer": true},
        ]);
        json!({
            "architecture": "arm64", "os": "linux", "created": "2026-01-02T03:04:05Z",
            "author": "ann", "config": {"Env": ["A=b"], "Cmd": ["run", "x".repeat(filler)]},
            "history": history,
        })
    };
    let bytes_of = |config: Value| config.to_string().into_bytes();
    // In the database, in the store, too large, nothing that is understood.
    let small = push(&admin, "team/app", "small", &bytes_of(config(1)), None).await?;
    let (stored, large) = (bytes_of(config(9000)), bytes_of(config(70_000)));
    push(&admin, "team/app", "stored", &stored, None).await?;
    push(&admin, "team/app", "large", &large, None).await?;
    push(&admin, "team/app", "none", b"not JSON", None).await?;
    push(&admin, "team/app", "DIGEST", b"{}", Some(&small)).await?;
    let mut part = descriptor(MANIFEST, &small);
    part["platform"] = json!({"architecture": "arm64", "os": "linux", "variant": "v8"});
    part["annotations"] = json!({"a": "b"});
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [part]});
    let index = index.to_string().into_bytes();
    let put = admin.put_manifest("team/app", "index", INDEX, &index);
    assert_eq!(put.await?.status(), 201);

    let artifacts = "/projects/team/repositories/app/artifacts";
    let listed = get(&admin, artifacts).await?;
    let find = |tag: &str| {
        let list = listed.as_array().into_iter().flatten();
        let mut found = list.filter(|one| field(&one["tags"], "name") == [tag]);
        found.next().cloned().unwrap_or_default()
    };
    let told = json!({
        "architecture": "arm64", "os": "linux", "created": "2026-01-02T03:04:05Z",
        "author": "ann", "config": {"Env": ["A=b"], "Cmd": ["run", "x"]},
    });
    let found = find("small");
    assert_eq!(found["extra_attrs"], told);
    assert_eq!(found["repository_name"], "team/app");
    assert_eq!(
        (&found["type"], &found["media_type"]),
        (&json!("IMAGE"), &found["artifact_type"])
    );
    assert_eq!(found["manifest_media_type"], MANIFEST);
    assert_eq!(found["accessories"][0]["type"], "signature.notation");
    let tag = &found["tags"][0];
    assert_eq!(
        (&tag["signed"], &tag["immutable"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(find("stored")["extra_attrs"]["os"], "linux");
    for tag in ["large", "none"] {
        assert_eq!(find(tag)["extra_attrs"], Value::Null, "{tag}");
    }
    let index = find("index");
    assert_eq!(index["media_type"], INDEX);
    let reference = &index["references"][0];
    assert_eq!(reference["child_digest"], json!(sha256(&small)));
    assert_eq!(reference["platform"]["variant"], "v8");
    assert_eq!(reference["annotations"]["a"], "b");
    let one = get(&admin, &format!("{artifacts}/small?with_accessory=false")).await?;
    assert_eq!(
        (&one["extra_attrs"], &one["accessories"]),
        (&told, &json!([]))
    );
    assert_eq!(one["addition_links"]["build_history"]["absolute"], false);

    let selector = json!([{"kind": "doublestar", "decoration": "matches", "pattern": "sm*"}]);
    let rule = json!({"tag_selectors": selector});
    make(&admin, "/projects/team/immutabletagrules", rule).await?;
    for (tag, is_held) in [("small", true), ("stored", false)] {
        let path = format!("{artifacts}/{tag}?with_immutable_status=true");
        assert_eq!(get(&admin, &path).await?["tags"][0]["immutable"], is_held);
        let path = format!("{artifacts}/{tag}/tags?with_immutable_status=true");
        assert_eq!(get(&admin, &path).await?[0]["immutable"], is_held);
    }

    let link = one["addition_links"]["build_history"]["href"].as_str();
    let link = link.context("no link")?.replace("/api/v2.0", "");
    let history = get(&admin, &link).await?;
    assert_eq!(field(&history, "created_by"), ["COPY . /", "CMD"]);
    assert_eq!(history[1]["empty_layer"], true);
    let stranger = registry.client();
    assert_eq!(
        status(stranger, Method::GET, &link, Value::Null).await?,
        401
    );
    for (tag, expected) in [
        ("stored", 200),
        ("large", 400),
        ("none", 400),
        ("index", 400),
        ("no", 404),
    ] {
        let path = format!("{artifacts}/{tag}/additions/build_history");
        let given = status(&admin, Method::GET, &path, Value::Null).await?;
        assert_eq!(given, expected, "{tag}");
    }
    Ok(())
}

#[tokio::test]
async fn projects_say_whose_they_are_and_what_the_caller_is_there() -> anyhow::Result<()> {
    let (registry, admin) = start().await?;
    let user = json!({"username": "ann", "password": PASSWORD});
    make(&admin, "/users", user).await?;
    let ann = registry.client().login("ann", PASSWORD);
    let everyone = json!({"project_creation_restriction": "everyone"});
    let set = status(&admin, Method::PUT, "/configurations", everyone);
    assert_eq!(set.await?, 200);
    make(&ann, "/projects", json!({"project_name": "team"})).await?;
    admin.push_image("pushed/app", "v1", &bytes(1, 10)).await?;
    let open = json!({"project_name": "open", "metadata": {"public": "true"}});
    make(&admin, "/projects", open).await?;

    let team = get(&ann, "/projects/team").await?;
    assert_eq!(
        (&team["owner_name"], &team["owner_id"]),
        (&json!("ann"), &json!(2))
    );
    assert_eq!(
        (&team["chart_count"], &team["cve_allowlist"]["items"]),
        (&json!(0), &json!([]))
    );
    let own = get(&ann, "/projects?owner=ann").await?;
    assert_eq!(field(&own, "name"), ["team"]);
    assert_eq!(
        get(&admin, "/projects/pushed").await?["owner_name"],
        "admin"
    );
    let member = json!({"role_id": 4, "member_user": {"username": "ann"}});
    make(&admin, "/projects/pushed/members", member).await?;
    let seen = get(&ann, "/projects?sort=name").await?;
    assert_eq!(field(&seen, "name"), ["open", "pushed", "team"]);
    assert_eq!(field(&seen, "current_user_role_id"), [0, 4, 1]);
    assert_eq!(
        field(&seen, "current_user_role_ids"),
        [json!([]), json!([4]), json!([1])]
    );

    // What is pushed of all repositories, and the newest of each.
    admin.push_image("pushed/app", "v2", &bytes(2, 10)).await?;
    admin
        .push_image("pushed/other", "v1", &bytes(3, 10))
        .await?;
    let number = &get(&admin, "/projects/pushed").await?["project_id"];
    let names = |list: &Value| {
        let list = list.as_array().into_iter().flatten();
        let name = |one: &Value| {
            (
                one["repository_name"].clone(),
                one["tags"][0]["name"].clone(),
            )
        };
        list.map(name).collect::<Vec<_>>()
    };
    let is = |repo: &str, tag: &str| (json!(repo), json!(tag));
    let all = get(&ann, &format!("/projects/{number}/artifacts")).await?;
    let (app, other) = (is("pushed/app", "v2"), is("pushed/other", "v1"));
    assert_eq!(
        names(&all),
        [other.clone(), app.clone(), is("pushed/app", "v1")]
    );
    assert_eq!(all[0]["extra_attrs"]["architecture"], "amd64");
    let newest = get(&ann, "/projects/pushed/artifacts?latest_in_repository=true").await?;
    assert_eq!(names(&newest), [other, app]);
    let found = get(&ann, "/projects/pushed/artifacts?q=tags=v1&page_size=1").await?;
    assert_eq!(names(&found), [is("pushed/other", "v1")]);
    let nobody = registry.client();
    assert_eq!(get(nobody, "/projects/open/artifacts").await?, json!([]));
    for (client, path, expected) in [
        (nobody, "/projects/pushed/artifacts", 401),
        (&ann, "/projects/none/artifacts", 404),
    ] {
        assert_eq!(
            status(client, Method::GET, path, Value::Null).await?,
            expected,
            "{path}"
        );
    }
    make(&admin, "/projects", json!({"project_name": "private"})).await?;
    let hidden = status(
        &ann,
        Method::GET,
        "/projects/private/artifacts",
        Value::Null,
    );
    assert_eq!(hidden.await?, 404);
    Ok(())
}

#[tokio::test]
async fn repositories_say_what_is_said_of_them_and_how_often_they_are_pulled() -> anyhow::Result<()>
{
    let (registry, admin) = start().await?;
    for (name, role) in [("dev", 2), ("guest", 3)] {
        make(
            &admin,
            "/users",
            json!({"username": name, "password": PASSWORD}),
        )
        .await?;
        admin.push_image("team/a/b", "v1", &bytes(1, 10)).await?;
        let member = json!({"role_id": role, "member_user": {"username": name}});
        make(&admin, "/projects/team/members", member).await?;
    }
    let dev = registry.client().login("dev", PASSWORD);
    let guest = registry.client().login("guest", PASSWORD);
    let path = "/projects/team/repositories/a%252Fb";
    let found = get(&guest, path).await?;
    assert_eq!(
        (&found["description"], &found["pull_count"]),
        (&json!(""), &json!(0))
    );
    // Harbor's client in Go sends all that it was told before.
    let mut described = found.clone();
    described["description"] = json!("# Ours & theirs");
    let long = json!({"description": "x".repeat((16 << 10) + 1)});
    for (client, path, body, expected) in [
        (&guest, path, described.clone(), 403),
        (&dev, path, long, 400),
        (
            &dev,
            "/projects/team/repositories/none",
            described.clone(),
            404,
        ),
        (&dev, path, described, 200),
    ] {
        assert_eq!(
            status(client, Method::PUT, path, body).await?,
            expected,
            "{path}"
        );
    }
    let listed = get(&guest, "/projects/team/repositories").await?;
    assert_eq!(field(&listed, "description"), ["# Ours & theirs"]);
    let told = get(&admin, "/audit-logs?q=event=update_repository").await?;
    assert_eq!(field(&told, "username"), ["dev"]);

    for _ in 0..3 {
        guest
            .get("/v2/team/a/b/manifests/v1")
            .await?
            .context("no manifest")?;
    }
    wait_for("the pulls", Duration::from_secs(60), async || {
        let found = get(&guest, path).await.ok()?;
        (found["pull_count"] == 3).then_some(())
    })
    .await?;
    let found = get(&guest, "/search?q=a/b").await?;
    assert_eq!(field(&found["repository"], "pull_count"), [3]);
    Ok(())
}

#[tokio::test]
async fn what_else_clients_ask_for_is_there() -> anyhow::Result<()> {
    let (registry, admin) = start().await?;
    make(
        &admin,
        "/users",
        json!({"username": "ann", "password": PASSWORD}),
    )
    .await?;
    make(
        &admin,
        "/projects",
        json!({"project_name": "team", "storage_limit": 1000}),
    )
    .await?;
    make(&admin, "/projects", json!({"project_name": "hidden"})).await?;
    let member = json!({"role_id": 2, "member_user": {"username": "ann"}});
    make(&admin, "/projects/team/members", member).await?;
    let ann = registry.client().login("ann", PASSWORD);

    let known = get(&ann, "/retentions/metadatas").await?;
    assert!(field(&known["templates"], "rule_template").contains(&json!("latestPushedK")));
    assert_eq!(
        known["tag_selectors"][0]["decorations"],
        json!(["matches", "excludes"])
    );
    let adapters = get(&admin, "/replication/adapters").await?;
    assert_eq!(adapters, json!(["docker-hub", "docker-registry"]));

    // Terraform's provider says it so of what it has made.
    let url = "https://up.example.org";
    let up = make(&admin, "/registries", json!({"name": "up", "url": url})).await?;
    let login = json!({"access_key": "me", "access_secret": "hush-hush", "url": url});
    assert_eq!(status(&admin, Method::PUT, &up, login).await?, 200);
    assert_eq!(get(&admin, &up).await?["credential"]["access_key"], "me");
    let half = json!({"access_key": "you"});
    assert_eq!(status(&admin, Method::PUT, &up, half).await?, 400);

    let allowed = async |client: &RegistryClient, path: &str| -> anyhow::Result<Vec<String>> {
        let list = get(client, path).await?;
        let list = list.as_array().cloned().unwrap_or_default();
        let text = |one: &Value| format!("{} {}", one["resource"], one["action"]);
        Ok(list.iter().map(|one| text(one).replace('"', "")).collect())
    };
    let project = |name: &str| format!("/projects/{name}");
    let team = get(&admin, &project("team")).await?["project_id"].clone();
    let hidden = get(&admin, &project("hidden")).await?["project_id"].clone();
    let path = format!("/users/current/permissions?scope=/project/{team}&relative=true");
    let own = allowed(&ann, &path).await?;
    for (permission, is_given) in [
        (". read", true),
        ("repository push", true),
        ("repository delete", false),
        ("member create", false),
    ] {
        assert_eq!(
            own.contains(&permission.to_owned()),
            is_given,
            "{permission}"
        );
        assert!(
            allowed(&admin, &path)
                .await?
                .contains(&permission.to_owned())
        );
    }
    let path = format!("/users/current/permissions?scope=/project/{team}");
    assert!(
        allowed(&ann, &path)
            .await?
            .contains(&format!("/project/{team}/tag list"))
    );
    for scope in [
        format!("/project/{hidden}"),
        "/project/999".to_owned(),
        String::new(),
    ] {
        let path = format!("/users/current/permissions?scope={scope}");
        assert_eq!(allowed(&ann, &path).await?, Vec::<String>::new(), "{scope}");
    }
    let secret = json!({"secret": "Another1Secret"});
    let set = status(&ann, Method::PUT, "/users/2/cli_secret", secret);
    assert_eq!(set.await?, 412);

    let logs = get(&ann, &format!("/projects/{team}/auditlog-exts")).await?;
    let text = field(&logs, "operation_description");
    assert!(text.contains(&json!("create project: team")), "{logs}");
    assert_eq!(logs, get(&ann, "/auditlog-exts").await?);
    let events = field(&get(&admin, "/auditlog-exts/events").await?, "event_type");
    for log in get(&admin, "/auditlog-exts?q=operation_result=true")
        .await?
        .as_array()
        .into_iter()
        .flatten()
    {
        let event = format!("{}_{}", log["operation"], log["resource_type"]).replace('"', "");
        assert!(
            events.contains(&json!(event)) || event.ends_with("_registry"),
            "{event}"
        );
    }
    let group = make(
        &admin,
        "/usergroups",
        json!({"group_name": "devs", "group_type": 3}),
    )
    .await?;
    assert_eq!(get(&admin, &group).await?["group_type"], 3);
    make(&admin, "/usergroups", json!({"group_name": "ops"})).await?;
    assert_eq!(
        field(
            &get(&ann, "/usergroups/search?groupname=o").await?,
            "group_type"
        ),
        [2]
    );
    let quota = get(&ann, &format!("/quotas/{team}")).await?;
    assert_eq!(quota["hard"]["storage"], 1000);
    assert!(quota["creation_time"].is_string() && quota["update_time"].is_string());
    let volumes = get(&admin, "/systeminfo/volumes").await?;
    assert_eq!(volumes["storage"].as_array().map(Vec::len), Some(1));
    let nobody = registry.client();
    let info = get(nobody, "/systeminfo").await?;
    assert!(info["current_time"].is_string());
    assert_eq!(info["external_url"], nobody.base());
    assert_eq!(
        nobody.base(),
        format!(
            "http://{}",
            info["registry_url"].as_str().unwrap_or_default()
        )
    );
    for (client, path, expected) in [
        (&ann, "/auditlog-exts/events", 403),
        (&ann, "/systeminfo/volumes", 403),
        (&ann, "/replication/adapters", 403),
        (nobody, "/retentions/metadatas", 401),
        (nobody, "/users/current/permissions", 401),
        (nobody, "/auditlog-exts", 401),
    ] {
        assert_eq!(
            status(client, Method::GET, path, Value::Null).await?,
            expected,
            "{path}"
        );
    }
    Ok(())
}
