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
    dropped: Arc<OnceLock<Counter<u64>>>,
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
        let dropped = Arc::new(OnceLock::new());
        let writer = Writer {
            sink,
            waiting: Arc::clone(&waiting),
            dropped: Arc::clone(&dropped),
            batch: Vec::with_capacity(BATCH_BYTES),
            lines: 0,
            is_broken: false,
        };
        let thread = std::thread::Builder::new().name(name.to_owned());
        if let Err(error) = thread.spawn(move || writer.run(&receiver)) {
            // Without its thread the channel is closed and every line counts as dropped.
            let _ = writeln!(io::stderr(), "cannot start the thread {name}: {error}");
        }
        Self(Arc::new(Inner {
            messages,
            waiting,
            dropped,
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

/// The far end: writes lines together.
struct Writer<S> {
    sink: S,
    waiting: Arc<Waiting>,
    dropped: Arc<OnceLock<Counter<u64>>>,
    batch: Vec<u8>,
    /// Lines of the batch.
    lines: u64,
    /// Whether the last batch failed: some of a line may have been written.
    is_broken: bool,
}

impl<S: Write> Writer<S> {
    fn run(mut self, messages: &Receiver<Message>) {
        while let Ok(first) = messages.recv() {
            let mut flushed = Vec::new();
            let mut next = Some(first);
            while let Some(message) = next {
                match message {
                    Message::Line(line) => self.add(&line),
                    Message::Flush(done) => flushed.push(done),
                }
                next = if self.batch.len() < BATCH_BYTES {
                    messages.try_recv().ok()
                } else {
                    None
                };
            }
            self.write();
            for done in flushed {
                let _ = done.try_send(());
            }
        }
    }

    fn add(&mut self, line: &[u8]) {
        self.waiting.remove(line.len());
        if self.is_broken && self.batch.is_empty() {
            // Ends what may be half a line.
            self.batch.push(b'\n');
        }
        self.batch.extend_from_slice(line);
        self.lines += 1;
    }

    /// Writes the batch, or counts its lines as dropped: some of them may have been written.
    fn write(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        if lines == 0 {
            return;
        }
        let written = self.sink.write_all(&self.batch);
        let written = written.and_then(|()| self.sink.flush());
        self.batch.clear();
        if let Err(error) = &written {
            if let Some(dropped) = self.dropped.get() {
                dropped.inc_by(lines);
            }
            // Said once until it works again.
            if !self.is_broken {
                let _ = writeln!(io::stderr(), "cannot write the log: {error}");
            }
        }
        self.is_broken = written.is_err();
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

    /// Takes a few bytes while it is full.
    #[derive(Clone, Default)]
    struct Disk {
        sink: Sink,
        is_full: Arc<std::sync::atomic::AtomicBool>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if !self.is_full.load(Ordering::Relaxed) {
                return self.sink.write(bytes);
            }
            let has_room = !self.sink.0.lock().ends_with(b"ha");
            match has_room {
                true => self.sink.write(bytes.get(..2).unwrap_or(bytes)),
                false => Err(io::ErrorKind::StorageFull.into()),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_a_disk_refuses_are_counted_and_half_a_line_ends() {
        let disk = Disk::default();
        let spool = Spool::start("test", disk.clone());
        let dropped = Counter::default();
        spool.count_drops(dropped.clone());
        disk.is_full.store(true, Ordering::Relaxed);
        for line in ["half\n", "none\n"] {
            spool.push(line.as_bytes());
            spool.flush();
        }
        disk.is_full.store(false, Ordering::Relaxed);
        for line in ["whole\n", "more\n"] {
            spool.push(line.as_bytes());
            spool.flush();
        }
        assert_eq!(dropped.get(), 2);
        assert_eq!(*disk.sink.0.lock(), b"ha\nwhole\nmore\n");
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
