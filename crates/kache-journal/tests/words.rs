//! Tables: what changed → what people read; who waited for whom; every reason has its words.

use kache_journal::explain::{explain, sentence};
use kache_journal::{Build, History, Kept, Kind, Moved, Record, Removal, Seen, Value, Verdict, answer, difference, graph};
use kache_model::{
    Bypass, BypassReason, ContentKey, Digest, ExternInput, InputSet, InputVar, Keying, Outcome, PortablePath, RootKind, UnitInputs, UnitKey,
};
use std::sync::Arc;

fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

fn seen(change: impl FnOnce(&mut Seen)) -> Seen {
    let inputs = UnitInputs {
        toolchain: Some(digest("1.94")),
        package: "a".into(),
        crate_name: "a".into(),
        crate_types: vec!["lib".into()],
        edition: Some("2024".into()),
        source: "src/lib.rs".into(),
        codegen: vec!["debuginfo=2".into(), "target-cpu=x86-64-v3".into()],
        cfgs: ["feature=\"std\"".to_owned()].into(),
        lints: vec!["warn=unused".into()],
        options: vec!["cwd=/proc/self/cwd".into()],
        externs: vec![external("b", "b1")],
        declared: [("/proc/self/cwd/data.txt".to_owned(), Some(digest("data")))].into(),
        metadata: vec!["hash".into()],
        ..UnitInputs::default()
    };
    let set = InputSet {
        files: vec![PortablePath("/proc/self/cwd/src/lib.rs".into()), PortablePath("/@kache/target/build/a-1/out/gen.rs".into())],
        vars: vec![InputVar { name: "FOO".into(), keying: Keying::Literal }],
        ..InputSet::default()
    };
    let mut seen = Seen {
        inputs,
        environment: [("SDKROOT".to_owned(), Value::Text("/sdk".into()))].into(),
        toolchain: "rustc 1.94.0".into(),
        set,
        digests: vec![digest("lib"), digest("gen")],
        values: vec![Value::Unset],
        roots: vec!["/proc/self/cwd=/here".into()],
        content: Some(ContentKey(digest("a1"))),
        ..Seen::default()
    };
    change(&mut seen);
    seen
}

fn external(name: &str, content: &str) -> ExternInput {
    ExternInput {
        modifiers: String::new(),
        name: name.into(),
        content: Some(ContentKey(digest(content))),
        interface: Some(digest(content)),
    }
}

fn record(number: u64, name: &str, seen: Seen) -> Record {
    Record {
        number,
        package: name.into(),
        crate_name: name.into(),
        kind: Kind::Lib,
        check: false,
        outcome: Outcome::Miss,
        bypass: None,
        began_micros: number * 1000,
        ended_micros: number * 1000 + 900,
        rustc_millis: 1,
        restored: Moved::default(),
        seen: Some(Arc::new(seen)),
        key: None,
        kept: Kept::Stored,
        not_stored: None,
        removal: None,
    }
}

fn build(id: u64, records: Vec<Record>) -> Build {
    Build { id, dir: "/w".into(), command: String::new(), began_millis: id, wall_micros: 0, running: false, records, left_out: 0 }
}

