//! Queries while everything moves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::StreamExt;
use model::{Code, Direction, Parts, Shard, TenantId, TimeRange};
use proto::role::{
    Deletion, Select, SelectLogs, SelectPatterns, SelectSamples, SelectSeries, SeriesStats,
    TailRequest,
};

use super::bed::{ALL, Bed, Life, NOW_NS, row};

/// Reads again and again while rows are pushed and flushed: every answer has each row once, and
/// none that was acknowledged before is missing. Rows pushed meanwhile may be there or not.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn every_row_is_seen_once_while_flushes_run() {
    const ROWS: usize = 400;
    let bed = Bed::new();
    let life = Arc::new(bed.start().await);
    let tenant = TenantId::single();
    let (acknowledged, is_done) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let writer = {
        let (life, tenant) = (Arc::clone(&life), tenant.clone());
        let (acknowledged, is_done) = (Arc::clone(&acknowledged), Arc::clone(&is_done));
        tokio::spawn(async move {
            for i in 0..ROWS {
                let pushed = [row("a", NOW_NS + i as i64, i.to_string())];
                life.push(&tenant, &pushed).await.unwrap();
                acknowledged.store(i + 1, Ordering::SeqCst);
            }
            is_done.store(true, Ordering::SeqCst);
        })
    };
    let flusher = {
        let (life, is_done) = (Arc::clone(&life), Arc::clone(&is_done));
        tokio::spawn(async move {
            while !is_done.load(Ordering::SeqCst) {
                life.ingester.flush().await.unwrap();
            }
        })
    };
    while !is_done.load(Ordering::SeqCst) {
        let least = acknowledged.load(Ordering::SeqCst);
        let rows = life.read(&tenant).await;
        let times = rows.iter().map(|row| (row.time_ns - NOW_NS) as usize);
        let times: Vec<usize> = times.collect();
        assert!(times.is_sorted_by(|a, b| a < b), "a row twice: {times:?}");
        assert_eq!(times[..least], (0..least).collect::<Vec<_>>());
    }
    writer.await.unwrap();
    flusher.await.unwrap();
    assert_eq!(life.read(&tenant).await.len(), ROWS);
}

async fn lines(life: &Life, query: &str, limit: u32, direction: Direction) -> Vec<String> {
    let request = SelectLogs {
        tenant: TenantId::single(),
        query: query.to_owned(),
        range: ALL,
        limit,
        direction,
        deletions: Vec::new(),
        shard: Shard::ALL,
    };
    let selected = life.ingester.select_logs(request).await.unwrap();
    let batches: Vec<_> = selected.batches.collect().await;
    let streams = batches.into_iter().flat_map(Result::unwrap);
    let mut rows: Vec<_> = streams.flat_map(|stream| stream.rows).collect();
    rows.sort_by_key(|row| row.timestamp_ns);
    rows.iter()
        .map(|row| String::from_utf8_lossy(&row.line).into_owned())
        .collect()
}

#[tokio::test]
async fn a_limit_takes_the_first_rows_of_the_direction() {
    let bed = Bed::new();
    let life = bed.start().await;
    for i in 0..100 {
        let pushed = [row(
            ["a", "b", "c"][i % 3],
            NOW_NS + i as i64,
            format!("line {i}"),
        )];
        life.push(&TenantId::single(), &pushed).await.unwrap();
    }
    let all = r#"{job="test"}"#;
    assert_eq!(
        lines(&life, all, 2, Direction::Forward).await,
        ["line 0", "line 1"]
    );
    assert_eq!(
        lines(&life, all, 2, Direction::Backward).await,
        ["line 98", "line 99"]
    );
    assert_eq!(lines(&life, all, 0, Direction::Backward).await.len(), 100);
    let some = r#"{app="b"} |= "line 1""#;
    assert_eq!(
        lines(&life, some, 3, Direction::Backward).await,
        ["line 13", "line 16", "line 19"]
    );
}

