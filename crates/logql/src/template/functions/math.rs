//! Numbers: sprig's arithmetic, which takes anything for a number, and reading units.

use super::Type::{Any, Float, Int, String as Text};
use super::{Called, Env, Function, int, plain, utf8, variadic};
use crate::go_number::{parse_bytes, parse_duration};
use crate::template::cast::{to_float, to_int};
use crate::template::decimal::{self, Decimal};
use crate::template::value::{IntKind, Value};

pub(super) const FUNCTIONS: &[Function] = &[
    plain("int", &[Any], |_, args| Ok(Value::int(int_of(args, 0)))),
    plain("float64", &[Any], |_, args| {
        Ok(Value::Float(float_of(args, 0)))
    }),
    variadic("add", &[], Any, |_, args| {
        Ok(int64(args.iter().map(to_int).fold(0, i64::wrapping_add)))
    }),
    plain("sub", &[Any, Any], |_, args| {
        Ok(int64(int_of(args, 0).wrapping_sub(int_of(args, 1))))
    }),
    variadic("mul", &[Any], Any, |_, args| {
        Ok(int64(args.iter().map(to_int).fold(1, i64::wrapping_mul)))
    }),
    plain("div", &[Any, Any], |_, args| {
        divided(args, i64::wrapping_div)
    }),
    plain("mod", &[Any, Any], |_, args| {
        divided(args, i64::wrapping_rem)
    }),
    variadic("max", &[Any], Any, |_, args| {
        Ok(int64(args.iter().map(to_int).max().unwrap_or(0)))
    }),
    variadic("min", &[Any], Any, |_, args| {
        Ok(int64(args.iter().map(to_int).min().unwrap_or(0)))
    }),
    variadic("addf", &[], Any, |_, args| {
        let zero = Value::Float(0.0);
        let all: Vec<_> = std::iter::once(zero).chain(args.iter().cloned()).collect();
        decimals(&all, Decimal::plus)
    }),
    variadic("subf", &[Any], Any, |_, args| {
        decimals(args, Decimal::minus)
    }),
    variadic("mulf", &[Any], Any, |_, args| {
        decimals(args, Decimal::times)
    }),
    variadic("divf", &[Any], Any, |_, args| decimals(args, Decimal::over)),
    variadic("maxf", &[Any], Any, |_, args| {
        Ok(extreme(args, |a, b| a > b))
    }),
    variadic("minf", &[Any], Any, |_, args| {
        Ok(extreme(args, |a, b| a < b))
    }),
    plain("ceil", &[Any], |_, args| {
        Ok(Value::Float(float_of(args, 0).ceil()))
    }),
    plain("floor", &[Any], |_, args| {
        Ok(Value::Float(float_of(args, 0).floor()))
    }),
    variadic("round", &[Any, Int], Float, round),
    plain("bytes", &[Text], bytes),
    plain("duration", &[Text], duration_seconds),
    plain("duration_seconds", &[Text], duration_seconds),
];

fn int64<'a>(value: i64) -> Value<'a> {
    Value::Int(value, IntKind::Int64)
}

fn int_of(args: &[Value<'_>], i: usize) -> i64 {
    args.get(i).map_or(0, to_int)
}

fn float_of(args: &[Value<'_>], i: usize) -> f64 {
    args.get(i).map_or(0.0, to_float)
}

fn divided<'a>(args: &[Value<'a>], operation: fn(i64, i64) -> i64) -> Called<'a> {
    match int_of(args, 1) {
        0 => Err("runtime error: integer divide by zero".to_owned()),
        divisor => Ok(int64(operation(int_of(args, 0), divisor))),
    }
}

/// A chain of exact decimal operations, rounded to a float at the end.
fn decimals<'a>(
    args: &[Value<'a>],
    operation: fn(Decimal, Decimal) -> Result<Decimal, decimal::DecimalError>,
) -> Called<'a> {
    let mut result = None;
    for arg in args {
        let number = Decimal::new(to_float(arg)).map_err(|error| error.to_string())?;
        result = Some(match result {
            None => number,
            Some(left) => operation(left, number).map_err(|error| error.to_string())?,
        });
    }
    Ok(Value::Float(result.map_or(0.0, Decimal::to_f64)))
}

/// The greatest or least; NaN if any is.
fn extreme<'a>(args: &[Value<'a>], better: fn(f64, f64) -> bool) -> Value<'a> {
    let floats = args.iter().map(to_float);
    let best = floats.reduce(|a, b| {
        if a.is_nan() || b.is_nan() {
            f64::NAN
        } else if better(b, a) {
            b
        } else {
            a
        }
    });
    Value::Float(best.unwrap_or(0.0))
}

fn round<'a>(_: &Env<'a>, args: &[Value<'a>]) -> Called<'a> {
    let round_on = match args.get(2) {
        Some(Value::Float(value)) => *value,
        _ => 0.5,
    };
    let scale = 10_f64.powf(int(args, 1) as f64);
    let scaled = scale * float_of(args, 0);
    // Half away from zero only because `floor` of a negative number is.
    let rounded = if scaled.fract() >= round_on {
        scaled.ceil()
    } else {
        scaled.floor()
    };
    Ok(Value::Float(rounded / scale))
}

/// A size such as `1.5 MiB` in bytes.
fn bytes<'a>(_: &Env<'a>, args: &[Value<'a>]) -> Called<'a> {
    let bytes = parse_bytes(&utf8(args, 0)).map_err(|fault| fault.to_string())?;
    Ok(Value::Float(bytes as f64))
}

fn duration_seconds<'a>(_: &Env<'a>, args: &[Value<'a>]) -> Called<'a> {
    let ns = parse_duration(&utf8(args, 0)).map_err(|fault| fault.to_string())?;
    let (seconds, rest) = (ns / 1_000_000_000, ns % 1_000_000_000);
    Ok(Value::Float(seconds as f64 + rest as f64 / 1e9))
}
