//! Invocations out of the ordinary: cached where they are understood, bypassed with a named reason where not, and right in either case.

use crate::odd_inputs::rustc;
use kache_testkit::{Built, Cargo, Machine, Outcomes, Project, run, samples};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Names of the files that a build left in `deps`.
fn names(project: &Project) -> BTreeSet<String> {
    let entries = fs::read_dir(project.file("target/debug/deps")).unwrap();
    let files = entries.map(|entry| entry.unwrap()).filter(|entry| entry.path().is_file());
    files.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

/// Builds by plain cargo, then twice from scratch through kache: each time the program works, and the same files are there. Tells
/// what the second build through kache counted.
fn check(machine: &Machine, project: &Project, prepare: impl Fn(Cargo) -> Cargo) -> Outcomes {
    let build = |cargo: Cargo| {
        project.remove("target");
        prepare(cargo).ok();
        (names(project), run(project.file("target/debug/prog")))
    };
    let plain = build(machine.plain(project.path()));
    assert_eq!(build(machine.cargo(project)), plain, "the first time");
    let (second, seen) = machine.watch(|| build(machine.cargo(project)));
    assert_eq!(second, plain, "the second time");
    seen
}

#[test]
fn separate_debug_files_are_there() {
    for kind in ["unpacked", "packed"] {
        let machine = Machine::new();
        let project = samples::pair(machine.path("a"));
        let seen = check(&machine, &project, |cargo| {
            cargo.args(["build"]).env("CARGO_PROFILE_DEV_DEBUG", "2").env("CARGO_PROFILE_DEV_SPLIT_DEBUGINFO", kind)
        });
        assert_eq!((seen.miss, seen.bypass), (0, 0), "{kind}: {seen:?}");
    }
}

#[test]
fn extra_kinds_of_output_are_there() {
    for extra in ["--emit=asm", "--emit=llvm-ir", "--emit=obj", "--emit=mir", "--emit=llvm-bc", "-Csave-temps"] {
        let machine = Machine::new();
        let project = samples::pair(machine.path("a"));
        let seen = check(&machine, &project, |cargo| cargo.args(["rustc", "--bin", "prog", "--", extra]));
        assert_eq!(seen.miss, 0, "{extra}: {seen:?}");
        let reasons = machine.stats().bypass_reasons;
        assert_eq!(reasons.values().sum::<u64>(), machine.stats().outcomes.bypass, "every bypass has a reason: {reasons:?}");
    }
}

#[test]
fn a_foreign_workspace_wrapper_is_a_named_bypass_of_members_only() {
    let machine = Machine::new();
    let project = samples::full(machine.path("a"));
    project.write("wrapper.sh", "#!/bin/sh\nexec \"$@\"\n");
    fs::set_permissions(project.file("wrapper.sh"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    machine.cargo(&project).args(["build", "-p", "app"]).env("RUSTC_WORKSPACE_WRAPPER", project.file("wrapper.sh")).ok();
    assert_eq!(run(project.file("target/debug/app")), samples::FULL_REPORT);
    let stats = machine.stats();
    assert!(stats.bypass_reasons.get("unknown_wrapper").is_some_and(|count| *count >= 4), "{:?}", stats.bypass_reasons);
    assert!(stats.outcomes.miss >= 2, "registry crates are cached: {:?}", stats.outcomes);
}

#[test]
fn arguments_in_a_file_are_expanded() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("a"));
    let features: String = (0..9000).map(|number| format!("feature-number-{number} = []\n")).collect();
    project.append("below/Cargo.toml", &format!("[features]\n{features}"));
    machine.build(&project, &["build"]);
    project.remove("target");
    machine.restores(&project, &["build"]);
    assert_eq!(run(project.file("target/debug/prog")), "1\n");
    project.append("below/Cargo.toml", "one-more = []\n").remove("target");
    assert!(machine.build(&project, &["build"]).miss > 0, "the expansion is in the key");
}

/// A program that prints what a C function says; the function's archive is found by flags of the test's choice.
pub(crate) fn with_archive(machine: &Machine) -> Project {
    samples::program(
        machine.path("a"),
        "unsafe extern \"C\" { fn number() -> i32; }\nfn main() { println!(\"{}\", unsafe { number() }); }\n",
    )
}

/// Makes `libnumber.a` in that directory.
pub(crate) fn archive(machine: &Machine, directory: &Path, number: u32) {
    fs::create_dir_all(directory).unwrap();
    let script = format!(
        "echo 'int number(void) {{ return {number}; }}' | cc -x c -c -o n.o - && rm -f libnumber.a && ar crsD libnumber.a n.o && rm n.o"
    );
    machine.plain(directory).program("sh").args(["-c", &script]).ok();
}

#[test]
fn an_archive_named_by_a_linker_argument_counts_by_content() {
    let machine = Machine::new();
    let project = with_archive(&machine);
    let flags = format!("-C link-arg={}", project.file("lib/libnumber.a").display());
    for number in [1, 2, 1] {
        archive(&machine, &project.file("lib"), number);
        project.remove("target");
        machine.cargo(&project).args(["build"]).env("RUSTFLAGS", &flags).ok();
        assert_eq!(run(project.file("target/debug/prog")), format!("{number}\n"));
    }
}

#[test]
fn a_library_that_appears_earlier_on_the_search_path_counts() {
    let machine = Machine::new();
    let project = with_archive(&machine);
    archive(&machine, &project.file("late"), 1);
    fs::create_dir_all(project.file("early")).unwrap();
    let flags = format!("-L native={} -L native={} -l static=number", project.file("early").display(), project.file("late").display());
    let build = || {
        project.remove("target");
        machine.cargo(&project).args(["build"]).env("RUSTFLAGS", &flags).ok();
        run(project.file("target/debug/prog"))
    };
    assert_eq!(build(), "1\n");
    archive(&machine, &project.file("early"), 2);
    assert_eq!(build(), "2\n");
    project.remove("early/libnumber.a");
    assert_eq!(build(), "1\n");
}

#[test]
fn an_archive_that_only_the_source_names_counts() {
    let machine = Machine::new();
    let project = with_archive(&machine);
    project.edit("src/main.rs", "unsafe extern", "#[link(name = \"number\", kind = \"static\")]\nunsafe extern");
    let flags = format!("-L native={}", project.file("lib").display());
    for number in [1, 2, 1] {
        archive(&machine, &project.file("lib"), number);
        project.remove("target");
        machine.cargo(&project).args(["build"]).env("RUSTFLAGS", &flags).ok();
        assert_eq!(run(project.file("target/debug/prog")), format!("{number}\n"));
    }
}

#[test]
fn a_linker_script_counts_by_content() {
    let machine = Machine::new();
    let project = samples::program(
        machine.path("a"),
        "unsafe extern \"C\" { static MARK: u8; }\nfn main() { println!(\"{}\", (&raw const MARK) as usize); }\n",
    );
    let flags = format!("-C link-arg=-Wl,{} -C link-arg=-no-pie -C relocation-model=static", project.file("mark.ld").display());
    for mark in [4096, 8192, 4096] {
        project.write("mark.ld", format!("MARK = {mark};\n")).remove("target");
        machine.cargo(&project).args(["build"]).env("RUSTFLAGS", &flags).ok();
        assert_eq!(run(project.file("target/debug/prog")), format!("{mark}\n"));
    }
}

#[test]
fn another_linker_of_the_same_name_counts() {
    let machine = Machine::new();
    let project = samples::program(machine.path("a"), "fn main() { println!(\"linked\"); }\n");
    let linker = project.file("linker.sh");
    let install = |note: &str| {
        project.write("linker.sh", format!("#!/bin/sh\n: {note}\nexec cc \"$@\" -Wl,--defsym=kt_{note}=1\n"));
        fs::set_permissions(&linker, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    };
    for note in ["one", "two"] {
        install(note);
        project.remove("target");
        machine.cargo(&project).args(["build"]).env("RUSTFLAGS", format!("-C linker={}", linker.display())).ok();
        let symbols = machine.plain(project.path()).program("nm").args(["target/debug/prog"]).ok().stdout;
        assert!(symbols.contains(&format!("kt_{note}")), "linked by {note}");
    }
}

#[test]
fn coverage_is_restored_in_place_and_never_shared_between_paths() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("a"));
    let coverage = |project: &Project| {
        let cargo = machine.cargo(project).args(["build"]).env("RUSTFLAGS", "-C instrument-coverage");
        machine.watch(|| cargo.ok()).1
    };
    coverage(&project);
    project.remove("target");
    assert_eq!(coverage(&project).compiled(), 0);
    let other = project.copy_to(machine.path("b"));
    assert_eq!(coverage(&other).hits(), 0, "coverage maps name absolute paths");
}

