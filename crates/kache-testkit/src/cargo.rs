//! One run of cargo (or of anything else that stands for a build), with an environment that holds nothing by chance.

use crate::wait::finish_within;
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// A run that is being prepared.
#[derive(Clone, Debug)]
pub struct Cargo {
    directory: PathBuf,
    program: OsString,
    args: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    limit: Duration,
}

/// What a run gave.
#[derive(Clone, Debug)]
pub struct Built {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// The lines of `--message-format=json`.
#[derive(Clone, Debug)]
pub struct Json(pub Vec<Value>);

impl Cargo {
    /// Plain cargo in `directory`, without any wrapper; `home` stands for the user's home directory.
    pub fn plain(directory: impl Into<PathBuf>, home: &Path) -> Self {
        Self {
            directory: directory.into(),
            program: "cargo".into(),
            args: Vec::new(),
            environment: base_environment(home),
            limit: Duration::from_secs(600),
        }
    }

    /// Another program instead of cargo, in the same environment.
    #[must_use]
    pub fn program(mut self, program: impl Into<OsString>) -> Self {
        self.program = program.into();
        self
    }

    /// The program so far, with its arguments, as the last arguments of another command.
    #[must_use]
    pub fn under<S: Into<OsString>>(mut self, front: impl IntoIterator<Item = S>) -> Self {
        let mut words: Vec<OsString> = front.into_iter().map(Into::into).collect();
        words.push(std::mem::take(&mut self.program));
        words.append(&mut self.args);
        self.program = words.remove(0);
        self.args = words;
        self
    }

    /// The same, in namespaces of another process: options of `nsenter` say which.
    #[must_use]
    pub fn in_namespaces_of(self, pid: u32, which: &[&str]) -> Self {
        // Whoever enters a mount namespace stands at its root at first.
        const BACK: &str = "cd \"$0\" && exec \"$@\"";
        let pid = pid.to_string();
        let front = ["nsenter", "--target", &pid].into_iter().chain(which.iter().copied()).chain(["sh", "-c", BACK]);
        let front: Vec<OsString> = front.map(OsString::from).chain([self.directory.clone().into()]).collect();
        self.under(front)
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: Into<OsString>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        let name = name.into();
        self.environment.retain(|(known, _)| *known != name);
        self.environment.push((name, value.into()));
        self
    }

    /// A variable's value.
    pub fn variable(&self, name: &str) -> Option<&OsStr> {
        self.environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_os_str())
    }

    /// Unsets a variable.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.environment.retain(|(known, _)| known != name);
        self
    }

    /// Sets `CARGO_TARGET_DIR`.
    #[must_use]
    pub fn target(self, directory: impl Into<OsString>) -> Self {
        self.env("CARGO_TARGET_DIR", directory)
    }

    /// Runs in another directory.
    #[must_use]
    pub fn at(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = directory.into();
        self
    }

    /// How long it may take before it counts as hung (600 s if not said).
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The command, standard input closed, leading a process group of its own.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).current_dir(&self.directory).env_clear().envs(self.environment.iter().map(|(k, v)| (k, v)));
        command.stdin(Stdio::null()).process_group(0);
        command
    }

    /// Starts it with pipes for its output.
    ///
    /// # Panics
    /// If the program can't be started.
    pub fn spawn(&self) -> Child {
        let spawned = self.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        spawned.unwrap_or_else(|error| panic!("start {:?} in {}: {error}", self.program, self.directory.display()))
    }

    /// Runs it, whatever comes out.
    ///
    /// # Panics
    /// If it doesn't end, *and close its pipes*, within the limit.
    pub fn run(&self) -> Built {
        self.finish(self.spawn())
    }

    /// Waits for a run that [`Cargo::spawn`] started.
    ///
    /// # Panics
    /// As [`Cargo::run`].
    pub fn finish(&self, mut child: Child) -> Built {
        let stdout = collect(child.stdout.take());
        let stderr = collect(child.stderr.take());
        let status = finish_within(&mut child, self.limit);
        if status.is_none() {
            kill_group(&child);
        }
        let take = |from: std::sync::mpsc::Receiver<Vec<u8>>, name: &str| {
            let bytes =
                from.recv_timeout(Duration::from_secs(30)).unwrap_or_else(|_| panic!("somebody still holds {name} of {:?}", self.args));
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let (stdout, stderr) = (take(stdout, "stdout"), take(stderr, "stderr"));
        let Some(status) = status else { panic!("{:?} {:?} hung\n{stdout}\n{stderr}", self.program, self.args) };
        Built { status, stdout, stderr }
    }

    /// Runs it and requires success.
    ///
    /// # Panics
    /// With the run's output, if it failed.
    #[track_caller]
    pub fn ok(&self) -> Built {
        let built = self.run();
        assert!(built.status.success(), "{:?} {:?} failed:\n{}\n{}", self.program, self.args, built.stdout, built.stderr);
        built
    }

    /// Runs it and requires failure.
    ///
    /// # Panics
    /// With the run's output, if it succeeded.
    #[track_caller]
    pub fn fails(&self) -> Built {
        let built = self.run();
        assert!(!built.status.success(), "{:?} should have failed:\n{}\n{}", self.args, built.stdout, built.stderr);
        built
    }

    /// Runs it with `--message-format=json` and requires success.
    ///
    /// # Panics
    /// As [`Cargo::ok`].
    #[track_caller]
    pub fn json(&self) -> Json {
        self.clone().args(["--message-format=json"]).ok().json()
    }
}

