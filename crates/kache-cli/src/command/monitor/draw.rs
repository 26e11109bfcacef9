//! How the monitor looks. Pure: a state in, cells out.

use super::state::{Ended, Shown, State};
use crate::show;
use kache_config::ByteSize;
use kache_model::Outcome;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Gauge, Padding, Paragraph};
use std::time::{Duration, Instant};

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const DIM: Style = Style::new().fg(Color::DarkGray);

/// Columns of a unit's name.
const NAME: usize = 30;

/// Draws everything.
pub(super) fn draw(state: &State, now: Instant, frame: &mut Frame<'_>) {
    let [top, middle, bottom, gauges, status] = Layout::vertical([
        Constraint::Length(5),
        Constraint::Percentage(35),
        Constraint::Min(4),
        Constraint::Length(3),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    build(state, now, top, frame);
    let [left, right] = Layout::horizontal([Constraint::Percentage(35), Constraint::Percentage(65)]).areas(middle);
    running(state, now, left, frame);
    list(" Dearest misses of this build ", state.dearest.iter(), right, frame);
    list(" As they ended ", state.ended.iter(), bottom, frame);
    fill(state, gauges, frame);
    frame.render_widget(Paragraph::new(last_line(state)), status);
}

fn build(state: &State, now: Instant, area: Rect, frame: &mut Frame<'_>) {
    let Some(shown) = state.current() else {
        let text = "Waiting for a build: run cargo with kache in front of it.";
        return frame.render_widget(Paragraph::new(text).block(framed().title(" kache ")), area);
    };
    let Shown { head, .. } = shown;
    let command = if head.command.is_empty() { "a build" } else { &head.command };
    let state_word = if head.running { "running" } else { "done" };
    let title = format!(" {command} · {} · {state_word}, {} ", head.dir, secs(shown.took(now)));
    let totals = &head.totals;
    let number = |outcome| totals.count(outcome);
    let counts = Line::from(vec![
        Span::styled(format!("{} units", totals.units()), BOLD),
        Span::raw("   "),
        Span::styled(format!("{} restored", number(Outcome::LocalHit) + number(Outcome::Joined)), color(Outcome::LocalHit)),
        Span::raw("   "),
        Span::styled(format!("{} fetched", number(Outcome::RemoteHit)), color(Outcome::RemoteHit)),
        Span::raw("   "),
        Span::styled(format!("{} compiled", number(Outcome::Miss)), color(Outcome::Miss)),
        Span::raw("   "),
        Span::styled(format!("{} bypassed", number(Outcome::Bypass)), color(Outcome::Bypass)),
        Span::raw("   "),
        Span::styled(format!("{} failed", number(Outcome::Failed)), color(Outcome::Failed)),
    ]);
    let percent = |share: Option<f64>| share.map_or("-".to_owned(), |share| format!("{:.0} %", share * 100.0));
    let time = Line::from(format!(
        "hits {} of units, {} of the time   {} of compiling saved, {} spent   {} put into place",
        percent(totals.share()),
        percent(totals.share_of_time()),
        show::duration(totals.saved_secs),
        show::duration(totals.compiled_secs),
        ByteSize(totals.restored_bytes.total()),
    ));
    frame.render_widget(Paragraph::new(vec![counts, Line::default(), time]).block(framed().title(title)), area);
}

fn running(state: &State, now: Instant, area: Rect, frame: &mut Frame<'_>) {
    let running = state.running();
    let room = usize::from(area.width.saturating_sub(16));
    let line = |unit: &&super::state::Running| {
        Line::from(vec![Span::styled(format!("{:>8}  ", secs(unit.took(now))), DIM), Span::raw(shortened(&unit.title, room))])
    };
    let lines: Vec<Line<'_>> = running.iter().map(line).collect();
    let title = format!(" Compiling: {} ", running.len());
    frame.render_widget(Paragraph::new(lines).block(framed().title(title)), area);
}

fn list<'a>(title: &str, units: impl Iterator<Item = &'a Ended>, area: Rect, frame: &mut Frame<'_>) {
    let lines: Vec<Line<'_>> = units.take(usize::from(area.height)).map(unit).collect();
    frame.render_widget(Paragraph::new(lines).block(framed().title(title.to_owned())), area);
}

fn unit(ended: &Ended) -> Line<'_> {
    let Ended { unit, why } = ended;
    let took = match unit.outcome {
        Outcome::Bypass => String::new(),
        _ => secs(Duration::from_micros(unit.cost_micros())),
    };
    let saved = if unit.is_hit() { format!("saved {}", show::duration(unit.rustc_millis as f64 / 1e3)) } else { why.clone() };
    Line::from(vec![
        Span::styled(format!("{:<9}", word(unit.outcome)), color(unit.outcome)),
        Span::styled(format!("{took:>8}  "), DIM),
        Span::raw(format!("{:<NAME$}  ", shortened(&unit.title(), NAME))),
        Span::styled(saved, DIM),
    ])
}

