//! Limits of tenants: rates, streams, sizes, each with Loki's status and words.

use tests::lines;
use tests::server::Server;

use crate::{labels, line, texts};

#[tokio::test]
async fn rates_are_token_buckets() -> anyhow::Result<()> {
    let server = Server::start(&[
        ("SKALD_LIMITS_INGESTION_RATE_MB", "0.001"),
        ("SKALD_LIMITS_INGESTION_BURST_SIZE_MB", "0.01"),
    ])
    .await?;
    let (api, now_ns) = (server.api(), lines::now_ns());
    let app = labels(&[("app", "rate")]);
    let burst = "x".repeat(9_000);
    assert_eq!(api.push(&app, &[line(now_ns, &burst)]).await?.0, 204);
    let (status, text) = api.push(&app, &[line(now_ns + 1, &burst)]).await?;
    assert_eq!(status, 429, "{text}");
    assert!(
        text.starts_with(
            "ingestion rate limit exceeded for user fake (limit: 1048 bytes/sec) while attempting \
             to ingest '1' lines totaling '9000' bytes"
        ),
        "{text}"
    );
    Ok(())
}

#[tokio::test]
async fn a_stream_has_a_rate_of_its_own() -> anyhow::Result<()> {
    let server = Server::start(&[
        ("SKALD_LIMITS_PER_STREAM_RATE_LIMIT", "100B"),
        ("SKALD_LIMITS_PER_STREAM_RATE_LIMIT_BURST", "1000B"),
    ])
    .await?;
    let (api, now_ns) = (server.api(), lines::now_ns());
    let app = labels(&[("app", "a")]);
    let text = "x".repeat(900);
    assert_eq!(api.push(&app, &[line(now_ns, &text)]).await?.0, 204);
    let (status, why) = api.push(&app, &[line(now_ns + 1, &text)]).await?;
    assert_eq!(status, 429, "{why}");
    assert!(
        why.contains("Per stream rate limit exceeded (limit: 100B/sec)"),
        "{why}"
    );
    // The others are not concerned.
    let other = labels(&[("app", "b")]);
    assert_eq!(api.push(&other, &[line(now_ns, &text)]).await?.0, 204);
    Ok(())
}

#[tokio::test]
async fn the_number_of_streams_is_limited() -> anyhow::Result<()> {
    let server = Server::start(&[("SKALD_LIMITS_MAX_GLOBAL_STREAMS_PER_USER", "2")]).await?;
    let (api, now_ns) = (server.api(), lines::now_ns());
    for app in ["a", "b"] {
        let labels = labels(&[("app", app)]);
        assert_eq!(api.push(&labels, &[line(now_ns, "x")]).await?.0, 204);
    }
    let third = labels(&[("app", "c")]);
    let (status, text) = api.push(&third, &[line(now_ns, "x")]).await?;
    assert_eq!(status, 429, "{text}");
    assert!(
        text.starts_with("maximum active stream limit exceeded when trying to create stream"),
        "{text}"
    );
    // Streams that exist go on.
    let first = labels(&[("app", "a")]);
    assert_eq!(api.push(&first, &[line(now_ns + 1, "y")]).await?.0, 204);
    assert_eq!(texts(&api, r#"{app=~".+"}"#, now_ns).await?.len(), 3);
    Ok(())
}

#[tokio::test]
async fn long_lines_are_cut_where_the_tenant_wants_it() -> anyhow::Result<()> {
    let server = Server::start(&[
        ("SKALD_LIMITS_MAX_LINE_SIZE", "20B"),
        ("SKALD_LIMITS_MAX_LINE_SIZE_TRUNCATE", "true"),
        ("SKALD_LIMITS_MAX_LINE_SIZE_TRUNCATE_IDENTIFIER", "[cut]"),
    ])
    .await?;
    let (api, now_ns) = (server.api(), lines::now_ns());
    let app = labels(&[("app", "cut")]);
    let answer = api.push(&app, &[line(now_ns, &"x".repeat(30))]).await?;
    assert_eq!(answer.0, 204, "{}", answer.1);
    assert_eq!(
        texts(&api, r#"{app="cut"}"#, now_ns).await?,
        [format!("{}[cut]", "x".repeat(15))]
    );
    Ok(())
}

#[tokio::test]
async fn labels_are_limited() -> anyhow::Result<()> {
    let server = Server::start(&[
        ("SKALD_LIMITS_MAX_LABEL_NAMES_PER_SERIES", "2"),
        ("SKALD_LIMITS_MAX_LABEL_NAME_LENGTH", "12"),
        ("SKALD_LIMITS_MAX_LABEL_VALUE_LENGTH", "8"),
    ])
    .await?;
    let (api, now_ns) = (server.api(), lines::now_ns());
    for (pairs, part) in [
        (
            &[("a", "1"), ("b", "2"), ("c", "3")][..],
            "has 3 label names; limit 2",
        ),
        (
            &[("abcdefghijklm", "1")],
            "has label name too long: 'abcdefghijklm'",
        ),
        (
            &[("a", "123456789")],
            "has label value too long: '123456789'",
        ),
        (&[("a-b", "1")], "couldn't parse labels: 1:"),
    ] {
        let (status, text) = api.push(&labels(pairs), &[line(now_ns, "x")]).await?;
        assert_eq!(status, 400, "{pairs:?}: {text}");
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
    let (_, names) = api.get("/loki/api/v1/labels", &[]).await?;
    assert_eq!(names, r#"{"status":"success"}"#);
    Ok(())
}

#[tokio::test]
async fn ingestion_can_be_blocked() -> anyhow::Result<()> {
    let until = "2099-01-01T00:00:00Z";
    let server = Server::start(&[("SKALD_LIMITS_BLOCK_INGESTION_UNTIL", until)]).await?;
    let (api, now_ns) = (server.api(), lines::now_ns());
    let app = labels(&[("app", "blocked")]);
    let (status, text) = api.push(&app, &[line(now_ns, "x")]).await?;
    let expected = "ingestion blocked for user 'fake' until '2099-01-01T00:00:00Z' with status \
                    code '260'\n";
    assert_eq!((status, text.as_str()), (260, expected));
    assert!(texts(&api, r#"{app="blocked"}"#, now_ns).await?.is_empty());
    Ok(())
}
