//! Relabelling: rules that rewrite or drop label sets, as Prometheus has them
//! (<https://prometheus.io/docs/prometheus/latest/configuration/configuration/#relabel_config>).

use std::collections::BTreeMap;

use md5::{Digest, Md5};
use model::{is_valid_label_name, re2};
use regex::Regex;
use serde::{Deserialize, Serialize};

type Labels = BTreeMap<String, String>;

/// What a rule does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    #[default]
    Replace,
    Keep,
    Drop,
    KeepEqual,
    DropEqual,
    HashMod,
    LabelMap,
    LabelDrop,
    LabelKeep,
    Lowercase,
    Uppercase,
}

/// A rule as it is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
    source_labels: Vec<String>,
    separator: String,
    regex: String,
    modulus: u64,
    target_label: String,
    replacement: String,
    #[serde(deserialize_with = "action")]
    action: Action,
}

impl Default for Written {
    fn default() -> Self {
        Self {
            source_labels: Vec::new(),
            separator: ";".to_owned(),
            regex: "(.*)".to_owned(),
            modulus: 0,
            target_label: String::new(),
            replacement: "$1".to_owned(),
            action: Action::default(),
        }
    }
}

/// Actions are written in any case.
fn action<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Action, D::Error> {
    let name = String::deserialize(deserializer)?.to_lowercase();
    Action::deserialize(serde::de::value::StrDeserializer::new(&name))
}

/// One rule of `relabel_configs`, with Prometheus' keys and defaults.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct RelabelConfig {
    written: Written,
    regex: Regex,
}

impl PartialEq for RelabelConfig {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

/// A rule that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelabelError {
    /// The expression does not compile.
    #[error("relabel rule: regex {regex:?}: {reason}")]
    Regex {
        /// As written.
        regex: String,
        /// Why it is refused.
        reason: String,
    },
    /// The action does not go with the other keys.
    #[error("relabel rule: action {action} {reason}")]
    Action {
        /// The action.
        action: String,
        /// What it needs.
        reason: &'static str,
    },
}

impl From<RelabelConfig> for Written {
    fn from(config: RelabelConfig) -> Self {
        config.written
    }
}

impl TryFrom<Written> for RelabelConfig {
    type Error = RelabelError;

    fn try_from(written: Written) -> Result<Self, RelabelError> {
        if let Some(reason) = written.fault() {
            let action = format!("{:?}", written.action).to_lowercase();
            return Err(RelabelError::Action { action, reason });
        }
        let refused = |reason: String| RelabelError::Regex {
            regex: written.regex.clone(),
            reason,
        };
        let inside = re2::translate(&written.regex).map_err(|error| refused(error.to_string()))?;
        let regex = Regex::new(&format!("^(?s:{})$", inside.pattern))
            .map_err(|error| refused(error.to_string()))?;
        Ok(Self { written, regex })
    }
}

impl Written {
    fn fault(&self) -> Option<&'static str> {
        use Action::{
            DropEqual, HashMod, KeepEqual, LabelDrop, LabelKeep, LabelMap, Lowercase, Replace,
            Uppercase,
        };
        let defaults = Self::default();
        let no_target = self.target_label.is_empty();
        match self.action {
            Replace | HashMod | Lowercase | Uppercase | KeepEqual | DropEqual if no_target => {
                Some("needs a target_label")
            }
            HashMod if self.modulus == 0 => Some("needs a modulus above 0"),
            HashMod | Lowercase | Uppercase | KeepEqual | DropEqual
                if !is_valid_label_name(&self.target_label) =>
            {
                Some("needs a target_label that is a label name")
            }
            Replace
                if !self.target_label.contains('$') && !is_valid_label_name(&self.target_label) =>
            {
                Some("needs a target_label that is a label name")
            }
            Lowercase | Uppercase | KeepEqual | DropEqual
                if self.replacement != defaults.replacement =>
            {
                Some("takes no replacement")
            }
            KeepEqual | DropEqual
                if self.regex != defaults.regex
                    || self.modulus != 0
                    || self.separator != defaults.separator =>
            {
                Some("takes source_labels and target_label and nothing else")
            }
            LabelMap if self.replacement.is_empty() => Some("needs a replacement"),
            LabelDrop | LabelKeep
                if *self
                    != (Self {
                        regex: self.regex.clone(),
                        action: self.action,
                        ..Self::default()
                    }) =>
            {
                Some("takes a regex and nothing else")
            }
            _ => None,
        }
    }
}

