//! Programs of different versions meet, and programs are exchanged while builds run: a build never notices.

use kache_testkit::{Binaries, Machine, Project, http_get, run, samples, until};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const BOUND: Duration = Duration::from_secs(30);

/// A connection's first bytes, in a version that doesn't exist. 1 is the one that does; `PROTOCOL.md` says when it is raised.
const TOMORROW: [u8; 8] = *b"\0KCH\x63\0\0\0";

/// A frame of `kind`.
fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &u32::try_from(body.len()).unwrap().to_le_bytes(), body].concat()
}

#[test]
fn a_daemon_of_another_version_is_never_believed() {
    let machine = Machine::idle();
    let listener = UnixListener::bind(machine.socket()).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 65536]);
            // In today's version this would be a hit without output: nothing would be built.
            let _ = stream.write_all(&[&TOMORROW[..], &frame(17, &[0; 12])].concat());
        }
    });
    let project = samples::pair(machine.path("a"));
    for wrapper in [Binaries::get().shim(), Binaries::get().kache()] {
        project.remove("target");
        let built = machine.cargo(&project).args(["build"]).env("RUSTC_WRAPPER", wrapper).ok();
        assert!(!built.stderr.contains("kache"), "{}", built.stderr);
        assert_eq!(run(project.file("target/debug/prog")), "1\n");
    }
}

#[test]
fn a_shim_of_another_version_is_not_answered_and_somebody_hears_of_it() {
    let machine = Machine::new();
    let mut stream = UnixStream::connect(machine.socket()).unwrap();
    stream.write_all(&[&TOMORROW[..], &frame(1, b"whatever a request will be")].concat()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"\0KCH\x01\0\0\0", "its version, and no more");
    let notice = "versions differ: a kache-shim speaks protocol 99, this kached 1, so its builds run without the cache; \
                  install kache, kached and kache-shim together, then restart kached";
    until("the notice", BOUND, || machine.log().contains(notice).then_some(()));
    let status = machine.kache(&["status"]).stdout;
    assert!(status.contains(&format!("  notice     {notice}\n")), "{status}");
    let doctor = machine.kache(&["doctor"]).stdout;
    assert!(doctor.contains(&format!("warning  kached    {notice}\n")), "{doctor}");
    let project = samples::pair(machine.path("a"));
    assert_eq!(machine.build(&project, &["build"]).miss, 2, "those of its own version are served");
}

