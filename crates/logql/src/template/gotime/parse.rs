//! Reading a time by a layout, as Go's `time.ParseInLocation` does.

use model::units::quote;

use super::civil::{self, Civil};
use super::layout::{MONTHS, Std, WEEKDAYS, ZoneForm, next_std};
use super::{GoTime, Zone};

/// Text that is not a time of its layout.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// The text has another form than the layout.
    #[error(
        "parsing time {} as {}: cannot parse {} as {}",
        quote(value),
        quote(layout),
        quote(rest),
        quote(element)
    )]
    Form {
        /// The text.
        value: String,
        /// The layout.
        layout: String,
        /// The text from where they part.
        rest: String,
        /// The element of the layout there.
        element: String,
    },
    /// More text than the layout has elements.
    #[error("parsing time {}: extra text: {}", quote(value), quote(rest))]
    Extra {
        /// The text.
        value: String,
        /// What is too much.
        rest: String,
    },
    /// A field has a value that does not exist, such as the 30th of February.
    #[error("parsing time {}: {field} out of range", quote(value))]
    Range {
        /// The text.
        value: String,
        /// The field.
        field: &'static str,
    },
}

/// Why an element was not read.
enum Fault {
    Form,
    Range(&'static str),
}

/// Parses `value` by `layout`. A time without a zone of its own is in `zone`.
///
/// # Errors
/// If the text has another form, or names a time that does not exist.
pub fn parse_in(layout: &str, value: &str, zone: &Zone) -> Result<GoTime, TimeError> {
    let mut fields = Fields::default();
    let (mut layout_rest, mut rest) = (layout, value);
    loop {
        let (before, std, after) = match next_std(layout_rest) {
            Some((before, std, after)) => (before, Some(std), after),
            None => (layout_rest, None, ""),
        };
        let form = |rest: &str, element: &str| TimeError::Form {
            value: value.to_owned(),
            layout: layout.to_owned(),
            rest: rest.to_owned(),
            element: element.to_owned(),
        };
        rest = skip(rest, before).ok_or_else(|| form(rest, before))?;
        let Some(std) = std else {
            if rest.is_empty() {
                break;
            }
            return Err(TimeError::Extra {
                value: value.to_owned(),
                rest: rest.to_owned(),
            });
        };
        let held = rest;
        let element = layout_rest
            .get(before.len()..layout_rest.len() - after.len())
            .unwrap_or_default();
        fields
            .read(std, &mut rest, after)
            .map_err(|fault| match fault {
                Fault::Form => form(held, element),
                Fault::Range(field) => TimeError::Range {
                    value: value.to_owned(),
                    field,
                },
            })?;
        layout_rest = after;
    }
    fields.into_time(zone).map_err(|field| TimeError::Range {
        value: value.to_owned(),
        field,
    })
}

/// Passes over the plain text of a layout; a run of spaces matches a run of spaces.
fn skip<'a>(mut value: &'a str, prefix: &str) -> Option<&'a str> {
    let mut prefix = prefix;
    while let Some(c) = prefix.chars().next() {
        if c == ' ' {
            if !value.is_empty() && !value.starts_with(' ') {
                return None;
            }
            prefix = prefix.trim_start_matches(' ');
            value = value.trim_start_matches(' ');
        } else {
            value = value.strip_prefix(c)?;
            prefix = prefix.get(c.len_utf8()..)?;
        }
    }
    Some(value)
}

#[derive(Default)]
struct Fields {
    year: i64,
    month: Option<i64>,
    day: Option<i64>,
    year_day: Option<i64>,
    hour: i64,
    minute: i64,
    second: i64,
    nanos: u32,
    pm: Option<bool>,
    utc: bool,
    offset_s: Option<i32>,
    zone_name: Option<String>,
}

fn digit(text: &str, at: usize) -> bool {
    text.as_bytes().get(at).is_some_and(u8::is_ascii_digit)
}

/// One or two digits; exactly two if `fixed`.
fn number(rest: &mut &str, fixed: bool) -> Result<i64, Fault> {
    if !digit(rest, 0) || (fixed && !digit(rest, 1)) {
        return Err(Fault::Form);
    }
    take_int(rest, if digit(rest, 1) { 2 } else { 1 })
}

/// One to three digits; exactly three if `fixed`.
fn number3(rest: &mut &str, fixed: bool) -> Result<i64, Fault> {
    let len = (0..3).take_while(|at| digit(rest, *at)).count();
    if len == 0 || (fixed && len != 3) {
        return Err(Fault::Form);
    }
    take_int(rest, len)
}

