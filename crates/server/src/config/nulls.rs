//! A section or a list that has nothing in it, as when each of its lines is a comment, is an empty one.
//!
//! To YAML it is null. People write it so, and other programs of this trade read it so.

use std::fmt;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
};

/// A deserializer for which a null is an empty section, list or text where one is wanted.
pub(super) struct Nulls<D>(pub(super) D);

/// What is wanted in the place of a possible null.
enum Wanted {
    Map,
    Struct(&'static str, &'static [&'static str]),
    Seq,
    Text,
}

impl<'de, D: Deserializer<'de>> Nulls<D> {
    fn deserialize<V: Visitor<'de>>(
        self,
        wanted: Wanted,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_option(OrNull { wanted, visitor })
    }
}

macro_rules! as_it_is {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.0.$method(Within(visitor))
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Nulls<D> {
    type Error = D::Error;

    as_it_is! {
        deserialize_any deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32
        deserialize_i64 deserialize_i128 deserialize_u8 deserialize_u16 deserialize_u32
        deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64 deserialize_char
        deserialize_bytes deserialize_byte_buf deserialize_option deserialize_unit
        deserialize_identifier deserialize_ignored_any
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.deserialize(Wanted::Map, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.deserialize(Wanted::Struct(name, fields), visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.deserialize(Wanted::Seq, visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.deserialize(Wanted::Text, visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.deserialize(Wanted::Text, visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_tuple(len, Within(visitor))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_tuple_struct(name, len, Within(visitor))
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_unit_struct(name, Within(visitor))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_newtype_struct(name, Within(visitor))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_enum(name, variants, Within(visitor))
    }
}

/// Takes an empty one for a null, and goes on with anything else.
struct OrNull<V> {
    wanted: Wanted,
    visitor: V,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for OrNull<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        let nothing = std::iter::empty::<((), ())>();
        match self.wanted {
            Wanted::Map | Wanted::Struct(..) => {
                self.visitor.visit_map(MapDeserializer::new(nothing))
            }
            Wanted::Seq => {
                let nothing = nothing.map(|_| ());
                self.visitor.visit_seq(SeqDeserializer::new(nothing))
            }
            Wanted::Text => self.visitor.visit_str(""),
        }
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, document: D) -> Result<V::Value, D::Error> {
        let visitor = Within(self.visitor);
        match self.wanted {
            Wanted::Map => document.deserialize_map(visitor),
            Wanted::Struct(name, fields) => document.deserialize_struct(name, fields, visitor),
            Wanted::Seq => document.deserialize_seq(visitor),
            Wanted::Text => document.deserialize_str(visitor),
        }
    }
}

/// A visitor, a seed or an access that sees what is within through [`Nulls`].
struct Within<T>(T);

macro_rules! visit_as_it_is {
    ($($method:ident: $type:ty),*) => {$(
        fn $method<E: Error>(self, value: $type) -> Result<V::Value, E> {
            self.0.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Within<V> {
    type Value = V::Value;

    visit_as_it_is! {
        visit_bool: bool, visit_i8: i8, visit_i16: i16, visit_i32: i32, visit_i64: i64,
        visit_i128: i128, visit_u8: u8, visit_u16: u16, visit_u32: u32, visit_u64: u64,
        visit_u128: u128, visit_f32: f32, visit_f64: f64, visit_char: char, visit_str: &str,
        visit_borrowed_str: &'de str, visit_string: String, visit_bytes: &[u8],
        visit_borrowed_bytes: &'de [u8], visit_byte_buf: Vec<u8>
    }

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, document: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Nulls(document))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, document: D) -> Result<V::Value, D::Error> {
        self.0.visit_newtype_struct(Nulls(document))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<V::Value, A::Error> {
        self.0.visit_seq(Within(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Within(entries))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, variants: A) -> Result<V::Value, A::Error> {
        self.0.visit_enum(Within(variants))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Within<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, document: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Nulls(document))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Within<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.0.next_element_seed(Within(seed))
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Within<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.0.next_key_seed(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.0.next_value_seed(Within(seed))
    }
}

impl<'de, A: EnumAccess<'de>> EnumAccess<'de> for Within<A> {
    type Error = A::Error;
    type Variant = Within<A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), A::Error> {
        let (value, variant) = self.0.variant_seed(seed)?;
        Ok((value, Within(variant)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Within<A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.0.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.0.newtype_variant_seed(Within(seed))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.0.tuple_variant(len, Within(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.0.struct_variant(fields, Within(visitor))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::Value;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Outer {
        inner: Inner,
        list: Vec<Inner>,
        map: BTreeMap<String, Option<String>>,
        some: Option<Inner>,
        any: Value,
        text: String,
        kind: Kind,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Inner {
        count: u32,
        names: Vec<String>,
    }

    impl Default for Inner {
        fn default() -> Self {
            Self {
                count: 7,
                names: Vec::new(),
            }
        }
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    enum Kind {
        #[default]
        Small,
        Large(Inner),
    }

    fn read(text: &str) -> Result<Outer, String> {
        let read = serde_yaml::with_deserializer_from_str(text, |document| {
            Outer::deserialize(Nulls(document))
        });
        read.map_err(|error| error.to_string())
    }

    #[test]
    fn what_has_nothing_in_it_is_empty() {
        let text = "inner:\nlist:\nmap:\nsome:\nany:\ntext:\n";
        assert_eq!(read(text).unwrap(), Outer::default());
        let deep = "inner: {names: }\nlist: [{names: , count: 1}]\nmap: {a: , b: x}\n\
                    some: {names: ~}\nany: {a: ~, b: [~]}\nkind: {Large: {names: }}";
        let read = read(deep).unwrap();
        assert_eq!(read.inner, Inner::default());
        assert_eq!(read.list[0].count, 1);
        let map = [("a", None), ("b", Some("x".to_owned()))];
        assert_eq!(
            read.map,
            map.map(|(name, value)| (name.to_owned(), value)).into()
        );
        assert_eq!(read.some, Some(Inner::default()));
        assert_eq!(read.any, serde_json::json!({"a": null, "b": [null]}));
        assert_eq!(read.kind, Kind::Large(Inner::default()));
    }

    #[test]
    fn what_has_something_wrong_in_it_is_still_told_with_its_line() {
        for (text, part) in [
            ("inner:\n  count:\n", "line 2"),
            ("inner:\n  names:\n  counts: 1\n", "counts"),
            ("\nlist: 1\n", "line 2"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{part} in {error}");
        }
    }
}
