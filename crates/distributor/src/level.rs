//! The level of a line: in a field of JSON or logfmt, else the first word that is one.
//!
//! The rules are Loki's, down to which characters end a word, because dashboards count by
//! `detected_level`. Every line of every push passes through here, so each step is one scan that
//! allocates nothing and stops as soon as it knows.

pub(crate) mod json;
pub(crate) mod logfmt;
mod words;

use std::sync::LazyLock;

use memchr::memchr;
use model::LabelSet;

/// Name of the metadata that carries the level.
pub(crate) const DETECTED_LEVEL: &str = "detected_level";

/// A level that queries can rely on the spelling of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Critical,
    Fatal,
    Unknown,
}

/// One metadata set for each level, so that rows without other metadata share them.
static METADATA: LazyLock<Vec<LabelSet>> = LazyLock::new(|| {
    let set = |level: Level| LabelSet::from_pairs([(DETECTED_LEVEL, level.as_str())]);
    Level::ALL.into_iter().map(set).collect()
});

impl Level {
    const ALL: [Self; 8] = [
        Self::Trace,
        Self::Debug,
        Self::Info,
        Self::Warn,
        Self::Error,
        Self::Critical,
        Self::Fatal,
        Self::Unknown,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Critical => "critical",
            Self::Fatal => "fatal",
            Self::Unknown => "unknown",
        }
    }

    /// The level that a field's value names, in any of its spellings.
    pub(crate) fn of_name(name: &[u8]) -> Option<Self> {
        const NAMES: [(&str, Level); 14] = [
            ("info", Level::Info),
            ("error", Level::Error),
            ("warn", Level::Warn),
            ("debug", Level::Debug),
            ("warning", Level::Warn),
            ("trace", Level::Trace),
            ("fatal", Level::Fatal),
            ("critical", Level::Critical),
            ("err", Level::Error),
            ("inf", Level::Info),
            ("wrn", Level::Warn),
            ("dbg", Level::Debug),
            ("trc", Level::Trace),
            ("information", Level::Info),
        ];
        let named = |(known, _): &&(&str, Level)| name.eq_ignore_ascii_case(known.as_bytes());
        NAMES.iter().find(named).map(|(_, level)| *level)
    }

    /// The level of an OTLP severity number, given as text.
    pub(crate) fn of_severity_number(text: &str) -> Self {
        match text.parse::<i64>() {
            Err(_) => Self::Info,
            Ok(0) => Self::Unknown,
            Ok(..=4) => Self::Trace,
            Ok(..=8) => Self::Debug,
            Ok(..=12) => Self::Info,
            Ok(..=16) => Self::Warn,
            Ok(..=20) => Self::Error,
            Ok(..=24) => Self::Fatal,
            Ok(_) => Self::Unknown,
        }
    }

    /// Metadata that has this level and nothing else.
    pub(crate) fn metadata(self) -> &'static LabelSet {
        static NONE: LazyLock<LabelSet> = LazyLock::new(LabelSet::default);
        METADATA.get(self as usize).unwrap_or(&NONE)
    }
}

/// A level as others wrote it, in our spelling if it is one that we know.
pub(crate) fn normalized(name: &str) -> &str {
    match Level::of_name(name.as_bytes()) {
        Some(level) => level.as_str(),
        None => name,
    }
}

/// The level of a line.
pub(crate) fn of_line(line: &[u8], fields: &[String], json_depth_max: usize) -> Level {
    let value = if is_json(line) {
        json::first_text_of(line, fields, json_depth_max)
    } else if memchr(b'=', line).is_some() {
        logfmt::best_of(line, fields)
    } else {
        None
    };
    value
        .and_then(Level::of_name)
        .unwrap_or_else(|| words::first_level(line))
}

/// Whether a line looks like a JSON object.
pub(crate) fn is_json(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    line.first() == Some(&b'{') && line.last() == Some(&b'}')
}

#[cfg(test)]
mod tests {
    use model::Limits;

    use super::*;

