//! What a running daemon makes of a configuration that has changed: most of it counts at once, some of it from the next start on.
//!
//! Promise: every key is in one of the two groups; a new one doesn't compile before somebody has said in which.

use crate::{CacheConfig, Config, RemoteConfig};

/// A new configuration as far as a running daemon can follow it.
#[derive(Clone, Debug)]
pub struct Change {
    /// What is to count from now on.
    pub config: Config,
    /// Keys whose new values count from the next start on, because the store or the bucket is open already.
    pub restart: Vec<&'static str>,
}

impl Change {
    /// `new`, for a daemon whose store is in the directory that `running` names, and which has opened the bucket `opened`, if any.
    ///
    /// Another bucket than the open one, or the same one reached in another way, leaves the whole of `[cache.remote]` as it was: a mode that is
    /// meant for one bucket is not for another.
    pub fn new(running: &Config, opened: Option<&RemoteConfig>, new: Config) -> Self {
        let mut restart = Vec::new();
        let Config { cache, rules, log, unknown_variables, notices, files, origins } = new;
        let CacheConfig { dir, max_size, salt, remap, links, base_dirs, mut remote } = cache;
        if dir != running.cache.dir {
            restart.push("cache.dir");
        }
        if let (Some(opened), Some(wanted)) = (opened, &remote) {
            let differing = reached_otherwise(opened, wanted);
            if !differing.is_empty() {
                remote = running.cache.remote.clone();
                restart.extend(differing);
            }
        }
        let cache = CacheConfig { dir: running.cache.dir.clone(), max_size, salt, remap, links, base_dirs, remote };
        Self { config: Config { cache, rules, log, unknown_variables, notices, files, origins }, restart }
    }
}

/// The keys that make `wanted` another bucket than `opened`, or another way to it.
fn reached_otherwise(opened: &RemoteConfig, wanted: &RemoteConfig) -> Vec<&'static str> {
    // The key pair comes from the daemon's environment, which doesn't change.
    let RemoteConfig {
        bucket,
        endpoint,
        region,
        profile,
        prefix,
        concurrency,
        mode: _,
        wait: _,
        compression_level: _,
        upload_rate: _,
        key_pair: _,
    } = wanted;
    let all = [
        ("cache.remote.bucket", *bucket != opened.bucket),
        ("cache.remote.endpoint", *endpoint != opened.endpoint),
        ("cache.remote.region", *region != opened.region),
        ("cache.remote.profile", *profile != opened.profile),
        ("cache.remote.prefix", *prefix != opened.prefix),
        ("cache.remote.concurrency", *concurrency != opened.concurrency),
    ];
    all.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}
