//! Who asks.

use serde::{Deserialize, Serialize};

use crate::forwarded::network;
use crate::gather::Sender;

/// What kind of caller it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Nobody in particular.
    Anonymous,
    /// A person.
    User,
    /// A program with an account of its own.
    Robot,
    /// The registry itself.
    System,
}

/// Who asks for a change, for history and audit.
#[derive(Clone, Debug)]
pub(crate) struct Who {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// The address that the request came from.
    pub(crate) remote: String,
    /// The id of the request.
    pub(crate) rid: String,
}

impl Who {
    /// The registry itself, doing what was set up before.
    pub(crate) fn system(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind: Kind::System,
            remote: String::new(),
            rid: String::new(),
        }
    }

    /// Whose room the bodies of its requests take: those of nobody in particular are of their address.
    pub(crate) fn sender(&self) -> Sender {
        Sender(match self.kind {
            Kind::Anonymous => format!("from {}", network(&self.remote)),
            Kind::User | Kind::Robot | Kind::System => self.name.clone(),
        })
    }
}
