//! `kache stats`: what became of the builds' compiles, as a table or as kached answers it.

mod watch;

use crate::args;
use crate::bucket::paused;
use crate::client::{SHORT, parse};
use crate::error::Error;
use crate::show::{BOLD, DIM};
use crate::stats::{Quantiles, Remote, Stats};
use crate::{history, place, show};
use kache_config::ByteSize;
use kache_journal::{BuildHead, Moved};
use kache_model::{BypassReason, NotStoredReason, Outcome};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;

/// The kind of error that kached counts for requests which it held back.
const NOT_TRIED: &str = "breaker_open";

pub(crate) fn run(options: &args::Stats) -> Result<ExitCode, Error> {
    let client = place::client()?;
    if options.watch {
        return watch::run(|| Ok(table(&client.get_json("/v1/stats")?)));
    }
    let body = client.get("/v1/stats")?;
    if options.json {
        show::answer(body.trim_end());
    } else {
        show::answer(table(&parse("GET /v1/stats", &body)?));
    }
    if options.zero {
        client.post("/v1/stats/zero", Some(SHORT))?;
        show::note("counting from zero");
    }
    Ok(ExitCode::SUCCESS)
}

fn table(stats: &Stats) -> String {
    let mut out = format!("{BOLD}kached {}{BOLD:#}, pid {}, up {}\n", stats.version, stats.pid, show::duration(stats.uptime_secs));
    troubles(&mut out, stats);
    stats.last_build.iter().for_each(|build| last_build(&mut out, build));
    units(&mut out, stats);
    bypasses(&mut out, stats);
    not_stored(&mut out, stats);
    store(&mut out, stats);
    stats.remote.iter().for_each(|remote| bucket(&mut out, remote));
    latency(&mut out, stats);
    out.truncate(out.trim_end().len());
    out
}

fn last_build(out: &mut String, build: &BuildHead) {
    let totals = &build.totals;
    heading(out, "Last build");
    let _ = writeln!(out, "  {}", history::title(build));
    line(out, "took", show::duration(build.wall_micros as f64 / 1e6), &show::count(totals.units(), "unit", "units"));
    line(out, "hits", totals.hits(), &rates(totals.share(), totals.share_of_time()));
    let kinds = [
        (totals.count(Outcome::RemoteHit), "from the bucket"),
        (totals.count(Outcome::Miss), "compiled"),
        (totals.count(Outcome::Bypass), "bypassed"),
        (totals.count(Outcome::Failed), "failed"),
    ];
    let rest: Vec<String> = kinds.iter().filter(|(number, _)| *number > 0).map(|(number, kind)| format!("{number} {kind}")).collect();
    if !rest.is_empty() {
        let _ = writeln!(out, "  {:<18} {:>10}  {DIM}{}{DIM:#}", "", "", rest.join(", "));
    }
    line(out, "compiling saved", show::duration(totals.saved_secs), &format!("{} spent", show::duration(totals.compiled_secs)));
    line(out, "restored", ByteSize(totals.restored_bytes.total()), &moved(totals.restored_bytes));
}

/// `80 % of units, 95 % of the time`.
fn rates(units: Option<f64>, time: Option<f64>) -> String {
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    match (units, time) {
        (Some(units), Some(time)) => format!("{} of units, {} of the time", percent(units), percent(time)),
        (Some(units), None) => format!("{} of units", percent(units)),
        _ => String::new(),
    }
}

fn moved(moved: Moved) -> String {
    let ways = [("reflink", moved.reflink), ("hard link", moved.hardlink), ("copy", moved.copy)];
    let ways = ways.into_iter().filter(|(_, bytes)| *bytes > 0).map(|(way, bytes)| format!("{} by {way}", ByteSize(bytes)));
    ways.collect::<Vec<_>>().join(", ")
}

fn heading(out: &mut String, text: &str) {
    let _ = writeln!(out, "\n{BOLD}{text}{BOLD:#}");
}

fn line(out: &mut String, name: &str, value: impl std::fmt::Display, remark: &str) {
    let _ = match remark {
        "" => writeln!(out, "  {name:<18} {value:>10}"),
        _ => writeln!(out, "  {name:<18} {value:>10}  {DIM}{remark}{DIM:#}"),
    };
}

fn units(out: &mut String, stats: &Stats) {
    let outcomes = &stats.outcomes;
    let units = outcomes.units();
    heading(out, "Since it started, or since --zero");
    line(out, "units", units, &show::count(stats.requests, "request", "requests"));
    let share = (units > 0).then(|| outcomes.hits() as f64 / units as f64);
    let all = stats.compiled_secs.map(|spent| stats.saved_compile_secs + spent).filter(|all| *all > 0.0);
    let share_of_time = all.map(|all| stats.saved_compile_secs / all);
    line(out, "hits", outcomes.hits(), &rates(share, share_of_time));
    for (outcome, remark) in [
        (Outcome::LocalHit, "from the local store"),
        (Outcome::RemoteHit, "from the remote"),
        (Outcome::Joined, "from a compile that was running already"),
    ] {
        line(out, &format!("  {}", outcome.name()), outcomes.get(outcome), remark);
    }
    let not_kept: u64 = stats.not_stored.values().sum();
    let kept = if not_kept > 0 { format!("compiled; {not_kept} not stored, reasons below") } else { "compiled and kept".to_owned() };
    line(out, "misses", outcomes.get(Outcome::Miss), &kept);
    line(out, "bypasses", outcomes.get(Outcome::Bypass), if outcomes.get(Outcome::Bypass) > 0 { "reasons below" } else { "" });
    line(out, "failed", outcomes.get(Outcome::Failed), "rustc reported an error");
    line(out, "queries answered", stats.queries_answered, "-vV, --print");
    let spent = stats.compiled_secs.map(|secs| format!("{} spent", show::duration(secs))).unwrap_or_default();
    line(out, "compiling saved", show::duration(stats.saved_compile_secs), &spent);
}

