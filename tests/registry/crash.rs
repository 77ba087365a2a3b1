//! Broken connections, killed processes, and many clients at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use futures::future::try_join_all;
use rand::RngExt;
use reqwest::Method;
use serde_json::{Value, json};
use tests::registry::{
    Kind, MANIFEST, Registry, RegistryClient, bytes, files_below, header, image, sha256, text,
};
use tests::wait_for;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Bytes that are sent before a push is cut, at most: a hundredth of it.
const STEP_MAX: usize = 200_000;
/// Pushes that are under way when a registry is killed.
const PUSHERS: u64 = 100;

/// Sends the beginning of a chunk, and goes away in the middle of it.
async fn send_and_break_off(
    client: &RegistryClient,
    location: &str,
    from: usize,
    rest: &[u8],
    sent: usize,
) -> anyhow::Result<()> {
    let addr = client.base().trim_start_matches("http://");
    let mut connection = TcpStream::connect(addr).await?;
    let head = format!(
        "PATCH {location} HTTP/1.1\r\nhost: {addr}\r\ncontent-length: {}\r\n\
         content-range: {from}-{}\r\n\r\n",
        rest.len(),
        from + rest.len() - 1,
    );
    connection.write_all(head.as_bytes()).await?;
    connection.write_all(&rest[..sent]).await?;
    connection.shutdown().await?;
    // The server hangs up once it has seen the end; whether it says something is of no interest.
    let _ = connection.read_to_end(&mut Vec::new()).await;
    Ok(())
}

#[tokio::test]
async fn an_upload_that_is_cut_anywhere_goes_on_from_there() -> anyhow::Result<()> {
    for kind in Kind::ALL {
        let registry = Registry::start(kind, &[]).await?;
        let client = registry.client();
        let blob = bytes(1, 20_000_000);
        let mut location = client.begin("app").await?;
        let mut cuts = 0;
        let mut received = 0;
        // What is left at the end comes as a whole: of a request whose client hangs up when all of it
        // has been sent, the server need not have begun to take anything.
        while blob.len() - received > STEP_MAX {
            let rest = &blob[received..];
            let sent = rand::rng().random_range(STEP_MAX / 2..=STEP_MAX);
            send_and_break_off(client, &location, received, rest, sent).await?;
            cuts += 1;
            let state = client.request(Method::GET, &location).send().await?;
            assert_eq!(state.status(), 204);
            location = header(&state, "location")?;
            let range = header(&state, "range")?;
            let last: usize = range.trim_start_matches("0-").parse()?;
            assert_eq!(last + 1, received + sent, "all that came is kept");
            received = last + 1;
        }
        assert!(cuts >= 100, "only {cuts} cuts");
        let put = client
            .finish(&location, &sha256(&blob), blob[received..].to_vec())
            .await?;
        assert_eq!(put.status(), 201, "{}", text(put).await);
        let path = format!("/v2/app/blobs/{}", sha256(&blob));
        assert!(client.get(&path).await? == Some(blob));
    }
    Ok(())
}

/// A chunk of which no byte has been sent, of a request that has the upload for itself: its client was
/// told to go on, as one is when its bytes are asked for.
async fn open_chunk(
    client: &RegistryClient,
    location: &str,
    length: usize,
) -> anyhow::Result<TcpStream> {
    let addr = client.base().trim_start_matches("http://");
    let mut connection = TcpStream::connect(addr).await?;
    let head = format!(
        "PATCH {location} HTTP/1.1\r\nhost: {addr}\r\ncontent-length: {length}\r\n\
         expect: 100-continue\r\n\r\n"
    );
    connection.write_all(head.as_bytes()).await?;
    let mut answer = [0; 12];
    connection.read_exact(&mut answer).await?;
    assert_eq!(&answer, b"HTTP/1.1 100");
    Ok(connection)
}

/// The line of log of a request.
async fn line(registry: &Registry, method: &str, path: &str) -> anyhow::Result<Value> {
    let log = registry.directory().join("data/log/registry-access.log");
    wait_for("the line of log", Duration::from_secs(20), async || {
        let text = std::fs::read_to_string(&log).ok()?;
        let mut lines = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        lines.find(|line: &Value| line["method"] == method && line["path"] == path)
    })
    .await
}

