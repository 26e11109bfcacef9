//! The daemon's counters as `/v1/stats` promises them. Fields that the promise doesn't name are left alone.

use serde::Deserialize;
use std::collections::BTreeMap;

/// All of them.
#[derive(Clone, Debug, Deserialize)]
pub struct Stats {
    /// The daemon's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// How long it has been running, seconds.
    pub uptime_secs: f64,
    /// Questions of shims.
    pub requests: u64,
    /// How compiles and probes ended.
    pub outcomes: Outcomes,
    /// Bypasses by reason.
    pub bypass_reasons: BTreeMap<String, u64>,
    /// `-vV` and `--print` answered from memory.
    pub queries_answered: u64,
    /// Bytes put into place, by how.
    pub restored_bytes: Placed,
    /// What the restored units had taken to compile, seconds.
    pub saved_compile_secs: f64,
    /// What is stored.
    pub store: Store,
    /// Time inside the daemon, microseconds.
    pub latency_us: BTreeMap<String, Quantiles>,
}

/// Each compile or probe counts in exactly one of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Outcomes {
    /// Restored from the local store.
    pub local_hit: u64,
    /// Restored from the remote.
    pub remote_hit: u64,
    /// Restored from somebody else's running compile.
    pub joined: u64,
    /// Compiled.
    pub miss: u64,
    /// Declined.
    pub bypass: u64,
    /// rustc failed.
    pub failed: u64,
}

impl Outcomes {
    /// Restored, from wherever.
    pub fn hits(&self) -> u64 {
        self.local_hit + self.remote_hit + self.joined
    }

    /// Everything.
    pub fn all(&self) -> u64 {
        self.hits() + self.compiled()
    }

    /// Those for which rustc really ran.
    pub fn compiled(&self) -> u64 {
        self.miss + self.bypass + self.failed
    }

    /// What was counted since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            local_hit: self.local_hit - earlier.local_hit,
            remote_hit: self.remote_hit - earlier.remote_hit,
            joined: self.joined - earlier.joined,
            miss: self.miss - earlier.miss,
            bypass: self.bypass - earlier.bypass,
            failed: self.failed - earlier.failed,
        }
    }
}

/// Bytes by placement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Placed {
    /// Shared extents.
    pub reflink: u64,
    /// Shared inodes.
    pub hardlink: u64,
    /// Copies.
    pub copy: u64,
}

/// The store's size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Store {
    /// Results.
    pub artifacts: u64,
    /// Files.
    pub blobs: u64,
    /// Bytes of blobs.
    pub bytes: u64,
    /// The limit.
    pub max_bytes: u64,
    /// Removed to stay below it.
    pub evicted_artifacts: u64,
}

/// Three quantiles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
pub struct Quantiles {
    /// Median.
    pub p50: Option<f64>,
    /// 90 %.
    pub p90: Option<f64>,
    /// 99 %.
    pub p99: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_promised_document_and_ignores_additions() {
        let text = r#"{"version":"0.1.0","pid":7,"uptime_secs":1,"requests":3,"new":[],
            "outcomes":{"local_hit":1,"remote_hit":0,"joined":1,"miss":2,"bypass":0,"failed":0},
            "bypass_reasons":{"link_arg":1},"queries_answered":2,"restored_bytes":{"reflink":0,"hardlink":1,"copy":2},
            "saved_compile_secs":0.5,"store":{"artifacts":1,"blobs":2,"bytes":3,"max_bytes":4,"evicted_artifacts":0},
            "latency_us":{"hit":{"p50":1,"p90":2,"p99":3},"miss_overhead":{"p50":1,"p90":2,"p99":3}}}"#;
        let stats: Stats = serde_json::from_str(text).unwrap();
        assert_eq!((stats.outcomes.hits(), stats.outcomes.compiled()), (2, 2));
        assert_eq!(stats.outcomes.since(&stats.outcomes), Outcomes::default());
    }
}
