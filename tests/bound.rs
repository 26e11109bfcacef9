//! Results that spell a machine-local root: good wherever that root is the same, whatever the others are.

use crate::team::{flush, member};
use kache_testkit::{Cargo, Machine, Outcomes, Project, S3Server, run, samples};
use std::path::{Path, PathBuf};

/// Compiles C that spells where its source is, below `CARGO_HOME`, as ring and cxx do.
const SYS_BUILD: &str = r#"use std::{env, process::Command};
fn main() {
    let out = env::var("OUT_DIR").unwrap();
    let source = format!("{}/place.c", env::var("CARGO_MANIFEST_DIR").unwrap());
    let run = |program: &str, args: &[&str]| assert!(Command::new(program).args(args).status().unwrap().success());
    run("cc", &["-c", "-O1", "-o", &format!("{out}/place.o"), &source]);
    run("ar", &["rcsD", &format!("{out}/libplace.a"), &format!("{out}/place.o")]);
    println!("cargo:rustc-link-search=native={out}");
    println!("cargo:rustc-link-lib=static=place");
    println!("cargo:rerun-if-changed=place.c");
}
"#;

const SYS_LIB: &str = r#"unsafe extern "C" { fn place() -> *const std::ffi::c_char; }
pub fn source() -> String { unsafe { std::ffi::CStr::from_ptr(place()) }.to_str().unwrap().to_owned() }
"#;

/// Units of a build of `checkout`, and those of them that another `CARGO_HOME` concerns: the library, for the archive that it bundles, and what is
/// above it.
const UNITS: u64 = 4;
const CONCERNED: u64 = 3;

/// A git repository with that library, and a workspace over it: a library in between, and a program that prints the path.
fn checkout(machine: &Machine, repository: &Path, name: &str) -> Project {
    if !repository.exists() {
        let files = [
            ("Cargo.toml", samples::package("place-sys", "[workspace]\n")),
            ("build.rs", SYS_BUILD.into()),
            ("place.c", "const char *place(void) { return __FILE__; }\n".into()),
            ("src/lib.rs", SYS_LIB.into()),
        ];
        let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
        Project::with(repository, &files);
        let git = |args: &[&str]| {
            let identity = ["-c", "user.email=a@b", "-c", "user.name=n"];
            machine.plain(repository).program("git").args(identity.iter().chain(args).copied()).ok()
        };
        git(&["init", "-q"]);
        git(&["add", "-A"]);
        git(&["commit", "-qm", "1"]);
    }
    let dependency = format!("[dependencies]\nplace-sys = {{ git = \"file://{}\" }}\n", repository.display());
    let middle = samples::package("middle", &dependency);
    let top = samples::package("prog", "[dependencies]\nmiddle = { path = \"middle\" }\n[workspace]\nmembers = [\"middle\"]\n");
    Project::with(
        machine.path(name),
        &[
            ("Cargo.toml", top.as_str()),
            ("src/main.rs", "fn main() { println!(\"{}\", middle::source()); }\n"),
            ("middle/Cargo.toml", middle.as_str()),
            ("middle/src/lib.rs", "pub fn source() -> String { place_sys::source() }\n"),
        ],
    )
}

fn cargo(machine: &Machine, project: &Project, cargo_home: &Path) -> Cargo {
    machine.cargo(project).args(["build"]).env("CARGO_HOME", cargo_home).env("CARGO_INCREMENTAL", "0").env("CARGO_NET_OFFLINE", "false")
}

fn build(machine: &Machine, project: &Project, cargo_home: &Path) -> Outcomes {
    let (_, seen) = machine.watch(|| cargo(machine, project, cargo_home).ok());
    machine.settle();
    let printed = run(project.file("target/debug/prog"));
    assert!(printed.starts_with(&format!("{}/git/checkouts/", cargo_home.display())), "{printed}");
    seen
}