/// Applies rules in order. `None` if one of them drops the label set. Labels without a value are
/// none.
#[must_use]
pub fn relabel(labels: Labels, configs: &[RelabelConfig]) -> Option<Labels> {
    let mut labels = labels;
    labels.retain(|_, value| !value.is_empty());
    for config in configs {
        if !config.apply(&mut labels) {
            return None;
        }
    }
    Some(labels)
}

fn set(labels: &mut Labels, name: &str, value: String) {
    if value.is_empty() {
        labels.remove(name);
    } else {
        labels.insert(name.to_owned(), value);
    }
}

impl RelabelConfig {
    /// `false` if the label set is dropped.
    fn apply(&self, labels: &mut Labels) -> bool {
        let rule = &self.written;
        let target = rule.target_label.as_str();
        let value_of = |name: &str| labels.get(name).map_or("", String::as_str);
        let sources: Vec<&str> = rule
            .source_labels
            .iter()
            .map(|name| value_of(name))
            .collect();
        let source = sources.join(&rule.separator);
        match rule.action {
            Action::Keep => return self.regex.is_match(&source),
            Action::Drop => return !self.regex.is_match(&source),
            Action::KeepEqual => return value_of(target) == source,
            Action::DropEqual => return value_of(target) != source,
            Action::Replace => self.replace(&source, labels),
            Action::Lowercase => set(labels, target, source.to_lowercase()),
            Action::Uppercase => set(labels, target, source.to_uppercase()),
            Action::HashMod => {
                let bucket = hash(&source).checked_rem(rule.modulus).unwrap_or(0);
                set(labels, target, bucket.to_string());
            }
            Action::LabelMap => self.map(labels),
            Action::LabelDrop => labels.retain(|name, _| !self.regex.is_match(name)),
            Action::LabelKeep => labels.retain(|name, _| self.regex.is_match(name)),
        }
        true
    }

    fn replace(&self, source: &str, labels: &mut Labels) {
        let Some(captures) = self.regex.captures(source) else {
            return;
        };
        let (mut name, mut value) = (String::new(), String::new());
        captures.expand(&self.written.target_label, &mut name);
        captures.expand(&self.written.replacement, &mut value);
        if is_valid_label_name(&name) {
            set(labels, &name, value);
        }
    }

    fn map(&self, labels: &mut Labels) {
        let replacement = self.written.replacement.as_str();
        let mapped: Vec<(String, String)> = labels
            .iter()
            .filter(|(name, _)| self.regex.is_match(name))
            .map(|(name, value)| {
                (
                    self.regex.replace(name, replacement).into_owned(),
                    value.clone(),
                )
            })
            .collect();
        for (name, value) in mapped {
            set(labels, &name, value);
        }
    }
}