fn troubles(out: &mut String, stats: &Stats) {
    if stats.troubles.is_empty() {
        return;
    }
    heading(out, "Trouble");
    for trouble in &stats.troubles {
        let _ = writeln!(out, "  {}\n    {}", trouble.text, trouble.advice);
    }
}

fn bypasses(out: &mut String, stats: &Stats) {
    let known = |name: &str| {
        let reason = BypassReason::ALL.iter().find(|reason| reason.name() == name)?;
        Some((reason.meaning(), reason.advice()))
    };
    reasons(out, "Bypassed", &stats.bypass_reasons, known);
}

fn not_stored(out: &mut String, stats: &Stats) {
    let known = |name: &str| {
        let reason = NotStoredReason::ALL.iter().find(|reason| reason.name() == name)?;
        Some((reason.meaning(), reason.advice()))
    };
    reasons(out, "Compiled, and not stored", &stats.not_stored, known);
}

/// A table of reasons, the most frequent first, with what `known` says they mean and what to do. A newer daemon may know reasons that this
/// program doesn't.
fn reasons(out: &mut String, title: &str, counts: &BTreeMap<String, u64>, known: impl Fn(&str) -> Option<(&'static str, &'static str)>) {
    let mut counts: Vec<(&str, u64)> = counts.iter().map(|(name, count)| (name.as_str(), *count)).filter(|(_, count)| *count > 0).collect();
    if counts.is_empty() {
        return;
    }
    counts.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));
    heading(out, title);
    for (name, count) in counts {
        let known = known(name);
        line(out, name, count, known.map_or("", |(meaning, _)| meaning));
        if let Some((_, advice)) = known {
            let _ = writeln!(out, "  {:<18} {:>10}  {advice}", "", "");
        }
    }
}

fn store(out: &mut String, stats: &Stats) {
    let store = stats.store;
    heading(out, "Store");
    line(out, "size", ByteSize(store.bytes), &format!("of {}", ByteSize(store.max_bytes)));
    line(out, "artifacts", store.artifacts, &show::count(store.blobs, "blob", "blobs"));
    line(out, "evicted", store.evicted_artifacts, "");
    line(out, "restored", ByteSize(stats.restored_bytes.total()), &moved(stats.restored_bytes));
}

fn bucket(out: &mut String, remote: &Remote) {
    heading(out, "Bucket");
    let shut: Vec<String> = paused(&remote.breaker).collect();
    line(out, "fetched", ByteSize(remote.get_bytes), &format!("{} GETs, {} not there", remote.gets, remote.not_found));
    line(out, "  ahead of cargo", remote.prefetched, &format!("{} of them used", remote.prefetch_used));
    line(out, "stored", ByteSize(remote.put_bytes), &show::count(remote.puts, "PUT", "PUTs"));
    line(out, "waiting", remote.queued_uploads, &shut.join(", "));
    // What wasn't tried didn't fail: it is what a pause spared.
    let errors = remote.errors.iter().filter(|(kind, _)| *kind != NOT_TRIED);
    let kinds: Vec<String> = errors.clone().map(|(kind, number)| format!("{number} {kind}")).collect();
    line(out, "errors", errors.map(|(_, number)| number).sum::<u64>(), &kinds.join(", "));
    if let Some(number) = remote.errors.get(NOT_TRIED) {
        line(out, "not tried", number, "while it was paused");
    }
    if remote.ignored_input_sets + remote.refused_artifacts > 0 {
        let refused = format!("{} refused", show::count(remote.refused_artifacts, "artifact", "artifacts"));
        line(out, "sets left alone", remote.ignored_input_sets, &refused);
    }
    let _ = writeln!(out, "  {:<18} {}", "credentials", remote.credential_source);
}

fn latency(out: &mut String, stats: &Stats) {
    let _ = writeln!(out, "\n{BOLD}{:<18} {:>10} {:>10} {:>10}{BOLD:#}", "Time in kached", "median", "90 %", "99 %");
    for (name, quantiles) in [("hit", stats.latency_us.hit), ("miss, on top", stats.latency_us.miss_overhead)] {
        let Quantiles { p50, p90, p99 } = quantiles;
        let _ = writeln!(out, "  {name:<16} {:>10} {:>10} {:>10}", micros(p50), micros(p90), micros(p99));
    }
}

fn micros(micros: Option<f64>) -> String {
    match micros {
        None => "-".to_owned(),
        Some(micros) if micros < 1000.0 => format!("{micros:.0} µs"),
        Some(micros) => format!("{:.1} ms", micros / 1000.0),
    }
}
