//! What every backend must do.

use bytes::Bytes;

use crate::error::StorageError;
use crate::store::Store;

/// Checks a backend under a directory of its own, which is left empty.
///
/// # Panics
/// If the backend does not do what the rest of the system relies on.
#[allow(
    clippy::unwrap_used,
    reason = "a test's body that other crates' tests call"
)]
pub async fn conformance(store: &Store, directory: &str) {
    let key = |name: &str| format!("{directory}/{name}");
    writes_and_reads(store, &key("a")).await;
    creates_once(store, &key("once")).await;
    lists_in_order(store, &key("list")).await;
    for name in ["a", "once"] {
        store.delete(&key(name)).await.unwrap();
    }
    assert_eq!(store.list(directory, None).await.unwrap(), []);
}

#[allow(
    clippy::unwrap_used,
    reason = "a test's body that other crates' tests call"
)]
async fn writes_and_reads(store: &Store, key: &str) {
    assert!(store.get(key).await.unwrap_err().is_not_found());
    assert_eq!(store.size(key).await.unwrap(), None);
    let bytes: Bytes = (0..=255_u8)
        .cycle()
        .take(700_000)
        .collect::<Vec<_>>()
        .into();
    store.put(key, Bytes::from_static(b"before")).await.unwrap();
    store.put(key, bytes.clone()).await.unwrap();
    assert_eq!(store.size(key).await.unwrap(), Some(700_000));
    assert_eq!(store.get(key).await.unwrap(), bytes);
    assert_eq!(store.get_range(key, 10..20).await.unwrap(), bytes[10..20]);
    assert_eq!(store.get_suffix(key, 5).await.unwrap(), bytes[699_995..]);
    let ranges = [600_000..600_010, 0..7, 3..3, 100..200, 650_000..700_000];
    let parts = store.get_ranges(key, &ranges).await.unwrap();
    for (part, range) in parts.iter().zip(&ranges) {
        assert_eq!(part, &bytes[range.start as usize..range.end as usize]);
    }
    let beyond = store.get_range(key, 699_999..700_001).await;
    assert!(matches!(beyond, Err(StorageError::Corrupt { .. })));
    store.delete(key).await.unwrap();
    store.delete(key).await.unwrap();
    assert!(store.get(key).await.unwrap_err().is_not_found());
    store.put(key, bytes).await.unwrap();
}

#[allow(
    clippy::unwrap_used,
    reason = "a test's body that other crates' tests call"
)]
async fn creates_once(store: &Store, key: &str) {
    let writers = (0..16_u8).map(|n| async move {
        let created = store.create(key, Bytes::from(vec![n; 1000])).await;
        match created {
            Err(StorageError::AlreadyExists { .. }) => None,
            other => other.map(|()| Some(n)).unwrap(),
        }
    });
    let winners: Vec<u8> = futures::future::join_all(writers)
        .await
        .into_iter()
        .flatten()
        .collect();
    assert_eq!(winners.len(), 1, "of racing creates one succeeds");
    assert_eq!(store.get(key).await.unwrap(), vec![winners[0]; 1000]);
}

#[allow(
    clippy::unwrap_used,
    reason = "a test's body that other crates' tests call"
)]
async fn lists_in_order(store: &Store, directory: &str) {
    let names = ["b/2", "a/1", "b/1", "b/10", "c-(x)!'*"];
    for name in names {
        let key = format!("{directory}/{name}");
        store.put(&key, Bytes::from_static(b"x")).await.unwrap();
    }
    let strip = |key: &str| key.strip_prefix(directory).unwrap()[1..].to_owned();
    let listed = store.list(directory, None).await.unwrap();
    let keys: Vec<String> = listed.iter().map(|file| strip(&file.key)).collect();
    assert_eq!(keys, ["a/1", "b/1", "b/10", "b/2", "c-(x)!'*"]);
    assert!(
        listed
            .iter()
            .all(|file| file.size_bytes == 1 && file.modified_ns > 0)
    );
    let after = store
        .list(&format!("{directory}/b"), Some(&format!("{directory}/b/1")))
        .await
        .unwrap();
    let keys: Vec<String> = after.iter().map(|file| strip(&file.key)).collect();
    assert_eq!(keys, ["b/10", "b/2"]);
    let directories = store.list_directories(directory).await.unwrap();
    assert_eq!(directories, ["a", "b"]);
    let nothing = format!("{directory}/none");
    assert_eq!(store.list(&nothing, None).await.unwrap(), []);
    assert!(store.list_directories(&nothing).await.unwrap().is_empty());
    for name in names {
        store.delete(&format!("{directory}/{name}")).await.unwrap();
    }
}
