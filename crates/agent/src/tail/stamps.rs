//! Times for lines that have none of their own.
//!
//! A line's time is that at which its piece of the file was read, and a nanosecond more for each
//! byte before it in the piece: each line is later than the one before, since equal lines at equal
//! times would count as one, and lines that go back in time as out of order. What was stamped is
//! noted with the position, before it is sent. A line that is read again after a crash thus gets
//! the very time it had before, and who keeps one copy of equal rows, as Skald does, keeps one.

use serde::{Deserialize, Serialize};

use super::source::{origin, place};

/// Pieces of a file that may wait for an acknowledgement; with more, reading waits for one.
const PIECES_MAX: usize = 4096;

/// How far the clock may be behind the latest time that was given before it counts as set back.
/// Ingesters take rows as in order that are behind such times by less.
const BEHIND_MAX_NS: i64 = 120 * 1_000_000_000;

/// A part of a file that was read at once. While it is held here it is told by origins, so that
/// pieces of several files can lie beside each other; as it is noted, by offsets in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Piece {
    /// Where its first line begins.
    pub(crate) start: u64,
    /// Where its last line ends.
    pub(crate) end: u64,
    /// The time of its first line, in nanoseconds since 1970.
    pub(crate) base_ns: i64,
    /// Whether an entry went out with a time of it, rather than one that stages found in the line.
    #[serde(skip, default = "yes")]
    pub(crate) is_used: bool,
}

/// What was noted was used.
fn yes() -> bool {
    true
}

/// The latest time that was given, over all files of a reader.
#[derive(Debug, Default)]
pub(crate) struct LastStamp(i64);

impl LastStamp {
    /// A time after all that were given, unless the clock was set back.
    pub(crate) fn next(&mut self, wall_ns: i64) -> i64 {
        let after = self.0.saturating_add(1);
        self.0 = match after.saturating_sub(wall_ns) > BEHIND_MAX_NS {
            true => wall_ns,
            false => wall_ns.max(after),
        };
        self.0
    }

    fn given(&mut self, stamp_ns: i64) {
        self.0 = self.0.max(stamp_ns);
    }
}

/// The pieces of a source's files that are not acknowledged, in their order.
#[derive(Debug, Default)]
pub(crate) struct Stamps(Vec<Piece>);

impl Piece {
    fn stamp(&self, origin: u64) -> i64 {
        let after = i64::try_from(origin.saturating_sub(self.start)).unwrap_or(i64::MAX);
        self.base_ns.saturating_add(after)
    }

    fn covers(&self, origin: u64) -> bool {
        (self.start..self.end).contains(&origin)
    }
}

impl Stamps {
    /// Takes in what was noted of a file that is now this generation.
    pub(super) fn restore(&mut self, generation: u64, noted: &[Piece]) {
        self.0.extend(noted.iter().map(|piece| Piece {
            start: origin(generation, piece.start),
            end: origin(generation, piece.end),
            ..*piece
        }));
        self.0.sort_by_key(|piece| piece.start);
    }

    /// The time of the line at `origin`.
    pub(super) fn stamp(&mut self, origin: u64, wall_ns: i64, last: &mut LastStamp) -> i64 {
        let stamp_ns = match self.at(origin) {
            Some(piece) => piece.stamp(origin),
            None => {
                let base_ns = last.next(wall_ns);
                let piece = Piece {
                    start: origin,
                    end: u64::MAX,
                    base_ns,
                    is_used: false,
                };
                let place = self.0.partition_point(|other| other.start <= origin);
                self.0.insert(place, piece);
                base_ns
            }
        };
        last.given(stamp_ns);
        stamp_ns
    }

    /// The piece of a line. Of those that were read after one that was noted, the latter counts where
    /// both have it.
    fn at(&mut self, origin: u64) -> Option<&mut Piece> {
        let after = self.0.partition_point(|piece| piece.start <= origin);
        let mut before = self.0.iter_mut().take(after).rev();
        before.find(|piece| piece.covers(origin))
    }

    /// Ends the piece that is being read.
    pub(super) fn end(&mut self, end: u64) {
        let mut open = self.0.iter_mut().rev();
        if let Some(piece) = open.find(|piece| piece.end == u64::MAX) {
            piece.end = end;
        }
        while self.0.len() > PIECES_MAX {
            // What is held back for as long as that may come out with a time that is not noted.
            let unused = self.0.iter().position(|piece| !piece.is_used);
            self.0.remove(unused.unwrap_or(0));
        }
    }

    /// Whether an entry that begins at `origin` has the time that was given here; that is
    /// remembered.
    pub(super) fn is_of(&mut self, origin: u64, timestamp_ns: i64) -> bool {
        match self.at(origin) {
            Some(piece) if piece.stamp(origin) == timestamp_ns => {
                piece.is_used = true;
                true
            }
            _ => false,
        }
    }

    /// Forgets what of a generation lies before `offset`.
    pub(super) fn forget_before(&mut self, generation: u64, offset: u64) {
        let before = origin(generation, offset);
        self.0
            .retain(|piece| place(piece.start).0 != generation || piece.end > before);
    }