fn fill(state: &State, area: Rect, frame: &mut Frame<'_>) {
    let gauges = state.gauges;
    let [store, bucket] = Layout::horizontal([Constraint::Percentage(50), Constraint::Percentage(50)]).areas(area);
    let ratio = if gauges.store_max_bytes == 0 { 0.0 } else { gauges.store_bytes as f64 / gauges.store_max_bytes as f64 };
    let label = format!("{} of {}", ByteSize(gauges.store_bytes), ByteSize(gauges.store_max_bytes));
    let title = format!(" Store: {}, {} evicted ", show::count(gauges.artifacts, "artifact", "artifacts"), gauges.evicted_artifacts);
    let gauge = Gauge::default().ratio(ratio.clamp(0.0, 1.0)).label(label).gauge_style(Style::new().fg(Color::Blue));
    frame.render_widget(gauge.block(framed().title(title)), store);
    let text = match gauges.bucket {
        false => "none".to_owned(),
        true => format!(
            "↓ {}/s   ↑ {}/s   {} waiting",
            ByteSize(state.rates.fetched as u64),
            ByteSize(state.rates.stored as u64),
            gauges.queued_uploads
        ),
    };
    frame.render_widget(Paragraph::new(text).block(framed().title(" Bucket ")), bucket);
}

fn last_line(state: &State) -> Line<'_> {
    match &state.gone {
        Some(why) => Line::styled(format!(" {why}; waiting for it"), Style::new().fg(Color::Red)),
        None if state.missed > 0 => Line::styled(format!(" q quits   {} events were too fast to be shown", state.missed), DIM),
        None => Line::styled(" q quits", DIM),
    }
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::LocalHit => "hit",
        Outcome::RemoteHit => "fetched",
        Outcome::Joined => "shared",
        Outcome::Miss => "compiled",
        Outcome::Bypass => "bypassed",
        Outcome::Failed => "failed",
    }
}

fn color(outcome: Outcome) -> Style {
    Style::new().fg(match outcome {
        Outcome::LocalHit | Outcome::Joined => Color::Green,
        Outcome::RemoteHit => Color::Cyan,
        Outcome::Miss => Color::Yellow,
        Outcome::Bypass => Color::Magenta,
        Outcome::Failed => Color::Red,
    })
}

fn secs(took: Duration) -> String {
    match took.as_millis() {
        millis @ 0..1000 => format!("{millis} ms"),
        _ => show::duration(took.as_secs_f64()),
    }
}

/// A frame with room to its sides.
fn framed<'a>() -> Block<'a> {
    Block::bordered().border_style(DIM).padding(Padding::horizontal(1))
}

