//! From values that meet a condition to the texts that have them.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::column::matching;
use super::literal::{Condition, Test};
use super::plan::{Part, Plan};
use crate::shape::{Group, Template};
use crate::values::{GroupView, TextCursor};
use crate::{ChunkError, RowSet};

/// The texts of a group that meet a condition, for which the plan was made.
pub(super) fn find(
    view: GroupView<'_>,
    plan: &Plan<'_>,
    condition: &Condition<'_>,
) -> Result<RowSet, ChunkError> {
    let mut found = RowSet::none(view.group.count as usize);
    let mut finding = Finding {
        view,
        plan,
        known: HashMap::default(),
    };
    finding.whole(&plan.whole, &mut found)?;
    for ((column, condition), places) in &plan.single {
        if finding.look_up(*column, *condition)? {
            finding.walk(*column, condition, places, &mut found)?;
        }
    }
    for (template, parts) in &plan.spanning {
        finding.spanning(*template, parts, &mut found)?;
    }
    finding.rebuilt(&plan.rebuilt, condition, &mut found)?;
    Ok(found)
}

/// The templates that some texts of a group have.
pub(super) fn templates_of<'a>(
    view: GroupView<'a>,
    texts: &RowSet,
) -> Result<Vec<&'a Template>, ChunkError> {
    let numbers = view.numbers()?;
    let mut used = vec![false; view.group.templates.len()];
    for text in texts.iter() {
        if let Some(used) = used.get_mut(GroupView::template_of(numbers, text)) {
            *used = true;
        }
    }
    let templates = view.group.templates.iter().zip(used);
    Ok(templates
        .filter_map(|(template, used)| used.then_some(template))
        .collect())
}

struct Finding<'a, 'n> {
    view: GroupView<'a>,
    plan: &'a Plan<'n>,
    /// Per column and condition the values that meet it; `None` if there is none.
    known: HashMap<(u32, Condition<'n>), Option<RowSet>, RandomState>,
}

impl<'n> Finding<'_, 'n> {
    /// All texts of some templates.
    fn whole(&self, templates: &[usize], found: &mut RowSet) -> Result<(), ChunkError> {
        if templates.is_empty() {
            return Ok(());
        }
        let numbers = self.view.numbers()?;
        let of_template = of_template(self.view.group, templates);
        for text in 0..self.view.group.count as usize {
            if of_template.get(GroupView::template_of(numbers, text)) == Some(&true) {
                found.insert(text);
            }
        }
        Ok(())
    }

    /// Finds out which values of a column meet a condition. `false` if none does.
    fn look_up(&mut self, column: u32, condition: Condition<'n>) -> Result<bool, ChunkError> {
        if let Some(known) = self.known.get(&(column, condition)) {
            return Ok(known.is_some());
        }
        let values = self.view.distinct(column)?;
        let inner = self.plan.inner.get(&(column, condition));
        let matching = match values.group().zip(inner) {
            Some((group, plan)) => find(group, plan, &condition)?,
            None => matching(values, &condition)?,
        };
        let matching = Some(matching).filter(|matching| !matching.is_empty());
        let is_any = matching.is_some();
        self.known.insert((column, condition), matching);
        Ok(is_any)
    }

    /// Adds the texts that have a value that was looked up at one of these places of templates.
    fn walk(
        &self,
        column: u32,
        condition: &Condition<'n>,
        places: &[(usize, usize)],
        found: &mut RowSet,
    ) -> Result<(), ChunkError> {
        let Some(Some(values)) = self.known.get(&(column, *condition)) else {
            return Ok(());
        };
        let numbers = self.view.numbers()?;
        // Per template: values it has in the column, and which of them count.
        let templates = self.view.group.templates.iter();
        let mut uses: Vec<(usize, Vec<usize>)> = templates
            .map(|template| {
                let all = template.slots.iter().filter(|slot| **slot == column);
                (all.count(), Vec::new())
            })
            .collect();
        for (number, place) in places {
            let template = self.view.group.templates.get(*number);
            let before = template.and_then(|template| template.slots.get(..*place));
            let before = before
                .unwrap_or_default()
                .iter()
                .filter(|slot| **slot == column);
            if let Some((_, wanted)) = uses.get_mut(*number) {
                wanted.push(before.count());
            }
        }
        let mut next = 0;
        for text in 0..self.view.group.count as usize {
            let Some((count, wanted)) = uses.get(GroupView::template_of(numbers, text)) else {
                continue;
            };
            if wanted.iter().any(|at| values.contains(next + at)) {
                found.insert(text);
            }
            next += count;
        }
        Ok(())
    }

    /// Adds the texts of a template that meet all conditions.
    fn spanning(
        &mut self,
        number: usize,
        parts: &[Part<'n>],
        found: &mut RowSet,
    ) -> Result<(), ChunkError> {
        let Some(template) = self.view.group.templates.get(number) else {
            return Ok(());
        };
        let slot = |place: usize| template.slots.get(place).copied().unwrap_or_default();
        for (place, condition) in parts {
            if !self.look_up(slot(*place), *condition)? {
                return Ok(());
            }
        }
        let mut all: Option<RowSet> = None;
        for (place, condition) in parts {
            let mut one = RowSet::none(found.len());
            self.walk(slot(*place), condition, &[(number, *place)], &mut one)?;
            match &mut all {
                Some(all) => all.intersect(&one),
                None => all = Some(one),
            }
        }
        all.iter().for_each(|all| found.union(all));
        Ok(())
    }

    /// Puts the texts of some templates together and adds those that meet the condition.
    fn rebuilt(
        &self,
        templates: &[usize],
        condition: &Condition<'_>,
        found: &mut RowSet,
    ) -> Result<(), ChunkError> {
        if templates.is_empty() {
            return Ok(());
        }
        let numbers = self.view.numbers()?;
        let of_template = of_template(self.view.group, templates);
        let most = self.view.store.block.meta().raw_bytes() as usize;
        let mut cursor = TextCursor::new(self.view, most)?;
        let test = Test::new(*condition);
        let mut text = Vec::new();
        for at in 0..self.view.group.count as usize {
            if of_template.get(GroupView::template_of(numbers, at)) != Some(&true) {
                continue;
            }
            text.clear();
            cursor.put(at, &mut text)?;
            if test.holds(&text) {
                found.insert(at);
            }
        }
        Ok(())
    }
}

fn of_template(group: &Group, templates: &[usize]) -> Vec<bool> {
    let mut of_template = vec![false; group.templates.len()];
    for template in templates {
        if let Some(is) = of_template.get_mut(*template) {
            *is = true;
        }
    }
    of_template
}
