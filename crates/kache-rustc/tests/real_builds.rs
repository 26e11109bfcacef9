//! What Cargo and build scripts really send: a project of every target kind is built with a wrapper that writes down argv, directory and
//! environment of each call, and every call has to be judged without a bypass. The outputs that the compiles leave must be those that
//! were foretold, their dep-info must be readable, and, remapped, none of them may spell a root.
//!
//! `KACHE_TEST_PROJECT=dir` judges another project's builds in the same way (with its dependencies fetched already).

use kache_model::{Root, RootKind, Roots};
use kache_rustc::{Compile, Env, Invocation, Shape, Verdict, dep_info::DepInfo, judge, licence, scan::Scanner};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::Command;

struct Call {
    argv: Vec<OsString>,
    cwd: PathBuf,
    env: Env,
    stdin: Vec<u8>,
}

fn read_calls(dir: &Path) -> Vec<Call> {
    let fields = |path: &Path| -> Vec<OsString> {
        let bytes = fs::read(path).unwrap();
        bytes.split(|byte| *byte == 0).filter(|field| !field.is_empty()).map(|field| OsString::from_vec(field.to_vec())).collect()
    };
    let mut logs: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    logs.retain(|path| path.extension() == Some(OsStr::new("argv")));
    logs.sort();
    let call = |log: PathBuf| Call {
        argv: fields(&log),
        cwd: fs::read_to_string(log.with_extension("cwd")).unwrap().into(),
        env: fields(&log.with_extension("env"))
            .into_iter()
            .filter_map(|pair| pair.to_str()?.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())))
            .collect(),
        stdin: fs::read(log.with_extension("stdin")).unwrap(),
    };
    logs.into_iter().map(call).collect()
}

fn verdict(call: &Call) -> Verdict {
    let inv = Invocation { argv: &call.argv, cwd: &call.cwd, env: &call.env, stdin: Some(&call.stdin) };
    judge(&inv, &mut |path| fs::read(path))
}

fn roots(unit: &Compile) -> Roots {
    let root = |(kind, path): (RootKind, PathBuf)| {
        let canonical = path.canonicalize().unwrap_or_else(|_| path.clone());
        Root::new(kind, path.to_str().unwrap(), canonical.to_str().unwrap())
    };
    Roots::new(unit.root_paths().into_iter().map(root).collect())
}

