//! Bodies of pushes: from bytes of one of the formats into an [`Intake`].
//!
//! Decoders read their body once, from front to back, and hand each row on as soon as they have
//! it: what they hold besides is bounded however the body is made, so that a small body cannot make
//! a large tree. A body that is wrong anywhere stores nothing.

pub(crate) mod any;
pub(crate) mod json;
pub(crate) mod legacy;
pub(crate) mod otlp;
mod otlp_json;
mod otlp_proto;
pub(crate) mod protobuf;
mod text;
pub(crate) mod wire;

use std::sync::Arc;

use crate::error::Rejection;
use crate::intake::{Intake, Pair, Rules};
use crate::stream::{Stream, StreamCache};

/// Where decoders put what they read.
pub(crate) struct Target<'a> {
    pub(crate) intake: Intake<'a>,
    pub(crate) streams: &'a StreamCache,
    scratch: Vec<u8>,
}

impl<'a> Target<'a> {
    pub(crate) fn new(rules: Rules<'a>, streams: &'a StreamCache) -> Self {
        Self {
            intake: Intake::new(rules),
            streams,
            scratch: Vec::new(),
        }
    }

    pub(crate) fn begin_text(&mut self, labels: &str) -> Result<(), Rejection> {
        let rules = self.intake.rules;
        let stream = self.streams.of_text(rules.tenant, rules.limits, labels)?;
        self.intake.begin(&stream);
        Ok(())
    }

    pub(crate) fn stream_of_pairs<N: AsRef<str>, V: AsRef<str>>(
        &mut self,
        pairs: &[(N, V)],
    ) -> Result<Arc<Stream>, Rejection> {
        let rules = self.intake.rules;
        self.streams
            .of_pairs(rules.tenant, rules.limits, pairs, &mut self.scratch)
    }

    pub(crate) fn begin_pairs(&mut self, pairs: &[Pair<'_>]) -> Result<(), Rejection> {
        let stream = self.stream_of_pairs(pairs)?;
        self.intake.begin(&stream);
        Ok(())
    }

    /// Refuses a push that names no stream.
    pub(crate) fn expect_streams(&self) -> Result<(), Rejection> {
        if self.intake.streams == 0 {
            return Err(Rejection::nothing_to_store());
        }
        Ok(())
    }
}
