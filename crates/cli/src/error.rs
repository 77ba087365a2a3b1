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

    /// What a process that ends with this gives: 64 if it was used wrongly, as where arguments are not
    /// understood, and 1 if what was asked for did not come about.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 64,
            _ => 1,
        }
    }

    /// The server was not reached: the innermost reason, which is the one that helps.
    pub(crate) fn unreachable(url: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        let chain = std::iter::successors(Some(error), |error| error.source());
        let reason = if chain.clone().any(is_no_tls) {
            "what answers there does not speak TLS; ask http:// instead".to_owned()
        } else if url.starts_with("http:") && chain.clone().any(is_no_http) {
            "what answers there does not speak HTTP, perhaps TLS; ask https:// then".to_owned()
        } else {
            chain.last().unwrap_or(error).to_string()
        };
        Self::Unreachable {
            url: url.to_owned(),
            reason,
        }
    }
}

/// Whether what came in answer to a request was none of HTTP.
fn is_no_http(error: &(dyn std::error::Error + 'static)) -> bool {
    let error: Option<&hyper::Error> = error.downcast_ref();
    error.is_some_and(hyper::Error::is_parse)
}

/// Whether what came in answer to the first words of TLS was none of it.
fn is_no_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    match error.downcast_ref::<io::Error>() {
        // One may be in another.
        Some(error) => error.get_ref().is_some_and(|inner| is_no_tls(inner)),
        None => matches!(error.downcast_ref(), Some(rustls::Error::InvalidMessage(_))),
    }
}
