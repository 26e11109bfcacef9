//! `kache report`: one build as a whole. As text here, as a page in [`page`].

mod page;
mod scripts;
mod spent;
mod timeline;

use crate::args;
use crate::error::Error;
use crate::show::{BOLD, DIM};
use crate::{history, place, show};
use kache_config::ByteSize;
use kache_journal::Report;
use spent::Spent;
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

/// Lines of a list, at most.
const LISTED: usize = 10;

pub(crate) fn run(options: &args::Report) -> Result<ExitCode, Error> {
    let report = history::report(&place::client()?)?;
    match &options.html {
        None => show::answer(text(&report)),
        Some(file) if file == Path::new("-") => show::answer(page::html(&report).trim_end()),
        Some(file) => {
            std::fs::write(file, page::html(&report)).map_err(|source| Error::io(format!("writing {}", file.display()), source))?;
            show::note(format_args!("{} written", file.display()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn text(report: &Report) -> String {
    let totals = &report.build.totals;
    let mut out = format!("{BOLD}{}{BOLD:#}\n", history::title(&report.build));
    let took = show::duration(report.build.wall_micros as f64 / 1e6);
    let percent = |share: Option<f64>| share.map_or("-".to_owned(), |share| format!("{:.0} %", share * 100.0));
    let _ = writeln!(out, "  took {took}: {}, {} restored", show::count(totals.units(), "unit", "units"), totals.hits());
    let _ = writeln!(out, "  hits {} of units, {} of the time", percent(totals.share()), percent(totals.share_of_time()));
    let saved = (show::duration(totals.saved_secs), show::duration(totals.compiled_secs));
    let _ =
        writeln!(out, "  {} of compiling saved, {} spent; {} put into place", saved.0, saved.1, ByteSize(totals.restored_bytes.total()));

    let _ = writeln!(out, "\n{BOLD}Where the time went{BOLD:#}");
    for Spent { name, number, micros, .. } in spent::by_kind(report).iter().filter(|spent| spent.micros > 0) {
        let units = show::count(*number, "unit", "units");
        let _ = writeln!(out, "  {:>9}  {name}  {DIM}{units}{DIM:#}", secs(*micros));
    }
    let _ = writeln!(out, "\n{BOLD}Critical path{BOLD:#}");
    let skipped = report.critical_path.len().saturating_sub(LISTED);
    for index in report.critical_path.iter().skip(skipped) {
        let unit = &report.units[*index].unit;
        let _ = writeln!(out, "  {:>9}  {}  {DIM}{}{DIM:#}", secs(unit.cost_micros()), unit.title(), spent::word(unit.outcome));
    }
    let misses = report.misses();
    if !misses.is_empty() {
        let _ = writeln!(out, "\n{BOLD}Not restored{BOLD:#}");
    }
    for explained in misses.iter().take(LISTED) {
        let first = explained.why.lines.first().map_or("", String::as_str);
        let _ = writeln!(out, "  {:>9}  {}  {first}", secs(explained.unit.cost_micros()), explained.unit.title());
    }
    if misses.len() > LISTED {
        let _ = writeln!(out, "  {:>9}  and {} more: `kache why` lists them", "", misses.len() - LISTED);
    }
    out.truncate(out.trim_end().len());
    out
}

/// A length of time with the digits that matter.
fn secs(micros: u64) -> String {
    match micros {
        0..1_000_000 => format!("{:.1} ms", micros as f64 / 1e3),
        _ => show::duration(micros as f64 / 1e6),
    }
}
