//! OTLP logs in JSON (<https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>).
//!
//! A scope may come after its records, so the lists of scopes and records are first taken as raw
//! text and read when what they belong to is known. So are resources, scopes and records: text that
//! is too long is refused before anything is built of it.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;

use crate::decode::any::{Any, PARTS_MAX};
use crate::decode::otlp::{Attributes, Mapper, Record, Scope};
use crate::decode::text::Text;
use crate::error::Rejection;

pub(super) fn decode(body: &[u8], mapper: &mut Mapper<'_, '_>) -> Result<(), Rejection> {
    let text = std::str::from_utf8(body)
        .map_err(|error| Rejection::invalid(format!("body is not valid UTF-8: {error}")))?;
    let request: Request<'_> = read(text).map(Option::unwrap_or_default)?;
    each(request.resource_logs, |logs: ResourceLogs<'_>| {
        let resource: Resource<'_> = part("resource", logs.resource)?;
        mapper.begin_resource(&pairs(resource.attributes));
        each(logs.scope_logs, |logs: ScopeLogs<'_>| {
            scope_logs(&logs, mapper)
        })
    })
}

fn scope_logs(logs: &ScopeLogs<'_>, mapper: &mut Mapper<'_, '_>) -> Result<(), Rejection> {
    let scope: JsonScope<'_> = part("scope", logs.scope)?;
    mapper.begin_scope(&Scope {
        name: scope.name,
        version: scope.version,
        attributes: pairs(scope.attributes),
        dropped_attributes: scope.dropped_attributes_count.0,
    });
    each(logs.log_records, |record: &RawValue| {
        let record: LogRecord<'_> = part("record", Some(record))?;
        mapper.record(&Record {
            time_ns: record.time_unix_nano.0,
            observed_ns: record.observed_time_unix_nano.0,
            severity_number: record.severity_number.0,
            severity_text: record.severity_text,
            body: record.body.map(|value| value.0).unwrap_or_default(),
            attributes: pairs(record.attributes),
            dropped_attributes: record.dropped_attributes_count.0,
            flags: record.flags.0,
            trace_id: id(record.trace_id, 32)?,
            span_id: id(record.span_id, 16)?,
            event_name: record.event_name,
        })
    })
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Rejection> {
    // As in Loki, what follows the value is not looked at.
    let mut deserializer = serde_json::Deserializer::from_str(text);
    T::deserialize(&mut deserializer).map_err(|error| Rejection::invalid(error.to_string()))
}

/// The longest text of a resource, a scope or a record. What is built of it takes at most some
/// ten times as much.
const PART_BYTES_MAX: usize = 4 << 20;

/// Reads a resource, a scope or a record; `null` and what is not there are the empty one.
fn part<'a, T: Deserialize<'a> + Default>(
    what: &str,
    raw: Option<&'a RawValue>,
) -> Result<T, Rejection> {
    let Some(raw) = raw else {
        return Ok(T::default());
    };
    if raw.get().len() > PART_BYTES_MAX {
        let message = format!("a {what} is longer than {PART_BYTES_MAX} bytes");
        return Err(Rejection::invalid(message));
    }
    read::<Option<T>>(raw.get()).map(Option::unwrap_or_default)
}

/// Reads the elements of a list one by one; `null` and what is not there are the empty list.
fn each<'a, T: Deserialize<'a>>(
    list: Option<&'a RawValue>,
    element: impl FnMut(T) -> Result<(), Rejection>,
) -> Result<(), Rejection> {
    let Some(list) = list else {
        return Ok(());
    };
    let mut deserializer = serde_json::Deserializer::from_str(list.get());
    let mut rejection = None;
    let seed = Each {
        element,
        rejection: &mut rejection,
        of: PhantomData,
    };
    let read = seed.deserialize(&mut deserializer);
    match (read, rejection) {
        (_, Some(rejection)) => Err(rejection),
        (Err(error), None) => Err(Rejection::invalid(error.to_string())),
        (Ok(()), None) => Ok(()),
    }
}

struct Each<'r, T, F> {
    element: F,
    rejection: &'r mut Option<Rejection>,
    of: PhantomData<T>,
}

