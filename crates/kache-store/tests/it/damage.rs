//! {truncate, delete, flip, replace, forge} × {blob, index}: a miss, never wrong bytes, never an error that a build would see.

use crate::support::*;
use kache_store::{Capture, Finding, PlaceError, Placement, Repair, Store};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

const BYTES: &[u8] = b"the right bytes";

/// A change of a file.
type Harm = fn(&Path);

const NOTICED: [(&str, Harm); 5] = [
    ("truncated", |path| File::options().write(true).open(path).unwrap().set_len(3).unwrap()),
    ("deleted", |path| fs::remove_file(path).unwrap()),
    ("flipped", |path| rewrite(path, b"the right bytfs")),
    ("forged", forge),
    ("replaced", |path| {
        fs::remove_file(path).unwrap();
        fs::write(path, "other").unwrap();
    }),
];

/// Same length, same mtime; only the ctime shows that somebody was there.
fn forge(path: &Path) {
    let before = mtime(path);
    rewrite(path, b"the wrong bytes");
    set_mtime(path, before);
}

/// Into the same inode, with an mtime that differs whatever the clock's tick.
fn rewrite(path: &Path, bytes: &[u8]) {
    let before = mtime(path);
    File::options().write(true).open(path).unwrap().write_all(bytes).unwrap();
    set_mtime(path, before + std::time::Duration::from_secs(1));
}

fn place(store: &Store, name: &str, dest: &Path, placement: Placement) -> Result<(), PlaceError> {
    let held = store.find(&key(name)).unwrap().unwrap();
    store.place(&held, 0, dest, placement, 0o644).map(drop)
}

#[test]
fn damaged_blob_is_evicted_and_can_be_stored_again() {
    for (harm_name, harm) in NOTICED {
        for placement in [Placement::Share, Placement::Own] {
            let dir = tempfile::tempdir().unwrap();
            let store = open(&dir.path().join("s"));
            publish(&store, "a", &[BYTES]);
            publish(&store, "b", &[BYTES]);
            let blob = blob_path(&dir.path().join("s"), BYTES);
            let dest = dir.path().join("dest");
            harm(&blob);
            let placed = place(&store, "a", &dest, placement);
            assert!(matches!(placed, Err(PlaceError::Damaged { .. })), "{harm_name} {placement:?}: {placed:?}");
            assert!(!dest.exists() && !store.contains(&key("a")), "{harm_name}");
            // Its sister learns it too, unless the blob is stored again first.
            assert!(matches!(place(&store, "b", &dest, placement), Err(PlaceError::Damaged { .. })), "{harm_name}");
            publish(&store, "a", &[BYTES]);
            place(&store, "a", &dest, placement).unwrap();
            assert_eq!(fs::read(&dest).unwrap(), BYTES);
            assert_eq!(store.verify(Repair::No, &mut |_| {}).unwrap().findings, []);
        }
    }
}

#[test]
fn storing_a_blob_again_heals_it_for_all_artifacts() {
    for (harm_name, harm) in NOTICED.into_iter().filter(|(name, _)| *name != "forged") {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir.path().join("s"));
        publish(&store, "a", &[BYTES]);
        harm(&blob_path(&dir.path().join("s"), BYTES));
        publish(&store, "b", &[BYTES]);
        let dest = dir.path().join("dest");
        place(&store, "a", &dest, Placement::Share).unwrap();
        assert_eq!(fs::read(&dest).unwrap(), BYTES, "{harm_name}");
    }
}

#[test]
fn writing_through_a_linked_output_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("s"));
    let output = dir.path().join("lib.rlib");
    fs::write(&output, BYTES).unwrap();
    publish_file(&store, "a", &output, Capture::Link);
    rewrite(&output, b"stripped bytes!");
    let placed = place(&store, "a", &dir.path().join("dest"), Placement::Share);
    assert!(matches!(placed, Err(PlaceError::Damaged { .. })), "{placed:?}");
}

