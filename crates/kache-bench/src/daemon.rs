//! A kached of the benchmark's own.

use anyhow::{Context as _, bail};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Runs until dropped.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    socket: PathBuf,
}

impl Daemon {
    /// Starts kached with a cache directory of its own below `home`.
    pub(crate) fn start(bin_dir: &Path, home: &Path) -> anyhow::Result<Self> {
        Self::start_with(bin_dir, home, &[])
    }

    /// The same with further variables.
    pub(crate) fn start_with(bin_dir: &Path, home: &Path, variables: &[(&str, String)]) -> anyhow::Result<Self> {
        std::fs::create_dir_all(home)?;
        let socket = home.join("k.sock");
        let mut child = Command::new(bin_dir.join("kached"))
            .env("KACHE_CACHE_DIR", home.join("cache"))
            .env("KACHE_SOCKET", &socket)
            .env("KACHE_LOG", "warn")
            .env("KACHE_MAX_SIZE", "50GiB")
            .envs(variables.iter().map(|(name, value)| (*name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", bin_dir.join("kached").display()))?;
        let mut log = BufReader::new(child.stderr.take().context("no stderr")?);
        let mut line = String::new();
        while !line.starts_with("kached ready") {
            line.clear();
            if log.read_line(&mut line)? == 0 {
                bail!("kached ended before it was ready");
            }
        }
        // What it logs later must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::stderr()));
        Ok(Self { child, socket })
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(crate) fn stats(&self) -> anyhow::Result<serde_json::Value> {
        Ok(serde_json::from_str(&self.http("GET /v1/stats")?)?)
    }

    pub(crate) fn zero(&self) -> anyhow::Result<()> {
        self.http("POST /v1/stats/zero").map(drop)
    }

    fn http(&self, request: &str) -> anyhow::Result<String> {
        let mut stream = UnixStream::connect(&self.socket)?;
        write!(stream, "{request} HTTP/1.1\r\nHost: kache\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (_, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
        Ok(body.to_owned())
    }

    /// Seconds of CPU so far.
    pub(crate) fn cpu_secs(&self) -> anyhow::Result<f64> {
        cpu_of(self.child.id(), false)
    }

    /// Resident memory, MiB.
    pub(crate) fn rss_mib(&self) -> anyhow::Result<f64> {
        self.memory_mib("VmRSS:")
    }

    /// The most it ever was, MiB.
    pub(crate) fn peak_mib(&self) -> anyhow::Result<f64> {
        self.memory_mib("VmHWM:")
    }

    fn memory_mib(&self, name: &str) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with(name)).context("no such figure")?;
        let kib: f64 = line.split_whitespace().nth(1).context("no figure")?.parse()?;
        Ok(kib / 1024.0)
    }
}

/// CPU seconds of a process, with those of its ended children or without.
pub(crate) fn cpu_of(pid: u32, with_children: bool) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(')').context("stat")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks: Vec<f64> = fields[11..15].iter().map(|field| field.parse().unwrap_or(0.0)).collect();
    let own = ticks[0] + ticks[1];
    let all = if with_children { own + ticks[2] + ticks[3] } else { own };
    Ok(all / rustix::param::clock_ticks_per_second() as f64)
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id().cast_signed()) {
            let _gone = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ended = self.child.wait();
    }
}
