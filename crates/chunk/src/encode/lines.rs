//! The lines of a block, in the layout that suits them.

use std::sync::{Mutex, PoisonError};

use codec::frame::Compressor;

use super::{Body, EncodeOptions, LinesPolicy, Run, parts};
use crate::draft::{Draft, draft};
use crate::meta::{Blob, Layout, LazyShape};
use crate::outline::Outline;

/// What is laid out both ways to see what is smaller, in bytes. Templates pay the more the longer
/// a block is; of much less than this they often do not.
const PROBE_BYTES: u32 = 256 << 10;

/// Texts that are kept for the next blocks.
const KEPT: usize = 2;
/// Larger ones are not.
const KEPT_BYTES: usize = 8 << 20;

/// Memory that is asked for anew for each block comes page by page.
static TEXTS: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Where the lines went.
#[derive(Debug)]
pub(super) struct Lines {
    pub(super) layout: Layout,
    pub(super) lengths: Blob,
    pub(super) lines: Blob,
    pub(super) shape: Option<LazyShape>,
    pub(super) outline: Option<Outline>,
}

/// Adds the lines of all runs to the body.
pub(super) fn lines(runs: &[Run<'_>], options: &EncodeOptions, body: &mut Body) -> Lines {
    let ends = ends(runs);
    with_text(runs, |text| encode(text, &ends, options, body))
}

fn encode(text: &[u8], ends: &[u32], options: &EncodeOptions, body: &mut Body) -> Lines {
    let structured = match options.lines {
        LinesPolicy::Plain => None,
        LinesPolicy::Probe if !pays(text, ends, options) => None,
        LinesPolicy::Probe | LinesPolicy::Structured => structured(text, ends),
    };
    match structured {
        Some(draft) => Lines {
            layout: if draft.has_json() {
                Layout::Json
            } else {
                Layout::Text
            },
            lengths: Blob::default(),
            lines: Blob::default(),
            outline: draft.outline(),
            shape: Some(LazyShape::new(draft.write(body))),
        },
        None => Lines {
            layout: Layout::Plain,
            lengths: body.add_ints(&lengths(ends)),
            lines: body.add(text),
            shape: None,
            outline: None,
        },
    }
}

/// Lines as templates and columns, unless more than 30 % of them fits no template.
fn structured(text: &[u8], ends: &[u32]) -> Option<Draft> {
    let draft = draft(text, ends.iter().copied())?;
    (draft.raw_bytes * 10 <= text.len() * 3).then_some(draft)
}

/// Whether the first lines are smaller as templates and columns.
fn pays(text: &[u8], ends: &[u32], options: &EncodeOptions) -> bool {
    let rows = ends.partition_point(|end| *end <= PROBE_BYTES).max(1);
    let ends = ends.get(..rows).unwrap_or(ends);
    let bytes = ends.last().map_or(0, |end| *end as usize);
    let text = text.get(..bytes).unwrap_or_default();
    let Some(draft) = structured(text, ends) else {
        return false;
    };
    let mut body = Body::new(options.codec);
    let shape = draft.write(&mut body).to_bytes();
    let mut columns = body.finish().1.to_vec();
    Compressor::default().append(options.codec, &shape, &mut columns);
    let mut body = Body::new(options.codec);
    body.add_ints(&lengths(ends));
    body.add(text);
    columns.len() < body.finish().1.len()
}

/// The lines of all runs as one text, in memory that is kept for the next block if they lie in several
/// places.
fn with_text<T>(runs: &[Run<'_>], read: impl FnOnce(&[u8]) -> T) -> T {
    let mut all = parts(runs);
    if let (Some(part), None) = (all.next(), all.next()) {
        return read(part.lines());
    }
    let kept = || TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut text = kept().pop().unwrap_or_default();
    text.clear();
    text.reserve_exact(runs.iter().map(Run::line_bytes).sum());
    parts(runs).for_each(|part| text.extend_from_slice(part.lines()));
    let result = read(&text);
    let mut kept = kept();
    if kept.len() < KEPT && text.capacity() <= KEPT_BYTES {
        kept.push(text);
    }
    result
}

fn ends(runs: &[Run<'_>]) -> Vec<u32> {
    let mut ends = Vec::with_capacity(runs.iter().map(Run::rows).sum());
    let mut first = 0;
    for part in parts(runs) {
        ends.extend(part.line_ends().iter().map(|end| first + end));
        first += part.lines().len() as u32;
    }
    ends
}

fn lengths(ends: &[u32]) -> Vec<u64> {
    let mut start = 0;
    ends.iter()
        .map(|end| u64::from(end - std::mem::replace(&mut start, *end)))
        .collect()
}