#[test]
fn writing_within_the_clocks_tick_is_noticed_after_a_capture_by_link() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("s"));
    let output = dir.path().join("lib.rlib");
    fs::write(&output, BYTES).unwrap();
    // As fresh as a file can be: its mtime isn't over yet.
    set_mtime(&output, std::time::SystemTime::now() + std::time::Duration::from_secs(60));
    publish_file(&store, "a", &output, Capture::Link);
    forge(&output);
    let placed = place(&store, "a", &dir.path().join("dest"), Placement::Share);
    assert!(matches!(placed, Err(PlaceError::Damaged { .. })), "{placed:?}");
}

/// As `strip` with `-p` does, or `touch -r` after something else.
#[test]
fn a_write_through_any_link_that_puts_the_mtime_back_is_noticed_and_the_stores_own_links_are_not_taken_for_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("s"));
    let made = dir.path().join("made");
    fs::write(&made, BYTES).unwrap();
    set_mtime(&made, mtime(&made) - std::time::Duration::from_secs(9));
    publish_file(&store, "a", &made, Capture::Link);
    let dests = ["1", "2", "3"].map(|name| dir.path().join(name));
    for dest in dests.iter().chain(&dests) {
        place(&store, "a", dest, Placement::Share).unwrap();
    }
    place(&store, "a", &dir.path().join("own"), Placement::Own).unwrap();
    assert_eq!(store.usage().rehashed_blobs, 0, "links of the store's own");
    drop(store);
    let store = open(&dir.path().join("s"));
    let stamp = |path: &Path| kache_store::stamp(path).unwrap();
    let digest = kache_model::Digest::of(BYTES);
    assert!(store.vouches(&digest, &stamp(&dests[1])));
    // Somebody removes a link: paid for once.
    fs::remove_file(&dests[0]).unwrap();
    assert!(!store.vouches(&digest, &stamp(&dests[1])));
    for dest in &dests {
        place(&store, "a", dest, Placement::Share).unwrap();
    }
    assert_eq!(store.usage().rehashed_blobs, 1);
    fs::remove_file(&dests[0]).unwrap();
    store.confirm(&digest, &stamp(&dests[1]));
    assert!(store.vouches(&digest, &stamp(&dests[1])), "who has read it by another name says so");
    forge(&dests[2]);
    assert!(!store.vouches(&digest, &stamp(&dests[1])));
    let placed = place(&store, "a", &dests[0], Placement::Share);
    assert!(matches!(placed, Err(PlaceError::Damaged { .. })), "{placed:?}");
    assert!(!store.contains(&key("a")));
}

#[test]
fn touched_blob_with_the_right_bytes_is_believed_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("s"));
    publish(&store, "a", &[BYTES]);
    let blob = blob_path(&dir.path().join("s"), BYTES);
    set_mtime(&blob, mtime(&blob) - std::time::Duration::from_secs(9));
    place(&store, "a", &dir.path().join("dest"), Placement::Own).unwrap();
    assert_eq!(store.usage().rehashed_blobs, 1);
    place(&store, "a", &dir.path().join("dest"), Placement::Own).unwrap();
    assert_eq!(store.usage().rehashed_blobs, 1, "the record was refreshed");
}

#[test]
fn verify_finds_what_a_stat_does_not_show_and_repairs_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("s"));
    publish(&store, "a", &[BYTES]);
    publish(&store, "b", &[b"another"]);
    forge(&blob_path(&dir.path().join("s"), BYTES));
    for repair in [Repair::No, Repair::Evict] {
        let report = store.verify(repair, &mut |_| {}).unwrap();
        assert!(matches!(report.findings[..], [Finding::Blob { .. }, Finding::Artifact { .. }]), "{report:?}");
    }
    assert!(!store.contains(&key("a")) && store.contains(&key("b")));
    assert_eq!(store.verify(Repair::No, &mut |_| {}).unwrap().findings, []);
}

#[test]
fn after_an_unclean_stop_blobs_are_hashed_before_their_first_use() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("s"));
    publish(&store, "a", &[BYTES]);
    publish(&store, "good", &[b"good"]);
    store.flush().unwrap();
    let killed = dir.path().join("killed");
    snapshot(&dir.path().join("s"), &killed);
    forge(&blob_path(&killed, BYTES));
    let again = open(&killed);
    let placed = place(&again, "a", &dir.path().join("dest"), Placement::Share);
    assert!(matches!(placed, Err(PlaceError::Damaged { .. })), "{placed:?}");
    place(&again, "good", &dir.path().join("dest"), Placement::Share).unwrap();
    // After a clean stop they are believed.
    drop(store);
    let store = open(&dir.path().join("s"));
    place(&store, "a", &dir.path().join("dest"), Placement::Share).unwrap();
    assert_eq!(store.usage().rehashed_blobs, 0);
}

