//! Times: reading, printing, and the methods of times and durations.

use model::units::quote;

use super::Type::{Any, Duration, Int, String as Text, Time};
use super::{Called, Env, Function, int, plain, text, utf8};
use crate::template::gotime::{Civil, GoTime, Zone, parse_in};
use crate::template::value::{IntKind, Value};

pub(super) const FUNCTIONS: &[Function] = &[
    plain("now", &[], |env, _| Ok(now(env))),
    plain("date", &[Text, Any], date),
    plain("toDate", &[Text, Text], |_, args| {
        Ok(read_time(&utf8(args, 0), &utf8(args, 1), &Zone::Utc))
    }),
    plain("toDateInZone", &[Text, Text, Text], |_, args| {
        let zone = Zone::load(&utf8(args, 1)).unwrap_or(Zone::Utc);
        Ok(read_time(&utf8(args, 0), &utf8(args, 2), &zone))
    }),
    plain("unixToTime", &[Text], unix_to_time),
    plain("unixEpoch", &[Time], |_, args| {
        Ok(digits(time(args, 0).unix_s()))
    }),
    plain("unixEpochMillis", &[Time], |_, args| {
        Ok(digits(unix_ms(args)))
    }),
    plain("unixEpochNanos", &[Time], |_, args| {
        Ok(digits(time(args, 0).unix_ns()))
    }),
];

