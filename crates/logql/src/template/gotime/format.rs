//! Printing a time by a layout.

use std::fmt::Write as _;

use super::GoTime;
use super::layout::{Std, ZoneForm, month_name, next_std, weekday_name};

pub(super) fn format(time: &GoTime, layout: &str) -> String {
    let civil = time.civil();
    let (offset_s, abbreviation) = time.offset();
    let mut out = String::with_capacity(layout.len() + 16);
    let mut rest = layout;
    while let Some((before, std, after)) = next_std(rest) {
        out.push_str(before);
        rest = after;
        let hour12 = match civil.hour % 12 {
            0 => 12,
            hour => hour,
        };
        // Writing to a string does not fail.
        let _ = match std {
            Std::LongMonth => write!(out, "{}", month_name(civil.month).unwrap_or_default()),
            Std::Month => write!(out, "{:.3}", month_name(civil.month).unwrap_or_default()),
            Std::NumMonth => write!(out, "{}", civil.month),
            Std::ZeroMonth => write!(out, "{:02}", civil.month),
            Std::LongWeekday => {
                write!(out, "{}", weekday_name(civil.weekday()).unwrap_or_default())
            }
            Std::Weekday => write!(
                out,
                "{:.3}",
                weekday_name(civil.weekday()).unwrap_or_default()
            ),
            Std::Day => write!(out, "{}", civil.day),
            Std::UnderDay => write!(out, "{:2}", civil.day),
            Std::ZeroDay => write!(out, "{:02}", civil.day),
            Std::UnderYearDay => write!(out, "{:3}", civil.year_day()),
            Std::ZeroYearDay => write!(out, "{:03}", civil.year_day()),
            Std::Hour => write!(out, "{:02}", civil.hour),
            Std::Hour12 => write!(out, "{hour12}"),
            Std::ZeroHour12 => write!(out, "{hour12:02}"),
            Std::Minute => write!(out, "{}", civil.minute),
            Std::ZeroMinute => write!(out, "{:02}", civil.minute),
            Std::Second => write!(out, "{}", civil.second),
            Std::ZeroSecond => write!(out, "{:02}", civil.second),
            Std::LongYear => write!(out, "{:04}", civil.year),
            Std::Year => write!(out, "{:02}", civil.year.rem_euclid(100)),
            Std::UpperPm => write!(out, "{}", if civil.hour >= 12 { "PM" } else { "AM" }),
            Std::LowerPm => write!(out, "{}", if civil.hour >= 12 { "pm" } else { "am" }),
            // A zone without an abbreviation shows as its offset.
            Std::ZoneName if abbreviation.is_empty() => {
                let form = ZoneForm {
                    z: false,
                    colon: false,
                    parts: 2,
                };
                zone(&mut out, offset_s, form);
                Ok(())
            }
            Std::ZoneName => write!(out, "{abbreviation}"),
            Std::Zone(form) => {
                zone(&mut out, offset_s, form);
                Ok(())
            }
            Std::Fraction0 { digits, comma } | Std::Fraction9 { digits, comma } => {
                let trims = matches!(std, Std::Fraction9 { .. });
                fraction(&mut out, civil.nanos, digits, comma, trims);
                Ok(())
            }
        };
    }
    out.push_str(rest);
    out
}

fn zone(out: &mut String, offset_s: i32, form: ZoneForm) {
    if form.z && offset_s == 0 {
        out.push('Z');
        return;
    }
    let sign = if offset_s < 0 { '-' } else { '+' };
    let offset_s = offset_s.unsigned_abs();
    let colon = if form.colon { ":" } else { "" };
    let _ = write!(out, "{sign}{:02}", offset_s / 3_600);
    if form.parts >= 2 {
        let _ = write!(out, "{colon}{:02}", offset_s / 60 % 60);
    }
    if form.parts >= 3 {
        let _ = write!(out, "{colon}{:02}", offset_s % 60);
    }
}

fn fraction(out: &mut String, nanos: u32, digits: usize, comma: bool, trims: bool) {
    let text = format!("{nanos:09}");
    let text = if digits > 9 {
        format!("{text}{}", "0".repeat(digits - 9))
    } else {
        text.get(..digits).unwrap_or_default().to_owned()
    };
    let text = if trims {
        text.trim_end_matches('0')
    } else {
        &text
    };
    if !text.is_empty() {
        out.push(if comma { ',' } else { '.' });
        out.push_str(text);
    }
}
