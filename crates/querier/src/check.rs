//! What a tenant may ask for, checked before anything is read. The texts are Loki's: clients match
//! on them. What they do not say, which limit of whom it is, is told besides.

use logql::syntax::ParseError;
use logql::syntax::ast::{Expr, LogExpr, MetricExpr};
use model::units::{DurationNs, format_go_duration, format_prometheus_duration};
use model::{BlockedQuery, Code, CodedError, Limits, TenantId, TimeRange};

use crate::query::RangeQuery;

fn refused(message: impl Into<String>) -> CodedError {
    CodedError::new(Code::InvalidArgument, message)
}

/// What is said of a query that cannot be parsed.
pub(crate) fn unparsable(error: &ParseError) -> CodedError {
    let refused = refused(error.to_string());
    match error.bound {
        Some((bound, value)) => refused.beyond_bound(bound, &value),
        None => refused,
    }
}

/// Cuts off what lies before `max_query_lookback` and refuses what is longer than
/// `max_query_length`.
///
/// # Errors
/// If the range is too long, or nothing of it is left.
pub(crate) fn time_range(
    range: TimeRange,
    limits: &Limits,
    tenant: &TenantId,
    now_ns: i64,
) -> Result<TimeRange, CodedError> {
    let DurationNs(lookback_ns) = limits.max_query_lookback;
    let DurationNs(length_max_ns) = limits.max_query_length;
    let mut range = range;
    if lookback_ns > 0 {
        range.start_ns = range.start_ns.max(now_ns.saturating_sub(lookback_ns));
    }
    if length_max_ns > 0 && range.len_ns() > length_max_ns {
        let limit = format_prometheus_duration(length_max_ns);
        let error = refused(format!(
            "the query time range exceeds the limit (query length: {}, limit: {limit})",
            format_go_duration(whole_ms(range)),
        ));
        return Err(error.beyond("max_query_length", &limit, tenant));
    }
    if range.end_ns < range.start_ns {
        let limit = format_prometheus_duration(lookback_ns);
        let error = refused(format!(
            "this data is no longer available, it is past now - max_query_lookback ({limit})"
        ));
        // Loki says this of a range that ends before it starts, too, whatever the limit.
        return Err(match lookback_ns > 0 {
            true => error.beyond("max_query_lookback", &limit, tenant),
            false => error,
        });
    }
    Ok(range)
}

/// The newest part of a range that is neither longer than `max_query_length` nor before
/// `max_query_lookback`.
pub(crate) fn newest_part(range: TimeRange, limits: &Limits, now_ns: i64) -> TimeRange {
    let mut start_ns = range.start_ns;
    for (DurationNs(max_ns), end_ns) in [
        (limits.max_query_length, range.end_ns),
        (limits.max_query_lookback, now_ns),
    ] {
        if max_ns > 0 {
            start_ns = start_ns.max(end_ns.saturating_sub(max_ns));
        }
    }
    TimeRange::new(start_ns.min(range.end_ns), range.end_ns)
}

/// How long a range is, in nanoseconds, when its ends are milliseconds around it.
fn whole_ms(range: TimeRange) -> i64 {
    const MS: i64 = 1_000_000;
    let end_ms = range.end_ns.div_euclid(MS) + i64::from(range.end_ns.rem_euclid(MS) > 0);
    (end_ms - range.start_ns.div_euclid(MS)).saturating_mul(MS)
}

/// [`time_range`] of a query, for which there is nothing, rather than an error, in a range that lies
/// before `max_query_lookback` as a whole.
fn query_range(
    range: TimeRange,
    limits: &Limits,
    tenant: &TenantId,
    now_ns: i64,
) -> Result<TimeRange, CodedError> {
    let DurationNs(lookback_ns) = limits.max_query_lookback;
    if lookback_ns > 0 && range.end_ns < now_ns.saturating_sub(lookback_ns) {
        return Ok(TimeRange::new(range.end_ns, range.end_ns));
    }
    time_range(range, limits, tenant, now_ns)
}

