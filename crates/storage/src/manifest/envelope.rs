//! Manifest entries, checkpoints, delete requests and claims as bytes.
//!
//! ```text
//! magic "LGMF" | u16 version = 1 | u16 kind (0 entry, 1 checkpoint, 2 delete request, 3 claim)
//!              | u32 length | u32 CRC32C | JSON
//! ```
//! Little endian. The checksum is of the JSON.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{ManifestEntry, PartitionState};
use crate::catalog::ClaimFile;
use crate::delete_request::DeleteRequest;
use crate::error::StorageError;

const MAGIC: &[u8; 4] = b"LGMF";
const VERSION: u16 = 1;
const HEADER_LEN: usize = 16;
/// Longest JSON that is looked at.
const JSON_LEN_MAX: usize = 256 << 20;

/// What an envelope holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A [`ManifestEntry`].
    Entry,
    /// A [`PartitionState`].
    Checkpoint,
    /// A [`DeleteRequest`].
    DeleteRequest,
    /// A partition's [`crate::Claim`].
    Claim,
}

impl FileKind {
    fn number(self) -> u16 {
        match self {
            Self::Entry => 0,
            Self::Checkpoint => 1,
            Self::DeleteRequest => 2,
            Self::Claim => 3,
        }
    }
}

fn encode(kind: FileKind, value: &impl Serialize) -> Result<Bytes, StorageError> {
    let json = serde_json::to_vec(value)
        .map_err(|error| StorageError::Invalid(format!("manifest: {error}")))?;
    seal(kind, &json)
}

fn seal(kind: FileKind, json: &[u8]) -> Result<Bytes, StorageError> {
    let len = u32::try_from(json.len())
        .ok()
        .filter(|len| *len as usize <= JSON_LEN_MAX)
        .ok_or_else(|| StorageError::Invalid("manifest: too large".to_owned()))?;
    let mut bytes = Vec::with_capacity(HEADER_LEN + json.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&kind.number().to_le_bytes());
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(json).to_le_bytes());
    bytes.extend_from_slice(json);
    Ok(bytes.into())
}

fn decode<T: DeserializeOwned>(kind: FileKind, bytes: &[u8]) -> Result<T, String> {
    let (magic, rest) = bytes.split_first_chunk::<4>().ok_or("too short")?;
    let (version, rest) = rest.split_first_chunk::<2>().ok_or("too short")?;
    let (number, rest) = rest.split_first_chunk::<2>().ok_or("too short")?;
    let (len, rest) = rest.split_first_chunk::<4>().ok_or("too short")?;
    let (crc, json) = rest.split_first_chunk::<4>().ok_or("too short")?;
    if magic != MAGIC {
        return Err("wrong magic".to_owned());
    }
    let version = u16::from_le_bytes(*version);
    if version != VERSION {
        return Err(format!("version {version} is not known"));
    }
    if u16::from_le_bytes(*number) != kind.number() {
        return Err("wrong kind of file".to_owned());
    }
    if u32::from_le_bytes(*len) as usize != json.len() {
        return Err("wrong length".to_owned());
    }
    if u32::from_le_bytes(*crc) != crc32c::crc32c(json) {
        return Err("checksum does not match".to_owned());
    }
    serde_json::from_slice(json).map_err(|error| error.to_string())
}

/// Whether these bytes are not what anybody wrote: cut off, or changed. What a version to come may
/// have written is not called so.
pub(crate) fn is_damaged(kind: FileKind, bytes: &[u8]) -> bool {
    let Some((header, json)) = bytes.split_at_checked(HEADER_LEN) else {
        return true;
    };
    let number = |at: usize| {
        let bytes = header.get(at..at + 4).unwrap_or_default();
        bytes.try_into().map(u32::from_le_bytes).unwrap_or(0)
    };
    let of_version = (u32::from(kind.number()) << 16) | u32::from(VERSION);
    if !header.starts_with(MAGIC) {
        return true;
    }
    if number(4) as u16 != VERSION {
        return false;
    }
    number(4) != of_version
        || number(8) as usize != json.len()
        || number(12) != crc32c::crc32c(json)
}

/// An entry as bytes.
///
/// # Errors
/// If it is too large.
pub fn encode_entry(entry: &ManifestEntry) -> Result<Bytes, StorageError> {
    encode(FileKind::Entry, entry)
}

/// The entry in `bytes`.
///
/// # Errors
/// Says what is wrong with the bytes.
pub fn decode_entry(bytes: &[u8]) -> Result<ManifestEntry, String> {
    decode(FileKind::Entry, bytes)
}

/// A checkpoint as bytes.
///
/// # Errors
/// If it is too large.
pub fn encode_checkpoint(state: &PartitionState) -> Result<Bytes, StorageError> {
    encode(FileKind::Checkpoint, state)
}

/// The checkpoint in `bytes`.
///
/// # Errors
/// Says what is wrong with the bytes.
pub fn decode_checkpoint(bytes: &[u8]) -> Result<PartitionState, String> {
    decode(FileKind::Checkpoint, bytes)
}

/// A delete request as bytes.
pub(crate) fn encode_delete(request: &DeleteRequest) -> Result<Bytes, StorageError> {
    encode(FileKind::DeleteRequest, request)
}

/// The delete request in `bytes`, or what is wrong with them.
pub(crate) fn decode_delete(bytes: &[u8]) -> Result<DeleteRequest, String> {
    decode(FileKind::DeleteRequest, bytes)
}

/// A claim as bytes.
pub(crate) fn encode_claim(claim: &ClaimFile) -> Result<Bytes, StorageError> {
    encode(FileKind::Claim, claim)
}

