//! Schemas as makers of clients know them: those of OpenAPI 3.0, in the plainest words that it has. What
//! may be left out of what is sent is always there in what is answered, so that of one type there can be
//! two.

use std::collections::BTreeSet;

use schemars::generate::SchemaSettings;
use schemars::transform::transform_subschemas;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// Where schemas are in the description, and where those of what is sent are before it is whole.
const SCHEMAS: &str = "/components/schemas";
const SENT: &str = "/sent";

/// The schemas of types, of what is sent and of what is answered.
pub(super) struct Schemas {
    sent: SchemaGenerator,
    answered: SchemaGenerator,
}

impl Default for Schemas {
    fn default() -> Self {
        let settings = || SchemaSettings::openapi3().with_transform(simplify);
        let sent = settings().with(|sent| sent.definitions_path = SENT.into());
        Self {
            sent: sent.for_deserialize().into_generator(),
            answered: settings().for_serialize().into_generator(),
        }
    }
}

impl Schemas {
    /// Content in JSON that is sent.
    pub(super) fn sent<T: JsonSchema>(&mut self) -> Value {
        in_json(&self.sent.subschema_for::<T>())
    }

    /// Content in JSON that is answered.
    pub(super) fn answered<T: JsonSchema>(&mut self) -> Value {
        in_json(&self.answered.subschema_for::<T>())
    }

    /// What varies in a path.
    pub(super) fn in_path<T: JsonSchema>(&mut self) -> Schema {
        T::json_schema(&mut self.sent)
    }

    /// A description with all that were asked for, to which it refers.
    pub(super) fn complete(mut self, mut document: Value) -> Value {
        let mut all = self.answered.take_definitions(true);
        let sent = self.sent.take_definitions(true);
        let different = different(&sent, &all);
        for (name, mut schema) in sent {
            refer(&mut schema, &different);
            all.insert(name_of(&name, &different), schema);
        }
        refer(&mut document, &different);
        document["components"]["schemas"] = all.into();
        document
    }
}

fn in_json(schema: &Schema) -> Value {
    json!({"application/json": {"schema": schema}})
}

/// The types that are sent otherwise than they are answered, if only as others in them are.
fn different(sent: &Map<String, Value>, answered: &Map<String, Value>) -> BTreeSet<String> {
    let mut different = BTreeSet::new();
    loop {
        let known = different.len();
        for (name, schema) in sent {
            let mut schema = schema.clone();
            refer(&mut schema, &different);
            if answered
                .get(name)
                .is_some_and(|answered| *answered != schema)
            {
                different.insert(name.clone());
            }
        }
        if different.len() == known {
            return different;
        }
    }
}

/// What the schema of something that is sent is called.
fn name_of(name: &str, different: &BTreeSet<String>) -> String {
    match different.contains(name) {
        true => format!("{name}Req"),
        false => name.to_owned(),
    }
}

/// Has what refers to something that is sent lead to where its schema is at last.
fn refer(value: &mut Value, different: &BTreeSet<String>) {
    match value {
        Value::Object(fields) => fields
            .values_mut()
            .for_each(|field| refer(field, different)),
        Value::Array(items) => items.iter_mut().for_each(|item| refer(item, different)),
        Value::String(text) => {
            let sent = text
                .strip_prefix('#')
                .and_then(|path| path.strip_prefix(SENT));
            if let Some(name) = sent.and_then(|path| path.strip_prefix('/')) {
                *text = format!("#{SCHEMAS}/{}", name_of(name, different));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
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
    use serde::{Deserialize, Serialize};

    use super::*;

    /// With remarks, it is no plain list of words.
    #[derive(Serialize, Deserialize, JsonSchema)]
    enum Word {
        /// The one.
        One,
        /// The other.
        Other,
    }

    #[derive(Serialize, Deserialize, JsonSchema)]
    struct Sentence {
        word: Option<Word>,
        #[serde(default)]
        end: String,
    }

    #[derive(Serialize, Deserialize, JsonSchema)]
    struct Text {
        sentences: Vec<Sentence>,
    }

    #[test]
    fn what_is_said_is_plain() {
        let mut schemas = Schemas::default();
        schemas.answered::<Sentence>();
        let document = schemas.complete(json!({}));
        let found = &document["components"]["schemas"];
        assert_eq!(found["Word"]["enum"], json!(["One", "Other"]));
        assert_eq!(found["Word"]["oneOf"], Value::Null);
        let word = json!({"allOf": [{"$ref": "#/components/schemas/Word"}], "nullable": true});
        assert_eq!(found["Sentence"]["properties"]["word"], word);
    }

    #[test]
    fn what_may_be_left_out_is_always_answered() {
        let mut schemas = Schemas::default();
        let (sent, answered) = (schemas.sent::<Text>(), schemas.answered::<Text>());
        let document = schemas.complete(json!({"sent": sent, "answered": answered}));
        let named = |way: &str| document[way]["application/json"]["schema"]["$ref"].clone();
        assert_eq!(named("sent"), "#/components/schemas/TextReq");
        assert_eq!(named("answered"), "#/components/schemas/Text");
        let found = &document["components"]["schemas"];
        let names: Vec<&String> = found.as_object().unwrap().keys().collect();
        assert_eq!(
            names,
            ["Sentence", "SentenceReq", "Text", "TextReq", "Word"]
        );
        let sentences = &found["TextReq"]["properties"]["sentences"]["items"]["$ref"];
        assert_eq!(*sentences, "#/components/schemas/SentenceReq");
        assert_eq!(found["Sentence"]["required"], json!(["word", "end"]));
        assert_eq!(found["SentenceReq"]["required"], Value::Null);
    }
}
