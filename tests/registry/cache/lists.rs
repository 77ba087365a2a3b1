//! Lists of tags: what the other registry has, in order, or what is here.

use std::time::Duration;

use reqwest::{Method, Response};
use serde_json::{Value, json};
use tests::registry::{
    Kind, MANIFEST, Registry, RegistryClient, bytes, code, header, sha256, text,
};
use tests::wait_for;

use super::{EAGER, TAG, connect, pair, pull};
use crate::auth;
use crate::between::{Mode, body, status};

const LIST: &str = "/v2/hub/lib/app/tags/list";
const JSON: &str = "content-type: application/json\r\n";

/// An image with tags.
async fn push(client: &RegistryClient, tags: &[&str]) -> anyhow::Result<()> {
    for tag in tags {
        client.push_image("lib/app", tag, &bytes(1, 10)).await?;
    }
    Ok(())
}

/// The first list with this warning: it may be noticed late that connections are gone.
async fn stale(client: &RegistryClient, reason: &str) -> anyhow::Result<Value> {
    let answer: Response = wait_for(reason, Duration::from_secs(30), || async {
        let stale = pull(client, LIST).await.ok()?;
        let warning = header(&stale, "warning").ok()?;
        warning.contains(reason).then_some(stale)
    })
    .await?;
    Ok(answer.json::<Value>().await?["tags"].clone())
}

#[tokio::test]
async fn tags_are_those_of_the_other_registry_while_it_answers() -> anyhow::Result<()> {
    let (upstream, between, mut cache) = pair(&[]).await?;
    let client = cache.client().clone();
    push(upstream.client(), &["v2", "v1", "V3", "latest"]).await?;
    let all = json!({"name": "hub/lib/app", "tags": ["V3", "latest", "v1", "v2"]});
    let listed = pull(&client, LIST).await?;
    assert!(!listed.headers().contains_key("warning"));
    assert_eq!(listed.json::<Value>().await?, all);
    client.get(TAG).await?;
    assert_eq!(client.json(LIST).await?, all);
    let page = pull(&client, &format!("{LIST}?n=2&last=V3")).await?;
    let link = header(&page, "link")?;
    assert_eq!(page.json::<Value>().await?["tags"], json!(["latest", "v1"]));
    let next = client.json(&link[1..link.find('>').unwrap()]).await?;
    assert_eq!(next["tags"], json!(["v2"]));
    let none = pull(&client, "/v2/hub/lib/none/tags/list").await?;
    assert_eq!(none.status(), 404);
    assert_eq!(code(none).await?, "NAME_UNKNOWN");
    // What is gone there is listed no more, though it is here.
    let gone = "/v2/lib/app/manifests/v1";
    upstream.client().status(Method::DELETE, gone).await?;
    let left = client.json(LIST).await?;
    assert_eq!(left["tags"], json!(["V3", "latest", "v2"]));

    for (mode, reason) in [
        (status("500 Internal Server Error", ""), "up fails: 500"),
        (status("403 Forbidden", ""), "up wants a login"),
        (Mode::Silent, "up does not answer"),
        (body(JSON, "not a list"), "cannot be read"),
        (
            status("429 Too Many Requests", "retry-after: 300\r\n"),
            "up was asked too often: 429",
        ),
    ] {
        between.set(mode);
        // What it had then.
        assert_eq!(stale(&client, reason).await?, left["tags"], "{reason}");
    }
    let cold = pull(&client, "/v2/hub/lib/other/tags/list").await?;
    assert_eq!(cold.status(), 429);
    let metrics = cache.metrics().await?;
    for counted in ["hits", "misses", "pulled_bytes", "pushed_bytes"] {
        let counted = format!("registry_proxy_{counted}_total{{type=\"tags\"}}");
        assert!(metrics.contains(&counted), "{counted}");
    }
    let log = cache.directory().join("data/log/registry-access.log");
    wait_for("the log", Duration::from_secs(20), || async {
        let log = std::fs::read_to_string(&log).unwrap_or_default();
        let mut lines = log.lines().filter(|line| line.contains("\"tags\""));
        lines
            .any(|line| {
                line.contains("\"cache\":\"stale\"") && line.contains("\"upstream\":\"up\"")
            })
            .then_some(())
    })
    .await
}

