//! One partition, until there is nothing left to do for it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use index::Index;
use model::{TenantId, TimeRange};
use storage::{ManifestEntry, ObjectFile, PartitionState, add_to_index, key};

use crate::deletes::Due;
use crate::hold::Hold;
use crate::metrics::Outcome;
use crate::plan::{LEVEL_MERGED, Plan, plan};
use crate::retention::Retention;
use crate::rewrite::{Job, Rewritten};
use crate::survey::{Survey, indexes, survey};
use crate::{CompactError, Compactor};

/// Commits of one visit; the next visit goes on.
const COMMITS_MAX: usize = 64;
/// So many label indexes of a partition are merged even if no object is.
const INDEXES_MAX: usize = 16;

/// What there is to do for a partition.
#[derive(Debug, Default)]
struct Todo {
    /// To be rewritten.
    plan: Plan,
    /// To be dropped whole.
    expired: BTreeSet<u128>,
    /// Whether the label indexes are merged in any case.
    merges_indexes: bool,
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
    indexes: Vec<Arc<Index>>,
}

impl Compactor {
    /// Does what there is to do for a partition. Returns whether all of it is done.
    pub(crate) async fn visit(
        &self,
        tenant: &TenantId,
        day: i64,
        retention: &Retention,
        due: &Due,
    ) -> Result<bool, CompactError> {
        let mut hold = Hold::default();
        let done = self.work_on(tenant, day, retention, due, &mut hold).await;
        self.release(hold).await;
        if let Err(error) = &done {
            self.damaged.note(error);
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
    ) -> Result<bool, CompactError> {
        for _ in 0..COMMITS_MAX {
            let started = Instant::now();
            let state = self.catalog.latest(tenant, day).await?;
            let mut partition = Partition {
                tenant,
                day,
                state,
                indexes: Vec::new(),
            };
            let todo = self.todo(&mut partition, retention, due).await?;
            if todo.is_nothing() {
                return Ok(true);
            }
            if !self.holds(hold, tenant, day).await? {
                return Ok(false);
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
        Ok(false)
    }

    /// Drops objects of a partition, whole.
    pub(crate) async fn drop_objects(
        &self,
        tenant: &TenantId,
        day: i64,
        mut expired: BTreeSet<u128>,
    ) -> Result<(), CompactError> {
        let state = self.catalog.latest(tenant, day).await?;
        expired.retain(|id| state.objects.contains_key(id));
        if expired.is_empty() {
            return Ok(());
        }
        let todo = Todo {
            expired,
            ..Todo::default()
        };
        let mut partition = Partition {
            tenant,
            day,
            state,
            indexes: Vec::new(),
        };
        let (retention, due) = (Retention::default(), Due::default());
        self.commit(&mut partition, &todo, &retention, &due).await
    }

    /// What there is to do. Expired objects come first: they need not be read.
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
        let has_due = due.touches(day);
        let is_mixed = !retention.keeps_all() && retention.has_rules();
        let streams = if has_due || is_mixed {
            self.load(partition).await?;
            let all = state.objects.keys().copied().collect();
            survey(&partition.indexes, &all)?
        } else {
            Survey::new()
        };
        let fate = match is_mixed {
            true => fate_by_stream(&streams, retention, day, now_ns),
            false => fate_by_age(&state, retention, now_ns),
        };
        if !fate.expired.is_empty() {
            return Ok(Todo {
                expired: fate.expired,
                ..Todo::default()
            });
        }
        let mut rewritten = fate.partly;
        if has_due {
            let deleted = self
                .with_deleted_rows(partition.tenant, day, &state, &streams, due)
                .await?;
            rewritten.extend(deleted);
        }
        rewritten.retain(|object| !self.damaged.has(*object));
        Ok(Todo {
            plan: self.plan(&state, rewritten, day),
            expired: BTreeSet::new(),
            merges_indexes: state.indexes.len() > INDEXES_MAX && self.can_merge(partition).await?,
        })
    }

    /// Whether there can be fewer label indexes: some may have more names than go into one file.
    async fn can_merge(&self, partition: &mut Partition<'_>) -> Result<bool, CompactError> {
        self.load(partition).await?;
        let indexes = || partition.indexes.iter().map(|index| &**index);
        Ok(index::mergeable(indexes()).len() < indexes().count())
    }

    /// Objects to rewrite: those that have to be, a job at a time, or else what is to be merged.
    fn plan(&self, state: &PartitionState, needed: BTreeSet<u128>, day: i64) -> Plan {
        if needed.is_empty() {
            let end_ns = (day + 1).saturating_mul(TimeRange::DAY_NS);
            let now_ns = self.now_ns();
            let is_over = end_ns.saturating_add(self.config.day_settle.0) < now_ns;
            let is_readable = |file: &&ObjectFile| !self.damaged.has(file.id);
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
        if partition.indexes.is_empty() {
            let (tenant, day) = (partition.tenant, partition.day);
            partition.indexes = indexes(&self.catalog, tenant, day, &partition.state).await?;
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
        self.load(partition).await?;
        let partition = &*partition;
        let plan = &todo.plan;
        let rewritten = self
            .rewrite(Job {
                tenant: partition.tenant,
                day: partition.day,
                state: &partition.state,
                streams: survey(&partition.indexes, &plan.objects)?,
                deletes: &due.deletes,
                retention,
                level: plan.level,
            })
            .await?;
        let removed: BTreeSet<u128> = plan.objects.union(&todo.expired).copied().collect();
        let entry = self.entry(partition, removed, rewritten).await?;
        let (objects, indexes) = (entry.add_objects.clone(), entry.add_indexes.clone());
        let (tenant, day) = (partition.tenant, partition.day);
        let committed = self.catalog.commit(tenant, day, entry).await;
        let committed = committed.map_err(CompactError::from);
        match committed {
            Ok(_) => {
                for file in &objects {
                    self.checked.add(file.id, &due.requests);
                }
                self.count(partition, todo);
                Ok(())
            }
            Err(error) => {
                // Only then is it sure that nobody refers to them.
                if error.is_conflict() {
                    let data = objects.iter().map(|f| key::data_key(tenant, day, f.id));
                    let index = indexes.iter().map(|f| key::index_key(tenant, day, f.id));
                    for key in data.chain(index) {
                        self.catalog.store().delete(&key).await?;
                    }
                }
                Err(error)
            }
        }
    }

    /// The change: the rewritten objects for the removed ones, and one label index for all, or as
    /// few as can hold them.
    async fn entry(
        &self,
        partition: &Partition<'_>,
        removed: BTreeSet<u128>,
        mut rewritten: Rewritten,
    ) -> Result<ManifestEntry, CompactError> {
        let (tenant, day) = (partition.tenant, partition.day);
        let state = &partition.state;
        let keep = |id| state.objects.contains_key(&id) && !removed.contains(&id);
        let mut entry = ManifestEntry::new(self.writer.clone(), self.now_ns());
        let mut objects = std::mem::take(&mut rewritten.objects);
        let mut groups = index::mergeable(partition.indexes.iter().map(|index| &**index));
        if groups.is_empty() {
            groups.push(Vec::new());
        }
        for group in groups {
            let of_group = || group.iter().filter_map(|at| partition.indexes.get(*at));
            let is_as_it_should_be = group.len() == 1
                && objects.is_empty()
                && of_group().all(|index| index.objects().iter().all(|object| keep(object.id)));
            if is_as_it_should_be {
                continue;
            }
            // The files were loaded in the order of their ids.
            let old = group.iter().filter_map(|at| state.indexes.keys().nth(*at));
            entry.remove_indexes.extend(old);
            let mut builder = index::merge(of_group().map(|index| &**index), keep)?;
            for object in objects.drain(..) {
                let key = key::data_key(tenant, day, object.object_id);
                add_to_index(&mut builder, key, &object);
            }
            if !builder.is_empty() {
                let id = self.new_id();
                let files = self.catalog.put_index(tenant, day, id, builder).await?;
                let bytes = files.iter().map(|file| file.size_bytes).sum();
                self.metrics.bytes_written.inc_by(bytes);
                entry.add_indexes.extend(files);
            }
        }
        entry.add_objects = rewritten.files;
        entry.remove_objects = removed.into_iter().collect();
        Ok(entry)
    }

    fn count(&self, partition: &Partition<'_>, todo: &Todo) {
        let files = &partition.state.objects;
        let read = todo.plan.objects.iter().filter_map(|id| files.get(id));
        let bytes: u64 = read.clone().map(|file| file.size_bytes).sum();
        self.metrics.objects_read.inc_by(read.count() as u64);
        self.metrics.bytes_read.inc_by(bytes);
        let expired = todo.expired.len() as u64;
        self.metrics.objects_expired.inc_by(expired);
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

fn fate_by_age(state: &PartitionState, retention: &Retention, now_ns: i64) -> Fate {
    let cutoff_ns = retention.default_cutoff_ns(now_ns);
    let expired = state
        .objects
        .values()
        .filter(|file| file.max_ts_ns < cutoff_ns);
    Fate {
        expired: expired.map(|file| file.id).collect(),
        partly: BTreeSet::new(),
    }
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
