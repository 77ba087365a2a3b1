//! Times in the forms that senders see.

use jiff::Timestamp;
use logql::template::gotime::{self, Zone};
use model::units::quote;

/// `2026-01-15T00:01:40Z`, fractions cut off. A number if it is beyond the calendar.
pub(crate) fn rfc3339_seconds(timestamp_ns: i64) -> String {
    match Timestamp::from_second(timestamp_ns.div_euclid(1_000_000_000)) {
        Ok(time) => time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Err(_) => timestamp_ns.to_string(),
    }
}

/// As Go prints a `time.Time`: `2026-01-15 00:56:39.999999999 +0000 UTC`, without a fraction that
/// is zero.
pub(crate) fn go_time(timestamp_ns: i64) -> String {
    let Ok(time) = Timestamp::from_nanosecond(i128::from(timestamp_ns)) else {
        return timestamp_ns.to_string();
    };
    let second = time.strftime("%Y-%m-%d %H:%M:%S");
    match timestamp_ns.rem_euclid(1_000_000_000) {
        0 => format!("{second} +0000 UTC"),
        fraction => {
            let digits = format!("{fraction:09}");
            format!("{second}.{} +0000 UTC", digits.trim_end_matches('0'))
        }
    }
}

/// When a time ends that a limit names, in nanoseconds.
pub(crate) fn until_ns(text: &str) -> i64 {
    parse_rfc3339(text).unwrap_or_else(|_| {
        // Years beyond what nanoseconds can count are for ever; anything else is a mistake that must
        // not drop lines.
        if text.parse::<Timestamp>().is_ok() {
            i64::MAX
        } else {
            i64::MIN
        }
    })
}

/// Go's name for the form of RFC 3339 times.
const RFC3339: &str = "2006-01-02T15:04:05Z07:00";

/// Nanoseconds of an RFC 3339 time.
///
/// # Errors
/// In Go's words, if it is none, or beyond what nanoseconds reach.
pub(crate) fn parse_rfc3339(text: &str) -> Result<i64, String> {
    gotime::parse_in(RFC3339, text, &Zone::Utc).map_err(|error| error.to_string())?;
    let time: Timestamp = text
        .parse()
        .map_err(|error: jiff::Error| error.to_string())?;
    i64::try_from(time.as_nanosecond())
        .map_err(|_| format!("time {} is beyond 1677 to 2262", quote(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_print_and_parse() {
        let ns = 1_768_435_300_000_000_000;
        assert_eq!(rfc3339_seconds(ns + 999_999_999), "2026-01-15T00:01:40Z");
        assert_eq!(go_time(ns), "2026-01-15 00:01:40 +0000 UTC");
        assert_eq!(go_time(ns + 500_000_000), "2026-01-15 00:01:40.5 +0000 UTC");
        assert_eq!(
            parse_rfc3339("2026-01-15T00:01:40.5Z"),
            Ok(ns + 500_000_000)
        );
        assert_eq!(parse_rfc3339("2026-01-15T01:01:40+01:00"), Ok(ns));
        for (wrong, reason) in [
            ("1768435300", "cannot parse \"435300\" as \"-\""),
            ("", "cannot parse \"\" as \"2006\""),
            ("2026-01-15", "cannot parse \"\" as \"T\""),
            ("2026-01-15T00:01:40", "cannot parse \"\" as \"Z07:00\""),
            ("2026-01-15T00:01:40Zx", ": extra text: \"x\""),
            ("2026-02-30T00:01:40Z", ": day out of range"),
            ("3000-12-31T23:59:59Z", "is beyond 1677 to 2262"),
        ] {
            let error = parse_rfc3339(wrong).unwrap_err();
            assert!(error.ends_with(reason), "{wrong}: {error}");
        }
        for ns in [i64::MIN, -1, i64::MAX] {
            assert!(rfc3339_seconds(ns).ends_with('Z') && go_time(ns).ends_with("UTC"));
        }
    }
}