#[tokio::test]
async fn a_request_whose_client_gives_up_is_logged_and_counted() -> anyhow::Result<()> {
    let mut registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client().clone();
    let location = client.begin("app").await?;
    let chunk = open_chunk(&client, &location, 10).await?;
    let addr = client.base().trim_start_matches("http://");
    let mut waiting = TcpStream::connect(addr).await?;
    let head = format!("GET {location} HTTP/1.1\r\nhost: {addr}\r\n\r\n");
    waiting.write_all(head.as_bytes()).await?;
    // It waits for the chunk, and is one of the two that are under way.
    let api = registry.process()?.api();
    let begun = || async {
        let (_, metrics) = api.get("/metrics", &[]).await.ok()?;
        let mut lines = metrics.lines();
        lines
            .any(|line| line == "registry_http_in_flight_requests 2")
            .then_some(())
    };
    wait_for("the request", Duration::from_secs(20), begun).await?;
    drop(waiting);
    let line = line(&registry, "GET", &location).await?;
    assert_eq!(
        (&line["status"], &line["route"]),
        (&json!(499), &json!("blob_upload_chunk"))
    );
    let metrics = registry.metrics().await?;
    assert!(metrics.contains(r#"code="499""#), "{metrics}");
    drop(chunk);
    Ok(())
}

#[tokio::test]
async fn an_answer_that_is_not_read_to_its_end_is_told_from_a_whole_one() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    let addr = client.base().trim_start_matches("http://");
    for (seed, is_cut) in [(6, true), (7, false)] {
        let blob = bytes(seed, 40_000_000);
        let digest = client.push_blob("app", &blob).await?;
        let path = format!("/v2/app/blobs/{digest}");
        if is_cut {
            let mut reader = TcpStream::connect(addr).await?;
            let head = format!("GET {path} HTTP/1.1\r\nhost: {addr}\r\n\r\n");
            reader.write_all(head.as_bytes()).await?;
            reader.read_exact(&mut [0; 1000]).await?;
        } else {
            assert!(client.get(&path).await?.is_some());
        }
        let line = line(&registry, "GET", &path).await?;
        assert_eq!(line["cut"] == true, is_cut, "{line}");
    }
    for path in ["/v2/", "/v2/app/tags/list"] {
        client.status(Method::GET, path).await?;
        let line = line(&registry, "GET", path).await?;
        assert_eq!(line["cut"], json!(null), "{line}");
    }
    Ok(())
}

#[tokio::test]
async fn a_stop_in_the_middle_of_an_upload_keeps_what_has_come_and_logs_it() -> anyhow::Result<()> {
    for kind in Kind::ALL {
        let env = [("SKALD_SERVER_DRAIN_TIMEOUT", "10ms")];
        let mut registry = Registry::start(kind, &env).await?;
        let client = registry.client().clone();
        let location = client.begin("app").await?;
        let blob = bytes(5, 40_000_000);
        let mut chunk = open_chunk(&client, &location, blob.len() + 1).await?;
        chunk.write_all(&blob).await?;
        registry.stop().await?;
        let line = line(&registry, "PATCH", &location).await?;
        assert!(
            line["bytes_in"]
                .as_u64()
                .is_some_and(|taken| taken > 20_000_000),
            "{line}"
        );
        registry.start_again().await?;
        let state = client.request(Method::GET, &location).send().await?;
        let range = header(&state, "range")?;
        let last: usize = range.trim_start_matches("0-").parse()?;
        // The rest is in the buffers of the network.
        assert!(last > blob.len() / 2, "{kind:?}: {last}");
    }
    Ok(())
}

#[tokio::test]
async fn a_layer_that_a_hundred_push_at_once_is_stored_once() -> anyhow::Result<()> {
    let env = [("SKALD_REGISTRY_GC_INTERVAL", "20ms")];
    let registry = Registry::start(Kind::Files, &env).await?;
    let layer = Arc::new(bytes(2, 100_000));
    let pushes = (0..100).map(|number| {
        let (client, layer) = (registry.client().clone(), Arc::clone(&layer));
        async move {
            client
                .push_blob(&format!("p{}/app", number % 3), &layer)
                .await
        }
    });
    let digests = try_join_all(pushes).await?;
    assert!(digests.iter().all(|digest| *digest == sha256(&layer)));
    let data = registry.directory().join("data/registry/store/data");
    wait_for("the copies to go", Duration::from_secs(20), || async {
        (files_below(&data) == 1).then_some(())
    })
    .await?;
    for project in 0..3 {
        let path = format!("/v2/p{project}/app/blobs/{}", sha256(&layer));
        assert_eq!(
            registry.client().get(&path).await?.as_ref(),
            Some(layer.as_ref())
        );
    }
    Ok(())
}

/// Pushes images until the registry goes away; gives the tags that were acknowledged.
async fn push_until(
    registry: &Registry,
    client: u64,
    stop: &AtomicBool,
    pushed: &AtomicUsize,
) -> Vec<(String, Vec<u8>)> {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let (repo, tag) = (format!("crash/app{client}"), format!("v{number}"));
        let layer = bytes(client * 1_000_000 + number, 20_000);
        match registry.client().push_image(&repo, &tag, &layer).await {
            Ok(manifest) => {
                pushed.fetch_add(1, Ordering::Relaxed);
                acknowledged.push((format!("{repo}/manifests/{tag}"), manifest));
            }
            Err(_) => break,
        }
    }
    acknowledged
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill_and_nothing_is_half() -> anyhow::Result<()> {
    for kind in Kind::ALL {
        let mut registry = Registry::start(kind, &[]).await?;
        let mut acknowledged = Vec::new();
        for round in 0..3_u64 {
            let (stop, count) = (AtomicBool::new(false), AtomicUsize::new(0));
            let push = |client| push_until(&registry, round * PUSHERS + client, &stop, &count);
            let pushers = futures::future::join_all((0..PUSHERS).map(push));
            let pid = registry.pid()?;
            let (pushed, waited) = tokio::join!(pushers, async {
                let enough = || async { (count.load(Ordering::Relaxed) >= 100).then_some(()) };
                let waited = wait_for("some pushes", Duration::from_secs(60), enough).await;
                kill(pid);
                stop.store(true, Ordering::Relaxed);
                waited
            });
            waited?;
            acknowledged.extend(pushed.into_iter().flatten());
            registry.kill()?;
            registry.start_again().await?;
        }
        assert!(
            acknowledged.len() > 100,
            "only {} pushes",
            acknowledged.len()
        );
        let client = registry.client();
        for (path, manifest) in &acknowledged {
            let found = client.get(&format!("/v2/{path}")).await?;
            assert_eq!(found.as_ref(), Some(manifest), "{path}");
        }
        assert_no_image_is_half(&registry).await?;
    }
    Ok(())
}

fn kill(pid: u32) {
    let killed = std::process::Command::new("kill")
        .args(["-KILL", &pid.to_string()])
        .status();
    assert!(killed.is_ok_and(|status| status.success()));
}

/// Every manifest that there is has all its blobs, and they are what their digests say.
async fn assert_no_image_is_half(registry: &Registry) -> anyhow::Result<()> {
    let client = registry.client();
    let repos = client.json("/v2/_catalog").await?;
    for repo in repos["repositories"].as_array().into_iter().flatten() {
        let repo = repo.as_str().unwrap_or_default();
        let tags = client.json(&format!("/v2/{repo}/tags/list")).await?;
        for tag in tags["tags"].as_array().into_iter().flatten() {
            let tag = tag.as_str().unwrap_or_default();
            let manifest = client.json(&format!("/v2/{repo}/manifests/{tag}")).await?;
            let layers = manifest["layers"].as_array().into_iter().flatten();
            for blob in layers.chain([&manifest["config"]]) {
                let digest = blob["digest"].as_str().unwrap_or_default();
                let bytes = client.get(&format!("/v2/{repo}/blobs/{digest}")).await?;
                let bytes = bytes.with_context(|| format!("{repo}:{tag} lacks {digest}"))?;
                assert_eq!(sha256(&bytes), digest);
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_upload_goes_on_after_the_process_was_killed() -> anyhow::Result<()> {
    for kind in Kind::ALL {
        let mut registry = Registry::start(kind, &[]).await?;
        let blob = bytes(3, 17_000_000);
        let location = registry.client().begin("app").await?;
        for (from, to) in [
            (0, 6_000_000),
            (6_000_000, 15_000_000),
            (15_000_000, 17_000_000),
        ] {
            let patch = registry.client().request(Method::PATCH, &location);
            let patch = patch.header("content-range", format!("{from}-{}", to - 1));
            let patch = patch.body(blob[from..to].to_vec()).send().await?;
            assert_eq!(patch.status(), 202, "{}", text(patch).await);
            registry.kill()?;
            registry.start_again().await?;
        }
        let client = registry.client();
        let put = client.finish(&location, &sha256(&blob), Vec::new()).await?;
        assert_eq!(put.status(), 201, "{}", text(put).await);
        let manifest = image(b"{}", &[&blob]).to_string().into_bytes();
        client.push_blob("app", b"{}").await?;
        let put = client
            .put_manifest("app", "v1", MANIFEST, &manifest)
            .await?;
        assert_eq!(put.status(), 201, "{}", text(put).await);
        assert_no_image_is_half(&registry).await?;
    }
    Ok(())
}
