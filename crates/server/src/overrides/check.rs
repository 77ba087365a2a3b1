//! Whether limits say something that can be carried out. A protection that is mistyped must be
//! refused: otherwise it would be off, and nobody would know.

use std::fmt;

use logql::syntax;
use logql::template::gotime::{self, Zone};
use model::units::DurationNs;
use model::{BlockedQuery, Limits, MatchOp, Matcher};

/// Go's name for the form of RFC 3339 times.
const RFC3339: &str = "2006-01-02T15:04:05Z07:00";
/// The kinds of queries that `blocked_queries` knows.
const TYPES: [&str; 3] = ["metric", "filter", "limited"];

/// A limit with a value that cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{limit}: {value}: {reason}")]
pub struct LimitError {
    /// Its name.
    pub limit: String,
    /// What is written.
    pub value: String,
    /// Why that is refused.
    pub reason: String,
}

fn refused(limit: &str, value: &dyn fmt::Display, reason: &dyn fmt::Display) -> LimitError {
    LimitError {
        limit: limit.to_owned(),
        value: value.to_string(),
        reason: reason.to_string(),
    }
}

/// Checks what the form of the limits leaves open.
pub(super) fn check(limits: &Limits) -> Result<(), LimitError> {
    check_durations(limits)?;
    check_rates(limits)?;
    check_times(limits)?;
    check_selectors(limits)?;
    limits.blocked_queries.iter().try_for_each(check_blocked)
}

/// Loki has no negative durations either.
fn check_durations(limits: &Limits) -> Result<(), LimitError> {
    let durations = [
        (
            "reject_old_samples_max_age",
            limits.reject_old_samples_max_age,
        ),
        ("creation_grace_period", limits.creation_grace_period),
        ("out_of_order_window", limits.out_of_order_window),
        ("max_query_length", limits.max_query_length),
        ("max_query_lookback", limits.max_query_lookback),
        ("max_query_range", limits.max_query_range),
        ("query_timeout", limits.query_timeout),
        (
            "split_queries_by_interval",
            limits.split_queries_by_interval,
        ),
        (
            "split_instant_metric_queries_by_interval",
            limits.split_instant_metric_queries_by_interval,
        ),
        ("retention_period", limits.retention_period),
    ];
    let streams = limits.retention_stream.iter();
    let streams = streams.map(|stream| ("retention_stream", stream.period));
    match durations.into_iter().chain(streams).find(is_negative) {
        Some((limit, value)) => Err(refused(limit, &value, &"a duration must not be negative")),
        None => Ok(()),
    }
}

fn is_negative((_, duration): &(&str, DurationNs)) -> bool {
    duration.0 < 0
}

fn check_rates(limits: &Limits) -> Result<(), LimitError> {
    let rates = [
        ("ingestion_rate_mb", limits.ingestion_rate_mb),
        ("ingestion_burst_size_mb", limits.ingestion_burst_size_mb),
    ];
    match rates
        .into_iter()
        .find(|(_, rate)| !rate.is_finite() || *rate < 0.0)
    {
        Some((limit, value)) => Err(refused(limit, &value, &"must be a number, 0 or more")),
        None => Ok(()),
    }
}

fn check_times(limits: &Limits) -> Result<(), LimitError> {
    let own = limits.block_ingestion_until.as_deref();
    let own = own.filter(|until| !until.is_empty());
    let of_policies = limits.block_ingestion_policy_until.values();
    let times = own.map(|until| ("block_ingestion_until", until));
    let times = times
        .into_iter()
        .chain(of_policies.map(|until| ("block_ingestion_policy_until", until.as_str())));
    for (limit, until) in times {
        gotime::parse_in(RFC3339, until, &Zone::Utc).map_err(|error| {
            let reason = format!("not a time such as 2026-01-31T00:00:00Z: {error}");
            refused(limit, &until, &reason)
        })?;
    }
    Ok(())
}

fn check_selectors(limits: &Limits) -> Result<(), LimitError> {
    for stream in &limits.retention_stream {
        let selector = &stream.selector;
        syntax::parse_open_selector(selector)
            .map_err(|error| refused("retention_stream", &selector, &error))?;
    }
    for stream in limits.policy_stream_mapping.values().flatten() {
        let selector = &stream.selector;
        syntax::parse_selector(selector)
            .map_err(|error| refused("policy_stream_mapping", &selector, &error))?;
    }
    Ok(())
}

fn check_blocked(rule: &BlockedQuery) -> Result<(), LimitError> {
    let limit = "blocked_queries";
    if rule.regex {
        Matcher::new("query", MatchOp::Regex, rule.pattern.clone())
            .map_err(|error| refused(limit, &rule.pattern, &error))?;
    }
    let types = rule.types.split(',').map(str::trim);
    match types
        .filter(|name| !name.is_empty())
        .find(|name| !TYPES.contains(name))
    {
        Some(name) => {
            let reason = format!("no type of queries, which are {}", TYPES.join(", "));
            Err(refused(limit, &name, &reason))
        }
        None => Ok(()),
    }
}
