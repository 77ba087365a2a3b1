//! The JSON of `/api/prom/push`, from before Loki 1.0:
//! `{"streams":[{"labels":"{a=\"x\"}","entries":[{"ts":"2026-01-15T00:01:40Z","line":".."}]}]}`.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::decode::Target;
use crate::decode::text::Text;
use crate::error::Rejection;
use crate::time;

/// Reads a push.
pub(crate) fn decode(body: &[u8], target: &mut Target<'_>) -> Result<(), Rejection> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let mut state = State {
        target,
        rejection: None,
    };
    let result = List {
        state: &mut state,
        key: Some("streams"),
        element: stream,
    }
    .deserialize(&mut deserializer);
    if let Err(error) = result {
        let rejection = state.rejection.take();
        return Err(rejection.unwrap_or_else(|| Rejection::invalid(error.to_string())));
    }
    target.expect_streams()
}

struct State<'t, 'a> {
    target: &'t mut Target<'a>,
    rejection: Option<Rejection>,
}

/// What is done with the raw text of an element.
type Element = fn(&mut State<'_, '_>, &str) -> Result<(), serde_json::Error>;

/// Reads an array, or the array under `key` of an object, element by element.
struct List<'s, 't, 'a> {
    state: &'s mut State<'t, 'a>,
    key: Option<&'static str>,
    element: Element,
}

impl<'de> DeserializeSeed<'de> for List<'_, '_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for List<'_, '_, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key {
            Some(key) => write!(f, "an object with {key}"),
            None => f.write_str("an array"),
        }
    }
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let wanted = self
            .key
            .ok_or_else(|| A::Error::custom("expected an array"))?;
        while let Some(key) = map.next_key_seed(Text)? {
            if key.eq_ignore_ascii_case(wanted) {
                map.next_value_seed(List {
                    state: &mut *self.state,
                    key: None,
                    element: self.element,
                })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        if self.key.is_some() {
            return Err(A::Error::custom("expected an object"));
        }
        while let Some(raw) = elements.next_element::<&RawValue>()? {
            (self.element)(self.state, raw.get()).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}

#[derive(serde::Deserialize)]
struct Stream<'a> {
    #[serde(default, borrow, alias = "Labels")]
    labels: std::borrow::Cow<'a, str>,
    #[serde(default, borrow, alias = "Entries")]
    entries: Option<&'a RawValue>,
}

#[derive(serde::Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    ts: std::borrow::Cow<'a, str>,
    #[serde(default, borrow)]
    line: Option<std::borrow::Cow<'a, str>>,
}

fn stream(state: &mut State<'_, '_>, text: &str) -> Result<(), serde_json::Error> {
    let stream: Stream<'_> = serde_json::from_str(text)?;
    if let Err(rejection) = state.target.begin_text(&stream.labels) {
        let error = serde_json::Error::custom(&rejection.message);
        state.rejection = Some(rejection);
        return Err(error);
    }
    let Some(entries) = stream.entries else {
        return Ok(());
    };
    let mut deserializer = serde_json::Deserializer::from_str(entries.get());
    let list = List {
        state,
        key: None,
        element: entry,
    };
    list.deserialize(&mut deserializer)
}

fn entry(state: &mut State<'_, '_>, text: &str) -> Result<(), serde_json::Error> {
    let entry: Entry<'_> = serde_json::from_str(text)?;
    let timestamp_ns = match time::parse_rfc3339(&entry.ts) {
        Ok(timestamp_ns) => timestamp_ns,
        Err(error) => {
            let message = wrong_time(&entry, text, &error);
            state.rejection = Some(Rejection::invalid(message.as_str()));
            return Err(serde_json::Error::custom(message));
        }
    };
    let line = entry.line.unwrap_or_default();
    state
        .target
        .intake
        .row(timestamp_ns, line.as_bytes(), &[], &[]);
    Ok(())
}

/// A time that is none, in the words of Loki's decoder: it goes on after the fault, so that what it
/// reads next is named too, and shows the bytes around where it is then.
fn wrong_time(entry: &Entry<'_>, text: &str, error: &str) -> String {
    let next = if entry.line.is_some() { "Line: " } else { "" };
    let last = |bytes: usize| {
        let mut from = text.len().saturating_sub(bytes);
        while !text.is_char_boundary(from) {
            from += 1;
        }
        text.get(from..).unwrap_or_default()
    };
    let (near, around) = (last(10), last(50));
    format!(
        "push.PushRequest.Streams: []push.Stream: push.Stream.Entries: []push.Entry: \
         push.Entry.{next}Timestamp: unmarshalerDecoder: {error}, error found in #{} byte of \
         ...|{near}|..., bigger context ...|{around}|...",
        near.len()
    )
}
