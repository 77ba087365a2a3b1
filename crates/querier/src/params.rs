//! Parameters of requests: times, steps, limits, as Loki reads them.
//!
//! A time is Unix seconds with up to ten digits, Unix nanoseconds with more, seconds with a
//! fraction, or RFC 3339. `since` counts back from the end, or from now if the end lies ahead.

mod shard;

use std::num::IntErrorKind;

use model::{Code, CodedError, Direction, TimeRange, units};

/// Points of one series that a range query may have.
pub(crate) const POINTS_MAX: i64 = 11_000;
/// Lines returned when no limit is given.
pub(crate) const LIMIT_DEFAULT: usize = 100;
const HOUR_NS: i64 = 3_600_000_000_000;
const SECOND_NS: i64 = 1_000_000_000;

/// Names and values of a query string or form, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// Parses `a=1&b=2`, percent-decoded. What comes first has precedence.
    #[must_use]
    pub(crate) fn parse(texts: &[&str]) -> Self {
        let pairs = texts.iter().flat_map(|text| form_pairs(text)).collect();
        Self(pairs)
    }

    /// The first value of `name`; an empty one counts as absent.
    #[must_use]
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(candidate, _)| candidate == name)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// The first value of `name`, empty if absent.
    #[must_use]
    pub(crate) fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// All values of `name`.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// A count.
    ///
    /// # Errors
    /// If the value is no whole number.
    pub(crate) fn count(&self, name: &str) -> Result<Option<i64>, CodedError> {
        let parse = |text: &str| {
            text.parse::<i64>()
                .map_err(|error| bad(not_a_number("Atoi", text, &error)))
        };
        self.get(name).map(parse).transpose()
    }

    /// `limit`: how many lines are wanted.
    ///
    /// # Errors
    /// If it is no positive number.
    pub(crate) fn limit(&self) -> Result<usize, CodedError> {
        self.positive("limit", LIMIT_DEFAULT)
    }

    /// A count that is not zero.
    ///
    /// # Errors
    /// If it is no positive number of 32 bits.
    pub(crate) fn positive(&self, name: &str, default: usize) -> Result<usize, CodedError> {
        let Some(count) = self.count(name)? else {
            return Ok(default);
        };
        if count <= 0 {
            return Err(bad("limit must be a positive value"));
        }
        let most = u32::MAX;
        let is_fields = matches!(name, "limit" | "field_limit");
        let shown = if is_fields { "limit" } else { name };
        u32::try_from(count)
            .map(|count| count as usize)
            .map_err(|_| bad(format!("{shown} value {count} is out of range [0, {most}]")))
    }

    /// Whether a parameter is true; absent is false.
    ///
    /// # Errors
    /// If it is neither true nor false.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, CodedError> {
        match self.get(name) {
            None | Some("" | "0" | "false") => Ok(false),
            Some("1" | "true") => Ok(true),
            Some(other) => Err(bad(format!("{name} is neither true nor false: {other}"))),
        }
    }

    /// `direction`, newest first if absent. (The `scan` that Grafana shows is not sent by it: it asks
    /// for the newest lines of one part of the time after the other.)
    ///
    /// # Errors
    /// If it is something else.
    pub(crate) fn direction(&self) -> Result<Direction, CodedError> {
        match self
            .get("direction")
            .map(str::to_ascii_lowercase)
            .as_deref()
        {
            None | Some("backward") => Ok(Direction::Backward),
            Some("forward") => Ok(Direction::Forward),
            Some(_) => {
                let text = self.get("direction").unwrap_or_default();
                Err(bad(format!("invalid direction '{text}'")))
            }
        }
    }

    /// The time called `name`.
    ///
    /// # Errors
    /// If it is of none of the forms.
    pub(crate) fn time(&self, name: &str) -> Result<Option<i64>, CodedError> {
        self.get(name)
            .map(|text| parse_time(text).map_err(bad))
            .transpose()
    }

    /// `start` and `end`, with `since`, and the last hour if both are absent.
    ///
    /// # Errors
    /// If one of them cannot be read.
    pub(crate) fn range(&self, now_ns: i64) -> Result<TimeRange, CodedError> {
        let time = |name: &str| {
            self.get(name)
                .map(parse_time)
                .transpose()
                .map_err(|reason| bad(format!("could not parse '{name}' parameter: {reason}")))
        };
        let since_ns = match self.get("since") {
            None => HOUR_NS,
            Some(text) => units::parse_prometheus_duration(text).map_err(|_| {
                bad(format!(
                    "could not parse 'since' parameter: {}",
                    since_reason(text)
                ))
            })?,
        };
        let end_ns = time("end")?.unwrap_or(now_ns);
        let start_ns = match time("start")? {
            Some(start) => start,
            None => end_ns.min(now_ns).saturating_sub(since_ns),
        };
        Ok(TimeRange::new(start_ns, end_ns))
    }

    /// What a range query has besides, and endpoints check that have no use for it.
    ///
    /// # Errors
    /// If something of it cannot be read.
    pub(crate) fn check_range_query(&self, range: TimeRange) -> Result<(), CodedError> {
        self.limit()?;
        self.direction()?;
        self.step(range)?;
        self.interval()?;
        Ok(())
    }

    /// [`Self::range`], which must not be turned round.
    ///
    /// # Errors
    /// If it is, or cannot be read.
    pub(crate) fn forward_range(&self, now_ns: i64) -> Result<TimeRange, CodedError> {
        let range = self.range(now_ns)?;
        if range.end_ns < range.start_ns {
            return Err(bad(
                "end timestamp must not be before or equal to start time",
            ));
        }
        Ok(range)
    }

    /// `targetBytesPerShard`: bytes, such as `600MB`.
    ///
    /// # Errors
    /// If it is no positive number, or absent.
    pub(crate) fn target_bytes(&self) -> Result<u64, CodedError> {
        units::parse_config_bytes(self.text("targetBytesPerShard"))
            .ok()
            .filter(|bytes| *bytes > 0)
            .ok_or_else(|| bad("targetBytesPerShard must be a positive value"))
    }

    /// `interval` in nanoseconds: lines closer together than that are left out; 0 if absent.
    ///
    /// # Errors
    /// If it cannot be read, or is negative.
    pub(crate) fn interval(&self) -> Result<i64, CodedError> {
        let interval_ns = self
            .get("interval")
            .map(parse_step)
            .transpose()?
            .unwrap_or(0);
        if interval_ns < 0 {
            return Err(bad("interval must be >= 0"));
        }
        Ok(interval_ns)
    }

    /// `step` in nanoseconds; by default as many as give some 250 points, at least a second.
    ///
    /// # Errors
    /// If it cannot be read, is not positive, or gives more than [`POINTS_MAX`] points.
    pub(crate) fn step(&self, range: TimeRange) -> Result<i64, CodedError> {
        let step_ns = match self.get("step") {
            None => (range.len_ns() / SECOND_NS / 250).max(1) * SECOND_NS,
            Some(text) => parse_step(text)?,
        };
        if step_ns <= 0 {
            return Err(bad(
                "zero or negative query resolution step widths are not accepted. Try a positive integer",
            ));
        }
        if range.len_ns() / step_ns > POINTS_MAX {
            let error = bad(
                "exceeded maximum resolution of 11,000 points per time series. Try increasing the value of the step parameter",
            );
            return Err(error.beyond_bound("points_max", &POINTS_MAX));
        }
        Ok(step_ns)
    }
}

