//! Whether a running daemon should be started anew: it is of another version, its program was replaced, or settings wait for it.

use crate::command::Status;

/// What to do about it.
pub(crate) const ADVICE: &str = "restart kached: `kache stop`, then `kache start`";

/// That the daemon isn't of this program's version.
pub(crate) fn version(daemons: &str) -> Option<String> {
    let own = env!("CARGO_PKG_VERSION");
    (daemons != own).then(|| format!("versions differ: kached is {daemons}, kache {own}"))
}

/// That the file which it was started from is another one by now, or gone.
pub(crate) fn program(status: &Status) -> Option<String> {
    let exe = std::fs::read_link(format!("/proc/{}/exe", status.pid)).ok()?;
    exe.to_str()?.ends_with(" (deleted)").then(|| "kached was replaced on disk since it started".to_owned())
}

/// That values were changed which count from the start on.
pub(crate) fn settings(status: &Status) -> Option<String> {
    let keys = status.restart_to_apply.join(", ");
    (!keys.is_empty()).then(|| format!("restart kached to apply: {keys}"))
}

/// All of it, each with what to do.
pub(crate) fn sentences(status: &Status) -> Vec<String> {
    let advised = version(&status.version).into_iter().chain(program(status)).map(|why| format!("{why}; {ADVICE}"));
    advised.chain(settings(status)).collect()
}
