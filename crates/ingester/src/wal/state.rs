//! What the log knows beyond its records, in a small file that is written in place: a full disk
//! does not stop it.
//!
//! ```text
//! state := slot(4096) slot(4096)      the valid slot of the higher generation counts
//! slot  := magic "LGWS" | version u16 | zero u16 | generation u64 | owner u128 | run u64
//!        | intended u64 | done u64 | crc u32 over what is before it
//! ```

use std::io;
use std::path::{Path, PathBuf};

use codec::{CodecError, Reader};

use super::disk::Disk;

const MAGIC: [u8; 4] = *b"LGWS";
const VERSION: u16 = 1;
const SLOT_LEN: u64 = 4096;
const USED_LEN: usize = 60;

/// The file of the state.
pub(crate) fn path(directory: &Path) -> PathBuf {
    directory.join("state")
}

/// What the log knows beyond its records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    generation: u64,
    /// Whose log it is: under this name its flushes stand in manifests. A new directory has a new
    /// owner.
    pub(crate) owner: u128,
    /// Counts the runs of the process; the upper bits of sequence numbers.
    pub(crate) run: u64,
    /// No flush beyond this number was tried: rows of later records are not in the store.
    pub(crate) intended: u64,
    /// Rows of records up to this number are in the store.
    pub(crate) done: u64,
}

impl State {
    /// The state of a new log.
    pub(crate) fn new(owner: u128) -> Self {
        Self {
            owner,
            ..Self::default()
        }
    }

    /// Reads the newest valid slot; `None` if there is none.
    pub(crate) fn read(directory: &Path) -> io::Result<Option<Self>> {
        let bytes = match std::fs::read(path(directory)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Self::of_slots(&bytes))
    }

    /// The newest valid slot.
    pub(crate) fn of_slots(bytes: &[u8]) -> Option<Self> {
        let slots = bytes
            .chunks(SLOT_LEN as usize)
            .filter_map(|slot| Self::parse(slot).ok());
        slots.max_by_key(|state| state.generation)
    }

    /// Writes the state into the slot that does not have the newest.
    pub(crate) fn write(&mut self, directory: &Path, disk: &dyn Disk) -> io::Result<()> {
        let next = Self {
            generation: self.generation + 1,
            ..*self
        };
        let offset = next.generation % 2 * SLOT_LEN;
        disk.write_at(&path(directory), offset, &next.to_bytes())?;
        *self = next;
        Ok(())
    }

    /// A slot.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SLOT_LEN as usize);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&0u16.to_le_bytes());
        bytes.extend_from_slice(&self.generation.to_le_bytes());
        bytes.extend_from_slice(&self.owner.to_le_bytes());
        bytes.extend_from_slice(&self.run.to_le_bytes());
        bytes.extend_from_slice(&self.intended.to_le_bytes());
        bytes.extend_from_slice(&self.done.to_le_bytes());
        Self::sealed(&bytes)
    }

    /// A slot of these fields, whatever they are.
    pub(crate) fn sealed(fields: &[u8]) -> Vec<u8> {
        let mut bytes = fields.to_vec();
        bytes.resize(USED_LEN - 4, 0);
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes.resize(SLOT_LEN as usize, 0);
        bytes
    }

    fn parse(slot: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(slot);
        let mut crc = Reader::new(slot);
        let covered = crc.take(USED_LEN - 4)?;
        if crc.u32()? != crc32c::crc32c(covered) {
            return Err(CodecError::Checksum);
        }
        if reader.array()? != MAGIC {
            return Err(CodecError::Invalid("wrong magic"));
        }
        match reader.u16()? {
            VERSION => {}
            version => return Err(CodecError::UnsupportedVersion(version)),
        }
        reader.u16()?;
        Ok(Self {
            generation: reader.u64()?,
            owner: u128::from_le_bytes(reader.array()?),
            run: reader.u64()?,
            intended: reader.u64()?,
            done: reader.u64()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::disk::OsDisk;
    use super::*;

    #[test]
    fn a_write_that_stops_halfway_leaves_the_state_before() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(State::read(dir.path()).unwrap(), None);
        let mut state = State::new(77);
        for run in 1..4 {
            state.run = run;
            state.write(dir.path(), &OsDisk).unwrap();
            assert_eq!(State::read(dir.path()).unwrap(), Some(state));
        }
        let mut bytes = std::fs::read(path(dir.path())).unwrap();
        let newest = (state.generation % 2 * SLOT_LEN) as usize;
        bytes[newest + 40] ^= 1;
        std::fs::write(path(dir.path()), bytes).unwrap();
        let before = State::read(dir.path()).unwrap().unwrap();
        assert_eq!((before.owner, before.run), (77, 2));
    }

    #[test]
    fn the_golden_state_of_version_1_stays_readable() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/wal-v1");
        let expected = State {
            generation: 1,
            owner: 77,
            run: 3,
            intended: 20,
            done: 10,
        };
        assert_eq!(State::read(&golden).unwrap(), Some(expected));
    }
}
