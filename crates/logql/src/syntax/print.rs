//! Trees as text on one line, in Loki's formatting.
//!
//! Where Loki's own formatting loses precision (sizes in decimal units, six decimals of `vector`),
//! a longer form is printed that parses to the same value.

use std::fmt::{self, Display, Formatter, Write as _};

use model::units::{self, format_go_duration, format_prometheus_duration, quote};

use super::ast::{
    BinaryExpr, Expr, Extraction, GroupSide, Grouping, LabelFilter, LabelFormat, LabelPick,
    LabelReplace, LineFilter, LineMatch, LogExpr, MetricExpr, RangeAggregation, Stage, Unwrap,
    VectorAggregation, VectorMatching,
};

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(log) => log.fmt(f),
            Self::Metric(metric) => metric.fmt(f),
        }
    }
}

/// Writes items with a separator between.
fn joined<T: Display>(
    f: &mut Formatter<'_>,
    items: impl IntoIterator<Item = T>,
    separator: &str,
) -> fmt::Result {
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            f.write_str(separator)?;
        }
        item.fmt(f)?;
    }
    Ok(())
}

/// The selector of a query: `{a="b", c=~"d"}`.
pub(crate) struct Selector<'a>(pub(crate) &'a [model::Matcher]);

impl Display for Selector<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_char('{')?;
        joined(f, self.0, ", ")?;
        f.write_char('}')
    }
}

impl Display for LogExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Selector(&self.matchers).fmt(f)?;
        self.stages
            .iter()
            .try_for_each(|stage| write!(f, " {stage}"))
    }
}

impl Display for Stage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::LineFilter(filter) => filter.fmt(f),
            Self::Json(extractions) => {
                f.write_str("| json")?;
                extracted(f, extractions)
            }
            Self::Logfmt {
                strict,
                keep_empty,
                extractions,
            } => {
                f.write_str("| logfmt")?;
                if *strict {
                    f.write_str(" --strict")?;
                }
                if *keep_empty {
                    f.write_str(" --keep-empty")?;
                }
                extracted(f, extractions)
            }
            Self::Regexp(pattern) => write!(f, "| regexp {}", quote(pattern)),
            Self::Pattern(pattern) => write!(f, "| pattern {}", quote(pattern)),
            Self::Unpack => f.write_str("| unpack"),
            Self::LabelFilter(filter) => write!(f, "| {filter}"),
            Self::LineFormat(template) => write!(f, "| line_format {}", quote(template)),
            Self::LabelFormat(formats) => {
                f.write_str("| label_format ")?;
                joined(f, formats, ",")
            }
            Self::Decolorize => f.write_str("| decolorize"),
            Self::Drop(picks) => {
                f.write_str("| drop ")?;
                joined(f, picks, ",")
            }
            Self::Keep(picks) => {
                f.write_str("| keep ")?;
                joined(f, picks, ",")
            }
        }
    }
}

fn extracted(f: &mut Formatter<'_>, extractions: &[Extraction]) -> fmt::Result {
    if !extractions.is_empty() {
        f.write_char(' ')?;
    }
    joined(f, extractions, ",")
}

impl Display for Extraction {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.label, quote(&self.source))
    }
}

impl Display for LineFilter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.op.as_str())?;
        joined(f, &self.alternatives, " or ")
    }
}

impl Display for LineMatch {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(&quote(text)),
            Self::Ip(pattern) => write!(f, "ip({})", quote(pattern)),
        }
    }
}

impl Display for LabelFormat {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rename { to, from } => write!(f, "{to}={from}"),
            Self::Template { to, template } => write!(f, "{to}={}", quote(template)),
        }
    }
}

impl Display for LabelPick {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Matcher(matcher) => matcher.fmt(f),
        }
    }
}

impl Display for LabelFilter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(matcher) => matcher.fmt(f),
            Self::Number { name, op, value } => {
                write!(f, "{name}{}{}", op.as_str(), value)
            }
            Self::Duration { name, op, value_ns } => {
                write!(f, "{name}{}{}", op.as_str(), format_go_duration(*value_ns))
            }
            Self::Bytes { name, op, value } => {
                write!(f, "{name}{}{}", op.as_str(), format_bytes(*value))
            }
            Self::Ip {
                name,
                negative,
                pattern,
            } => {
                let op = if *negative { "!=" } else { "=" };
                write!(f, "{name}{op}ip({})", quote(pattern))
            }
            Self::And(left, right) => write!(f, "( {left} , {right} )"),
            Self::Or(left, right) => write!(f, "( {left} or {right} )"),
        }
    }
}

/// `1.0kB` if that is exact, else the number of bytes.
fn format_bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    if bytes < 10 {
        return format!("{bytes}B");
    }
    let exponent = (bytes.ilog10() / 3).min(5);
    let value = bytes as f64 / 1000_f64.powi(exponent as i32);
    let rounded = (value * 10.0 + 0.5).floor() / 10.0;
    let unit = UNITS.get(exponent as usize).copied().unwrap_or("B");
    let text = if rounded < 10.0 {
        format!("{rounded:.1}{unit}")
    } else {
        format!("{rounded:.0}{unit}")
    };
    if units::parse_bytes(&text) == Ok(bytes) {
        text
    } else {
        format!("{bytes}B")
    }
}

