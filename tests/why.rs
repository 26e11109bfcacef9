//! `kache why`: what changed, in words, after the fact.

use kache_testkit::{Cargo, Machine, Project, disguised, samples};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

const FOO: &str = "fn main() { println!(\"{} {:?}\", below::value(), option_env!(\"FOO\")); }\n";

/// [`samples::pair`] with a feature, a variable and a crate in between.
fn project(machine: &Machine, name: &str) -> Project {
    let project = samples::pair(machine.path(name));
    project.edit("Cargo.toml", "below = { path = \"below\" }", "below = { path = \"middle\", package = \"middle\" }");
    project.edit("Cargo.toml", "[\"below\"]", "[\"below\", \"middle\"]");
    project.write("src/main.rs", FOO);
    project.append("below/Cargo.toml", "[features]\nextra = []\n");
    let middle = "[features]\nextra = [\"below/extra\"]\n[dependencies]\nbelow = { path = \"../below\" }\n";
    project.write("middle/Cargo.toml", samples::package("middle", middle));
    project.write("middle/src/lib.rs", "pub use below::*;\n");
    project
}

fn build(machine: &Machine, cargo: Cargo) {
    cargo.ok();
    machine.settle();
}

fn json(machine: &Machine, args: &[&str]) -> serde_json::Value {
    let said = machine.kache(&[args, &["--json"]].concat());
    assert!(said.status.success(), "{}", said.stderr);
    serde_json::from_str(&said.stdout).unwrap()
}

/// How the last invocation of a crate ended, and why.
fn last(machine: &Machine, name: &str) -> (String, String, Vec<String>) {
    let why = json(machine, &["why", name]);
    let last = &why["invocations"][0];
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_else(|| panic!("{last}")).to_owned();
    let lines = last["why"]["lines"].as_array().unwrap().iter().map(text).collect();
    (text(&last["unit"]["outcome"]), text(&last["why"]["verdict"]), lines)
}

#[track_caller]
fn check(machine: &Machine, name: &str, verdict: &str, lines: &[&str]) {
    let (outcome, found, why) = last(machine, name);
    assert_eq!((found.as_str(), why.iter().map(String::as_str).collect::<Vec<_>>()), (verdict, lines.to_vec()), "{name}: {outcome}");
}

#[test]
fn every_kind_of_change_is_named_with_its_root() {
    let machine = Machine::new();
    let project = project(&machine, "a");
    let cargo = || machine.cargo(&project).args(["build"]);
    build(&machine, cargo());
    check(&machine, "below", "never_seen", &["never seen before"]);

    project.append("below/src/lib.rs", "// A remark.\n");
    build(&machine, cargo());
    check(&machine, "below", "changed", &["below/src/lib.rs changed"]);
    check(&machine, "prog", "changed", &["dependency `below` changed, because below/src/lib.rs of `below` changed"]);

    build(&machine, cargo().args(["--features", "below/extra"]));
    check(&machine, "below", "changed", &["feature `extra` added"]);

    build(&machine, cargo().env("RUSTFLAGS", "-Ctarget-cpu=native"));
    check(&machine, "below", "changed", &["RUSTFLAGS gained `-Ctarget-cpu=native`"]);

    project.remove("target");
    build(&machine, cargo());
    check(&machine, "below", "hit", &["restored from the local store"]);

    build(&machine, cargo().env("FOO", "1"));
    check(&machine, "prog", "changed", &["env FOO: unset → (hidden)"]);

    build(&machine, cargo().env("CARGO_PROFILE_DEV_OPT_LEVEL", "3"));
    check(&machine, "below", "changed", &["profile: opt-level 0 → 3"]);

    let other = another_compiler(&machine);
    build(&machine, cargo().env("RUSTC", &other));
    let (_, verdict, lines) = last(&machine, "below");
    assert_eq!(verdict, "changed");
    assert!(lines.len() == 1 && lines[0].starts_with("toolchain changed: rustc 1.") && lines[0].contains("→ rustc 1.999.0"), "{lines:?}");
}

