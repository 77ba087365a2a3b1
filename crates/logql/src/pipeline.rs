//! The row pipeline: what the stages of a query do to each line and its labels.
//!
//! [`Pipeline`] serves log queries and [`Extractor`] the range aggregations of metric queries. Both
//! are compiled once; [`Pipeline::for_stream`] and [`Extractor::for_stream`] then give a runner for
//! the rows of one stream that remembers what rows of a stream have in common: names of keys, label
//! sets of results.
//!
//! While a row is in the pipeline its labels are a `Row`: names are numbers (`names`), values lie
//! in one buffer. Lines that stages do not rewrite are never copied. A metric query looks only for
//! labels that it needs (`wanted`).
//!
//! *Order.* Line filters run before the stages that leave the line alone, as nothing but the line
//! decides them. Those of the stored line that ask for literals can be left to storage:
//! [`split_literals`] takes them out. What parsers read of a line is known, too: a line without the
//! rest ([`LineReader`]) gives the same labels.
//!
//! *Invariants.* No row makes the pipeline panic or fail: what goes wrong is in the labels
//! `__error__` and `__error_details__`. What is remembered per stream is bounded. Pure: the time
//! that templates call now is given.

mod compile;
mod decolorize;
mod early;
mod error;
mod format;
mod ip;
mod json;
mod keys;
mod label_filter;
mod line_filter;
mod literals;
mod logfmt;
mod logs;
mod names;
mod near;
mod pattern;
mod pick;
mod reduce;
mod regex_plan;
mod regexp;
mod results;
mod row;
mod runner;
mod samples;
mod stage;
mod text_test;
mod unpack;
mod unwrap;
mod wanted;

pub use decolorize::decolorize;
pub use error::{PipelineError, StageFault};
pub use line_filter::LineFilter;
pub use literals::{Literal, LiteralFilter, split_literals};
pub use logfmt::{
    Fault as LogfmtFault, Pair as LogfmtPair, PairValue as LogfmtValue, Scanner as LogfmtScanner,
};
pub use logs::{Pipeline, StreamPipeline};
pub use reduce::{LineReader, ReducedText, TemplateText};
pub use samples::{Extractor, StreamExtractor};

#[cfg(test)]
mod tests;
