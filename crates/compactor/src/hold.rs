//! The claim on a partition while it is worked on, so that two compactors do not do the same.

use model::TenantId;
use storage::Claim;

use crate::{CompactError, Compactor};

/// A claim, or none yet.
#[derive(Debug, Default)]
pub(crate) struct Hold {
    claim: Option<Claim>,
    renew_ns: i64,
}

impl Compactor {
    /// Whether the partition is ours for the next commit; claims it if need be.
    pub(crate) async fn holds(
        &self,
        hold: &mut Hold,
        tenant: &TenantId,
        day: i64,
    ) -> Result<bool, CompactError> {
        let now_ns = self.now_ns();
        if hold.claim.is_some() && now_ns < hold.renew_ns {
            return Ok(true);
        }
        let period_ns = self.config.claim_period.0;
        let until_ns = now_ns.saturating_add(period_ns);
        hold.claim = self
            .catalog
            .claim(tenant, day, &self.writer, until_ns)
            .await?;
        hold.renew_ns = now_ns.saturating_add(period_ns / 2);
        Ok(hold.claim.is_some())
    }

    /// Gives the partition back to whoever wants it next.
    pub(crate) async fn release(&self, hold: Hold) {
        let Some(claim) = hold.claim else {
            return;
        };
        if let Err(error) = self.catalog.release(claim).await {
            tracing::debug!(error = %error, "a claim ends when its time is over");
        }
    }
}
