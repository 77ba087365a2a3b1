//! What the line of every row that passes must have or not have, found without the stages.

use chunk::{Needle, Search};
use logql::pipeline::{Literal, split_literals};
use logql::syntax::ast::{LogExpr, RangeAggregation, Stage};

/// Says which rows may pass, by what their lines contain.
///
/// Blocks that know where literals are without looking at their lines are asked; the lines of other
/// sources are searched many at once.
#[derive(Clone, Debug, Default)]
pub struct Prefilter {
    search: Search,
}

impl Prefilter {
    /// Takes out of a log query what can be asked so. A row passes the query if the prefilter lets
    /// it through and it passes the query that is left.
    #[must_use]
    pub fn split_log(log: &LogExpr) -> (Self, LogExpr) {
        let (prefilter, stages) = Self::split(&log.stages);
        let matchers = log.matchers.clone();
        (prefilter, LogExpr { matchers, stages })
    }

    /// As [`Self::split_log`], of a range aggregation.
    #[must_use]
    pub fn split_aggregation(aggregation: &RangeAggregation) -> (Self, RangeAggregation) {
        let (prefilter, log) = Self::split_log(&aggregation.log);
        let left = RangeAggregation {
            log,
            ..aggregation.clone()
        };
        (prefilter, left)
    }

    fn split(stages: &[Stage]) -> (Self, Vec<Stage>) {
        let (conditions, left) = split_literals(stages);
        let mut search = Search::default();
        for condition in &conditions {
            let any_of = condition.any_of.iter().map(needle).collect();
            search.add(any_of, condition.negative);
        }
        (Self { search }, left)
    }

    /// Whether every line may pass.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.search.is_empty()
    }

    /// What is asked of lines.
    #[must_use]
    pub fn search(&self) -> &Search {
        &self.search
    }
}

impl From<Search> for Prefilter {
    fn from(search: Search) -> Self {
        Self { search }
    }
}

fn needle(literal: &Literal) -> Needle {
    let any_case = || Needle::any_case(std::str::from_utf8(&literal.text).ok()?);
    // A literal in any case is ASCII.
    let any_case = literal.any_case.then(any_case).flatten();
    any_case.unwrap_or_else(|| Needle::new(literal.text.clone()))
}
