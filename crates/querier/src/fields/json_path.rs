//! Where the fields of a JSON line are in it.

use std::collections::HashMap;

use serde_json::Value;

/// Per name that the JSON parser gives to a field, the keys that lead to it.
pub(super) fn json_paths(line: &[u8]) -> HashMap<String, Vec<String>> {
    let mut paths = HashMap::new();
    if let Ok(Value::Object(fields)) = serde_json::from_slice(line) {
        collect(&fields, &mut Vec::new(), &mut paths);
    }
    paths
}

/// The reader of the line bounds how deep objects lie in each other.
fn collect(
    fields: &serde_json::Map<String, Value>,
    path: &mut Vec<String>,
    paths: &mut HashMap<String, Vec<String>>,
) {
    for (key, value) in fields {
        path.push(key.clone());
        match value {
            Value::Object(fields) => collect(fields, path, paths),
            Value::Array(_) | Value::Null => {}
            _ => {
                paths.entry(name_of(path)).or_insert_with(|| path.clone());
            }
        }
        path.pop();
    }
}

/// Keys joined by `_`, with `_` for what no label name may have.
fn name_of(path: &[String]) -> String {
    let keys: Vec<String> = path.iter().map(|key| sanitized(key)).collect();
    let name = keys.join("_");
    match name.starts_with(|first: char| first.is_ascii_digit()) {
        true => format!("_{name}"),
        false => name,
    }
}

fn sanitized(key: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    key.trim().chars().map(allowed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_keys() {
        let paths = json_paths(br#"{"a": {"b-c": 1, "d": [1]}, "1x": "y", "n": null}"#);
        assert_eq!(paths.len(), 2);
        assert_eq!(paths["a_b_c"], ["a", "b-c"]);
        assert_eq!(paths["_1x"], ["1x"]);
        assert!(json_paths(b"no json").is_empty());
    }
}