/// A number as Go's `%v` prints it: `1`, `0.5`, `1e+06`, `NaN`, `+Inf`.
#[must_use]
pub fn format_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    // From a million on there is an exponent, whatever the digits.
    if value == 0.0 || (1e-4..1e6).contains(&value.abs()) {
        return value.to_string();
    }
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// Six decimals, as Loki prints the number of `vector`, if they are enough.
fn format_vector(value: f64) -> String {
    let text = format!("{value:.6}");
    if text.parse() == Ok(value) {
        text
    } else {
        value.to_string()
    }
}

impl Display for Grouping {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(if self.without { " without (" } else { " by (" })?;
        joined(f, &self.labels, ",")?;
        f.write_char(')')
    }
}

/// A grouping that may be missing.
pub(crate) struct Optional<'a, T>(pub(crate) &'a Option<T>);

impl<T: Display> Display for Optional<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |inner| inner.fmt(f))
    }
}

/// `| unwrap bytes(x)`, without what filters the samples.
pub(crate) fn conversion(unwrap: &Unwrap) -> String {
    match unwrap.conversion {
        Some(conversion) => format!("| unwrap {}({})", conversion.as_str(), unwrap.label),
        None => format!("| unwrap {}", unwrap.label),
    }
}

impl Display for Unwrap {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&conversion(self))?;
        self.filters
            .iter()
            .try_for_each(|filter| write!(f, " | {filter}"))
    }
}

impl Display for RangeAggregation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.op.as_str())?;
        if let Some(parameter) = self.parameter {
            write!(f, "{parameter},")?;
        }
        self.log.fmt(f)?;
        if let Some(unwrap) = &self.unwrap {
            write!(f, " {unwrap}")?;
        }
        write!(f, "[{}]", format_prometheus_duration(self.range_ns))?;
        if self.offset_ns != 0 {
            write!(f, " offset {}", format_go_duration(self.offset_ns))?;
        }
        write!(f, "){}", Optional(&self.grouping))
    }
}

impl Display for VectorAggregation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}(", self.op.as_str(), Optional(&self.grouping))?;
        if let Some(parameter) = self.parameter {
            write!(f, "{parameter},")?;
        }
        write!(f, "{})", self.inner)
    }
}

impl Display for VectorMatching {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(if self.on { "on (" } else { "ignoring (" })?;
        joined(f, &self.labels, ",")?;
        f.write_str(") ")?;
        f.write_str(group_side(self))?;
        if self.include.is_empty() {
            return Ok(());
        }
        f.write_str(" (")?;
        joined(f, &self.include, ",")?;
        f.write_char(')')
    }
}

/// Which side has many, as a word.
pub(crate) fn group_side(matching: &VectorMatching) -> &'static str {
    match matching.group {
        Some(GroupSide::Left) => "group_left",
        Some(GroupSide::Right) => "group_right",
        None => "",
    }
}

/// Whether a parenthesis that begins the right side would be read as a list of labels.
pub(crate) fn is_read_as_list(binary: &BinaryExpr) -> bool {
    let matching = binary.matching.as_ref();
    matching.is_some_and(|matching| matching.group.is_some() && matching.include.is_empty())
        && matches!(binary.right, MetricExpr::Binary(_))
}

/// The operator with `bool` and matching.
struct Operator<'a>(&'a BinaryExpr);

impl Display for Operator<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.op.as_str())?;
        if self.0.return_bool {
            f.write_str(" bool")?;
        }
        self.0
            .matching
            .as_ref()
            .map_or(Ok(()), |matching| write!(f, " {matching}"))?;
        f.write_str(if is_read_as_list(self.0) { " ()" } else { "" })
    }
}

impl Display for BinaryExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "({} {} {})", self.left, Operator(self), self.right)
    }
}

impl Display for LabelReplace {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "label_replace({}", self.inner)?;
        [&self.dst, &self.replacement, &self.src, &self.regex]
            .into_iter()
            .try_for_each(|text| write!(f, ",{}", quote(text)))?;
        f.write_char(')')
    }
}

impl Display for MetricExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(range) => range.fmt(f),
            Self::Vector(vector) => vector.fmt(f),
            Self::Binary(binary) => binary.fmt(f),
            Self::LabelReplace(replace) => replace.fmt(f),
            Self::Literal(value) => f.write_str(&format_float(*value)),
            Self::VectorLiteral(value) => write!(f, "vector({})", format_vector(*value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_print_as_in_go() {
        for (value, text) in [
            (7.0, "7"),
            (-1.5, "-1.5"),
            (2f64.powi(81), "2.4178516392292583e+24"),
            (1e21, "1e+21"),
            (999_999.5, "999999.5"),
            (-1_234_567.5, "-1.2345675e+06"),
            (1e20, "1e+20"),
            (0.00001, "1e-05"),
            (0.0, "0"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(format_float(value), text);
        }
    }

    #[test]
    fn sizes_print_in_decimal_units_when_exact() {
        for (bytes, text) in [
            (5, "5B"),
            (1000, "1.0kB"),
            (1024, "1024B"),
            (82_000, "82kB"),
            (1_500_000, "1.5MB"),
        ] {
            assert_eq!(format_bytes(bytes), text);
        }
    }
}
