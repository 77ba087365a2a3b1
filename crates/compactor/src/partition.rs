//! One partition, until there is nothing left to do for it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use model::{TenantId, TimeRange};
use storage::{ManifestEntry, ObjectFile, PartitionState, add_to_index, key};

use crate::deletes::{Deleted, Due};
use crate::hold::Hold;
use crate::indexes::{Indexes, Loaded};
use crate::metrics::{Dropped, Outcome};
use crate::plan::{LEVEL_MERGED, Plan, plan};
use crate::retention::Retention;
use crate::rewrite::{Done, Job, Rewritten};
use crate::survey::{Survey, survey};
use crate::{CompactError, Compactor};

/// Commits of one visit: then others have their turn.
const COMMITS_MAX: usize = 4;
/// So many label indexes of a partition are merged even if no object is.
const INDEXES_MAX: usize = 16;
/// So few are left alone: who reads a partition first fetches each with a request.
const INDEXES_FEW: usize = 2;
/// More than so few are merged if that writes no more than this part of the data that came since,
const INDEX_PART: u64 = 8;
/// or hardly anything.
const INDEX_BYTES_SMALL: u64 = 64 << 10;

/// How a visit to a partition ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visit {
    /// It is as it should be.
    Done,
    /// Nothing can be done now, but rows that are to be deleted may be left: in what was just
    /// flushed, or cannot be read.
    Waits,
    /// There is more to do.
    Unfinished,
    /// Somebody else works on it.
    Held,
}

/// What there is to do for a partition.
#[derive(Debug, Default)]
struct Todo {
    /// To be rewritten.
    plan: Plan,
    /// To be dropped whole.
    expired: BTreeSet<u128>,
    /// Whether the label indexes are merged in any case.
    merges_indexes: bool,
    /// Whether rows that are to be deleted may be left when all this is done.
    waits: bool,
}

impl Todo {
    fn is_nothing(&self) -> bool {
        self.plan.objects.is_empty() && self.expired.is_empty() && !self.merges_indexes
    }
}

/// A partition as it is now, and what is known of it.
struct Partition<'a> {
    tenant: &'a TenantId,
    day: i64,
    state: Arc<PartitionState>,
    /// Once loaded.
    indexes: Option<Indexes>,
}

impl Partition<'_> {
    fn indexes(&self) -> Vec<Arc<index::Index>> {
        let all = self.indexes.iter().flat_map(|indexes| &indexes.all);
        all.map(|loaded| Arc::clone(&loaded.index)).collect()
    }
}

impl Compactor {
    /// Does what there is to do for a partition, a few commits of it.
    pub(crate) async fn visit(
        &self,
        tenant: &TenantId,
        day: i64,
        retention: &Retention,
        due: &Due,
    ) -> Result<Visit, CompactError> {
        let mut hold = Hold::default();
        let done = self.work_on(tenant, day, retention, due, &mut hold).await;
        self.release(hold).await;
        if let Err(error) = &done {
            self.note_damage(error);
            if matches!(error, CompactError::Index(_)) {
                self.sound.forget();
            }
        }
        done
    }

    async fn work_on(
        &self,
        tenant: &TenantId,
        day: i64,
        retention: &Retention,
        due: &Due,
        hold: &mut Hold,
    ) -> Result<Visit, CompactError> {
        for _ in 0..COMMITS_MAX {
            let started = Instant::now();
            let mut partition = self.partition(tenant, day).await?;
            let todo = self.todo(&mut partition, retention, due).await?;
            if todo.is_nothing() {
                return Ok(if todo.waits {
                    Visit::Waits
                } else {
                    Visit::Done
                });
            }
            if !self.holds(hold, tenant, day).await? {
                return Ok(Visit::Held);
            }
            let committed = self.commit(&mut partition, &todo, retention, due).await;
            self.metrics
                .job_seconds
                .observe(started.elapsed().as_secs_f64());
            self.metrics.job(match &committed {
                Ok(()) => Outcome::Ok,
                Err(error) if error.is_conflict() => Outcome::Conflict,
                Err(_) => Outcome::Error,
            });
            committed?;
        }
        Ok(Visit::Unfinished)
    }

