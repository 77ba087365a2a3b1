//! Removes what nothing refers to, while pushes and pulls go on.
//!
//! Nothing is walked: what may have lost its last reference waits in the database's review queue
//! until its grace is over (`meta::Review`), and bytes that lost their row wait until nobody can be
//! reading them. As a key is never used twice, removing bytes cannot hit those of a later push.
//! That is done every few seconds, or by a schedule if one was set (`meta::GcSchedule`): then what may
//! be garbage is looked at by one process when its time has come, and bytes whose rows went so leave
//! the store as soon as nobody can be reading them.
//! While the registry is read-only, nothing is removed.
//! Once a day the store is compared with the database, for what a crash left between the two.

use std::future::ready;
use std::time::Duration;

use futures::{Stream, StreamExt, TryStreamExt, stream};
use storage::OpenUpload;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::{Code, Error};
use crate::execution::{self, Run};
use crate::foreign;
use crate::forget;
use crate::logs::{Done, Job};
use crate::mark;
use crate::meta::{
    Bury, ExpireUploads, Forget, Postpone, Removed, Review, TakeGcTurn, Untag, Untagged, Work,
};
use crate::registry::Registry;
use crate::settings::check_writable;
use crate::small::is_small;
use crate::store;

/// Things that one transaction looks at, so that pushes need not wait long.
const REVIEWS_MAX: i64 = 64;
/// Manifests that one transaction asks of whether anything has them.
const MANIFESTS_MAX: i64 = 1000;
/// Uploads that one transaction gives up.
const UPLOADS_MAX: i64 = 64;
/// Objects that are removed before the database is told.
const REMOVALS_MAX: i64 = 100;
/// Objects that the database is asked for at once.
const OBJECTS_MAX: usize = 256;
/// Orphans that one sweep has removed.
const ORPHANS_MAX: usize = 100_000;
/// The longest pause between two looks whether the time of a schedule has come.
const SCHEDULE_POLL: Duration = Duration::from_secs(10);
/// The shortest pause between two rounds.
const PAUSE_MIN: Duration = Duration::from_millis(10);

