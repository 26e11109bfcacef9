//! Libraries of registry packages share their inode between target directories and the store. A tool that writes into one in place reaches them
//! all, and can put the mtime back: the store serves no such bytes, says where they are, and mends what it can.

use kache_testkit::{Cargo, Machine, Project, run, samples, skipped};
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

/// Pairs of decimal digits, as `itoa` has them in its code.
const DIGITS: &[u8] = b"00010203";

struct Shared {
    machine: Machine,
    project: Project,
}

impl Shared {
    /// A program over `itoa`, directly or through a member, built into two target directories. `None` where those share nothing.
    fn new(machine: Machine, through: bool) -> Option<Self> {
        let project = samples::pair(machine.path("a"));
        let dependency = "[dependencies]\nitoa = \"1\"\n";
        if through {
            project.append("below/Cargo.toml", dependency);
            project.write("below/src/lib.rs", "pub fn text() -> String { itoa::Buffer::new().format(1234567_u32).to_owned() }\n");
        } else {
            project.edit("Cargo.toml", "[dependencies]\n", dependency);
        }
        let shared = Self { machine, project };
        shared.says(through, "one");
        for target in ["t1", "t2"] {
            assert_eq!(shared.builds(target), "one 1234567\n");
        }
        let linked = fs::metadata(shared.library("t1")).unwrap().ino() == fs::metadata(shared.library("t2")).unwrap().ino();
        if !linked {
            skipped("this filesystem has reflinks: nothing is shared");
        }
        linked.then_some(shared)
    }

    fn says(&self, through: bool, word: &str) {
        let number = if through { "below::text()" } else { "itoa::Buffer::new().format(1234567_u32)" };
        self.project.write("src/main.rs", format!("fn main() {{ println!(\"{word} {{}}\", {number}); }}\n"));
    }

    fn cargo(&self, target: &str) -> Cargo {
        self.machine.cargo(&self.project).args(["build"]).target(target)
    }

    fn builds(&self, target: &str) -> String {
        self.cargo(target).ok();
        self.machine.settle();
        run(self.project.file(target).join("debug/prog"))
    }

    fn library(&self, target: &str) -> PathBuf {
        let entries = fs::read_dir(self.project.file(target).join("debug/deps")).unwrap().map(|entry| entry.unwrap().path());
        let of_itoa = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            name.starts_with("libitoa-") && name.ends_with(".rlib")
        };
        entries.into_iter().find(of_itoa).unwrap()
    }

    /// Other digits in the code, and the mtime put back.
    fn forge(&self, target: &str) {
        let path = self.library(target);
        let mtime = fs::metadata(&path).unwrap().modified().unwrap();
        let mut bytes = fs::read(&path).unwrap();
        // The last member is code; the metadata before it may have them too.
        let at = bytes.windows(DIGITS.len()).rposition(|part| part == DIGITS).unwrap();
        for digit in &mut bytes[at..at + 200] {
            *digit = b'9';
        }
        let mut file = File::options().write(true).open(&path).unwrap();
        file.write_all(&bytes).unwrap();
        file.set_modified(mtime).unwrap();
    }

    fn bypasses(&self) -> u64 {
        self.machine.stats().bypass_reasons.get("damaged_extern").copied().unwrap_or(0)
    }

    fn doctor_names(&self, target: &str) -> bool {
        let path = self.library(target).display().to_string();
        let said = self.machine.kache(&["doctor"]);
        let status = self.machine.kache(&["status"]).stdout;
        assert_eq!(said.stdout.contains(&path), status.contains(&path), "{}\n{status}", said.stdout);
        said.stdout.contains(&format!("somebody has written into {path} in place"))
    }
}

#[test]
fn a_write_that_puts_the_mtime_back_reaches_no_other_directory_and_the_one_that_shares_it_is_mended() {
    let Some(shared) = Shared::new(Machine::new(), false) else { return };
    let right = fs::read(shared.library("t1")).unwrap();
    shared.forge("t2");
    assert_eq!(shared.builds("t3"), "one 1234567\n");
    assert!(fs::read(shared.library("t3")).unwrap() != fs::read(shared.library("t2")).unwrap());
    assert!(shared.doctor_names("t1") && shared.doctor_names("t2") && !shared.doctor_names("t3"));
    shared.says(false, "two");
    assert_eq!(shared.builds("t1"), "two 1234567\n");
    assert!(fs::read(shared.library("t1")).unwrap() == right && !shared.doctor_names("t1") && shared.doctor_names("t2"));
    assert_eq!(shared.bypasses(), 0);
    let verified = shared.machine.kache(&["verify"]);
    assert!(verified.status.success(), "{}", verified.stdout);
}

#[test]
fn a_library_that_was_truncated_is_named_and_mended_as_soon_as_there_is_a_good_one() {
    let Some(shared) = Shared::new(Machine::new(), false) else { return };
    File::options().write(true).open(shared.library("t2")).unwrap().set_len(0).unwrap();
    shared.cargo("t1").fails();
    assert_eq!(shared.bypasses(), 1);
    assert!(shared.doctor_names("t1"));
    assert_eq!(shared.builds("t3"), "one 1234567\n");
    for target in ["t1", "t2"] {
        assert_eq!(shared.builds(target), "one 1234567\n");
        assert!(!shared.doctor_names(target));
    }
    assert_eq!(shared.bypasses(), 1);
    assert!(shared.machine.kache(&["verify"]).status.success());
}

/// The question for the program doesn't name the library; the linker reads it all the same.
#[test]
fn what_was_linked_with_a_damaged_library_is_not_stored() {
    let Some(shared) = Shared::new(Machine::new(), true) else { return };
    shared.forge("t2");
    shared.says(true, "two");
    assert_ne!(shared.builds("t1"), "two 1234567\n", "what plain cargo would make of it, too");
    assert_eq!(shared.builds("t3"), "two 1234567\n");
}

#[test]
fn without_links_a_write_stays_where_it_is() {
    let machine = Machine::with(&[("KACHE_LINKS", "never")]);
    assert!(Shared::new(machine, false).is_none());
}

/// A directory that shared the libraries is removed, which looks like a write: they are read once more, and no further.
#[test]
fn a_removed_directory_costs_one_look_at_the_bytes_and_nothing_else() {
    let Some(shared) = Shared::new(Machine::new(), false) else { return };
    shared.project.remove("t2");
    shared.says(false, "two");
    for target in ["t1", "t3"] {
        assert_eq!(shared.builds(target), "two 1234567\n");
        shared.project.remove(target);
    }
    assert_eq!(shared.bypasses(), 0);
    let outcomes = shared.machine.stats().outcomes;
    assert_eq!((outcomes.bypass, outcomes.failed), (0, 0), "{outcomes:?}");
}
