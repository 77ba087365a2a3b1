//! Memory for decompressed bodies, kept from one push to the next: asked for anew it would come page
//! by page, and be written twice.

use bytes::Bytes;
use parking_lot::Mutex;

/// Buffers that are kept.
const KEPT: usize = 4;
/// Larger ones are not.
const KEPT_BYTES: usize = 4 << 20;

static FREE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// The first bytes of a buffer that is kept for others when it is dropped.
struct Lent {
    buffer: Vec<u8>,
    len: usize,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or_default()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if self.buffer.len() > KEPT_BYTES {
            return;
        }
        let mut free = FREE.lock();
        if free.len() < KEPT {
            free.push(std::mem::take(&mut self.buffer));
        }
    }
}

/// Lets `fill` write `len` bytes, all of them: what is in them before is another body.
///
/// # Errors
/// What `fill` says.
pub(super) fn filled<E>(
    len: usize,
    fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
) -> Result<Bytes, E> {
    let mut lent = Lent {
        buffer: FREE.lock().pop().unwrap_or_default(),
        len,
    };
    if lent.buffer.len() < len {
        lent.buffer.resize(len, 0);
    }
    fill(lent.buffer.get_mut(..len).unwrap_or_default())?;
    Ok(Bytes::from_owner(lent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_its_own_bytes_whatever_was_there_before() {
        let of = |len: usize, byte: u8| {
            let filled = filled(len, |bytes| {
                bytes.fill(byte);
                Ok::<_, ()>(())
            });
            filled.unwrap()
        };
        let first = of(10, 1);
        let second = of(3, 2);
        assert_eq!((&*first, &*second), (&[1; 10][..], &[2; 3][..]));
        drop(first);
        assert_eq!(of(5, 3), [3; 5][..]);
        assert_eq!(of(0, 4), [][..]);
        assert_eq!(of(KEPT_BYTES + 1, 5).len(), KEPT_BYTES + 1);
        let failed = filled(4, |_| Err("no"));
        assert_eq!(failed, Err("no"));
        assert_eq!(second, [2; 3][..]);
    }
}