    async fn partition<'a>(
        &self,
        tenant: &'a TenantId,
        day: i64,
    ) -> Result<Partition<'a>, CompactError> {
        Ok(Partition {
            tenant,
            day,
            state: self.catalog.latest(tenant, day).await?,
            indexes: None,
        })
    }

    /// Drops objects of a partition, whole.
    pub(crate) async fn drop_objects(
        &self,
        tenant: &TenantId,
        day: i64,
        mut expired: BTreeSet<u128>,
    ) -> Result<(), CompactError> {
        let mut partition = self.partition(tenant, day).await?;
        expired.retain(|id| partition.state.objects.contains_key(id));
        if expired.is_empty() {
            return Ok(());
        }
        let todo = Todo {
            expired,
            ..Todo::default()
        };
        let (retention, due) = (Retention::default(), Due::default());
        self.commit(&mut partition, &todo, &retention, &due).await
    }

    /// What there is to do. Expired objects come first: neither they nor what indexes say of them
    /// need be read.
    async fn todo(
        &self,
        partition: &mut Partition<'_>,
        retention: &Retention,
        due: &Due,
    ) -> Result<Todo, CompactError> {
        let state = Arc::clone(&partition.state);
        if state.is_empty() {
            return Ok(Todo::default());
        }
        let (now_ns, day) = (self.now_ns(), partition.day);
        let expired = expired_by_age(&state, retention, now_ns);
        if !expired.is_empty() || state.objects.is_empty() {
            return Ok(Todo {
                merges_indexes: state.objects.is_empty(),
                expired,
                ..Todo::default()
            });
        }
        let has_due = due.touches(day) && !self.checked.has_all(&state, due);
        let is_mixed = !retention.keeps_all() && retention.has_rules();
        if has_due || is_mixed || !self.sound.has_all(&state) {
            self.load(partition).await?;
        }
        let mut fate = Fate::default();
        let mut deleted = Deleted::default();
        if has_due || is_mixed {
            let all = state.objects.keys().copied().collect();
            let streams = survey(&partition.indexes(), &all)?;
            if is_mixed {
                fate = fate_by_stream(&streams, retention, day, now_ns);
            }
            if has_due && fate.expired.is_empty() {
                let tenant = partition.tenant;
                deleted = self.deleted(tenant, day, &state, &streams, due).await?;
            }
        }
        if !fate.expired.is_empty() {
            return Ok(Todo {
                expired: fate.expired,
                ..Todo::default()
            });
        }
        let mut rewritten = fate.partly;
        rewritten.extend(deleted.objects);
        rewritten.retain(|object| !self.is_aside(*object));
        let is_mended = partition.indexes.as_ref().is_some_and(Indexes::is_mended);
        Ok(Todo {
            plan: self.plan(&state, rewritten, day),
            expired: BTreeSet::new(),
            merges_indexes: is_mended
                || has_many_indexes(&state) && self.can_merge(partition).await?,
            waits: deleted.may_be_left,
        })
    }

    /// Whether there can be fewer label indexes: some may have more names than go into one file.
    async fn can_merge(&self, partition: &mut Partition<'_>) -> Result<bool, CompactError> {
        self.load(partition).await?;
        let indexes = partition.indexes();
        let groups = index::mergeable(indexes.iter().map(|index| &**index));
        Ok(groups.len() < indexes.len())
    }

    /// Objects to rewrite: those that have to be, a job at a time, or else what is to be merged.
    fn plan(&self, state: &PartitionState, needed: BTreeSet<u128>, day: i64) -> Plan {
        if needed.is_empty() {
            let end_ns = (day + 1).saturating_mul(TimeRange::DAY_NS);
            let now_ns = self.now_ns();
            let is_over = end_ns.saturating_add(self.config.day_settle.0) < now_ns;
            let is_readable = |file: &&ObjectFile| !self.is_aside(file.id);
            let objects = state.objects.values().filter(is_readable);
            return plan(objects, &self.config, now_ns, is_over);
        }
        let file = |id: &u128| state.objects.get(id);
        let level = needed.iter().filter_map(file).map(|file| file.level).max();
        let mut bytes = 0u64;
        let fits = |id: &u128| {
            let is_first = bytes == 0;
            bytes += file(id).map_or(0, |file| file.size_bytes);
            is_first || bytes <= self.config.job_size.0
        };
        Plan {
            objects: needed.into_iter().take_while(fits).collect(),
            level: level.unwrap_or_default().max(LEVEL_MERGED),
        }
    }

    async fn load(&self, partition: &mut Partition<'_>) -> Result<(), CompactError> {
        if partition.indexes.is_none() {
            let (tenant, day) = (partition.tenant, partition.day);
            let indexes = self.indexes(tenant, day, &partition.state).await?;
            partition.indexes = Some(indexes);
        }
        Ok(())
    }

    /// Writes what takes the place of old files, and swaps.
    async fn commit(
        &self,
        partition: &mut Partition<'_>,
        todo: &Todo,
        retention: &Retention,
        due: &Due,
    ) -> Result<(), CompactError> {
        let drops_only = todo.plan.objects.is_empty() && !todo.merges_indexes;
        if todo.expired.len() < partition.state.objects.len() {
            match self.load(partition).await {
                // Readers go by the objects, so an index may name what is gone until it is mended.
                Err(error) if drops_only => self.note_damage(&error),
                loaded => loaded?,
            }
        }
        let partition = &*partition;
        let rewritten = self.carry_out(partition, &todo.plan, retention, due);
        let rewritten = rewritten.await?;
        let (tenant, day) = (partition.tenant, partition.day);
        let done = rewritten.done;
        let data = rewritten.files.iter();
        let mut written: Vec<String> = data.map(|f| key::data_key(tenant, day, f.id)).collect();
        let entry = self.entry(partition, todo, rewritten, &mut written).await;
        let swapped = match entry {
            Ok(entry) => self.swap(partition, entry, due).await,
            Err(error) => {
                self.discard(&written).await;
                return Err(error);
            }
        };
        // Only then is it sure that nobody refers to them.
        if swapped.as_ref().is_err_and(CompactError::is_refusal) {
            self.discard(&written).await;
        }
        swapped?;
        self.count(partition, todo, done);
        Ok(())
    }

    /// Rewrites the objects of a plan. If their rows cannot be merged they are left out from now on.
    async fn carry_out(
        &self,
        partition: &Partition<'_>,
        plan: &Plan,
        retention: &Retention,
        due: &Due,
    ) -> Result<Rewritten, CompactError> {
        let job = Job {
            tenant: partition.tenant,
            day: partition.day,
            state: &partition.state,
            streams: survey(&partition.indexes(), &plan.objects)?,
            deletes: &due.deletes,
            retention,
            level: plan.level,
        };
        let rewritten = self.rewrite(job).await;
        let is_blamed = plan.objects.iter().any(|object| self.is_aside(*object));
        if !is_blamed && rewritten.as_ref().is_err_and(CompactError::is_of_rows) {
            self.put_aside(plan.objects.iter().copied());
        }
        rewritten
    }

    /// Commits a change, and notes what is known of the files that it adds.
    async fn swap(
        &self,
        partition: &Partition<'_>,
        entry: ManifestEntry,
        due: &Due,
    ) -> Result<(), CompactError> {
        let (objects, indexes) = (entry.add_objects.clone(), entry.add_indexes.clone());
        let (tenant, day) = (partition.tenant, partition.day);
        self.catalog.commit(tenant, day, entry).await?;
        for file in &objects {
            self.checked.add(file.id, &due.requests);
        }
        indexes.iter().for_each(|file| self.sound.add(file.id));
        let of_objects = objects.iter().map(|file| file.size_bytes);
        let of_indexes = indexes.iter().map(|file| file.size_bytes);
        let bytes = of_objects.chain(of_indexes).sum();
        self.metrics.objects_written.inc_by(objects.len() as u64);
        self.metrics.bytes_written.inc_by(bytes);
        Ok(())
    }

    /// The change: the rewritten objects for the removed ones, and one label index for all, or as
    /// few as can hold them. Keys of what is written go to `written`.
    async fn entry(
        &self,
        partition: &Partition<'_>,
        todo: &Todo,
        mut rewritten: Rewritten,
        written: &mut Vec<String>,
    ) -> Result<ManifestEntry, CompactError> {
        let (tenant, day) = (partition.tenant, partition.day);
        let state = &partition.state;
        let removed: BTreeSet<u128> = todo.plan.objects.union(&todo.expired).copied().collect();
        let keep = |id| state.objects.contains_key(&id) && !removed.contains(&id);
        let mut entry = ManifestEntry::new(self.writer.clone(), self.now_ns());
        if let Some(indexes) = &partition.indexes {
            entry.remove_indexes.clone_from(&indexes.superseded);
            let mut objects = std::mem::take(&mut rewritten.objects);
            let of_all = indexes.all.iter().map(|loaded| &*loaded.index);
            let mut groups = index::mergeable(of_all);
            if groups.is_empty() {
                groups.push(Vec::new());
            }
            for group in groups {
                let of_group = || group.iter().filter_map(|at| indexes.all.get(*at));
                let is_kept = |loaded: &Loaded| {
                    let mut named = loaded.index.objects().iter();
                    loaded.file.is_some() && named.all(|object| keep(object.id))
                };
                if group.len() == 1 && objects.is_empty() && of_group().all(is_kept) {
                    continue;
                }
                entry
                    .remove_indexes
                    .extend(of_group().filter_map(|loaded| loaded.file));
                let mut builder = index::merge(of_group().map(|loaded| &*loaded.index), keep)?;
                for object in objects.drain(..) {
                    let key = key::data_key(tenant, day, object.object_id);
                    add_to_index(&mut builder, key, &object);
                }
                if !builder.is_empty() {
                    let id = self.new_id();
                    written.push(key::index_key(tenant, day, id));
                    let files = self.catalog.put_index(tenant, day, id, builder).await?;
                    written.extend(files.iter().map(|f| key::index_key(tenant, day, f.id)));
                    entry.add_indexes.extend(files);
                }
            }
        } else if state.objects.keys().all(|id| removed.contains(id)) {
            entry.remove_indexes = state.indexes.keys().copied().collect();
        }
        entry.add_objects = rewritten.files;
        entry.remove_objects = removed.into_iter().collect();
        Ok(entry)
    }

    fn count(&self, partition: &Partition<'_>, todo: &Todo, done: Done) {
        let Done {
            left_out,
            written,
            fetched,
        } = done;
        let (metrics, files) = (&self.metrics, &partition.state.objects);
        let read = todo.plan.objects.iter().filter_map(|id| files.get(id));
        let bytes: u64 = read.clone().map(|file| file.size_bytes).sum();
        metrics.objects_read.inc_by(read.count() as u64);
        metrics.bytes_read.inc_by(bytes);
        let expired = todo.expired.len() as u64;
        metrics.objects_expired.inc_by(expired);
        metrics.blocks_fetched.inc_by(fetched);
        metrics.blocks_copied.inc_by(written.blocks_copied);
        metrics.blocks_encoded.inc_by(written.blocks_encoded);
        metrics.dropped(Dropped::Duplicate, left_out.duplicates);
        metrics.dropped(Dropped::Deleted, left_out.deleted);
        metrics.dropped(Dropped::Expired, left_out.expired);
        self.aside.forget(todo.plan.objects.union(&todo.expired));
        tracing::info!(
            tenant = %partition.tenant,
            day = key::day_text(partition.day),
            objects = todo.plan.objects.len(),
            bytes,
            expired,
            "compacted"
        );
    }
}

