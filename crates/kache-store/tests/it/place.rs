//! How outputs get into target directories.

use crate::support::*;
use kache_store::{Capture, PlaceError, PlacedHow, Placement, Repair};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

fn old() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)
}

fn inode(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn sharing_never_moves_the_blobs_mtime() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("s"));
    let source = dir.path().join("lib.rlib");
    fs::write(&source, "bytes").unwrap();
    fs::set_permissions(&source, fs::Permissions::from_mode(0o644)).unwrap();
    set_mtime(&source, old());
    publish_file(&store, "a", &source, Capture::Link);
    let blob = blob_path(&dir.path().join("s"), b"bytes");
    assert_eq!(inode(&blob), inode(&source));
    let held = store.find(&key("a")).unwrap().unwrap();
    for placement in [Placement::Share, Placement::Own, Placement::Share] {
        let dest = dir.path().join("dest");
        let placed = store.place(&held, 0, &dest, placement, 0o644).unwrap();
        assert_eq!(placed.how == PlacedHow::Hardlink, inode(&dest) == inode(&blob));
        assert!(placement == Placement::Share || inode(&dest) != inode(&blob));
        assert_eq!((mtime(&blob), mtime(&source)), (old(), old()));
    }
}

/// In a container each daemon may have the same number.
#[test]
fn what_a_killed_process_of_the_same_number_left_is_in_nobodys_way() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("s"));
    publish(&store, "a", &[b"bytes"]);
    let held = store.find(&key("a")).unwrap().unwrap();
    (0..1000).for_each(|n| fs::write(dir.path().join(format!(".kache-{}-{n}.tmp", std::process::id())), "").unwrap());
    store.place(&held, 0, &dir.path().join("dest"), Placement::Own, 0o644).unwrap();
    assert_eq!(fs::read(dir.path().join("dest")).unwrap(), b"bytes");
}

#[test]
fn own_inode_is_stamped_by_the_kernel_now_and_has_the_mode() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("s"));
    publish(&store, "a", &[b"bytes"]);
    set_mtime(&blob_path(&dir.path().join("s"), b"bytes"), old());
    let held = store.find(&key("a")).unwrap().unwrap();
    for bits in [0o755, 0o600, 0o444] {
        let before = dir.path().join("before");
        fs::write(&before, "").unwrap();
        let dest = dir.path().join("dest");
        let placed = store.place(&held, 0, &dest, Placement::Own, bits).unwrap();
        assert!(placed.how != PlacedHow::Hardlink && mtime(&dest) >= mtime(&before), "{placed:?}");
        assert_eq!((mode(&dest), fs::metadata(&dest).unwrap().nlink()), (bits, 1));
    }
}

#[test]
fn existing_output_is_replaced_not_written_into() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("s"));
    publish(&store, "a", &[b"new"]);
    let held = store.find(&key("a")).unwrap().unwrap();
    for placement in [Placement::Share, Placement::Own] {
        let dest = dir.path().join("dest");
        fs::write(&dest, "old").unwrap();
        fs::set_permissions(&dest, fs::Permissions::from_mode(0o444)).unwrap();
        let mut opened = File::open(&dest).unwrap();
        store.place(&held, 0, &dest, placement, 0o644).unwrap();
        assert_eq!(fs::read(&dest).unwrap(), b"new");
        let mut text = String::new();
        opened.read_to_string(&mut text).unwrap();
        assert_eq!(text, "old");
        fs::remove_file(&dest).unwrap();
    }
}

#[test]
fn nothing_appears_before_landing_and_nothing_is_left_without() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("s"));
    publish(&store, "a", &[b"one", b"two"]);
    let target = dir.path().join("t");
    fs::create_dir(&target).unwrap();
    let held = store.find(&key("a")).unwrap().unwrap();
    for placement in [Placement::Share, Placement::Own] {
        let dest = target.join("dest");
        let staged = store.stage_out(&held, 0, &dest, placement, 0o644).unwrap();
        assert!(!dest.exists() && files(&target).len() == 1);
        drop(staged);
        assert!(files(&target).is_empty());
        // Twice, since the second time the destination may be the blob's inode already.
        for _ in 0..2 {
            store.place(&held, 0, &dest, placement, 0o644).unwrap();
            assert_eq!(files(&target), [dest.as_path()]);
        }
        let first = store.stage_out(&held, 1, &dest, placement, 0o644).unwrap();
        let second = store.stage_out(&held, 1, &dest, placement, 0o644).unwrap();
        first.land().unwrap();
        second.land().unwrap();
        assert_eq!(files(&target), [dest.as_path()]);
        fs::remove_file(&dest).unwrap();
    }
}

