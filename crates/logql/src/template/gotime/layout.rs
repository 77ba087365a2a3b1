//! The elements of a layout: which part of the reference time `Mon Jan 2 15:04:05 MST 2006` a piece
//! of text stands for.

/// One element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Std {
    LongMonth,
    Month,
    NumMonth,
    ZeroMonth,
    LongWeekday,
    Weekday,
    Day,
    UnderDay,
    ZeroDay,
    UnderYearDay,
    ZeroYearDay,
    Hour,
    Hour12,
    ZeroHour12,
    Minute,
    ZeroMinute,
    Second,
    ZeroSecond,
    LongYear,
    Year,
    UpperPm,
    LowerPm,
    ZoneName,
    Zone(ZoneForm),
    /// `.000` or `,000`: that many digits.
    Fraction0 {
        digits: usize,
        comma: bool,
    },
    /// `.999` or `,999`: up to that many digits, none if all are zero.
    Fraction9 {
        digits: usize,
        comma: bool,
    },
}

/// `-07:00` and its relatives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ZoneForm {
    /// Starts with `Z`: UTC is written `Z`.
    pub(super) z: bool,
    /// Colons between the parts.
    pub(super) colon: bool,
    /// 1 hours only, 2 with minutes, 3 with seconds.
    pub(super) parts: u8,
}

const ZONES: [(&str, ZoneForm); 10] = [
    ("Z070000", zone(true, false, 3)),
    ("Z07:00:00", zone(true, true, 3)),
    ("Z0700", zone(true, false, 2)),
    ("Z07:00", zone(true, true, 2)),
    ("Z07", zone(true, false, 1)),
    ("-070000", zone(false, false, 3)),
    ("-07:00:00", zone(false, true, 3)),
    ("-0700", zone(false, false, 2)),
    ("-07:00", zone(false, true, 2)),
    ("-07", zone(false, false, 1)),
];

const fn zone(z: bool, colon: bool, parts: u8) -> ZoneForm {
    ZoneForm { z, colon, parts }
}

pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

pub(super) const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

/// The English name of a month, 1 to 12.
pub(in super::super) fn month_name(month: i64) -> Option<&'static str> {
    MONTHS
        .get(usize::try_from(month.checked_sub(1)?).ok()?)
        .copied()
}

/// The English name of a day of the week, Sunday being 0.
pub(in super::super) fn weekday_name(day: i64) -> Option<&'static str> {
    WEEKDAYS.get(usize::try_from(day).ok()?).copied()
}

/// Splits a layout at its first element: text before it, the element, text after it.
pub(super) fn next_std(layout: &str) -> Option<(&str, Std, &str)> {
    for (at, byte) in layout.bytes().enumerate() {
        let Some(rest) = layout.get(at..) else {
            continue;
        };
        if let Some((std, len, skip)) = std_at(byte, rest) {
            return Some((
                layout.get(..at + skip)?,
                std,
                layout.get(at + skip + len..)?,
            ));
        }
    }
    None
}

/// The element at the start of `rest`, its length, and how many bytes before it are plain text.
fn std_at(byte: u8, rest: &str) -> Option<(Std, usize, usize)> {
    let table: &[(&str, Std)] = match byte {
        b'J' => &[("January", Std::LongMonth), ("Jan", Std::Month)],
        b'M' => &[
            ("Monday", Std::LongWeekday),
            ("Mon", Std::Weekday),
            ("MST", Std::ZoneName),
        ],
        b'0' => &[
            ("01", Std::ZeroMonth),
            ("002", Std::ZeroYearDay),
            ("02", Std::ZeroDay),
            ("03", Std::ZeroHour12),
            ("04", Std::ZeroMinute),
            ("05", Std::ZeroSecond),
            ("06", Std::Year),
        ],
        b'1' => &[("15", Std::Hour), ("1", Std::NumMonth)],
        b'2' => &[("2006", Std::LongYear), ("2", Std::Day)],
        b'_' => {
            if rest.starts_with("_2006") {
                return Some((Std::LongYear, 4, 1));
            }
            &[("__2", Std::UnderYearDay), ("_2", Std::UnderDay)]
        }
        b'3' => &[("3", Std::Hour12)],
        b'4' => &[("4", Std::Minute)],
        b'5' => &[("5", Std::Second)],
        b'P' => &[("PM", Std::UpperPm)],
        b'p' => &[("pm", Std::LowerPm)],
        b'-' | b'Z' => {
            let (text, form) = ZONES.iter().find(|(text, _)| rest.starts_with(text))?;
            return Some((Std::Zone(*form), text.len(), 0));
        }
        b'.' | b',' => return fraction(byte, rest),
        _ => return None,
    };
    let (text, std) = table.iter().find(|(text, _)| rest.starts_with(text))?;
    // `Jane` and `Monet` are words.
    let short_name = matches!(std, Std::Month | Std::Weekday);
    let after = rest.as_bytes().get(text.len());
    if short_name && after.is_some_and(u8::is_ascii_lowercase) {
        return None;
    }
    Some((*std, text.len(), 0))
}

fn fraction(mark: u8, rest: &str) -> Option<(Std, usize, usize)> {
    let bytes = rest.as_bytes();
    let digit = *bytes.get(1).filter(|byte| matches!(byte, b'0' | b'9'))?;
    let digits = bytes
        .iter()
        .skip(1)
        .take_while(|byte| **byte == digit)
        .count();
    if bytes.get(1 + digits).is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let comma = mark == b',';
    let std = if digit == b'0' {
        Std::Fraction0 { digits, comma }
    } else {
        Std::Fraction9 { digits, comma }
    };
    Some((std, 1 + digits, 0))
}
