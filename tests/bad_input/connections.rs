//! Clients that do not speak HTTP, or stop in the middle.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Siege;

/// Sends bytes, ends the sending half, and gives what comes back.
async fn raw(siege: &Siege, bytes: &[u8]) -> anyhow::Result<String> {
    let api = siege.api();
    let address = api.base().trim_start_matches("http://");
    let mut socket = TcpStream::connect(address).await?;
    socket.write_all(bytes).await?;
    socket.shutdown().await?;
    let mut answer = Vec::new();
    // A server that closes without a word is as good.
    let reading = socket.read_to_end(&mut answer);
    let read = tokio::time::timeout(Duration::from_secs(30), reading).await?;
    if let Err(error) = read
        && error.kind() != std::io::ErrorKind::ConnectionReset
    {
        return Err(error.into());
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_requests_do_no_harm() -> anyhow::Result<()> {
    let siege = Siege::start().await?;
    let head = "POST /loki/api/v1/push HTTP/1.1\r\nHost: x\r\nX-Scope-OrgID: bad\r\nContent-Type: application/json\r\n";
    let many_headers = "x: y\r\n".repeat(10_000);
    let long_path = "a".repeat(1 << 20);
    for request in [
        "hello\r\n\r\n".to_owned(),
        "\0\0\0\0".to_owned(),
        // A length that is not kept, one that is no number, and two that contradict each other.
        format!("{head}Content-Length: 1000000\r\n\r\n{{"),
        format!("{head}Content-Length: many\r\n\r\n{{}}"),
        format!("{head}Content-Length: 99999999999999999999999\r\n\r\n{{}}"),
        format!("{head}Content-Length: 2\r\nContent-Length: 5\r\n\r\n{{}}"),
        // A chunk that is shorter than it says, and one of an absurd length.
        format!("{head}Transfer-Encoding: chunked\r\n\r\nff\r\n{{}}"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{{}}"),
        format!("GET / HTTP/1.1\r\nHost: x\r\n{many_headers}\r\n"),
        format!("GET /{long_path} HTTP/1.1\r\nHost: x\r\n\r\n"),
        "GET /loki/api/v1/labels HTTP/1.1\r\nX-Scope-OrgID: \u{1}\r\n\r\n".to_owned(),
    ] {
        let answer = raw(&siege, request.as_bytes()).await?;
        let refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4");
        let shown: String = request.chars().take(200).collect();
        assert!(refused, "{shown}: {answer}");
    }
    siege.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paths_methods_and_tenants_that_do_not_exist_are_refused() -> anyhow::Result<()> {
    let siege = Siege::start().await?;
    let api = siege.api();
    for path in [
        "/no/such/path",
        "/loki/api/v1/push",
        "/loki/api/v1/nothing",
        "/loki/api/v1/label/%ff/values",
        "/../../etc/passwd",
    ] {
        let (status, _) = api.get(path, &[]).await?;
        assert!((400..500).contains(&status), "{path}: {status}");
    }
    for tenant in ["..", "a/b", "a\\b", "\u{fc}", &"t".repeat(151)] {
        let api = siege.server.api().of_tenant(tenant);
        let (status, text) = api.get("/loki/api/v1/labels", &[]).await?;
        assert!((400..500).contains(&status), "{tenant}: {status} {text}");
    }
    siege.end().await
}
