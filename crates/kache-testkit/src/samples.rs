//! Small projects that have everything that makes a build interesting, written by code.

use crate::project::Project;
use std::path::PathBuf;

/// `profile.dev` without debug information: for tests that look at behaviour and want to be quick.
pub const QUICK: &str = "\n[profile.dev]\ndebug = 0\nincremental = false\n";

/// A package manifest: name, then whatever follows `[package]`.
pub fn package(name: &str, rest: &str) -> String {
    format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n{rest}")
}

/// One crate with a `main.rs`; the manifest ends with a workspace of its own.
pub fn program(directory: impl Into<PathBuf>, main: &str) -> Project {
    Project::with(directory, &[("Cargo.toml", &(package("prog", "[workspace]\n") + QUICK)), ("src/main.rs", main)])
}

/// A library `below` and a program `prog` over it, which prints `below::value()`.
pub fn pair(directory: impl Into<PathBuf>) -> Project {
    let root = package("prog", "[dependencies]\nbelow = { path = \"below\" }\n[workspace]\nmembers = [\"below\"]\n");
    Project::with(
        directory,
        &[
            ("Cargo.toml", &(root + QUICK)),
            ("src/main.rs", "fn main() { println!(\"{}\", below::value()); }\n"),
            ("below/Cargo.toml", &package("below", "")),
            ("below/src/lib.rs", "pub fn value() -> u32 { 1 }\n"),
        ],
    )
}

/// A workspace with a proc macro, a library that re-exports it, a build script that generates code into `OUT_DIR`, a feature,
/// unit and integration tests, an example, a program, a cdylib and a staticlib, and two registry dependencies.
pub fn full(directory: impl Into<PathBuf>) -> Project {
    Project::with(
        directory,
        &[
            ("Cargo.toml", FULL_ROOT),
            ("macros/Cargo.toml", &package("macros", "[lib]\nproc-macro = true\n")),
            ("macros/src/lib.rs", FULL_MACROS),
            ("kernel/Cargo.toml", &package("kernel", FULL_KERNEL_MANIFEST)),
            ("kernel/build.rs", FULL_KERNEL_BUILD),
            ("kernel/number.txt", "7\n"),
            ("kernel/src/lib.rs", FULL_KERNEL),
            ("kernel/src/inner.rs", "//! A module of its own.\n\n/// Where it is.\npub fn place() -> &'static str { module_path!() }\n"),
            ("kernel/src/words.txt", "alpha beta\n"),
            ("kernel/examples/show.rs", "fn main() { println!(\"example {}\", kernel::report()); }\n"),
            ("app/Cargo.toml", &package("app", "[dependencies]\nkernel = { path = \"../kernel\" }\n")),
            ("app/src/main.rs", FULL_APP),
            ("app/tests/runs.rs", FULL_APP_TEST),
            (
                "plugin/Cargo.toml",
                &package("plugin", "[lib]\ncrate-type = [\"cdylib\"]\n[dependencies]\nkernel = { path = \"../kernel\" }\n"),
            ),
            ("plugin/src/lib.rs", "#[unsafe(no_mangle)]\npub extern \"C\" fn plugin_value() -> u32 { kernel::generated::NUMBER }\n"),
            ("archive/Cargo.toml", &package("archive", "[lib]\ncrate-type = [\"staticlib\"]\n")),
            ("archive/src/lib.rs", "#[unsafe(no_mangle)]\npub extern \"C\" fn archive_value() -> u32 { 5 }\n"),
        ],
    )
}

/// Units of [`full`] that may not be shared between checkouts: the integration test reads `CARGO_BIN_EXE_app`, an absolute path.
pub const FULL_BOUND_IN_TESTS: u64 = 1;

const FULL_ROOT: &str = r#"[workspace]
resolver = "3"
members = ["macros", "kernel", "app", "plugin", "archive"]
"#;

const FULL_MACROS: &str = r#"//! A derive and a function-like macro, without dependencies.
use proc_macro::{TokenStream, TokenTree};

/// Implements `describe()`, which names the type.
#[proc_macro_derive(Describe)]
pub fn describe(input: TokenStream) -> TokenStream {
    let mut name = None;
    let mut next = false;
    for tree in input {
        if let TokenTree::Ident(ident) = tree {
            if next {
                name = Some(ident.to_string());
                break;
            }
            next = ident.to_string() == "struct";
        }
    }
    let name = name.unwrap_or_default();
    format!("impl {name} {{ pub fn describe() -> &'static str {{ \"a {name}\" }} }}").parse().unwrap()
}

/// A number.
#[proc_macro]
pub fn answer(_: TokenStream) -> TokenStream {
    "42u32".parse().unwrap()
}
"#;

const FULL_KERNEL_MANIFEST: &str = r#"[features]
loud = []
[dependencies]
macros = { path = "../macros" }
cfg-if = "1"
itoa = "1"
"#;

const FULL_KERNEL_BUILD: &str = r#"use std::{env, fs, path::Path};

