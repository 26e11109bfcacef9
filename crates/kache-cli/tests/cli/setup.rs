//! `kache setup` in a home of its own, with a `systemctl` that only looks like one.

use crate::fake::{Fake, status};
use crate::{Place, Said, check};
use std::fs;
use std::path::PathBuf;

/// A home with the three programs in it.
struct Home(Place);

impl Home {
    fn new() -> Self {
        let place = Place::new();
        place.script("kache-shim", "");
        place.script("kached", "");
        Self(place)
    }

    /// With a service manager: it notes what it is told, and says that it listens once it was told to.
    fn with_systemd() -> Self {
        let home = Self::new();
        let script = "\
cd \"$(dirname \"$0\")\"
echo \"$*\" >> systemctl.log
case \"$*\" in
    *' is-'*) test -e listening ;;
    *' enable --now kached.socket') touch listening ;;
    *' disable --now kached.socket kached.service') rm -f listening ;;
esac";
        home.0.script("systemctl", script);
        home
    }

    /// What the service manager was told to do, apart from questions.
    fn told(&self) -> Vec<String> {
        let log = fs::read_to_string(self.0.path("systemctl.log")).unwrap_or_default();
        let orders = log.lines().filter(|line| !line.contains(" is-") && !line.contains(" show "));
        orders.map(|line| line.trim_start_matches("--user ").to_owned()).collect()
    }

    fn setup_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Said {
        let arguments: Vec<&str> = std::iter::once("setup").chain(arguments.iter().copied()).collect();
        let mut command = self.0.kache(&arguments);
        // The place's own directory is where its programs are; nothing of this machine's systemd is asked.
        command.env("PATH", format!("{}:/usr/bin:/bin", self.0.path("").display())).env_remove("KACHE_SOCKET");
        if !self.0.path("systemctl").exists() {
            command.env("PATH", self.0.path(""));
        }
        command.env("XDG_RUNTIME_DIR", self.0.path("run")).envs(variables.iter().copied());
        self.0.said(command.output().unwrap())
    }

    fn setup(&self, arguments: &[&str]) -> Said {
        self.setup_with(arguments, &[])
    }

    fn cargo_config(&self) -> PathBuf {
        self.0.path(".cargo/config.toml")
    }

    fn unit(&self, name: &str) -> PathBuf {
        self.0.path(".config/systemd/user").join(name)
    }

    /// Every file of the home, with its text.
    fn files(&self) -> Vec<(PathBuf, String)> {
        let mut found = Vec::new();
        let mut dirs = vec![self.0.path(".cargo"), self.0.path(".config")];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).into_iter().flatten().map(Result::unwrap) {
                if entry.file_type().unwrap().is_dir() {
                    dirs.push(entry.path());
                } else {
                    found.push((entry.path(), fs::read_to_string(entry.path()).unwrap()));
                }
            }
        }
        found.sort();
        found
    }
}

#[test]
fn a_setup_brings_about_the_service_and_the_wrapper_once() {
    let home = Home::with_systemd();
    let plan = "\
change   write DIR/.config/systemd/user/kached.socket
change   write DIR/.config/systemd/user/kached.service
change   run `systemctl --user daemon-reload`
change   run `systemctl --user enable --now kached.socket`
change   set build.rustc-wrapper in DIR/.cargo/config.toml to DIR/kache-shim";
    check(&home.setup(&["--check"]), 1, &format!("{plan}\n5 changes to make"), "");
    assert!(home.files().is_empty() && home.told().is_empty(), "a check changes nothing");
    let refusal = "kache: error: nobody can be asked here: pass --yes to make the changes, or --check to see what would be done";
    check(&home.setup(&[]), 2, plan, refusal);
    assert!(home.files().is_empty(), "nothing without a yes");
    check(&home.setup(&["--yes"]), 0, &format!("{plan}\ndone; next: `cargo build`, then `kache stats`"), "");
    assert_eq!(home.told(), ["daemon-reload", "enable --now kached.socket"]);
    let service = fs::read_to_string(home.unit("kached.service")).unwrap();
    assert!(service.contains(&format!("\nExecStart={}\n", home.0.path("kached").display())), "{service}");
    let config = fs::read_to_string(home.cargo_config()).unwrap();
    assert_eq!(config, format!("# made by `kache setup`\n[build]\nrustc-wrapper = \"{}\"\n", home.0.path("kache-shim").display()));

    let fine = "\
ok       DIR/.config/systemd/user/kached.socket
ok       DIR/.config/systemd/user/kached.service
ok       the service manager listens for kached
ok       build.rustc-wrapper in DIR/.cargo/config.toml
nothing to change";
    let before = home.files();
    check(&home.setup(&["--yes"]), 0, fine, "");
    check(&home.setup(&["--check"]), 0, fine, "");
    assert_eq!((home.files(), home.told().len()), (before, 2));
}

