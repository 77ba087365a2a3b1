//! The bytes of a container's log as Docker sends them: pieces of two streams in frames, or as they
//! are if the container has a terminal, each piece with its time before it
//! (<https://docs.docker.com/reference/api/engine/version/v1.43/#tag/Container/operation/ContainerAttach>).

use std::mem;

/// Bytes before each frame: whose it is, three of no use, and its length.
const HEADER_BYTES: usize = 8;
/// The last of the streams that frames can be of.
const KIND_MAX: u8 = 3;
/// Bytes of a frame.
const FRAME_BYTES_MAX: usize = 16 << 20;
/// Bytes of a line that comes in pieces; what is longer is cut into several.
const LINE_BYTES_MAX: usize = 16 << 20;

/// What a container writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

/// A line of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogLine {
    pub(super) stream: Stream,
    /// When it began, in nanoseconds since 1970.
    pub(super) timestamp_ns: i64,
    /// When its last piece was written.
    pub(super) ended_ns: i64,
    pub(super) text: Vec<u8>,
}

/// The bytes are no log.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum FrameError {
    /// A frame is of no stream.
    #[error("a frame of the log is of an unknown stream {0}")]
    Stream(u8),
    /// A frame is too long.
    #[error("a frame of the log has {0} bytes, more than {FRAME_BYTES_MAX}")]
    Long(usize),
    /// Docker says that it cannot go on.
    #[error("the log cannot be read on: {0}")]
    Told(String),
}

/// Makes lines of bytes.
pub(super) struct Frames {
    is_terminal: bool,
    buffer: Vec<u8>,
    stdout: Partial,
    stderr: Partial,
}

/// The pieces of a line so far.
#[derive(Default)]
struct Partial {
    began_ns: Option<i64>,
    ended_ns: i64,
    text: Vec<u8>,
}

impl Frames {
    pub(super) fn new(is_terminal: bool) -> Self {
        Self {
            is_terminal,
            buffer: Vec::new(),
            stdout: Partial::default(),
            stderr: Partial::default(),
        }
    }

    /// Takes bytes; the lines that are whole by them.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Vec<LogLine>, FrameError> {
        self.buffer.extend_from_slice(bytes);
        let buffer = mem::take(&mut self.buffer);
        let mut lines = Vec::new();
        let mut rest = buffer.as_slice();
        if self.is_terminal {
            while let Some(end) = memchr::memchr(b'\n', rest) {
                let (piece, after) = rest.split_at(end + 1);
                self.stdout.take(Stream::Stdout, piece, &mut lines);
                rest = after;
            }
            if rest.len() > LINE_BYTES_MAX {
                self.stdout.take(Stream::Stdout, rest, &mut lines);
                rest = &[];
            }
        } else {
            while let Some((kind, payload, after)) = frame(rest)? {
                self.frame(kind, payload, &mut lines)?;
                rest = after;
            }
        }
        self.buffer = rest.to_vec();
        Ok(lines)
    }

    /// What is left when nothing more will come: lines without an end.
    pub(super) fn finish(&mut self) -> Vec<LogLine> {
        let mut lines = Vec::new();
        if self.is_terminal {
            let rest = mem::take(&mut self.buffer);
            if !rest.is_empty() {
                self.stdout.take(Stream::Stdout, &rest, &mut lines);
            }
        }
        self.stdout.finish(Stream::Stdout, &mut lines);
        self.stderr.finish(Stream::Stderr, &mut lines);
        lines
    }

    fn frame(
        &mut self,
        kind: u8,
        payload: &[u8],
        lines: &mut Vec<LogLine>,
    ) -> Result<(), FrameError> {
        let (partial, stream) = match kind {
            // Nobody writes to standard input; Docker shows it with the other.
            0 | 1 => (&mut self.stdout, Stream::Stdout),
            2 => (&mut self.stderr, Stream::Stderr),
            _ => {
                let text = String::from_utf8_lossy(payload).trim().to_owned();
                return Err(FrameError::Told(text));
            }
        };
        for piece in payload.split_inclusive(|byte| *byte == b'\n') {
            partial.take(stream, piece, lines);
        }
        Ok(())
    }
}

/// Whose a frame is, its bytes, and what follows it.
type Frame<'b> = (u8, &'b [u8], &'b [u8]);

/// The first frame. Nothing if it is not whole.
fn frame(bytes: &[u8]) -> Result<Option<Frame<'_>>, FrameError> {
    let Some((&[kind, _, _, _, a, b, c, d], rest)) = bytes.split_first_chunk::<HEADER_BYTES>()
    else {
        return Ok(None);
    };
    if kind > KIND_MAX {
        return Err(FrameError::Stream(kind));
    }
    let len = u32::from_be_bytes([a, b, c, d]) as usize;
    if len > FRAME_BYTES_MAX {
        return Err(FrameError::Long(len));
    }
    let whole = rest.split_at_checked(len);
    Ok(whole.map(|(payload, after)| (kind, payload, after)))
}