    /// Forgets a generation.
    pub(super) fn forget(&mut self, generation: u64) {
        self.0.retain(|piece| place(piece.start).0 != generation);
    }

    /// What is to be noted of a generation: the pieces of which a time was used.
    pub(super) fn used(&self, generation: u64) -> Vec<Piece> {
        let used = self
            .0
            .iter()
            .filter(|piece| place(piece.start).0 == generation && piece.is_used);
        let noted = |piece: &Piece| Piece {
            start: place(piece.start).1,
            end: place(piece.end).1,
            ..*piece
        };
        used.map(noted).collect()
    }

    /// Whether there is room for more pieces.
    pub(super) fn has_room(&self) -> bool {
        self.0.len() < PIECES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_only_go_forward_over_all_files() {
        let mut last = LastStamp::default();
        let (mut a, mut b) = (Stamps::default(), Stamps::default());
        assert_eq!(a.stamp(0, 1000, &mut last), 1000);
        assert_eq!(a.stamp(7, 1000, &mut last), 1007);
        a.end(9);
        assert_eq!(b.stamp(0, 1000, &mut last), 1008);
        assert_eq!(a.stamp(9, 900, &mut last), 1009);
        assert_eq!(a.stamp(12, 5000, &mut last), 1012);
        a.end(20);
        assert_eq!(a.stamp(20, 5000, &mut last), 5000);
    }

    #[test]
    fn a_clock_that_is_set_back_far_is_followed() {
        let (mut last, mut stamps) = (LastStamp::default(), Stamps::default());
        let now_ns = 1_000 * BEHIND_MAX_NS;
        let stamp = |at, wall_ns, stamps: &mut Stamps, last: &mut LastStamp| {
            let stamp_ns = stamps.stamp(at, wall_ns, last);
            stamps.end(at + 10);
            stamp_ns
        };
        assert_eq!(stamp(0, now_ns, &mut stamps, &mut last), now_ns);
        let little = now_ns - BEHIND_MAX_NS / 2;
        assert_eq!(stamp(10, little, &mut stamps, &mut last), now_ns + 1);
        let far = now_ns - 2 * BEHIND_MAX_NS;
        assert_eq!(stamp(20, far, &mut stamps, &mut last), far);
        assert_eq!(stamp(30, far, &mut stamps, &mut last), far + 1);
        // What has its time from before the step does not bring the old times back.
        assert_eq!(stamp(0, far, &mut stamps, &mut last), now_ns);
        assert_eq!(stamp(40, far + 5, &mut stamps, &mut last), far + 5);
    }

    #[test]
    fn a_line_that_is_read_again_has_the_time_it_had() {
        let mut last = LastStamp::default();
        let mut stamps = Stamps::default();
        let first: Vec<i64> = [0, 5]
            .map(|at| stamps.stamp(origin(3, at), 100, &mut last))
            .into();
        stamps.end(origin(3, 10));
        assert!(stamps.is_of(origin(3, 5), 105) && !stamps.is_of(origin(3, 5), 106));
        assert!(stamps.used(2).is_empty());
        let mut again = Stamps::default();
        again.restore(1, &stamps.used(3));
        // In other pieces, and much later.
        let second: Vec<i64> = [0, 5, 10]
            .map(|at| again.stamp(origin(1, at), 900, &mut LastStamp::default()))
            .into();
        assert_eq!((first, second), (vec![100, 105], vec![100, 105, 900]));
        again.end(origin(1, 12));
        again.forget_before(1, 10);
        assert!(again.used(1).is_empty());
    }

    #[test]
    fn a_piece_that_was_noted_counts_before_one_that_is_read_around_it() {
        let mut last = LastStamp::default();
        let mut stamps = Stamps::default();
        for (at, wall_ns) in [(0, 100), (10, 200), (20, 300)] {
            stamps.stamp(origin(0, at), wall_ns, &mut last);
            stamps.end(origin(0, at + 10));
        }
        // An entry begins in the first and ends in the second; the next begins in the third.
        assert!(stamps.is_of(origin(0, 0), 100) && stamps.is_of(origin(0, 20), 300));
        let mut again = Stamps::default();
        again.restore(0, &stamps.used(0));
        let second: Vec<i64> = [0, 10, 20, 30]
            .map(|at| again.stamp(origin(0, at), 900, &mut LastStamp::default()))
            .into();
        assert_eq!(second, [100, 900, 300, 920]);
    }

    #[test]
    fn pieces_that_wait_for_long_are_bounded_and_used_ones_are_kept() {
        let (mut last, mut stamps) = (LastStamp::default(), Stamps::default());
        let count = 2 * PIECES_MAX as u64;
        for at in 0..count {
            let stamp_ns = stamps.stamp(at, 100, &mut last);
            if at % 4 == 0 {
                assert!(stamps.is_of(at, stamp_ns));
            }
            stamps.end(at + 1);
        }
        assert!(stamps.0.len() <= PIECES_MAX && !stamps.has_room());
        assert_eq!(stamps.used(0).len(), PIECES_MAX / 2);
    }
}
