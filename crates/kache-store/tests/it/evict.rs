//! Staying within the limit.

use crate::support::*;
use kache_store::{GcLimit, Placement, Repair};
use std::fs;
use std::time::Duration;

const MIB: usize = 1 << 20;

fn limit(max_bytes: u64) -> GcLimit {
    GcLimit { max_bytes, max_age: None }
}

fn megabyte(name: &str) -> Vec<u8> {
    name.as_bytes().iter().copied().cycle().take(MIB).collect()
}

/// Lets the clock by which uses are ordered move on.
fn next_millisecond() {
    let now = || std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let start = now();
    while now() == start {
        std::hint::spin_loop();
    }
}

#[test]
fn least_recently_used_go_first_down_to_nine_tenths() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for index in 0..20 {
        let name = format!("n{index}");
        publish(&store, &name, &[&megabyte(&name)]);
        next_millisecond();
    }
    drop(store.find(&key("n0")).unwrap());
    let report = store.gc(limit(10 * MIB as u64)).unwrap();
    assert_eq!(report.artifacts, 12);
    assert_eq!(store.usage().evicted_artifacts, 12);
    assert!(store.contains(&key("n0")) && !store.contains(&key("n12")) && store.contains(&key("n13")));
    assert!(store.usage().bytes <= 9 * MIB as u64 && report.freed_bytes == 12 * MIB as u64, "{report:?}");
    assert_eq!(files(&dir.path().join("blobs-v1")).len(), 8);
    assert_eq!(store.gc(limit(10 * MIB as u64)).unwrap().artifacts, 0);
    assert_eq!(store.input_sets(&unit("n1")).unwrap(), []);
    assert_eq!(store.outline(&unit("n1")).unwrap(), None);
    assert_eq!(store.verify(Repair::No, &mut |_| {}).unwrap().findings, []);
}

#[test]
fn order_of_use_survives_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for name in ["a", "b", "c"] {
        publish(&store, name, &[&megabyte(name)]);
        next_millisecond();
    }
    drop(store.find(&key("a")).unwrap());
    drop(store);
    let store = open(dir.path());
    store.gc(limit(5 * MIB as u64 / 2)).unwrap();
    assert!(store.contains(&key("a")) && !store.contains(&key("b")));
}

#[test]
fn pinned_artifacts_stay() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("s"));
    for name in ["a", "b"] {
        publish(&store, name, &[&megabyte(name)]);
    }
    let held = store.find(&key("a")).unwrap().unwrap();
    let second = store.find(&key("a")).unwrap().unwrap();
    store.gc(limit(0)).unwrap();
    assert!(store.contains(&key("a")) && !store.contains(&key("b")));
    drop(second);
    store.gc(limit(0)).unwrap();
    store.place(&held, 0, &dir.path().join("dest"), Placement::Own, 0o644).unwrap();
    drop(held);
    store.gc(limit(0)).unwrap();
    assert!(!store.contains(&key("a")));
}

#[test]
fn shared_blob_goes_with_the_last_artifact() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    publish(&store, "a", &[b"shared", b"a"]);
    publish(&store, "b", &[b"shared", b"b"]);
    store.evict(&key("a")).unwrap();
    store.flush().unwrap();
    assert!(blob_path(dir.path(), b"shared").exists() && !blob_path(dir.path(), b"a").exists());
    store.evict(&key("b")).unwrap();
    store.flush().unwrap();
    assert!(!blob_path(dir.path(), b"shared").exists());
    assert_eq!((store.usage().bytes, store.usage().blobs), (0, 0));
}

#[test]
fn blobs_that_others_link_are_not_reported_as_freed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("s"));
    let bytes = megabyte("x");
    publish(&store, "a", &[&bytes]);
    fs::hard_link(blob_path(&dir.path().join("s"), &bytes), dir.path().join("linked")).unwrap();
    let report = store.gc(limit(0)).unwrap();
    assert_eq!((report.artifacts, report.freed_bytes), (1, 0));
    assert!(report.removed_bytes > MIB as u64 && fs::read(dir.path().join("linked")).unwrap() == bytes);
}

