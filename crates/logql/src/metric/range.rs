//! Range aggregations: samples in, series out.

use std::collections::HashMap;

use foldhash::fast::FixedState;
use model::{BudgetError, LabelSet, LabelSetBuilder, MatchOp, Matcher, Reservation};

use super::cells::{Cell, Cells};
use super::fold::{Fold, FoldKind, Place};
use super::window::Window;
use super::{EvalError, Series, Steps, raw};
use crate::syntax::ast::{RangeAggregation, RangeOp};

mod partial;
mod values;

pub use partial::{Borders, Partial};
use values::CellValues;

/// A series of one accumulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SeriesId(u32);

/// Bytes accounted for a series besides its labels and samples.
const SERIES_BYTES: u64 = 256;

/// Takes the samples of one range aggregation, in any order, and gives its series.
#[derive(Debug)]
pub struct RangeAccumulator {
    op: RangeOp,
    quantile: f64,
    range_ns: i64,
    offset_ns: i64,
    steps: Steps,
    cells: Cells,
    fold: Option<FoldKind>,
    ids: HashMap<LabelSet, SeriesId, FixedState>,
    series: Vec<Store>,
    /// Of samples of one time those of the smaller come first.
    source: u64,
    /// Labels of the one series of `absent_over_time`.
    absent: LabelSet,
    reservation: Reservation,
}

/// The samples of a series so far.
#[derive(Debug)]
struct Store {
    labels: LabelSet,
    /// The cell of the last sample, where the next probably is as well.
    cell: Cell,
    /// Cells as samples touched them: one may be there several times, until they are compacted.
    folds: Vec<(i64, Fold)>,
    /// How many there were after the last compaction.
    compact_len: usize,
    values: CellValues,
    samples: Vec<(i64, f64)>,
    reserved_bytes: u64,
}

const NO_CELL: Cell = Cell {
    number: i64::MIN,
    after_ns: i64::MAX,
    last_ns: i64::MIN,
};

impl RangeAccumulator {
    /// An accumulator without samples. What it holds is taken from `reservation`, which it keeps.
    #[must_use]
    pub fn new(aggregation: &RangeAggregation, steps: Steps, reservation: Reservation) -> Self {
        Self {
            op: aggregation.op,
            quantile: aggregation.parameter.unwrap_or(f64::NAN),
            range_ns: aggregation.range_ns,
            offset_ns: aggregation.offset_ns,
            steps,
            cells: Cells::new(steps, aggregation.range_ns, aggregation.offset_ns),
            fold: FoldKind::of(aggregation.op),
            ids: HashMap::default(),
            series: Vec::new(),
            source: 0,
            absent: absent_labels(&aggregation.log.matchers),
            reservation,
        }
    }

    /// The series with these labels.
    ///
    /// # Errors
    /// If there is no memory for another.
    pub fn series(&mut self, labels: &LabelSet) -> Result<SeriesId, BudgetError> {
        // Which series is there does not matter where only absence counts.
        let labels = if self.op == RangeOp::Absent {
            &self.absent
        } else {
            labels
        };
        if let Some(id) = self.ids.get(labels) {
            return Ok(*id);
        }
        let label_bytes = (labels.len() * 64 + labels.text_len()) as u64;
        self.reservation.grow(SERIES_BYTES + label_bytes)?;
        let id = SeriesId(u32::try_from(self.series.len()).unwrap_or(u32::MAX));
        self.ids.insert(labels.clone(), id);
        self.series.push(Store {
            labels: labels.clone(),
            cell: NO_CELL,
            folds: Vec::new(),
            compact_len: 0,
            values: CellValues::default(),
            samples: Vec::new(),
            reserved_bytes: 0,
        });
        Ok(id)
    }

    /// How many series there are.
    #[must_use]
    pub fn series_len(&self) -> usize {
        self.series.len()
    }

    /// Says whose samples are added from now on. Of samples of one time those of the stream with the
    /// smaller fingerprint are first, and of a stream those that are stored before `recent` ones, so
    /// that it does not matter whose are added first.
    pub fn take_from(&mut self, stream_fingerprint: u64, recent: bool) {
        self.source = stream_fingerprint & !1 | u64::from(recent);
    }