#[test]
fn another_output_directory_is_spoken_of_by_its_own_name() {
    let machine = Machine::new();
    let project = Project::with(machine.path("a"), &[("m.rs", "pub fn f() {}\n")]);
    let absolute = project.file("three").display().to_string();
    for dir in ["one", "two", &absolute] {
        fs::create_dir(project.file(dir)).unwrap();
        let common = ["--crate-type=lib", "--emit=dep-info,link", "--error-format=json", "--json=artifacts", "--out-dir", dir, "m.rs"];
        for round in ["compiled", "restored"] {
            let (built, seen) = machine.watch(|| rustc(&machine, project.path(), &common).ok());
            machine.settle();
            assert_eq!((seen.miss, seen.hits()), if round == "compiled" { (1, 0) } else { (0, 1) }, "{dir}: {seen:?}");
            assert!(built.stderr.contains(&format!("\"{dir}/libm.rlib\"")), "{round} in {dir}: {}", built.stderr);
            let dep_info = project.read(&format!("{dir}/m.d"));
            assert!(dep_info.starts_with(&format!("{dir}/m.d: m.rs\n")), "{round} in {dir}: {dep_info}");
            fs::remove_file(project.file(dir).join("m.d")).unwrap();
        }
    }
}

#[test]
fn a_missing_output_directory_is_the_error_that_it_is() {
    let machine = Machine::new();
    let project = Project::with(machine.path("a"), &[("m.rs", "pub fn f() {}\n")]);
    let compile = rustc(&machine, project.path(), &["--crate-type=lib", "--emit=dep-info,metadata", "--out-dir=out", "m.rs"]);
    fs::create_dir(project.file("out")).unwrap();
    compile.ok();
    machine.settle();
    project.remove("out");
    assert_eq!(compile.fails().stderr, rustc_alone(&machine, &compile).stderr);
}

