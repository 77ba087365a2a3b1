//! Why a command failed.

use std::io;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// What was typed makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The server refused.
    #[error("{status} from {url}: {text}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// What was asked.
        url: String,
        /// What the server said.
        text: String,
    },
    /// The server was not reached, or did not finish its answer.
    #[error("cannot ask {url}: {reason}")]
    Unreachable {
        /// What was asked.
        url: String,
        /// Why not.
        reason: String,
    },
    /// The answer is not what the API promises.
    #[error("unexpected answer: {0}")]
    Answer(String),
    /// Standard output.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl CliError {
    /// Whether the reader of our output went away, which is no failure of ours.
    #[must_use]
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// The server was not reached: the innermost reason, which is the one that helps.
    pub(crate) fn unreachable(url: &str, error: &dyn std::error::Error) -> Self {
        let mut reason = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            reason = inner.to_string();
            source = inner.source();
        }
        Self::Unreachable {
            url: url.to_owned(),
            reason,
        }
    }
}
