//! `json`: expressions look into an object, and what they find is extracted.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::Value as Json;

use super::chain::{Flow, Stage};
use super::expression;
use super::jmespath::Expression;
use super::json_text::json_text;
use super::row::{Row, Value};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Options {
    pub(super) expressions: BTreeMap<String, Option<String>>,
    pub(super) source: Option<String>,
    #[serde(default)]
    pub(super) drop_malformed: bool,
}

#[derive(Clone)]
pub(crate) struct JsonStage {
    source: Option<Arc<str>>,
    drop_malformed: bool,
    expressions: Arc<Expressions>,
}

struct Expressions {
    named: Vec<(Arc<str>, Expression)>,
    /// The fields that any of them looks at; `None` if all.
    roots: Option<BTreeSet<String>>,
}

impl JsonStage {
    pub(crate) fn new(options: Options) -> Result<Self, String> {
        if options.expressions.is_empty() {
            return Err("at least one expression is needed".to_owned());
        }
        let named = options.expressions.into_iter().map(|(name, expression)| {
            let expression = expression.filter(|expression| !expression.is_empty());
            let compiled = Expression::compile(expression.as_deref().unwrap_or(&name))
                .map_err(|error| error.to_string())?;
            Ok((Arc::from(name), compiled))
        });
        let named = named.collect::<Result<Vec<_>, String>>()?;
        let roots: Option<Vec<BTreeSet<&str>>> = named
            .iter()
            .map(|(_, expression)| expression.roots())
            .collect();
        let roots = roots.map(|roots| roots.into_iter().flatten().map(str::to_owned).collect());
        Ok(Self {
            source: expression::non_empty(options.source, "source")?.map(Arc::from),
            drop_malformed: options.drop_malformed,
            expressions: Arc::new(Expressions { named, roots }),
        })
    }
}

impl Stage for JsonStage {
    fn process(&mut self, row: &mut Row, _now_ns: i64) -> Flow {
        let Some(input) = row.input(self.source.as_deref()) else {
            return Flow::On;
        };
        let Some(object) = self.expressions.read(&input) else {
            return if self.drop_malformed {
                Flow::Stop
            } else {
                Flow::On
            };
        };
        for (name, expression) in &self.expressions.named {
            row.set(name, value(expression.search(&object)));
        }
        Flow::On
    }

    fn fork(&self) -> Box<dyn Stage> {
        Box::new(self.clone())
    }
}

fn value(found: Cow<'_, Json>) -> Value {
    match found {
        Cow::Owned(Json::String(text)) => Value::Text(text),
        found => match &*found {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(number) => Value::Number(number.as_f64().unwrap_or(f64::NAN)),
            Json::String(text) => Value::Text(text.clone()),
            found => Value::Text(json_text(found)),
        },
    }
}

impl Expressions {
    /// The object with the fields that are needed. `None` if it is no object.
    fn read(&self, input: &[u8]) -> Option<Json> {
        let text = String::from_utf8_lossy(input);
        let mut deserializer = serde_json::Deserializer::from_str(&text);
        let object = Fields(self.roots.as_ref())
            .deserialize(&mut deserializer)
            .ok()?;
        deserializer.end().ok()?;
        Some(object)
    }
}

/// Reads an object, passing over fields that nobody looks at.
struct Fields<'a>(Option<&'a BTreeSet<String>>);

impl<'de> DeserializeSeed<'de> for Fields<'_> {
    type Value = Json;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut fields = serde_json::Map::new();
        while let Some(name) = map.next_key_seed(Name)? {
            if self.0.is_none_or(|roots| roots.contains(&*name)) {
                fields.insert(name.into_owned(), map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Json::Object(fields))
    }

    /// Null reads as an object without fields.
    fn visit_unit<E: serde::de::Error>(self) -> Result<Json, E> {
        Ok(Json::Object(serde_json::Map::new()))
    }
}

/// A field's name, which is only copied if it has escapes.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::stages::testing::{extracted, lines, refused};

    #[test]
    fn expressions_find_values_of_each_type() {
        const LINE: &str = r#"{"a":"x","n":1.50,"big":12345678,"t":false,"z":null,
            "o":{"y":[1,2.0],"x":"<"},"l":["p",{"q":2}]}"#;
        for (expressions, expected) in [
            (
                "{a: , n: , big: , t: , z: }",
                "a=x big=12345678 n=1.5 t=false z",
            ),
            (
                "{o: , l: }",
                r#"l=["p",{"q":2}] o={"x":"\u003c","y":[1,2]}"#,
            ),
            ("{q: 'l[1].q', y: 'o.y[0]', missing: }", "missing q=2 y=1"),
            ("{k: 'length(@)'}", "k=7"),
            ("{r: 'a || n'}", "r=x"),
        ] {
            let stages = format!("- json: {{expressions: {expressions}}}");
            assert_eq!(extracted(&stages, LINE), expected, "{expressions}");
        }
    }

    #[test]
    fn what_is_no_object_is_left_alone_or_dropped() {
        for (line, object) in [
            (r#"{"a":1}"#, true),
            ("null", true),
            ("[1]", false),
            ("1", false),
            (r#"{"a":1"#, false),
            (r#"{"a":1} x"#, false),
            ("", false),
        ] {
            let keep = "- json: {expressions: {a: }}";
            assert_eq!(lines(keep, &[line]), [line], "{line}");
            assert_eq!(extracted(keep, line).is_empty(), !object, "{line}");
            let drop = "- json: {expressions: {a: }, drop_malformed: true}";
            assert_eq!(lines(drop, &[line]).len(), usize::from(object), "{line}");
        }
    }

    #[test]
    fn a_source_is_used_instead_of_the_line() {
        let stages = "- json: {expressions: {inner: }}\n\
                      - json: {expressions: {a: }, source: inner}\n\
                      - json: {expressions: {b: }, source: missing, drop_malformed: true}";
        let line = r#"{"inner":"{\"a\":\"deep\"}"}"#;
        assert_eq!(extracted(stages, line), r#"a=deep inner={"a":"deep"}"#);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (options, error) in [
            ("{}", "missing field `expressions`"),
            ("{expressions: {}}", "at least one expression"),
            ("{expressions: {a: 'b['}}", "ends too early"),
            (
                "{expressions: {a: 'max_by(b, &c)'}}",
                "function max_by is not supported",
            ),
            (
                "{expressions: {a: }, source: ''}",
                "source must not be empty",
            ),
        ] {
            let message = refused(&format!("- json: {options}"));
            assert!(message.contains(error), "{message}");
        }
    }

    proptest! {
        #[test]
        fn any_line_passes(line in r#"[{}\[\]",:a0\\u-]{0,40}"#) {
            let stages = "- json: {expressions: {a: , b: 'a[*].b'}}";
            prop_assert_eq!(lines(stages, &[&line]), [line]);
        }
    }
}