/// Whether the tenant may have so many lines.
///
/// # Errors
/// If not.
pub(crate) fn entries_limit(
    limit: usize,
    limits: &Limits,
    tenant: &TenantId,
) -> Result<(), CodedError> {
    let max = limits.max_entries_limit_per_query;
    if max > 0 && limit > max {
        let error = refused(format!(
            "max entries limit per query exceeded, limit > max_entries_limit_per_query ({limit} > {max})"
        ));
        return Err(error.beyond("max_entries_limit_per_query", &max, tenant));
    }
    Ok(())
}

/// The part of a range that a tenant's query may look at. What is wrong is found in Loki's order.
///
/// # Errors
/// If it asks for too many lines, its selectors lack labels, its range is too long, or as
/// [`instant_query`].
pub(crate) fn range_query(
    query: &RangeQuery,
    range: TimeRange,
    expr: &Expr,
    limits: &Limits,
    tenant: &TenantId,
    now_ns: i64,
) -> Result<TimeRange, CodedError> {
    if matches!(expr, Expr::Log(_)) {
        entries_limit(query.limit, limits, tenant)?;
    }
    for (log, _) in selectors(expr) {
        required_labels(log, limits, tenant)?;
    }
    let range = query_range(range, limits, tenant, now_ns)?;
    instant_query(&query.text, expr, limits, tenant)?;
    Ok(range)
}

/// Whether the tenant may run this query at all.
///
/// # Errors
/// If it is blocked, its selectors name too many labels, or a `[range]` is too long.
pub(crate) fn instant_query(
    text: &str,
    expr: &Expr,
    limits: &Limits,
    tenant: &TenantId,
) -> Result<(), CodedError> {
    let canonical = expr.to_string();
    let mut rules = limits.blocked_queries.iter();
    if let Some(rule) = rules.find(|rule| blocks(rule, text, &canonical, expr)) {
        let error = refused("query blocked by policy");
        return Err(error.beyond("blocked_queries", &shown(rule), tenant));
    }
    let DurationNs(range_max_ns) = limits.max_query_range;
    for (_, range_ns) in selectors(expr) {
        if range_max_ns > 0 && range_ns > range_max_ns {
            let limit = format_prometheus_duration(range_max_ns);
            let error = refused(format!(
                "[interval] value exceeds limit: [{}] > [{limit}]",
                format_prometheus_duration(range_ns),
            ));
            return Err(error.beyond("max_query_range", &limit, tenant));
        }
    }
    let max = limits.max_streams_matchers_per_query;
    for (log, _) in selectors(expr) {
        let count = log.matchers.len();
        if max > 0 && count > max {
            let error = refused(format!(
                "max streams matchers per query exceeded, matchers-count > limit ({count} > {max})"
            ));
            return Err(error.beyond("max_streams_matchers_per_query", &max, tenant));
        }
    }
    Ok(())
}

/// Every log expression of a query and the range it is under.
fn selectors(expr: &Expr) -> Vec<(&LogExpr, i64)> {
    let mut selectors = Vec::new();
    visit(expr, &mut |log, range_ns| selectors.push((log, range_ns)));
    selectors
}

fn required_labels(log: &LogExpr, limits: &Limits, tenant: &TenantId) -> Result<(), CodedError> {
    let present: Vec<&str> = log.matchers.iter().map(model::Matcher::name).collect();
    let missing: Vec<&str> = limits
        .required_labels
        .iter()
        .map(String::as_str)
        .filter(|name| !present.contains(name))
        .collect();
    if !missing.is_empty() {
        let error = refused(format!(
            "stream selector is missing required matchers [{}], labels present in the query were [{}]",
            missing.join(", "),
            present.join(", "),
        ));
        let required = limits.required_labels.join(",");
        return Err(error.beyond("required_labels", &required, tenant));
    }
    let (number, required) = (present.len(), limits.minimum_labels_number);
    if number < required {
        let error = refused(format!(
            "stream selector has less label matchers than required: (present: [{}], number_present: {number}, required_number_label_matchers: {required})",
            present.join(", "),
        ));
        return Err(error.beyond("minimum_labels_number", &required, tenant));
    }
    Ok(())
}

/// A rule as the header names it.
fn shown(rule: &BlockedQuery) -> String {
    let what = match rule.hash {
        0 => format!("pattern {}", model::units::quote(&rule.pattern)),
        hash => format!("hash {hash}"),
    };
    match rule.types.as_str() {
        "" => what,
        types => format!("{what} of types {types}"),
    }
}

