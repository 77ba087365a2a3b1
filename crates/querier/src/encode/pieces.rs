//! An answer piece by piece, so that a large one is never there as a whole beside its rows.

use std::vec;

use bytes::Bytes;
use logql::metric::Series;
use model::{LabelSet, Reservation};
use proto::role::LogRow;

use super::{
    Answer, Encoding, group_rows, write_flags, write_labels, write_point, write_report, write_row,
    write_warnings,
};
use crate::query::Answered;
use crate::stats::Report;

/// About the bytes of a piece.
const PIECE_BYTES: usize = 64 << 10;

/// The body of a query answer in Loki's JSON. Keeps the memory of the answer until it is dropped.
pub(crate) struct Pieces {
    encoding: Encoding,
    groups: Groups,
    report: Report,
    warnings: Vec<String>,
    /// What is written and not given out yet.
    out: String,
    place: Place,
    _memory: Vec<Reservation>,
}

/// What is left to be written between head and tail.
enum Groups {
    Streams(vec::IntoIter<(LabelSet, Vec<LogRow>)>),
    Matrix(vec::IntoIter<Series>),
    Vector(vec::IntoIter<Series>),
    Scalar(Option<(i64, f64)>),
}

/// Where the writer is.
enum Place {
    Head,
    /// Between groups; whether it is before the first.
    Groups {
        first: bool,
    },
    /// In a stream, before its next row; whether it is before the first.
    Rows {
        left: vec::IntoIter<LogRow>,
        first: bool,
    },
    End,
}

impl Pieces {
    pub(crate) fn new(answered: Answered<Answer>, encoding: Encoding) -> Self {
        let groups = match answered.value {
            Answer::Streams(rows) => {
                let groups = group_rows(&rows, encoding.style);
                let owned = |(labels, rows): (LabelSet, Vec<&LogRow>)| {
                    (labels, rows.into_iter().cloned().collect())
                };
                let groups: Vec<_> = groups.into_iter().map(owned).collect();
                Groups::Streams(groups.into_iter())
            }
            Answer::Matrix(series) => Groups::Matrix(series.into_iter()),
            Answer::Vector(series) => Groups::Vector(series.into_iter()),
            Answer::Scalar {
                timestamp_ns,
                value,
            } => Groups::Scalar(Some((timestamp_ns, value))),
        };
        Self {
            encoding,
            groups,
            report: answered.report,
            warnings: answered.warnings,
            out: String::new(),
            place: Place::Head,
            _memory: answered.memory,
        }
    }

    fn head(&mut self) {
        let out = &mut self.out;
        out.push_str("{\"status\":\"success\",\"data\":{\"resultType\":\"");
        out.push_str(match self.groups {
            Groups::Streams(_) => "streams\",",
            Groups::Matrix(_) => "matrix\",",
            Groups::Vector(_) => "vector\",",
            Groups::Scalar(_) => "scalar\",",
        });
        if matches!(self.groups, Groups::Streams(_)) && !self.encoding.flags.is_empty() {
            write_flags(out, &self.encoding);
            out.push(',');
        }
        out.push_str("\"result\":");
        if !matches!(self.groups, Groups::Scalar(_)) {
            out.push('[');
        }
    }

    fn tail(&mut self) {
        if !matches!(self.groups, Groups::Scalar(_)) {
            self.out.push(']');
        }
        write_report(&mut self.out, &self.report);
        self.out.push('}');
        write_warnings(&mut self.out, &self.warnings);
        self.out.push('}');
    }

    /// Writes the next group, or as much of it as can be written at once; where it is then.
    fn group(&mut self, first: bool) -> Place {
        let out = &mut self.out;
        let separator = if first { "" } else { "," };
        match &mut self.groups {
            Groups::Streams(streams) => {
                let Some((labels, rows)) = streams.next() else {
                    return Place::End;
                };
                out.push_str(separator);
                out.push_str("{\"stream\":");
                write_labels(out, &labels);
                out.push_str(",\"values\":[");
                return Place::Rows {
                    left: rows.into_iter(),
                    first: true,
                };
            }
            Groups::Matrix(all) => {
                let Some(series) = all.next() else {
                    return Place::End;
                };
                out.push_str(separator);
                out.push_str("{\"metric\":");
                write_labels(out, &series.labels);
                out.push_str(",\"values\":");
                super::write_list(out, &series.points, |out, (t, v)| write_point(out, *t, *v));
                out.push('}');
            }
            Groups::Vector(all) => {
                let Some(series) = all.next() else {
                    return Place::End;
                };
                out.push_str(separator);
                out.push_str("{\"metric\":");
                write_labels(out, &series.labels);
                out.push_str(",\"value\":");
                let (t, v) = series.points.first().copied().unwrap_or_default();
                write_point(out, t, v);
                out.push('}');
            }
            Groups::Scalar(point) => {
                let Some((t, v)) = point.take() else {
                    return Place::End;
                };
                write_point(out, t, v);
            }
        }
        Place::Groups { first: false }
    }

    fn row(&mut self, mut left: vec::IntoIter<LogRow>, first: bool) -> Place {
        let Some(row) = left.next() else {
            self.out.push_str("]}");
            return Place::Groups { first: false };
        };
        if !first {
            self.out.push(',');
        }
        write_row(&mut self.out, &row, self.encoding.style);
        Place::Rows { left, first: false }
    }
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        while self.out.len() < PIECE_BYTES {
            self.place = match std::mem::replace(&mut self.place, Place::End) {
                Place::Head => {
                    self.head();
                    Place::Groups { first: true }
                }
                Place::Groups { first } => {
                    let next = self.group(first);
                    if matches!(next, Place::End) {
                        self.tail();
                    }
                    next
                }
                Place::Rows { left, first } => self.row(left, first),
                Place::End => break,
            };
        }
        let piece = std::mem::take(&mut self.out);
        (!piece.is_empty()).then(|| piece.into())
    }
}