impl<'de, T, F> DeserializeSeed<'de> for Each<'_, T, F>
where
    T: Deserialize<'de>,
    F: FnMut(T) -> Result<(), Rejection>,
{
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T, F> Visitor<'de> for Each<'_, T, F>
where
    T: Deserialize<'de>,
    F: FnMut(T) -> Result<(), Rejection>,
{
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while let Some(value) = list.next_element::<T>()? {
            if let Err(rejection) = (self.element)(value) {
                *self.rejection = Some(rejection);
                return Err(A::Error::custom("refused"));
            }
        }
        Ok(())
    }
}

#[derive(Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Request<'a> {
    #[serde(borrow, alias = "resource_logs")]
    resource_logs: Option<&'a RawValue>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ResourceLogs<'a> {
    #[serde(borrow)]
    resource: Option<&'a RawValue>,
    #[serde(borrow, alias = "scope_logs")]
    scope_logs: Option<&'a RawValue>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Resource<'a> {
    #[serde(borrow)]
    attributes: Bounded<KeyValue<'a>>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ScopeLogs<'a> {
    #[serde(borrow)]
    scope: Option<&'a RawValue>,
    #[serde(borrow, alias = "log_records")]
    log_records: Option<&'a RawValue>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct JsonScope<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    version: Cow<'a, str>,
    #[serde(borrow)]
    attributes: Bounded<KeyValue<'a>>,
    #[serde(alias = "dropped_attributes_count")]
    dropped_attributes_count: Number<u64>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct LogRecord<'a> {
    #[serde(alias = "time_unix_nano")]
    time_unix_nano: Number<u64>,
    #[serde(alias = "observed_time_unix_nano")]
    observed_time_unix_nano: Number<u64>,
    #[serde(alias = "severity_number")]
    severity_number: Severity,
    #[serde(borrow, alias = "severity_text")]
    severity_text: Cow<'a, str>,
    #[serde(borrow)]
    body: Option<AnyValue<'a>>,
    #[serde(borrow)]
    attributes: Bounded<KeyValue<'a>>,
    #[serde(alias = "dropped_attributes_count")]
    dropped_attributes_count: Number<u64>,
    flags: Number<u64>,
    #[serde(borrow, alias = "trace_id")]
    trace_id: Cow<'a, str>,
    #[serde(borrow, alias = "span_id")]
    span_id: Cow<'a, str>,
    #[serde(borrow, alias = "event_name")]
    event_name: Cow<'a, str>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct KeyValue<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(borrow)]
    value: Option<AnyValue<'a>>,
}

fn pairs(attributes: Bounded<KeyValue<'_>>) -> Attributes<'_> {
    fn pair(pair: KeyValue<'_>) -> (Cow<'_, str>, Any<'_>) {
        (
            pair.key,
            pair.value.map(|value| value.0).unwrap_or_default(),
        )
    }
    attributes.0.into_iter().map(pair).collect()
}

/// Checks a hexadecimal id of `len` digits; all zeroes means none.
fn id(text: Cow<'_, str>, len: usize) -> Result<Cow<'_, str>, Rejection> {
    if text.is_empty() {
        return Ok(text);
    }
    if text.len() != len || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        let message = format!("id {text:?} is not {len} hexadecimal digits");
        return Err(Rejection::invalid(message));
    }
    if text.bytes().all(|b| b == b'0') {
        return Ok(Cow::Borrowed(""));
    }
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        return Ok(Cow::Owned(text.to_ascii_lowercase()));
    }
    Ok(text)
}

/// A list of no more than [`PARTS_MAX`] elements; `null` is the empty one.
struct Bounded<T>(Vec<T>);

impl<T> Default for Bounded<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Bounded<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
            type Value = Bounded<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }
            fn visit_unit<E: Error>(self) -> Result<Bounded<T>, E> {
                Ok(Bounded::default())
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Bounded<T>, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = list.next_element()? {
                    if values.len() == PARTS_MAX {
                        let message = format!("a list has more than {PARTS_MAX} elements");
                        return Err(A::Error::custom(message));
                    }
                    values.push(value);
                }
                Ok(Bounded(values))
            }
        }
        deserializer.deserialize_any(List(PhantomData))
    }
}

/// A number, or its digits as a string, as JSON of protobuf has 64-bit numbers.
#[derive(Clone, Copy, Default)]
struct Number<T>(T);

