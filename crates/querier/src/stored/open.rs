//! Opening blocks with no more of their bytes than a query wants.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use chunk::{Block, Projection, RowSet};
use futures::{StreamExt, TryStreamExt};
use model::{Code, CodedError};
use parking_lot::Mutex;
use scan::Source;
use storage::BlockParts;
use tokio::sync::{AcquireError, Semaphore};

use super::claims::{BlockKey, Claim, Claims};
use super::held::Held;
use super::kept::{Kept, OpenBlock};
use super::search::{Searched, search};
use super::wanted::{Wanted, bytes_of, first_ranges, is_searched, joined};
use super::{OpenUnit, RunRef, Unit};
use crate::damage::{Damage, ReadError};
use crate::query::Context;
use crate::stats::QueryStats;

/// Blocks that a worker fetches at once: of one it needs little, and waits long.
const FETCHES_AT_ONCE: usize = 8;
/// Blocks of an object that are read in one go.
const READ_TOGETHER_MAX: usize = 8;
/// Blocks that all workers of a query part fetch at once: others have queries too.
const FETCHES_MAX: usize = 32;

/// Blocks that the units of one query have open. A query wants the same columns of all blocks, or
/// of a shared one more than a unit alone would need.
#[derive(Debug)]
pub(crate) struct OpenBlocks {
    kept: Kept,
    /// Shared blocks of which no row is wanted.
    unwanted: Mutex<HashSet<BlockKey>>,
    /// Shared blocks that a unit is reading.
    claims: Claims,
    /// The right to read.
    reads: Semaphore,
}

impl Default for OpenBlocks {
    fn default() -> Self {
        Self {
            kept: Kept::default(),
            unwanted: Mutex::default(),
            claims: Claims::default(),
            reads: Semaphore::new(FETCHES_MAX),
        }
    }
}

/// Which block of which unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    unit: usize,
    block: usize,
}

/// A block that is about to be opened, and who wants what of it.
#[derive(Debug)]
struct Opening<'a> {
    place: Place,
    run: &'a RunRef,
    wanted: Wanted<'a>,
    first: First<'a>,
}

/// What comes first for a block.
#[derive(Debug)]
enum First<'a> {
    /// Nothing has to be read: it is open, or no row of it is wanted.
    Known(Option<OpenBlock>),
    Read(Reading<'a>),
    /// It is shared, and another unit reads it: of the same batch or of another worker.
    Later,
    Damaged(Damage),
}

impl<'a> First<'a> {
    /// What comes first, or that nothing can.
    fn or_damaged(first: Result<Self, ReadError>) -> Result<Self, CodedError> {
        match first {
            Ok(first) => Ok(first),
            Err(ReadError::Damaged(damage)) => Ok(Self::Damaged(damage)),
            Err(ReadError::Failed(error)) => Err(error),
        }
    }
}

/// What to read of a block.
#[derive(Debug)]
struct Reading<'a> {
    parts: BlockParts,
    /// Whether this is more than a search needs.
    is_whole: bool,
    /// If it is shared.
    claim: Option<Claim<'a>>,
}

impl<'a> Opening<'a> {
    /// The open block; none if no row of it is wanted, or it is damaged.
    fn opened(self) -> Result<Option<Opened<'a>>, ReadError> {
        match self.first {
            First::Known(Some(open)) => Ok(Some(Opened {
                place: self.place,
                run: self.run,
                wanted: self.wanted,
                open,
            })),
            First::Damaged(damage) => Err(damage.into()),
            First::Known(None) | First::Read(_) | First::Later => Ok(None),
        }
    }
}

/// What is scanned of a block, and the memory that the block takes.
type HeldSource = (Source, Arc<Held>);

/// An open block, and who wants what of it.
#[derive(Clone, Debug)]
struct Opened<'a> {
    place: Place,
    run: &'a RunRef,
    wanted: Wanted<'a>,
    open: OpenBlock,
}

/// Rows that a search found in an open block, and what is wanted of them.
#[derive(Clone, Copy)]
struct Found<'a> {
    run: &'a RunRef,
    open: &'a OpenBlock,
    rows: &'a RowSet,
    wanted: Wanted<'a>,
}

impl Found<'_> {
    /// Whether the block has rows of other streams too.
    fn is_shared(&self) -> bool {
        self.open.block.meta().runs().len() > 1
    }

    /// The bytes that were not needed to search, but are to read the rows. Of a shared block they
    /// are those of all its rows.
    fn ranges(&self) -> Result<Vec<Range<u64>>, ReadError> {
        let (meta, wanted) = (self.open.block.meta(), self.wanted);
        let damaged = |error| self.run.damaged(&error);
        let mut ranges = if self.is_shared() {
            meta.fetch_ranges(wanted.projection, &[], None)
        } else {
            let others = Projection {
                metadata: wanted.projection.metadata,
                ..Projection::TIMESTAMPS
            };
            meta.fetch_ranges(others, &[], None)
        };
        if !self.is_shared() && (wanted.projection.lines || wanted.projection.lengths) {
            ranges.extend(self.open.block.lines_ranges(self.rows).map_err(damaged)?);
        }
        ranges.extend(wanted.lines.ranges(meta).map_err(damaged)?);
        Ok(joined(ranges))
    }
}

