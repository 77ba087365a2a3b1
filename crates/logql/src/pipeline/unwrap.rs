//! `| unwrap bytes(x)`: label values as samples.

use crate::go_number::{NumberFault, parse_bytes, parse_duration, parse_float};
use crate::syntax::ast::Conversion;

/// Reads a value; durations are in seconds.
pub(super) fn value(text: &str, conversion: Option<Conversion>) -> Result<f64, NumberFault> {
    match conversion {
        None => parse_float(text),
        Some(Conversion::Bytes) => Ok(parse_bytes(text)? as f64),
        Some(Conversion::Duration | Conversion::DurationSeconds) => {
            // Whole seconds and the rest apart, as the reference does: it rounds differently.
            let ns = parse_duration(text)?;
            Ok((ns / 1_000_000_000) as f64 + (ns % 1_000_000_000) as f64 / 1e9)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_asked() {
        let of = |text, conversion| value(text, conversion).map_err(|fault| fault.to_string());
        assert_eq!(of("1.5e3", None), Ok(1500.0));
        assert_eq!(of("1KB", Some(Conversion::Bytes)), Ok(1000.0));
        assert_eq!(of("1m30.5s", Some(Conversion::Duration)), Ok(90.5));
        assert_eq!(of("-2ms", Some(Conversion::DurationSeconds)), Ok(-0.002));
        assert_eq!(
            of("5s", None),
            Err(r#"strconv.ParseFloat: parsing "5s": invalid syntax"#.to_owned())
        );
        assert_eq!(
            of("5", Some(Conversion::Duration)),
            Err(r#"time: missing unit in duration "5""#.to_owned())
        );
    }
}
