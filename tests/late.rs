//! What the daemon writes into a target directory belongs to an asker who is alive, and to one at a time: a restore for a build that was killed
//! never lands behind the next build's back.
//!
//! The file that holds a restore still is the dep-info of the last compile, with a named pipe in its place: the daemon compares it when all
//! outputs are staged and none has landed.

use crate::odd_inputs::rustc;
use kache_testkit::{Built, Cargo, Machine, Project, run, samples, until};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// A library of one file, compiled into `out`.
struct Library {
    machine: Machine,
    directory: PathBuf,
}

impl Library {
    /// Versions 1 and 2 are known, version 1 is what the source says, and the next restore stands still before it lands.
    fn new() -> Self {
        let machine = Machine::with(&[("KACHE_LOG", "debug")]);
        let library = Self { directory: machine.path("a"), machine };
        fs::create_dir_all(library.out("")).unwrap();
        for version in [1, 2] {
            library.write(version);
            library.compile("dep-info,metadata,link").ok();
        }
        library.machine.settle();
        library.write(1);
        fs::remove_file(library.out("lib-x.d")).unwrap();
        assert!(Command::new("mkfifo").arg(library.out("lib-x.d")).status().unwrap().success());
        library
    }

    fn out(&self, name: &str) -> PathBuf {
        self.directory.join("out").join(name)
    }

    fn write(&self, version: u32) {
        fs::write(self.directory.join("lib.rs"), format!("pub static VERSION: &str = \"this is version {version}\";\n")).unwrap();
    }

    fn compile(&self, emit: &str) -> Cargo {
        let emit = format!("--emit={emit}");
        let args = ["lib.rs", "--crate-name=lib", "--crate-type=lib", &emit, "--out-dir=out", "-Cextra-filename=-x"];
        rustc(&self.machine, &self.directory, &args)
    }

    /// Names in `out` that are the daemon's own.
    fn temporary(&self) -> usize {
        let names = fs::read_dir(self.out("")).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().starts_with(".kache-")).count()
    }

    /// Waits until the restore that is under way has staged its outputs and stands still.
    fn until_staged(&self) {
        until("staged outputs", LIMIT, || (self.temporary() == 2).then_some(()));
    }

    /// Lets the restore go on, and whatever compiles next write its dep-info.
    fn release(&self) {
        let nonblock = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap();
        let open = || File::options().write(true).custom_flags(nonblock).open(self.out("lib-x.d")).ok();
        let pipe = until("a reader of the dep-info", LIMIT, open);
        fs::remove_file(self.out("lib-x.d")).unwrap();
        drop(pipe);
    }

    fn holds(&self, version: u32) -> bool {
        let bytes = fs::read(self.out("liblib-x.rlib")).unwrap();
        let wanted = format!("this is version {version}");
        bytes.windows(wanted.len()).any(|part| part == wanted.as_bytes())
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap()
}

/// What the next build would leave.
fn replace(path: &Path) {
    let new = path.with_file_name("new");
    fs::write(&new, "the next build's").unwrap();
    fs::rename(&new, path).unwrap();
}

#[test]
fn a_restore_for_a_build_that_was_killed_leaves_the_next_builds_outputs_alone_and_nothing_of_its_own() {
    let library = Library::new();
    let mut killed = library.compile("dep-info,metadata,link").spawn();
    library.until_staged();
    kill_process_group(pid(&killed), Signal::INT).unwrap();
    assert!(!killed.wait().unwrap().success());
    let outputs = ["liblib-x.rlib", "liblib-x.rmeta"].map(|name| library.out(name));
    outputs.iter().for_each(|path| replace(path));
    library.release();
    until("the end of the restore", LIMIT, || (library.temporary() == 0).then_some(()));
    for path in outputs {
        assert_eq!(fs::read_to_string(&path).unwrap_or_default(), "the next build's", "{}", path.display());
    }
    assert!(!library.out("lib-x.d").exists());
}

#[test]
fn a_restore_whose_cargo_was_killed_alone_doesnt_land() {
    let library = Library::new();
    let shim = library.compile("dep-info,metadata,link");
    // In Cargo's place: a parent that can be killed without the shim.
    let mut parent = shim.clone().under(["sh", "-c", "\"$@\"; exit", "sh"]).spawn();
    library.until_staged();
    kill_process(pid(&parent), Signal::KILL).unwrap();
    parent.wait().unwrap();
    library.write(3);
    library.release();
    // Nobody's build any more; the shim does what it would have done without a cache.
    until("rustc's own output", LIMIT, || (library.temporary() == 0 && library.out("lib-x.d").exists()).then_some(()));
    let _all = kill_process_group(pid(&parent), Signal::KILL);
    assert!(!library.holds(1), "the stale library landed");
}

#[test]
fn who_has_the_same_outputs_waits_until_the_restore_before_has_landed() {
    let library = Library::new();
    let first = library.compile("dep-info,metadata,link");
    let first_child = first.spawn();
    library.until_staged();
    library.write(3);
    // One that nobody understands, for want of dep-info.
    let next = library.compile("metadata,link");
    let mut next_child = next.spawn();
    until("a second invocation that ends or waits", LIMIT, || {
        (next_child.try_wait().unwrap().is_some() || library.machine.log().contains("waits for what is written there")).then_some(())
    });
    library.release();
    let ok = |cargo: &Cargo, child| -> Built {
        let built = cargo.finish(child);
        assert!(built.status.success(), "{}", built.stderr);
        built
    };
    ok(&first, first_child);
    ok(&next, next_child);
    assert!(library.holds(3), "the restore landed on the next one's output");
}

/// Ctrl-C at moments that differ from run to run, an edit, a build: what runs is what the source says.
#[test]
#[ignore = "slow: a search for bad luck"]
fn interrupted_builds_never_leave_an_old_library() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("a"));
    let value = |project: &Project, number: u32| {
        project.write("below/src/lib.rs", format!("pub fn value() -> u32 {{ {number} }}\n"));
    };
    let expected = |number: u32| run(project.file("target/debug/prog")).trim().ends_with(&number.to_string());
    for number in 1..6 {
        value(&project, number);
        machine.build(&project, &["build"]);
    }
    for round in 0..200_u32 {
        value(&project, 1 + round % 5);
        let mut child = machine.cargo(&project).args(["build"]).spawn();
        std::thread::sleep(Duration::from_millis(u64::from(20 + round * 7 % 160)));
        let _ended = kill_process_group(pid(&child), Signal::INT);
        child.wait().unwrap();
        let number = 1000 + round;
        value(&project, number);
        machine.build(&project, &["build"]);
        assert!(expected(number), "round {round}");
        std::thread::sleep(Duration::from_millis(20));
        project.append("src/main.rs", "\n");
        machine.build(&project, &["build"]);
        assert!(expected(number), "round {round}, later");
    }
}