impl OpenBlocks {
    /// Opens the blocks of units with what is wanted of them; not those that can tell, without
    /// their lines, that no row is wanted, nor those that are damaged, which the answer will lack.
    /// All are searched in one go.
    pub(crate) async fn open(
        &self,
        context: &Context,
        units: &[(&Unit, Wanted<'_>)],
    ) -> Result<Vec<OpenUnit>, CodedError> {
        let (mut opening, mut looking) = (Vec::with_capacity(units.len()), Vec::new());
        for (number, (unit, wanted)) in units.iter().enumerate() {
            for (block, run) in unit.blocks.iter().enumerate() {
                let place = Place {
                    unit: number,
                    block,
                };
                // Many units have the same block: nobody waits for what is open.
                match self.kept.get(run) {
                    Some(open) => opening.push(Opening {
                        place,
                        run,
                        wanted: *wanted,
                        first: First::Known(Some(open)),
                    }),
                    None => looking.push(self.look(context, place, run, *wanted)),
                }
            }
        }
        let mut looked = futures::stream::iter(looking).buffered(FETCHES_AT_ONCE);
        while let Some(looked) = looked.try_next().await? {
            opening.push(looked);
        }
        self.read(context, &mut opening).await?;
        for later in &mut opening {
            self.read_later(context, later).await?;
        }
        let mut open: Vec<OpenUnit> = units.iter().map(|_| OpenUnit::default()).collect();
        let mut opened: Vec<Opened<'_>> = Vec::with_capacity(opening.len());
        for opening in opening {
            let (place, run) = (opening.place, opening.run);
            opened.extend(readable(context, &mut open, place, run, opening.opened())?);
        }
        let found = self.search(context, &opened).await?;
        let (mut sources, mut completing) = (Vec::with_capacity(opened.len()), Vec::new());
        for (opened, found) in opened.into_iter().zip(found) {
            match at_hand(&opened, found.as_ref()) {
                Some(source) => sources.extend(source.map(|source| (opened.place, source))),
                None => completing.push(self.complete(context, opened, found)),
            }
        }
        let mut completed = futures::stream::iter(completing).buffered(FETCHES_AT_ONCE);
        while let Some((place, run, source)) = completed.next().await {
            let source = readable(context, &mut open, place, run, source)?;
            sources.extend(source.map(|source| (place, source)));
        }
        sources.sort_by_key(|(place, _)| *place);
        for (place, (source, held)) in sources {
            if let Some(unit) = open.get_mut(place.unit) {
                unit.add(place.block, source, held);
            }
        }
        Ok(open)
    }

    /// What there is to do for a run.
    async fn look<'a>(
        &'a self,
        context: &Context,
        place: Place,
        run: &'a RunRef,
        wanted: Wanted<'a>,
    ) -> Result<Opening<'a>, CodedError> {
        Ok(Opening {
            place,
            run,
            wanted,
            first: First::or_damaged(self.first(context, run, wanted).await)?,
        })
    }

