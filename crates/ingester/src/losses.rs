//! What was acknowledged and could not be read of the log. It is gone; answers that may lack it say
//! so for as long as the process runs.

use std::collections::BTreeMap;

use model::{Limits, TenantId, TimeRange};
use parking_lot::Mutex;
use proto::role::LostRows;

/// Losses that are told apart by tenant; of more it is only known in which segments they were.
const TOLD_APART_MAX: usize = 1000;

/// What was lost, by segment and tenant. Without a tenant it may have been anybody's.
#[derive(Debug, Default)]
pub(crate) struct Losses(Mutex<BTreeMap<(u64, Option<TenantId>), Lost>>);

/// Rows that were lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    /// How many, as far as that is known.
    pub(crate) rows: u64,
    /// Records of which it is not known how many they had.
    pub(crate) records: u64,
    /// The times of those whose times are known.
    pub(crate) times: Option<TimeRange>,
    /// The others were pushed before.
    pub(crate) pushed_before_ns: Option<i64>,
}

impl Lost {
    fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.records += other.records;
        self.times = match (self.times, other.times) {
            (Some(a), Some(b)) => Some(TimeRange::new(
                a.start_ns.min(b.start_ns),
                a.end_ns.max(b.end_ns),
            )),
            (a, b) => a.or(b),
        };
        self.pushed_before_ns = self.pushed_before_ns.max(other.pushed_before_ns);
    }

    /// Whether there may be rows in a range: how old and how new a row may be when it is pushed, the
    /// limits say.
    fn may_lie_in(&self, range: TimeRange, limits: &Limits) -> bool {
        let of_time = |pushed_ns: i64| {
            let oldest_ns = match limits.reject_old_samples {
                true => pushed_ns.saturating_sub(limits.reject_old_samples_max_age.0),
                false => i64::MIN,
            };
            let newest_ns = pushed_ns.saturating_add(limits.creation_grace_period.0);
            TimeRange::new(oldest_ns, newest_ns.saturating_add(1))
        };
        let all = self.times.into_iter();
        let mut all = all.chain(self.pushed_before_ns.map(of_time));
        all.any(|times| !times.intersect(&range).is_empty())
    }
}

impl Losses {
    /// Takes in what was lost with a segment.
    pub(crate) fn add(&self, segment: u64, tenant: Option<&TenantId>, lost: &Lost) {
        let mut all = self.0.lock();
        let is_few = all.len() < TOLD_APART_MAX;
        let tenant = tenant.filter(|_| is_few).cloned();
        all.entry((segment, tenant)).or_default().add(lost);
    }

    /// What a damaged record says of its tenant may be damaged, too. Of tenants that nothing else
    /// is known of nobody knows whether they are there.
    pub(crate) fn doubt(&self, is_known: impl Fn(&TenantId) -> bool) {
        let mut all = self.0.lock();
        for ((segment, tenant), lost) in std::mem::take(&mut *all) {
            let tenant = tenant.filter(&is_known);
            all.entry((segment, tenant)).or_default().add(&lost);
        }
    }

    /// What an answer may lack.
    pub(crate) fn of(&self, tenant: &TenantId, range: TimeRange, limits: &Limits) -> Vec<LostRows> {
        let all = self.0.lock();
        let is_of = |((_, whose), lost): &(&(u64, Option<TenantId>), &Lost)| {
            let may_be_of = whose.as_ref().is_none_or(|whose| whose == tenant);
            may_be_of && lost.may_lie_in(range, limits)
        };
        let told = all.iter().filter(is_of);
        told.map(|((segment, _), lost)| LostRows {
            segment: *segment,
            rows: lost.rows,
            records: lost.records,
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_told_to_those_whose_rows_they_may_be() {
        let [a, b, c] = ["a", "b", "c"].map(|id| TenantId::new(id).unwrap());
        let limits = Limits::default();
        let (grace_ns, age_ns) = (
            limits.creation_grace_period.0,
            limits.reject_old_samples_max_age.0,
        );
        let pushed_ns = 2 * age_ns;
        let of_times = Lost {
            rows: 5,
            times: Some(TimeRange::new(10, 20)),
            ..Lost::default()
        };
        let of_push = Lost {
            records: 2,
            pushed_before_ns: Some(pushed_ns),
            ..Lost::default()
        };
        let losses = Losses::default();
        losses.add(1, Some(&a), &of_times);
        losses.add(1, Some(&b), &of_push);
        let told = |tenant: &TenantId, start_ns: i64| -> Vec<(u64, u64)> {
            let range = TimeRange::new(start_ns, start_ns + 1);
            let told = losses.of(tenant, range, &limits).into_iter();
            told.map(|lost| (lost.rows, lost.records)).collect()
        };
        assert_eq!(told(&a, 19), [(5, 0)]);
        assert_eq!((told(&a, 20), told(&b, 19)), (vec![], vec![]));
        let edge = pushed_ns - age_ns;
        assert_eq!((told(&b, edge - 1), told(&b, edge)), (vec![], vec![(0, 2)]));
        let edge = pushed_ns + grace_ns;
        assert_eq!((told(&b, edge), told(&b, edge + 1)), (vec![(0, 2)], vec![]));
        assert_eq!(told(&c, pushed_ns), []);
        losses.doubt(|tenant| *tenant == a);
        assert_eq!(told(&c, pushed_ns), [(0, 2)]);
        assert_eq!(told(&a, 19), [(5, 0)]);
    }
}
