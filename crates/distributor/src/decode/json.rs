//! The JSON push: `{"streams":[{"stream":{..},"values":[["ns","line",{..}],..]}]}`.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::decode::Target;
use crate::decode::text::Text;
use crate::error::Rejection;
use crate::intake::Pair;

/// Reads a push. As in Loki, what follows the object is not looked at, and bytes that are no text are
/// no reason to refuse it: they become replacement characters.
pub(crate) fn decode(body: &[u8], target: &mut Target<'_>) -> Result<(), Rejection> {
    let text = String::from_utf8_lossy(body);
    let mut state = State {
        target,
        rejection: None,
        pairs: Vec::new(),
    };
    read(&text, &mut state)?;
    target.expect_streams()
}

fn read<'de>(body: &'de str, state: &mut State<'_, '_, 'de>) -> Result<(), Rejection> {
    let mut deserializer = serde_json::Deserializer::from_str(body);
    let result = Push(state).deserialize(&mut deserializer);
    result.map_err(|error| {
        state
            .rejection
            .take()
            .unwrap_or_else(|| Rejection::invalid(error.to_string()))
    })
}

struct State<'t, 'a, 'de> {
    target: &'t mut Target<'a>,
    /// Why we refused what serde then reports with words of its own.
    rejection: Option<Rejection>,
    pairs: Vec<Pair<'de>>,
}

impl State<'_, '_, '_> {
    fn refuse<E: Error>(&mut self, rejection: Rejection) -> E {
        let error = E::custom(&rejection.message);
        self.rejection = Some(rejection);
        error
    }
}

struct Push<'s, 't, 'a, 'de>(&'s mut State<'t, 'a, 'de>);

impl<'de> DeserializeSeed<'de> for Push<'_, '_, '_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Push<'_, '_, '_, 'de> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with streams")
    }
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(Text)? {
            if key.eq_ignore_ascii_case("streams") {
                map.next_value_seed(Streams(self.0))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

struct Streams<'s, 't, 'a, 'de>(&'s mut State<'t, 'a, 'de>);

impl<'de> DeserializeSeed<'de> for Streams<'_, '_, '_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Streams<'_, '_, '_, 'de> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of streams")
    }
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut streams: A) -> Result<(), A::Error> {
        while streams.next_element_seed(Stream(self.0))?.is_some() {}
        Ok(())
    }
}

struct Stream<'s, 't, 'a, 'de>(&'s mut State<'t, 'a, 'de>);

impl<'de> DeserializeSeed<'de> for Stream<'_, '_, '_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Stream<'_, '_, '_, 'de> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a stream with values")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let state = self.0;
        let (mut named, mut before) = (false, None::<&'de RawValue>);
        while let Some(key) = map.next_key_seed(Text)? {
            match &*key {
                "stream" => {
                    let labels = map.next_value_seed(Labels)?;
                    if let Err(rejection) = state.target.begin_pairs(&labels) {
                        return Err(state.refuse(rejection));
                    }
                    named = true;
                }
                "values" if named => map.next_value_seed(Values(state))?,
                // Rows before their stream's name: kept as they are until it comes.
                "values" => before = Some(map.next_value()?),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        if !named && let Err(rejection) = state.target.begin_pairs(&[]) {
            return Err(state.refuse(rejection));
        }
        if let Some(values) = before {
            let mut deserializer = serde_json::Deserializer::from_str(values.get());
            let read = Values(state).deserialize(&mut deserializer);
            read.map_err(A::Error::custom)?;
        }
        Ok(())
    }
}

/// The labels of a stream: an object whose values are taken as text whatever they are.
struct Labels;

impl<'de> DeserializeSeed<'de> for Labels {
    type Value = Vec<Pair<'de>>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Labels {
    type Value = Vec<Pair<'de>>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of labels")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut labels: Vec<Pair<'de>> = Vec::new();
        while let Some(name) = map.next_key_seed(Text)? {
            let raw: &'de RawValue = map.next_value()?;
            let value = if raw.get().starts_with('"') {
                let mut deserializer = serde_json::Deserializer::from_str(raw.get());
                Text.deserialize(&mut deserializer)
                    .map_err(A::Error::custom)?
            } else {
                Cow::Borrowed(raw.get())
            };
            if let Some(given) = labels.iter_mut().find(|(given, _)| *given == name) {
                given.1 = value;
            } else if labels.len() < LABELS_MAX {
                labels.push((name, value));
            } else {
                return Err(A::Error::custom(format!("more than {LABELS_MAX} labels")));
            }
        }
        Ok(labels)
    }
}

/// Labels that a stream is read with; far more than any tenant may have. Bounds the search for
/// repeated names.
const LABELS_MAX: usize = 1000;

struct Values<'s, 't, 'a, 'de>(&'s mut State<'t, 'a, 'de>);

impl<'de> DeserializeSeed<'de> for Values<'_, '_, '_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Values<'_, '_, '_, 'de> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of values")
    }
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        while values.next_element_seed(Row(self.0))?.is_some() {}
        Ok(())
    }
}

struct Row<'s, 't, 'a, 'de>(&'s mut State<'t, 'a, 'de>);

impl<'de> DeserializeSeed<'de> for Row<'_, '_, '_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Row<'_, '_, '_, 'de> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of a time, a line and maybe metadata")
    }
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut row: A) -> Result<(), A::Error> {
        let time = row.next_element_seed(Text)?;
        let time = time.ok_or_else(|| A::Error::custom("a value without time"))?;
        let timestamp_ns: i64 = Some(&*time)
            .filter(|time| !time.starts_with('+'))
            .and_then(|time| time.parse().ok())
            .ok_or_else(|| {
                A::Error::custom(format!("time {time:?} is no number of nanoseconds"))
            })?;
        let line = row.next_element_seed(Text)?.unwrap_or_default();
        let pairs = &mut self.0.pairs;
        pairs.clear();
        if row.next_element_seed(Metadata(pairs))?.is_some() {
            while row.next_element::<IgnoredAny>()?.is_some() {}
        }
        self.0
            .target
            .intake
            .row(timestamp_ns, line.as_bytes(), pairs, &[]);
        Ok(())
    }
}

struct Metadata<'s, 'de>(&'s mut Vec<Pair<'de>>);

impl<'de> DeserializeSeed<'de> for Metadata<'_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Metadata<'_, 'de> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key_seed(Text)? {
            let value = map.next_value_seed(Text)?;
            self.0.push((name, value));
        }
        Ok(())
    }
}
