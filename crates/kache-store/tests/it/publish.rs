//! What goes in comes out: artifacts, input sets, memos, over reopening and under concurrency.

use crate::support::*;
use kache_model::Witness;
use kache_store::{Capture, MAX_SETS, OpenError, Options, Placement, Publication, Repair, Store, StoreError};
use std::fs;

#[test]
fn published_artifact_is_found_and_restored() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("s"));
    assert!(store.find(&key("a")).unwrap().is_none());
    publish(&store, "a", &[b"one", b""]);
    let held = store.find(&key("a")).unwrap().unwrap();
    assert_eq!(held.artifact().stdout, b"out");
    for (index, bytes) in [b"one".as_slice(), b""].into_iter().enumerate() {
        let dest = dir.path().join(index.to_string());
        let placed = store.place(&held, index, &dest, Placement::Own, 0o640).unwrap();
        assert_eq!(fs::read(&dest).unwrap(), bytes);
        assert_eq!(placed.stamp, kache_store::stamp(&dest).unwrap());
    }
    assert_eq!(store.input_sets(&unit("a")).unwrap(), [set("src/lib.rs")]);
    assert_eq!(store.outline(&unit("a")).unwrap().unwrap().crate_name, "a");
}

#[test]
fn everything_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    publish(&store, "a", &[b"one"]);
    store.remember_outputs(vec![("/t/a".to_owned(), vec![1])]);
    store.set_memo("m", vec![2]);
    let usage = store.usage();
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.usage(), usage);
    assert!(store.contains(&key("a")));
    assert_eq!(store.recall_output("/t/a").unwrap(), Some(vec![1]));
    assert_eq!(store.recall_output("/t/b").unwrap(), None);
    assert_eq!(store.memo("m"), Some(vec![2]));
    assert_eq!(store.verify(Repair::No, &mut |_| {}).unwrap().findings, []);
}

#[test]
fn remembered_things_are_recalled_at_once_and_after_a_flush() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for _ in 0..2 {
        store.remember_outputs(vec![("/t/a".to_owned(), vec![1])]);
        store.set_memo("m", vec![2]);
        for flush in [false, true] {
            if flush {
                store.flush().unwrap();
            }
            assert_eq!(store.recall_output("/t/a").unwrap(), Some(vec![1]));
            assert_eq!(store.memo("m"), Some(vec![2]));
        }
    }
}

#[test]
fn newest_or_last_used_input_set_comes_first_and_few_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.prefer_set(&unit("a"), set("unknown unit"));
    store.flush().unwrap();
    assert_eq!(store.input_sets(&unit("a")).unwrap(), []);
    publish(&store, "a", &[b"one"]);
    for index in 0..10 {
        store.prefer_set(&unit("a"), set(&index.to_string()));
    }
    store.flush().unwrap();
    let sets = store.input_sets(&unit("a")).unwrap();
    assert_eq!((sets.len(), &sets[0]), (MAX_SETS, &set("9")));
    store.prefer_set(&unit("a"), set("5"));
    store.flush().unwrap();
    let sets = store.input_sets(&unit("a")).unwrap();
    assert_eq!((sets.len(), &sets[0], &sets[1]), (MAX_SETS, &set("5"), &set("9")));
}

#[test]
fn who_saw_a_set_is_known_after_a_restart_and_the_bucket_takes_nothing_from_what_was_seen_here() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let known = |store: &Store| {
        let sets = store.known_sets(&unit("a")).unwrap();
        sets.into_iter().map(|known| (known.set.files[0].0.clone(), known.witness)).collect::<Vec<_>>()
    };
    let bring = |name: &str, witness| {
        let blobs = vec![store.stage_bytes(b"one", false).unwrap()];
        store.publish(Publication { set: set(name), witness, ..publication("a", blobs) }).unwrap();
    };
    let (own, bucket) = (|name: &str| (name.to_owned(), Witness::Own), |name: &str| (name.to_owned(), Witness::Bucket));
    bring("seen", Witness::Own);
    bring("told", Witness::Bucket);
    bring("seen", Witness::Bucket);
    store.prefer_set(&unit("a"), set("preferred"));
    store.prefer_set(&unit("a"), set("told"));
    store.flush().unwrap();
    assert_eq!(known(&store), [bucket("told"), bucket("preferred"), own("seen")]);
    bring("told", Witness::Own);
    store.disown_set(&unit("a"), &set("preferred")).unwrap();
    store.disown_set(&unit("a"), &set("seen")).unwrap();
    drop(store);
    assert_eq!(known(&open(dir.path())), [own("told"), own("seen")]);
}

