//! Target groups in files, which whoever manages the machines writes
//! (<https://prometheus.io/docs/prometheus/latest/configuration/configuration/#file_sd_config>).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

use super::glob::{GlobError, PathGlob, Walked};
use super::groups::Publisher;
use super::target::{Labels, labels_of};
use crate::config::{FileSd, StaticConfig};

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_secs(1);
/// Bytes of a file that are read.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// Files that globs may match.
const FILES_MAX: usize = 1000;
/// The label that says from which file a target is.
const PATH_LABEL: &str = "__meta_filepath";

/// Finds targets in files.
pub(crate) struct FileFinder {
    globs: Vec<PathGlob>,
    publisher: Publisher,
    /// What was read of each file, and what it looked like then.
    read: BTreeMap<PathBuf, (Option<Seen>, Vec<Labels>)>,
}

type Seen = (SystemTime, u64);

impl FileFinder {
    pub(crate) fn new(config: &FileSd, publisher: Publisher) -> Result<Self, GlobError> {
        let globs: Result<_, _> = config
            .files
            .iter()
            .map(|glob| PathGlob::new(glob))
            .collect();
        Ok(Self {
            globs: globs?,
            publisher,
            read: BTreeMap::new(),
        })
    }

    /// Looks until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            let looked = tokio::task::spawn_blocking(move || {
                self.look();
                self
            });
            match looked.await {
                Ok(finder) => self = finder,
                Err(error) => {
                    tracing::error!(%error, "looking for target groups has failed");
                    return;
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }

    fn look(&mut self) {
        let mut walked = Walked {
            files_max: FILES_MAX,
            ..Walked::default()
        };
        for glob in &self.globs {
            glob.walk(&mut walked);
        }
        self.read.retain(|path, _| walked.files.contains(path));
        for path in walked.files {
            let metadata = fs::metadata(&path).ok();
            let seen =
                metadata.and_then(|metadata| Some((metadata.modified().ok()?, metadata.len())));
            let known = self.read.get(&path);
            if known.is_some_and(|(known, _)| *known == seen && seen.is_some()) {
                continue;
            }
            match read(&path) {
                Ok(targets) => drop(self.read.insert(path, (seen, targets))),
                // What was read before stays: a file may be half written.
                Err(error) => {
                    tracing::warn!(file = %path.display(), error, "no target groups");
                    self.read.entry(path).or_default().0 = seen;
                }
            }
        }
        let targets = self.read.values().flat_map(|(_, targets)| targets.clone());
        self.publisher.set(targets.collect());
    }
}

/// The targets of a file. JSON is YAML too.
fn read(path: &Path) -> Result<Vec<Labels>, String> {
    let metadata = fs::metadata(path).map_err(|error| error.to_string())?;
    if metadata.len() > FILE_BYTES_MAX {
        return Err(format!("it is larger than {FILE_BYTES_MAX} bytes"));
    }
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let groups: Vec<StaticConfig> =
        serde_yaml::from_str(&text).map_err(|error| error.without_snippet().to_string())?;
    let mut targets: Vec<Labels> = groups.iter().flat_map(labels_of).collect();
    for labels in &mut targets {
        labels.insert(PATH_LABEL.to_owned(), path.display().to_string());
    }
    Ok(targets)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::watch;

    use super::*;
    use crate::discover::Groups;

    #[test]
    fn files_are_read_again_when_they_change() {
        let directory = tempfile::tempdir().unwrap();
        let groups = Arc::new(Groups::new(watch::Sender::new(())));
        let config = FileSd {
            files: vec![format!("{}/*.yaml", directory.path().display())],
            ..FileSd::default()
        };
        let mut finder = FileFinder::new(&config, groups.publisher(3, 0)).unwrap();
        finder.look();
        let (version, found) = groups.newer_than(0).unwrap();
        assert!(found.is_empty());
        let file = directory.path().join("a.yaml");
        fs::write(&file, "- targets: [a, b]\n  labels: {__path__: /x}\n").unwrap();
        finder.look();
        let (version, found) = groups.newer_than(version).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].0, found[0].1["__address__"].as_str()), (3, "a"));
        assert_eq!(found[0].1[PATH_LABEL], file.display().to_string());
        fs::write(&file, "- targets: [half").unwrap();
        finder.look();
        assert!(groups.newer_than(version).is_none());
        fs::write(&file, r#"[{"targets": ["c"]}]"#).unwrap();
        finder.look();
        assert_eq!(groups.newer_than(version).unwrap().1.len(), 1);
        fs::remove_file(&file).unwrap();
        finder.look();
        assert!(groups.newer_than(version).unwrap().1.is_empty());
    }
}
