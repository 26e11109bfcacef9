//! `kache sync`: moves artifacts, through the daemon when one runs, through one of its own when not.

use crate::args::Sync;
use crate::client::{Client, parse};
use crate::error::Error;
use crate::{exit, place, progress, show};
use indicatif::{ProgressBar, ProgressStyle};
use kache_config::{ByteSize, RemoteMode};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// How long a daemon of our own may take until it answers.
const READY_BOUND: Duration = Duration::from_secs(10);

/// The order, as kached takes it.
#[derive(Debug, Serialize)]
struct Order {
    dir: PathBuf,
    pull: bool,
    push: bool,
    all: bool,
    dry_run: bool,
}

/// A line of kached's answer.
#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event {
    Progress { what: Direction, done: u64, of: u64 },
    Summary { pull: Tally, push: Tally },
    Refused { why: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Direction {
    Pull,
    Push,
}

#[derive(Debug, Default, Deserialize)]
struct Tally {
    moved: u64,
    bytes: u64,
    present: u64,
    kept: u64,
    #[serde(default)]
    no_room: u64,
    failed: BTreeMap<String, u64>,
}

pub(crate) fn run(options: &Sync) -> Result<ExitCode, Error> {
    let dir = std::env::current_dir().map_err(|source| Error::io("finding the current directory", source))?;
    let both = !options.pull && !options.push;
    let mode = place::config().ok().and_then(|config| config.cache.remote).map(|remote| remote.mode);
    let read_only = mode.is_some_and(|mode| !mode.writes());
    let order =
        Order { dir, pull: options.pull || both, push: options.push || (both && !read_only), all: options.all, dry_run: options.dry_run };
    let client = place::client()?;
    if client.is_up()? {
        return order.carry_out(&client);
    }
    let own = Own::start(order.permits(mode))?;
    order.carry_out(&own.client)
}

impl Order {
    /// The mode that a daemon may have which does this and nothing else, if it is another than the configured one: uploads that wait from an earlier
    /// build are no part of a pull.
    fn permits(&self, configured: Option<RemoteMode>) -> Option<&'static str> {
        let writes = self.push && !self.dry_run;
        (configured == Some(RemoteMode::ReadWrite) && !writes).then_some("read-only")
    }

    fn carry_out(&self, client: &Client) -> Result<ExitCode, Error> {
        let order = serde_json::to_string(self).map_err(|error| Error::Sync(error.to_string()))?;
        let (mut progress, mut end) = (Progress::new(), None);
        let talk = client.post_for_lines("/v1/sync", order, |line| {
            match parse("POST /v1/sync", line)? {
                Event::Progress { what, done, of } => progress.show(what, done, of),
                Event::Summary { pull, push } => end = Some((pull, push)),
                Event::Refused { why } => return Err(Error::Sync(why)),
            }
            Ok(())
        });
        match talk {
            // There is no bucket: kached says what to do, and how it was asked is no concern of anybody's.
            Err(Error::Refused { status: 409, body, .. }) => return Err(Error::Sync(body)),
            other => other?,
        }
        progress.end();
        let Some((pull, push)) = end else {
            return Err(Error::BrokenOff { request: "POST /v1/sync".into(), cause: "no summary came".into() });
        };
        for (asked, name, tally) in [(self.pull, "pull", &pull), (self.push, "push", &push)] {
            if asked {
                show::answer(sentence(name, tally, self.dry_run));
            }
        }
        let done = |tally: &Tally| tally.failed.is_empty() && tally.no_room == 0;
        Ok(if !(done(&pull) && done(&push)) { ExitCode::from(exit::FAILED) } else { ExitCode::SUCCESS })
    }
}

fn sentence(name: &str, tally: &Tally, dry_run: bool) -> String {
    let Tally { moved, bytes, present, kept, no_room, failed } = tally;
    let verb = if dry_run { "would move" } else { "moved" };
    let mut text = format!("{name}: {verb} {} ({}), {present} present", show::count(*moved, "artifact", "artifacts"), ByteSize(*bytes));
    if *kept > 0 {
        text += &format!(", {kept} good for this machine only");
    }
    if *no_room > 0 {
        text += &format!("; stopped because the store is full (`max_size`): {no_room} not moved");
    }
    if !failed.is_empty() {
        let kinds: Vec<String> = failed.iter().map(|(kind, number)| format!("{number} {kind}")).collect();
        text += &format!("; failed: {}", kinds.join(", "));
    }
    text
}

