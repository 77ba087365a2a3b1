//! Lines that come to the agent.

use std::os::unix::fs::PermissionsExt;

use proto::logproto::{EntryAdapter, StreamAdapter, Timestamp};
use tokio::io::AsyncWriteExt;

use super::*;

/// An agent with one job besides its positions.
pub(super) fn start_job(directory: &Path, job: &str, sink: &Arc<Sink>) -> Run {
    let text = format!(
        "positions: {{filename: '{}/positions.yaml'}}\nscrape_configs:\n{job}",
        directory.display()
    );
    let config: Config = serde_yaml::from_str(&text).unwrap();
    config.validate().unwrap();
    start(config, sink)
}

pub(super) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pushed_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let sink = Arc::new(Sink::default());
    let port = free_port();
    let job = format!(
        "  - job_name: push
    loki_push_api:
      server: {{http_listen_address: 127.0.0.1, http_listen_port: {port}}}
      labels: {{via: agent}}
      use_incoming_timestamp: true
    pipeline_stages: [{{template: {{source: new, template: '{{{{.Entry}}}} from {{{{.app}}}}'}}}}, {{output: {{source: new}}}}]
"
    );
    let run = start_job(directory.path(), &job, &sink);
    let stream = StreamAdapter {
        labels: r#"{app="a", x="\"q\""}"#.to_owned(),
        entries: vec![EntryAdapter {
            timestamp: Some(Timestamp {
                seconds: 5,
                nanos: 6,
            }),
            line: "one".into(),
            ..EntryAdapter::default()
        }],
        hash: 0,
    };
    let request = PushRequest {
        streams: vec![stream],
        ..PushRequest::default()
    };
    let body = prost::Message::encode_to_vec(&request);
    let body = snap::raw::Encoder::new().compress_vec(&body).unwrap();
    let url = format!("http://127.0.0.1:{port}");
    let client = reqwest::Client::new();
    let post = async |path: &str, kind: &str, body: Vec<u8>| {
        let request = client
            .post(format!("{url}{path}"))
            .header("content-type", kind);
        request.body(body).send().await.unwrap().status().as_u16()
    };
    let kind = "application/x-protobuf";
    assert_eq!(post("/loki/api/v1/push", kind, body).await, 204);
    assert_eq!(
        post("/loki/api/v1/push", kind, b"garbage".to_vec()).await,
        400
    );
    let json = r#"{"streams":[{"stream":{"app":"b"},"values":[["7","two",{"m":"1"}]]}]}"#;
    let kind = "application/json";
    assert_eq!(post("/loki/api/v1/push", kind, json.into()).await, 204);
    assert_eq!(
        post(
            "/promtail/api/v1/raw",
            "text/plain",
            b"three\nfour\n".to_vec()
        )
        .await,
        204
    );
    until("all lines", || sink.lines.lock().len() == 4).await;
    let mut lines = sink.lines.lock().clone();
    lines.sort();
    assert_eq!(
        lines,
        [
            "four from <no value>",
            "one from a",
            "three from <no value>",
            "two from b"
        ]
    );
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn syslog_comes_over_both_transports() {
    for protocol in ["tcp", "udp"] {
        let directory = tempfile::tempdir().unwrap();
        let sink = Arc::new(Sink::default());
        let port = free_port();
        let job = format!(
            "  - job_name: syslog
    syslog: {{listen_address: '127.0.0.1:{port}', listen_protocol: {protocol}}}
    relabel_configs: [{{source_labels: [__syslog_message_app_name], regex: dropped, action: drop}}]
"
        );
        let run = start_job(directory.path(), &job, &sink);
        let message = |app: &str, text: &str| format!("<13>1 - host {app} - - - {text}");
        if protocol == "tcp" {
            let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port))
                .await
                .unwrap();
            let counted = message("a", "two\nlines");
            let text = format!(
                "{}\n{}\n{} {counted}{}\n",
                message("a", "one"),
                message("dropped", "x"),
                counted.len(),
                message("a", "three"),
            );
            stream.write_all(text.as_bytes()).await.unwrap();
        } else {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            for (app, text) in [
                ("a", "one"),
                ("dropped", "x"),
                ("a", "two\nlines"),
                ("a", "three"),
            ] {
                let message = message(app, text);
                socket
                    .send_to(message.as_bytes(), ("127.0.0.1", port))
                    .unwrap();
            }
        }
        until("all messages", || sink.lines.lock().len() == 3).await;
        assert_eq!(
            *sink.lines.lock(),
            ["one", "two\nlines", "three"],
            "{protocol}"
        );
        run.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_goes_on_after_what_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let sink = Arc::new(Sink::default());
    let program = directory.path().join("journalctl");
    // Says what it was asked, gives two records, and follows.
    let script = "#!/bin/sh
echo \"$@\" >> \"$(dirname \"$0\")/asked\"
n=$(wc -l < \"$(dirname \"$0\")/asked\")
for i in 1 2; do
  echo \"{\\\"__CURSOR\\\":\\\"t=$n$i\\\",\\\"MESSAGE\\\":\\\"run $n record $i\\\"}\"
done
exec sleep 1000
";
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let job = format!(
        "  - job_name: journal
    journal: {{journalctl: '{}', labels: {{job: journal}}}}
",
        program.display()
    );
    for run_no in 1..=2 {
        let run = start_job(directory.path(), &job, &sink);
        until("both records", || sink.lines.lock().len() == 2 * run_no).await;
        run.stop().await;
    }
    assert_eq!(sink.lines.lock()[2..], ["run 2 record 1", "run 2 record 2"]);
    let asked = fs::read_to_string(directory.path().join("asked")).unwrap();
    let second = asked.lines().nth(1).unwrap();
    assert!(second.contains("--after-cursor=t=12"), "{second}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_goes_on_after_what_stages_have_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("journalctl");
    let record = r#"{"__CURSOR":"c7","__REALTIME_TIMESTAMP":"1700000000000000","MESSAGE":"x"}"#;
    let script = format!("#!/bin/sh\necho '{record}'\nexec sleep 600\n");
    std::fs::write(&program, script).unwrap();
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&program, mode).unwrap();
    let job = format!(
        "  - job_name: journal
    journal: {{journalctl: '{}', labels: {{job: journal}}}}
    pipeline_stages: [{{drop: {{expression: '.'}}}}]
",
        program.display()
    );
    let sink = Arc::new(Sink::default());
    let run = start_job(directory.path(), &job, &sink);
    let positions = directory.path().join("positions.yaml");
    let is_saved = || {
        let saved = fs::read_to_string(&positions);
        saved.is_ok_and(|saved| saved.contains("c7"))
    };
    until("the place", is_saved).await;
    run.stop().await;
    assert!(sink.lines.lock().is_empty());
}
