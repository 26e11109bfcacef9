//! The perturbation oracle: prove a full-hit build, change exactly one input, and require that what the cache then gives is what
//! plain cargo gives from scratch.
//!
//! The subject prints everything that it was made from, so its output (or rustc's error) tells one build from another. Every kind of
//! input of the key and of the input sets has a row. A row may name a kind that must change the output, so that the
//! oracle itself can't go blind.

use kache_testkit::{Cargo, Machine, Project, run, samples};

/// One input that is changed: its name, whether the outcome must differ from the base's, and how.
struct Change {
    name: &'static str,
    visible: bool,
    files: fn(&Project) -> &Project,
    cargo: fn(Cargo) -> Cargo,
}

const NOTHING: fn(&Project) -> &Project = |project| project;
const AS_IT_IS: fn(Cargo) -> Cargo = |cargo| cargo;

const fn file(name: &'static str, files: fn(&Project) -> &Project) -> Change {
    Change { name, visible: true, files, cargo: AS_IT_IS }
}

const fn flag(name: &'static str, cargo: fn(Cargo) -> Cargo) -> Change {
    Change { name, visible: true, files: NOTHING, cargo }
}

const fn silent(name: &'static str, files: fn(&Project) -> &Project, cargo: fn(Cargo) -> Cargo) -> Change {
    Change { name, visible: false, files, cargo }
}

/// The base environment of every build here.
fn base(cargo: Cargo) -> Cargo {
    cargo.env("SUBJECT_EMPTY", "").env("SUBJECT_SET", "one").args(["build", "-j2"])
}

fn subject(machine: &Machine) -> Project {
    Project::with(
        machine.path("subject"),
        &[
            ("Cargo.toml", ROOT),
            ("build.rs", BUILD),
            ("declared.txt", "declared"),
            ("native.c", "int native_value(void) { return 3; }\n"),
            ("src/main.rs", MAIN),
            ("src/a.rs", "pub const N: &str = \"a\";\n"),
            ("src/b.rs", "pub const N: &str = \"b\";\n"),
            ("src/pathed/odd name.rs", "pub const N: &str = \"pathed\";\n"),
            ("src/text.txt", "text"),
            ("src/bytes.bin", "\u{0}bytes"),
            ("src/included.in", "\"included\"\n"),
            ("mac/Cargo.toml", &samples::package("mac", "[lib]\nproc-macro = true\n")),
            ("mac/src/lib.rs", MACRO),
            ("mid/Cargo.toml", &samples::package("mid", "[features]\nextra = []\n[dependencies]\nmac = { path = \"../mac\" }\n")),
            ("mid/src/lib.rs", MID),
        ],
    )
}

const ROOT: &str = r#"[package]
name = "prog"
version = "1.2.3"
edition = "2021"
description = "first"
authors = ["somebody"]

[features]
extra = ["mid/extra"]

[dependencies]
mid = { path = "mid" }

[workspace]
members = ["mid", "mac"]

[lints.rust]
unused_variables = "warn"

[profile.dev]
debug = 0
incremental = false
"#;

const BUILD: &str = r#"use std::{env, fs, path::{Path, PathBuf}, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=declared.txt");
    println!("cargo::rerun-if-changed=native.c");
    println!("cargo::rustc-check-cfg=cfg(scripted, values(any()))");
    let declared = fs::read_to_string("declared.txt").unwrap();
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap());
    fs::write(out.join("generated.rs"), format!("pub const GENERATED: &str = {declared:?};\n")).unwrap();
    println!("cargo::rustc-env=SCRIPTED={}", declared.len());
    println!("cargo::rustc-cfg=scripted=\"{}\"", declared.len() % 2);
    let ok = |command: &mut Command| assert!(command.status().unwrap().success());
    ok(Command::new("cc").args(["-c", "native.c", "-o"]).arg(out.join("native.o")));
    let _ = fs::remove_file(out.join("libnative.a"));
    ok(Command::new("ar").args(["crsD"]).arg(out.join("libnative.a")).arg(out.join("native.o")));
    println!("cargo::rustc-link-search=native={}", Path::new(&out).display());
    println!("cargo::rustc-link-lib=static=native");
}
"#;

