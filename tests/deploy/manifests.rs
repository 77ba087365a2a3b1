//! Manifests and charts.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use tests::command::run;
use tests::registry::{Kind, Registry, bytes};
use tests::wait_for;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::read;
use crate::render::render;

/// The documents of a text.
fn documents(text: &str) -> anyhow::Result<Vec<Value>> {
    let parts = text.split("\n---\n").filter(|part| !part.trim().is_empty());
    parts.map(|part| Ok(serde_yaml::from_str(part)?)).collect()
}

fn of_kind<'d>(documents: &'d [Value], kind: &str) -> anyhow::Result<&'d Value> {
    let found = documents.iter().find(|document| document["kind"] == kind);
    found.with_context(|| format!("there is no {kind}"))
}

/// What of a manifest must fit together.
fn check(documents: &[Value]) -> anyhow::Result<()> {
    let account = &of_kind(documents, "ServiceAccount")?["metadata"]["name"];
    let role = of_kind(documents, "ClusterRole")?;
    let binding = of_kind(documents, "ClusterRoleBinding")?;
    assert_eq!(binding["roleRef"]["name"], role["metadata"]["name"]);
    assert_eq!(&binding["subjects"][0]["name"], account);
    assert_eq!(binding["subjects"][0]["namespace"], "skald");
    let rules = role["rules"].as_array().context("no rules")?;
    assert_eq!(
        rules.len(),
        1,
        "the agent needs to look at pods, and nothing else"
    );
    assert_eq!(rules[0]["resources"], serde_json::json!(["pods"]));
    assert_eq!(
        rules[0]["verbs"],
        serde_json::json!(["get", "list", "watch"])
    );

    let set = of_kind(documents, "DaemonSet")?;
    let (selector, template) = (
        &set["spec"]["selector"]["matchLabels"],
        &set["spec"]["template"],
    );
    for (name, value) in selector.as_object().context("no selector")? {
        assert_eq!(&template["metadata"]["labels"][name], value);
    }
    let pod = &template["spec"];
    assert_eq!(&pod["serviceAccountName"], account);
    let container = &pod["containers"][0];
    let env = container["env"].as_array().context("no environment")?;
    let node = env.iter().find(|variable| variable["name"] == "HOSTNAME");
    let field = &node.context("no HOSTNAME")?["valueFrom"]["fieldRef"]["fieldPath"];
    assert_eq!(field, "spec.nodeName");
    let volumes = pod["volumes"].as_array().context("no volumes")?;
    let mounts = container["volumeMounts"].as_array().context("no mounts")?;
    for mount in mounts {
        assert!(
            volumes.iter().any(|volume| volume["name"] == mount["name"]),
            "{mount}"
        );
    }
    let writable = mounts.iter().filter(|mount| mount["readOnly"] != true);
    let paths: Vec<_> = writable
        .filter_map(|mount| mount["mountPath"].as_str())
        .collect();
    assert_eq!(paths, ["/etc/skald", "/var/lib/skald-agent"]);
    let security = &container["securityContext"];
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(security["allowPrivilegeEscalation"], false);
    let ports = container["ports"].as_array().context("no ports")?;
    let probe = &container["readinessProbe"]["httpGet"]["port"];
    assert!(ports.iter().any(|port| &port["name"] == probe));
    Ok(())
}

/// What of a configuration the manifests rely on, and that the agent accepts it in a cluster.
async fn check_config(text: &str) -> anyhow::Result<()> {
    let config: Value = serde_yaml::from_str(text)?;
    assert_eq!(config["server"]["http_listen_port"], 9080);
    let positions = config["positions"]["filename"]
        .as_str()
        .context("no positions")?;
    assert!(
        positions.starts_with("/var/lib/skald-agent/"),
        "{positions}"
    );
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("agent.yaml");
    std::fs::write(&file, text)?;
    let flag = format!("-config.file={}", file.display());
    let output = run("skald-agent", &[&flag, "-check-syntax"], &[]).await?;
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert_eq!(
        output.stdout.trim(),
        "Valid config file! No syntax issues found"
    );
    Ok(())
}

#[tokio::test]
async fn the_manifests_fit_together() -> anyhow::Result<()> {
    check(&documents(&read("kubernetes/agent.yaml")?)?)?;
    let kustomization: Value = serde_yaml::from_str(&read("kubernetes/kustomization.yaml")?)?;
    let resources = kustomization["resources"]
        .as_array()
        .context("no resources")?;
    for resource in resources {
        let name = resource.as_str().context("no name")?;
        documents(&read(&format!("kubernetes/{name}"))?).with_context(|| name.to_owned())?;
    }
    check_config(&read("kubernetes/agent-config.yaml")?).await
}

