//! The page: one file without scripts and without anything from elsewhere. Promise: every text in it is escaped.

use super::{scripts, secs, spent, timeline};
use crate::show;
use kache_config::ByteSize;
use kache_journal::answer::Explained;
use kache_journal::{BuildHead, Kind, Report};
use kache_model::Outcome;
use std::fmt::Write as _;

const STYLE: &str = include_str!("page.css");

/// A text as it may stand in an element or in a quoted attribute.
pub(super) fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            c => out.push(c),
        }
        out
    })
}

/// A sentence: what stands between backticks is code.
fn sentence(text: &str) -> String {
    let parts = escape(text);
    let parts =
        parts.split('`').enumerate().map(|(index, part)| if index % 2 == 1 { format!("<code>{part}</code>") } else { part.to_owned() });
    parts.collect()
}

/// The page.
pub(super) fn html(report: &Report) -> String {
    let build = &report.build;
    let command = if build.command.is_empty() { "a build" } else { &build.command };
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{command} · kache</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <header><h1><code>{command}</code></h1><p>{} · {}</p></header>\n",
        escape(&build.dir),
        date(build.began_millis),
        command = escape(command),
    );
    tiles(&mut out, build);
    section(&mut out, "Timeline", &format!("{}{}", legend(), timeline::svg(report)));
    section(&mut out, "Where the time went", &shares(report));
    section(&mut out, "Critical path", &critical(report));
    section(&mut out, "Not restored, and why", &misses(report));
    section(&mut out, "All units", &all(report));
    let _ = writeln!(out, "<footer>kache {}</footer>\n</body>\n</html>", env!("CARGO_PKG_VERSION"));
    out
}

fn section(out: &mut String, title: &str, body: &str) {
    let _ = writeln!(out, "<section><h2>{title}</h2>\n{body}</section>");
}

fn tiles(out: &mut String, build: &BuildHead) {
    let totals = &build.totals;
    let percent = |share: Option<f64>| share.map_or("–".to_owned(), |share| format!("{:.0} %", share * 100.0));
    let moved = totals.restored_bytes;
    let ways = [("reflink", moved.reflink), ("hard link", moved.hardlink), ("copy", moved.copy)];
    let ways: Vec<String> =
        ways.iter().filter(|(_, bytes)| *bytes > 0).map(|(way, bytes)| format!("{} by {way}", ByteSize(*bytes))).collect();
    let tiles = [
        ("took", show::duration(build.wall_micros as f64 / 1e6), if build.running { "so far".to_owned() } else { String::new() }),
        ("restored", format!("{} of {}", totals.hits(), totals.units()), format!("{} of units", percent(totals.share()))),
        ("of the time", percent(totals.share_of_time()), "saved among saved and spent".to_owned()),
        ("compiling saved", show::duration(totals.saved_secs), format!("{} spent", show::duration(totals.compiled_secs))),
        ("put into place", ByteSize(moved.total()).to_string(), ways.join(", ")),
    ];
    *out += "<div class=\"tiles\">\n";
    for (name, value, remark) in tiles {
        let _ = writeln!(out, "<div><span>{name}</span><b>{value}</b><small>{remark}</small></div>");
    }
    *out += "</div>\n";
}

fn legend() -> String {
    let entries = [
        ("hit", "restored"),
        ("fetched", "fetched from the bucket"),
        ("compiled", "compiled"),
        ("bypassed", "bypassed (its end isn't known)"),
        ("failed", "failed"),
        ("script", "a build script at work, at most"),
    ];
    let entries: String = entries.iter().map(|(class, text)| format!("<span><i class=\"{class}\"></i>{text}</span>")).collect();
    format!("<p class=\"legend\">{entries}<span><i class=\"critical\"></i>on the critical path</span></p>\n")
}

fn shares(report: &Report) -> String {
    let spent = spent::by_kind(report);
    let all = spent.iter().map(|sum| sum.micros).sum::<u64>().max(1);
    let rows: String = spent
        .iter()
        .map(|sum| {
            let width = sum.micros as f64 * 100.0 / all as f64;
            let units = show::count(sum.number, "unit", "units");
            format!(
                "<tr><th>{}</th><td class=\"number\">{}</td><td class=\"bar\"><i class=\"{}\" style=\"width:{width:.1}%\"></i></td>\
                 <td class=\"dim\">{units}</td></tr>\n",
                escape(&sum.name),
                secs(sum.micros),
                sum.class
            )
        })
        .collect();
    format!("<table class=\"shares\">\n{rows}</table>\n<p class=\"dim\">From question to answer, units that ran at once added up.</p>\n")
}

fn critical(report: &Report) -> String {
    let wall = report.build.wall_micros.max(1) as f64;
    let row = |index: &usize| {
        let unit = &report.units[*index].unit;
        let (left, width) = (unit.began_micros as f64 * 100.0 / wall, (unit.cost_micros() as f64 * 100.0 / wall).max(0.3));
        format!(
            "<tr><th>{}</th><td class=\"number\">{}</td><td class=\"bar\"><i class=\"{}\" style=\"margin-left:{left:.1}%;width:{width:.1}%\"></i></td>\
             <td class=\"dim\">{}</td></tr>\n",
            escape(&unit.title()),
            secs(unit.cost_micros()),
            spent::class(unit.outcome),
            spent::word(unit.outcome)
        )
    };
    let runs = scripts::runs(report);
    let run = |index: &usize| {
        let unit = &report.units[*index].unit;
        let run = runs.iter().find(|run| unit.kind == Kind::BuildScript && run.package == unit.package)?;
        let took = run.ended_micros - run.began_micros;
        let (left, width) = (run.began_micros as f64 * 100.0 / wall, took as f64 * 100.0 / wall);
        Some(format!(
            "<tr><th>{}, at work</th><td class=\"number\">≤ {}</td>\
             <td class=\"bar\"><i class=\"script\" style=\"margin-left:{left:.1}%;width:{width:.1}%\"></i></td><td class=\"dim\">ran</td></tr>\n",
            escape(&unit.title()),
            secs(took)
        ))
    };
    let rows: String = report.critical_path.iter().flat_map(|index| [Some(row(index)), run(index)]).flatten().collect();
    format!(
        "<table class=\"shares\">\n{rows}</table>\n<p class=\"dim\">The chain that took longest: each needed the one above it. More processors would not have made it quicker.</p>\n"
    )
}