fn main() {
    println!("cargo::rerun-if-changed=number.txt");
    println!("cargo::rustc-check-cfg=cfg(counted)");
    println!("cargo::rustc-cfg=counted");
    println!("cargo::rustc-env=KERNEL_MOOD=calm");
    let number: u32 = fs::read_to_string("number.txt").unwrap().trim().parse().unwrap();
    let out = env::var("OUT_DIR").unwrap();
    fs::write(Path::new(&out).join("generated.rs"), format!("/// Generated.\npub const NUMBER: u32 = {number};\n")).unwrap();
}
"#;

const FULL_KERNEL: &str = r#"//! A library over a macro, generated code and a text file.
pub use macros::{Describe, answer};

mod inner;

/// Generated by the build script.
pub mod generated {
    include!(concat!(env!("OUT_DIR"), "/generated.rs"));
}

/// Something to describe.
#[derive(Describe)]
pub struct Thing;

cfg_if::cfg_if! {
    if #[cfg(feature = "loud")] { const VOICE: &str = "LOUD"; } else { const VOICE: &str = "quiet"; }
}

/// All that went into the build, as text.
pub fn report() -> String {
    let mut buffer = itoa::Buffer::new();
    format!(
        "{} {} {} {} {} {} counted={}",
        Thing::describe(),
        buffer.format(generated::NUMBER + answer!()),
        VOICE,
        env!("KERNEL_MOOD"),
        include_str!("words.txt").trim(),
        inner::place(),
        cfg!(counted),
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn reports() {
        assert!(super::report().starts_with("a Thing 49"));
    }
}
"#;

const FULL_APP: &str = r#"//! Prints the report.
fn main() {
    println!("{}", kernel::report());
}

#[test]
fn knows_the_answer() {
    assert_eq!(kernel::answer!(), 42);
}
"#;

const FULL_APP_TEST: &str = r#"//! Runs the program.
#[test]
fn the_program_reports() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_app")).output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("a Thing 49"));
}
"#;

/// What the program of [`full`] prints.
pub const FULL_REPORT: &str = "a Thing 49 quiet calm alpha beta kernel::inner counted=true\n";

/// A proc macro `mac`, a library `mid` that only re-exports it, and a program `prog` that uses it through `mid`. Nothing in `mid`'s
/// bytes tells what the macro's native code does; the macro expands to the number in `mac/src/number.rs`.
pub fn reexported_macro(directory: impl Into<PathBuf>) -> Project {
    let root = package("prog", "[dependencies]\nmid = { path = \"mid\" }\n[workspace]\nmembers = [\"mid\", \"mac\"]\n");
    Project::with(
        directory,
        &[
            ("Cargo.toml", &(root + QUICK)),
            ("src/main.rs", "fn main() { println!(\"{}\", mid::number!()); }\n"),
            ("mid/Cargo.toml", &package("mid", "[dependencies]\nmac = { path = \"../mac\" }\n")),
            ("mid/src/lib.rs", "pub use mac::number;\n"),
            ("mac/Cargo.toml", &package("mac", "[lib]\nproc-macro = true\n")),
            (
                "mac/src/lib.rs",
                "mod number;\n#[proc_macro]\npub fn number(_: proc_macro::TokenStream) -> proc_macro::TokenStream { number::text().parse().unwrap() }\n",
            ),
            ("mac/src/number.rs", "pub fn text() -> String { 1.to_string() }\n"),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cargo, Outputs, run};

    /// The generators and the oracle's own helpers, against plain cargo alone.
    #[test]
    fn samples_build_run_and_are_deterministic_with_plain_cargo() {
        let place = tempfile::tempdir().unwrap();
        let project = full(place.path().join("full"));
        let cargo = |args: &[&str]| Cargo::plain(project.path(), place.path()).args(args.iter().copied()).without("CARGO_NET_OFFLINE");
        cargo(&["build", "--workspace", "--all-targets"]).ok();
        assert_eq!(run(project.file("target/debug/app")), FULL_REPORT);
        let first = Outputs::of(&project.file("target/debug")).linked();
        project.remove("target");
        let json = cargo(&["build", "--workspace", "--all-targets"]).json();
        assert!(json.rebuilt().contains(&"kernel".into()) && !json.executables().is_empty());
        assert_eq!(Outputs::of(&project.file("target/debug")).linked().difference(&first), Vec::<PathBuf>::new());
        assert_eq!(cargo(&["build", "--workspace", "--all-targets"]).json().rebuilt(), Vec::<String>::new());
        cargo(&["test", "--workspace"]).ok();
        project.edit("kernel/src/lib.rs", "mod inner;", "mod inner; fn {");
        assert!(cargo(&["build"]).fails().stderr.contains("error"));
    }

    #[test]
    fn small_samples_run() {
        let place = tempfile::tempdir().unwrap();
        for (project, printed) in [(pair(place.path().join("pair")), "1\n"), (reexported_macro(place.path().join("macro")), "1\n")] {
            Cargo::plain(project.path(), place.path()).args(["build"]).ok();
            assert_eq!(run(project.file("target/debug/prog")), printed);
        }
    }
}
