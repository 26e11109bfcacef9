//! `kache monitor`: builds as they happen, on the whole terminal.
//!
//! Promises: the terminal is as it was afterwards, whatever ends it (a panic too); a daemon that goes away is waited for. What is shown stands in
//! [`state`], how in [`draw`], and neither knows a terminal or a socket.

mod draw;
mod state;

use crate::client::Client;
use crate::error::Error;
use crate::place;
use kache_journal::Event;
use ratatui::crossterm::event::{self, Event as Input, KeyCode, KeyEventKind, KeyModifiers};
use signal_hook::consts::SIGTERM;
use state::State;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

/// How often it is drawn, at least: clocks of running units go on.
const FRAME: Duration = Duration::from_millis(200);

/// After a daemon has gone, it is asked again so often.
const AGAIN: Duration = Duration::from_secs(1);

/// What the listening thread tells.
#[derive(Debug)]
enum News {
    Event(Box<Event>),
    /// The daemon can't be heard, and why.
    Gone(String),
}

/// The terminal, drawn upon for as long as this lives.
struct Screen(ratatui::DefaultTerminal);

impl Screen {
    fn enter() -> Result<Self, Error> {
        ratatui::try_init().map(Self).map_err(|source| Error::io("drawing on the terminal", source))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

pub(crate) fn run() -> Result<ExitCode, Error> {
    if !(std::io::stdout().is_terminal() && std::io::stdin().is_terminal()) {
        return Err(Error::NoTerminal);
    }
    let client = place::client()?;
    // An absent daemon is an error at first, and worth waiting for later.
    client.get("/healthz")?;
    let ended = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGTERM, Arc::clone(&ended)).map_err(|source| Error::io("waiting for signals", source))?;
    let (sender, news) = mpsc::channel();
    std::thread::spawn(move || listen(&client, &sender));
    let mut screen = Screen::enter()?;
    let drawn = watch(&mut screen.0, &news, &ended);
    drop(screen);
    drawn.map(|()| ExitCode::SUCCESS).map_err(|source| Error::io("drawing on the terminal", source))
}

fn watch(terminal: &mut ratatui::DefaultTerminal, news: &Receiver<News>, ended: &AtomicBool) -> std::io::Result<()> {
    let mut state = State::default();
    while !ended.load(Ordering::Relaxed) {
        let now = Instant::now();
        for news in news.try_iter() {
            match news {
                News::Event(event) => state.apply(*event, now),
                News::Gone(why) => state.lose(why),
            }
        }
        terminal.draw(|frame| draw::draw(&state, now, frame))?;
        if event::poll(FRAME)? && is_quit(&event::read()?) {
            break;
        }
    }
    Ok(())
}

fn is_quit(input: &Input) -> bool {
    let Input::Key(key) = input else { return false };
    let control_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind == KeyEventKind::Press && (control_c || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc))
}

/// Hears events until nobody wants them.
fn listen(client: &Client, news: &Sender<News>) {
    loop {
        let heard = client.get_for_lines("/v1/events", |line| {
            let Some(event) = line.strip_prefix("data: ").and_then(|json| serde_json::from_str(json).ok()) else { return Ok(()) };
            news.send(News::Event(Box::new(event))).map_err(|_| Error::Unheard)
        });
        let why = heard.err().map_or_else(|| "kached has gone".to_owned(), |error| error.to_string());
        if news.send(News::Gone(why)).is_err() {
            return;
        }
        std::thread::sleep(AGAIN);
    }
}