fn take<'a>(rest: &mut &'a str, len: usize) -> Result<&'a str, Fault> {
    let (head, tail) = rest.split_at_checked(len).ok_or(Fault::Form)?;
    *rest = tail;
    Ok(head)
}

fn take_int(rest: &mut &str, len: usize) -> Result<i64, Fault> {
    let text = take(rest, len)?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Fault::Form);
    }
    text.parse().map_err(|_| Fault::Form)
}

fn within(
    value: i64,
    range: std::ops::RangeInclusive<i64>,
    field: &'static str,
) -> Result<i64, Fault> {
    if range.contains(&value) {
        Ok(value)
    } else {
        Err(Fault::Range(field))
    }
}

/// A name of the table, or its first `len` letters; case is ignored.
fn name(rest: &mut &str, table: &[&str], len: Option<usize>) -> Result<i64, Fault> {
    for (at, name) in table.iter().enumerate() {
        let name = len.and_then(|len| name.get(..len)).unwrap_or(name);
        let head = rest.get(..name.len());
        if head.is_some_and(|head| head.eq_ignore_ascii_case(name)) {
            take(rest, name.len())?;
            return Ok(at as i64);
        }
    }
    Err(Fault::Form)
}

impl Fields {
    fn read(&mut self, std: Std, rest: &mut &str, after: &str) -> Result<(), Fault> {
        match std {
            Std::Year => {
                let year = take_int(rest, 2)?;
                self.year = if year >= 69 { year + 1900 } else { year + 2000 };
            }
            Std::LongYear => self.year = take_int(rest, 4)?,
            Std::Month => self.month = Some(name(rest, &MONTHS, Some(3))? + 1),
            Std::LongMonth => self.month = Some(name(rest, &MONTHS, None)? + 1),
            Std::NumMonth | Std::ZeroMonth => {
                let month = number(rest, std == Std::ZeroMonth)?;
                self.month = Some(within(month, 1..=12, "month")?);
            }
            // The day of the week is read and not checked.
            Std::Weekday => drop(name(rest, &WEEKDAYS, Some(3))?),
            Std::LongWeekday => drop(name(rest, &WEEKDAYS, None)?),
            Std::Day | Std::UnderDay | Std::ZeroDay => {
                if std == Std::UnderDay {
                    *rest = rest.strip_prefix(' ').unwrap_or(rest);
                }
                self.day = Some(number(rest, std == Std::ZeroDay)?);
            }
            Std::UnderYearDay | Std::ZeroYearDay => {
                if std == Std::UnderYearDay {
                    for _ in 0..2 {
                        *rest = rest.strip_prefix(' ').unwrap_or(rest);
                    }
                }
                self.year_day = Some(number3(rest, std == Std::ZeroYearDay)?);
            }
            Std::Hour => self.hour = within(number(rest, false)?, 0..=23, "hour")?,
            Std::Hour12 | Std::ZeroHour12 => {
                self.hour = within(number(rest, std == Std::ZeroHour12)?, 0..=12, "hour")?;
            }
            Std::Minute | Std::ZeroMinute => {
                self.minute = within(number(rest, std == Std::ZeroMinute)?, 0..=59, "minute")?;
            }
            Std::Second | Std::ZeroSecond => {
                self.second = within(number(rest, std == Std::ZeroSecond)?, 0..=59, "second")?;
                self.unasked_fraction(rest, after)?;
            }
            Std::UpperPm | Std::LowerPm => {
                let (am, pm) = if std == Std::UpperPm {
                    ("AM", "PM")
                } else {
                    ("am", "pm")
                };
                let text = take(rest, 2)?;
                self.pm = Some(text == pm);
                if text != pm && text != am {
                    return Err(Fault::Form);
                }
            }
            Std::Zone(form) => self.zone(rest, form)?,
            Std::ZoneName => self.zone_name(rest)?,
            Std::Fraction0 { digits, .. } => {
                let text = take(rest, 1 + digits)?;
                self.fraction(text)?;
            }
            Std::Fraction9 { .. } => {
                if rest.starts_with(['.', ',']) && digit(rest, 1) {
                    let len = 1 + (1..).take_while(|at| digit(rest, *at)).count();
                    let text = take(rest, len)?;
                    self.fraction(text)?;
                }
            }
        }
        Ok(())
    }

