//! Stages one after the other.

use super::row::Row;

/// Where a row goes after a stage.
#[derive(Debug)]
pub(crate) enum Flow {
    /// To the next stage.
    On,
    /// Nowhere: it was dropped, or the stage took it to hold it back.
    Stop,
    /// These go to the next stage in its place.
    Instead(Vec<Row>),
}

/// One step of a pipeline.
///
/// A stage whose source is missing or cannot be read leaves the row alone.
pub(crate) trait Stage: Send {
    /// Changes a row, drops it, or holds it back.
    fn process(&mut self, row: &mut Row, now_ns: i64) -> Flow;

    /// The same stage for another file: what is compiled and what counts for the whole job is
    /// shared, what is held back is not.
    fn fork(&self) -> Box<dyn Stage>;

    /// Gives the rows that were held back for long enough.
    fn idle(&mut self, _now_ns: i64) -> Vec<Row> {
        Vec::new()
    }

    /// Gives all rows that are held back.
    fn finish(&mut self, _now_ns: i64) -> Vec<Row> {
        Vec::new()
    }

    /// When [`Stage::idle`] has something to give, if nothing comes before.
    fn next_deadline_ns(&self) -> Option<i64> {
        None
    }

    /// The smallest origin of the rows that are held back.
    fn oldest_held(&self) -> Option<u64> {
        None
    }

    /// Appends the origins of rows that rows to come may be joined to, though they have gone on.
    fn joined_to(&self, _origins: &mut Vec<u64>) {}

    /// Whether rows are held back that were joined to those of these origins.
    fn is_joining(&self, _origins: &dyn Fn(u64) -> bool) -> bool {
        false
    }

    /// Joins no rows to come to those of these origins.
    fn part_from(&mut self, _origins: &dyn Fn(u64) -> bool) {}

    /// Until when no more rows should come.
    fn paused_until_ns(&self) -> Option<i64> {
        None
    }
}

/// Stages that rows go through in order.
#[derive(Default)]
pub(crate) struct Chain(pub(super) Vec<Box<dyn Stage>>);

impl Chain {
    pub(crate) fn process(&mut self, row: Row, now_ns: i64, out: &mut Vec<Row>) {
        run(&mut self.0, row, now_ns, out);
    }

    pub(crate) fn idle(&mut self, now_ns: i64, out: &mut Vec<Row>) {
        self.release(now_ns, out, |stage| stage.idle(now_ns));
    }

    pub(crate) fn finish(&mut self, now_ns: i64, out: &mut Vec<Row>) {
        self.release(now_ns, out, |stage| stage.finish(now_ns));
    }

    /// What one stage lets go runs through the stages behind it before those let go.
    fn release(
        &mut self,
        now_ns: i64,
        out: &mut Vec<Row>,
        mut of: impl FnMut(&mut dyn Stage) -> Vec<Row>,
    ) {
        let mut rest = self.0.as_mut_slice();
        while let Some((stage, behind)) = rest.split_first_mut() {
            for row in of(&mut **stage) {
                run(behind, row, now_ns, out);
            }
            rest = behind;
        }
    }

    pub(crate) fn next_deadline_ns(&self) -> Option<i64> {
        self.0
            .iter()
            .filter_map(|stage| stage.next_deadline_ns())
            .min()
    }

    pub(crate) fn oldest_held(&self) -> Option<u64> {
        self.0.iter().filter_map(|stage| stage.oldest_held()).min()
    }

    pub(crate) fn joined_to(&self, origins: &mut Vec<u64>) {
        self.0.iter().for_each(|stage| stage.joined_to(origins));
    }

    pub(crate) fn is_joining(&self, origins: &dyn Fn(u64) -> bool) -> bool {
        self.0.iter().any(|stage| stage.is_joining(origins))
    }

    pub(crate) fn part_from(&mut self, origins: &dyn Fn(u64) -> bool) {
        self.0.iter_mut().for_each(|stage| stage.part_from(origins));
    }

    pub(crate) fn paused_until_ns(&self) -> Option<i64> {
        self.0
            .iter()
            .filter_map(|stage| stage.paused_until_ns())
            .max()
    }

    pub(crate) fn fork(&self) -> Self {
        Self(self.0.iter().map(|stage| stage.fork()).collect())
    }
}

fn run(stages: &mut [Box<dyn Stage>], mut row: Row, now_ns: i64, out: &mut Vec<Row>) {
    let mut rest = stages;
    while let Some((stage, behind)) = rest.split_first_mut() {
        match stage.process(&mut row, now_ns) {
            Flow::On => {}
            Flow::Stop => return,
            Flow::Instead(rows) => {
                for row in rows {
                    run(behind, row, now_ns, out);
                }
                return;
            }
        }
        rest = behind;
    }
    out.push(row);
}