impl Built {
    /// The JSON lines of standard output.
    pub fn json(&self) -> Json {
        Json(self.stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// Standard output, and standard error without Cargo's lines about time and about other Cargos: what must look the same with and
    /// without kache.
    pub fn seen(&self) -> (String, String) {
        let same = |line: &&str| !["Finished", "Blocking", "Locking"].iter().any(|word| line.contains(word));
        (self.stdout.clone(), self.stderr.lines().filter(same).collect::<Vec<_>>().join("\n"))
    }
}

impl Json {
    /// The names of targets that Cargo did not find fresh, sorted.
    pub fn rebuilt(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.artifacts().filter(|line| line["fresh"] == false).map(|line| text(&line["target"]["name"])).collect();
        names.sort();
        names
    }

    /// Every file that Cargo reports as made.
    pub fn files(&self) -> Vec<PathBuf> {
        let all = self.artifacts().flat_map(|line| line["filenames"].as_array().cloned().unwrap_or_default());
        all.map(|name| PathBuf::from(text(&name))).collect()
    }

    /// The executables that Cargo reports.
    pub fn executables(&self) -> Vec<PathBuf> {
        self.artifacts().filter_map(|line| line["executable"].as_str().map(PathBuf::from)).collect()
    }

    fn artifacts(&self) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(|line| line["reason"] == "compiler-artifact")
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Reads a pipe to its end on a thread of its own: its end is an observation of its own.
fn collect(pipe: Option<impl Read + Send + 'static>) -> std::sync::mpsc::Receiver<Vec<u8>> {
    let (send, receive) = std::sync::mpsc::channel();
    let mut pipe = pipe.expect("a piped child");
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        let _ = send.send(bytes);
    });
    receive
}

fn kill_group(child: &Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

/// `PATH`, the toolchain's variables and Cargo's home; the rest is private or fixed.
fn base_environment(home: &Path) -> Vec<(OsString, OsString)> {
    let given = |name: &str| std::env::var_os(name);
    let in_home = |name: &str| PathBuf::from(given("HOME").unwrap_or_default()).join(name).into_os_string();
    let fixed = |name: &str, value: &OsStr| (OsString::from(name), value.to_owned());
    let mut list = vec![
        fixed("HOME", home.as_os_str()),
        fixed("CARGO_HOME", &given("CARGO_HOME").unwrap_or_else(|| in_home(".cargo"))),
        fixed("RUSTUP_HOME", &given("RUSTUP_HOME").unwrap_or_else(|| in_home(".rustup"))),
        fixed("LANG", "C.UTF-8".as_ref()),
        fixed("CARGO_TERM_COLOR", "never".as_ref()),
        fixed("CARGO_TERM_PROGRESS_WHEN", "never".as_ref()),
        fixed("CARGO_NET_OFFLINE", "true".as_ref()),
    ];
    for name in ["PATH", "RUSTUP_TOOLCHAIN", "RUSTUP_AUTO_INSTALL", "TMPDIR"] {
        list.extend(given(name).map(|value| (OsString::from(name), value)));
    }
    if let Some(toolchain) = given("KACHE_TEST_TOOLCHAIN") {
        use_toolchain(&mut list, toolchain);
    }
    list
}

/// Another toolchain than the one that the tests are built with: a name that rustup knows, or the directory that its programs are in.
fn use_toolchain(environment: &mut Vec<(OsString, OsString)>, toolchain: OsString) {
    environment.retain(|(name, _)| name != "RUSTUP_TOOLCHAIN");
    if Path::new(&toolchain).is_relative() {
        return environment.push(("RUSTUP_TOOLCHAIN".into(), toolchain));
    }
    for (_, path) in environment.iter_mut().filter(|(name, _)| name == "PATH") {
        let mut first = toolchain.clone();
        first.push(":");
        first.push(&*path);
        *path = first;
    }
}
