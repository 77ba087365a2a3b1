//! When something is done again and again, as cron says it: six fields with seconds first, in UTC, as
//! Harbor has them. Lists, ranges, steps and names of months and weekdays; if both a day of the month
//! and a weekday are given, either will do.

use jiff::civil::Date;
use jiff::tz::Offset;

/// A longer text is none that somebody wrote.
const TEXT_BYTES_MAX: usize = 256;
/// Days after which nothing comes any more: the 29th of February is at most eight years away.
const DAYS_MAX: usize = 9 * 366;

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// A field: what it is called, its least and its most, and the names that stand for numbers from the
/// least.
struct Field(&'static str, u32, u32, &'static [&'static str]);

const FIELDS: [Field; 6] = [
    Field("second", 0, 59, &[]),
    Field("minute", 0, 59, &[]),
    Field("hour", 0, 23, &[]),
    Field("day of the month", 1, 31, &[]),
    Field("month", 1, 12, &MONTHS),
    Field("weekday", 0, 6, &WEEKDAYS),
];

/// Numbers below 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Set(u64);

impl Set {
    fn has(self, number: u32) -> bool {
        self.0 & 1_u64.checked_shl(number).unwrap_or(0) != 0
    }

    fn from(self, least: u32) -> impl Iterator<Item = u32> {
        (least..64).filter(move |number| self.has(*number))
    }
}

/// When something is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cron {
    seconds: Set,
    minutes: Set,
    hours: Set,
    days: Set,
    months: Set,
    weekdays: Set,
    /// Whether the day of the month, and the weekday, were left open.
    is_open: [bool; 2],
}

impl Cron {
    /// Reads `0 30 4 * * 1-5`. The error says what is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(format!("cron has at most {TEXT_BYTES_MAX} bytes"));
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        let words: [&str; 6] = words.try_into().map_err(|words: Vec<&str>| {
            let count = words.len();
            format!(
                "cron has six fields: second, minute, hour, day of the month, month and weekday; \
                 `{text}` has {count}"
            )
        })?;
        let mut sets = [Set(0); 6];
        for ((set, field), word) in sets.iter_mut().zip(&FIELDS).zip(words) {
            *set = field.parse(word)?;
        }
        let [seconds, minutes, hours, days, months, weekdays] = sets;
        let [.., day, _, weekday] = words;
        let cron = Self {
            seconds,
            minutes,
            hours,
            days,
            months,
            weekdays,
            is_open: [day, weekday].map(|word| word.starts_with(['*', '?'])),
        };
        match cron.next(0) {
            Some(_) => Ok(cron),
            None => Err(format!("`{text}` is no day of any year")),
        }
    }

    /// The first moment after this one, in milliseconds since 1970.
    pub(crate) fn next(&self, after_ms: i64) -> Option<i64> {
        let from = jiff::Timestamp::from_millisecond(after_ms).ok()?;
        let from = Offset::UTC.to_datetime(from);
        let mut date = from.date();
        let time = from.time();
        let seconds = |unit: i8| u32::try_from(unit).unwrap_or(0);
        let hour = seconds(time.hour());
        // The second that has begun is over.
        let mut least = hour * 3600 + seconds(time.minute()) * 60 + seconds(time.second()) + 1;
        for _ in 0..DAYS_MAX {
            if self.has(date)
                && let Some(at) = self.first_from(least)
            {
                let midnight = Offset::UTC.to_timestamp(date.at(0, 0, 0, 0)).ok()?;
                return Some(midnight.as_millisecond() + i64::from(at) * 1000);
            }
            date = date.tomorrow().ok()?;
            least = 0;
        }
        None
    }

    fn has(&self, date: Date) -> bool {
        let number = |unit: i8| u32::try_from(unit).unwrap_or(0);
        if !self.months.has(number(date.month())) {
            return false;
        }
        let day = self.days.has(number(date.day()));
        let weekday = number(date.weekday().to_sunday_zero_offset());
        let weekday = self.weekdays.has(weekday);
        match self.is_open.contains(&true) {
            true => day && weekday,
            false => day || weekday,
        }
    }

    /// The first second of a day that is not before this one.
    fn first_from(&self, least: u32) -> Option<u32> {
        let hours = self.hours.from(least / 3600);
        let minutes = hours.flat_map(|hour| {
            let first = (least / 60).saturating_sub(hour * 60);
            self.minutes
                .from(first)
                .map(move |minute| hour * 60 + minute)
        });
        let mut seconds = minutes.flat_map(|minute| {
            let first = least.saturating_sub(minute * 60);
            self.seconds
                .from(first)
                .map(move |second| minute * 60 + second)
        });
        seconds.next()
    }
}

