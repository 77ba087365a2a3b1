//! The registry's port in TLS.

use reqwest::Method;
use tests::registry::{Kind, LOCAL, Registry, RegistryClient, bytes, header, tls_file};

#[tokio::test]
async fn images_are_pushed_and_pulled_in_tls() -> anyhow::Result<()> {
    for kind in Kind::ALL {
        let registry = Registry::start_tls(kind, &[]).await?;
        let client = registry.client();
        assert!(client.base().starts_with("https://"));
        let layer = bytes(1, 3_000_000);
        let manifest = client.push_image("team/app", "v1", &layer).await?;
        let pulled = client.get("/v2/team/app/manifests/v1").await?;
        assert_eq!(pulled, Some(manifest));
        let digest = tests::registry::sha256(&layer);
        let pulled = client.get(&format!("/v2/team/app/blobs/{digest}")).await?;
        assert_eq!(pulled, Some(layer));
        // Who does not trust the certificate, or speaks plain HTTP, learns nothing.
        let stranger = RegistryClient::new(client.base());
        assert!(stranger.status(Method::GET, "/v2/").await.is_err());
        let plain = RegistryClient::new(&client.base().replace("https:", "http:"));
        assert!(plain.status(Method::GET, "/v2/").await.is_err());
    }
    Ok(())
}

#[tokio::test]
async fn tokens_are_asked_for_in_tls_too() -> anyhow::Result<()> {
    let registry = Registry::start_tls(Kind::Files, &[LOCAL]).await?;
    let client = registry.client();
    let refused = client.request(Method::GET, "/v2/").send().await?;
    assert_eq!(refused.status(), 401);
    // HTTP/2 has no header Host, and the challenge still says where the client came to.
    assert_eq!(refused.version(), reqwest::Version::HTTP_2);
    let challenge = header(&refused, "www-authenticate")?;
    let realm = format!("Bearer realm=\"{}/service/token\"", client.base());
    assert!(challenge.starts_with(&realm), "{challenge}");
    Ok(())
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_named_at_the_start() -> anyhow::Result<()> {
    for (name, said) in [
        ("SKALD_REGISTRY_TLS_CERT_FILE", "needed together"),
        ("SKALD_REGISTRY_TLS_KEY_FILE", "needed together"),
    ] {
        let started = Registry::start(Kind::Files, &[(name, "/nowhere.pem")]).await;
        let text = started.err().map(|error| format!("{error:#}"));
        let text = text.unwrap_or_default();
        assert!(
            text.contains("registry.tls") && text.contains(said),
            "{text}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn who_asks_in_tls_where_there_is_none_is_told() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let addr = registry.client().base().replace("http:", "https:");
    let mut command = tokio::process::Command::new(tests::binary::path("skald")?);
    let output = command.args(["registry", "--addr", &addr, "projects"]);
    let output = output.output().await?;
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("does not speak TLS"), "{said}");
    assert!(said.contains("http://"), "{said}");
    Ok(())
}

#[tokio::test]
async fn who_does_not_ask_in_tls_where_there_is_some_is_told() -> anyhow::Result<()> {
    let (cert, key) = (tls_file("own.pem"), tls_file("own-key.pem"));
    let env = [
        ("SKALD_REGISTRY_TLS_CERT_FILE", cert.as_str()),
        ("SKALD_REGISTRY_TLS_KEY_FILE", key.as_str()),
    ];
    let registry = Registry::start(Kind::Files, &env).await?;
    let addr = registry.client().base().replace("https:", "http:");
    let mut command = tokio::process::Command::new(tests::binary::path("skald")?);
    let output = command.args(["registry", "--addr", &addr, "projects"]);
    let output = output.output().await?;
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("ask https://"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_certificate_of_ones_own_is_trusted_by_who_is_given_it() -> anyhow::Result<()> {
    let (cert, key) = (tls_file("own.pem"), tls_file("own-key.pem"));
    let env = [
        ("SKALD_REGISTRY_TLS_CERT_FILE", cert.as_str()),
        ("SKALD_REGISTRY_TLS_KEY_FILE", key.as_str()),
    ];
    let registry = Registry::start(Kind::Files, &env).await?;
    let addr = registry.client().base().replace("http:", "https:");
    let unnamed = addr.replace("127.0.0.1", "127.0.0.2");
    let other = tls_file("ca.pem");
    for (addr, trusted, is_trusted) in [
        (&addr, Some(&cert), true),
        (&addr, Some(&other), false),
        (&addr, None, false),
        (&unnamed, Some(&cert), false),
    ] {
        let mut args = vec!["registry", "--addr", addr, "projects"];
        args.extend(trusted.into_iter().flat_map(|file| ["--ca-cert", file]));
        let output = tests::command::run("skald", &args, &[]).await?;
        assert_eq!(output.code == 0, is_trusted, "{args:?} {}", output.stderr);
    }
    Ok(())
}
