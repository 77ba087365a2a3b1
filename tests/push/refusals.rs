//! A refused line refuses only itself, and the answer says why.

use serde_json::json;
use tests::api::PUSH;
use tests::lines::{self, SECOND_NS};
use tests::server::Server;

use crate::{labels, line, texts};

const HOUR_NS: i64 = 3600 * SECOND_NS;

#[tokio::test]
async fn the_other_lines_of_a_push_are_stored() -> anyhow::Result<()> {
    let server = Server::start(&[("SKALD_LIMITS_MAX_LINE_SIZE", "64B")]).await?;
    let (api, now_ns) = (server.api(), lines::now_ns());
    let value = |timestamp_ns: i64, text: &str| json!([timestamp_ns.to_string(), text]);
    let too_long = "x".repeat(65);
    let body = json!({"streams": [
        {"stream": {"app": "mixed"}, "values": [
            value(now_ns - 200 * HOUR_NS, "too old"),
            value(now_ns, "first"),
            value(now_ns + 1, &too_long),
            value(now_ns + 2, "second"),
            value(now_ns + HOUR_NS, "too new"),
        ]},
        {"stream": {"app": "mixed", "long": "v".repeat(2049)}, "values": [
            value(now_ns, "label value too long"),
        ]},
        {"stream": {"app": "other"}, "values": [value(now_ns, "third")]},
    ]});
    let body = body.to_string().into_bytes();
    let (status, text) = api.post(PUSH, "application/json", &[], body).await?;
    assert_eq!(status, 400, "{text}");
    let stream = r#"'{app="mixed", service_name="mixed"}'"#;
    for part in [
        format!("entry for stream {stream} has timestamp too old: "),
        "oldest acceptable timestamp is: ".to_owned(),
        format!(
            "max entry size '64' bytes exceeded for stream {stream} while adding an entry with length '65' bytes"
        ),
        format!("entry for stream {stream} has timestamp too new: "),
        "has label value too long: ".to_owned(),
    ] {
        assert!(text.contains(&part), "{part} is missing in: {text}");
    }
    assert_eq!(
        texts(&api, r#"{app=~"mixed|other"}"#, now_ns).await?,
        ["first", "third", "second"]
    );
    Ok(())
}

#[tokio::test]
async fn older_than_the_newest_is_out_of_order_and_a_repetition_is_not() -> anyhow::Result<()> {
    let server = Server::start(&[]).await?;
    let (api, now_ns) = (server.api(), lines::now_ns());
    let app = labels(&[("app", "order")]);
    let batch = [line(now_ns + 10, "a"), line(now_ns + 20, "b")];
    assert_eq!(api.push(&app, &batch).await?.0, 204);
    // A client that heard no answer sends all of it again.
    assert_eq!(api.push(&app, &batch).await?.0, 204);
    // At the same time as the newest, another line is not late.
    assert_eq!(api.push(&app, &[line(now_ns + 20, "c")]).await?.0, 204);

    let mixed = [line(now_ns + 5, "late"), line(now_ns + 30, "d")];
    let (status, text) = api.push(&app, &mixed).await?;
    assert_eq!(status, 400, "{text}");
    for part in [
        "entry with timestamp ",
        "ignored, reason: 'entry out of order'",
        r#"total ignored: 1 out of 2 for stream: {app="order", service_name="order"}"#,
    ] {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
    let mut found = texts(&api, r#"{app="order"}"#, now_ns).await?;
    found.sort();
    assert_eq!(found, ["a", "b", "c", "d"]);
    Ok(())
}

#[tokio::test]
async fn within_the_window_late_lines_are_taken_and_put_in_order() -> anyhow::Result<()> {
    let server = Server::start(&[("SKALD_LIMITS_OUT_OF_ORDER_WINDOW", "1m")]).await?;
    let (api, now_ns) = (server.api(), lines::now_ns());
    let app = labels(&[("app", "window")]);
    assert_eq!(api.push(&app, &[line(now_ns, "newest")]).await?.0, 204);
    let late = [
        line(now_ns - 30 * SECOND_NS, "late"),
        line(now_ns - 50 * SECOND_NS, "later"),
    ];
    assert_eq!(api.push(&app, &late).await?.0, 204);
    let too_late = [line(now_ns - 61 * SECOND_NS, "too late")];
    let (status, text) = api.push(&app, &too_late).await?;
    assert_eq!(status, 400, "{text}");
    assert!(text.contains("entry too far behind"), "{text}");
    assert_eq!(
        texts(&api, r#"{app="window"}"#, now_ns).await?,
        ["later", "late", "newest"]
    );
    api.flush().await?;
    assert_eq!(
        texts(&api, r#"{app="window"}"#, now_ns).await?,
        ["later", "late", "newest"]
    );
    Ok(())
}

#[tokio::test]
async fn nothing_to_store_is_said_so() -> anyhow::Result<()> {
    let server = Server::start(&[]).await?;
    let api = server.api();
    let text = "error at least one valid stream is required for ingestion\n";
    for body in [r#"{"streams":[]}"#, "{}"] {
        let answer = api.post(PUSH, "application/json", &[], body.into()).await?;
        assert_eq!(answer, (422, text.to_owned()), "{body}");
    }
    Ok(())
}
