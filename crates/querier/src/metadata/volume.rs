//! How many bytes of lines and structured metadata there are, by labels, at one time or over time.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{
    Code, CodedError, LabelSet, MatchOp, Matcher, Parts, TenantId, TimeRange, is_valid_label_name,
};

use super::Sum;
use crate::Querier;
use crate::metrics::QueryKind;
use crate::query::Answered;
use crate::tenancy::{TENANT_LABEL, shares};

/// What a volume is counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregate {
    /// Values of the labels together.
    Series,
    /// Each label by itself, whatever its value.
    Labels,
}

/// `/index/volume` and `/index/volume_range`
#[derive(Clone, Debug)]
pub struct VolumeQuery {
    /// Which streams.
    pub matchers: Vec<Matcher>,
    /// When.
    pub range: TimeRange,
    /// Between two points; `None` for one point at the end.
    pub step_ns: Option<i64>,
    /// Labels to count by: those of the selector if none are given.
    pub target_labels: Vec<String>,
    /// What is counted.
    pub aggregate: Aggregate,
    /// Series wanted of each point, the largest.
    pub limit: usize,
}

/// What bytes are counted for: names and values of labels.
type Key = Vec<(String, String)>;

/// Bytes over time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeSeries {
    /// What was counted. Counted by labels the name stands alone, with an empty value.
    pub labels: Vec<(String, String)>,
    /// Times in nanoseconds and bytes.
    pub points: Vec<(i64, u64)>,
}

impl Querier {
    /// Whether all tenants have volumes.
    ///
    /// # Errors
    /// If one has them switched off.
    pub(crate) fn has_volumes(&self, tenants: &[TenantId]) -> Result<(), CodedError> {
        let is_off = |tenant: &&TenantId| !self.limits(tenant).volume_enabled;
        match tenants.iter().find(is_off) {
            None => Ok(()),
            Some(tenant) => {
                let error = CodedError::new(Code::NotFound, "not found");
                Err(error.beyond("volume_enabled", &false, tenant))
            }
        }
    }

    /// Bytes of lines and structured metadata by labels, the largest first.
    ///
    /// # Errors
    /// If a tenant has volumes switched off or may not ask for such a range, or data cannot be
    /// read.
    pub async fn volume(
        self: &Arc<Self>,
        tenants: &[TenantId],
        query: VolumeQuery,
    ) -> Result<Answered<Vec<VolumeSeries>>, CodedError> {
        self.has_volumes(tenants)?;
        let max_series = tenants
            .iter()
            .map(|tenant| self.limits(tenant).volume_max_series);
        let max_series = max_series.filter(|max| *max > 0).min();
        let limit = query.limit.min(max_series.unwrap_or(usize::MAX));
        let range = self.allowed_range(tenants, query.range)?;
        let counted = Counted::new(&query)?;
        // No stream has a label whose name is none.
        let is_possible = query
            .target_labels
            .iter()
            .all(|name| is_valid_label_name(name));
        self.run(QueryKind::Metadata, tenants, |context| async move {
            let parts = Parts {
                range,
                step_ns: query.step_ns.unwrap_or(0),
            };
            let mut volumes: BTreeMap<Key, BTreeMap<u32, u64>> = BTreeMap::new();
            let mut memory = context.memory.reservation();
            for share in shares(&counted.matchers, tenants)
                .into_iter()
                .filter(|_| is_possible)
            {
                let context = context.of(&share.tenant);
                let mut of_streams = context.memory.reservation();
                let sizes = context
                    .part_sizes(&share.matchers, parts, &mut of_streams)
                    .await?;
                for (labels, sums) in sizes {
                    for key in counted.keys(&share.labels(&labels)) {
                        memory
                            .grow(size_of(&key, &sums))
                            .map_err(|error| context.over_budget(&error))?;
                        let volume = volumes.entry(key).or_default();
                        for (number, sum) in &sums {
                            *volume.entry(*number).or_default() += sum.bytes;
                        }
                    }
                }
            }
            context.hold(memory);
            keep_largest(&mut volumes, limit);
            let series = |(labels, volume): (Key, BTreeMap<u32, u64>)| VolumeSeries {
                labels,
                points: points(parts, volume),
            };
            let mut series: Vec<_> = volumes.into_iter().map(series).collect();
            series.retain(|series| !series.points.is_empty());
            Ok(largest_first(series))
        })
        .await
    }
}