impl Partial {
    /// Takes a piece, which ends a line or does not.
    fn take(&mut self, stream: Stream, piece: &[u8], lines: &mut Vec<LogLine>) {
        let (time_ns, text) = match timed(piece) {
            Some((time_ns, text)) => (Some(time_ns), text),
            // The rest of a piece in which there was an end of a line.
            None => (None, piece),
        };
        let time_ns = time_ns.unwrap_or(self.ended_ns);
        if self.began_ns.is_none() {
            self.began_ns = Some(time_ns);
        }
        self.ended_ns = time_ns;
        self.text.extend_from_slice(text);
        if self.text.last() == Some(&b'\n') || self.text.len() > LINE_BYTES_MAX {
            self.finish(stream, lines);
        }
    }

    fn finish(&mut self, stream: Stream, lines: &mut Vec<LogLine>) {
        let Some(timestamp_ns) = self.began_ns.take() else {
            return;
        };
        let mut text = mem::take(&mut self.text);
        if text.last() == Some(&b'\n') {
            text.pop();
        }
        if text.last() == Some(&b'\r') {
            text.pop();
        }
        lines.push(LogLine {
            stream,
            timestamp_ns,
            ended_ns: self.ended_ns,
            text,
        });
    }
}

/// The time before a piece, and the rest of it.
fn timed(piece: &[u8]) -> Option<(i64, &[u8])> {
    let space = memchr::memchr(b' ', piece)?;
    let (time, rest) = piece.split_at(space);
    let time: jiff::Timestamp = std::str::from_utf8(time).ok()?.parse().ok()?;
    let time_ns = i64::try_from(time.as_nanosecond()).ok()?;
    Some((time_ns, rest.get(1..).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const T1: &str = "2024-01-02T03:04:05.000000001Z";
    const T2: &str = "2024-01-02T03:04:05.000000002Z";

    fn framed(kind: u8, payload: &str) -> Vec<u8> {
        let mut bytes = vec![kind, 0, 0, 0];
        bytes.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
        bytes.extend(payload.as_bytes());
        bytes
    }

    fn shown(lines: &[LogLine]) -> Vec<String> {
        let shown = |line: &LogLine| {
            let text = String::from_utf8_lossy(&line.text);
            let (began, ended) = (line.timestamp_ns % 1000, line.ended_ns % 1000);
            format!("{:?} {began}-{ended} {text}", line.stream)
        };
        lines.iter().map(shown).collect()
    }

    #[test]
    fn frames_are_told_apart_wherever_they_are_cut() {
        let bytes = [
            framed(1, &format!("{T1} out\n")),
            framed(1, &format!("{T1} in two ")),
            framed(2, &format!("{T2} err\n")),
            framed(1, &format!("{T2} pieces\n{T2} and more\n")),
            framed(2, &format!("{T2} no end")),
        ]
        .concat();
        for cut in 0..=bytes.len() {
            let mut frames = Frames::new(false);
            let (first, second) = bytes.split_at(cut);
            let mut lines = frames.take(first).unwrap();
            lines.extend(frames.take(second).unwrap());
            lines.extend(frames.finish());
            assert_eq!(
                shown(&lines),
                [
                    "Stdout 1-1 out",
                    "Stderr 2-2 err",
                    "Stdout 1-2 in two pieces",
                    "Stdout 2-2 and more",
                    "Stderr 2-2 no end",
                ],
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn a_terminal_has_no_frames() {
        let mut frames = Frames::new(true);
        let mut lines = frames
            .take(format!("{T1} one\r\n{T2} tw").as_bytes())
            .unwrap();
        lines.extend(frames.take(b"o\r\n").unwrap());
        lines.extend(frames.finish());
        assert_eq!(shown(&lines), ["Stdout 1-1 one", "Stdout 2-2 two"]);
    }

    #[test]
    fn what_is_no_log_is_told() {
        let mut frames = Frames::new(false);
        assert_eq!(
            frames.take(&framed(3, "no space left\n")),
            Err(FrameError::Told("no space left".to_owned()))
        );
        assert_eq!(frames.take(b"HTTP/1.1"), Err(FrameError::Stream(b'H')));
        assert_eq!(
            Frames::new(false).take(&[1, 0, 0, 0, 255, 255, 255, 255]),
            Err(FrameError::Long(u32::MAX as usize))
        );
    }
}
