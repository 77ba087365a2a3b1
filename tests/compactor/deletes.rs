//! Lines that were asked to be deleted are hidden at once, and later gone.

use anyhow::{Context, ensure};
use serde_json::Value;
use tests::api::Api;
use tests::lines::{SECOND_NS, now_ns};

use crate::{PATIENCE, Site, app, lines};

const DELETE: &str = "/loki/api/v1/delete";

/// Asks to delete; the times are in nanoseconds.
async fn delete(api: &Api, query: &str, start_ns: i64, end_ns: i64) -> anyhow::Result<()> {
    let (start, end) = (start_ns / SECOND_NS, end_ns / SECOND_NS);
    let query: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let path = format!("{DELETE}?query={query}&start={start}&end={end}");
    let answer = api.send(&path, "text/plain", Vec::new()).await?;
    let id = answer.headers().get("x-delete-request-id").cloned();
    let (status, body) = (answer.status().as_u16(), answer.text().await?);
    ensure!(status == 204, "{path} answered {status}: {body}");
    let listed = api.json(DELETE, &[]).await?;
    let ids = listed.as_array().into_iter().flatten();
    let mut ids = ids.filter_map(|request| request["request_id"].as_str());
    let id = id.context("no id")?;
    ensure!(ids.any(|listed| id == listed), "{id:?} is not in {listed}");
    Ok(())
}

async fn statuses(api: &Api) -> anyhow::Result<Vec<String>> {
    let listed = api.json(DELETE, &[]).await?;
    let requests = listed.as_array().context("no list")?;
    let status = |request: &Value| request["status"].as_str().unwrap_or_default().to_owned();
    Ok(requests.iter().map(status).collect())
}

async fn texts(api: &Api, query: &str, start_ns: i64) -> anyhow::Result<Vec<String>> {
    let found = api.all_lines(query, start_ns, now_ns()).await?;
    Ok(found.into_iter().map(|line| line.text).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_are_hidden_at_once_and_then_leave_the_disk() -> anyhow::Result<()> {
    let site = Site::start(&[
        ("SKALD_COMPACTOR_REMOVED_DELAY", "1s"),
        // The log has the lines too, until what it covers is flushed.
        ("SKALD_INGESTER_FLUSH_INTERVAL", "1s"),
        // What is not stored yet has to be until then, on a busy machine too.
        ("SKALD_COMPACTOR_DELETE_SETTLE", "10s"),
    ])
    .await?;
    let (api, start_ns) = (site.api(), now_ns() - 600 * SECOND_NS);
    let of_web = ["first", "TOPSECRET-1", "last"];
    site.store(&app("web"), &lines(&of_web, start_ns)).await?;
    site.store(&app("gone"), &lines(&["TOPSECRET-2"], start_ns))
        .await?;
    // Not stored yet.
    let recent = lines(&["TOPSECRET-3", "recent"], start_ns + 60 * SECOND_NS);
    ensure!(api.push(&app("web"), &recent).await?.0 == 204);

    // The request itself stays on the disk, so it does not say the word.
    delete(
        &api,
        r#"{app="web"} |~ "TOP.ECRET""#,
        start_ns - SECOND_NS,
        now_ns(),
    )
    .await?;
    delete(&api, r#"{app=~"gone|"}"#, start_ns - SECOND_NS, now_ns()).await?;
    let wanted = ["first", "last", "recent"];
    let check = |api: Api| async move {
        assert_eq!(texts(&api, r#"{app=~".+"}"#, start_ns).await?, wanted);
        let counting = r#"sum(count_over_time({app=~".+"}[1h]))"#;
        assert_eq!(api.instant(counting, now_ns()).await?, 3.0);
        let apps = api.json("/loki/api/v1/label/app/values", &[]).await?;
        assert_eq!(apps["data"].to_string(), r#"["web"]"#);
        anyhow::Ok(())
    };
    check(api.clone()).await?;
    assert!(site.has_on_disk("TOPSECRET")?);

    tests::wait_for("clean files", PATIENCE, || {
        let clean = matches!(site.has_on_disk("TOPSECRET"), Ok(false));
        async move { clean.then_some(()) }
    })
    .await?;
    tests::wait_for("processed requests", PATIENCE, || async {
        let statuses = statuses(&api).await.ok()?;
        (statuses == ["processed", "processed"]).then_some(())
    })
    .await?;
    check(api).await?;
    let site = site.restarted().await?;
    check(site.api()).await?;
    assert!(!site.has_on_disk("TOPSECRET")?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_cancelled_brings_its_lines_back() -> anyhow::Result<()> {
    let site = Site::start(&[("SKALD_COMPACTOR_DELETE_REQUEST_CANCEL_PERIOD", "1h")]).await?;
    let (api, start_ns) = (site.api(), now_ns() - 600 * SECOND_NS);
    site.store(&app("web"), &lines(&["one", "two"], start_ns))
        .await?;
    delete(
        &api,
        r#"{app="web"} |= "one""#,
        start_ns - SECOND_NS,
        now_ns(),
    )
    .await?;
    assert_eq!(texts(&api, r#"{app="web"}"#, start_ns).await?, ["two"]);
    // A hidden stream does not come back with a restart.
    let site = site.restarted().await?;
    let api = site.api();
    assert_eq!(texts(&api, r#"{app="web"}"#, start_ns).await?, ["two"]);
    let listed = api.json(DELETE, &[]).await?;
    let id = listed[0]["request_id"]
        .as_str()
        .context("no id")?
        .to_owned();
    let (status, body) = api.delete(&format!("{DELETE}?request_id={id}")).await?;
    assert_eq!((status, body.as_str()), (204, ""));
    assert_eq!(
        texts(&api, r#"{app="web"}"#, start_ns).await?,
        ["one", "two"]
    );
    Ok(())
}