    async fn first<'a>(
        &'a self,
        context: &Context,
        run: &RunRef,
        wanted: Wanted<'_>,
    ) -> Result<First<'a>, ReadError> {
        if !run.may_have(context, wanted.prefilter.search()).await? {
            return Ok(First::Known(None));
        }
        let is_shared = run.block_meta(context).await?.runs().len() > 1;
        if let Some(open) = self.kept.get(run) {
            return Ok(First::Known(Some(open)));
        }
        if !is_shared {
            return self.plan(context, run, wanted, None).await;
        }
        match self.claims.now(run.key()) {
            Some(claim) => self.plan(context, run, wanted, Some(claim)).await,
            None => Ok(First::Later),
        }
    }

    /// What is found in blocks that were opened, if anything is searched for.
    async fn search(
        &self,
        context: &Context,
        opened: &[Opened<'_>],
    ) -> Result<Vec<Option<Searched>>, CodedError> {
        let mut prefilters = opened.iter().map(|opened| opened.wanted.prefilter);
        let Some(prefilter) = prefilters.find(|filter| !filter.is_empty()) else {
            return Ok(vec![None; opened.len()]);
        };
        let blocks: Vec<&OpenBlock> = opened.iter().map(|opened| &opened.open).collect();
        search(context, &blocks, prefilter.search()).await
    }

    /// Reads what there is to read, of each object in few goes.
    async fn read(&self, context: &Context, opening: &mut [Opening<'_>]) -> Result<(), CodedError> {
        let mut of_object: HashMap<u128, Vec<&mut Opening<'_>>> = HashMap::new();
        for opening in opening {
            if matches!(opening.first, First::Read(_)) {
                let object = opening.run.object.id;
                of_object.entry(object).or_default().push(opening);
            }
        }
        let mut reading = Vec::with_capacity(of_object.len());
        for mut opening in of_object.into_values() {
            while !opening.is_empty() {
                let rest = opening.split_off(opening.len().min(READ_TOGETHER_MAX));
                reading.push(self.read_object(context, std::mem::replace(&mut opening, rest)));
            }
        }
        let mut reading = futures::stream::iter(reading).buffer_unordered(FETCHES_AT_ONCE);
        while let Some(()) = reading.try_next().await? {}
        Ok(())
    }

    /// Reads what there is to read of some blocks of one object.
    async fn read_object(
        &self,
        context: &Context,
        opening: Vec<&mut Opening<'_>>,
    ) -> Result<(), CodedError> {
        let Some(object) = opening.first().map(|opening| &opening.run.object) else {
            return Ok(());
        };
        let (mut reading, mut parts) = (Vec::new(), Vec::new());
        for opening in opening {
            if let First::Read(read) = std::mem::replace(&mut opening.first, First::Known(None)) {
                let bytes = bytes_of(&read.parts.1);
                QueryStats::add(&context.stats.compressed_bytes, bytes);
                let held = Held::new(context, bytes)?;
                parts.push(read.parts);
                reading.push((opening, read.is_whole, read.claim, held));
            }
        }
        let objects = context.querier.catalog().objects();
        let is_held = |(meta, ranges): &&BlockParts| {
            objects.cached_bytes(object.id, meta, ranges) == bytes_of(ranges)
        };
        // Who has it all in memory reads nothing, and waits for nobody who does.
        let absent = parts.len() - parts.iter().filter(is_held).count();
        let _reads = match absent.min(READ_TOGETHER_MAX) as u32 {
            0 => None,
            at_once => Some(self.reads.acquire_many(at_once).await.map_err(stopping)?),
        };
        let blocks = match objects
            .blocks(object, &parts)
            .await
            .map_err(ReadError::from)
        {
            Ok(blocks) => blocks,
            Err(ReadError::Failed(error)) => return Err(error),
            Err(ReadError::Damaged(damage)) => {
                for (opening, ..) in reading {
                    opening.first = First::Damaged(damage.clone());
                }
                return Ok(());
            }
        };
        for ((opening, is_whole, claim, held), block) in reading.into_iter().zip(blocks) {
            let open = self.opened(context, opening.run, block, held, is_whole);
            opening.first = First::Known(Some(open));
            drop(claim);
        }
        Ok(())
    }

    /// Opens a block that another unit was reading, unless that one has it open now. All that this
    /// unit's batch has claimed is read by then, so nobody waits for who waits.
    async fn read_later<'a>(
        &'a self,
        context: &Context,
        opening: &mut Opening<'a>,
    ) -> Result<(), CodedError> {
        if !matches!(opening.first, First::Later) {
            return Ok(());
        }
        let (run, wanted) = (opening.run, opening.wanted);
        if let Some(open) = self.kept.get(run) {
            opening.first = First::Known(Some(open));
            return Ok(());
        }
        let claim = self.claims.wait(run.key()).await;
        opening.first = First::or_damaged(self.plan(context, run, wanted, Some(claim)).await)?;
        self.read(context, std::slice::from_mut(opening)).await
    }

    /// What of a run's block has to be read first: what a search needs, or all. Nothing if it is
    /// open, was searched for the same before, or its templates say that no row is wanted. A shared
    /// block is claimed.
    async fn plan<'a>(
        &'a self,
        context: &Context,
        run: &RunRef,
        wanted: Wanted<'_>,
        claim: Option<Claim<'a>>,
    ) -> Result<First<'a>, ReadError> {
        if let Some(claim) = &claim {
            let open = self.kept.get(run);
            if open.is_some() || self.unwanted.lock().contains(&claim.key) {
                return Ok(First::Known(open));
            }
        }
        let objects = context.querier.catalog().objects();
        let search = wanted.prefilter.search();
        if !search.is_empty()
            && let Some(block) = objects.held(run.object.id, run.block)
            && let Some(found) = block.found(search)
        {
            if found.is_empty() {
                return Ok(First::Known(None));
            }
            let held = Held::new(context, block.heap_bytes() as u64)?;
            let open = self.opened(context, run, block, held, false);
            return Ok(First::Known(Some(open)));
        }
        let meta = run.block_meta(context).await?;
        let is_searched = is_searched(&meta, wanted);
        let Some(ranges) = first_ranges(&meta, run, wanted)? else {
            if let Some(claim) = claim {
                self.unwanted.lock().insert(claim.key);
            }
            objects.rule_out(&run.object, &meta, search);
            return Ok(First::Known(None));
        };
        Ok(First::Read(Reading {
            parts: (meta, ranges),
            is_whole: !is_searched,
            claim,
        }))
    }

    fn opened(
        &self,
        context: &Context,
        run: &RunRef,
        block: Arc<Block>,
        held: Held,
        is_whole: bool,
    ) -> OpenBlock {
        QueryStats::add(&context.stats.blocks_read, 1);
        let is_shared = block.meta().runs().len() > 1;
        let open = OpenBlock {
            object: run.object.id,
            ordinal: run.block,
            block,
            held: Arc::new(held),
            is_whole,
        };
        if is_shared {
            self.kept.keep(context, open.clone());
        }
        open
    }

    /// Fetches what is needed besides of the rows that were found.
    async fn complete<'a>(
        &self,
        context: &Context,
        opened: Opened<'a>,
        found: Option<Searched>,
    ) -> (Place, &'a RunRef, Result<Option<HeldSource>, ReadError>) {
        let (place, run) = (opened.place, opened.run);
        let source = match found.transpose() {
            Ok(found) => self.source(context, opened, found).await.map(Some),
            Err(error) => Err(run.damaged(&error)),
        };
        (place, run, source)
    }

    async fn source(
        &self,
        context: &Context,
        opened: Opened<'_>,
        found: Option<Arc<RowSet>>,
    ) -> Result<HeldSource, ReadError> {
        let Opened { run, mut open, .. } = opened;
        if let Some(found) = found {
            let found = Found {
                run,
                open: &open,
                rows: &found,
                wanted: opened.wanted,
            };
            if open.is_whole {
                // Nothing is left to be fetched.
            } else if found.is_shared() {
                open = self.fetch_in_turn(context, found).await?;
            } else {
                self.fetch_found(context, found).await?;
            }
        }
        Ok(held_source(run, open))
    }

    async fn fetch_found(&self, context: &Context, found: Found<'_>) -> Result<(), ReadError> {
        let Found { run, open, .. } = found;
        let ranges = found.ranges()?;
        QueryStats::add(&context.stats.compressed_bytes, bytes_of(&ranges));
        open.held.grow(context, bytes_of(&ranges))?;
        let objects = context.querier.catalog().objects();
        let _read = self.reads.acquire().await.map_err(stopping)?;
        objects.fetch(&run.object, &open.block, &ranges).await?;
        Ok(())
    }

    /// As [`Self::fetch_found`], of a block that is shared: one of its units fetches for all. The
    /// block that was fetched for: where this one was pushed out of memory meanwhile, another.
    async fn fetch_in_turn(
        &self,
        context: &Context,
        found: Found<'_>,
    ) -> Result<OpenBlock, ReadError> {
        let Found { run, open, .. } = found;
        let _claim = self.claims.wait(run.key()).await;
        if let Some(whole) = self.kept.get(run).filter(|open| open.is_whole) {
            return Ok(whole);
        }
        self.fetch_found(context, found).await?;
        let whole = OpenBlock {
            is_whole: true,
            ..open.clone()
        };
        self.kept.keep(context, whole.clone());
        Ok(whole)
    }
}

