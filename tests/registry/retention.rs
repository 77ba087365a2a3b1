//! Which tags stay.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tests::registry::{INDEX, Kind, MANIFEST, Registry, bytes, descriptor, sha256};
use tests::wait_for;

/// What a rule is for is what all its selectors select.
#[tokio::test]
async fn several_selectors_select_together() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    for (seed, tag) in (1..).zip(["v1", "x-rc", "v2-rc", "v3-rc", "v0-rc"]) {
        client.push_image("team/app", tag, &bytes(seed, 10)).await?;
    }
    let (_, project) = client
        .manage(Method::GET, "/projects/team", Value::Null)
        .await?;
    let id = project["project_id"].clone();
    let selector = |decoration: &str, pattern: &str| json!({"kind": "doublestar", "decoration": decoration, "pattern": pattern});
    let tags = json!([
        selector("matches", "v*"),
        selector("matches", "*-rc"),
        selector("excludes", "v0*"),
        selector("excludes", "w*"),
    ]);
    let repositories = json!([selector("repoMatches", "a*"), selector("repoMatches", "*p")]);
    let policy = json!({
        "algorithm": "or",
        "scope": {"level": "project", "ref": id},
        "trigger": {"kind": "Schedule", "settings": {"cron": ""}},
        "rules": [{
            "action": "retain", "template": "latestPushedK", "params": {"latestPushedK": 1},
            "tag_selectors": tags,
            "scope_selectors": {"repository": repositories},
        }],
    });
    let made = client.manage(Method::POST, "/retentions", policy);
    assert_eq!(made.await?.0, 201);
    let path = format!("/retentions/{id}");
    let (_, shown) = client.manage(Method::GET, &path, Value::Null).await?;
    let rule = &shown["rules"][0];
    assert_eq!(rule["tag_selectors"], tags);
    assert_eq!(rule["scope_selectors"]["repository"], repositories);
    let executions = format!("{path}/executions");
    let run = client.manage(Method::POST, &executions, json!({}));
    assert_eq!(run.await?.1["deleted"], 1);
    let left = client.json("/v2/team/app/tags/list").await?;
    assert_eq!(left["tags"], json!(["v0-rc", "v1", "v3-rc", "x-rc"]));
    Ok(())
}

#[tokio::test]
async fn retention_is_understood_in_harbors_words() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    for number in 1..=3 {
        let tag = format!("v{number}");
        let layer = bytes(number + 20, 10);
        client.push_image("team/app", &tag, &layer).await?;
    }
    let (_, project) = client
        .manage(Method::GET, "/projects/team", Value::Null)
        .await?;
    let id = project["project_id"].clone();
    let policy = |template: &str| {
        json!({
            "algorithm": "or",
            "scope": {"level": "project", "ref": id},
            "trigger": {"kind": "Schedule", "settings": {"cron": ""}},
            "rules": [{
                "action": "retain", "template": template, "params": {template: 1},
                "tag_selectors":
                    [{"kind": "doublestar", "decoration": "matches", "pattern": "v*"}],
                "scope_selectors": {"repository":
                    [{"kind": "doublestar", "decoration": "repoMatches", "pattern": "**"}]},
            }],
        })
    };
    let path = format!("/retentions/{id}");
    let unknown = policy("latestWantedK");
    let (status, refused) = client.manage(Method::POST, "/retentions", unknown).await?;
    assert_eq!(status, 400);
    assert!(refused.to_string().contains("latestWantedK"), "{refused}");
    let made = client.manage(Method::POST, "/retentions", policy("latestPushedK"));
    assert_eq!(made.await?.0, 201);
    let (_, shown) = client.manage(Method::GET, &path, Value::Null).await?;
    assert_eq!(shown["rules"][0]["params"], json!({"latestPushedK": 1}));
    assert_eq!(shown["rules"][0]["tag_selectors"][0]["pattern"], "v*");
    assert_eq!(shown["trigger"]["settings"]["cron"], "");
    for (dry_run, left) in [(true, 3), (false, 1)] {
        let run = json!({"dry_run": dry_run});
        let executions = format!("{path}/executions");
        let (status, done) = client.manage(Method::POST, &executions, run).await?;
        assert_eq!((status, &done["deleted"]), (201, &json!(2)));
        let tags = client.json("/v2/team/app/tags/list").await?;
        assert_eq!(tags["tags"].as_array().map(Vec::len), Some(left));
    }
    let always = client.manage(Method::PUT, &path, policy("always"));
    assert_eq!(always.await?.0, 200);
    let (_, shown) = client.manage(Method::GET, &path, Value::Null).await?;
    assert_eq!(shown["rules"][0]["template"], "always");
    let gone = client.manage(Method::DELETE, &path, Value::Null).await?;
    assert_eq!(gone.0, 200);
    let (_, rules) = client
        .manage(Method::GET, "/projects/team/rules", Value::Null)
        .await?;
    assert_eq!(rules, json!([]));
    Ok(())
}

