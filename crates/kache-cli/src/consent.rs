//! Asking before something is removed or changed.
//!
//! Promise: nothing happens without a yes: by `--yes`, or typed on a terminal. Where nobody can be asked, that is an error.

use crate::error::Error;
use crate::show;
use std::io::{BufRead as _, IsTerminal as _};

/// Whether the question was answered by yes. `doing` completes "to …"; `look` is the option that does nothing but tell.
pub(crate) fn given(yes: bool, question: &str, doing: &'static str, look: &'static str) -> Result<bool, Error> {
    if yes {
        return Ok(true);
    }
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Error::NoConsent { doing, look });
    }
    show::question(question);
    let mut line = String::new();
    stdin.lock().read_line(&mut line).map_err(|source| Error::io("reading the answer", source))?;
    Ok(["y", "yes"].contains(&line.trim().to_ascii_lowercase().as_str()))
}