/// What becomes of objects because of their age.
#[derive(Debug, Default, PartialEq, Eq)]
struct Fate {
    /// None of their rows is to be kept.
    expired: BTreeSet<u128>,
    /// Have streams of which no row of this day is to be kept.
    partly: BTreeSet<u128>,
}

/// Whether the label indexes are to be merged though no object is.
fn has_many_indexes(state: &PartitionState) -> bool {
    let files = || state.indexes.values();
    let largest = files().max_by_key(|file| (file.size_bytes, file.created_ns));
    let merged_ns = largest.map_or(i64::MIN, |file| file.created_ns);
    let since = state.objects.values();
    let since = since.filter(|object| object.created_ns > merged_ns);
    let new_bytes: u64 = since.map(|object| object.size_bytes).sum();
    let bytes: u64 = files().map(|file| file.size_bytes).sum();
    let is_cheap = bytes <= (new_bytes / INDEX_PART).max(INDEX_BYTES_SMALL);
    files().count() > INDEXES_MAX || files().count() > INDEXES_FEW && is_cheap
}

/// Objects all of whose rows are too old, whatever their streams.
fn expired_by_age(state: &PartitionState, retention: &Retention, now_ns: i64) -> BTreeSet<u128> {
    let cutoff_ns = retention.last_cutoff_ns(now_ns);
    let files = state.objects.values();
    let expired = files.filter(|file| file.max_ts_ns < cutoff_ns);
    expired.map(|file| file.id).collect()
}

