//! Build scripts that compile C with the `cc` crate, which knows kache's name and puts it in front of the C compiler.

use kache_testkit::{Binaries, Cargo, Machine, Project, run, samples};
use std::path::Path;

const BUILD: &str = "fn main() { cc::Build::new().file(\"src/f.c\").compile(\"f\"); }\n";
const MAIN: &str = "unsafe extern \"C\" { fn f() -> i32; }\nfn main() { println!(\"{}\", unsafe { f() }); }\n";

/// A program with a function in C. The `cc` crate is the one that this workspace's lock file names: Cargo has it.
fn project(machine: &Machine) -> Project {
    let project = samples::program(machine.path("a"), MAIN);
    project.edit("Cargo.toml", "[workspace]\n", "[workspace]\n[build-dependencies]\ncc = \"1\"\n");
    project.write("build.rs", BUILD).write("src/f.c", "int f(void) { return 42; }\n");
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock");
    project.write("Cargo.lock", std::fs::read_to_string(lock).unwrap());
    project
}

fn on_path(machine: &Machine, project: &Project) -> Cargo {
    let cargo = machine.plain(project.path());
    let path = cargo.variable("PATH").unwrap().to_str().unwrap();
    let path = format!("{}:{path}", Binaries::get().kache().parent().unwrap().display());
    cargo.env("PATH", path)
}

#[test]
fn c_is_compiled_whatever_way_kache_comes_in_front_of_its_compiler() {
    let machine = Machine::new();
    let project = project(&machine);
    let kache = Binaries::get().kache().to_str().unwrap().to_owned();
    let shim = Binaries::get().shim().to_str().unwrap().to_owned();
    let ways: [(&str, &[(&str, &str)]); 6] = [
        ("wrapper by path", &[("RUSTC_WRAPPER", &kache)]),
        ("wrapper by name", &[("RUSTC_WRAPPER", "kache")]),
        ("shim", &[("RUSTC_WRAPPER", &shim)]),
        ("CC", &[("RUSTC_WRAPPER", &shim), ("CC", &format!("{kache} cc"))]),
        ("CC by name", &[("CC", "kache cc")]),
        ("CC by the shim", &[("RUSTC_WRAPPER", "kache"), ("CC", &format!("{shim} cc"))]),
    ];
    for (what, variables) in ways {
        project.remove("target");
        let cargo = variables.iter().fold(on_path(&machine, &project), |cargo, (name, value)| cargo.env(*name, *value));
        let built = cargo.args(["build"]).run();
        assert!(built.status.success(), "{what}: {}\n{}", built.stderr, machine.log());
        assert_eq!(run(project.file("target/debug/prog")), "42\n", "{what}");
        // The last one's name isn't known to the crate, which first takes the shim for the compiler itself.
        assert!(machine.stats().outcomes.bypass == 0 || what == "CC by the shim", "{what}: {:?}", machine.stats().bypass_reasons);
    }
}
