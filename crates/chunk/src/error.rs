//! What can go wrong, and where.

use std::fmt;

use codec::CodecError;

/// A part of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The first 24 bytes.
    Header,
    /// Directory and trailer.
    Directory,
    /// The section with the object's identity.
    Info,
    /// A page of the stream table.
    Streams {
        /// Its ordinal.
        page: u32,
    },
    /// A page of the outlines of blocks.
    Outlines {
        /// Its ordinal.
        page: u32,
    },
    /// What describes a block.
    BlockMeta {
        /// The block's ordinal.
        block: u32,
    },
    /// A frame of a block's body.
    Frame {
        /// The block's ordinal.
        block: u32,
        /// The frame's ordinal.
        frame: u32,
    },
    /// A column of a block, decompressed.
    Column {
        /// The block's ordinal.
        block: u32,
        /// Which column.
        column: &'static str,
    },
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("header"),
            Self::Directory => f.write_str("directory"),
            Self::Info => f.write_str("info section"),
            Self::Streams { page } => write!(f, "stream table page {page}"),
            Self::Outlines { page } => write!(f, "page {page} of outlines"),
            Self::BlockMeta { block } => write!(f, "meta of block {block}"),
            Self::Frame { block, frame } => write!(f, "block {block} frame {frame}"),
            Self::Column { block, column } => write!(f, "block {block} column {column}"),
        }
    }
}

/// Why a block cannot be written or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// The object is damaged.
    #[error("{part}: {reason}")]
    Damaged {
        /// Where.
        part: Part,
        /// How.
        reason: CodecError,
    },
    /// The block has a layout of a later version.
    #[error("{part}: layout {layout} is not supported")]
    UnsupportedLayout {
        /// Where.
        part: Part,
        /// The layout byte.
        layout: u8,
    },
    /// The bytes were not given to [`Block::new`](crate::Block::new).
    #[error("{part} was not fetched")]
    NotFetched {
        /// What is wanted.
        part: Part,
    },
    /// The block has no such run, or the object no such block.
    #[error("there is no {what} {ordinal}")]
    NoSuch {
        /// `run` or `block`.
        what: &'static str,
        /// The ordinal asked for.
        ordinal: usize,
    },
    /// Too much for one block or object: the caller has to cut earlier.
    #[error("{what} is {value}, the limit is {limit}")]
    TooLarge {
        /// What the number counts.
        what: &'static str,
        /// What it would be.
        value: u64,
        /// What it may be.
        limit: u64,
    },
    /// A run's rows are not in time order.
    #[error("run {run} is not in time order")]
    Unordered {
        /// The run's ordinal.
        run: usize,
    },
    /// There is no run, or a run without a row.
    #[error("a block needs runs with at least one row each")]
    Empty,
}

impl ChunkError {
    /// Whether the stored bytes are to blame, so that trying again does not help.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. } | Self::UnsupportedLayout { .. } | Self::NoSuch { .. } => true,
            Self::NotFetched { .. }
            | Self::TooLarge { .. }
            | Self::Unordered { .. }
            | Self::Empty => false,
        }
    }

    pub(crate) fn at(part: Part) -> impl Fn(CodecError) -> Self {
        move |reason| Self::Damaged { part, reason }
    }

    pub(crate) fn invalid(part: Part, why: &'static str) -> Self {
        Self::Damaged {
            part,
            reason: CodecError::Invalid(why),
        }
    }

    pub(crate) fn cap(what: &'static str, value: usize, limit: usize) -> Result<(), Self> {
        if value <= limit {
            return Ok(());
        }
        Err(Self::TooLarge {
            what,
            value: value as u64,
            limit: limit as u64,
        })
    }
}
