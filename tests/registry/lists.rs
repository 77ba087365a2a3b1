//! Lists give what is asked for, and nothing is asked for that is not understood.

use reqwest::Method;
use serde_json::{Value, json};
use tests::registry::{Kind, MANIFEST, Registry, RegistryClient, bytes, code, header, sha256};

async fn get(client: &RegistryClient, path: &str) -> anyhow::Result<(u16, Value)> {
    client.manage(Method::GET, path, Value::Null).await
}

/// What each thing of a list has under a key.
async fn column(client: &RegistryClient, path: &str, key: &str) -> anyhow::Result<Vec<Value>> {
    let (status, list) = get(client, path).await?;
    anyhow::ensure!(status == 200, "{path}: {status} {list}");
    let list = list.as_array().into_iter().flatten();
    Ok(list.map(|thing| thing[key].clone()).collect())
}

#[tokio::test]
async fn filters_orders_and_pages() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    for (name, public, limit) in [("pa", true, 30), ("pab", false, 20), ("other", false, 10)] {
        let project = json!({
            "project_name": name, "metadata": {"public": public.to_string()},
            "storage_limit": limit * 1_000_000,
        });
        let (status, told) = client.manage(Method::POST, "/projects", project).await?;
        assert_eq!(status, 201, "{told}");
    }
    for (path, names) in [
        ("/projects?name=pa", vec!["pa", "pab"]),
        ("/projects?q=name=~pa", vec!["pa", "pab"]),
        ("/projects?q=name=pa", vec!["pa"]),
        ("/projects?q=name%3D%7Epa", vec!["pa", "pab"]),
        ("/projects?q=name%253Dpa", vec!["pa"]),
        ("/projects?q=name={pa%20other}", vec!["other", "pa"]),
        ("/projects?public=true", vec!["pa"]),
        ("/projects?q=public=false,name=~pa", vec!["pab"]),
        ("/projects?q=project_id=[2~]", vec!["other", "pab"]),
        ("/projects?q=creation_time=[~2020-01-01]", vec![]),
        ("/projects?sort=-name", vec!["pab", "pa", "other"]),
        (
            "/projects?sort=-creation_time,name&page_size=1",
            vec!["other"],
        ),
        ("/projects?page=1&page_size=1", vec!["other"]),
        ("/projects?page=2&page_size=1", vec!["pa"]),
        ("/projects?page=4&page_size=1", vec![]),
    ] {
        assert_eq!(column(client, path, "name").await?, names, "{path}");
    }
    let (_, project) = get(client, "/projects/pab").await?;
    let id = &project["project_id"];
    let quota = format!("/quotas?reference=project&reference_id={id}");
    assert_eq!(
        column(client, &quota, "id").await?,
        std::slice::from_ref(id)
    );
    let largest = column(client, "/quotas?sort=-hard.storage&page_size=2", "ref").await?;
    let largest: Vec<&Value> = largest.iter().map(|project| &project["name"]).collect();
    assert_eq!(largest, ["pa", "pab"]);

    for n in 0..3 {
        let tag = format!("v{n}");
        client.push_image("pa/app", &tag, &bytes(n, 10)).await?;
    }
    let digest = {
        let one = client.push_image("pa/app", "once", &bytes(9, 10)).await?;
        sha256(&one)
    };
    client.push_image("pa/app", "once", &bytes(8, 10)).await?;
    let artifacts = "/projects/pa/repositories/app/artifacts";
    for (q, count) in [
        ("", 5),
        ("?q=tags=v1", 1),
        ("?q=tags=~v", 3),
        ("?q=tags=*", 4),
        ("?q=tags=nil", 1),
        (&format!("?q=digest={digest}"), 1),
        ("?with_tag=true&with_label=true&page_size=2", 2),
    ] {
        let found = column(client, &format!("{artifacts}{q}"), "digest").await?;
        assert_eq!(found.len(), count, "{q}: {found:?}");
    }
    let nope = "/projects/pa/repositories/nope/artifacts";
    for path in [nope, "/projects/nope/repositories"] {
        assert_eq!(get(client, path).await?.0, 404, "{path}");
    }

    let robot = json!({"name": "ci", "permissions": [{"project": "pa", "actions": ["pull"]}]});
    assert_eq!(client.manage(Method::POST, "/robots", robot).await?.0, 201);
    let robot = json!({
        "name": "own", "project": "pa", "permissions": [{"project": "pa", "actions": ["pull"]}],
    });
    assert_eq!(client.manage(Method::POST, "/robots", robot).await?.0, 201);
    for (q, names) in [
        ("q=Level=project,ProjectID=1", vec!["robot$pa+own"]),
        ("q=Level=system,ProjectID=0", vec!["robot$ci"]),
        ("project=pa", vec!["robot$pa+own"]),
        ("q=name=~c", vec!["robot$ci"]),
    ] {
        let found = column(client, &format!("/robots?{q}"), "name").await?;
        assert_eq!(found, names, "{q}");
    }
    Ok(())
}

