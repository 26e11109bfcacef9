//! Text that never shows itself.
//!
//! Promise: no `Debug`, no error and no serialisation of this crate prints the text; only [`Secret::expose`] gives it away.
//! It isn't wiped from memory: the environment that it came from isn't either.

use std::fmt;

/// A credential.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}
