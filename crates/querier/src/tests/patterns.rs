//! Patterns count every line, wherever it is.

use std::sync::Arc;

use chunk::LinesPolicy;
use model::units::ByteSize;
use model::{Code, Entries, LabelSet, MatchOp, Matcher, TenantId, TimeRange};
use proto::role::Coverage;
use storage::key::data_key;

use super::bed::{Bed, DAY, FakeIngester, NOW_NS, SECOND, START_NS, rows, tenant};
use super::endpoints;
use crate::{Answered, Pattern, PatternsQuery};

/// Lines that blocks have templates for, a second apart, of two kinds and two levels.
fn lines(seconds: std::ops::Range<i64>) -> Entries {
    let mut entries = Entries::default();
    for second in seconds {
        let (line, level) = match second % 4 {
            0 => (format!("disk sd{second} failed"), "error"),
            1 => (format!("disk sd{second} failed"), "warn"),
            _ => (
                format!("level=info msg=\"user {second} logged in\" took={second}ms from=10.0.0.7"),
                "info",
            ),
        };
        let metadata = LabelSet::from_pairs([("detected_level", level)]);
        let at_ns = START_NS + second * SECOND;
        assert!(entries.push(at_ns, line.as_bytes(), &metadata));
    }
    entries
}

/// Its blocks have templates.
fn bed() -> Bed {
    let mut bed = Bed::new();
    bed.lines = LinesPolicy::Structured;
    bed
}

async fn ask(bed: &Bed, tenants: &[TenantId]) -> Answered<Vec<Pattern>> {
    let query = PatternsQuery {
        matchers: vec![Matcher::new("app", MatchOp::Equal, "web").unwrap()],
        range: TimeRange::new(START_NS, NOW_NS),
        step_ns: 600 * SECOND,
    };
    bed.querier().patterns(tenants, query).await.unwrap()
}

fn counts(answer: &Answered<Vec<Pattern>>) -> Vec<(&str, &str, u64)> {
    let lines = |pattern: &Pattern| pattern.samples.iter().map(|(_, count)| *count).sum();
    let patterns = answer.value.iter();
    patterns
        .map(|found| (found.level.as_str(), found.text.as_str(), lines(found)))
        .collect()
}

const LOGIN: &str = "level=info msg=\"user <_> logged in\" took=<_> from=<_>";
const DISK: &str = "disk <_> failed";

#[tokio::test]
async fn all_lines_count_although_none_is_looked_at() {
    let mut bed = bed();
    for (id, seconds) in [(1, 0..2000), (2, 2000..3600)] {
        bed.store(&tenant(), id, "app=web", &lines(seconds)).await;
    }
    bed.config.pattern_lines = 0;
    let answer = ask(&bed, &[tenant()]).await;
    let expected = [
        ("info", LOGIN, 1800),
        ("error", DISK, 900),
        ("warn", DISK, 900),
    ];
    assert_eq!(counts(&answer), expected);
    assert_eq!(answer.warnings, [""; 0]);
    let start_s = START_NS / SECOND;
    let steps: Vec<(i64, u64)> = (0..6).map(|step| (start_s + step * 600, 300)).collect();
    assert_eq!(answer.value[0].samples, steps);
    // Nothing of a line was put together.
    assert_eq!(answer.report.summary.total_bytes_processed, 0);
}

#[tokio::test]
async fn streams_that_share_a_block_count_apart() {
    let bed = bed();
    let streams = ["app=web,n=1", "app=db", "app=web,n=2"].map(str::to_owned);
    bed.store_together(&tenant(), 1, &streams, &lines(0..400))
        .await;
    let answer = ask(&bed, &[tenant()]).await;
    let expected = [
        ("info", LOGIN, 400),
        ("error", DISK, 200),
        ("warn", DISK, 200),
    ];
    assert_eq!(counts(&answer), expected);
}

#[tokio::test]
async fn rows_of_several_count_once() {
    let mut bed = bed();
    bed.store(&tenant(), 1, "app=web", &lines(0..1000)).await;
    bed.store(&tenant(), 2, "app=web", &lines(800..1200)).await;
    bed.store(&tenant(), 3, "app=web", &lines(1200..1300)).await;
    let ingester = |seconds| {
        let ingester = FakeIngester::with(&tenant(), "app=web", lines(seconds));
        *ingester.coverage.lock() = Coverage {
            holding: vec![3],
            ..Coverage::default()
        };
        Arc::new(ingester)
    };
    // The first has what the second holds still, and some of it is stored.
    bed.ingesters = vec![ingester(1100..1400), ingester(1100..1600)];
    bed.copies = 2;
    let answer = ask(&bed, &[tenant()]).await;
    let expected = [
        ("info", LOGIN, 800),
        ("error", DISK, 400),
        ("warn", DISK, 400),
    ];
    assert_eq!(counts(&answer), expected);
    // Each has rows of its own.
    bed.ingesters = vec![ingester(1200..1400), ingester(1400..1600)];
    bed.copies = 1;
    let answer = ask(&bed, &[tenant()]).await;
    assert_eq!(counts(&answer), expected);
}

