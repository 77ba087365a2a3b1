//! Claims: who works on a partition now, so that others do not do the same work.
//!
//! A claim is a file with the next number of the partition's claims, made by a conditional create,
//! and ends at a time that it names. Nothing depends on claims but time saved: of two who replace
//! the same files one is refused by [`Catalog::commit`].

use model::TenantId;
use serde::{Deserialize, Serialize};

use super::Catalog;
use crate::error::StorageError;
use crate::key::{claim_key, claims_directory, parse_claim_key};
use crate::manifest::{decode_claim, encode_claim};

/// What a claim's file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClaimFile {
    /// Who has it: an instance's name.
    pub(crate) holder: String,
    /// Until when, by the clock of the holder.
    pub(crate) until_ns: i64,
}

/// A claim that is held. It ends by itself, or with [`Catalog::release`].
#[derive(Debug, PartialEq, Eq)]
pub struct Claim {
    key: String,
}

impl Catalog {
    /// Claims a partition for `holder` until a time; `None` if somebody else has it now. What
    /// `holder` claimed before, perhaps in an earlier life, it may claim again.
    ///
    /// # Errors
    /// If the store fails; the partition may be claimed all the same.
    pub async fn claim(
        &self,
        tenant: &TenantId,
        day: i64,
        holder: &str,
        until_ns: i64,
    ) -> Result<Option<Claim>, StorageError> {
        let store = &self.0.store;
        let listed = store.list(&claims_directory(tenant, day), None).await?;
        let earlier: Vec<u64> = listed
            .iter()
            .filter_map(|file| parse_claim_key(&file.key))
            .collect();
        let newest = earlier.iter().copied().max();
        if let Some(newest) = newest
            && self
                .is_taken(&claim_key(tenant, day, newest), holder)
                .await?
        {
            return Ok(None);
        }
        let key = claim_key(tenant, day, newest.map_or(1, |newest| newest + 1));
        let file = ClaimFile {
            holder: holder.to_owned(),
            until_ns,
        };
        match store.create(&key, encode_claim(&file)?).await {
            Ok(()) => {}
            Err(StorageError::AlreadyExists { .. }) => return Ok(None),
            Err(error) => return Err(error),
        }
        for seq in earlier {
            store.delete(&claim_key(tenant, day, seq)).await?;
        }
        Ok(Some(Claim { key }))
    }

    async fn is_taken(&self, key: &str, holder: &str) -> Result<bool, StorageError> {
        let bytes = match self.0.store.get(key).await {
            Err(StorageError::NotFound { .. }) => return Ok(false),
            other => other?,
        };
        // A damaged claim protects nothing.
        Ok(decode_claim(&bytes)
            .is_ok_and(|file| file.holder != holder && file.until_ns > self.0.clock.now_ns()))
    }

    /// Gives a claim back.
    ///
    /// # Errors
    /// If the store fails; the claim then ends when its time is over.
    pub async fn release(&self, claim: Claim) -> Result<(), StorageError> {
        self.0.store.delete(&claim.key).await
    }
}
