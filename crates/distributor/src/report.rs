//! What was refused in a push and why: the text for the sender, the numbers for metrics.

use std::fmt;
use std::fmt::Write as _;

use model::{Exceeded, Limits, TenantId};
use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};

use crate::error::Rejection;

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
    BlockedIngestionPolicy,
    OutOfOrder,
    TooFarBehind,
    StreamLimit,
    StreamMemory,
    PerStreamRateLimit,
}

impl Reason {
    pub(crate) const ALL: [Self; 22] = [
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
        Self::BlockedIngestionPolicy,
        Self::OutOfOrder,
        Self::TooFarBehind,
        Self::StreamLimit,
        Self::StreamMemory,
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
            Self::BlockedIngestionPolicy => "blocked_ingestion_policy",
            Self::OutOfOrder => "out_of_order",
            Self::TooFarBehind => "too_far_behind",
            Self::StreamLimit => "stream_limit",
            Self::StreamMemory => "stream_memory",
            Self::PerStreamRateLimit => "per_stream_rate_limit",
        }
    }

    /// Name and value of the limit that is behind it, if one is.
    fn limit(self, limits: &Limits) -> Option<(&'static str, String)> {
        let (name, value): (_, &dyn fmt::Display) = match self {
            Self::MaxLabelNamesPerSeries => (
                "max_label_names_per_series",
                &limits.max_label_names_per_series,
            ),
            Self::LabelNameTooLong => ("max_label_name_length", &limits.max_label_name_length),
            Self::LabelValueTooLong => ("max_label_value_length", &limits.max_label_value_length),
            Self::DisallowedStructuredMetadata => (
                "allow_structured_metadata",
                &limits.allow_structured_metadata,
            ),
            Self::StructuredMetadataTooLarge => (
                "max_structured_metadata_size",
                &limits.max_structured_metadata_size,
            ),
            Self::StructuredMetadataTooMany => (
                "max_structured_metadata_entries_count",
                &limits.max_structured_metadata_entries_count,
            ),
            Self::GreaterThanMaxSampleAge => (
                "reject_old_samples_max_age",
                &limits.reject_old_samples_max_age,
            ),
            Self::TooFarInFuture => ("creation_grace_period", &limits.creation_grace_period),
            Self::LineTooLong => ("max_line_size", &limits.max_line_size),
            Self::RateLimited => ("ingestion_rate_mb", &limits.ingestion_rate_mb),
            Self::OutOfOrder | Self::TooFarBehind => {
                ("out_of_order_window", &limits.out_of_order_window)
            }
            Self::StreamLimit => (
                "max_global_streams_per_user",
                &limits.max_global_streams_per_user,
            ),
            Self::PerStreamRateLimit => ("per_stream_rate_limit", &limits.per_stream_rate_limit),
            Self::MissingEnforcedLabels if !limits.enforced_labels.is_empty() => {
                return Some(("enforced_labels", limits.enforced_labels.join(",")));
            }
            Self::MissingEnforcedLabels => {
                let of = limits.policy_enforced_labels.iter();
                let of = of.map(|(policy, labels)| format!("{policy}:{}", labels.join(",")));
                return Some(("policy_enforced_labels", joined(of)));
            }
            Self::BlockedIngestionPolicy => {
                let of = limits.block_ingestion_policy_until.iter();
                let of = of.map(|(policy, until)| format!("{policy}:{until}"));
                return Some(("block_ingestion_policy_until", joined(of)));
            }
            Self::MissingLabels
            | Self::DuplicateLabelNames
            | Self::InvalidStructuredMetadata
            | Self::StreamMemory
            | Self::RequestTooLarge
            | Self::BlockedIngestion => return None,
        };
        Some((name, value.to_string()))
    }
}

fn joined(texts: impl Iterator<Item = String>) -> String {
    texts.collect::<Vec<_>>().join(" ")
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
    /// Whose streams are not taken for some time, and until when.
    blocked: Option<(TenantId, String)>,
}

impl Report {
    /// Notes that a stream's policy says that its rows are not taken for some time.
    pub(crate) fn block(&mut self, tenant: &TenantId, until: &str) {
        if self.blocked.is_none() {
            self.blocked = Some((tenant.clone(), until.to_owned()));
        }
    }

    /// What is answered because streams are not taken for some time: nothing with the status 200.
    pub(crate) fn blocked(&self, status: u16) -> Option<Rejection> {
        let (tenant, until) = self.blocked.as_ref()?;
        (status != 200).then(|| Rejection::blocked(status, tenant, until))
    }

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

    /// The limits that refused rows, if any did.
    pub(crate) fn exceeded(&self, limits: &Limits, tenant: &TenantId) -> Option<Box<Exceeded>> {
        let mut found: Vec<_> = self
            .discarded()
            .filter_map(|(reason, _)| reason.limit(limits))
            .collect();
        found.dedup();
        let tenant = Some(tenant.clone());
        (!found.is_empty()).then(|| {
            Box::new(Exceeded {
                limits: found,
                tenant,
            })
        })
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
    fn the_limits_behind_what_was_refused_are_named_once() {
        let (limits, tenant) = (Limits::default(), TenantId::single());
        let mut report = Report::default();
        assert_eq!(report.exceeded(&limits, &tenant), None);
        report.discard(Reason::MissingLabels, 1, 1);
        assert_eq!(report.exceeded(&limits, &tenant), None);
        for reason in [
            Reason::LineTooLong,
            Reason::OutOfOrder,
            Reason::TooFarBehind,
        ] {
            report.discard(reason, 1, 1);
        }
        let exceeded = report.exceeded(&limits, &tenant).map(|e| e.to_string());
        assert_eq!(
            exceeded.as_deref(),
            Some("max_line_size=256KB; out_of_order_window=0s; tenant=fake")
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
