//! The only place that writes to stdout and stderr. Colours go to terminals that want them (`NO_COLOR`, `CLICOLOR` heeded); a reader that has gone
//! away is no error. What is shown may be others' words (a bucket's, a server's): nothing else that a terminal would obey gets through.

use crate::error::Error;
use anstyle::{AnsiColor, Style};
use kache_journal::Trouble;
use kache_model::terminal::tame;
use std::fmt;
use std::io::Write as _;

/// For headings and names.
pub(crate) const BOLD: Style = Style::new().bold();
/// For what an eye should skip.
pub(crate) const DIM: Style = Style::new().dimmed();
const RED: Style = AnsiColor::Red.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default().bold();

/// An answer.
pub(crate) fn answer(text: impl fmt::Display) {
    let _ = try_answer(tame(&text.to_string()));
}

/// One of many answers, as it is: whoever gives them has to know when nobody reads any more.
pub(crate) fn try_answer(text: impl fmt::Display) -> std::io::Result<()> {
    writeln!(anstream::stdout(), "{text}")
}

/// Something beside the answer.
pub(crate) fn note(text: impl fmt::Display) {
    let _ = writeln!(anstream::stderr(), "{BOLD}kache:{BOLD:#} {}", tame(&text.to_string()));
}

/// Something that is answered on the same line.
pub(crate) fn question(text: impl fmt::Display) {
    let _ = write!(anstream::stderr(), "{BOLD}kache:{BOLD:#} {text} [y/N] ");
}

/// Something that an operator should look at; the work goes on.
pub(crate) fn warning(text: impl fmt::Display) {
    let _ = writeln!(anstream::stderr(), "{YELLOW}kache: warning:{YELLOW:#} {}", tame(&text.to_string()));
}

/// A line that another program wrote to its stderr.
pub(crate) fn foreign(line: impl fmt::Display) {
    let _ = writeln!(anstream::stderr(), "{}", tame(&line.to_string()));
}

/// Why it ends here.
pub(crate) fn error(error: &Error) {
    let _ = writeln!(anstream::stderr(), "{RED}kache: error:{RED:#} {}", tame(&error.to_string()));
}

/// What is wrong and what to do, on one line.
pub(crate) fn trouble(trouble: &Trouble) -> String {
    format!("{}: {}", trouble.text, trouble.advice.trim_end_matches('.'))
}

/// `1 miss`, `2 misses`.
pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// A length of time in the two units that matter.
pub(crate) fn duration(secs: f64) -> String {
    // Saturating casts: a negative or absurd number shows as its nearest bound.
    let whole = secs as u64;
    match whole {
        0..60 => format!("{secs:.1} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        3600..86400 => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{} d {} h", whole / 86400, whole % 86400 / 3600),
    }
}

/// How long ago, in the unit that matters.
pub(crate) fn age(secs: u64) -> String {
    match secs {
        0..60 => format!("{secs} s"),
        60..3600 => format!("{} min", secs / 60),
        3600..86400 => format!("{} h", secs / 3600),
        _ => format!("{} d", secs / 86400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_shown_in_one_unit() {
        for (secs, text) in [(0, "0 s"), (119, "1 min"), (7200, "2 h"), (200_000, "2 d")] {
            assert_eq!(age(secs), text);
        }
    }

    #[test]
    fn durations_are_shown_in_two_units() {
        for (secs, text) in [(0.25, "0.2 s"), (59.94, "59.9 s"), (61.0, "1 min 1 s"), (3725.0, "1 h 2 min"), (90000.0, "1 d 1 h")] {
            assert_eq!(duration(secs), text);
        }
    }
}