const MACRO: &str = r#"use proc_macro::TokenStream;

/// Native code and an untracked variable of the crate that it is expanded in.
#[proc_macro]
pub fn report(_: TokenStream) -> TokenStream {
    format!("{:?}", format!("macro one {} {}", std::env::var("CARGO_PKG_DESCRIPTION").unwrap_or_default(), std::env::var("CARGO_PKG_VERSION").unwrap())).parse().unwrap()
}
"#;

const MID: &str = r#"pub use mac::report;
#[macro_export]
macro_rules! mid_macro { () => { "mid macro" } }
pub const EXTRA: bool = cfg!(feature = "extra");
pub const ASSERTIONS: bool = cfg!(debug_assertions);
pub const fn number() -> u32 { 11 }
pub fn generic<T: std::fmt::Debug>(value: T) -> String { format!("generic {value:?}") }
"#;

const MAIN: &str = r#"mod a;
mod b;
#[path = "pathed/odd name.rs"]
mod pathed;
mod generated { include!(concat!(env!("OUT_DIR"), "/generated.rs")); }
unsafe extern "C" { fn native_value() -> i32; }

macro_rules! included { ($name:literal) => { include!($name) } }

fn main() {
    println!("{} {} {}", a::N, b::N, pathed::N);
    println!("{} {:?} {}", include_str!("text.txt"), include_bytes!("bytes.bin"), included!("included.in"));
    println!("{} {} {}", generated::GENERATED, env!("SCRIPTED"), cfg!(scripted = "0"));
    println!("{} {} {} {}", mid::report!(), mid::mid_macro!(), mid::EXTRA, mid::ASSERTIONS);
    println!("{} {}", mid::number(), mid::generic(1));
    println!("{:?} {:?} {:?}", option_env!("SUBJECT_UNSET"), option_env!("SUBJECT_EMPTY"), option_env!("SUBJECT_SET"));
    println!("{} {} {}", env!("CARGO_PKG_VERSION"), env!("CARGO_PKG_AUTHORS"), env!("CARGO_PKG_DESCRIPTION"));
    println!("{} {} {}", cfg!(panic = "abort"), cfg!(debug_assertions), cfg!(target_feature = "avx2"));
    println!("{} {} {}", cfg!(one), cfg!(two), cfg!(two = "x y"));
    println!("{} {}", overflows(), std::any::type_name_of_val(&main));
    println!("{} {} {} {}", file!(), line!(), column!(), module_path!());
    println!("{}", unsafe { native_value() });
    let unused = 1;
}

fn overflows() -> bool {
    std::panic::set_hook(Box::new(|_| {}));
    let big = std::hint::black_box(u8::MAX);
    cfg!(panic = "unwind") && std::panic::catch_unwind(|| big + 1).is_err()
}
"#;

const SOURCES: [Change; 17] = [
    file("a module", |p| p.edit("src/a.rs", "\"a\"", "\"A\"")),
    file("two modules swapped", |p| {
        let (a, b) = (p.read("src/a.rs"), p.read("src/b.rs"));
        p.write("src/a.rs", b).write("src/b.rs", a)
    }),
    file("a module with a path of its own", |p| p.edit("src/pathed/odd name.rs", "pathed", "changed")),
    silent("a module moved into a directory", |p| p.rename("src/a.rs", "src/a/mod.rs"), AS_IT_IS),
    file("a module's twin", |p| p.write("src/a/mod.rs", "pub const N: &str = \"twin\";\n")),
    file("a module removed", |p| p.remove("src/b.rs")),
    file("an included text", |p| p.write("src/text.txt", "other")),
    file("included bytes", |p| p.write("src/bytes.bin", [1, 2, 3])),
    file("an included expression", |p| p.write("src/included.in", "\"other\"\n")),
    file("what the build script generates", |p| p.write("declared.txt", "Declared")),
    file("what the build script says", |p| p.write("declared.txt", "declared!")),
    file("the build script", |p| p.edit("build.rs", "declared.len()", "(declared.len() + 1)")),
    file("a native library", |p| p.edit("native.c", "return 3", "return 4")),
    file("a macro's native code", |p| p.edit("mac/src/lib.rs", "macro one", "macro two")),
    file("a dependency's macro", |p| p.edit("mid/src/lib.rs", "mid macro", "another")),
    file("a dependency's generic code", |p| p.edit("mid/src/lib.rs", "generic {", "Generic {")),
    file("a dependency's constant", |p| p.edit("mid/src/lib.rs", "11", "12")),
];

