//! Names and values of labels, streams.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use index::RoaringBitmap;
use model::{CodedError, LabelSet, Matcher, Parts, Shard, TenantId, TimeRange};

use super::Found;
use crate::Querier;
use crate::metrics::QueryKind;
use crate::query::{Answered, Context};
use crate::stored::OpenIndex;
use crate::tenancy::{Share, TENANT_LABEL, shares};

/// The days that a range touches, whole. Which labels there are is looked up by days, as in Loki:
/// what a menu of labels offers should not come and go with the minutes shown.
fn whole_days(range: TimeRange) -> TimeRange {
    let days = TimeRange::new(range.start_ns, range.end_ns.max(range.start_ns + 1)).days();
    TimeRange::new(
        days.start().saturating_mul(TimeRange::DAY_NS),
        (days.end() + 1).saturating_mul(TimeRange::DAY_NS),
    )
}

impl Querier {
    /// Names of labels, sorted, of the days that a range touches.
    ///
    /// # Errors
    /// If the range is too long for a tenant, or data cannot be read.
    pub async fn label_names(
        self: &Arc<Self>,
        tenants: &[TenantId],
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Answered<Vec<String>>, CodedError> {
        let range = whole_days(self.allowed_range(tenants, range)?);
        self.run(QueryKind::Metadata, tenants, |context| async move {
            let mut names = Found::new(&context);
            if tenants.len() > 1 {
                names.items.insert(TENANT_LABEL.to_owned());
            }
            for share in shares(matchers, tenants) {
                context
                    .of(&share.tenant)
                    .label_names(&share, range, &mut names)
                    .await?;
            }
            Ok(names.finish(&context))
        })
        .await
    }

    /// Values of a label, sorted, of the days that a range touches.
    ///
    /// # Errors
    /// If the range is too long for a tenant, or data cannot be read.
    pub async fn label_values(
        self: &Arc<Self>,
        tenants: &[TenantId],
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Answered<Vec<String>>, CodedError> {
        let range = whole_days(self.allowed_range(tenants, range)?);
        self.run(QueryKind::Metadata, tenants, |context| async move {
            let mut values = Found::new(&context);
            for share in shares(matchers, tenants) {
                if tenants.len() > 1 && name == TENANT_LABEL {
                    values.items.insert(share.tenant.to_string());
                    continue;
                }
                let context = context.of(&share.tenant);
                context
                    .label_values(name, &share, range, &mut values)
                    .await?;
            }
            Ok(values.finish(&context))
        })
        .await
    }

    /// Streams of a shard that one of the selectors matches, sorted; no selector means all.
    ///
    /// # Errors
    /// If the range is too long for a tenant, or data cannot be read.
    pub async fn series(
        self: &Arc<Self>,
        tenants: &[TenantId],
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        shard: Shard,
    ) -> Result<Answered<Vec<LabelSet>>, CodedError> {
        let range = self.allowed_range(tenants, range)?;
        let all = [Vec::new()];
        let selectors = if selectors.is_empty() {
            &all
        } else {
            selectors
        };
        self.run(QueryKind::Metadata, tenants, |context| async move {
            let context = context.within(shard);
            let mut sets = Found::new(&context);
            for matchers in selectors {
                for share in shares(matchers, tenants) {
                    context
                        .of(&share.tenant)
                        .series(&share, range, &mut sets)
                        .await?;
                }
            }
            Ok(sets.finish(&context))
        })
        .await
    }

    /// Values of every label that a selector's streams have, by name. Labels whose values only
    /// count or identify something, numbers and UUIDs, say nothing to choose by and are left out.
    ///
    /// # Errors
    /// If the range is too long for a tenant, or data cannot be read.
    pub async fn detected_labels(
        self: &Arc<Self>,
        tenants: &[TenantId],
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Answered<BTreeMap<String, usize>>, CodedError> {
        let range = self.allowed_range(tenants, range)?;
        self.run(QueryKind::Metadata, tenants, |context| async move {
            let mut sets = Found::new(&context);
            for share in shares(matchers, tenants) {
                // Labels of streams are the same whoever asks: the tenant is no label here.
                let share = share.untagged();
                context
                    .of(&share.tenant)
                    .series(&share, range, &mut sets)
                    .await?;
            }
            let mut values: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
            for label in sets.items.iter().flatten() {
                values.entry(&label.name).or_default().insert(&label.value);
            }
            values.retain(|_, values| values.len() == 1 || !values.iter().all(|v| is_id(v)));
            let count = |(name, values): (&str, BTreeSet<&str>)| (name.to_owned(), values.len());
            Ok(values.into_iter().map(count).collect())
        })
        .await
    }
}

/// Whether a value is a number or a UUID.
fn is_id(value: &str) -> bool {
    let hex_groups = || value.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    let hex = || {
        value
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
    };
    value.parse::<f64>().is_ok() || (hex_groups() && hex())
}

impl Context {
    async fn label_names(
        &self,
        share: &Share,
        range: TimeRange,
        names: &mut Found<String>,
    ) -> Result<(), CodedError> {
        let selector = share.matchers.clone();
        let deleting = self.deleting(range).await?;
        let parts = Parts::whole(range);
        let (covered, recent) = self.recent_series(&[selector], parts, &deleting).await?;
        for label in recent.iter().flat_map(|series| &series.labels) {
            names
                .add_text(&label.name)
                .map_err(|error| self.over_budget(&error))?;
        }
        let each = |names: &mut Found<String>, open: &OpenIndex, series: &RoaringBitmap| {
            for name in open.index().label_names(Some(series)) {
                names.add_text(&name)?;
            }
            Ok(())
        };
        let (deletes, found) = (&deleting.stored, names.take(self));
        *names = self
            .for_each_index(&share.matchers, range, &covered, deletes, found, each)
            .await?;
        Ok(())
    }

    async fn label_values(
        &self,
        name: &str,
        share: &Share,
        range: TimeRange,
        values: &mut Found<String>,
    ) -> Result<(), CodedError> {
        let selector = share.matchers.clone();
        let deleting = self.deleting(range).await?;
        let parts = Parts::whole(range);
        let (covered, recent) = self.recent_series(&[selector], parts, &deleting).await?;
        for value in recent.iter().filter_map(|series| series.labels.get(name)) {
            values
                .add_text(value)
                .map_err(|error| self.over_budget(&error))?;
        }
        let name = name.to_owned();
        let each = move |values: &mut Found<String>, open: &OpenIndex, series: &RoaringBitmap| {
            let goes_on = || open.goes_on();
            for value in open.index().label_values(&name, Some(series), &goes_on)? {
                values.add_text(&value)?;
            }
            Ok(())
        };
        let (deletes, found) = (&deleting.stored, values.take(self));
        *values = self
            .for_each_index(&share.matchers, range, &covered, deletes, found, each)
            .await?;
        Ok(())
    }

    async fn series(
        &self,
        share: &Share,
        range: TimeRange,
        sets: &mut Found<LabelSet>,
    ) -> Result<(), CodedError> {
        let selector = share.matchers.clone();
        let deleting = self.deleting(range).await?;
        let parts = Parts::whole(range);
        let (covered, recent) = self.recent_series(&[selector], parts, &deleting).await?;
        for series in recent {
            let labels = share.labels(&series.labels);
            sets.add_labels(labels)
                .map_err(|error| self.over_budget(&error))?;
        }
        let shown = share.clone();
        let each = move |sets: &mut Found<LabelSet>, open: &OpenIndex, series: &RoaringBitmap| {
            open.each(series, |number| {
                sets.add_labels(shown.labels(&open.index().labels(number)?))?;
                Ok(())
            })
        };
        let (deletes, found) = (&deleting.stored, sets.take(self));
        *sets = self
            .for_each_index(&share.matchers, range, &covered, deletes, found, each)
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::is_id;

    #[test]
    fn ids_are_numbers_and_uuids() {
        for id in ["1", "-2.5", "1e9", "0b3a1c2d-0000-4fff-8888-0123456789ab"] {
            assert!(is_id(id), "{id}");
        }
        for word in ["", "a1", "web-1", "0b3a1c2d-0000-4fff-8888-0123456789xy"] {
            assert!(!is_id(word), "{word}");
        }
    }
}