/// Nobody has asked for a list while it answered.
#[tokio::test]
async fn tags_that_are_here_are_listed_where_no_list_is() -> anyhow::Result<()> {
    let (upstream, between, mut cache) = pair(&[]).await?;
    let client = cache.client().clone();
    push(upstream.client(), &["v1", "v2", "v3"]).await?;
    client.get(TAG).await?;
    let failing = || status("500 Internal Server Error", "");
    let stale = async |reason: &str| stale(&client, reason).await;
    between.set(failing());
    assert_eq!(
        stale("these are the tags that are here").await?,
        json!(["v1"])
    );

    between.set(Mode::Open);
    wait_for("a list", Duration::from_secs(20), async || {
        let listed = pull(&client, LIST).await.ok()?;
        (!listed.headers().contains_key("warning")).then_some(())
    })
    .await?;
    between.set(failing());
    let all = stale("these are the tags that it had when it was asked last");
    assert_eq!(all.await?, json!(["v1", "v2", "v3"]));
    let page = pull(&client, &format!("{LIST}?n=1&last=v1")).await?;
    assert!(header(&page, "link")?.contains("last=v2"));
    assert_eq!(page.json::<Value>().await?["tags"], json!(["v2"]));

    // A registry that is another one now has not said so, and neither has one after a start.
    let (_, known) = client
        .manage(Method::GET, "/registries", Value::Null)
        .await?;
    let path = format!("/registries/{}", known[0]["id"]);
    let changed = json!({"name": "other"});
    assert_eq!(client.manage(Method::PUT, &path, changed).await?.0, 200);
    assert_eq!(stale("other fails: 500").await?, json!(["v1"]));
    cache.stop().await?;
    cache.start_again().await?;
    assert_eq!(
        stale("these are the tags that are here").await?,
        json!(["v1"])
    );
    Ok(())
}

/// A copy of database and store is made in peace meanwhile.
#[tokio::test]
async fn tags_are_listed_while_the_registry_is_read_only() -> anyhow::Result<()> {
    let (upstream, _between, cache) = pair(&[]).await?;
    let client = cache.client();
    push(upstream.client(), &["v1", "v2"]).await?;
    let set = json!({"read_only": true});
    assert_eq!(
        client.manage(Method::PUT, "/configurations", set).await?.0,
        200
    );
    assert_eq!(client.json(LIST).await?["tags"], json!(["v1", "v2"]));
    push(upstream.client(), &["v3"]).await?;
    assert_eq!(client.json(LIST).await?["tags"], json!(["v1", "v2", "v3"]));
    let path = "/projects/hub/repositories";
    let (_, repositories) = client.manage(Method::GET, path, Value::Null).await?;
    assert_eq!(repositories, json!([]));
    Ok(())
}

#[tokio::test]
async fn a_list_has_so_many_pages_at_most() -> anyhow::Result<()> {
    let env = [("SKALD_REGISTRY_PROXY_LIST_PAGES_MAX", "2")];
    let (upstream, _between, cache) = pair(&env).await?;
    let (there, client) = (upstream.client(), cache.client());
    let image = there.push_image("lib/app", "first", &bytes(1, 10)).await?;
    for (tags, is_too_long) in [(0..1500, false), (1500..2100, true)] {
        let names: Vec<_> = tags.map(|tag| format!("tag=t{tag}")).collect();
        for names in names.chunks(50) {
            let reference = format!("{}?{}", sha256(&image), names.join("&"));
            let put = there.put_manifest("lib/app", &reference, MANIFEST, &image);
            assert_eq!(put.await?.status(), 201);
        }
        let listed = pull(client, &format!("{LIST}?n=9999")).await?;
        let warning = header(&listed, "warning").unwrap_or_default();
        let why = "registry.proxy.list_pages_max: up lists more than 2 pages";
        assert_eq!(warning.contains(why), is_too_long, "{warning}");
        let listed: Value = listed.json().await?;
        assert_eq!(listed["tags"].as_array().map(Vec::len), Some(1501));
    }
    Ok(())
}

