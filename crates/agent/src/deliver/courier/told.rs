//! Of which files it was told lately that lines are lost. Once in a while is enough: what is said of
//! an agent's own log comes back as a line of that log, and is refused like those before it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How long nothing more is said of a file.
const SILENCE: Duration = Duration::from_secs(60);
/// Files that are remembered.
const FILES_MAX: usize = 1000;

/// When the last loss of each file was told, and how many losses were not told since.
#[derive(Debug, Default)]
pub(crate) struct Told(Mutex<HashMap<PathBuf, (Instant, u64)>>);

impl Told {
    /// Whether a loss is to be told now; then how many were not told before.
    pub(super) fn tell(&self, file: &Path) -> Option<u64> {
        let mut told = self.0.lock();
        let now = Instant::now();
        match told.get_mut(file) {
            Some((at, untold)) if now.duration_since(*at) < SILENCE => {
                *untold += 1;
                None
            }
            Some((at, untold)) => {
                *at = now;
                Some(std::mem::take(untold))
            }
            None => {
                if told.len() >= FILES_MAX {
                    told.clear();
                }
                told.insert(file.to_owned(), (now, 0));
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_file_is_told_of_once_a_minute_and_no_loss_goes_uncounted() {
        let told = Told::default();
        let (a, b) = (Path::new("/a"), Path::new("/b"));
        assert_eq!(
            (told.tell(a), told.tell(a), told.tell(b)),
            (Some(0), None, Some(0))
        );
        tokio::time::advance(SILENCE / 2).await;
        assert_eq!(told.tell(a), None);
        tokio::time::advance(SILENCE / 2).await;
        assert_eq!((told.tell(a), told.tell(a)), (Some(2), None));
        for number in 0..2 * FILES_MAX {
            told.tell(Path::new(&format!("/{number}")));
        }
        assert!(told.0.lock().len() <= FILES_MAX);
    }
}
