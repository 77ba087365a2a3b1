//! The description of the management API: whether makers of clients can use it, and whether what is
//! answered is what it says.

mod client;
mod schema;

use std::collections::BTreeSet;

use anyhow::Context;
use client::Api;
use serde_json::{Value, json};
use tests::registry::{Kind, LOCAL, Registry, bytes};

const PASSWORD: &str = "a long enough password";

async fn start() -> anyhow::Result<(Registry, Api)> {
    let registry = Registry::start(Kind::Files, &[LOCAL]).await?;
    let file = registry.directory().join("data/registry/admin-password");
    let password = std::fs::read_to_string(file)?;
    let admin = registry.client().login("admin", password.trim());
    let api = Api::of(admin).await?;
    Ok((registry, api))
}

/// All references in a value.
fn references<'v>(value: &'v Value, found: &mut BTreeSet<&'v str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|field| references(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[tokio::test]
async fn every_operation_is_described_as_a_whole() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let api = Api::of(registry.client().clone()).await?;
    let mut ids = BTreeSet::new();
    for (method, path, operation) in api.operations() {
        let place = format!("{method} {path}");
        let id = operation["operationId"].as_str().context(place.clone())?;
        assert!(ids.insert(id), "{place}: there are several {id}");
        assert!(operation["tags"][0].as_str() > Some(""), "{place}");
        assert!(operation["summary"].as_str() > Some(""), "{place}");
        let answers = operation["responses"].as_object().context(place.clone())?;
        for (status, answer) in answers.iter().filter(|(status, _)| *status != "default") {
            assert!(["200", "201"].contains(&status.as_str()), "{place}");
            let shows = method == "get" || !answer["content"].is_null();
            let mut content = answer["content"].as_object().into_iter().flatten();
            assert!(!shows || content.all(|(_, one)| !one["schema"].is_null()));
            assert!(!shows || !answer["content"].is_null(), "{place}");
        }
        let names = path.split('/').filter_map(|part| part.strip_prefix('{'));
        let names: Vec<&str> = names.map(|name| name.trim_end_matches('}')).collect();
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let in_path = parameters.filter(|one| one["in"] == "path");
        let described: Vec<&str> = in_path.filter_map(|one| one["name"].as_str()).collect();
        assert_eq!(described, names, "{place}");
    }
    let mut found = BTreeSet::new();
    references(&api.document, &mut found);
    assert!(found.len() > 30, "{found:?}");
    for reference in found {
        schema::resolve(&api.document, &json!({"$ref": reference}))?;
    }
    // Two types of one name would be told apart by a number.
    let schemas = api.document["components"]["schemas"].as_object();
    for name in schemas.into_iter().flat_map(|schemas| schemas.keys()) {
        assert!(
            !name.ends_with(|last: char| last.is_ascii_digit()),
            "{name}"
        );
    }
    Ok(())
}