#[test]
fn a_variable_that_is_no_text_is_not_an_unset_one() {
    let machine = Machine::new();
    let project = Project::with(machine.path("a"), &[("m.rs", "pub const X: Option<&str> = option_env!(\"ODD\");\n")]);
    let compile = rustc(&machine, project.path(), &["--crate-type=lib", "--emit=dep-info,metadata", "--out-dir=.", "m.rs"]);
    let odd = compile.clone().env("ODD", <std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(vec![0xff]));
    compile.ok();
    machine.settle();
    assert_eq!(odd.fails().stderr, rustc_alone(&machine, &odd).stderr);
    assert_eq!(machine.watch(|| compile.ok()).1.hits(), 1);
}

/// The same without kache.
fn rustc_alone(machine: &Machine, compile: &Cargo) -> Built {
    machine.stop();
    let built = compile.run();
    machine.start();
    built
}

#[test]
fn docs_and_doc_tests_work_through_kache() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("a"));
    project.append("below/src/lib.rs", "/// ```\n/// assert_eq!(below::documented(), 3);\n/// ```\npub fn documented() -> u32 { 3 }\n");
    for _ in 0..2 {
        machine.cargo(&project).args(["doc", "--workspace"]).ok();
        assert!(project.file("target/doc/below/fn.documented.html").exists());
        let tested = machine.cargo(&project).args(["test", "--workspace"]).ok();
        assert!(tested.stdout.contains("documented"), "{}", tested.stdout);
        project.remove("target");
    }
}

#[test]
fn a_wrapper_in_front_of_kache_keeps_working() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("a"));
    let shim = kache_testkit::Binaries::get().shim();
    project.write("front.sh", format!("#!/bin/sh\nexec {} \"$@\"\n", shim.display()));
    fs::set_permissions(project.file("front.sh"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let cargo = machine.cargo(&project).args(["build"]).env("RUSTC_WRAPPER", project.file("front.sh"));
    cargo.ok();
    project.remove("target");
    let (_, seen) = machine.watch(|| cargo.ok());
    assert_eq!((seen.hits(), seen.compiled()), (2, 0));
}

#[test]
fn kache_around_kache_counts_once() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("a"));
    let shim = kache_testkit::Binaries::get().shim();
    project.write("twice.sh", format!("#!/bin/sh\nexec {0} {0} \"$@\"\n", shim.display()));
    fs::set_permissions(project.file("twice.sh"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    machine.cargo(&project).args(["build"]).env("RUSTC_WRAPPER", project.file("twice.sh")).ok();
    assert_eq!(run(project.file("target/debug/prog")), "1\n");
}

#[test]
fn a_crate_found_only_on_a_search_path_counts_by_content() {
    let machine = Machine::new();
    let project = Project::with(
        machine.path("a"),
        &[
            ("hidden.rs", "pub fn value() -> u32 { 1 }\n"),
            ("main.rs", "extern crate hidden;\nfn main() { println!(\"{}\", hidden::value()); }\n"),
        ],
    );
    let sysroot = machine.plain(project.path()).program("rustc").args(["--print=sysroot"]).ok().stdout;
    let rustc = format!("{}/bin/rustc", sysroot.trim());
    let shim = kache_testkit::Binaries::get().shim();
    for value in [1, 2, 1] {
        project.write("hidden.rs", format!("pub fn value() -> u32 {{ {value} }}\n"));
        machine.plain(project.path()).program(&rustc).args(["--crate-type=lib", "hidden.rs"]).ok();
        machine
            .plain(project.path())
            .program(&shim)
            .args([
                rustc.as_str(),
                "--crate-name",
                "main",
                "--edition=2024",
                "--emit=dep-info,link",
                "--out-dir",
                ".",
                "-L",
                ".",
                "main.rs",
            ])
            .ok();
        assert_eq!(run(project.file("main")), format!("{value}\n"));
    }
}
