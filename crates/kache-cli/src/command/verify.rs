//! `kache verify`: re-hashes everything in the store, through the daemon that holds it, else under its lock.

use crate::args::Verify;
use crate::error::Error;
use crate::holder::{Finding, Holder, Verdict};
use crate::{exit, progress, show};
use kache_config::ByteSize;
use kache_store::Repair;
use std::process::ExitCode;

pub(crate) fn run(options: &Verify) -> Result<ExitCode, Error> {
    let repair = if options.repair { Repair::Evict } else { Repair::No };
    let Verdict { blobs, bytes, evicted, findings } = progress::during("re-hashing the store", |bar| Holder::find()?.verify(repair, bar))?;
    for Finding { what } in &findings {
        show::answer(what);
    }
    let checked = format!("{} checked, {}", show::count(blobs, "blob", "blobs"), ByteSize(bytes));
    let found = match findings.len() {
        0 => "nothing found".to_owned(),
        number => show::count(number as u64, "finding", "findings"),
    };
    match options.repair && !findings.is_empty() {
        true => show::answer(format_args!("{checked}: {found}, {} removed", show::count(evicted, "artifact", "artifacts"))),
        false => show::answer(format_args!("{checked}: {found}")),
    }
    // What is removed can't do harm any more: the next build makes it again.
    Ok(if findings.is_empty() || options.repair { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILED) })
}