#[test]
fn a_link_is_not_given_a_mode_that_others_did_not_ask_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("s"));
    publish(&store, "a", &[b"bytes"]);
    let held = store.find(&key("a")).unwrap().unwrap();
    let (first, second) = (dir.path().join("1"), dir.path().join("2"));
    store.place(&held, 0, &first, Placement::Share, 0o664).unwrap();
    let placed = store.place(&held, 0, &second, Placement::Share, 0o600).unwrap();
    assert_ne!(placed.how, PlacedHow::Hardlink);
    assert_eq!((mode(&first), mode(&second)), (0o664, 0o600));
}

#[test]
fn another_filesystem_gets_copies() {
    let Ok(other) = tempfile::tempdir_in("/dev/shm") else { return };
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("s"));
    let source = other.path().join("f");
    fs::write(&source, vec![3; 1_000_000]).unwrap();
    publish_file(&store, "a", &source, Capture::Link);
    let held = store.find(&key("a")).unwrap().unwrap();
    for placement in [Placement::Share, Placement::Own] {
        let dest = other.path().join("dest");
        let placed = store.place(&held, 0, &dest, placement, 0o644).unwrap();
        assert_eq!((placed.how, placed.bytes), (PlacedHow::Copy, 1_000_000));
        assert!(fs::read(&dest).unwrap() == vec![3; 1_000_000]);
    }
}

#[test]
fn a_blob_with_all_links_taken_is_copied() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("s"));
    publish(&store, "a", &[b"bytes"]);
    let blob = blob_path(&dir.path().join("s"), b"bytes");
    fs::set_permissions(&blob, fs::Permissions::from_mode(0o644)).unwrap();
    let full = (0..66_000).any(|index| fs::hard_link(&blob, dir.path().join(index.to_string())).is_err());
    let held = store.find(&key("a")).unwrap().unwrap();
    let dest = dir.path().join("dest");
    let placed = store.place(&held, 0, &dest, Placement::Share, 0o644).unwrap();
    assert!(!full || placed.how != PlacedHow::Hardlink, "{placed:?}");
    assert_eq!(fs::read(dest).unwrap(), b"bytes");
}

#[test]
fn trouble_at_the_destination_is_not_taken_for_damage() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("s"));
    publish(&store, "a", &[b"bytes"]);
    let held = store.find(&key("a")).unwrap().unwrap();
    let busy = dir.path().join("busy");
    fs::create_dir_all(busy.join("x")).unwrap();
    for placement in [Placement::Share, Placement::Own] {
        for dest in [dir.path().join("missing/dest"), busy.clone()] {
            let placed = store.place(&held, 0, &dest, placement, 0o644);
            let Err(PlaceError::Io(error)) = placed else { panic!("{placed:?}") };
            assert!(dest.starts_with(&error.path), "{error:?}");
        }
    }
    assert!(store.contains(&key("a")));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn too_many_open_files_is_not_taken_for_damage() {
    let dir = tempfile::tempdir().unwrap();
    assert!(child("place::without_descriptors", dir.path()).status().unwrap().success());
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn without_descriptors() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let dir = child_dir();
    let store = open(&dir.join("s"));
    publish(&store, "a", &[b"bytes"]);
    let held = store.find(&key("a")).unwrap().unwrap();
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum: Some(64) }).unwrap();
    let mut taken = Vec::new();
    while let Ok(file) = File::open(dir.join("s/lock")) {
        taken.push(file);
    }
    let placed = store.place(&held, 0, &dir.join("dest"), Placement::Own, 0o644);
    assert!(matches!(placed, Err(PlaceError::Io(_))), "{placed:?}");
    drop(taken);
    store.place(&held, 0, &dir.join("dest"), Placement::Own, 0o644).unwrap();
    assert_eq!(store.verify(Repair::No, &mut |_| {}).unwrap().findings, []);
}
