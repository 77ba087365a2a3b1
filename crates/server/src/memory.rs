//! The allocator of the process: how it is set up, and that it gives back what was freed.
//!
//! glibc keeps what is freed below the top of a heap. A process that once held a large answer would
//! have that much memory until its end.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// How often memory is looked at.
const INTERVAL: Duration = Duration::from_secs(10);
/// Bytes by which a process has to have grown before its heaps are gone through: less is soon used
/// again.
const GROWTH_BYTES_MIN: u64 = 64 << 20;

/// Tells the allocator to give memory back. Large buffers come and go on all threads here; glibc
/// would keep an arena for each and never return what is below their tops, which doubles the
/// memory of a busy ingester. Called first in every `main`; does nothing where glibc is not.
pub fn tune_allocator() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        /// Allocations of at least so many bytes are mapped on their own, and unmapped when freed.
        const MAPPED_BYTES_MIN: libc::c_int = 4 << 20;
        /// Free at the top of a heap, so many bytes stay: a buffer of a connection that is freed and
        /// wanted again with each read would else be given back and faulted in each time.
        const TOP_BYTES_MAX: libc::c_int = 4 << 20;
        const ARENAS_MAX: libc::c_int = 2;
        #[allow(
            unsafe_code,
            reason = "a call without preconditions that libc has no safe form of"
        )]
        // SAFETY: mallopt takes two integers and is called before other threads exist.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BYTES_MIN);
            libc::mallopt(libc::M_TRIM_THRESHOLD, TOP_BYTES_MAX);
            libc::mallopt(libc::M_ARENA_MAX, ARENAS_MAX);
        }
    }
}

/// Has what was freed given back, whenever the process has grown and then grows no more; until the
/// stop.
pub async fn give_back_freed(stop: CancellationToken) {
    let mut growth = Growth::default();
    let mut ticks = tokio::time::interval(INTERVAL);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if !resident_bytes().is_some_and(|bytes| growth.is_over(bytes)) {
            continue;
        }
        let trimmed = tokio::task::spawn_blocking(trim).await;
        if let (Ok(()), Some(bytes)) = (trimmed, resident_bytes()) {
            growth = Growth::from(bytes);
        }
    }
}

/// How large the process was.
#[derive(Debug, Default)]
struct Growth {
    /// When it was smallest since its heaps were gone through.
    least_bytes: u64,
    last_bytes: u64,
}

impl Growth {
    fn from(bytes: u64) -> Self {
        Self {
            least_bytes: bytes,
            last_bytes: bytes,
        }
    }

    /// Whether the process is much larger than it was, and has stopped growing.
    fn is_over(&mut self, bytes: u64) -> bool {
        self.least_bytes = self.least_bytes.min(bytes);
        let grows = bytes > self.last_bytes.saturating_add(GROWTH_BYTES_MIN / 4);
        self.last_bytes = bytes;
        !grows && bytes >= self.least_bytes.saturating_add(GROWTH_BYTES_MIN)
    }
}

/// Bytes of the process that are in memory and of no file
/// (<https://man7.org/linux/man-pages/man5/proc_pid_statm.5.html>).
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let mut pages = statm.split_ascii_whitespace().skip(1);
    let mut next = || pages.next()?.parse::<u64>().ok();
    let (resident, of_files) = (next()?, next()?);
    Some(resident.saturating_sub(of_files) * rustix::param::page_size() as u64)
}

fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        #[allow(
            unsafe_code,
            reason = "a call without preconditions that libc has no safe form of"
        )]
        // SAFETY: malloc_trim takes an integer and locks what it goes through.
        unsafe {
            libc::malloc_trim(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heaps_are_gone_through_when_growth_is_over() {
        const MB: u64 = 1 << 20;
        let mut growth = Growth::from(30 * MB);
        assert!(!growth.is_over(500 * MB), "it grows");
        assert!(!growth.is_over(700 * MB), "it grows");
        assert!(growth.is_over(701 * MB));
        let mut growth = Growth::from(650 * MB);
        assert!(!growth.is_over(701 * MB), "that is not much");
        assert!(!growth.is_over(100 * MB));
        assert!(!growth.is_over(200 * MB), "it grows");
        assert!(growth.is_over(190 * MB), "it was at 100");
    }

    #[test]
    fn a_process_has_memory() {
        assert!(resident_bytes().is_none_or(|bytes| bytes > 0));
    }
}
