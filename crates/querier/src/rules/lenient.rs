//! How Go's decoder of YAML fills the fields of a rule group, which Loki leaves it to: what is null
//! is nothing, entries of a list and keys that are null are not there, and a number that has to be
//! whole loses its fraction.

use std::collections::BTreeMap;
use std::fmt;

use model::units::{DurationNs, parse_prometheus_duration};
use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// A text, as it is written whatever it may mean.
pub(super) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Texts by name.
pub(super) fn texts<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    type Texts = BTreeMap<Option<String>, Option<String>>;
    let texts: Option<Texts> = Option::deserialize(deserializer)?;
    let named = texts
        .into_iter()
        .flatten()
        .filter_map(|(name, text)| Some((name?, text.unwrap_or_default())));
    Ok(named.collect())
}

/// A list.
pub(super) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let items: Option<Vec<Option<T>>> = Option::deserialize(deserializer)?;
    Ok(items.into_iter().flatten().flatten().collect())
}

/// A duration as Prometheus writes it; one of 0 is none.
pub(super) fn duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<DurationNs>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    let ns = text.map_or(Ok(0), |text| parse_prometheus_duration(&text));
    let ns = ns.map_err(Error::custom)?;
    Ok((ns != 0).then_some(DurationNs(ns)))
}

/// A whole number, or what is left of one that is not.
pub(super) fn whole_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    struct Whole;
    impl Visitor<'_> for Whole {
        type Value = i64;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number")
        }
        fn visit_i64<E: Error>(self, number: i64) -> Result<i64, E> {
            Ok(number)
        }
        fn visit_u64<E: Error>(self, number: u64) -> Result<i64, E> {
            i64::try_from(number).map_err(E::custom)
        }
        fn visit_f64<E: Error>(self, number: f64) -> Result<i64, E> {
            Ok(number as i64)
        }
        fn visit_unit<E: Error>(self) -> Result<i64, E> {
            Ok(0)
        }
    }
    deserializer.deserialize_any(Whole)
}