#[tokio::test]
async fn deleted_lines_and_other_tenants_do_not_count() {
    let bed = bed();
    let other = TenantId::new("team-b").unwrap();
    bed.store(&tenant(), 1, "app=web", &lines(0..400)).await;
    bed.store(&other, 2, "app=web", &lines(0..40)).await;
    let text = r#"{app="web"} |= "disk""#;
    let (start, end) = (START_NS, START_NS + 99 * SECOND);
    let querier = bed.querier();
    let deleted = querier.delete_lines(&tenant(), text, start, end).await;
    deleted.unwrap();
    let answer = ask(&bed, &[tenant()]).await;
    let expected = [
        ("info", LOGIN, 200),
        ("error", DISK, 75),
        ("warn", DISK, 75),
    ];
    assert_eq!(counts(&answer), expected);
    let answer = ask(&bed, &[tenant(), other]).await;
    let expected = [
        ("info", LOGIN, 220),
        ("error", DISK, 85),
        ("warn", DISK, 85),
    ];
    assert_eq!(counts(&answer), expected);
}

#[tokio::test]
async fn what_is_damaged_is_left_out() {
    let mut bed = bed();
    bed.store(&tenant(), 1, "app=web", &lines(0..400)).await;
    bed.store(&tenant(), 2, "app=web", &lines(400..800)).await;
    bed.damage(&data_key(&tenant(), DAY, 2), |bytes| bytes[30] ^= 1);
    let answer = ask(&bed, &[tenant()]).await;
    let expected = [
        ("info", LOGIN, 200),
        ("error", DISK, 100),
        ("warn", DISK, 100),
    ];
    assert_eq!(counts(&answer), expected);
    let [warning] = answer.warnings.as_slice() else {
        panic!("{:?}", answer.warnings);
    };
    assert!(warning.ends_with("up to 400 lines"), "{warning}");
}

#[tokio::test]
async fn lines_that_are_not_looked_at_are_told() {
    let mut bed = bed();
    bed.lines = LinesPolicy::Plain;
    bed.store(&tenant(), 1, "app=web", &rows(0..3)).await;
    bed.ingesters = vec![Arc::new(FakeIngester::with(
        &tenant(),
        "app=web",
        rows(10..20),
    ))];
    for (lines, found, left_out) in [(100, 13, 0), (5, 8, 5), (2, 4, 9)] {
        bed.config.pattern_lines = lines;
        let answer = ask(&bed, &[tenant()]).await;
        assert_eq!(counts(&answer), [("", "line <_>", found)], "{lines}");
        match answer.warnings.as_slice() {
            [] => assert_eq!(left_out, 0),
            [warning] => {
                let part = format!("about {left_out} lines");
                assert!(warning.starts_with(&part), "{warning}");
                let part = format!("querier.pattern_lines is {lines}");
                assert!(warning.ends_with(&part), "{warning}");
            }
            more => panic!("{more:?}"),
        }
    }
}

#[tokio::test]
async fn counts_take_memory_of_the_query() {
    let mut bed = bed();
    bed.store(&tenant(), 1, "app=web", &lines(0..3600)).await;
    bed.limits.max_query_memory = ByteSize(20_000);
    let querier = bed.querier();
    let query = PatternsQuery {
        matchers: vec![Matcher::new("app", MatchOp::Equal, "web").unwrap()],
        range: TimeRange::new(START_NS, NOW_NS),
        step_ns: SECOND,
    };
    let error = querier.patterns(&[tenant()], query).await.unwrap_err();
    assert_eq!(error.code, Code::InvalidArgument);
    assert!(error.message.contains("max_query_memory"), "{error}");
    assert_eq!(querier.memory().used_bytes(), 0);
}

#[tokio::test]
async fn patterns_say_what_is_in_none_of_them() {
    let bed = endpoints::bed().await;
    for second in 0..302 {
        let word: String = second
            .to_string()
            .bytes()
            .map(|b| (b + 49) as char)
            .collect();
        let mut line = Entries::default();
        assert!(line.push(START_NS, word.as_bytes(), &LabelSet::default()));
        bed.ingesters[0].add(&tenant(), &format!("app=other,n={second}"), line);
    }
    let ask = |query| [("query", query), ("step", "60")];
    let path = "/loki/api/v1/patterns";
    let body = endpoints::get_json(&bed, path, &ask(r#"{app="web"}"#)).await;
    assert_eq!(body.get("warnings"), None);
    assert_eq!(body["data"][0]["samples"][0][1], 10);
    let body = endpoints::get_json(&bed, path, &ask(r#"{app="other"}"#)).await;
    assert_eq!(body["data"].as_array().unwrap().len(), 300);
    let warning = "2 lines have patterns that are rarer than the 300 of this answer";
    assert_eq!(body["warnings"], serde_json::json!([warning]));
}
