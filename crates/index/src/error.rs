//! What can go wrong, and where.

use std::fmt;

use codec::CodecError;

/// A part of an index file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "each is the section of its name; numbers are pages"
)]
pub enum Part {
    Directory,
    Info,
    Objects,
    Names,
    Values(u32),
    Postings(u32),
    Series(u32),
    Blocks(u32),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory => f.write_str("directory"),
            Self::Info => f.write_str("info section"),
            Self::Objects => f.write_str("object table"),
            Self::Names => f.write_str("label names"),
            Self::Values(page) => write!(f, "label values page {page}"),
            Self::Postings(page) => write!(f, "postings page {page}"),
            Self::Series(page) => write!(f, "series page {page}"),
            Self::Blocks(page) => write!(f, "blocks page {page}"),
        }
    }
}

/// Why an index cannot be written or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// The file is damaged.
    #[error("index {part}: {reason}")]
    Damaged {
        /// Where.
        part: Part,
        /// How.
        reason: CodecError,
    },
    /// More than one file may have.
    #[error("index {part}: {reason}")]
    TooLarge {
        /// Of what.
        part: Part,
        /// How much.
        reason: CodecError,
    },
    /// A block is of an object that was not added.
    #[error("index has no object {0}")]
    NoSuchObject(u32),
    /// The file has no such series.
    #[error("index has no series {0}")]
    NoSuchSeries(u32),
    /// The answer is not wanted any more.
    #[error("index: what was asked is not wanted any more")]
    Stopped,
}

impl IndexError {
    pub(crate) fn at(part: Part) -> impl Fn(CodecError) -> Self {
        move |reason| Self::Damaged { part, reason }
    }

    pub(crate) fn too_large(part: Part) -> impl Fn(CodecError) -> Self {
        move |reason| Self::TooLarge { part, reason }
    }
}
