//! TLS on all sides of an agent: its own page, its syslog, its pushes, and those who push to it.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tests::port::free_port;
use tests::registry::tls_file;
use tests::wait_for;

use crate::site::{Home, Site};

const JOB: &str = "
  - job_name: app
    static_configs: [{labels: {job: app, __path__: 'LOGS/*.log'}}]
";
const PATIENCE: Duration = Duration::from_secs(60);

/// The keys of a certificate that is that of `localhost`.
fn own() -> String {
    let (cert, key) = (tls_file("cert.pem"), tls_file("key.pem"));
    format!("cert_file: '{cert}', key_file: '{key}'")
}

/// The path of a file of the client's certificate.
fn own_file(name: &str) -> String {
    format!("{}/agent/tls/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A client of TLS that may show a certificate of its own.
fn client(shows: bool) -> anyhow::Result<ClientConfig> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(tls_file("ca.pem"))?)?;
    let builder = ClientConfig::builder().with_root_certificates(roots);
    Ok(if shows {
        let cert = CertificateDer::from_pem_file(own_file("client.pem"))?;
        let key = PrivateKeyDer::from_pem_file(own_file("client-key.pem"))?;
        builder.with_client_auth_cert(vec![cert], key)?
    } else {
        builder.with_no_client_auth()
    })
}

/// Sends text over TLS and waits until it is read.
fn send(port: u16, config: ClientConfig, text: &str) -> std::io::Result<()> {
    let name = ServerName::try_from("localhost").map_err(std::io::Error::other)?;
    let connection = ClientConnection::new(Arc::new(config), name);
    let connection = connection.map_err(std::io::Error::other)?;
    let mut stream = StreamOwned::new(connection, TcpStream::connect(("127.0.0.1", port))?);
    stream.write_all(text.as_bytes())?;
    stream.conn.send_close_notify();
    stream.flush()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn syslog_comes_over_tls_from_who_may_send_it() -> anyhow::Result<()> {
    let (open, closed) = (free_port()?.port(), free_port()?.port());
    let (own, ca) = (own(), own_file("clients.pem"));
    let jobs = format!(
        "
  - job_name: open
    syslog: {{listen_address: '127.0.0.1:{open}', labels: {{job: open}}, tls_config: {{{own}}}}}
  - job_name: closed
    syslog: {{listen_address: '127.0.0.1:{closed}', labels: {{job: closed}},
             tls_config: {{{own}, ca_file: '{ca}'}}}}
"
    );
    let site = Site::start(&jobs).await?;
    let agent = site.agent.start().await?;
    let message = |text: &str| format!("<13>1 - host app - - - {text}\n");
    send(open, client(false)?, &message("over TLS"))?;
    site.counted("open", 1).await?;
    site.has("open", &["over TLS".to_owned()]).await?;
    // Whether a client learns at once that it is turned away is up to TLS.
    let _ = send(closed, client(false)?, &message("from nobody"));
    TcpStream::connect(("127.0.0.1", open))?.write_all(message("in the open").as_bytes())?;
    send(closed, client(true)?, &message("from somebody"))?;
    site.counted("closed", 1).await?;
    site.has("closed", &["from somebody".to_owned()]).await?;
    ensure!(site.count("open").await? == 1, "what is no TLS was taken");
    agent.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pushes_go_over_tls_to_a_server_of_another_name() -> anyhow::Result<()> {
    let port = free_port()?.port();
    let (own, ca) = (own(), tls_file("ca.pem"));
    // The certificate is not that of this address.
    let jobs = format!(
        "
  - job_name: pushed
    loki_push_api:
      server: {{http_listen_address: 127.0.0.2, http_listen_port: {port}, http_tls_config: {{{own}}}}}
      labels: {{from: push}}
"
    );
    let site = Site::start(&jobs).await?;
    let taker = site.agent.start().await?;
    let url = format!("https://127.0.0.2:{port}");
    let named = format!("    tls_config: {{ca_file: '{ca}', server_name: localhost}}\n");
    let home = Home::new(&url, &named, JOB)?;
    let strange = format!("    tls_config: {{ca_file: '{ca}'}}\n");
    let stranger = Home::new(&url, &strange, JOB)?;
    stranger.append("a.log", "to a server with another certificate\n")?;
    let stranger = stranger.agent.start().await?;
    home.append("a.log", "one\ntwo\n")?;
    let agent = home.agent.start().await?;
    site.counted("app", 2).await?;
    wait_for("a refusal", PATIENCE, async || {
        let (_, metrics) = stranger.api().get("/metrics", &[]).await.ok()?;
        let retries = |line: &str| line.starts_with("promtail_batch_retries_total{");
        metrics.lines().any(retries).then_some(())
    })
    .await?;
    site.has("app", &["one".to_owned(), "two".to_owned()])
        .await?;
    agent.stop().await?;
    stranger.stop().await?;
    taker.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_agents_own_page_is_shown_over_tls() -> anyhow::Result<()> {
    let home = Home::new("http://127.0.0.1:9", "", JOB)?;
    home.replace_in_config(
        "http_listen_address: 127.0.0.1",
        &format!(
            "http_listen_address: 127.0.0.1, http_tls_config: {{{}}}",
            own()
        ),
    )?;
    home.append("a.log", "one\n")?;
    let agent = home.agent.spawn()?;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ca = reqwest::Certificate::from_pem(&std::fs::read(tls_file("ca.pem"))?)?;
    let client = reqwest::Client::builder()
        .add_root_certificate(ca)
        .build()?;
    let url = format!("https://localhost:{}/ready", home.agent.http.port());
    wait_for("the page", PATIENCE, async || {
        let answer = client.get(&url).send().await.ok()?;
        answer.status().is_success().then_some(())
    })
    .await?;
    ensure!(!agent.api().is_ready().await, "it is shown without TLS too");
    agent.stop().await?;
    Ok(())
}
