//! Durations, sizes and quoted text, as people write them in configuration, LogQL and URLs.
//!
//! Two families of durations exist and both are accepted: Prometheus' (`1d12h`, whole numbers,
//! units `y w d h m s ms` in falling order, a year has 365 days) and Go's (`1.5h`, `100us`).
//! Sizes exist twice as well, and differ: in configuration `KB` is 1,024 bytes (Loki's flags), in
//! LogQL it is 1,000.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Text that is no duration or size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a duration.
    #[error("not a valid duration string: {}", quote(.0))]
    Duration(String),
    /// Not a size.
    #[error("not a valid size: {}", quote(.0))]
    Size(String),
}

const SECOND_NS: i64 = 1_000_000_000;

/// Parses a Prometheus duration into nanoseconds: `0`, or numbers with units `y w d h m s ms`, each
/// at most once and in falling order.
///
/// # Errors
/// If the text has another form, or more than some 292 years.
pub fn parse_prometheus_duration(text: &str) -> Result<i64, UnitError> {
    const UNITS: [(&str, i64); 7] = [
        ("y", 365 * 86_400 * SECOND_NS),
        ("w", 7 * 86_400 * SECOND_NS),
        ("d", 86_400 * SECOND_NS),
        ("h", 3_600 * SECOND_NS),
        ("m", 60 * SECOND_NS),
        ("s", SECOND_NS),
        ("ms", 1_000_000),
    ];
    if text == "0" {
        return Ok(0);
    }
    let parse = || {
        let (mut rest, mut total_ns, mut next_unit) = (text, 0_i64, 0);
        if text.is_empty() {
            return None;
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit())?;
            let number: i64 = rest.get(..digits)?.parse().ok()?;
            rest = rest.get(digits..)?;
            let unit_len = rest
                .find(|c: char| c.is_ascii_digit())
                .unwrap_or(rest.len());
            let unit = rest.get(..unit_len)?;
            rest = rest.get(unit_len..)?;
            let at = UNITS
                .iter()
                .position(|(name, _)| *name == unit)
                .filter(|at| *at >= next_unit)?;
            next_unit = at + 1;
            total_ns = total_ns.checked_add(number.checked_mul(UNITS.get(at)?.1)?)?;
        }
        Some(total_ns)
    };
    parse().ok_or_else(|| UnitError::Duration(text.to_owned()))
}

/// Parses a Go duration into nanoseconds: an optional sign, then decimal numbers with units
/// `h m s ms us µs ns` in any order.
///
/// # Errors
/// If the text has another form or does not fit.
pub fn parse_go_duration(text: &str) -> Result<i64, UnitError> {
    let parse = || {
        let (negative, mut rest) = match text.as_bytes().first()? {
            b'-' => (true, text.get(1..)?),
            b'+' => (false, text.get(1..)?),
            _ => (false, text),
        };
        if rest == "0" {
            return Some(0);
        }
        if rest.is_empty() {
            return None;
        }
        let mut total_ns = 0_i64;
        while !rest.is_empty() {
            let number_len = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
            let (number, tail) = rest.split_at(number_len);
            let unit_len = tail
                .find(|c: char| c.is_ascii_digit() || c == '.')
                .unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(unit_len);
            rest = tail;
            total_ns = total_ns.checked_add(decimal_times(number, go_unit_ns(unit)?)?)?;
        }
        Some(if negative { -total_ns } else { total_ns })
    };
    parse().ok_or_else(|| UnitError::Duration(text.to_owned()))
}

fn go_unit_ns(unit: &str) -> Option<i64> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => SECOND_NS,
        "m" => 60 * SECOND_NS,
        "h" => 3_600 * SECOND_NS,
        _ => return None,
    })
}

