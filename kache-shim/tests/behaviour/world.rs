//! A place for one case: a socket with somebody behind it, a rustc that does what a shell script says, and a wrapper to call.

use kache_proto::{Decoder, Message, Plan, Reply, Report, Request, wire};
use std::env;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A wrapper under test.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    command: Vec<PathBuf>,
}

impl Program {
    pub(crate) fn all() -> [Self; 2] {
        let shim = if cfg!(kache_front) { "front" } else { "shim" };
        let own = env::current_exe().unwrap();
        [
            Self { name: shim, command: vec![env!("CARGO_BIN_EXE_kache-shim").into()] },
            Self { name: "std", command: vec![own, "__wrapper".into()] },
        ]
    }
}

/// Everything that one case needs; gone afterwards.
pub(crate) struct World {
    directory: tempfile::TempDir,
    wrapper: Vec<PathBuf>,
}

impl World {
    pub(crate) fn new(program: &Program) -> Self {
        let world = Self { directory: tempfile::tempdir().unwrap(), wrapper: program.command.clone() };
        let rustc = world.rustc();
        fs::write(&rustc, "#!/bin/sh\neval \"$RUSTC_SCRIPT\"\n").unwrap();
        fs::set_permissions(&rustc, fs::Permissions::from_mode(0o755)).unwrap();
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("kached.sock")
    }

    /// The fake compiler: evaluates `RUSTC_SCRIPT`, with its arguments as `$@`.
    pub(crate) fn rustc(&self) -> PathBuf {
        self.path("fake-rustc")
    }

    /// The wrapper, in the case's directory, with an environment of its own, no compiler yet.
    pub(crate) fn wrapper(&self, script: &str) -> Command {
        self.wrapper_under(&[], script)
    }

    /// The wrapper as the last arguments of another command.
    pub(crate) fn wrapper_under(&self, front: &[&str], script: &str) -> Command {
        let words: Vec<&Path> = front.iter().map(Path::new).chain(self.wrapper.iter().map(PathBuf::as_path)).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).current_dir(self.directory.path()).env_clear();
        command.env("PATH", env::var_os("PATH").unwrap_or_default());
        command.env("KACHE_SOCKET", self.socket()).env("RUSTC_SCRIPT", script);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// The wrapper around the fake compiler.
    pub(crate) fn call(&self, script: &str) -> Command {
        let mut command = self.wrapper(script);
        command.arg(self.rustc());
        command
    }

    pub(crate) fn listen(&self) -> UnixListener {
        UnixListener::bind(self.socket()).unwrap()
    }

    /// A daemon that serves one connection.
    pub(crate) fn serve<T: Send + 'static>(&self, part: impl FnOnce(&mut Peer) -> T + Send + 'static) -> JoinHandle<T> {
        let listener = self.listen();
        thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            part(&mut Peer { stream, decoder: Decoder::new(), greeted: false })
        })
    }

    /// A daemon that reads the request and gives one answer.
    pub(crate) fn answer(&self, reply: Reply) -> JoinHandle<Request> {
        self.serve(move |peer| {
            let request = peer.request();
            peer.send(&reply);
            request
        })
    }

    /// A daemon that lets a compile run.
    pub(crate) fn compile(&self, plan: Plan) -> JoinHandle<Report> {
        self.serve(move |peer| {
            peer.request();
            peer.send(&Reply::Compile(plan));
            let report = peer.report();
            peer.send(&Reply::Done);
            report
        })
    }

    pub(crate) fn hung_marker(&self) -> PathBuf {
        kache_proto::socket::hung_marker(&self.socket())
    }
}

/// A plan as daemons make them: the runner is this very program.
pub(crate) fn plan() -> Plan {
    Plan { runner: env::current_exe().unwrap(), insert_at: 1, capture: true, ..Plan::default() }
}

/// The daemon's end of a connection.
pub(crate) struct Peer {
    stream: UnixStream,
    decoder: Decoder,
    greeted: bool,
}

impl Peer {
    fn message(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.decoder.next_message().unwrap() {
                return Some(message);
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) | Err(_) => return None,
                Ok(len) => self.decoder.push(&buffer[..len]),
            }
        }
    }

    pub(crate) fn request(&mut self) -> Request {
        match self.message() {
            Some(Message::Request(request)) => request,
            other => panic!("not a request: {other:?}"),
        }
    }

    pub(crate) fn report(&mut self) -> Report {
        match self.message() {
            Some(Message::Report(report)) => report,
            other => panic!("not a report: {other:?}"),
        }
    }

    /// Whether the other end closes without another frame.
    pub(crate) fn is_left(&mut self) -> bool {
        self.message().is_none()
    }

    /// The same, within a bound.
    pub(crate) fn is_left_within(&mut self, bound: Duration) -> bool {
        self.stream.set_read_timeout(Some(bound)).unwrap();
        !matches!(self.stream.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    pub(crate) fn send(&mut self, reply: &Reply) {
        let frame = reply.encode().unwrap();
        let greeting = if self.greeted { Vec::new() } else { wire::preamble().to_vec() };
        self.greeted = true;
        self.send_raw(&[greeting, frame].concat());
    }

    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }
}

/// Status, stdout and stderr as text.
pub(crate) fn seen(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[track_caller]
pub(crate) fn assert_seen(output: &Output, status: i32, stdout: &str, stderr: &str) {
    assert_eq!(seen(output), (Some(status), stdout.to_owned(), stderr.to_owned()));
}

/// Runs with something on standard input.
pub(crate) fn run_with_input(mut command: Command, input: Vec<u8>) -> Output {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    // The reader may end before it has read all.
    let writer = thread::spawn(move || drop(pipe.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}
