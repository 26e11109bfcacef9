//! What build scripts ask of rustc through the wrapper is cached like any compile, its failure included.

use kache_testkit::{Binaries, Cargo, Machine, Project, run, samples};

/// Asks rustc in all the ways that build scripts do and hands the answers to the program.
const BUILD: &str = r#"use std::{env, io::Write, path::PathBuf, process::{Command, Stdio}};

fn rustc() -> Command {
    let rustc = env::var_os("RUSTC").unwrap();
    match env::var_os("RUSTC_WRAPPER").filter(|wrapper| !wrapper.is_empty()) {
        Some(wrapper) => { let mut command = Command::new(wrapper); command.arg(rustc); command }
        None => Command::new(rustc),
    }
}

fn answer(mut command: Command, stdin: &str) -> String {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("|");
    format!("{:?} {} {}", output.status.code(), text(output.stdout), text(output.stderr))
}

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap());
    let mut answers = Vec::new();
    for source in ["pub fn f() -> Option<u8> { Some(1) }", "pub fn f() -> Missing { }"] {
        let mut stdin = rustc();
        stdin.args(["--crate-name", "probe", "--crate-type=lib", "--emit=metadata", "-"]).arg("--out-dir").arg(&out);
        answers.push(answer(stdin, source));
        let mut to_file = rustc();
        to_file.args(["--crate-type=lib", "--emit=metadata", "-o"]).arg(out.join("probe-o")).arg("-");
        answers.push(answer(to_file, source));
        let mut llvm = rustc();
        llvm.args(["--crate-name", "autocfg_1", "--crate-type=lib", "--emit=llvm-ir", "-"]).arg("--out-dir").arg(&out);
        answers.push(answer(llvm, source));
        // autocfg takes its output away at once: that must not keep the answer from being stored.
        assert_eq!(std::fs::remove_file(out.join("autocfg_1.ll")).is_ok(), source.contains("Some"), "the output was in place");
        let mut file = rustc();
        std::fs::create_dir_all(out.join("probe")).unwrap();
        std::fs::write(out.join("probe/probe.rs"), source).unwrap();
        file.args(["--crate-name=file", "--crate-type=lib", "--edition=2021", "--emit=dep-info,metadata"]).arg("--out-dir").arg(out.join("probe")).arg(out.join("probe/probe.rs"));
        answers.push(answer(file, ""));
    }
    assert!(out.join("libprobe.rmeta").exists() && out.join("probe-o").exists(), "outputs are in place");
    for question in [&["--version"][..], &["-vV"], &["--print=cfg"], &["--print", "sysroot"]] {
        let mut query = rustc();
        query.args(question);
        answers.push(answer(query, ""));
    }
    println!("cargo::rustc-env=ANSWERS={}", answers.join(";;"));
}
"#;

const MAIN: &str = "fn main() { println!(\"{}\", env!(\"ANSWERS\")); }\n";
/// Probes that [`BUILD`] sends, queries apart.
const PROBES: u64 = 8;

#[test]
fn answers_are_rustcs_own_when_compiled_and_when_restored() {
    let machine = Machine::new();
    let project = samples::program(machine.path("a"), MAIN);
    project.write("build.rs", BUILD);
    machine.plain(project.path()).args(["build"]).ok();
    let plain = run(project.file("target/debug/prog"));
    assert!(plain.contains("Some(1)") && plain.contains("Some(0)") && plain.contains("E0412") | plain.contains("E0425"), "{plain}");

    project.remove("target");
    let cold = machine.build(&project, &["build"]);
    assert_eq!(run(project.file("target/debug/prog")), plain);
    assert_eq!((cold.bypass, cold.all()), (0, PROBES + 2), "{:?}", machine.stats().bypass_reasons);

    project.remove("target");
    machine.restores(&project, &["build"]);
    assert_eq!(run(project.file("target/debug/prog")), plain);

    // In another checkout the program itself may be compiled (answers name its directory), probes may not.
    let other = project.copy_to(machine.path("b"));
    let seen = machine.build(&other, &["build"]);
    assert!(seen.hits() > PROBES && seen.bypass == 0 && seen.failed == 0, "{seen:?}");
}

