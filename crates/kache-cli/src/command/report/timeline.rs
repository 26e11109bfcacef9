//! The timeline: a bar for each unit, on as few lanes as there were units at once.

use super::page::escape;
use super::{scripts, secs, spent};
use kache_journal::{Report, Unit};
use kache_model::Outcome;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Units of the drawing.
const WIDTH: f64 = 1160.0;
const LANE: f64 = 20.0;
const BAR: f64 = 16.0;
const AXIS: f64 = 22.0;
/// Narrower bars can't be seen.
const NARROWEST: f64 = 2.0;
/// A letter of a label.
const LETTER: f64 = 6.4;

/// For each span its lane: the first that is free when it begins.
fn lanes(spans: &[(u64, u64)], narrowest: u64) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..spans.len()).collect();
    order.sort_by_key(|index| spans[*index].0);
    let mut free_from: Vec<u64> = Vec::new();
    let mut lanes = vec![0; spans.len()];
    for index in order {
        let (began, ended) = (spans[index].0, spans[index].1.max(spans[index].0 + narrowest));
        let lane = free_from.iter().position(|free| *free <= began).unwrap_or(free_from.len());
        if lane == free_from.len() {
            free_from.push(0);
        }
        (free_from[lane], lanes[index]) = (ended, lane);
    }
    (lanes, free_from.len())
}

/// The drawing.
pub(super) fn svg(report: &Report) -> String {
    let units: Vec<&Unit> = report.units.iter().map(|explained| &explained.unit).collect();
    let end = units.iter().map(|unit| unit.ended_micros).max().unwrap_or(0).max(1);
    let scale = WIDTH / end as f64;
    let runs = scripts::runs(report);
    let spans = units.iter().map(|unit| (unit.began_micros, unit.ended_micros));
    let spans: Vec<(u64, u64)> = spans.chain(runs.iter().map(|run| (run.began_micros, run.ended_micros))).collect();
    let (lanes, number) = lanes(&spans, (NARROWEST / scale) as u64);
    let height = AXIS + LANE * number as f64;
    let mut out = format!("<svg class=\"timeline\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"Timeline of the build\">\n");
    axis(&mut out, end, scale, height);
    let critical: BTreeSet<usize> = report.critical_path.iter().copied().collect();
    let place = |index: usize| {
        let ((began, ended), y) = (spans[index], AXIS + LANE * lanes[index] as f64);
        let x = began as f64 * scale;
        (x, y, (ended.saturating_sub(began) as f64 * scale).min(WIDTH - x).max(NARROWEST))
    };
    for (index, unit) in units.iter().enumerate() {
        let mark = if critical.contains(&index) { " critical" } else { "" };
        let class = format!("{}{mark}", spent::class(unit.outcome));
        bar(&mut out, &class, place(index), &unit.title(), &tip(unit, &report.units[index].why.lines));
    }
    for (index, run) in runs.iter().enumerate() {
        let title = format!("{}'s build script at work", run.package);
        let tip = format!("{title}: at most {}", secs(run.ended_micros - run.began_micros));
        bar(&mut out, "script", place(units.len() + index), &title, &tip);
    }
    out + "</svg>\n"
}

fn bar(out: &mut String, class: &str, (x, y, width): (f64, f64, f64), title: &str, tip: &str) {
    let _ = write!(out, "<g><title>{}</title>", escape(tip));
    let _ = write!(out, "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR}\" rx=\"2\"/>");
    let letters = ((width - 8.0) / LETTER) as usize;
    if letters >= 3 {
        let shortened = || title.chars().take(letters - 1).chain(['…']).collect();
        let label = if title.chars().count() <= letters { title.to_owned() } else { shortened() };
        let _ = write!(out, "<text x=\"{:.1}\" y=\"{:.1}\">{}</text>", x + 4.0, y + 12.0, escape(&label));
    }
    *out += "</g>\n";
}

fn tip(unit: &Unit, why: &[String]) -> String {
    let mut text = format!("{}: {}", unit.title(), spent::word(unit.outcome));
    if unit.outcome != Outcome::Bypass {
        let _ = write!(text, " in {}", secs(unit.cost_micros()));
    }
    if unit.is_hit() {
        let _ = write!(text, ", saved {}", secs(unit.rustc_millis * 1000));
    } else {
        why.iter().for_each(|line| text += &format!("\n{line}"));
    }
    text
}

/// Seconds along the top, in steps that leave room for their figures.
fn axis(out: &mut String, end: u64, scale: f64, height: f64) {
    let steps = [1, 2, 5].into_iter().flat_map(|digit| (0..9).map(move |zeros| digit * 10_u64.pow(zeros)));
    let mut steps: Vec<u64> = steps.collect();
    steps.sort_unstable();
    let step = steps.into_iter().find(|step| *step as f64 * scale >= 70.0).unwrap_or(end);
    let mut at = 0;
    while at <= end {
        let x = at as f64 * scale;
        let _ = writeln!(out, "<line class=\"grid\" x1=\"{x:.1}\" y1=\"0\" x2=\"{x:.1}\" y2=\"{height}\"/>");
        if x + 50.0 < WIDTH {
            let figure = if step < 1_000_000 { format!("{} ms", at / 1000) } else { format!("{} s", at / 1_000_000) };
            let _ = writeln!(out, "<text class=\"figure\" x=\"{:.1}\" y=\"12\">{figure}</text>", x + 4.0);
        }
        at += step;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_that_overlap_stand_on_lanes_of_their_own() {
        assert_eq!(lanes(&[(0, 10), (5, 20), (10, 15), (12, 13), (20, 30)], 1), (vec![0, 1, 0, 2, 0], 3));
        assert_eq!(lanes(&[], 1), (vec![], 0));
        // Too short to be drawn as long as it took, and drawn beside its follower all the same.
        assert_eq!(lanes(&[(0, 1), (2, 3)], 5).1, 2);
    }
}