#[tokio::test]
async fn accounts_are_found_by_name() -> anyhow::Result<()> {
    let (_registry, admin) = crate::auth::start().await?;
    for name in ["alice", "bob"] {
        let account = json!({"username": name, "password": "a long enough password"});
        assert_eq!(admin.manage(Method::POST, "/users", account).await?.0, 201);
    }
    for (query, names) in [
        ("username=alice", vec!["alice"]),
        ("q=username=~b", vec!["bob"]),
        ("q=sysadmin_flag=true", vec!["admin"]),
        ("page_size=1&page=3", vec!["bob"]),
    ] {
        let found = column(&admin, &format!("/users?{query}"), "username").await?;
        assert_eq!(found, names, "{query}");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_not_understood_is_refused() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    for path in [
        "/projects?q=owner=me",
        "/projects?q=name",
        "/projects?sort=colour",
        "/projects?page=0",
        "/projects?page_size=many",
        "/users?q=user=a",
        "/robots?q=Level=~sys,Colour=red",
        "/quotas?reference_id=first",
        "/registries?q=colour=red",
        "/usergroups?q=colour=red",
        "/labels?q=colour=red",
    ] {
        let refused = client.request(Method::GET, &format!("/api/v2.0{path}"));
        let refused = refused.send().await?;
        assert_eq!(refused.status(), 400, "{path}");
        assert_eq!(code(refused).await?, "UNSUPPORTED", "{path}");
    }
    Ok(())
}

#[tokio::test]
async fn every_refusal_has_the_body_of_the_specification() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    for (method, path, status, expected) in [
        (Method::GET, "/api/v2.0/robots/abc", 400, "UNSUPPORTED"),
        (
            Method::PUT,
            "/api/v2.0/users/x/disabled",
            400,
            "UNSUPPORTED",
        ),
        (Method::POST, "/api/v2.0/users/2", 405, "UNSUPPORTED"),
        (Method::PATCH, "/api/v2.0/projects", 405, "UNSUPPORTED"),
        (Method::GET, "/api/v2.0/nothing", 404, "NAME_UNKNOWN"),
        (Method::PATCH, "/v2/a/tags/list", 405, "UNSUPPORTED"),
        (Method::DELETE, "/service/token", 405, "UNSUPPORTED"),
        (Method::POST, "/ui/", 405, "UNSUPPORTED"),
        (Method::GET, "/nothing", 404, "NAME_UNKNOWN"),
    ] {
        let request = client.request(method.clone(), path);
        let refused = request.json(&json!({"disabled": true})).send().await?;
        assert_eq!(refused.status(), status, "{method} {path}");
        let rid = header(&refused, "x-request-id")?;
        let body: Value = refused.json().await?;
        let error = &body["errors"][0];
        assert_eq!(error["code"], expected, "{method} {path}");
        assert_eq!(error["detail"]["request_id"], json!(rid), "{method} {path}");
    }
    Ok(())
}

