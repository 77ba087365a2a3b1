//! The formats of bodies and their encodings.

use serde_json::{Value, json};
use tests::api::{Api, PUSH, json_push};
use tests::encode;
use tests::lines::{self, SECOND_NS};
use tests::server::Server;

use crate::{labels, line, texts};

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/x-protobuf";

/// Pushes a body that must be stored.
async fn stored(
    api: &Api,
    path: &str,
    content_type: &str,
    encoding: &str,
    body: Vec<u8>,
) -> anyhow::Result<()> {
    let headers = [("Content-Encoding", encoding)];
    let headers = if encoding.is_empty() {
        &[]
    } else {
        &headers[..]
    };
    let (status, body) = api.post(path, content_type, headers, body).await?;
    assert_eq!(
        (status, body.as_str()),
        (204, ""),
        "{path} {content_type} {encoding}"
    );
    Ok(())
}

/// Labels and metadata of the one stream that a selector finds.
async fn stream(api: &Api, selector: &str, at_ns: i64) -> anyhow::Result<Value> {
    let (start, end) = (at_ns.to_string(), (at_ns + SECOND_NS).to_string());
    let params = [("query", selector), ("start", &start), ("end", &end)];
    let answer = api.json("/loki/api/v1/query_range", &params).await?;
    Ok(answer["data"]["result"][0]["stream"].clone())
}