/// The installed compiler behind a program that gives it another version.
fn another_compiler(machine: &Machine) -> std::path::PathBuf {
    let real = machine.plain(Path::new("/")).program("sh").args(["-c", "command -v rustc"]).ok().stdout;
    let script = format!(
        "#!/bin/sh\nif [ \"$*\" = -vV ]; then {real} -vV | sed 's/^rustc [^ ]*/rustc 1.999.0/'; else exec {real} \"$@\"; fi\n",
        real = real.trim()
    );
    let path = machine.path("rustc");
    disguised(&path, &script);
    path
}

#[test]
fn what_the_store_lost_is_told_from_what_changed() {
    let machine = Machine::new();
    let project = project(&machine, "a");
    build(&machine, machine.cargo(&project).args(["build"]));
    for (args, line) in [
        (
            &["gc", "--max-size", "1KiB", "--yes"][..],
            "evicted: the artifact was known, and was removed when the store was full or it was too long unused",
        ),
        (&["purge", "--yes"], "purged: the artifact was known, and somebody removed it"),
    ] {
        let said = machine.kache(args);
        assert!(said.status.success(), "{}", said.stderr);
        project.remove("target");
        build(&machine, machine.cargo(&project).args(["build"]));
        check(&machine, "below", "gone", &[line]);
        check(&machine, "prog", "gone", &[line]);
    }
}

#[test]
fn what_is_bound_to_a_path_is_said_to_be() {
    let machine = Machine::new();
    let here = machine.path("here");
    let by_value = samples::program(machine.path("by_value"), "fn main() { println!(\"{}\", env!(\"CARGO_MANIFEST_DIR\").len()); }\n");
    let by_text = samples::program(&here, &format!("fn main() {{ println!(\"{{}}\", {:?}); }}\n", here.display().to_string()));
    for project in [by_value, by_text] {
        let other = project.copy_to(format!("{}-too", project.path().display()));
        build(&machine, machine.cargo(&project).args(["build"]));
        build(&machine, machine.cargo(&other).args(["build"]));
        let (_, verdict, lines) = last(&machine, "prog");
        let (from, to) = (project.path().display(), other.path().display());
        let expected = match project.path() == here {
            true => format!("bound to its path: the known artifact spells {from}, so it is good for {from} only, and this is {to}"),
            false => format!("env CARGO_MANIFEST_DIR: {from} → {to}"),
        };
        assert_eq!((verdict.as_str(), lines), ("changed", vec![expected]));
    }
}

#[test]
fn a_bypass_is_explained_and_goes_no_further() {
    let machine = Machine::idle();
    fs::write(machine.config(), "[rules.below]\nbypass = true\n").unwrap();
    machine.start();
    let project = project(&machine, "a");
    build(&machine, machine.cargo(&project).args(["build"]));
    let rule = "A rule in the configuration says so, or declares files that can't be read: below (rule)";
    check(&machine, "below", "bypassed", &[rule]);
    let text = machine.kache(&["why", "below"]).stdout;
    assert!(text.contains(rule) && text.contains("→ Look at the [rules] in `kache config show`."), "{text}");
    for name in ["middle", "prog"] {
        assert_eq!(last(&machine, name).1, "never_seen", "{name}");
    }
}

