//! Running the stages over the rows of one stream.

use std::sync::Arc;

use model::LabelSet;

use super::compile::Program;
use super::row::Row;
use super::stage::{Buffers, Current, Outcome};

/// Runs a program over the rows of one stream.
#[derive(Debug)]
pub(super) struct Runner {
    program: Arc<Program>,
    pub(super) row: Row,
    buffers: Vec<Buffers>,
    /// The line of the current row, if a stage rewrote it.
    line: Vec<u8>,
    rewritten: bool,
    /// Where stages write.
    out: Vec<u8>,
}

impl Runner {
    pub(super) fn new(program: Arc<Program>, stream: &LabelSet) -> Self {
        let (names, wanted) = (Arc::clone(&program.names), Arc::clone(&program.wanted));
        Self {
            row: Row::new(stream, names, wanted),
            buffers: program.stages.iter().map(|_| Buffers::default()).collect(),
            program,
            line: Vec::new(),
            rewritten: false,
            out: Vec::new(),
        }
    }

    /// Starts a row. Returns whether numbers of names that were known before mean something else
    /// now.
    pub(super) fn begin(&mut self, metadata: &LabelSet) -> bool {
        self.rewritten = false;
        let forgot = self.row.begin(metadata);
        if forgot {
            self.buffers.iter_mut().for_each(Buffers::forget_names);
        }
        forgot
    }

    /// Runs all stages over the row that was begun. Whether it passes.
    pub(super) fn run(&mut self, timestamp_ns: i64, line: &[u8]) -> bool {
        for (stage, buffers) in std::iter::zip(&self.program.stages, &mut self.buffers) {
            let current = Current {
                timestamp_ns,
                now_ns: self.program.now_ns,
                line: if self.rewritten { &self.line } else { line },
            };
            match stage.run(&current, &mut self.row, buffers, &mut self.out) {
                Outcome::Kept => {}
                Outcome::Rewritten => {
                    std::mem::swap(&mut self.line, &mut self.out);
                    self.rewritten = true;
                }
                Outcome::Refused => return false,
            }
        }
        true
    }

    /// The line after the stages, given the one before.
    pub(super) fn line<'a>(&'a self, stored: &'a [u8]) -> &'a [u8] {
        if self.rewritten { &self.line } else { stored }
    }
}
