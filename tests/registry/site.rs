//! What a page of another site has a browser ask, with what the browser knows of its user.

use reqwest::Method;
use tests::registry::{Kind, Registry, bytes, code};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn a_page_of_another_site_changes_nothing() -> anyhow::Result<()> {
    let (registry, admin) = crate::auth::start().await?;
    admin.push_image("closed/app", "v1", &bytes(1, 10)).await?;
    admin.push_image("open/app", "v1", &bytes(2, 10)).await?;
    let blob = tests::registry::sha256(&bytes(1, 10));
    let copy = "/api/v2.0/projects/open/repositories/leak/artifacts?from=closed/app:v1".to_owned();
    let mount = format!("/v2/open/leak/blobs/uploads/?mount={blob}&from=closed/app");
    let own = registry.client().base().to_owned();
    for (site, origin) in [
        (Some("cross-site"), Some("https://evil.example")),
        (Some("cross-site"), None),
        (None, Some("https://evil.example")),
        (None, Some("null")),
    ] {
        for path in [&copy, &mount, "/api/v2.0/system/keys"] {
            let mut request = admin.request(Method::POST, path);
            if let Some(site) = site {
                request = request.header("sec-fetch-site", site);
            }
            if let Some(origin) = origin {
                request = request.header("origin", origin);
            }
            let refused = request.send().await?;
            assert_eq!(refused.status(), 403, "{site:?} {origin:?} {path}");
            assert_eq!(code(refused).await?, "DENIED");
        }
    }
    let leak = "/v2/open/leak/tags/list";
    assert_eq!(admin.status(Method::GET, leak).await?, 404);
    // A link to here is followed, and the registry's own pages do what they like.
    let linked = admin.request(Method::GET, "/v2/closed/app/tags/list");
    let linked = linked.header("sec-fetch-site", "cross-site").send().await?;
    assert_eq!(linked.status(), 200);
    let copied = admin.request(Method::POST, &copy);
    let copied = copied
        .header("sec-fetch-site", "same-origin")
        .header("origin", own);
    assert_eq!(copied.send().await?.status(), 201);
    Ok(())
}

/// Where everybody may do everything, and only this machine can ask.
#[tokio::test]
async fn a_page_that_has_its_name_point_here_changes_nothing() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    client.push_image("team/app", "v1", &bytes(1, 10)).await?;
    let own = client.base().trim_start_matches("http://").to_owned();
    for (host, origin, status) in [
        ("evil.example:5000", Some("http://evil.example:5000"), 403),
        ("mine.example:5000", None, 202),
        (&own, Some(client.base()), 404),
    ] {
        let asked = client.request(Method::DELETE, "/v2/team/app/manifests/v1");
        let mut asked = asked.header("host", host);
        if let Some(origin) = origin {
            asked = asked.header("origin", origin);
            asked = asked.header("sec-fetch-site", "same-origin");
        }
        assert_eq!(asked.send().await?.status(), status, "{host}");
    }
    Ok(())
}

/// What a client calls the registry is said once.
#[tokio::test]
async fn a_request_of_http_1_1_says_what_it_calls_the_registry() -> anyhow::Result<()> {
    let (registry, _) = crate::auth::start().await?;
    let addr = registry.client().base().replace("http://", "");
    for (head, status) in [
        ("GET /v2/ HTTP/1.1\r\nhost: a\r\n", "HTTP/1.1 401"),
        ("GET /v2/ HTTP/1.1\r\n", "HTTP/1.1 400"),
        (
            "GET /v2/ HTTP/1.1\r\nhost: a\r\nhost: b\r\n",
            "HTTP/1.1 400",
        ),
        ("GET /v2/ HTTP/1.0\r\n", "HTTP/1.0 401"),
    ] {
        let mut socket = TcpStream::connect(&addr).await?;
        let request = format!("{head}connection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await?;
        assert!(answer.starts_with(status), "{head}: {answer}");
    }
    Ok(())
}