/// Reasons that one command line of rustc's can cause, each through the real wrapper and the real daemon.
#[test]
fn reasons_that_a_command_line_causes_are_explained() {
    let machine = Machine::new();
    let project = samples::program(machine.path("a"), "fn main() {}\n");
    let rustc = machine.plain(Path::new("/")).program("sh").args(["-c", "command -v rustc"]).ok().stdout.trim().to_owned();
    let good = ["--emit=dep-info,link", "--out-dir=out", "src/main.rs"];
    for (reason, program, args) in [
        ("unknown_flag", rustc.as_str(), &["--frobnicate"][..]),
        ("unreadable_argfile", &rustc, &["@missing"]),
        ("several_inputs", &rustc, &["build.rs"]),
        ("emit_kind", &rustc, &["--emit=mir"]),
        ("output_path", &rustc, &["--emit=obj=there.o"]),
        ("save_temps", &rustc, &["-Csave-temps"]),
        ("split_debuginfo", &rustc, &["-g", "-Csplit-debuginfo=packed", "-Zsplit-dwarf-kind=single"]),
        ("linker_plugin_lto", &rustc, &["-Clinker-plugin-lto"]),
        ("link_arg", &rustc, &["-Clink-arg=-Wl,--version-script=x"]),
        ("linker_unknown", &rustc, &["-Clinker=/nonexistent/cc"]),
        ("native_library", &rustc, &["-lstatic=nowhere"]),
        ("unknown_extern", &rustc, &["--extern=other=out/libother.rlib"]),
        ("unknown_toolchain", "/nonexistent/rustc", &[]),
    ] {
        let name = format!("x_{reason}");
        let args = [&[program, "--crate-name", &name][..], &good, args].concat();
        let _rustc_may_fail = machine.plain(project.path()).program(kache_testkit::Binaries::get().shim()).args(args).run();
        let (outcome, verdict, lines) = last(&machine, &name);
        assert_eq!((outcome.as_str(), verdict.as_str()), ("bypass", "bypassed"), "{reason}: {lines:?}");
        assert!(lines[0].ends_with(&format!("({reason})")), "{reason}: {lines:?}");
    }
}

