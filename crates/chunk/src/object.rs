//! Objects: writing blocks one after the other, and finding them again.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use codec::CodecError;
use codec::container::{self, Container, ContainerWriter};
use model::LabelSet;

use crate::outline::{Outline, PAGE_BLOCKS, Page};
use crate::{Block, BlockMeta, ChunkError, EncodedBlock, Part, Piece, Search};

mod streams;

pub use streams::StreamInfo;
use streams::{StreamPage, write_page};

const MAGIC: [u8; 4] = *b"LGOB";
const VERSION: u16 = 1;
/// Bytes before the first block: magic, version, flags, object id.
pub const HEADER_LEN: usize = 24;
/// Bytes of the trailer.
pub const TRAILER_LEN: usize = container::TRAILER_LEN;

const KIND_INFO: u8 = 1;
const KIND_STREAMS: u8 = 2;
const KIND_BLOCK: u8 = 3;
const KIND_OUTLINES: u8 = 4;

/// Streams of one page of the stream table.
const PAGE_STREAMS: usize = 16_384;

/// Outlines of smaller blocks, in bytes of bodies, would be much of an object.
const LEAST_OUTLINED_BYTES: u64 = 64 << 10;

/// Collects blocks into an object.
#[derive(Debug)]
pub struct ObjectWriter {
    object_id: u128,
    len: u64,
    pieces: Vec<Bytes>,
    blocks: Vec<BlockInfo>,
    outlines: Vec<Option<Outline>>,
    stream_of: HashMap<LabelSet, u32, foldhash::fast::RandomState>,
    streams: Vec<StreamInfo>,
}

/// A block of a finished object: what the label index has to know.
#[derive(Clone, Debug)]
pub struct BlockInfo {
    /// Runs and counters; `ordinal` is the block's number.
    pub meta: Arc<BlockMeta>,
    /// The stream of each run.
    pub streams: Vec<LabelSet>,
}

/// An object ready to be stored.
#[derive(Clone, Debug)]
pub struct FinishedObject {
    /// Its identity, also in its name.
    pub object_id: u128,
    /// Its bytes, in order.
    pub pieces: Vec<Bytes>,
    /// Length of all pieces.
    pub len: u64,
    /// Where what describes it starts.
    pub meta_off: u64,
    /// Bytes from there to the end.
    pub meta_len: u64,
    /// Its blocks.
    pub blocks: Vec<BlockInfo>,
}

impl FinishedObject {
    /// All pieces as one.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        self.pieces.concat().into()
    }
}

impl ObjectWriter {
    /// An object without blocks. The id is a ULID, fixed when its flush starts.
    #[must_use]
    pub fn new(object_id: u128) -> Self {
        let mut header = Vec::with_capacity(HEADER_LEN);
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&[0, 0]);
        header.extend_from_slice(&object_id.to_le_bytes());
        Self {
            object_id,
            len: header.len() as u64,
            pieces: vec![header.into()],
            blocks: Vec::new(),
            outlines: Vec::new(),
            stream_of: HashMap::default(),
            streams: Vec::new(),
        }
    }

    /// Bytes so far, without what describes them.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no block yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Adds a block and returns its ordinal.
    pub fn add_block(&mut self, block: EncodedBlock) -> u32 {
        let EncodedBlock {
            meta,
            streams,
            body,
            outline,
        } = block;
        let mut meta = Arc::unwrap_or_clone(meta);
        let ordinal = self.blocks.len() as u32;
        meta.ordinal = ordinal;
        meta.body_off = self.len;
        for (run, labels) in meta.runs.iter_mut().zip(&streams) {
            run.stream = self.stream(labels);
            if let Some(stream) = self.streams.get_mut(run.stream as usize) {
                stream.add(run);
            }
        }
        self.len += body.len() as u64;
        self.pieces.push(body);
        self.outlines.push(outline);
        self.blocks.push(BlockInfo {
            meta: Arc::new(meta),
            streams,
        });
        ordinal
    }

    fn stream(&mut self, labels: &LabelSet) -> u32 {
        if let Some(stream) = self.stream_of.get(labels) {
            return *stream;
        }
        let stream = self.streams.len() as u32;
        self.streams.push(StreamInfo::new(labels.clone()));
        self.stream_of.insert(labels.clone(), stream);
        stream
    }

    /// Adds streams, block metas, directory and trailer.
    ///
    /// # Errors
    /// If a part is larger than the format allows.
    pub fn finish(mut self) -> Result<FinishedObject, ChunkError> {
        let too_large = |reason| ChunkError::Damaged {
            part: Part::Directory,
            reason,
        };
        let mut writer = ContainerWriter::new(self.len);
        let mut info = self.object_id.to_le_bytes().to_vec();
        codec::put_varint(&mut info, self.blocks.len() as u64);
        codec::put_varint(&mut info, self.streams.len() as u64);
        writer.add(KIND_INFO, 0, &info).map_err(too_large)?;
        for (page, streams) in self.streams.chunks(PAGE_STREAMS).enumerate() {
            writer
                .add(KIND_STREAMS, page as u32, &write_page(streams))
                .map_err(too_large)?;
        }
        for (ordinal, block) in self.blocks.iter().enumerate() {
            writer
                .add(KIND_BLOCK, ordinal as u32, &block.meta.to_bytes())
                .map_err(too_large)?;
        }
        self.add_outlines(&mut writer).map_err(too_large)?;
        let meta_off = self.len;
        let meta = Bytes::from(writer.finish(MAGIC, VERSION));
        let meta_len = meta.len() as u64;
        self.pieces.push(meta);
        Ok(FinishedObject {
            object_id: self.object_id,
            pieces: self.pieces,
            len: meta_off + meta_len,
            meta_off,
            meta_len,
            blocks: self.blocks,
        })
    }
}