/// No traffic goes to a registry whose database or store does not answer.
#[tokio::test]
async fn a_registry_is_ready_when_it_says_so_itself() -> anyhow::Result<()> {
    let documents = documents(&read("kubernetes/registry.yaml")?)?;
    let container =
        &of_kind(&documents, "StatefulSet")?["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(
        container["readinessProbe"]["httpGet"],
        json!({"path": "/readyz", "port": "registry", "scheme": "HTTP"})
    );
    Ok(())
}

/// Who stops a registry gives others the time to go elsewhere, and open requests that to end.
#[test]
fn a_registry_is_stopped_without_haste() -> anyhow::Result<()> {
    let documents = documents(&read("kubernetes/registry.yaml")?)?;
    let pod = &of_kind(&documents, "StatefulSet")?["spec"]["template"]["spec"];
    let env = pod["containers"][0]["env"].as_array();
    let env = env.context("no environment")?;
    let seconds = |name: &str| -> anyhow::Result<u64> {
        let variable = env.iter().find(|variable| variable["name"] == name);
        let value = variable.and_then(|variable| variable["value"].as_str());
        let number = value.and_then(|value| value.strip_suffix('s'));
        Ok(number.with_context(|| name.to_owned())?.parse()?)
    };
    let delay_s = seconds("SKALD_SERVER_SHUTDOWN_DELAY")?;
    let drain_s = seconds("SKALD_SERVER_DRAIN_TIMEOUT")?;
    assert!(delay_s > 0 && drain_s >= 60);
    // What is open when the drain is over is closed, and so is the database.
    let grace_s = pod["terminationGracePeriodSeconds"].as_u64();
    assert!(grace_s.is_some_and(|grace_s| grace_s >= delay_s + drain_s + 10));
    Ok(())
}

#[test]
fn the_chart_of_the_registry_gives_the_same_as_its_manifest() -> anyhow::Result<()> {
    let values: Value = serde_yaml::from_str(&read("helm/skald-registry/values.yaml")?)?;
    let chart: Value = serde_yaml::from_str(&read("helm/skald-registry/Chart.yaml")?)?;
    assert_eq!(chart["apiVersion"], "v2");
    let template = read("helm/skald-registry/templates/registry.yaml")?;
    let mut ours = documents(&render(&template, &values)?)?;
    let mut plain = documents(&read("kubernetes/registry.yaml")?)?;
    for all in [&mut ours, &mut plain] {
        let set = all.iter_mut().find(|one| one["kind"] == "StatefulSet");
        let pod = &mut set.context("no StatefulSet")?["spec"]["template"]["spec"];
        let container = &mut pod["containers"][0];
        container["image"] = Value::Null;
        // With the tag that the chart names it is what Kubernetes takes.
        container["imagePullPolicy"] = Value::Null;
        drop_empty(container);
        drop_empty(pod);
    }
    assert_eq!(ours, plain);
    Ok(())
}

/// Lists and maps that a chart leaves empty are as if they were not there.
fn drop_empty(section: &mut Value) {
    let is_empty = |value: &Value| *value == json!([]) || *value == json!({});
    if let Value::Object(keys) = section {
        keys.retain(|_, value| !is_empty(value));
    }
}

/// What has to come from secrets has its place: files of them, and where they are.
#[test]
fn a_registry_of_the_chart_can_have_secrets_and_speak_tls() -> anyhow::Result<()> {
    let mut values: Value = serde_yaml::from_str(&read("helm/skald-registry/values.yaml")?)?;
    let (volume, mount) = (json!([{"name": "tls"}]), json!([{"name": "tls"}]));
    values["volumes"] = volume.clone();
    values["volumeMounts"] = mount.clone();
    values["envFrom"] = json!([{"secretRef": {"name": "keys"}}]);
    values["scheme"] = json!("HTTPS");
    let template = read("helm/skald-registry/templates/registry.yaml")?;
    let documents = documents(&render(&template, &values)?)?;
    let pod = &of_kind(&documents, "StatefulSet")?["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(
        (&pod["volumes"], &container["volumeMounts"]),
        (&volume, &mount)
    );
    assert_eq!(container["envFrom"], values["envFrom"]);
    let probe = &container["readinessProbe"]["httpGet"];
    assert_eq!(probe["scheme"], "HTTPS");
    Ok(())
}

