//! Calendar arithmetic in the proleptic Gregorian calendar
//! (<https://howardhinnant.github.io/date_algorithms.html>).

/// What a calendar and a clock show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Civil {
    /// The year; may be zero or negative.
    pub year: i64,
    /// 1 to 12.
    pub month: i64,
    /// 1 to 31.
    pub day: i64,
    /// 0 to 23.
    pub hour: i64,
    /// 0 to 59.
    pub minute: i64,
    /// 0 to 59.
    pub second: i64,
    /// Nanoseconds within the second.
    pub nanos: u32,
}

impl Civil {
    pub(super) fn from_seconds(local_s: i64, nanos: u32) -> Self {
        let (days, rest) = (local_s.div_euclid(86_400), local_s.rem_euclid(86_400));
        let (year, month, day) = from_days(days);
        Self {
            year,
            month,
            day,
            hour: rest / 3_600,
            minute: rest / 60 % 60,
            second: rest % 60,
            nanos,
        }
    }

    /// Seconds since 1970-01-01T00:00:00 on the same clock.
    pub(super) fn seconds(&self) -> i64 {
        days_of(self.year, self.month, self.day)
            .saturating_mul(86_400)
            .saturating_add(self.hour.saturating_mul(3_600))
            .saturating_add(self.minute.saturating_mul(60))
            .saturating_add(self.second)
    }

    /// Sunday is 0.
    #[must_use]
    pub fn weekday(&self) -> i64 {
        (days_of(self.year, self.month, self.day) + 4).rem_euclid(7)
    }

    /// 1 to 366.
    #[must_use]
    pub fn year_day(&self) -> i64 {
        days_of(self.year, self.month, self.day) - days_of(self.year, 1, 1) + 1
    }
}

pub(super) fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

pub(super) fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01. Months out of range carry into the year, days into the month.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let month0 = month.saturating_sub(1);
    let year = year
        .saturating_add(month0.div_euclid(12))
        .clamp(-100_000_000_000, 100_000_000_000);
    let month = month0.rem_euclid(12) + 1;
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era - 719_468).saturating_add(day.saturating_sub(1))
}

fn from_days(days: i64) -> (i64, i64, i64) {
    let days = days.saturating_add(719_468);
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_seconds() {
        for (seconds, year, month, day) in [
            (0, 1970, 1, 1),
            (-1, 1969, 12, 31),
            (951_782_400, 2000, 2, 29),
            (-62_135_596_800, 1, 1, 1),
            (1_768_435_200, 2026, 1, 15),
        ] {
            let civil = Civil::from_seconds(seconds, 0);
            assert_eq!((civil.year, civil.month, civil.day), (year, month, day));
            assert_eq!(civil.seconds(), seconds);
        }
        assert_eq!(Civil::from_seconds(1_768_435_200, 0).weekday(), 4);
        let carried = Civil {
            year: 2025,
            month: 14,
            day: 31,
            ..Civil::default()
        };
        assert_eq!(Civil::from_seconds(carried.seconds(), 0).month, 3);
    }
}
