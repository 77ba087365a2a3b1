//! The two ways to an answer: the stages run over every row, and what blocks find themselves.

use std::ops::ControlFlow;
use std::sync::Arc;

use logql::metric::{EvalError, Leaf, Limits, RangeAccumulator, Series, Steps, Value};
use logql::metric::{evaluate, leaf_contexts};
use logql::pipeline::{Extractor, Pipeline};
use logql::syntax::ast::{Expr, MetricExpr};
use model::{Budget, Code, Direction, LabelSet, RowLabels, TimeRange};
use scan::{
    Accumulate, Context, Deletes, LogRow, LogScan, Prefilter, Pushdown, SamplePlan, SampleScan,
    SampleShape, SampleSink, ScanError, ScanStats, Source, plan_samples, scan_logs, scan_samples,
};

use super::queries::{Asked, Query};
use super::rows::Row;
use super::sources::{Laid, Prepared, Stored, Wanted, stream};

const NOW_NS: i64 = 1_000_000;
/// Difference between numbers that were added up in another order, as a part of the larger one.
const DIFFERENCE: f64 = 1e-9;

/// A line that passed: time, text, labels.
type Line = (i64, Vec<u8>, Arc<RowLabels>);

/// What comparing a query has shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// How often the query was pushed down.
    pub executions: u64,
    /// Whether there was something to be found.
    pub found: bool,
}

/// How sources are asked.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Held,
    Fetched,
    Off,
}

/// Asks all layouts of the rows.
///
/// # Errors
/// If one of them answers otherwise than the rows do; the text says which.
pub fn check(prepared: &Prepared, query: &Query) -> Result<Seen, String> {
    let deletes = query
        .deleted
        .iter()
        .map(|text| (text.as_str(), ALL_TIME, NOW_NS));
    let deletes = Deletes::new(deletes).unwrap();
    let left = |rows: &[Row]| match &query.deleted {
        Some(deleted) => not_deleted(rows, deleted),
        None => rows.to_vec(),
    };
    let (rows, once) = (left(&prepared.rows), left(&prepared.once));
    let expr = logql::syntax::parse(&query.text).unwrap();
    match (query.asked, &expr) {
        (
            Asked::Lines {
                range,
                direction,
                limit,
            },
            Expr::Log(log),
        ) => {
            let (prefilter, left) = Pushdown::On.split_log(log);
            let asked = Lines {
                of_rows: Pipeline::new(log, NOW_NS).unwrap(),
                pushed_down: (prefilter, Pipeline::new(&left, NOW_NS).unwrap()),
                deletes: &deletes,
                range,
                direction,
                limit,
            };
            let (rows, once) = (asked.of_rows(&rows), asked.of_rows(&once));
            each(prepared, &|laid, way| {
                let expected = if laid.overlaps { &once } else { &rows };
                let found = asked.pushed_down(laid, way);
                (found == *expected)
                    .then_some(!expected.is_empty())
                    .ok_or_else(|| format!("found    {found:?}\nexpected {expected:?}"))
            })
        }
        (Asked::Numbers(steps), Expr::Metric(expr)) => {
            let leaves = leaf_contexts(expr);
            let asked = Numbers {
                expr,
                leaves: leaves.iter().map(LeafStages::new).collect(),
                deletes: &deletes,
                steps,
            };
            let (all, each_once) = (asked.of_rows(&rows), asked.of_rows(&once));
            each(prepared, &|laid, way| {
                let expected = if laid.overlaps { &each_once } else { &all };
                let found = asked.pushed_down(laid, way);
                let is_some = !matches!(expected, Ok(Value::Matrix(series)) if series.is_empty());
                is_close(&found, expected)
                    .then_some(is_some)
                    .ok_or_else(|| format!("found    {found:?}\nexpected {expected:?}"))
            })
        }
        _ => Err("the query is none of what is asked".to_owned()),
    }
}

const ALL_TIME: TimeRange = TimeRange {
    start_ns: i64::MIN,
    end_ns: i64::MAX,
};

/// Compares in every way that a layout can be asked.
fn each(
    prepared: &Prepared,
    compare: &dyn Fn(&Laid, Way) -> Result<bool, String>,
) -> Result<Seen, String> {
    let mut seen = Seen::default();
    for laid in &prepared.laid {
        let ways = [
            (Way::Held, "held"),
            (Way::Held, "held, and remembered"),
            (Way::Fetched, "fetched"),
            (Way::Off, "off"),
        ];
        for (way, name) in ways {
            let can_be = match way {
                Way::Held => true,
                Way::Fetched => !laid.stored.is_empty(),
                // All layouts would be read alike.
                Way::Off => laid.overlaps && !laid.stored.is_empty(),
            };
            if can_be {
                let found = compare(laid, way);
                seen.found |= found.map_err(|text| format!("{}, {name}:\n{text}", laid.name))?;
                seen.executions += 1;
            }
        }
    }
    Ok(seen)
}