impl ObjectWriter {
    /// Adds the outlines of blocks that are not small.
    fn add_outlines(&self, writer: &mut ContainerWriter) -> Result<(), CodecError> {
        let pages = self.blocks.chunks(PAGE_BLOCKS);
        let pages = pages.zip(self.outlines.chunks(PAGE_BLOCKS));
        for (page, (blocks, outlines)) in (0u32..).zip(pages) {
            let bytes: u64 = blocks.iter().map(|block| block.meta.body_len()).sum();
            let is_known = outlines.iter().any(Option::is_some);
            if is_known && bytes >= LEAST_OUTLINED_BYTES * blocks.len() as u64 {
                writer.add(KIND_OUTLINES, page, &Page::write(outlines))?;
            }
        }
        Ok(())
    }
}

/// The last 48 bytes of an object: enough to fetch the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer(container::Trailer);

impl Trailer {
    /// Reads the trailer at the end of `tail`.
    ///
    /// # Errors
    /// If it is none, or of a newer version.
    pub fn parse(tail: &[u8]) -> Result<Self, ChunkError> {
        let trailer = container::Trailer::parse(tail, MAGIC, VERSION);
        trailer.map(Self).map_err(ChunkError::at(Part::Directory))
    }

    /// The bytes that [`ObjectMeta::parse`] wants.
    #[must_use]
    pub fn meta_range(&self) -> Range<u64> {
        self.0.meta_off..self.0.object_len
    }

    /// Bytes of the whole object.
    #[must_use]
    pub fn object_len(&self) -> u64 {
        self.0.object_len
    }
}

/// What describes an object. Block metas and streams are decoded when first asked for and kept.
#[derive(Debug)]
pub struct ObjectMeta {
    container: Container,
    object_id: u128,
    stream_count: usize,
    blocks: Vec<OnceLock<Arc<BlockMeta>>>,
    pages: Vec<OnceLock<StreamPage>>,
    outlines: Vec<OnceLock<Option<Page>>>,
}

impl ObjectMeta {
    /// Whether the end of an object, from `meta_off` to its last byte, is as it was written.
    #[must_use]
    pub fn is_intact(meta_bytes: &Bytes) -> bool {
        let container = Container::parse(meta_bytes.clone(), MAGIC, VERSION);
        container.is_ok_and(|container| container.is_intact())
    }

