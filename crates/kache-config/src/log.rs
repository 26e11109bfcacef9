//! `log`: which of the daemon's messages are written. Checked here, because a level with a typo would be taken for a module's name, and nothing
//! would be logged.

use serde::{Deserialize as _, Deserializer, de};

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
const EXPECTED: &str = "a level (off, error, warn, info, debug, trace), or such as kached=debug,warn";

/// Directives separated by commas, each a level or ending in `=level`.
pub(crate) fn directives<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.split(',').all(|directive| is_level(directive.rsplit_once('=').map_or(directive, |(_, level)| level))) {
        return Ok(text);
    }
    Err(de::Error::invalid_value(de::Unexpected::Str(&text), &EXPECTED))
}

fn is_level(word: &str) -> bool {
    LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word.trim()))
}
