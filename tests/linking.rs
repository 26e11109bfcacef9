//! What people tell the linker, and where they want debug information: cached, right in each checkout, and each tool counts by content.

use crate::odd_inputs::rustc;
use kache_testkit::{Cargo, Machine, Project, run, samples};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Words that no file stands behind, in one build: the macro and all above it are cached.
#[test]
fn harmless_words_for_the_linker_leave_everything_cached() {
    let machine = Machine::new();
    for flags in [
        "-Clink-arg=-Wl,--disable-new-dtags,--exclude-libs,ALL -Clink-arg=-Wl,-z,stack-size=8388608 -Crpath",
        "-Clink-arg=-fuse-ld=bfd -Clink-arg=-Wl,--sort-section=alignment,--no-keep-memory -Clink-arg=-O2",
        "-Clink-arg=-fuse-ld=lld -Clink-arg=-Wl,--icf=all,--color-diagnostics,--threads=1",
    ] {
        let project = samples::full(machine.path("a"));
        let build = || machine.watch(|| machine.cargo(&project).args(["build", "-p", "app"]).env("RUSTFLAGS", flags).ok());
        let (_, first) = build();
        // Neither every compiler brings lld along, nor every system.
        assert_eq!(first.bypass, 0, "{flags}: {:?}", machine.stats().bypass_reasons);
        machine.settle();
        project.remove("target");
        let (_, second) = build();
        assert_eq!((second.compiled(), run(project.file("target/debug/app"))), (0, samples::FULL_REPORT.to_owned()), "{flags}: {second:?}");
        let (_, third) = build();
        assert_eq!(third, Default::default(), "{flags}: fresh");
        project.remove("target");
    }
}

/// `cargo build` through kache with these flags for rustc.
fn build(machine: &Machine, project: &Project, flags: &str) -> kache_testkit::Outcomes {
    let (_, seen) = machine.watch(|| machine.cargo(project).args(["build"]).env("RUSTFLAGS", flags).ok());
    machine.settle();
    seen
}

#[test]
fn a_linker_in_a_directory_that_the_driver_is_told_of_counts_by_content() {
    let machine = Machine::new();
    let project = samples::program(machine.path("a"), "fn main() { println!(\"built\"); }\n");
    let tool = machine.path("tools/ld.bfd");
    fs::create_dir_all(tool.parent().unwrap()).unwrap();
    let flags = format!("-Clink-arg=-B{} -Clink-arg=-fuse-ld=bfd", tool.parent().unwrap().display());
    let mut programs = Vec::new();
    for (id, misses) in [("0x01", 1), ("0x01", 0), ("0x02", 1), ("0x01", 0)] {
        fs::write(&tool, format!("#!/bin/sh\nexec $(PATH=/usr/bin command -v ld.bfd) \"$@\" --build-id={id}\n")).unwrap();
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
        project.remove("target");
        let seen = build(&machine, &project, &flags);
        assert_eq!((seen.miss, seen.bypass), (misses, 0), "{id}: {seen:?}");
        programs.push(fs::read(project.file("target/debug/prog")).unwrap());
    }
    assert!(programs[0] != programs[2] && programs[0] == programs[3], "it is this linker that links");
}

/// `rust-lld` is on nobody's `PATH`: rustc finds it beside itself.
#[test]
fn a_linker_that_comes_with_the_toolchain_is_known_by_its_name() {
    let machine = Machine::new();
    let source = "#![no_std]\n#[panic_handler]\nfn stop(_: &core::panic::PanicInfo) -> ! { loop {} }\n";
    let project = samples::program(machine.path("a"), source);
    let args =
        ["--crate-name=x", "--crate-type=cdylib", "--emit=dep-info,link", "--out-dir=out", "-Cpanic=abort", "-Clinker-flavor=ld.lld"];
    let compile = rustc(&machine, project.path(), &args).args(["-Clinker=rust-lld", "src/main.rs"]);
    for misses in [1, 0] {
        project.remove("out").write("out/keep", "");
        let (_, seen) = machine.watch(|| compile.ok());
        machine.settle();
        assert_eq!((seen.miss, seen.bypass), (misses, 0), "{seen:?} {:?}", machine.stats().bypass_reasons);
        assert!(project.file("out/libx.so").is_file());
    }
}