/// Nanoseconds of a millisecond.
const MS: i64 = 1_000_000;
/// Bytes that a series takes besides its text, and those of one of its points.
const SERIES_BYTES: usize = 64;
const POINT_BYTES: usize = 32;

/// What a stream may add to the answer, in bytes of memory.
fn size_of(key: &Key, sums: &BTreeMap<u32, Sum>) -> u64 {
    let text = |(name, value): &(String, String)| name.len() + value.len();
    let text: usize = key.iter().map(text).sum();
    (SERIES_BYTES + text + POINT_BYTES * sums.len()) as u64
}

/// The bytes of each part at the time that stands for it: its end in whole milliseconds, or the last
/// one before it where another part begins there.
fn points(parts: Parts, volume: BTreeMap<u32, u64>) -> Vec<(i64, u64)> {
    let at_ns = |number: u32| {
        let end_ns = parts.part(number).end_ns;
        match end_ns < parts.range.end_ns {
            true => end_ns.saturating_sub(MS),
            false => end_ns.saturating_add((MS - end_ns.rem_euclid(MS)) % MS),
        }
    };
    let volume = volume.into_iter().filter(|(_, bytes)| *bytes > 0);
    volume
        .map(|(number, bytes)| (at_ns(number), bytes))
        .collect()
}

/// Leaves of each part the volumes that are the largest there: Loki asks part by part.
fn keep_largest(volumes: &mut BTreeMap<Key, BTreeMap<u32, u64>>, limit: usize) {
    if volumes.len() <= limit {
        return;
    }
    let mut parts: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for (number, bytes) in volumes.values().flatten() {
        parts.entry(*number).or_default().push(*bytes);
    }
    // The least that is kept of each part, and how many of just that.
    let mut least: BTreeMap<u32, (u64, usize)> = BTreeMap::new();
    for (number, mut bytes) in parts {
        bytes.sort_unstable_by_key(|bytes| std::cmp::Reverse(*bytes));
        bytes.truncate(limit);
        let last = bytes.last().copied().unwrap_or(u64::MAX);
        let of_that = bytes.iter().rev().take_while(|bytes| **bytes == last);
        least.insert(number, (last, of_that.count()));
    }
    for volume in volumes.values_mut() {
        volume.retain(|number, bytes| match least.get_mut(number) {
            Some((last, of_that)) if bytes == last && *of_that > 0 => {
                *of_that -= 1;
                true
            }
            Some((last, _)) => *bytes > *last,
            None => false,
        });
    }
}

fn largest_first(mut series: Vec<VolumeSeries>) -> Vec<VolumeSeries> {
    let total = |series: &VolumeSeries| series.points.iter().map(|(_, bytes)| *bytes).sum::<u64>();
    series.sort_by_cached_key(|series| std::cmp::Reverse(total(series)));
    series
}

/// What streams are counted as.
struct Counted {
    /// The selector, and that streams have the target labels.
    matchers: Vec<Matcher>,
    aggregate: Aggregate,
    /// All labels if `None`.
    names: Option<Vec<String>>,
}

impl Counted {
    fn new(query: &VolumeQuery) -> Result<Self, CodedError> {
        let mut matchers = query.matchers.clone();
        let is_matched = |name: &str| query.matchers.iter().any(|m| m.name() == name);
        for name in query.target_labels.iter().filter(|name| !is_matched(name)) {
            // Not an expression: who asks may name thousands.
            let present = Matcher::new(name.as_str(), MatchOp::NotEqual, "");
            matchers.push(
                present
                    .map_err(|error| CodedError::new(Code::InvalidArgument, error.to_string()))?,
            );
        }
        let of_matchers = || query.matchers.iter().map(|m| m.name().to_owned()).collect();
        let names = match (query.aggregate, query.target_labels.as_slice()) {
            (Aggregate::Series, []) if !query.matchers.is_empty() => Some(of_matchers()),
            (_, []) => None,
            (_, names) => Some(names.to_vec()),
        };
        Ok(Self {
            matchers,
            aggregate: query.aggregate,
            names,
        })
    }

