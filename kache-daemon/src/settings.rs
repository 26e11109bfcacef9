//! What the engine takes from the configuration: one value that never changes, exchanged as a whole when the configuration does.
//!
//! Promise: whoever has taken [`InForce::now`] works with that to its end, whatever happens to the configuration meanwhile.

use kache_config::{Config, Links, Rules};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Goes into every key.
    pub(crate) salt: String,
    /// Whether rustc is told to spell roots as placeholders.
    pub(crate) remap: bool,
    /// Whether target directories may share inodes with the store.
    pub(crate) links: Links,
    /// Roots that the configuration declares.
    pub(crate) base_dirs: Vec<PathBuf>,
    /// What is declared of single crates.
    pub(crate) rules: Rules,
}

impl From<&Config> for Settings {
    fn from(config: &Config) -> Self {
        Self {
            salt: config.cache.salt.clone(),
            remap: config.cache.remap,
            links: config.cache.links,
            base_dirs: config.cache.base_dirs.clone(),
            rules: config.rules.clone(),
        }
    }
}

/// The settings that count for whoever asks now.
#[derive(Debug)]
pub(crate) struct InForce(RwLock<Arc<Settings>>);

impl InForce {
    pub(crate) fn new(settings: Settings) -> Self {
        Self(RwLock::new(Arc::new(settings)))
    }

    /// Those of this moment. Takes tens of nanoseconds.
    pub(crate) fn now(&self) -> Arc<Settings> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on others count.
    pub(crate) fn replace(&self, settings: Settings) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }
}
