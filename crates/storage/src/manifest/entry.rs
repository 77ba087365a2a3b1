//! One change of a partition.

use chunk::FinishedObject;
use index::Index;
use model::TimeRange;
use serde::{Deserialize, Serialize};

use crate::error::StorageError;

/// A data object of a partition. Its key follows from tenant, day and id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectFile {
    /// Its id.
    #[serde(with = "id")]
    pub id: u128,
    /// Its size in the store.
    pub size_bytes: u64,
    /// Where its meta region starts.
    pub meta_off: u64,
    /// How long its meta region is.
    pub meta_len: u64,
    /// How many rows it has.
    pub rows: u64,
    /// Bytes of its lines.
    pub raw_bytes: u64,
    /// Time of its first row.
    pub min_ts_ns: i64,
    /// Time of its last row.
    pub max_ts_ns: i64,
    /// 0 for what an ingester flushed, one more each time the compactor rewrites.
    pub level: u8,
    /// When it was made.
    pub created_ns: i64,
}

impl ObjectFile {
    /// Describes an object made at `created_ns`, as one that an ingester flushed.
    ///
    /// # Errors
    /// If it has no row.
    pub fn of(object: &FinishedObject, created_ns: i64) -> Result<Self, StorageError> {
        let metas = || object.blocks.iter().map(|block| &block.meta);
        let (Some(min_ts_ns), Some(max_ts_ns)) = (
            metas().map(|meta| meta.min_ts_ns()).min(),
            metas().map(|meta| meta.max_ts_ns()).max(),
        ) else {
            return Err(StorageError::Invalid(
                "a data object without rows".to_owned(),
            ));
        };
        Ok(Self {
            id: object.object_id,
            size_bytes: object.len,
            meta_off: object.meta_off,
            meta_len: object.meta_len,
            rows: metas().map(|meta| u64::from(meta.rows())).sum(),
            raw_bytes: metas().map(|meta| meta.raw_bytes()).sum(),
            min_ts_ns,
            max_ts_ns,
            level: 0,
            created_ns,
        })
    }
}

/// A label index file of a partition. Its key follows from tenant, day and id. One that came with a
/// data object has that object's id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexFile {
    /// Its id.
    #[serde(with = "id")]
    pub id: u128,
    /// Its size in the store.
    pub size_bytes: u64,
    /// How many streams it has.
    pub series: u64,
    /// How many data objects it refers to.
    pub objects: u64,
    /// Time of the first row it refers to.
    pub min_ts_ns: i64,
    /// Time of the last row it refers to.
    pub max_ts_ns: i64,
    /// When it was made.
    pub created_ns: i64,
}

/// Lines to leave out of every answer. Nobody writes or obeys these: requests to delete are files of
/// their own ([`crate::DeleteRequest`]). They are part of the format, which is why they are read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tombstone {
    /// The delete request's id.
    pub id: String,
    /// Which streams: a selector, `{app="web"}`.
    pub selector: String,
    /// Which of their lines: the pipeline's text, `|= "secret"`; empty means all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub filter: String,
    /// From this time on, included.
    pub from_ns: i64,
    /// Up to this time, included.
    pub to_ns: i64,
    /// When it was asked for. Lines ingested later are deleted as well if they match.
    pub created_ns: i64,
}

impl IndexFile {
    /// Describes an index file of `size_bytes` made at `created_ns`.
    ///
    /// # Errors
    /// If it refers to no rows.
    pub fn of(
        id: u128,
        index: &Index,
        size_bytes: u64,
        created_ns: i64,
    ) -> Result<Self, StorageError> {
        let objects = || index.objects().iter().filter(|object| object.rows > 0);
        let (Some(min_ts_ns), Some(max_ts_ns)) = (
            objects().map(|object| object.min_ts_ns).min(),
            objects().map(|object| object.max_ts_ns).max(),
        ) else {
            return Err(StorageError::Invalid(
                "an index file without rows".to_owned(),
            ));
        };
        Ok(Self {
            id,
            size_bytes,
            series: u64::from(index.series_count()),
            objects: index.objects().len() as u64,
            min_ts_ns,
            max_ts_ns,
            created_ns,
        })
    }
}

/// One atomic change of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestEntry {
    /// Distinguishes this change from any other: how a writer recognises its own entry after an
    /// attempt whose outcome it did not hear. Made by [`ManifestEntry::new`].
    #[serde(with = "id")]
    pub id: u128,
    /// Who made it: an instance's name.
    pub writer: String,
    /// When.
    pub created_ns: i64,
    /// A number of the writer's own that it wants to find again after a restart, such as its last
    /// flush. Grows with every entry of that writer that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark: Option<u64>,
    /// Data objects that came to be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add_objects: Vec<ObjectFile>,
    /// Index files that came to be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add_indexes: Vec<IndexFile>,
    /// Data objects that are no longer part of the partition; deleted after a grace period.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "ids")]
    pub remove_objects: Vec<u128>,
    /// Index files that are no longer part of the partition; deleted after a grace period.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "ids")]
    pub remove_indexes: Vec<u128>,
    /// Deletes asked for; not used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add_tombstones: Vec<Tombstone>,
    /// Deletes that the data no longer needs, or that were cancelled; not used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove_tombstones: Vec<String>,
    /// Removed data objects that are gone from the store by now.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "ids")]
    pub swept_objects: Vec<u128>,
    /// Removed index files that are gone from the store by now.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "ids")]
    pub swept_indexes: Vec<u128>,
}

impl ManifestEntry {
    /// An entry that changes nothing yet.
    #[must_use]
    pub fn new(writer: impl Into<String>, created_ns: i64) -> Self {
        Self {
            id: crate::key::new_id(created_ns),
            writer: writer.into(),
            created_ns,
            ..Self::default()
        }
    }

    /// Why the entry cannot be one of this day's partition, if it cannot.
    pub(crate) fn refusal(&self, day: i64) -> Option<String> {
        let within = |min_ns: i64, max_ns: i64| {
            min_ns <= max_ns && TimeRange::day_of(min_ns) == day && TimeRange::day_of(max_ns) == day
        };
        let object = self
            .add_objects
            .iter()
            .find(|object| !within(object.min_ts_ns, object.max_ts_ns));
        let index = self
            .add_indexes
            .iter()
            .find(|index| !within(index.min_ts_ns, index.max_ts_ns));
        let id = object
            .map(|object| object.id)
            .or(index.map(|index| index.id))?;
        Some(format!(
            "{} has rows outside of the day {} it is committed to",
            crate::key::id_text(id),
            crate::key::day_text(day)
        ))
    }
}

/// Ids as ULIDs.
pub(crate) mod id {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(id: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&crate::key::id_text(*id))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<u128, D::Error> {
        let text = String::deserialize(deserializer)?;
        crate::key::parse_id(&text).ok_or_else(|| D::Error::custom("not an object's id"))
    }
}

/// Lists of ids as ULIDs.
mod ids {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(ids: &[u128], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(ids.iter().map(|id| crate::key::id_text(*id)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u128>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let ids = texts.iter().map(|text| crate::key::parse_id(text));
        ids.collect::<Option<_>>()
            .ok_or_else(|| D::Error::custom("not an object's id"))
    }
}
