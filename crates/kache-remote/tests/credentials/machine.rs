//! A machine: a home directory, an environment, and a process in it that asks for credentials.

use kache_remote::{AwsOptions, aws_credentials};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::SystemTime;
use tempfile::TempDir;

const ASK: &str = "KACHE_TEST_ASK";

/// See the module.
#[derive(Debug)]
pub(crate) struct Machine {
    home: TempDir,
    env: Vec<(String, String)>,
    ask: Value,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(home.path().join(".aws/sso/cache")).unwrap();
        // Nobody listens at port 1: a machine that isn't on EC2.
        Self { home, env: Vec::new(), ask: json!({}) }.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1/")
    }

    pub(crate) fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.env.retain(|(known, _)| known != name);
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// A file below the home directory.
    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        self.write(name, text);
        self
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn profile(mut self, name: Option<&str>) -> Self {
        self.ask["profile"] = json!(name);
        self
    }

    pub(crate) fn pair(mut self, access_key: &str, secret_key: &str) -> Self {
        self.ask["pair"] = json!([access_key, secret_key]);
        self
    }

    pub(crate) fn without_pair(mut self) -> Self {
        self.ask["pair"] = Value::Null;
        self
    }

    pub(crate) fn start(&self) -> Process {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "machine::process", "--nocapture", "--test-threads=1"]);
        command.env_clear().env("HOME", self.home.path()).env("PATH", "/usr/bin:/bin").env(ASK, self.ask.to_string());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Process { child, stdin, stdout }
    }

    /// One answer.
    pub(crate) fn current(&self) -> Answer {
        self.start().current()
    }

    /// Requires these credentials from a source so named.
    #[track_caller]
    pub(crate) fn gives(&self, key: &str, secret: &str, token: Option<&str>, source: &str) {
        let answer = self.current();
        assert_eq!((answer.text("key"), answer.text("secret"), answer.0["token"].as_str()), (key, secret, token), "{answer:?}");
        assert!(answer.text("source").contains(source), "{source:?} isn't in {answer:?}");
        assert!(!answer.text("source").contains(secret));
    }

    /// Requires an error of this kind that says all of `parts`; gives its text.
    #[track_caller]
    pub(crate) fn refuses(&self, kind: &str, parts: &[&str]) -> String {
        let answer = self.current();
        assert_eq!(answer.text("kind"), kind, "{answer:?}");
        for part in parts {
            assert!(answer.text("error").contains(part), "{part:?} isn't in {answer:?}");
        }
        answer.text("error").to_owned()
    }
}

/// A process that answers as often as it is asked.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Process {
    pub(crate) fn current(&mut self) -> Answer {
        self.ask("current")
    }

    pub(crate) fn ask(&mut self, what: &str) -> Answer {
        writeln!(self.stdin, "{what}").unwrap();
        let mut line = String::new();
        while self.stdout.read_line(&mut line).unwrap() > 0 {
            // libtest writes the test's name in front of its first line.
            if let Some((_, answer)) = line.split_once("ANSWER ") {
                return Answer(serde_json::from_str(answer).unwrap());
            }
            line.clear();
        }
        let mut stderr = String::new();
        let _ = std::io::Read::read_to_string(&mut self.child.stderr.take().unwrap(), &mut stderr);
        panic!("no answer: {stderr}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What it answered.
#[derive(Debug)]
pub(crate) struct Answer(pub(crate) Value);

impl Answer {
    pub(crate) fn text(&self, field: &str) -> &str {
        self.0[field].as_str().unwrap_or("")
    }
}

#[test]
#[ignore = "a process of its own, which the other tests start"]
#[expect(clippy::print_stdout, reason = "how the process answers")]
fn process() {
    let ask: Value = serde_json::from_str(&std::env::var(ASK).unwrap()).unwrap();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let key_pair = ask["pair"].as_array().map(|pair| (text(&pair[0]).unwrap(), text(&pair[1]).unwrap()));
    let options = AwsOptions { key_pair, profile: text(&ask["profile"]), region: Some("eu-central-1".into()) };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let credentials = aws_credentials(options);
        for line in std::io::stdin().lines().map_while(Result::ok) {
            let answer = match line.strip_prefix("renew ") {
                Some(stale) => credentials.renew(stale.parse().unwrap()).await,
                None => credentials.current().await,
            };
            let mut json = match answer {
                Ok(found) => json!({
                    "key": found.access_key, "secret": found.secret_key, "token": found.session_token, "generation": found.generation,
                    "left": found.expires.map(|expires| expires.duration_since(SystemTime::now()).unwrap_or_default().as_secs()),
                }),
                Err(error) => json!({"kind": error.kind().name(), "error": error.to_string()}),
            };
            json["source"] = json!(credentials.source());
            json["loads"] = json!(credentials.loads());
            println!("ANSWER {json}");
        }
    });
}
