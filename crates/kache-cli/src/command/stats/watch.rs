//! A text that is drawn anew each second, until Ctrl-C.
//!
//! Promises: on a terminal the text stands on a screen of its own, and what was there before comes back, whatever ends it; elsewhere the texts
//! follow each other. A daemon that goes away ends it with that error, a reader that goes away without one.

use crate::error::Error;
use crate::show;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

const EVERY: Duration = Duration::from_secs(1);

/// Another screen, without a cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// To the top; what is behind each line and below the text goes.
const HOME: &str = "\x1b[H";
const REST_OF_LINE: &str = "\x1b[K";
const BELOW: &str = "\x1b[J";

/// The other screen, for as long as this lives.
struct Screen;

impl Screen {
    fn enter() -> Self {
        raw(ENTER);
        Self
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        raw(LEAVE);
    }
}

pub(super) fn run(text: impl Fn() -> Result<String, Error>) -> Result<ExitCode, Error> {
    let (sender, ended) = mpsc::channel();
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(|source| Error::io("waiting for Ctrl-C", source))?;
    std::thread::spawn(move || {
        signals.forever().next();
        let _gone = sender.send(());
    });
    let first = text()?;
    let screen = std::io::stdout().is_terminal().then(Screen::enter);
    let mut latest = first;
    loop {
        let shown = match &screen {
            Some(_) => {
                let lines = latest.replace('\n', &format!("{REST_OF_LINE}\n"));
                raw(HOME);
                let shown = show::try_answer(format_args!("{lines}{REST_OF_LINE}\n{REST_OF_LINE}Ctrl-C ends it."));
                raw(BELOW);
                shown
            }
            None => show::try_answer(format_args!("{latest}\n")),
        };
        if shown.is_err() {
            return Ok(ExitCode::SUCCESS);
        }
        match ended.recv_timeout(EVERY) {
            Err(RecvTimeoutError::Timeout) => latest = text()?,
            _ => return Ok(ExitCode::SUCCESS),
        }
    }
}

fn raw(text: &str) {
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