/// `number` (decimal, with or without a fraction) times `unit`, fractions of one cut off.
fn decimal_times(number: &str, unit: i64) -> Option<i64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    if fraction.contains('.') {
        return None;
    }
    let whole: i64 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let fraction = fraction.get(..fraction.len().min(15))?;
    let scaled = if fraction.is_empty() {
        0
    } else {
        let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        i64::try_from(fraction.parse::<i128>().ok()? * i128::from(unit) / scale).ok()?
    };
    whole.checked_mul(unit)?.checked_add(scaled)
}

/// Parses a duration of either family into nanoseconds.
///
/// # Errors
/// If the text is of neither.
pub fn parse_duration(text: &str) -> Result<i64, UnitError> {
    parse_prometheus_duration(text).or_else(|_| parse_go_duration(text))
}

/// Prints nanoseconds as Go's `time.Duration` does: `1h0m0s`, `1.5s`, `100ms`, `0s`.
#[must_use]
pub fn format_go_duration(ns: i64) -> String {
    let (sign, abs) = (if ns < 0 { "-" } else { "" }, ns.unsigned_abs());
    let with_fraction = |unit: u64, name: &str| {
        let (whole, rest) = (abs / unit, abs % unit);
        if rest == 0 {
            return format!("{sign}{whole}{name}");
        }
        let width = unit.ilog10() as usize;
        let digits = format!("{rest:0width$}");
        format!("{sign}{whole}.{}{name}", digits.trim_end_matches('0'))
    };
    match abs {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{abs}ns"),
        1_000..1_000_000 => with_fraction(1_000, "µs"),
        1_000_000..1_000_000_000 => with_fraction(1_000_000, "ms"),
        _ => {
            let seconds = abs / 1_000_000_000;
            let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
            let below = (seconds % 60) * 1_000_000_000 + abs % 1_000_000_000;
            let tail = if below == 0 {
                "0s".to_owned()
            } else if below % 1_000_000_000 == 0 {
                format!("{}s", below / 1_000_000_000)
            } else {
                let digits = format!("{:09}", below % 1_000_000_000);
                format!(
                    "{}.{}s",
                    below / 1_000_000_000,
                    digits.trim_end_matches('0')
                )
            };
            match (hours, minutes) {
                (0, 0) => format!("{sign}{tail}"),
                (0, m) => format!("{sign}{m}m{tail}"),
                (h, m) => format!("{sign}{h}h{m}m{tail}"),
            }
        }
    }
}

/// Prints nanoseconds as Prometheus does: `1d12h`, `5m`, `1500ms` as `1s500ms`, `0s`.
#[must_use]
pub fn format_prometheus_duration(ns: i64) -> String {
    let mut ms = ns / 1_000_000;
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut text = if ms < 0 {
        "-".to_owned()
    } else {
        String::new()
    };
    ms = ms.abs();
    // Years, weeks and days are used only for whole multiples, as in Prometheus.
    let units: [(&str, i64, bool); 7] = [
        ("y", 365 * 86_400_000, true),
        ("w", 7 * 86_400_000, true),
        ("d", 86_400_000, false),
        ("h", 3_600_000, false),
        ("m", 60_000, false),
        ("s", 1_000, false),
        ("ms", 1, false),
    ];
    for (name, unit, exact) in units {
        if exact && ms % unit != 0 {
            continue;
        }
        let number = ms / unit;
        if number > 0 {
            text.push_str(&format!("{number}{name}"));
            ms -= number * unit;
        }
    }
    text
}

/// Parses a size of a configuration: a number with `B KB MB GB TB` (powers of 1,024, as Loki's flags
/// have it), `KiB …` the same, or without a unit bytes.
///
/// # Errors
/// If the text has another form or does not fit.
pub fn parse_config_bytes(text: &str) -> Result<u64, UnitError> {
    let parse = || {
        let text = text.trim();
        let number_len = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(number_len);
        let unit = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kb" | "kib" => 1 << 10,
            "m" | "mb" | "mib" => 1 << 20,
            "g" | "gb" | "gib" => 1 << 30,
            "t" | "tb" | "tib" => 1_i64 << 40,
            _ => return None,
        };
        u64::try_from(decimal_times(number, unit)?).ok()
    };
    parse().ok_or_else(|| UnitError::Size(text.to_owned()))
}