#[test]
fn an_index_that_another_program_has_open_is_an_error_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let index = dir.path().join("index-v1.redb");
    let other = redb::Database::open(&index).unwrap();
    let error = Store::open(dir.path(), Options { max_bytes: 1 }).unwrap_err();
    assert!(matches!(&error, OpenError::Io(error) if error.path == index), "{error:?}");
    drop(other);
    drop(open(dir.path()));
    assert!(!std::fs::read_dir(dir.path()).unwrap().any(|entry| entry.unwrap().file_name().to_string_lossy().contains("corrupt")));
}

#[test]
fn second_process_is_told_that_the_store_is_busy() {
    let dir = tempfile::tempdir().unwrap();
    let _store = open(dir.path());
    let second = Store::open(dir.path(), Options { max_bytes: 1 });
    assert!(matches!(second, Err(OpenError::Busy { .. })), "{second:?}");
}

#[test]
fn dropped_stage_leaves_nothing_and_leftovers_are_removed_at_opening() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    drop(store.stage_bytes(b"x", false).unwrap());
    assert_eq!(files(&dir.path().join("staging-v1")), Vec::<std::path::PathBuf>::new());
    std::mem::forget(store.stage_bytes(b"x", false).unwrap());
    drop(store);
    drop(open(dir.path()));
    assert_eq!(files(&dir.path().join("staging-v1")), Vec::<std::path::PathBuf>::new());
}

#[test]
fn staging_hashes_observes_and_records_the_executable_bit() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("s"));
    let source = dir.path().join("f");
    let bytes = vec![7; 600_000];
    fs::write(&source, &bytes).unwrap();
    for (capture, mode) in [(Capture::Link, 0o644), (Capture::Copy, 0o755)] {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&source, fs::Permissions::from_mode(mode)).unwrap();
        let mut seen = Vec::new();
        let blob = store.stage(&source, capture, &mut |chunk| seen.extend_from_slice(chunk)).unwrap();
        assert!(seen == bytes);
        assert_eq!((blob.id().0, blob.len()), (kache_model::Digest::of(&bytes), 600_000));
        assert_eq!(blob.executable(), mode == 0o755);
    }
}

#[test]
fn file_that_changes_while_it_is_hashed_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("s"));
    for capture in [Capture::Link, Capture::Copy] {
        let source = dir.path().join("f");
        fs::write(&source, [1; 10]).unwrap();
        let staged = store.stage(&source, capture, &mut |_| fs::write(&source, [2; 11]).unwrap());
        assert!(matches!(staged, Err(StoreError::Changed { .. })), "{staged:?}");
    }
    let staged = store.stage(dir.path(), Capture::Copy, &mut |_| {});
    assert!(staged.is_err(), "{staged:?}");
}

#[test]
fn artifact_without_its_bytes_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut new = publication("a", vec![store.stage_bytes(b"one", false).unwrap(), store.stage_bytes(b"two", false).unwrap()]);
    new.blobs.pop();
    assert!(matches!(store.publish(new), Err(StoreError::BlobNotGiven { .. })));
    assert!(!store.contains(&key("a")));
    assert_eq!((store.usage().blobs, files(&dir.path().join("blobs-v1")).len()), (0, 0));
}

#[test]
fn sixteen_threads_publish_one_blob() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("s"));
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let (store, dest) = (&store, dir.path().join(thread.to_string()));
            scope.spawn(move || {
                let name = format!("a{}", thread % 4);
                publish(store, &name, &[b"shared", name.as_bytes()]);
                let held = store.find(&key(&name)).unwrap().unwrap();
                store.place(&held, 0, &dest, Placement::Share, 0o644).unwrap();
                assert_eq!(fs::read(&dest).unwrap(), b"shared");
            });
        }
    });
    assert_eq!((store.usage().artifacts, store.usage().blobs), (4, 5));
    assert_eq!(store.verify(Repair::No, &mut |_| {}).unwrap().findings, []);
    for name in ["a0", "a1", "a2", "a3"] {
        assert!(store.evict(&key(name)).unwrap());
    }
    store.flush().unwrap();
    assert_eq!((store.usage().blobs, store.usage().bytes, files(&dir.path().join("s/blobs-v1")).len()), (0, 0, 0));
}

#[test]
fn replaced_artifact_lets_go_of_its_blobs() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    publish(&store, "a", &[b"one", b"same"]);
    publish(&store, "a", &[b"two", b"same"]);
    store.flush().unwrap();
    assert!(!blob_path(dir.path(), b"one").exists());
    assert!(blob_path(dir.path(), b"two").exists() && blob_path(dir.path(), b"same").exists());
    assert_eq!((store.usage().artifacts, store.usage().blobs), (1, 2));
}

#[test]
fn pending_uploads_survive_until_they_are_done() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut new = publication("a", vec![]);
    new.pending_upload = Some(7);
    store.publish(new).unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.pending_uploads().unwrap(), [(key("a"), 7)]);
    assert!(store.artifacts().next().unwrap().pending_upload);
    store.upload_done(&key("a")).unwrap();
    assert_eq!(store.pending_uploads().unwrap(), []);
}
