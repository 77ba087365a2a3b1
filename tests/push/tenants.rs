//! A tenant sees nothing of another.

use serde_json::json;
use tests::api::PUSH;
use tests::lines;
use tests::server::Server;

use crate::{labels, line, texts};

#[tokio::test]
async fn requests_must_say_whose_they_are() -> anyhow::Result<()> {
    let server = Server::start(&[("SKALD_AUTH_ENABLED", "true")]).await?;
    let (api, now_ns) = (server.api(), lines::now_ns());
    let app = labels(&[("app", "x")]);
    let refused = (401, "no org id\n".to_owned());
    assert_eq!(api.push(&app, &[line(now_ns, "x")]).await?, refused);
    for path in [
        "/loki/api/v1/query?query=vector(1)",
        "/loki/api/v1/query_range?query=%7Bapp%3D%22x%22%7D",
        "/loki/api/v1/labels",
        "/loki/api/v1/label/app/values",
        "/loki/api/v1/series",
        "/loki/api/v1/index/stats?query=%7Bapp%3D%22x%22%7D",
    ] {
        assert_eq!(api.get(path, &[]).await?, refused, "{path}");
    }
    let (status, _) = api.of_tenant("a/b").get("/loki/api/v1/labels", &[]).await?;
    assert_eq!(status, 400);
    // What belongs to nobody needs no name.
    for path in ["/ready", "/metrics", "/loki/api/v1/status/buildinfo"] {
        assert_eq!(api.get(path, &[]).await?.0, 200, "{path}");
    }
    Ok(())
}

#[tokio::test]
async fn tenants_see_their_own_lines_only() -> anyhow::Result<()> {
    let server = Server::start(&[("SKALD_AUTH_ENABLED", "true")]).await?;
    let now_ns = lines::now_ns();
    let app = labels(&[("app", "same")]);
    let tenants = ["a", "b"].map(|tenant| (tenant, server.api().of_tenant(tenant)));
    for (tenant, api) in &tenants {
        let text = format!("line of {tenant}");
        assert_eq!(api.push(&app, &[line(now_ns, &text)]).await?.0, 204);
    }
    let [(_, a), _] = &tenants;
    let own = labels(&[("app", "same"), ("only_a", "yes")]);
    assert_eq!(a.push(&own, &[line(now_ns + 1, "more of a")]).await?.0, 204);

    for flushed in [false, true] {
        for (tenant, api) in &tenants {
            let found = texts(api, r#"{app="same"}"#, now_ns).await?;
            let (expected, names) = match *tenant {
                "a" => (
                    vec!["line of a", "more of a"],
                    json!(["app", "only_a", "service_name"]),
                ),
                _ => (vec!["line of b"], json!(["app", "service_name"])),
            };
            assert_eq!(found, expected, "{tenant}, flushed: {flushed}");
            let answer = api.json("/loki/api/v1/labels", &[]).await?;
            assert_eq!(answer["data"], names, "{tenant}, flushed: {flushed}");
            let series = api
                .json("/loki/api/v1/series", &[("match[]", r#"{app="same"}"#)])
                .await?;
            let series = series["data"].as_array().map(Vec::len);
            assert_eq!(series, Some(expected.len()), "{tenant}");
            let counted = api
                .instant(r#"sum(count_over_time({app="same"}[1m]))"#, now_ns + 1_000)
                .await?;
            assert_eq!(counted, expected.len() as f64, "{tenant}");
        }
        if !flushed {
            a.flush().await?;
        }
    }
    let (_, nobody) = server
        .api()
        .of_tenant("c")
        .get("/loki/api/v1/labels", &[])
        .await?;
    assert_eq!(nobody, r#"{"status":"success"}"#);
    Ok(())
}

#[tokio::test]
async fn one_tenants_limits_are_not_anothers() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let overrides = directory.path().join("overrides.yaml");
    std::fs::write(&overrides, "overrides:\n  small:\n    max_line_size: 4B\n")?;
    let file = overrides.display().to_string();
    let server = Server::start(&[
        ("SKALD_AUTH_ENABLED", "true"),
        ("SKALD_RUNTIME_CONFIG_FILE", &file),
        ("SKALD_RUNTIME_CONFIG_PERIOD", "50ms"),
    ])
    .await?;
    let now_ns = lines::now_ns();
    let value = json!([now_ns.to_string(), "12345"]);
    let body = json!({"streams": [{"stream": {"app": "x"}, "values": [value]}]});
    let body = body.to_string().into_bytes();
    for (tenant, status) in [("small", 400), ("large", 204)] {
        let api = server.api().of_tenant(tenant);
        let answer = api
            .post(PUSH, "application/json", &[], body.clone())
            .await?;
        assert_eq!(answer.0, status, "{tenant}: {}", answer.1);
    }
    // The file is read again.
    std::fs::write(&overrides, "overrides:\n  small:\n    max_line_size: 5B\n")?;
    let small = server.api().of_tenant("small");
    tests::wait_for(
        "the new limit",
        std::time::Duration::from_secs(30),
        || async {
            let answer = small
                .post(PUSH, "application/json", &[], body.clone())
                .await
                .ok()?;
            (answer.0 == 204).then_some(())
        },
    )
    .await
}
