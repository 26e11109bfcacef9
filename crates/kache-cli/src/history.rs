//! Questions to the daemon about builds, and how a build is called.

use crate::client::Client;
use crate::error::Error;
use crate::show;
use kache_journal::{BuildHead, Report};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use std::time::{SystemTime, UNIX_EPOCH};

/// How the last build is asked for: the one of this directory, if there is one.
pub(crate) fn last_build() -> String {
    let dir = std::env::current_dir().ok().and_then(|dir| dir.to_str().map(str::to_owned)).unwrap_or_default();
    format!("/v1/report?dir={}", utf8_percent_encode(&dir, NON_ALPHANUMERIC))
}

/// How a crate is asked for.
pub(crate) fn of_crate(name: &str) -> String {
    format!("/v1/why?crate={name}")
}

/// The answer; a daemon that knows of no such thing says so.
pub(crate) fn ask(client: &Client, target: &str) -> Result<String, Error> {
    client.get(target).map_err(|error| match error {
        Error::Refused { status: 404, body, .. } => Error::Unknown(body),
        other => other,
    })
}

/// The last build in full.
pub(crate) fn report(client: &Client) -> Result<Report, Error> {
    crate::client::parse("GET /v1/report", &ask(client, &last_build())?)
}

/// `` `cargo build` in /w/a, 2 min ago``.
pub(crate) fn title(build: &BuildHead) -> String {
    let command = if build.command.is_empty() { "a build".to_owned() } else { format!("`{}`", build.command) };
    let when = if build.running { "running".to_owned() } else { ago(build.began_millis + build.wall_micros / 1000) };
    match build.dir.is_empty() {
        true => format!("{command}, {when}"),
        false => format!("{command} in {}, {when}", build.dir),
    }
}

/// How long ago a moment was.
pub(crate) fn ago(millis: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
    format!("{} ago", show::age(now.saturating_sub(millis) / 1000))
}
