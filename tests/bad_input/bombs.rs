//! Bodies that are large, or grow large.

use std::io::Read;

use tests::api::{Api, PUSH};
use tests::encode;

use crate::{BODY_MAX, Siege, assert_refused};

const JSON: &str = "application/json";
/// What bombs grow to: far more than a push may have.
const BOMB_BYTES: u64 = 256 << 20;

/// Many zeroes in few bytes.
fn zstd_bomb() -> anyhow::Result<Vec<u8>> {
    let zeroes = std::io::repeat(0).take(BOMB_BYTES);
    Ok(zstd::encode_all(zeroes, 1)?)
}

async fn push_encoded(api: &Api, encoding: &str, body: Vec<u8>) -> anyhow::Result<(u16, String)> {
    let headers = [("Content-Encoding", encoding)];
    api.post(PUSH, JSON, &headers, body).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decompression_bombs_are_cut_short() -> anyhow::Result<()> {
    let siege = Siege::start().await?;
    let api = siege.api();
    let limit = "max_decompressed_size";
    let zeroes = vec![0; 40 << 20];
    let zstd = zstd_bomb()?;
    assert!(zstd.len() < BODY_MAX / 100);
    for (encoding, body) in [
        ("zstd", zstd.clone()),
        ("gzip", encode::gzip(&zeroes)?),
        ("deflate", encode::deflate(&zeroes)?),
    ] {
        let answer = push_encoded(&api, encoding, body).await?;
        assert_eq!(answer.0, 413, "{encoding}: {}", answer.1);
        assert_refused(encoding, &answer, limit);
    }
    let snappy = encode::snappy(&zeroes)?;
    let answer = api
        .post(PUSH, "application/x-protobuf", &[], snappy)
        .await?;
    assert_refused("snappy", &answer, limit);
    let headers = [("Content-Encoding", "zstd")];
    let answer = api
        .post("/otlp/v1/logs", JSON, &headers, zstd.clone())
        .await?;
    assert_refused("OTLP", &answer, limit);

    // Many at once: those for which there is no memory are told to come again.
    let bombs = (0..12).map(|_| push_encoded(&api, "zstd", zstd.clone()));
    for answer in futures::future::join_all(bombs).await {
        let (status, text) = answer?;
        let known = [(413, limit), (503, "too many pushes at once")];
        assert!(
            known
                .iter()
                .any(|(code, part)| status == *code && text.contains(part)),
            "{status} {text}"
        );
    }
    siege.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_100_megabytes_are_refused() -> anyhow::Result<()> {
    let siege = Siege::start().await?;
    let api = siege.api();
    for path in [PUSH, "/otlp/v1/logs", "/api/prom/push"] {
        let answer = api.post(path, JSON, &[], vec![b' '; 100 << 20]).await?;
        assert_eq!(answer.0, 413, "{path}: {}", answer.1);
        assert_refused(path, &answer, "max_recv_msg_size");
    }
    // Endpoints that take no large body do not read one either.
    let form = "application/x-www-form-urlencoded";
    for path in [
        "/loki/api/v1/query_range",
        "/loki/api/v1/query",
        "/loki/api/v1/labels",
        "/loki/api/v1/series",
        "/loki/api/v1/index/stats",
        "/loki/api/v1/format_query",
        "/log_level",
    ] {
        let answer = api.post(path, form, &[], vec![b'a'; 100 << 20]).await?;
        assert_refused(path, &answer, "");
    }
    siege.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_line_of_many_megabytes_refuses_only_itself() -> anyhow::Result<()> {
    let siege = Siege::start().await?;
    let api = siege.api();
    let labels = tests::lines::labels("large", 0);
    let now_ns = tests::lines::now_ns();
    let line = |timestamp_ns, text| tests::api::Line { timestamp_ns, text };
    let lines = [
        line(now_ns, "before".to_owned()),
        line(now_ns + 1, "x".repeat(10 << 20)),
        line(now_ns + 2, "after".to_owned()),
    ];
    let answer = api.push(&labels, &lines).await?;
    assert_refused(
        "a long line",
        &answer,
        "max entry size '262144' bytes exceeded",
    );
    let found = api.lines(r#"{app="large"}"#, now_ns, now_ns + 10).await?;
    let texts: Vec<&str> = found.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(texts, ["before", "after"]);
    siege.end().await
}
