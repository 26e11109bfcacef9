//! What kached writes: lines on standard error, as many as the configured filter lets through.

use std::io::Stderr;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{DefaultFields, Format};
use tracing_subscriber::fmt::{Formatter, Subscriber};
use tracing_subscriber::reload::Handle;

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

fn filter(directives: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::try_new(directives).map_err(|error| LogError { directives: directives.to_owned(), why: error.to_string() })
}