fn misses(report: &Report) -> String {
    let misses = report.misses();
    if misses.is_empty() {
        return "<p>Everything was restored.</p>\n".to_owned();
    }
    let row = |Explained { unit, why }: &&Explained| {
        let took = if unit.outcome == Outcome::Bypass { "–".to_owned() } else { secs(unit.cost_micros()) };
        let lines: String = why.lines.iter().map(|line| format!("<div>{}</div>", sentence(line))).collect();
        let advice = why.advice.as_ref().map_or(String::new(), |advice| format!("<div class=\"dim\">→ {}</div>", sentence(advice)));
        format!(
            "<tr><td class=\"number\">{took}</td><th><i class=\"dot {}\"></i>{}</th><td>{lines}{advice}</td></tr>\n",
            spent::class(unit.outcome),
            escape(&unit.title())
        )
    };
    format!("<table class=\"misses\">\n{}</table>\n", misses.iter().map(row).collect::<String>())
}

fn all(report: &Report) -> String {
    let row = |Explained { unit, .. }: &Explained| {
        let saved = if unit.is_hit() { secs(unit.rustc_millis * 1000) } else { String::new() };
        format!(
            "<tr><th><i class=\"dot {}\"></i>{}</th><td>{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td><td class=\"number\">{saved}</td>\
             <td class=\"number\">{}</td></tr>\n",
            spent::class(unit.outcome),
            escape(&unit.title()),
            spent::word(unit.outcome),
            secs(unit.began_micros),
            if unit.outcome == Outcome::Bypass { "–".to_owned() } else { secs(unit.cost_micros()) },
            ByteSize(unit.restored_bytes.total())
        )
    };
    let rows: String = report.units.iter().map(row).collect();
    let left_out = match report.left_out {
        0 => String::new(),
        number => format!("<p class=\"dim\">{number} more aren't remembered.</p>\n"),
    };
    format!(
        "<details><summary>{}</summary>\n<table class=\"units\">\n<tr><th>Unit</th><td>ended</td><td class=\"number\">began at</td>\
         <td class=\"number\">took</td><td class=\"number\">saved</td><td class=\"number\">moved</td></tr>\n{rows}</table>\n{left_out}</details>\n",
        show::count(report.units.len() as u64, "unit", "units")
    )
}

/// A moment as `2026-11-23 02:38:02 UTC`.
fn date(millis: u64) -> String {
    let secs = millis / 1000;
    let (days, rest) = (secs / 86_400, secs % 86_400);
    // Days since 0000-03-01, in eras of 400 years (Howard Hinnant's civil_from_days).
    let day = days + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let (date, month) = (of_year - (153 * shifted + 2) / 5 + 1, if shifted < 10 { shifted + 3 } else { shifted - 9 });
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{date:02} {:02}:{:02}:{:02} UTC", rest / 3600, rest % 3600 / 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kache_journal::{Explanation, Kept, Moved, Totals, Unit, Verdict};

    #[test]
    fn moments_are_dates() {
        for (millis, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399_000, "2000-02-28 23:59:59 UTC"),
            (951_782_400_000, "2000-02-29 00:00:00 UTC"),
            (1_795_401_482_000, "2026-11-23 02:38:02 UTC"),
        ] {
            assert_eq!(date(millis), text);
        }
    }

    #[test]
    fn everything_is_escaped_and_nothing_comes_from_elsewhere() {
        let evil = "<script>\"'&</script>";
        let unit = Unit {
            number: 0,
            package: evil.into(),
            crate_name: evil.into(),
            kind: Kind::Lib,
            check: false,
            outcome: Outcome::Miss,
            bypass: None,
            began_micros: 0,
            ended_micros: 2_000_000,
            rustc_millis: 2000,
            restored_bytes: Moved::default(),
            kept: Kept::Stored,
            not_stored: None,
        };
        let why =
            Explanation { verdict: Verdict::Changed, lines: vec![evil.into()], advice: Some(evil.into()), compared_with_millis: None };
        let build = BuildHead {
            id: 1,
            dir: evil.into(),
            command: evil.into(),
            began_millis: 0,
            wall_micros: 2_000_000,
            running: false,
            totals: Totals::default(),
        };
        let report = Report { build, units: vec![Explained { unit, why }], needs: vec![vec![]], critical_path: vec![0], left_out: 0 };
        let page = html(&report);
        assert!(!page.contains("<script") && page.matches("&lt;script&gt;&quot;&#39;&amp;&lt;/script&gt;").count() > 6, "{page}");
        for word in ["http:", "https:", "url(", "@import", "src=", "href="] {
            assert!(!page.contains(word), "{word}");
        }
        for tag in ["html", "head", "body", "section", "table", "svg", "g", "details"] {
            let (open, close) = (
                page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count(),
                page.matches(&format!("</{tag}>")).count(),
            );
            assert_eq!(open, close, "{tag}");
        }
    }
}
