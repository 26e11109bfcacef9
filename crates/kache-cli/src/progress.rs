//! Something that moves on a terminal while work takes longer than a second. Elsewhere nothing is written, for a log wants the result; only work that
//! may take minutes says now and then how far it is.

use crate::show;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// What takes less needs no bar.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often work that may take minutes is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often that is a line where no terminal is.
pub(crate) const LINE_EVERY: Duration = Duration::from_secs(5);
/// How often it moves.
const TICK: Duration = Duration::from_millis(100);

/// Does `work` under the name `what`. It may tell the bar how much there is to do and how much is done.
pub(crate) fn during<T>(what: &'static str, work: impl FnOnce(&ProgressBar) -> T) -> T {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()).with_message(what).with_style(spinner());
    let (working, ended) = channel::<()>();
    let result = std::thread::scope(|scope| {
        let shown = bar.clone();
        scope.spawn(move || {
            if ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                shown.set_draw_target(ProgressDrawTarget::stderr());
                shown.enable_steady_tick(TICK);
            }
        });
        let result = work(&bar);
        drop(working);
        result
    });
    bar.finish_and_clear();
    result
}

/// Does `work` under the name `what`, and shows what `look` says of it meanwhile: on a terminal beside the name, elsewhere as a line now and then.
pub(crate) fn following<T>(what: &'static str, look: impl Fn() -> Option<String> + Sync, work: impl FnOnce() -> T) -> T {
    during(what, |bar| {
        let (working, ended) = channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn({
                let look = &look;
                move || tell(what, bar, look, &ended)
            });
            let result = work();
            drop(working);
            result
        })
    })
}

fn tell(what: &str, bar: &ProgressBar, look: impl Fn() -> Option<String>, ended: &Receiver<()>) {
    let mut told = Instant::now();
    while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
        let Some(state) = look() else { continue };
        bar.set_message(format!("{what}: {state}"));
        if bar.is_hidden() && told.elapsed() >= LINE_EVERY {
            told = Instant::now();
            show::note(format_args!("{what}: {state}"));
        }
    }
}

/// Notes that `done` of `all` is done.
pub(crate) fn at(bar: &ProgressBar, done: u64, all: u64) {
    if bar.length() != Some(all) {
        bar.set_style(
            ProgressStyle::with_template("{msg} [{bar:40}] {pos}/{len}, {eta} to go").unwrap_or_else(|_| spinner()).progress_chars("=> "),
        );
        bar.set_length(all);
    }
    bar.set_position(done);
}

fn spinner() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {msg} ({elapsed})").unwrap_or_else(|_| ProgressStyle::default_spinner())
}
