//! Why a metric query cannot be answered.

use model::{BudgetError, Code};

use crate::syntax::NO_MATCHER;

/// Why a metric query cannot be answered. Clients see the texts: they are Loki's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// More series than the tenant may ask for.
    #[error(
        "maximum number of series ({limit}) reached for a single query; consider reducing query \
         cardinality by adding more specific stream selectors, reducing the time range, or \
         aggregating results with functions like sum(), count() or topk()"
    )]
    TooManySeries {
        /// The limit.
        limit: usize,
    },
    /// Several series on a side that must have one.
    #[error(
        "found duplicate series on the {side} hand-side;many-to-many matching not allowed: \
         matching labels must be unique on one side"
    )]
    ManyToMany {
        /// `left` or `right`.
        side: &'static str,
    },
    /// Several series on the left where one is expected.
    #[error(
        "multiple matches for labels: many-to-one matching must be explicit \
         (group_left/group_right)"
    )]
    ImplicitManyToOne,
    /// Results of a grouped match that cannot be told apart.
    #[error("multiple matches for labels: grouping labels must ensure unique matches")]
    AmbiguousGrouping,
    /// A number where series are wanted.
    #[error(
        "unexpected expr type (*syntax.LiteralExpr) for Evaluator type (*logql.DefaultEvaluator) "
    )]
    UnexpectedLiteral,
    /// A number where Loki looks for the selector by which it splits an aggregation.
    #[error("parse error : {NO_MATCHER}")]
    NoSelector,
    /// `approx_topk` over several steps.
    #[error("count min sketches are only supported on instant queries")]
    ApproximateRange,
    /// `label_replace` makes more text than a label may have.
    #[error(
        "label_replace makes the label {label} longer than {limit_bytes} bytes; have fewer \
         references in its replacement, or shorter labels"
    )]
    LabelTooLong {
        /// The label.
        label: String,
        /// The most bytes.
        limit_bytes: usize,
    },
    /// A regex that the syntax accepts but that is too large.
    #[error("invalid regex in label_replace: {0}")]
    Regex(String),
    /// The query's memory is used up.
    #[error(transparent)]
    Memory(#[from] BudgetError),
    /// Nobody waits for the answer any more.
    #[error("the query was cancelled")]
    Cancelled,
    /// The samples of a leaf cannot be had.
    #[error("{message}")]
    Leaf {
        /// The kind.
        code: Code,
        /// Why.
        message: String,
    },
}

impl EvalError {
    /// The kind of failure.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Memory(_) => Code::ResourceExhausted,
            Self::Cancelled => Code::Cancelled,
            Self::Leaf { code, .. } => *code,
            _ => Code::InvalidArgument,
        }
    }
}
