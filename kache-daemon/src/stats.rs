//! What the daemon counts. One set of counters feeds `/v1/stats`, `/metrics` and the tests.
//!
//! Promise: an invocation's counters have moved before its last answer goes out.

use crate::bucket;
use kache_journal::{BuildHead, Class, Moved, Tallies, Trouble, trouble};
use kache_model::{Bypass, NotStoredReason, Outcome};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Crates that are named as condemned, at most.
const MAX_CONDEMNED: usize = 100;

/// Counters since the start or the last `--zero`.
#[derive(Debug)]
pub(crate) struct Stats {
    started: Instant,
    counts: Mutex<Counts>,
    requests: AtomicU64,
}

#[derive(Debug, Default, Clone)]
struct Counts {
    outcomes: BTreeMap<&'static str, u64>,
    bypasses: BTreeMap<&'static str, u64>,
    /// What the last one of each reason was about.
    bypass_details: BTreeMap<&'static str, String>,
    not_stored: BTreeMap<&'static str, u64>,
    tallies: Tallies,
    queries: u64,
    restored: Moved,
    saved: Duration,
    compiled: Duration,
    verified: u64,
    differed: u64,
    /// Crates whose artifacts differed.
    condemned: BTreeSet<String>,
    hit: Latencies,
    miss: Latencies,
}

/// The JSON of `/v1/stats`. Names are a contract.
#[derive(Debug, Serialize)]
pub(crate) struct Snapshot {
    version: &'static str,
    pid: u32,
    uptime_secs: u64,
    requests: u64,
    outcomes: BTreeMap<&'static str, u64>,
    bypass_reasons: BTreeMap<&'static str, u64>,
    bypass_details: BTreeMap<&'static str, String>,
    /// Results that weren't stored, by reason.
    not_stored: BTreeMap<&'static str, u64>,
    /// What must not go unnoticed.
    troubles: Vec<Trouble>,
    queries_answered: u64,
    restored_bytes: Moved,
    saved_compile_secs: f64,
    /// What rustc took for misses and failures.
    compiled_secs: f64,
    verify: VerifySnapshot,
    store: StoreSnapshot,
    /// Without a bucket there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    remote: Option<bucket::Snapshot>,
    latency_us: LatencySnapshot,
    /// Until a build has asked something there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_build: Option<BuildHead>,
}

#[derive(Debug, Serialize)]
struct VerifySnapshot {
    checked: u64,
    differed: u64,
    crates: BTreeSet<String>,
}

/// The store's part.
#[derive(Debug, Default, Serialize)]
pub(crate) struct StoreSnapshot {
    pub(crate) artifacts: u64,
    pub(crate) blobs: u64,
    pub(crate) bytes: u64,
    pub(crate) max_bytes: u64,
    pub(crate) evicted_artifacts: u64,
}

#[derive(Debug, Serialize)]
struct LatencySnapshot {
    hit: Quantiles,
    miss_overhead: Quantiles,
}

/// `None`: nothing was measured.
#[derive(Debug, Serialize)]
struct Quantiles {
    p50: Option<u64>,
    p90: Option<u64>,
    p99: Option<u64>,
}

