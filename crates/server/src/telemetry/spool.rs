//! Lines on their way to a sink that may be slow.

use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait.
const LINES_MAX: usize = 16_384;
/// Bytes of all lines that may wait.
const BYTES_MAX: usize = 8 << 20;
/// Bytes that one write takes together.
const BATCH_BYTES: usize = 64 << 10;
/// How long a flush may take.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

enum Message {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// The near end: takes lines without waiting. What does not fit is dropped and counted.
#[derive(Clone)]
pub(super) struct Spool(Arc<Inner>);

struct Inner {
    messages: Sender<Message>,
    waiting: Arc<Waiting>,
    dropped: OnceLock<Counter<u64>>,
}

/// What waits. It is counted here, for a channel with a bound of its own has room for all of it from
/// the beginning.
#[derive(Default)]
struct Waiting {
    lines: AtomicUsize,
    bytes: AtomicUsize,
}

impl Waiting {
    /// Counts one line more, if there is room for it.
    fn add(&self, bytes: usize) -> bool {
        let lines = self.lines.fetch_add(1, Ordering::Relaxed);
        let waiting = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = lines < LINES_MAX && waiting.saturating_add(bytes) <= BYTES_MAX;
        if !fits {
            self.remove(bytes);
        }
        fits
    }

    fn remove(&self, bytes: usize) {
        self.lines.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Spool {
    /// Starts the thread that writes to `sink`. It ends when all clones of the spool are gone.
    pub(super) fn start(name: &str, sink: impl Write + Send + 'static) -> Self {
        let (messages, receiver) = channel();
        let waiting = Arc::new(Waiting::default());
        let counted = Arc::clone(&waiting);
        let thread = std::thread::Builder::new().name(name.to_owned());
        if let Err(error) = thread.spawn(move || write_lines(&receiver, sink, &counted)) {
            // Without its thread the channel is closed and every line counts as dropped.
            let _ = writeln!(io::stderr(), "cannot start the thread {name}: {error}");
        }
        Self(Arc::new(Inner {
            messages,
            waiting,
            dropped: OnceLock::new(),
        }))
    }

    pub(super) fn count_drops(&self, counter: Counter<u64>) {
        let _ = self.0.dropped.set(counter);
    }

    pub(super) fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.0.messages.send(Message::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(FLUSH_TIMEOUT);
        }
    }

    pub(super) fn push(&self, line: &[u8]) {
        if self.0.waiting.add(line.len()) {
            if self.0.messages.send(Message::Line(line.to_vec())).is_ok() {
                return;
            }
            self.0.waiting.remove(line.len());
        }
        if let Some(dropped) = self.0.dropped.get() {
            dropped.inc();
        }
    }
}

impl Write for Spool {
    /// One call is one line: `tracing_subscriber::fmt` writes each event at once.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Spool {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn write_lines(messages: &Receiver<Message>, mut sink: impl Write, waiting: &Waiting) {
    let mut batch = Vec::with_capacity(BATCH_BYTES);
    let mut complained = false;
    while let Ok(first) = messages.recv() {
        let mut flushed = Vec::new();
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Line(line) => {
                    waiting.remove(line.len());
                    batch.extend_from_slice(&line);
                }
                Message::Flush(done) => flushed.push(done),
            }
            next = if batch.len() < BATCH_BYTES {
                messages.try_recv().ok()
            } else {
                None
            };
        }
        if let Err(error) = sink.write_all(&batch).and_then(|()| sink.flush())
            && !complained
        {
            complained = true;
            let _ = writeln!(io::stderr(), "cannot write the log: {error}");
        }
        batch.clear();
        for done in flushed {
            let _ = done.try_send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_arrive_in_order() {
        let sink = Sink::default();
        let spool = Spool::start("test", sink.clone());
        for line in ["a\n", "b\n"] {
            spool.push(line.as_bytes());
        }
        spool.flush();
        assert_eq!(*sink.0.lock(), b"a\nb\n");
    }

    #[test]
    fn a_sink_that_hangs_costs_lines_and_not_time() {
        let sink = Sink::default();
        let spool = Spool::start("test", sink.clone());
        let dropped = Counter::default();
        spool.count_drops(dropped.clone());
        for (line, count) in [
            (vec![b'x'; BYTES_MAX / 2], 4),
            (b"x".to_vec(), LINES_MAX as u64 + BATCH_BYTES as u64 + 1),
        ] {
            let hanging = sink.0.lock();
            let before = dropped.get();
            for _ in 0..count {
                spool.push(&line);
            }
            let lost = dropped.get() - before;
            assert!(lost >= 1);
            drop(hanging);
            spool.flush();
            let written = std::mem::take(&mut *sink.0.lock()).len() as u64;
            assert_eq!(written, (count - lost) * line.len() as u64);
        }
    }
}
