//! A crash at any request, and several compactors at once: nothing is lost, nothing twice.

use model::units::DurationNs;
use storage::DeleteRequest;

use super::bed::{Bed, HOUR, MINUTE, Rows, tenant};

/// A bed with something to merge, something to delete, and what is to be left of it.
async fn prepared() -> (Bed, Rows) {
    let mut bed = Bed::new();
    bed.config.delete_settle = DurationNs(0);
    for flush in 0..2 {
        let web = bed.rows(flush * 10..flush * 10 + 10, "web");
        let copy = bed.rows(flush * 10..flush * 10 + 1, "web");
        bed.flush(&[("app=web", &web)]).await;
        bed.flush(&[("app=web", &copy)]).await;
    }
    let request = DeleteRequest {
        id: 1,
        query: r#"{app="web"} |= "web 7""#.to_owned(),
        start_ns: bed.start_ns(),
        end_ns: bed.now_ns(),
        created_ns: bed.now_ns(),
        processed_ns: None,
    };
    let catalog = bed.catalog();
    catalog.add_delete(&tenant(), &request).await.unwrap();
    let mut expected = bed.stored().await;
    for lines in expected.values_mut() {
        lines.dedup();
        lines.retain(|(_, line)| !line.starts_with("web 7 "));
    }
    bed.sleep(20 * MINUTE);
    (bed, expected)
}

/// Rows without copies and without the deleted one, which are gone only after compaction.
fn visible(mut rows: Rows) -> Rows {
    for lines in rows.values_mut() {
        lines.dedup();
        lines.retain(|(_, line)| !line.starts_with("web 7 "));
    }
    rows
}

#[tokio::test]
async fn a_crash_at_any_request_loses_nothing_and_is_repaired() {
    for after_effect in [false, true] {
        for requests in 0.. {
            let (bed, expected) = prepared().await;
            bed.faults.die_after(requests, after_effect);
            bed.compact().await;
            let survived = !bed.faults.is_dead();
            bed.faults.revive();
            let context = format!("died at request {requests}, {after_effect}");
            assert_eq!(visible(bed.stored().await), expected, "{context}");

            bed.compact().await;
            assert_eq!(bed.stored().await, expected, "{context}");
            assert_eq!(bed.objects().await.len(), 1, "{context}");
            let requests_left = bed.catalog().latest_deletes(&tenant()).await.unwrap();
            assert!(
                requests_left.requests[0].processed_ns.is_some(),
                "{context}"
            );

            bed.sleep(26 * HOUR);
            bed.compact().await;
            assert_eq!(bed.files("data").await.len(), 1, "{context}");
            assert_eq!(bed.files("index").await.len(), 1, "{context}");
            assert_eq!(bed.stored().await, expected, "{context}");
            if survived {
                assert!(requests > 20, "{requests} requests are too few");
                break;
            }
        }
    }
}

#[tokio::test]
async fn requests_that_fail_now_and_then_harm_nothing() {
    for every in 2..12 {
        let (bed, expected) = prepared().await;
        bed.faults.fail_every(every);
        for _ in 0..3 {
            bed.compact().await;
            assert_eq!(visible(bed.stored().await), expected, "every {every}th");
        }
        bed.faults.fail_every(0);
        bed.compact().await;
        assert_eq!(bed.stored().await, expected, "every {every}th");
        assert_eq!(bed.objects().await.len(), 1);
    }
}

#[tokio::test]
async fn of_two_compactors_one_works_and_even_without_claims_no_row_is_lost() {
    for claim in [MINUTE, 0] {
        let (mut bed, expected) = prepared().await;
        bed.config.claim_period = DurationNs(claim);
        bed.faults.delay(std::time::Duration::from_micros(200));
        let (a, b) = (bed.compactor("a"), bed.compactor("b"));
        tokio::join!(a.run_once(), b.run_once());
        bed.faults.delay(std::time::Duration::ZERO);
        assert_eq!(visible(bed.stored().await), expected);
        if claim > 0 {
            let written = |compactor: &crate::Compactor| compactor.metrics.objects_written.get();
            assert!(written(&a) == 0 || written(&b) == 0);
        }
        bed.compact().await;
        assert_eq!(bed.stored().await, expected);
        assert_eq!(bed.objects().await.len(), 1);
    }
}