#[tokio::test]
async fn who_uses_a_method_that_does_nothing_is_told_which_do() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    let manifest = client.push_image("a", "v1", &bytes(1, 10)).await?;
    let referrers = format!("/v2/a/referrers/{}", sha256(&manifest));
    for (method, path, allow) in [
        (Method::PATCH, "/v2/a/tags/list", "GET, HEAD"),
        (Method::POST, "/v2/", "GET, HEAD"),
        (Method::POST, "/v2/a/manifests/v1", "GET, HEAD, PUT, DELETE"),
        (Method::PUT, "/v2/a/blobs/uploads/", "POST"),
        (Method::PATCH, "/api/v2.0/projects", "GET,HEAD,POST"),
        (Method::DELETE, "/service/token", "GET,HEAD,POST"),
    ] {
        let refused = client.request(method.clone(), path).send().await?;
        assert_eq!(refused.status(), 405, "{method} {path}");
        assert_eq!(header(&refused, "allow")?, allow, "{method} {path}");
    }
    for path in ["/v2/_catalog", "/v2/a/tags/list", &referrers] {
        let asked = client.request(Method::HEAD, path).send().await?;
        assert_eq!(asked.status(), 200, "{path}");
        let length: usize = header(&asked, "content-length")?.parse()?;
        assert_eq!(asked.bytes().await?.len(), 0, "{path}");
        let listed = client.get(path).await?;
        assert_eq!(listed.map(|listed| listed.len()), Some(length), "{path}");
    }
    Ok(())
}

#[tokio::test]
async fn short_lists_and_histories_are_asked_as_others_are() -> anyhow::Result<()> {
    let (registry, admin) = crate::auth::start().await?;
    for (name, role) in [("ann", "developer"), ("bob", "guest"), ("cas", "guest")] {
        crate::auth::member(&registry, &admin, name, role).await?;
    }
    let old = admin.push_image("team/app", "v1", &bytes(1, 10)).await?;
    let new = admin.push_image("team/app", "v1", &bytes(2, 10)).await?;
    for tag in ["v10", "v2", "new"] {
        let put = admin.put_manifest("team/app", tag, MANIFEST, &new).await?;
        assert_eq!(put.status(), 201);
    }
    for (kind, tags) in [("immutable", "r*"), ("immutable", "s*"), ("retention", "*")] {
        let mut rule = json!({"kind": kind, "tags": tags});
        if kind == "retention" {
            rule["latestPushedK"] = json!(3);
        }
        let made = admin.manage(Method::POST, "/projects/team/rules", rule);
        assert_eq!(made.await?.0, 201);
    }
    let (members, rules) = ("/projects/team/members", "/projects/team/rules");
    let tags = format!(
        "/projects/team/repositories/app/artifacts/{}/tags",
        sha256(&new)
    );
    let history = "/projects/team/repositories/app/tags/v1/history";
    for (path, key, expected) in [
        (
            format!("{members}?q=role_name=guest"),
            "entity_name",
            vec!["bob", "cas"],
        ),
        (
            format!("{members}?q=entity_name=~A&sort=-entity_name"),
            "entity_name",
            vec!["cas", "ann", "admin"],
        ),
        (
            format!("{members}?sort=role_id,-entity_name&page_size=2"),
            "entity_name",
            vec!["admin", "ann"],
        ),
        (
            format!("{tags}?q=name=~v&sort=-name"),
            "name",
            vec!["v2", "v10", "v1"],
        ),
        (format!("{tags}?q=push_time=[~2020-01-01]"), "name", vec![]),
        (
            format!("{rules}?q=kind=immutable&sort=-id"),
            "tags",
            vec!["s*", "r*"],
        ),
        (format!("{rules}?page=2&page_size=2"), "tags", vec!["*"]),
    ] {
        assert_eq!(column(&admin, &path, key).await?, expected, "{path}");
    }
    let of_old = format!("?q=old_digest={}", sha256(&old));
    let (old, new) = (json!(sha256(&old)), json!(sha256(&new)));
    for (query, expected) in [
        ("", vec![new.clone(), old.clone()]),
        ("?sort=at,digest&page_size=1", vec![old.clone()]),
        (&of_old, vec![new.clone()]),
        ("?q=actor=nobody", vec![]),
    ] {
        let found = column(&admin, &format!("{history}{query}"), "digest").await?;
        assert_eq!(found, expected, "{query}");
    }
    for path in [
        &format!("{members}?q=colour=red"),
        &format!("{tags}?sort=colour"),
    ] {
        assert_eq!(get(&admin, path).await?.0, 400, "{path}");
    }
    Ok(())
}