/// At most `room` columns of a name.
fn shortened(text: &str, room: usize) -> String {
    if text.chars().count() <= room { text.to_owned() } else { text.chars().take(room.saturating_sub(1)).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kache_journal::{BuildHead, Event, Gauges, Kept, Kind, Moved, Unit};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn drawn(state: &State, now: Instant) -> String {
        let mut terminal = Terminal::new(TestBackend::new(120, 30)).unwrap();
        terminal.draw(|frame| draw(state, now, frame)).unwrap();
        let buffer = terminal.backend().buffer();
        let row = |y| (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..buffer.area.height).map(|y| row(y) + "\n").collect()
    }

    fn head(running: bool) -> BuildHead {
        BuildHead { id: 1, dir: "/w/app".into(), command: "cargo build".into(), running, wall_micros: 2_500_000, ..BuildHead::default() }
    }

    fn unit(number: u64, name: &str, outcome: Outcome, millis: u64) -> Event {
        let unit = Unit {
            number,
            package: name.into(),
            crate_name: name.into(),
            kind: Kind::Lib,
            check: false,
            outcome,
            bypass: None,
            began_micros: 0,
            ended_micros: millis * 1000,
            rustc_millis: millis,
            restored_bytes: Moved::default(),
            kept: Kept::No,
            not_stored: None,
        };
        let why = if outcome == Outcome::Miss { vec!["src/lib.rs changed".to_owned()] } else { Vec::new() };
        Event::UnitEnded { build: 1, unit, why }
    }

    #[test]
    fn an_empty_state_says_what_it_waits_for() {
        assert!(drawn(&State::default(), Instant::now()).contains("Waiting for a build"));
    }

    #[test]
    fn a_build_is_shown_as_it_goes() {
        let (mut state, now) = (State::default(), Instant::now());
        let begun = |number, name: &str| Event::UnitBegun {
            build: 1,
            number,
            package: name.into(),
            crate_name: name.into(),
            kind: Kind::Bin,
            began_micros: 0,
        };
        let gauges = Gauges { store_bytes: 1 << 30, store_max_bytes: 4 << 30, artifacts: 7, bucket: true, ..Gauges::default() };
        for event in [
            Event::BuildBegun(head(true)),
            unit(0, "quick", Outcome::LocalHit, 4000),
            begun(1, "slow"),
            begun(2, "lost"),
            unit(3, "dear", Outcome::Miss, 900),
            unit(4, "dearer", Outcome::Miss, 1500),
            Event::UnitLost { build: 1, number: 2 },
            Event::Gauges(gauges),
        ] {
            state.apply(event, now);
        }
        state.apply(Event::Gauges(Gauges { fetched_bytes: 3 << 20, ..gauges }), now + Duration::from_secs(1));
        let text = drawn(&state, now + Duration::from_secs(1));
        for part in [
            "cargo build · /w/app · running, 3.5 s",
            "3 units   1 restored   0 fetched   2 compiled",
            "hits 33 % of units, 62 % of the time   4.0 s of compiling saved, 2.4 s spent",
            "Compiling: 1",
            "1.0 s  slow (bin)",
            "1 GiB of 4 GiB",
            "↓ 3 MiB/s",
            "src/lib.rs changed",
        ] {
            assert!(text.contains(part), "{part:?} isn't in\n{text}");
        }
        assert!(text.find("dearer").unwrap() < text.find("dear ").unwrap(), "dearest first\n{text}");
        assert!(!text.contains("lost (bin)"), "{text}");
        state.apply(Event::BuildEnded(head(false)), now);
        assert!(drawn(&state, now).contains("done, 2.5 s"));
    }

    #[test]
    fn trouble_is_shown_at_the_bottom_and_goes_with_the_next_event() {
        let (mut state, now) = (State::default(), Instant::now());
        state.apply(Event::Missed { events: 12 }, now);
        assert!(drawn(&state, now).contains("12 events were too fast"));
        state.lose("kached has gone".into());
        assert!(drawn(&state, now).contains("kached has gone; waiting for it"));
        state.apply(Event::Gauges(Gauges::default()), now);
        assert!(!drawn(&state, now).contains("has gone"));
    }

    #[test]
    fn a_terminal_of_any_size_is_drawn_upon() {
        for (width, height) in [(1, 1), (20, 5), (300, 100)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            let mut state = State::default();
            state.apply(Event::BuildBegun(head(true)), Instant::now());
            terminal.draw(|frame| draw(&state, Instant::now(), frame)).unwrap();
        }
    }
}