    /// Reads the end of an object, from `meta_off` to its last byte.
    ///
    /// # Errors
    /// If the bytes are anything else, or damaged.
    pub fn parse(meta_bytes: Bytes) -> Result<Self, ChunkError> {
        let container = Container::parse(meta_bytes, MAGIC, VERSION)
            .map_err(ChunkError::at(Part::Directory))?;
        let (object_id, blocks, stream_count) =
            read_info(&container).map_err(ChunkError::at(Part::Info))?;
        let pages = stream_count.div_ceil(PAGE_STREAMS);
        if container.count(KIND_BLOCK) != blocks || container.count(KIND_STREAMS) != pages {
            return Err(ChunkError::invalid(Part::Directory, "sections are missing"));
        }
        Ok(Self {
            container,
            object_id,
            stream_count,
            blocks: (0..blocks).map(|_| OnceLock::new()).collect(),
            pages: (0..pages).map(|_| OnceLock::new()).collect(),
            outlines: (0..blocks.div_ceil(PAGE_BLOCKS))
                .map(|_| OnceLock::new())
                .collect(),
        })
    }

    /// Reads a whole object and checks its header too.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn parse_object(object: &Bytes) -> Result<Self, ChunkError> {
        let trailer = Trailer::parse(object)?;
        if trailer.object_len() != object.len() as u64 {
            return Err(ChunkError::invalid(
                Part::Directory,
                "object of another length",
            ));
        }
        let meta = Self::parse(object.slice(trailer.meta_range().start as usize..))?;
        meta.check_header(object)?;
        Ok(meta)
    }

    /// Checks the first [`HEADER_LEN`] bytes of an object.
    ///
    /// # Errors
    /// If they are not the header of this object.
    pub fn check_header(&self, head: &[u8]) -> Result<(), ChunkError> {
        let mut reader = codec::Reader::new(head);
        let mut read = || -> Result<bool, CodecError> {
            Ok(reader.array()? == MAGIC
                && reader.u16()? == self.container.trailer().version
                && reader.u16()? == 0
                && u128::from_le_bytes(reader.array()?) == self.object_id)
        };
        match read() {
            Ok(true) => Ok(()),
            Ok(false) => Err(ChunkError::invalid(
                Part::Header,
                "not the header of this object",
            )),
            Err(reason) => Err(ChunkError::Damaged {
                part: Part::Header,
                reason,
            }),
        }
    }

    /// The object's identity.
    #[must_use]
    pub fn object_id(&self) -> u128 {
        self.object_id
    }

    /// Bytes of the whole object.
    #[must_use]
    pub fn object_len(&self) -> u64 {
        self.container.trailer().object_len
    }

    /// How many blocks it has.
    #[must_use]
    pub fn block_count(&self) -> usize {
        self.blocks.len()
    }

    /// How many streams it has.
    #[must_use]
    pub fn stream_count(&self) -> usize {
        self.stream_count
    }

    /// A block's meta.
    ///
    /// # Errors
    /// If there is no such block or its meta is damaged.
    pub fn block(&self, ordinal: usize) -> Result<Arc<BlockMeta>, ChunkError> {
        let cell = self.blocks.get(ordinal).ok_or(ChunkError::NoSuch {
            what: "block",
            ordinal,
        })?;
        if let Some(meta) = cell.get() {
            return Ok(Arc::clone(meta));
        }
        let number = ordinal as u32;
        let part = Part::BlockMeta { block: number };
        let raw = self
            .container
            .read(KIND_BLOCK, number)
            .map_err(ChunkError::at(part))?;
        let meta = BlockMeta::parse(number, &raw)?;
        if meta.body_range().end > self.container.trailer().meta_off {
            return Err(ChunkError::invalid(part, "body outside the object"));
        }
        if meta
            .runs()
            .iter()
            .any(|run| run.stream as usize >= self.stream_count)
        {
            return Err(ChunkError::invalid(part, "stream that is not in the table"));
        }
        Ok(Arc::clone(cell.get_or_init(|| Arc::new(meta))))
    }

    /// Whether a line of a block may meet all conditions, as far as its outline tells: to know that
    /// none does, the block's meta is not read. `true` if it has no outline.
    ///
    /// # Errors
    /// If there is no such block or the outline is damaged.
    pub fn may_have(&self, ordinal: usize, search: &Search) -> Result<bool, ChunkError> {
        if ordinal >= self.blocks.len() {
            return Err(ChunkError::NoSuch {
                what: "block",
                ordinal,
            });
        }
        if search.is_empty() {
            return Ok(true);
        }
        let outlines = self.outlines_page(ordinal / PAGE_BLOCKS)?;
        let may_have = |page: &Page| page.may_have(ordinal % PAGE_BLOCKS, search);
        Ok(outlines.is_none_or(may_have))
    }

    fn outlines_page(&self, page: usize) -> Result<Option<&Page>, ChunkError> {
        let cell = self.outlines.get(page).ok_or(ChunkError::NoSuch {
            what: "page of outlines",
            ordinal: page,
        })?;
        if let Some(known) = cell.get() {
            return Ok(known.as_ref());
        }
        let blocks = (self.blocks.len() - page * PAGE_BLOCKS).min(PAGE_BLOCKS);
        let read = match self.container.read(KIND_OUTLINES, page as u32) {
            Ok(rows) => Page::parse(rows, blocks).map(Some),
            Err(CodecError::Missing) => Ok(None),
            Err(error) => Err(error),
        };
        let part = Part::Outlines { page: page as u32 };
        let read = read.map_err(ChunkError::at(part))?;
        Ok(cell.get_or_init(|| read).as_ref())
    }

    /// Opens a block with what was fetched of it.
    ///
    /// # Errors
    /// As [`Self::block`].
    pub fn open(&self, ordinal: usize, pieces: Vec<Piece>) -> Result<Block, ChunkError> {
        Ok(Block::new(self.block(ordinal)?, pieces))
    }

    /// A stream, by the number that runs have.
    ///
    /// # Errors
    /// If there is none or its page is damaged.
    pub fn stream(&self, stream: u32) -> Result<&StreamInfo, ChunkError> {
        let ordinal = stream as usize;
        self.page(ordinal / PAGE_STREAMS)?
            .streams
            .get(ordinal % PAGE_STREAMS)
            .ok_or(ChunkError::NoSuch {
                what: "stream",
                ordinal,
            })
    }

    /// The streams of a block's runs.
    ///
    /// # Errors
    /// If the meta or the stream table is damaged.
    pub fn streams_of(&self, ordinal: usize) -> Result<Vec<LabelSet>, ChunkError> {
        let block = self.block(ordinal)?;
        block
            .runs()
            .iter()
            .map(|run| Ok(self.stream(run.stream)?.labels.clone()))
            .collect()
    }

    /// The run of a stream in a block.
    ///
    /// # Errors
    /// If the meta or the stream table is damaged.
    pub fn run_of(&self, ordinal: usize, labels: &LabelSet) -> Result<Option<usize>, ChunkError> {
        let fingerprint = labels.fingerprint();
        for (number, run) in self.block(ordinal)?.runs().iter().enumerate() {
            let stream = self.stream(run.stream)?;
            if stream.fingerprint == fingerprint && stream.labels == *labels {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    fn page(&self, page: usize) -> Result<&StreamPage, ChunkError> {
        let cell = self.pages.get(page).ok_or(ChunkError::NoSuch {
            what: "page of streams",
            ordinal: page,
        })?;
        if let Some(streams) = cell.get() {
            return Ok(streams);
        }
        let part = Part::Streams { page: page as u32 };
        let expected = (self.stream_count - page * PAGE_STREAMS).min(PAGE_STREAMS);
        let streams = self
            .container
            .read(KIND_STREAMS, page as u32)
            .and_then(|raw| StreamPage::parse(&raw, expected))
            .map_err(ChunkError::at(part))?;
        Ok(cell.get_or_init(|| streams))
    }

    /// Bytes held now, for memory accounting; grows as blocks are asked for.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let blocks: usize = self
            .blocks
            .iter()
            .filter_map(OnceLock::get)
            .map(|meta| meta.heap_bytes())
            .sum();
        let pages: usize = self
            .pages
            .iter()
            .filter_map(OnceLock::get)
            .map(StreamPage::heap_bytes)
            .sum();
        let outlines = self.outlines.iter().filter_map(OnceLock::get).flatten();
        let outlines: usize = outlines.map(Page::heap_bytes).sum();
        self.container.heap_bytes() + blocks + pages + outlines + self.blocks.len() * 16
    }
}

fn read_info(container: &Container) -> Result<(u128, usize, usize), CodecError> {
    let info = container.read(KIND_INFO, 0)?;
    let mut reader = codec::Reader::new(&info);
    let object_id = u128::from_le_bytes(reader.array()?);
    let blocks = reader.count("number of blocks", container::MAX_SECTIONS)?;
    let streams = reader.count("number of streams", container::MAX_SECTIONS * PAGE_STREAMS)?;
    reader.finish()?;
    Ok((object_id, blocks, streams))
}
