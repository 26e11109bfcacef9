//! Waiting for something that happens in another process: by asking again, never by guessing how long it takes.

use std::io::Write as _;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

/// How long to wait between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks until `look` answers `Some`, and gives that.
///
/// # Panics
/// If nothing came within `limit`: a bound on hanging, chosen far above what is ever needed.
pub fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < limit, "gave up after {limit:?} waiting for: {what}");
        std::thread::sleep(PAUSE);
    }
}

/// Waits for a child's end; kills it after `limit` and answers `None`.
pub fn finish_within(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("wait for a child") {
            return Some(status);
        }
        if started.elapsed() > limit {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Says, past the harness's capture, that a test proves nothing here, and why.
pub fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}