/// Runs `skald registry` with words; gives the lines that it printed.
async fn printed(registry: &Registry, words: &str) -> anyhow::Result<Vec<Value>> {
    let mut command = tokio::process::Command::new(tests::binary::path("skald")?);
    command.args(["registry", "--addr", registry.client().base()]);
    let output = command.args(words.split(' ')).output().await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    anyhow::ensure!(output.status.success(), "{words}: {output:?}");
    let lines = text.lines().map(serde_json::from_str);
    Ok(lines.collect::<Result<_, _>>()?)
}

#[tokio::test]
async fn commands_print_all_pages() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    // More than one page of any size.
    for number in 0..1050 {
        let project = json!({"project_name": format!("l{number:04}")});
        let made = client.manage(Method::POST, "/projects", project).await?;
        assert_eq!(made.0, 201);
    }
    for (words, count, first) in [
        ("projects", 1050, "l0000"),
        ("projects --limit 1001 --sort -name", 1001, "l1049"),
        ("projects --limit 3", 3, "l0000"),
        ("projects --filter name=~l100", 10, "l1000"),
        ("projects --limit 0", 0, ""),
    ] {
        let rows = printed(&registry, words).await?;
        let names: std::collections::HashSet<_> =
            rows.iter().map(|row| row["name"].to_string()).collect();
        assert_eq!((rows.len(), names.len()), (count, count), "{words}");
        let name = rows
            .first()
            .map_or("", |row| row["name"].as_str().unwrap_or(""));
        assert_eq!(name, first, "{words}");
    }
    let events = printed(&registry, "audit --filter operation=create --limit 2").await?;
    assert_eq!(events[0]["resource"], "l1049", "{events:?}");
    Ok(())
}

#[tokio::test]
async fn what_changed_last_comes_first() -> anyhow::Result<()> {
    let (registry, admin) = crate::auth::start().await?;
    let dev = crate::auth::member(&registry, &admin, "dev", "developer").await?;
    for (project, public) in [("other", "false"), ("open", "true")] {
        let project = json!({"project_name": project, "metadata": {"public": public}});
        let (status, _) = admin.manage(Method::POST, "/projects", project).await?;
        assert_eq!(status, 201);
    }
    for (seed, repo) in (1..).zip(["team/a", "other/b", "open/c", "team/d", "team/a"]) {
        admin.push_image(repo, "v1", &bytes(seed, 10)).await?;
        // Times are in milliseconds.
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    let latest = "/repositories?sort=-update_time";
    let names = column(&admin, latest, "name").await?;
    assert_eq!(names, ["team/a", "team/d", "open/c", "other/b"]);
    let names = column(&dev, "/repositories", "name").await?;
    assert_eq!(names, ["open/c", "team/a", "team/d"], "what she may see");
    let names = column(&dev, "/repositories?q=name=~d&page_size=1", "name").await?;
    assert_eq!(names, ["team/d"]);
    let of_team = "/projects/team/repositories?sort=-update_time";
    assert_eq!(column(&dev, of_team, "name").await?, ["team/a", "team/d"]);
    let change = json!({"metadata": {"public": "true"}});
    let changed = admin.manage(Method::PUT, "/projects/other", change);
    assert_eq!(changed.await?.0, 200);
    for (path, key, first) in [
        ("/projects?sort=-update_time", "name", "other"),
        ("/users?sort=-update_time", "username", "dev"),
    ] {
        assert_eq!(
            column(&admin, path, key).await?.first(),
            Some(&json!(first))
        );
    }
    Ok(())
}