const MANIFESTS: [Change; 16] = [
    file("the version", |p| p.edit("Cargo.toml", "1.2.3", "1.2.4")),
    file("the description", |p| p.edit("Cargo.toml", "first", "second")),
    file("the authors", |p| p.edit("Cargo.toml", "somebody", "nobody")),
    silent("the edition", |p| p.edit("Cargo.toml", "\"2021\"", "\"2024\""), AS_IT_IS),
    file("a lint", |p| p.edit("Cargo.toml", "unused_variables = \"warn\"", "unused_variables = \"deny\"")),
    flag("a feature", |c| c.args(["--features", "extra"])),
    flag("debug assertions", |c| c.env("CARGO_PROFILE_DEV_DEBUG_ASSERTIONS", "false")),
    flag("overflow checks", |c| c.env("CARGO_PROFILE_DEV_OVERFLOW_CHECKS", "false")),
    flag("the panic strategy", |c| c.env("CARGO_PROFILE_DEV_PANIC", "abort")),
    silent("the optimisation level", NOTHING, |c| c.env("CARGO_PROFILE_DEV_OPT_LEVEL", "2")),
    silent("link-time optimisation", NOTHING, |c| c.env("CARGO_PROFILE_DEV_LTO", "thin")),
    silent("codegen units", NOTHING, |c| c.env("CARGO_PROFILE_DEV_CODEGEN_UNITS", "1")),
    silent("debug information", NOTHING, |c| c.env("CARGO_PROFILE_DEV_DEBUG", "2")),
    silent("split debug information", NOTHING, |c| {
        c.env("CARGO_PROFILE_DEV_DEBUG", "1").env("CARGO_PROFILE_DEV_SPLIT_DEBUGINFO", "unpacked")
    }),
    silent("stripping", NOTHING, |c| c.env("CARGO_PROFILE_DEV_STRIP", "symbols")),
    silent("incremental compilation", NOTHING, |c| c.env("CARGO_INCREMENTAL", "1")),
];

const FLAGS: [Change; 20] = [
    flag("a variable unset before", |c| c.env("SUBJECT_UNSET", "now")),
    flag("a variable unset before, now empty", |c| c.env("SUBJECT_UNSET", "")),
    flag("a variable empty before", |c| c.env("SUBJECT_EMPTY", "full")),
    flag("a variable empty before, now unset", |c| c.without("SUBJECT_EMPTY")),
    flag("a variable set before, now other", |c| c.env("SUBJECT_SET", "two")),
    flag("a variable set before, now unset", |c| c.without("SUBJECT_SET")),
    flag("a variable with odd bytes", |c| c.env("SUBJECT_SET", "back\\slash\nnew line\r# hash")),
    flag("a configured variable", |c| c.args(["--config", "env.SUBJECT_UNSET='configured'"])),
    flag("a cfg", |c| c.env("RUSTFLAGS", "--cfg one")),
    flag("two cfgs", |c| c.env("RUSTFLAGS", "--cfg two --cfg one")),
    flag("a cfg with a value", |c| c.env("CARGO_ENCODED_RUSTFLAGS", "--cfg\u{1f}two=\"x y\"")),
    flag("target features", |c| c.env("RUSTFLAGS", "-C target-feature=+avx2")),
    silent("the host's own processor", NOTHING, |c| c.env("RUSTFLAGS", "-C target-cpu=native")),
    flag("denied warnings", |c| c.env("RUSTFLAGS", "-D warnings")),
    silent("capped lints", NOTHING, |c| c.env("RUSTFLAGS", "--cap-lints allow")),
    flag("an unknown library", |c| c.env("RUSTFLAGS", "-l no_such_library")),
    silent("a linker argument", NOTHING, |c| c.env("RUSTFLAGS", "-C link-arg=-Wl,--build-id=sha1")),
    flag("a linker that fails", |c| c.env("RUSTFLAGS", "-C linker=false")),
    silent("a bootstrap variable", NOTHING, |c| c.env("RUSTC_BOOTSTRAP", "1")),
    silent("the source date", NOTHING, |c| c.env("SOURCE_DATE_EPOCH", "12345")),
];

