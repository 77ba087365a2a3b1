//! What the configuration of an artifact says of it, and for what the parts of an index are, as Harbor's
//! clients want to be told of it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::Error;

/// Labels of an image that name its author, where nothing else does.
const AUTHOR_LABELS: [&str; 2] = ["org.opencontainers.image.authors", "maintainer"];

/// What a manifest names, as far as more than its bytes count.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Named {
    pub(crate) config: Option<Config>,
    pub(crate) manifests: Vec<Use>,
}

/// Where a configuration is.
#[derive(Debug, Deserialize)]
pub(crate) struct Config {
    digest: String,
}

impl Config {
    pub(crate) fn digest(&self) -> Result<Digest, Error> {
        Digest::parse(&self.digest)
    }
}

/// What an index says of one of its parts.
#[derive(Debug, Deserialize)]
pub(crate) struct Use {
    pub(crate) digest: String,
    pub(crate) platform: Option<Platform>,
    pub(crate) annotations: Option<BTreeMap<String, String>>,
}

/// What an image runs on.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Platform {
    architecture: String,
    os: String,
    #[serde(rename = "os.version", skip_serializing_if = "String::is_empty")]
    os_version: String,
    #[serde(rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    os_features: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    variant: String,
}

/// What the configuration of an artifact says of it. Only what is known is read: it is anybody's, and
/// can be deep and long.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "ExtraAttrs")]
#[serde(untagged)]
pub(crate) enum Attributes {
    Image(Box<ImageAttributes>),
    Chart(Box<Chart>),
}

impl Attributes {
    /// Whether configurations of artifacts of this type, as Harbor calls it, are understood.
    pub(crate) fn are_of(kind: &str) -> bool {
        matches!(kind, "IMAGE" | "CHART")
    }

    /// Reads the configuration of an artifact; nothing if it says nothing that is understood.
    pub(crate) fn read(kind: &str, config: &[u8]) -> Option<Self> {
        match kind {
            "IMAGE" => {
                let image: Image = serde_json::from_slice(config).ok()?;
                Some(Self::Image(Box::new(image.attributes())))
            }
            "CHART" => serde_json::from_slice(config).ok().map(Self::Chart),
            _ => None,
        }
    }
}

/// The configuration of an image, as far as it is read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Image {
    architecture: String,
    os: String,
    created: Option<String>,
    author: String,
    config: Option<Execution>,
    /// How it came to be what it is, the oldest step first.
    pub(crate) history: Vec<Step>,
}

impl Image {
    fn attributes(self) -> ImageAttributes {
        let config = self.config.unwrap_or_default();
        let labels = config.labels.as_ref();
        let mut named = AUTHOR_LABELS.iter().filter_map(|name| labels?.get(*name));
        let author = match self.author.is_empty() {
            true => named.find(|author| !author.is_empty()).cloned(),
            false => Some(self.author),
        };
        ImageAttributes {
            architecture: self.architecture,
            os: self.os,
            created: self.created,
            author: author.unwrap_or_default(),
            config,
        }
    }
}

/// What is told of an image.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct ImageAttributes {
    architecture: String,
    os: String,
    created: Option<String>,
    author: String,
    config: Execution,
}

/// How an image is run. <https://github.com/opencontainers/image-spec/blob/main/config.md>
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ImageConfig")]
#[serde(rename_all = "PascalCase", default)]
struct Execution {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exposed_ports: Option<BTreeMap<String, Empty>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    env: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entrypoint: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cmd: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    volumes: Option<BTreeMap<String, Empty>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    working_dir: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_signal: Option<String>,
}

/// An object of which only that it is there counts.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
struct Empty {}

/// A step of an image's history.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "BuildStep")]
#[serde(default)]
pub(crate) struct Step {
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    author: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    /// Whether it has no layer.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    empty_layer: bool,
}

/// What a chart says of itself. <https://helm.sh/docs/topics/charts/#the-chartyaml-file>
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Chart {
    api_version: String,
    name: String,
    version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kube_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    home: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    icon: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deprecated: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keywords: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sources: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    maintainers: Option<Vec<BTreeMap<String, String>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<BTreeMap<String, String>>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn read(kind: &str, config: &Value) -> Value {
        json!(Attributes::read(kind, config.to_string().as_bytes()))
    }

    #[test]
    fn an_image_says_what_it_runs_on_and_how() {
        let config = json!({
            "architecture": "arm64", "os": "linux", "created": "2026-01-02T03:04:05Z",
            "config": {"Env": ["A=b"], "Cmd": null, "ExposedPorts": {"80/tcp": {}},
                "Labels": {"maintainer": "ann"}, "Unknown": {}},
            "rootfs": {}, "history": [{"created_by": "COPY", "empty_layer": true}],
        });
        assert_eq!(
            read("IMAGE", &config),
            json!({
                "architecture": "arm64", "os": "linux", "created": "2026-01-02T03:04:05Z",
                "author": "ann", "config": {"Env": ["A=b"], "ExposedPorts": {"80/tcp": {}},
                    "Labels": {"maintainer": "ann"}},
            })
        );
        let image: Image = serde_json::from_value(config).unwrap();
        assert_eq!(
            json!(image.history),
            json!([{"created_by": "COPY", "empty_layer": true}])
        );
        assert_eq!(read("IMAGE", &json!({}))["architecture"], "");
    }

    #[test]
    fn a_chart_says_which_it_is() {
        let chart = json!({"apiVersion": "v2", "name": "app", "version": "1.2.3",
            "maintainers": [{"name": "ann"}]});
        assert_eq!(read("CHART", &chart), chart);
    }

    #[test]
    fn what_is_not_understood_says_nothing() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(Attributes::read("IMAGE", deep.as_bytes()).is_none());
        for wrong in [json!("x"), json!({"os": 1}), json!({"config": [1]})] {
            assert_eq!(read("IMAGE", &wrong), Value::Null, "{wrong}");
        }
        assert_eq!(read("UNKNOWN", &json!({})), Value::Null);
    }

    proptest! {
        #[test]
        fn no_bytes_stop_the_process(bytes: Vec<u8>) {
            let _ = Attributes::read("IMAGE", &bytes);
            let _ = Attributes::read("CHART", &bytes);
        }
    }
}