/// What is selected can also be all but something, and is told as it was said.
#[tokio::test]
async fn rules_in_harbors_words_have_exceptions() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    for (repo, tag) in [("a", "v1"), ("a", "rc"), ("b", "v1")] {
        let layer = format!("{repo} {tag}");
        client
            .push_image(&format!("team/{repo}"), tag, layer.as_bytes())
            .await?;
    }
    let (_, project) = client
        .manage(Method::GET, "/projects/team", Value::Null)
        .await?;
    let id = project["project_id"].clone();
    let rule = |action: &str, template: &str, tags: &str, repositories: &str| {
        json!({
            "action": action, "template": template, "params": {template: 0},
            "tag_selectors": [{"kind": "doublestar", "decoration": "excludes", "pattern": tags,
                "extras": "{\"untagged\":true}"}],
            "scope_selectors": {"repository": [{"kind": "doublestar",
                "decoration": "repoExcludes", "pattern": repositories}]},
        })
    };
    let policy = json!({
        "algorithm": "or", "scope": {"level": "project", "ref": id},
        "rules": [rule("retain", "latestPushedK", "v*", "b")],
    });
    let made = client
        .manage(Method::POST, "/retentions", policy.clone())
        .await?;
    assert_eq!(made.0, 201, "{}", made.1);
    let path = format!("/retentions/{id}");
    let (_, told) = client.manage(Method::GET, &path, Value::Null).await?;
    for field in ["tag_selectors", "scope_selectors"] {
        assert_eq!(told["rules"][0][field], policy["rules"][0][field]);
    }
    let executions = format!("{path}/executions");
    let run = client.manage(Method::POST, &executions, json!({"dry_run": false}));
    assert_eq!(run.await?.0, 201);
    for repo in ["a", "b"] {
        let tags = client.json(&format!("/v2/team/{repo}/tags/list")).await?;
        assert_eq!(tags["tags"], json!(["v1"]), "{repo}");
    }
    let rules = "/projects/team/immutabletagrules";
    let rule = rule("immutable", "immutable_template", "v*", "b");
    assert_eq!(
        client.manage(Method::POST, rules, rule.clone()).await?.0,
        201
    );
    let (_, told) = client.manage(Method::GET, rules, Value::Null).await?;
    for field in ["tag_selectors", "scope_selectors"] {
        assert_eq!(told[0][field], rule[field]);
    }
    Ok(())
}

