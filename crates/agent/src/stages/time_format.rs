//! How times are written in lines: Go's layouts, the names of its standard ones, Unix time.

use logql::template::gotime::{self, GoTime, Zone};

/// A way to read a time.
#[derive(Clone, Debug)]
pub(crate) enum TimeFormat {
    /// Seconds since 1970, with or without a fraction.
    Unix,
    /// A count of milli-, micro- or nanoseconds since 1970; the unit in nanoseconds.
    UnixUnit(i64),
    /// RFC 3339, the form that nearly all machines write.
    Rfc3339,
    /// A layout of Go and the zone of times that do not name one.
    Layout { layout: String, zone: Zone },
    /// A layout without a year: the nearest one is meant.
    YearLess { layout: String, zone: Zone },
}

const RFC3339: &str = "2006-01-02T15:04:05.999999999Z07:00";

impl TimeFormat {
    /// By the name of a standard layout, or the layout itself. The zone is that of layouts that
    /// are written out; the standard ones are in UTC.
    pub(crate) fn new(format: &str, zone: &Zone) -> Self {
        let standard = match format {
            "ANSIC" => "Mon Jan _2 15:04:05 2006",
            "UnixDate" => "Mon Jan _2 15:04:05 MST 2006",
            "RubyDate" => "Mon Jan 02 15:04:05 -0700 2006",
            "RFC822" => "02 Jan 06 15:04 MST",
            "RFC822Z" => "02 Jan 06 15:04 -0700",
            "RFC850" => "Monday, 02-Jan-06 15:04:05 MST",
            "RFC1123" => "Mon, 02 Jan 2006 15:04:05 MST",
            "RFC1123Z" => "Mon, 02 Jan 2006 15:04:05 -0700",
            "RFC3339" | "RFC3339Nano" => return Self::Rfc3339,
            "Unix" => return Self::Unix,
            "UnixMs" => return Self::UnixUnit(1_000_000),
            "UnixUs" => return Self::UnixUnit(1_000),
            "UnixNs" => return Self::UnixUnit(1),
            _ => "",
        };
        let (layout, zone) = (format.to_owned(), zone.clone());
        if !standard.is_empty() {
            Self::Layout {
                layout: standard.to_owned(),
                zone: Zone::Utc,
            }
        } else if format.contains("06") {
            Self::Layout { layout, zone }
        } else {
            Self::YearLess { layout, zone }
        }
    }

    /// Nanoseconds since 1970. `now_ns` tells the year where a time has none.
    pub(crate) fn read(&self, text: &str, now_ns: i64) -> Option<i64> {
        match self {
            Self::Unix => unix(text),
            Self::UnixUnit(unit_ns) => Some(text.parse::<i64>().ok()?.wrapping_mul(*unit_ns)),
            Self::Rfc3339 => rfc3339(text),
            Self::Layout { layout, zone } => {
                nanoseconds(&gotime::parse_in(layout, text, zone).ok()?)
            }
            Self::YearLess { layout, zone } => year_less(layout, text, zone, now_ns),
        }
    }
}

/// `None` for years that no entry can have.
fn nanoseconds(time: &GoTime) -> Option<i64> {
    time.unix_s()
        .checked_mul(1_000_000_000)?
        .checked_add(i64::from(time.nanos()))
}

fn unix(text: &str) -> Option<i64> {
    let (seconds, fraction) = match text.split_once('.') {
        Some((seconds, fraction)) => (seconds, Some(fraction)),
        None => (text, None),
    };
    let seconds_ns = seconds.parse::<i64>().ok()?.checked_mul(1_000_000_000)?;
    let Some(fraction) = fraction else {
        return Some(seconds_ns);
    };
    if fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
    let nanos = digits.fold(0_i64, |nanos, digit| nanos * 10 + i64::from(digit - b'0'));
    seconds_ns.checked_add(nanos)
}

/// A time without a year is near: around New Year it may be of the year before or after.
fn year_less(layout: &str, text: &str, zone: &Zone, now_ns: i64) -> Option<i64> {
    let time = gotime::parse_in(layout, text, zone).ok()?;
    let mut civil = time.civil();
    if civil.year != 0 {
        return None;
    }
    let now = GoTime::from_unix_ns(now_ns)
        .in_zone(time.zone().clone())
        .civil();
    civil.year = match (civil.month, now.month) {
        (12, 1) => now.year - 1,
        (1, 12) => now.year + 1,
        _ => now.year,
    };
    nanoseconds(&GoTime::from_civil(&civil, time.zone().clone()))
}

/// The usual form is read digit by digit, what is different by its layout.
pub(crate) fn rfc3339(text: &str) -> Option<i64> {
    plain_rfc3339(text.as_bytes())
        .or_else(|| nanoseconds(&gotime::parse_in(RFC3339, text, &Zone::Utc).ok()?))
}

