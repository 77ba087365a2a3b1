//! What clients of Harbor send: of Terraform's provider, of Harbor's client in Go, of scripts that
//! walk through lists.

use anyhow::{Context, ensure};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tests::registry::{Kind, LOCAL, Registry, RegistryClient, bytes, header, sha256};

pub(crate) const PASSWORD: &str = "a long enough password";

pub(crate) async fn send(
    client: &RegistryClient,
    method: Method,
    path: &str,
    body: Value,
) -> anyhow::Result<Response> {
    let request = client.request(method, &format!("/api/v2.0{path}"));
    Ok(request.json(&body).send().await?)
}

pub(crate) async fn get(client: &RegistryClient, path: &str) -> anyhow::Result<Value> {
    let answer = send(client, Method::GET, path, Value::Null).await?;
    let (status, text) = (answer.status(), answer.text().await?);
    ensure!(status == 200, "{path}: {status} {text}");
    Ok(serde_json::from_str(&text)?)
}

pub(crate) async fn status(
    client: &RegistryClient,
    method: Method,
    path: &str,
    body: Value,
) -> anyhow::Result<u16> {
    Ok(send(client, method, path, body).await?.status().as_u16())
}

/// Makes a thing; gives its path, as Terraform's provider finds it.
pub(crate) async fn make(
    client: &RegistryClient,
    path: &str,
    body: Value,
) -> anyhow::Result<String> {
    let made = send(client, Method::POST, path, body).await?;
    let status = made.status();
    let location = header(&made, "location");
    ensure!(status == 201, "{path}: {status} {}", made.text().await?);
    Ok(location?.replace("/api/v2.0", ""))
}

pub(crate) async fn start() -> anyhow::Result<(Registry, RegistryClient)> {
    let registry = Registry::start(Kind::Files, &[LOCAL]).await?;
    let file = registry.directory().join("data/registry/admin-password");
    let admin = registry
        .client()
        .login("admin", std::fs::read_to_string(file)?.trim());
    Ok((registry, admin))
}

pub(crate) fn field(list: &Value, key: &str) -> Vec<Value> {
    let list = list.as_array().into_iter().flatten();
    list.map(|one| one[key].clone()).collect()
}

#[tokio::test]
async fn members_are_addressed_by_their_numbers() -> anyhow::Result<()> {
    let (_registry, admin) = start().await?;
    let project = make(&admin, "/projects", json!({"project_name": "team"})).await?;
    // Somebody's name is a number, which is another member's.
    for name in ["ann", "4"] {
        let user = json!({"username": name, "password": PASSWORD});
        make(&admin, "/users", user).await?;
    }
    make(&admin, "/usergroups", json!({"group_name": "devs"})).await?;
    // The provider names a group without a name beside each account.
    let ann = json!({"role_id": 2, "member_group": {}, "member_user": {"username": "ann"}});
    let ann = make(&admin, &format!("{project}/members"), ann).await?;
    let member = get(&admin, &ann).await?;
    assert_eq!(member["entity_name"], "ann");
    assert_eq!((&member["role_id"], &member["id"]), (&json!(2), &json!(4)));
    let of = format!("/projects/{}", member["project_id"]);
    assert_eq!(get(&admin, &of).await?["name"], "team");
    let four = json!({"role_id": 3, "member_user": {"username": "4"}});
    make(&admin, "/projects/team/members", four).await?;
    let devs = json!({"role_id": 4, "member_group": {"id": 1}});
    let devs = make(&admin, "/projects/team/members", devs).await?;
    assert_eq!(get(&admin, &devs).await?["entity_type"], "g");

    let role = json!({"role_id": 1});
    assert_eq!(status(&admin, Method::PUT, &ann, role.clone()).await?, 200);
    assert_eq!(get(&admin, &ann).await?["role_name"], "projectAdmin");
    let found = get(&admin, "/projects/team/members?entityname=ann").await?;
    assert_eq!(field(&found, "entity_name"), ["ann"]);
    // By number, who is no member does not become one.
    let nobody = "/projects/team/members/998";
    assert_eq!(status(&admin, Method::PUT, nobody, role).await?, 404);
    for path in [&ann, "/projects/team/members/group:devs"] {
        assert_eq!(
            status(&admin, Method::DELETE, path, Value::Null).await?,
            200
        );
        assert_eq!(
            status(&admin, Method::DELETE, path, Value::Null).await?,
            404
        );
    }
    assert_eq!(status(&admin, Method::GET, &ann, Value::Null).await?, 404);
    let left = get(&admin, "/projects/team/members").await?;
    assert_eq!(field(&left, "entity_name"), ["4", "admin"]);
    let by_name = "/projects/team/members/user:4";
    let gone = status(&admin, Method::DELETE, by_name, Value::Null).await?;
    assert_eq!(gone, 200);
    Ok(())
}