/// Parses a size of LogQL: `5B`, `1kB` and `1KB` (1,000), `1KiB` (1,024) … up to `PiB`, decimals
/// allowed, case ignored, a space between number and unit allowed; without a unit bytes.
///
/// # Errors
/// If the text has another form or does not fit.
pub fn parse_bytes(text: &str) -> Result<u64, UnitError> {
    let parse = || {
        let number_len = text
            .find(|c: char| !c.is_ascii_digit() && c != '.' && c != ',')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(number_len);
        let unit: f64 = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1.0,
            "k" | "kb" => 1e3,
            "m" | "mb" => 1e6,
            "g" | "gb" => 1e9,
            "t" | "tb" => 1e12,
            "p" | "pb" => 1e15,
            "e" | "eb" => 1e18,
            "ki" | "kib" => 1024.0,
            "mi" | "mib" => 1_048_576.0,
            "gi" | "gib" => 1_073_741_824.0,
            "ti" | "tib" => 1_099_511_627_776.0,
            "pi" | "pib" => 1_125_899_906_842_624.0,
            "ei" | "eib" => 1_152_921_504_606_846_976.0,
            _ => return None,
        };
        let bytes = number.replace(',', "").parse::<f64>().ok()? * unit;
        (bytes.is_finite() && bytes < u64::MAX as f64).then_some(bytes as u64)
    };
    parse().ok_or_else(|| UnitError::Size(text.to_owned()))
}

/// Quotes text as Go's `strconv.Quote` does.
#[must_use]
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                quoted.push_str(&format!("\\x{:02x}", c as u32));
            }
            c if (0x80..0xa0).contains(&(c as u32)) || c == '\u{feff}' || c == '\u{ad}' => {
                quoted.push_str(&format!("\\u{:04x}", c as u32));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A span of time in a configuration, written `30s`, `1h30m` or `1.5h`; nanoseconds inside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct DurationNs(pub i64);

impl DurationNs {
    /// Whole seconds.
    #[must_use]
    pub const fn from_secs(seconds: i64) -> Self {
        Self(seconds * SECOND_NS)
    }

    /// Whole milliseconds.
    #[must_use]
    pub const fn from_millis(milliseconds: i64) -> Self {
        Self(milliseconds * 1_000_000)
    }

    /// As the standard library has it; negative spans become zero.
    #[must_use]
    pub fn as_std(self) -> std::time::Duration {
        std::time::Duration::from_nanos(u64::try_from(self.0).unwrap_or(0))
    }
}

impl fmt::Display for DurationNs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 % 1_000_000 == 0 {
            f.write_str(&format_prometheus_duration(self.0))
        } else {
            f.write_str(&format_go_duration(self.0))
        }
    }
}

