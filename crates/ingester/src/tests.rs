//! The ingester as a whole, on a store in a directory that can fail.

mod bed;
mod bounds;
mod crashes;
mod losses;
mod queries;
mod samples;
mod trouble;

use model::{Code, Limits, TenantId};
use proto::role::{Ingest, RefusalReason};

use bed::{Bed, DAY_NS, NOW_NS, batch, row};

#[tokio::test]
async fn what_is_pushed_is_found_before_and_after_a_flush_and_a_restart() {
    let bed = Bed::new();
    let life = bed.start().await;
    let tenant = TenantId::single();
    let mut expected = Vec::new();
    for i in 0..50 {
        let (app, time_ns) = (["web", "db", "cache"][i % 3], NOW_NS + i as i64);
        expected.push(row(app, time_ns, format!("line {i}")));
        let refused = life.push(&tenant, &expected[i..]).await.unwrap();
        assert!(refused.is_empty());
    }
    // Yesterday's rows of another stream.
    expected.push(row("old", NOW_NS - DAY_NS, "yesterday"));
    life.push(&tenant, &expected[50..]).await.unwrap();
    expected.sort();
    assert_eq!(life.read(&tenant).await, expected, "in heads");
    assert_eq!(life.count(&tenant).await, 51.0);
    life.ingester.flush().await.unwrap();
    assert_eq!(life.read(&tenant).await, expected, "in the store");
    assert_eq!(life.recent(&tenant).await.1, [], "and not in memory");
    assert!(
        life.ingester
            .shutdown(std::time::Duration::from_secs(60))
            .await
    );
    drop(life);
    assert!(!bed.has_segments(), "a log that nobody needs is gone");
    let life = bed.start().await;
    assert_eq!(life.read(&tenant).await, expected, "after a restart");
    let other = TenantId::new("other").unwrap();
    assert_eq!(life.read(&other).await, []);
}

#[tokio::test]
async fn refusals_name_rows_and_reasons() {
    let mut bed = Bed::new();
    bed.limits = Limits {
        max_streams_per_user: 2,
        ..Limits::default()
    };
    let life = bed.start().await;
    let tenant = TenantId::single();
    life.push(&tenant, &[row("a", NOW_NS + 5, "first")])
        .await
        .unwrap();
    let push = vec![
        batch(&[row("a", NOW_NS + 4, "older"), row("a", NOW_NS + 6, "newer")]),
        batch(&[row("b", NOW_NS, "b")]),
        batch(&[row("c", NOW_NS, "1"), row("c", NOW_NS, "2")]),
    ];
    let refused = life.ingester.push(&tenant, push.into()).await.unwrap();
    let refused: Vec<_> = refused
        .iter()
        .map(|r| (r.stream, r.row, r.reason))
        .collect();
    let limit = RefusalReason::StreamLimit { limit: 2 };
    let older = RefusalReason::OutOfOrder {
        newest_ns: NOW_NS + 5,
    };
    assert_eq!(refused, [(0, 0, older), (2, 0, limit), (2, 1, limit)]);
    let lines: Vec<_> = life
        .read(&tenant)
        .await
        .into_iter()
        .map(|row| row.line)
        .collect();
    assert_eq!(lines, ["first", "newer", "b"]);
}

#[tokio::test]
async fn a_retry_is_not_out_of_order_and_stored_once() {
    let bed = Bed::new();
    let life = bed.start().await;
    let tenant = TenantId::single();
    let rows: Vec<_> = (0..20)
        .map(|i| row("a", NOW_NS + i / 3, format!("{i:02}")))
        .collect();
    for _ in 0..2 {
        assert_eq!(life.push(&tenant, &rows).await.unwrap(), []);
    }
    life.kill().await;
    let life = bed.start().await;
    assert_eq!(
        life.push(&tenant, &rows).await.unwrap(),
        [],
        "after a crash"
    );
    assert_eq!(life.read(&tenant).await, rows);
}

#[tokio::test]
async fn a_stopped_ingester_says_so() {
    let bed = Bed::new();
    let life = bed.start().await;
    assert!(life.ingester.ready().is_ok());
    assert!(
        life.ingester
            .shutdown(std::time::Duration::from_secs(60))
            .await
    );
    let error = life
        .push(&TenantId::single(), &[row("a", NOW_NS, "x")])
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::Unavailable);
    assert!(life.ingester.ready().is_err());
    assert!(life.ingester.flush().await.is_err());
}
