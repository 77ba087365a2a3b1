//! Label sets as numbers, while a file is written.
//!
//! Names and values get their places in the sorted tables first. Label sets then compare as lists
//! of numbers, in the same order as their texts do but without touching them.

use std::sync::Arc;

use codec::container::ContainerWriter;
use model::LabelSet;

use super::{Map, add, cap};
use crate::names::{Name, write_names, write_values};
use crate::{
    IndexError, KIND_NAMES, KIND_POSTINGS, KIND_VALUES, MAX_NAMES, MAX_VALUES, PAGE_VALUES, Part,
    RoaringBitmap, postings,
};

/// The names, sorted, with their values, sorted; and the label sets made of them.
pub(super) struct NumberedLabels<'a> {
    names: Vec<(&'a str, Vec<&'a str>)>,
    /// Per label set the number of each name and the number plus one of its value.
    series: Vec<Vec<(u32, u32)>>,
}

/// The values of a name in order of appearance.
#[derive(Default)]
struct Found<'a> {
    number_of: Map<&'a str, u32>,
    values: Vec<&'a str>,
}

impl<'a> NumberedLabels<'a> {
    pub(super) fn new(label_sets: &[&'a LabelSet]) -> Self {
        let mut number_of_name: Map<&str, usize> = Map::default();
        let mut found: Vec<(&str, Found<'_>)> = Vec::new();
        let mut series = Vec::with_capacity(label_sets.len());
        for labels in label_sets {
            let mut numbers = Vec::with_capacity(labels.len());
            for label in *labels {
                let name = *number_of_name.entry(&label.name).or_insert_with(|| {
                    found.push((&label.name, Found::default()));
                    found.len() - 1
                });
                if let Some((_, found)) = found.get_mut(name) {
                    numbers.push((name as u32, found.number(&label.value)));
                }
            }
            series.push(numbers);
        }
        let (order, place_of_name) = sorted(&found, |(name, _)| *name);
        let (mut names, mut place_of_value) = (Vec::new(), Vec::new());
        for (name, found) in order.into_iter().filter_map(|at| found.get(at)) {
            let (order, places) = sorted(&found.values, |value| *value);
            let values = order
                .into_iter()
                .filter_map(|at| found.values.get(at).copied());
            names.push((*name, values.collect()));
            place_of_value.push(places);
        }
        for (name, value) in series.iter_mut().flatten() {
            *name = place_of_name.get(*name as usize).copied().unwrap_or(0);
            let places: Option<&Vec<u32>> = place_of_value.get(*name as usize);
            *value = places
                .and_then(|places| places.get(*value as usize))
                .map_or(0, |at| at + 1);
        }
        Self { names, series }
    }

    /// The order of the label sets.
    pub(super) fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.series.len()).collect();
        order.sort_unstable_by(|a, b| self.series.get(*a).cmp(&self.series.get(*b)));
        order
    }

    pub(super) fn into_series(self) -> Vec<Vec<(u32, u32)>> {
        self.series
    }

    /// Writes names, values and postings. Series are numbered in this order.
    pub(super) fn write(
        &self,
        order: &[usize],
        writer: &mut ContainerWriter,
    ) -> Result<(), IndexError> {
        cap(Part::Names, "label names", self.names.len(), MAX_NAMES)?;
        let mut lists: Vec<Vec<Vec<u32>>> = self
            .names
            .iter()
            .map(|(_, values)| vec![Vec::new(); values.len()])
            .collect();
        for (at, number) in order.iter().zip(0u32..) {
            for (name, value) in self.series.get(*at).into_iter().flatten() {
                let list = lists
                    .get_mut(*name as usize)
                    .and_then(|values| values.get_mut((value - 1) as usize));
                if let Some(list) = list {
                    list.push(number);
                }
            }
        }
        let mut pages = Pages::default();
        let mut names = Vec::with_capacity(self.names.len());
        for ((name, values), lists) in self.names.iter().zip(&lists) {
            names.push(pages.add(name, values, lists, self.series.len())?);
        }
        add(writer, KIND_NAMES, Part::Names, 0, &write_names(&names))?;
        for (values, page) in pages.values.iter().zip(0u32..) {
            add(writer, KIND_VALUES, Part::Values(page), page, values)?;
        }
        for (postings, page) in pages.postings.iter().zip(0u32..) {
            add(writer, KIND_POSTINGS, Part::Postings(page), page, postings)?;
        }
        Ok(())
    }
}

impl<'a> Found<'a> {
    fn number(&mut self, value: &'a str) -> u32 {
        *self.number_of.entry(value).or_insert_with(|| {
            self.values.push(value);
            self.values.len() as u32 - 1
        })
    }
}

/// The pages of all names, one after the other.
#[derive(Default)]
struct Pages {
    values: Vec<Vec<u8>>,
    postings: Vec<Vec<u8>>,
}

impl Pages {
    fn add(
        &mut self,
        name: &str,
        values: &[&str],
        lists: &[Vec<u32>],
        series: usize,
    ) -> Result<Name, IndexError> {
        cap(Part::Names, "label values", values.len(), MAX_VALUES)?;
        let first_page = self.values.len() as u32;
        let mut first_values = Vec::new();
        for (values, lists) in values.chunks(PAGE_VALUES).zip(lists.chunks(PAGE_VALUES)) {
            first_values.extend(values.first().map(|first| Arc::from(*first)));
            self.values.push(write_values(values));
            let mut page = Vec::new();
            lists.iter().for_each(|list| postings::put(&mut page, list));
            self.postings.push(page);
        }
        let everywhere = lists.iter().map(Vec::len).sum::<usize>() == series;
        Ok(Name {
            name: Arc::from(name),
            values: values.len() as u32,
            first_page,
            first_values,
            present: (!everywhere).then(|| united(lists)),
        })
    }
}

/// The series of all values. A series has one value of a name, so the lists are disjoint.
fn united(lists: &[Vec<u32>]) -> RoaringBitmap {
    let mut all = lists.concat();
    all.sort_unstable();
    let mut bitmap: RoaringBitmap = all.into_iter().collect();
    bitmap.optimize();
    bitmap
}

/// Positions in the order of their text, and the place of each position in that order.
fn sorted<'a, T>(items: &'a [T], text: impl Fn(&'a T) -> &'a str) -> (Vec<usize>, Vec<u32>) {
    let mut texts: Vec<(&str, usize)> = items.iter().map(text).zip(0..).collect();
    texts.sort_unstable();
    let mut places = vec![0; items.len()];
    for ((_, at), place) in texts.iter().zip(0u32..) {
        if let Some(slot) = places.get_mut(*at) {
            *slot = place;
        }
    }
    (texts.into_iter().map(|(_, at)| at).collect(), places)
}
