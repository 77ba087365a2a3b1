//! What was refused in a push and why: the text for the sender, the numbers for metrics.

use std::fmt;
use std::fmt::Write as _;

use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};

/// Why rows were not stored. The names are those of Loki's `reason` label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    MissingLabels,
    MissingEnforcedLabels,
    MaxLabelNamesPerSeries,
    LabelNameTooLong,
    LabelValueTooLong,
    DuplicateLabelNames,
    InvalidStructuredMetadata,
    DisallowedStructuredMetadata,
    StructuredMetadataTooLarge,
    StructuredMetadataTooMany,
    GreaterThanMaxSampleAge,
    TooFarInFuture,
    LineTooLong,
    RequestTooLarge,
    RateLimited,
    BlockedIngestion,
    OutOfOrder,
    TooFarBehind,
    StreamLimit,
    PerStreamRateLimit,
}

impl Reason {
    pub(crate) const ALL: [Self; 20] = [
        Self::MissingLabels,
        Self::MissingEnforcedLabels,
        Self::MaxLabelNamesPerSeries,
        Self::LabelNameTooLong,
        Self::LabelValueTooLong,
        Self::DuplicateLabelNames,
        Self::InvalidStructuredMetadata,
        Self::DisallowedStructuredMetadata,
        Self::StructuredMetadataTooLarge,
        Self::StructuredMetadataTooMany,
        Self::GreaterThanMaxSampleAge,
        Self::TooFarInFuture,
        Self::LineTooLong,
        Self::RequestTooLarge,
        Self::RateLimited,
        Self::BlockedIngestion,
        Self::OutOfOrder,
        Self::TooFarBehind,
        Self::StreamLimit,
        Self::PerStreamRateLimit,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::MissingLabels => "missing_labels",
            Self::MissingEnforcedLabels => "missing_enforced_labels",
            Self::MaxLabelNamesPerSeries => "max_label_names_per_series",
            Self::LabelNameTooLong => "label_name_too_long",
            Self::LabelValueTooLong => "label_value_too_long",
            Self::DuplicateLabelNames => "duplicate_label_names",
            Self::InvalidStructuredMetadata => "invalid_structured_metadata",
            Self::DisallowedStructuredMetadata => "disallowed_structured_metadata",
            Self::StructuredMetadataTooLarge => "structured_metadata_too_large",
            Self::StructuredMetadataTooMany => "structured_metadata_too_many",
            Self::GreaterThanMaxSampleAge => "greater_than_max_sample_age",
            Self::TooFarInFuture => "too_far_in_future",
            Self::LineTooLong => "line_too_long",
            Self::RequestTooLarge => "request_body_too_large",
            Self::RateLimited => "rate_limited",
            Self::BlockedIngestion => "blocked_ingestion",
            Self::OutOfOrder => "out_of_order",
            Self::TooFarBehind => "too_far_behind",
            Self::StreamLimit => "stream_limit",
            Self::PerStreamRateLimit => "per_stream_rate_limit",
        }
    }
}

impl EncodeLabelValue for Reason {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(self.name())
    }
}

/// Rows and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
}

impl Tally {
    pub(crate) fn add(&mut self, rows: usize, bytes: usize) {
        self.rows += rows;
        self.bytes += bytes;
    }
}

/// Different texts that one answer carries.
const TEXTS_MAX: usize = 16;

/// What was refused in a push.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    discarded: [Tally; Reason::ALL.len()],
    texts: Vec<(String, usize)>,
    more_texts: usize,
}

impl Report {
    /// Counts rows that were refused.
    pub(crate) fn discard(&mut self, reason: Reason, rows: usize, bytes: usize) {
        if let Some(tally) = self.discarded.get_mut(reason as usize) {
            tally.add(rows, bytes);
        }
    }

    /// Adds a fault to what the sender is told.
    pub(crate) fn tell(&mut self, text: impl FnOnce() -> String) {
        if self.texts.len() >= TEXTS_MAX {
            // Building the text only to compare it would let a push buy work with bad rows.
            self.more_texts += 1;
            return;
        }
        let text = text();
        match self.texts.iter_mut().find(|(told, _)| *told == text) {
            Some((_, count)) => *count += 1,
            None => self.texts.push((text, 1)),
        }
    }

    /// What was refused, by reason.
    pub(crate) fn discarded(&self) -> impl Iterator<Item = (Reason, Tally)> + '_ {
        Reason::ALL
            .into_iter()
            .zip(self.discarded)
            .filter(|(_, tally)| tally.rows > 0)
    }

    /// Rows that were refused.
    pub(crate) fn refused_rows(&self) -> usize {
        self.discarded.iter().map(|tally| tally.rows).sum()
    }

    /// What the sender is told, if anything was refused: one fault by its text, several as a list
    /// of how many are like which.
    pub(crate) fn text(&self) -> Option<String> {
        if let [(text, 1)] = self.texts.as_slice()
            && self.more_texts == 0
        {
            return Some(text.clone());
        }
        let mut all = String::new();
        for (text, count) in &self.texts {
            if !all.is_empty() {
                all.push_str("; ");
            }
            let _ = write!(all, "{count} errors like: {text}");
        }
        if self.more_texts > 0 {
            let _ = write!(all, "; and {} more", self.more_texts);
        }
        (!all.is_empty()).then_some(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_faults_are_told_once() {
        let mut report = Report::default();
        assert_eq!(report.text(), None);
        report.tell(|| "a".to_owned());
        assert_eq!(report.text().as_deref(), Some("a"));
        report.tell(|| "b".to_owned());
        report.tell(|| "a".to_owned());
        assert_eq!(
            report.text().as_deref(),
            Some("2 errors like: a; 1 errors like: b")
        );
        for i in 0..100 {
            report.tell(|| i.to_string());
        }
        assert!(
            report
                .text()
                .is_some_and(|text| text.ends_with("; and 86 more"))
        );
    }

    #[test]
    fn reasons_are_counted_by_their_place() {
        for (i, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, i);
        }
        let mut report = Report::default();
        report.discard(Reason::LineTooLong, 2, 9);
        let tallies: Vec<_> = report.discarded().collect();
        assert_eq!(
            tallies,
            [(Reason::LineTooLong, Tally { rows: 2, bytes: 9 })]
        );
    }
}