/// The method of a value; its body finds the receiver before the arguments.
pub(in super::super) fn method(receiver: &Value<'_>, name: &str) -> Option<&'static Function> {
    let table = match receiver {
        Value::Time(_) => TIME_METHODS,
        Value::Int(_, IntKind::Duration) => DURATION_METHODS,
        Value::Int(_, IntKind::Month | IntKind::Weekday) => NAMED_METHODS,
        _ => return None,
    };
    table.iter().find(|method| method.name == name)
}

const TIME_METHODS: &[Function] = &[
    plain("Format", &[Text], |_, args| {
        Ok(Value::string(time(args, 0).format(&utf8(args, 1))))
    }),
    plain("String", &[], |_, args| {
        Ok(Value::string(time(args, 0).to_string()))
    }),
    plain("Year", &[], |_, args| Ok(Value::int(civil(args).year))),
    plain("Month", &[], |_, args| {
        Ok(Value::Int(civil(args).month, IntKind::Month))
    }),
    plain("Day", &[], |_, args| Ok(Value::int(civil(args).day))),
    plain("Hour", &[], |_, args| Ok(Value::int(civil(args).hour))),
    plain("Minute", &[], |_, args| Ok(Value::int(civil(args).minute))),
    plain("Second", &[], |_, args| Ok(Value::int(civil(args).second))),
    plain("Nanosecond", &[], |_, args| {
        Ok(Value::int(i64::from(civil(args).nanos)))
    }),
    plain("YearDay", &[], |_, args| {
        Ok(Value::int(civil(args).year_day()))
    }),
    plain("Weekday", &[], |_, args| {
        Ok(Value::Int(civil(args).weekday(), IntKind::Weekday))
    }),
    plain("Unix", &[], |_, args| Ok(int64(time(args, 0).unix_s()))),
    plain("UnixMilli", &[], |_, args| Ok(int64(unix_ms(args)))),
    plain("UnixMicro", &[], |_, args| {
        let time = time(args, 0);
        let seconds = time.unix_s().wrapping_mul(1_000_000);
        Ok(int64(seconds.wrapping_add(i64::from(time.nanos() / 1_000))))
    }),
    plain("UnixNano", &[], |_, args| {
        Ok(int64(time(args, 0).unix_ns()))
    }),
    plain("IsZero", &[], |_, args| {
        Ok(Value::Bool(time(args, 0).is_zero()))
    }),
    plain("Add", &[Duration], |_, args| {
        Ok(Value::Time(time(args, 0).plus_ns(int(args, 1))))
    }),
    plain("Sub", &[Time], |_, args| {
        Ok(duration(time(args, 0).since_ns(&time(args, 1))))
    }),
    plain("AddDate", &[Int, Int, Int], add_date),
    plain("After", &[Time], |_, args| {
        Ok(Value::Bool(order(args).is_gt()))
    }),
    plain("Before", &[Time], |_, args| {
        Ok(Value::Bool(order(args).is_lt()))
    }),
    plain("Equal", &[Time], |_, args| {
        Ok(Value::Bool(order(args).is_eq()))
    }),
    plain("Compare", &[Time], |_, args| {
        Ok(Value::int(order(args) as i64))
    }),
    plain("UTC", &[], |_, args| {
        Ok(Value::Time(time(args, 0).in_zone(Zone::Utc)))
    }),
    plain("Local", &[], |_, args| {
        Ok(Value::Time(time(args, 0).in_zone(Zone::Utc)))
    }),
    plain("Truncate", &[Duration], |_, args| {
        Ok(Value::Time(to_multiple(args, false)))
    }),
    plain("Round", &[Duration], |_, args| {
        Ok(Value::Time(to_multiple(args, true)))
    }),
];

const DURATION_METHODS: &[Function] = &[
    plain("Hours", &[], |_, args| {
        Ok(in_units(args, 3_600_000_000_000))
    }),
    plain("Minutes", &[], |_, args| Ok(in_units(args, 60_000_000_000))),
    plain("Seconds", &[], |_, args| Ok(in_units(args, 1_000_000_000))),
    plain("Milliseconds", &[], |_, args| {
        Ok(int64(int(args, 0) / 1_000_000))
    }),
    plain("Microseconds", &[], |_, args| {
        Ok(int64(int(args, 0) / 1_000))
    }),
    plain("Nanoseconds", &[], |_, args| Ok(int64(int(args, 0)))),
    plain("Abs", &[], |_, args| {
        Ok(duration(int(args, 0).saturating_abs()))
    }),
    plain("Truncate", &[Duration], |_, args| {
        let (ns, step) = (int(args, 0), int(args, 1));
        Ok(duration(if step > 0 { ns - ns % step } else { ns }))
    }),
    plain("Round", &[Duration], |_, args| {
        Ok(duration(rounded(int(args, 0), int(args, 1))))
    }),
    plain("String", &[], named),
];

/// Of months and days of the week.
const NAMED_METHODS: &[Function] = &[plain("String", &[], named)];

fn int64<'a>(value: i64) -> Value<'a> {
    Value::Int(value, IntKind::Int64)
}

fn duration<'a>(ns: i64) -> Value<'a> {
    Value::Int(ns, IntKind::Duration)
}

fn digits<'a>(value: i64) -> Value<'a> {
    Value::string(value.to_string())
}

/// Argument `i` as a time. The evaluator has checked that it is.
fn time(args: &[Value<'_>], i: usize) -> GoTime {
    match args.get(i) {
        Some(Value::Time(time)) => time.clone(),
        _ => GoTime::zero(),
    }
}

fn civil(args: &[Value<'_>]) -> Civil {
    time(args, 0).civil()
}

fn order(args: &[Value<'_>]) -> std::cmp::Ordering {
    time(args, 0).instant().cmp(&time(args, 1).instant())
}

fn unix_ms(args: &[Value<'_>]) -> i64 {
    let time = time(args, 0);
    let seconds = time.unix_s().wrapping_mul(1_000);
    seconds.wrapping_add(i64::from(time.nanos() / 1_000_000))
}

fn now<'a>(env: &Env<'a>) -> Value<'a> {
    Value::Time(GoTime::from_unix_ns(env.now_ns))
}

/// A time by its layout; what is none is the zero time.
fn read_time<'a>(layout: &str, value: &str, zone: &Zone) -> Value<'a> {
    Value::Time(parse_in(layout, value, zone).unwrap_or_else(|_| GoTime::zero()))
}

/// A time or seconds since the epoch; for anything else now.
pub(super) fn time_or_now(env: &Env<'_>, value: Option<&Value<'_>>) -> GoTime {
    match value {
        Some(Value::Time(time)) => time.clone(),
        Some(Value::Int(unix_s, IntKind::Int | IntKind::Int64)) => GoTime::from_unix(*unix_s, 0),
        _ => GoTime::from_unix_ns(env.now_ns),
    }
}

fn date<'a>(env: &Env<'a>, args: &[Value<'a>]) -> Called<'a> {
    let time = time_or_now(env, args.get(1)).in_zone(Zone::Utc);
    Ok(Value::string(time.format(&utf8(args, 0))))
}

/// The number of digits tells the unit.
fn unix_to_time<'a>(_: &Env<'a>, args: &[Value<'a>]) -> Called<'a> {
    let epoch = utf8(args, 0);
    let fault = |why: &str| format!("unable to parse time '{epoch}': {why}");
    let number: i64 = epoch.parse().map_err(|error: std::num::ParseIntError| {
        use std::num::IntErrorKind::{NegOverflow, PosOverflow};
        let why = match error.kind() {
            PosOverflow | NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        fault(&format!(
            "strconv.ParseInt: parsing {}: {why}",
            quote(&epoch)
        ))
    })?;
    let ns = |unit: i64| GoTime::from_unix_ns(number.wrapping_mul(unit));
    Ok(Value::Time(match text(args, 0).len() {
        5 => GoTime::from_unix(number.wrapping_mul(86_400), 0),
        10 => GoTime::from_unix(number, 0),
        13 => ns(1_000_000),
        16 => ns(1_000),
        19 => ns(1),
        // The reference prints the error that it does not have.
        _ => return Err(fault("%!w(<nil>)")),
    }))
}

/// Years, months and days later; the 31st of a short month is a day of the next.
fn add_date<'a>(_: &Env<'a>, args: &[Value<'a>]) -> Called<'a> {
    let time = time(args, 0);
    let mut civil = time.civil();
    let months = (civil.month - 1).saturating_add(int(args, 2));
    civil.year = civil
        .year
        .saturating_add(int(args, 1))
        .saturating_add(months.div_euclid(12));
    civil.month = months.rem_euclid(12) + 1;
    civil.day = civil.day.saturating_add(int(args, 3));
    let bounded = |value: i64| value.clamp(-1_000_000_000, 1_000_000_000);
    (civil.year, civil.day) = (bounded(civil.year), bounded(civil.day));
    Ok(Value::Time(GoTime::from_civil(&civil, time.zone().clone())))
}

/// The time at a multiple of the second argument since the zero time, before or nearest.
fn to_multiple(args: &[Value<'_>], nearest: bool) -> GoTime {
    let (time, step) = (time(args, 0), int(args, 1));
    if step <= 0 {
        return time;
    }
    let zero = GoTime::zero();
    let since_s = i128::from(time.unix_s()) - i128::from(zero.unix_s());
    let since = since_s * 1_000_000_000 + i128::from(time.nanos());
    // Less than the step, so it fits.
    let over = since.rem_euclid(i128::from(step)) as i64;
    if nearest && over >= step - over {
        time.plus_ns(step - over)
    } else {
        time.plus_ns(-over)
    }
}

/// Whole units and the rest apart, so that large durations keep their fraction.
fn in_units<'a>(args: &[Value<'a>], unit: i64) -> Value<'a> {
    let ns = int(args, 0);
    Value::Float((ns / unit) as f64 + (ns % unit) as f64 / unit as f64)
}

/// The nearest multiple of `step`, half away from zero.
fn rounded(ns: i64, step: i64) -> i64 {
    if step <= 0 {
        return ns;
    }
    let over = (ns % step).abs();
    let down = ns - ns % step;
    if over < step - over {
        down
    } else {
        down.saturating_add(if ns < 0 { -step } else { step })
    }
}

fn named<'a>(_: &Env<'a>, args: &[Value<'a>]) -> Called<'a> {
    let mut name = Vec::new();
    if let Some(receiver) = args.first() {
        crate::template::gofmt::print_value(receiver, &mut name);
    }
    Ok(super::owned(name))
}