#[test]
fn a_removal_leaves_what_was_there_before() {
    for config in [None, Some("# mine\n[net]\nretry = 3 # often\n"), Some("[build] # here\njobs = 2\n# end\n")] {
        let home = Home::with_systemd();
        if let Some(config) = config {
            fs::create_dir(home.0.path(".cargo")).unwrap();
            fs::write(home.cargo_config(), config).unwrap();
        }
        let before = home.files();
        assert_eq!(home.setup(&["--yes"]).code, Some(0));
        assert_eq!(home.files().len(), 3);
        let removed = home.setup(&["--remove", "--yes"]);
        assert!(removed.code == Some(0) && removed.stdout.ends_with("done\n"), "{removed:?}");
        assert_eq!(home.files(), before);
        assert_eq!(home.told()[2..], ["disable --now kached.socket kached.service", "daemon-reload"]);
        let again = home.setup(&["--remove", "--yes"]);
        let nothing = "ok       no build.rustc-wrapper in DIR/.cargo/config.toml\nok       no service\nnothing to change";
        check(&again, 0, nothing, "");
    }
}

#[test]
fn without_a_service_manager_it_says_so_and_sets_the_wrapper() {
    let home = Home::new();
    let said = home.setup(&["--yes"]);
    let text = "\
skipped  the service: no service manager answers (systemctl: No such file or directory (os error 2)); `kache start` starts kached
change   set build.rustc-wrapper in DIR/.cargo/config.toml to DIR/kache-shim
done; next: `kache start`, `cargo build`, then `kache stats`";
    check(&said, 0, text, "");
    let home = Home::new();
    home.0.script("systemctl", "echo 'Failed to connect to bus: No medium found' >&2; exit 1");
    let said = home.setup(&["--yes"]);
    let first = "skipped  the service: no service manager answers (systemctl --user show --property=Version: \
                 Failed to connect to bus: No medium found); `kache start` starts kached";
    assert_eq!((said.code, said.stdout.lines().next()), (Some(0), Some(first)));
    assert!(!home.unit("kached.socket").exists() && home.cargo_config().exists());
    let home = Home::with_systemd();
    assert_eq!(home.setup(&["--no-service", "--yes"]).stdout.lines().next(), Some("skipped  the service; `kache start` starts kached"));
    assert!(home.told().is_empty() && home.files().len() == 1);
}

#[test]
fn another_wrapper_is_told_of_and_left() {
    let home = Home::new();
    fs::create_dir(home.0.path(".cargo")).unwrap();
    let config = "[build]\nrustc-wrapper = \"sccache\"\n";
    fs::write(home.cargo_config(), config).unwrap();
    let said = home.setup_with(&["--yes", "--no-service"], &[("RUSTC_WRAPPER", "/usr/bin/sccache"), ("KACHE_SOCKET", "/tmp/s")]);
    let text = "\
skipped  the service; `kache start` starts kached
warning  build.rustc-wrapper in DIR/.cargo/config.toml is \"sccache\": left as it is; take it out, then run this again
warning  RUSTC_WRAPPER=\"/usr/bin/sccache\" in this environment wins over Cargo's configuration: unset it
warning  KACHE_SOCKET=/tmp/s in this environment: builds don't ask the service
kache isn't in front of builds: see the warning";
    check(&said, 1, text, "");
    assert_eq!(fs::read_to_string(home.cargo_config()).unwrap(), config);
    let removal = "skipped  build.rustc-wrapper in DIR/.cargo/config.toml is \"sccache\", which this didn't set\nnothing to change";
    check(&home.setup(&["--remove", "--no-service", "--yes"]), 0, removal, "");
}