    /// A fraction after the seconds is read even if the layout does not have one.
    fn unasked_fraction(&mut self, rest: &mut &str, after: &str) -> Result<(), Fault> {
        let asked = matches!(
            next_std(after),
            Some(("", Std::Fraction0 { .. } | Std::Fraction9 { .. }, _))
        );
        if !asked && rest.starts_with(['.', ',']) && digit(rest, 1) {
            let len = 1 + (1..).take_while(|at| digit(rest, *at)).count();
            let text = take(rest, len)?;
            self.fraction(text)?;
        }
        Ok(())
    }

    fn fraction(&mut self, text: &str) -> Result<(), Fault> {
        let digits = text.strip_prefix(['.', ',']).ok_or(Fault::Form)?;
        let digits = digits.get(..digits.len().min(9)).unwrap_or(digits);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Fault::Form);
        }
        let value: u32 = digits.parse().map_err(|_| Fault::Form)?;
        self.nanos = value * 10_u32.pow(9 - digits.len() as u32);
        Ok(())
    }

    fn zone(&mut self, rest: &mut &str, form: ZoneForm) -> Result<(), Fault> {
        if form.z && rest.starts_with('Z') {
            take(rest, 1)?;
            self.utc = true;
            return Ok(());
        }
        let sign = match take(rest, 1)? {
            "+" => 1,
            "-" => -1,
            _ => return Err(Fault::Form),
        };
        let hours = within(take_int(rest, 2)?, 0..=24, "time zone offset hour")?;
        let mut offset_s = hours * 3_600;
        let units = [
            (60, "time zone offset minute"),
            (1, "time zone offset second"),
        ];
        for (unit, field) in units.into_iter().take(usize::from(form.parts) - 1) {
            if form.colon && take(rest, 1)? != ":" {
                return Err(Fault::Form);
            }
            offset_s += within(take_int(rest, 2)?, 0..=60, field)? * unit;
        }
        self.offset_s = Some(sign * offset_s as i32);
        Ok(())
    }

    fn zone_name(&mut self, rest: &mut &str) -> Result<(), Fault> {
        if rest.starts_with("UTC") {
            take(rest, 3)?;
            self.utc = true;
            return Ok(());
        }
        let len = zone_name_len(rest).ok_or(Fault::Form)?;
        self.zone_name = Some(take(rest, len)?.to_owned());
        Ok(())
    }

    fn into_time(mut self, zone: &Zone) -> Result<GoTime, &'static str> {
        match self.pm {
            Some(true) if self.hour < 12 => self.hour += 12,
            Some(false) if self.hour == 12 => self.hour = 0,
            _ => {}
        }
        if let Some(year_day) = self.year_day {
            self.take_year_day(year_day)?;
        }
        let (month, day) = (self.month.unwrap_or(1), self.day.unwrap_or(1));
        if day < 1 || day > civil::days_in(self.year, month) {
            return Err("day");
        }
        let civil = Civil {
            year: self.year,
            month,
            day,
            hour: self.hour,
            minute: self.minute,
            second: self.second,
            nanos: self.nanos,
        };
        if self.utc {
            return Ok(GoTime::from_civil(&civil, Zone::Utc));
        }
        if let Some(offset_s) = self.offset_s {
            let name = self.zone_name.unwrap_or_default();
            let fixed = Zone::Fixed {
                offset_s,
                name: name.as_str().into(),
            };
            let time = GoTime::from_civil(&civil, fixed);
            // A zone that has this offset at this time is the one that is meant.
            let (local_s, local_name) = zone.at(time.unix_s());
            if local_s == offset_s && (name.is_empty() || name == local_name) {
                return Ok(time.in_zone(zone.clone()));
            }
            return Ok(time);
        }
        if let Some(name) = self.zone_name {
            let time = GoTime::from_civil(&civil, zone.clone());
            if time.offset().1 == name {
                return Ok(time);
            }
            let hours = name
                .strip_prefix("GMT")
                .and_then(|hours| hours.parse::<i32>().ok());
            let fixed = Zone::Fixed {
                offset_s: hours.unwrap_or(0).saturating_mul(3_600),
                name: name.as_str().into(),
            };
            return Ok(GoTime::from_civil(&civil, fixed));
        }
        Ok(GoTime::from_civil(&civil, zone.clone()))
    }

    fn take_year_day(&mut self, year_day: i64) -> Result<(), &'static str> {
        let days = if civil::is_leap(self.year) { 366 } else { 365 };
        if year_day < 1 || year_day > days {
            return Err("day-of-year");
        }
        let first = Civil {
            year: self.year,
            month: 1,
            day: year_day,
            ..Civil::default()
        };
        let date = Civil::from_seconds(first.seconds(), 0);
        let disagree = |field: Option<i64>, value| field.is_some_and(|field| field != value);
        if disagree(self.month, date.month) || disagree(self.day, date.day) {
            return Err("day-of-year does not match month");
        }
        (self.month, self.day) = (Some(date.month), Some(date.day));
        Ok(())
    }
}

