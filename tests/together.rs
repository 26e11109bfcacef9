//! Many builds at once.

use kache_testkit::{Machine, Project, run, samples};

const ALL: [&str; 2] = ["build", "--workspace"];

#[test]
fn eight_copies_at_once_compile_every_unit_once() {
    let machine = Machine::new();
    let original = samples::full(machine.path("original"));
    let copies: Vec<Project> = (0..8).map(|n| original.copy_to(machine.path(&format!("copy{n}/x")))).collect();
    let (_, seen) = machine.watch(|| {
        std::thread::scope(|scope| {
            for copy in &copies {
                scope.spawn(|| machine.cargo(copy).args(ALL).args(["-j2"]).ok());
            }
        });
    });
    let single = Machine::new();
    let cold = single.build(&original, &ALL);
    assert_eq!((seen.miss, seen.bypass, seen.failed), (cold.miss, 0, 0), "{seen:?}");
    assert_eq!(seen.hits(), 7 * cold.miss);
    for copy in &copies {
        assert_eq!(run(copy.file("target/debug/app")), samples::FULL_REPORT);
        machine.is_fresh(copy, &ALL);
    }
}

#[test]
fn two_cargos_share_one_target_directory() {
    let machine = Machine::new();
    let project = samples::full(machine.path("a"));
    for _ in 0..2 {
        std::thread::scope(|scope| {
            for args in [&ALL[..], &["check", "--workspace"], &["build", "-p", "app"]] {
                scope.spawn(|| machine.cargo(&project).args(args.iter().copied()).ok());
            }
        });
        assert_eq!(run(project.file("target/debug/app")), samples::FULL_REPORT);
        machine.is_fresh(&project, &ALL);
        project.remove("target");
    }
}

#[test]
fn one_job_and_sixty_four_jobs_restore_the_same() {
    let machine = Machine::new();
    let project = samples::full(machine.path("a"));
    let cold = machine.build(&project, &ALL);
    for jobs in ["-j1", "-j64"] {
        project.remove("target");
        assert_eq!(machine.restores(&project, &[&ALL[..], &[jobs]].concat()), cold.miss);
        machine.is_fresh(&project, &ALL);
    }
}

#[test]
fn a_build_script_may_run_cargo_itself() {
    let machine = Machine::new();
    let project = samples::program(machine.path("a"), "fn main() { println!(\"{}\", env!(\"INNER\").trim()); }\n");
    samples::pair(project.file("inner"));
    project.edit("Cargo.toml", "[workspace]", "[workspace]\nexclude = [\"inner\"]");
    project.write(
        "build.rs",
        "use std::{env, process::Command};
fn main() {
    println!(\"cargo::rerun-if-changed=inner\");
    let target = env::var(\"OUT_DIR\").unwrap() + \"/target\";
    let cargo = env::var_os(\"CARGO\").unwrap();
    assert!(Command::new(cargo).args([\"build\", \"--manifest-path\", \"inner/Cargo.toml\", \"--target-dir\", &target]).status().unwrap().success());
    let output = Command::new(target + \"/debug/prog\").output().unwrap();
    println!(\"cargo::rustc-env=INNER={}\", String::from_utf8(output.stdout).unwrap().trim());
}\n",
    );
    let cold = machine.build(&project, &["build"]);
    assert_eq!(cold.all(), 4, "{cold:?}");
    assert_eq!(run(project.file("target/debug/prog")), "1\n");
    project.remove("target");
    assert_eq!(machine.restores(&project, &["build"]), cold.miss);
    machine.is_fresh(&project, &["build"]);
    project.edit("inner/below/src/lib.rs", "{ 1 }", "{ 2 }");
    machine.build(&project, &["build"]);
    assert_eq!(run(project.file("target/debug/prog")), "2\n");
}
