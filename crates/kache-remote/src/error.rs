//! What can go wrong with a remote, in words for an operator and in names for counters.
//!
//! An object that isn't there is never in here: that is `Ok(None)`. No message holds a secret: what a server says about a refused
//! request is cut down to its code and its sentence.

use kache_model::terminal;
use std::borrow::Cow;
use std::fmt;

/// A request that failed, or bytes that were refused.
#[derive(Clone, Debug)]
pub struct RemoteError {
    kind: ErrorKind,
    /// Another kind, if that is what is behind it.
    cause: Option<ErrorKind>,
    subject: String,
    detail: String,
    counted: bool,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal,)*) => {
        /// The ways to fail. Names are stable: counters and dashboards use them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorKind {
            $($(#[$doc])* $kind,)*
        }

        impl ErrorKind {
            /// Every kind, in the order of declaration.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// The name in counters.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }
        }
    };
}

kinds! {
    /// No connection.
    Connect = "connect",
    /// A connection, but no agreement about certificates or ciphers.
    Tls = "tls",
    /// No answer in time.
    Timeout = "timeout",
    /// An answer that stopped in the middle.
    Stalled = "stalled",
    /// A connection that broke.
    Reset = "reset",
    /// Fewer bytes than announced.
    Truncated = "truncated",
    /// 429, 503, `SlowDown`.
    Throttled = "throttled",
    /// 500, 502, 504.
    Server = "server",
    /// 403: unknown key, wrong secret, no permission.
    Forbidden = "forbidden",
    /// The session behind the credentials is over.
    ExpiredCredentials = "expired_credentials",
    /// No credentials to be found.
    NoCredentials = "no_credentials",
    /// The bucket is elsewhere.
    WrongRegion = "wrong_region",
    /// This machine's clock is off.
    ClockSkew = "clock_skew",
    /// No such bucket.
    NoSuchBucket = "no_such_bucket",
    /// The server doesn't understand the request.
    BadRequest = "bad_request",
    /// Not tried: too much has failed lately.
    BreakerOpen = "breaker_open",
    /// Not zstd, not tar, not JSON, or not in the shape that was expected.
    Corrupt = "corrupt",
    /// Bytes that don't have the digest that names them.
    DigestMismatch = "digest_mismatch",
    /// More bytes or members than allowed.
    TooLarge = "too_large",
    /// A sound object that stands under another's name.
    WrongKey = "wrong_key",
    /// An artifact whose outputs aren't those that were asked for.
    UnexpectedOutputs = "unexpected_outputs",
    /// Messages or names that a terminal would obey.
    UnsafeText = "unsafe_text",
    /// An input set that names what no build has to do with.
    UnsafeNames = "unsafe_names",
    /// The local disk refused.
    Disk = "disk",
    /// A write to a remote that is for reading.
    ReadOnly = "read_only",
    /// What the remote was told can't be right.
    Configuration = "configuration",
    /// Anything else.
    Other = "other",
}

impl ErrorKind {
    /// Whether the same request may well succeed a moment later.
    pub const fn retryable(self) -> bool {
        matches!(self, Self::Connect | Self::Timeout | Self::Stalled | Self::Reset | Self::Truncated | Self::Throttled | Self::Server)
    }

    /// Whether it says that an object's bytes are no good, however often they are fetched. Storing the object anew mends it.
    pub const fn is_about_bytes(self) -> bool {
        matches!(self, Self::Corrupt | Self::DigestMismatch | Self::TooLarge | Self::WrongKey) || self.is_odd()
    }

    /// Whether it says that an object is sound and holds what no kache would have stored.
    pub const fn is_odd(self) -> bool {
        matches!(self, Self::UnexpectedOutputs | Self::UnsafeText | Self::UnsafeNames)
    }

    /// Whether it says that the remote as a whole is in trouble. A server that throttles is alive: the limit deals with that.
    pub const fn trips_breaker(self) -> bool {
        matches!(self, Self::Connect | Self::Tls | Self::Timeout | Self::Stalled | Self::Reset | Self::Truncated | Self::Server)
    }
}

impl RemoteError {
    /// An error about something that [`Self::at`] or a caller names. What it says may be a server's words, and is shown on terminals.
    pub fn new(kind: ErrorKind, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let detail = match terminal::tame(&detail) {
            Cow::Borrowed(_) => detail,
            Cow::Owned(tamed) => tamed,
        };
        Self { kind, cause: None, subject: String::new(), detail, counted: false }
    }

    /// Says what was being done to what (`GET https://…/…`), unless it says so already.
    #[must_use]
    pub fn at(mut self, subject: impl fmt::Display) -> Self {
        if self.subject.is_empty() {
            self.subject = subject.to_string();
        }
        self
    }

    /// Names the kind that is behind it.
    #[must_use]
    pub(crate) fn because(self, cause: ErrorKind) -> Self {
        Self { cause: Some(cause), ..self }
    }

    /// The kind that is behind it: of a request that wasn't sent because an earlier one was forbidden, [`ErrorKind::Forbidden`].
    pub fn cause(&self) -> ErrorKind {
        self.cause.unwrap_or(self.kind)
    }

    /// Which of the ways.
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What went wrong and what to do, without what it happened to.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Whether the same request may well succeed a moment later.
    pub const fn retryable(&self) -> bool {
        self.kind.retryable()
    }

    /// True once: an error passes several places that count.
    pub(crate) fn count_once(&mut self) -> bool {
        !std::mem::replace(&mut self.counted, true)
    }
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.subject.is_empty() { f.write_str(&self.detail) } else { write!(f, "{}: {}", self.subject, self.detail) }
    }
}

impl std::error::Error for RemoteError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_snake_case() {
        let mut names: Vec<&str> = ErrorKind::ALL.iter().map(|kind| kind.name()).collect();
        assert!(names.iter().all(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_')));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ErrorKind::ALL.len());
    }

    #[test]
    fn what_a_server_says_does_nothing_to_a_terminal() {
        assert_eq!(RemoteError::new(ErrorKind::Server, "no\u{1b}]0;x\u{7}").to_string(), "no\\u001b]0;x\\u0007");
    }

    #[test]
    fn the_first_to_name_the_subject_wins() {
        let error = RemoteError::new(ErrorKind::Reset, "the connection broke").at("GET x").at("fetch y");
        assert_eq!(error.to_string(), "GET x: the connection broke");
    }
}
