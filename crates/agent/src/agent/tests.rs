mod docker;
mod received;

use std::collections::VecDeque;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use parking_lot::Mutex;
use proto::logproto::PushRequest;

use super::*;
use crate::config::ClientConfig;
use crate::deliver::DeliverError;
use received::start_job;

/// Takes everything, unless it was told otherwise.
#[derive(Default)]
struct Sink {
    lines: Mutex<Vec<String>>,
    is_down: Mutex<bool>,
    answers: Mutex<VecDeque<DeliverError>>,
}

#[async_trait]
impl Deliver for Sink {
    async fn push(
        &self,
        _: Option<&str>,
        request: &PushRequest,
        _: bool,
    ) -> Result<(), DeliverError> {
        if *self.is_down.lock() {
            return Err(DeliverError::Later {
                is_rate_limited: false,
                after: None,
                message: "down".to_owned(),
            });
        }
        if let Some(error) = self.answers.lock().pop_front() {
            return Err(error);
        }
        let entries = request.streams.iter().flat_map(|stream| &stream.entries);
        let lines = entries.map(|entry| String::from_utf8_lossy(&entry.line).into_owned());
        self.lines.lock().extend(lines);
        Ok(())
    }
}

struct Run {
    stop: CancellationToken,
    task: JoinHandle<()>,
    routes: axum::Router,
    registry: Registry,
}

fn config(directory: &Path) -> Config {
    let glob = format!("{}/*.log", directory.display());
    let positions = directory.join("agent/positions.yaml");
    Config::for_paths(&[("j", vec![glob])], positions)
}

fn start(config: Config, sink: &Arc<Sink>) -> Run {
    server::install_crypto_provider();
    let mut registry = Registry::default();
    let deps = Deps {
        metrics: AgentMetrics::register(&mut registry),
        hostname: "host".to_owned(),
        since: std::time::SystemTime::now(),
        environment: server::Environment::default(),
        deliver: Some(("own".to_owned(), sink.clone())),
    };
    let agent = Agent::start(config, deps).unwrap();
    let stop = CancellationToken::new();
    Run {
        routes: agent.routes(),
        task: tokio::spawn(agent.run(stop.clone())),
        stop,
        registry,
    }
}

impl Run {
    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "not in time: {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn append(path: &Path, text: &str) {
    let mut file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_go_from_files_to_the_sink_once_over_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.log");
    let sink = Arc::new(Sink::default());
    append(&file, "one\n");
    let run = start(config(directory.path()), &sink);
    until("the first line", || sink.lines.lock().len() == 1).await;
    append(&file, "two\n");
    until("the second line", || sink.lines.lock().len() == 2).await;
    append(&directory.path().join("b.log"), "three\n");
    until("a new file", || sink.lines.lock().len() == 3).await;
    run.stop().await;
    append(&file, "four\n");
    let run = start(config(directory.path()), &sink);
    until("the line after the restart", || {
        sink.lines.lock().len() == 4
    })
    .await;
    run.stop().await;
    assert_eq!(*sink.lines.lock(), ["one", "two", "three", "four"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_the_sink_is_down_is_quick_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let sink = Arc::new(Sink::default());
    *sink.is_down.lock() = true;
    append(&directory.path().join("a.log"), "one\ntwo\n");
    let run = start(config(directory.path()), &sink);
    let retries = || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &run.registry).unwrap();
        text.contains("promtail_batch_retries_total{")
    };
    until("a first try", retries).await;
    run.stop().await;
    assert!(sink.lines.lock().is_empty());
    *sink.is_down.lock() = false;
    let run = start(config(directory.path()), &sink);
    until("both lines", || sink.lines.lock().len() == 2).await;
    run.stop().await;
    assert_eq!(*sink.lines.lock(), ["one", "two"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_down_holds_up_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let sink = Arc::new(Sink::default());
    let mut config = config(directory.path());
    config.limits_config.unacknowledged_size_max = model::units::ByteSize::kib(64);
    config.clients.push(ClientConfig {
        // Nobody listens there.
        url: "http://127.0.0.1:1/loki/api/v1/push".to_owned(),
        batchsize: model::units::ByteSize::kib(16),
        ..ClientConfig::default()
    });
    let text: String = (0..20_000).map(|i| format!("line {i}\n")).collect();
    append(&directory.path().join("a.log"), &text);
    let run = start(config, &sink);
    until("all lines", || sink.lines.lock().len() == 20_000).await;
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_positions_stop_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let sink = Arc::new(Sink::default());
    let config = config(directory.path());
    fs::create_dir_all(directory.path().join("agent")).unwrap();
    fs::write(&config.positions.filename, "\u{0}broken").unwrap();
    append(&directory.path().join("a.log"), "one\n");
    let run = start(config, &sink);
    until("the line", || sink.lines.lock().len() == 1).await;
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_sends_nothing_and_notes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let sink = Arc::new(Sink::default());
    append(&directory.path().join("a.log"), "one\n");
    let mut config = config(directory.path());
    config.is_dry_run = true;
    let run = start(config.clone(), &sink);
    let printed = || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &run.registry).unwrap();
        text.contains("promtail_sent_entries_total{host=\"dry-run\"} 1")
    };
    until("the line is printed", printed).await;
    run.stop().await;
    assert!(sink.lines.lock().is_empty());
    assert!(!config.positions.filename.exists());
}

