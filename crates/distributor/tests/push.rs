//! Pushes as clients send them, in front of ingesters that do as they are told.

#![allow(clippy::unwrap_used, reason = "a test that fails stops")]

mod support;

use std::io::Write;
use std::sync::Arc;

use distributor::Config;
use model::units::ByteSize;
use model::{Code, Limits, PolicyStreams};
use prost::Message;
use proto::logproto::{EntryAdapter, PushRequest, StreamAdapter, Timestamp};
use proto::role::{Push, RefusalReason};
use support::{Behaviour, Endpoint, Fakes, NOW_NS, Row, any_age};
use tokio::sync::Semaphore;

const PATH: &str = "/loki/api/v1/push";
const JSON: (&str, &str) = ("Content-Type", "application/json");
const PROTOBUF: (&str, &str) = ("Content-Type", "application/x-protobuf");

/// Headers and body of a request.
type Post<'a> = (&'a [(&'a str, &'a str)], Vec<u8>);

/// Limits under which rows are stored as they were pushed.
fn plain() -> Limits {
    Limits {
        discover_service_name: Vec::new(),
        discover_log_levels: false,
        ..any_age()
    }
}

fn stored(stream: &str, time_ns: i64, line: &str) -> Row {
    (stream.to_owned(), time_ns, line.to_owned(), "{}".to_owned())
}

