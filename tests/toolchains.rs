//! Toolchains that change under a daemon's eyes without changing their name.

use kache_testkit::{Binaries, Machine, Project, run, samples};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// A toolchain of its own: the compiler's files by copy, since rustc finds its sysroot by where its driver library lies; all others by
/// symlink, but for the library that begins with `copied`.
fn toolchain(machine: &Machine, copied: &str) -> (PathBuf, PathBuf) {
    let ask = |what| machine.plain(Path::new("/")).program("rustc").args([what]).ok().stdout;
    let from = PathBuf::from(ask("--print=sysroot").trim());
    let version = ask("-vV");
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let to = machine.path("toolchain");
    let libraries = Path::new("lib/rustlib").join(host).join("lib");
    fs::create_dir_all(to.join("bin")).unwrap();
    fs::create_dir_all(to.join(&libraries)).unwrap();
    let own = |path: &Path| assert!(fs::copy(from.join(path), to.join(path)).is_ok());
    own(Path::new("bin/rustc"));
    for name in names(&from.join("lib")).iter().filter(|name| name.contains(".so")) {
        own(&Path::new("lib").join(name));
    }
    symlink(from.join(&libraries).with_file_name("bin"), to.join(&libraries).with_file_name("bin")).unwrap();
    let mut found = PathBuf::new();
    for name in names(&from.join(&libraries)) {
        let (from, to) = (from.join(&libraries).join(&name), to.join(&libraries).join(&name));
        if name.starts_with(copied) && name.ends_with(".rlib") {
            fs::copy(&from, &to).unwrap();
            found = to;
        } else {
            symlink(from, to).unwrap();
        }
    }
    (to.join("bin/rustc"), found)
}

fn names(directory: &Path) -> Vec<String> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Writes `to` over every `from` in the file, in place.
fn patch(path: &Path, from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let mut bytes = fs::read(path).unwrap();
    let found: Vec<usize> = (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from.as_bytes())).collect();
    assert!(!found.is_empty());
    for at in found {
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_standard_library_that_is_replaced_in_place_counts() {
    let machine = Machine::new();
    let (rustc, std) = toolchain(&machine, "libstd-");
    let project = Project::with(machine.path("a"), &[("prog.rs", "fn main() { println!(\"{}\", std::io::ErrorKind::NotFound); }\n")]);
    // Not by cargo: a rustup proxy in front of it would have rustc load the driver of its own toolchain.
    let compile = ["--crate-name=prog", "--edition=2024", "--emit=dep-info,link", "--out-dir=.", "prog.rs"];
    let compile = machine.plain(project.path()).program(Binaries::get().shim()).args([&rustc]).args(compile);
    let (old, new) = ("entity not found", "entity not there");
    for (from, to, hits) in [(old, old, 0), (old, new, 0), (new, old, 1)] {
        patch(&std, from, to);
        // A daemon that runs looks at the libraries' stamps once in a second.
        machine.restart();
        let (_, seen) = machine.watch(|| compile.ok());
        machine.settle();
        assert_eq!((run(project.file("prog")), seen.hits()), (format!("{to}\n"), hits));
    }
}

/// A compiler that says no more than its version.
fn speaking(directory: &Path, version: &str) {
    fs::create_dir_all(directory.join("bin")).unwrap();
    let rustc = directory.join("bin/rustc");
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in\n*sysroot*) echo {} ;;\n*) echo 'rustc {version}'; echo 'host: nowhere' ;;\nesac\n",
        directory.display()
    );
    fs::write(&rustc, script).unwrap();
    fs::set_permissions(rustc, PermissionsExt::from_mode(0o755)).unwrap();
}

#[test]
fn a_toolchain_that_is_linked_to_another_directory_counts() {
    let machine = Machine::new();
    // Only where rustc is a proxy.
    if machine.plain(Path::new("/")).program("rustup").args(["--version"]).command().output().is_err() {
        return;
    }
    let home = machine.path("rustup");
    fs::create_dir_all(home.join("toolchains")).unwrap();
    for version in ["1.0.0", "2.0.0", "1.0.0"] {
        let directory = machine.path(version);
        speaking(&directory, version);
        let link = home.join("toolchains/dev");
        let _none_yet = fs::remove_file(&link);
        symlink(directory, &link).unwrap();
        let asked = machine.plain(&machine.path("")).program(Binaries::get().shim()).args(["rustc", "-V"]);
        let answer = asked.env("RUSTUP_HOME", &home).env("RUSTUP_TOOLCHAIN", "dev").ok().stdout;
        assert_eq!(answer.lines().next(), Some(format!("rustc {version}").as_str()));
    }
}

