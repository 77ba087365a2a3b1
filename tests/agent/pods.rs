//! Pods whose containers are started anew, as a kubelet does it: another file in the same directory,
//! another id and a count that is one more, and the same pod.

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::site::Site;

const UID: &str = "6f2c1f3a-0000-4000-8000-000000000001";

fn jobs(cluster: &Cluster) -> String {
    format!(
        "
  - job_name: pods
    pipeline_stages: [{{cri: {{}}}}]
    kubernetes_sd_configs: [{{role: pod, api_server: '{}'}}]
    relabel_configs:
      - {{source_labels: [__meta_kubernetes_namespace], target_label: namespace}}
      - {{source_labels: [__meta_kubernetes_pod_container_name], target_label: job}}
      - source_labels: [__meta_kubernetes_pod_container_image_digest]
        target_label: __metadata_image_digest
      - source_labels: [__meta_kubernetes_pod_uid, __meta_kubernetes_pod_container_name]
        separator: /
        target_label: __path__
        replacement: LOGS/*$1/*.log
",
        cluster.base()
    )
}

/// The pod after its container was started so many times anew.
fn pod(restarts: usize) -> Value {
    json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {"name": "web-0", "namespace": "shop", "uid": UID},
        "spec": {"nodeName": "n", "containers": [{"name": "web", "image": "hub/web:1"}]},
        "status": {
            "phase": "Running", "podIP": "10.0.0.7",
            "containerStatuses": [{
                "name": "web", "restartCount": restarts, "image": "hub/web:1",
                "imageID": "hub/web@sha256:abc", "containerID": format!("containerd://{restarts}"),
            }],
        },
    })
}

/// Writes lines of one life of the container; the texts.
fn write(site: &Site, life: usize, count: usize) -> anyhow::Result<Vec<String>> {
    let directory = site.path(&format!("shop_web-0_{UID}/web"));
    std::fs::create_dir_all(directory)?;
    let mut texts = Vec::new();
    for number in 0..count {
        let time = jiff::Timestamp::now();
        let text = format!("life {life}, line {number} at {time}");
        let name = format!("shop_web-0_{UID}/web/{life}.log");
        site.append(&name, &format!("{time} stdout F {text}\n"))?;
        texts.push(text);
    }
    Ok(texts)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_is_started_anew_is_read_on_in_its_next_file() -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    let site = Site::start(&jobs(&cluster)).await?;
    let file = |life: usize| site.path(&format!("shop_web-0_{UID}/web/{life}.log"));

    cluster.tell("ADDED", pod(0));
    let mut written = write(&site, 0, 100)?;
    let agent = site.agent.start().await?;
    site.counted("web", written.len()).await?;
    // Its last words, and the first of the next life, before anybody is told of that.
    written.extend(write(&site, 0, 50)?);
    written.extend(write(&site, 1, 100)?);
    cluster.tell("MODIFIED", pod(1));
    site.counted("web", written.len()).await?;
    // A kubelet keeps the file of the life before, and takes away those before it.
    written.extend(write(&site, 1, 50)?);
    written.extend(write(&site, 2, 100)?);
    cluster.tell("MODIFIED", pod(2));
    std::fs::remove_file(file(0))?;
    site.counted("web", written.len()).await?;
    agent.stop().await?;

    // Twice while no agent runs.
    written.extend(write(&site, 2, 50)?);
    written.extend(write(&site, 3, 100)?);
    written.extend(write(&site, 4, 100)?);
    std::fs::remove_file(file(1))?;
    cluster.tell("MODIFIED", pod(4));
    let agent = site.agent.start().await?;
    site.counted("web", written.len()).await?;
    written.extend(write(&site, 4, 50)?);
    // Killed with lines of two lives not noted yet.
    written.extend(write(&site, 5, 100)?);
    cluster.tell("MODIFIED", pod(5));
    agent.kill()?;
    let agent = site.agent.start().await?;
    site.counted("web", written.len()).await?;
    site.has("web", &written).await?;
    let query = "count_over_time({job=\"web\",namespace=\"shop\"} \
                 | image_digest=\"sha256:abc\" [1d])";
    let now_ns = tests::lines::now_ns() + tests::lines::SECOND_NS;
    let with_digest = site.server.api().instant(query, now_ns).await?;
    assert_eq!(with_digest as usize, written.len());

    // The pod goes; what it wrote last is read.
    written.extend(write(&site, 5, 50)?);
    cluster.tell("DELETED", pod(5));
    site.counted("web", written.len()).await?;
    site.has("web", &written).await?;
    agent.stop().await?;
    Ok(())
}
