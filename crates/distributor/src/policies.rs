//! Policies: which streams of a tenant must have which labels, or are not taken for some time.

use std::sync::Arc;

use model::{LabelSet, Limits, Matcher};
use parking_lot::Mutex;

use crate::time;

/// The policy of streams that are under no other, and labels that streams of all policies must have.
const GLOBAL: &str = "*";
/// Tenants' policies that are kept compiled.
const KEPT_MAX: usize = 256;

/// Which stream is under which policy.
#[derive(Debug)]
struct Policies {
    /// What counts first is first.
    mapped: Vec<Mapped>,
}

#[derive(Debug)]
struct Mapped {
    policy: String,
    priority: i64,
    matchers: Vec<Matcher>,
}

impl Policies {
    fn new(limits: &Limits) -> Self {
        let mut mapped = Vec::new();
        for (policy, streams) in &limits.policy_stream_mapping {
            for stream in streams {
                match logql::syntax::parse_selector(&stream.selector) {
                    Ok(matchers) => mapped.push(Mapped {
                        policy: policy.clone(),
                        priority: stream.priority,
                        matchers,
                    }),
                    Err(error) => tracing::warn!(
                        policy, selector = stream.selector, %error,
                        "a selector of policy_stream_mapping is passed over"
                    ),
                }
            }
        }
        // Stable: of equal priorities the names stay in order.
        mapped.sort_by_key(|mapped| std::cmp::Reverse(mapped.priority));
        Self { mapped }
    }

    /// The name of a stream's policy, empty if it has none.
    fn of(&self, labels: &LabelSet) -> &str {
        let is_of = |mapped: &&Mapped| mapped.matchers.iter().all(|one| one.matches(labels));
        let found = self.mapped.iter().find(is_of);
        found.map_or("", |mapped| &mapped.policy)
    }
}

/// Policies by the limits that they are of.
#[derive(Debug, Default)]
pub(crate) struct PolicyCache(Mutex<Vec<(Arc<Limits>, Arc<Policies>)>>);

impl PolicyCache {
    /// The name of a stream's policy, empty if it has none.
    pub(crate) fn of(&self, limits: &Arc<Limits>, labels: &LabelSet) -> String {
        if limits.policy_stream_mapping.is_empty() {
            return String::new();
        }
        self.compiled(limits).of(labels).to_owned()
    }

    fn compiled(&self, limits: &Arc<Limits>) -> Arc<Policies> {
        let mut kept = self.0.lock();
        if let Some((_, policies)) = kept.iter().find(|(of, _)| Arc::ptr_eq(of, limits)) {
            return Arc::clone(policies);
        }
        let policies = Arc::new(Policies::new(limits));
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.push((Arc::clone(limits), Arc::clone(&policies)));
        policies
    }
}

/// Labels without which a stream of a policy is refused, those for every stream included.
pub(crate) fn enforced_labels<'a>(
    limits: &'a Limits,
    policy: &'a str,
) -> impl Iterator<Item = &'a String> {
    let of = |policy: &str| {
        limits
            .policy_enforced_labels
            .get(policy)
            .into_iter()
            .flatten()
    };
    let own = Some(policy).filter(|policy| *policy != GLOBAL);
    let of_policies = of(GLOBAL).chain(own.into_iter().flat_map(of));
    limits.enforced_labels.iter().chain(of_policies)
}

/// Until when streams of a policy are refused, as it is written and in nanoseconds.
pub(crate) fn blocked_until<'a>(limits: &'a Limits, policy: &str) -> Option<(&'a str, i64)> {
    let policy = match policy {
        "" => GLOBAL,
        policy => policy,
    };
    let until = limits.block_ingestion_policy_until.get(policy)?;
    Some((until, time::until_ns(until)))
}

#[cfg(test)]
mod tests {
    use model::PolicyStreams;

    use super::*;

    fn limits(mapped: &[(&str, &str, i64)]) -> Arc<Limits> {
        let mut limits = Limits::default();
        for (policy, selector, priority) in mapped {
            let streams = PolicyStreams {
                selector: (*selector).to_owned(),
                priority: *priority,
            };
            let policy = limits.policy_stream_mapping.entry((*policy).to_owned());
            policy.or_default().push(streams);
        }
        Arc::new(limits)
    }

    #[test]
    fn the_highest_priority_counts_then_the_name() {
        let cache = PolicyCache::default();
        let limits = limits(&[
            ("b", r#"{app="x"}"#, 1),
            ("a", r#"{app="x"}"#, 1),
            ("z", r#"{app="x", env="prod"}"#, 2),
            ("broken", "{", 9),
        ]);
        for (labels, policy) in [
            ([("app", "x"), ("env", "dev")], "a"),
            ([("app", "x"), ("env", "prod")], "z"),
            ([("app", "y"), ("env", "prod")], ""),
        ] {
            let labels = LabelSet::from_pairs(labels);
            assert_eq!(cache.of(&limits, &labels), policy);
            assert_eq!(cache.of(&Arc::new(Limits::default()), &labels), "");
        }
    }

    #[test]
    fn the_global_policy_blocks_streams_of_none_and_enforces_labels_of_all() {
        let mut limits = Limits {
            enforced_labels: vec!["env".to_owned()],
            ..Limits::default()
        };
        for (policy, label) in [("*", "team"), ("p", "owner")] {
            let labels = vec![label.to_owned()];
            limits
                .policy_enforced_labels
                .insert(policy.to_owned(), labels);
        }
        let enforced = |policy| enforced_labels(&limits, policy).collect::<Vec<_>>();
        assert_eq!(enforced("p"), ["env", "team", "owner"]);
        assert_eq!(enforced(""), ["env", "team"]);
        let until = "2200-01-01T00:00:00Z".to_owned();
        limits
            .block_ingestion_policy_until
            .insert("*".to_owned(), until);
        assert!(blocked_until(&limits, "").is_some_and(|(_, until_ns)| until_ns > 0));
        assert_eq!(blocked_until(&limits, "p"), None);
    }
}