#[test]
fn clippys_configuration_counts_where_clippy_looks_for_it() {
    let machine = Machine::new();
    let project = Project::with(
        machine.path("real/w"),
        &[("Cargo.toml", &samples::package("prog", "[workspace]\n")), ("src/main.rs", "fn f(_: u8, _: u8) {}\nfn main() { f(1, 2); }\n")],
    );
    fs::create_dir_all(machine.path("links")).unwrap();
    symlink(project.path(), machine.path("links/w")).unwrap();
    let manifest = machine.path("links/w/Cargo.toml");
    let warns = || {
        project.remove("target");
        let cargo = machine.cargo(&project).args(["clippy", "--manifest-path"]).args([&manifest]);
        let told = cargo.ok().stderr;
        machine.settle();
        told.contains("too many arguments")
    };
    assert!(!warns());
    fs::write(machine.path("real/clippy.toml"), "too-many-arguments-threshold = 1\n").unwrap();
    assert!(warns(), "a configuration beside the real directory's parent");
    fs::remove_file(machine.path("real/clippy.toml")).unwrap();
    fs::write(machine.path("links/clippy.toml"), "too-many-arguments-threshold = 1\n").unwrap();
    assert!(!warns(), "clippy doesn't look beside the link");
}

#[test]
fn a_configuration_of_clippy_that_cannot_be_read_is_named_as_what_it_is() {
    let machine = Machine::new();
    let project = samples::program(machine.path("a"), "fn main() {}\n");
    // No permission would stop the user root.
    let _unreadable = std::os::unix::net::UnixListener::bind(project.file("clippy.toml")).unwrap();
    machine.cargo(&project).args(["clippy"]).run();
    assert_eq!(machine.stats().bypass_reasons, [("clippy_config".to_owned(), 1)].into());
}

/// A flag from a file beside it, from a variable and from its own text: none of it in what Cargo says.
const SCRIPT: &str = "#!/bin/sh\nexec REAL \"$@\" $(cat DIR/flags 2>/dev/null) $KT_FLAGS # TEXT\n";

#[test]
fn a_script_in_the_compilers_place_is_a_named_bypass() {
    let machine = Machine::new();
    let main = "fn main() { println!(\"{}\", if cfg!(file) { 1 } else if cfg!(variable) { 2 } else if cfg!(text) { 3 } else { 0 }); }\n";
    let project = samples::program(machine.path("a"), main);
    let sysroot = machine.plain(project.path()).program("rustc").args(["--print=sysroot"]).ok().stdout;
    let real = format!("{}/bin/rustc", sysroot.trim());
    let script = |text: &str| {
        let filled = SCRIPT.replace("REAL", &real).replace("DIR", machine.path("").to_str().unwrap()).replace("# TEXT", text);
        fs::write(machine.path("rustc"), filled).unwrap();
        fs::set_permissions(machine.path("rustc"), PermissionsExt::from_mode(0o755)).unwrap();
    };
    let says = |cargo: kache_testkit::Cargo| {
        project.remove("target");
        cargo.args(["build"]).env("RUSTC", machine.path("rustc")).ok();
        machine.settle();
        run(project.file("target/debug/prog"))
    };
    let cargo = || machine.cargo(&project);
    script("");
    assert_eq!(says(cargo()), "0\n");
    fs::write(machine.path("flags"), "--cfg file").unwrap();
    assert_eq!(says(cargo()), "1\n", "a file");
    fs::remove_file(machine.path("flags")).unwrap();
    assert_eq!(says(cargo().env("KT_FLAGS", "--cfg variable")), "2\n", "a variable");
    script("--cfg text");
    assert_eq!(says(cargo()), "3\n", "its text");
    let stats = machine.stats();
    assert_eq!(stats.outcomes.all(), stats.bypass_reasons["rustc_script"], "{:?}", stats.bypass_reasons);
    assert_eq!(stats.store.artifacts, 0);
    // The same behind another name for it.
    symlink(machine.path("rustc"), machine.path("linked")).unwrap();
    machine.cargo(&project).args(["check"]).env("RUSTC", machine.path("linked")).ok();
    assert_eq!(machine.stats().outcomes.all(), machine.stats().bypass_reasons["rustc_script"]);
}

#[test]
fn what_rustc_logs_is_for_whoever_asked_for_it() {
    let machine = Machine::new();
    let project = samples::program(machine.path("a"), "fn main() {}\n");
    let logs = |log: Option<&str>| {
        project.remove("target");
        let cargo = machine.cargo(&project).args(["build"]);
        let told = log.into_iter().fold(cargo, |cargo, log| cargo.env("RUSTC_LOG", log)).ok().stderr;
        machine.settle();
        told.contains("INFO")
    };
    let info = Some("rustc_codegen_ssa::back::link=info");
    assert_eq!([logs(info), logs(None), logs(info), logs(Some(""))], [true, false, true, false]);
    let seen = machine.stats();
    assert_eq!((seen.outcomes.miss, seen.outcomes.hits()), (1, 1), "{:?}", seen.bypass_reasons);
    assert!(seen.bypass_reasons.keys().eq(["rustc_log"]), "{:?}", seen.bypass_reasons);
}