fn bad(message: impl Into<String>) -> CodedError {
    CodedError::new(Code::InvalidArgument, message)
}

fn since_reason(text: &str) -> String {
    let number_end = text.find(|c: char| !c.is_ascii_digit());
    match number_end {
        Some(at) if at > 0 => {
            let unit: String = text
                .chars()
                .skip(at)
                .take_while(|c| !c.is_ascii_digit())
                .collect();
            format!(
                "unknown unit {} in duration {}",
                units::quote(&unit),
                units::quote(text)
            )
        }
        _ => format!("not a valid duration string: {}", units::quote(text)),
    }
}

/// Seconds as a number, or a duration.
fn parse_step(text: &str) -> Result<i64, CodedError> {
    let refused = |why: &str| {
        bad(format!(
            "cannot parse {} to a valid duration{why}",
            units::quote(text)
        ))
    };
    if let Some(seconds) = go_float(text) {
        let ns = seconds * SECOND_NS as f64;
        if ns.is_nan() {
            return Ok(0);
        }
        if ns >= i64::MAX as f64 || ns <= i64::MIN as f64 {
            return Err(refused(". It overflows int64"));
        }
        return Ok(ns as i64);
    }
    units::parse_prometheus_duration(text).map_err(|_| refused(""))
}

/// A float as Go reads one; not what overflows.
fn go_float(text: &str) -> Option<f64> {
    let number = text.parse::<f64>().ok()?;
    let named = text.chars().any(|c| matches!(c, 'i' | 'I' | 'n' | 'N'));
    (number.is_finite() || named).then_some(number)
}

