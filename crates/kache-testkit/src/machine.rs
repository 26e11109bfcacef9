//! A private machine: home, cache directory, socket and configuration of its own, and a `kached` that ends with it.

use crate::binaries::Binaries;
use crate::cargo::{Built, Cargo};
use crate::http::http_get;
use crate::project::Project;
use crate::stats::{Outcomes, Stats};
use crate::wait::{finish_within, until};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use tempfile::TempDir;

/// Bound on what the daemon is given to come up or to go away.
const PATIENCE: Duration = Duration::from_secs(20);

/// See the module.
#[derive(Debug)]
pub struct Machine {
    place: TempDir,
    daemon: Mutex<Option<Child>>,
    settings: Vec<(String, String)>,
}

/// An empty directory whose path has a chosen number of bytes; gone with its value.
#[derive(Debug)]
pub struct Place(TempDir);

impl Place {
    /// A directory below `/tmp` with a path of `bytes` bytes.
    ///
    /// # Panics
    /// If `bytes` leaves no room for a unique name (below 8).
    pub fn of_length(bytes: usize) -> Self {
        assert!(bytes >= 8, "/tmp/ and at least three letters");
        let made = tempfile::Builder::new().prefix("").rand_bytes(bytes - "/tmp/".len()).tempdir_in("/tmp");
        Self(made.expect("a directory in /tmp"))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Machine {
    /// What to tell [`Cargo::in_namespaces_of`] of a daemon in a user namespace.
    pub const ENTER: [&str; 3] = ["--user", "--preserve-credentials", "--mount"];

    /// With a running daemon.
    #[expect(clippy::new_without_default, reason = "starting a daemon is no default")]
    pub fn new() -> Self {
        Self::with(&[])
    }

    /// With a running daemon that has these variables in its environment.
    pub fn with(settings: &[(&str, &str)]) -> Self {
        let machine = Self::idle_with(settings);
        machine.start();
        machine
    }

    /// Without a daemon.
    pub fn idle() -> Self {
        Self::idle_with(&[])
    }

    /// Without a daemon; one that is started later has these variables in its environment.
    ///
    /// # Panics
    /// If the temporary directory can't be made.
    pub fn idle_with(settings: &[(&str, &str)]) -> Self {
        let place = tempfile::Builder::new().prefix("kt").tempdir_in("/tmp").expect("a directory in /tmp");
        fs::create_dir(place.path().join("home")).expect("make a home");
        fs::write(place.path().join("config.toml"), "").expect("write an empty configuration");
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { place, daemon: Mutex::new(None), settings }
    }

    /// A directory of the machine's, for projects.
    pub fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// The home directory.
    pub fn home(&self) -> PathBuf {
        self.path("home")
    }

    /// `KACHE_CACHE_DIR`.
    pub fn cache_dir(&self) -> PathBuf {
        self.path("cache")
    }

    /// `KACHE_SOCKET`.
    pub fn socket(&self) -> PathBuf {
        self.path("s")
    }

    /// `KACHE_CONFIG`.
    pub fn config(&self) -> PathBuf {
        self.path("config.toml")
    }

    /// What the daemon has written to stderr so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("kached.log")).unwrap_or_default()
    }

    /// Starts `kached` and waits until it says that it is ready.
    ///
    /// # Panics
    /// If it ends or says nothing.
    pub fn start(&self) {
        self.launch(Command::new(Binaries::get().kached()));
    }

    /// Starts `command`, which has to become `kached`, and waits until it says that it is ready.
    ///
    /// # Panics
    /// As [`Machine::start`].
    pub fn launch(&self, command: Command) {
        let mut child = self.spawn(command);
        until("kached ready", PATIENCE, || {
            if let Some(status) = child.try_wait().expect("look at kached") {
                panic!("kached ended with {status}:\n{}", self.log());
            }
            self.log().lines().any(|line| line.starts_with("kached ready")).then_some(())
        });
        *self.slot() = Some(child);
    }

    /// Starts `command` as a daemon would be started, without waiting or keeping it. Variables that it sets itself stay.
    ///
    /// # Panics
    /// If it can't be started.
    pub fn spawn(&self, command: Command) -> Child {
        self.spawn_reading(command, Stdio::null())
    }

    /// The same with a standard input.
    ///
    /// # Panics
    /// As [`Machine::spawn`].
    pub fn spawn_reading(&self, mut command: Command, stdin: impl Into<Stdio>) -> Child {
        let log = File::create(self.path("kached.log")).expect("the daemon's log");
        let own: Vec<_> = command.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect();
        let prepared = self.plain(Path::new("/")).command();
        command.env_clear().envs(prepared.get_envs().filter_map(|(name, value)| Some((name, value?)))).envs(own);
        command.env("KACHE_CACHE_DIR", self.cache_dir()).env("KACHE_CONFIG", self.config());
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command.current_dir("/").stdin(stdin).stdout(Stdio::null()).stderr(log);
        command.spawn().unwrap_or_else(|error| panic!("start {command:?}: {error}"))
    }

    /// Ends the daemon by SIGTERM.
    ///
    /// # Panics
    /// If it doesn't end within its bound.
    pub fn stop(&self) -> ExitStatus {
        self.end(Signal::TERM)
    }

    /// Ends the daemon by SIGKILL.
    ///
    /// # Panics
    /// If there is none.
    pub fn kill(&self) -> ExitStatus {
        self.end(Signal::KILL)
    }

    /// Stops it with SIGTERM and starts a new one on the same directories.
    pub fn restart(&self) {
        self.stop();
        self.start();
    }

    /// Sends a signal to the daemon.
    ///
    /// # Panics
    /// If there is none.
    pub fn signal(&self, signal: Signal) {
        let slot = self.slot();
        let id = slot.as_ref().expect("a running daemon").id();
        kill_process(pid(id), signal).expect("signal kached");
    }

    /// The daemon's process id.
    ///
    /// # Panics
    /// If there is none.
    pub fn pid(&self) -> u32 {
        self.slot().as_ref().expect("a running daemon").id()
    }

    /// `kache ARGS…` on this machine.
    pub fn kache(&self, args: &[&str]) -> Built {
        self.kache_in(Path::new("/")).args(args.iter().copied()).run()
    }

    /// `kache` in a directory, with the variables that the daemon has.
    pub fn kache_in(&self, directory: &Path) -> Cargo {
        let kache = self.plain(directory).program(Binaries::get().kache()).env("KACHE_CONFIG", self.config());
        self.settings.iter().fold(kache, |kache, (name, value)| kache.env(name, value))
    }

    /// The counters now.
    ///
    /// # Panics
    /// If the daemon doesn't answer as promised.
    pub fn stats(&self) -> Stats {
        let (status, body) = http_get(&self.socket(), "/v1/stats").expect("GET /v1/stats");
        assert_eq!(status, 200);
        serde_json::from_slice(&body).unwrap_or_else(|error| panic!("/v1/stats: {error}: {}", String::from_utf8_lossy(&body)))
    }

    /// Does `work` and tells which outcomes it added.
    pub fn watch<T>(&self, work: impl FnOnce() -> T) -> (T, Outcomes) {
        let before = self.stats().outcomes;
        let result = work();
        (result, self.stats().outcomes.since(&before))
    }

    /// Cargo through kache in a directory of `project`.
    pub fn cargo(&self, project: &Project) -> Cargo {
        self.plain(project.path()).env("RUSTC_WRAPPER", Binaries::get().shim())
    }

    /// Cargo through kache in the mount namespace of the daemon (and its user namespace, which may be needed to enter that).
    ///
    /// # Panics
    /// If there is no daemon.
    pub fn cargo_beside_daemon(&self, project: &Project) -> Cargo {
        self.cargo(project).in_namespaces_of(self.pid(), &Self::ENTER)
    }

    /// Cargo without kache, on the same machine.
    pub fn plain(&self, directory: &Path) -> Cargo {
        Cargo::plain(directory, &self.home()).env("KACHE_SOCKET", self.socket()).env("KACHE_CACHE_DIR", self.cache_dir())
    }

    /// Builds through kache, requires success, and tells the outcomes.
    #[track_caller]
    pub fn build(&self, project: &Project, args: &[&str]) -> Outcomes {
        let cargo = self.cargo(project).args(args.iter().copied());
        let (built, seen) = self.watch(|| cargo.run());
        assert!(built.status.success(), "cargo {args:?} failed:\n{}\n{}\n{}", built.stdout, built.stderr, self.log());
        self.settle();
        seen
    }

    /// Waits until nothing is being compiled or stored any more: programs are stored behind the reply.
    pub fn settle(&self) {
        until("everything is stored", Duration::from_secs(60), || {
            let (_, body) = http_get(&self.socket(), "/v1/status").ok()?;
            let status: serde_json::Value = serde_json::from_slice(&body).ok()?;
            (status["compiling"] == 0).then_some(())
        });
    }

    /// Builds through kache and requires that everything is restored; tells how many units that were.
    ///
    /// # Panics
    /// If a unit was compiled, with the stats and the log.
    #[track_caller]
    pub fn restores(&self, project: &Project, args: &[&str]) -> u64 {
        let seen = self.build(project, args);
        assert!(
            seen.compiled() == 0 && seen.hits() > 0,
            "cargo {args:?} should restore everything: {seen:?}, {:?}\n{}",
            self.stats().bypass_reasons,
            self.log()
        );
        seen.hits()
    }

    /// Builds through kache and requires that Cargo asks nothing: all is fresh.
    #[track_caller]
    pub fn is_fresh(&self, project: &Project, args: &[&str]) {
        assert_eq!(self.build(project, args), Outcomes::default(), "cargo {args:?} in {} should be fresh", project.path().display());
    }

    fn slot(&self) -> MutexGuard<'_, Option<Child>> {
        self.daemon.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn end(&self, signal: Signal) -> ExitStatus {
        let mut child = self.slot().take().expect("a running daemon");
        kill_process(pid(child.id()), signal).expect("signal kached");
        finish_within(&mut child, PATIENCE).unwrap_or_else(|| panic!("kached outlived {signal:?}:\n{}", self.log()))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(mut child) = self.slot().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn pid(id: u32) -> Pid {
    i32::try_from(id).ok().and_then(Pid::from_raw).expect("a process id")
}