/// What is scanned of a block, if anything, unless something may have to be fetched or failed.
fn at_hand(opened: &Opened<'_>, found: Option<&Searched>) -> Option<Option<HeldSource>> {
    let Opened { run, open, .. } = opened;
    let rows = open.block.meta().runs().get(run.run as usize);
    let rows = rows.map(chunk::RunMeta::row_range).unwrap_or_default();
    match found {
        Some(Ok(found)) if !found.has_any(rows) => Some(None),
        Some(Ok(_)) if !open.is_whole => None,
        Some(Err(_)) => None,
        Some(Ok(_)) | None => Some(Some(held_source(run, open.clone()))),
    }
}

fn held_source(run: &RunRef, open: OpenBlock) -> HeldSource {
    let source = Source::Block {
        block: open.block,
        run: run.run as usize,
    };
    (source, open.held)
}

/// What was read of a run, if anything; the unit and the answer take in that it is damaged.
fn readable<T>(
    context: &Context,
    units: &mut [OpenUnit],
    place: Place,
    run: &RunRef,
    read: Result<Option<T>, ReadError>,
) -> Result<Option<T>, CodedError> {
    let read = context.unless_damaged(read, run.lost())?;
    if let (None, Some(unit)) = (&read, units.get_mut(place.unit)) {
        unit.is_damaged_now();
    }
    Ok(read.flatten())
}

fn stopping(_: AcquireError) -> CodedError {
    CodedError::new(Code::Unavailable, "the querier is stopping")
}