/// A bar on a terminal, now and then a line elsewhere.
struct Progress {
    bar: Option<ProgressBar>,
    what: Option<Direction>,
    told: Instant,
}

impl Progress {
    fn new() -> Self {
        Self { bar: None, what: None, told: Instant::now() }
    }

    fn show(&mut self, what: Direction, done: u64, of: u64) {
        let name = match what {
            Direction::Pull => "pull",
            Direction::Push => "push",
        };
        if self.what != Some(what) {
            self.end();
            let style = ProgressStyle::with_template("{msg} [{bar:40}] {pos}/{len}").map(|style| style.progress_chars("=> "));
            let bar = ProgressBar::new(of).with_message(name);
            self.bar = style.ok().map(|style| bar.with_style(style)).filter(|bar| !bar.is_hidden());
            self.what = Some(what);
        }
        match &self.bar {
            Some(bar) => bar.set_position(done),
            None if self.told.elapsed() >= progress::LINE_EVERY => {
                show::note(format_args!("{name}: {done} of {of}"));
                self.told = Instant::now();
            }
            None => {}
        }
    }

    fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// A daemon of our own: it holds the store's lock while it runs, and nobody else knows its socket. Its standard input is ours to close, so it ends
/// with this process, even where nothing of ours is run any more.
struct Own {
    client: Client,
    child: Child,
    _place: tempfile::TempDir,
}

impl Own {
    fn start(mode: Option<&str>) -> Result<Self, Error> {
        let place = tempfile::Builder::new().prefix("kache-sync").tempdir().map_err(|source| Error::io("making a directory", source))?;
        let socket = place.path().join("s");
        let mut command = Command::new(place::beside("kached")?);
        command.arg("--until-eof").env("KACHE_SOCKET", &socket).env("KACHE_LOG", "warn").envs(mode.map(|mode| ("KACHE_REMOTE_MODE", mode)));
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let child = command.stderr(Stdio::piped()).spawn().map_err(|source| Error::io("starting kached", source))?;
        let mut own = Self { client: Client::new(socket), child, _place: place };
        own.wait_until_ready().map(|()| own)
    }

    fn wait_until_ready(&mut self) -> Result<(), Error> {
        let begin = Instant::now();
        while !self.client.is_up()? {
            let ended = self.child.try_wait().map_err(|source| Error::io("waiting for kached", source))?;
            if let Some(status) = ended {
                let mut said = String::new();
                let _ = self.child.stderr.take().map(|mut stderr| std::io::Read::read_to_string(&mut stderr, &mut said));
                let lines = said.lines().map(str::to_owned).collect();
                return Err(Error::DiedEarly { status: status.to_string(), log: crate::error::LogTail(lines) });
            }
            if begin.elapsed() > READY_BOUND {
                return Err(Error::Sync("kached wasn't ready in time".to_owned()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        // What it warns of from now on is for whoever asked; that it is ready isn't.
        let lines = self.child.stderr.take().map(|stderr| BufReader::new(stderr).lines().map_while(Result::ok));
        std::thread::spawn(move || lines.into_iter().flatten().filter(|line| !line.starts_with("kached ready")).for_each(show::foreign));
        Ok(())
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let _asked = self.client.post("/v1/stop", Some(Duration::from_secs(5)));
        let _ended = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_names_what_failed_by_kind() {
        let failed = BTreeMap::from([("reset".to_owned(), 2), ("forbidden".to_owned(), 1)]);
        let tally = Tally { moved: 1, bytes: 2048, present: 3, kept: 4, no_room: 0, failed };
        let text = "pull: moved 1 artifact (2 KiB), 3 present, 4 good for this machine only; failed: 1 forbidden, 2 reset";
        assert_eq!(sentence("pull", &tally, false), text);
        assert_eq!(sentence("push", &Tally::default(), true), "push: would move 0 artifacts (0 B), 0 present");
    }
}
