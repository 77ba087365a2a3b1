//! What a fuzzer runs: a reader fed with bytes that nobody vouches for. It returns or fails; a
//! panic, a hang or a huge allocation is a bug.

use bytes::Bytes;
use model::Matcher;

use crate::{Index, IndexError};

/// Reads everything a file has.
///
/// # Errors
/// If the file is damaged.
pub fn file(bytes: &Bytes, matchers: &[Matcher]) -> Result<(), IndexError> {
    let index = Index::parse(bytes.clone())?;
    index.select(matchers, &|| true)?;
    for name in index.label_names(None) {
        index.label_values(&name, None, &|| true)?;
        index.label_values(&name, Some(&index.all()), &|| true)?;
    }
    for series in 0..index.series_count() {
        index.series(series)?;
        index.blocks(series)?;
    }
    Ok(())
}