/// Walks through a list as scripts do, by `Link`; gives what it has.
async fn walk(client: &RegistryClient, path: &str) -> anyhow::Result<Vec<Value>> {
    let mut next = Some(format!("/api/v2.0{path}"));
    let mut all = Vec::new();
    let mut total = String::new();
    while let Some(path) = next.take() {
        let answer = client.request(Method::GET, &path).send().await?;
        ensure!(answer.status() == 200, "{path}: {}", answer.status());
        total = header(&answer, "x-total-count")?;
        let links = header(&answer, "link").unwrap_or_default();
        next = links.split(", ").find_map(|link| {
            let link = link.strip_suffix(">; rel=\"next\"")?;
            link.strip_prefix('<').map(str::to_owned)
        });
        let rows: Vec<Value> = answer.json().await?;
        ensure!(rows.len() <= 2, "{path} has {} rows", rows.len());
        all.extend(rows);
    }
    ensure!(
        total == all.len().to_string(),
        "{path}: {total} of {}",
        all.len()
    );
    Ok(all)
}

#[tokio::test]
async fn every_list_has_pages_and_says_how_long_it_is() -> anyhow::Result<()> {
    let (_registry, admin) = start().await?;
    let members = "/projects/team/members";
    make(&admin, "/projects", json!({"project_name": "team"})).await?;
    for n in 0..4 {
        make(
            &admin,
            "/projects",
            json!({"project_name": format!("p{n}"), "storage_limit": n + 1}),
        )
        .await?;
        let user = json!({"username": format!("u{n}"), "password": PASSWORD});
        make(&admin, "/users", user).await?;
        let member = json!({"role_id": 3, "member_user": {"username": format!("u{n}")}});
        make(&admin, members, member).await?;
        make(
            &admin,
            "/usergroups",
            json!({"group_name": format!("g{n}")}),
        )
        .await?;
        make(
            &admin,
            "/labels",
            json!({"name": format!("l{n}"), "scope": "g"}),
        )
        .await?;
        let url = json!({"name": format!("r{n}"), "url": format!("https://r{n}.example.org")});
        make(&admin, "/registries", url).await?;
        let rule = json!({"tag_selectors": [{"kind": "doublestar", "decoration": "matches", "pattern": format!("v{n}*")}]});
        make(&admin, "/projects/team/immutabletagrules", rule).await?;
        let access = json!([{"resource": "repository", "action": "pull"}]);
        let permission = json!([{"kind": "project", "namespace": "team", "access": access}]);
        let robot =
            json!({"name": format!("bot{n}"), "level": "project", "permissions": permission});
        make(&admin, "/robots", robot).await?;
        admin
            .push_image(&format!("team/r{n}"), "x", &bytes(n, 10))
            .await?;
        admin
            .push_image("team/app", &format!("t{n}"), &bytes(n, 10))
            .await?;
    }
    for (list, count) in [
        ("/projects", 5),
        ("/quotas/", 5),
        ("/users", 5),
        (members, 5),
        ("/usergroups", 4),
        ("/labels?scope=g", 4),
        ("/registries", 4),
        ("/projects/team/immutabletagrules", 4),
        ("/projects/team/rules", 4),
        ("/robots", 4),
        ("/projects/team/repositories", 5),
        ("/projects/team/repositories/app/artifacts", 4),
        ("/projects/team/repositories/app/artifacts/t1/tags", 1),
    ] {
        let mark = if list.contains('?') { '&' } else { '?' };
        let walked = walk(&admin, &format!("{list}{mark}page_size=2")).await?;
        assert_eq!(walked.len(), count, "{list}");
        let mut different: Vec<String> = walked.iter().map(Value::to_string).collect();
        different.sort();
        different.dedup();
        assert_eq!(different.len(), count, "{list} repeats itself");
        // Some go on until there is nothing more.
        let behind = get(&admin, &format!("{list}{mark}page=4&page_size=2")).await?;
        assert_eq!(behind, json!([]), "{list}");
    }
    for (list, key, found) in [
        ("/projects?name=p", "name", vec!["p0", "p1", "p2", "p3"]),
        ("/projects?q=name%3Dp1", "name", vec!["p1"]),
        (
            "/projects?q=name%3D~am,public%3Dfalse",
            "name",
            vec!["team"],
        ),
        ("/projects?public=true", "name", vec![]),
        ("/users?q=username=~u1", "username", vec!["u1"]),
        (
            "/users/search?username=u",
            "username",
            vec!["u0", "u1", "u2", "u3"],
        ),
        ("/usergroups?group_name=2", "group_name", vec!["g2"]),
        (
            "/projects/team/repositories?q=name=~r1",
            "name",
            vec!["team/r1"],
        ),
        ("/robots?q=Level=system", "name", vec![]),
    ] {
        assert_eq!(field(&get(&admin, list).await?, key), found, "{list}");
    }
    let team = get(&admin, "/projects/team").await?["project_id"].clone();
    let robots = get(&admin, &format!("/robots?q=Level=project,ProjectID={team}")).await?;
    assert_eq!(field(&robots, "name").len(), 4);
    let quota = get(
        &admin,
        &format!("/quotas?reference=project&reference_id={team}"),
    )
    .await?;
    assert_eq!(quota[0]["ref"]["name"], "team");
    let unknown = status(&admin, Method::GET, "/projects?q=colour=red", Value::Null);
    assert_eq!(unknown.await?, 400, "who asks for less does not get all");
    let asked = send(
        &admin,
        Method::GET,
        "/projects?colour=red&name=team",
        Value::Null,
    )
    .await?;
    assert_eq!(asked.status(), 200);
    let warning = header(&asked, "warning")?;
    assert!(
        warning.starts_with("299 - \"this list knows no parameter colour; "),
        "{warning}"
    );
    let projects: Value = asked.json().await?;
    assert_eq!(field(&projects, "name"), ["team"]);
    let groups = get(&admin, "/usergroups/search?groupname=G1").await?;
    assert_eq!(field(&groups, "group_name"), ["g1"]);
    for (query, found) in [
        ("q=type=IMAGE", 1),
        ("q=type=CHART", 0),
        ("q=media_type=application/vnd.oci.image.config.v1%2Bjson", 1),
        ("q=size=[100~]", 1),
        ("q=size=[~100]", 0),
        ("sort=-size", 1),
    ] {
        let path = format!("/projects/team/repositories/r1/artifacts?{query}");
        assert_eq!(
            field(&get(&admin, &path).await?, "digest").len(),
            found,
            "{query}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn what_people_are_told_is_kept() -> anyhow::Result<()> {
    let (registry, admin) = start().await?;
    make(&admin, "/projects", json!({"project_name": "team"})).await?;
    let access = json!([{"resource": "repository", "action": "pull", "effect": "allow"}]);
    let mut robot = json!({
        "name": "ci", "level": "project", "duration": -1, "description": "builds",
        "permissions": [{"kind": "project", "namespace": "team", "access": access}],
    });
    robot["secret"] = json!("Thought0fByTheCaller");
    let path = make(&admin, "/robots", robot.clone()).await?;
    assert_eq!(get(&admin, &path).await?["description"], "builds");
    let bot = registry
        .client()
        .login("robot$team+ci", "Thought0fByTheCaller");
    let token = "/service/token?scope=repository:team/app:pull";
    assert_eq!(bot.status(Method::GET, token).await?, 200);
    // A change without it leaves it.
    let change = json!({"disable": true});
    assert_eq!(status(&admin, Method::PUT, &path, change).await?, 200);
    assert_eq!(get(&admin, &path).await?["description"], "builds");
    robot["description"] = json!("tests");
    assert_eq!(
        status(&admin, Method::PUT, &path, robot.clone()).await?,
        200
    );
    assert_eq!(get(&admin, &path).await?["description"], "tests");
    robot["description"] = json!("x".repeat(1025));
    assert_eq!(status(&admin, Method::PUT, &path, robot).await?, 400);

    let user = json!({
        "username": "ann", "password": PASSWORD, "email": "ann@example.org", "realname": "Ann",
    });
    let path = make(&admin, "/users", user).await?;
    let ann = registry.client().login("ann", PASSWORD);
    assert_eq!(get(&ann, &path).await?["email"], "ann@example.org");
    let profile = json!({"email": "a@example.org", "realname": "Ann A.", "comment": "hi"});
    assert_eq!(status(&ann, Method::PUT, &path, profile).await?, 200);
    assert_eq!(get(&admin, &path).await?["realname"], "Ann A.");
    assert_eq!(
        status(&ann, Method::GET, "/users/1", Value::Null).await?,
        403
    );
    Ok(())
}

#[tokio::test]
async fn artifacts_tags_and_rules_are_found_where_harbor_has_them() -> anyhow::Result<()> {
    let (registry, admin) = start().await?;
    let manifest = admin.push_image("team/a/b", "v1", &bytes(1, 10)).await?;
    admin.push_image("team/a/b", "v2", &bytes(2, 10)).await?;
    let repo = "/projects/team/repositories/a%252Fb";
    assert_eq!(get(&admin, repo).await?["artifact_count"], 2);
    let artifact = get(&admin, &format!("{repo}/artifacts/v1")).await?;
    assert_eq!(artifact["digest"], json!(sha256(&manifest)));
    assert_eq!(artifact["type"], "IMAGE");
    let tags = format!("{repo}/artifacts/{}/tags", sha256(&manifest));
    let more = status(&admin, Method::POST, &tags, json!({"name": "stable"}));
    assert_eq!(more.await?, 201);
    assert_eq!(field(&get(&admin, &tags).await?, "name"), ["stable", "v1"]);
    for (tag, expected) in [("v2", 404), ("none", 404), ("v1", 200)] {
        let path = format!("{tags}/{tag}");
        assert_eq!(
            status(&admin, Method::DELETE, &path, Value::Null).await?,
            expected,
            "{tag}"
        );
    }
    assert_eq!(field(&get(&admin, &tags).await?, "name"), ["stable"]);

    let number = get(&admin, "/projects/team").await?["project_id"].clone();
    let selector = |decoration: &str, pattern: &str| json!({"kind": "doublestar", "decoration": decoration, "pattern": pattern});
    let mut rule = json!({
        "disabled": false, "action": "immutable", "template": "immutable_template",
        "scope_selectors": {"repository": [selector("repoMatches", "**")]},
        "tag_selectors": [selector("matches", "stable")],
    });
    let rules = format!("/projects/{number}/immutabletagrules");
    let path = make(&admin, &rules, rule.clone()).await?;
    assert_eq!(
        get(&admin, &rules).await?[0]["tag_selectors"],
        rule["tag_selectors"]
    );
    let stable = "/v2/team/a/b/manifests/stable";
    assert_eq!(admin.status(Method::DELETE, stable).await?, 412);
    rule["tag_selectors"] = json!([selector("matches", "v*")]);
    assert_eq!(status(&admin, Method::PUT, &path, rule.clone()).await?, 200);
    assert_eq!(admin.status(Method::DELETE, stable).await?, 202);
    rule["tag_selectors"] = json!([selector("matches", "v*"), selector("matches", "w*")]);
    assert_eq!(status(&admin, Method::PUT, &path, rule).await?, 400);
    assert_eq!(
        status(&admin, Method::DELETE, &path, Value::Null).await?,
        200
    );
    assert_eq!(get(&admin, &rules).await?, json!([]));

    let summary = get(&admin, &format!("/projects/{number}/summary")).await?;
    assert_eq!(
        (&summary["repo_count"], &summary["developer_count"]),
        (&json!(1), &json!(0))
    );
    let settings = get(&admin, "/configurations").await?;
    assert_eq!(settings["robot_name_prefix"]["value"], "robot$");
    let health = get(registry.client(), "/health").await?;
    assert_eq!(health["status"], "healthy");
    let info = get(registry.client(), "/systeminfo").await?;
    assert_eq!(info["auth_mode"], "db_auth");
    let ping = send(registry.client(), Method::GET, "/ping", Value::Null).await?;
    assert_eq!(ping.text().await?, "Pong");
    let head = send(
        &admin,
        Method::HEAD,
        "/projects?project_name=none",
        Value::Null,
    )
    .await?;
    assert_eq!(head.status(), 404);
    header(
        &admin
            .request(Method::GET, "/api/v2.0/projects")
            .send()
            .await?,
        "x-total-count",
    )
    .context("no total")?;
    Ok(())
}
