//! Stages as they are written in a configuration.

use std::fmt;

use serde::de::{DeserializeOwned, Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// One stage: its name and its options. What the options mean is looked at when the pipeline is
/// made, because only then the job is known that an error has to name.
#[derive(Clone, Debug, PartialEq)]
pub struct StageConfig {
    pub(crate) name: String,
    pub(crate) options: Value,
}

impl StageConfig {
    /// The options as the stage wants them.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, String> {
        let options = match &self.options {
            Value::Null => Value::Object(serde_json::Map::new()),
            options => options.clone(),
        };
        serde_json::from_value(options).map_err(|error| error.to_string())
    }
}

impl<'de> Deserialize<'de> for StageConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneKey;
        impl<'de> Visitor<'de> for OneKey {
            type Value = StageConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a stage: a map with the name of the stage as its only key")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<StageConfig, A::Error> {
                let Some((name, options)) = map.next_entry()? else {
                    return Err(A::Error::custom("a pipeline stage has no name"));
                };
                if let Some(second) = map.next_key::<String>()? {
                    return Err(A::Error::custom(format!(
                        "a pipeline stage has one key, but here are {name} and {second}"
                    )));
                }
                Ok(StageConfig { name, options })
            }
        }
        deserializer.deserialize_map(OneKey)
    }
}

impl Serialize for StageConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(&self.name, &self.options)?;
        map.end()
    }
}

/// Text that may stand without quotes where YAML sees a number or a truth value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scalar(pub(crate) String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self(text)),
            Value::Number(number) => Ok(Self(number.to_string())),
            Value::Bool(value) => Ok(Self(value.to_string())),
            other => Err(D::Error::custom(format!("expected a text, not {other}"))),
        }
    }
}

/// A stage that cannot be made from its configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("job {job:?}: pipeline stage {place}: {reason}")]
pub struct StageError {
    /// The job that the pipeline belongs to.
    pub job: String,
    /// Which stage: its number and name, with those of the stages around it.
    pub place: String,
    /// What is wrong.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_a_map_of_one_key() {
        let text = "- docker: {}\n- cri:\n- regex:\n    expression: '(?P<a>.)'\n";
        let stages: Vec<StageConfig> = serde_yaml::from_str(text).unwrap();
        let names: Vec<_> = stages.iter().map(|stage| stage.name.as_str()).collect();
        assert_eq!(names, ["docker", "cri", "regex"]);
        for (text, error) in [
            (
                "- cri: {}\n  docker: {}\n",
                "one key, but here are cri and docker",
            ),
            ("- {}\n", "has no name"),
            ("- cri\n", "expected mapping"),
        ] {
            let refused = serde_yaml::from_str::<Vec<StageConfig>>(text).unwrap_err();
            assert!(refused.to_string().contains(error), "{text}: {refused}");
        }
    }

    #[test]
    fn what_is_printed_reads_the_same() {
        let text = "- match:\n    selector: '{a=\"b\"}'\n    stages:\n    - labels: {x: null}\n";
        let stages: Vec<StageConfig> = serde_yaml::from_str(text).unwrap();
        let printed = serde_yaml::to_string(&stages).unwrap();
        assert_eq!(
            serde_yaml::from_str::<Vec<StageConfig>>(&printed).unwrap(),
            stages
        );
    }
}