/// Who asks for it to be done at no time is not surprised an hour later.
#[tokio::test]
async fn retention_is_done_when_its_policy_says() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    let mut policies = Vec::new();
    for project in ["asked", "always"] {
        let repo = format!("{project}/app");
        for number in 1..=3 {
            let (tag, layer) = (format!("v{number}"), bytes(number + 30, 10));
            client.push_image(&repo, &tag, &layer).await?;
        }
        let path = format!("/projects/{project}");
        let (_, project) = client.manage(Method::GET, &path, Value::Null).await?;
        let id = project["project_id"].clone();
        policies.push(move |trigger: Value| {
            json!({
                "algorithm": "or", "scope": {"level": "project", "ref": id}, "trigger": trigger,
                "rules": [{"action": "retain", "template": "latestPushedK",
                    "params": {"latestPushedK": 1}}],
            })
        });
    }
    let at = |cron: &str| json!({"kind": "Schedule", "settings": {"cron": cron}});
    for (policy, trigger, expected) in [
        (0, at("0 0 0 * *"), 400),
        (0, json!({"kind": "Event"}), 400),
        (0, Value::Null, 201),
        (0, at(""), 201),
        (1, at("* * * * * *"), 201),
    ] {
        let policy = policies[policy](trigger.clone());
        let made = client.manage(Method::POST, "/retentions", policy).await?;
        assert_eq!(made.0, expected, "{trigger}");
    }
    let done = || async {
        let tags = client.json("/v2/always/app/tags/list").await.ok()?;
        (tags["tags"] == json!(["v3"])).then_some(())
    };
    wait_for("retention to be done", Duration::from_secs(20), done).await?;
    let tags = client.json("/v2/asked/app/tags/list").await?;
    assert_eq!(tags["tags"], json!(["v1", "v2", "v3"]));
    Ok(())
}

/// Pulls count for those templates that speak of them, also those of a process that was stopped and
/// those by digest.
#[tokio::test]
async fn what_is_pulled_stays() -> anyhow::Result<()> {
    // Nothing is written down by the clock.
    let env = [("SKALD_REGISTRY_GC_INTERVAL", "1h")];
    let mut registry = Registry::start(Kind::Files, &env).await?;
    let client = registry.client().clone();
    let mut manifests = Vec::new();
    for number in 1..=4 {
        let tag = format!("v{number}");
        let layer = bytes(number + 40, 10);
        manifests.push(client.push_image("team/app", &tag, &layer).await?);
    }
    let v1 = format!("/v2/team/app/manifests/{}", sha256(&manifests[0]));
    assert!(client.get(&v1).await?.is_some());
    registry.stop().await?;
    registry.start_again().await?;
    assert!(client.get("/v2/team/app/manifests/v2").await?.is_some());
    // Asking is not pulling.
    let v3 = "/v2/team/app/manifests/v3";
    assert_eq!(client.status(Method::HEAD, v3).await?, 200);

    let rules = "/projects/team/rules";
    let keep = json!({"kind": "retention", "latestPulledN": 2});
    assert_eq!(client.manage(Method::POST, rules, keep).await?.0, 201);
    let run = json!({"dry_run": false});
    let (status, done) = client
        .manage(Method::POST, "/projects/team/retention", run)
        .await?;
    assert_eq!(status, 200, "{done}");
    let tags = client.json("/v2/team/app/tags/list").await?;
    assert_eq!(tags["tags"], json!(["v1", "v2"]), "{done}");
    let artifacts = "/projects/team/repositories/app/artifacts";
    let (_, artifacts) = client.manage(Method::GET, artifacts, Value::Null).await?;
    let pulled = artifacts.as_array().into_iter().flatten();
    let pulled = pulled.filter(|artifact| artifact["pull_time"].is_string());
    assert_eq!(pulled.count(), 2, "{artifacts}");
    Ok(())
}

