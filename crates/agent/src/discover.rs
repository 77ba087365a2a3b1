//! Which files are to be collected: targets from the configuration, and what their globs match.

mod file_sd;
mod glob;
mod groups;
mod kubernetes;
mod meta;
mod target;
mod watch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

pub(crate) use file_sd::FileFinder;
pub(crate) use groups::Groups;
pub(crate) use kubernetes::KubernetesFinder;
pub(crate) use meta::{host_port, or_empty, sanitized};
pub(crate) use target::{Dropped, Labels, SharedTargets, Target, Targets};
pub(crate) use watch::{Change, Watch};

use glob::Walked;

/// A file of a target.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) target: Arc<Target>,
}

/// What one look at all globs has found.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// By job and path; a path counts once in a job, for the target that is written first.
    pub(crate) files: BTreeMap<(usize, PathBuf), Found>,
    /// Names that no file has now, though there are files which rotation may have made of theirs.
    pub(crate) absent: Vec<Found>,
    /// Directories in which a new name may become a match.
    pub(crate) directories: Vec<PathBuf>,
    /// Matches that are neither files nor directories.
    pub(crate) special: usize,
    /// Whether there are more files than may be tailed.
    pub(crate) too_many: bool,
    /// A time, in nanoseconds since 1970, by which the look had not begun: what has a later time
    /// of change may have come after it.
    pub(crate) before_ns: i64,
}

/// How far the times of files may be behind the clock: they are taken from one that the kernel sets
/// at each of its ticks, of which there are a hundred a second at least.
const FILE_CLOCK_NS: i64 = 20_000_000;

/// A time in nanoseconds since 1970 that no file has that was written at `time` or later.
pub(crate) fn before_on_disk_ns(time: SystemTime) -> i64 {
    let since_1970 = time.duration_since(SystemTime::UNIX_EPOCH);
    let ns = i64::try_from(since_1970.unwrap_or_default().as_nanos()).unwrap_or(i64::MAX);
    ns.saturating_sub(FILE_CLOCK_NS)
}

impl Targets {
    /// Looks at all globs. What `is_own` says is the agent's own file is never collected: it would
    /// grow with each line that is collected from it.
    pub(crate) fn scan(&self, files_max: usize, is_own: &dyn Fn(&Path) -> bool) -> Scan {
        let mut scan = Scan {
            before_ns: before_on_disk_ns(SystemTime::now()),
            ..Scan::default()
        };
        let mut directories = std::collections::BTreeSet::new();
        for target in self.active() {
            let mut walked = Walked {
                files_max,
                ..Walked::default()
            };
            target.glob.walk(&mut walked);
            directories.append(&mut walked.directories);
            scan.special += walked.special;
            scan.too_many |= walked.too_many;
            for path in walked.absent {
                if target.packing.is_none() && !target.leaves_out(&path) && !is_own(&path) {
                    let target = target.clone();
                    scan.absent.push(Found { path, target });
                }
            }
            for path in walked.files {
                if target.leaves_out(&path) || is_own(&path) {
                    continue;
                }
                if scan.files.len() >= files_max {
                    scan.too_many = true;
                    break;
                }
                let target = target.clone();
                let key = (target.job, path.clone());
                scan.files.entry(key).or_insert(Found { path, target });
            }
        }
        scan.directories = directories.into_iter().collect();
        scan
    }
}
