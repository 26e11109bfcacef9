//! `kache verify`: re-hashes everything in the store, through the daemon that holds it, else under its lock.

use crate::client::parse;
use crate::error::Error;
use crate::{exit, place, show};
use kache_config::ByteSize;
use kache_store::{Options, Repair, Store};
use serde::Deserialize;
use std::process::ExitCode;

/// What a check of the store says.
#[derive(Clone, Debug, Deserialize)]
struct Verdict {
    blobs: u64,
    bytes: u64,
    findings: Vec<Finding>,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, Deserialize)]
struct Finding {
    what: String,
}

pub(crate) fn run() -> Result<ExitCode, Error> {
    let client = place::client()?;
    let verdict = match client.post("/v1/verify", None) {
        Ok(body) => parse("POST /v1/verify", &body)?,
        Err(Error::NotRunning { .. }) => without_daemon()?,
        Err(error) => return Err(error),
    };
    let Verdict { blobs, bytes, findings } = verdict;
    for Finding { what } in &findings {
        show::answer(what);
    }
    let checked = format!("{} checked, {}", show::count(blobs, "blob", "blobs"), ByteSize(bytes));
    let found = match findings.len() {
        0 => "nothing found".to_owned(),
        number => show::count(number as u64, "finding", "findings"),
    };
    show::answer(format_args!("{checked}: {found}"));
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILED) })
}

fn without_daemon() -> Result<Verdict, Error> {
    let cache = place::config()?.cache;
    if !cache.dir.exists() {
        return Ok(Verdict { blobs: 0, bytes: 0, findings: Vec::new() });
    }
    let limit = cache.size_limit().map_err(|source| Error::io(cache.dir.display().to_string(), source))?;
    let store = Store::open(&cache.dir, Options { max_bytes: limit.0 }).map_err(|error| Error::Store(chain(&error)))?;
    let report = store.verify(Repair::No, &mut |_| {}).map_err(|error| Error::Store(chain(&error)))?;
    let findings = report.findings.iter().map(|finding| Finding { what: finding.to_string() }).collect();
    Ok(Verdict { blobs: report.blobs, bytes: report.bytes, findings })
}

/// An error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
