//! Points in time as Go has them: layouts written as the reference time, parsing, printing.
//!
//! Public because the agent's `timestamp` stage reads times by the same layouts.

mod civil;
mod format;
mod layout;
mod parse;

use std::fmt;
use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};

pub use civil::Civil;
pub(super) use layout::{month_name, weekday_name};
pub use parse::{TimeError, parse_in};

/// Seconds from Go's zero time (1 January of year 1) to the Unix epoch.
const ZERO_UNIX_S: i64 = -62_135_596_800;

/// The zones are part of the program, so that none depends on the machine.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// Where a time is shown.
#[derive(Clone, Debug)]
pub enum Zone {
    /// UTC, and the local zone of a server.
    Utc,
    /// A fixed offset, with a name or without.
    Fixed {
        /// Seconds east of UTC.
        offset_s: i32,
        /// The abbreviation; empty if there is none.
        name: Arc<str>,
    },
    /// A zone of the time zone database.
    Named(TimeZone),
}

impl Zone {
    /// A zone by its name in the time zone database; empty and `UTC` are UTC.
    #[must_use]
    pub fn load(name: &str) -> Option<Self> {
        match name {
            "" | "UTC" | "Local" => Some(Self::Utc),
            _ if name.contains("..") || name.starts_with(['/', '\\']) => None,
            _ => ZONES.get(name).ok().map(Self::Named),
        }
    }

    /// Offset in seconds east of UTC and abbreviation at an instant.
    fn at(&self, unix_s: i64) -> (i32, String) {
        match self {
            Self::Utc => (0, "UTC".to_owned()),
            Self::Fixed { offset_s, name } => (*offset_s, name.to_string()),
            Self::Named(zone) => match Timestamp::from_second(unix_s) {
                Ok(timestamp) => {
                    let info = zone.to_offset_info(timestamp);
                    (info.offset().seconds(), info.abbreviation().to_owned())
                }
                Err(_) => (0, "UTC".to_owned()),
            },
        }
    }

    fn offset_s(&self, unix_s: i64) -> i64 {
        match self {
            Self::Utc => 0,
            Self::Fixed { offset_s, .. } => i64::from(*offset_s),
            Self::Named(zone) => Timestamp::from_second(unix_s).map_or(0, |timestamp| {
                i64::from(zone.to_offset(timestamp).seconds())
            }),
        }
    }

    /// The instant of a local time, given as seconds since the epoch without regard to the zone.
    fn to_unix(&self, local_s: i64) -> i64 {
        let first = self.offset_s(local_s);
        let unix_s = local_s - first;
        // Near a change of offset the guess may be on the wrong side of it.
        let second = self.offset_s(unix_s);
        local_s - if first == second { first } else { second }
    }
}

/// An instant and the zone it is shown in.
#[derive(Clone, Debug)]
pub struct GoTime {
    unix_s: i64,
    nanos: u32,
    zone: Zone,
}

impl GoTime {
    /// Go's zero time.
    #[must_use]
    pub fn zero() -> Self {
        Self {
            unix_s: ZERO_UNIX_S,
            nanos: 0,
            zone: Zone::Utc,
        }
    }

    /// An instant from nanoseconds since the Unix epoch, in UTC.
    #[must_use]
    pub fn from_unix_ns(unix_ns: i64) -> Self {
        Self {
            unix_s: unix_ns.div_euclid(1_000_000_000),
            nanos: unix_ns.rem_euclid(1_000_000_000) as u32,
            zone: Zone::Utc,
        }
    }

    /// An instant from seconds and nanoseconds since the Unix epoch, in UTC.
    #[must_use]
    pub fn from_unix(unix_s: i64, nanos: i64) -> Self {
        Self {
            unix_s: unix_s.saturating_add(nanos.div_euclid(1_000_000_000)),
            nanos: nanos.rem_euclid(1_000_000_000) as u32,
            zone: Zone::Utc,
        }
    }

    /// The instant at which a calendar shows `civil` in `zone`. Fields out of range carry over.
    #[must_use]
    pub fn from_civil(civil: &Civil, zone: Zone) -> Self {
        let unix_s = zone.to_unix(civil.seconds());
        Self {
            unix_s,
            nanos: civil.nanos,
            zone,
        }
    }

    /// The same instant in another zone.
    #[must_use]
    pub fn in_zone(mut self, zone: Zone) -> Self {
        self.zone = zone;
        self
    }

    /// Whole seconds since the Unix epoch.
    #[must_use]
    pub fn unix_s(&self) -> i64 {
        self.unix_s
    }

    /// Nanoseconds within the second.
    #[must_use]
    pub fn nanos(&self) -> u32 {
        self.nanos
    }

    /// Nanoseconds since the Unix epoch; wraps around outside of 1678 to 2262, as Go's does.
    #[must_use]
    pub fn unix_ns(&self) -> i64 {
        self.unix_s
            .wrapping_mul(1_000_000_000)
            .wrapping_add(i64::from(self.nanos))
    }

    /// Whether it is the zero time.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        (self.unix_s, self.nanos) == (ZERO_UNIX_S, 0)
    }

    /// What calendar and clock show in the time's zone.
    #[must_use]
    pub fn civil(&self) -> Civil {
        let local_s = self.unix_s.saturating_add(self.zone.offset_s(self.unix_s));
        Civil::from_seconds(local_s, self.nanos)
    }

    /// Where the time is shown.
    #[must_use]
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// Seconds east of UTC, and the abbreviation of the zone.
    #[must_use]
    pub fn offset(&self) -> (i32, String) {
        self.zone.at(self.unix_s)
    }

    /// The time plus a span.
    #[must_use]
    pub fn plus_ns(&self, ns: i64) -> Self {
        let mut sum = Self::from_unix(
            self.unix_s.saturating_add(ns.div_euclid(1_000_000_000)),
            i64::from(self.nanos) + ns.rem_euclid(1_000_000_000),
        );
        sum.zone = self.zone.clone();
        sum
    }

    /// The span since `earlier`, as much as fits.
    #[must_use]
    pub fn since_ns(&self, earlier: &Self) -> i64 {
        let seconds = i128::from(self.unix_s) - i128::from(earlier.unix_s);
        let ns = seconds * 1_000_000_000 + i128::from(self.nanos) - i128::from(earlier.nanos);
        ns.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
    }

    /// Seconds and nanoseconds, for comparing.
    #[must_use]
    pub fn instant(&self) -> (i64, u32) {
        (self.unix_s, self.nanos)
    }

    /// Prints by a layout such as `2006-01-02 15:04:05`.
    #[must_use]
    pub fn format(&self, layout: &str) -> String {
        format::format(self, layout)
    }
}

impl fmt::Display for GoTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.format("2006-01-02 15:04:05.999999999 -0700 MST"))
    }
}
