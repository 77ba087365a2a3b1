//! A cursor over bytes that nobody vouches for.

use crate::CodecError;

/// Reads from the front of a slice.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the front.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { left: bytes }
    }

    /// Bytes not read yet.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.left.len()
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// If there are fewer, as for all methods here.
    #[inline]
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], CodecError> {
        let (taken, left) = self
            .left
            .split_at_checked(len)
            .ok_or(CodecError::Truncated)?;
        self.left = left;
        Ok(taken)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// If there are fewer.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let (taken, left) = self
            .left
            .split_first_chunk::<N>()
            .ok_or(CodecError::Truncated)?;
        self.left = left;
        Ok(*taken)
    }

    /// One byte.
    ///
    /// # Errors
    /// If there is none.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, CodecError> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Little endian.
    ///
    /// # Errors
    /// If there are too few bytes.
    #[inline]
    pub fn u16(&mut self) -> Result<u16, CodecError> {
        self.array().map(u16::from_le_bytes)
    }

    /// Little endian.
    ///
    /// # Errors
    /// If there are too few bytes.
    #[inline]
    pub fn u32(&mut self) -> Result<u32, CodecError> {
        self.array().map(u32::from_le_bytes)
    }

    /// Little endian.
    ///
    /// # Errors
    /// If there are too few bytes.
    pub fn u64(&mut self) -> Result<u64, CodecError> {
        self.array().map(u64::from_le_bytes)
    }

    /// LEB128, at most ten bytes.
    ///
    /// # Errors
    /// If the bytes end or the number has more than 64 bits.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, CodecError> {
        if let [byte @ ..0x80, left @ ..] = self.left {
            self.left = left;
            return Ok(u64::from(*byte));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Result<u64, CodecError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(CodecError::Invalid("varint of more than 64 bits"))
    }

    /// See [`put_zigzag`](crate::put_zigzag).
    ///
    /// # Errors
    /// As [`Self::varint`].
    #[inline]
    pub fn zigzag(&mut self) -> Result<i64, CodecError> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A varint that counts something: at most `limit`.
    ///
    /// # Errors
    /// If it is more.
    #[inline]
    pub fn count(&mut self, what: &'static str, limit: usize) -> Result<usize, CodecError> {
        CodecError::cap(what, self.varint()?, limit)
    }

    /// A varint that counts things of at least one byte each that follow.
    ///
    /// # Errors
    /// If it is more than `limit` or than the bytes left.
    #[inline]
    pub fn items(&mut self, what: &'static str, limit: usize) -> Result<usize, CodecError> {
        let count = self.count(what, limit)?;
        if count > self.left.len() {
            return Err(CodecError::Truncated);
        }
        Ok(count)
    }

    /// So many things, a number that [`Self::items`] gave: there is room for all at once.
    ///
    /// # Errors
    /// The first of `read`.
    pub fn list<T>(
        &mut self,
        count: usize,
        mut read: impl FnMut(&mut Self) -> Result<T, CodecError>,
    ) -> Result<Vec<T>, CodecError> {
        let mut all = Vec::with_capacity(count);
        for _ in 0..count {
            all.push(read(self)?);
        }
        Ok(all)
    }

    /// A length and that many bytes.
    ///
    /// # Errors
    /// If the bytes end.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], CodecError> {
        let len = self.varint()?;
        self.take(usize::try_from(len).map_err(|_| CodecError::Truncated)?)
    }

    /// A length and that many bytes of UTF-8.
    ///
    /// # Errors
    /// If the bytes end or are not UTF-8.
    pub fn text(&mut self) -> Result<&'a str, CodecError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| CodecError::Invalid("text is not utf-8"))
    }

    /// Makes sure that everything was read.
    ///
    /// # Errors
    /// If bytes are left.
    pub fn finish(&self) -> Result<(), CodecError> {
        if self.left.is_empty() {
            Ok(())
        } else {
            Err(CodecError::Invalid("bytes left over"))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{put_bytes, put_varint, put_zigzag};

    proptest! {
        #[test]
        fn numbers_come_back(a: u64, b: i64, c: Vec<u8>) {
            let mut out = Vec::new();
            put_varint(&mut out, a);
            put_zigzag(&mut out, b);
            put_bytes(&mut out, &c);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.varint().unwrap(), a);
            prop_assert_eq!(reader.zigzag().unwrap(), b);
            prop_assert_eq!(reader.bytes().unwrap(), c);
            prop_assert!(reader.finish().is_ok());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            while reader.varint().and_then(|_| reader.text()).is_ok() {}
        }
    }

    #[test]
    fn a_varint_has_at_most_64_bits() {
        assert_eq!(
            Reader::new(&[0xff; 10]).varint(),
            Err(CodecError::Invalid("varint of more than 64 bits"))
        );
        assert_eq!(Reader::new(&[0x80]).varint(), Err(CodecError::Truncated));
    }
}
