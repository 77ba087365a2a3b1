//! Where in the log of a container one is.
//!
//! Docker gives a log from a time on. Times are neither unique nor quite in order, since a container
//! has two streams; so a place is the second before the latest line, and how many lines have come
//! since its beginning. Who goes on asks for the log from that second on and passes over so many.

use std::sync::Arc;

const SECOND_NS: i64 = 1_000_000_000;

/// How far the log of a container was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// The time of the latest line, in nanoseconds since 1970.
    last_ns: i64,
    /// Lines of its second, and of the second before.
    lines: [u64; 2],
}

/// What of a log was read before, as its lines come again.
#[derive(Debug)]
pub(super) struct Resumed {
    place: Place,
    /// Lines to pass over.
    left: u64,
    /// No later line was read.
    until_ns: i64,
}

impl Place {
    /// The place that a cursor says.
    pub(super) fn of_cursor(cursor: &str) -> Option<Self> {
        let mut place = Self::default();
        for part in cursor.split(';') {
            let (name, value) = part.split_once('=')?;
            match name {
                "t" => place.last_ns = i64::from_str_radix(value, 16).ok()?,
                // Which of them are of which second is counted anew when they come again.
                "n" => place.lines = [value.parse().ok()?, 0],
                _ => return None,
            }
        }
        Some(place)
    }

    /// As text: the time first, in the manner of a cursor of the journal.
    pub(super) fn cursor(&self) -> Arc<str> {
        let lines: u64 = self.lines.iter().sum();
        format!("t={:x};n={lines}", self.last_ns).into()
    }

    /// The second from which on the log is to be asked for.
    pub(super) fn since(&self) -> i64 {
        (self.last_ns.div_euclid(SECOND_NS) - 1).max(0)
    }

    fn advance(&mut self, line_ns: i64) {
        let second = |ns: i64| ns.div_euclid(SECOND_NS);
        let ahead = second(line_ns) - second(self.last_ns);
        match ahead {
            ..-1 => return,
            -1 => self.lines[1] += 1,
            0 => self.lines[0] += 1,
            1 => self.lines = [1, self.lines[0]],
            2.. => self.lines = [1, 0],
        }
        self.last_ns = self.last_ns.max(line_ns);
    }
}

impl Resumed {
    /// For a log that is asked for from `place` on.
    pub(super) fn at(place: &Place) -> Self {
        Self {
            left: place.lines.iter().sum(),
            until_ns: place.last_ns,
            place: Place {
                lines: [0, 0],
                ..place.clone()
            },
        }
    }

    /// Takes in that a line came that was whole at `ended_ns`: the place after it, if it was not read
    /// before.
    pub(super) fn pass(&mut self, ended_ns: i64) -> Option<&Place> {
        self.place.advance(ended_ns);
        if ended_ns > self.until_ns {
            // Whatever is not there any more of what was read, this is new.
            self.left = 0;
        }
        if self.left > 0 {
            self.left -= 1;
            return None;
        }
        Some(&self.place)
    }

    /// Moves `place` to where one is, if that is not before it.
    pub(super) fn move_to(&self, place: &mut Place) {
        if self.left == 0 {
            place.clone_from(&self.place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a log from a place on: the times that are new, and where each leads.
    fn read(log: &[i64], place: &Place) -> Vec<(i64, Place)> {
        let mut resumed = Resumed::at(place);
        let since_ns = place.since() * SECOND_NS;
        let given = log.iter().filter(|at| **at >= since_ns);
        let new = |at: &i64| Some((*at, resumed.pass(*at)?.clone()));
        given.filter_map(new).collect()
    }

    #[test]
    fn from_each_place_the_rest_is_read_and_nothing_twice() {
        // Times that are equal, out of order, and far apart.
        let tenths = [
            10, 10, 11, 20, 19, 20, 20, 21, 35, 34, 36, 90, 90, 91, 99, 100, 100, 99, 110, 250,
        ];
        let log: Vec<i64> = tenths.iter().map(|at| 17_000_000_000_i64 + at).collect();
        let log: Vec<i64> = log.iter().map(|at| at * (SECOND_NS / 10)).collect();
        let whole = read(&log, &Place::default());
        assert_eq!(whole.len(), log.len());
        for (at, (_, place)) in whole.iter().enumerate() {
            let place = Place::of_cursor(&place.cursor()).unwrap();
            let rest: Vec<i64> = read(&log, &place).iter().map(|(at, _)| *at).collect();
            assert_eq!(rest, log[at + 1..], "from {place:?}");
            // And again, from a place that was reached after going on.
            for (further, (_, place)) in read(&log, &place).iter().enumerate() {
                let rest: Vec<i64> = read(&log, place).iter().map(|(at, _)| *at).collect();
                assert_eq!(rest, log[at + further + 2..], "from {place:?}");
            }
        }
    }

    #[test]
    fn what_comes_after_the_place_is_never_passed_over() {
        // All that was read of the log is gone by now.
        let place = Place::of_cursor("t=3b9aca00;n=5").unwrap();
        assert_eq!(read(&[SECOND_NS + 1, SECOND_NS + 2], &place).len(), 2);
        assert_eq!(Place::of_cursor("s=1;i=2"), None);
    }
}
