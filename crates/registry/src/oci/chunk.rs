//! The bytes of one request on their way to the end of an upload.

use futures::StreamExt;
use http::StatusCode;

use super::pieces::Pieces;
use super::upload::range;
use crate::digest::{Algorithm, Digest, Hasher};
use crate::error::{Code, Error};
use crate::heal;
use crate::meta::{Commit, Extend, ExtendSmall, Meta, Upload};
use crate::registry::Registry;
use crate::reservations::Reserved;
use crate::small::Appending;
use crate::who::Who;

/// A long request is written down every so many bytes, so that a broken one loses no more.
const SAVE_BYTES: u64 = 64 << 20;

/// Where a chunk belongs, as `Content-Range` says: its first byte and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChunkRange {
    pub(super) start: u64,
    pub(super) length: u64,
}

impl ChunkRange {
    /// Reads `0-99`, also with the unit and the size that some clients write.
    pub(super) fn parse(value: &str) -> Result<Self, Error> {
        let range = value.trim();
        let range = range.strip_prefix("bytes").unwrap_or(range);
        let range = range.trim_start_matches([' ', '=']);
        let range = range.split('/').next().unwrap_or(range);
        let numbers = range.split_once('-').and_then(|(from, to)| {
            let (from, to): (u64, u64) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
            Some((from, to.checked_sub(from)?.checked_add(1)?))
        });
        let (start, length) = numbers.ok_or_else(|| {
            let message = format!("Content-Range `{value}` is not the first and last byte: 0-99");
            Error::new(Code::BlobUploadInvalid, message)
        })?;
        Ok(Self { start, length })
    }
}

/// An upload that a request continues.
pub(crate) struct Receiving {
    upload: Upload,
    appender: Appending,
    hasher: Hasher,
    /// Bytes so far.
    received: u64,
    /// Of these, what is written down.
    saved: u64,
    /// Room for what is not.
    reserved: Option<Reserved>,
    /// Bytes of the blob that it is said to be, if that is known.
    size: Option<u64>,
}

impl Receiving {
    /// Continues an upload whose digest will have this algorithm.
    pub(crate) async fn resume(
        registry: &Registry,
        upload: Upload,
        algorithm: Algorithm,
    ) -> Result<Self, Error> {
        let hasher = if upload.received == 0 {
            Hasher::new(algorithm)
        } else {
            let hasher = Hasher::resume(upload.algorithm, &upload.hash_state);
            hasher.ok_or_else(|| Error::internal("resuming the upload", &"its hash is damaged"))?
        };
        let small_bytes_max = registry.config().database.blob_bytes_max.as_usize();
        let appender = Appending::resume(registry.store(), &upload, small_bytes_max).await?;
        Ok(Self {
            received: upload.received,
            saved: upload.received,
            hasher,
            appender,
            upload,
            reserved: None,
            size: None,
        })
    }

    /// With room for what comes.
    pub(super) fn with_reserved(self, reserved: Option<Reserved>) -> Self {
        Self { reserved, ..self }
    }

    /// With no more bytes than the blob has that it is said to be.
    pub(super) fn of_size(self, size: Option<u64>) -> Self {
        Self { size, ..self }
    }

    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Takes pieces to their end. If they break off, what came is kept and can be continued from.
    pub(crate) async fn take(
        &mut self,
        registry: &Registry,
        mut pieces: Pieces,
        expected: Option<u64>,
    ) -> Result<(), Error> {
        let blob_size_max = registry.config().upload.blob_size_max.0;
        let begin = self.received;
        while let Some(piece) = pieces.next().await {
            let bytes = match piece {
                Ok(bytes) => bytes,
                Err(reason) => {
                    self.end(registry.meta()).await?;
                    return Err(self.broken_off(&reason));
                }
            };
            self.received += bytes.len() as u64;
            if let Some(expected) = expected.filter(|bytes| self.received - begin > *bytes) {
                let message = format!("Content-Range says {expected} bytes, and more came");
                return Err(Error::new(Code::SizeInvalid, message));
            }
            if self.received > blob_size_max {
                let message = format!(
                    "registry.upload.blob_size_max: a blob has at most {blob_size_max} bytes"
                );
                let error = Error::new(Code::SizeInvalid, message);
                return Err(error.with_status(StatusCode::PAYLOAD_TOO_LARGE));
            }
            if let Some(size) = self.size.filter(|size| self.received > *size) {
                let message = format!("the blob with this digest has {size} bytes, more came");
                return Err(Error::new(Code::DigestInvalid, message));
            }
            if let Some(quota) = &self.upload.quota {
                quota.admit("what came", self.received - begin)?;
            }
            let (appender, hasher) = (&mut self.appender, &mut self.hasher);
            // What writes is at work meanwhile, and is done when the hash is: nobody need be woken.
            let (written, ()) = tokio::join!(
                biased;
                appender.write(bytes.clone()),
                async { hasher.update(&bytes) },
            );
            written?;
            if self.appender.must_save() && self.saved == 0 {
                self.note_begun(registry.meta()).await?;
            } else if self.appender.must_save() || self.received - self.saved >= SAVE_BYTES {
                self.save(registry.meta(), false).await?;
            }
        }
        let came = self.received - begin;
        match expected {
            Some(expected) if expected != came => {
                let message = format!("Content-Range says {expected} bytes, and {came} came");
                Err(Error::new(Code::SizeInvalid, message))
            }
            _ => Ok(()),
        }
    }