/// What the agent shows at a path.
async fn shown(run: &Run, path: &str, accept: &str) -> String {
    use http_body_util::BodyExt;
    use tower::ServiceExt;
    let request = http::Request::get(path).header("accept", accept);
    let request = request.body(axum::body::Body::empty()).unwrap();
    let answer = run.routes.clone().oneshot(request).await.unwrap();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

async fn shown_json(run: &Run, path: &str) -> serde_json::Value {
    serde_json::from_str(&shown(run, path, "*/*").await).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_and_files_are_shown() {
    let directory = tempfile::tempdir().unwrap();
    let sink = Arc::new(Sink::default());
    append(&directory.path().join("a<b.log"), "one\n");
    let run = start(config(directory.path()), &sink);
    until("the line", || sink.lines.lock().len() == 1).await;
    let json = shown_json(&run, "/service-discovery").await;
    assert_eq!(
        json["active"][0]["discovered_labels"]["__address__"],
        "localhost"
    );
    assert!(shown_json(&run, "/targets").await["clients"]["own"].is_array());
    let page = shown(&run, "/service-discovery", "text/html").await;
    assert!(page.contains("<table"), "{page}");
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_came_and_was_rotated_while_no_agent_ran_is_read_and_an_archive_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let sink = Arc::new(Sink::default());
    let archived = |name: &str| {
        append(&path(name), "of the archive\n");
        let long_ago = SystemTime::now() - Duration::from_secs(3600);
        let file = fs::OpenOptions::new().append(true).open(path(name));
        file.unwrap().set_modified(long_ago).unwrap();
    };
    append(&path("a.log"), "one\n");
    archived("a.log.1");
    let run = start(config(directory.path()), &sink);
    until("the line", || sink.lines.lock().len() == 1).await;
    run.stop().await;
    append(&path("b.log"), "before it was rotated\n");
    fs::rename(path("b.log"), path("b.log.1")).unwrap();
    append(&path("b.log"), "after it was rotated\n");
    archived("b.log.2");
    append(&path("c.log.1"), "rotated and not made anew\n");
    archived("d.log.1");
    let run = start(config(directory.path()), &sink);
    until("three lines more", || sink.lines.lock().len() >= 4).await;
    run.stop().await;
    let mut lines = std::mem::take(&mut *sink.lines.lock());
    lines.sort();
    let expected = [
        "after it was rotated",
        "before it was rotated",
        "one",
        "rotated and not made anew",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn what_promtail_collects_and_this_agent_does_not_is_refused_with_the_job() {
    let refused = |keys: &str| {
        let text = format!("scrape_configs: [{{job_name: k, {keys}}}]");
        let config: Config = serde_yaml::from_str(&text).unwrap();
        config.validate().unwrap_err().to_string()
    };
    for source in [
        "gelf",
        "kafka",
        "azure_event_hubs",
        "gcplog",
        "cloudflare",
        "heroku_drain",
    ] {
        let error = refused(&format!("{source}: {{x: 1}}"));
        let expected = format!("job \"k\": {source}: not supported");
        assert!(error.contains(&expected), "{error}");
    }
    let error = refused("windows_events: {x: 1}");
    assert!(
        error.contains("job \"k\": windows_events: not supported"),
        "{error}"
    );
    for kind in [
        "azure",
        "consul",
        "consulagent",
        "digitalocean",
        "dns",
        "dockerswarm",
        "ec2",
        "gce",
        "marathon",
        "nerve",
        "openstack",
        "serverset",
        "triton",
    ] {
        let error = refused(&format!("{kind}_sd_configs: [{{x: 1}}]"));
        let expected = format!("job \"k\": {kind}_sd_configs: not supported");
        assert!(error.contains(&expected), "{error}");
    }
    for stage in ["eventlogmessage", "geoip"] {
        let error = refused(&format!("pipeline_stages: [{{{stage}: {{}}}}]"));
        let expected = format!("job \"k\": pipeline stage 1 ({stage}): this stage of promtail");
        assert!(error.contains(&expected), "{error}");
    }
    let error =
        refused("pipeline_stages: [{match: {selector: '{a=\"b\"}', stages: [{regexp: {}}]}}]");
    assert!(
        error.contains("job \"k\": pipeline stage 1 (match) / 1 (regexp): there is no stage"),
        "{error}"
    );
}

#[test]
fn what_does_not_hold_is_refused_with_its_reason() {
    let load = |text: &str| -> Result<(), String> {
        let config: Config = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
        config.validate().map_err(|error| error.to_string())
    };
    for (text, reason) in [
        (
            "scrape_configs: [{job_name: k, kafka: {brokers: [a]}}]",
            "job \"k\": kafka: not supported",
        ),
        (
            "scrape_configs: [{job_name: k}, {job_name: k}]",
            "two jobs are called \"k\"",
        ),
        ("scrape_configs: [{}]", "no job_name"),
        (
            "scrape_configs: [{job_name: k, static_configs: [{labels: {__path__: '/a[.log'}}]}]",
            "job \"k\": \"a[.log\" is no glob",
        ),
        ("clients: [{url: ''}]", "url: is missing"),
        (
            "scrape_configs: [{job_name: k, docker_sd_configs: [{host: x}]}]",
            "job \"k\": docker_sd_configs: host: \"x\" is neither",
        ),
        (
            "scrape_configs: [{job_name: k, syslog: {listen_address: x, tls_config: {ca_file: y}}}]",
            "job \"k\": syslog: tls_config: cert_file and key_file are needed",
        ),
        (
            "clients: [{url: 'https://a', tls_config: {server_name: 10.0.0.1}}]",
            "server_name",
        ),
        (
            "clients: [{url: 'https://a', tls_config: {min_version: TLS99}}]",
            "tls_config.min_version: \"TLS99\" is neither TLS12 nor TLS13",
        ),
        (
            "scrape_configs: [{job_name: k, syslog: {}}]",
            "job \"k\": syslog: listen_address: is missing",
        ),
        (
            "scrape_configs: [{job_name: k, encoding: x-nothing}]",
            "job \"k\": encoding: \"x-nothing\" is no encoding",
        ),
        (
            "scrape_configs: [{job_name: k, decompression: {enabled: true, format: rar}}]",
            "job \"k\": decompression.format",
        ),
        (
            "clients: [{url: a, headers: {User-Agent: x}}]",
            "the agent's own",
        ),
        ("clients: [{url: a}, {url: a}]", "give each a name"),
        ("positions: {file: x}", "filename"),
        ("wal: {enabled: true}", "wal.enabled"),
        (
            "server: {http_tls_config: {cert_file: x}}",
            "server.http_tls_config: cert_file and key_file: one of them is missing",
        ),
    ] {
        let error = load(text).unwrap_err();
        assert!(error.contains(reason), "{text}: {error}");
    }
    for text in [
        "wal: {enabled: false}",
        "",
        "client: {url: 'http://a'}",
        "scrape_configs: []",
    ] {
        load(text).unwrap();
    }
}

#[test]
fn the_example_of_promtails_users_loads() {
    let text = "
server: {http_listen_port: 9080, grpc_listen_port: 0}
positions: {filename: /tmp/positions.yaml}
clients:
  - url: http://loki:3100/loki/api/v1/push
    tenant_id: a
    batchwait: 500ms
    batchsize: 102400
    backoff_config: {min_period: 100ms, max_period: 10s, max_retries: 5}
    external_labels: {cluster: 1}
scrape_configs:
  - job_name: system
    static_configs:
      - targets: [localhost]
        labels: {job: varlogs, __path__: '/var/log/*log', __path_exclude__: '/var/log/*.gz'}
limits_config: {max_line_size: 256kb, max_line_size_truncate: true}
";
    let config: Config = serde_yaml::from_str(text).unwrap();
    config.validate().unwrap();
    assert_eq!(config.clients[0].batchsize.0, 102_400);
    assert_eq!(config.clients[0].external_labels["cluster"], "1");
    assert_eq!(config.limits_config.max_line_size.0, 256 << 10);
    let printed = serde_yaml::to_string(&config).unwrap();
    assert_eq!(serde_yaml::from_str::<Config>(&printed).unwrap(), config);
    let repeated = server::repeated_variables(&Config::default());
    assert!(repeated.is_empty(), "{repeated:?}");
}

#[test]
fn configurations_in_the_shape_of_promtails_documents_load() {
    for text in [
        "
server: {http_listen_port: 9080, grpc_listen_port: 0}
clients: [{url: 'https://loki.example/loki/api/v1/push', basic_auth: {username: u, password: p}}]
positions: {filename: /tmp/positions.yaml}
target_config: {sync_period: 10s}
scrape_configs:
  - job_name: pod-logs
    kubernetes_sd_configs: [{role: pod}]
    pipeline_stages: [{cri: {}}]
    relabel_configs:
      - {source_labels: [__meta_kubernetes_pod_node_name], target_label: __host__}
      - {action: labelmap, regex: __meta_kubernetes_pod_label_(.+)}
      - action: replace
        replacement: $1
        separator: /
        source_labels: [__meta_kubernetes_namespace, __meta_kubernetes_pod_name]
        target_label: job
      - replacement: /var/log/pods/*$1/*.log
        separator: /
        source_labels: [__meta_kubernetes_pod_uid, __meta_kubernetes_pod_container_name]
        target_label: __path__
",
        "
scrape_configs:
  - job_name: journal
    journal:
      json: false
      max_age: 12h
      path: /var/log/journal
      matches: _TRANSPORT=kernel
      labels: {job: systemd-journal}
    relabel_configs: [{source_labels: ['__journal__systemd_unit'], target_label: unit}]
",
        "
scrape_configs:
  - job_name: syslog
    syslog:
      listen_address: 0.0.0.0:1514
      listen_protocol: tcp
      idle_timeout: 60s
      label_structured_data: yes
      labels: {job: syslog}
    relabel_configs: [{source_labels: ['__syslog_message_hostname'], target_label: host}]
",
        "
scrape_configs:
  - job_name: push
    loki_push_api:
      server: {http_listen_port: 3500, grpc_listen_port: 3600}
      labels: {pushserver: push1}
  - job_name: packed
    decompression: {enabled: true, initial_delay: 10s, format: gz}
    encoding: utf-16
    file_sd_configs: [{files: ['/etc/targets/*.json'], refresh_interval: 1m}]
",
    ] {
        let config: Config = serde_yaml::from_str(text).unwrap();
        config.validate().unwrap();
    }
}

#[test]
fn globs_exclusions_and_hosts_decide_on_targets() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["a.log", "b.log", "c.txt", "own.log"] {
        fs::write(directory.path().join(name), "").unwrap();
    }
    let root = directory.path().display();
    let text = format!(
        "scrape_configs:
  - job_name: j
    static_configs:
      - labels: {{__path__: '{root}/*.log', __path_exclude__: '{root}/b*'}}
      - labels: {{__path__: '{root}/c.txt', __host__: other}}
      - labels: {{nothing: x}}
"
    );
    let config: Config = serde_yaml::from_str(&text).unwrap();
    let targets = Targets::of_config(&config.scrape_configs, "host").unwrap();
    let scan = targets.scan(10, &|path| path.ends_with("own.log"));
    let found: Vec<PathBuf> = scan.files.keys().map(|(_, path)| path.clone()).collect();
    assert_eq!(found, [directory.path().join("a.log")]);
    let reasons: Vec<&str> = targets
        .dropped()
        .iter()
        .map(|dropped| dropped.reason.as_str())
        .collect();
    assert_eq!(reasons, ["__host__ is another host", "no __path__"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_of_files_come_and_go_while_it_runs() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().display();
    let sink = Arc::new(Sink::default());
    let text = format!(
        "positions: {{filename: '{root}/positions/p.yaml'}}
scrape_configs:
  - job_name: j
    file_sd_configs: [{{files: ['{root}/sd/*.yaml']}}]
    relabel_configs:
      - {{source_labels: [app], target_label: __metadata_app}}
      - {{regex: app, action: labeldrop}}
"
    );
    let config: Config = serde_yaml::from_str(&text).unwrap();
    append(&directory.path().join("a.log"), "one\n");
    let run = start(config, &sink);
    fs::create_dir(directory.path().join("sd")).unwrap();
    let group = format!("- labels: {{__path__: '{root}/*.log', app: x}}\n");
    append(&directory.path().join("sd/a.yaml"), &group);
    until("the line", || sink.lines.lock().len() == 1).await;
    append(&directory.path().join("b.log"), "two\n");
    until("a file of the target", || sink.lines.lock().len() == 2).await;
    run.stop().await;
}