/// Streams are taken out of objects only once their whole day is too old, so that an object is not
/// rewritten again and again while its day expires.
fn fate_by_stream(streams: &Survey, retention: &Retention, day: i64, now_ns: i64) -> Fate {
    let end_ns = (day + 1).saturating_mul(TimeRange::DAY_NS);
    let (mut kept, mut expired, mut partly) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (labels, runs) in streams {
        let cutoff_ns = retention.cutoff_ns(labels, now_ns);
        for run in runs {
            if run.max_ts_ns >= cutoff_ns {
                kept.insert(run.object);
                continue;
            }
            expired.insert(run.object);
            if end_ns <= cutoff_ns {
                partly.insert(run.object);
            }
        }
    }
    Fate {
        partly: partly.intersection(&kept).copied().collect(),
        expired: expired.difference(&kept).copied().collect(),
    }
}

#[cfg(test)]
mod tests {
    use model::units::DurationNs;
    use model::{LabelSet, Limits, StreamRetention};

    use super::*;
    use crate::survey::RunRef;

    const DAY: i64 = 100;
    const DAY_NS: i64 = TimeRange::DAY_NS;

    #[test]
    fn indexes_are_merged_where_that_is_cheap_or_overdue() {
        let state = |indexes: &[u64], data_bytes: u64| {
            let mut state = PartitionState::default();
            for (id, size_bytes) in (1_u128..).zip(indexes) {
                let (size_bytes, created_ns) = (*size_bytes, id as i64);
                let index = storage::IndexFile {
                    id,
                    size_bytes,
                    created_ns,
                    ..storage::IndexFile::default()
                };
                let object = ObjectFile {
                    id,
                    size_bytes: data_bytes,
                    created_ns,
                    ..ObjectFile::default()
                };
                state.indexes.insert(id, index);
                state.objects.insert(id, object);
            }
            state
        };
        assert!(!has_many_indexes(&state(&[100; 2], 1)));
        assert!(has_many_indexes(&state(&[100; 3], 1)));
        let large = [10 << 20, 1 << 20, 1 << 20];
        assert!(!has_many_indexes(&state(&large, 40 << 20)));
        assert!(has_many_indexes(&state(&large, 60 << 20)));
        assert!(has_many_indexes(&state(&[10 << 20; 17], 1)));
    }