#[tokio::test]
async fn wrong_queries_are_refused_with_their_reason() {
    let bed = Bed::new();
    let life = bed.start().await;
    let request = |query: &str| SelectSamples {
        tenant: TenantId::single(),
        query: query.to_owned(),
        range: ALL,
        deletions: Vec::new(),
        shard: Shard::ALL,
        add_up: None,
    };
    for query in ["", "{", r#"{a="b"}"#, "1 + 1"] {
        let error = life
            .ingester
            .select_samples(request(query))
            .await
            .err()
            .unwrap();
        assert_eq!(error.code, Code::InvalidArgument, "{query}");
    }
}

#[tokio::test]
async fn series_count_what_lies_in_the_range() {
    let bed = Bed::new();
    let life = bed.start().await;
    let rows: Vec<_> = (0..100)
        .map(|i| row("a", NOW_NS + i, "0123456789"))
        .collect();
    life.push(&TenantId::single(), &rows).await.unwrap();
    life.push(&TenantId::single(), &[row("b", NOW_NS, "x")])
        .await
        .unwrap();
    let series = |selector: &str, parts| SelectSeries {
        tenant: TenantId::single(),
        selectors: vec![selector.to_owned()],
        parts,
        deletions: Vec::new(),
        shard: Shard::ALL,
    };
    let range = TimeRange::new(NOW_NS + 10, NOW_NS + 30);
    let (_, found) = life
        .ingester
        .select_series(series(r#"{app=~".+"}"#, Parts::whole(range)))
        .await
        .unwrap();
    assert_eq!(found.len(), 1);
    let [part] = found[0].parts[..] else {
        panic!("{:?}", found[0].parts)
    };
    assert_eq!((part.rows, found[0].labels.get("app")), (20, Some("a")));
    // Of metadata eight bytes for the pair of each row, and its text, of which a block that lies
    // partly outside counts a part.
    let lines_and_pairs = 20 * (10 + 8);
    assert!((lines_and_pairs..=lines_and_pairs + 9).contains(&part.bytes));
    let (_, found) = life
        .ingester
        .select_series(series(r#"{app="b"}"#, Parts::whole(ALL)))
        .await
        .unwrap();
    assert_eq!(
        (found[0].parts[0].rows, found[0].parts[0].bytes),
        (1, 1 + 8 + 9)
    );
    let step_ns = 7;
    let parts = Parts { range, step_ns };
    let (_, found) = life
        .ingester
        .select_series(series(r#"{app=~".+"}"#, parts))
        .await
        .unwrap();
    let rows = found[0].parts.iter().map(|part| (part.number, part.rows));
    let expected = (0..4).map(|number| (number, parts.part(number).len_ns() as u64));
    let expected = expected.filter(|(_, rows)| *rows > 0);
    assert_eq!(rows.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    for shard in [0, 1].map(|number| Shard::nth(number, 2).unwrap()) {
        let request = SelectSeries {
            shard,
            ..series(r#"{app=~".+"}"#, Parts::whole(ALL))
        };
        let (_, found) = life.ingester.select_series(request).await.unwrap();
        let is_inside = |stats: &SeriesStats| shard.has(stats.labels.fingerprint());
        assert!(found.iter().all(is_inside), "{found:?}");
    }
}

#[tokio::test]
async fn a_tail_gets_lines_in_the_order_in_which_they_were_pushed() {
    let bed = Bed::new();
    let life = bed.start().await;
    let tenant = TenantId::single();
    life.push(&tenant, &[row("a", NOW_NS, "before")])
        .await
        .unwrap();
    let request = TailRequest {
        tenant: tenant.clone(),
        query: r#"{app="a"} |= "yes""#.to_owned(),
        start_ns: NOW_NS + 2,
        deletions: Vec::new(),
    };
    let mut tail = life.ingester.tail(request).await.unwrap();
    let push = [
        row("a", NOW_NS + 1, "yes, but old"),
        row("a", NOW_NS + 2, "yes 1"),
        row("a", NOW_NS + 3, "no"),
        row("b", NOW_NS + 3, "yes, but b"),
    ];
    life.push(&tenant, &push).await.unwrap();
    // The second row is a copy: it was delivered once.
    let push = [row("a", NOW_NS + 3, "no"), row("a", NOW_NS + 4, "yes 2")];
    life.push(&tenant, &push).await.unwrap();
    let mut lines = Vec::new();
    while lines.len() < 2 {
        let delivered = tail.next().await.unwrap().unwrap();
        assert_eq!(delivered.dropped, 0);
        let rows = delivered.streams.into_iter().flat_map(|stream| stream.rows);
        lines.extend(rows.map(|row| String::from_utf8_lossy(&row.line).into_owned()));
    }
    assert_eq!(lines, ["yes 1", "yes 2"]);
    life.ingester.shutdown(std::time::Duration::ZERO).await;
    assert!(
        tail.next().await.is_none(),
        "the tail ends with the ingester"
    );
}

/// Lines, samples, sizes and tails are as if deleted rows were not there.
#[tokio::test]
async fn deleted_rows_are_left_out_of_every_answer() {
    let bed = Bed::new();
    let life = bed.start().await;
    let tenant = TenantId::single();
    let line = |i: i64| if i % 2 == 0 { "secret" } else { "public" };
    let rows: Vec<_> = (0..10).map(|i| row("a", NOW_NS + i, line(i))).collect();
    life.push(&tenant, &rows).await.unwrap();
    let deletions = vec![Deletion {
        query: r#"{app=~"a|"} |= "secret""#.to_owned(),
        range: TimeRange::new(NOW_NS, NOW_NS + 6),
        created_ns: NOW_NS + 10,
    }];
    let request = SelectLogs {
        tenant: tenant.clone(),
        query: r#"{app="a"}"#.to_owned(),
        range: ALL,
        limit: 6,
        direction: Direction::Forward,
        deletions: deletions.clone(),
        shard: Shard::ALL,
    };
    let selected = life.ingester.select_logs(request).await.unwrap();
    let batches: Vec<_> = selected.batches.collect().await;
    let streams = batches.into_iter().flat_map(Result::unwrap);
    let times = streams
        .flat_map(|stream| stream.rows)
        .map(|row| row.timestamp_ns - NOW_NS);
    assert_eq!(times.collect::<Vec<_>>(), [1, 3, 5, 6, 7, 8]);

    let request = SelectSamples {
        tenant: tenant.clone(),
        query: r#"sum(count_over_time({app="a"}[1h]))"#.to_owned(),
        range: ALL,
        deletions: deletions.clone(),
        shard: Shard::ALL,
        add_up: None,
    };
    let selected = life.ingester.select_samples(request).await.unwrap();
    let batches: Vec<_> = selected.batches.collect().await;
    let series = batches.into_iter().flat_map(Result::unwrap);
    assert_eq!(series.flat_map(|series| series.values).sum::<f64>(), 7.0);

    let request = SelectSeries {
        tenant: tenant.clone(),
        selectors: vec![r#"{app="a"}"#.to_owned()],
        parts: Parts::whole(ALL),
        deletions: deletions.clone(),
        shard: Shard::ALL,
    };
    let (_, found) = life.ingester.select_series(request.clone()).await.unwrap();
    // Seven lines of six bytes, seven pairs of metadata, the text of one.
    let bytes = 7 * 6 + 7 * 8 + "levelinfo".len() as u64;
    assert_eq!(
        (found[0].parts[0].rows, found[0].parts[0].bytes),
        (7, bytes)
    );
    let all = SelectSeries {
        deletions: vec![Deletion {
            query: r#"{app=~".*"}"#.to_owned(),
            range: ALL,
            created_ns: 0,
        }],
        ..request
    };
    assert_eq!(life.ingester.select_series(all).await.unwrap().1, []);

    let request = TailRequest {
        tenant: tenant.clone(),
        query: r#"{app="b"}"#.to_owned(),
        start_ns: NOW_NS,
        deletions: vec![Deletion {
            query: r#"{app="b"} |= "secret""#.to_owned(),
            range: ALL,
            created_ns: 0,
        }],
    };
    let mut tail = life.ingester.tail(request).await.unwrap();
    let push = [row("b", NOW_NS, "secret"), row("b", NOW_NS + 1, "public")];
    life.push(&tenant, &push).await.unwrap();
    let delivered = tail.next().await.unwrap().unwrap();
    let times = delivered.streams.iter().flat_map(|stream| &stream.rows);
    assert_eq!(
        times.map(|row| row.timestamp_ns).collect::<Vec<_>>(),
        [NOW_NS + 1]
    );
}

#[tokio::test]
async fn a_deletion_that_makes_no_sense_is_refused() {
    let bed = Bed::new();
    let life = bed.start().await;
    let request = SelectSeries {
        tenant: TenantId::single(),
        selectors: Vec::new(),
        parts: Parts::whole(ALL),
        deletions: vec![Deletion {
            query: "{".to_owned(),
            range: ALL,
            created_ns: 0,
        }],
        shard: Shard::ALL,
    };
    let error = life.ingester.select_series(request).await.unwrap_err();
    assert_eq!(error.code, Code::InvalidArgument);
}

/// A reader whose view of the store is older than this process finds what an earlier process
/// committed, because the coverage names it.
#[tokio::test]
async fn coverage_names_what_an_earlier_process_committed() {
    let bed = Bed::new();
    let reader = bed.start().await;
    let tenant = TenantId::single();
    reader.kill().await;
    let life = bed.start().await;
    life.push(&tenant, &[row("a", NOW_NS, "x")]).await.unwrap();
    assert!(
        life.ingester
            .shutdown(std::time::Duration::from_secs(60))
            .await
    );
    drop(life);
    let life = bed.start().await;
    let (coverage, rows) = life.recent(&tenant).await;
    assert!(rows.is_empty());
    assert!(
        coverage
            .committed
            .contains(&(NOW_NS / TimeRange::DAY_NS, 1)),
        "{coverage:?}"
    );
}

/// Samples by series, as `labels: values`.
async fn samples(life: &Life, query: &str) -> Vec<String> {
    let request = SelectSamples {
        tenant: TenantId::single(),
        query: query.to_owned(),
        range: ALL,
        deletions: Vec::new(),
        shard: Shard::ALL,
        add_up: None,
    };
    let selected = life.ingester.select_samples(request).await.unwrap();
    let batches: Vec<_> = selected.batches.collect().await;
    let mut series: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for rows in batches.into_iter().flat_map(Result::unwrap) {
        assert_eq!(rows.timestamps_ns.len(), rows.values.len());
        assert_eq!(rows.row_hashes.len(), rows.values.len());
        let values = series.entry(rows.labels.to_string()).or_default();
        values.extend(rows.values);
    }
    let text = |(labels, mut values): (String, Vec<f64>)| {
        values.sort_by(f64::total_cmp);
        format!("{labels}: {values:?}")
    };
    series.into_iter().map(text).collect()
}

/// Asks everything of rows in heads, in blocks, and in both.
#[tokio::test]
async fn pipelines_and_unwraps_see_rows_wherever_they_are() {
    for cut_after in [0, 6, 12] {
        let mut bed = Bed::new();
        bed.config.block_bytes = model::units::ByteSize::mib(1);
        let life = bed.start().await;
        for i in 0..12 {
            if i == cut_after {
                life.encode_all().await;
            }
            let (app, status) = (["a", "b"][i % 2], [200, 404, 500][i % 3]);
            let line = format!(r#"{{"status":{status},"took":"{i}ms","path":"/{i}"}}"#);
            let pushed = [row(app, NOW_NS + i as i64, line)];
            life.push(&TenantId::single(), &pushed).await.unwrap();
        }
        if cut_after == 12 {
            life.encode_all().await;
        }
        pipelines_and_unwraps(&life).await;
    }
}

async fn pipelines_and_unwraps(life: &Life) {
    let failed = r#"{job="test"} |= "status" | json | status >= 500 | path != "/11""#;
    let found = lines(life, failed, 0, Direction::Forward).await;
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].contains("/2") && found[2].contains("/8"));
    let newest = lines(life, failed, 1, Direction::Backward).await;
    assert_eq!(newest, found[2..]);
    let counted = r#"sum by (app) (count_over_time({job="test"} | json | status >= 404 [1h]))"#;
    assert_eq!(
        samples(life, counted).await,
        [
            r#"{app="a"}: [1.0, 1.0, 1.0, 1.0]"#,
            r#"{app="b"}: [1.0, 1.0, 1.0, 1.0]"#
        ]
    );
    let took = r#"sum by (status) (sum_over_time({app="a"} | json | unwrap duration(took) [1h]))"#;
    assert_eq!(
        samples(life, took).await,
        [
            r#"{status="200"}: [0.0, 0.006]"#,
            r#"{status="404"}: [0.004, 0.01]"#,
            r#"{status="500"}: [0.002, 0.008]"#
        ]
    );
    let longest =
        r#"max_over_time({app="b", job="test"} | json status | unwrap status [1h]) by (level)"#;
    assert_eq!(
        samples(life, longest).await,
        [r#"{level="info"}: [200.0, 200.0, 404.0, 404.0, 500.0, 500.0]"#]
    );
}

/// Lines by pattern, lines that were not looked at, and the hashes of rows.
async fn patterns(
    life: &Life,
    lines_max: u64,
    hashes: bool,
) -> (BTreeMap<Vec<u8>, u64>, u64, Vec<u64>) {
    let request = SelectPatterns {
        tenant: TenantId::single(),
        selector: r#"{job="test"}"#.to_owned(),
        range: ALL,
        deletions: Vec::new(),
        shard: Shard::ALL,
        step_ns: 1000,
        lines_max,
        hashes,
    };
    let selected = life.ingester.select_patterns(request).await.unwrap();
    let batches: Vec<_> = selected.batches.collect().await;
    let (mut counts, mut left_out, mut found) = (BTreeMap::new(), 0, Vec::new());
    for stream in batches.into_iter().flat_map(Result::unwrap) {
        left_out += stream.left_out;
        for rows in stream.patterns {
            let count = rows.rows.iter().sum::<u64>();
            *counts.entry(rows.pattern.to_vec()).or_default() += count;
            found.extend(rows.row_hashes);
        }
    }
    (counts, left_out, found)
}

#[tokio::test]
async fn patterns_count_rows_of_heads_and_blocks() {
    let mut bed = Bed::new();
    // Smaller blocks have no templates.
    bed.config.block_bytes = model::units::ByteSize::mib(1);
    let life = bed.start().await;
    let push = async |rows: std::ops::Range<i64>| {
        let row = |i: i64| match i % 2 {
            0 => row(
                "a",
                NOW_NS + i,
                format!("request {i} of user {i} took {i}ms"),
            ),
            _ => row("b", NOW_NS + i, format!("level=info msg=\"done with {i}\"")),
        };
        let rows: Vec<_> = rows.map(row).collect();
        life.push(&TenantId::single(), &rows).await.unwrap();
    };
    push(0..2000).await;
    life.encode_all().await;
    push(2000..2010).await;
    let expected = |blocks: u64, heads: u64| {
        BTreeMap::from([
            (
                b"request \x01 of user \x01 took \x01".to_vec(),
                blocks + heads,
            ),
            (
                b"level=info msg=\"done with \x01\"".to_vec(),
                blocks + heads,
            ),
        ])
    };
    let (counts, left_out, hashes) = patterns(&life, 10, false).await;
    assert_eq!((counts, left_out), (expected(1000, 5), 0));
    assert_eq!(hashes, [0; 0]);
    let (counts, left_out, hashes) = patterns(&life, u64::MAX, true).await;
    assert_eq!((counts, left_out), (expected(1000, 5), 0));
    assert_eq!(hashes.len(), 2010);
    let (counts, left_out, hashes) = patterns(&life, 20, true).await;
    assert_eq!((counts.values().sum::<u64>(), left_out), (20, 1990));
    assert_eq!(hashes.len(), 20);
    let (counts, left_out, _) = patterns(&life, 0, false).await;
    assert_eq!((counts, left_out), (expected(1000, 0), 10));
}
