//! From matchers to series.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::{MatchOp, Matcher};
use roaring::RoaringBitmap;

use crate::names::Name;
use crate::postings::{self, Collector};
use crate::{Index, IndexError, PAGE_SERIES, PAGE_VALUES, Part};

/// Says whether an answer is still wanted.
pub type GoesOn<'a> = &'a dyn Fn() -> bool;

fn check(goes_on: GoesOn<'_>) -> Result<(), IndexError> {
    match goes_on() {
        true => Ok(()),
        false => Err(IndexError::Stopped),
    }
}

impl Index {
    /// The series that all matchers accept. A label that a series does not have has the empty
    /// value, as [`Matcher`] says.
    ///
    /// `goes_on` is asked between pages whether the answer is still wanted.
    ///
    /// # Errors
    /// If a page that is needed is damaged, or the answer is not wanted any more.
    pub fn select(
        &self,
        matchers: &[Matcher],
        goes_on: GoesOn<'_>,
    ) -> Result<RoaringBitmap, IndexError> {
        // Equality is cheapest and selects most; what it leaves over may be nothing.
        let mut order: Vec<&Matcher> = matchers.iter().collect();
        order.sort_by_key(|matcher| match matcher.op() {
            MatchOp::Equal if !matcher.matches_empty() => 0,
            MatchOp::Equal | MatchOp::NotEqual => 1,
            MatchOp::Regex | MatchOp::NotRegex => 2,
        });
        let mut selected: Option<RoaringBitmap> = None;
        for matcher in order {
            let series = self.matching(matcher, goes_on)?;
            let both = match selected {
                None => series,
                Some(selected) => selected & series,
            };
            if both.is_empty() {
                return Ok(both);
            }
            selected = Some(both);
        }
        Ok(selected.unwrap_or_else(|| self.all()))
    }

    fn matching(
        &self,
        matcher: &Matcher,
        goes_on: GoesOn<'_>,
    ) -> Result<RoaringBitmap, IndexError> {
        let Some((_, name)) = self.name(matcher.name()) else {
            let nothing = RoaringBitmap::new();
            return Ok(if matcher.matches_empty() {
                self.all()
            } else {
                nothing
            });
        };
        // Where an absent label passes, find the values that do not.
        let absent_passes = matcher.matches_empty();
        let mut found = Collector::default();
        match (matcher.op(), wanted_values(matcher)) {
            (MatchOp::Equal | MatchOp::NotEqual, _) if matcher.value().is_empty() => {
                let present = name.present.clone().unwrap_or_else(|| self.all());
                return Ok(if absent_passes {
                    self.all() - present
                } else {
                    present
                });
            }
            // A list of values: the positive operators want them, the negative ones all others.
            (MatchOp::Equal | MatchOp::Regex, Some(values)) if !absent_passes => {
                self.collect_values(name, &values, goes_on, &mut found)?;
            }
            (MatchOp::NotEqual | MatchOp::NotRegex, Some(values)) if absent_passes => {
                self.collect_values(name, &values, goes_on, &mut found)?;
            }
            _ => self.collect(
                name,
                |value| matcher.matches_value(value) != absent_passes,
                goes_on,
                &mut found,
            )?,
        }
        let found = found.finish();
        Ok(if absent_passes {
            self.all() - found
        } else {
            found
        })
    }

    fn collect_values(
        &self,
        name: &Name,
        values: &[&str],
        goes_on: GoesOn<'_>,
        found: &mut Collector,
    ) -> Result<(), IndexError> {
        for value in values {
            check(goes_on)?;
            let after = name
                .first_values
                .partition_point(|first| **first <= **value);
            let Some(at) = after.checked_sub(1) else {
                continue;
            };
            let page = name.first_page + at as u32;
            let known = self.values(name, page)?;
            let Ok(at) = known.binary_search_by(|known| (**known).cmp(value)) else {
                continue;
            };
            let raw = self.postings_page(page)?;
            let series = postings::values(&raw, name.values_of(page))
                .nth(at)
                .transpose();
            series
                .and_then(|series| match series {
                    Some(series) => postings::add(series, self.series_count(), found),
                    None => Ok(()),
                })
                .map_err(IndexError::at(Part::Postings(page)))?;
        }
        Ok(())
    }