#[test]
fn a_file_that_cargo_would_refuse_is_left_and_named() {
    let home = Home::new();
    fs::create_dir(home.0.path(".cargo")).unwrap();
    fs::write(home.cargo_config(), "[build\n").unwrap();
    let said = home.setup(&["--yes", "--no-service"]);
    assert_eq!(said.code, Some(2));
    assert!(said.stderr.starts_with("kache: error: DIR/.cargo/config.toml: TOML parse error at line 1, column 7\n"), "{}", said.stderr);
    assert_eq!(fs::read_to_string(home.cargo_config()).unwrap(), "[build\n");
}

#[test]
fn symlinks_and_modes_of_cargos_configuration_stay() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Home::new();
    fs::create_dir_all(home.0.path(".cargo")).unwrap();
    let real = home.0.path("dotfiles.toml");
    fs::write(&real, "[net]\nretry = 3\n").unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink(&real, home.cargo_config()).unwrap();
    assert_eq!(home.setup(&["--yes", "--no-service"]).code, Some(0));
    assert!(home.cargo_config().is_symlink() && fs::read_to_string(&real).unwrap().contains("rustc-wrapper"));
    assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(home.setup(&["--remove", "--yes", "--no-service"]).code, Some(0));
    assert_eq!(fs::read_to_string(&real).unwrap(), "[net]\nretry = 3\n");
}

#[test]
fn a_kached_that_runs_already_makes_room_for_the_service() {
    let home = Home::with_systemd();
    fs::create_dir_all(home.0.path("run/kache")).unwrap();
    let socket = home.0.path("run/kache/kached.sock");
    let fake = Fake::serve(&socket, vec![("GET /v1/status", vec![status(7)]), ("POST /v1/stop", vec![(200, String::new())])]);
    let said = home.setup(&["--yes"]);
    assert!(said.stdout.contains("\nchange   stop the kached that runs already (pid 7)\n"), "{said:?}");
    assert!(fake.asked().contains(&"POST /v1/stop".to_owned()));
}

#[test]
fn units_of_another_version_are_replaced_and_edited_ones_are_not_removed() {
    let home = Home::with_systemd();
    assert_eq!(home.setup(&["--yes"]).code, Some(0));
    fs::write(home.unit("kached.service"), "[Service]\nExecStart=/old/kached\n").unwrap();
    let said = home.setup(&["--yes"]);
    assert_eq!(home.told()[2..], ["daemon-reload", "try-restart kached.service"], "{said:?}");
    let service = fs::read_to_string(home.unit("kached.service")).unwrap();
    fs::write(home.unit("kached.service"), service.replace("WatchdogSec=60", "WatchdogSec=90")).unwrap();
    let said = home.setup(&["--remove", "--yes"]);
    assert!(said.stdout.contains("skipped  DIR/.config/systemd/user/kached.service has been edited; remove it by hand"), "{said:?}");
    assert!(home.unit("kached.service").exists() && !home.unit("kached.socket").exists());
}

#[test]
fn a_service_manager_that_refuses_is_quoted() {
    let home = Home::with_systemd();
    home.0.script("systemctl", "case \"$*\" in *enable*) echo 'Unit is masked.' >&2; exit 1 ;; *' is-'*) exit 1 ;; esac");
    let said = home.setup(&["--yes"]);
    assert_eq!(
        (said.code, said.stderr.as_str()),
        (Some(1), "kache: error: systemctl --user enable --now kached.socket: Unit is masked.\n")
    );
}