    fn broken_off(&self, reason: &str) -> Error {
        let message = format!("the body broke off after byte {}: {reason}", self.received);
        Error::new(Code::BlobUploadInvalid, message)
            .with_detail("received", self.received)
            .with_header(http::header::RANGE, &range(self.received))
    }

    /// Makes durable what came, unless it is little, and writes down that it did and that this request
    /// brings no more.
    pub(crate) async fn end(&mut self, meta: &Meta) -> Result<(), Error> {
        self.save(meta, true).await
    }

    /// Writes down what has begun in the store, before there are bytes in it.
    async fn note_begun(&mut self, meta: &Meta) -> Result<(), Error> {
        let begun = Extend {
            uuid: self.upload.uuid.clone(),
            turn: self.upload.turn.clone(),
            is_last: false,
            received_before: 0,
            received: 0,
            hash_state: self.upload.hash_state.clone(),
            written: self.appender.begun()?,
            is_bounded: false,
        };
        meta.change(begun).await
    }

    async fn save(&mut self, meta: &Meta, is_last: bool) -> Result<(), Error> {
        let written = self.appender.save().await?;
        if let Some(reserved) = &self.reserved {
            // Not after it counts in the database too: somebody else might be refused.
            reserved.came(self.received - self.saved);
        }
        let extend = Extend {
            uuid: self.upload.uuid.clone(),
            turn: self.upload.turn.clone(),
            is_last,
            received_before: self.saved,
            received: self.received,
            hash_state: self.hasher.save(),
            written,
            is_bounded: self
                .upload
                .quota
                .as_ref()
                .is_some_and(|q| q.room().is_some()),
        };
        match self.appender.is_small() {
            true => meta.change(ExtendSmall(extend)).await?,
            false => meta.change(extend).await?,
        }
        self.saved = self.received;
        Ok(())
    }

    /// Makes the bytes whole, if they are what `digest` says. A chunk before this one may have been
    /// hashed with another algorithm; then they are read once more.
    pub(crate) async fn finish(
        &mut self,
        registry: &Registry,
        digest: &Digest,
    ) -> Result<(), Error> {
        let hashed = self.hasher.clone().digest();
        if hashed.algorithm() == digest.algorithm() {
            self.compare(&hashed, digest)?;
            return Ok(self.appender.finish().await?);
        }
        self.appender.finish().await?;
        let mut hasher = Hasher::new(digest.algorithm());
        if let Some((_, bytes)) = self.appender.small() {
            hasher.update(&bytes);
        } else {
            let key = &self.upload.data_key;
            let mut bodies = registry.store().read(key, 0..self.received).await?;
            while let Some(bytes) = bodies.next().await {
                hasher.update(&bytes?);
            }
        }
        self.compare(&hasher.digest(), digest)
    }

    fn compare(&self, found: &Digest, expected: &Digest) -> Result<(), Error> {
        if found == expected {
            return Ok(());
        }
        let message = format!(
            "the {} bytes that came have the digest {found}, not {expected}; push again",
            self.received
        );
        Err(Error::new(Code::DigestInvalid, message)
            .with_detail("received", self.received)
            .with_detail("digest", found.as_str()))
    }

    /// Makes the bytes, which are whole, a blob of their repository. Those of a blob that is there
    /// already go, unless its own are broken.
    pub(crate) async fn commit(
        self,
        registry: &Registry,
        who: Who,
        digest: &Digest,
    ) -> Result<(), Error> {
        let (data_key, small) = match self.appender.small() {
            Some((data_key, bytes)) => (data_key, Some(bytes)),
            None => (self.upload.data_key.clone(), None),
        };
        let commit = Commit {
            uuid: self.upload.uuid.clone(),
            turn: self.upload.turn.clone(),
            repo: self.upload.repo.clone(),
            digest: digest.clone(),
            data_key,
            small,
            broken_key: heal::broken_key(registry, digest).await?,
            size: self.received,
            grace_ms: registry.blob_grace_ms(),
            who,
        };
        drop(self.reserved);
        if registry.meta().change(commit).await? {
            tracing::info!(%digest, "the broken bytes of a blob were replaced by what was pushed");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges() {
        let range = |start, length| ChunkRange { start, length };
        for (value, expected) in [
            ("0-99", range(0, 100)),
            ("100-100", range(100, 1)),
            ("bytes 0-9/20", range(0, 10)),
            ("bytes=5-9", range(5, 5)),
        ] {
            assert_eq!(ChunkRange::parse(value).unwrap(), expected, "{value}");
        }
        for value in ["", "5", "9-5", "a-b", "-5", "5-", "0-18446744073709551615"] {
            assert!(ChunkRange::parse(value).is_err(), "{value}");
        }
    }
}