    /// Recorded from Loki: conformance category level_detection.
    const RECORDED: [(&str, &[&str]); 8] = [
        (
            "critical",
            &["critical failure", r#"{"level":"critical","x":1}"#],
        ),
        (
            "debug",
            &[
                "DEBUG|x",
                "debug",
                r#"{"log.level":"debug"}"#,
                "Level=Debug",
            ],
        ),
        (
            "error",
            &[
                "line\nerror second line",
                "eRRor mixed",
                "ERR!",
                "Error",
                "SEVERITY=Err",
                "sev=error",
                "loglevel=error",
                r#""level":"error" without braces"#,
                "error info",
                "{level=error}",
                "error,",
                "'error'",
                "{error}",
                "(error)",
                r#"msg="error in info""#,
                "level=unknownlevel msg=error",
                "an err occurred",
                "this is an error message",
                r#"{"a":{"b":{"level":"error"}}}"#,
                r#"{"log":{"level":"error"}}"#,
                r#"{"Lvl":"err"}"#,
                "severity=ERROR a=b",
            ],
        ),
        (
            "fatal",
            &[
                "fatal=1 debug=2",
                "FATAL!",
                r#"{"severity_text":"Fatal"}"#,
                "LEVEL=fatal x=1",
            ],
        ),
        (
            "info",
            &[
                "stdout F info done",
                "info error",
                "trace_id=abc info",
                "error=none level=info",
                "terror info",
                r#"{"level":"INFORMATION"}"#,
                "level=info msg=x",
                "[info] starting",
                "info: starting",
                "INFO starting",
                r#"level=info msg="unterminated"#,
            ],
        ),
        ("trace", &["x=trace", r#"{"level":"trace"}"#]),
        (
            "unknown",
            &[
                "",
                "lvl=e",
                "level:error",
                "stderr",
                "<error>",
                "level=notice",
                "alert",
                "notice",
                "emerg",
                "error;",
                "error.",
                "a.error",
                "misc:error",
                "level=",
                "information only",
                "E0115 something",
                "trc value",
                "dbg value",
                "wrn disk",
                "no problem here",
                "errors everywhere",
                "panic: oh no",
                r#"{"level":3}"#,
                r#"{"level":"crit"}"#,
            ],
        ),
        (
            "warn",
            &[
                "warn\ttab",
                r#"{"level":"warn""#,
                r#"  {"level":"warn"}  "#,
                r#"level="Warning""#,
                "warning disk",
                "WARN: disk",
                r#"{"SeverityText":"warn"}"#,
                r#"{"severity":"WARNING"}"#,
                "lvl=WARN msg=x",
                "error=none msg=x,y lvl=WARN level=warning",
            ],
        ),
    ];

    #[test]
    fn lines_have_the_levels_that_loki_finds() {
        let limits = Limits::default();
        for (level, lines) in RECORDED {
            for line in lines {
                let found = of_line(
                    line.as_bytes(),
                    &limits.log_level_fields,
                    limits.log_level_from_json_max_depth,
                );
                assert_eq!(found.as_str(), level, "{line}");
            }
        }
    }

    #[test]
    fn own_fields_and_depths() {
        let fields = ["sev".to_owned(), "prio".to_owned()];
        for (line, level) in [
            ("level=error sev=warn x", "warn"),
            (r#"{"prio":"debug","level":"error"}"#, "debug"),
            (r#"{"a":{"sev":"fatal"}}"#, "fatal"),
            ("lvl=info prio=error", "error"),
            (r#"{"a":{"sev":"wrn"}}"#, "unknown"),
        ] {
            assert_eq!(
                of_line(line.as_bytes(), &fields, 1).as_str(),
                level,
                "{line}"
            );
        }
    }

    #[test]
    fn severities_of_otlp() {
        for (text, level) in [
            ("9", "info"),
            ("17", "error"),
            ("0", "unknown"),
            ("99", "unknown"),
            ("x", "info"),
            ("1", "trace"),
            ("24", "fatal"),
        ] {
            assert_eq!(Level::of_severity_number(text).as_str(), level);
        }
        for level in Level::ALL {
            assert_eq!(level.metadata().get(DETECTED_LEVEL), Some(level.as_str()));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_have_a_level(line in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            of_line(&line, &Limits::default().log_level_fields, 0);
        }

        #[test]
        fn nearly_structured_lines_have_a_level(line in r#"[{}":,=\\ \[\]a-cel]{0,60}"#) {
            of_line(line.as_bytes(), &Limits::default().log_level_fields, 2);
        }
    }
}
