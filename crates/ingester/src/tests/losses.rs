//! What a damaged log has lost, as answers say it.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use model::TenantId;
use proto::role::LostRows;

use super::bed::{Bed, Life, NOW_NS, Row, row};
use super::crashes::flip;

/// Flipped, the name of the first is that of nobody.
fn tenants() -> [TenantId; 2] {
    ["d", "g"].map(|id| TenantId::new(id).unwrap())
}

fn rows(from: i64, count: i64) -> Vec<Row> {
    let rows = (from..from + count).map(|i| row("web", NOW_NS + i, format!("line {i}")));
    rows.collect()
}

/// Three pushes of the first tenant and one of the other, and a crash.
async fn pushed(bed: &Bed) {
    let life = bed.start().await;
    let [a, b] = tenants();
    let pushes = [
        (&a, rows(0, 2)),
        (&a, rows(2, 5)),
        (&a, rows(7, 3)),
        (&b, rows(0, 1)),
    ];
    for (tenant, rows) in pushes {
        life.push(tenant, &rows).await.unwrap();
    }
    life.kill().await;
}

/// Changes a bit of the segment, so many bytes behind the number of a record.
fn damage(bed: &Bed, number: u64, behind: isize) {
    let file = bed.last_segment();
    let bytes = std::fs::read(&file).unwrap();
    let seq = ((1_u64 << 40) + number).to_le_bytes();
    let at = bytes.windows(8).position(|window| window == seq).unwrap();
    flip(&file, at.checked_add_signed(behind).unwrap());
    date(&file);
}

/// Files are written in real time, rows have another.
fn date(file: &Path) {
    let written = UNIX_EPOCH + Duration::from_nanos(NOW_NS as u64);
    let file = File::options().write(true).open(file).unwrap();
    file.set_modified(written).unwrap();
}

async fn told(life: &Life) -> [Vec<LostRows>; 2] {
    let [a, b] = tenants();
    let lost = async |tenant| life.recent(tenant).await.0.lost;
    [lost(&a).await, lost(&b).await]
}

fn lost(rows: u64, records: u64) -> Vec<LostRows> {
    let segment = 1;
    vec![LostRows {
        segment,
        rows,
        records,
    }]
}

#[tokio::test]
async fn a_log_that_is_whole_has_lost_nothing() {
    let bed = Bed::new();
    pushed(&bed).await;
    let life = bed.start().await;
    assert_eq!(told(&life).await, [vec![], vec![]]);
}

#[tokio::test]
async fn rows_of_a_record_that_says_how_many_it_has_are_missed_by_their_tenant() {
    let bed = Bed::new();
    pushed(&bed).await;
    // The last byte of the second record: between are length, checksum and kind of the third.
    damage(&bed, 3, -10);
    let life = bed.start().await;
    assert_eq!(told(&life).await, [lost(5, 0), vec![]]);
    assert_eq!(life.ingester.inner().metrics.replay.lost_rows.get(), 5);
    assert_eq!(life.recent(&tenants()[0]).await.1.len(), 5);
    // They are not in the store either.
    life.ingester.flush().await.unwrap();
    assert_eq!(told(&life).await, [lost(5, 0), vec![]]);
}

#[tokio::test]
async fn a_record_that_says_nothing_is_missed_by_all() {
    let bed = Bed::new();
    pushed(&bed).await;
    // The length of the tenant's name.
    damage(&bed, 2, 8);
    let life = bed.start().await;
    assert_eq!(told(&life).await, [lost(0, 1), lost(0, 1)]);
}

#[tokio::test]
async fn a_tenant_that_nothing_else_names_may_be_any() {
    let bed = Bed::new();
    pushed(&bed).await;
    damage(&bed, 2, 9);
    let life = bed.start().await;
    assert_eq!(told(&life).await, [lost(5, 0), lost(5, 0)]);
}

#[tokio::test]
async fn rows_of_a_stream_that_nothing_names_are_missed_by_their_tenant() {
    let bed = Bed::new();
    pushed(&bed).await;
    // The record that names the stream comes before the first with rows.
    damage(&bed, 1, -10);
    let life = bed.start().await;
    assert_eq!(told(&life).await, [lost(10, 0), vec![]]);
}

#[tokio::test]
async fn a_log_of_which_nothing_can_be_read_is_missed_by_all() {
    let bed = Bed::new();
    pushed(&bed).await;
    let file = bed.last_segment();
    std::fs::write(&file, [7; 2000]).unwrap();
    date(&file);
    let life = bed.start().await;
    assert_eq!(told(&life).await, [lost(0, 0), lost(0, 0)]);
}