/// The last eight bytes of MD5, the first of them the highest.
fn hash(text: &str) -> u64 {
    let digest: [u8; 16] = Md5::digest(text.as_bytes()).into();
    (u128::from_be_bytes(digest) & u128::from(u64::MAX)) as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules(yaml: &str) -> Vec<RelabelConfig> {
        serde_yaml::from_str(yaml).unwrap()
    }

    fn labels(text: &str) -> Labels {
        let pairs = text
            .split_whitespace()
            .filter_map(|pair| pair.split_once('='));
        pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    /// The labels after the rules, as `a=1 b=2`, or `dropped`.
    fn after(before: &str, yaml: &str) -> String {
        let Some(after) = relabel(labels(before), &rules(yaml)) else {
            return "dropped".to_owned();
        };
        let pairs: Vec<_> = after
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        pairs.join(" ")
    }

    #[test]
    fn actions() {
        for (before, yaml, expected) in [
            ("a=1", "[{source_labels: [a], target_label: b}]", "a=1 b=1"),
            (
                "a=1 b=2",
                "[{source_labels: [a, b], target_label: c}]",
                "a=1 b=2 c=1;2",
            ),
            (
                "a=u1 b=c",
                "[{source_labels: [a, b], separator: /, target_label: __path__, \
                 replacement: /var/log/pods/*$1/*.log}]",
                "__path__=/var/log/pods/*u1/c/*.log a=u1 b=c",
            ),
            (
                "a=xy",
                "[{source_labels: [a], regex: x, target_label: b}]",
                "a=xy",
            ),
            (
                "a=xy",
                "[{source_labels: [a], regex: 'x(.)', target_label: 'n_${1}'}]",
                "a=xy n_y=y",
            ),
            (
                "a=xy",
                "[{source_labels: [a], target_label: '$1-', replacement: z}]",
                "a=xy",
            ),
            ("a=1", "[{target_label: a, replacement: ''}]", ""),
            ("a=1", "[{target_label: b, replacement: '$$x'}]", "a=1 b=$x"),
            (
                "a=1",
                "[{source_labels: [a], target_label: b, replacement: '$1x'}]",
                "a=1",
            ),
            (
                "a=1",
                "[{action: keep, source_labels: [a], regex: '[12]'}]",
                "a=1",
            ),
            (
                "a=12",
                "[{action: keep, source_labels: [a], regex: '[12]'}]",
                "dropped",
            ),
            (
                "a=1",
                "[{action: Drop, source_labels: [a], regex: 1|2}]",
                "dropped",
            ),
            (
                "a=1",
                "[{action: drop, source_labels: [b], regex: .+}]",
                "a=1",
            ),
            (
                "a=1 b=1",
                "[{action: keepequal, source_labels: [a], target_label: b}]",
                "a=1 b=1",
            ),
            (
                "a=1 b=2",
                "[{action: keepequal, source_labels: [a], target_label: b}]",
                "dropped",
            ),
            (
                "a=1 b=1",
                "[{action: dropequal, source_labels: [a], target_label: b}]",
                "dropped",
            ),
            (
                "a=1 b=2",
                "[{action: dropequal, source_labels: [a], target_label: b}]",
                "a=1 b=2",
            ),
            (
                "a=foo b=bar",
                "[{action: hashmod, source_labels: [a, b], target_label: d, modulus: 1000}]",
                "a=foo b=bar d=750",
            ),
            (
                "__meta_x=1 __meta_y=2 z=3",
                "[{action: labelmap, regex: __meta_(.+)}, {action: labeldrop, regex: __.*}]",
                "x=1 y=2 z=3",
            ),
            ("a=1 b=2 ab=3", "[{action: labelkeep, regex: a}]", "a=1"),
            (
                "a=FoO",
                "[{action: lowercase, source_labels: [a], target_label: b}]",
                "a=FoO b=foo",
            ),
            (
                "a=FoO",
                "[{action: uppercase, source_labels: [a], target_label: a}]",
                "a=FOO",
            ),
        ] {
            assert_eq!(after(before, yaml), expected, "{yaml}");
        }
    }

    #[test]
    fn rules_that_make_no_sense_are_refused() {
        for (yaml, error) in [
            ("[{action: replace}]", "needs a target_label"),
            ("[{target_label: 'a-b'}]", "that is a label name"),
            ("[{action: hashmod, target_label: a}]", "modulus above 0"),
            (
                "[{action: labeldrop, regex: a, target_label: b}]",
                "a regex and nothing else",
            ),
            (
                "[{action: keepequal, target_label: a, regex: b}]",
                "nothing else",
            ),
            ("[{action: keep, regex: '(a'}]", "missing closing )"),
            ("[{action: explode}]", "unknown variant"),
            ("[{action: keep, sources: [a]}]", "sources"),
        ] {
            let refused = serde_yaml::from_str::<Vec<RelabelConfig>>(yaml).unwrap_err();
            assert!(refused.to_string().contains(error), "{yaml}: {refused}");
        }
    }

    #[test]
    fn what_is_printed_reads_the_same() {
        let rules = rules("[{action: hashmod, source_labels: [a], target_label: b, modulus: 2}]");
        let printed = serde_yaml::to_string(&rules).unwrap();
        assert_eq!(
            serde_yaml::from_str::<Vec<RelabelConfig>>(&printed).unwrap(),
            rules
        );
    }

    proptest! {
        #[test]
        fn any_rule_is_refused_or_runs(
            regex in ".{0,12}", target in "[a-z$1{}]{0,6}", replacement in ".{0,8}", value in ".{0,8}"
        ) {
            let written = Written {
                source_labels: vec!["a".into()],
                regex,
                target_label: target,
                replacement,
                ..Written::default()
            };
            if let Ok(rule) = RelabelConfig::try_from(written) {
                let labels = Labels::from([("a".to_owned(), value)]);
                let after = relabel(labels, &[rule]);
                prop_assert!(after.is_some_and(|after| after.values().all(|v| !v.is_empty())));
            }
        }
    }
}
