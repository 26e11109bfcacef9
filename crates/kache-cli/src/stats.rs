//! The daemon's counters as `/v1/stats` promises them. Fields that are not promised, or come later, are left alone.

use kache_journal::{BuildHead, Moved, Trouble, trouble};
use kache_model::Outcome;
use serde::Deserialize;
use std::collections::BTreeMap;

/// All of them.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Stats {
    pub(crate) version: String,
    pub(crate) pid: u32,
    pub(crate) uptime_secs: f64,
    pub(crate) requests: u64,
    pub(crate) outcomes: Outcomes,
    pub(crate) bypass_reasons: BTreeMap<String, u64>,
    /// What the last bypass of each reason was about; older daemons don't say.
    #[serde(default)]
    pub(crate) bypass_details: BTreeMap<String, String>,
    /// Results that weren't stored, by reason.
    #[serde(default)]
    pub(crate) not_stored: BTreeMap<String, u64>,
    /// What must not go unnoticed.
    #[serde(default)]
    pub(crate) troubles: Vec<Trouble>,
    pub(crate) queries_answered: u64,
    pub(crate) restored_bytes: Moved,
    pub(crate) saved_compile_secs: f64,
    /// What rustc took for the rest; older daemons don't say.
    #[serde(default)]
    pub(crate) compiled_secs: Option<f64>,
    /// Hits that were compiled again; older daemons name no crates.
    #[serde(default)]
    pub(crate) verify: Verified,
    pub(crate) store: Store,
    /// `None` without a bucket.
    #[serde(default)]
    pub(crate) remote: Option<Remote>,
    pub(crate) latency_us: Latency,
    /// `None` until a build has asked something.
    #[serde(default)]
    pub(crate) last_build: Option<BuildHead>,
}

/// How compiles and probes ended.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub(crate) struct Outcomes(BTreeMap<String, u64>);

/// What the verify mode found.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Verified {
    pub(crate) checked: u64,
    pub(crate) differed: u64,
    pub(crate) crates: Vec<String>,
}

impl Verified {
    /// What was wrong, as a sentence.
    pub(crate) fn trouble(&self) -> Option<String> {
        let Self { checked, differed, crates } = self;
        (*differed > 0).then(|| format!("{differed} of {checked} verified hits differed and were replaced: {}", crates.join(", ")))
    }
}

/// What the store holds.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Store {
    pub(crate) artifacts: u64,
    pub(crate) blobs: u64,
    pub(crate) bytes: u64,
    pub(crate) max_bytes: u64,
    pub(crate) evicted_artifacts: u64,
}

/// What was done with the bucket.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Remote {
    pub(crate) gets: u64,
    pub(crate) get_bytes: u64,
    pub(crate) not_found: u64,
    pub(crate) puts: u64,
    pub(crate) put_bytes: u64,
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) prefetched: u64,
    pub(crate) prefetch_used: u64,
    pub(crate) queued_uploads: u64,
    pub(crate) breaker: BTreeMap<String, String>,
    pub(crate) credential_source: String,
    /// Older daemons don't say.
    #[serde(default)]
    pub(crate) ignored_input_sets: u64,
    #[serde(default)]
    pub(crate) refused_artifacts: u64,
}

/// Time spent in the daemon, microseconds.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Latency {
    pub(crate) hit: Quantiles,
    pub(crate) miss_overhead: Quantiles,
}

/// `None` where nothing was measured.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Quantiles {
    pub(crate) p50: Option<f64>,
    pub(crate) p90: Option<f64>,
    pub(crate) p99: Option<f64>,
}

impl Outcomes {
    pub(crate) fn get(&self, outcome: Outcome) -> u64 {
        self.0.get(outcome.name()).copied().unwrap_or(0)
    }

    /// Compiles and probes.
    pub(crate) fn units(&self) -> u64 {
        Outcome::ALL.into_iter().map(|outcome| self.get(outcome)).sum()
    }

    /// Those that were restored.
    pub(crate) fn hits(&self) -> u64 {
        [Outcome::LocalHit, Outcome::RemoteHit, Outcome::Joined].into_iter().map(|outcome| self.get(outcome)).sum()
    }
}

/// What happened between two looks at the counters.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Difference {
    pub(crate) units: u64,
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) bypasses: u64,
    pub(crate) failed: u64,
    pub(crate) saved_secs: f64,
    /// What must not go unnoticed of it.
    pub(crate) troubles: Vec<Trouble>,
    pub(crate) verified: u64,
    /// Of these, how many differed.
    pub(crate) differed: u64,
}

impl Difference {
    /// `None` if the counters were not one series: another daemon, or set to zero in between.
    pub(crate) fn between(before: &Stats, after: &Stats) -> Option<Self> {
        let moved = |count: &dyn Fn(&Outcomes) -> u64| count(&after.outcomes).checked_sub(count(&before.outcomes));
        let of = |outcome: Outcome| moved(&|outcomes| outcomes.get(outcome));
        if before.pid != after.pid || after.uptime_secs < before.uptime_secs {
            return None;
        }
        let units = moved(&Outcomes::units)?;
        let mut troubles = trouble::mostly_bypassed(units, &more(&before.bypass_reasons, &after.bypass_reasons), &after.bypass_details);
        // The daemon's troubles are of its whole life: those that this build met, too.
        let not_stored = more(&before.not_stored, &after.not_stored);
        troubles.extend(after.troubles.iter().filter(|trouble| not_stored.contains_key(&trouble.reason)).cloned());
        Some(Self {
            units,
            hits: moved(&Outcomes::hits)?,
            misses: of(Outcome::Miss)?,
            bypasses: of(Outcome::Bypass)?,
            failed: of(Outcome::Failed)?,
            verified: after.verify.checked.checked_sub(before.verify.checked)?,
            differed: after.verify.differed.checked_sub(before.verify.differed)?,
            saved_secs: (after.saved_compile_secs - before.saved_compile_secs).max(0.0),
            troubles,
        })
    }
}

/// By how much each count has grown that has.
fn more(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let grown = |(name, count): (&String, &u64)| {
        let more = count.saturating_sub(before.get(name).copied().unwrap_or(0));
        (more > 0).then(|| (name.clone(), more))
    };
    after.iter().filter_map(grown).collect()
}
