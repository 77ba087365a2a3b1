//! Whether a value is what a schema of OpenAPI 3.0 says. A field that the schema does not have is
//! amiss too, and so is a keyword that is not known here.

use anyhow::{Context, bail, ensure};
use serde_json::{Map, Value};

/// What says nothing of a value.
const REMARKS: [&str; 5] = ["description", "title", "default", "nullable", "example"];

/// What a reference leads to; anything else is itself.
pub(super) fn resolve<'d>(document: &'d Value, value: &'d Value) -> anyhow::Result<&'d Value> {
    let Some(reference) = value.get("$ref").and_then(Value::as_str) else {
        return Ok(value);
    };
    let pointer = reference.strip_prefix('#');
    let found = pointer.and_then(|pointer| document.pointer(pointer));
    found.with_context(|| format!("{reference} leads nowhere"))
}

/// Whether a value is what a schema of a document says.
pub(super) fn check(document: &Value, schema: &Value, value: &Value) -> anyhow::Result<()> {
    let schema = resolve(document, schema)?;
    let schema = schema.as_object().context("a schema is an object")?;
    if value.is_null() && schema.get("nullable") == Some(&Value::Bool(true)) {
        return Ok(());
    }
    for (keyword, says) in schema {
        check_keyword(document, schema, (keyword, says), value)
            .with_context(|| format!("{keyword} of {value}"))?;
    }
    Ok(())
}

fn check_keyword(
    document: &Value,
    schema: &Map<String, Value>,
    (keyword, says): (&str, &Value),
    value: &Value,
) -> anyhow::Result<()> {
    let list = || says.as_array().into_iter().flatten();
    let count = || {
        list()
            .filter(|one| check(document, one, value).is_ok())
            .count()
    };
    match keyword {
        "type" => ensure!(is_of(says, value), "it is no {says}"),
        "format" => ensure!(has_format(says, value), "it is no {says}"),
        "enum" => ensure!(list().any(|one| one == value), "it is none of {says}"),
        "minimum" => ensure!(value.as_f64() >= says.as_f64(), "it is below {says}"),
        "required" => {
            let missing = list().find(|name| value.get(name.as_str().unwrap_or("")).is_none());
            ensure!(missing.is_none(), "{missing:?} is missing");
        }
        "properties" => check_fields(document, schema, value)?,
        // With the fields.
        "additionalProperties" if schema.contains_key("properties") => {}
        "additionalProperties" => {
            check_others(document, says, value.as_object().into_iter().flatten())?;
        }
        "items" => {
            let mut items = value.as_array().into_iter().flatten();
            items.try_for_each(|item| check(document, says, item))?;
        }
        "allOf" => list().try_for_each(|one| check(document, one, value))?,
        "anyOf" => ensure!(count() > 0, "it is none of them"),
        "oneOf" => ensure!(count() == 1, "it is {} of them", count()),
        keyword if REMARKS.contains(&keyword) => {}
        _ => bail!("this is not known"),
    }
    Ok(())
}

fn check_fields(
    document: &Value,
    schema: &Map<String, Value>,
    value: &Value,
) -> anyhow::Result<()> {
    let known = schema.get("properties").and_then(Value::as_object);
    for (name, field) in value.as_object().into_iter().flatten() {
        let found = known.and_then(|known| known.get(name));
        let found = found.or(schema.get("additionalProperties"));
        let found = found.with_context(|| format!("it has a field {name}"))?;
        check_others(document, found, [(name, field)])?;
    }
    Ok(())
}

/// Fields that a schema is for; `true` and `false` stand for anything and for nothing.
fn check_others<'v>(
    document: &Value,
    schema: &Value,
    fields: impl IntoIterator<Item = (&'v String, &'v Value)>,
) -> anyhow::Result<()> {
    for (name, field) in fields {
        match schema {
            Value::Bool(may_be) => ensure!(*may_be, "it has a field {name}"),
            schema => check(document, schema, field).with_context(|| name.clone())?,
        }
    }
    Ok(())
}

fn is_of(kind: &Value, value: &Value) -> bool {
    match kind.as_str().unwrap_or_default() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => false,
    }
}

fn has_format(format: &Value, value: &Value) -> bool {
    match format.as_str().unwrap_or_default() {
        "int64" => value.is_i64(),
        "uint64" | "uint" => value.is_u64(),
        "date-time" => {
            let text = value.as_str().unwrap_or_default();
            text.parse::<jiff::Timestamp>().is_ok()
        }
        _ => false,
    }
}
