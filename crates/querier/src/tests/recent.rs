//! Samples of rows that ingesters have: added up where they are in one place, told where not.

use std::sync::Arc;

use model::Code;
use model::units::ByteSize;
use proto::role::Coverage;

use super::bed::{Bed, FakeIngester, SECOND, START_NS, rows, tenant};

const COUNT: &str = r#"sum(count_over_time({app="web"}[1h]))"#;

/// A bed whose ingester has these rows of one stream, and storage those before.
async fn bed(first: i64, end: i64) -> Bed {
    let mut bed = Bed::new();
    bed.store(&tenant(), 1, "app=web", &rows(1..first)).await;
    let ingester = FakeIngester::with(&tenant(), "app=web", rows(first..end));
    bed.ingesters = vec![Arc::new(ingester)];
    bed
}

/// Up to when the ingester was asked for hashes, each time.
fn told_until(ingester: &FakeIngester) -> Vec<Option<i64>> {
    let add_ups = ingester.add_ups.lock();
    let after = add_ups.iter().map(|add_up| Some(add_up.as_ref()?.after_ns));
    after.collect()
}

#[tokio::test]
async fn rows_of_one_ingester_take_no_memory() {
    let mut bed = bed(11, 3001).await;
    bed.limits.max_query_memory = ByteSize(30_000);
    for (text, expected) in [
        (COUNT, 3000.0),
        (r#"sum(rate({app="web"} |= "line" [1h]))"#, 3000.0 / 3600.0),
        (
            r#"sum(count_over_time({app="web"} |= "line 29" [1h]))"#,
            111.0,
        ),
    ] {
        assert_eq!(bed.number(text).await.unwrap(), expected, "{text}");
    }
    assert_eq!(told_until(&bed.ingesters[0]), [Some(i64::MIN); 3]);
    bed.copies = 2;
    let error = bed.number(COUNT).await.unwrap_err();
    assert_eq!(error.code, Code::InvalidArgument, "{error}");
    assert_eq!(told_until(&bed.ingesters[0])[3..], [None]);
}

#[tokio::test]
async fn rows_of_replicas_are_remembered_once() {
    let mut bed = bed(11, 3001).await;
    let replica = FakeIngester::with(&tenant(), "app=web", rows(11..3001));
    bed.ingesters.push(Arc::new(replica));
    bed.copies = 2;
    bed.limits.max_query_memory = ByteSize(100_000);
    assert_eq!(bed.number(COUNT).await.unwrap(), 3000.0);
}

#[tokio::test]
async fn rows_that_are_stored_and_were_pushed_again_count_once() {
    let mut bed = bed(101, 3001).await;
    bed.ingesters[0].add(&tenant(), "app=web,pod=b", rows(1..101));
    bed.ingesters[0].add(&tenant(), "app=web,pod=c", rows(40..70));
    bed.store(&tenant(), 2, "app=web,pod=c", &rows(1..60)).await;
    // Rows after the stored ones are not remembered.
    bed.limits.max_query_memory = ByteSize(60_000);
    assert_eq!(bed.number(COUNT).await.unwrap(), 3000.0 + 100.0 + 69.0);
    let last_ns = START_NS + 59 * SECOND;
    let asked = [Some(i64::MIN), Some(last_ns)];
    assert_eq!(told_until(&bed.ingesters[0]), asked);
}

#[tokio::test]
async fn what_an_ingester_holds_still_is_not_stored_twice() {
    let bed = bed(101, 200).await;
    bed.store(&tenant(), 2, "app=web", &rows(101..150)).await;
    *bed.ingesters[0].coverage.lock() = Coverage {
        holding: vec![2],
        ..Coverage::default()
    };
    assert_eq!(bed.number(COUNT).await.unwrap(), 199.0);
    assert_eq!(told_until(&bed.ingesters[0]), [Some(i64::MIN)]);
}

#[tokio::test]
async fn rows_that_two_ingesters_have_count_once() {
    let mut bed = bed(11, 50).await;
    let other = FakeIngester::with(&tenant(), "app=web", rows(40..80));
    bed.ingesters.push(Arc::new(other));
    assert_eq!(bed.number(COUNT).await.unwrap(), 79.0);
    let last = |ingester: &Arc<FakeIngester>| told_until(ingester).pop();
    assert_eq!(last(&bed.ingesters[0]), Some(None));
    assert_eq!(last(&bed.ingesters[1]), Some(None));
    // Each has rows of its own.
    let other = FakeIngester::with(&tenant(), "app=web", rows(50..80));
    bed.ingesters[1] = Arc::new(other);
    assert_eq!(bed.number(COUNT).await.unwrap(), 79.0);
    assert_eq!(told_until(&bed.ingesters[1]), [Some(i64::MIN)]);
    // As one that has stored a part of its rows answers: some with hashes, some without.
    let both = r#"sum(count_over_time({app=~"web|db"}[1h]))"#;
    bed.store(&tenant(), 3, "app=db", &rows(1..60)).await;
    bed.ingesters[1].add(&tenant(), "app=db", rows(30..70));
    assert_eq!(bed.number(both).await.unwrap(), 79.0 + 69.0);
}
