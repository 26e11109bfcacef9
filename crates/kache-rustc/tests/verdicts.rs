//! Tables: one command line per row, and what is made of it.

use kache_model::{Root, RootKind, Roots, Spelling, UnitInputs, UnitKey};
use kache_rustc::{Compile, Driver, Env, Invocation, Origin, Shape, Verdict, judge};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

const UNIT: &str = "--crate-name x --edition=2024 src/lib.rs --error-format=json --json=diagnostic-rendered-ansi,artifacts,future-incompat \
    --crate-type lib --emit=dep-info,metadata,link -C embed-bitcode=no -C debuginfo=2 -C metadata=0123 -C extra-filename=-4567 \
    --out-dir /w/target/debug/deps -L dependency=/w/target/debug/deps";

const PROBE_ENV: &[(&str, &str)] = &[
    ("OUT_DIR", "/w/target/debug/build/p-0123456789abcdef/out"),
    ("TARGET", "t"),
    ("HOST", "t"),
    ("NUM_JOBS", "2"),
    ("CARGO_PKG_NAME", "p"),
];

struct Call {
    argv: Vec<OsString>,
    cwd: PathBuf,
    env: Vec<(OsString, OsString)>,
    stdin: Option<Vec<u8>>,
}

impl Call {
    fn new(args: &str) -> Self {
        let argv = ["/tc/bin/rustc"].into_iter().chain(args.split_whitespace()).map(OsString::from).collect();
        Self { argv, cwd: "/w".into(), env: vec![("HOME".into(), "/home/u".into())], stdin: Some(Vec::new()) }
    }

    fn unit(more: &str) -> Self {
        Self::new(&format!("{UNIT} {more}")).var("CARGO_PKG_NAME", "x")
    }

    fn probe(args: &str) -> Self {
        PROBE_ENV.iter().fold(Self::new(args), |call, (name, value)| call.var(name, value))
    }

