//! The outlines of several blocks, side by side: blocks next to each other have much in common, and
//! compress well so.
//!
//! ```text
//! page := row | row | …      a row per place of the table, a bit per block, the first block's lowest
//! ```

use bytes::Bytes;
use codec::CodecError;

use super::{Outline, TABLE_BITS, place};
use crate::Search;

/// Blocks of one page.
pub(crate) const PAGE_BLOCKS: usize = 64;
/// Tables of more places are of no version so far.
const MAX_TABLE_BITS: u32 = 20;

/// A page that was read.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    rows: Bytes,
    width: usize,
    table_bits: u32,
}

impl Page {
    /// The outlines of up to [`PAGE_BLOCKS`] blocks. A block without one may have anything.
    pub(crate) fn write(outlines: &[Option<Outline>]) -> Vec<u8> {
        let width = outlines.len().div_ceil(8);
        let mut page = vec![0u8; width << TABLE_BITS];
        for (block, outline) in outlines.iter().enumerate() {
            let mut mark = |place: usize| {
                if let Some(byte) = page.get_mut(place * width + block / 8) {
                    *byte |= 1 << (block % 8);
                }
            };
            match outline {
                Some(outline) => outline.places().for_each(mark),
                None => (0..1 << TABLE_BITS).for_each(&mut mark),
            }
        }
        page
    }

    /// Reads what [`Self::write`] wrote for so many blocks.
    pub(crate) fn parse(rows: Bytes, blocks: usize) -> Result<Self, CodecError> {
        let width = blocks.div_ceil(8).max(1);
        let places = rows.len() / width;
        let fits = rows.len().is_multiple_of(width)
            && places.is_power_of_two()
            && places <= 1 << MAX_TABLE_BITS;
        if !fits {
            return Err(CodecError::Invalid("outlines in a table of another length"));
        }
        Ok(Self {
            rows,
            width,
            table_bits: places.trailing_zeros(),
        })
    }

    /// Whether a line of a block, counted in the page, may meet all conditions.
    pub(crate) fn may_have(&self, block: usize, search: &Search) -> bool {
        search.may_hold(&|key| {
            let row = place(key, self.table_bits) * self.width;
            let byte = self.rows.get(row + block / 8);
            byte.is_none_or(|byte| byte >> (block % 8) & 1 == 1)
        })
    }

    /// Bytes held.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.rows.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Needle;
    use crate::outline::marks::Marks;

    fn outline(text: &str) -> Outline {
        let mut marks = Marks::new();
        marks.text(text.as_bytes());
        Outline(marks.finish())
    }

    #[test]
    fn a_page_says_of_each_block_what_its_outline_does() {
        let words = ["connection", "refused", "retry", "disk full"];
        for blocks in [1, 7, 8, 9, PAGE_BLOCKS] {
            let of = |block: usize| match block % 5 {
                4 => None,
                word => Some(outline(words[word])),
            };
            let outlines: Vec<Option<Outline>> = (0..blocks).map(of).collect();
            let page = Page::parse(Page::write(&outlines).into(), blocks).unwrap();
            for (word, block) in words
                .iter()
                .flat_map(|word| (0..blocks).map(move |b| (word, b)))
            {
                let mut search = Search::default();
                search.add(vec![Needle::new(*word)], false);
                let expected = block % 5 == 4 || words[block % 5] == *word;
                assert_eq!(page.may_have(block, &search), expected, "{word} in {block}");
            }
        }
    }

    #[test]
    fn tables_of_other_lengths_are_refused_but_for_powers_of_two() {
        let parse = |len: usize, blocks| Page::parse(vec![0; len].into(), blocks);
        for (len, blocks) in [
            (0, 1),
            (3, 1),
            (16, 17),
            (3 << 10, 9),
            (2 << MAX_TABLE_BITS, 1),
        ] {
            assert!(parse(len, blocks).is_err(), "{len} bytes for {blocks}");
        }
        for (len, blocks) in [
            (1, 1),
            (2, 9),
            (8 << 10, PAGE_BLOCKS),
            (1 << MAX_TABLE_BITS, 8),
        ] {
            assert!(parse(len, blocks).is_ok(), "{len} bytes for {blocks}");
        }
    }
}
