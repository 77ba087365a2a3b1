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

/// The job that collects these files of a registry. `config/agent.yaml` shows the same.
pub(super) fn job(files: &[PathBuf], node: &str) -> anyhow::Result<ScrapeConfig> {
    let same = |names: &[&str]| -> Map<String, Value> {
        let pair = |name: &&str| ((*name).to_owned(), Value::from(*name));
        names.iter().map(pair).collect()
    };
    let mut extracted = same(&METADATA);
    extracted.extend(same(&["ts", "kind", "level"]));
    let targets = files.iter().map(|file| {
        json!({
            "targets": ["localhost"],
            "labels": {"service": "registry", "node": node, "__path__": file.to_string_lossy()},
        })
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
        let job = job(&[PathBuf::from("/a/registry-access.log")], "n1").unwrap();
        assert_eq!(job.pipeline_stages.len(), 4);
        let config = agent::Config {
            scrape_configs: vec![job],
            ..agent::Config::for_paths(&[], PathBuf::from("/positions.yaml"))
        };
        config.validate().unwrap();
    }
}