/// A time in nanoseconds since the Unix epoch.
///
/// # Errors
/// The reason, in Go's words, if the text has none of the forms.
pub(crate) fn parse_time(text: &str) -> Result<i64, String> {
    let too_large = || {
        let text = units::quote(text);
        format!("strconv.ParseInt: parsing {text}: value out of range")
    };
    if text.contains('.')
        && let Some(seconds) = go_float(text)
        && seconds.is_finite()
    {
        let whole = seconds.floor();
        let ns = ((seconds - whole) * 1e3).round() / 1e3 * SECOND_NS as f64;
        return (whole as i64)
            .checked_mul(SECOND_NS)
            .and_then(|base| base.checked_add(ns as i64))
            .ok_or_else(too_large);
    }
    let number = text.parse::<i64>();
    if let Ok(number) = number {
        if text.len() <= 10 {
            return number.checked_mul(SECOND_NS).ok_or_else(too_large);
        }
        return Ok(number);
    }
    // RFC 3339 as Go reads it: `T` and `Z` in capitals, a zone is a must.
    let shape = text.as_bytes();
    let capital = shape.get(10) == Some(&b'T') && !text.ends_with('z');
    if capital && let Ok(time) = text.parse::<jiff::Timestamp>() {
        return i64::try_from(time.as_nanosecond()).map_err(|_| too_large());
    }
    match number {
        Ok(number) => Ok(number),
        Err(error) => Err(not_a_number("ParseInt", text, &error)),
    }
}

/// What Go's functions say of a text that is no whole number of 64 bits.
fn not_a_number(function: &str, text: &str, error: &std::num::ParseIntError) -> String {
    let why = match error.kind() {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
        _ => "invalid syntax",
    };
    format!("strconv.{function}: parsing {}: {why}", units::quote(text))
}

/// A time of a request to delete lines: Unix seconds with ten digits, or RFC 3339.
pub(crate) fn parse_delete_time(text: &str) -> Option<i64> {
    let is_possible = text.len() == 10 || text.contains('T');
    is_possible.then(|| parse_time(text).ok()).flatten()
}

fn form_pairs(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decode(name), percent_decode(value))
        })
        .collect()
}