#[tokio::test]
async fn json_in_every_encoding() -> anyhow::Result<()> {
    let server = Server::start(&[]).await?;
    let (api, now_ns) = (server.api(), lines::now_ns());
    let body = |encoding: &str| {
        json_push(
            &labels(&[("encoding", encoding)]),
            &[
                line(now_ns, "first"),
                line(now_ns + 1, "\u{fc}ber \"quoted\" \\ \t"),
                line(now_ns + 2, ""),
            ],
        )
    };
    stored(&api, PUSH, JSON, "", body("plain")).await?;
    stored(
        &api,
        PUSH,
        "application/json; charset=utf-8",
        "",
        body("charset"),
    )
    .await?;
    stored(&api, PUSH, JSON, "gzip", encode::gzip(&body("gzip"))?).await?;
    stored(
        &api,
        PUSH,
        JSON,
        "deflate",
        encode::deflate(&body("deflate"))?,
    )
    .await?;
    stored(&api, PUSH, JSON, "zstd", encode::zstd(&body("zstd"))?).await?;
    stored(&api, PUSH, JSON, "snappy", encode::snappy(&body("snappy"))?).await?;
    for encoding in ["plain", "charset", "gzip", "deflate", "zstd", "snappy"] {
        let selector = format!(r#"{{encoding="{encoding}"}}"#);
        assert_eq!(
            texts(&api, &selector, now_ns).await?,
            ["first", "\u{fc}ber \"quoted\" \\ \t", ""],
            "{encoding}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn protobuf_with_structured_metadata() -> anyhow::Result<()> {
    let server = Server::start(&[]).await?;
    let (api, now_ns) = (server.api(), lines::now_ns());
    let metadata = [("trace_id", "0af7651916cd43dd"), ("k8s.pod-name", "web-1")];
    let body = encode::protobuf(
        r#"{app="pb", env="test"}"#,
        &[line(now_ns, "level=warn hello")],
        &metadata,
    );
    stored(&api, PUSH, PROTOBUF, "", encode::snappy(&body)?).await?;
    let expected = json!({
        "app": "pb",
        "env": "test",
        "service_name": "pb",
        "detected_level": "warn",
        "trace_id": "0af7651916cd43dd",
        "k8s_pod_name": "web-1",
    });
    assert_eq!(stream(&api, r#"{app="pb"}"#, now_ns).await?, expected);
    let by_metadata = r#"{app="pb"} | trace_id="0af7651916cd43dd""#;
    assert_eq!(
        texts(&api, by_metadata, now_ns).await?,
        ["level=warn hello"]
    );
    Ok(())
}

#[tokio::test]
async fn json_with_structured_metadata() -> anyhow::Result<()> {
    let server = Server::start(&[]).await?;
    let (api, now_ns) = (server.api(), lines::now_ns());
    let value = json!([now_ns.to_string(), "x", {"user": "7"}]);
    let body = json!({"streams": [{"stream": {"app": "meta"}, "values": [value]}]});
    stored(&api, PUSH, JSON, "", body.to_string().into_bytes()).await?;
    let found = stream(&api, r#"{app="meta"} | user="7""#, now_ns).await?;
    assert_eq!(found["user"], "7");
    assert!(
        texts(&api, r#"{app="meta"} | user="8""#, now_ns)
            .await?
            .is_empty()
    );
    Ok(())
}

/// One record of OTLP.
fn otlp_request(service: &str, timestamp_ns: i64) -> Value {
    let text = |value: &str| json!({"stringValue": value});
    json!({"resourceLogs": [{
        "resource": {"attributes": [
            {"key": "service.name", "value": text(service)},
            {"key": "host.arch", "value": text("arm64")},
        ]},
        "scopeLogs": [{
            "scope": {"name": "orders"},
            "logRecords": [{
                "timeUnixNano": timestamp_ns.to_string(),
                "severityNumber": 17,
                "severityText": "ERROR",
                "body": text("order 7 failed"),
                "attributes": [{"key": "order.id", "value": text("7")}],
            }],
        }],
    }]})
}

#[tokio::test]
async fn otlp_as_json_and_protobuf_in_every_encoding() -> anyhow::Result<()> {
    let server = Server::start(&[]).await?;
    let (api, now_ns) = (server.api(), lines::now_ns());
    let path = "/otlp/v1/logs";
    let mut services = Vec::new();
    for encoding in ["", "gzip", "zstd"] {
        let encoded = |body: &[u8]| match encoding {
            "gzip" => encode::gzip(body),
            "zstd" => encode::zstd(body),
            _ => Ok(body.to_vec()),
        };
        let (by_json, by_protobuf) = (format!("json{encoding}"), format!("proto{encoding}"));
        let body = otlp_request(&by_json, now_ns).to_string();
        stored(&api, path, JSON, encoding, encoded(body.as_bytes())?).await?;
        let body = encode::otlp(&otlp_request(&by_protobuf, now_ns))?;
        stored(&api, path, PROTOBUF, encoding, encoded(&body)?).await?;
        services.extend([by_json, by_protobuf]);
    }
    for service in services {
        let selector = format!(r#"{{service_name="{service}"}}"#);
        assert_eq!(texts(&api, &selector, now_ns).await?, ["order 7 failed"]);
        let found = stream(&api, &selector, now_ns).await?;
        for (name, value) in [
            ("host_arch", "arm64"),
            ("order_id", "7"),
            ("severity_text", "ERROR"),
            ("scope_name", "orders"),
            ("detected_level", "error"),
        ] {
            assert_eq!(found[name], value, "{name} of {service}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_legacy_endpoint_in_both_formats() -> anyhow::Result<()> {
    let server = Server::start(&[]).await?;
    let (api, now_ns) = (server.api(), lines::now_ns());
    let path = "/api/prom/push";
    let time = jiff::Timestamp::from_nanosecond(i128::from(now_ns))?.to_string();
    let body = json!({"streams": [{
        "labels": r#"{app="legacy", format="json"}"#,
        "entries": [{"ts": time, "line": "old"}],
    }]});
    stored(&api, path, JSON, "", body.to_string().into_bytes()).await?;
    let body = encode::protobuf(
        r#"{app="legacy", format="protobuf"}"#,
        &[line(now_ns, "old")],
        &[],
    );
    stored(&api, path, PROTOBUF, "", encode::snappy(&body)?).await?;
    for format in ["json", "protobuf"] {
        let selector = format!(r#"{{app="legacy", format="{format}"}}"#);
        assert_eq!(texts(&api, &selector, now_ns).await?, ["old"], "{format}");
    }
    Ok(())
}
