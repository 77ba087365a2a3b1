//! Limits of Loki that have no effect here: files that name them are read all the same.
//!
//! What they bound does not exist (the ruler's remote write, Bloom filters), or comes of itself
//! (streams are spread without being cut up, answers are never cached before they are final).

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, Error, IgnoredAny, IntoDeserializer, MapAccess, Visitor,
};

/// Names that begin so.
const PREFIXES: [&str; 4] = ["pattern_", "ruler_", "bloom_", "tsdb_"];

/// Others.
const NAMES: [&str; 17] = [
    "index_gateway_shard_size",
    "ingestion_partitions_tenant_shard_size",
    "max_cache_freshness_per_query",
    "max_metadata_cache_freshness",
    "max_queriers_per_tenant",
    "max_query_capacity",
    "max_stats_cache_freshness",
    "metric_aggregation_enabled",
    "min_sharding_lookback",
    "query_ready_index_num_days",
    "recent_metadata_query_window",
    "shard_streams",
    "split_ingester_queries_by_interval",
    "split_metadata_queries_by_interval",
    "split_recent_metadata_queries_by_interval",
    "unordered_writes",
    "use_owned_stream_count",
];

fn is_without_effect(name: &str) -> bool {
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// A deserializer of a struct of limits that passes over those without effect that the struct does
/// not have, and notes their names.
pub(super) struct Effective<'a, D> {
    pub(super) inner: D,
    pub(super) passed_over: &'a mut Vec<String>,
}

macro_rules! as_it_is {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method(visitor)
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Effective<'_, D> {
    type Error = D::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let visitor = OfStruct {
            visitor,
            fields,
            passed_over: self.passed_over,
        };
        self.inner.deserialize_struct(name, fields, visitor)
    }

    // A struct asks for nothing else.
    as_it_is! {
        deserialize_any deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32
        deserialize_i64 deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
        deserialize_f32 deserialize_f64 deserialize_char deserialize_str deserialize_string
        deserialize_bytes deserialize_byte_buf deserialize_option deserialize_unit deserialize_seq
        deserialize_map deserialize_identifier deserialize_ignored_any
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_unit_struct(name, visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_newtype_struct(name, visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_tuple(len, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_tuple_struct(name, len, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_enum(name, variants, visitor)
    }
}

struct OfStruct<'a, V> {
    visitor: V,
    fields: &'static [&'static str],
    passed_over: &'a mut Vec<String>,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for OfStruct<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_map(Fields {
            map,
            fields: self.fields,
            passed_over: self.passed_over,
        })
    }
}

/// The fields of a struct, without those that are passed over.
struct Fields<'a, A> {
    map: A,
    fields: &'static [&'static str],
    passed_over: &'a mut Vec<String>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Fields<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        let mut seed = seed;
        loop {
            let key = Key {
                seed,
                fields: self.fields,
            };
            match self.map.next_key_seed(key)? {
                None => return Ok(None),
                Some(Found::Field(field)) => return Ok(Some(field)),
                Some(Found::PassedOver(name, back)) => {
                    self.map.next_value::<IgnoredAny>()?;
                    self.passed_over.push(name);
                    seed = back;
                }
            }
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

/// What a key was; the seed comes back if it was not used.
enum Found<T, K> {
    Field(T),
    PassedOver(String, K),
}

struct Key<K> {
    seed: K,
    fields: &'static [&'static str],
}

impl<'de, K: DeserializeSeed<'de>> DeserializeSeed<'de> for Key<K> {
    type Value = Found<K::Value, K>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        // Errors of the field arise while the key is read, so that they come with its place.
        deserializer.deserialize_identifier(self)
    }
}

impl<'de, K: DeserializeSeed<'de>> Visitor<'de> for Key<K> {
    type Value = Found<K::Value, K>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a limit")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        if !self.fields.contains(&name) && is_without_effect(name) {
            return Ok(Found::PassedOver(name.to_owned(), self.seed));
        }
        let name: StrDeserializer<'_, E> = name.into_deserializer();
        self.seed.deserialize(name).map(Found::Field)
    }
}