/// What runs is named by the digest of a manifest, or of an index that has it.
#[tokio::test]
async fn what_runs_stays() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    let mut manifests = Vec::new();
    for number in 1..=4 {
        let (tag, layer) = (format!("v{number}"), bytes(number + 60, 10));
        manifests.push(client.push_image("team/app", &tag, &layer).await?);
    }
    let index = json!({"schemaVersion": 2, "mediaType": INDEX,
        "manifests": [descriptor(MANIFEST, &manifests[1])]});
    let index = index.to_string().into_bytes();
    let put = client.put_manifest("team/app", "multi", INDEX, &index);
    assert_eq!(put.await?.status(), 201);
    // An index in an index.
    let inner = json!({"schemaVersion": 2, "mediaType": INDEX,
        "manifests": [descriptor(MANIFEST, &manifests[2])]});
    let inner = inner.to_string().into_bytes();
    let outer = json!({"schemaVersion": 2, "mediaType": INDEX,
        "manifests": [descriptor(INDEX, &inner)]});
    let outer = outer.to_string().into_bytes();
    for (reference, bytes) in [(sha256(&inner).as_str(), &inner), ("nested", &outer)] {
        let put = client.put_manifest("team/app", reference, INDEX, bytes);
        assert_eq!(put.await?.status(), 201);
    }
    let image = |number: usize| format!("reg.example/team/app@{}", sha256(&manifests[number]));
    let running = json!({"images": [image(0), image(1), image(2)]});
    let said = client.manage(Method::PUT, "/running/prod", running);
    assert_eq!(said.await?.0, 200);
    for wrong in [
        json!({"images": ["team/app:v1"]}),
        json!({}),
        json!({"images": []}),
        json!({"images": [image(0)], "nothing": true}),
    ] {
        let said = client.manage(Method::PUT, "/running/prod", wrong);
        assert_eq!(said.await?.0, 400);
    }
    let (_, clusters) = client.manage(Method::GET, "/running", Value::Null).await?;
    assert_eq!(
        (&clusters[0]["cluster"], &clusters[0]["images"]),
        (&json!("prod"), &json!(3))
    );

    let rules = "/projects/team/rules";
    let keep = json!({"kind": "retention", "latestPushedK": 0, "latestPulledN": 0});
    assert_eq!(client.manage(Method::POST, rules, keep).await?.0, 201);
    for (images, left) in [
        (None, json!(["multi", "nested", "v1", "v2", "v3"])),
        (
            Some(json!([image(1), image(2)])),
            json!(["multi", "nested", "v2", "v3"]),
        ),
        (Some(json!([image(1)])), json!(["multi", "v2"])),
        (Some(json!([])), json!([])),
    ] {
        if let Some(images) = images {
            let said = json!({"images": images, "nothing": images == json!([])});
            let said = client.manage(Method::PUT, "/running/prod", said);
            assert_eq!(said.await?.0, 200);
        }
        let run = json!({"dry_run": false});
        let done = client.manage(Method::POST, "/projects/team/retention", run);
        assert_eq!(done.await?.0, 200);
        assert_eq!(client.json("/v2/team/app/tags/list").await?["tags"], left);
    }
    Ok(())
}

/// What lists them may have seen only a part of the cluster.
#[tokio::test]
async fn a_list_that_lacks_much_of_the_last_one_is_refused_unless_it_is_meant() -> anyhow::Result<()>
{
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    let set = async |cluster: &str, images: std::ops::Range<u64>, fewer: bool| {
        let images: Vec<String> = images.map(|image| sha256(&bytes(image, 10))).collect();
        let said = json!({"images": images, "fewer": fewer});
        let path = format!("/running/{cluster}");
        client.manage(Method::PUT, &path, said).await
    };
    let running = async |cluster: &str| {
        let (_, all) = client.manage(Method::GET, "/running", Value::Null).await?;
        let all = all.as_array().cloned().unwrap_or_default();
        let mut of_it = all.into_iter().filter(|one| one["cluster"] == cluster);
        anyhow::Ok(of_it.next().map(|one| one["images"].clone()))
    };
    assert_eq!(set("prod", 0..20, false).await?.0, 200);
    let (status, told) = set("prod", 0..9, false).await?;
    assert_eq!(status, 409);
    let told = told.to_string();
    for part in ["11 of the 20 images", "the 9 of this list", "50 percent"] {
        assert!(told.contains(part), "{told}");
    }
    assert_eq!(running("prod").await?, Some(json!(20)));
    // As many, but others.
    assert_eq!(set("prod", 100..120, false).await?.0, 409);
    assert_eq!(set("prod", 0..10, false).await?.0, 200);
    assert_eq!(set("prod", 0..3, false).await?.0, 409);
    assert_eq!(set("prod", 0..3, true).await?.0, 200);
    assert_eq!(running("prod").await?, Some(json!(3)));
    // A few are not much of anything, and each cluster speaks for itself.
    assert_eq!(set("prod", 5..6, false).await?.0, 200);
    assert_eq!(set("test", 0..1, false).await?.0, 200);
    Ok(())
}