/// The reasons that need more than arguments: what stands around the command line, each by a script that calls the wrapper.
#[test]
fn reasons_that_the_surroundings_of_a_compile_cause_are_explained() {
    let machine = Machine::new();
    let project = samples::program(machine.path("a"), "fn main() {}\n");
    project.write("include.rs", "fn main() { include!(\"x\"); }\n").write("wrapper.sh", "#!/bin/sh\nexec \"$@\"\n");
    fs::set_permissions(project.file("wrapper.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    let sh =
        |script: &str| machine.plain(project.path()).program("sh").args(["-c", script]).env("SHIM", kache_testkit::Binaries::get().shim());
    let rustc = sh("command -v rustc").ok().stdout.trim().to_owned();
    let namespaces = sh("unshare --user --map-root-user --mount true").run().status.success();
    let elsewhere = "unshare --user --map-root-user --mount sh -c 'mount -t tmpfs none target && cd target && \
        exec \"$SHIM\" \"$RUSTC\" --crate-name \"$NAME\" --emit=dep-info,link --out-dir=. ../src/main.rs'";
    project.write("target/.keep", "");
    for (reason, script) in [
        ("not_a_compile", "\"$SHIM\" \"$RUSTC\" --crate-name $NAME src/main.rs --help"),
        ("unknown_wrapper", "\"$SHIM\" ./wrapper.sh \"$RUSTC\" --crate-name $NAME --emit=dep-info,link --out-dir=out src/main.rs"),
        ("crate_type", "\"$SHIM\" \"$RUSTC\" --crate-name $NAME --crate-type=sdylib --emit=dep-info,link --out-dir=out src/main.rs"),
        ("search_dir", "\"$SHIM\" \"$RUSTC\" --crate-name $NAME -Lall=@RUSTC_BUILTIN/x --emit=dep-info,link --out-dir=out src/main.rs"),
        ("open_probe", "\"$SHIM\" \"$RUSTC\" --crate-name $NAME --emit=metadata --out-dir=out include.rs"),
        ("stdin_too_large", "yes | head -c 2000000 | \"$SHIM\" \"$RUSTC\" --crate-name $NAME --emit=dep-info,link --out-dir=out -"),
        (
            "non_utf8",
            "RUSTC_BOOTSTRAP=$(printf '\\377') \"$SHIM\" \"$RUSTC\" --crate-name $NAME --emit=dep-info,link --out-dir=out src/main.rs",
        ),
        ("reserved_name", "CARGO_PKG_NAME=_inputs \"$SHIM\" \"$RUSTC\" --crate-name $NAME --emit=dep-info,link --out-dir=out src/main.rs"),
        ("other_filesystem", elsewhere),
    ] {
        if reason == "other_filesystem" && !namespaces {
            continue;
        }
        let name = format!("x_{reason}");
        let said = sh(script).env("RUSTC", &rustc).env("NAME", &name).run();
        let known = machine.kache(&["why", &name]);
        assert!(known.status.success(), "{reason}: {}{}\n{}", known.stderr, said.stderr, machine.log());
        let (outcome, verdict, lines) = last(&machine, &name);
        assert_eq!((outcome.as_str(), verdict.as_str()), ("bypass", "bypassed"), "{reason}: {lines:?}");
        assert!(lines[0].ends_with(&format!("({reason})")), "{reason}: {lines:?}");
    }
}

#[test]
fn the_last_build_lists_what_was_compiled_and_all_is_known_after_a_restart() {
    let machine = Machine::new();
    let project = project(&machine, "a");
    build(&machine, machine.cargo(&project).args(["build"]));
    project.append("middle/src/lib.rs", "// A remark.\n");
    build(&machine, machine.cargo(&project).args(["build"]));
    let seen = || {
        let text = machine.kache(&["why"]).stdout;
        assert!(text.starts_with("`cargo build` in ") && text.contains("2 units, 0 restored, 2 not"), "{text}");
        assert!(text.contains("middle  middle/src/lib.rs changed"), "{text}");
        let why = json(&machine, &["why", "prog"]);
        why["invocations"].as_array().unwrap().iter().map(|one| one["why"].to_string()).collect::<Vec<_>>()
    };
    let before = seen();
    assert_eq!(before.len(), 2);
    machine.restart();
    assert_eq!(seen(), before);
    assert_eq!(machine.kache(&["why", "nobody"]).stderr.trim(), "kache: error: no build that is remembered has asked for a crate nobody");
    assert_eq!(machine.kache(&["why", "nobody"]).status.code(), Some(1));

    // A damaged file costs what it told, and no more.
    let mut files: Vec<_> = fs::read_dir(machine.cache_dir().join("builds-v2")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 2);
    machine.stop();
    fs::write(&files[0], "damaged").unwrap();
    machine.start();
    assert_eq!(json(&machine, &["why", "prog"])["invocations"].as_array().unwrap().len(), 1);
    assert!(machine.log().contains("a build of the journal can't be read"), "{}", machine.log());
}

#[test]
fn a_result_that_could_not_be_stored_is_told_the_next_time() {
    let machine = Machine::new();
    let project = samples::program(machine.path("a"), "mac::touch!();\nfn main() {}\n");
    project.edit("Cargo.toml", "[workspace]", "[dependencies]\nmac = { path = \"mac\" }\n[workspace]\nmembers = [\"mac\"]");
    project.write("mac/Cargo.toml", samples::package("mac", "[lib]\nproc-macro = true\n"));
    let macro_text = "#[proc_macro]\npub fn touch(_: proc_macro::TokenStream) -> proc_macro::TokenStream {\n    \
        let text = std::fs::read(\"src/main.rs\").unwrap();\n    std::fs::write(\"src/main.rs\", text).unwrap();\n    Default::default()\n}\n";
    project.write("mac/src/lib.rs", macro_text);
    build(&machine, machine.cargo(&project).args(["build"]));
    project.remove("target");
    build(&machine, machine.cargo(&project).args(["build"]));
    let (_, verdict, lines) = last(&machine, "prog");
    assert_eq!(verdict, "not_stored", "{lines:?}");
    assert!(lines[0].contains("src/main.rs changed while rustc ran"), "{lines:?}");
}