/// What a registry prints reaches the streams that its dashboard asks for.
#[tokio::test]
async fn the_lines_of_a_registry_are_known_by_what_they_are() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[("SKALD_REGISTRY_LOG_TO", "stdout")]).await?;
    let client = registry.client();
    client.push_image("team/app", "v1", &bytes(1, 1000)).await?;
    let printed = registry.directory().join("registry.out");
    let is_there = async || {
        let text = std::fs::read_to_string(&printed).ok()?;
        ["access", "audit"]
            .iter()
            .all(|kind| text.contains(&format!(r#""kind":"{kind}""#)))
            .then_some(text)
    };
    let text = wait_for("its lines", Duration::from_secs(20), is_there).await?;
    let docker = |tag: &str| {
        let line = |line: &str| {
            let (line, attrs) = (format!("{line}\n"), json!({"tag": tag}));
            let time = "2026-01-02T03:04:05.6Z";
            json!({"log": line, "stream": "stdout", "attrs": attrs, "time": time}).to_string()
        };
        text.lines().map(line).collect::<Vec<_>>().join("\n")
    };
    let cri = |line: &str| format!("2026-01-02T03:04:05.6Z stdout F {line}");
    let cri = text.lines().map(cri).collect::<Vec<_>>().join("\n");
    let pod = |namespace: &str, pod: &str| json!({"namespace": namespace, "pod": pod, "app": "skald", "container": "registry"});
    let (kubernetes, compose) = ("kubernetes/agent-config.yaml", "compose/agent.yaml");
    let containers = json!({"job": "containers"});
    for (config, labels, lines, is_registry) in [
        (kubernetes, pod("skald", "skald-registry-0"), &cri, true),
        // Whoever may start a pod or a container can call it so, and print the same.
        (kubernetes, pod("team", "skald-registry-0"), &cri, false),
        (kubernetes, pod("skald", "other-0"), &cri, false),
        (compose, containers.clone(), &docker("skald-registry"), true),
        (compose, containers, &docker("0123456789ab"), false),
    ] {
        let entries = entries(config, &labels, lines).await?;
        assert!(!entries.contains("tag="), "{entries}");
        for kind in ["access", "audit"] {
            let is_there = entries.lines().any(|line| {
                line.contains(&format!(r#"kind="{kind}""#))
                    && line.contains(r#"service="registry""#)
            });
            assert_eq!(is_there, is_registry, "{config} {labels} {kind}\n{entries}");
        }
    }
    Ok(())
}

/// What the first job of a configuration makes of lines that come with labels.
async fn entries(config: &str, labels: &Value, lines: &str) -> anyhow::Result<String> {
    let config: Value = serde_yaml::from_str(&read(config)?)?;
    let directory = tempfile::tempdir()?;
    let config = json!({
        "server": {"http_listen_port": 0, "grpc_listen_port": 0},
        "positions": {"filename": directory.path().join("positions.yaml")},
        "clients": [{"url": "http://127.0.0.1:1/loki/api/v1/push"}],
        "scrape_configs": [{"job_name": "test",
            "pipeline_stages": config["scrape_configs"][0]["pipeline_stages"],
            "static_configs": [{"targets": ["localhost"], "labels": labels}]}],
    });
    let file = directory.path().join("agent.yaml");
    std::fs::write(&file, serde_yaml::to_string(&config)?)?;
    let flag = format!("-config.file={}", file.display());
    let mut child = Command::new(tests::binary::path("skald-agent")?)
        .args([&flag, "-stdin", "-dry-run"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut stdin = child.stdin.take().context("no input")?;
    stdin.write_all(lines.as_bytes()).await?;
    drop(stdin);
    let output = child.wait_with_output().await?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test]
async fn the_chart_gives_the_same_as_the_manifests() -> anyhow::Result<()> {
    let values: Value = serde_yaml::from_str(&read("helm/skald-agent/values.yaml")?)?;
    let chart: Value = serde_yaml::from_str(&read("helm/skald-agent/Chart.yaml")?)?;
    assert_eq!(chart["apiVersion"], "v2");
    let mut all = Vec::new();
    for template in ["rbac", "config", "daemonset"] {
        let text = read(&format!("helm/skald-agent/templates/{template}.yaml"))?;
        all.extend(documents(&render(&text, &values)?)?);
    }
    check(&all)?;
    let mut ours = of_kind(&all, "DaemonSet")?.clone();
    let plain = documents(&read("kubernetes/agent.yaml")?)?;
    let mut plain = of_kind(&plain, "DaemonSet")?.clone();
    let annotations = &mut ours["spec"]["template"]["metadata"]["annotations"];
    annotations
        .as_object_mut()
        .context("no annotations")?
        .remove("checksum/config");
    for set in [&mut ours, &mut plain] {
        set["spec"]["template"]["spec"]["containers"][0]["image"] = Value::Null;
    }
    assert_eq!(ours, plain);
    let config = of_kind(&all, "ConfigMap")?;
    check_config(
        config["data"]["agent.yaml"]
            .as_str()
            .context("no configuration")?,
    )
    .await
}