/// Decodes `%41` and `+`; what is no valid escape stays as it is.
pub(crate) fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        let hex = |at: usize| tail.get(at).and_then(|b| (*b as char).to_digit(16));
        match (first, hex(0), hex(1)) {
            (b'+', ..) => bytes.push(b' '),
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => bytes.push(*first),
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_five_forms() {
        let base = 1_768_437_000 * SECOND_NS;
        for (text, ns) in [
            ("1768437000", base),
            ("1768437000.0", base),
            ("1768437000.5", base + SECOND_NS / 2),
            ("1768437000000000001", base + 1),
            ("2026-01-15T00:30:00Z", base),
            ("2026-01-15T01:30:00+01:00", base),
            ("2026-01-15T00:30:00.000000001Z", base + 1),
            // Thirteen digits are nanoseconds too, as in Loki.
            ("1768437000000", 1_768_437_000_000),
            ("-1", -SECOND_NS),
        ] {
            assert_eq!(parse_time(text), Ok(ns), "{text}");
        }
        for bad in [
            "",
            "abc",
            "2026-01-15",
            "2026-01-15T00:40:00",
            "2026-01-15T00:40:00z",
            "0x5",
            "2026-01-15 00:30:00Z",
        ] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
        let large = parse_time("99999999999999999999").unwrap_err();
        assert!(large.ends_with("value out of range"), "{large}");
    }

    #[test]
    fn deletes_take_no_nanoseconds() {
        assert_eq!(
            parse_delete_time("1768435200"),
            Some(1_768_435_200 * SECOND_NS)
        );
        assert!(parse_delete_time("2026-01-15T00:00:00Z").is_some());
        assert_eq!(parse_delete_time("1768435200000000000"), None);
        assert_eq!(parse_delete_time("99999999999"), None);
        // Fewer digits are refused as well, which keeps mistakes from deleting much.
        assert_eq!(parse_delete_time("1"), None);
        assert_eq!(parse_delete_time("0000000001"), Some(SECOND_NS));
    }

    #[test]
    fn ranges_default_to_the_last_hour() {
        let now = 10_000 * SECOND_NS;
        let range = |text: &str| Params::parse(&[text]).range(now);
        assert_eq!(range("").unwrap(), TimeRange::new(now - HOUR_NS, now));
        assert_eq!(
            range("end=20000").unwrap(),
            TimeRange::new(now - HOUR_NS, 20_000 * SECOND_NS)
        );
        assert_eq!(
            range("end=5000&since=1m").unwrap().start_ns,
            4_940 * SECOND_NS
        );
        let error = range("since=5x").unwrap_err().message;
        assert_eq!(
            error,
            "could not parse 'since' parameter: unknown unit \"x\" in duration \"5x\""
        );
        // One after the other.
        for (text, name) in [("start=x&end=y&since=z", "since"), ("start=x&end=y", "end")] {
            let error = range(text).unwrap_err().message;
            assert!(error.contains(&format!("'{name}'")), "{error}");
        }
    }

    #[test]
    fn steps_are_seconds_or_durations() {
        let range = TimeRange::new(0, HOUR_NS);
        let step = |text: &str| Params::parse(&[&format!("step={text}")]).step(range);
        assert_eq!(step("60").unwrap(), 60 * SECOND_NS);
        assert_eq!(step("1m30s").unwrap(), 90 * SECOND_NS);
        assert_eq!(step("").unwrap(), 14 * SECOND_NS);
        for (text, part) in [
            ("0", "zero or negative"),
            ("NaN", "zero or negative"),
            ("5x", "cannot parse"),
            ("inf", "overflows"),
            ("0.1", "11,000 points"),
        ] {
            assert!(step(text).unwrap_err().message.contains(part), "{text}");
        }
    }

    #[test]
    fn counts_are_positive_and_have_32_bits() {
        let limit = |text: &str| Params::parse(&[&format!("limit={text}")]).limit();
        assert_eq!(limit("").unwrap(), LIMIT_DEFAULT);
        assert_eq!(limit("5").unwrap(), 5);
        for (text, part) in [
            ("0", "must be a positive value"),
            ("x", "invalid syntax"),
            ("99999999999999999999", "value out of range"),
            (
                "4294967296",
                "limit value 4294967296 is out of range [0, 4294967295]",
            ),
        ] {
            assert!(limit(text).unwrap_err().message.contains(part), "{text}");
        }
    }

    #[test]
    fn directions_are_those_of_loki() {
        let direction = |text: &str| Params::parse(&[text]).direction();
        for (text, expected) in [
            ("", Direction::Backward),
            ("direction=BACKWARD", Direction::Backward),
            ("direction=Forward", Direction::Forward),
        ] {
            assert_eq!(direction(text), Ok(expected), "{text}");
        }
        for other in ["sideways", "scan"] {
            let error = direction(&format!("direction={other}")).unwrap_err();
            assert_eq!(error.message, format!("invalid direction '{other}'"));
        }
    }

    #[test]
    fn escapes_decode() {
        let params = Params::parse(&["query=%7Ba%3D%22x%22%7D+%7C&match=1&match=2&x=%zz"]);
        assert_eq!(params.get("query"), Some("{a=\"x\"} |"));
        assert_eq!(params.all("match").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(params.get("x"), Some("%zz"));
    }
}