/// What a build gives, from scratch: the program's output, or rustc's errors. Cargo's own words tell no paths that differ.
fn outcome(project: &Project, cargo: Cargo) -> Result<String, String> {
    project.remove("target");
    let built = cargo.run();
    if built.status.success() {
        let warned = built.stderr.matches("warning: ").count();
        return Ok(format!("{warned} warnings\n{}", run(project.file("target/debug/prog"))));
    }
    // The linker's command line holds the name of a temporary directory.
    let told = |line: &&str| line.starts_with("error") && !line.contains("could not compile");
    let mut errors: Vec<&str> = built.stderr.lines().filter(told).collect();
    errors.sort_unstable();
    Err(errors.join("\n"))
}

fn check(changes: &[Change]) {
    let machine = Machine::new();
    let project = subject(&machine);
    let plain = outcome(&project, base(machine.plain(project.path())));
    assert!(plain.is_ok(), "{plain:?}");
    assert_eq!(outcome(&project, base(machine.cargo(&project))), plain, "the base, compiled");
    let (restored, seen) = machine.watch(|| outcome(&project, base(machine.cargo(&project))));
    assert_eq!(restored, plain, "the base, restored");
    assert_eq!(seen.compiled(), 0, "a full-hit build: {seen:?} {:?}", machine.stats().bypass_reasons);
    let pristine = project.copy_to(machine.path("pristine"));
    let mut wrong = Vec::new();
    for change in changes {
        (change.files)(&project);
        let expected = outcome(&project, (change.cargo)(base(machine.plain(project.path()))));
        assert!(!change.visible || expected != plain, "{}: a change that nobody sees", change.name);
        for round in ["first", "second"] {
            let got = outcome(&project, (change.cargo)(base(machine.cargo(&project))));
            if got != expected {
                wrong.push(format!("{} ({round}): got {got:?}, not {expected:?}", change.name));
            }
        }
        for part in ["src", "mac", "mid", "build.rs", "Cargo.toml", "Cargo.lock"] {
            project.remove(part);
        }
        pristine.copy_to(project.path());
    }
    let (restored, seen) = machine.watch(|| outcome(&project, base(machine.cargo(&project))));
    assert_eq!(restored, plain, "the base at the end");
    assert_eq!(seen.compiled(), 0, "the base at the end: {seen:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn every_kind_of_source_counts() {
    check(&SOURCES);
}

#[test]
fn everything_in_the_manifest_counts() {
    check(&MANIFESTS);
}

#[test]
fn every_variable_and_flag_counts() {
    check(&FLAGS);
}

/// Another toolchain, where there is one: rustc's own version must be seen.
#[test]
fn another_toolchain_counts() {
    let machine = Machine::new();
    let listed = machine.plain("/".as_ref()).program("rustup").args(["toolchain", "list"]).run().stdout;
    let Some(other) = listed.lines().map(|line| line.split(' ').next().unwrap()).find(|name| name.starts_with("nightly")) else { return };
    let project = samples::pair(machine.path("a"));
    machine.build(&project, &["build"]);
    for toolchain in [other, "stable"] {
        project.remove("target");
        let cargo = machine.cargo(&project).args(["build"]).env("RUSTUP_TOOLCHAIN", toolchain);
        let (_, seen) = machine.watch(|| cargo.ok());
        assert_eq!(seen.miss, if toolchain == other { 2 } else { 0 }, "{toolchain}: {seen:?}");
        assert_eq!(run(project.file("target/debug/prog")), "1\n");
    }
}