fn blocks(rule: &BlockedQuery, text: &str, canonical: &str, expr: &Expr) -> bool {
    let is_of_type = |kind: &str| match kind.trim() {
        "metric" => matches!(expr, Expr::Metric(_)),
        "filter" => matches!(expr, Expr::Log(log) if !log.stages.is_empty()),
        "limited" => matches!(expr, Expr::Log(log) if log.stages.is_empty()),
        _ => false,
    };
    if !rule.types.is_empty() && !rule.types.split(',').any(is_of_type) {
        return false;
    }
    if rule.hash != 0 {
        return rule.hash == fnv32(text);
    }
    if rule.regex {
        let pattern = model::Matcher::new("query", model::MatchOp::Regex, rule.pattern.clone());
        return pattern
            .is_ok_and(|pattern| pattern.matches_value(text) || pattern.matches_value(canonical));
    }
    let pattern = rule.pattern.trim();
    pattern.is_empty() && !rule.types.is_empty()
        || pattern == text.trim()
        || pattern == canonical
        || logql::syntax::parse(pattern).is_ok_and(|pattern| pattern == *expr)
}

/// FNV-1 hash with 32 bits, by which `blocked_queries` may name a query
/// (<http://www.isthe.com/chongo/tech/comp/fnv/>).
fn fnv32(text: &str) -> u32 {
    text.bytes().fold(2_166_136_261, |hash: u32, byte| {
        hash.wrapping_mul(16_777_619) ^ u32::from(byte)
    })
}

/// Calls `each` with every log expression of the query and the range it is under.
pub(crate) fn visit<'a>(expr: &'a Expr, each: &mut impl FnMut(&'a LogExpr, i64)) {
    match expr {
        Expr::Log(log) => each(log, 0),
        Expr::Metric(metric) => visit_metric(metric, each),
    }
}

