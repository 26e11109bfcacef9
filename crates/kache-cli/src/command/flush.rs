//! `kache flush`: waits until the bucket has everything that was built here.

use crate::args::Flush;
use crate::client::parse;
use crate::error::Error;
use crate::{exit, place, show};
use serde::Deserialize;
use std::process::ExitCode;

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
    let body = place::client()?.post(&target, None)?;
    let left: Left = parse("POST /v1/flush", &body)?;
    let words = words(left);
    if words.is_empty() {
        show::answer("everything is in the bucket");
        return Ok(ExitCode::SUCCESS);
    }
    show::answer(format_args!("left: {}", words.join(", ")));
    Ok(ExitCode::from(exit::FAILED))
}

fn words(left: Left) -> Vec<String> {
    let Left { being_stored, queued_uploads, refused_uploads, indexes } = left;
    let refused = if refused_uploads > 0 { format!(" ({refused_uploads} refused: see kached's log)") } else { String::new() };
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
        assert_eq!(words(left), ["3 uploads (2 refused: see kached's log)", "1 build index"]);
        assert!(words(Left { being_stored: 0, queued_uploads: 0, refused_uploads: 0, indexes: 0 }).is_empty());
    }
}
