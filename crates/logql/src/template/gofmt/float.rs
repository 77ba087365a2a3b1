//! `strconv.FormatFloat` for 64 bits.

/// No float has more places after the point that are not zero; the standard library pads with no
/// more than 65,535.
const PLACES_MAX: usize = 1_100;

/// Formats with verb `e E f g G` and a precision; without one as few digits as identify the value.
pub(in super::super) fn format_float(value: f64, verb: u8, precision: Option<usize>) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    match verb {
        b'e' | b'E' => exponent(value, verb, precision),
        b'f' | b'F' => match precision {
            Some(precision) => {
                let exact = precision.min(PLACES_MAX);
                format!("{value:.exact$}{}", "0".repeat(precision - exact))
            }
            None => format!("{value}"),
        },
        _ => general(value, verb, precision),
    }
}

/// `d.ddde±dd`
fn exponent(value: f64, verb: u8, precision: Option<usize>) -> String {
    let exact = precision.map(|precision| precision.min(PLACES_MAX));
    let text = match exact {
        Some(exact) => format!("{value:.exact$e}"),
        None => format!("{value:e}"),
    };
    let zeros = "0".repeat(precision.unwrap_or(0) - exact.unwrap_or(0));
    let (mantissa, power) = text.split_once('e').unwrap_or((&text, "0"));
    let power: i32 = power.parse().unwrap_or(0);
    let sign = if power < 0 { '-' } else { '+' };
    let letter = char::from(verb);
    format!("{mantissa}{zeros}{letter}{sign}{:02}", power.unsigned_abs())
}

/// `%e` for small and large exponents, else `%f`, without trailing zeros.
fn general(value: f64, verb: u8, precision: Option<usize>) -> String {
    let letter = if verb == b'G' { b'E' } else { b'e' };
    // At least one significant digit.
    let precision = precision.map(|precision| precision.max(1));
    let scientific = exponent(value, letter, precision.map(|precision| precision - 1));
    let (mantissa, power) = scientific
        .split_once(char::from(letter))
        .unwrap_or((&scientific, "+00"));
    let mantissa = trim_zeros(mantissa);
    let exponent: i64 = power.parse().unwrap_or(0);
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count() as i64;
    let threshold = match precision.map(|precision| precision as i64) {
        None => 6,
        Some(precision) if precision > digits && digits > exponent => digits,
        Some(precision) => precision,
    };
    if exponent < -4 || exponent >= threshold {
        return format!("{mantissa}{}{power}", char::from(letter));
    }
    let decimals = usize::try_from(digits - exponent - 1).unwrap_or(0);
    if precision.is_none() {
        format!("{value}")
    } else {
        format!("{value:.decimals$}")
    }
}

fn trim_zeros(text: &str) -> &str {
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::format_float;

    #[test]
    fn as_go_prints_them() {
        for (value, verb, precision, text) in [
            (12_345_678.0, b'g', None, "1.2345678e+07"),
            (1e21, b'g', None, "1e+21"),
            (100_000.0, b'g', None, "100000"),
            (0.000_01, b'g', None, "1e-05"),
            (0.0001, b'g', None, "0.0001"),
            (-0.0, b'g', None, "-0"),
            (100.0, b'g', Some(3), "100"),
            (1234.5678, b'g', Some(3), "1.23e+03"),
            (230.0, b'e', Some(6), "2.300000e+02"),
            (230.0, b'f', Some(2), "230.00"),
            (0.5, b'f', None, "0.5"),
            (f64::NEG_INFINITY, b'g', None, "-Inf"),
        ] {
            assert_eq!(format_float(value, verb, precision), text);
        }
    }
}