/// The way from the program to the toolchain's libraries is another one where the target directory stands at another depth.
#[test]
fn a_program_with_an_rpath_finds_its_libraries_from_where_it_is() {
    let machine = Machine::new();
    let flags = "-Crpath -Cprefer-dynamic";
    for (place, misses) in [("a", 1), ("b", 0), ("deep/er", 1), ("deep/est", 0)] {
        let project = samples::program(machine.path(place), "fn main() { println!(\"built\"); }\n");
        let seen = build(&machine, &project, flags);
        assert_eq!((seen.miss, seen.bypass), (misses, 0), "{place}: {seen:?}");
        // In an environment that says nothing about libraries.
        let said = machine.plain(project.path()).program(project.file("target/debug/prog")).ok().stdout;
        assert_eq!(said, "built\n", "{place}");
    }
}

/// The debug objects that a program names.
fn named_debug_objects(program: &Path) -> Vec<PathBuf> {
    let bytes = fs::read(program).unwrap();
    let texts = bytes.split(|byte| *byte == 0).filter_map(|text| std::str::from_utf8(text).ok());
    texts.filter(|text| text.ends_with(".rcgu.dwo")).map(PathBuf::from).collect()
}

/// Debuggers and backtraces look for unpacked debug information under the full path that the program names: after a restore it is there, and
/// in another checkout it isn't the first one's.
#[test]
fn unpacked_debug_information_is_restored_and_found() {
    for incremental in ["false", "true"] {
        let machine = Machine::new();
        let cargo = |project: &Project| -> Cargo {
            let cargo = machine.cargo(project).args(["build"]).env("CARGO_PROFILE_DEV_DEBUG", "2");
            cargo.env("CARGO_PROFILE_DEV_INCREMENTAL", incremental).env("CARGO_PROFILE_DEV_SPLIT_DEBUGINFO", "unpacked")
        };
        let check = |project: &Project| {
            let named = named_debug_objects(&project.file("target/debug/prog"));
            assert!(named.len() >= 2, "the program and its library: {named:?}");
            for path in &named {
                assert!(path.starts_with(project.path()) && path.is_file(), "{}", path.display());
            }
            assert_eq!(run(project.file("target/debug/prog")), "1\n");
            named.iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>()
        };
        let build = |project: &Project| {
            let (_, seen) = machine.watch(|| cargo(project).ok());
            machine.settle();
            seen
        };
        let (one, two) = (samples::pair(machine.path("a")), samples::pair(machine.path("b")));
        assert_eq!(build(&one).bypass, 0);
        let made = check(&one);
        one.remove("target");
        let seen = build(&one);
        assert_eq!((seen.compiled(), seen.hits()), (0, 2), "{incremental}: {seen:?}");
        assert_eq!(check(&one), made);
        assert_eq!(build(&one), Default::default(), "fresh");
        build(&two);
        check(&two);
        // What an earlier compile left isn't taken for what this one made.
        one.edit("below/src/lib.rs", "1", "1 + 0 * 2");
        build(&one);
        one.remove("target");
        assert_eq!(build(&one).compiled(), 0);
        check(&one);
        assert!(machine.stats().bypass_reasons.is_empty());
    }
}

#[test]
fn packed_debug_information_is_restored_in_every_checkout() {
    let machine = Machine::new();
    let build = |project: &Project| {
        let cargo = machine.cargo(project).args(["build"]).env("CARGO_PROFILE_DEV_DEBUG", "2");
        let (_, seen) = machine.watch(|| cargo.env("CARGO_PROFILE_DEV_SPLIT_DEBUGINFO", "packed").ok());
        machine.settle();
        (seen, fs::read(project.file("target/debug/prog.dwp")).expect("beside the program, where Cargo puts it"))
    };
    let (one, two) = (samples::pair(machine.path("a")), samples::pair(machine.path("b")));
    let (first, package) = build(&one);
    assert_eq!((first.bypass, package.is_empty()), (0, false), "{first:?}");
    let (second, again) = build(&two);
    assert_eq!((second.compiled(), second.hits(), again == package), (0, 2, true), "{second:?}");
}

/// A commit's time in the environment (docker buildx, Debian, Nix) isn't read by anything that makes these files.
#[test]
fn another_source_date_restores_everything() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("a"));
    for (date, misses) in [("1700000000", 2), ("1700000100", 0)] {
        project.remove("target");
        let (_, seen) = machine.watch(|| machine.cargo(&project).args(["build"]).env("SOURCE_DATE_EPOCH", date).ok());
        machine.settle();
        assert_eq!((seen.miss, seen.bypass), (misses, 0), "{date}: {seen:?}");
    }
}