/// Has done what there is for accounts, groups, labels, and projects with their members.
async fn use_projects(api: &mut Api) -> anyhow::Result<()> {
    let project = json!({"project_name": "team", "metadata": {"public": "false"}});
    api.ask("createProject", &[], project).await?;
    let null = || Value::Null;
    let found = api.ask("getProject", &["team"], null()).await?;
    let project = found["project_id"].to_string();
    let project = project.as_str();
    api.ask("listProjects", &["?q=name=team&page_size=1"], null())
        .await?;
    let update = json!({"metadata": {"public": "true"}, "storage_limit": -1});
    api.ask("updateProject", &["team"], update).await?;
    api.ask("addProjectMetadatas", &["team"], json!({"public": "true"}))
        .await?;
    let private = json!({"public": "false"});
    api.ask("updateProjectMetadata", &["team", "public"], private)
        .await?;
    for id in [
        "getProjectSummary",
        "getProjectDeletable",
        "listProjectMetadatas",
        "getQuota",
    ] {
        api.ask(id, &["team"], null()).await?;
    }
    api.ask("getProjectMetadata", &["team", "public"], null())
        .await?;
    api.ask("deleteProjectMetadata", &["team", "public"], null())
        .await?;
    api.ask(
        "updateQuota",
        &[project],
        json!({"hard": {"storage": 1 << 30}}),
    )
    .await?;
    api.ask("listQuotas", &[], null()).await?;

    let user = json!({"username": "ann", "password": PASSWORD, "email": "ann@example.org"});
    let user = api.ask("createUser", &[], user).await?["user_id"].to_string();
    let user = user.as_str();
    let group = json!({"group_name": "devs"});
    let group = api.ask("createUserGroup", &[], group).await?["id"].to_string();
    let group = group.as_str();
    let named = json!({"group_name": "builders"});
    api.ask("updateUserGroup", &[group], named).await?;
    api.ask("addUserGroupMember", &[group], json!({"username": "ann"}))
        .await?;
    let profile = json!({"realname": "Ann"});
    api.ask("updateUserProfile", &[user], profile).await?;
    let password = json!({"new_password": PASSWORD});
    api.ask("updateUserPassword", &[user], password).await?;
    let flag = json!({"sysadmin_flag": false});
    api.ask("setUserSysAdmin", &[user], flag).await?;
    api.ask("setUserDisabled", &[user], json!({"disabled": false}))
        .await?;
    for id in ["listUsers", "getCurrentUserInfo", "listUserGroups"] {
        api.ask(id, &[], null()).await?;
    }
    api.ask("searchUsers", &["?username=an"], null()).await?;
    api.ask("searchUserGroups", &["?groupname=build"], null())
        .await?;
    api.ask("getUser", &[user], null()).await?;
    for id in ["getUserGroup", "listUserGroupMembers"] {
        api.ask(id, &[group], null()).await?;
    }

    let member = json!({"role_name": "guest", "member_user": {"username": "ann"}});
    api.ask("createProjectMember", &["team"], member).await?;
    let members = api.ask("listProjectMembers", &["team"], null()).await?;
    let mut members = members.as_array().into_iter().flatten();
    let member = members.find(|member| member["entity_name"] == "ann");
    let member = member.context("ann is a member")?["id"].to_string();
    let member = ["team", member.as_str()];
    api.ask("getProjectMember", &member, null()).await?;
    api.ask("updateProjectMember", &member, json!({"role_id": 2}))
        .await?;
    api.ask("deleteProjectMember", &member, null()).await?;
    api.ask("removeUserGroupMember", &[group, "ann"], null())
        .await?;
    api.ask("deleteUserGroup", &[group], null()).await?;
    api.ask("deleteUser", &[user], null()).await?;
    Ok(())
}

/// Has done what there is for what was pushed.
async fn use_artifacts(api: &mut Api) -> anyhow::Result<()> {
    let null = || Value::Null;
    let (app, v1) = (["team", "app"], ["team", "app", "v1"]);
    let label = json!({"name": "good", "color": "#48960C", "scope": "g"});
    let label = api.ask("CreateLabel", &[], label).await?["id"].to_string();
    let label = label.as_str();
    api.ask("UpdateLabel", &[label], json!({"name": "better"}))
        .await?;
    api.ask("GetLabelByID", &[label], null()).await?;
    api.ask("ListLabels", &["?scope=g"], null()).await?;
    let given = json!({"id": label.parse::<i64>()?});
    api.ask("addLabel", &v1, given).await?;
    api.ask("createTag", &v1, json!({"name": "v2"})).await?;
    for id in [
        "listAllRepositories",
        "listAuditLogs",
        "listAuditLogExts",
        "listAuditLogEventTypes",
        "getStatistic",
        "getPermissions",
    ] {
        api.ask(id, &[], null()).await?;
    }
    for id in [
        "listRepositories",
        "listArtifactsOfProject",
        "getLogs",
        "getLogExts",
    ] {
        api.ask(id, &["team"], null()).await?;
    }
    let said = json!({"description": "what is run"});
    api.ask("updateRepository", &app, said).await?;
    for id in ["getRepository", "listArtifacts"] {
        api.ask(id, &app, null()).await?;
    }
    for id in [
        "getArtifact",
        "listTags",
        "getBuildHistory",
        "listArtifactLabels",
        "listAccessories",
    ] {
        api.ask(id, &v1, null()).await?;
    }
    api.ask("search", &["?q=app"], null()).await?;
    api.ask(
        "CopyArtifact",
        &["team", "copy", "?from=team/app:v1"],
        null(),
    )
    .await?;
    api.ask("removeLabel", &["team", "app", "v1", label], null())
        .await?;
    api.ask("deleteTag", &["team", "app", "v1", "v2"], null())
        .await?;
    api.ask("deleteArtifact", &v1, null()).await?;
    api.ask("listTagHistory", &v1, null()).await?;
    api.ask("undeleteTag", &v1, null()).await?;
    api.ask("deleteRepository", &["team", "copy"], null())
        .await?;
    api.ask("DeleteLabel", &[label], null()).await?;
    api.ask("purgeProject", &["team"], null()).await?;
    Ok(())
}

