//! What of a thing changed, for its audit record: only the fields that are not as they were.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Map, Value};

/// Bytes of one field. Of a longer one there is the beginning; a thing has few fields.
const FIELD_BYTES_MAX: usize = 4096;

/// What is told of a secret that is another one now.
pub(super) const CHANGED: &str = "changed";

/// Fields by their names.
pub(crate) type Fields = Map<String, Value>;

/// The fields in which a thing differs from itself, as they were and as they are; none where the thing
/// was or is not there, or has nothing in these fields. A field that is null is one that is not there.
pub(super) fn diff(before: impl Serialize, after: impl Serialize) -> [Option<Fields>; 2] {
    let (mut before, mut after) = (fields(before), fields(after));
    keep_different(&mut before, &mut after);
    [before, after].map(|mut fields| {
        fields.retain(|_, value| !value.is_null());
        fields.values_mut().for_each(cut);
        Some(fields).filter(|fields| !fields.is_empty())
    })
}

/// The fields of a thing; without them it is not there.
fn fields(thing: impl Serialize) -> Fields {
    // What is told of things are texts and numbers, which can always be written.
    match serde_json::to_value(thing) {
        Ok(Value::Object(fields)) => fields,
        _ => Fields::new(),
    }
}

fn keep_different(before: &mut Fields, after: &mut Fields) {
    let names: BTreeSet<String> = before.keys().chain(after.keys()).cloned().collect();
    for name in names {
        match (before.get_mut(&name), after.get_mut(&name)) {
            (was, is) if was.as_deref() == is.as_deref() => {
                before.remove(&name);
                after.remove(&name);
            }
            (Some(Value::Object(was)), Some(Value::Object(is))) => keep_different(was, is),
            _ => {}
        }
    }
}

/// Leaves of what is too long its beginning, as text.
fn cut(value: &mut Value) {
    let mut text = match &mut *value {
        Value::String(text) => std::mem::take(text),
        other => other.to_string(),
    };
    let length = text.len();
    if length > FIELD_BYTES_MAX {
        text.truncate(text.floor_char_boundary(FIELD_BYTES_MAX));
        *value = Value::String(format!("{text}... ({length} bytes)"));
    } else if value.is_string() {
        *value = Value::String(text);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(before: Value, after: Value) -> [Value; 2] {
        diff(before, after).map(|fields| fields.map_or(Value::Null, Value::Object))
    }

    #[test]
    fn only_what_changed_is_told() {
        let null = Value::Null;
        for (before, after, expected) in [
            (
                json!({"a": 1, "b": "x"}),
                json!({"a": 2, "b": "x"}),
                [json!({"a": 1}), json!({"a": 2})],
            ),
            (
                json!({"a": null}),
                json!({"a": 1}),
                [null.clone(), json!({"a": 1})],
            ),
            (
                null.clone(),
                json!({"a": 1, "b": null}),
                [null.clone(), json!({"a": 1})],
            ),
            (
                json!({"a": 1}),
                null.clone(),
                [json!({"a": 1}), null.clone()],
            ),
            (
                json!({"a": {"x": [1], "y": [2]}}),
                json!({"a": {"x": [1], "y": [3], "z": []}}),
                [json!({"a": {"y": [2]}}), json!({"a": {"y": [3], "z": []}})],
            ),
            (
                json!({"a": 1}),
                json!({"a": 1}),
                [null.clone(), null.clone()],
            ),
        ] {
            assert_eq!(told(before, after), expected);
        }
    }

    #[test]
    fn what_is_long_is_cut() {
        let long = "ä".repeat(FIELD_BYTES_MAX);
        let [before, after] = told(json!({"a": [long]}), json!({"a": long}));
        let told = [&before, &after].map(|fields| fields["a"].as_str().unwrap());
        assert!(told.iter().all(|text| text.len() < FIELD_BYTES_MAX + 32));
        assert!(told[0].starts_with("[\"ää") && told[0].ends_with("... (8196 bytes)"));
        assert!(told[1].starts_with("ää") && told[1].ends_with("... (8192 bytes)"));
    }
}
