//! Rows that are taken, changed and refused.

use model::units::ByteSize;

use super::*;
use crate::stream::StreamCache;

const NOW_NS: i64 = 1_768_435_300_000_000_000;

/// Time, line, metadata.
type Row<'a> = (i64, &'a [u8], &'a [(&'a str, &'a str)]);

struct Tried {
    rows: Vec<(i64, String, String)>,
    report: Report,
}

fn try_rows(limits: Limits, rows: &[Row<'_>]) -> Tried {
    let (tenant, limits) = (TenantId::new("t").unwrap(), Arc::new(limits));
    let cache = StreamCache::new(1 << 20);
    let stream = cache.of_text(&tenant, &limits, r#"{case="x"}"#).unwrap();
    let mut intake = Intake::new(Rules {
        tenant: &tenant,
        limits: &limits,
        now_ns: NOW_NS,
        batch_bytes: 100,
    });
    intake.begin(&stream);
    for (time, line, pairs) in rows {
        let pairs: Vec<Pair<'_>> = pairs
            .iter()
            .map(|(n, v)| ((*n).into(), (*v).into()))
            .collect();
        intake.row(*time, line, &pairs, &[]);
    }
    let Decoded { taken, report, .. } = intake.finish();
    let text = |row: model::EntryRef<'_>| {
        let line = String::from_utf8_lossy(row.line).into_owned();
        (row.timestamp_ns - NOW_NS, line, row.metadata.to_string())
    };
    let rows = taken
        .iter()
        .flat_map(|taken| taken.entries.iter().map(text))
        .collect();
    Tried { rows, report }
}

fn message(limits: Limits, row: (i64, &[u8], &[(&str, &str)])) -> String {
    let tried = try_rows(limits, &[row, (NOW_NS, b"good", &[])]);
    assert_eq!(tried.rows.len(), 1, "only the bad row is refused");
    tried.report.text().unwrap_or_default()
}

const STREAM: &str = r#"'{case="x", service_name="unknown_service"}'"#;

#[test]
fn faults_are_worded_as_loki_words_them() {
    let limits = Limits {
        max_line_size: ByteSize(64),
        max_structured_metadata_size: ByteSize(100),
        max_structured_metadata_entries_count: 3,
        ..Limits::default()
    };
    let hour_ns = 3_600_000_000_000;
    let long = [b'x'; 65];
    let value = "v".repeat(101);
    let many = [("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")];
    for (row, expected) in [
        (
            (NOW_NS - 8 * 24 * hour_ns, &b"x"[..], &[][..]),
            format!(
                "entry for stream {STREAM} has timestamp too old: 2026-01-07T00:01:40Z, oldest \
                 acceptable timestamp is: 2026-01-08T00:01:40Z"
            ),
        ),
        (
            (NOW_NS + hour_ns, b"x", &[]),
            format!("entry for stream {STREAM} has timestamp too new: 2026-01-15T01:01:40Z"),
        ),
        (
            (NOW_NS, &long, &[]),
            format!(
                "max entry size '64' bytes exceeded for stream {STREAM} while adding an entry \
                 with length '65' bytes"
            ),
        ),
        (
            (NOW_NS, b"x", &many),
            format!(
                "stream {STREAM} has too many structured metadata labels: '4', limit: '3'. \
                 Please see `limits_config.max_structured_metadata_entries_count` or contact \
                 your Loki administrator to increase it"
            ),
        ),
        (
            (NOW_NS, b"x", &[("a", &value)]),
            format!(
                "stream {STREAM} has structured metadata too large: '102' bytes, limit: '100' \
                 bytes. Please see `limits_config.max_structured_metadata_size` or contact \
                 your Loki administrator to increase it"
            ),
        ),
        (
            (NOW_NS, b"x", &[("é", "3")]),
            r#"normalization for label name "é" resulted in invalid name "_""#.to_owned(),
        ),
    ] {
        assert_eq!(message(limits.clone(), row), expected);
    }
    let disallowed = Limits {
        allow_structured_metadata: false,
        ..Limits::default()
    };
    assert_eq!(
        message(disallowed, (NOW_NS, b"x", &[("a", "b")])),
        format!(
            "stream {STREAM} includes structured metadata, but this feature is disallowed. \
             Please see `limits_config.allow_structured_metadata` or contact your Loki \
             administrator to enable it"
        )
    );
}

#[test]
fn long_lines_are_cut_where_the_tenant_wants_it() {
    let limits = Limits {
        max_line_size: ByteSize(64),
        max_line_size_truncate: true,
        max_line_size_truncate_identifier: "[cut]".to_owned(),
        ..Limits::default()
    };
    let tried = try_rows(
        limits,
        &[(NOW_NS, &[b'x'; 100], &[]), (NOW_NS, &[b'y'; 64], &[])],
    );
    assert_eq!(tried.rows[0].1, format!("{}[cut]", "x".repeat(59)));
    assert_eq!(tried.rows[1].1, "y".repeat(64));
}

#[test]
fn levels_come_from_metadata_then_from_the_line() {
    let rows: Vec<Row<'_>> = vec![
        (NOW_NS, b"level=warn", &[("level", "Error")]),
        (NOW_NS, b"level=warn", &[("severity_number", "17")]),
        (
            NOW_NS,
            b"level=warn",
            &[("severity_number", "1"), ("severity_text", "Fatal")],
        ),
        (NOW_NS, b"level=warn", &[("detected_level", "DEBUG")]),
        (NOW_NS, b"plain", &[("detected_level", "weird")]),
        (NOW_NS, b"level=warn", &[("a.b", "c"), ("empty", "")]),
        (NOW_NS, b"level=warn", &[]),
    ];
    let metadata: Vec<String> = try_rows(Limits::default(), &rows)
        .rows
        .into_iter()
        .map(|row| row.2)
        .collect();
    assert_eq!(
        metadata,
        [
            r#"{detected_level="error", level="Error"}"#,
            r#"{detected_level="error", severity_number="17"}"#,
            r#"{detected_level="fatal", severity_number="1", severity_text="Fatal"}"#,
            r#"{detected_level="debug"}"#,
            r#"{detected_level="weird"}"#,
            r#"{a_b="c", detected_level="warn"}"#,
            r#"{detected_level="warn"}"#,
        ]
    );
}