#[test]
fn files_that_nothing_refers_to_are_swept_after_an_unclean_stop() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("s"));
    publish(&store, "a", &[BYTES]);
    store.flush().unwrap();
    let killed = dir.path().join("killed");
    snapshot(&dir.path().join("s"), &killed);
    let kept = blob_path(&killed, BYTES);
    let orphan = kept.with_file_name(format!("{}0", &kept.file_name().unwrap().to_str().unwrap()[..63]));
    fs::write(&orphan, "x").unwrap();
    // Closing waits for the sweep of the directory that it is at; there is one.
    drop(open(&killed));
    assert!(!orphan.exists() && kept.exists());
}

#[test]
fn damaged_index_is_set_aside_and_the_store_starts_empty() {
    let harms: [(&str, Harm); 4] = [
        ("truncated", |path| {
            let file = File::options().write(true).open(path).unwrap();
            let half = file.metadata().unwrap().len() / 2;
            file.set_len(half).unwrap();
        }),
        ("cut short", |path| File::options().write(true).open(path).unwrap().set_len(100).unwrap()),
        ("garbage", |path| fs::write(path, vec![0x5a; 200_000]).unwrap()),
        ("deleted", |path| fs::remove_file(path).unwrap()),
    ];
    for (harm_name, harm) in harms {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        publish(&store, "a", &[BYTES]);
        drop(store);
        harm(&dir.path().join("index-v1.redb"));
        let store = open(dir.path());
        assert!(!store.contains(&key("a")), "{harm_name}");
        publish(&store, "b", &[b"after"]);
        drop(store);
        let store = open(dir.path());
        assert!(store.contains(&key("b")), "{harm_name}");
        assert_eq!(store.verify(Repair::No, &mut |_| {}).unwrap().findings, [], "{harm_name}");
        let aside = files(dir.path()).iter().filter(|path| path.to_string_lossy().contains("corrupt-")).count();
        assert_eq!(aside, usize::from(harm_name != "deleted"), "{harm_name}");
    }
}

#[test]
fn flipped_bytes_in_the_index_never_give_a_wrong_artifact() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("s"));
    for name in ["a", "b", "c"] {
        // Long texts, so that many a flip hits one.
        let mut new = publication(name, [name.as_bytes(), BYTES].map(|bytes| store.stage_bytes(bytes, false).unwrap()).into());
        new.artifact.stderr = name.as_bytes().repeat(2000);
        store.publish(new).unwrap();
    }
    let artifacts = ["a", "b", "c"].map(|name| store.find(&key(name)).unwrap().unwrap().artifact().clone());
    drop(store);
    let index = fs::read(dir.path().join("s/index-v1.redb")).unwrap();
    let used: Vec<usize> = (0..index.len()).filter(|at| index[*at] != 0).collect();
    let mut missing = 0;
    for at in used.iter().step_by(used.len() / 60) {
        let copy = dir.path().join("copy");
        snapshot(&dir.path().join("s"), &copy);
        let mut harmed = index.clone();
        harmed[*at] ^= 0x10;
        fs::write(copy.join("index-v1.redb"), harmed).unwrap();
        let store = open(&copy);
        for (name, artifact) in ["a", "b", "c"].iter().zip(&artifacts) {
            match store.find(&key(name)) {
                Ok(Some(held)) => {
                    assert_eq!(held.artifact(), artifact, "byte {at}");
                    let dest = dir.path().join("dest");
                    if store.place(&held, 0, &dest, Placement::Own, 0o644).is_ok() {
                        assert_eq!(fs::read(&dest).unwrap(), name.as_bytes(), "byte {at}");
                    }
                }
                Ok(None) | Err(_) => missing += 1,
            }
        }
        drop(store);
        fs::remove_dir_all(&copy).unwrap();
    }
    assert!(missing > 0, "no flip was felt");
}