/// The length of a zone abbreviation at the start of `text`: three letters, four ending in `T`,
/// five ending in `ST`, or an offset such as `+03` or `GMT+3`.
fn zone_name_len(text: &str) -> Option<usize> {
    if text.starts_with("ChST") || text.starts_with("MeST") {
        return Some(4);
    }
    if text.starts_with("GMT") {
        return Some(3 + signed_offset_len(text.get(3..)?).unwrap_or(0));
    }
    if text.starts_with(['+', '-']) {
        return signed_offset_len(text);
    }
    let upper = text
        .bytes()
        .take(6)
        .take_while(u8::is_ascii_uppercase)
        .count();
    let byte = |at: usize| text.as_bytes().get(at).copied();
    match upper {
        3 => Some(3),
        4 if byte(3) == Some(b'T') || text.starts_with("WITA") => Some(4),
        5 if byte(4) == Some(b'T') => Some(5),
        _ => None,
    }
}

fn signed_offset_len(text: &str) -> Option<usize> {
    let digits = text.strip_prefix(['+', '-'])?;
    let len = digits.bytes().take_while(u8::is_ascii_digit).count();
    let value: i64 = digits.get(..len)?.parse().ok()?;
    (value <= 23).then_some(len + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reparsed(layout: &str, value: &str, zone: &str) -> String {
        match parse_in(layout, value, &Zone::load(zone).unwrap()) {
            Ok(time) => time.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn layouts() {
        for (layout, value, shown) in [
            ("2006-01-02", "2026-01-15", "2026-01-15 00:00:00 +0000 UTC"),
            (
                "2006-01-02T15:04:05.999999999Z07:00",
                "2026-01-15T00:39:57.374+01:00",
                "2026-01-15 00:39:57.374 +0100 +0100",
            ),
            (
                "2006-01-02T15:04:05Z07:00",
                "2026-01-15T00:39:57.5Z",
                "2026-01-15 00:39:57.5 +0000 UTC",
            ),
            (
                "Mon, 02 Jan 2006 15:04:05 MST",
                "Thu, 15 Jan 2026 01:02:03 CET",
                "2026-01-15 01:02:03 +0000 CET",
            ),
            (
                "Jan _2 03:04:05 pm 2006",
                "Feb  3 11:04:05 pm 2026",
                "2026-02-03 23:04:05 +0000 UTC",
            ),
            ("2006 002", "2024 060", "2024-02-29 00:00:00 +0000 UTC"),
            (
                "06-1-2 15:04:05,000",
                "26-1-5 1:02:03,250",
                "2026-01-05 01:02:03.25 +0000 UTC",
            ),
            (
                "2006-01-02",
                "2026-02-30",
                r#"parsing time "2026-02-30": day out of range"#,
            ),
            (
                "15:04",
                "bad",
                r#"parsing time "bad" as "15:04": cannot parse "bad" as "15""#,
            ),
        ] {
            assert_eq!(reparsed(layout, value, "UTC"), shown, "{layout}");
        }
    }

    #[test]
    fn zones_of_the_database() {
        assert_eq!(
            reparsed("2006-01-02", "2026-01-15", "Europe/Berlin"),
            "2026-01-15 00:00:00 +0100 CET"
        );
        assert_eq!(
            reparsed("2006-01-02 15:04", "2026-07-15 12:00", "America/New_York"),
            "2026-07-15 12:00:00 -0400 EDT"
        );
        assert!(Zone::load("Nowhere/None").is_none());
    }

    proptest! {
        #[test]
        fn any_text_is_an_error_or_a_time(layout in ".{0,40}", value in ".{0,40}") {
            let _ = parse_in(&layout, &value, &Zone::Utc);
        }

        #[test]
        fn what_is_printed_is_read(ns in any::<i64>()) {
            let layout = "Monday 2006-01-02 15:04:05.000000000 -0700";
            let time = GoTime::from_unix_ns(ns);
            let back = parse_in(layout, &time.format(layout), &Zone::Utc).unwrap();
            prop_assert_eq!(back.unix_ns(), ns);
        }
    }
}
