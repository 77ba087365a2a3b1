//! Files that lie: bytes of a good one changed, checksums made right again.

use bytes::Bytes;
use codec::container::{Container, ContainerWriter};

/// Bytes of one edit: where, how, with what.
const EDIT_LEN: usize = 4;

/// The bytes with edits, each of which replaces, puts in, takes out or cuts off.
pub fn edited(good: &[u8], edits: &[u8]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for edit in edits.chunks_exact(EDIT_LEN) {
        let &[low, high, how, value] = edit else {
            break;
        };
        let at = usize::from(u16::from_le_bytes([low, high])) % (bytes.len() + 1);
        match how % 8 {
            0 => bytes.insert(at, value),
            1 if at < bytes.len() => drop(bytes.remove(at)),
            2 => bytes.truncate(at),
            3 => bytes
                .get_mut(at)
                .into_iter()
                .for_each(|byte| *byte = byte.wrapping_add(1)),
            4 => bytes
                .get_mut(at)
                .into_iter()
                .for_each(|byte| *byte ^= value),
            _ => bytes.get_mut(at).into_iter().for_each(|byte| *byte = value),
        }
    }
    bytes
}

/// A file of sections behind a body.
pub struct File {
    body: Bytes,
    sections: Container,
    magic: [u8; 4],
}

impl File {
    /// Version 1 of a file that is good.
    pub fn new(bytes: &'static [u8], meta_off: usize, magic: [u8; 4]) -> Self {
        let bytes = Bytes::from_static(bytes);
        let sections = Container::parse(bytes.slice(meta_off..), magic, 1);
        Self {
            body: bytes.slice(..meta_off),
            sections: sections.expect("a good file"),
            magic,
        }
    }

    /// The file with edits in one of its sections.
    pub fn with_section(&self, changed: usize, edits: &[u8]) -> Bytes {
        let mut writer = ContainerWriter::new(self.body.len() as u64);
        let changed = changed % self.sections.sections().len();
        for (at, section) in self.sections.sections().iter().enumerate() {
            let raw = self.sections.read(section.kind, section.ordinal);
            let mut raw = raw.expect("a good section").to_vec();
            if at == changed {
                raw = edited(&raw, edits);
            }
            let added = writer.add(section.kind, section.ordinal, &raw);
            added.expect("a section of the same size");
        }
        [&*self.body, &writer.finish(self.magic, 1)].concat().into()
    }
}