    /// Adds a sample. One that no window contains is passed over.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn add(&mut self, id: SeriesId, time_ns: i64, value: f64) -> Result<(), BudgetError> {
        self.add_at(id, time_ns, &[value])
    }

    /// Adds samples of one series at one time.
    ///
    /// # Errors
    /// If there is no memory for them.
    pub fn add_at(
        &mut self,
        id: SeriesId,
        time_ns: i64,
        values: &[f64],
    ) -> Result<(), BudgetError> {
        let Some(store) = self.series.get_mut(id.0 as usize) else {
            return Ok(());
        };
        if time_ns <= store.cell.after_ns || time_ns > store.cell.last_ns {
            let Some(cell) = self.cells.of(time_ns) else {
                return Ok(());
            };
            store.cell = cell;
        }
        match self.fold {
            Some(kind) => {
                let source = self.source;
                let place = Place { time_ns, source };
                for value in values {
                    store.fold(kind.start(place, *value));
                }
            }
            None if self.op == RangeOp::Quantile => store.values.push(store.cell.number, values),
            None => {
                let samples = values.iter().map(|value| (time_ns, *value));
                store.samples.extend(samples);
            }
        }
        store.account(&mut self.reservation)
    }

    /// Adds many samples of one series.
    ///
    /// # Errors
    /// If there is no memory for them.
    pub fn add_all(
        &mut self,
        id: SeriesId,
        times_ns: &[i64],
        values: &[f64],
    ) -> Result<(), BudgetError> {
        times_ns
            .iter()
            .zip(values)
            .try_for_each(|(time, value)| self.add(id, *time, *value))
    }

    /// Adds a sample of 1 at each of these times, which ascend.
    ///
    /// # Errors
    /// If there is no memory for them.
    pub fn add_ones(&mut self, id: SeriesId, times_ns: &[i64]) -> Result<(), BudgetError> {
        if self.fold != Some(FoldKind::Sum) {
            return times_ns
                .iter()
                .try_for_each(|time| self.add(id, *time, 1.0));
        }
        let mut left = times_ns;
        while let Some(first) = left.first() {
            let inside = match self.cells.of(*first) {
                Some(cell) => left.partition_point(|time| *time <= cell.last_ns).max(1),
                None => 1,
            };
            self.add(id, *first, inside as f64)?;
            left = left.get(inside..).unwrap_or_default();
        }
        Ok(())
    }

    /// The times between `min_ns` and `max_ns` up to which samples count for the same windows, and
    /// `max_ns`; ascending. The samples of a series that are later than one of these and not than the
    /// next may be added as their sum, at the next. `None` if there would be more than `most`, or if
    /// the function has to see samples one by one.
    #[must_use]
    pub fn cuts(&self, min_ns: i64, max_ns: i64, most: usize) -> Option<Vec<i64>> {
        match self.fold {
            Some(FoldKind::Sum) => self.borders_until(min_ns, max_ns, most),
            _ => None,
        }
    }

    /// As [`Self::cuts`], of samples that may be added at the next of these times in place of their
    /// own, but each for itself. `None` as well if the function looks at times.
    #[must_use]
    pub fn value_cuts(&self, min_ns: i64, max_ns: i64, most: usize) -> Option<Vec<i64>> {
        let looks_at_times = matches!(
            self.op,
            RangeOp::First | RangeOp::Last | RangeOp::RateCounter
        );
        match looks_at_times {
            true => None,
            false => self.borders_until(min_ns, max_ns, most),
        }
    }

    fn borders_until(&self, min_ns: i64, max_ns: i64, most: usize) -> Option<Vec<i64>> {
        let mut cuts = Vec::new();
        let mut time_ns = min_ns;
        while cuts.len() < most {
            let until = self.cells.same_until(time_ns);
            if until >= max_ns {
                cuts.push(max_ns);
                return Some(cuts);
            }
            cuts.push(until);
            time_ns = until + 1;
        }
        None
    }

    /// Adds what another accumulator of the same query has.
    ///
    /// # Errors
    /// If there is no memory for both.
    pub fn merge(&mut self, other: Self) -> Result<(), BudgetError> {
        for theirs in other.series {
            let id = self.series(&theirs.labels)?;
            if let Some(store) = self.series.get_mut(id.0 as usize) {
                store.folds.extend(theirs.folds);
                store.values.append(&theirs.values, 0);
                store.samples.extend(theirs.samples);
                store.cell = NO_CELL;
                store.compact_if_long();
                store.account(&mut self.reservation)?;
            }
        }
        Ok(())
    }

    /// The series, by labels; and the reservation, which now covers them.
    ///
    /// # Errors
    /// If there is no memory for the points, or `is_cancelled` says so.
    pub fn finish(
        mut self,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<(Vec<Series>, Reservation), EvalError> {
        let stores = std::mem::take(&mut self.series);
        let mut found = Vec::with_capacity(stores.len());
        for mut store in stores {
            if is_cancelled() {
                return Err(EvalError::Cancelled);
            }
            let points = match self.fold {
                Some(_) => self.folded(&mut store),
                None if self.op == RangeOp::Quantile => self.quantiles(&store, is_cancelled)?,
                None => self.rates(&mut store, is_cancelled)?,
            };
            let (labels, before) = (store.labels, store.reserved_bytes);
            self.reservation.shrink(before);
            self.reservation.grow((points.len() * 16) as u64)?;
            found.push(Series { labels, points });
        }
        if self.op == RangeOp::Absent {
            found = self.absent_series(&found);
        }
        found.retain(|series| !series.points.is_empty());
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok((found, self.reservation))
    }

    /// Seconds in the window, for rates.
    fn range_s(&self) -> f64 {
        self.range_ns as f64 / 1e9
    }

    fn folded(&self, store: &mut Store) -> Vec<(i64, f64)> {
        store.compact();
        let mut points = Vec::new();
        let mut cells = store.folds.iter().peekable();
        let mut window = Window::default();
        for i in 0..self.steps.len() {
            let (first, last) = self.cells.window(i);
            while let Some((number, fold)) = cells.next_if(|(number, _)| *number <= last) {
                window.push(*number, *fold);
            }
            window.drop_before(first);
            match window.join() {
                Some(fold) => {
                    points.push((self.steps.time_ns(i), fold.value(self.op, self.range_s())));
                }
                None if cells.peek().is_none() => break,
                None => {}
            }
        }
        points
    }

    fn quantiles(
        &self,
        store: &Store,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Vec<(i64, f64)>, EvalError> {
        let cells = store.values.by_cell();
        let (mut from, mut to) = (0, 0);
        let mut points = Vec::new();
        let mut values = Vec::new();
        for i in 0..self.steps.len() {
            // A window may have as many values as the query.
            if is_cancelled() {
                return Err(EvalError::Cancelled);
            }
            let (first, last) = self.cells.window(i);
            while cells.get(to).is_some_and(|(cell, _)| *cell <= last) {
                to += 1;
            }
            while from < to && cells.get(from).is_some_and(|(cell, _)| *cell < first) {
                from += 1;
            }
            values.clear();
            let inside = cells.get(from..to).unwrap_or_default();
            inside
                .iter()
                .for_each(|(_, of_cell)| values.extend_from_slice(of_cell));
            if !values.is_empty() {
                let value = raw::quantile(self.quantile, &mut values);
                points.push((self.steps.time_ns(i), value));
            }
        }
        Ok(points)
    }

    fn rates(
        &self,
        store: &mut Store,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Vec<(i64, f64)>, EvalError> {
        // Equal times keep the order in which they came.
        store.samples.sort_by_key(|(time_ns, _)| *time_ns);
        let samples = &store.samples;
        let (mut from, mut to) = (0, 0);
        let mut points = Vec::new();
        for (i, time_ns) in self.steps.iter().enumerate() {
            // A window may have as many samples as the query.
            if is_cancelled() {
                return Err(EvalError::Cancelled);
            }
            let end_ns = time_ns.saturating_sub(self.offset_ns);
            let begin_ns = end_ns.saturating_sub(self.range_ns);
            while samples.get(to).is_some_and(|(time, _)| *time <= end_ns) {
                to += 1;
            }
            while from < to && samples.get(from).is_some_and(|(time, _)| *time <= begin_ns) {
                from += 1;
            }
            let inside = samples.get(from..to).unwrap_or_default();
            if !inside.is_empty() {
                let value = raw::counter_rate(inside, end_ns, self.range_ns);
                points.push((self.steps.time_ns(i), value));
            }
        }
        Ok(points)
    }

    /// One where there is nothing.
    fn absent_series(&self, present: &[Series]) -> Vec<Series> {
        let mut points = present
            .first()
            .map_or(&[][..], |series| &series.points)
            .iter()
            .peekable();
        let absent = self
            .steps
            .iter()
            .filter(|time| points.next_if(|(present, _)| present == time).is_none());
        let points = absent.map(|time| (time, 1.0)).collect();
        vec![Series {
            labels: self.absent.clone(),
            points,
        }]
    }
}

impl Store {
    fn fold(&mut self, fold: Fold) {
        match self.folds.last_mut() {
            Some((number, last)) if *number == self.cell.number => last.join(&fold),
            _ => {
                self.folds.push((self.cell.number, fold));
                self.compact_if_long();
            }
        }
    }

    /// Keeps the number of entries within a small factor of the number of cells.
    fn compact_if_long(&mut self) {
        if self.folds.len() > 2 * self.compact_len + 64 {
            self.compact();
        }
    }

    fn compact(&mut self) {
        if !self.folds.is_sorted_by(|(a, _), (b, _)| a < b) {
            // Stable, so that joining keeps the order of samples of equal time.
            self.folds.sort_by_key(|(number, _)| *number);
            self.folds.dedup_by(|(later, fold), (kept, join)| {
                let same = later == kept;
                if same {
                    join.join(fold);
                }
                same
            });
        }
        self.compact_len = self.folds.len();
    }

    fn account(&mut self, reservation: &mut Reservation) -> Result<(), BudgetError> {
        let bytes = self.folds.capacity() * size_of::<(i64, Fold)>()
            + self.values.heap_bytes()
            + self.samples.capacity() * size_of::<(i64, f64)>();
        let bytes = bytes as u64;
        if bytes > self.reserved_bytes {
            reservation.grow(bytes - self.reserved_bytes)?;
            self.reserved_bytes = bytes;
        }
        Ok(())
    }
}

/// What `absent_over_time` knows of the series that is not there: the labels that the selector says
/// are equal to something, unless it names them twice.
fn absent_labels(matchers: &[Matcher]) -> LabelSet {
    let mut labels = LabelSetBuilder::default();
    for matcher in matchers {
        let once = matchers
            .iter()
            .filter(|other| other.name() == matcher.name())
            .count()
            == 1;
        if matcher.op() == MatchOp::Equal && once {
            labels.push(matcher.name(), matcher.value());
        }
    }
    labels.build()
}