impl Field {
    fn parse(&self, word: &str) -> Result<Set, String> {
        let Self(name, least, most, _) = self;
        let wrong =
            || format!("`{word}` is no {name}: it is {least} to {most}, like *, 1-3, 1,3 or */2");
        let mut set = 0;
        for part in word.split(',') {
            let (range, step) = match part.split_once('/') {
                Some((range, step)) => (range, step.parse().ok().filter(|step| *step > 0)),
                None => (part, Some(1)),
            };
            let step: u32 = step.ok_or_else(wrong)?;
            let (from, to) = match range.split_once('-') {
                None if matches!(range, "*" | "?") => (Some(*least), Some(*most)),
                Some((from, to)) => (self.number(from), self.number(to)),
                None if part.contains('/') => (self.number(range), Some(*most)),
                None => (self.number(range), self.number(range)),
            };
            let (from, to) = (from.ok_or_else(wrong)?, to.ok_or_else(wrong)?);
            if from > to {
                return Err(wrong());
            }
            let numbers = (from..=to).step_by(usize::try_from(step).unwrap_or(usize::MAX));
            set |= numbers.fold(0, |set, number| set | 1_u64 << number);
        }
        Ok(Set(set))
    }

    fn number(&self, text: &str) -> Option<u32> {
        let Self(_, least, most, names) = self;
        let mut named = names.iter().zip(*least..);
        let named = named.find(|(name, _)| name.eq_ignore_ascii_case(text));
        let number = named.map(|(_, number)| number).or(text.parse().ok())?;
        (*least..=*most).contains(&number).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn next(cron: &str, after: &str) -> String {
        let after: jiff::Timestamp = after.parse().unwrap();
        let at = Cron::parse(cron).unwrap().next(after.as_millisecond());
        let at = jiff::Timestamp::from_millisecond(at.unwrap()).unwrap();
        at.to_string()
    }

    #[test]
    fn the_next_moment() {
        for (cron, after, expected) in [
            (
                "0 0 * * * *",
                "2026-11-27T07:00:00Z",
                "2026-11-27T08:00:00Z",
            ),
            (
                "0 0 0 * * *",
                "2026-11-27T07:00:00.5Z",
                "2026-11-28T00:00:00Z",
            ),
            (
                "0 0 0 * * 0",
                "2026-11-27T07:00:00Z",
                "2026-11-29T00:00:00Z",
            ),
            (
                "0 0 0 * * SUN",
                "2026-11-29T00:00:00Z",
                "2026-12-06T00:00:00Z",
            ),
            (
                "*/20 * * * * *",
                "2026-11-27T07:00:39.9Z",
                "2026-11-27T07:00:40Z",
            ),
            (
                "*/20 * * * * ?",
                "2026-12-31T23:59:40Z",
                "2027-01-01T00:00:00Z",
            ),
            (
                "5 30 4,16 * * *",
                "2026-11-27T04:30:05Z",
                "2026-11-27T16:30:05Z",
            ),
            (
                "0 59 22-23 * * *",
                "2026-11-27T22:59:30Z",
                "2026-11-27T23:59:00Z",
            ),
            (
                "0 10/25 7 * * *",
                "2026-11-27T07:35:00Z",
                "2026-11-28T07:10:00Z",
            ),
            (
                "0 0 0 29 feb ?",
                "2026-11-27T07:00:00Z",
                "2028-02-29T00:00:00Z",
            ),
            // Either day.
            (
                "0 0 0 1 * mon",
                "2026-11-27T07:00:00Z",
                "2026-11-30T00:00:00Z",
            ),
            (
                "0 0 0 1 * mon",
                "2026-11-30T07:00:00Z",
                "2026-12-01T00:00:00Z",
            ),
        ] {
            assert_eq!(next(cron, after), expected, "{cron} after {after}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for cron in [
            "",
            "0 0 * * *",
            "0 0 0 * * * *",
            "60 * * * * *",
            "* * 24 * * *",
            "0 0 0 0 * *",
            "0 0 0 30 2 ?",
            "0 0 0 * 13 *",
            "0 0 0 * * 7",
            "0 0 0 * * day",
            "*/0 * * * * *",
            "5-1 * * * * *",
            "1, * * * * *",
            "-1 * * * * *",
            "0 0 0 * * mon-",
            "0 0 99999999999 * * *",
        ] {
            assert!(Cron::parse(cron).is_err(), "{cron}");
        }
        let long = format!("0 0 0 * * {}", vec!["1"; 1000].join(","));
        assert!(
            Cron::parse(&long)
                .unwrap_err()
                .contains("at most 256 bytes")
        );
    }

    proptest! {
        #[test]
        fn anything_is_read_or_refused(text in "[-*/?,0-9a-z ]{0,40}") {
            let _ = Cron::parse(&text);
        }

        /// The next moment is later, and is the one that comes if all seconds are looked at.
        #[test]
        fn no_moment_is_left_out(
            second in 0..60_u32, minute in 0..60_u32, step in 1..30_u32, after in 0..1_000_000_000_i64,
        ) {
            let cron = Cron::parse(&format!("{second} {minute}/{step} * * * *")).unwrap();
            let at = cron.next(after * 1000).unwrap() / 1000;
            let fits = |at: i64| {
                let (of_hour, of_minute) = ((at / 60 % 60) as u32, (at % 60) as u32);
                of_minute == second && of_hour >= minute && (of_hour - minute) % step == 0
            };
            let expected = (after + 1..).find(|at| fits(*at));
            prop_assert_eq!(Some(at), expected);
        }
    }
}
