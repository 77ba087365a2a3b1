//! Lines of structured blocks with nothing but what the stages read.

use std::sync::Arc;

use chunk::{
    Block, BlockMeta, ChunkError, KeptParts, Layout, LineTemplate, ReducedLines, Reduction,
    RunMeta, WholeLines,
};
use logql::pipeline::{LineReader, TemplateText};

/// A run with fewer of the rows of its block is not worth going through them for it alone.
const SHARE_MIN: u64 = 8;

/// What to keep of the lines of a run, if that is less than all and their metadata does not matter.
/// What is kept of all lines of a block serves all its runs, but not what is kept of lines that were
/// searched for. A block that is `held` may know it.
///
/// # Errors
/// If the block is damaged.
pub(crate) fn reduction(
    reader: &LineReader,
    block: &BlockMeta,
    held: Option<&Block>,
    run: &RunMeta,
    is_searched: bool,
) -> Result<Option<Reduction>, ChunkError> {
    let keys = block.metadata_keys();
    let is_read = keys.is_none_or(|keys| keys.iter().any(|key| reader.reads_label(&key.name)));
    let is_alone = is_searched && !is_worth_a_walk(block, run);
    if block.layout() == Layout::Plain || is_read || is_alone {
        return Ok(None);
    }
    if let Some(known) = held.and_then(|block| block.known_reduction(reader.known_by())) {
        return Ok(Some(known));
    }
    let templates = block.templates()?;
    let kept = templates.iter().map(|template| kept(reader, *template));
    let reduction = Reduction::new(Arc::clone(reader.known_by()), kept.collect());
    Ok(reduction.is_any().then_some(reduction))
}

/// What is kept of the lines of a run, and which of these is of its first row. Lines that are read
/// whole are put together only if the run has such: other runs of the block may have many.
///
/// # Errors
/// If the block is damaged, or needed bytes were not fetched.
pub(crate) fn lines_of_run(
    reduction: &Reduction,
    block: &Block,
    run: &RunMeta,
) -> Result<(Arc<ReducedLines>, usize), ChunkError> {
    let rows = run.row_range();
    let lines = block.reduced_lines(reduction, WholeLines::LeftOut)?;
    if !lines.lacks(rows.clone()) {
        return Ok((lines, rows.start));
    }
    if is_worth_a_walk(block.meta(), run) {
        let lines = block.reduced_lines_of(reduction, rows, None)?;
        return Ok((Arc::new(lines), 0));
    }
    let lines = block.reduced_lines(reduction, WholeLines::Kept)?;
    Ok((lines, rows.start))
}

/// Whether a run has enough of the rows of its block to go through all of them for it alone.
fn is_worth_a_walk(block: &BlockMeta, run: &RunMeta) -> bool {
    u64::from(run.rows) * SHARE_MIN >= u64::from(block.rows())
}

fn kept(reader: &LineReader, template: LineTemplate<'_>) -> Option<KeptParts> {
    let text = TemplateText {
        text: template.text(),
        is_json: template.is_json(),
        may_have: &|placeholder, byte| template.may_contain(placeholder, byte),
    };
    let kept = reader.reduce(text)?;
    Some(KeptParts {
        text: kept.text,
        placeholders: kept.placeholders,
        number: kept.number,
    })
}
