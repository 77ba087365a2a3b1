//! Fields that lines have besides the labels of their streams: structured metadata, what the
//! query's own stages parsed, and what JSON or logfmt finds in the line.

mod detect;
mod json_path;
mod kind;

use std::collections::BTreeSet;
use std::sync::Arc;

use logql::syntax;
use model::{Code, CodedError, Direction, TenantId, TimeRange};

use crate::metrics::QueryKind;
use crate::query::Answered;
use crate::{Querier, check, lines, logs};
use detect::Detector;
pub use kind::FieldKind;

/// Fields that are looked at for the values of one.
const FIELDS_MAX: usize = 10_000;

/// Which lines to look into, and for how many fields.
#[derive(Clone, Debug)]
pub struct FieldsQuery {
    /// A log query.
    pub text: String,
    /// When.
    pub range: TimeRange,
    /// Lines to look into, the newest.
    pub line_limit: usize,
    /// Fields, or values of a field, wanted.
    pub limit: usize,
}

/// A field that lines have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// What its values are.
    pub kind: FieldKind,
    /// How many values it has.
    pub cardinality: usize,
    /// Parsers that find it in lines; none for structured metadata.
    pub parsers: Vec<&'static str>,
    /// Where it is in a JSON line.
    pub json_path: Vec<String>,
}

impl Querier {
    /// Fields of lines, by name.
    ///
    /// # Errors
    /// If the tenants may not ask for so much, the query is none, or data cannot be read.
    pub async fn detected_fields(
        self: &Arc<Self>,
        tenants: &[TenantId],
        query: FieldsQuery,
    ) -> Result<Answered<Vec<Field>>, CodedError> {
        let fields_max = query.limit;
        self.detect(tenants, query, fields_max, Detector::fields)
            .await
    }

    /// Values of one field, sorted.
    ///
    /// # Errors
    /// As [`Self::detected_fields`].
    pub async fn detected_field_values(
        self: &Arc<Self>,
        tenants: &[TenantId],
        name: &str,
        query: FieldsQuery,
    ) -> Result<Answered<BTreeSet<String>>, CodedError> {
        let limit = query.limit;
        let values = move |detector: Detector| detector.values(name, limit);
        self.detect(tenants, query, FIELDS_MAX, values).await
    }

    async fn detect<T>(
        self: &Arc<Self>,
        tenants: &[TenantId],
        query: FieldsQuery,
        fields_max: usize,
        finish: impl FnOnce(Detector) -> T,
    ) -> Result<Answered<T>, CodedError> {
        for tenant in tenants {
            check::entries_limit(query.line_limit, &self.limits(tenant), tenant)?;
        }
        let wanted = logs::Wanted {
            range: self.allowed_range(tenants, query.range)?,
            limit: query.line_limit,
            direction: Direction::Backward,
        };
        let log = syntax::parse_log(&query.text)
            .map_err(|error| CodedError::new(Code::InvalidArgument, error.to_string()))?;
        self.run(QueryKind::Samples, tenants, |context| async move {
            let mut rows = lines::first(&context, tenants, &log, wanted).await?;
            // Stream by stream, as the last line that has a field decides of what kind it is.
            rows.sort_by(|a, b| a.labels.stream.cmp(&b.labels.stream));
            let mut detector = Detector::new(fields_max, context.memory.reservation())?;
            for row in &rows {
                detector
                    .add(row)
                    .map_err(|error| context.over_budget(&error))?;
            }
            Ok(finish(detector))
        })
        .await
    }
}