/// A JSON push of one stream with these lines, a nanosecond apart.
fn json(labels: &str, lines: &[&str]) -> String {
    let values: Vec<_> = lines
        .iter()
        .zip(NOW_NS..)
        .map(|(line, time_ns)| format!(r#"["{time_ns}","{line}"]"#))
        .collect();
    format!(
        r#"{{"streams":[{{"stream":{labels},"values":[{}]}}]}}"#,
        values.join(",")
    )
}

fn protobuf(labels: &str, lines: &[&str]) -> Vec<u8> {
    let entry = |(line, time_ns): (&&str, i64)| EntryAdapter {
        timestamp: Some(Timestamp {
            seconds: time_ns / 1_000_000_000,
            nanos: (time_ns % 1_000_000_000) as i32,
        }),
        line: line.as_bytes().to_vec().into(),
        ..EntryAdapter::default()
    };
    let stream = StreamAdapter {
        labels: labels.to_owned(),
        entries: lines.iter().zip(NOW_NS..).map(entry).collect(),
        hash: 0,
    };
    let request = PushRequest {
        streams: vec![stream],
        ..PushRequest::default()
    };
    request.encode_to_vec()
}

fn snappy(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn every_format_and_encoding_stores_the_same() {
    let body = json(r#"{"app":"web"}"#, &["one", "two"]);
    let wire = protobuf(r#"{app="web"}"#, &["one", "two"]);
    let zstd = zstd::encode_all(body.as_bytes(), 1).unwrap();
    let pushes: [Post<'_>; 6] = [
        (&[JSON], body.clone().into_bytes()),
        (&[JSON, ("Content-Encoding", "gzip")], gzip(body.as_bytes())),
        (
            &[JSON, ("Content-Encoding", "deflate")],
            deflate(body.as_bytes()),
        ),
        (
            &[JSON, ("Content-Encoding", "snappy")],
            snappy(body.as_bytes()),
        ),
        (&[JSON, ("Content-Encoding", "zstd")], zstd),
        (&[PROTOBUF], snappy(&wire)),
    ];
    for (headers, body) in pushes {
        let endpoint = Endpoint::new(plain());
        let answer = endpoint.post(PATH, headers, body).await;
        assert_eq!(
            (answer.status, answer.text()),
            (204, String::new()),
            "{headers:?}"
        );
        let expected = [
            stored(r#"{app="web"}"#, NOW_NS, "one"),
            stored(r#"{app="web"}"#, NOW_NS + 1, "two"),
        ];
        assert_eq!(endpoint.fakes.rows(), expected, "{headers:?}");
    }
}

/// The lines of a push, as they lie in the body that came with it.
fn received_lines(push: &Push) -> Option<Vec<Vec<u8>>> {
    let received = push.received.as_ref()?;
    let raw = snap::raw::Decoder::new().decompress_vec(&received.snappy);
    let raw = raw.unwrap();
    assert_eq!(received.raw_len, raw.len());
    assert_eq!(received.line_starts.len(), push.streams.len());
    let lines = push.streams.iter().zip(&received.line_starts);
    let lines = lines.flat_map(|(batch, starts)| {
        assert_eq!(batch.entries.len(), starts.len());
        let rows = batch.entries.iter().zip(starts);
        rows.map(|(row, start)| raw[*start as usize..][..row.line.len()].to_vec())
    });
    Some(lines.collect())
}

#[tokio::test]
async fn ingesters_get_the_body_that_all_their_lines_are_in() {
    let limits = Limits {
        max_line_size: ByteSize(8),
        ..any_age()
    };
    let lines = ["first", "", "much longer than that", "last"];
    let wire = protobuf(r#"{app="web"}"#, &lines);
    let config = Config::default();
    let sent = async |limits: &Limits, header, body: Vec<u8>, config: &Config| {
        let endpoint = Endpoint::with(Fakes::new(1, 1), config, limits.clone());
        endpoint.post(PATH, &[header], body).await;
        let pushes = endpoint.fakes.pushes();
        pushes.iter().map(received_lines).collect::<Vec<_>>()
    };
    let taken = ["first", "", "last"].map(|line| line.as_bytes().to_vec());
    let lines_of = sent(&limits, PROTOBUF, snappy(&wire), &config).await;
    assert_eq!(lines_of, [Some(taken.to_vec())], "a line was refused");
    let cuts = Limits {
        max_line_size_truncate: true,
        ..limits.clone()
    };
    let lines_of = sent(&cuts, PROTOBUF, snappy(&wire), &config).await;
    assert_eq!(lines_of, [None], "a line was changed");
    let body = json(r#"{"app":"web"}"#, &lines).into_bytes();
    assert_eq!(sent(&limits, JSON, body, &config).await, [None]);
    let small = Config {
        ingester_batch_size: ByteSize(4),
        ..config
    };
    let lines_of = sent(&limits, PROTOBUF, snappy(&wire), &small).await;
    assert_eq!(lines_of, [None, None], "each has a part");
}

#[tokio::test]
async fn structured_metadata_stays_with_its_row() {
    let endpoint = Endpoint::new(plain());
    let body = format!(
        r#"{{"streams":[{{"stream":{{"app":"web"}},"values":[["{NOW_NS}","x",{{"trace":"7"}}]]}}]}}"#
    );
    assert_eq!(endpoint.post_json(body).await.status, 204);
    let [(_, _, _, metadata)] = endpoint.fakes.rows().try_into().unwrap();
    assert_eq!(metadata, r#"{trace="7"}"#);
}

#[tokio::test]
async fn otlp_resources_become_labels() {
    let endpoint = Endpoint::new(any_age());
    let body = format!(
        r#"{{"resourceLogs":[{{"resource":{{"attributes":[{{"key":"service.name",
        "value":{{"stringValue":"shop"}}}}]}},"scopeLogs":[{{"logRecords":[{{
        "timeUnixNano":"{NOW_NS}","body":{{"stringValue":"sold"}},"severityText":"INFO"}}]}}]}}]}}"#
    );
    let answer = endpoint.post("/otlp/v1/logs", &[JSON], body).await;
    assert!(
        answer.status / 100 == 2,
        "{} {}",
        answer.status,
        answer.text()
    );
    let [(stream, time_ns, line, metadata)] = endpoint.fakes.rows().try_into().unwrap();
    assert_eq!(
        (stream.as_str(), time_ns, line.as_str()),
        (r#"{service_name="shop"}"#, NOW_NS, "sold")
    );
    assert!(metadata.contains("severity_text"), "{metadata}");
}

#[tokio::test]
async fn otlp_records_without_any_time_are_of_now() {
    let endpoint = Endpoint::new(plain());
    let record = |times: &str| {
        format!(
            r#"{{"resourceLogs":[{{"resource":{{"attributes":[{{"key":"service.name",
            "value":{{"stringValue":"shop"}}}}]}},"scopeLogs":[{{"logRecords":[
            {{{times}"body":{{"stringValue":"x"}}}}]}}]}}]}}"#
        )
    };
    let observed = format!(
        r#""timeUnixNano":"0","observedTimeUnixNano":"{}","#,
        NOW_NS - 7
    );
    for body in [record(""), record(&observed)] {
        let answer = endpoint.post("/otlp/v1/logs", &[JSON], body).await;
        assert_eq!(answer.status / 100, 2, "{}", answer.text());
    }
    let times: Vec<i64> = endpoint.fakes.rows().into_iter().map(|row| row.1).collect();
    assert_eq!(times, [NOW_NS, NOW_NS - 7]);
}

