//! Which stages of a range aggregation have something to do.

use super::ast::{LabelFormat, RangeAggregation, RangeOp, Stage};

impl RangeAggregation {
    /// The stages without `line_format` whose line nobody looks at. What is wrong with those, or goes
    /// wrong in them, does not fail the query then, as in the reference.
    #[must_use]
    pub fn needed_stages(&self) -> Vec<Stage> {
        let is_of_bytes = matches!(self.op, RangeOp::Bytes | RangeOp::BytesRate);
        let last = self.log.stages.iter().rposition(reads_line).unwrap_or(0);
        let needed = self.log.stages.iter().enumerate().filter(|(at, stage)| {
            is_of_bytes || *at < last || !matches!(stage, Stage::LineFormat(_))
        });
        needed.map(|(_, stage)| stage.clone()).collect()
    }
}

fn reads_line(stage: &Stage) -> bool {
    match stage {
        Stage::LineFilter(_)
        | Stage::Json(_)
        | Stage::Logfmt { .. }
        | Stage::Regexp(_)
        | Stage::Pattern(_)
        | Stage::Unpack => true,
        Stage::LabelFormat(formats) => formats.iter().any(|format| {
            matches!(format, LabelFormat::Template { template, .. } if template.contains("__line__"))
        }),
        Stage::LabelFilter(_)
        | Stage::LineFormat(_)
        | Stage::Decolorize
        | Stage::Drop(_)
        | Stage::Keep(_) => false,
    }
}
