//! The tree of a LogQL query. Plain data: what it means is the business of `pipeline` and `metric`.

use model::Matcher;

/// A query.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A log query: gives lines.
    Log(LogExpr),
    /// A metric query: gives numbers.
    Metric(MetricExpr),
}

/// A stream selector and what is done to each line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogExpr {
    /// `{a="x", b=~"y"}`
    pub matchers: Vec<Matcher>,
    /// In the order written.
    pub stages: Vec<Stage>,
}

/// One stage of a pipeline.
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    /// `|= "a" or "b"`, `!~ "x"`, `|> "<_>a"`, `|= ip("10.0.0.0/8")`
    LineFilter(LineFilter),
    /// `| json`, `| json a="x.y", b`; no expressions means all fields.
    Json(Vec<Extraction>),
    /// `| logfmt --strict --keep-empty a="b"`
    Logfmt {
        /// `--strict`
        strict: bool,
        /// `--keep-empty`
        keep_empty: bool,
        /// Fields wanted; none means all.
        extractions: Vec<Extraction>,
    },
    /// `| regexp "(?P<n>..)"`
    Regexp(String),
    /// `| pattern "<a> - <_>"`
    Pattern(String),
    /// `| unpack`
    Unpack,
    /// `| status >= 500 and method = "GET"`
    LabelFilter(LabelFilter),
    /// `| line_format "{{.a}}"`
    LineFormat(String),
    /// `| label_format a=b, c="{{.d}}"`
    LabelFormat(Vec<LabelFormat>),
    /// `| decolorize`
    Decolorize,
    /// `| drop a, b="x"`
    Drop(Vec<LabelPick>),
    /// `| keep a, b=~"x"`
    Keep(Vec<LabelPick>),
}

impl Stage {
    /// Whether it makes labels of parts of the line.
    pub(super) fn is_parser(&self) -> bool {
        matches!(
            self,
            Self::Json(_) | Self::Logfmt { .. } | Self::Regexp(_) | Self::Pattern(_) | Self::Unpack
        )
    }
}

/// How a line filter compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LineOp {
    /// `|=`
    Contains,
    /// `!=`
    NotContains,
    /// `|~`
    Regex,
    /// `!~`
    NotRegex,
    /// `|>`
    Pattern,
    /// `!>`
    NotPattern,
}

/// A line filter with its `or` chain: positive operators want one of the alternatives, negative
/// ones none of them.
#[derive(Clone, Debug, PartialEq)]
pub struct LineFilter {
    /// How all alternatives compare.
    pub op: LineOp,
    /// At least one. Of a negative operator the parser makes a filter for each.
    pub alternatives: Vec<LineMatch>,
}

/// What a line filter looks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineMatch {
    /// A literal, regex or pattern.
    Text(String),
    /// `ip("...")`
    Ip(String),
}

/// `a="x.y[0]"`: the label `label` gets what `source` finds. `b` alone is `b="b"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extraction {
    /// The label.
    pub label: String,
    /// The path or key.
    pub source: String,
}

/// A condition on labels.
#[derive(Clone, Debug, PartialEq)]
pub enum LabelFilter {
    /// `a="x"`, `a=~"x"`
    Text(Matcher),
    /// `a > 5`
    Number {
        /// The label.
        name: String,
        /// The comparison.
        op: CompareOp,
        /// What it is compared with.
        value: f64,
    },
    /// `a >= 1h30m`
    Duration {
        /// The label.
        name: String,
        /// The comparison.
        op: CompareOp,
        /// Nanoseconds.
        value_ns: i64,
    },
    /// `a < 5KB`
    Bytes {
        /// The label.
        name: String,
        /// The comparison.
        op: CompareOp,
        /// Bytes.
        value: u64,
    },
    /// `a = ip("10.0.0.0/8")`
    Ip {
        /// The label.
        name: String,
        /// `=` or `!=`.
        negative: bool,
        /// Address, CIDR or range as written.
        pattern: String,
    },
    /// Both; `,` and juxtaposition are `and` too.
    And(Box<LabelFilter>, Box<LabelFilter>),
    /// Either.
    Or(Box<LabelFilter>, Box<LabelFilter>),
}

/// How numbers compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CompareOp {
    /// `==` or `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
}

/// One part of `label_format`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelFormat {
    /// `to=from`
    Rename {
        /// The new name.
        to: String,
        /// The old name.
        from: String,
    },
    /// `to="template"`
    Template {
        /// The label that is set.
        to: String,
        /// Go template text.
        template: String,
    },
}

/// One part of `drop` or `keep`.
#[derive(Clone, Debug, PartialEq)]
pub enum LabelPick {
    /// By name.
    Name(String),
    /// By name and value.
    Matcher(Matcher),
}