/// `2026-01-15T01:02:03.25Z` or with an offset; `None` for everything that needs a closer look.
fn plain_rfc3339(text: &[u8]) -> Option<i64> {
    let two = |at: usize| -> Option<i64> {
        let pair = text.get(at..at + 2)?;
        pair.iter().all(u8::is_ascii_digit).then(|| {
            pair.iter()
                .fold(0, |number, digit| number * 10 + i64::from(digit - b'0'))
        })
    };
    let is = |at: usize, c: u8| text.get(at) == Some(&c);
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if !marks.into_iter().all(|(at, c)| is(at, c)) {
        return None;
    }
    let (year, month, day) = (two(0)? * 100 + two(2)?, two(5)?, two(8)?);
    let (hour, minute, second) = (two(11)?, two(14)?, two(17)?);
    // The last days of a month are for the layout, which knows how long months are.
    if !(1970..2200).contains(&year) || !(1..=12).contains(&month) || !(1..=28).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut at = 19;
    let mut nanos = 0;
    if is(at, b'.') {
        let rest = text.get(at + 1..)?;
        let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        if !(1..=9).contains(&digits) {
            return None;
        }
        let padded = rest
            .iter()
            .take(digits)
            .copied()
            .chain(std::iter::repeat(b'0'))
            .take(9);
        nanos = padded.fold(0, |nanos, digit| nanos * 10 + i64::from(digit - b'0'));
        at += 1 + digits;
    }
    let offset_s = match text.get(at)? {
        b'Z' if text.len() == at + 1 => 0,
        sign @ (b'+' | b'-') if text.len() == at + 6 && is(at + 3, b':') => {
            let (hours, minutes) = (two(at + 1)?, two(at + 4)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let offset_s = hours * 3_600 + minutes * 60;
            if *sign == b'-' { -offset_s } else { offset_s }
        }
        _ => return None,
    };
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset_s;
    Some(seconds * 1_000_000_000 + nanos)
}

/// Days since 1970 (<https://howardhinnant.github.io/date_algorithms.html>).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S: i64 = 1_000_000_000;
    /// 2026-01-15T00:00:00Z
    const DAY: i64 = 1_768_435_200 * S;

    #[test]
    fn formats() {
        for (format, zone, text, expected) in [
            ("Unix", "", "1768435200", Some(DAY)),
            ("Unix", "", "1768435200.25", Some(DAY + S / 4)),
            ("Unix", "", "1768435200.1234567899", Some(DAY + 123_456_789)),
            ("Unix", "", "1768435200.", None),
            ("Unix", "", "1e9", None),
            ("UnixMs", "", "1768435200001", Some(DAY + 1_000_000)),
            ("UnixUs", "", "1768435200000001", Some(DAY + 1_000)),
            ("UnixNs", "", "1768435200000000001", Some(DAY + 1)),
            (
                "RFC3339",
                "",
                "2026-01-15T00:00:00.5+01:00",
                Some(DAY + S / 2 - 3_600 * S),
            ),
            (
                "RFC3339Nano",
                "",
                "2026-01-31T00:00:00Z",
                Some(DAY + 16 * 86_400 * S),
            ),
            ("RFC3339Nano", "", "2026-02-30T00:00:00Z", None),
            ("RFC3339Nano", "", "2026-01-15 00:00:00Z", None),
            (
                "RFC1123",
                "",
                "Thu, 15 Jan 2026 00:00:01 UTC",
                Some(DAY + S),
            ),
            ("ANSIC", "", "Thu Jan 15 00:00:00 2026", Some(DAY)),
            ("RFC850", "", "Thursday, 15-Jan-26 00:00:00 UTC", Some(DAY)),
            ("2006-01-02 15:04:05", "", "2026-01-15 00:00:00", Some(DAY)),
            (
                "2006-01-02 15:04:05",
                "Europe/Berlin",
                "2026-01-15 01:00:00",
                Some(DAY),
            ),
            ("2006-01-02 15:04:05", "", "2026-01-15", None),
            ("2006-01-02", "", "1500-01-01", None),
            ("Jan _2 15:04:05", "", "Jan 15 00:00:01", Some(DAY + S)),
            (
                "Jan _2 15:04:05",
                "America/New_York",
                "Jan 14 19:00:00",
                Some(DAY),
            ),
            // In January, December is that of the year before.
            (
                "Jan _2 15:04:05",
                "",
                "Dec 31 00:00:00",
                Some(DAY - 15 * 86_400 * S),
            ),
        ] {
            let format = TimeFormat::new(format, &Zone::load(zone).unwrap());
            assert_eq!(format.read(text, DAY), expected, "{format:?} {text}");
        }
        let december = DAY - 20 * 86_400 * S;
        let format = TimeFormat::new("Jan _2 15:04", &Zone::Utc);
        assert_eq!(format.read("Jan 15 00:00", december), Some(DAY));
    }

    proptest! {
        #[test]
        fn both_ways_of_reading_rfc3339_agree(
            ns in 0..7_000_000_000 * S, zone in prop::sample::select(vec!["UTC", "Asia/Kolkata"]),
            layout in prop::sample::select(vec![
                RFC3339, "2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05.000Z07:00",
            ])
        ) {
            let time = GoTime::from_unix_ns(ns).in_zone(Zone::load(zone).unwrap());
            let text = time.format(layout);
            let slow = nanoseconds(&gotime::parse_in(RFC3339, &text, &Zone::Utc).unwrap());
            prop_assert_eq!(rfc3339(&text), slow);
            prop_assert!(plain_rfc3339(text.as_bytes()).is_none_or(|fast| Some(fast) == slow));
        }

        #[test]
        fn any_text_is_a_time_or_not(text in "[0-9TZ:.+-]{0,36}", format in ".{0,12}") {
            let _ = rfc3339(&text);
            let _ = TimeFormat::new(&format, &Zone::Utc).read(&text, DAY);
            let _ = TimeFormat::Unix.read(&text, DAY);
        }
    }
}