fn visit_metric<'a>(expr: &'a MetricExpr, each: &mut impl FnMut(&'a LogExpr, i64)) {
    match expr {
        MetricExpr::Range(range) => each(&range.log, range.range_ns),
        MetricExpr::Vector(vector) => visit_metric(&vector.inner, each),
        MetricExpr::Binary(binary) => {
            visit_metric(&binary.left, each);
            visit_metric(&binary.right, each);
        }
        MetricExpr::LabelReplace(replace) => visit_metric(&replace.inner, each),
        MetricExpr::Literal(_) | MetricExpr::VectorLiteral(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000_000;

    #[test]
    fn of_a_long_range_the_newest_part_is_left() {
        let limits = Limits {
            max_query_length: DurationNs(2 * HOUR),
            max_query_lookback: DurationNs(5 * HOUR),
            ..Limits::default()
        };
        let part = |from, to| {
            let range = TimeRange::new(from * HOUR, to * HOUR);
            let part = newest_part(range, &limits, 10 * HOUR);
            (part.start_ns / HOUR, part.end_ns / HOUR)
        };
        assert_eq!(part(0, 9), (7, 9));
        assert_eq!(part(0, 6), (5, 6));
        assert_eq!(part(8, 9), (8, 9));
        assert_eq!(part(0, 3), (3, 3));
        assert_eq!(part(9, 8), (8, 8));
    }

    #[test]
    fn ranges_are_cut_and_refused_in_lokis_words() {
        let mut limits = Limits {
            max_query_length: DurationNs(2 * HOUR),
            ..Limits::default()
        };
        let tenant = TenantId::single();
        let range = |range, now_ns| time_range(range, &limits, &tenant, now_ns);
        let error = range(TimeRange::new(0, 960 * HOUR), 0).unwrap_err();
        assert_eq!(
            error.message,
            "the query time range exceeds the limit (query length: 960h0m0s, limit: 2h)"
        );
        let uneven = range(TimeRange::new(-1, 960 * HOUR + 1), 0).unwrap_err();
        assert!(uneven.message.contains("960h0m0.002s"), "{uneven:?}");
        let exceeded = error.exceeded.unwrap().to_string();
        assert_eq!(exceeded, "max_query_length=2h; tenant=fake");
        limits.max_query_lookback = DurationNs(HOUR);
        let range = |range, now_ns| time_range(range, &limits, &tenant, now_ns);
        let cut = range(TimeRange::new(0, 10 * HOUR), 10 * HOUR).unwrap();
        assert_eq!(cut.start_ns, 9 * HOUR);
        let past = range(TimeRange::new(0, HOUR), 10 * HOUR).unwrap_err();
        let exceeded = past.exceeded.unwrap().to_string();
        assert_eq!(exceeded, "max_query_lookback=1h; tenant=fake");
    }

    #[test]
    fn a_range_that_ends_before_it_starts_is_refused_and_no_limit_blamed_that_is_off() {
        let limits = Limits::default();
        let range = TimeRange::new(HOUR, 0);
        let error = time_range(range, &limits, &TenantId::single(), HOUR).unwrap_err();
        // Loki's text.
        assert_eq!(
            error.message,
            "this data is no longer available, it is past now - max_query_lookback (0s)"
        );
        assert_eq!(error.exceeded, None);
    }

    #[test]
    fn selectors_must_name_what_is_required() {
        let limits = Limits {
            required_labels: vec!["app".to_owned()],
            minimum_labels_number: 2,
            ..Limits::default()
        };
        let tenant = TenantId::single();
        let check = |text: &str| {
            let expr = logql::syntax::parse(text).unwrap();
            let query = crate::tests::range_query(text);
            range_query(
                &query,
                query.range,
                &expr,
                &limits,
                &tenant,
                query.range.end_ns,
            )
        };
        assert!(check("{app=\"x\", b=\"y\"}").is_ok());
        assert!(
            check("{b=\"y\"}")
                .unwrap_err()
                .message
                .contains("missing required matchers [app]")
        );
        assert!(
            check("{app=\"y\"}")
                .unwrap_err()
                .message
                .contains("number_present: 1")
        );
    }

    #[test]
    fn blocked_queries_match_however_they_are_spaced() {
        let rule = BlockedQuery {
            pattern: "{app=\"x\"} |= \"y\"".to_owned(),
            ..Default::default()
        };
        let limits = Limits {
            blocked_queries: vec![rule],
            ..Limits::default()
        };
        let tenant = TenantId::single();
        let check = |text: &str| {
            let expr = logql::syntax::parse(text).unwrap();
            instant_query(text, &expr, &limits, &tenant)
        };
        let error = check("{ app = \"x\" } |= `y`").unwrap_err();
        assert_eq!(
            error.exceeded.unwrap().to_string(),
            r#"blocked_queries=pattern "{app=\"x\"} |= \"y\""; tenant=fake"#
        );
        assert!(check("{app=\"x\"} |= \"z\"").is_ok());
    }

    #[test]
    fn of_several_faults_the_first_in_lokis_order_is_told() {
        let tenant = TenantId::single();
        let mut limits = Limits {
            blocked_queries: vec![BlockedQuery {
                pattern: ".*".to_owned(),
                regex: true,
                ..Default::default()
            }],
            max_query_range: DurationNs(HOUR),
            max_query_length: DurationNs(1),
            max_entries_limit_per_query: 1,
            max_streams_matchers_per_query: 1,
            required_labels: vec!["job".to_owned()],
            ..Limits::default()
        };
        let told = |limits: &Limits, text: &str| {
            let expr = logql::syntax::parse(text).unwrap();
            let query = crate::tests::range_query(text);
            let now_ns = query.range.end_ns;
            range_query(&query, query.range, &expr, limits, &tenant, now_ns)
                .unwrap_err()
                .message
        };
        let log = r#"{app="x", b="y"}"#;
        assert!(told(&limits, log).starts_with("max entries limit"));
        let metric = format!("rate({log}[2h])");
        assert!(told(&limits, &metric).starts_with("stream selector is missing"));
        limits.required_labels.clear();
        assert!(told(&limits, &metric).starts_with("the query time range"));
        limits.max_query_length = DurationNs(0);
        assert!(told(&limits, &metric).starts_with("query blocked"));
        limits.blocked_queries.clear();
        assert!(told(&limits, &metric).starts_with("[interval] value"));
        limits.max_query_range = DurationNs(0);
        assert!(told(&limits, &metric).starts_with("max streams matchers"));
    }
}