/// Has done what there is for robots and rules.
async fn use_rules(api: &mut Api) -> anyhow::Result<()> {
    let null = || Value::Null;
    let found = api.ask("getProject", &["team"], null()).await?;
    let (number, project) = (found["project_id"].clone(), found["project_id"].to_string());
    let access = json!([{"resource": "repository", "action": "pull"}]);
    let permissions = json!([{"kind": "project", "namespace": "team", "access": access}]);
    let robot =
        json!({"name": "ci", "level": "project", "duration": -1, "permissions": permissions});
    let robot = api.ask("CreateRobot", &[], robot).await?["id"].to_string();
    let robot = robot.as_str();
    api.ask(
        "ListRobot",
        &[&format!("?q=Level=project,ProjectID={project}")],
        null(),
    )
    .await?;
    api.ask("listRobotsOfProject", &["team"], null()).await?;
    api.ask("GetRobotByID", &[robot], null()).await?;
    api.ask("UpdateRobot", &[robot], json!({"disable": true}))
        .await?;
    api.ask("RefreshSec", &[robot], json!({"secret": ""}))
        .await?;
    api.ask("DeleteRobot", &[robot], null()).await?;

    let rule = json!({"kind": "immutable", "tags": "v9*"});
    let rule = api.ask("addRule", &["team"], rule).await?["id"].to_string();
    let rule = ["team", rule.as_str()];
    api.ask("switchRule", &rule, json!({"disabled": true}))
        .await?;
    api.ask("listRules", &["team"], null()).await?;
    let tags = json!([{"kind": "doublestar", "decoration": "matches", "pattern": "v8*"}]);
    let tag_rule = json!({"tag_selectors": tags});
    api.ask("CreateImmuRule", &["team"], tag_rule.clone())
        .await?;
    api.ask("ListImmuRules", &["team"], null()).await?;
    api.ask("UpdateImmuRule", &rule, tag_rule).await?;
    api.ask("DeleteImmuRule", &rule, null()).await?;
    let kept = json!({"action": "retain", "template": "latestPushedK",
        "params": {"latestPushedK": 9}, "tag_selectors": tags});
    let policy = json!({"rules": [kept], "scope": {"level": "project", "ref": number},
        "trigger": {"kind": "Schedule", "settings": {"cron": "0 0 0 * * *"}}});
    api.ask("createRetention", &[], policy.clone()).await?;
    api.ask("getRentenitionMetadata", &[], null()).await?;
    let project = project.as_str();
    let scope = format!("?scope=/project/{project}");
    api.ask("getCurrentUserPermissions", &[&scope], null())
        .await?;
    api.ask("updateRetention", &[project], policy).await?;
    api.ask("getRetention", &[project], null()).await?;
    api.ask("runRetention", &["team"], json!({"dry_run": true}))
        .await?;
    let run = json!({"dry_run": true});
    let run = api
        .ask("triggerRetentionExecution", &[project], run)
        .await?["id"]
        .to_string();
    let run = [project, run.as_str()];
    api.ask("listRetentionExecutions", &[project], null())
        .await?;
    let stop = json!({"action": "stop"});
    api.ask("operateRetentionExecution", &run, stop).await?;
    api.ask("listRetentionTasks", &run, null()).await?;
    api.ask("getRetentionTaskLog", &[run[0], run[1], "1"], null())
        .await?;
    let by_hand = api
        .ask(
            "addRule",
            &["team"],
            json!({"kind": "immutable", "tags": "x"}),
        )
        .await?;
    let by_hand = by_hand["id"].to_string();
    api.ask("deleteRule", &["team", &by_hand], null()).await?;
    api.ask("deleteRetention", &[project], null()).await?;
    Ok(())
}