/// The claim in `bytes`, or what is wrong with them.
pub(crate) fn decode_claim(bytes: &[u8]) -> Result<ClaimFile, String> {
    decode(FileKind::Claim, bytes)
}

/// Reads any bytes as a file of each kind, and as the text in one. What is read is written and read
/// again as the same.
pub(crate) fn fuzz(bytes: &[u8]) {
    fuzz_kind::<ManifestEntry>(FileKind::Entry, bytes);
    fuzz_kind::<PartitionState>(FileKind::Checkpoint, bytes);
    fuzz_kind::<DeleteRequest>(FileKind::DeleteRequest, bytes);
    fuzz_kind::<ClaimFile>(FileKind::Claim, bytes);
}

fn fuzz_kind<T>(kind: FileKind, bytes: &[u8])
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let is_read = decode::<T>(kind, bytes).is_ok();
    assert!(!(is_read && is_damaged(kind, bytes)), "damage that is read");
    let Ok(sealed) = seal(kind, bytes) else {
        return;
    };
    assert!(!is_damaged(kind, &sealed));
    if let Ok(value) = decode::<T>(kind, &sealed) {
        let again = encode(kind, &value).map_err(|error| error.to_string());
        let again = again.and_then(|bytes| decode::<T>(kind, &bytes));
        assert_eq!(again, Ok(value), "a file is not what it was");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{IndexFile, ObjectFile, Tombstone};
    use proptest::prelude::*;

    fn sample() -> ManifestEntry {
        ManifestEntry {
            id: 0x0192_0000_0000_0000_0000_0000_0000_0001,
            writer: "ingester-0".to_owned(),
            created_ns: 1_763_942_400_000_000_000,
            watermark: Some(42),
            add_objects: vec![ObjectFile {
                id: 2,
                size_bytes: 4096,
                meta_off: 3000,
                meta_len: 1048,
                rows: 10,
                raw_bytes: 20_000,
                min_ts_ns: 5,
                max_ts_ns: 9,
                level: 0,
                created_ns: 1_763_942_399_000_000_000,
            }],
            add_indexes: vec![IndexFile {
                id: 3,
                size_bytes: 512,
                series: 1,
                objects: 1,
                min_ts_ns: 5,
                max_ts_ns: 9,
                created_ns: 1_763_942_399_000_000_000,
            }],
            remove_objects: vec![4],
            remove_indexes: vec![5],
            add_tombstones: vec![Tombstone {
                id: "d1".to_owned(),
                selector: r#"{app="web"}"#.to_owned(),
                filter: r#"|= "secret""#.to_owned(),
                from_ns: 0,
                to_ns: 10,
                created_ns: 11,
            }],
            remove_tombstones: vec!["d0".to_owned()],
            swept_objects: vec![6],
            swept_indexes: vec![7],
        }
    }

    /// The sample applied, and an entry after it that takes something away.
    fn both() -> (ManifestEntry, PartitionState) {
        let mut state = PartitionState::default();
        let adding = ManifestEntry {
            remove_objects: vec![],
            remove_indexes: vec![],
            ..sample()
        };
        state.apply(1, &adding);
        let removing = ManifestEntry {
            remove_objects: vec![2],
            remove_indexes: vec![3],
            created_ns: 7,
            ..ManifestEntry::default()
        };
        state.apply(2, &removing);
        (sample(), state)
    }

    /// What a version wrote stays readable for ever: a changed format is a new version with a
    /// golden file of its own.
    #[test]
    fn golden_files_of_version_1_read() {
        let (entry, state) = both();
        let bytes = include_bytes!("../../golden/entry-v1.lgmf");
        assert_eq!(decode_entry(bytes), Ok(entry.clone()));
        assert_eq!(encode_entry(&entry).unwrap(), bytes.as_slice());
        let bytes = include_bytes!("../../golden/checkpoint-v1.ckpt");
        assert_eq!(decode_checkpoint(bytes), Ok(state.clone()));
        assert_eq!(encode_checkpoint(&state).unwrap(), bytes.as_slice());
        let request = DeleteRequest {
            id: 9,
            query: r#"{app="web"} |= "secret""#.to_owned(),
            start_ns: -1,
            end_ns: 1_763_942_400_000_000_000,
            created_ns: 1_763_942_400_000_000_001,
            processed_ns: Some(1_763_942_400_000_000_002),
        };
        let bytes = include_bytes!("../../golden/delete-v1.lgdr");
        assert_eq!(decode_delete(bytes), Ok(request.clone()));
        assert_eq!(encode_delete(&request).unwrap(), bytes.as_slice());
        let claim = ClaimFile {
            holder: "compactor-0".to_owned(),
            until_ns: 1_763_942_400_000_000_000,
        };
        let bytes = include_bytes!("../../golden/claim-v1.lgcl");
        assert_eq!(decode_claim(bytes), Ok(claim.clone()));
        assert_eq!(encode_claim(&claim).unwrap(), bytes.as_slice());
    }

    proptest! {
        #[test]
        fn damaged_bytes_are_refused(at in 0_usize..400, bit in 0_u8..8, cut in 0_usize..400) {
            let bytes = encode_entry(&sample()).unwrap();
            let mut flipped = bytes.to_vec();
            let at = at % flipped.len();
            flipped[at] ^= 1 << bit;
            prop_assert!(decode_entry(&flipped).is_err());
            prop_assert!(decode_entry(&bytes[..cut % bytes.len()]).is_err());
            prop_assert!(decode_checkpoint(&bytes).is_err());
            prop_assert!(decode_delete(&bytes).is_err());
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(decode_entry(&bytes).is_err());
        }
    }
}
