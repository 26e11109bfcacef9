//! `kache why`: why something was compiled. The words come from the daemon ([`kache_journal::explain`]); here they are laid out.

use crate::args::Why;
use crate::client::parse;
use crate::error::Error;
use crate::show::{BOLD, DIM};
use crate::{history, place, show};
use kache_journal::answer::{Explained, InBuild};
use kache_journal::{Report, WhyCrate};
use kache_model::Outcome;
use std::fmt::Write as _;
use std::process::ExitCode;

/// Misses that are listed; the rest is counted.
const LISTED: usize = 30;

pub(crate) fn run(options: &Why) -> Result<ExitCode, Error> {
    let client = place::client()?;
    let target = options.name.as_deref().map_or_else(history::last_build, history::of_crate);
    let body = history::ask(&client, &target)?;
    let request = format!("GET {target}");
    match &options.name {
        _ if options.json => show::answer(body.trim_end()),
        Some(_) => show::answer(of_crate(&parse(&request, &body)?)),
        None => show::answer(last_build(&parse(&request, &body)?)),
    }
    Ok(ExitCode::SUCCESS)
}

fn of_crate(why: &WhyCrate) -> String {
    let mut out = String::new();
    for InBuild { build, explained } in &why.invocations {
        let Explained { unit, why } = explained;
        let _ = writeln!(out, "{BOLD}{}{BOLD:#}  {}  {DIM}{}{DIM:#}", unit.title(), ending(explained), history::title(build));
        for line in why.lines.iter().filter(|_| !unit.is_hit()) {
            let _ = writeln!(out, "  {line}");
        }
        if let Some(advice) = &why.advice {
            let _ = writeln!(out, "  {DIM}→ {advice}{DIM:#}");
        }
    }
    out.truncate(out.trim_end().len());
    out
}

fn last_build(report: &Report) -> String {
    let totals = &report.build.totals;
    let misses = report.misses();
    let mut out = format!("{BOLD}{}{BOLD:#}\n", history::title(&report.build));
    let units = show::count(totals.units(), "unit", "units");
    let _ = writeln!(out, "  {units}, {} restored, {} not\n", totals.hits(), misses.len());
    for explained in misses.iter().take(LISTED) {
        let Explained { unit, why } = explained;
        let mut lines = why.lines.iter();
        let first = lines.next().map_or("", String::as_str);
        let _ = writeln!(out, "  {:>8}  {BOLD}{}{BOLD:#}  {first}", time(explained), unit.title());
        for line in lines {
            let _ = writeln!(out, "  {:>8}  {line}", "");
        }
    }
    if misses.len() > LISTED {
        let _ = writeln!(out, "  {:>8}  and {} more", "", misses.len() - LISTED);
    }
    if misses.is_empty() {
        let _ = writeln!(out, "  nothing was compiled");
    }
    out.truncate(out.trim_end().len());
    out
}

fn ending(explained: &Explained) -> String {
    let unit = &explained.unit;
    let secs = show::duration(unit.rustc_millis as f64 / 1e3);
    match unit.outcome {
        Outcome::LocalHit => format!("restored, saved {secs}"),
        Outcome::RemoteHit => format!("fetched, saved {secs}"),
        Outcome::Joined => format!("shared with another build, saved {secs}"),
        Outcome::Miss => format!("compiled in {secs}"),
        Outcome::Failed => format!("failed after {secs}"),
        Outcome::Bypass => "bypassed".to_owned(),
    }
}

/// What it cost; nobody hears of a bypass's end.
fn time(explained: &Explained) -> String {
    match explained.unit.outcome {
        Outcome::Bypass => "bypass".to_owned(),
        _ => show::duration(explained.unit.cost_micros() as f64 / 1e6),
    }
}
