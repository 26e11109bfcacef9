//! `kache start`, and how `kache exec` gets a daemon.

use super::daemonise;
use crate::client::Client;
use crate::error::{Error, LogTail};
use crate::{outdated, place, progress, show};
use kache_store::private;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode, ExitStatus};
use std::time::{Duration, Instant};

/// How long a daemon may take until it answers. A large store is opened well within it.
const READY_BOUND: Duration = Duration::from_secs(10);
/// How often to look.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// A log larger than this is set aside before a daemon starts; one older log is kept.
const LOG_BOUND: u64 = 16 << 20;
/// kached's exit code when another one holds the cache directory.
const CACHE_IS_TAKEN: i32 = 3;

/// `kache start`.
pub(crate) fn run() -> Result<ExitCode, Error> {
    let client = place::client()?;
    let fresh = ensure(&client)?;
    let status: super::status::Status = client.get_json("/v1/status")?;
    let verb = if fresh { "started" } else { "was running already" };
    show::answer(format_args!("kached {} {verb} (pid {})", status.version, status.pid));
    outdated::sentences(&status).into_iter().for_each(show::warning);
    Ok(ExitCode::SUCCESS)
}

/// Starts a daemon unless one answers; says whether it did.
pub(crate) fn ensure(client: &Client) -> Result<bool, Error> {
    if client.is_up()? {
        return Ok(false);
    }
    let config = place::config()?;
    let mut log = Log::open(&config.cache.dir);
    let mut child = daemonise::spawn(&place::beside("kached")?, log.writer())?;
    progress::during("kached starts", |_| wait_until_ready(client, &mut child, &mut log)).map(|()| true)
}

fn wait_until_ready(client: &Client, child: &mut Child, log: &mut Log) -> Result<(), Error> {
    let begin = Instant::now();
    let mut ended: Option<ExitStatus> = None;
    loop {
        if client.is_up()? {
            return Ok(());
        }
        if ended.is_none() {
            ended = child.try_wait().map_err(|source| Error::io("waiting for kached", source))?;
        }
        // Somebody else may have started one at the same moment: theirs is as good.
        let lost_race = ended.is_some_and(|status| status.code() == Some(CACHE_IS_TAKEN));
        let late = begin.elapsed() > READY_BOUND;
        match ended {
            Some(status) if !lost_race || late => return Err(Error::DiedEarly { status: status.to_string(), log: log.tail() }),
            None if late => return Err(Error::NotReady { pid: child.id(), after: READY_BOUND, log: log.path.clone() }),
            _ => std::thread::sleep(LOOK_EVERY),
        }
    }
}

/// The daemon's log file, `kached.log` in the cache directory. Where it can't be written, the daemon writes to nowhere.
struct Log {
    path: PathBuf,
    file: Option<File>,
    /// Length before the daemon began to write.
    begin: u64,
}

impl Log {
    fn open(dir: &Path) -> Self {
        let path = dir.join("kached.log");
        let _ = private::create_dir(dir);
        if fs::metadata(&path).is_ok_and(|meta| meta.len() > LOG_BOUND) {
            let _ = fs::rename(&path, dir.join("kached.log.old"));
        }
        let file = File::options().create(true).append(true).read(true).mode(0o600).open(&path).ok();
        let begin = file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |meta| meta.len());
        Self { path, file, begin }
    }

    fn writer(&self) -> Option<File> {
        self.file.as_ref()?.try_clone().ok()
    }

    /// What the daemon wrote, its last ten lines.
    fn tail(&mut self) -> LogTail {
        let mut bytes = Vec::new();
        let read = self.file.as_mut().map(|file| file.seek(SeekFrom::Start(self.begin)).and_then(|_| file.read_to_end(&mut bytes)));
        if !matches!(read, Some(Ok(_))) {
            return LogTail::default();
        }
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        LogTail(lines[lines.len().saturating_sub(10)..].to_vec())
    }
}
