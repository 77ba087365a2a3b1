//! Decimal arithmetic as sprig's `addf`, `subf`, `mulf` and `divf` do it: exact on the digits that
//! a float prints with, division to 16 places.

use std::fmt;

/// Places after the point that a division keeps.
const DIVISION_PLACES: i32 = 16;

/// A number that has no decimal form, or a division by zero.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum DecimalError {
    NotFinite(f64),
    DivisionByZero,
}

impl fmt::Display for DecimalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFinite(value) => {
                let name = super::gofmt::format_float(*value, b'g', None);
                write!(f, "Cannot create a Decimal from {name}")
            }
            Self::DivisionByZero => f.write_str("decimal division by 0"),
        }
    }
}

/// `digits * 10^exponent`, or a float where the digits do not fit.
#[derive(Clone, Copy, Debug)]
pub(super) enum Decimal {
    Exact { digits: i128, exponent: i32 },
    Float(f64),
}

type Result = std::result::Result<Decimal, DecimalError>;

impl Decimal {
    pub(super) fn new(value: f64) -> Result {
        if !value.is_finite() {
            return Err(DecimalError::NotFinite(value));
        }
        let text = format!("{value:e}");
        let parsed = || {
            let (mantissa, exponent) = text.split_once('e')?;
            let places = mantissa
                .split_once('.')
                .map_or(0, |(_, places)| places.len());
            let digits = mantissa.replace('.', "").parse().ok()?;
            let exponent = exponent.parse::<i32>().ok()? - i32::try_from(places).ok()?;
            Some(Self::Exact { digits, exponent })
        };
        Ok(parsed().unwrap_or(Self::Float(value)))
    }

    pub(super) fn to_f64(self) -> f64 {
        match self {
            Self::Float(value) => value,
            Self::Exact { digits, exponent } => {
                format!("{digits}e{exponent}").parse().unwrap_or(0.0)
            }
        }
    }

    /// Both with the same exponent, if that fits.
    fn aligned(self, other: Self) -> Option<(i128, i128, i32)> {
        let (
            Self::Exact {
                digits: a,
                exponent: a_exponent,
            },
            Self::Exact {
                digits: b,
                exponent: b_exponent,
            },
        ) = (self, other)
        else {
            return None;
        };
        let exponent = a_exponent.min(b_exponent);
        Some((
            a.checked_mul(power_of_ten(a_exponent - exponent)?)?,
            b.checked_mul(power_of_ten(b_exponent - exponent)?)?,
            exponent,
        ))
    }

    pub(super) fn plus(self, other: Self) -> Result {
        let exact = self
            .aligned(other)
            .and_then(|(a, b, exponent)| Some((a.checked_add(b)?, exponent)));
        Ok(exact.map_or_else(
            || Self::Float(self.to_f64() + other.to_f64()),
            |(digits, exponent)| Self::Exact { digits, exponent },
        ))
    }

    pub(super) fn minus(self, other: Self) -> Result {
        let exact = self
            .aligned(other)
            .and_then(|(a, b, exponent)| Some((a.checked_sub(b)?, exponent)));
        Ok(exact.map_or_else(
            || Self::Float(self.to_f64() - other.to_f64()),
            |(digits, exponent)| Self::Exact { digits, exponent },
        ))
    }

    pub(super) fn times(self, other: Self) -> Result {
        if let (
            Self::Exact {
                digits: a,
                exponent: a_exponent,
            },
            Self::Exact {
                digits: b,
                exponent: b_exponent,
            },
        ) = (self, other)
            && let Some(digits) = a.checked_mul(b)
        {
            let exponent = a_exponent + b_exponent;
            return Ok(Self::Exact { digits, exponent });
        }
        Ok(Self::Float(self.to_f64() * other.to_f64()))
    }

    pub(super) fn over(self, other: Self) -> Result {
        if other.to_f64() == 0.0 {
            return Err(DecimalError::DivisionByZero);
        }
        let exact = || {
            let (
                Self::Exact {
                    digits: a,
                    exponent: a_exponent,
                },
                Self::Exact {
                    digits: b,
                    exponent: b_exponent,
                },
            ) = (self, other)
            else {
                return None;
            };
            // a / b in units of 10^-16, rounded half away from zero.
            let shift = a_exponent - b_exponent + DIVISION_PLACES;
            let (a, b) = if shift >= 0 {
                (a.checked_mul(power_of_ten(shift)?)?, b)
            } else {
                (a, b.checked_mul(power_of_ten(-shift)?)?)
            };
            let (quotient, rest) = (a.checked_div(b)?, a.checked_rem(b)?);
            let up = rest.unsigned_abs().checked_mul(2)? >= b.unsigned_abs();
            let sign = if (a < 0) == (b < 0) { 1 } else { -1 };
            Some(quotient + if up { sign } else { 0 })
        };
        Ok(match exact() {
            Some(digits) => Self::Exact {
                digits,
                exponent: -DIVISION_PLACES,
            },
            // So small that 16 places show nothing, or too many digits.
            None => {
                let quotient = self.to_f64() / other.to_f64();
                Self::Float(if quotient.abs() < 5e-17 {
                    0.0
                } else {
                    quotient
                })
            }
        })
    }
}

fn power_of_ten(exponent: i32) -> Option<i128> {
    10_i128.checked_pow(u32::try_from(exponent).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_exact_and_quotients_have_16_places() {
        let d = |value: f64| Decimal::new(value).unwrap();
        assert_eq!(d(0.1).plus(d(0.2)).unwrap().to_f64(), 0.3);
        assert_eq!(d(1.1).times(d(1.1)).unwrap().to_f64(), 1.21);
        assert_eq!(
            d(1.0).over(d(3.0)).unwrap().to_f64(),
            0.333_333_333_333_333_3
        );
        assert_eq!(d(236.0).over(d(1e308)).unwrap().to_f64(), 0.0);
        assert_eq!(d(1e300).plus(d(1.0)).unwrap().to_f64(), 1e300);
        assert_eq!(
            Decimal::new(f64::NEG_INFINITY).unwrap_err().to_string(),
            "Cannot create a Decimal from -Inf"
        );
    }
}
