//! What people do with an agent: dry runs, checks, reloads, flags, a look at how it is.

use std::time::Duration;

use tests::command::run;
use tests::wait_for;

use crate::site::Site;

/// Sections that have nothing in them, as in the examples of promtail's documents.
const JOB: &str = "
  - job_name: app
    pipeline_stages:
    static_configs: [{labels: {job: app, __path__: 'LOGS/*.log'}}]
limits_config:
tracing:
  enabled: false
";
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_configuration_is_taken_over_and_a_wrong_one_is_not() -> anyhow::Result<()> {
    let site = Site::start(JOB).await?;
    site.append("a.log", "one\n")?;
    let launch = site.agent.clone().with_arg("-server.enable-runtime-reload");
    let agent = launch.start().await?;
    site.counted("app", 1).await?;
    let api = agent.api();
    let (status, text) = api.get("/reload", &[]).await?;
    assert_eq!((status, text.trim()), (500, "config has not changed"));

    let flag = launch
        .args
        .iter()
        .find_map(|arg| arg.strip_prefix("--config="));
    let file = flag.unwrap_or_default();
    let written = std::fs::read_to_string(file)?;
    std::fs::write(file, format!("{written}\nnothing: 1\n"))?;
    let (status, text) = api.get("/reload", &[]).await?;
    assert!(status == 500 && text.contains("nothing"), "{text}");

    std::fs::write(file, written.replace("job: app", "job: new"))?;
    let (status, text) = api.get("/reload", &[]).await?;
    assert_eq!(status, 200, "{text}");
    site.append("a.log", "two\n")?;
    site.counted("new", 1).await?;
    site.has("new", &["two".to_owned()]).await?;
    let (_, metrics) = api.get("/metrics", &[]).await?;
    assert!(metrics.contains("promtail_config_reload_success_total 1"));
    assert!(metrics.contains("promtail_config_reload_fail_total 2"));

    std::fs::write(file, written.replace("job: app", "job: third"))?;
    let id = agent.id().to_string();
    assert!(
        std::process::Command::new("kill")
            .args(["-HUP", &id])
            .status()?
            .success()
    );
    wait_for("the reload", PATIENCE, async || {
        let (_, config) = api.get("/config", &[]).await.ok()?;
        config.contains("job: third").then_some(())
    })
    .await?;
    site.append("a.log", "three\n")?;
    site.counted("third", 1).await?;
    agent.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_state_is_shown_in_a_terminal() -> anyhow::Result<()> {
    let site = Site::start(JOB).await?;
    site.append("a.log", "one\n")?;
    let agent = site.agent.start().await?;
    site.counted("app", 1).await?;
    let addr = format!("--addr={}", agent.api().base());
    wait_for("all bytes", PATIENCE, async || {
        let shown = run("skald", &["agent", "status", &addr], &[]).await.ok()?;
        let line = shown.stdout.lines().find(|line| line.contains("a.log"))?;
        let words: Vec<&str> = line.split_whitespace().collect();
        words.starts_with(&["4", "4", "0"]).then_some(())
    })
    .await?;
    let (status, text) = agent.api().get("/debug/pprof/cmdline", &[]).await?;
    assert!(status == 200 && text.contains("skald-agent"), "{text}");
    agent.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn standard_input_is_read_to_its_end_and_delivered() -> anyhow::Result<()> {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let site = Site::start(JOB).await?;
    let config = site.agent.args.first().cloned().unwrap_or_default();
    let mut child = Command::new(tests::binary::path("skald-agent")?)
        .args([config.as_str(), "--stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    let lines: Vec<String> = (0..1000).map(|number| format!("piped {number}")).collect();
    let mut stdin = child
        .stdin
        .take()
        .ok_or_else(|| anyhow::anyhow!("no input"))?;
    stdin.write_all((lines.join("\n") + "\n").as_bytes())?;
    drop(stdin);
    let status = tokio::task::spawn_blocking(move || child.wait()).await??;
    assert!(status.success(), "{status}");
    site.has("app", &lines).await
}