#[test]
fn what_spells_cargo_home_serves_every_checkout_with_that_cargo_home() {
    let machine = Machine::new();
    let (repository, [one, two]) = (machine.path("repository"), ["home-one", "home-two"].map(|name| machine.path(name)));
    let (a, b, c) =
        (checkout(&machine, &repository, "a"), checkout(&machine, &repository, "b"), checkout(&machine, &repository, "deep/er/c"));
    assert_eq!(build(&machine, &a, &one).miss, UNITS);
    let elsewhere = build(&machine, &b, &one);
    assert_eq!((elsewhere.hits(), elsewhere.compiled()), (UNITS, 0), "{:?}", machine.stats().bypass_reasons);
    let other_home = build(&machine, &c, &two);
    assert_eq!((other_home.miss, other_home.hits()), (CONCERNED, UNITS - CONCERNED));
    // Each home in each checkout, in turn: found, and the right one.
    for (project, home) in [(&a, &two), (&b, &two), (&c, &one), (&a, &one)] {
        project.remove("target");
        assert_eq!(build(&machine, project, home).hits(), UNITS);
    }
}

#[test]
fn what_spells_cargo_home_is_shared_with_machines_that_have_it_at_the_same_path() {
    let server = S3Server::start();
    let [first, second, third] = [(); 3].map(|()| member(&server, S3Server::OWNER, &[]));
    let (repository, shared) = (first.path("repository"), first.path("home"));
    first.start();
    assert_eq!(build(&first, &checkout(&first, &repository, "a"), &shared).miss, UNITS);
    flush(&first);
    second.start();
    let seen = build(&second, &checkout(&second, &repository, "b"), &shared);
    assert_eq!((seen.remote_hit, seen.miss), (UNITS, 0), "{}", second.log());
    third.start();
    let own: PathBuf = third.path("own");
    let seen = build(&third, &checkout(&third, &repository, "c"), &own);
    assert_eq!((seen.remote_hit, seen.miss), (UNITS - CONCERNED, CONCERNED), "{}", third.log());
}

/// A macro that reads the variable without a trace: nothing but the bytes of what it made tells the homes apart.
#[test]
fn what_a_macro_made_of_cargo_home_is_found_only_where_cargo_home_is_the_same() {
    let machine = Machine::new();
    let manifest = samples::package("prog", "[dependencies]\nhome = { path = \"home\" }\n[workspace]\nmembers = [\"home\"]\n");
    let source = "#[proc_macro]\npub fn home(_: proc_macro::TokenStream) -> proc_macro::TokenStream {\n    \
        format!(\"{:?}\", std::env::var(\"CARGO_HOME\").unwrap()).parse().unwrap()\n}\n";
    let files = [
        ("Cargo.toml", manifest),
        ("src/main.rs", "fn main() { println!(\"{}\", home::home!()); }\n".into()),
        ("home/Cargo.toml", samples::package("home", "[lib]\nproc-macro = true\n")),
        ("home/src/lib.rs", source.into()),
    ];
    let a = Project::with(machine.path("a"), &files.each_ref().map(|(name, text)| (*name, text.as_str())));
    let b = a.copy_to(machine.path("somewhere/else/b"));
    let [one, two] = ["home-one", "home-two"].map(|name| machine.path(name));
    for (project, home, compiled) in [(&a, &one, 2), (&b, &one, 0), (&b, &two, 1), (&a, &two, 0), (&a, &one, 0), (&b, &one, 0)] {
        project.remove("target");
        let (_, seen) = machine.watch(|| cargo(&machine, project, home).ok());
        machine.settle();
        assert_eq!((seen.compiled(), seen.hits()), (compiled, 2 - compiled), "{}", home.display());
        assert_eq!(run(project.file("target/debug/prog")), format!("{}\n", home.display()));
    }
}

#[test]
fn what_spells_its_workspace_stays_at_home() {
    let server = S3Server::start();
    let machine = member(&server, S3Server::OWNER, &[]);
    machine.start();
    let at = machine.path("here");
    let project = samples::program(&at, &format!("fn main() {{ println!(\"{{}}\", {:?}); }}\n", at.display().to_string()));
    machine.build(&project, &["build"]);
    flush(&machine);
    let objects = server.keys();
    assert!(!objects.iter().any(|key| key.ends_with(".tar.zst") || key.contains("/_inputs/")), "{objects:?}");
    let artifacts = machine.kache(&["list", "--json"]).stdout;
    assert!(artifacts.contains("\"shareable\": false") || artifacts.contains("\"shareable\":false"), "{artifacts}");
}
