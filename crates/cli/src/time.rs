//! Times as they are typed and printed.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use model::units;

use crate::args::{TimeArgs, TimestampFormat};
use crate::error::CliError;

fn usage(message: String) -> CliError {
    CliError::Usage(message)
}

/// Now, in nanoseconds since the Unix epoch.
pub(crate) fn now_ns() -> i64 {
    i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

/// A time typed as RFC 3339, Unix seconds (up to ten digits) or nanoseconds.
pub(crate) fn parse_time(text: &str) -> Result<i64, CliError> {
    if let Ok(number) = text.parse::<i64>() {
        return if text.len() <= 10 {
            number
                .checked_mul(1_000_000_000)
                .ok_or_else(|| usage(format!("no time: {text}")))
        } else {
            Ok(number)
        };
    }
    let time: Timestamp = text.parse().map_err(|error| {
        usage(format!(
            "{text:?} is no time, write 2026-01-15T00:00:00Z or Unix seconds: {error}"
        ))
    })?;
    i64::try_from(time.as_nanosecond()).map_err(|_| usage(format!("{text:?} is out of range")))
}

/// A duration typed as `1h30m` or `1.5h`.
pub(crate) fn parse_duration(text: &str) -> Result<i64, CliError> {
    units::parse_duration(text).map_err(|error| usage(error.to_string()))
}

/// Unix seconds as RFC 3339.
pub(crate) fn print_seconds(seconds: f64) -> Result<String, CliError> {
    let time = Timestamp::from_second(seconds as i64);
    let time = time.map_err(|error| CliError::Answer(error.to_string()))?;
    Ok(time.to_string())
}

/// From and to, in nanoseconds.
pub(crate) fn range(args: &TimeArgs, now_ns: i64) -> Result<(i64, i64), CliError> {
    let end = args
        .to
        .as_deref()
        .map(parse_time)
        .transpose()?
        .unwrap_or(now_ns);
    let start = match &args.from {
        Some(from) => parse_time(from)?,
        None => end.saturating_sub(parse_duration(&args.since)?),
    };
    if start >= end {
        return Err(usage("the begin is not before the end".to_owned()));
    }
    Ok((start, end))
}

/// Prints times in one zone and format.
pub(crate) struct TimePrinter {
    zone: TimeZone,
    format: TimestampFormat,
}

impl TimePrinter {
    pub(crate) fn new(zone: &str, format: TimestampFormat) -> Result<Self, CliError> {
        let zone = match zone {
            "Local" | "local" => TimeZone::system(),
            name => TimeZone::get(name).map_err(|error| usage(error.to_string()))?,
        };
        Ok(Self { zone, format })
    }

    pub(crate) fn print(&self, timestamp_ns: i64) -> String {
        let shape = match self.format {
            TimestampFormat::Unix => return (timestamp_ns / 1_000_000_000).to_string(),
            TimestampFormat::Unixnano => return timestamp_ns.to_string(),
            TimestampFormat::Rfc3339 => "%Y-%m-%dT%H:%M:%S",
            // As many digits as are needed, as Go prints them.
            TimestampFormat::Rfc3339nano => "%Y-%m-%dT%H:%M:%S%.f",
        };
        let Ok(time) = Timestamp::from_nanosecond(i128::from(timestamp_ns)) else {
            return timestamp_ns.to_string();
        };
        let time = time.to_zoned_datetime(self.zone.clone());
        let zone = if time.offset().is_zero() {
            "Z".to_owned()
        } else {
            time.strftime("%:z").to_string()
        };
        format!("{}{zone}", time.strftime(shape))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_printed() {
        assert_eq!(parse_time("1768437000").unwrap(), 1_768_437_000_000_000_000);
        assert_eq!(
            parse_time("2026-01-15T00:30:00Z").unwrap(),
            1_768_437_000_000_000_000
        );
        assert!(parse_time("yesterday").is_err());
        let print = |zone: &str, format| {
            TimePrinter::new(zone, format)
                .unwrap()
                .print(1_768_437_000_000_000_001)
        };
        assert_eq!(
            print("UTC", TimestampFormat::Rfc3339),
            "2026-01-15T00:30:00Z"
        );
        assert_eq!(
            print("UTC", TimestampFormat::Rfc3339nano),
            "2026-01-15T00:30:00.000000001Z"
        );
        assert_eq!(print("UTC", TimestampFormat::Unix), "1768437000");
    }
}