#[test]
fn fields_are_copied_from_lines() {
    let mut limits = Limits::default();
    let hints = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let fields = &mut limits.discover_generic_fields.fields;
    fields.insert("trace".to_owned(), hints(&["traceID", "span.id"]));
    fields.insert("org".to_owned(), hints(&["tenant"]));
    let rows: Vec<Row<'_>> = vec![
        (NOW_NS, br#"{"span":{"id":"7"},"tenant":"a"}"#, &[]),
        (NOW_NS, b"traceID=8 x=y", &[("tenant", "m")]),
        (NOW_NS, b"plain", &[]),
    ];
    let tried = try_rows(limits, &rows);
    let metadata: Vec<&str> = tried.rows.iter().map(|row| row.2.as_str()).collect();
    assert_eq!(
        metadata,
        [
            r#"{detected_level="unknown", org="a", trace="7"}"#,
            r#"{detected_level="unknown", org="m", tenant="m", trace="8"}"#,
            r#"{detected_level="unknown"}"#,
        ]
    );
}

#[test]
fn rows_of_one_time_are_told_apart_where_the_tenant_wants_it() {
    let limits = Limits {
        increment_duplicate_timestamp: true,
        ..Limits::default()
    };
    let row = |time: i64, line: &'static str| (NOW_NS + time, line.as_bytes(), &[][..]);
    let tried = try_rows(
        limits,
        &[
            row(0, "a"),
            row(0, "b"),
            row(0, "c"),
            row(0, "c"),
            row(1, "d"),
            row(9, "e"),
        ],
    );
    let times: Vec<i64> = tried.rows.iter().map(|row| row.0).collect();
    assert_eq!(times, [0, 1, 2, 0, 1, 9]);
}

#[test]
fn a_long_stream_continues_in_another_batch() {
    let line = [b'x'; 60];
    let rows: Vec<Row<'_>> = (0..5).map(|i| (NOW_NS + i, &line[..], &[][..])).collect();
    let tried = try_rows(Limits::default(), &rows);
    let times: Vec<i64> = tried.rows.iter().map(|row| row.0).collect();
    assert_eq!(times, [0, 1, 2, 3, 4]);
}