/// Has done what there is for the registry as a whole.
async fn use_system(api: &mut Api) -> anyhow::Result<()> {
    let null = || Value::Null;
    for id in [
        "getPing",
        "getHealth",
        "getSystemInfo",
        "getVolumes",
        "listRegistryProviderTypes",
        "getConfigurations",
        "getGCBacklog",
    ] {
        api.ask(id, &[], null()).await?;
    }
    let settings = json!({"robot_token_duration": 7});
    api.ask("updateConfigurations", &[], settings).await?;
    let daily = json!({"schedule": {"type": "Daily"}});
    api.ask("createGCSchedule", &[], daily.clone()).await?;
    api.ask("updateGCSchedule", &[], daily).await?;
    api.ask("getGCSchedule", &[], null()).await?;
    let now = json!({"schedule": {"type": "Manual"}, "parameters": {"dry_run": true}});
    api.ask("updateGCSchedule", &[], now).await?;
    let run = api.ask("runGC", &[], json!({"dry_run": true})).await?["id"].to_string();
    let run = run.as_str();
    api.ask("getGCHistory", &[], null()).await?;
    for id in ["getGC", "getGCLog", "stopGC"] {
        api.ask(id, &[run], null()).await?;
    }
    api.ask("runFsck", &[], json!({"read_bytes": true})).await?;
    api.ask("rotateKey", &[], null()).await?;
    api.ask("listKeys", &[], null()).await?;
    api.ask(
        "setRunning",
        &["prod"],
        json!({"images": [], "nothing": true}),
    )
    .await?;
    api.ask("listRunning", &[], null()).await?;
    let upstream = json!({"name": "other", "url": "http://127.0.0.1:9",
        "credential": {"access_key": "me", "access_secret": "a secret"}});
    let upstream = api.ask("createRegistry", &[], upstream).await?["id"].to_string();
    let upstream = upstream.as_str();
    let description = json!({"description": "another one"});
    api.ask("updateRegistry", &[upstream], description).await?;
    let own = json!({"url": api.client.base()});
    api.ask("pingRegistry", &[], own).await?;
    api.ask("listRegistries", &[], null()).await?;
    api.ask("getRegistry", &[upstream], null()).await?;
    api.ask("deleteRegistry", &[upstream], null()).await?;
    api.ask("getDescription", &[], null()).await?;
    Ok(())
}

#[tokio::test]
async fn what_is_answered_is_what_the_description_says() -> anyhow::Result<()> {
    let (registry, mut api) = start().await?;
    use_projects(&mut api).await?;
    api.client
        .push_image("team/app", "v1", &bytes(1, 100))
        .await?;
    use_artifacts(&mut api).await?;
    use_rules(&mut api).await?;
    use_system(&mut api).await?;
    api.client
        .push_image("empty/app", "v1", &bytes(2, 100))
        .await?;
    for repository in [["team", "app"], ["empty", "app"]] {
        api.ask("deleteRepository", &repository, Value::Null)
            .await?;
    }
    api.ask("deleteProject", &["empty"], Value::Null).await?;
    let all = api
        .operations()
        .filter_map(|(.., one)| one["operationId"].as_str());
    let untried: Vec<&str> = all.filter(|id| !api.done.contains(*id)).collect();
    // It is always refused.
    assert_eq!(untried, ["setCliSecret"]);

    // What is refused is told as the description says, too.
    let nobody = api.as_who(registry.client().clone());
    for (api, id, path, body, status) in [
        (&api, "getProject", &["none"][..], Value::Null, 404),
        (
            &api,
            "createProject",
            &[],
            json!({"project_name": "team"}),
            409,
        ),
        (&api, "createProject", &[], json!({"project_name": 1}), 400),
        (&api, "GetRobotByID", &["x"], Value::Null, 400),
        (&api, "setCliSecret", &["1"], Value::Null, 412),
        (&nobody, "listUsers", &[], Value::Null, 401),
        (&nobody, "listProjects", &[], Value::Null, 200),
    ] {
        let (given, answer) = api.send(id, path, &body).await?;
        assert_eq!(given, status, "{id} {path:?}: {answer}");
    }
    Ok(())
}
