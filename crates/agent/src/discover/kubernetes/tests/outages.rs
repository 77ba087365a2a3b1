//! A server that is away, refuses, cuts, forgets, or is slow.

use server::{ClientCertificates, TlsConfig};

use super::*;

#[tokio::test]
async fn a_watch_goes_on_where_it_was_cut() {
    let rig = Rig::start("role: pod").await;
    rig.cluster.put("a", pod("x"));
    rig.until_names(&["a"]).await;
    rig.cluster.bookmark();
    rig.cluster.cut();
    rig.cluster.put("b", pod("x"));
    rig.until_names(&["a", "b"]).await;
    assert_eq!(rig.cluster.lists(), 1);
}

#[tokio::test]
async fn an_expired_watch_lists_again() {
    let rig = Rig::start("role: pod").await;
    rig.cluster.put("a", pod("x"));
    rig.cluster.put("b", pod("x"));
    rig.until_names(&["a", "b"]).await;
    // Unseen by the watch.
    rig.cluster
        .answer_with(Some(StatusCode::SERVICE_UNAVAILABLE));
    rig.cluster.cut();
    rig.cluster.delete("a");
    rig.cluster.put("c", pod("x"));
    rig.cluster.compact_and_cut();
    rig.cluster.answer_with(None);
    rig.until_names(&["b", "c"]).await;
    assert!(rig.cluster.lists() > 1);
}

#[tokio::test]
async fn while_the_server_is_away_or_refuses_targets_stay() {
    let rig = Rig::start("role: pod").await;
    rig.cluster.put("a", pod("x"));
    rig.until_names(&["a"]).await;
    rig.cluster.answer_with(Some(StatusCode::FORBIDDEN));
    rig.cluster.cut();
    let asked = rig.cluster.paths().len();
    let again = |_: &[Labels]| rig.cluster.paths().len() > asked + 1;
    let targets = rig.until("another try", again).await;
    assert_eq!(targets.len(), 4);
    rig.cluster.answer_with(None);
    rig.cluster.put("b", pod("x"));
    rig.until_names(&["a", "b"]).await;
}

#[tokio::test]
async fn a_token_that_has_expired_is_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "old").unwrap();
    let cluster = Cluster::start().await;
    cluster.demand_token("old");
    let config = format!("role: pod\nbearer_token_file: {}", file.display());
    let rig = Rig::with(cluster, &config).await;
    rig.cluster.put("a", pod("x"));
    rig.until_names(&["a"]).await;
    rig.cluster.demand_token("new");
    rig.cluster.cut();
    rig.cluster.put("b", pod("x"));
    std::fs::write(&file, "new\n").unwrap();
    rig.until_names(&["a", "b"]).await;
}

#[tokio::test]
async fn a_version_that_is_refused_as_forgotten_is_not_asked_for_for_ever() {
    let rig = Rig::start("role: pod").await;
    rig.cluster.put("a", pod("x"));
    rig.until_names(&["a"]).await;
    rig.cluster.answer_with(Some(StatusCode::GONE));
    rig.cluster.cut();
    rig.cluster.put("b", pod("x"));
    let lists = rig.cluster.lists();
    let asked = rig.cluster.paths().len();
    let again = |_: &[Labels]| rig.cluster.paths().len() > asked;
    rig.until("a watch", again).await;
    rig.cluster.answer_with(None);
    rig.until_names(&["a", "b"]).await;
    assert!(rig.cluster.lists() > lists);
}

#[tokio::test]
async fn a_server_that_is_started_again_is_followed_on() {
    let rig = Rig::start("role: pod").await;
    rig.cluster.put("a", pod("x"));
    rig.until_names(&["a"]).await;
    rig.cluster.go_away().await;
    rig.cluster.put("b", pod("x"));
    rig.cluster.delete("a");
    assert_eq!(
        rig.until_names(&["a"]).await.len(),
        4,
        "what was known stays"
    );
    rig.cluster.come_back().await;
    rig.until_names(&["b"]).await;
    assert_eq!(rig.cluster.lists(), 1, "it goes on where it was");
}

#[tokio::test]
async fn a_server_that_comes_later_is_found() {
    let cluster = Cluster::start().await;
    cluster.go_away().await;
    cluster.put("a", pod("x"));
    let rig = Rig::with(cluster, "role: pod").await;
    rig.cluster.come_back().await;
    rig.until_names(&["a"]).await;
}

#[tokio::test]
async fn what_comes_byte_by_byte_is_understood() {
    let rig = Rig::start("role: pod").await;
    rig.cluster.be_slow();
    for name in ["a", "b", "c"] {
        rig.cluster.put(name, pod("x"));
        tokio::task::yield_now().await;
    }
    rig.until_names(&["a", "b", "c"]).await;
    rig.cluster.delete("b");
    rig.until_names(&["a", "c"]).await;
}

#[tokio::test]
async fn an_object_without_a_name_ends_nothing() {
    let rig = Rig::start("role: pod").await;
    rig.cluster.put("a", pod("x"));
    rig.until_names(&["a"]).await;
    rig.cluster
        .say(json!({ "type": "ADDED", "object": { "metadata": {} } }));
    rig.cluster.put("b", pod("x"));
    rig.until_names(&["a", "b"]).await;
}

#[tokio::test]
async fn a_kubeconfig_leads_to_a_server_that_wants_a_certificate() {
    let file = |name: &str| format!("{}/../../tests/{name}", env!("CARGO_MANIFEST_DIR"));
    server::install_crypto_provider();
    let own = TlsConfig {
        cert_file: file("registry/tls/cert.pem").into(),
        key_file: file("registry/tls/key.pem").into(),
    };
    let clients = ClientCertificates {
        ca_file: file("agent/tls/clients.pem").into(),
        are_required: true,
    };
    let tls = own.acceptor(Some(&clients), &[]).unwrap();
    let cluster = Cluster::behind(tls).await;
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config");
    let text = format!(
        "current-context: c
contexts: [{{name: c, context: {{cluster: k, user: u}}}}]
clusters: [{{name: k, cluster: {{server: '{}', certificate-authority: '{}'}}}}]
users: [{{name: u, user: {{client-certificate: '{}', client-key: '{}'}}}}]
",
        cluster.url,
        file("registry/tls/ca.pem"),
        file("agent/tls/client.pem"),
        file("agent/tls/client-key.pem"),
    );
    std::fs::write(&config, text).unwrap();
    let config = format!("role: pod\nkubeconfig_file: {}", config.display());
    let rig = Rig::with(cluster, &config).await;
    rig.cluster.put("a", pod("x"));
    rig.until_names(&["a"]).await;
}