#[test]
fn every_kind_of_change_reads_as_people_say_it() {
    type Edit = fn(&mut Seen);
    let table: Vec<(Edit, &[&str])> = vec![
        (|_| (), &[]),
        (
            |s| {
                s.inputs.toolchain = Some(digest("1.95"));
                s.toolchain = "rustc 1.95.0".into();
                s.inputs.named_files.insert("target libraries".into(), digest("x"));
            },
            &["toolchain changed: rustc 1.94.0 → rustc 1.95.0"],
        ),
        (|s| s.inputs.toolchain = Some(digest("x")), &["the toolchain's files (of the same version) changed"]),
        (|s| s.inputs.driver = Some(digest("x")), &["clippy-driver changed"]),
        (|s| s.inputs.package = "c".into(), &["package changed: a → c"]),
        (|s| s.inputs.crate_name = "c".into(), &["crate name changed: a → c"]),
        (|s| s.inputs.crate_types = vec!["bin".into()], &["crate type changed: lib → bin"]),
        (|s| s.inputs.edition = None, &["edition changed: 2024 → none"]),
        (|s| s.inputs.test = true, &["test harness changed: false → true"]),
        (|s| s.inputs.emit = ["link".to_owned()].into(), &["output kinds changed:  → link"]),
        (|s| s.inputs.source = "/proc/self/cwd/lib.rs".into(), &["source changed: src/lib.rs → lib.rs"]),
        (|s| s.inputs.stdin = Some(digest("x")), &["the source on standard input changed"]),
        (|s| s.inputs.output_name = Some("x".into()), &["output name changed: none → x"]),
        (|s| s.inputs.target = Some("wasm32-wasip1".into()), &["target changed: none → wasm32-wasip1"]),
        (|s| s.inputs.announces = true, &["JSON notices changed: false → true"]),
        (
            |s| s.inputs.codegen = vec!["debuginfo=0".into(), "opt-level=3".into(), "target-cpu=x86-64-v3".into(), "strip=symbols".into()],
            &["profile: opt-level 0 → 3, debuginfo 2 → 0, strip none → symbols"],
        ),
        (
            // Cargo says what rustc would have taken for granted at another level.
            |s| {
                s.inputs.codegen =
                    vec!["debug-assertions=on".into(), "debuginfo=2".into(), "opt-level=3".into(), "target-cpu=x86-64-v3".into()]
            },
            &["profile: opt-level 0 → 3"],
        ),
        (|s| s.inputs.codegen[1] = "target-cpu=native".into(), &["RUSTFLAGS: `-Ctarget-cpu=x86-64-v3` → `-Ctarget-cpu=native`"]),
        (|s| s.inputs.codegen.push("target-feature=+avx2".into()), &["RUSTFLAGS gained `-Ctarget-feature=+avx2`"]),
        (|s| drop(s.inputs.codegen.pop()), &["RUSTFLAGS lost `-Ctarget-cpu=x86-64-v3`"]),
        (
            |s| s.inputs.codegen.push("link-arg=-fuse-ld=lld".into()),
            &["linker arguments (RUSTFLAGS or a build script) gained `-Clink-arg=-fuse-ld=lld`"],
        ),
        (|s| s.inputs.codegen.reverse(), &["the order of codegen options changed"]),
        (|s| s.inputs.cfgs.extend(["feature=\"x\"".into()]), &["feature `x` added"]),
        (|s| s.inputs.cfgs.clear(), &["feature `std` removed"]),
        (|s| s.inputs.cfgs.extend(["one".into()]), &["cfg `one` added (RUSTFLAGS or a build script)"]),
        (
            |s| s.inputs.check_cfgs.extend(["cfg(x)".into()]),
            &["the features or cfgs that Cargo.toml or a build script declares changed (--check-cfg)"],
        ),
        (|s| s.inputs.lints.push("deny=warnings".into()), &["lint option `-Dwarnings` added (RUSTFLAGS or [lints])"]),
        (|s| s.inputs.options.push("-Zunstable".into()), &["RUSTFLAGS gained `-Zunstable`"]),
        (|s| s.inputs.options[0] = "cwd=/elsewhere".into(), &["working directory changed: /proc/self/cwd → /elsewhere"]),
        (|s| s.inputs.externs.push(external("c", "c1")), &["dependency `c` added"]),
        (|s| s.inputs.externs.clear(), &["dependency `b` removed"]),
        (|s| s.inputs.externs[0] = external("b", "b2"), &["dependency `b` changed"]),
        (
            |s| s.inputs.externs[0].interface = None,
            &["dependency `b` was compiled again and came out different, though all that went into it is the same"],
        ),
        (|s| s.inputs.named_files.extend([("native static=z libz.a".into(), digest("x"))]), &["native static=z libz.a is new"]),
        (|s| s.inputs.linker = Some(digest("x")), &["the linker, or what comes with it, changed"]),
        (|s| s.environment.clear(), &["env SDKROOT: /sdk → unset"]),
        (|s| drop(s.environment.insert("API".into(), Value::Hidden(digest("x")))), &["env API: unset → (hidden)"]),
        (|s| s.inputs.declared.clear(), &["data.txt is gone (declared as an input)"]),
        (|s| s.inputs.incremental = true, &["incremental compilation was switched on"]),
        (|s| s.inputs.salt = "x".into(), &["the configured salt changed"]),
        (
            |s| s.inputs.metadata = vec!["other".into()],
            &["Cargo gave the unit another hash (-C metadata): its path, version, source or Cargo itself changed"],
        ),
        (
            |s| {
                s.inputs.metadata = vec!["other".into()];
                s.inputs.cfgs.insert("feature=\"x\"".into());
            },
            &["feature `x` added"],
        ),
        (|s| s.digests[0] = digest("other"), &["src/lib.rs changed"]),
        (|s| s.digests[1] = digest("other"), &["target/…/build/a-1/out/gen.rs changed"]),
        (
            |s| {
                s.set.files.push(PortablePath("/proc/self/cwd/src/new.rs".into()));
                s.digests.push(digest("new"));
            },
            &["src/new.rs is new"],
        ),
        (|s| s.values[0] = Value::Text("1".into()), &["env FOO: unset → 1"]),
        (|s| s.values[0] = Value::Text(String::new()), &["env FOO: unset → empty"]),
        (|s| s.values[0] = Value::Hidden(digest("secret")), &["env FOO: unset → (hidden)"]),
        (|s| s.roots = vec!["/proc/self/cwd=/there".into()], &[]),
        (
            |s| {
                s.roots = vec!["/proc/self/cwd=/there".into()];
                s.inputs.literal_roots = s.roots.clone();
            },
            &["bound to its path, because nothing is remapped: /here → /there"],
        ),
        (
            |s| {
                s.set.noisy = true;
                s.diagnostics = vec!["diagnostic-width=80".into()];
            },
            &["it has warnings, and the way in which they are printed changed"],
        ),
    ];
    for (edit, expected) in table {
        let found = difference::between(&record(0, "a", seen(|_| ())), &record(1, "a", seen(edit)));
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn a_known_artifact_of_another_path_binds() {
    let mut old = record(0, "a", seen(|_| ()));
    let bound = |kind| Kept::Bound { output: "liba.rlib".into(), path: "/here".into(), roots: [kind].into_iter().collect() };
    old.kept = bound(RootKind::Workspace);
    let new = record(1, "a", seen(|s| s.roots = vec!["/proc/self/cwd=/there".into()]));
    let found: Vec<String> = difference::between(&old, &new).iter().map(ToString::to_string).collect();
    assert_eq!(found, ["bound to its path: the known artifact spells /here, so it is good for /here only, and this is /there"]);
    // Bound to a root that is the same: something else is to blame.
    old.kept = bound(RootKind::CargoHome);
    assert!(difference::between(&old, &new).is_empty());
    let home = |path: &str| seen(|s| s.roots.insert(0, format!("/@kache/cargo={path}")));
    let (mut old, new) = (record(0, "a", home("/a/.cargo")), record(1, "a", home("/b/.cargo")));
    old.kept = bound(RootKind::CargoHome);
    let found: Vec<String> = difference::between(&old, &new).iter().map(ToString::to_string).collect();
    assert_eq!(found, ["bound to its path: the known artifact spells /here, so it is good for /a/.cargo only, and this is /b/.cargo"]);
}

/// Crates `c` ← `b` ← `a`, and what is made of an edit in `c`.
fn chain(version: &str) -> Vec<Record> {
    let part = |number, name: &str, below: Option<&str>| {
        let seen = seen(|s| {
            (s.inputs.package, s.inputs.crate_name) = (name.into(), name.into());
            s.inputs.externs = below.map(|below| external(below, &format!("{below}{version}"))).into_iter().collect();
            s.content = Some(ContentKey(digest(&format!("{name}{version}"))));
            if below.is_none() {
                s.digests[0] = digest(version);
            }
        });
        record(number, name, seen)
    };
    vec![part(0, "c", None), part(1, "b", Some("c")), part(2, "a", Some("b"))]
}

#[test]
fn a_changed_dependency_leads_to_the_root_and_not_to_the_last_link() {
    let (before, after) = (build(1, chain("1")), build(2, chain("2")));
    let history = History::new([&before, &after]);
    let why = |index: usize| explain(&history, &after, &after.records[index], &Vec::new).lines;
    assert_eq!(why(0), ["src/lib.rs changed"]);
    assert_eq!(why(1), ["dependency `c` changed, because src/lib.rs of `c` changed"]);
    assert_eq!(why(2), ["dependency `b` changed, because src/lib.rs of `c` changed"]);
    let report = answer::Report::of(&history, &after);
    assert_eq!(report.needs, [vec![], vec![0], vec![1]]);
    assert_eq!(report.critical_path, [0, 1, 2]);
    assert_eq!(report.misses().len(), 3);
}

#[test]
fn dependencies_with_one_root_are_told_together() {
    let both = |version: &str| {
        let mut records = chain(version);
        let seen = seen(|s| s.inputs.externs = vec![external("b", &format!("b{version}")), external("c", &format!("c{version}"))]);
        records.push(record(3, "top", seen));
        records
    };
    let (before, after) = (build(1, both("1")), build(2, both("2")));
    let history = History::new([&before, &after]);
    let why = explain(&history, &after, &after.records[3], &Vec::new);
    assert_eq!(why.lines, ["dependencies `b`, `c` changed, because src/lib.rs of `c` changed"]);
}

#[test]
fn the_nearest_record_is_taken_and_of_equally_near_ones_the_latest() {
    let old = |id, edit: fn(&mut Seen)| build(id, vec![record(0, "a", seen(edit))]);
    let builds =
        [old(1, |s| s.digests[0] = digest("x")), old(2, |s| s.digests[1] = digest("x")), old(3, |s| s.inputs.test = true), old(4, |_| ())];
    let history = History::new(&builds);
    let why = explain(&history, &builds[3], &builds[3].records[0], &Vec::new);
    assert_eq!((why.lines, why.compared_with_millis), (vec!["target/…/build/a-1/out/gen.rs changed".to_owned()], Some(2)));
}

#[test]
fn what_is_the_same_and_still_missing_is_gone_or_was_never_kept() {
    for (kept, removal, verdict, front) in [
        (Kept::Stored, None, Verdict::Gone, "evicted: the artifact was known, and isn't in the store any more"),
        (Kept::Stored, Some(Removal::Evicted), Verdict::Gone, "evicted: the artifact was known, and was removed when the store was full"),
        (Kept::Stored, Some(Removal::Purged), Verdict::Gone, "purged: "),
        (
            Kept::Stored,
            Some(Removal::Damaged),
            Verdict::Gone,
            "evicted: the artifact was known, and was removed because its files were damaged",
        ),
        (Kept::Refused("it rained".into()), None, Verdict::NotStored, "the last compile of it couldn't be stored: it rained"),
    ] {
        let (mut before, mut after) = (build(1, chain("1")), build(2, chain("1")));
        before.records[0].kept = kept;
        after.records[0].removal = removal;
        let why = explain(&History::new([&before, &after]), &after, &after.records[0], &Vec::new);
        assert_eq!(why.verdict, verdict);
        assert!(why.lines[0].starts_with(front), "{why:?}");
    }
}

#[test]
fn without_records_the_store_tells_what_it_knows() {
    let build = build(1, vec![record(0, "a", seen(|_| ()))]);
    let history = History::new([&build]);
    let why = |stored: Vec<Seen>| explain(&history, &build, &build.records[0], &|| stored.clone());
    assert_eq!(why(vec![]).verdict, Verdict::NeverSeen);
    let told = |edit: fn(&mut Seen)| {
        let seen = seen(|s| {
            s.unit = UnitKey(digest("other"));
            edit(s);
        });
        seen.as_told()
    };
    assert_eq!(why(vec![seen(|_| ()), told(|s| s.inputs.cfgs.clear())]).lines, ["feature `std` added"]);
    assert_eq!(why(vec![told(|s| s.environment.clear())]).lines, ["env SDKROOT: unset → set"]);
    assert_eq!(why(vec![told(|s| s.inputs.toolchain = None)]).lines, ["the toolchain changed"]);
    assert_eq!(why(vec![told(|s| s.inputs.codegen[0] = "debuginfo=0".into())]).lines, ["profile: debuginfo 0 → 2"]);
    for edit in [|s: &mut Seen| s.inputs.salt = "x".into(), |s: &mut Seen| drop(s.environment.insert("SDKROOT".into(), Value::Untold))] {
        let lines = why(vec![told(edit)]).lines;
        assert!(
            lines.len() == 1 && lines[0].starts_with("something changed that artifacts don't tell of: the value of a variable (SDKROOT), ")
        );
    }
}

#[test]
fn every_reason_for_a_bypass_is_explained_with_its_detail_and_advice() {
    for reason in BypassReason::ALL {
        let mut declined = record(0, "a", seen(|_| ()));
        declined.outcome = Outcome::Bypass;
        declined.bypass = Some(Bypass::new(*reason, "the detail"));
        declined.seen = None;
        let build = build(1, vec![declined]);
        let why = explain(&History::new([&build]), &build, &build.records[0], &Vec::new);
        let meaning = reason.meaning().trim_end_matches('.');
        assert_eq!(why.lines[0], format!("{meaning}: the detail ({})", reason.name()));
        assert_eq!(why.advice.as_deref(), Some(reason.advice()));
        assert_eq!(sentence(*reason, ""), format!("{meaning} ({})", reason.name()));
    }
}

#[test]
fn a_package_waits_for_its_build_script() {
    let mut script = record(0, "a", seen(|s| s.inputs.crate_name = "build_script_build".into()));
    script.kind = Kind::BuildScript;
    let build = build(1, vec![script, record(1, "a", seen(|s| s.content = None))]);
    assert_eq!(graph::needs(&build), [vec![], vec![0]]);
}

#[test]
fn a_build_is_the_same_after_json() {
    let build = build(1, chain("1"));
    assert_eq!(serde_json::from_str::<Build>(&serde_json::to_string(&build).unwrap()).unwrap(), build);
}

#[test]
fn the_critical_path_is_the_chain_that_took_longest() {
    let part = |number, name: &str, needs: &[&str], took| {
        let seen = seen(|s| {
            s.inputs.externs = needs.iter().map(|need| external(need, need)).collect();
            s.content = Some(ContentKey(digest(name)));
        });
        Record { ended_micros: number * 1000 + took, ..record(number, name, seen) }
    };
    // `quick` is asked for late, and so ends after `slow`; what `top` really waited for is `slow`.
    let build = build(
        1,
        vec![
            part(0, "slow", &[], 9000),
            part(8, "quick", &[], 2000),
            part(10, "top", &["slow", "quick"], 3000),
            part(11, "lone", &[], 7000),
        ],
    );
    assert_eq!(graph::critical_path(&build, &graph::needs(&build)), [0, 2]);
    // A build script counts with its run, which nobody tells of.
    let mut script = part(1, "script", &[], 500);
    (script.kind, script.package) = (Kind::BuildScript, "late".into());
    let build = crate::build(1, vec![part(0, "long", &[], 9000), script, part(40, "late", &[], 100)]);
    assert_eq!(graph::critical_path(&build, &graph::needs(&build)), [1, 2]);
    // Its run ends when the first unit that needs it begins, however long others waited for a processor.
    let of = |number, name: &str, needs: &[&str], took| Record { package: "kernel".into(), ..part(number, name, needs, took) };
    let script = Record { kind: Kind::BuildScript, ..of(1, "script", &[], 500) };
    let build = crate::build(1, vec![script, of(2, "kernel", &[], 3000), of(40, "example", &[], 2000), part(41, "app", &["kernel"], 2500)]);
    assert_eq!(graph::critical_path(&build, &graph::needs(&build)), [0, 1, 3]);
}
