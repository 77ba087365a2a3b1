//! The wire format of protocol buffers (<https://protobuf.dev/programming-guides/encoding/>), read
//! field by field without building messages.

use std::borrow::Cow;

/// A message that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    #[error("unexpected EOF")]
    Truncated,
    #[error("proto: integer overflow")]
    Overflow,
    #[error("proto: illegal tag 0")]
    IllegalTag,
    #[error("proto: wiretype end group for non-group")]
    EndGroup,
    #[error("proto: groups are not supported")]
    Group,
    #[error("proto: illegal wireType {0}")]
    WireType(u64),
    #[error("proto: wrong wireType for field {0}")]
    Mismatch(u64),
    #[error("proto: label set is not valid UTF-8")]
    Utf8,
}

impl From<WireError> for crate::error::Rejection {
    fn from(error: WireError) -> Self {
        Self::invalid(error.to_string())
    }
}

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

/// A field: its number and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field<'a> {
    pub(crate) number: u64,
    value: Value<'a>,
}

impl<'a> Field<'a> {
    pub(crate) fn bytes(self) -> Result<&'a [u8], WireError> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(WireError::Mismatch(self.number)),
        }
    }

    pub(crate) fn varint(self) -> Result<u64, WireError> {
        match self.value {
            Value::Varint(number) => Ok(number),
            _ => Err(WireError::Mismatch(self.number)),
        }
    }

    pub(crate) fn fixed64(self) -> Result<u64, WireError> {
        match self.value {
            Value::Fixed64(number) => Ok(number),
            _ => Err(WireError::Mismatch(self.number)),
        }
    }

    pub(crate) fn fixed32(self) -> Result<u32, WireError> {
        match self.value {
            Value::Fixed32(number) => Ok(number),
            _ => Err(WireError::Mismatch(self.number)),
        }
    }

    /// Text; what is no UTF-8 in it becomes the replacement character.
    pub(crate) fn text(self) -> Result<Cow<'a, str>, WireError> {
        self.bytes().map(String::from_utf8_lossy)
    }

    /// Text that must be UTF-8.
    pub(crate) fn strict_text(self) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| WireError::Utf8)
    }

    /// The fields of a message.
    pub(crate) fn message(self) -> Result<Fields<'a>, WireError> {
        self.bytes().map(Fields)
    }
}

/// The fields of a message that are left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn next(&mut self) -> Result<Option<Field<'a>>, WireError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.take_varint()?;
        let number = key >> 3;
        if number == 0 {
            return Err(WireError::IllegalTag);
        }
        let value = match key & 7 {
            0 => Value::Varint(self.take_varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.take_array()?)),
            2 => {
                let len = self.take_varint()?;
                let len = usize::try_from(len).map_err(|_| WireError::Truncated)?;
                let (bytes, rest) = self.0.split_at_checked(len).ok_or(WireError::Truncated)?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            3 => return Err(WireError::Group),
            4 => return Err(WireError::EndGroup),
            5 => Value::Fixed32(u32::from_le_bytes(self.take_array()?)),
            other => return Err(WireError::WireType(other)),
        };
        Ok(Some(Field { number, value }))
    }

    fn take_array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (array, rest) = self.0.split_first_chunk().ok_or(WireError::Truncated)?;
        self.0 = rest;
        Ok(*array)
    }

    fn take_varint(&mut self) -> Result<u64, WireError> {
        let mut number = 0_u64;
        for (i, byte) in self.0.iter().enumerate().take(10) {
            let bits = u64::from(byte & 0x7f);
            if i == 9 && bits > 1 {
                return Err(WireError::Overflow);
            }
            number |= bits << (7 * i);
            if byte & 0x80 == 0 {
                self.0 = self.0.get(i + 1..).unwrap_or_default();
                return Ok(number);
            }
        }
        if self.0.len() < 10 {
            Err(WireError::Truncated)
        } else {
            Err(WireError::Overflow)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(bytes: &[u8]) -> WireError {
        let mut fields = Fields(bytes);
        loop {
            match fields.next() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("no error"),
                Err(error) => return error,
            }
        }
    }

    #[test]
    fn lying_lengths_and_numbers_are_refused() {
        assert_eq!(error_of(&[0x0a, 0x05, 1]), WireError::Truncated);
        assert_eq!(
            error_of(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]),
            WireError::Truncated
        );
        assert_eq!(error_of(&[0x08]), WireError::Truncated);
        assert_eq!(error_of(&[0x09, 1, 2]), WireError::Truncated);
        assert_eq!(error_of(&[0xff; 12]), WireError::Overflow);
        assert_eq!(error_of(&[0x00, 0x00]), WireError::IllegalTag);
        assert_eq!(error_of(&[0x0c]), WireError::EndGroup);
        assert_eq!(error_of(&[0x0f]), WireError::WireType(7));
    }
}