impl Stats {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), counts: Mutex::default(), requests: AtomicU64::new(0) }
    }

    pub(crate) fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn query(&self) {
        self.with(|counts| counts.queries += 1);
    }

    pub(crate) fn bypass(&self, bypass: &Bypass) {
        self.with(|counts| {
            *counts.outcomes.entry(Outcome::Bypass.name()).or_default() += 1;
            *counts.bypasses.entry(bypass.reason.name()).or_default() += 1;
            counts.bypass_details.insert(bypass.reason.name(), bypass.detail.clone());
        });
    }

    /// A result that is in the store now.
    pub(crate) fn stored(&self, class: Class) {
        self.with(|counts| counts.tallies.stored(class));
    }

    /// A result that can't be stored, and why, in words too.
    pub(crate) fn not_stored(&self, class: Class, reason: NotStoredReason, words: String) {
        self.with(|counts| {
            *counts.not_stored.entry(reason.name()).or_default() += 1;
            counts.tallies.not_stored(class, reason, words);
        });
    }

    /// A hit of any kind: what it moved, what it saved, how long the daemon took from question to answer.
    pub(crate) fn hit(&self, outcome: Outcome, restored: Moved, saved: Duration, took: Duration) {
        self.with(|counts| {
            *counts.outcomes.entry(outcome.name()).or_default() += 1;
            counts.restored.add(&restored);
            counts.saved += saved;
            counts.hit.record(took);
        });
    }

    /// A compile: whether it succeeded, what the daemon added to it, and what rustc took.
    pub(crate) fn compiled(&self, outcome: Outcome, overhead: Duration, rustc: Duration) {
        self.with(|counts| {
            *counts.outcomes.entry(outcome.name()).or_default() += 1;
            counts.miss.record(overhead);
            counts.compiled += rustc;
        });
    }

    /// A hit that was compiled again, of this crate.
    pub(crate) fn verified(&self, krate: &str, differed: bool) {
        self.with(|counts| {
            counts.verified += 1;
            counts.differed += u64::from(differed);
            if differed && counts.condemned.len() < MAX_CONDEMNED {
                counts.condemned.insert(krate.to_owned());
            }
        });
    }

    /// Starts counting afresh; the uptime goes on.
    pub(crate) fn zero(&self) {
        self.requests.store(0, Ordering::Relaxed);
        self.with(|counts| *counts = Counts::default());
    }

    pub(crate) fn snapshot(&self, store: StoreSnapshot, remote: Option<bucket::Snapshot>, last_build: Option<BuildHead>) -> Snapshot {
        let counts = self.with(|counts| counts.clone());
        let named = |names: &mut dyn Iterator<Item = &'static str>, from: &BTreeMap<&'static str, u64>| -> BTreeMap<&'static str, u64> {
            names.map(|name| (name, from.get(name).copied().unwrap_or(0))).collect()
        };
        Snapshot {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            uptime_secs: self.started.elapsed().as_secs(),
            requests: self.requests.load(Ordering::Relaxed),
            outcomes: named(&mut Outcome::ALL.iter().map(|outcome| outcome.name()), &counts.outcomes),
            bypass_reasons: counts.bypasses,
            bypass_details: counts.bypass_details,
            not_stored: counts.not_stored,
            troubles: counts.tallies.troubles().into_iter().chain(last_build.iter().flat_map(trouble::of_build)).collect(),
            queries_answered: counts.queries,
            restored_bytes: counts.restored,
            saved_compile_secs: counts.saved.as_secs_f64(),
            compiled_secs: counts.compiled.as_secs_f64(),
            verify: VerifySnapshot { checked: counts.verified, differed: counts.differed, crates: counts.condemned },
            store,
            remote,
            latency_us: LatencySnapshot { hit: counts.hit.quantiles(), miss_overhead: counts.miss.quantiles() },
            last_build,
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Counts) -> T) -> T {
        change(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Snapshot {
    /// Prometheus' text format, version 0.0.4.
    pub(crate) fn prometheus(&self) -> String {
        let Self {
            version,
            pid: _,
            uptime_secs,
            requests,
            outcomes,
            bypass_reasons,
            bypass_details: _,
            not_stored,
            troubles: _,
            queries_answered,
            restored_bytes,
            saved_compile_secs,
            compiled_secs,
            verify,
            store,
            remote,
            latency_us,
            last_build: _,
        } = self;
        let mut text = String::new();
        let mut metric = |name: &str, kind: &str, help: &str, rows: &[(String, f64)]| {
            text.push_str(&format!("# HELP kache_{name} {help}\n# TYPE kache_{name} {kind}\n"));
            for (labels, value) in rows {
                text.push_str(&format!("kache_{name}{labels} {value}\n"));
            }
        };
        let plain = |value: u64| vec![(String::new(), value as f64)];
        metric("info", "gauge", "The daemon's version.", &[(format!("{{version=\"{version}\"}}"), 1.0)]);
        metric("uptime_seconds", "gauge", "Time since the daemon started.", &plain(*uptime_secs));
        metric("requests_total", "counter", "Invocations that came.", &plain(*requests));
        let labelled = |label: &str, map: &BTreeMap<&'static str, u64>| -> Vec<(String, f64)> {
            map.iter().map(|(name, count)| (format!("{{{label}=\"{name}\"}}"), *count as f64)).collect()
        };
        metric("outcomes_total", "counter", "How compiles and probes ended.", &labelled("outcome", outcomes));
        metric("bypasses_total", "counter", "Declined invocations by reason.", &labelled("reason", bypass_reasons));
        metric("not_stored_total", "counter", "Results that weren't stored by reason.", &labelled("reason", not_stored));
        metric("queries_answered_total", "counter", "Queries answered from memory.", &plain(*queries_answered));
        let Moved { reflink, hardlink, copy } = restored_bytes;
        let modes = BTreeMap::from([("reflink", *reflink), ("hardlink", *hardlink), ("copy", *copy)]);
        metric("restored_bytes_total", "counter", "Bytes restored, by how.", &labelled("mode", &modes));
        metric("saved_compile_seconds_total", "counter", "Compile time that hits saved.", &[(String::new(), *saved_compile_secs)]);
        metric("compiled_seconds_total", "counter", "What rustc took for misses and failures.", &[(String::new(), *compiled_secs)]);
        metric("verified_total", "counter", "Hits that were compiled again to compare.", &plain(verify.checked));
        metric("verify_differed_total", "counter", "Of those, how many differed.", &plain(verify.differed));
        let StoreSnapshot { artifacts, blobs, bytes, max_bytes, evicted_artifacts } = store;
        metric("store_artifacts", "gauge", "Artifacts in the local store.", &plain(*artifacts));
        metric("store_blobs", "gauge", "Blobs in the local store.", &plain(*blobs));
        metric("store_bytes", "gauge", "Bytes in the local store.", &plain(*bytes));
        metric("store_max_bytes", "gauge", "Size limit of the local store.", &plain(*max_bytes));
        metric("store_evicted_artifacts_total", "counter", "Artifacts evicted.", &plain(*evicted_artifacts));
        if let Some(remote) = remote {
            remote.prometheus(&mut metric);
        }
        for (name, help, quantiles) in [
            ("hit_latency_microseconds", "From question to answer, on hits.", &latency_us.hit),
            ("miss_overhead_microseconds", "What the daemon adds to a compile.", &latency_us.miss_overhead),
        ] {
            let Quantiles { p50, p90, p99 } = quantiles;
            let rows = [("0.5", p50), ("0.9", p90), ("0.99", p99)].into_iter();
            let rows = rows.filter_map(|(q, value)| Some((format!("{{quantile=\"{q}\"}}"), (*value)? as f64)));
            metric(name, "gauge", help, &rows.collect::<Vec<_>>());
        }
        text
    }
}

/// A histogram over microseconds with eight buckets per power of two: quantiles to within 9 %.
#[derive(Debug, Default, Clone)]
struct Latencies {
    buckets: BTreeMap<u32, u64>,
    total: u64,
}

impl Latencies {
    fn record(&mut self, took: Duration) {
        let micros = took.as_secs_f64() * 1e6;
        let bucket = (micros.max(1.0).log2() * 8.0).round() as u32;
        *self.buckets.entry(bucket).or_default() += 1;
        self.total += 1;
    }

    fn quantiles(&self) -> Quantiles {
        let at = |share: f64| -> Option<u64> {
            let wanted = (self.total as f64 * share).ceil() as u64;
            let mut seen = 0;
            for (bucket, count) in &self.buckets {
                seen += count;
                if seen >= wanted.max(1) {
                    return Some((f64::from(*bucket) / 8.0).exp2().round() as u64);
                }
            }
            None
        };
        Quantiles { p50: at(0.5), p90: at(0.9), p99: at(0.99) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kache_model::BypassReason;

    #[test]
    fn each_outcome_is_listed_even_when_nothing_happened() {
        let json = serde_json::to_value(Stats::new().snapshot(StoreSnapshot::default(), None, None)).unwrap();
        for outcome in Outcome::ALL {
            assert_eq!(json["outcomes"][outcome.name()], 0);
        }
    }

    #[test]
    fn quantiles_are_within_a_tenth() {
        let mut latencies = Latencies::default();
        for micros in 1..=1000 {
            latencies.record(Duration::from_micros(micros));
        }
        let Quantiles { p50, p90, p99 } = latencies.quantiles();
        for (got, want) in [(p50, 500.0), (p90, 900.0), (p99, 990.0)] {
            assert!((got.unwrap() as f64 / want - 1.0).abs() < 0.1, "{got:?} for {want}");
        }
        assert_eq!(Latencies::default().quantiles().p50, None);
    }

    #[test]
    fn prometheus_text_has_a_type_line_per_metric() {
        let stats = Stats::new();
        stats.bypass(&Bypass::new(BypassReason::UnknownFlag, "--x"));
        let text = stats.snapshot(StoreSnapshot::default(), None, None).prometheus();
        assert!(text.contains("kache_bypasses_total{reason=\"unknown_flag\"} 1\n"));
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap();
            assert!(text.contains(&format!("# TYPE {name} ")), "{line}");
        }
    }
}
