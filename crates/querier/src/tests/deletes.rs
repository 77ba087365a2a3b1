//! Lines that were asked to be deleted.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::bed::{Bed, FakeIngester, SECOND, START_NS, range_query, rows, tenant};

#[tokio::test]
async fn deleted_rows_are_shown_nowhere_until_the_request_is_withdrawn() {
    let mut bed = Bed::new();
    bed.store(&tenant(), 1, "app=web", &rows(1..10)).await;
    bed.ingesters = vec![Arc::new(FakeIngester::with(
        &tenant(),
        "app=web",
        rows(10..20),
    ))];
    let (querier, of) = (bed.querier(), [tenant()]);
    let id = querier
        .delete_lines(
            &tenant(),
            r#"{app="web"} |~ "5|9$""#,
            START_NS,
            START_NS + 18 * SECOND,
        )
        .await
        .unwrap();
    // Of 1 to 19 the lines 5, 9 and 15 are deleted; 19 comes after the range.
    for (limit, left) in [(1000, 16), (3, 3)] {
        let mut query = range_query(r#"{app="web"}"#);
        query.limit = limit;
        let answer = querier.range_query(&of, query).await.unwrap();
        assert_eq!(answer.value.entries(), left);
    }
    let count = bed
        .number(r#"sum(count_over_time({app="web"}[1h]))"#)
        .await
        .unwrap();
    assert_eq!(count, 16.0);
    let listed = querier.delete_requests(&tenant()).await.unwrap();
    assert_eq!(listed.requests.len(), 1);
    assert!(querier.cancel_delete(&tenant(), "nope").await.is_err());
    let id = storage::key::id_text(id);
    querier.cancel_delete(&tenant(), &id).await.unwrap();
    let answer = querier
        .range_query(&of, range_query(r#"{app="web"}"#))
        .await
        .unwrap();
    assert_eq!(answer.value.entries(), 19);
}

#[tokio::test]
async fn streams_that_are_deleted_have_no_labels_and_no_size() {
    let mut bed = Bed::new();
    bed.store(&tenant(), 1, "app=web", &rows(1..10)).await;
    bed.store(&tenant(), 2, "app=db,env=prod", &rows(1..10))
        .await;
    bed.ingesters = vec![Arc::new(FakeIngester::with(
        &tenant(),
        "app=db,env=prod",
        rows(10..20),
    ))];
    let (querier, of) = (bed.querier(), [tenant()]);
    let range = range_query("").range;
    let apps = || async {
        let values = querier.label_values(&of, "app", &[], range).await;
        values.unwrap().value
    };
    assert_eq!(apps().await, ["db", "web"]);
    let all = querier.index_stats(&of, &[], range).await.unwrap().value;
    assert_eq!((all.streams, all.rows), (2, 28));
    let delete = |query: &'static str, seconds: i64| {
        let querier = bed.querier();
        async move {
            let end_ns = START_NS + seconds * SECOND;
            let deleted = querier
                .delete_lines(&tenant(), query, START_NS, end_ns)
                .await;
            deleted.unwrap();
        }
    };
    delete(r#"{app="db"}"#, 15).await;
    let querier = bed.querier();
    let left = querier.index_stats(&of, &[], range).await.unwrap().value;
    assert_eq!((left.streams, left.rows), (2, 9 + 4));
    delete(r#"{app=~".*"} != "line 1""#, 1000).await;
    let querier = bed.querier();
    let left = querier.index_stats(&of, &[], range).await.unwrap().value;
    assert_eq!(
        (left.streams, left.rows),
        (2, 9 + 4),
        "lines 16 to 19, and all of a stored block"
    );
    delete(r#"{app=~".*"}"#, 1000).await;
    let querier = bed.querier();
    assert_eq!(
        querier
            .label_values(&of, "app", &[], range)
            .await
            .unwrap()
            .value,
        [] as [&str; 0]
    );
    assert_eq!(
        querier.label_names(&of, &[], range).await.unwrap().value,
        [] as [&str; 0]
    );
    assert_eq!(
        querier
            .series(&of, &[], range, model::Shard::ALL)
            .await
            .unwrap()
            .value,
        []
    );
    let left = querier.index_stats(&of, &[], range).await.unwrap().value;
    assert_eq!((left.streams, left.rows), (0, 0));
    // Neither a stage that fails nor a conversion of a deletion reaches the query.
    delete(r#"{app=~".*"} | json | unwrapped > 5"#, 5).await;
    let querier = bed.querier();
    bed.number(r#"sum(count_over_time({app="web"}[1h]))"#)
        .await
        .unwrap();
    let listed = querier.delete_requests(&tenant()).await.unwrap();
    assert_eq!(listed.requests.len(), 4);
}

#[tokio::test]
async fn what_one_querier_was_asked_to_delete_others_show_no_longer_than_a_second() {
    let bed = Bed::new();
    bed.store(&tenant(), 1, "app=web", &rows(1..10)).await;
    let (elsewhere, other) = bed.elsewhere();
    let asked = bed.querier();
    let shown = |querier: Arc<crate::Querier>| async move {
        let query = range_query(r#"{app="web"}"#);
        let answer = querier.range_query(&[tenant()], query).await.unwrap();
        answer.value.entries()
    };
    assert_eq!(shown(other.clone()).await, 9);
    let id = asked
        .delete_lines(
            &tenant(),
            r#"{app="web"}"#,
            START_NS,
            START_NS + 100 * SECOND,
        )
        .await
        .unwrap();
    assert_eq!(shown(asked.clone()).await, 0);
    bed.later_ns.store(SECOND, Ordering::SeqCst);
    elsewhere.poll_deletes().await;
    assert_eq!(shown(other.clone()).await, 0);

    // What the compactor has finished is hidden for a day: an ingester may still have some of it.
    bed.catalog.finish_delete(&tenant(), id).await.unwrap();
    bed.later_ns.store(23 * 3600 * SECOND, Ordering::SeqCst);
    assert_eq!(shown(other.clone()).await, 0);
    bed.later_ns.store(25 * 3600 * SECOND, Ordering::SeqCst);
    assert_eq!(shown(other).await, 9);
}

#[tokio::test]
async fn a_request_that_is_damaged_or_makes_no_sense_is_listed_and_stops_no_query() {
    let bed = Bed::new();
    bed.store(&tenant(), 1, "app=web", &rows(1..10)).await;
    for (id, query) in [(1, r#"{app="web"} | of_a_version_to_come"#), (2, "{}")] {
        let request = storage::DeleteRequest {
            id,
            query: query.to_owned(),
            start_ns: START_NS,
            end_ns: START_NS + 18 * SECOND,
            created_ns: START_NS,
            processed_ns: None,
        };
        bed.catalog.add_delete(&tenant(), &request).await.unwrap();
    }
    let key = storage::key::delete_key(&tenant(), 2);
    bed.catalog.store().put(&key, "?".into()).await.unwrap();
    let querier = bed.querier();
    let tenants = [tenant()];
    let answer = querier.range_query(&tenants, range_query(r#"{app="web"}"#));
    assert_eq!(answer.await.unwrap().value.entries(), 9);
    let listed = querier.delete_requests(&tenant()).await.unwrap();
    assert_eq!((listed.requests.len(), listed.damaged), (1, vec![2]));
    assert!(crate::deletes::is_damaged(&listed.requests[0]));
}

#[tokio::test]
async fn requests_in_force_are_bounded_by_number_and_by_what_compiling_them_takes() {
    let mut bed = Bed::new();
    bed.config.delete_requests_per_tenant = 3;
    bed.config.delete_requests_weight_per_tenant = 6_000;
    let querier = bed.querier();
    let tenant = tenant();
    let ask = |query: &'static str| {
        let (querier, tenant) = (Arc::clone(&querier), tenant.clone());
        async move {
            let asked = querier.delete_lines(&tenant, query, START_NS, START_NS + SECOND);
            asked.await.map_err(|error| error.to_string())
        }
    };
    let large = r#"{app="web"} |~ "[a-z]{1000}x+""#;
    ask(large).await.unwrap();
    let refused = ask(r#"{app="web"} |~ "[a-z]{200}y+""#).await.unwrap_err();
    assert!(
        refused.contains("delete_requests_weight_per_tenant is 6000"),
        "{refused}"
    );
    let second = ask(r#"{app="web"} |= "a""#).await.unwrap();
    ask(r#"{app="web"} |= "b""#).await.unwrap();
    let refused = ask(r#"{app="web"} |= "c""#).await.unwrap_err();
    assert!(
        refused.contains("delete_requests_per_tenant is 3"),
        "{refused}"
    );

    // Those that were carried out make room once they are no longer obeyed.
    bed.catalog.finish_delete(&tenant, second).await.unwrap();
    bed.later_ns.store(25 * 3600 * SECOND, Ordering::SeqCst);
    ask(r#"{app="web"} |= "c""#).await.unwrap();
}
