//! `kache status`: is it running, where, how full.

use crate::bucket::{self, Bucket};
use crate::error::Error;
use crate::show::BOLD;
use crate::stats::Stats;
use crate::{exit, outdated, place, show};
use kache_config::ByteSize;
use serde::Deserialize;
use std::fmt::Write as _;
use std::process::ExitCode;

/// `/v1/status`. Fields that come later are left alone.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Status {
    pub(crate) version: String,
    pub(crate) pid: i32,
    pub(crate) uptime_secs: f64,
    pub(crate) socket: String,
    pub(crate) cache_dir: String,
    /// A service manager listens, and starts a daemon for the next connection.
    #[serde(default)]
    pub(crate) activated: bool,
    #[serde(default)]
    pub(crate) unknown_variables: Vec<String>,
    #[serde(default)]
    pub(crate) notices: Vec<String>,
    /// Keys whose values count from the next start on.
    #[serde(default)]
    pub(crate) restart_to_apply: Vec<String>,
    /// Files in target directories that somebody has written into.
    #[serde(default)]
    pub(crate) damaged_libraries: Vec<String>,
    /// Older daemons don't say.
    #[serde(default)]
    pub(crate) bucket: Option<Bucket>,
}

pub(crate) fn run(json: bool) -> Result<ExitCode, Error> {
    let client = place::client()?;
    if json {
        show::answer(client.get("/v1/status")?.trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    let status: Status = match client.get_json("/v1/status") {
        Ok(status) => status,
        Err(Error::NotRunning { socket }) => {
            let mut out = format!("kached isn't running\n  socket     {}", socket.display());
            add_all(&mut out, "unknown", &own_unknown());
            show::answer(out);
            return Ok(ExitCode::from(exit::NOT_RUNNING));
        }
        Err(error) => return Err(error),
    };
    show::answer(text(&status, &client.get_json("/v1/stats")?, own_unknown()));
    Ok(ExitCode::SUCCESS)
}

/// Variables that mean nothing in this shell: the builds that are started from here have them too.
fn own_unknown() -> Vec<String> {
    place::environment().unknown_variables().iter().map(ToString::to_string).collect()
}

fn add_all(out: &mut String, name: &str, values: &[String]) {
    for value in values {
        let _ = write!(out, "\n  {name:<9}  {value}");
    }
}

fn bucket_lines(bucket: &Bucket) -> Vec<String> {
    let Bucket { mode, name, endpoint, credentials, last_error, .. } = bucket;
    let Some(name) = name else { return vec![mode.clone()] };
    let credentials = if credentials.is_empty() { "not looked up yet" } else { credentials };
    let troubles: String = bucket::troubles(bucket).iter().map(|trouble| format!("; {trouble}")).collect();
    let line = format!("{name} at {endpoint}, {mode}, credentials: {credentials}{troubles}");
    let error = last_error.as_ref().map(|last| format!("last error {} ago: {}", show::age(last.secs_ago), last.what));
    let clear = bucket::in_the_clear(endpoint);
    [Some(line), error, bucket::oddity(bucket), clear].into_iter().flatten().collect()
}

fn text(status: &Status, stats: &Stats, mut own_unknown: Vec<String>) -> String {
    let Status {
        version,
        pid,
        uptime_secs,
        socket,
        cache_dir,
        unknown_variables,
        notices,
        activated: _,
        restart_to_apply: _,
        damaged_libraries,
        bucket,
    } = status;
    let mut out = format!("{BOLD}kached {version}{BOLD:#}, pid {pid}, up {}\n", show::duration(*uptime_secs));
    let store = stats.store;
    let fill = match store.max_bytes {
        0 => String::new(),
        max => format!(" ({} %)", u128::from(store.bytes) * 100 / u128::from(max)),
    };
    let (bytes, max) = (ByteSize(store.bytes), ByteSize(store.max_bytes));
    let _ = writeln!(out, "  socket     {socket}");
    let _ = writeln!(out, "  cache dir  {cache_dir}");
    let _ = write!(out, "  store      {bytes} of {max}{fill}, {}", show::count(store.artifacts, "artifact", "artifacts"));
    add_all(&mut out, "bucket", &bucket.iter().flat_map(bucket_lines).collect::<Vec<_>>());
    own_unknown.retain(|variable| !unknown_variables.contains(variable));
    add_all(&mut out, "unknown", unknown_variables);
    add_all(&mut out, "unknown", &own_unknown);
    add_all(&mut out, "notice", notices);
    add_all(&mut out, "damaged", damaged_libraries);
    add_all(&mut out, "verified", &stats.verify.trouble().into_iter().collect::<Vec<_>>());
    add_all(&mut out, "notice", &outdated::sentences(status));
    add_all(&mut out, "trouble", &stats.troubles.iter().map(show::trouble).collect::<Vec<_>>());
    out
}