#[tokio::test]
async fn a_resource_is_looked_at_when_it_has_a_record() {
    let endpoint = Endpoint::new(plain());
    let body = |records: &str| {
        format!(
            r#"{{"resourceLogs":[{{"resource":{{"attributes":[{{"key":"","value":{{"stringValue":"x"}}}}]}},
            "scopeLogs":[{{"logRecords":[{records}]}}]}}]}}"#
        )
    };
    for (records, status, text) in [
        ("", 422, "at least one valid stream is required"),
        ("{}", 400, "symbolizer lookup: label name is empty"),
    ] {
        let answer = endpoint.post("/otlp/v1/logs", &[JSON], body(records)).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(answer.text().contains(text), "{}", answer.text());
    }
}

#[tokio::test]
async fn json_is_taken_as_loki_takes_it() {
    let row = format!(r#"["{NOW_NS}","l"]"#);
    for (values, count) in [
        ("null".to_owned(), 0),
        (format!("[null,{row}]"), 1),
        (format!("[{row},null]"), 1),
    ] {
        let endpoint = Endpoint::new(plain());
        let body = format!(r#"{{"streams":[{{"stream":{{"app":"web"}},"values":{values}}}]}}"#);
        assert_eq!(endpoint.post_json(body.clone()).await.status, 204, "{body}");
        assert_eq!(endpoint.fakes.rows().len(), count, "{body}");
    }
    // Bytes that are no text.
    let endpoint = Endpoint::new(plain());
    let mut body = json(r#"{"app":"web"}"#, &["caf#"]).into_bytes();
    let at = body.iter().position(|byte| *byte == b'#').unwrap();
    body[at] = 0xe9;
    let answer = endpoint.post(PATH, &[JSON], body).await;
    assert_eq!(answer.status, 204, "{}", answer.text());
    let expected = [stored(r#"{app="web"}"#, NOW_NS, "caf\u{fffd}")];
    assert_eq!(endpoint.fakes.rows(), expected);
}

#[tokio::test]
async fn encodings_that_are_not_known_are_refused_before_all_else() {
    let endpoint = Endpoint::new(plain());
    for kind in [
        JSON,
        PROTOBUF,
        ("Content-Type", ""),
        ("Content-Type", "text/plain"),
    ] {
        for encoding in ["identity", "br", "GZIP"] {
            let headers = [kind, ("Content-Encoding", encoding)];
            let answer = endpoint.post(PATH, &headers, "x").await;
            let text = format!("Content-Encoding \"{encoding}\" not supported");
            assert_eq!((answer.status, answer.text()), (400, text), "{headers:?}");
        }
    }
}

#[tokio::test]
async fn a_refused_line_refuses_only_itself() {
    let limits = Limits {
        max_line_size: ByteSize(10),
        ..plain()
    };
    let endpoint = Endpoint::new(limits);
    let lines = ["short", "much longer than ten", "short too"];
    let answer = endpoint.post_json(json(r#"{"app":"web"}"#, &lines)).await;
    assert_eq!(answer.status, 400);
    assert!(
        answer.text().contains("max entry size"),
        "{}",
        answer.text()
    );
    let kept: Vec<_> = endpoint.fakes.rows().into_iter().map(|row| row.2).collect();
    assert_eq!(kept, ["short", "short too"]);
}

#[tokio::test]
async fn tenants_and_policies_are_blocked_and_the_limit_is_named() {
    let until = "2200-01-01T00:00:00Z".to_owned();
    let limits = Limits {
        block_ingestion_until: Some(until.clone()),
        ..plain()
    };
    let text = "ingestion blocked for user 't' until '2200-01-01T00:00:00Z' with status code '260'";
    let answer = Endpoint::new(limits);
    let answer = answer.post_json(json(r#"{"app":"web"}"#, &["x"])).await;
    assert_eq!((answer.status, answer.text().as_str()), (260, text));
    assert_eq!(
        answer.limit,
        "block_ingestion_until=2200-01-01T00:00:00Z; tenant=t"
    );
    let streams = PolicyStreams {
        selector: r#"{app="web"}"#.to_owned(),
        priority: 1,
    };
    let mut limits = Limits {
        policy_stream_mapping: [("p".to_owned(), vec![streams])].into(),
        policy_enforced_labels: [("p".to_owned(), vec!["team".to_owned()])].into(),
        block_ingestion_policy_until: [("p".to_owned(), until)].into(),
        ..plain()
    };
    let endpoint = Endpoint::new(limits.clone());
    let missing = endpoint.post_json(json(r#"{"app":"web"}"#, &["x"])).await;
    assert_eq!(
        (missing.status, missing.text().as_str()),
        (
            400,
            r#"missing required labels 'team' for user 't' for stream '{app="web"}' (policy: 'p')"#
        )
    );
    assert_eq!(missing.limit, "policy_enforced_labels=p:team; tenant=t");
    let of_policy = json(r#"{"app":"web","team":"a"}"#, &["x"]);
    let blocked = endpoint.post_json(of_policy.clone()).await;
    assert_eq!((blocked.status, blocked.text().as_str()), (260, text));
    assert_eq!(
        blocked.limit,
        "block_ingestion_policy_until=p:2200-01-01T00:00:00Z; tenant=t"
    );
    let other = endpoint.post_json(json(r#"{"app":"db"}"#, &["x"])).await;
    assert_eq!(other.status, 204);
    assert_eq!(endpoint.fakes.rows().len(), 1);
    limits.block_ingestion_status_code = 200;
    let silent = Endpoint::new(limits);
    assert_eq!(silent.post_json(of_policy).await.status, 204);
    assert_eq!(silent.fakes.rows().len(), 0);
}

#[tokio::test]
async fn what_an_ingester_refuses_is_told() {
    let endpoint = Endpoint::new(plain());
    let reason = RefusalReason::OutOfOrder { newest_ns: NOW_NS };
    endpoint.fakes.tell("i0", Behaviour::Refuse(reason));
    let answer = endpoint
        .post_json(json(r#"{"app":"web"}"#, &["bad 1", "good"]))
        .await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("out of order"), "{}", answer.text());
    let answer = endpoint
        .post_json(json(r#"{"app":"web"}"#, &["good"]))
        .await;
    assert_eq!(answer.status, 204);
}

#[tokio::test]
async fn what_may_repeat_and_is_too_old_is_passed_over() {
    let endpoint = Endpoint::new(plain());
    let push = async |may_repeat: &str, lines: &[&str]| {
        let headers = [
            ("Content-Type", "application/json"),
            ("X-Skald-May-Repeat", may_repeat),
        ];
        let body = json(r#"{"app":"web"}"#, lines);
        endpoint.post("/loki/api/v1/push", &headers, body).await
    };
    for reason in [
        RefusalReason::OutOfOrder { newest_ns: NOW_NS },
        RefusalReason::TooFarBehind { newest_ns: NOW_NS },
    ] {
        endpoint.fakes.tell("i0", Behaviour::Refuse(reason));
        assert_eq!(push("true", &["bad 1", "good"]).await.status, 204);
        assert_eq!(push("false", &["bad 1", "good"]).await.status, 400);
    }
    // What is refused for another reason is told.
    let reason = RefusalReason::StreamRateLimit { limit: 1 };
    endpoint.fakes.tell("i0", Behaviour::Refuse(reason));
    assert_eq!(push("true", &["bad 1"]).await.status, 429);
}

#[tokio::test]
async fn a_quorum_of_replicas_is_enough_and_less_is_not() {
    let fakes = Fakes::new(3, 3);
    let endpoint = Endpoint::with(Arc::clone(&fakes), &Config::default(), plain());
    let push = || endpoint.post_json(json(r#"{"app":"web"}"#, &["x"]));
    assert_eq!(push().await.status, 204);
    fakes.tell("i0", Behaviour::Fail(Code::Unavailable));
    assert_eq!(push().await.status, 204);
    fakes.tell("i1", Behaviour::Fail(Code::Unavailable));
    let answer = push().await;
    assert!(answer.status >= 500, "{} {}", answer.status, answer.text());
}

#[tokio::test]
async fn a_slow_replica_is_not_waited_for_and_gets_its_rows() {
    let fakes = Fakes::new(3, 3);
    let endpoint = Endpoint::with(Arc::clone(&fakes), &Config::default(), plain());
    let permits = Arc::new(Semaphore::new(0));
    fakes.tell("i2", Behaviour::Wait(Arc::clone(&permits)));
    let answer = endpoint.post_json(json(r#"{"app":"web"}"#, &["x"])).await;
    assert_eq!(answer.status, 204);
    assert!(fakes.rows_of("i2").is_empty());
    permits.add_permits(1);
    while fakes.rows_of("i2").is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn bombs_and_lies_cost_nothing() {
    let config = Config {
        max_decompressed_size: ByteSize::kib(64),
        max_recv_msg_size: ByteSize::kib(64),
        ..Config::default()
    };
    let endpoint = Endpoint::with(Fakes::new(1, 1), &config, plain());
    let zeros = vec![b' '; 8 << 20];
    // A block of snappy that claims 4 GiB.
    let lie = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00, 0x00];
    let pushes: [Post<'_>; 4] = [
        (&[JSON, ("Content-Encoding", "gzip")], gzip(&zeros)),
        (
            &[JSON, ("Content-Encoding", "zstd")],
            zstd::encode_all(&zeros[..], 1).unwrap(),
        ),
        (&[PROTOBUF], lie.to_vec()),
        (&[JSON], zeros[..100 << 10].to_vec()),
    ];
    for (headers, body) in pushes {
        let answer = endpoint.post(PATH, headers, body).await;
        assert!(
            (400..500).contains(&answer.status),
            "{headers:?}: {}",
            answer.status
        );
        assert!(!answer.text().is_empty());
    }
    assert_eq!(endpoint.fakes.pushes_of("i0"), 0);
    let large = endpoint.post(PATH, &[JSON], vec![b' '; 65 << 10]).await;
    assert_eq!(large.status, 413);
    assert_eq!(large.limit, "distributor.max_recv_msg_size=65536");
}

#[tokio::test]
async fn bodies_that_cannot_be_decoded_store_nothing_and_say_why() {
    let endpoint = Endpoint::new(plain());
    let deep = format!(r#"{{"streams":{}"#, "[".repeat(100_000));
    let pushes: [Post<'_>; 8] = [
        (&[JSON], b"{".to_vec()),
        (&[JSON], b"[]".to_vec()),
        (&[JSON], b"\xff\xfe".to_vec()),
        (&[JSON], deep.into_bytes()),
        (&[JSON, ("Content-Encoding", "gzip")], b"not gzip".to_vec()),
        (&[JSON, ("Content-Encoding", "br")], b"{}".to_vec()),
        (&[PROTOBUF], b"not snappy".to_vec()),
        (&[PROTOBUF], snappy(b"not protobuf")),
    ];
    for (headers, body) in pushes {
        let shown = String::from_utf8_lossy(&body[..body.len().min(20)]).into_owned();
        let answer = endpoint.post(PATH, headers, body).await;
        assert!(
            (400..500).contains(&answer.status),
            "{shown}: {}",
            answer.status
        );
        assert!(!answer.text().is_empty(), "{shown}");
    }
    assert_eq!(endpoint.fakes.pushes_of("i0"), 0);
}