#[test]
fn queries_are_answered_from_memory() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("a"));
    machine.build(&project, &["build"]);
    let before = machine.stats();
    project.remove("target");
    machine.restores(&project, &["build"]);
    let after = machine.stats();
    assert!(after.queries_answered > before.queries_answered);
}

/// `rustc ARGS…` through the shim, as somebody in that directory would call it who is a build script.
fn probing(machine: &Machine, directory: &std::path::Path, args: &[&str]) -> Cargo {
    let rustc = machine.plain(directory).program("rustup").args(["which", "rustc"]).ok().stdout;
    let shim = machine.plain(directory).program(Binaries::get().shim()).args([rustc.trim()]).args(args.iter().copied());
    ["OUT_DIR", "TARGET", "HOST", "NUM_JOBS"].into_iter().fold(shim, |shim, name| shim.env(name, directory.join("out")))
}

#[test]
fn what_an_earlier_probe_left_is_no_answer_of_the_next() {
    let machine = Machine::new();
    let project = Project::with(machine.path("a"), &[("a.rs", "pub mod x {}\n"), ("b.rs", "mod c; pub fn f( {}\n"), ("c.rs", "")]);
    std::fs::create_dir(project.file("out")).unwrap();
    let probe = |source: &str, out: &str| {
        let args = ["--crate-name=pr", "--crate-type=lib", "--emit=dep-info,metadata", "--out-dir", out, source];
        probing(&machine, project.path(), &args).run().status.code()
    };
    assert_eq!((probe("a.rs", "out"), probe("b.rs", "out")), (Some(0), Some(1)));
    project.write("b.rs", "mod c; pub fn f() {}\n");
    assert_eq!(probe("b.rs", "out"), Some(0), "the failure was not that of a.rs's contents");

    project.write("b.rs", "mod c; pub fn f() -> Nothing {}\n");
    std::fs::create_dir(project.file("clean")).unwrap();
    assert_eq!((probe("a.rs", "out"), probe("b.rs", "out"), probe("b.rs", "clean")), (Some(0), Some(1), Some(1)));
    assert!(!project.file("clean/libpr.rmeta").exists(), "b.rs has no metadata");
}

#[test]
fn a_failure_that_is_not_the_sources_is_not_remembered() {
    let machine = Machine::new();
    let project = Project::with(machine.path("a"), &[("a.rs", "pub fn f() {}\n"), ("b.rs", "mod c;\npub fn f() {}\n")]);
    let probe = |source: &str, out: &str| {
        let args = ["--crate-name=pr", "--crate-type=lib", "--emit=dep-info,metadata", "--out-dir", out, source];
        probing(&machine, project.path(), &args).run().status.code()
    };
    assert_eq!(probe("a.rs", "out"), Some(1), "there is no such directory");
    std::fs::create_dir(project.file("out")).unwrap();
    assert_eq!(probe("a.rs", "out"), Some(0));
    assert_eq!(probe("b.rs", "out"), Some(1), "there is no c.rs");
    project.write("c.rs", "");
    assert_eq!(probe("b.rs", "out"), Some(0));
}

#[test]
fn another_source_on_standard_input_is_another_probe() {
    let machine = Machine::new();
    let rustc = machine.plain(std::path::Path::new("/")).program("sh");
    let shim = kache_testkit::Binaries::get().shim();
    let out = machine.path("out");
    std::fs::create_dir(&out).unwrap();
    let ask = |source: &str| {
        let script = format!(
            "echo '{source}' | {} $(rustup which rustc) --crate-type=lib --crate-name p --emit=metadata --out-dir {} -",
            shim.display(),
            out.display()
        );
        rustc.clone().at(&out).args(["-c".to_owned(), script]).run().status.success()
    };
    for _ in 0..2 {
        assert!(ask("pub fn f() {}"));
        assert!(!ask("pub fn f() -> Nothing {}"));
        assert!(ask("pub fn g() {}"));
    }
}
