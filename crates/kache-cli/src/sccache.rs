//! Words that fingers know from sccache.

use crate::show;
use std::ffi::OsString;

/// Its options that are commands here.
const WORDS: &[(&[&str], &[&str])] = &[
    (&["--show-stats", "-s"], &["stats"]),
    (&["--zero-stats", "-z"], &["stats", "--zero"]),
    (&["--start-server"], &["start"]),
    (&["--stop-server"], &["stop"]),
];

/// The arguments with ours in place of one of those at the front, and a word on what it is called here.
pub(crate) fn translated(arguments: Vec<OsString>) -> Vec<OsString> {
    let Some(first) = arguments.first() else { return arguments };
    let Some((_, ours)) = WORDS.iter().find(|(theirs, _)| theirs.iter().any(|word| first == word)) else { return arguments };
    show::note(format_args!("{} is `kache {}` here", first.display(), ours.join(" ")));
    ours.iter().map(OsString::from).chain(arguments.into_iter().skip(1)).collect()
}