/// A metric query.
#[derive(Clone, Debug, PartialEq)]
pub enum MetricExpr {
    /// `rate({..} | .. [5m])`
    Range(RangeAggregation),
    /// `sum by (a) (..)`
    Vector(VectorAggregation),
    /// `a + b`
    Binary(Box<BinaryExpr>),
    /// `label_replace(v, "dst", "$1", "src", "re")`
    LabelReplace(Box<LabelReplace>),
    /// `5`, `-1.5`
    Literal(f64),
    /// `vector(5)`
    VectorLiteral(f64),
}

/// A function over the lines in a window.
#[derive(Clone, Debug, PartialEq)]
pub struct RangeAggregation {
    /// The function.
    pub op: RangeOp,
    /// φ of `quantile_over_time`.
    pub parameter: Option<f64>,
    /// What it is computed over.
    pub log: LogExpr,
    /// `| unwrap x`
    pub unwrap: Option<Unwrap>,
    /// `[5m]`, nanoseconds.
    pub range_ns: i64,
    /// `offset 1h`, nanoseconds; may be negative.
    pub offset_ns: i64,
    /// `by (..)` of the range aggregation itself.
    pub grouping: Option<Grouping>,
}

/// Range functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(
    missing_docs,
    reason = "each is the function of its name in snake case"
)]
pub enum RangeOp {
    Count,
    Rate,
    Bytes,
    BytesRate,
    Absent,
    RateCounter,
    Sum,
    Avg,
    Min,
    Max,
    Stddev,
    Stdvar,
    Quantile,
    First,
    Last,
}

/// `| unwrap duration(x) | y != ""`
#[derive(Clone, Debug, PartialEq)]
pub struct Unwrap {
    /// The label whose value is the sample.
    pub label: String,
    /// How the value is read.
    pub conversion: Option<Conversion>,
    /// Label filters after the unwrap.
    pub filters: Vec<LabelFilter>,
}

/// How an unwrapped value is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Conversion {
    /// `bytes(x)`
    Bytes,
    /// `duration(x)`: seconds
    Duration,
    /// `duration_seconds(x)`: the same
    DurationSeconds,
}

/// `by (a, b)` or `without (a, b)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grouping {
    /// `without` instead of `by`.
    pub without: bool,
    /// The labels in the order written.
    pub labels: Vec<String>,
}

/// A function over the series at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorAggregation {
    /// The function.
    pub op: VectorOp,
    /// `k` of `topk`, `bottomk`, `approx_topk`.
    pub parameter: Option<i64>,
    /// `by` or `without`; `None` means all series become one.
    pub grouping: Option<Grouping>,
    /// What it is computed over.
    pub inner: Box<MetricExpr>,
}

/// Vector functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(
    missing_docs,
    reason = "each is the function of its name in snake case"
)]
pub enum VectorOp {
    Sum,
    Avg,
    Min,
    Max,
    Count,
    Stddev,
    Stdvar,
    Topk,
    Bottomk,
    ApproxTopk,
    Sort,
    SortDesc,
}

/// `left op right` with its matching.
#[derive(Clone, Debug, PartialEq)]
pub struct BinaryExpr {
    /// The operator.
    pub op: BinaryOp,
    /// `bool` after a comparison: 0 or 1 instead of filtering.
    pub return_bool: bool,
    /// `on (..)`, `ignoring (..)`, `group_left (..)`.
    pub matching: Option<VectorMatching>,
    /// Left operand.
    pub left: MetricExpr,
    /// Right operand.
    pub right: MetricExpr,
}

/// Binary operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is the operator of its name")]
pub enum BinaryOp {
    Or,
    And,
    Unless,
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

/// Which series of both sides belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VectorMatching {
    /// `on` instead of `ignoring`.
    pub on: bool,
    /// The labels named.
    pub labels: Vec<String>,
    /// `group_left` or `group_right`.
    pub group: Option<GroupSide>,
    /// Labels that the "one" side gives to the "many" side.
    pub include: Vec<String>,
}

/// Which side may have many series per match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GroupSide {
    /// `group_left`: the left side.
    Left,
    /// `group_right`: the right side.
    Right,
}

/// `label_replace(inner, "dst", "replacement", "src", "regex")`
#[derive(Clone, Debug, PartialEq)]
pub struct LabelReplace {
    /// What it is applied to.
    pub inner: MetricExpr,
    /// The label that is set.
    pub dst: String,
    /// `$1` stands for a group.
    pub replacement: String,
    /// The label that is read.
    pub src: String,
    /// Anchored.
    pub regex: String,
}