/// Signatures of cosign have tags of their own, which are not versions of anything.
#[tokio::test]
async fn signatures_go_with_what_they_sign_and_are_not_counted() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    let mut signatures = Vec::new();
    for number in 1..=4 {
        let (tag, layer) = (format!("v{number}"), bytes(number + 80, 10));
        let image = client.push_image("team/app", &tag, &layer).await?;
        let signature = format!("{}.sig", sha256(&image).replace(':', "-"));
        let signed = bytes(number + 90, 10);
        client.push_image("team/app", &signature, &signed).await?;
        signatures.push(signature);
    }
    let rules = "/projects/team/rules";
    let keep = json!({"kind": "retention", "tags": "v*", "latestPushedK": 3});
    let keep_all = json!({"kind": "retention", "latestPushedK": 2});
    let mut removed = None;
    for (rule, gone) in [(keep, 1), (keep_all, 2)] {
        if let Some(rule) = removed {
            let rule = format!("{rules}/{rule}");
            let gone = client.manage(Method::DELETE, &rule, Value::Null).await?;
            assert_eq!(gone.0, 200);
        }
        let (status, made) = client.manage(Method::POST, rules, rule).await?;
        assert_eq!(status, 201);
        removed = Some(made["id"].clone());
        for dry_run in [true, false] {
            let run = json!({"dry_run": dry_run});
            let done = client.manage(Method::POST, "/projects/team/retention", run);
            let (_, done) = done.await?;
            let expired = done["expired"].as_array().into_iter().flatten();
            let expired: Vec<&Value> = expired.map(|expired| &expired["tag"]).collect();
            let expected = [json!(format!("v{gone}")), json!(signatures[gone - 1])];
            assert_eq!(expired, expected.iter().collect::<Vec<_>>());
        }
    }
    let mut left = [signatures[2].as_str(), &signatures[3], "v3", "v4"];
    left.sort_unstable();
    let tags = client.json("/v2/team/app/tags/list").await?;
    assert_eq!(tags["tags"], json!(left));
    Ok(())
}

/// A rule that keeps tags for several reasons is several of Harbor's.
#[tokio::test]
async fn rules_of_ours_are_told_in_harbors_words() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    client.push_image("team/app", "v1", &bytes(50, 10)).await?;
    let rule = json!({
        "kind": "retention", "tags": "v*", "latestPushedK": 1, "latestPulledN": 2,
        "latestActiveK": 3, "nDaysSinceLastPush": 4, "nDaysSinceLastPull": 5,
    });
    let rules = "/projects/team/rules";
    assert_eq!(client.manage(Method::POST, rules, rule).await?.0, 201);
    let (_, project) = client
        .manage(Method::GET, "/projects/team", Value::Null)
        .await?;
    let retention = format!("/retentions/{}", project["project_id"]);
    let (_, policy) = client.manage(Method::GET, &retention, Value::Null).await?;
    let told = |policy: &Value| -> Vec<Value> {
        let rules = policy["rules"].as_array().into_iter().flatten();
        rules.map(|rule| rule["params"].clone()).collect()
    };
    let expected = [
        json!({"latestPushedK": 1}),
        json!({"latestPulledN": 2}),
        json!({"latestActiveK": 3}),
        json!({"nDaysSinceLastPush": 4}),
        json!({"nDaysSinceLastPull": 5}),
    ];
    assert_eq!(told(&policy), expected);
    // What is told can be said.
    let put = client.manage(Method::PUT, &retention, policy);
    assert_eq!(put.await?.0, 200);
    let (_, again) = client.manage(Method::GET, &retention, Value::Null).await?;
    assert_eq!(told(&again), expected);
    Ok(())
}