impl Serialize for DurationNs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DurationNs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = DurationNs;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as 30s, 1h30m or 0")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<DurationNs, E> {
                let (sign, rest) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
                parse_duration(rest)
                    .map(|ns| DurationNs(sign * ns))
                    .map_err(E::custom)
            }
            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<DurationNs, E> {
                if number == 0 {
                    Ok(DurationNs(0))
                } else {
                    Err(E::custom("a duration needs a unit, such as 30s"))
                }
            }
            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<DurationNs, E> {
                if number == 0 {
                    Ok(DurationNs(0))
                } else {
                    Err(E::custom("a duration needs a unit, such as 30s"))
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// A number of bytes in a configuration, written `256KB`, `1.5GB` or as a plain number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// `n` times 1,024 bytes.
    #[must_use]
    pub const fn kib(n: u64) -> Self {
        Self(n << 10)
    }

    /// `n` times 1,048,576 bytes.
    #[must_use]
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// As a length in memory.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.0;
        match n {
            0 => f.write_str("0B"),
            _ if n.is_multiple_of(1 << 40) => write!(f, "{}TB", n >> 40),
            _ if n.is_multiple_of(1 << 30) => write!(f, "{}GB", n >> 30),
            _ if n.is_multiple_of(1 << 20) => write!(f, "{}MB", n >> 20),
            _ if n.is_multiple_of(1 << 10) => write!(f, "{}KB", n >> 10),
            _ => write!(f, "{n}B"),
        }
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = ByteSize;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as 256KB, 1.5GB or a number of bytes")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ByteSize, E> {
                parse_config_bytes(text).map(ByteSize).map_err(E::custom)
            }
            fn visit_u64<E: serde::de::Error>(self, bytes: u64) -> Result<ByteSize, E> {
                Ok(ByteSize(bytes))
            }
            fn visit_i64<E: serde::de::Error>(self, bytes: i64) -> Result<ByteSize, E> {
                u64::try_from(bytes)
                    .map(ByteSize)
                    .map_err(|_| E::custom("a size is not negative"))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prometheus_durations() {
        let hour = 3_600 * SECOND_NS;
        assert_eq!(parse_prometheus_duration("1h30m"), Ok(hour * 3 / 2));
        assert_eq!(parse_prometheus_duration("1y"), Ok(365 * 24 * hour));
        assert_eq!(parse_prometheus_duration("5ms"), Ok(5_000_000));
        for bad in [
            "",
            "1",
            "5",
            "1.5h",
            "30m1h",
            "1h1h",
            "h",
            "-1h",
            "99999999999y",
            "1µs",
        ] {
            assert!(parse_prometheus_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn go_durations_parse_and_print() {
        for (text, ns) in [
            ("1.5h", 5_400 * SECOND_NS),
            ("100us", 100_000),
            ("-2m3s", -123 * SECOND_NS),
            (".5s", SECOND_NS / 2),
            ("1ns", 1),
        ] {
            assert_eq!(parse_go_duration(text), Ok(ns), "{text}");
        }
        for bad in ["", "1", ".", "1d", ".s", "1.2.3s", "s"] {
            assert!(parse_go_duration(bad).is_err(), "{bad}");
        }
        for (ns, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (2_000_000, "2ms"),
            (1_500_000_000, "1.5s"),
            (3_600 * SECOND_NS, "1h0m0s"),
            (-61 * SECOND_NS, "-1m1s"),
            (60 * SECOND_NS + 1_000_000, "1m0.001s"),
        ] {
            assert_eq!(format_go_duration(ns), text);
        }
    }

    #[test]
    fn prometheus_durations_print_as_they_parse() {
        for text in ["1d12h", "5m", "1s500ms", "2w", "1y", "0s", "8d"] {
            let ns = if text == "0s" {
                0
            } else {
                parse_prometheus_duration(text).unwrap()
            };
            assert_eq!(format_prometheus_duration(ns), text);
        }
    }

    #[test]
    fn sizes_of_configuration_and_logql_differ() {
        assert_eq!(parse_config_bytes("1KB"), Ok(1024));
        assert_eq!(parse_bytes("1KB"), Ok(1000));
        assert_eq!(parse_bytes("1.5 KiB"), Ok(1536));
        assert_eq!(parse_config_bytes("0.5MB"), Ok(524_288));
        assert!(
            parse_config_bytes("1XB").is_err()
                && parse_bytes("").is_err()
                && parse_config_bytes("").is_err()
        );
        assert_eq!(ByteSize(1536).to_string(), "1536B");
        assert_eq!(ByteSize::mib(3).to_string(), "3MB");
    }

    #[test]
    fn quoting_is_gos() {
        assert_eq!(quote("a\"b\\\n\u{1}é"), r#""a\"b\\\n\x01é""#);
    }
}