fn not_deleted(rows: &[Row], deleted: &str) -> Vec<Row> {
    let (log, _) = logql::syntax::parse_log_of_any_streams(deleted).unwrap();
    let pipeline = Pipeline::new(&log, NOW_NS).unwrap();
    let mut stages = pipeline.for_stream(&stream());
    let mut is_left =
        |(time, line, metadata): &&Row| stages.process(*time, line, metadata).is_none();
    rows.iter().filter(&mut is_left).cloned().collect()
}

fn with_context<T>(
    scan: impl FnOnce(&mut Context<'_>) -> Result<T, ScanError>,
) -> Result<T, ScanError> {
    let budget = Budget::new("test", 64 << 20);
    let mut memory = budget.reservation();
    let mut stats = ScanStats::default();
    let result = scan(&mut Context {
        is_cancelled: &|| false,
        memory: &mut memory,
        stats: &mut stats,
    });
    assert_eq!(memory.bytes(), 0, "all memory is given back");
    result
}

/// A log query, ready to be asked.
struct Lines<'a> {
    of_rows: Pipeline,
    /// What blocks are asked, and what is left.
    pushed_down: (Prefilter, Pipeline),
    deletes: &'a Deletes,
    range: TimeRange,
    direction: Direction,
    limit: usize,
}

impl Lines<'_> {
    /// What the pipeline says about every row.
    fn of_rows(&self, rows: &[Row]) -> Vec<Line> {
        let mut stages = self.of_rows.for_stream(&stream());
        let mut lines = Vec::new();
        for (time, line, metadata) in rows.iter().filter(|row| self.range.contains(row.0)) {
            if let Some((line, labels)) = stages.process(*time, line, metadata) {
                lines.push((*time, line.into_owned(), Arc::clone(labels)));
            }
        }
        if self.direction == Direction::Backward {
            lines.reverse();
        }
        if self.limit > 0 {
            lines.truncate(self.limit);
        }
        lines
    }

    fn pushed_down(&self, laid: &Laid, way: Way) -> Vec<Line> {
        let none = Prefilter::default();
        let (prefilter, pipeline) = match way {
            Way::Off => (&none, &self.of_rows),
            _ => (&self.pushed_down.0, &self.pushed_down.1),
        };
        let deletes = self.deletes.for_stream_in(&stream(), self.range);
        let mut stages = deletes.before(pipeline.for_stream(&stream()));
        let scan = LogScan {
            range: self.range,
            direction: self.direction,
            limit: self.limit,
            prefilter,
            hashes: true,
            pushdown: Pushdown::from(way != Way::Off),
        };
        let wanted = Wanted {
            projection: chunk::Projection::ALL,
            reduction: None,
            prefilter,
            range: self.range,
        };
        let fetched: Vec<Source>;
        let sources = match way {
            Way::Held => &laid.held,
            Way::Fetched | Way::Off => {
                let stored = laid.stored.iter();
                fetched = stored
                    .filter_map(|stored| stored.fetched(&wanted))
                    .collect();
                &fetched
            }
        };
        let mut lines = Vec::new();
        let mut sink = |row: LogRow<'_>| {
            lines.push((row.timestamp_ns, row.line.to_vec(), Arc::clone(row.labels)));
            ControlFlow::Continue(())
        };
        with_context(|context| scan_logs(sources, &scan, &mut stages, context, &mut sink)).unwrap();
        lines
    }
}

/// A range aggregation, ready to be asked.
struct LeafStages {
    of_rows: Extractor,
    /// What blocks are asked, what is left, and its shape.
    pushed_down: (Prefilter, Extractor, SampleShape),
}

impl LeafStages {
    fn new(leaf: &Leaf<'_>) -> Self {
        let extractor =
            |aggregation| Extractor::new(aggregation, leaf.reduce_to.as_ref(), NOW_NS).unwrap();
        let (prefilter, left) = Pushdown::On.split_aggregation(leaf.aggregation);
        Self {
            of_rows: extractor(leaf.aggregation),
            pushed_down: (prefilter, extractor(&left), Pushdown::On.shape(&left)),
        }
    }
}

/// A metric query, ready to be asked.
struct Numbers<'a> {
    expr: &'a MetricExpr,
    leaves: Vec<LeafStages>,
    deletes: &'a Deletes,
    steps: Steps,
}

type Numbered = Result<Value, EvalError>;