#[test]
fn old_artifacts_go_whatever_the_space() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    publish(&store, "a", &[b"a"]);
    let age = |max_age| GcLimit { max_bytes: u64::MAX, max_age: Some(max_age) };
    assert_eq!(store.gc(age(Duration::from_secs(60))).unwrap().artifacts, 0);
    next_millisecond();
    assert_eq!(store.gc(age(Duration::ZERO)).unwrap().artifacts, 1);
}

#[test]
fn publishing_above_the_limit_evicts_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(dir.path(), 4 * MIB as u64);
    for index in 0..12 {
        let name = format!("n{index}");
        publish(&store, &name, &[&megabyte(&name)]);
    }
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while store.usage().bytes > store.usage().max_bytes {
        assert!(std::time::Instant::now() < deadline, "{:?}", store.usage());
        std::thread::yield_now();
    }
}

#[test]
fn collecting_publishing_and_restoring_at_once_loses_nothing_that_is_held() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("s"));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (store, dest) = (&store, dir.path().join(thread.to_string()));
            scope.spawn(move || {
                for round in 0..40 {
                    let name = format!("n{}", round % 5);
                    publish(store, &name, &[b"shared by all", name.as_bytes()]);
                    let Some(held) = store.find(&key(&name)).unwrap() else { continue };
                    for (index, bytes) in [b"shared by all".as_slice(), name.as_bytes()].into_iter().enumerate() {
                        store.place(&held, index, &dest, Placement::Share, 0o644).unwrap();
                        assert_eq!(fs::read(&dest).unwrap(), bytes);
                    }
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| (0..40).for_each(|_| assert!(store.gc(limit(0)).is_ok())));
        }
    });
    assert_eq!(store.verify(Repair::No, &mut |_| {}).unwrap().findings, []);
    store.gc(limit(0)).unwrap();
    assert_eq!((store.usage().blobs, files(&dir.path().join("s/blobs-v1")).len()), (0, 0));
}

#[test]
fn a_preview_tells_what_then_happens_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for index in 0..8 {
        // Two and two share their second blob.
        publish(&store, &format!("n{index}"), &[&megabyte(&format!("n{index}")), &megabyte(&format!("shared {}", index / 2))]);
        next_millisecond();
    }
    let before = store.usage();
    for limit in [
        limit(1 << 40),
        limit(7 * MIB as u64),
        limit(0),
        GcLimit { max_bytes: 1 << 40, max_age: Some(Duration::from_secs(3600)) },
        GcLimit { max_bytes: 1 << 40, max_age: Some(Duration::ZERO) },
    ] {
        let copy = tempfile::tempdir().unwrap();
        let preview = store.gc_preview(limit);
        store.flush().unwrap();
        snapshot(dir.path(), copy.path());
        let copy = open(copy.path());
        assert_eq!(copy.gc(limit).unwrap(), preview, "{limit:?}");
    }
    assert_eq!(store.usage(), before);
}

#[test]
fn a_purge_takes_what_it_is_told_and_leaves_the_rest_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    publish(&store, "a-b", &[b"one", b"shared"]);
    publish(&store, "c", &[b"two", b"shared"]);
    let of = |name: &str| store.artifacts().filter(|summary| summary.is_of(name)).map(|summary| summary.key).collect::<Vec<_>>();
    assert_eq!((of("a_b"), of("a-b"), of("a")), (vec![key("a-b")], vec![key("a-b")], vec![]));
    let doomed = [key("a-b"), key("never was")];
    let preview = store.purge_preview(&doomed);
    let report = store.purge(&doomed).unwrap();
    assert_eq!((report, report.artifacts, report.freed_bytes), (preview, 1, 4096));
    assert!(store.contains(&key("c")) && !store.contains(&key("a-b")));
    assert_eq!(store.verify(Repair::No, &mut |_| {}).unwrap().findings, []);
    assert_eq!(store.purge(&[key("c")]).unwrap().artifacts, 1);
    assert_eq!((store.usage().bytes, files(&dir.path().join("blobs-v1")).len()), (0, 0));
}
