//! `kache flush`: waits until the bucket has everything that was built here.

use crate::args::Flush;
use crate::bucket::{self, Bucket};
use crate::client::{Client, parse};
use crate::command::Status;
use crate::error::Error;
use crate::{exit, place, progress, show};
use serde::Deserialize;
use std::process::ExitCode;

/// `/v1/flush`.
#[derive(Debug, Deserialize)]
struct Flushed {
    /// As in `/v1/status`; older daemons don't say.
    #[serde(default)]
    bucket: String,
    #[serde(flatten)]
    left: Left,
    /// What last went wrong.
    #[serde(default)]
    last_error: Option<String>,
}

/// What is left.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Left {
    being_stored: u64,
    queued_uploads: u64,
    refused_uploads: u64,
    indexes: u64,
}

pub(crate) fn run(options: &Flush) -> Result<ExitCode, Error> {
    let target = match options.timeout {
        Some(secs) => format!("/v1/flush?timeout_ms={}", secs.saturating_mul(1000)),
        None => "/v1/flush".to_owned(),
    };
    // The daemon keeps the time; without a limit the answer may take for ever.
    let client = place::client()?;
    let to_go = || Some(to_go(&client.get_json::<Status>("/v1/status").ok()?.bucket?));
    let answer = progress::following("waiting for the bucket", to_go, || client.post(&target, None))?;
    let Flushed { bucket, left, last_error } = parse("POST /v1/flush", &answer)?;
    match bucket.as_str() {
        "none" => return unused(&client, "no bucket is in use: nothing to upload"),
        "off" => return unused(&client, "the bucket is switched off (mode = \"off\"): nothing to upload"),
        "read-only" => {
            show::answer("the bucket is only read (mode = \"read-only\"): nothing to upload");
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    let words = words(left);
    if words.is_empty() {
        show::answer("everything is in the bucket");
        return Ok(ExitCode::SUCCESS);
    }
    let why = last_error.map(|error| format!("\n  {error}")).unwrap_or_default();
    show::answer(format_args!("left: {}{why}", words.join(", ")));
    Ok(ExitCode::from(exit::FAILED))
}

/// That is as it should be, unless a bucket is configured here.
fn unused(client: &Client, text: &str) -> Result<ExitCode, Error> {
    show::answer(text);
    let Some(gap) = bucket::gap_here(client) else { return Ok(ExitCode::SUCCESS) };
    show::warning(format_args!("{gap}; {}", bucket::ADVICE));
    Ok(ExitCode::from(exit::FAILED))
}

/// What kached says while it waits.
fn to_go(bucket: &Bucket) -> String {
    let left =
        Left { being_stored: 0, queued_uploads: bucket.queued_uploads, refused_uploads: bucket.refused_uploads, indexes: bucket.indexes };
    match words(left) {
        words if words.is_empty() => "storing what was compiled".to_owned(),
        words => format!("{} to go", words.join(", ")),
    }
}

fn words(left: Left) -> Vec<String> {
    let Left { being_stored, queued_uploads, refused_uploads, indexes } = left;
    let refused = if refused_uploads > 0 { format!(" ({refused_uploads} refused)") } else { String::new() };
    [
        (being_stored, "artifact being stored", "artifacts being stored", ""),
        (queued_uploads, "upload", "uploads", refused.as_str()),
        (indexes, "build index", "build indexes", ""),
    ]
    .into_iter()
    .filter(|(number, ..)| *number > 0)
    .map(|(number, one, many, more)| show::count(number, one, many) + more)
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_named() {
        let left = Left { being_stored: 0, queued_uploads: 3, refused_uploads: 2, indexes: 1 };
        assert_eq!(words(left), ["3 uploads (2 refused)", "1 build index"]);
        assert!(words(Left { being_stored: 0, queued_uploads: 0, refused_uploads: 0, indexes: 0 }).is_empty());
    }
}