    fn keys(&self, labels: &LabelSet) -> Vec<Key> {
        let is_named = |name: &str| {
            match &self.names {
                Some(names) => names.iter().any(|candidate| candidate == name),
                // Volumes of several tenants add up unless it is asked whose they are.
                None => name != TENANT_LABEL,
            }
        };
        let named = labels.iter().filter(|label| is_named(&label.name));
        match self.aggregate {
            Aggregate::Series => {
                let pair = |label: &model::Label| (label.name.to_string(), label.value.to_string());
                vec![named.map(pair).collect()]
            }
            Aggregate::Labels => named
                .map(|label| vec![(label.name.to_string(), String::new())])
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    #[test]
    fn the_last_millisecond_of_a_part_stands_for_it() {
        let parts = Parts {
            range: TimeRange::new(50 * S, 180 * S),
            step_ns: 60 * S,
        };
        let points = points(parts, [(0, 1), (1, 0), (2, 5), (1, 2)].into());
        let before = |seconds: i64| seconds * S - 1_000_000;
        assert_eq!(points, [(before(60), 1), (before(120), 2), (180 * S, 5)]);
        let parts = Parts {
            range: TimeRange::new(0, S + 1),
            step_ns: 0,
        };
        assert_eq!(super::points(parts, [(0, 1)].into()), [(S + MS, 1)]);
    }

    #[test]
    fn the_largest_of_each_part_are_kept() {
        let volume = |name: &str, parts: &[(u32, u64)]| {
            let key = vec![("app".to_owned(), name.to_owned())];
            (key, parts.iter().copied().collect::<BTreeMap<u32, u64>>())
        };
        let all = [
            volume("a", &[(0, 5), (1, 1), (2, 7)]),
            volume("b", &[(0, 5), (1, 9)]),
            volume("c", &[(0, 6), (1, 8), (2, 1)]),
        ];
        for (limit, kept) in [
            (3, all.clone()),
            (
                2,
                [
                    volume("a", &[(0, 5), (2, 7)]),
                    volume("b", &[(1, 9)]),
                    volume("c", &[(0, 6), (1, 8), (2, 1)]),
                ],
            ),
            (
                1,
                [
                    volume("a", &[(2, 7)]),
                    volume("b", &[(1, 9)]),
                    volume("c", &[(0, 6)]),
                ],
            ),
        ] {
            let mut volumes: BTreeMap<Key, _> = all.clone().into();
            keep_largest(&mut volumes, limit);
            assert_eq!(volumes, kept.into(), "{limit}");
        }
    }

    #[test]
    fn streams_count_by_selector_targets_or_each_label() {
        let matcher = Matcher::new("app", MatchOp::Equal, "x").unwrap();
        let mut query = VolumeQuery {
            matchers: vec![matcher],
            range: TimeRange::new(0, 1),
            step_ns: None,
            target_labels: Vec::new(),
            aggregate: Aggregate::Series,
            limit: 1,
        };
        let labels = LabelSet::from_pairs([("app", "x"), ("env", "p")]);
        let keys = |query: &VolumeQuery| Counted::new(query).unwrap().keys(&labels);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(keys(&query), [[pair("app", "x")]]);
        query.target_labels = vec!["env".to_owned()];
        assert_eq!(keys(&query), [[pair("env", "p")]]);
        assert_eq!(Counted::new(&query).unwrap().matchers.len(), 2);
        query.target_labels.clear();
        query.aggregate = Aggregate::Labels;
        assert_eq!(keys(&query), [[pair("app", "")], [pair("env", "")]]);
        let of_tenant = LabelSet::from_pairs([("app", "a"), (TENANT_LABEL, "t")]);
        let counted = Counted::new(&query).unwrap();
        assert_eq!(counted.keys(&of_tenant), [[pair("app", "")]]);
    }
}
