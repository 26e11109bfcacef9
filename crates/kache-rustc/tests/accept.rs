//! Which stored results a compile takes for its own.

use kache_model::artifact::DepInfoText;
use kache_model::{Artifact, BlobId, ContentKey, Digest, Mentions, Output, Role, UnitKey};
use kache_rustc::{Compile, Env, Invocation, Unexpected, Verdict, judge};
use std::ffi::OsString;
use std::path::Path;

fn compile(args: &str, env: &[(&str, &str)]) -> Compile {
    let argv: Vec<OsString> = ["/tc/bin/rustc"].into_iter().chain(args.split_whitespace()).map(OsString::from).collect();
    let env: Env = [("HOME", "/home/u"), ("CARGO_PKG_NAME", "p")]
        .iter()
        .chain(env)
        .map(|(name, value)| (OsString::from(name), OsString::from(value)))
        .collect();
    let invocation = Invocation { argv: &argv, cwd: Path::new("/w"), env: &env, stdin: Some(b"fn main() {}") };
    match judge(&invocation, &mut |_| Err(std::io::ErrorKind::NotFound.into())) {
        Verdict::Compile(compile) => *compile,
        other => panic!("{args}: {other:?}"),
    }
}

fn unit(kind: &str) -> Compile {
    let front = "--crate-name x --edition=2024 src/lib.rs --error-format=json --json=diagnostic-rendered-ansi,artifacts,future-incompat";
    let back = "--emit=dep-info,metadata,link -C metadata=0123 -C extra-filename=-4567 --out-dir /w/target/debug/deps";
    compile(&format!("{front} --crate-type {kind} {back}"), &[])
}

fn output(role: Role, name: &str) -> Output {
    Output { role, name: name.to_owned(), executable: false, blob: BlobId(Digest::of(b"")), len: 0 }
}

fn artifact(outputs: &[Output], dep_info: Option<&str>) -> Artifact {
    Artifact {
        package: "p".into(),
        crate_name: "x".into(),
        unit: UnitKey(Digest::of(b"unit")),
        content: ContentKey(Digest::of(b"content")),
        outputs: outputs.to_vec(),
        dep_info: dep_info.map(|name| DepInfoText { name: name.to_owned(), text: Vec::new() }),
        stdout: Vec::new(),
        stderr: Vec::new(),
        status: 0,
        compile_millis: 1,
        stays: Default::default(),
        bound: Default::default(),
        mentions: Mentions::NONE,
        runs_macros: false,
        linked: Default::default(),
    }
}

fn library() -> Vec<Output> {
    vec![output(Role::Rlib, "libx-4567.rlib"), output(Role::Metadata, "libx-4567.rmeta")]
}

#[test]
fn what_a_library_leaves_is_taken_in_any_order_and_nothing_more() {
    let lib = unit("lib");
    let dep_info = Some("x-4567.d");
    let verdict = |artifact: Artifact| lib.accepts(&artifact, || false);
    let good = library();
    assert_eq!(verdict(artifact(&good, dep_info)), Ok(()));
    assert_eq!(verdict(artifact(&[good[1].clone(), good[0].clone()], dep_info)), Ok(()));

    let more = |output: Output| verdict(artifact(&[good.clone(), vec![output]].concat(), dep_info));
    let name = "libserde-0123456789abcdef.rlib";
    for role in [Role::Rlib, Role::Executable, Role::Object] {
        assert_eq!(more(output(role, name)), Err(Unexpected::Output(name.into())));
    }
    assert_eq!(more(good[0].clone()), Err(Unexpected::Output(good[0].name.clone())), "twice");
    let renamed = [output(Role::Rlib, "libserde-4567.rlib"), good[1].clone()];
    assert_eq!(verdict(artifact(&renamed, dep_info)), Err(Unexpected::Missing("libx-4567.rlib".into())));
    let other_role = [output(Role::Executable, "libx-4567.rlib"), good[1].clone()];
    assert_eq!(verdict(artifact(&other_role, dep_info)), Err(Unexpected::Missing("libx-4567.rlib".into())));
    assert_eq!(verdict(artifact(&good[..1], dep_info)), Err(Unexpected::Missing("libx-4567.rmeta".into())));
    let executable = [Output { executable: true, ..good[0].clone() }, good[1].clone()];
    assert_eq!(verdict(artifact(&executable, dep_info)), Err(Unexpected::Executable("libx-4567.rlib".into())));

    assert_eq!(verdict(artifact(&good, Some("build.rs"))), Err(Unexpected::Output("build.rs".into())));
    assert_eq!(verdict(artifact(&good, None)), Err(Unexpected::Missing("x-4567.d".into())));
    assert_eq!(lib.accepts(&artifact(&good, None), || true), Ok(()), "a closed source needs none");
    assert_eq!(verdict(Artifact { status: 1, ..artifact(&good, dep_info) }), Err(Unexpected::Status(1)));
}

#[test]
fn what_a_linker_made_may_be_executable() {
    let executable = |role, name: &str| Output { executable: true, ..output(role, name) };
    let macros = artifact(&[executable(Role::SharedObject, "libx-4567.so"), output(Role::Metadata, "libx-4567.rmeta")], Some("x-4567.d"));
    assert_eq!(unit("proc-macro --target x86_64-unknown-linux-gnu").accepts(&macros, || false), Ok(()));
    let program = artifact(&[executable(Role::Executable, "x-4567"), output(Role::Metadata, "libx-4567.rmeta")], Some("x-4567.d"));
    assert_eq!(unit("bin --target x86_64-unknown-linux-gnu").accepts(&program, || false), Ok(()));
}

#[test]
fn a_probe_may_fail_and_leave_nothing() {
    let env = [("OUT_DIR", "/w/target/debug/build/p-0123456789abcdef/out"), ("TARGET", "t"), ("HOST", "t"), ("NUM_JOBS", "2")];
    let probe =
        compile("--crate-name probe --crate-type lib --emit=metadata --out-dir /w/target/debug/build/p-0123456789abcdef/out -", &env);
    let verdict = |artifact: Artifact| probe.accepts(&artifact, || true);
    let left = artifact(&[output(Role::Metadata, "libprobe.rmeta")], None);
    assert_eq!(verdict(left.clone()), Ok(()));
    assert_eq!(verdict(artifact(&[], None)), Err(Unexpected::Missing("libprobe.rmeta".into())));
    assert_eq!(verdict(Artifact { status: 1, ..artifact(&[], None) }), Ok(()));
    assert_eq!(verdict(Artifact { status: 101, ..left }), Err(Unexpected::Status(101)));

    let args =
        "--crate-name autocfg_0123456789abcdef_3 --crate-type=lib --emit=llvm-ir --out-dir /w/target/debug/build/p-0123456789abcdef/out -";
    let random = compile(args, &env);
    assert_eq!(random.accepts(&artifact(&[output(Role::LlvmIr, "autocfg_probe.ll")], None), || true), Ok(()));
}