/// `kached __compile` with a socket at descriptor 3 in which the rest of a compile frame waits, that adds the argument `x`. What the "compiler" prints.
fn run_compile(version: &str) -> String {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let plan = [&3u32.to_le_bytes()[..], &[0], &1u32.to_le_bytes(), &1u32.to_le_bytes(), b"x", &[0; 8]].concat();
    (&ours).write_all(&plan).unwrap();
    let mut shell = Command::new("sh");
    let script = format!("exec \"$0\" __compile {version} 3 {} sh -c 'echo $0' 3<&0 </dev/null", plan.len());
    shell.arg("-c").arg(script).arg(Binaries::get().kached()).stdin(std::os::fd::OwnedFd::from(theirs));
    let child = shell.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(ours);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_runner_of_another_version_reads_no_plan() {
    assert_eq!(run_compile("1"), "x\n", "the plan of its own version it follows");
    assert_eq!(run_compile("99"), "sh\n");
    assert_eq!(run_compile("99 7"), "sh\n", "whatever numbers another version puts there");
    assert_eq!(run_compile(""), "sh\n");
}

/// The three programs in a directory of their own.
struct Installed(PathBuf);

impl Installed {
    fn new(machine: &Machine) -> Self {
        let installed = Self(machine.path("bin"));
        fs::create_dir(&installed.0).unwrap();
        installed.renew();
        installed
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// As installers do it: written beside, then renamed over what may be running.
    fn renew(&self) {
        for program in [Binaries::get().kache(), Binaries::get().kached(), Binaries::get().shim()] {
            let name = program.file_name().unwrap();
            // Written by another process: a child that this one starts at the same moment would hold the descriptor (ETXTBSY).
            let copied = Command::new("cp").arg(&program).arg(self.0.join("new")).status().unwrap();
            assert!(copied.success());
            fs::rename(self.0.join("new"), self.0.join(name)).unwrap();
        }
    }

    fn remove(&self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// `prog` over `mid` over a build script that waits for the file `gate`, beside which it leaves `gate.reached`: compiles before it and after it.
fn gated(directory: &Path) -> Project {
    let root = samples::package("prog", "[dependencies]\nmid = { path = \"mid\" }\n[workspace]\nmembers = [\"mid\"]\n");
    let script = r#"
fn main() {
    let gate = std::path::PathBuf::from(std::env::var_os("GATE").unwrap());
    std::fs::write(gate.with_extension("reached"), "").unwrap();
    while !gate.exists() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}
"#;
    Project::with(
        directory,
        &[
            ("Cargo.toml", &(root + samples::QUICK)),
            ("src/main.rs", "fn main() { println!(\"{}\", mid::value()); }\n"),
            ("mid/Cargo.toml", &samples::package("mid", "")),
            ("mid/build.rs", script),
            ("mid/src/lib.rs", "pub fn value() -> u32 { 1 }\n"),
        ],
    )
}

/// Builds through the installed programs; `meanwhile` happens in the middle. The build succeeds and makes the right program.
fn builds_while(machine: &Machine, shim: &Path, meanwhile: impl FnOnce()) {
    let (project, gate) = (gated(&machine.path("a")), machine.path("gate"));
    let cargo = machine.cargo(&project).args(["build"]).env("GATE", &gate).env("RUSTC_WRAPPER", shim);
    let build = cargo.spawn();
    until("the build is half way", BOUND, || machine.path("gate.reached").exists().then_some(()));
    meanwhile();
    fs::write(&gate, "").unwrap();
    let built = cargo.finish(build);
    assert!(built.status.success(), "{}\n{}", built.stderr, machine.log());
    assert_eq!(run(project.file("target/debug/prog")), "1\n");
}

#[test]
fn new_programs_are_installed_while_a_build_runs() {
    let machine = Machine::idle();
    let installed = Installed::new(&machine);
    machine.launch(Command::new(installed.path("kached")));
    builds_while(&machine, &installed.path("kache-shim"), || installed.renew());
    machine.settle();
    let outcomes = machine.stats().outcomes;
    assert_eq!((outcomes.miss, outcomes.all()), (3, 3), "the daemon of before goes on, with the runner of now");

    // What to do is said where people look.
    let kache = |args: &[&str]| machine.kache_in(Path::new("/")).program(installed.path("kache")).args(args.iter().copied()).run();
    let notice = "kached was replaced on disk since it started; restart kached: `kache stop`, then `kache start`";
    if cfg!(target_os = "linux") {
        assert!(kache(&["status"]).stdout.contains(&format!("  notice     {notice}\n")), "{}", kache(&["status"]).stdout);
        assert!(kache(&["doctor"]).stdout.contains("warning  kached    kached was replaced on disk since it started\n"));
        assert_eq!(kache(&["start"]).stderr, format!("kache: warning: {notice}\n"));
    }
    assert!(kache(&["stop"]).status.success() && kache(&["start"]).status.success());
    assert!(!kache(&["status"]).stdout.contains("notice"));
    let project = Project::at(machine.path("a"));
    project.remove("target");
    let again =
        machine.cargo(&project).args(["build"]).env("GATE", machine.path("gate")).env("RUSTC_WRAPPER", installed.path("kache-shim"));
    again.ok();
    let outcomes = machine.stats().outcomes;
    assert_eq!((outcomes.local_hit, outcomes.all()), (3, 3), "what the old one stored the new one restores");
    assert!(kache(&["stop"]).status.success());
    until("the daemon has gone", BOUND, || http_get(&machine.socket(), "/healthz").is_err().then_some(()));
}

#[test]
fn programs_are_taken_away_while_a_build_runs() {
    let machine = Machine::idle();
    let installed = Installed::new(&machine);
    machine.launch(Command::new(installed.path("kached")));
    // The shim stays, as it does where a package's files go one after the other: its daemon has no runner any more.
    let shim = machine.path("kache-shim");
    fs::rename(installed.path("kache-shim"), &shim).unwrap();
    builds_while(&machine, &shim, || installed.remove());
}

#[test]
fn the_daemon_is_restarted_in_the_middle_of_builds() {
    let machine = Machine::new();
    builds_while(&machine, &Binaries::get().shim(), || machine.restart());
    machine.settle();
    let project = Project::at(machine.path("a"));
    project.remove("target");
    let cargo = machine.cargo(&project).args(["build"]).env("GATE", machine.path("gate"));
    let (_, seen) = machine.watch(|| cargo.ok());
    assert_eq!((seen.local_hit, seen.all()), (3, 3), "both daemons' results are there");
}
