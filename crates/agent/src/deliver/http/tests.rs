use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use proto::logproto::{EntryAdapter, StreamAdapter};

use super::*;
use crate::metrics::Metrics;

type Seen = Arc<Mutex<Vec<(HeaderMap, PushRequest)>>>;

/// A server that answers every request in this way, and what it has seen.
async fn serve(status: u16, headers: &[(&str, &str)], text: &str) -> (String, Seen) {
    let seen = Seen::default();
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .collect();
    let answer = (
        StatusCode::from_u16(status).unwrap(),
        headers,
        text.to_owned(),
    );
    let take = move |State(seen): State<Seen>, headers: HeaderMap, body: Bytes| async move {
        let bytes = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
        let request = PushRequest::decode(bytes.as_slice()).unwrap();
        seen.lock().push((headers, request));
        let answer: Response = answer.into_response();
        answer
    };
    let router = Router::new().fallback(take).with_state(seen.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/loki/api/v1/push", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, seen)
}

fn client(config: &ClientConfig) -> HttpClient {
    server::install_crypto_provider();
    let metrics = Metrics::register(&mut Registry::default());
    HttpClient::new(config, metrics.client("host")).unwrap()
}

fn request() -> PushRequest {
    PushRequest {
        streams: vec![StreamAdapter {
            labels: r#"{a="b"}"#.to_owned(),
            entries: vec![EntryAdapter {
                line: "line".into(),
                ..EntryAdapter::default()
            }],
            hash: 0,
        }],
        ..PushRequest::default()
    }
}

#[tokio::test]
async fn a_push_is_what_loki_takes() {
    let (url, seen) = serve(204, &[], "").await;
    let config = ClientConfig {
        url,
        headers: [("x-extra".to_owned(), "1".to_owned())].into(),
        bearer_token: "secret".to_owned(),
        ..ClientConfig::default()
    };
    client(&config)
        .push(Some("team"), &request(), true)
        .await
        .unwrap();
    let (headers, taken) = seen.lock().pop().unwrap();
    assert_eq!(taken, request());
    for (name, value) in [
        ("content-type", "application/x-protobuf"),
        ("x-scope-orgid", "team"),
        ("x-extra", "1"),
        ("x-skald-may-repeat", "true"),
        ("authorization", "Bearer secret"),
    ] {
        assert_eq!(headers.get(name).unwrap(), value);
    }
}

#[tokio::test]
async fn answers_say_whether_to_try_again() {
    let ask = async |status, headers: &[(&str, &str)], text: &str| {
        let (url, _) = serve(status, headers, text).await;
        let config = ClientConfig {
            url,
            ..ClientConfig::default()
        };
        client(&config)
            .push(None, &request(), false)
            .await
            .unwrap_err()
    };
    let limited = ask(429, &[("retry-after", "7")], "too fast\nmore").await;
    let expected = DeliverError::Later {
        is_rate_limited: true,
        after: Some(Duration::from_secs(7)),
        message: "429 Too Many Requests: too fast".to_owned(),
    };
    assert_eq!(limited, expected);
    let broken = ask(500, &[], "").await;
    assert!(matches!(
        broken,
        DeliverError::Later {
            is_rate_limited: false,
            after: None,
            ..
        }
    ));
    let text = "entry with timestamp 1 ignored, reason: 'too old',\nuser 'a', total ignored: 2 out \
                of 5 for stream: {a=\"b\"}\nuser 'a', total ignored: 1 out of 1 for stream: {}";
    let partial = ask(400, &[], text).await;
    assert!(matches!(
        partial,
        DeliverError::Refused {
            entries: Some(3),
            ..
        }
    ));
    let refused = ask(401, &[], "who are you").await;
    assert!(matches!(
        refused,
        DeliverError::Refused { entries: None, .. }
    ));
}

#[tokio::test]
async fn no_answer_means_try_again() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let config = ClientConfig {
        url: format!("http://{addr}/"),
        ..ClientConfig::default()
    };
    let error = client(&config)
        .push(None, &request(), false)
        .await
        .unwrap_err();
    assert!(matches!(error, DeliverError::Later { .. }));
}

#[tokio::test]
async fn credentials_in_a_file_are_read_anew() {
    let (url, seen) = serve(204, &[], "").await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let config = ClientConfig {
        url,
        bearer_token_file: file.path().to_owned(),
        ..ClientConfig::default()
    };
    let client = client(&config);
    for token in ["one", "two"] {
        std::fs::write(file.path(), format!("{token}\n")).unwrap();
        client.push(None, &request(), false).await.unwrap();
        let (headers, _) = seen.lock().pop().unwrap();
        assert_eq!(
            headers.get("authorization").unwrap(),
            &format!("Bearer {token}")
        );
    }
}

#[test]
fn waits_that_servers_ask_for() {
    assert_eq!(retry_after("3"), Some(Duration::from_secs(3)));
    assert_eq!(retry_after("999999999"), Some(RETRY_AFTER_MAX));
    assert_eq!(
        retry_after("Wed, 21 Oct 2015 07:28:00 GMT"),
        Some(Duration::ZERO)
    );
    assert_eq!(retry_after("soon"), None);
}