    fn collect(
        &self,
        name: &Name,
        wanted: impl Fn(&str) -> bool,
        goes_on: GoesOn<'_>,
        found: &mut Collector,
    ) -> Result<(), IndexError> {
        for page in name.pages() {
            check(goes_on)?;
            let values = self.values(name, page)?;
            let wanted: Vec<bool> = values.iter().map(|value| wanted(value)).collect();
            if !wanted.contains(&true) {
                continue;
            }
            let raw = self.postings_page(page)?;
            for (series, wanted) in postings::values(&raw, values.len()).zip(wanted) {
                let add = |series: &[u8]| match wanted {
                    true => postings::add(series, self.series_count(), found),
                    false => Ok(()),
                };
                series
                    .and_then(add)
                    .map_err(IndexError::at(Part::Postings(page)))?;
            }
        }
        Ok(())
    }

    /// The label names, sorted; with `among` only those that one of these series has.
    #[must_use]
    pub fn label_names(&self, among: Option<&RoaringBitmap>) -> Vec<Arc<str>> {
        let has = |name: &&Name| match (among, &name.present) {
            (None, _) => true,
            (Some(among), None) => !among.is_empty(),
            (Some(among), Some(present)) => !among.is_disjoint(present),
        };
        self.names()
            .iter()
            .filter(has)
            .map(|name| Arc::clone(&name.name))
            .collect()
    }

    /// The values of a label name, sorted; with `among` only those that one of these series has.
    /// `goes_on` is asked between pages whether the answer is still wanted.
    ///
    /// # Errors
    /// If a page that is needed is damaged, or the answer is not wanted any more.
    pub fn label_values(
        &self,
        name: &str,
        among: Option<&RoaringBitmap>,
        goes_on: GoesOn<'_>,
    ) -> Result<Vec<Arc<str>>, IndexError> {
        let Some((number, name)) = self.name(name) else {
            return Ok(Vec::new());
        };
        match among {
            None => self.all_values(name, goes_on),
            Some(among) if among.len() < u64::from(name.values) => {
                self.values_by_series(number, name, among, goes_on)
            }
            Some(among) => self.values_by_postings(name, among, goes_on),
        }
    }

    fn all_values(&self, name: &Name, goes_on: GoesOn<'_>) -> Result<Vec<Arc<str>>, IndexError> {
        let mut all = Vec::with_capacity((name.values as usize).min(PAGE_VALUES));
        for page in name.pages() {
            check(goes_on)?;
            all.extend_from_slice(self.values(name, page)?);
        }
        Ok(all)
    }

    /// Few series: look at each.
    fn values_by_series(
        &self,
        number: u32,
        name: &Name,
        among: &RoaringBitmap,
        goes_on: GoesOn<'_>,
    ) -> Result<Vec<Arc<str>>, IndexError> {
        let mut numbers = BTreeSet::new();
        for (at, series) in among.iter().enumerate() {
            if at.is_multiple_of(PAGE_SERIES) {
                check(goes_on)?;
            }
            if let Some(value) = self.value_of(series, number)? {
                numbers.insert(value);
            }
        }
        numbers
            .into_iter()
            .map(|value| self.value(name, value))
            .collect()
    }

    /// Few values: look at the series of each.
    fn values_by_postings(
        &self,
        name: &Name,
        among: &RoaringBitmap,
        goes_on: GoesOn<'_>,
    ) -> Result<Vec<Arc<str>>, IndexError> {
        let mut found = Vec::new();
        for page in name.pages() {
            check(goes_on)?;
            let values = self.values(name, page)?;
            let raw = self.postings_page(page)?;
            for (value, series) in values.iter().zip(postings::values(&raw, values.len())) {
                let has = series
                    .and_then(|series| postings::intersects(series, self.series_count(), among))
                    .map_err(IndexError::at(Part::Postings(page)))?;
                if has {
                    found.push(Arc::clone(value));
                }
            }
        }
        Ok(found)
    }
}

/// The values that a matcher names, if it is an equality or an alternation of plain words such as
/// `a|b|c`, which dashboards make of variables with several values.
fn wanted_values(matcher: &Matcher) -> Option<Vec<&str>> {
    let text = matcher.value();
    if matches!(matcher.op(), MatchOp::Equal | MatchOp::NotEqual) {
        return Some(vec![text]);
    }
    let plain =
        |b: u8| b.is_ascii_alphanumeric() || b"_-/ :,=@%~\"'!<>;&".contains(&b) || b >= 0x80;
    let values: Vec<&str> = text.split('|').collect();
    let all_plain = values
        .iter()
        .all(|value| !value.is_empty() && value.bytes().all(plain));
    all_plain.then_some(values)
}
