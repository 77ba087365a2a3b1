//! Bodies of pushes that are not what they say.

use serde_json::json;
use tests::api::PUSH;
use tests::encode;
use tests::lines::{self, SECOND_NS};

use crate::{Siege, assert_refused};

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/x-protobuf";
const OTLP: &str = "/otlp/v1/logs";
const LEGACY: &str = "/api/prom/push";

/// A push of one line, in JSON.
fn good(text: &str) -> Vec<u8> {
    let value = json!([lines::now_ns().to_string(), text]);
    let body = json!({"streams": [{"stream": {"app": "bad"}, "values": [value]}]});
    body.to_string().into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_json_is_refused() -> anyhow::Result<()> {
    let siege = Siege::start().await?;
    let api = siege.api();
    let deep = |open: &str| open.repeat(100_000).into_bytes();
    let mut not_utf8 = good("xx");
    let at = not_utf8.windows(2).position(|pair| pair == b"xx");
    not_utf8[at.unwrap_or_default()] = 0xff;
    let cut = good("some line");
    let cut = cut[..cut.len() - 9].to_vec();
    for (what, body) in [
        ("nothing", Vec::new()),
        ("no JSON", b"hello".to_vec()),
        ("cut off", cut),
        ("deep arrays", deep("[")),
        ("deep objects", deep(r#"{"streams":"#)),
        ("no list", br#"{"streams":7}"#.to_vec()),
        (
            "labels are no object",
            br#"{"streams":[{"stream":[],"values":[]}]}"#.to_vec(),
        ),
        (
            "a label is no text",
            br#"{"streams":[{"stream":{"a":1},"values":[["1","x"]]}]}"#.to_vec(),
        ),
        (
            "the time is no number",
            br#"{"streams":[{"stream":{"a":"b"},"values":[["noon","x"]]}]}"#.to_vec(),
        ),
        (
            "the time does not fit",
            br#"{"streams":[{"stream":{"a":"b"},"values":[["99999999999999999999","x"]]}]}"#
                .to_vec(),
        ),
        (
            "the line is missing",
            br#"{"streams":[{"stream":{"a":"b"},"values":[["1"]]}]}"#.to_vec(),
        ),
        (
            "metadata are a list",
            br#"{"streams":[{"stream":{"a":"b"},"values":[["1","x",["y"]]]}]}"#.to_vec(),
        ),
        (
            "half of a surrogate pair in a label",
            br#"{"streams":[{"stream":{"a-\ud800":"b"},"values":[["1","x"]]}]}"#.to_vec(),
        ),
    ] {
        let answer = api.post(PUSH, JSON, &[], body).await?;
        assert_refused(what, &answer, "");
        assert!(answer.1.trim().len() > 2, "{what}: {answer:?}");
    }
    // JSON is UTF-8; what is not is replaced or refused, and nothing breaks.
    let (status, text) = api.post(PUSH, JSON, &[], not_utf8).await?;
    assert!(status == 204 || status == 400, "{status} {text}");
    for (path, body) in [
        (LEGACY, "{"),
        (LEGACY, r#"{"streams":[{"labels":"{a=","entries":[]}]}"#),
        (
            LEGACY,
            r#"{"streams":[{"labels":"{a=\"b\"}","entries":[{"ts":"noon","line":"x"}]}]}"#,
        ),
        (OTLP, "{"),
        (OTLP, "[]"),
        (OTLP, r#"{"resourceLogs":7}"#),
    ] {
        let answer = api.post(path, JSON, &[], body.into()).await?;
        assert_refused(body, &answer, "");
        assert!(answer.1.trim().len() > 2, "{body}: {answer:?}");
    }
    let answer = api.post(OTLP, JSON, &[], deep("[")).await?;
    assert_refused("deep OTLP", &answer, "");
    siege.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_protobuf_and_lying_lengths_are_refused() -> anyhow::Result<()> {
    let siege = Siege::start().await?;
    let api = siege.api();
    let line = lines::line(0, 0, lines::now_ns());
    let message = encode::protobuf(r#"{app="bad"}"#, std::slice::from_ref(&line), &[]);
    let packed = encode::snappy(&message)?;
    let corrupt = "snappy: corrupt input";
    // A header that promises 4 GiB, and one that promises a byte more than there is.
    let vast = [&[0xff, 0xff, 0xff, 0xff, 0x0f][..], &packed[1..]].concat();
    let mut longer = packed.clone();
    longer[0] += 1;
    for (what, body, part) in [
        ("not compressed", message.clone(), corrupt),
        ("nothing", Vec::new(), ""),
        ("vast", vast, corrupt),
        ("longer", longer, corrupt),
        ("cut off", packed[..packed.len() / 2].to_vec(), corrupt),
        ("no protobuf", encode::snappy(b"hello world")?, ""),
        // A stream of 2 GiB in a message of some bytes.
        (
            "a field that is longer than its message",
            encode::snappy(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0x07, 0x0a])?,
            "",
        ),
        (
            "labels that are not UTF-8",
            encode::snappy(&[0x0a, 0x04, 0x0a, 0x02, 0xff, 0xfe])?,
            "",
        ),
        (
            "labels that are none",
            encode::snappy(&encode::protobuf("{app=", std::slice::from_ref(&line), &[]))?,
            "couldn't parse labels: 1:",
        ),
    ] {
        let answer = api.post(PUSH, PROTOBUF, &[], body).await?;
        assert_refused(what, &answer, part);
        assert!(answer.1.trim().len() > 2, "{what}: {answer:?}");
    }
    for (what, body) in [
        ("no protobuf", b"hello world".to_vec()),
        (
            "lying length",
            vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x07, 0x0a],
        ),
        // Messages in messages, as values of values.
        ("deep", nested_otlp(10_000)),
    ] {
        let answer = api.post(OTLP, PROTOBUF, &[], body).await?;
        assert_refused(what, &answer, "");
    }
    siege.end().await
}

/// `depth` messages, each in field 1 of the one around it: far deeper than OTLP has levels.
fn nested_otlp(depth: usize) -> Vec<u8> {
    let mut message = Vec::new();
    for _ in 0..depth {
        let mut around = vec![0x0a];
        let mut len = message.len();
        while len >= 0x80 {
            around.push((len & 0x7f) as u8 | 0x80);
            len >>= 7;
        }
        around.push(len as u8);
        around.extend_from_slice(&message);
        message = around;
    }
    message
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn encodings_that_are_not_what_they_say_are_refused() -> anyhow::Result<()> {
    let siege = Siege::start().await?;
    let api = siege.api();
    let good = good("x");
    let (gzip, zstd) = (encode::gzip(&good)?, encode::zstd(&good)?);
    for (encoding, body, part) in [
        ("gzip", good.clone(), "gzip"),
        ("gzip", gzip[..gzip.len() - 4].to_vec(), "gzip"),
        ("gzip", zstd.clone(), "gzip"),
        ("deflate", good.clone(), ""),
        ("zstd", good.clone(), "zstd"),
        ("zstd", zstd[..zstd.len() - 2].to_vec(), "zstd"),
        ("br", good.clone(), "br"),
        ("identity", good.clone(), "identity"),
    ] {
        let headers = [("Content-Encoding", encoding)];
        let answer = api.post(PUSH, JSON, &headers, body).await?;
        assert_refused(encoding, &answer, part);
    }
    let answer = api.post(PUSH, "", &[], good.clone()).await?;
    assert_refused("no type", &answer, "media type");
    let answer = api.post(OTLP, "text/plain", &[], good.clone()).await?;
    assert_refused("OTLP as text", &answer, "text/plain");
    let headers = [("Content-Encoding", "br")];
    let answer = api.post(OTLP, JSON, &headers, good).await?;
    assert_refused("OTLP in br", &answer, "br");
    siege.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn absurd_times_are_refused() -> anyhow::Result<()> {
    let siege = Siege::start().await?;
    let api = siege.api();
    let day_ns = 24 * 3600 * SECOND_NS;
    for (timestamp_ns, part) in [
        (0, "timestamp too old"),
        (1, "timestamp too old"),
        (-1, "timestamp too old"),
        (i64::MIN, ""),
        (i64::MAX, "timestamp too new"),
        (lines::now_ns() + day_ns, "timestamp too new"),
        (lines::now_ns() - 8 * day_ns, "timestamp too old"),
    ] {
        let value = json!([timestamp_ns.to_string(), "x"]);
        let body = json!({"streams": [{"stream": {"app": "bad"}, "values": [value]}]});
        let body = body.to_string().into_bytes();
        let answer = api.post(PUSH, JSON, &[], body).await?;
        assert_refused(&timestamp_ns.to_string(), &answer, part);
    }
    siege.end().await
}
