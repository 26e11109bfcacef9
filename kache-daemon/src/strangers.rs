//! Shims of another version of kache. They aren't answered, so their builds run without the cache: somebody should hear of it.

use kache_proto::wire;
use std::sync::atomic::{AtomicU32, Ordering};

/// The last version that a stranger spoke; 0: there was none.
#[derive(Debug, Default)]
pub(crate) struct Strangers(AtomicU32);

impl Strangers {
    /// One of `version` has asked.
    pub(crate) fn met(&self, version: u32) {
        if self.0.swap(version, Ordering::Relaxed) != version
            && let Some(notice) = self.notice()
        {
            tracing::warn!("{notice}");
        }
    }

    /// What people should know.
    pub(crate) fn notice(&self) -> Option<String> {
        let version = Some(self.0.load(Ordering::Relaxed)).filter(|version| *version != 0)?;
        Some(format!(
            "versions differ: a kache-shim speaks protocol {version}, this kached {}, so its builds run without the cache; install kache, kached and \
             kache-shim together, then restart kached",
            wire::VERSION
        ))
    }
}