impl<'de, T> Deserialize<'de> for Number<T>
where
    T: std::str::FromStr + TryFrom<u64> + TryFrom<i64> + Default,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Digits<T>(PhantomData<T>);
        impl<T> Visitor<'_> for Digits<T>
        where
            T: std::str::FromStr + TryFrom<u64> + TryFrom<i64> + Default,
        {
            type Value = Number<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or a string of digits")
            }
            fn visit_unit<E: Error>(self) -> Result<Number<T>, E> {
                Ok(Number(T::default()))
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<Number<T>, E> {
                let converted = T::try_from(number).map(Number);
                converted.map_err(|_| E::custom(format!("number {number} is out of range")))
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<Number<T>, E> {
                let converted = T::try_from(number).map(Number);
                converted.map_err(|_| E::custom(format!("number {number} is out of range")))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Number<T>, E> {
                let parsed = text.parse().map(Number);
                parsed.map_err(|_| E::custom(format!("{text:?} is no number")))
            }
        }
        deserializer.deserialize_any(Digits(PhantomData))
    }
}

/// A severity by number or by its name in the protocol.
#[derive(Clone, Copy, Default)]
struct Severity(i64);

impl<'de> Deserialize<'de> for Severity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        let text = raw.get().trim_matches('"');
        if text == "null" {
            return Ok(Self(0));
        }
        if let Ok(number) = text.parse() {
            return Ok(Self(number));
        }
        named_severity(text)
            .map(Self)
            .ok_or_else(|| D::Error::custom(format!("{text:?} is no severity")))
    }
}

fn named_severity(name: &str) -> Option<i64> {
    let name = name.strip_prefix("SEVERITY_NUMBER_")?;
    let (word, step) = match name.strip_suffix(['2', '3', '4']) {
        Some(word) => (word, name.get(word.len()..)?.parse::<i64>().ok()? - 1),
        None => (name, 0),
    };
    let first = match word {
        "UNSPECIFIED" => 0,
        "TRACE" => 1,
        "DEBUG" => 5,
        "INFO" => 9,
        "WARN" => 13,
        "ERROR" => 17,
        "FATAL" => 21,
        _ => return None,
    };
    Some(first + step)
}

/// `{"stringValue": ..}` and its like. serde_json bounds how deep they nest.
struct AnyValue<'a>(Any<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for AnyValue<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Wrapped;
        impl<'de> Visitor<'de> for Wrapped {
            type Value = AnyValue<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with a value")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<AnyValue<'de>, A::Error> {
                let mut value = Any::Empty;
                while let Some(key) = map.next_key_seed(Text)? {
                    value = match &*key {
                        "stringValue" | "string_value" => Any::Text(map.next_value_seed(Text)?),
                        "boolValue" | "bool_value" => Any::Bool(map.next_value()?),
                        "intValue" | "int_value" => Any::Int(map.next_value::<Number<i64>>()?.0),
                        "doubleValue" | "double_value" => double(map.next_value()?)?,
                        "bytesValue" | "bytes_value" => bytes(&map.next_value_seed(Text)?)?,
                        "arrayValue" | "array_value" => {
                            let list: Values<'de> = map.next_value()?;
                            Any::List(list.values.0.into_iter().map(|value| value.0).collect())
                        }
                        "kvlistValue" | "kvlist_value" => {
                            let list: KeyValues<'de> = map.next_value()?;
                            Any::Map(pairs(list.values))
                        }
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            value
                        }
                    };
                }
                Ok(AnyValue(value))
            }
        }
        deserializer.deserialize_map(Wrapped)
    }
}

#[derive(serde::Deserialize)]
struct Values<'a> {
    #[serde(default, borrow)]
    values: Bounded<AnyValue<'a>>,
}

#[derive(serde::Deserialize)]
struct KeyValues<'a> {
    #[serde(default, borrow)]
    values: Bounded<KeyValue<'a>>,
}

fn double<'a, E: Error>(raw: &RawValue) -> Result<Any<'a>, E> {
    let text = raw.get().trim_matches('"');
    let number = text.parse().map(Any::Double);
    number.map_err(|_| E::custom(format!("{text:?} is no number")))
}

fn bytes<'a, E: Error>(text: &str) -> Result<Any<'a>, E> {
    let bytes = STANDARD.decode(text).map_err(E::custom)?;
    Ok(Any::Bytes(Cow::Owned(bytes)))
}
