//! Gives a project the room of what was deleted in it before the grace is over, for which it could have
//! been brought back. What a push under way counts on stays.

use http::StatusCode;
use tokio_util::sync::CancellationToken;

use crate::error::{Code, Error};
use crate::execution::Run;
use crate::gc::{self, Collected};
use crate::logs::{Done, Job};
use crate::meta::{Hasten, Purge, Untagged, Work};
use crate::registry::Registry;
use crate::settings::check_writable;
use crate::who::Who;

/// Things that one transaction has looked at.
const HASTENED_MAX: i64 = 1000;
/// What one thing leaves behind goes in the next round: an index, its manifests, their blobs.
const ROUNDS_MAX: usize = 8;

/// Does it; gives what went, and the number of the run, if it is remembered.
pub(crate) async fn purge(
    registry: &Registry,
    who: Who,
    project: &str,
) -> Result<(Collected, Option<i64>), Error> {
    check_writable(registry)?;
    if !registry.config().gc.enabled {
        let message = "nothing is removed here: registry.gc.enabled is false";
        let error = Error::new(Code::Unsupported, message);
        return Err(error.with_status(StatusCode::BAD_REQUEST));
    }
    let job = Job::gc("purge").asked_by(&who.rid);
    let run = Run::begin(registry, Work::Gc, job, false, &CancellationToken::new()).await;
    let purged = rounds(registry, who, project, run.stop()).await;
    let done = purged.as_ref().map(|purged| Done::from(*purged));
    let id = run
        .end(done.as_ref().map_err(|error| *error), Vec::new())
        .await;
    Ok((purged?, id))
}

async fn rounds(
    registry: &Registry,
    who: Who,
    project: &str,
    stop: &CancellationToken,
) -> Result<Collected, Error> {
    let purge = Purge {
        who,
        project: project.to_owned(),
    };
    registry.meta().change(purge).await?;
    let hasten = || Hasten {
        project: project.to_owned(),
        limit: HASTENED_MAX,
    };
    let mut total = Collected::default();
    for _ in 0..ROUNDS_MAX {
        while !stop.is_cancelled() && registry.meta().change(hasten()).await? > 0 {}
        let round = gc::round(registry, Some(Untagged::Go), stop).await?;
        total.removed.add(&round.removed);
        total.freed_bytes += round.freed_bytes;
        if round.removed.manifests + round.removed.links == 0 {
            break;
        }
    }
    Ok(total)
}
