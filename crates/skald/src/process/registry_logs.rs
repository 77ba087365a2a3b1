//! How the lines of the registry's log become entries: labels that have few values, the rest as
//! structured metadata.

use std::path::PathBuf;

use agent::config::ScrapeConfig;
use anyhow::Context;
use serde_json::{Map, Value, json};

/// Keys that become structured metadata, so that `{service="registry"} | rid="..."` finds all of a
/// request without reading a line.
const METADATA: [&str; 9] = [
    "rid", "project", "repo", "ref", "digest", "user", "actor", "action", "event",
];

/// The job that collects these files of a registry, which may serve a cluster that has a name.
/// `config/agent.yaml` shows the same.
pub(super) fn job(files: &[PathBuf], node: &str, cluster: &str) -> anyhow::Result<ScrapeConfig> {
    let same = |names: &[&str]| -> Map<String, Value> {
        let pair = |name: &&str| ((*name).to_owned(), Value::from(*name));
        names.iter().map(pair).collect()
    };
    let mut extracted = same(&METADATA);
    extracted.extend(same(&["ts", "kind", "level"]));
    let targets = files.iter().map(|file| {
        let mut labels =
            json!({"service": "registry", "node": node, "__path__": file.to_string_lossy()});
        if !cluster.is_empty() {
            labels["cluster"] = cluster.into();
        }
        json!({"targets": ["localhost"], "labels": labels})
    });
    let job = json!({
        "job_name": "registry",
        "static_configs": targets.collect::<Vec<_>>(),
        "pipeline_stages": [
            {"json": {"expressions": extracted}},
            {"labels": same(&["kind", "level"])},
            {"timestamp": {"source": "ts", "format": "RFC3339Nano"}},
            {"structured_metadata": same(&METADATA)},
        ],
    });
    serde_json::from_value(job).context("the registry's own log")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_job_is_one() {
        let file = [PathBuf::from("/a/registry-access.log")];
        for (cluster, labels) in [("", 3), ("east", 4)] {
            let job = job(&file, "n1", cluster).unwrap();
            let group = job.static_configs.first().unwrap();
            assert_eq!(group.labels.len(), labels);
            let label = group.labels.get("cluster").map(String::as_str);
            assert_eq!(label.unwrap_or_default(), cluster);
        }
        let job = job(&file, "n1", "").unwrap();
        assert_eq!(job.pipeline_stages.len(), 4);
        let config = agent::Config {
            scrape_configs: vec![job],
            ..agent::Config::for_paths(&[], PathBuf::from("/positions.yaml"))
        };
        config.validate().unwrap();
    }
}
