//! What kached writes: lines on standard error, as many as the configured filter lets through.
//!
//! Where that is `kached.log` in the cache directory (`kache start` has it so), the file is kept within a bound. Elsewhere somebody else looks
//! after it.

use std::fs;
use std::io::{self, Stderr};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{DefaultFields, Format};
use tracing_subscriber::fmt::{Formatter, Subscriber};
use tracing_subscriber::reload::Handle;

/// A log file larger than this is emptied; what it held is kept once, beside it. (As `kache start` does.)
const MAX_BYTES: u64 = 16 << 20;

/// Filter directives that can't be used, or a log that is gone.
#[derive(Debug, thiserror::Error)]
#[error("`log`: {directives:?}: {why}")]
pub(crate) struct LogError {
    directives: String,
    why: String,
}

/// What turns an event into a line.
type Lines = Formatter<DefaultFields, Format, fn() -> Stderr>;

/// The running log.
#[derive(Debug)]
pub(crate) struct Log(Handle<EnvFilter, Lines>);

impl Log {
    /// Begins to write. To be called once.
    pub(crate) fn start(directives: &str) -> Result<Self, LogError> {
        let builder =
            Subscriber::builder().with_env_filter(filter(directives)?).with_ansi(false).with_writer(std::io::stderr as fn() -> Stderr);
        let builder = builder.with_filter_reloading();
        let log = Self(builder.reload_handle());
        builder.init();
        Ok(log)
    }

    /// Lets other lines through from now on.
    pub(crate) fn set(&self, directives: &str) -> Result<(), LogError> {
        let fail = |error: tracing_subscriber::reload::Error| LogError { directives: directives.to_owned(), why: error.to_string() };
        self.0.reload(filter(directives)?).map_err(fail)
    }
}

/// Keeps the log of a daemon with this cache directory within its bound.
pub(crate) fn keep_bounded(cache_dir: &Path) {
    if let Err(error) = empty_beyond(MAX_BYTES, io::stderr(), &cache_dir.join("kached.log")) {
        tracing::debug!(%error, "the log's bound");
    }
}

/// Empties the file behind `log`, if it is the one at `path` and larger than `bound`. It was opened to be appended to, so writing goes on at its
/// begin; the lines of a moment may be lost.
fn empty_beyond(bound: u64, log: impl AsFd, path: &Path) -> io::Result<()> {
    let own = rustix::fs::fstat(&log)?;
    let Ok(there) = fs::metadata(path) else { return Ok(()) };
    if there.len() <= bound || there.ino() != own.st_ino {
        return Ok(());
    }
    fs::copy(path, path.with_extension("log.old"))?;
    Ok(rustix::fs::ftruncate(log, 0)?)
}

fn filter(directives: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::try_new(directives).map_err(|error| LogError { directives: directives.to_owned(), why: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_log_that_grows_too_large_is_emptied_and_kept_once_and_no_other_file_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kached.log");
        let old = || fs::read_to_string(dir.path().join("kached.log.old")).unwrap_or_default();
        let mut log = fs::File::options().create(true).append(true).open(&path).unwrap();
        for line in ["first\n", "second\n"] {
            log.write_all(line.as_bytes()).unwrap();
            empty_beyond(8, &log, &path).unwrap();
        }
        log.write_all(b"third\n").unwrap();
        assert_eq!((old().as_str(), fs::read_to_string(&path).unwrap().as_str()), ("first\nsecond\n", "third\n"));
        let other = tempfile::tempfile().unwrap();
        empty_beyond(0, &other, &path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "third\n");
    }
}