fn write_project(dir: &Path) {
    let files = [
        (
            "Cargo.toml",
            "[workspace]\nmembers = [\"app\", \"lib\", \"mac\", \"c\"]\nresolver = \"3\"\n[profile.release]\nlto = \"thin\"\nstrip = \"symbols\"\n",
        ),
        (
            "app/Cargo.toml",
            "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[dependencies]\nlib = { path = \"../lib\" }\n[features]\nx = []\n",
        ),
        (
            "app/src/main.rs",
            "mod part;\nfn main() { println!(\"{} {}\", lib::generated(), part::two()); }\n#[test] fn t() { assert_eq!(part::two(), 2); }\n",
        ),
        ("app/src/part.rs", "pub fn two() -> u8 { 2 }\n"),
        (
            "app/tests/it.rs",
            "#[test] fn runs() { assert!(std::process::Command::new(env!(\"CARGO_BIN_EXE_app\")).status().unwrap().success()); }\n",
        ),
        ("app/examples/e.rs", "fn main() {}\n"),
        ("app/benches/b.rs", "fn main() {}\n"),
        (
            "lib/Cargo.toml",
            "[package]\nname = \"lib\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[dependencies]\nmac = { path = \"../mac\" }\n",
        ),
        (
            "lib/build.rs",
            "use std::{env, fs, io::Write, path::Path, process::{Command, Stdio}};\n\
            fn main() {\n    let out = env::var(\"OUT_DIR\").unwrap();\n    let out = Path::new(&out);\n\
                fs::write(out.join(\"g.rs\"), \"pub fn generated() -> &'static str { let v: Vec<u8> = Vec::with_capacity(3); assert!(v.is_empty()); \\\"g\\\" }\").unwrap();\n\
                let wrapper = env::var(\"RUSTC_WRAPPER\").unwrap();\n    let rustc = env::var(\"RUSTC\").unwrap();\n\
                let call = |args: &[&str], input: &str| { let mut child = Command::new(&wrapper).arg(&rustc).args(args).stdin(Stdio::piped()).spawn().unwrap(); child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap(); child.wait().unwrap().success() };\n\
                let dir = out.to_str().unwrap();\n    call(&[\"--version\"], \"\");\n\
                assert!(call(&[\"--crate-name\", \"probe0\", \"--crate-type=lib\", \"--out-dir\", dir, \"--emit=llvm-ir\", \"-\"], \"#![no_std] pub fn f() {}\"));\n\
                assert!(call(&[\"--crate-name=probe\", \"--edition=2024\", \"--emit=metadata\", \"--crate-type=lib\", \"-o\", out.join(\"m\").to_str().unwrap(), \"-\"], \"pub fn f() {}\"));\n\
                fs::create_dir_all(out.join(\"probe\")).unwrap();\n\
                assert!(call(&[\"--crate-name=lib\", \"--edition=2024\", \"--crate-type=lib\", \"--emit=dep-info,metadata\", \"--out-dir\", out.join(\"probe\").to_str().unwrap(), \"probe.rs\"], \"\"));\n\
                println!(\"cargo::rerun-if-changed=build.rs\");\n    println!(\"cargo::rustc-cfg=made\");\n    println!(\"cargo::rustc-check-cfg=cfg(made)\");\n}\n",
        ),
        ("lib/probe.rs", "#![allow(dead_code)] fn f() {}\n"),
        (
            "lib/src/lib.rs",
            "//! A library.\n#[derive(mac::Nothing)] pub struct S;\nmod g { include!(concat!(env!(\"OUT_DIR\"), \"/g.rs\")); }\npub use g::generated;\n/// ```\n/// ```\npub fn f(x: Option<u8>) -> u8 { x.unwrap() }\n#[test] fn t() { f(Some(1)); }\n",
        ),
        ("mac/Cargo.toml", "[package]\nname = \"mac\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[lib]\nproc-macro = true\n"),
        (
            "mac/src/lib.rs",
            "use proc_macro::TokenStream;\n#[proc_macro_derive(Nothing)] pub fn nothing(input: TokenStream) -> TokenStream { assert!(!input.is_empty()); TokenStream::new() }\n",
        ),
        (
            "c/Cargo.toml",
            "[package]\nname = \"c\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[lib]\ncrate-type = [\"cdylib\", \"staticlib\", \"rlib\"]\n",
        ),
        ("c/src/lib.rs", "#[unsafe(no_mangle)] pub extern \"C\" fn c_two() -> u8 { Option::Some(2).unwrap() }\n"),
    ];
    for (name, text) in files {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// The example beside this test's own program; built now if this test alone was asked for.
fn wrapper() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let profile = own.parent().unwrap().parent().unwrap();
    let wrapper = profile.join("examples/remapping_wrapper");
    if !wrapper.exists() {
        let mut build = Command::new(env!("CARGO"));
        build.args([
            "build",
            "--quiet",
            "--example",
            "remapping_wrapper",
            "--manifest-path",
            concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
        ]);
        assert!(build.arg("--target-dir").arg(profile.parent().unwrap()).status().unwrap().success());
    }
    wrapper
}

#[test]
fn every_call_of_a_real_build_is_understood() {
    let temp = tempfile::tempdir().unwrap();
    let own = temp.path().join("a project");
    let given = std::env::var_os("KACHE_TEST_PROJECT").map(PathBuf::from);
    if given.is_none() {
        write_project(&own);
    }
    let calls = temp.path().join("calls");
    fs::create_dir(&calls).unwrap();
    let target = temp.path().join("target dir");
    let host = host();
    let wrapper = wrapper();
    for args in [
        &["build", "--workspace", "--all-targets"][..],
        &["test", "--workspace"],
        &["check", "--workspace", "--all-targets"],
        &["clippy", "--workspace", "--all-targets"],
        &["build", "--release"],
        &["build", "--target", &host],
    ] {
        cargo(args, given.as_ref().unwrap_or(&own), &wrapper, &target, &calls);
    }
    let (mut queries, mut bypasses, mut compiles) = (0, Vec::new(), Vec::new());
    for call in read_calls(&calls) {
        match verdict(&call) {
            Verdict::Query(_) => queries += 1,
            Verdict::Compile(unit) => compiles.push((call, *unit)),
            Verdict::Bypass(bypass) => bypasses.push(format!("{bypass}: {:?}", call.argv)),
        }
    }
    assert!(bypasses.is_empty(), "{bypasses:#?}");
    assert!(compiles.len() > 20 && queries >= 3, "{} {queries}", compiles.len());
    let mut bound: Vec<String> = compiles.iter().filter_map(|(call, unit)| check(call, unit)).collect();
    bound.sort();
    bound.dedup();
    // The integration test is told where the program is, and says so.
    if given.is_none() {
        assert!(bound.iter().all(|found| found.starts_with("it: ")) && !bound.is_empty(), "{bound:#?}");
    }
    summary(compiles.len(), queries, &bound);
}

fn cargo(args: &[&str], project: &Path, wrapper: &Path, target: &Path, calls: &Path) {
    let output = Command::new("cargo")
        .args(args)
        .args(["--offline", "--quiet"])
        .current_dir(project)
        .env_remove("RUSTFLAGS")
        .env("RUSTC_WRAPPER", wrapper)
        .env("CARGO_TARGET_DIR", target)
        .env("CALLS", calls)
        .output()
        .unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[expect(clippy::print_stderr, reason = "the figures of another project's build are what this is run for")]
fn summary(compiles: usize, queries: usize, bound: &[String]) {
    eprintln!("{compiles} compiles, {queries} queries, bound: {bound:#?}");
}

/// Checks what the compile left; says which root an output spells, if one does.
fn check(call: &Call, unit: &Compile) -> Option<String> {
    let roots = roots(unit);
    let dir = &unit.out_dir;
    // A probe may fail, and a build script may tidy up behind it.
    if unit.shape != Shape::Probe {
        check_outputs(unit, dir);
    }
    check_dep_info(call, unit, &roots, dir);
    scan_outputs(unit, &roots, dir).map(|root| format!("{}: {root}", unit.crate_name))
}

/// All that was foretold is there, and nothing else that begins like it.
fn check_outputs(unit: &Compile, dir: &Path) {
    let foretold: Vec<String> = unit.expected_outputs().into_iter().map(|output| output.name).chain(unit.dep_info_name()).collect();
    for name in &foretold {
        assert!(dir.join(name).exists(), "{name}");
    }
    let stem = unit.dep_info_name().unwrap();
    let stem = stem.strip_suffix(".d").unwrap();
    // Units of Cargo's without a hash in their names share it with others.
    if !stem.contains('-') {
        return;
    }
    for entry in fs::read_dir(dir).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        // `check` and `build` leave different files under one name.
        let known = foretold.contains(&name) || [".rmeta", ".rlib", ".so"].iter().any(|ending| name.ends_with(ending));
        assert!(known || !(name.starts_with(stem) || name.starts_with(&format!("lib{stem}"))), "{name}");
    }
}

fn scan_outputs(unit: &Compile, roots: &Roots, dir: &Path) -> Option<String> {
    unit.expected_outputs().into_iter().find_map(|output| {
        let mut scanner = Scanner::new(roots);
        fs::read(dir.join(output.name)).ok()?.chunks(4096).for_each(|chunk| scanner.push(chunk));
        scanner.finish().spelled
    })
}

fn check_dep_info(call: &Call, unit: &Compile, roots: &Roots, dir: &Path) {
    let Some(text) = unit.dep_info_name().and_then(|name| fs::read(dir.join(name)).ok()) else { return };
    let info = DepInfo::parse(&text).unwrap();
    let names = info.input_names(&call.cwd, roots, true);
    for file in &names.files {
        assert!(call.cwd.join(roots.to_local(file).unwrap()).exists(), "{file:?}");
    }
    for file in &names.absent {
        assert!(!call.cwd.join(roots.to_local(file).unwrap()).exists(), "{file:?}");
    }
    let out_dir = info.env.iter().any(|(name, value)| name == "OUT_DIR" && value.as_deref().is_some_and(|value| roots.named_in(value)));
    if out_dir && std::env::var_os("KACHE_TEST_PROJECT").is_none() {
        let sources: Vec<Vec<u8>> = info.files.iter().map(|file| fs::read(call.cwd.join(file)).unwrap()).collect();
        assert!(licence::is_locator("OUT_DIR", &sources.iter().map(Vec::as_slice).collect::<Vec<_>>()), "{}", unit.crate_name);
    }
}

fn host() -> String {
    let output = Command::new("rustc").arg("-vV").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().find_map(|line| line.strip_prefix("host: ")).map(OsStr::new).unwrap().to_str().unwrap().to_owned()
}
