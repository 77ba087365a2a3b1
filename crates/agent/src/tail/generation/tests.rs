use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;

use super::*;

const LINE_MAX: usize = 1 << 20;

struct Case {
    _directory: tempfile::TempDir,
    path: PathBuf,
    generation: Generation,
    buffer: Buffer,
}

impl Case {
    fn new(content: &[u8]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.log");
        fs::write(&path, content).unwrap();
        let generation = Generation::open(0, &path, Duration::ZERO).unwrap();
        Self {
            _directory: directory,
            path,
            generation,
            buffer: Buffer::new(LINE_MAX),
        }
    }

    fn append(&self, bytes: &[u8]) {
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(&self.path)
            .unwrap();
        file.write_all(bytes).unwrap();
    }

    /// All lines up to the end or a truncation.
    fn lines(&mut self) -> (Vec<(u64, String)>, Progress) {
        let mut lines = Vec::new();
        loop {
            let mut take = |line: Line<'_>| {
                let text = String::from_utf8_lossy(line.bytes).into_owned();
                lines.push((line.offset, text));
            };
            let progress = self.generation.read(&mut self.buffer, &mut take).unwrap();
            if progress != Progress::Advanced {
                return (lines, progress);
            }
        }
    }

    fn texts(&mut self) -> Vec<String> {
        self.lines().0.into_iter().map(|(_, text)| text).collect()
    }
}

#[test]
fn a_half_line_waits_for_its_end() {
    let mut case = Case::new(b"one\ntw");
    assert_eq!(case.lines().0, [(0, "one".to_owned())]);
    assert_eq!(case.generation.next_line(), 4);
    case.append(b"o\n\nfour");
    assert_eq!(case.lines().0, [(4, "two".to_owned()), (8, String::new())]);
    assert_eq!(case.generation.unread(), 4);
    let mut last = String::new();
    let mut take = |line: Line<'_>| last = String::from_utf8_lossy(line.bytes).into_owned();
    case.generation
        .read_half_line(&mut case.buffer, &mut take)
        .unwrap();
    assert_eq!(last, "four");
    assert_eq!(case.generation.unread(), 0);
}

#[test]
fn a_truncation_is_seen_even_when_the_file_is_longer_again() {
    let mut case = Case::new(b"one\ntwo\n");
    assert_eq!(case.texts(), ["one", "two"]);
    fs::write(&case.path, b"a longer line than before\n").unwrap();
    assert_eq!(case.lines(), (vec![], Progress::Replaced));
    let mut case = Case::new(b"one\ntwo\n");
    case.lines();
    fs::write(&case.path, b"").unwrap();
    assert_eq!(case.lines(), (vec![], Progress::Replaced));
}

#[test]
fn holes_and_nul_bytes_before_a_line_are_passed_over() {
    let mut case = Case::new(b"one\n");
    let file = fs::OpenOptions::new().write(true).open(&case.path).unwrap();
    file.set_len(64 << 20).unwrap();
    assert_eq!(case.texts(), ["one"]);
    assert_eq!(
        case.generation.next_line(),
        4,
        "the hole at the end may still be filled"
    );
    file.write_at(b"two\n\0\0three\n", 64 << 20).unwrap();
    assert_eq!(case.texts(), ["two", "three"]);
    assert!(case.buffer.bytes.len() <= CHUNK_BYTES + WINDOW_BYTES);
}

#[test]
fn a_line_too_long_is_cut_and_the_rest_skipped() {
    let mut long = vec![b'x'; 3 * LINE_MAX];
    long.extend_from_slice(b"\nnext\n");
    let mut case = Case::new(&long);
    let (lines, _) = case.lines();
    let lens: Vec<(u64, usize)> = lines.iter().map(|(at, line)| (*at, line.len())).collect();
    assert_eq!(lens, [(0, LINE_MAX), (3 * LINE_MAX as u64 + 1, 4)]);
    assert!(
        case.buffer.bytes.len() <= CHUNK_BYTES + WINDOW_BYTES,
        "room is given back"
    );
}

#[test]
fn while_a_line_is_skipped_its_beginning_is_the_position() {
    let mut case = Case::new(&vec![b'x'; 2 * LINE_MAX]);
    assert_eq!(case.lines().0.len(), 1);
    assert_eq!(case.generation.next_line(), 0);
    case.append(b"\n");
    assert_eq!(case.lines().0.len(), 0);
    assert_eq!(case.generation.next_line(), 2 * LINE_MAX as u64 + 1);
}

#[test]
fn many_chunks_give_all_lines_once() {
    let content: String = (0..100_000).map(|i| format!("line {i}\n")).collect();
    let mut case = Case::new(content.as_bytes());
    let texts = case.texts();
    assert_eq!(texts.len(), 100_000);
    assert!(
        texts
            .iter()
            .enumerate()
            .all(|(i, line)| *line == format!("line {i}"))
    );
}

#[test]
fn a_position_goes_on_only_in_the_same_bytes() {
    let mut case = Case::new(b"one\ntwo\n");
    case.lines();
    let mark = case.generation.mark_at(4).unwrap().unwrap();
    let mut again = Case::new(b"one\nother\n");
    assert!(again.generation.resume(mark).unwrap());
    assert_eq!(again.texts(), ["other"]);
    assert!(!Case::new(b"other\n").generation.resume(mark).unwrap());
}