impl Numbers<'_> {
    fn evaluate(
        &self,
        leaf: &dyn Fn(&LeafStages, TimeRange, &mut RangeAccumulator) -> Result<(), ScanError>,
    ) -> Numbered {
        let mut leaves = self.leaves.iter();
        let limits = Limits {
            max_series: 0,
            split_ns: 0,
            is_cancelled: &|| false,
        };
        let mut memory = Budget::new("test", 64 << 20).reservation();
        evaluate(
            self.expr,
            self.steps,
            limits,
            &mut memory,
            &mut |aggregation| {
                let budget = Budget::new("test", 64 << 20);
                let mut sum = RangeAccumulator::new(aggregation, self.steps, budget.reservation());
                let range = self.steps.sample_range(aggregation);
                let done = leaf(leaves.next().unwrap(), range, &mut sum);
                done.map_err(|error| EvalError::Leaf {
                    code: Code::InvalidArgument,
                    message: match error {
                        ScanError::Sample(text) => text,
                        other => panic!("{other}"),
                    },
                })?;
                let (series, _) = sum.finish(&|| false)?;
                Ok(series)
            },
        )
    }

    /// What comes of samples taken from every row. Which labels they have is a matter of the
    /// language: a parser that nobody needs the labels of does not even fail.
    fn of_rows(&self, rows: &[Row]) -> Numbered {
        self.evaluate(&|leaf, range, sum| {
            let mut stages = leaf.of_rows.for_stream(&stream());
            let mut sink = Accumulate::new(sum);
            for (time, line, metadata) in rows.iter().filter(|row| range.contains(row.0)) {
                if let Some(sample) = stages.process(*time, line, metadata) {
                    let (value, labels) = sample.map_err(ScanError::Sample)?;
                    let _ = sink.sample(labels, *time, value, None);
                }
            }
            sink.finish().map(drop)
        })
    }

    fn pushed_down(&self, laid: &Laid, way: Way) -> Numbered {
        self.evaluate(&|leaf, range, sum| {
            let none = (Prefilter::default(), SampleShape::UNKNOWN);
            let (prefilter, extractor, shape) = match (way, &leaf.pushed_down) {
                (Way::Off, _) => (&none.0, &leaf.of_rows, none.1),
                (_, (prefilter, extractor, shape)) => (prefilter, extractor, *shape),
            };
            let deletes = self.deletes.for_stream_in(&stream(), range);
            let is_whole = deletes.is_empty();
            let reader = extractor.reader(&stream());
            let reader = Pushdown::from(way != Way::Off).reader(reader);
            let scan = SampleScan {
                range,
                shape: deletes.shape(shape),
                prefilter,
                reader: reader.filter(|_| is_whole),
                known_by: Some(extractor.known_by()),
                hashes: false,
            };
            let mut stages = deletes.before(extractor.for_stream(&stream()));
            let mut sink = Accumulate::new(sum);
            let fetched: Vec<Source>;
            let sources = match way {
                Way::Held => &laid.held,
                Way::Fetched | Way::Off => {
                    let is_planned = is_whole && !laid.overlaps;
                    let mut fetch = |stored: &Stored| {
                        fetched_of(stored, &scan, is_planned, &mut stages, &mut sink)
                    };
                    fetched = laid.stored.iter().filter_map(&mut fetch).collect();
                    &fetched
                }
            };
            with_context(|context| scan_samples(sources, &scan, &mut stages, context, &mut sink))?;
            sink.finish().map(drop)
        })
    }
}

/// The block with what a metric query asks of it, if counters do not say it all.
fn fetched_of<S: scan::SampleStages>(
    stored: &Stored,
    scan: &SampleScan<'_>,
    is_planned: bool,
    stages: &mut S,
    sink: &mut dyn SampleSink,
) -> Option<Source> {
    let everything = Wanted {
        projection: chunk::Projection::ALL,
        reduction: None,
        prefilter: scan.prefilter,
        range: scan.range,
    };
    let (meta, run) = (stored.meta(), stored.run());
    if !is_planned {
        return stored.fetched(&everything);
    }
    match plan_samples(meta, None, run, scan, stages, sink).unwrap() {
        SamplePlan::Counted => None,
        _ if meta.runs().len() > 1 => stored.fetched(&everything),
        SamplePlan::Fetch(projection) => stored.fetched(&Wanted {
            projection,
            ..everything
        }),
        SamplePlan::Reduce(reduction) => stored.fetched(&Wanted {
            projection: chunk::Projection::TIMESTAMPS,
            reduction: Some(&reduction),
            ..everything
        }),
    }
}

/// Whether two answers are the same but for the order in which numbers were added up.
fn is_close(one: &Numbered, other: &Numbered) -> bool {
    let (one, other) = match (one, other) {
        (Ok(one), Ok(other)) => (one, other),
        (one, other) => return one.is_err() && other.is_err(),
    };
    match (one, other) {
        (Value::Scalar(one), Value::Scalar(other)) => are_close(one, other),
        (Value::Matrix(one), Value::Matrix(other)) => {
            let is_close = |(one, other): (&Series, &Series)| {
                let labels: [&LabelSet; 2] = [&one.labels, &other.labels];
                labels[0] == labels[1] && are_close(&one.points, &other.points)
            };
            one.len() == other.len() && one.iter().zip(other).all(is_close)
        }
        _ => false,
    }
}

fn are_close(one: &[(i64, f64)], other: &[(i64, f64)]) -> bool {
    let is_close = |(one, other): (&(i64, f64), &(i64, f64))| {
        let most = one.1.abs().max(other.1.abs()).max(1.0);
        let is_same = one.1 == other.1 || one.1.is_nan() && other.1.is_nan();
        one.0 == other.0 && (is_same || (one.1 - other.1).abs() <= most * DIFFERENCE)
    };
    one.len() == other.len() && one.iter().zip(other).all(is_close)
}