    fn run(object: u128, max_ts_ns: i64) -> RunRef {
        RunRef {
            object,
            block: 0,
            run: 0,
            min_ts_ns: DAY * DAY_NS,
            max_ts_ns,
            rows: 1,
            raw_bytes: 1,
        }
    }

    #[test]
    fn objects_go_whole_streams_once_their_day_is_too_old() {
        let rule = StreamRetention {
            selector: r#"{app="short"}"#.to_owned(),
            priority: 1,
            period: DurationNs(DAY_NS),
        };
        let limits = Limits {
            retention_stream: vec![rule],
            ..Limits::default()
        };
        let retention = Retention::of(&limits).unwrap();
        let noon = DAY * DAY_NS + DAY_NS / 2;
        let of = |app: &str| LabelSet::from_pairs([("app", app)]);
        let streams = Survey::from([
            (of("short"), vec![run(1, noon), run(2, noon)]),
            (of("ever"), vec![run(2, noon), run(3, noon)]),
        ]);
        let fate = |now_ns| {
            let fate = fate_by_stream(&streams, &retention, DAY, now_ns);
            let ids = |ids: BTreeSet<u128>| ids.into_iter().collect::<Vec<_>>();
            (ids(fate.expired), ids(fate.partly))
        };
        assert_eq!(fate(noon + DAY_NS), (vec![], vec![]));
        assert_eq!(fate(noon + DAY_NS + 1), (vec![1], vec![]));
        assert_eq!(fate((DAY + 2) * DAY_NS), (vec![1], vec![2]));
    }
}
