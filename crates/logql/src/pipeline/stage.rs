//! One stage, compiled, and what it keeps between the lines of a stream.

use regex::bytes::CaptureLocations;

use super::decolorize::decolorize;
use super::early::EarlyFilters;
use super::format::{LabelFormats, LineFormat};
use super::json::fields::JsonFields;
use super::json::lookup::{JsonLookup, LookupBuffers};
use super::label_filter::Condition;
use super::line_filter::LineFilter;
use super::logfmt::{Logfmt, LogfmtBuffers, LogfmtLookup};
use super::pattern::Pattern;
use super::pick::{Drop, Keep};
use super::regexp::Regexp;
use super::row::Row;
use super::unpack::{UnpackBuffers, Unpacked};

/// A stage, compiled.
#[derive(Debug)]
pub(super) enum Stage {
    LineFilter(LineFilter),
    Json(EarlyFilters),
    JsonLookup(JsonLookup, EarlyFilters),
    Logfmt(Logfmt, EarlyFilters),
    LogfmtLookup(LogfmtLookup, EarlyFilters),
    Regexp(Regexp, EarlyFilters),
    Pattern(Pattern, EarlyFilters),
    Unpack,
    LabelFilter(Condition),
    LineFormat(LineFormat),
    LabelFormat(LabelFormats),
    Decolorize,
    Drop(Drop),
    Keep(Keep),
}

/// What a stage keeps between the lines of a stream. A stage uses one of these.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    json: JsonFields,
    lookup: LookupBuffers,
    logfmt: LogfmtBuffers,
    unpack: UnpackBuffers,
    locations: Option<CaptureLocations>,
}

impl Buffers {
    /// Forgets numbers of names.
    pub(super) fn forget_names(&mut self) {
        self.json.keys.clear();
        self.logfmt.keys.clear();
        self.unpack.keys.clear();
    }
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It stays as it is.
    Kept,
    /// `out` has the new one.
    Rewritten,
    /// The row is gone.
    Refused,
}

impl Outcome {
    fn kept_if(passes: bool) -> Self {
        if passes { Self::Kept } else { Self::Refused }
    }

    fn rewritten_if(rewritten: bool) -> Self {
        if rewritten {
            Self::Rewritten
        } else {
            Self::Kept
        }
    }
}

/// The row as a stage sees it.
pub(super) struct Current<'a> {
    pub(super) timestamp_ns: i64,
    pub(super) now_ns: i64,
    pub(super) line: &'a [u8],
}

impl Stage {
    /// The filters that a parser asks early.
    pub(super) fn early_mut(&mut self) -> Option<&mut EarlyFilters> {
        match self {
            Self::Json(early)
            | Self::JsonLookup(_, early)
            | Self::Logfmt(_, early)
            | Self::LogfmtLookup(_, early)
            | Self::Regexp(_, early)
            | Self::Pattern(_, early) => Some(early),
            _ => None,
        }
    }

    /// Runs the stage. A new line is written to `out`.
    pub(super) fn run(
        &self,
        current: &Current<'_>,
        row: &mut Row,
        buffers: &mut Buffers,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let line = current.line;
        let passes = match self {
            Self::LineFilter(filter) => filter.pass(line),
            Self::Json(early) => buffers.json.run(line, row, early),
            Self::JsonLookup(lookup, early) => lookup.run(line, row, &mut buffers.lookup, early),
            Self::Logfmt(logfmt, early) => logfmt.run(line, row, &mut buffers.logfmt, early),
            Self::LogfmtLookup(lookup, early) => lookup.run(line, row, &mut buffers.logfmt, early),
            Self::Regexp(regexp, early) => {
                let locations = &mut buffers.locations;
                let locations = locations.get_or_insert_with(|| regexp.locations());
                regexp.run(line, row, locations, early)
            }
            Self::Pattern(pattern, early) => pattern.run(line, row, early),
            Self::Unpack => {
                // Of equal keys the last counts, so no filter may look at one before.
                let early = EarlyFilters::default();
                return match buffers.unpack.run(line, out, row, &early) {
                    Unpacked::Kept => Outcome::Kept,
                    Unpacked::Replaced => Outcome::Rewritten,
                    Unpacked::Refused => Outcome::Refused,
                };
            }
            Self::LabelFilter(condition) => condition.pass(row),
            Self::LineFormat(format) => {
                return Outcome::rewritten_if(format.run(current, row, out));
            }
            Self::LabelFormat(formats) => {
                formats.run(current, row, out);
                true
            }
            Self::Decolorize => return Outcome::rewritten_if(decolorize(line, out)),
            Self::Drop(drop) => {
                drop.run(row);
                true
            }
            Self::Keep(keep) => {
                keep.run(row);
                true
            }
        };
        Outcome::kept_if(passes)
    }
}