    fn var(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    fn cwd(mut self, cwd: &str) -> Self {
        self.cwd = cwd.into();
        self
    }

    fn stdin(mut self, text: &str) -> Self {
        self.stdin = Some(text.into());
        self
    }

    fn arg(mut self, arg: &str) -> Self {
        self.argv.push(arg.into());
        self
    }

    fn judge(&self) -> Verdict {
        let env: Env = self.env.iter().cloned().collect();
        let inv = Invocation { argv: &self.argv, cwd: &self.cwd, env: &env, stdin: self.stdin.as_deref() };
        judge(&inv, &mut |_| Err(io::ErrorKind::NotFound.into()))
    }

    fn compile(&self) -> Compile {
        match self.judge() {
            Verdict::Compile(compile) => *compile,
            other => panic!("{:?}: {other:?}", self.argv),
        }
    }

    fn bypass(&self) -> String {
        match self.judge() {
            Verdict::Bypass(bypass) => bypass.to_string(),
            other => panic!("{:?}: {other:?}", self.argv),
        }
    }

    fn inputs(&self) -> UnitInputs {
        let unit = self.compile();
        unit.inputs(&roots(&unit))
    }

    fn key(&self) -> UnitKey {
        self.inputs().key()
    }
}

fn roots(unit: &Compile) -> Roots {
    let root = |(kind, path): (RootKind, PathBuf)| Root::new(kind, path.to_str().unwrap(), path.to_str().unwrap());
    Roots::new(unit.root_paths().into_iter().map(root).collect())
}

#[test]
fn bypasses_name_their_reason() {
    for (call, reason) in [
        (Call::new(""), "not_a_compile (no source)"),
        (Call::new("--help"), "not_a_compile (help)"),
        (Call::new("--explain E0001"), "not_a_compile (help)"),
        (Call::new("-C help x.rs"), "not_a_compile (-C help)"),
        (Call::new("-W help"), "not_a_compile (help)"),
        (Call::new("--print crate-name x.rs"), "not_a_compile (--print with x.rs)"),
        (Call::new("--print cfg=/f"), "output_path (--print cfg=/f)"),
        (Call::new("--print cfg --target x.json"), "not_a_compile (--print for the specification of x.json)"),
        (Call::unit("--print link-args"), "not_a_compile (--print link-args)"),
        (Call::unit("-Z unpretty=expanded"), "not_a_compile (-Z unpretty)"),
        (Call::unit("--frobnicate x"), "unknown_flag (--frobnicate)"),
        (Call::unit("-C frobnicate=x"), "unknown_flag (-C frobnicate)"),
        (Call::unit("-Z frobnicate"), "unknown_flag (-Z frobnicate)"),
        (Call::unit("-Z shell-argfiles"), "unknown_flag (-Z shell-argfiles)"),
        (Call::unit("--env-set A=B"), "unknown_flag (--env-set)"),
        (Call::unit("--json timings"), "unknown_flag (--json=timings)"),
        (Call::unit("-l raw-dylib=x"), "unknown_flag (-l raw-dylib=x)"),
        (Call::unit("-Zself-profile"), "save_temps (-Z self-profile)"),
        (Call::unit("-Z dump_mir=all"), "save_temps (-Z dump-mir)"),
        (Call::unit("-C save-temps"), "save_temps (-C save-temps)"),
        (Call::unit("--crate-type bin -C linker-plugin-lto"), "linker_plugin_lto (-C linker-plugin-lto)"),
        (Call::unit("-C split-debuginfo=unpacked -Z split-dwarf-kind=single"), "split_debuginfo (split-debuginfo=unpacked)"),
        (
            Call::unit("-C split-debuginfo=packed --target aarch64-apple-darwin --crate-type bin"),
            "split_debuginfo (split-debuginfo=packed)",
        ),
        (Call::unit("-C split-debuginfo=packed --target x86_64-pc-windows-msvc"), "split_debuginfo (split-debuginfo=packed)"),
        (Call::unit("other.rs"), "several_inputs (src/lib.rs other.rs)"),
        (Call::unit("--emit mir"), "emit_kind (mir)"),
        (Call::unit("--emit llvm-bc,link"), "emit_kind (llvm-bc)"),
        (Call::unit("--emit asm=/f"), "output_path (--emit asm=/f)"),
        (Call::unit("-C extra-filename=-1/../x"), "output_path (x-1/../x)"),
        (Call::unit("-o /f"), "output_path (-o /f)"),
        (Call::probe("--emit=metadata,link -o /f x.rs"), "output_path (-o /f)"),
        (Call::probe("--emit=llvm-ir -o - x.rs"), "output_path (-o -)"),
        (Call::unit("--crate-type frob"), "crate_type (frob)"),
        (Call::unit("--crate-type cdylib --target x86_64-pc-windows-msvc"), "crate_type (cdylib for x86_64-pc-windows-msvc)"),
        (Call::unit("--crate-type bin --target spec.json"), "crate_type (bin for spec.json)"),
        (Call::new("--crate-type bin -C rpath --extern a=/a.rlib x.rs"), "link_arg (-C rpath)"),
        (Call::unit("--crate-type bin -Z pre-link-args=-Tlink.x"), "link_arg (-Tlink.x)"),
        (Call::unit("-Z crate-attr=doc=include_str!(\"x\")"), "unknown_flag (-Z crate-attr)"),
        (Call::unit("-Z codegen-backend=gcc"), "unknown_flag (-Z codegen-backend)"),
        (Call::unit("-Z codegen-backend=cranelift --sysroot /s"), "unknown_flag (-Z codegen-backend)"),
        (Call::unit("-Z llvm-plugins=/x.so"), "unknown_flag (-Z llvm-plugins)"),
        (Call::probe("--emit=metadata -Zcrate-attr=no_std x.rs"), "open_probe (-Z crate-attr without dep-info)"),
        (Call::unit("--crate-type bin -C link-arg=-Tlink.x"), "link_arg (-Tlink.x)"),
        (Call::unit("-Lall=@RUSTC_BUILTIN/x"), "search_dir (all=@RUSTC_BUILTIN/x)"),
        (Call::unit("").var("RUSTC_LOG", "info"), "rustc_log (RUSTC_LOG)"),
        (Call::unit("").var("RUSTC_LOG", "").var("RUSTC_LOG_BACKTRACE", "x"), "rustc_log (RUSTC_LOG_BACKTRACE)"),
        (Call::unit("").var("RUSTC_CTFE_BACKTRACE", "immediate"), "rustc_log (RUSTC_CTFE_BACKTRACE)"),
        (Call::new("-vV").var("RUSTC_LOG", "info"), "rustc_log (RUSTC_LOG)"),
        (Call::unit("@gone"), "unreadable_argfile (@gone: entity not found)"),
        (Call::unit("").var("CARGO_PKG_NAME", "_inputs"), "reserved_name (_inputs)"),
        (Call::unit("").var("CARGO_PKG_NAME", "a/b"), "reserved_name (a/b)"),
        (Call::probe("--emit=metadata --out-dir /o -").stdin("mod x;"), "open_probe (standard input)"),
        (Call::probe("--emit=metadata --extern a=/a.rlib x.rs"), "open_probe (--extern without dep-info)"),
        (Call { stdin: None, ..Call::probe("--emit=dep-info,metadata -") }, "stdin_too_large"),
    ] {
        assert_eq!(call.bypass(), reason);
    }
}

#[test]
fn text_that_counts_and_is_not_utf8_is_a_bypass() {
    let bad = || OsString::from_vec(b"--cfg=\xff".to_vec());
    let mut call = Call::unit("");
    call.argv.push(bad());
    assert!(call.bypass().starts_with("non_utf8"));
    let mut call = Call::unit("");
    call.env.push(("CARGO_PKG_DESCRIPTION".into(), bad()));
    assert_eq!(call.bypass(), "non_utf8 (CARGO_PKG_DESCRIPTION)");
    let mut call = Call::unit("");
    call.env.push(("NOBODY_ASKS".into(), bad()));
    call.compile();
}

#[test]
fn queries_differ_by_arguments_and_the_few_variables_that_count() {
    let key = |call: Call| match call.judge() {
        Verdict::Query(query) => query.key(&kache_model::Digest::of(b"toolchain")),
        other => panic!("{other:?}"),
    };
    let cargo = "- --crate-name ___ --print=file-names --crate-type bin --crate-type proc-macro --print=sysroot --print=cfg -Wwarnings";
    let base = key(Call::new(cargo));
    assert_eq!(base, key(Call::new(cargo).cwd("/elsewhere").var("CARGO_MAKEFLAGS", "x").var("PATH", "y")));
    assert_eq!(base, key(Call { stdin: None, ..Call::new(cargo) }));
    let mut keys = BTreeSet::from([base]);
    for call in [
        Call::new("-vV"),
        Call::new("-V"),
        Call::new("--version --verbose"),
        Call::new("-vV").var("RUSTC_OVERRIDE_VERSION_STRING", "1"),
        Call::new("-vV").var("RUSTC_FORCE_RUSTC_VERSION", "1"),
        Call::new(cargo).var("RUSTC_BOOTSTRAP", "1"),
        Call::new(cargo).var("MACOSX_DEPLOYMENT_TARGET", "11"),
        Call::new(cargo).stdin("#![crate_name = \"y\"]"),
        Call::new(&format!("{cargo} --target wasm32-unknown-unknown")),
        Call::new(&format!("{cargo} --sysroot s")),
        Call::new(&format!("{cargo} --sysroot s")).cwd("/elsewhere"),
    ] {
        assert!(keys.insert(key(call)));
    }
}

#[test]
fn wrappers_are_recognised() {
    let with = |front: &[&str]| {
        let mut call = Call::unit("");
        call.argv.splice(0..1, front.iter().map(OsString::from));
        call
    };
    assert_eq!(
        with(&["/tc/bin/clippy-driver", "/tc/bin/rustc"]).compile().driver,
        Driver::Clippy { driver: "/tc/bin/clippy-driver".into() }
    );
    assert_eq!(with(&["/tc/bin/clippy-driver", "/tc/bin/rustc"]).compile().insert_at, 2);
    assert_eq!(with(&["/opt/my-compiler"]).compile().insert_at, 1);
    assert_eq!(with(&["/opt/wrapper", "/tc/bin/rustc"]).bypass(), "unknown_wrapper (/opt/wrapper)");
    assert_eq!(with(&["/opt/wrapper", "/opt/my-compiler"]).bypass(), "unknown_wrapper (/opt/wrapper)");
    assert_eq!(with(&["/tc/bin/clippy-driver"]).bypass(), "unknown_wrapper (/tc/bin/clippy-driver)");
    assert_eq!(with(&["/tc/bin/rustdoc"]).bypass(), "not_a_compile (rustdoc)");
}

#[test]
fn units_know_their_shape_origin_and_roots() {
    let check = |call: Call, shape: Shape, origin: Origin, roots: &[(RootKind, &str)]| {
        let unit = call.compile();
        let expected: Vec<(RootKind, PathBuf)> = roots.iter().map(|(kind, path)| (*kind, PathBuf::from(path))).collect();
        assert_eq!((unit.shape, unit.origin, unit.root_paths()), (shape, origin, expected), "{:?}", call.argv);
    };
    let home = (RootKind::CargoHome, "/home/u/.cargo");
    let target = (RootKind::Target, "/w/target/debug");
    let from = |source: &str| Call::new(&UNIT.replace("src/lib.rs", source));
    check(Call::unit(""), Shape::CargoUnit, Origin::Workspace, &[home, (RootKind::Workspace, "/w"), target]);
    let registry = "/home/u/.cargo/registry/src/index-0/a-1.0.0";
    check(from(&format!("{registry}/src/lib.rs")).cwd(registry), Shape::CargoUnit, Origin::Registry, &[home, target]);
    check(from("/home/u/.cargo/git/checkouts/a/0/lib.rs"), Shape::CargoUnit, Origin::Git, &[home, target]);
    check(from("/home/u/.cargo/registry2/a.rs"), Shape::CargoUnit, Origin::Outside, &[home, target]);
    check(from("/w/vendor/a/src/lib.rs").cwd("/w/vendor/a"), Shape::CargoUnit, Origin::Outside, &[home, target]);
    check(
        from("/c/git/checkouts/a/0/lib.rs").var("CARGO_HOME", "/c/"),
        Shape::CargoUnit,
        Origin::Git,
        &[(RootKind::CargoHome, "/c"), target],
    );
    check(
        from("/w/h/registry/src/i/a/lib.rs").var("CARGO_HOME", "h"),
        Shape::CargoUnit,
        Origin::Registry,
        &[(RootKind::CargoHome, "/w/h"), target],
    );
    let out = "/w/target/debug/build/p-0123456789abcdef/out";
    let probe = "--edition=2021 --crate-name=p --crate-type=lib --emit=dep-info,metadata";
    check(Call::probe(&format!("{probe} --out-dir {out}/probe src/probe.rs")).cwd(registry), Shape::Probe, Origin::Script, &[home, target]);
    check(
        Call::probe("--emit=metadata -o /tmp/x -").cwd("/w/member"),
        Shape::Probe,
        Origin::Script,
        &[home, (RootKind::Workspace, "/w/member"), target],
    );
    // Cargo inside a build script is Cargo.
    let nested = PROBE_ENV.iter().fold(Call::unit(""), |call, (name, value)| call.var(name, value));
    check(nested, Shape::CargoUnit, Origin::Workspace, &[home, (RootKind::Workspace, "/w"), target]);
    check(Call::new("src/main.rs"), Shape::Other, Origin::Workspace, &[home, (RootKind::Workspace, "/w")]);
}

#[test]
fn the_target_directory_is_above_what_cargo_makes() {
    for (out, target) in [
        ("/w/target/debug/deps", Some("/w/target/debug")),
        ("/w/target/debug/examples", Some("/w/target/debug")),
        ("/w/target/x86_64-unknown-linux-gnu/release/deps", Some("/w/target/x86_64-unknown-linux-gnu/release")),
        ("/w/target/debug/build/a-b-0123456789abcdef", Some("/w/target/debug")),
        ("/w/target/debug/build/a/0123456789abcdef/deps", Some("/w/target/debug")),
        ("/w/target/debug/build/a/0123456789abcdef/out/deps", Some("/w/target/debug")),
        ("/w/build/target/debug/deps", Some("/w/build/target/debug")),
        ("/w/build/deps", Some("/w/build")),
        ("/w/deps/x", None),
        ("/w/build/x", None),
    ] {
        let unit = Call::new(&UNIT.replace("/w/target/debug/deps -L", &format!("{out} -L"))).compile();
        let found = unit.root_paths().into_iter().find(|(kind, _)| *kind == RootKind::Target);
        assert_eq!(found.map(|(_, path)| path), target.map(PathBuf::from), "{out}");
    }
}

#[test]
fn what_does_not_count_leaves_the_key_alone() {
    let base = Call::unit("--cfg a --cfg b -C incremental=/i -C linker=/a -C opt-level=3").key();
    for same in [
        Call::unit("--cfg b --cfg a -C incremental=/other -C linker=/b -Copt-level=3"),
        Call::unit("--cfg b --cfg a --cfg b -Cincremental=/i -L dependency=/x -C opt-level=1 -C opt_level=3"),
        Call::unit("--cfg=a --cfg=b --codegen incremental=/i --color always --diagnostic-width 80 --json diagnostic-short -Copt-level=3"),
        Call::unit("--cfg a --cfg b -C incremental=/i -C opt-level=3 --out-dir /elsewhere/deps"),
        Call::unit("--cfg a --cfg b -C incremental=/i -C opt-level=3")
            .var("CARGO_PRIMARY_PACKAGE", "1")
            .var("CARGO_MAKEFLAGS", "-j")
            .var("PATH", "/x")
            .var("RUSTC_LOG", "")
            .var("RUST_LOG", "debug")
            .var("RUST_BACKTRACE", "1")
            .var("LLVM_CONFIG_PATH", "/l"),
        Call::unit("--cfg a --cfg b -C incremental=/i -C opt-level=3")
            .var("RUSTC_BOOTSTRAP", "")
            .var("SDKROOT", "/s")
            .var("CARGO_MANIFEST_DIR", "/w"),
    ] {
        assert_eq!(same.key(), base, "{:?}", same.argv);
    }
}

#[test]
fn whatever_counts_changes_the_key() {
    let mut keys = BTreeSet::from([Call::unit("").key()]);
    let mut rows: Vec<Call> = [
        "--cfg a",
        "--cfg b",
        "--cfg a --cfg b",
        "--check-cfg cfg(a)",
        "--test",
        "--edition 2021",
        "--target wasm32-unknown-unknown",
        "-O",
        "-C opt-level=3",
        "--out-dir /elsewhere",
        "--out-dir target/debug/deps",
        "-C opt-level=1",
        "-C debuginfo=1",
        "-C lto",
        "-C lto=thin",
        "-C target-cpu=native",
        "-C target-cpu=x",
        "-C prefer-dynamic",
        "-C target-feature=+a",
        "-C target-feature=+a -C target-feature=+b",
        "-C target-feature=+b -C target-feature=+a",
        "-C link-arg=-a",
        "-C link-arg=-a -C link-arg=-b",
        "-C link-arg=-b -C link-arg=-a",
        "-C incremental=/i",
        "-C profile-generate=/a",
        "-C profile-generate=/b",
        "-C profile-use=/p",
        "-C linker-plugin-lto",
        "-C instrument-coverage",
        "-C metadata=9",
        "-C extra-filename=9",
        "--cap-lints allow",
        "-D warnings",
        "-A a -W b",
        "-W b -A a",
        "-Zthreads=2",
        "-Z unstable-options",
        "--extern a=/a.rlib",
        "--extern priv:a=/a.rlib",
        "--extern b=/a.rlib",
        "--extern a=/a.rlib --extern b=/b.rlib",
        "--extern b=/b.rlib --extern a=/a.rlib",
        "-l static=z",
        "-l z",
        "-l static:+whole-archive=z",
        "-l static=z:y",
        "--sysroot /s",
        "--remap-path-prefix /a=/b",
        "--remap-path-prefix /a=/c",
        "--remap-path-scope macro",
        "-v",
        "--crate-type rlib",
        "--crate-type cdylib",
        "--emit asm",
        "--print native-static-libs",
    ]
    .into_iter()
    .map(Call::unit)
    .collect();
    for (name, value) in [
        ("RUSTC_BOOTSTRAP", "1"),
        ("RUSTC_BOOTSTRAP", "x"),
        ("RUSTC_FORCE_RUSTC_VERSION", "1"),
        ("RUSTC_OVERRIDE_VERSION_STRING", "1"),
        ("RUST_TARGET_PATH", "/t"),
        ("LLVM_OVERRIDE_PRODUCER", "a"),
        ("LLVM_OVERRIDE_PRODUCER", "b"),
        ("MACOSX_DEPLOYMENT_TARGET", "11"),
        ("CARGO_PKG_VERSION", "1"),
        ("CARGO_PKG_VERSION", ""),
        ("CARGO_PKG_AUTHORS", "a"),
        ("CARGO_CRATE_NAME", "y"),
        ("CARGO_BIN_NAME", "y"),
        ("KACHE_NO_REMAP", "1"),
    ] {
        rows.push(Call::unit("").var(name, value));
    }
    rows.push(Call::unit("").var("CARGO_PKG_NAME", "y"));
    rows.push(Call::new(&UNIT.replace("src/lib.rs", "src/main.rs")).var("CARGO_PKG_NAME", "x"));
    rows.push(Call::new(&UNIT.replace(",metadata", "")).var("CARGO_PKG_NAME", "x"));
    rows.push(Call::new(&UNIT.replace(",artifacts", "")).var("CARGO_PKG_NAME", "x"));
    for call in rows {
        assert!(keys.insert(call.key()), "{:?} {:?}", call.argv, call.env);
    }
}

#[test]
fn variables_of_linker_and_clippy_count_only_there() {
    let library = |name: &str| Call::unit("").var(name, "1").key() == Call::unit("").key();
    let program = |name: &str| Call::unit("--crate-type bin").var(name, "1").key() == Call::unit("--crate-type bin").key();
    for name in ["SDKROOT", "LIBRARY_PATH", "COMPILER_PATH", "LD_RUN_PATH", "LD_PRELOAD", "MOLD_PATH", "NIX_HARDENING_ENABLE", "GNUTARGET"]
    {
        assert!(library(name) && !program(name), "{name}");
    }
    let clippy = |vars: &[(&str, &str)]| {
        let mut call = vars.iter().fold(Call::unit(""), |call, (name, value)| call.var(name, value));
        call.argv.insert(0, "/tc/bin/clippy-driver".into());
        call.key()
    };
    for name in ["CLIPPY_ARGS", "CLIPPY_CONF_DIR", "SYSROOT"] {
        assert!(library(name) && clippy(&[(name, "1")]) != clippy(&[]), "{name}");
    }
    let primary = ("CARGO_PRIMARY_PACKAGE", "1");
    assert_eq!(clippy(&[primary]), clippy(&[]));
    assert_ne!(clippy(&[primary, ("CLIPPY_ARGS", "--no-deps")]), clippy(&[("CLIPPY_ARGS", "--no-deps")]));
}

#[test]
fn what_nobody_reads_does_not_count() {
    let dated = |args: &str| Call::unit(args).var("SOURCE_DATE_EPOCH", "0").key();
    for args in ["", "--crate-type bin", "--crate-type proc-macro", "--target x86_64-pc-windows-msvc"] {
        assert_eq!(dated(args), Call::unit(args).key(), "{args}");
    }
    let apple = "--crate-type bin --target aarch64-apple-darwin -Csplit-debuginfo=off";
    assert_ne!(dated(apple), Call::unit(apple).key(), "a Mach-O file's header may hold a time");
}

#[test]
fn debug_information_beside_the_outputs_belongs_to_them() {
    let unpacked = Call::unit("-C split-debuginfo=unpacked").compile();
    assert!(!unpacked.remapped, "debuggers look for it by its full path");
    assert!(unpacked.is_debug_object("x-4567.x.0-cgu.0.rcgu.dwo") && unpacked.is_debug_object("x-4567.a.b.rcgu.dwo"));
    assert!(
        !unpacked.is_debug_object("x-45678.x.rcgu.dwo") && !unpacked.is_debug_object("x-4567.d") && !unpacked.is_debug_object("y-1.dwo")
    );
    for without in ["-C split-debuginfo=off", "-C split-debuginfo=unpacked -C debuginfo=0", "-C split-debuginfo=packed"] {
        let unit = Call::unit(without).compile();
        assert!(unit.remapped && !unit.leaves_debug_objects(), "{without}");
    }
    let names =
        |args: &str| -> Vec<String> { Call::unit(args).compile().expected_outputs().into_iter().map(|output| output.name).collect() };
    let packed = "-C split-debuginfo=packed --emit=link --crate-type";
    assert!(names(&format!("{packed} bin")).contains(&"x-4567.dwp".to_owned()));
    assert!(names(&format!("{packed} cdylib")).contains(&"libx-4567.so.dwp".to_owned()));
    assert!(!names("-C split-debuginfo=packed").iter().any(|name| name.ends_with(".dwp")));
}

#[test]
fn a_codegen_backend_is_a_file_or_the_toolchains() {
    let wants = |args: &str| Call::unit(args).compile().wants();
    let library = wants("-Z codegen-backend=../b.so");
    assert_eq!(library.files.iter().map(|file| file.path.clone()).collect::<Vec<_>>(), [PathBuf::from("/w/../b.so")]);
    let named = wants("-Zcodegen-backend=cranelift");
    assert!(named.files.is_empty() && named.assembler && !wants("-Zcodegen-backend=llvm").assembler);
    assert!(wants("-Ztune-cpu=native").native_cpu && !wants("-Ztune-cpu=znver4").native_cpu);
    assert!(
        !Call::unit("-Zdebuginfo-compression=zlib").compile().remapped && Call::unit("-Zdebuginfo-compression=none").compile().remapped
    );
}

#[test]
fn two_checkouts_have_one_key() {
    let at = |base: &str, cargo: &str| {
        let text = format!(
            "{UNIT} -C link-arg=-Wl,-rpath,/w/lib -C profile-use=/w/target/debug/p --remap-path-prefix /w/a=/b -L native=/w/target/debug/n \
             --extern a=/w/target/debug/deps/liba.rmeta -C incremental=/w/target/debug/incremental"
        );
        Call::new(&text.replace("/w", base)).cwd(base).var("CARGO_HOME", cargo)
    };
    assert_eq!(at("/w", "/c").key(), at("/some/where else/w".split(' ').next().unwrap(), "/home/v/.cargo").key());
    // `cfg!(path = "/w/x")` compares the text.
    let named = |base: &str| Call::new(&format!("{UNIT} --cfg path=\"{base}/x\"").replace("/w/", &format!("{base}/"))).cwd(base);
    assert_ne!(named("/w").key(), named("/v").key());
    let outside = |dir: &str| Call::new(&UNIT.replace("src/lib.rs", &format!("{dir}/src/lib.rs"))).cwd(dir);
    assert_ne!(outside("/p/a").key(), outside("/q/a").key());
    // Debug information says where rustc ran.
    assert_ne!(outside("/p/a").key(), outside("/p/a").cwd("/q").key());
}

#[test]
fn remapping_comes_first_and_is_off_under_coverage_or_by_choice() {
    let args = |call: Call| {
        let unit = call.compile();
        let roots = roots(&unit);
        assert_eq!(unit.literal_roots(&roots).is_empty(), unit.remapped);
        unit.extra_args(&roots)
    };
    assert_eq!(
        args(Call::unit("")),
        [
            "--remap-path-prefix=/w=/proc/self/cwd",
            "--remap-path-prefix=/home/u/.cargo=/@kache/cargo",
            "--remap-path-prefix=/w/target/debug=/@kache/target"
        ]
    );
    for off in [
        Call::unit("-C instrument-coverage"),
        Call::unit("").var("KACHE_NO_REMAP", "1"),
        Call::unit("--crate-type bin -C link-arg=-Wl,--compress-debug-sections=zlib"),
    ] {
        assert!(args(off).is_empty());
    }
    for on in [
        Call::unit("-C instrument-coverage=off"),
        Call::unit("").var("KACHE_NO_REMAP", "0"),
        Call::unit("-C link-arg=-Wl,--compress-debug-sections=zlib").arg("--emit=metadata"),
    ] {
        assert!(!on.compile().links() || on.compile().remapped);
    }
}

#[test]
fn outputs_are_named_as_rustc_names_them() {
    let check = |call: Call, outputs: &[&str], dep_info: Option<&str>| {
        let unit = call.compile();
        let names: Vec<String> = unit.expected_outputs().into_iter().map(|output| output.name).collect();
        assert_eq!(names, outputs, "{:?}", call.argv);
        assert_eq!(unit.dep_info_name().as_deref(), dep_info);
    };
    let kinds = |kinds: &str, emit: &str| {
        let line = UNIT.replace("--crate-type lib", kinds).replace("--emit=dep-info,metadata,link", emit);
        Call::new(&line)
    };
    let d = Some("x-4567.d");
    check(Call::unit(""), &["libx-4567.rlib", "libx-4567.rmeta"], d);
    check(kinds("--crate-type lib", "--emit=dep-info,metadata"), &["libx-4567.rmeta"], d);
    check(kinds("--crate-type bin", "--emit=dep-info,link"), &["x-4567"], d);
    check(kinds("--crate-type bin", "--emit=dep-info,metadata"), &["libx-4567.rmeta"], d);
    check(kinds("--test", "--emit=dep-info,link"), &["x-4567"], d);
    check(kinds("--crate-type lib --test", "--emit=dep-info,link"), &["x-4567"], d);
    check(kinds("--crate-type proc-macro --target x86_64-unknown-linux-gnu", "--emit=dep-info,link"), &["libx-4567.so"], d);
    check(
        kinds("--crate-type cdylib --crate-type staticlib --crate-type rlib --target x86_64-unknown-linux-gnu", "--emit=dep-info,link"),
        &["libx-4567.so", "libx-4567.a", "libx-4567.rlib"],
        d,
    );
    check(kinds("--crate-type lib --crate-type rlib", "--emit=link"), &["libx-4567.rlib"], None);
    check(kinds("--crate-type dylib --target aarch64-apple-darwin -C split-debuginfo=off", "--emit=link"), &["libx-4567.dylib"], None);
    check(kinds("--crate-type bin --target wasm32-unknown-unknown", "--emit=link"), &["x-4567.wasm"], None);
    check(kinds("--crate-type lib", "--emit=obj,asm,llvm-ir"), &["x-4567.s", "x-4567.ll", "x-4567.o"], None);
    check(Call::probe("--crate-type lib --emit=metadata -o /t/o/y -").stdin(""), &["y"], None);
    check(Call::probe("--crate-type lib --emit=metadata --out-dir /t -").stdin(""), &["librust_out.rmeta"], None);
    check(Call::probe("--emit=dep-info,metadata a/my-probe.rs"), &["libmy_probe.rmeta"], Some("my_probe.d"));
}

#[test]
fn inodes_are_shared_only_where_cargo_never_looks_at_the_time() {
    use kache_model::Role::{Executable, Metadata, Rlib, Staticlib};
    let registry = UNIT.replace("src/lib.rs", "/home/u/.cargo/registry/src/i/a/lib.rs");
    let unit = Call::new(&registry).compile();
    assert!(unit.placement_shared(Rlib));
    assert!(![Metadata, Staticlib, Executable].iter().any(|role| unit.placement_shared(*role)));
    assert!(!Call::new(&registry.replace(",metadata", "")).compile().placement_shared(Rlib));
    assert!(!Call::unit("").compile().placement_shared(Rlib));
}

#[test]
fn wants_name_everything_that_has_to_be_looked_up() {
    let call = Call::unit(
        "--crate-type bin -l static=a -l b -L native=/n -L /all -L crate=c -L framework=/f -C target-cpu=native -C linker=clang -C link-arg=-fuse-ld=lld \
         -C link-args=-Wl,--version-script=/v -C link-arg=/x/y.a -C link-arg=-lz -C link-arg=-L/last",
    );
    let wants = call.compile().wants();
    let paths = |list: &[&str]| list.iter().map(PathBuf::from).collect::<Vec<_>>();
    assert_eq!(wants.libraries.iter().map(|library| library.name.as_str()).collect::<Vec<_>>(), ["a", "b", "z"]);
    assert_eq!(wants.native_dirs, paths(&["/n", "/all", "/last"]));
    assert_eq!(wants.framework_dirs, paths(&["/all", "/f"]));
    assert_eq!(wants.crate_dirs, paths(&["/all", "/w/c"]));
    assert_eq!(wants.files.iter().map(|file| file.path.as_path()).collect::<Vec<_>>(), [Path::new("/v"), Path::new("/x/y.a")]);
    assert_eq!(wants.files.iter().map(|file| file.linked).collect::<Vec<_>>(), [false, true]);
    assert!(wants.native_cpu);
    let linker = wants.linker.unwrap();
    assert_eq!((linker.program, linker.fuse_ld.as_deref()), (Some("clang".into()), Some("lld")));
    // A library reads no linker argument.
    let library = Call::unit("-C link-arg=/x/y.a -C link-arg=-Tlink.x -C linker=clang").compile().wants();
    assert!(library.linker.is_none() && library.files.is_empty());
    let mut clippy = Call::unit("").var("CARGO_MANIFEST_DIR", "/w/m");
    clippy.argv.insert(0, "clippy-driver".into());
    let from = clippy.compile().wants().clippy_config_from.unwrap();
    assert_eq!(kache_rustc::clippy_configs(&from).nth(1), Some([PathBuf::from("/w/.clippy.toml"), "/w/clippy.toml".into()]));
    let preloads = Call::unit("--crate-type bin").var("LD_PRELOAD", "/m/wrapper.so:name.so").var("MOLD_PATH", "/m/mold").compile().wants();
    assert_eq!(
        preloads.files.iter().map(|file| file.path.as_path()).collect::<Vec<_>>(),
        [Path::new("/m/wrapper.so"), Path::new("/m/mold")]
    );
    let spec = Call::unit("--target t/spec.json").compile();
    assert_eq!(spec.wants().files[0].path, Path::new("/w/t/spec.json"));
}

#[test]
fn diagnostics_are_apart_from_the_key_and_in_one_order() {
    let unit = |more: &str| Call::unit(more).compile();
    assert_eq!(unit("--color always --diagnostic-width=80").diagnostics(), unit("--diagnostic-width 80 --color=always").diagnostics());
    assert_ne!(unit("--color always").diagnostics(), unit("").diagnostics());
    assert_eq!(unit("").spelling(), Spelling::Json);
    assert_eq!(Call::new("x.rs").compile().spelling(), Spelling::Plain);
}

#[test]
fn argfiles_are_keyed_by_what_they_say() {
    let call = Call::new("@args").var("CARGO_PKG_NAME", "x");
    let env: Env = call.env.iter().cloned().collect();
    let inv = Invocation { argv: &call.argv, cwd: &call.cwd, env: &env, stdin: None };
    let text = UNIT.split_whitespace().collect::<Vec<_>>().join("\n");
    let Verdict::Compile(unit) = judge(&inv, &mut |_| Ok(text.clone().into_bytes())) else { panic!() };
    assert_eq!(unit.inputs(&roots(&unit)).key(), Call::unit("").key());
    assert_eq!((unit.argfiles[0].index, unit.insert_at), (1, 1));
}

#[test]
fn the_opt_out_binds_to_literal_roots() {
    let inputs = Call::unit("").var("KACHE_NO_REMAP", "1").inputs();
    assert_eq!(inputs.literal_roots, ["/@kache/cargo=/home/u/.cargo", "/@kache/target=/w/target/debug", "/proc/self/cwd=/w"]);
    assert!(inputs.options.contains(&"words=literal".to_owned()));
}