/// Runs until the stop.
pub(crate) async fn run(registry: &Registry, stop: &CancellationToken) {
    let config = &registry.config().gc;
    while let Err(error) = foreign::tie(registry, stop).await {
        tracing::warn!(%error, "foreign layers were not tied to their manifests");
        tokio::select! {
            () = tokio::time::sleep(config.interval.as_std().max(PAUSE_MIN)) => {}
            () = stop.cancelled() => return,
        }
    }
    let mut swept = Instant::now();
    let mut cut: Option<Instant> = None;
    let mut attempt = 1;
    loop {
        // A round leaves alone what caches were asked for.
        if let Err(error) = registry.meta().write_pulls().await {
            tracing::warn!(%error, "it was not written what was pulled");
        }
        let is_scheduled = scheduled_round(registry, stop, &mut attempt).await;
        // A process of an earlier version that still runs beside this one leaves them open.
        if let Err(error) = registry.meta().seal_passwords(registry.sealer()).await {
            tracing::warn!(%error, "passwords of other registries were not sealed");
        }
        if cut.is_none_or(|at| at.elapsed() >= config.sweep_interval.as_std()) {
            cut = Some(Instant::now());
            if let Err(error) = forget::history(registry, stop).await {
                tracing::warn!(%error, "it was not forgotten where tags pointed");
            }
            if let Err(error) = forget::repos(registry, stop).await {
                tracing::warn!(%error, "empty repositories were not removed");
            }
        }
        let may_sweep = config.enabled && !registry.settings().is_read_only();
        if may_sweep && swept.elapsed() >= config.sweep_interval.as_std() {
            swept = Instant::now();
            let job = Job::gc("sweep");
            let outcome = tokio::select! {
                outcome = sweep(registry) => outcome,
                // It begins anew another time.
                () = stop.cancelled() => return,
            };
            if let Err(error) = &outcome {
                registry.metrics().sweep_failed();
                tracing::error!(%error, "the sweep of the store was broken off");
            }
            registry.logs().job(&job, outcome.as_ref());
        }
        let pause = match is_scheduled {
            true => config.interval.as_std().min(SCHEDULE_POLL),
            false => config.interval.as_std(),
        };
        tokio::select! {
            () = tokio::time::sleep(pause.max(PAUSE_MIN)) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Whether it is time to look at what may be garbage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Time {
    /// It always is.
    Always,
    /// A schedule says so, and what becomes of manifests without a tag.
    Scheduled(Untagged),
    /// A schedule says that it will be, or the registry is read-only.
    NotYet,
}

impl Time {
    async fn of(registry: &Registry) -> Result<Self, Error> {
        let meta = registry.meta();
        if registry.settings().is_read_only() {
            return Ok(Self::NotYet);
        }
        let Some(schedule) = meta.gc_schedule().await? else {
            return Ok(Self::Always);
        };
        let is_due = schedule.is_open(meta.now_ms()) && meta.change(TakeGcTurn).await?;
        Ok(match is_due {
            true => Self::Scheduled(schedule.untagged),
            false => Self::NotYet,
        })
    }

    /// What becomes of manifests without a tag, if it is time to look.
    fn untagged(self) -> Option<Untagged> {
        match self {
            Self::Always => Some(Untagged::Go),
            Self::Scheduled(untagged) => Some(untagged),
            Self::NotYet => None,
        }
    }
}

/// Does what is due now, as far as it is time for it; gives whether there is a schedule. `attempt` counts
/// the rounds that failed.
async fn scheduled_round(registry: &Registry, stop: &CancellationToken, attempt: &mut u32) -> bool {
    let job = Job::gc("collect").attempt(*attempt);
    let (time, collected) = match Time::of(registry).await {
        Ok(Time::Scheduled(untagged)) => {
            let job = job.scheduled();
            let run = Run::begin(registry, Work::Gc, job, false, stop).await;
            let collected = round(registry, Some(untagged), run.stop()).await;
            let done = collected.as_ref().map(|collected| Done::from(*collected));
            run.end(done.as_ref().map_err(|error| *error), Vec::new())
                .await;
            (Time::Scheduled(untagged), collected)
        }
        found => {
            let (time, collected) = match found {
                Ok(time) => (time, round(registry, time.untagged(), stop).await),
                Err(error) => (Time::Always, Err(error)),
            };
            tell_of_round(registry, job, &collected).await;
            (time, collected)
        }
    };
    *attempt = match collected {
        Ok(_) => 1,
        Err(_) => attempt.saturating_add(1),
    };
    if let Err(error) = collected {
        tracing::warn!(%error, "a round of garbage collection was broken off");
    }
    time != Time::Always
}

/// Rounds come every few seconds; those that find nothing are no news.
async fn tell_of_round(registry: &Registry, job: Job, collected: &Result<Collected, Error>) {
    let done = match collected {
        Ok(collected) if *collected == Collected::default() => return,
        Ok(collected) => Ok(Done::from(*collected)),
        Err(error) => Err(error),
    };
    execution::tell(
        registry,
        Work::Gc,
        job,
        done.as_ref().map_err(|error| *error),
    )
    .await;
}

/// What a round removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Collected {
    /// What lost its row.
    pub(crate) removed: Removed,
    /// Bytes that left the store; their rows went earlier.
    pub(crate) freed_bytes: u64,
}

impl From<Collected> for Done {
    fn from(collected: Collected) -> Self {
        let removed = collected.removed;
        Self {
            manifests: Some(removed.manifests),
            links: Some(removed.links),
            blobs: Some(removed.blobs),
            bytes: Some(removed.bytes),
            freed_bytes: Some(collected.freed_bytes),
            ..Self::default()
        }
    }
}

/// Collects because a request asks for it, or only looks; tells of it in any case, but where nothing
/// may be changed. Gives the number of the run too, if it is remembered.
pub(crate) async fn asked(
    registry: &Registry,
    rid: &str,
    untagged: Untagged,
    dry_run: bool,
) -> Result<(Collected, Option<i64>), Error> {
    if !dry_run {
        check_writable(registry)?;
    }
    let job = Job::gc("collect").asked_by(rid);
    let run = Run::begin(registry, Work::Gc, job, dry_run, &CancellationToken::new()).await;
    let collected = match dry_run {
        true => {
            let removed = registry
                .meta()
                .preview(untagged, registry.graces(), run.stop());
            removed.await.map(|removed| Collected {
                removed,
                freed_bytes: 0,
            })
        }
        false => round(registry, Some(untagged), run.stop()).await,
    };
    let done = collected.as_ref().map(|collected| Done {
        dry_run,
        ..Done::from(*collected)
    });
    let outcome = done.as_ref().map_err(|error| *error);
    let id = run.end(outcome, Vec::new()).await;
    Ok((collected?, id))
}

/// Does all that is due now; what may be garbage is looked at only if it is time for that, and so it
/// is said what becomes of manifests without a tag.
pub(crate) async fn round(
    registry: &Registry,
    untagged: Option<Untagged>,
    stop: &CancellationToken,
) -> Result<Collected, Error> {
    let meta = registry.meta();
    let mut total = Collected::default();
    let age_ms = registry.config().upload.expiry.0 / 1_000_000;
    let expire = || ExpireUploads {
        age_ms,
        limit: UPLOADS_MAX,
    };
    while !stop.is_cancelled() && meta.change(expire()).await? > 0 {}
    forget::audit(registry, stop).await?;
    let may_remove = || registry.config().gc.enabled && !registry.settings().is_read_only();
    if untagged == Some(Untagged::All) && may_remove() {
        untag(registry, stop).await?;
    }
    while let Some(untagged) = untagged
        && may_remove()
        && !stop.is_cancelled()
    {
        let removed = meta.change(review(registry, untagged)).await?;
        if removed.looked_at == 0 {
            break;
        }
        registry.metrics().removed(&removed);
        total.removed.add(&removed);
    }
    let mut failed = 0;
    while !stop.is_cancelled()
        && !registry.settings().is_read_only()
        && let Some(freed) = remove_dead(registry).await?
    {
        total.freed_bytes += freed.bytes;
        failed += freed.failed;
        if freed.is_stuck {
            // The store may be down; the next round has the next of them.
            break;
        }
    }
    registry
        .metrics()
        .backlog(&meta.backlog().await?, meta.now_ms());
    if failed > 0 {
        let message = format!("the store did not remove {failed} objects; they are tried again");
        return Err(Error::new(Code::Unavailable, message));
    }
    Ok(total)
}

/// Has all manifests looked at that no tag and no index has.
async fn untag(registry: &Registry, stop: &CancellationToken) -> Result<(), Error> {
    let mut after = Some(0);
    while let Some(last) = after
        && !stop.is_cancelled()
    {
        let some = Untag {
            after: last,
            limit: MANIFESTS_MAX,
            grace_ms: registry.untagged_grace_ms(),
        };
        after = registry.meta().change(some).await?;
    }
    Ok(())
}

fn review(registry: &Registry, untagged: Untagged) -> Review {
    Review {
        graces: registry.graces(),
        untagged,
        limit: REVIEWS_MAX,
    }
}

/// What of the dead bytes left the store.
struct Freed {
    bytes: u64,
    /// Objects that are still there.
    failed: u64,
    /// Whether none was removed.
    is_stuck: bool,
}

/// Removes bytes that are dead; gives nothing once there are none.
async fn remove_dead(registry: &Registry) -> Result<Option<Freed>, Error> {
    let dead = registry.meta().dead(REMOVALS_MAX).await?;
    if dead.is_empty() {
        return Ok(None);
    }
    let mut freed_bytes = 0;
    let (mut data_keys, mut failed) = (Vec::new(), Vec::new());
    for object in dead {
        let written = object.written.as_deref();
        if store::owner(&object.data_key).is_none() && !is_small(&object.data_key) {
            // A sweep of an earlier version took it for ours.
            data_keys.push(object.data_key);
            continue;
        }
        match registry.store().remove(&object.data_key, written).await {
            Ok(()) => {
                registry.metrics().freed(object.size);
                freed_bytes += object.size;
                data_keys.push(object.data_key);
            }
            // Others may still work.
            Err(error) => {
                tracing::error!(%error, "dead bytes were not removed; they are tried again");
                failed.push(object.data_key);
            }
        }
    }
    let is_stuck = data_keys.is_empty();
    registry.meta().change(Forget { data_keys }).await?;
    let freed = Freed {
        is_stuck,
        bytes: freed_bytes,
        failed: failed.len() as u64,
    };
    if freed.failed > 0 {
        registry.metrics().removals_failed(freed.failed);
        let postpone = Postpone {
            data_keys: failed,
            delay_ms: registry.config().gc.retry_delay.0 / 1_000_000,
        };
        registry.meta().change(postpone).await?;
    }
    Ok(Some(freed))
}

/// Removes what a crash left in the store, if that is this database's.
async fn sweep(registry: &Registry) -> Result<Done, Error> {
    mark::check(registry.meta(), registry.keeper()).await?;
    Ok(Done {
        orphans: Some(sweep_objects(registry).await?),
        uploads: Some(sweep_uploads(registry).await?),
        ..Done::default()
    })
}

/// Has bytes removed that no row names; gives how many there were. Nothing is, if so much of the store
/// seems to be garbage that the database may be the one that is wrong.
async fn sweep_objects(registry: &Registry) -> Result<u64, Error> {
    let (mut objects_count, mut orphans_count) = (0_u64, 0_u64);
    let mut orphans = Vec::new();
    let mut objects = std::pin::pin!(objects(registry).await?);
    while let Some((data_key, is_orphan)) = objects.try_next().await? {
        objects_count += 1;
        orphans_count += u64::from(is_orphan);
        // The rest is for the next sweep.
        if is_orphan && orphans.len() < ORPHANS_MAX {
            orphans.push(data_key);
        }
    }
    let percent_max = registry.config().gc.sweep_orphans_percent_max;
    if orphans_count.saturating_mul(100) > objects_count.saturating_mul(percent_max) {
        let message = format!(
            "registry.gc.sweep_orphans_percent_max: the database does not name {orphans_count} of \
             {objects_count} objects, more than {percent_max} %; none is removed. If the database is \
             the right one, `skald registry fsck --repair` removes them"
        );
        return Err(Error::new(Code::Conflict, message));
    }
    for data_key in orphans {
        registry.meta().change(Bury { data_key }).await?;
    }
    Ok(orphans_count)
}

/// What there is in the store under keys of ours, and whether no row names it. What belongs to a request
/// that is under way is named by its upload, and what is young is left alone all the same.
pub(crate) async fn objects(
    registry: &Registry,
) -> Result<impl Stream<Item = Result<(String, bool), Error>> + use<'_>, Error> {
    let meta = registry.meta();
    let age_ms = registry.config().gc.sweep_interval.0 / 1_000_000;
    let old = meta.now_ms() - age_ms;
    let keys = registry.keeper().keys().await?.map_err(Error::from);
    let ours = keys.try_filter_map(move |(key, changed_ms)| {
        let data_key = store::owner(&key).map(str::to_owned);
        ready(Ok(data_key.map(|data_key| (data_key, changed_ms <= old))))
    });
    let batches = ours.try_chunks(OBJECTS_MAX).map_err(|error| error.1);
    let looked_up = batches.and_then(move |batch| async move {
        let old = batch.iter().filter(|(_, is_old)| *is_old);
        let known = meta.known_data(old.map(|(data_key, _)| data_key.as_str()));
        let known = known.await?;
        Ok(stream::iter(batch).map(move |(data_key, is_old)| {
            let is_orphan = is_old && !known.contains(&data_key);
            Ok((data_key, is_orphan))
        }))
    });
    Ok(looked_up.try_flatten())
}

/// Aborts uploads in parts that no row names; gives how many there were.
async fn sweep_uploads(registry: &Registry) -> Result<u64, Error> {
    let mut aborted = 0;
    let mut uploads = std::pin::pin!(orphan_uploads(registry));
    while let Some(upload) = uploads.try_next().await? {
        registry.keeper().abort(&upload).await?;
        aborted += 1;
    }
    Ok(aborted)
}

/// Uploads in parts under keys of ours that nobody can continue: the process was killed before it had
/// written down what the store calls them. Their rows expire before they do.
pub(crate) fn orphan_uploads(
    registry: &Registry,
) -> impl Stream<Item = Result<OpenUpload, Error>> + use<'_> {
    let meta = registry.meta();
    let old = meta.now_ms() - registry.config().upload.expiry.0 / 1_000_000;
    let uploads = registry.keeper().open_uploads().map_err(Error::from);
    uploads.try_filter_map(move |upload| async move {
        let is_ours = store::owner(&upload.key) == Some(upload.key.as_str());
        let may_be = is_ours && upload.begun_ms <= old;
        let is_orphan = may_be && !meta.knows_upload_of(&upload.key).await?;
        Ok(is_orphan.then_some(upload))
    })
}
