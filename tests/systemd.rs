//! `kached` under a real systemd, a user's: set up, started by the first build, and there again after a reboot. Runs where a second user manager can
//! be started beside whatever the machine has (as root, with mount and cgroup namespaces); elsewhere `service.rs` emulates it.
#![cfg(target_os = "linux")]

use kache_testkit::{Binaries, Built, Cargo, Machine, Project, finish_within, http_get, run, samples, until};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const BOUND: Duration = Duration::from_secs(30);

/// What a user manager needs of its own before it can start sockets and end itself.
const OWN_UNITS: [&str; 8] = [
    "basic.target",
    "default.target",
    "exit.target",
    "paths.target",
    "shutdown.target",
    "sockets.target",
    "systemd-exit.service",
    "timers.target",
];

/// A machine with installed programs whose user has a systemd.
struct Login {
    machine: Machine,
    manager: Option<Child>,
}

impl Login {
    /// `None` where it can't be had.
    fn new() -> Option<Self> {
        let possible = Command::new("unshare").args(["-mC", "mount", "-t", "tmpfs", "tmpfs", "/run"]).stderr(Stdio::null()).status();
        if !possible.is_ok_and(|status| status.success()) || !Path::new("/usr/lib/systemd/systemd").exists() {
            return None;
        }
        let machine = Machine::idle();
        for directory in ["units", "bin", "run"] {
            fs::create_dir(machine.path(directory)).unwrap();
        }
        for name in OWN_UNITS {
            fs::copy(Path::new("/usr/lib/systemd/user").join(name), machine.path("units").join(name)).ok()?;
        }
        for program in [Binaries::get().kache(), Binaries::get().kached(), Binaries::get().shim()] {
            assert!(Command::new("cp").arg(&program).arg(machine.path("bin")).status().unwrap().success());
        }
        let mut login = Self { machine, manager: None };
        login.boot();
        Some(login)
    }

    fn runtime_dir(&self) -> PathBuf {
        self.machine.path("run")
    }

    /// Starts the manager, which starts what is enabled.
    fn boot(&mut self) {
        // It wants to see that the machine was booted with systemd.
        let script = "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system && exec /usr/lib/systemd/systemd --user";
        let mut command = self.user("unshare").args(["-mC", "sh", "-c", script]).env("SYSTEMD_LOG_TARGET", "null").command();
        self.manager = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        until("the manager answers", BOUND, || self.systemctl(&["is-active", "--quiet", "default.target"]).then_some(()));
    }

    /// Ends everything of the user's and empties what a reboot empties.
    fn shut_down(&mut self) {
        self.systemctl(&["exit"]);
        let mut manager = self.manager.take().expect("a manager");
        assert!(finish_within(&mut manager, BOUND).is_some(), "the manager ends");
        assert!(http_get(&self.socket(), "/healthz").is_err(), "and kached with it");
        fs::remove_dir_all(self.runtime_dir()).unwrap();
        fs::create_dir(self.runtime_dir()).unwrap();
    }

    fn socket(&self) -> PathBuf {
        self.runtime_dir().join("kache/kached.sock")
    }

    /// A program as this user would run it, in the home directory.
    fn user(&self, program: &str) -> Cargo {
        let home = self.machine.home();
        let cargo = Cargo::plain(&home, &home).program(program).env("CARGO_HOME", home.join(".cargo"));
        let units = format!("{}:{}", home.join(".config/systemd/user").display(), self.machine.path("units").display());
        cargo.env("XDG_RUNTIME_DIR", self.runtime_dir()).env("SYSTEMD_UNIT_PATH", units)
    }

    fn kache(&self, arguments: &[&str]) -> Built {
        self.user(self.machine.path("bin/kache").to_str().unwrap()).args(arguments.iter().copied()).run()
    }

    fn systemctl(&self, arguments: &[&str]) -> bool {
        self.user("systemctl").args(["--user"]).args(arguments.iter().copied()).run().status.success()
    }

    /// Cargo, with nothing about kache in its environment, seeing what the manager and its services see.
    fn builds(&self, project: &Project) {
        let manager = self.manager.as_ref().expect("a manager").id();
        self.user("cargo").at(project.path()).args(["build"]).in_namespaces_of(manager, &["--mount"]).ok();
        assert_eq!(run(project.file("target/debug/prog")), "1\n");
    }

    fn stats(&self) -> serde_json::Value {
        let stats = || -> serde_json::Value { serde_json::from_slice(&http_get(&self.socket(), "/v1/stats").unwrap().1).unwrap() };
        until("all is stored", BOUND, || Some(stats()).filter(|stats| stats["store"]["artifacts"] == 2))
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        let Some(mut manager) = self.manager.take() else { return };
        self.systemctl(&["kill", "--signal=KILL", "kached.service"]);
        self.systemctl(&["exit"]);
        let _ = finish_within(&mut manager, BOUND);
    }
}

#[test]
fn set_up_built_with_rebooted_and_taken_away() {
    let Some(mut login) = Login::new() else { return };
    let project = samples::pair(login.machine.path("a"));
    let set_up = login.kache(&["setup", "--yes"]);
    assert!(set_up.status.success(), "{}{}", set_up.stdout, set_up.stderr);
    assert!(login.socket().exists() && !login.systemctl(&["is-active", "--quiet", "kached.service"]), "it listens, nothing runs");

    login.builds(&project);
    let outcomes = &login.stats()["outcomes"];
    assert_eq!((&outcomes["miss"], &outcomes["bypass"], &outcomes["failed"]), (&2.into(), &0.into(), &0.into()), "from its first unit on");
    let property = login.user("systemctl").args(["--user", "show", "kached.service", "--property=StatusText,NRestarts,ActiveState"]).run();
    assert!(property.stdout.contains("StatusText=") && property.stdout.contains("ActiveState=active\n"), "{}", property.stdout);
    assert!(property.stdout.contains("NRestarts=0\n"), "{}", property.stdout);
    let status = login.kache(&["status"]);
    assert!(status.status.success() && !status.stdout.contains("notice"), "{}", status.stdout);

    for _ in 0..2 {
        login.shut_down();
        login.boot();
        assert!(!login.systemctl(&["is-active", "--quiet", "kached.service"]), "nothing runs before somebody builds");
        project.remove("target");
        login.builds(&project);
        let outcomes = &login.stats()["outcomes"];
        assert_eq!(
            (&outcomes["local_hit"], &outcomes["miss"], &outcomes["bypass"]),
            (&2.into(), &0.into(), &0.into()),
            "no question is lost"
        );
    }

    let removed = login.kache(&["setup", "--remove", "--yes"]);
    assert!(removed.status.success(), "{}{}", removed.stdout, removed.stderr);
    assert!(!login.systemctl(&["is-active", "--quiet", "kached.service"]) && !login.systemctl(&["is-enabled", "--quiet", "kached.socket"]));
    let left = walk(&login.machine.home());
    let own = left.iter().filter(|path| !path.starts_with(login.machine.home().join(".cache/kache")));
    let own: Vec<_> = own.filter(|path| path.to_string_lossy().contains("kache") || path.ends_with(".cargo/config.toml")).collect();
    assert!(own.is_empty() && !login.socket().exists(), "{own:?}");
    project.remove("target");
    login.builds(&project);
    assert!(http_get(&login.socket(), "/healthz").is_err(), "nobody starts it any more");
}

/// Every file below a directory.
fn walk(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| if entry.file_type().is_ok_and(|kind| kind.is_dir()) { walk(&entry.path()) } else { vec![entry.path()] })
        .collect()
}