/// Some registries have pages of their own, in an order of their own.
#[tokio::test]
async fn lists_are_in_order_and_have_bounds() -> anyhow::Result<()> {
    let env = [("SKALD_REGISTRY_PROXY_LIST_BYTES_MAX", "1KB")];
    let (upstream, between, cache) = pair(&env).await?;
    let client = cache.client();
    between.set(body(
        JSON,
        r#"{"name":"x","tags":["v2","b","a","v1","not a tag","a"]}"#,
    ));
    let listed = client.json(LIST).await?;
    assert_eq!(listed["tags"], json!(["a", "b", "v1", "v2"]));
    between.set(body(JSON, r#"{"name":"x","tags":null}"#));
    assert_eq!(client.json(LIST).await?["tags"], json!([]));
    let endless = format!("{JSON}link: <http://else.where/?last=x>; rel=\"next\"\r\n");
    let long = json!({"tags": vec!["x".repeat(100); 20]}).to_string();
    for (mode, reason) in [
        (body(&endless, r#"{"tags":["a"]}"#), "has no end"),
        (body(JSON, &long), "more than 1024 bytes"),
    ] {
        between.set(mode);
        let refused = pull(client, "/v2/hub/lib/none/tags/list").await?;
        assert_eq!(refused.status(), 502);
        let why = text(refused).await;
        assert!(why.contains(reason), "{why}");
    }
    // Of a registry that answers well, too.
    between.set(Mode::Open);
    let there = upstream.client();
    let image = there.push_image("lib/long", "t", &bytes(1, 10)).await?;
    for tag in 0..100 {
        let tag = format!("tag-{tag:04}");
        let put = there.put_manifest("lib/long", &tag, MANIFEST, &image);
        assert_eq!(put.await?.status(), 201);
    }
    let long = wait_for("an answer", Duration::from_secs(20), || async {
        let long = text(pull(client, "/v2/hub/lib/long/tags/list").await.ok()?).await;
        long.contains("more than 1024 bytes").then_some(long)
    })
    .await?;
    assert!(long.starts_with("502"), "{long}");
    Ok(())
}

#[tokio::test]
async fn a_list_of_many_pages_is_kept_as_long_as_a_tag() -> anyhow::Result<()> {
    let lifetime = ("SKALD_REGISTRY_PROXY_TAG_LIFETIME", "1h");
    let (upstream, between, cache) = pair(&[lifetime]).await?;
    let (there, client) = (upstream.client(), cache.client());
    let image = there.push_image("lib/app", "first", &bytes(1, 10)).await?;
    for tag in 0..1010 {
        let tag = format!("{tag:04}");
        let put = there.put_manifest("lib/app", &tag, MANIFEST, &image);
        assert_eq!(put.await?.status(), 201);
    }
    let (mut next, mut found) = (Some(format!("{LIST}?n=500")), Vec::new());
    while let Some(path) = next {
        let page = pull(client, &path).await?;
        let link = header(&page, "link").ok();
        next = link.and_then(|link| Some(link[1..link.find('>')?].to_owned()));
        let page: Value = page.json().await?;
        found.extend(page["tags"].as_array().cloned().unwrap_or_default());
        // It was asked for with the first page.
        between.set(Mode::Silent);
    }
    assert_eq!(found.len(), 1011);
    assert_eq!(found.last(), Some(&json!("first")));
    Ok(())
}

#[tokio::test]
async fn tags_are_listed_of_who_wants_a_login_and_by_the_name_it_has_there() -> anyhow::Result<()> {
    let (upstream, admin) = auth::start().await?;
    auth::member(&upstream, &admin, "reader", "guest").await?;
    admin.push_image("team/app", "v1", &bytes(1, 10)).await?;
    let cache = Registry::start(Kind::Files, &EAGER).await?;
    let client = cache.client();
    let login = json!({"access_key": "reader", "access_secret": "a long enough password"});
    let registry = json!({"name": "up", "url": upstream.client().base(),
        "namespace": "else.where", "credential": login});
    connect(client, "hub", registry).await?;
    let listed = client.json("/v2/team/app/tags/list?ns=else.where").await?;
    assert_eq!(listed, json!({"name": "team/app", "tags": ["v1"]}));
    let hidden = pull(client, "/v2/hub/other/app/tags/list").await?;
    assert_eq!(hidden.status(), 404);
    Ok(())
}
