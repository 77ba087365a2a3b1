//! How long a tenant's streams are kept.

use std::cmp::Reverse;

use logql::syntax;
use model::units::DurationNs;
use model::{LabelSet, Limits, Matcher};

/// How long a tenant's streams are kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Retention {
    /// Of streams that no rule is about; 0 for ever.
    period_ns: i64,
    /// Other periods, the rule that wins first: that of the highest priority, of several such that
    /// of the shortest period, as in Loki.
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    matchers: Vec<Matcher>,
    period_ns: i64,
}

impl Retention {
    /// What the limits say. A rule that cannot be read makes everything stay: better too much than
    /// too little. The text says which.
    pub(crate) fn of(limits: &Limits) -> Result<Self, String> {
        let mut streams: Vec<_> = limits.retention_stream.iter().collect();
        streams.sort_by_key(|stream| (Reverse(stream.priority), lasting_ns(stream.period)));
        let rule = |stream: &&model::StreamRetention| {
            let selector = &stream.selector;
            let matchers = syntax::parse_open_selector(selector)
                .map_err(|error| format!("retention_stream {selector}: {error}"))?;
            Ok(Rule {
                matchers,
                period_ns: stream.period.0,
            })
        };
        Ok(Self {
            period_ns: limits.retention_period.0,
            rules: streams.iter().map(rule).collect::<Result<_, String>>()?,
        })
    }

    /// Whether everything is kept for ever.
    pub(crate) fn keeps_all(&self) -> bool {
        self.period_ns <= 0 && self.rules.iter().all(|rule| rule.period_ns <= 0)
    }

    /// Whether streams are kept for different times.
    pub(crate) fn has_rules(&self) -> bool {
        !self.rules.is_empty()
    }

    /// Rows of a stream before this time are not kept.
    pub(crate) fn cutoff_ns(&self, labels: &LabelSet, now_ns: i64) -> i64 {
        let matches = |rule: &&Rule| rule.matchers.iter().all(|matcher| matcher.matches(labels));
        let rule = self.rules.iter().find(matches);
        before(rule.map_or(self.period_ns, |rule| rule.period_ns), now_ns)
    }

    /// Rows before this time are not kept, whatever their stream.
    pub(crate) fn last_cutoff_ns(&self, now_ns: i64) -> i64 {
        let periods = self.rules.iter().map(|rule| rule.period_ns);
        let cutoffs = periods.chain([self.period_ns]);
        let cutoffs = cutoffs.map(|period_ns| before(period_ns, now_ns));
        cutoffs.min().unwrap_or(i64::MIN)
    }
}

/// A period to compare with others: zero is for ever.
fn lasting_ns(period: DurationNs) -> i64 {
    match period.0 {
        period_ns if period_ns <= 0 => i64::MAX,
        period_ns => period_ns,
    }
}

fn before(period_ns: i64, now_ns: i64) -> i64 {
    if period_ns <= 0 {
        i64::MIN
    } else {
        now_ns.saturating_sub(period_ns)
    }
}

#[cfg(test)]
mod tests {
    use model::StreamRetention;

    use super::*;

    #[test]
    fn the_rule_of_the_highest_priority_wins() {
        let stream = |selector: &str, priority, seconds| StreamRetention {
            selector: selector.to_owned(),
            priority,
            period: DurationNs::from_secs(seconds),
        };
        let mut limits = Limits {
            retention_period: DurationNs::from_secs(100),
            retention_stream: vec![
                stream(r#"{env="dev"}"#, 1, 10),
                stream(r#"{app="audit"}"#, 2, 0),
                stream(r#"{env="dev", app="x"}"#, 1, 5),
                stream(r#"{env="dev", app="y"}"#, 1, 0),
            ],
            ..Limits::default()
        };
        let retention = Retention::of(&limits).unwrap();
        let now_ns = 1_000_000_000_000;
        let cutoff = |pairs: &[(&str, &str)]| {
            let labels = LabelSet::from_pairs(pairs.iter().copied());
            retention.cutoff_ns(&labels, now_ns)
        };
        assert_eq!(cutoff(&[("app", "web")]), 900_000_000_000);
        assert_eq!(cutoff(&[("app", "web"), ("env", "dev")]), 990_000_000_000);
        assert_eq!(cutoff(&[("app", "audit"), ("env", "dev")]), i64::MIN);
        assert_eq!(cutoff(&[("app", "x"), ("env", "dev")]), 995_000_000_000);
        assert_eq!(cutoff(&[("app", "y"), ("env", "dev")]), 990_000_000_000);
        assert!(!retention.keeps_all());
        assert_eq!(retention.last_cutoff_ns(now_ns), i64::MIN);
        limits.retention_stream.push(stream("{", 0, 1));
        assert!(Retention::of(&limits).is_err());
        assert!(Retention::of(&Limits::default()).unwrap().keeps_all());
    }
}
