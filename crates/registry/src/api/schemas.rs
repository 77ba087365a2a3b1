//! Schemas as makers of clients know them: those of OpenAPI 3.0, in the plainest words that it has.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::transform_subschemas;
use serde_json::{Value, json};

/// How they are made out of types. There is one for what is sent and for what is answered: what has to
/// be there in the one is always there in the other.
pub(super) fn settings() -> SchemaSettings {
    SchemaSettings::openapi3().with_transform(simplify)
}

/// Says in one schema what is said in several: words of which one is meant, and what may be null.
fn simplify(schema: &mut Schema) {
    transform_subschemas(&mut simplify, schema);
    // Of whole objects it is more than some of them understand.
    let default = schema.get("default");
    if default.is_some_and(|default| default.is_object() || default.is_array()) {
        schema.remove("default");
    }
    if let Some(Value::Array(words)) = schema.get("oneOf")
        && let Some(words) = words.iter().map(word).collect::<Option<Vec<Value>>>()
    {
        schema.remove("oneOf");
        schema.insert("type".to_owned(), json!("string"));
        schema.insert("enum".to_owned(), words.into());
    }
    let null = json!({"enum": [null], "nullable": true});
    if let Some(Value::Array(either)) = schema.get("anyOf")
        && let [is, or] = either.as_slice()
        && *or == null
    {
        let is = json!([is]);
        schema.remove("anyOf");
        schema.insert("allOf".to_owned(), is);
        schema.insert("nullable".to_owned(), json!(true));
    }
}

/// The word that a schema is for, if it is for one.
fn word(schema: &Value) -> Option<Value> {
    let words = schema.get("enum")?.as_array()?;
    words.first().filter(|_| words.len() == 1).cloned()
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;

    use super::*;

    /// With remarks, it is no plain list of words.
    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is asked for")]
    enum Word {
        /// The one.
        One,
        /// The other.
        Other,
    }

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is asked for")]
    struct Sentence {
        word: Option<Word>,
    }

    #[test]
    fn what_is_said_is_plain() {
        let mut schemas = settings().into_generator();
        schemas.subschema_for::<Sentence>();
        let found = Value::from(schemas.take_definitions(true));
        assert_eq!(found["Word"]["enum"], json!(["One", "Other"]));
        assert_eq!(found["Word"]["oneOf"], Value::Null);
        let word = json!({"allOf": [{"$ref": "#/components/schemas/Word"}], "nullable": true});
        assert_eq!(found["Sentence"]["properties"]["word"], word);
    }
}
